//! The MPMC ring: a producer or a consumer dies in each of its operations, beside another one that is at work, or has died in it.

mod operations;

pub use operations::cases;

use super::case::{FactsOf, Handles, brief};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject, Word};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::{Attachment, Claim};
use ownerdead::ring::mpmc::{
    Config, Consumer, OnDeath, PopTimeoutError, Producer, PushTimeoutError, Ring, TryPopError, TryPushError,
};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::mem::forget;
use std::time::Duration;

/// Slots of the ring.
pub const RING: usize = 4;
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
const SHORT: Duration = Duration::from_micros(1500);
/// Payloads that lie in their slots.
pub const INSIDE: usize = 24;
/// Those that do not.
pub const OUTSIDE: usize = 40;

const SLOTS: u32 = 6;
/// Offset of the ring's body in its segment: see `segment`.
const BODY: usize = 4096 * (1 + SLOTS as usize);
/// Offsets in the body: see `ring::mpmc`.
const TAIL: usize = 128;
const HEAD: usize = 256;
const SLOT: usize = 4096;

/// The victim's records, or, if it is a consumer, those of a producer that has gone; and the other one's.
pub const MINE: u64 = 0;
const OTHERS: u64 = 1;
pub const WHOSE: [u64; 2] = [MINE, OTHERS];
/// Words of the facts.
const FACTS: [FactsOf<5>; 2] = [FactsOf([0, 1, 2, 3, 4]), FactsOf([5, 6, 7, 8, 9])];

/// What the ring is like when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// As it was born.
    Fresh,
    /// Some records are in it, and some were read.
    Warm,
    /// What is written next, and what is read next, is the first slot again.
    Wrapped,
    Full,
    Empty,
    /// One slept that wanted a record, or room: the word says so still.
    Slept,
    /// Both hints are one behind, as the dead leave them.
    Behind,
    /// The payload is too long.
    TooLarge,
    Damaged(Damage),
}

/// What somebody has done to the ring who does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// All slots name a participant that is not there.
    NoSlot,
    /// The words of all slots are none.
    NoClaim,
    /// All slots are written by the victim, which does nothing.
    Mine,
    TailTooFar,
    HeadTooFar,
    /// A hint is a lap further than it can be, or two.
    TailAhead,
    TailFarAhead,
    HeadAhead,
    /// The first record's length, or its payload, is wrong.
    Length,
    Payload,
}

/// What another one does. Its claim is the first that is not done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Gone,
    /// It stands still, or is dead, amid a write. A record of its own comes after that.
    Writes,
    WroteAndDied,
    /// Amid a read.
    Reads,
    ReadAndDied,
}

impl Other {
    fn stands(self) -> bool {
        matches!(self, Self::Writes | Self::Reads)
    }

    /// Slots that it has, or has filled.
    fn slots(self) -> usize {
        match self {
            Self::Gone => 0,
            Self::Writes | Self::WroteAndDied => 2,
            Self::Reads | Self::ReadAndDied => 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
}

pub type Operation = fn(&Mpmc, &mut Victim, &Facts);

pub struct Mpmc {
    pub ring: Ring,
    memory: Memory,
    role: Role,
    is: Is,
    other: Other,
    handles: Handles,
    foreign: bool,
    /// What a dead consumer was reading is dropped.
    pub drops: bool,
    timeout: Option<Duration>,
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

pub struct Victim {
    pub me: Attachment,
    pub producer: Producer,
    pub consumer: Consumer,
    pub bytes: Vec<u8>,
    pub number: u64,
    pub payload: ([u8; 64], usize),
    pub timeout: Option<Duration>,
}

pub struct Survivor {
    producer: Producer,
    consumer: Consumer,
}

/// The kind of a record says whose it is, and which.
pub fn kind(whose: u64, number: u64) -> u32 {
    (whose << 16 | number) as u32
}

/// Its payload follows from that.
pub fn payload(whose: u64, number: u64) -> ([u8; 64], usize) {
    let mut bytes = [0; 64];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = ((number + 7 * whose) as u8).wrapping_mul(31).wrapping_add(index as u8) | 1;
    }
    (bytes, INSIDE - (number % 3) as usize * 5)
}

pub fn records(facts: &Facts, whose: u64) -> Records<&Word, &Word> {
    let [begun, ended, may_be_read, read, last] = FACTS[whose as usize].words(facts);
    Records::new([begun, ended], [may_be_read, read, last])
}

fn push(producer: &mut Producer, whose: u64, facts: &Facts) -> Result<(), TryPushError> {
    let records = records(facts, whose);
    let number = records.begun.get() + 1;
    let (bytes, len) = payload(whose, number);
    records.push(number);
    let pushed = producer.try_push(kind(whose, number), &bytes[..len]);
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
    let (whose, number) = (u64::from(peek.kind() >> 16), u64::from(peek.kind() & 0xffff));
    if !WHOSE.contains(&whose) {
        return Err(Finding::other(format!("a record of kind {:#x}", peek.kind())));
    }
    let mut bytes = Vec::new();
    peek.copy_to(&mut bytes).map_err(|corrupt| other(corrupt.into()))?;
    let (expected, len) = payload(whose, number);
    let records = records(facts, whose);
    // Before it is committed as read: who does so may die, too.
    records.arrived(number, bytes == expected[..len])?;
    peek.consume();
    records.committed(number);
    Ok(true)
}

impl Mpmc {
    pub fn new(config: Config, role: Role, is: Is, other: Other, operation: Operation) -> Self {
        let ring = Ring::memfd(&Options::new().slots(SLOTS), &config).expect("a ring");
        let memory = Memory::of(ring.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (handles, foreign, inherited) = (Handles::Own, false, RefCell::new(None));
        let (drops, timeout) = (ring.status().on_death == OnDeath::Drop, Some(SHORT));
        Self { ring, memory, role, is, other, handles, foreign, drops, timeout, inherited, operation }
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

    fn sides(&self) -> (Attachment, Producer, Consumer) {
        let me = brief(self.ring.attach().expect("a free slot"));
        let producer = self.ring.producer(&me).expect("its own segment").into_inner();
        let consumer = self.ring.consumer(&me).expect("its own segment").into_inner();
        (me, producer, consumer)
    }

    /// What another one has done before, and does.
    fn begin(&self, facts: &Facts) -> (Attachment, Producer, Consumer) {
        let wanted = "as the ring is then";
        let (me, mut producer, mut consumer) = self.sides();
        // Positions are as the state wants them: the claims begin in the first slot, or behind it.
        let rounds = match self.is {
            Is::Fresh => 0,
            Is::Wrapped => RING,
            _ => 2,
        };
        for _ in 0..rounds {
            push(&mut producer, MINE, facts).expect(wanted);
            assert!(pop(&mut consumer, facts).expect(wanted));
        }
        self.claim(&me, &mut producer, &mut consumer, facts);
        (me, producer, consumer)
    }

    /// Brings the ring into its state, by one that has gone then.
    fn bring(&self, facts: &Facts) {
        let wanted = "as the ring is then";
        let (_me, mut producer, mut consumer) = self.sides();
        match self.is {
            Is::Fresh | Is::Empty => {}
            // By count: who finds it full looks at the dead one's slot.
            Is::Full => (self.other.slots()..RING).for_each(|_| push(&mut producer, MINE, facts).expect(wanted)),
            Is::Slept if self.role == Role::Producer => {
                let slept = consumer.pop_timeout(&mut Vec::new(), SHORT);
                assert_eq!(slept, Err(PopTimeoutError::TimedOut));
            }
            Is::Slept => {
                while push(&mut producer, MINE, facts).is_ok() {}
                let slept = producer.push_timeout(0, &[0; INSIDE], SHORT);
                assert_eq!(slept, Err(PushTimeoutError::TimedOut));
            }
            _ => {
                push(&mut producer, MINE, facts).expect(wanted);
                push(&mut producer, MINE, facts).expect(wanted);
            }
        }
        if self.is == Is::Behind {
            // SAFETY: words of the mapping; nobody else is at work.
            unsafe {
                *self.body(TAIL) -= 1;
                *self.body(HEAD) -= 1;
            }
        }
    }

    /// The other one's claim, which it keeps.
    fn claim(&self, me: &Attachment, producer: &mut Producer, consumer: &mut Consumer, facts: &Facts) {
        match self.other {
            Other::Gone => {}
            Other::Writes | Other::WroteAndDied => {
                forget(producer.reserve(7, 5).expect("room"));
                // It comes only when its producer has died, or has gone on: nobody counts on it.
                let records = records(facts, OTHERS);
                records.push(1);
                let (bytes, len) = payload(OTHERS, 1);
                let mut second = self.ring.producer(me).expect("its own segment").into_inner();
                second.try_push(kind(OTHERS, 1), &bytes[..len]).expect("room");
            }
            Other::Reads | Other::ReadAndDied => {
                push(producer, OTHERS, facts).expect("room");
                let records = records(facts, OTHERS);
                records.may_be_read.set(1);
                if self.other == Other::Reads {
                    records.committed(1);
                }
                forget(consumer.peek().expect("a record"));
            }
        }
    }

    fn body(&self, offset: usize) -> *mut u64 {
        let start = BODY + offset;
        assert!(start.is_multiple_of(8) && start + 8 <= self.memory.len(), "a word of the memory: {start}");
        // SAFETY: in bounds of the mapping, as was just seen.
        unsafe { self.memory.start().as_ptr().add(start).cast() }
    }

    fn damage(&self, damage: Damage, me: &Attachment) {
        let first = self.ring.status().read_index;
        let slot = |position: u64| SLOT + position as usize % RING * 64;
        // SAFETY: words of the mapping; nobody else is at work.
        unsafe {
            assert_eq!(*self.body(HEAD), first, "as ring::mpmc says");
            let all = |word: &dyn Fn(u64) -> u64| {
                for position in first..first + RING as u64 {
                    *self.body(slot(position)) = word(position / RING as u64);
                }
            };
            match damage {
                Damage::NoSlot => all(&|_| 1 << 32 | 1 << 29 | 77),
                Damage::NoClaim => all(&|_| 1 << 30),
                Damage::Mine => all(&|lap| Claim::writing(me.id(), lap).0),
                Damage::TailTooFar => *self.body(TAIL) = 1 << 63,
                Damage::HeadTooFar => *self.body(HEAD) = 1 << 63,
                Damage::TailAhead => *self.body(TAIL) += RING as u64,
                Damage::TailFarAhead => *self.body(TAIL) += 3 * RING as u64,
                Damage::HeadAhead => *self.body(HEAD) += 2 * RING as u64,
                Damage::Length => *self.body(slot(first) + 16) |= 0xffff,
                Damage::Payload => *self.body(slot(first) + 32) ^= 1,
            }
        }
    }

    /// What the victim has when its operation begins.
    fn victim(&self, facts: &Facts) -> Victim {
        let (mut me, producer, consumer) = self.sides();
        if let Is::Damaged(damage) = self.is {
            self.damage(damage, &me);
        }
        if self.foreign {
            let other = Ring::memfd(&Options::new().slots(1), &Config::new(1, 8)).expect("a ring");
            me = brief(other.attach().expect("a free slot"));
        }
        WHOSE.iter().for_each(|&whose| records(facts, whose).next_reader());
        // In one state what is popped into has to grow.
        let bytes = Vec::with_capacity(if self.is == Is::Warm { 0 } else { 64 });
        let number = records(facts, MINE).begun.get() + 1;
        let mut payload = payload(MINE, number);
        if self.is == Is::TooLarge {
            payload.1 = 64;
        }
        Victim { me, producer, consumer, bytes, number, payload, timeout: self.timeout }
    }
}

impl Subject for Mpmc {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.other {
            Other::Gone => drop(self.begin(facts)),
            Other::Writes | Other::Reads => cast.stands(|| self.begin(facts)),
            Other::WroteAndDied | Other::ReadAndDied => cast.dies(|| self.begin(facts)),
        }
        self.bring(facts);
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
        let (_, producer, consumer) = self.sides();
        Survivor { producer, consumer }
    }

    fn recover(&self, survivor: &mut Survivor, facts: &Facts) -> Result<&'static str, Finding> {
        WHOSE.iter().for_each(|&whose| records(facts, whose).next_reader());
        if matches!(self.is, Is::Damaged(_)) {
            // It is to be said, and nobody is to wait or to crash.
            let _ = survivor.consumer.try_pop(&mut Vec::new());
            let _ = survivor.producer.try_push(0, &[1]);
            return Ok("damaged");
        }
        let before = self.ring.status();
        while pop(&mut survivor.consumer, facts)? {}
        let left = self.ring.status();
        if left.dead > before.dead {
            return Err(Finding::other(format!("{} slots of dead ones, and {} before", left.dead, before.dead)));
        }
        Ok(if before.dead > 0 { "a slot of a dead one" } else { "no slot of a dead one" })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        if matches!(self.is, Is::Damaged(_)) || self.other == Other::Writes {
            // What comes after a write that stands still waits for it, or not, as the ring's order says.
            return Ok(());
        }
        for whose in WHOSE {
            records(facts, whose).all_arrived()?;
        }
        if self.other.stands() {
            return Ok(());
        }
        // Records that were begun, and never committed, are gone: numbers go on. Each slot has its turn.
        let mine = records(facts, MINE);
        for _ in 0..RING + 1 {
            mine.push(mine.last.get().max(mine.read.get()));
            push(&mut survivor.producer, MINE, facts)
                .map_err(|error| Finding::stuck(format!("a push after the recovery: {error}")))?;
            if !pop(&mut survivor.consumer, facts)? {
                return Err(Finding::lost("a record that was pushed after the recovery"));
            }
        }
        let status = self.ring.status();
        if status.dead + status.writing + status.reading + status.full > 0 {
            return Err(Finding::other(format!("an empty ring in which somebody is at work: {status:?}")));
        }
        Ok(())
    }
}
