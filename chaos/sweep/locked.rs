//! The MPSC ring whose producers take turns: a producer or the consumer dies in each of its operations, beside another one that has its
//! turn or the consumer's seat, or has died with it.

mod operations;

pub use operations::cases;

use super::case::{FactsOf, Handles, brief};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject, Word};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::{Attachment, Right, SeatState};
use ownerdead::ring::mpsc::locked::{
    Config, Consumer, PopTimeoutError, Producer, PushTimeoutError, Reservation, Ring, SeatError, TryPopError,
    TryPushError,
};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::mem::forget;
use std::time::Duration;

/// Bytes of the ring: some seven records.
const CAPACITY: usize = 256;
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
const SHORT: Duration = Duration::from_micros(1500);
const LONGEST: usize = 24;
/// What one that dies in its turn has written: longer than what comes in its place.
const SECRET: usize = 40;
const TOO_LONG: usize = CAPACITY / 2;
/// The record that a survivor pushes in the place of what was not committed.
const PROBE: u32 = u32::MAX;

const SLOTS: u32 = 6;
/// Offset of the ring's body in its segment: see `segment`.
const BODY: usize = 4096 * (1 + SLOTS as usize);
/// Offsets in the body: see `ring::mpsc::locked`.
const LOCK: usize = 128;
const SEAT: usize = 256;
const TAIL: usize = 1024 + 128;
const HEAD: usize = 1024 + 256;
const RECORDS: usize = 4096;
/// The word of a right that names a slot which is not there.
const NO_SLOT: u64 = 1 << 32 | 1 << 29 | 77;

/// Words of the facts.
const FACTS: FactsOf<5> = FactsOf([0, 1, 2, 3, 4]);

/// What the ring is like when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// Some records are in it, and some were read.
    Warm,
    /// The next record that is pushed does not fit before the end, or the next one that is read is behind padding.
    Padded,
    Full,
    /// It was full, and some were read since.
    ReadSince,
    Empty,
    /// The consumer last saw it empty, and some were pushed since.
    PushedSince,
    /// The consumer slept that wanted a record, or a producer that wanted room: the words say so still.
    Slept,
    /// The victim has its turn, and somebody has waited for it, or not.
    Held,
    Waited,
    /// The payload is too long.
    TooLarge,
    /// The batch is of no records.
    NoBatch,
    Damaged(Damage),
}

/// What somebody has done to the ring who does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The lock is of a slot that is not there, of nobody, of the victim, which has not taken it.
    NoSlot,
    NoHolder,
    Mine,
    /// The tail: for a producer before the head.
    WentBack,
    Odd,
    TooFar,
    /// The indices are further apart than the ring is long.
    Apart,
    /// The read index, for a producer.
    HeadWentBack,
    /// A record ends behind the write index.
    TooLong,
    EndlessPadding,
    Payload,
    /// What the second record of a batch meets.
    Second,
    Seat,
    /// In a ring that is full.
    SeatOfFull,
}

/// What another one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Gone,
    /// It has its turn, and stands still, or is dead. Somebody waited for it.
    HasTurn,
    DiedInTurn,
    WaitedFor,
    /// It has the consumer's seat, and stands still, or is dead.
    Consumes,
    ConsumedAndDied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
    /// It opens both sides in the operation.
    Opener,
}

pub type Operation = fn(&Locked, &mut Victim, &Facts);

pub struct Locked {
    pub ring: Ring,
    memory: Memory,
    role: Role,
    is: Is,
    other: Other,
    handles: Handles,
    foreign: bool,
    timeout: Option<Duration>,
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

pub struct Victim {
    pub me: Attachment,
    pub producer: Option<Producer>,
    pub consumer: Option<Consumer>,
    pub reservation: Option<Reservation<'static>>,
    pub bytes: Vec<u8>,
    pub number: u64,
    pub payload: ([u8; TOO_LONG], usize),
    pub timeout: Option<Duration>,
}

pub struct Survivor {
    me: Attachment,
    producer: Producer,
    consumer: Option<Consumer>,
}

/// The payload of record `number`: its length and its bytes follow from it.
pub fn payload(number: u64) -> ([u8; TOO_LONG], usize) {
    let mut bytes = [0; TOO_LONG];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = (number as u8).wrapping_mul(31).wrapping_add(index as u8) | 1;
    }
    (bytes, LONGEST - (number % 3) as usize * 5)
}

/// Bytes that a record takes, with its checksum.
fn size(number: u64) -> u64 {
    16 + payload(number).1.next_multiple_of(8) as u64
}

pub fn records(facts: &Facts) -> Records<&Word, &Word> {
    let [begun, ended, may_be_read, read, last] = FACTS.words(facts);
    Records::new([begun, ended], [may_be_read, read, last])
}

fn push(producer: &mut Producer, facts: &Facts) -> Result<(), TryPushError> {
    let records = records(facts);
    let number = records.begun.get() + 1;
    let (bytes, len) = payload(number);
    records.push(number);
    let pushed = producer.try_push(number as u32, &bytes[..len]);
    match pushed {
        Ok(()) => records.pushed(number),
        Err(_) => records.push(number - 1),
    }
    pushed
}

fn pop(consumer: &mut Consumer, facts: &Facts) -> Result<bool, Finding> {
    let other = |error| Finding::other(format!("a pop: {error}"));
    let peek = match consumer.peek() {
        Ok(peek) => peek,
        Err(TryPopError::Empty) => return Ok(false),
        Err(error) => return Err(other(error)),
    };
    if peek.kind() == PROBE {
        peek.consume();
        return Ok(true);
    }
    let (number, mut bytes) = (u64::from(peek.kind()), Vec::new());
    peek.copy_to(&mut bytes).map_err(|corrupt| other(corrupt.into()))?;
    let (expected, len) = payload(number);
    // Before it is committed as read: who does so may die, too.
    records(facts).arrived(number, bytes == expected[..len])?;
    peek.consume();
    records(facts).committed(number);
    Ok(true)
}

const WANTED: &str = "as the ring is then";

impl Locked {
    pub fn new(config: Config, role: Role, is: Is, other: Other, operation: Operation) -> Self {
        let ring = Ring::memfd(&Options::new().slots(SLOTS), &config).expect("a ring");
        let memory = Memory::of(ring.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (handles, foreign, inherited) = (Handles::Own, false, RefCell::new(None));
        Self { ring, memory, role, is, other, handles, foreign, timeout: Some(SHORT), inherited, operation }
    }

    pub fn inherited(self) -> Self {
        Self { handles: Handles::Inherited, ..self }
    }

    /// The victim is attached to another segment when it opens its sides.
    pub fn foreign(self) -> Self {
        Self { foreign: true, ..self }
    }

    pub fn waiting(self, timeout: Option<Duration>) -> Self {
        Self { timeout, ..self }
    }

    fn producer(&self) -> (Attachment, Producer) {
        let me = brief(self.ring.attach().expect("a free slot"));
        let producer = self.ring.producer(&me).expect("its own segment").into_inner();
        (me, producer)
    }

    fn consumer(&self, me: &Attachment) -> Consumer {
        self.ring.consumer(me).expect("a seat that is free").into_inner()
    }

    /// Somebody waits for a turn, in vain.
    fn wait(&self) {
        let refused = self.producer().1.push_timeout(0, &[1], SHORT);
        assert_eq!(refused, Err(PushTimeoutError::TimedOut));
    }

    /// Brings the ring into its state.
    fn bring(&self, producer: &mut Producer, consumer: &mut Consumer, facts: &Facts) {
        let records = records(facts);
        let mut turn = |producer: &mut Producer| {
            push(producer, facts).expect(WANTED);
            assert!(pop(consumer, facts).expect(WANTED));
        };
        (0..2).for_each(|_| turn(producer));
        if self.is == Is::Padded {
            let left = || CAPACITY as u64 - self.ring.status().write_index % CAPACITY as u64;
            while size(records.begun.get() + 1) <= left() {
                turn(producer);
            }
        }
        match self.is {
            Is::Empty => {}
            Is::Padded if self.role == Role::Producer => {}
            Is::Full | Is::ReadSince | Is::Damaged(Damage::SeatOfFull) => while push(producer, facts).is_ok() {},
            Is::Slept if self.role == Role::Producer => {
                let slept = consumer.pop_timeout(&mut Vec::new(), SHORT);
                assert_eq!(slept, Err(PopTimeoutError::TimedOut));
            }
            Is::Slept => {
                while push(producer, facts).is_ok() {}
                let slept = producer.push_timeout(0, &[0; LONGEST], SHORT);
                assert_eq!(slept, Err(PushTimeoutError::TimedOut));
            }
            _ => (0..3).for_each(|_| push(producer, facts).expect(WANTED)),
        }
        if self.is == Is::ReadSince {
            (0..3).for_each(|_| assert!(pop(consumer, facts).expect(WANTED)));
        }
    }

    /// What another one has done before, and has.
    fn begin(&self, facts: &Facts) -> (Attachment, Option<Consumer>, Option<Producer>) {
        let (me, mut producer) = self.producer();
        let mut consumer = self.consumer(&me);
        self.bring(&mut producer, &mut consumer, facts);
        let keeps = matches!(self.other, Other::Consumes | Other::ConsumedAndDied);
        if matches!(self.other, Other::HasTurn | Other::DiedInTurn | Other::WaitedFor) {
            let mut reservation = producer.reserve(7, SECRET).expect("room");
            reservation.write(0, &[0xaa; SECRET]);
            forget(reservation);
            if self.other != Other::DiedInTurn {
                self.wait();
            }
        }
        (me, keeps.then_some(consumer), Some(producer))
    }

    fn body(&self, offset: usize) -> *mut u64 {
        let start = BODY + offset;
        assert!(start.is_multiple_of(8) && start + 8 <= self.memory.len(), "a word of the memory: {start}");
        // SAFETY: in bounds of the mapping, as was just seen.
        unsafe { self.memory.start().as_ptr().add(start).cast() }
    }

    fn damage(&self, damage: Damage, me: &Attachment) {
        let status = self.ring.status();
        let index = self.body(if matches!(damage, Damage::HeadWentBack) { HEAD } else { TAIL });
        let first = self.body(RECORDS + status.read_index as usize % CAPACITY);
        // SAFETY: words of the mapping; nobody else is at work.
        unsafe {
            let found = [*self.body(TAIL), *self.body(HEAD) & !1];
            assert_eq!(found, [status.write_index, status.read_index], "as ring::mpsc::locked says");
            match damage {
                Damage::NoSlot => *self.body(LOCK) = NO_SLOT,
                Damage::NoHolder => *self.body(LOCK) = Right::SUSPECT.0,
                Damage::Mine => *self.body(LOCK) = Right::held_by(me.id()).0,
                Damage::WentBack if self.role == Role::Producer => *index = (*self.body(HEAD) & !1) - 8,
                Damage::WentBack | Damage::HeadWentBack => *index -= 8,
                Damage::Odd => *index += 4,
                Damage::TooFar => *index = 1 << 63,
                Damage::Apart => *index += 1 << 20,
                Damage::TooLong => *first = (*first & !0xffff_ffff) | 200,
                Damage::EndlessPadding => *first |= 0xffff_ffff,
                Damage::Payload => *first.add(1) ^= 1,
                // With it the head, which is read for the second.
                Damage::Second if self.role == Role::Producer => *self.body(HEAD) += 4,
                Damage::Second => {
                    let second = status.read_index + size(*first >> 32);
                    let second = self.body(RECORDS + second as usize % CAPACITY);
                    *second = (*second & !0xffff_ffff) | 200;
                }
                Damage::Seat | Damage::SeatOfFull => *self.body(SEAT) = NO_SLOT,
            }
        }
    }

    /// What the victim has when its operation begins.
    fn victim(&self, facts: &Facts) -> Victim {
        let (mut me, producer) = self.producer();
        let mut producer = Some(producer);
        let mut consumer = (self.role == Role::Consumer).then(|| self.consumer(&me));
        records(facts).next_reader();
        if let (Is::PushedSince, Some(consumer)) = (self.is, &mut consumer) {
            while pop(consumer, facts).expect(WANTED) {}
            let producer = producer.as_mut().expect("its own");
            (0..2).for_each(|_| push(producer, facts).expect(WANTED));
        }
        // One that has found the ring full knows the read index.
        if let Is::Damaged(Damage::WentBack | Damage::HeadWentBack) = self.is {
            while push(producer.as_mut().expect("its own"), facts).is_ok() {}
        }
        if let Is::Damaged(damage) = self.is {
            self.damage(damage, &me);
        }
        let number = records(facts).begun.get() + 1;
        let mut payload = payload(number);
        let mut reservation = None;
        if matches!(self.is, Is::Held | Is::Waited) {
            let leaked = Box::leak(Box::new(producer.take().expect("its own")));
            let reserved = leaked.reserve(number as u32, payload.1).expect(WANTED);
            let reserved = reservation.insert(reserved);
            reserved.write(0, &payload.0[..payload.1]);
            if self.is == Is::Waited {
                self.wait();
            }
        }
        if self.foreign {
            let other = Ring::memfd(&Options::new().slots(1), &Config::new(1024)).expect("a ring");
            me = brief(other.attach().expect("a free slot"));
        }
        // In one state what is popped into has to grow.
        let bytes = Vec::with_capacity(if self.is == Is::Warm { 0 } else { CAPACITY });
        if self.is == Is::TooLarge {
            payload.1 = TOO_LONG;
        }
        Victim { me, producer, consumer, reservation, bytes, number, payload, timeout: self.timeout }
    }

    /// What was read, or never committed, is nowhere.
    fn wiped(&self) -> Result<(), Finding> {
        // SAFETY: the bytes of the records, which are mapped; nobody else is at work now.
        let bytes = unsafe { std::slice::from_raw_parts(self.body(RECORDS).cast::<u8>(), CAPACITY) };
        match bytes.iter().position(|&byte| byte != 0) {
            Some(at) => Err(Finding::other(format!("not wiped: byte {at} of the ring is {:#x}", bytes[at]))),
            None => Ok(()),
        }
    }
}

impl Subject for Locked {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.other {
            Other::Gone => drop(self.begin(facts)),
            Other::HasTurn | Other::WaitedFor | Other::Consumes => cast.stands(|| self.begin(facts)),
            Other::DiedInTurn | Other::ConsumedAndDied => cast.dies(|| self.begin(facts)),
        }
        if self.handles == Handles::Inherited {
            self.inherited.replace(Some(self.victim(facts)));
        }
    }

    fn attach(&self, facts: &Facts) -> Victim {
        self.inherited.take().unwrap_or_else(|| self.victim(facts))
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Survivor {
        let (me, producer) = self.producer();
        Survivor { me, producer, consumer: None }
    }

    fn recover(&self, survivor: &mut Survivor, facts: &Facts) -> Result<&'static str, Finding> {
        records(facts).next_reader();
        let opened = self.ring.consumer(&survivor.me);
        if matches!(self.is, Is::Damaged(_)) {
            // It is to be said, and nobody is to wait or to crash.
            if let Ok(opened) = opened {
                let _ = opened.into_inner().try_pop(&mut Vec::new());
            }
            let _ = survivor.producer.try_push(0, &[1]);
            return Ok("damaged");
        }
        let inherited = self.handles == Handles::Inherited && self.role == Role::Consumer;
        match opened {
            Err(SeatError::Busy { .. }) if self.other == Other::Consumes || inherited => {}
            Err(error) => return Err(Finding::other(format!("the consumer's seat: {error}"))),
            Ok(opened) => survivor.consumer = Some(opened.into_inner()),
        }
        let took = matches!(self.ring.status().turn, SeatState::Dead(_));
        let Some(consumer) = survivor.consumer.as_mut() else { return Ok("the consumer lives") };
        while pop(consumer, facts)? {}
        if self.turn_is_taken() {
            return Ok("somebody who lives has the turn");
        }
        // There is room for a record of 0 bytes, in the place of what a dead one was writing.
        survivor.producer.try_push(PROBE, &[]).map_err(|error| Finding::stuck(format!("a push: {error}")))?;
        Ok(if took { "the turn of a dead one" } else { "nobody's turn" })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        let Some(consumer) = survivor.consumer.as_mut() else { return Ok(()) };
        let records = records(facts);
        records.all_arrived()?;
        if self.turn_is_taken() {
            return Ok(());
        }
        match consumer.try_pop(&mut Vec::new()) {
            Ok(PROBE) => {}
            other => return Err(Finding::other(format!("in the place of what was not committed: {other:?}"))),
        }
        let wiping = self.ring.status().wipe;
        match self.wiped() {
            Err(finding) if wiping => return Err(finding),
            // Or the look at the bytes is at other bytes.
            Ok(()) if !wiping => return Err(Finding::other("records were written, and the ring's bytes are all zero")),
            _ => {}
        }
        // Records that were begun, and never committed, are gone: numbers go on.
        for _ in 0..8 {
            records.push(records.last.get().max(records.read.get()));
            push(&mut survivor.producer, facts)
                .map_err(|error| Finding::stuck(format!("a push after the recovery: {error}")))?;
            if !pop(consumer, facts)? {
                return Err(Finding::lost("a record that was pushed after the recovery"));
            }
        }
        Ok(())
    }
}

impl Locked {
    /// By one who stands still.
    fn turn_is_taken(&self) -> bool {
        let parent_has = self.handles == Handles::Inherited && matches!(self.is, Is::Held | Is::Waited);
        parent_has || matches!(self.other, Other::HasTurn | Other::WaitedFor)
    }
}
