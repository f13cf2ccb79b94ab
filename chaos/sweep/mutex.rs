//! The robust mutex and the futex mutex: one dies while it locks, holds, repairs or unlocks.

use super::case::{Case, FactsOf, Handles, brief};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject, Word};
use ownerdead::harness::oracle::Exclusion;
use ownerdead::lock::{Guard, LockError, LockTimeoutError, RobustMutex, TryLockError};
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

ownerdead::shared_data! {
    /// Equal, unless a holder died between the two.
    pub struct Pair {
        pub left: u64,
        pub right: u64,
    }
}

pub const ZERO: Pair = Pair { left: 0, right: 0 };
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
pub const SHORT: Duration = Duration::from_micros(1500);

/// Words of the facts: who is inside, changing, told, through.
const INSIDE: FactsOf<4> = FactsOf([0, 1, 2, 3]);
/// Changes that were begun, and those whose holder has unlocked.
const BEGUN: usize = 4;
const ENDED: usize = 5;
/// Whether somebody gave the lock up unrepaired: 1 that it may have, 2 that it has.
const GIVEN_UP: usize = 6;

/// Numbers of those inside, for the oracle.
const VICTIM: u64 = 1;
const SURVIVOR: u64 = 2;
const OTHER: u64 = 3;

/// How the lock is when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// Nobody's.
    Free,
    /// Of one that stands still.
    Held,
    /// Of a dead one, which was changing the data.
    DeadOnes,
    /// Given up in a panic.
    Suspect,
    /// Given up unrepaired.
    NotRecoverable,
    /// Damaged: its word is of a slot that is not there, or of none.
    NoSlot,
    NoHolder,
    /// Its word says that somebody waits, and of nobody who has it.
    OnlyWaited,
    /// Of one who is about to move into its slot, which no holder is.
    OfOneWhoMoves,
    /// Nobody's, and the victim is attached to another segment.
    Foreign,
}

/// Offset of the lock's word in its segment: see `segment`.
const WORD: usize = 4096 * (1 + SLOTS as usize);
const SLOTS: u32 = 6;

type Operation = for<'s> fn(&'s Robust, &mut Victim<'s>, &Facts);

pub struct Robust {
    mutex: RobustMutex<Pair>,
    memory: Memory,
    is: Is,
    /// The victim has the lock when the operation begins.
    locked: bool,
    /// Somebody has waited for the victim's lock, in vain.
    waited: bool,
    handles: Handles,
    /// Those of the engine's process, which its children inherit.
    inherited: RefCell<Option<Victim<'static>>>,
    operation: Operation,
}

pub struct Victim<'s> {
    me: &'static Attachment,
    guard: Option<Guard<'s, Pair>>,
}

fn exclusion(facts: &Facts) -> Exclusion<&Word> {
    let [inside, changing, told, through] = INSIDE.words(facts);
    Exclusion { inside, changing, told, through }
}

/// The victim is inside, and changes the data.
fn change(guard: &mut Guard<'_, Pair>, facts: &Facts, told: bool) {
    let exclusion = exclusion(facts);
    exclusion.inside.set(VICTIM);
    if told {
        exclusion.told.add(1);
        guard.right = guard.left;
        exclusion.changing.set(0);
    }
    facts.word(BEGUN).add(1);
    exclusion.change();
    guard.left += 1;
    guard.right += 1;
    exclusion.leave();
}

impl Robust {
    fn new(is: Is, locked: bool, waited: bool, operation: Operation) -> Self {
        let mutex = RobustMutex::memfd(&Options::new().slots(SLOTS), ZERO).expect("a mutex");
        let memory = Memory::of(mutex.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (handles, inherited) = (Handles::Own, RefCell::new(None));
        Self { mutex, memory, is, locked, waited, handles, inherited, operation }
    }

    /// A thread of this process that lives as long as the process.
    fn attached(&self) -> &'static Attachment {
        Box::leak(Box::new(brief(self.mutex.attach().expect("a free slot"))))
    }

    /// Whether a lock gives an error that is not the death of its holder.
    fn refuses(&self) -> bool {
        use Is::{DeadOnes, Free, OfOneWhoMoves, OnlyWaited, Suspect};
        let had = matches!(self.is, Free | OnlyWaited | DeadOnes | Suspect | OfOneWhoMoves) && !self.locked;
        !had || self.handles == Handles::Inherited
    }

    /// Writes a word of the segment.
    fn write(&self, offset: usize, word: u64) {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.memory.len());
        // SAFETY: in bounds of the mapping, as was just seen, and aligned; nobody else is at work.
        unsafe { self.memory.start().as_ptr().add(offset).cast::<u64>().write(word) };
    }

    /// The word of the lock is `word`, which names no slot.
    fn damage(&self, word: u64) {
        self.write(WORD, word);
        let me = self.attached();
        assert!(matches!(self.mutex.try_lock(me), Err(TryLockError::Corrupt { found, .. }) if found == word));
    }

    /// What the victim has when its operation begins.
    fn begins<'m>(&self, mutex: &'m RobustMutex<Pair>, facts: &Facts) -> Victim<'m> {
        let mut victim = Victim { me: self.attached(), guard: None };
        if self.is == Is::Foreign {
            let other = RobustMutex::memfd(&Options::new().slots(1), ZERO).expect("a mutex");
            victim.me = Box::leak(Box::new(brief(other.attach().expect("a free slot"))));
        }
        if self.locked {
            let (guard, told) = match mutex.lock(victim.me) {
                Ok(guard) => (guard, false),
                Err(LockError::OwnerDied(died)) => (died.into_guard(), true),
                Err(error) => panic!("{error}"),
            };
            exclusion(facts).enter(VICTIM, told).expect("alone");
            victim.guard = Some(guard);
        }
        if self.waited {
            // By another membership of this thread: to the mutex it is another one.
            let other = brief(self.mutex.attach().expect("a free slot"));
            assert!(matches!(self.mutex.lock_timeout(&other, SHORT), Err(LockTimeoutError::TimedOut)));
        }
        victim
    }

    fn is_damaged(&self) -> bool {
        matches!(self.is, Is::NoSlot | Is::NoHolder)
    }

    /// Somebody who lives, and stands still, has the lock.
    fn is_held(&self) -> bool {
        self.is == Is::Held || self.locked && self.handles == Handles::Inherited
    }

    /// A process has the lock, and is changing the data.
    fn holds(&self, facts: &Facts) -> Guard<'_, Pair> {
        let mut guard = self.mutex.lock(self.attached()).expect("a free lock");
        let exclusion = exclusion(facts);
        exclusion.inside.set(OTHER);
        exclusion.change();
        guard.left += 1;
        guard
    }
}

impl Subject for Robust {
    type Victim<'s> = Victim<'s>;
    type Survivor<'s> = &'static Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.is {
            Is::Free | Is::Foreign => {}
            // See `owner::right`: held by slot 77; and not held, with a bit that nobody sets.
            Is::NoSlot => self.damage(1 << 32 | 1 << 29 | 77),
            Is::NoHolder => self.damage(1),
            Is::OnlyWaited => self.write(WORD, 1 << 31),
            Is::OfOneWhoMoves => {
                let last = SLOTS as usize - 1;
                self.write(WORD, 1 << 32 | 1 << 29 | last as u64);
                self.write(4096 * (1 + last) + 4080, 1 << 32 | 1 << 29 | 1);
            }
            Is::Held => cast.stands(|| self.holds(facts)),
            Is::DeadOnes => cast.dies(|| self.holds(facts)),
            Is::Suspect => cast.dies(|| {
                let gives_up = catch_unwind(AssertUnwindSafe(|| {
                    let _guard = self.holds(facts);
                    panic!("with the lock");
                }));
                assert!(gives_up.is_err());
                exclusion(facts).inside.set(0);
            }),
            Is::NotRecoverable => {
                cast.dies(|| self.holds(facts));
                cast.dies(|| match self.mutex.lock(self.attached()) {
                    Err(LockError::OwnerDied(died)) => drop(died.into_guard()),
                    _ => panic!("its holder is dead"),
                });
                facts.word(GIVEN_UP).set(2);
            }
        }
        if self.handles == Handles::Inherited {
            let mutex = Box::leak(Box::new(self.mutex.clone()));
            self.inherited.replace(Some(self.begins(mutex, facts)));
        }
    }

    fn attach(&self, facts: &Facts) -> Victim<'_> {
        match self.inherited.take() {
            Some(inherited) => inherited,
            None => self.begins(&self.mutex, facts),
        }
    }

    fn operation<'s>(&'s self, victim: &mut Victim<'s>, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> &'static Attachment {
        self.attached()
    }

    fn recover(&self, me: &mut &'static Attachment, facts: &Facts) -> Result<&'static str, Finding> {
        match self.mutex.try_lock(me) {
            Ok(guard) => {
                enters(&guard, facts, false)?;
                exclusion(facts).leave();
                Ok("free")
            }
            Err(TryLockError::OwnerDied(died)) => {
                let mut guard = died.into_guard();
                enters(&guard, facts, true)?;
                if !guard.needs_repair() {
                    return Err(Finding::lost("a dead one's lock, and it counts as repaired"));
                }
                let exclusion = exclusion(facts);
                exclusion.change();
                guard.right = u64::MAX;
                guard.right = guard.left;
                exclusion.leave();
                guard.mark_consistent();
                Ok("owner died")
            }
            Err(TryLockError::NotRecoverable) if facts.word(GIVEN_UP).get() > 0 => Ok("not recoverable"),
            Err(TryLockError::WouldBlock) if self.is_held() => Ok("held by one who lives"),
            Err(TryLockError::Corrupt { .. }) if self.is_damaged() => Ok("damaged"),
            Err(error) => Err(Finding::stuck(format!("the lock: {error}"))),
        }
    }

    fn judge(&self, me: &mut &'static Attachment, facts: &Facts) -> Result<(), Finding> {
        match self.mutex.lock_timeout(me, SHORT) {
            Ok(guard) => enters(&guard, facts, false),
            Err(LockTimeoutError::NotRecoverable) if facts.word(GIVEN_UP).get() > 0 => Ok(()),
            Err(LockTimeoutError::TimedOut) if self.is_held() => Ok(()),
            Err(LockTimeoutError::Corrupt { .. }) if self.is_damaged() => Ok(()),
            Err(error) => Err(Finding::stuck(format!("the lock after its recovery: {error}"))),
        }
    }
}

/// A survivor has the lock.
fn enters(guard: &Guard<'_, Pair>, facts: &Facts, told: bool) -> Result<(), Finding> {
    exclusion(facts).enter(SURVIVOR, told)?;
    if facts.word(GIVEN_UP).get() == 2 {
        return Err(Finding::other("it was given up unrepaired, and was had all the same"));
    }
    let Pair { left, right } = **guard;
    let (begun, ended) = (facts.word(BEGUN).get(), facts.word(ENDED).get());
    if !told && left != right {
        return Err(Finding::torn(format!("half changed, and nobody was told: {left} and {right}")));
    }
    if left < ended {
        return Err(Finding::lost(format!("{ended} changes were made, {left} are there")));
    }
    if left > begun + 1 {
        return Err(Finding::other(format!("{begun} changes were begun, {left} are there")));
    }
    Ok(())
}

/// Defines operations: functions of their own, so that their instructions are.
macro_rules! operations {
    ($($name:ident($subject:ident, $victim:ident, $facts:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name<'s>($subject: &'s Robust, $victim: &mut Victim<'s>, $facts: &Facts) $body
    )+};
}

/// Unlocks: one function, so that what each state comes by is the code of all.
#[inline(never)]
pub fn give_up(guard: Guard<'_, Pair>) {
    drop(guard);
}

/// What the victim does with what it got, which must be what the lock then gives.
macro_rules! got {
    ($locked:expr, $subject:ident, $facts:ident, $died:path) => {
        match $locked {
            Ok(mut guard) => {
                assert!(matches!($subject.is, Is::Free | Is::OnlyWaited));
                change(&mut guard, $facts, false);
                give_up(guard);
                $facts.word(ENDED).add(1);
            }
            Err($died(died)) => {
                assert!(matches!($subject.is, Is::DeadOnes | Is::Suspect | Is::OfOneWhoMoves));
                let mut guard = died.into_guard();
                change(&mut guard, $facts, true);
                guard.mark_consistent();
                give_up(guard);
                $facts.word(ENDED).add(1);
            }
            Err(_) => assert!($subject.refuses()),
        }
    };
}

operations! {
    lock(subject, victim, facts) { got!(subject.mutex.lock(victim.me), subject, facts, LockError::OwnerDied) }
    try_lock(subject, victim, facts) { got!(subject.mutex.try_lock(victim.me), subject, facts, TryLockError::OwnerDied) }
    lock_timeout(subject, victim, facts) {
        // Nobody waits for the dead, so here it may be later than the clock can say.
        let timeout = if subject.is == Is::DeadOnes { Duration::MAX } else { SHORT };
        got!(subject.mutex.lock_timeout(victim.me, timeout), subject, facts, LockTimeoutError::OwnerDied)
    }
    unlock(_s, victim, facts) {
        exclusion(facts).leave();
        victim.guard.take().into_iter().for_each(give_up);
        facts.word(ENDED).set(0);
    }
    unlock_unrepaired(_s, victim, facts) {
        facts.word(GIVEN_UP).set(1);
        exclusion(facts).leave();
        victim.guard.take().into_iter().for_each(give_up);
        facts.word(GIVEN_UP).set(2);
    }
    panic_inside(_s, victim, _facts) {
        let guard = victim.guard.take();
        let caught = catch_unwind(AssertUnwindSafe(move || {
            let _guard = guard;
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
    }
    lock_twice(subject, victim, _facts) { assert!(matches!(subject.mutex.lock(victim.me), Err(LockError::Deadlock))) }
}

pub fn cases(all: &mut Vec<Case>) {
    use Is::{DeadOnes, Foreign, Free, Held, NoHolder, NoSlot, NotRecoverable, OfOneWhoMoves, OnlyWaited, Suspect};
    // Operation, in which states, whether the victim has the lock already.
    const ROWS: [(&str, Operation, &[Is], bool); 7] = [
        (
            "lock",
            lock,
            &[Free, OnlyWaited, OfOneWhoMoves, DeadOnes, Suspect, NotRecoverable, NoSlot, NoHolder, Foreign],
            false,
        ),
        ("try_lock", try_lock, &[Free, Held, DeadOnes, Suspect, NotRecoverable, NoSlot, NoHolder, Foreign], false),
        ("lock_timeout", lock_timeout, &[Free, Held, DeadOnes, NotRecoverable, NoSlot, NoHolder, Foreign], false),
        ("unlock", unlock, &[Free], true),
        ("unlock_unrepaired", unlock_unrepaired, &[DeadOnes], true),
        ("panic_inside", panic_inside, &[Free], true),
        ("lock_twice", lock_twice, &[Free], true),
    ];
    for (name, operation, states, locked) in ROWS {
        let address = operation as *const () as usize;
        for &is in states {
            for waited in [false, true] {
                if waited && !locked {
                    continue;
                }
                let title = format!("robust_mutex.{name}.{}{}", state(is), if waited { "_waited_for" } else { "" });
                all.push(Case::new(title, address, move || Robust::new(is, locked, waited, operation)));
            }
        }
        if ["try_lock", "lock_timeout"].contains(&name) {
            let twice = move || Robust::new(Free, true, false, operation);
            all.push(Case::new(format!("robust_mutex.{name}.twice"), address, twice).first_deaths_alone());
        }
        // A child does not have its parent's lock.
        if ["lock", "try_lock", "lock_timeout", "unlock"].contains(&name) {
            let forked = move || Robust { handles: Handles::Inherited, ..Robust::new(Free, locked, false, operation) };
            all.push(Case::new(format!("robust_mutex.{name}.forked"), address, forked).first_deaths_alone());
        }
    }
}

fn state(is: Is) -> &'static str {
    match is {
        Is::Free => "free",
        Is::Held => "held",
        Is::DeadOnes => "dead_ones",
        Is::Suspect => "suspect",
        Is::NotRecoverable => "not_recoverable",
        Is::NoSlot => "no_slot",
        Is::NoHolder => "no_holder",
        Is::OnlyWaited => "only_waited",
        Is::OfOneWhoMoves => "of_one_who_moves",
        Is::Foreign => "foreign",
    }
}
