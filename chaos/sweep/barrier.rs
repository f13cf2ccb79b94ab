//! The barrier: one of two dies while it joins, arrives, waits, resets or leaves.

use super::case::{Case, Handles, brief};
use super::mutex::SHORT;
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::lock::{Arrival, Barrier, BarrierError, BarrierTimeoutError, JoinError, Party, ResetError};
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::mem::forget;

const SLOTS: u32 = 6;
/// Offsets of the phase's word and of the right of seat 0: see `segment` and `lock::barrier`.
const PHASE: usize = 4096 * (1 + SLOTS as usize) + 128;
const SEAT_0: usize = PHASE + 256;
/// Held by slot 77: see `owner::right`.
const SLOT_77: u64 = 1 << 32 | 1 << 29 | 77;
/// Held, by a slot that no table has: of a mutex it would say that it is given up for good.
const NO_SLOT: u64 = 1 << 29 | 0xffe;
/// Bits of the phase's word.
const BROKEN: u64 = 1 << 31;
const OWED: u64 = 1 << 25;

/// Facts: whether the victim has begun to arrive, and whether it came through.
const BEGUN: usize = 0;
const THROUGH: usize = 1;

/// How the other party is when the operation begins. If it lives it has seat 0; if it is dead, that which the victim has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    /// There is none.
    Vacant,
    /// It stands still, and has not arrived.
    Lives,
    /// It stands still, and has arrived.
    Waits,
    /// It died before it arrived.
    Died,
    /// It died after it arrived.
    DiedWaiting,
    /// It died before it arrived, and somebody has broken the phase.
    Broken,
    /// It died before it arrived, and the victim was told.
    Told,
    /// The same, and all are to be woken, which one that is dead has not done.
    ToldOwed,
    /// It is told, and somebody else has reset the barrier.
    Reset,
    /// Its seat's right is of a slot that is not there.
    NoSlot,
    /// There is none, and the victim is attached to another segment.
    Foreign,
    /// Both seats are of those who live.
    Full,
    /// It lives, and its seat's right has become that of a slot which is not there, or of none.
    Damaged,
    NoHolder,
    /// It stands still, and has not arrived; the victim has.
    Outwaits,
    /// It has come after the victim had arrived, and come through.
    Through,
    /// It has taken over from one that died before it arrived, and the victim was not told.
    TakenOver,
    /// There is none, and all are to be woken.
    Owed,
    /// It lives, and a third one is missing.
    Third,
}

type Operation = fn(&Meeting, &mut Victim);

pub struct Meeting {
    barrier: Barrier,
    memory: Memory,
    other: Other,
    /// The victim has a seat when the operation begins.
    seated: bool,
    handles: Handles,
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

pub struct Victim {
    me: &'static Attachment,
    party: Option<Party>,
}

impl Meeting {
    fn new(other: Other, seated: bool, operation: Operation) -> Self {
        let parties = if other == Other::Third { 3 } else { 2 };
        let barrier = Barrier::memfd(&Options::new().slots(SLOTS), parties).expect("a barrier");
        let memory = Memory::of(barrier.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (handles, inherited) = (Handles::Own, RefCell::new(None));
        Self { barrier, memory, other, seated, handles, inherited, operation }
    }

    fn attached(&self) -> &'static Attachment {
        Box::leak(Box::new(brief(self.barrier.attach().expect("a free slot"))))
    }

    fn joins(&self) -> Party {
        self.barrier.join(self.attached()).expect("a seat")
    }

    fn waits(&self) -> Party {
        let mut party = self.joins();
        assert_eq!(party.wait_timeout(SHORT), Err(BarrierTimeoutError::TimedOut));
        party
    }

    /// Who is going to die has the second seat, if the victim is to have the first: who joins takes the first that nobody alive has.
    fn second<T>(&self, party: impl FnOnce() -> T) -> T {
        let first = self.seated.then(|| self.joins());
        let second = party();
        drop(first);
        second
    }

    fn write(&self, offset: usize, word: u64) {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.memory.len());
        // SAFETY: in bounds of the mapping, as was just seen, and aligned; nobody else is at work.
        unsafe { self.memory.start().as_ptr().add(offset).cast::<u64>().write(word) };
    }

    /// Number of a dead one's seat.
    fn dead(&self) -> usize {
        self.seated.into()
    }

    fn begins(&self) -> Victim {
        let me = if self.other == Other::Foreign {
            let other = Barrier::memfd(&Options::new().slots(1), 1).expect("a barrier");
            Box::leak(Box::new(brief(other.attach().expect("a free slot"))))
        } else {
            self.attached()
        };
        let mut party = self.seated.then(|| self.barrier.join(me).expect("a seat"));
        if let Some(party) = &mut party {
            self.comes_to_be(party);
        }
        Victim { me, party }
    }

    /// What happens when the victim has its seat.
    fn comes_to_be(&self, party: &mut Party) {
        match self.other {
            Other::Told | Other::ToldOwed | Other::Reset => {
                assert_eq!(party.wait_timeout(SHORT), Err(BarrierTimeoutError::PartyDied { seat: 1 }));
                if self.other == Other::Reset {
                    let mut next = self.joins();
                    next.reset().expect("it is broken");
                    forget(next);
                }
                if self.other == Other::ToldOwed {
                    self.write(PHASE, BROKEN | 1 << 26 | OWED);
                }
            }
            Other::Damaged => self.write(SEAT_0, SLOT_77),
            Other::NoHolder => self.write(SEAT_0, NO_SLOT),
            Other::Outwaits => assert_eq!(party.wait_timeout(SHORT), Err(BarrierTimeoutError::TimedOut)),
            Other::Through => {
                assert_eq!(party.wait_timeout(SHORT), Err(BarrierTimeoutError::TimedOut));
                let mut next = self.joins();
                assert_eq!(next.wait(), Ok(Arrival::Leader));
                forget(next);
            }
            Other::TakenOver => forget(self.joins()),
            Other::Owed => self.write(PHASE, OWED),
            _ => {}
        }
    }

    fn is_child(&self) -> bool {
        self.handles == Handles::Inherited
    }
}

impl Subject for Meeting {
    type Victim<'s> = Victim;
    type Survivor<'s> = (&'static Attachment, Option<Party>);

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, _: &Facts) {
        match self.other {
            Other::Vacant | Other::Foreign | Other::Through | Other::Owed => {}
            Other::Lives | Other::Damaged | Other::NoHolder | Other::Outwaits | Other::Third => {
                cast.stands(|| self.joins())
            }
            Other::Waits => cast.stands(|| self.waits()),
            Other::Died | Other::Told | Other::ToldOwed | Other::Reset | Other::TakenOver => {
                cast.dies(|| self.second(|| self.joins()))
            }
            Other::Broken => {
                cast.dies(|| self.joins());
                self.write(PHASE, BROKEN);
            }
            Other::DiedWaiting => cast.dies(|| self.second(|| self.waits())),
            Other::NoSlot => self.write(SEAT_0, SLOT_77),
            Other::Full => cast.stands(|| (self.joins(), self.joins())),
        }
        if self.is_child() {
            self.inherited.replace(Some(self.begins()));
        }
    }

    fn attach(&self, _: &Facts) -> Victim {
        self.inherited.take().unwrap_or_else(|| self.begins())
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        facts.word(BEGUN).set(1);
        (self.operation)(self, victim);
        facts.word(THROUGH).set(self.barrier.status().completed.into());
    }

    fn arrive(&self, _: &Facts) -> Self::Survivor<'_> {
        (self.attached(), None)
    }

    /// Takes a dead one's seat over, if there is one, and resets the barrier if it is broken.
    fn recover(&self, survivor: &mut Self::Survivor<'_>, facts: &Facts) -> Result<&'static str, Finding> {
        let before = self.barrier.status();
        if u64::from(before.completed) < facts.word(THROUGH).get() {
            return Err(Finding::lost("the victim came through a phase that is not completed"));
        }
        let (me, party) = survivor;
        let mut met = match self.barrier.join(me) {
            Ok(joined) => {
                let met = if joined.owner_died() { "owner died" } else { "vacant" };
                *party = Some(joined);
                met
            }
            Err(JoinError::Full { parties: 2 }) if self.other == Other::Full || self.is_child() && self.seated => {
                "full"
            }
            Err(JoinError::Corrupt { seat: 0, .. })
                if matches!(self.other, Other::NoSlot | Other::Damaged | Other::NoHolder) =>
            {
                return Ok("damaged");
            }
            Err(error) => return Err(Finding::stuck(format!("a dead one's seat: {error}"))),
        };
        if let Some(party) = party
            && self.barrier.status().broken_by.is_some()
        {
            party.reset().map_err(|error| Finding::stuck(error.to_string()))?;
            met = "broken, and reset";
        }
        Ok(met)
    }

    /// It comes through, or a party is missing: one that lives, or none, or a dead one, which it is told.
    fn judge(&self, survivor: &mut Self::Survivor<'_>, _: &Facts) -> Result<(), Finding> {
        let Some(party) = &mut survivor.1 else { return Ok(()) };
        for _ in 0..2 {
            let before = self.barrier.status();
            match party.wait_timeout(SHORT) {
                Ok(_) if self.barrier.status().completed > 0 => {}
                Err(BarrierTimeoutError::TimedOut) if self.barrier.status().arrived < self.barrier.status().parties => {
                    return Ok(());
                }
                Err(BarrierTimeoutError::PartyDied { seat }) if seat != party.seat() => return Ok(()),
                other => return Err(Finding::stuck(format!("after the recovery ({before:?}): {other:?}"))),
            }
        }
        Ok(())
    }
}

/// Defines operations: functions of their own, so that their instructions are.
macro_rules! operations {
    ($($name:ident($subject:ident, $victim:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name($subject: &Meeting, $victim: &mut Victim) $body
    )+};
}

operations! {
    join(subject, victim) {
        match subject.barrier.join(victim.me) {
            Ok(party) => {
                assert_eq!(party.owner_died(), matches!(subject.other, Other::Died | Other::DiedWaiting | Other::Broken));
                victim.party = Some(party);
            }
            Err(JoinError::Full { parties }) => assert_eq!((subject.other, parties), (Other::Full, 2)),
            Err(JoinError::WrongSegment) => assert_eq!(subject.other, Other::Foreign),
            Err(JoinError::Corrupt { seat, .. }) => assert_eq!((subject.other, seat), (Other::NoSlot, 0)),
            Err(JoinError::Forked) => assert!(subject.is_child()),
            Err(JoinError::Truncated(truncated)) => panic!("{truncated}"),
        }
    }
    wait(subject, victim) {
        match victim.party.as_mut().expect("seated").wait() {
            Ok(Arrival::Leader) => assert!(matches!(subject.other, Other::Waits | Other::DiedWaiting)),
            Ok(Arrival::Follower) => assert_eq!(subject.other, Other::Through),
            Err(BarrierError::PartyDied { seat }) => {
                assert_eq!(seat, subject.dead());
                assert!(matches!(subject.other, Other::Died | Other::TakenOver));
            }
            Err(BarrierError::Corrupt { seat, .. }) => {
                assert_eq!(seat, 0);
                assert!(matches!(subject.other, Other::Damaged | Other::NoHolder));
            }
            Err(BarrierError::Forked) => assert!(subject.is_child()),
            Err(BarrierError::Truncated(truncated)) => panic!("{truncated}"),
        }
    }
    wait_timeout(subject, victim) {
        use Other::{Lives, Outwaits, Owed, Reset, Third, Told, ToldOwed, Vacant};
        match victim.party.as_mut().expect("seated").wait_timeout(SHORT) {
            Ok(Arrival::Leader) => assert!(matches!(subject.other, Other::Waits | Other::DiedWaiting)),
            Ok(Arrival::Follower) => assert_eq!(subject.other, Other::Through),
            Err(BarrierTimeoutError::PartyDied { seat }) => {
                assert_eq!(seat, subject.dead());
                assert!(matches!(subject.other, Other::Died | Other::TakenOver));
            }
            Err(BarrierTimeoutError::TimedOut) => {
                assert!(matches!(subject.other, Vacant | Lives | Told | ToldOwed | Reset | Outwaits | Owed | Third));
            }
            Err(BarrierTimeoutError::Corrupt { seat, .. }) => {
                assert_eq!(seat, 0);
                assert!(matches!(subject.other, Other::Damaged | Other::NoHolder));
            }
            Err(BarrierTimeoutError::Forked) => assert!(subject.is_child()),
            Err(BarrierTimeoutError::Truncated(truncated)) => panic!("{truncated}"),
        }
    }
    reset(subject, victim) {
        match victim.party.as_mut().expect("seated").reset() {
            Ok(()) => assert_eq!(subject.other, Other::Told),
            Err(ResetError::NotBroken) => assert_eq!(subject.other, Other::Lives),
            Err(ResetError::Forked) => assert!(subject.is_child()),
            Err(ResetError::Truncated(truncated)) => panic!("{truncated}"),
        }
    }
    leave(_subject, victim) { drop(victim.party.take()); }
}

pub fn cases(all: &mut Vec<Case>) {
    use Other::{
        Broken, Damaged, Died, DiedWaiting, Foreign, Full, Lives, NoHolder, NoSlot, Outwaits, Owed, Reset, TakenOver,
        Third, Through, Told, ToldOwed, Vacant, Waits,
    };
    const ROWS: [(&str, Operation, &[Other], bool); 5] = [
        ("join", join, &[Died, DiedWaiting, Broken, Vacant, Lives, Full, NoSlot, Foreign], false),
        ("wait", wait, &[Waits, DiedWaiting, Died, Damaged, NoHolder, Through, TakenOver], true),
        (
            "wait_timeout",
            wait_timeout,
            &[
                Lives,
                Waits,
                DiedWaiting,
                Died,
                Told,
                ToldOwed,
                Reset,
                Vacant,
                Damaged,
                Outwaits,
                Through,
                TakenOver,
                Owed,
                Third,
            ],
            true,
        ),
        ("reset", reset, &[Told, Lives], true),
        ("leave", leave, &[Lives], true),
    ];
    for (name, operation, others, seated) in ROWS {
        let address = operation as *const () as usize;
        for &other in others {
            let title = format!("barrier.{name}.{}", format!("{other:?}").to_lowercase());
            let case = Case::new(title, address, move || Meeting::new(other, seated, operation));
            all.push(match (name, other) {
                ("join", Died) => case,
                _ if other == others[0] => case.first_deaths_alone(),
                // Real deaths are as in the first.
                _ => case.first_deaths_alone().few_planted(),
            });
        }
        let forked = move || Meeting { handles: Handles::Inherited, ..Meeting::new(Lives, seated, operation) };
        all.push(Case::new(format!("barrier.{name}.forked"), address, forked).first_deaths_alone());
    }
}
