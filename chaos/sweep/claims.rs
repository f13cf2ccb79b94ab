//! The MPSC ring of claims: a producer or the consumer dies in each of its operations, beside another one that is at work, or has died in it.

mod operations;

pub use operations::cases;

use super::case::{FactsOf, Handles, brief};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject, Word};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::{Attachment, Claim};
use ownerdead::ring::mpsc::claims::{
    Config, Consumer, PopTimeoutError, Producer, PushTimeoutError, Ring, SeatError, TryPopError, TryPushError,
};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::mem::forget;
use std::time::Duration;

/// Bytes of a block, and of the ring: eight of them.
const BLOCK: usize = 64;
pub const CAPACITY: usize = 8 * BLOCK;
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
const SHORT: Duration = Duration::from_micros(1500);
/// Payloads of one block, and of two.
const ONE: usize = 24;
const TWO: usize = 70;
const TOO_LONG: usize = CAPACITY / 2;

const SLOTS: u32 = 6;
/// Offset of the ring's body in its segment: see `segment`.
const BODY: usize = 4096 * (1 + SLOTS as usize);
/// Offsets in the body: see `ring::mpsc::claims`.
const TAIL: usize = 128;
const HEAD: usize = 256;
const READ: usize = HEAD + 16;
const SEAT: usize = 384;
const WORDS: usize = 4096;
const BLOCKS: usize = 8192;

/// The victim's records, or, if it is the consumer, those of a producer that has gone; and the other one's.
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
    /// The next record that is pushed does not fit before the end, or the next one that is read is behind padding.
    Padded,
    Full,
    Empty,
    /// The consumer slept that wanted a record, or a producer that wanted room: the words say so still.
    Slept,
    /// The write index is one record behind, as the dead leave it.
    Behind,
    /// The last consumer died when it had freed a block of two.
    HalfFreed,
    /// The payload is too long.
    TooLarge,
    Damaged(Damage),
}

/// What somebody has done to the ring who does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// All words name a participant that is not there.
    NoSlot,
    /// The words of all blocks are none.
    NoWord,
    /// All records are written by the victim, which does nothing.
    Mine,
    /// Records go beyond the ring.
    Beyond,
    TailTooFar,
    TailOdd,
    Apart,
    HeadOdd,
    ReadBehind,
    /// Both indices are a lap ahead of the words.
    LapAhead,
    /// The first record's length, or its payload, is wrong.
    Length,
    Payload,
    Seat,
}

/// What another one does. Its claim is the first record that was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Gone,
    /// It stands still, or is dead, amid a write. A record of its own comes after that.
    Writes,
    WroteAndDied,
    /// It has the consumer's seat, and stands still, or is dead.
    Consumes,
    ConsumedAndDied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
    /// It has nothing, and opens the consumer's seat.
    Opener,
}

pub type Operation = fn(&Claims, &mut Victim, &Facts);

pub struct Claims {
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
    pub producer: Producer,
    pub consumer: Option<Consumer>,
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

/// The kind of a record says whose it is, and which.
pub fn kind(whose: u64, number: u64) -> u32 {
    (whose << 16 | number) as u32
}

/// Its payload follows from that: each second one takes two blocks.
pub fn payload(whose: u64, number: u64) -> ([u8; TOO_LONG], usize) {
    let mut bytes = [0; TOO_LONG];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = ((number + 7 * whose) as u8).wrapping_mul(31).wrapping_add(index as u8) | 1;
    }
    (bytes, if number % 2 == 1 { ONE - (number % 3) as usize * 5 } else { TWO })
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

const WANTED: &str = "as the ring is then";

impl Claims {
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

    /// What another one has done before, and does.
    fn begin(&self, facts: &Facts) -> (Attachment, Producer, Option<Consumer>) {
        let (me, mut producer) = self.producer();
        let mut consumer = self.consumer(&me);
        // After the fifth record there is one block before the end, and the sixth takes two.
        let rounds = match self.is {
            Is::Fresh => 0,
            Is::Padded => 5,
            _ => 2,
        };
        for _ in 0..rounds {
            push(&mut producer, MINE, facts).expect(WANTED);
            assert!(pop(&mut consumer, facts).expect(WANTED));
        }
        if matches!(self.other, Other::Writes | Other::WroteAndDied) {
            forget(producer.reserve(7, TWO).expect("room"));
            // It comes only when its producer has died, or has gone on: nobody counts on it.
            records(facts, OTHERS).push(1);
            let (bytes, len) = payload(OTHERS, 1);
            let mut second = self.ring.producer(&me).expect("its own segment").into_inner();
            second.try_push(kind(OTHERS, 1), &bytes[..len]).expect("room");
        }
        let keeps = matches!(self.other, Other::Consumes | Other::ConsumedAndDied);
        (me, producer, keeps.then_some(consumer))
    }

    /// Brings the ring into its state, by one that has gone then.
    fn bring(&self, facts: &Facts) {
        let (me, mut producer) = self.producer();
        match self.is {
            Is::Fresh | Is::Empty => {}
            Is::Full => while push(&mut producer, MINE, facts).is_ok() {},
            Is::Slept if self.role == Role::Producer => {
                let slept = self.consumer(&me).pop_timeout(&mut Vec::new(), SHORT);
                assert_eq!(slept, Err(PopTimeoutError::TimedOut));
            }
            Is::Slept => {
                while push(&mut producer, MINE, facts).is_ok() {}
                let slept = producer.push_timeout(0, &[0; TWO], SHORT);
                assert_eq!(slept, Err(PushTimeoutError::TimedOut));
            }
            Is::Padded if self.role == Role::Producer => {}
            Is::Behind => {
                push(&mut producer, MINE, facts).expect(WANTED);
                let before = self.ring.status().write_index;
                push(&mut producer, MINE, facts).expect(WANTED);
                // SAFETY: a word of the mapping; nobody else is at work.
                unsafe { *self.body(TAIL) = before };
            }
            _ => {
                push(&mut producer, MINE, facts).expect(WANTED);
                push(&mut producer, MINE, facts).expect(WANTED);
            }
        }
        if self.is == Is::HalfFreed {
            // It had read both, of three blocks, and freed the first.
            let status = self.ring.status();
            assert_eq!(status.write_index - status.read_index, 3 * BLOCK as u64);
            // SAFETY: as above.
            unsafe {
                *self.body(READ) = status.write_index;
                *self.word(status.read_index) = Claim::free(status.read_index / CAPACITY as u64 + 1).0;
            }
            let mine = records(facts, MINE);
            mine.may_be_read.set(mine.begun.get());
            mine.committed(mine.begun.get());
        }
    }

    fn body(&self, offset: usize) -> *mut u64 {
        let start = BODY + offset;
        assert!(start.is_multiple_of(8) && start + 8 <= self.memory.len(), "a word of the memory: {start}");
        // SAFETY: in bounds of the mapping, as was just seen.
        unsafe { self.memory.start().as_ptr().add(start).cast() }
    }

    /// The word of the block at a position.
    fn word(&self, position: u64) -> *mut u64 {
        self.body(WORDS + position as usize % CAPACITY / BLOCK * 8)
    }

    fn damage(&self, damage: Damage, me: &Attachment) {
        let first = self.ring.status().read_index;
        // SAFETY: words of the mapping; nobody else is at work.
        unsafe {
            assert_eq!(*self.body(HEAD) & !1, first, "as ring::mpsc::claims says");
            let all = |word: u64| (0..8).for_each(|block| *self.body(WORDS + 8 * block) = word);
            match damage {
                Damage::NoSlot => all(1 << 32 | 1 << 29 | 1 << 12 | 77),
                Damage::NoWord => all(1 << 30),
                Damage::Mine => all(Claim::writing(me.id(), 1).0),
                Damage::Beyond => all(Claim::writing(me.id(), 9).0),
                Damage::TailTooFar => *self.body(TAIL) = 1 << 63,
                Damage::TailOdd => *self.body(TAIL) += 8,
                Damage::Apart => *self.body(TAIL) += 2 * CAPACITY as u64,
                Damage::HeadOdd => *self.body(HEAD) += 8,
                Damage::ReadBehind => *self.body(READ) -= BLOCK as u64,
                Damage::LapAhead => [TAIL, HEAD, READ].iter().for_each(|&at| *self.body(at) += CAPACITY as u64),
                Damage::Length => *self.body(BLOCKS + first as usize % CAPACITY) |= 0xffff,
                Damage::Payload => *self.body(BLOCKS + first as usize % CAPACITY + 8) ^= 1,
                Damage::Seat => *self.body(SEAT) = 1 << 32 | 1 << 29 | 77,
            }
        }
    }

    /// What the victim has when its operation begins.
    fn victim(&self, facts: &Facts) -> Victim {
        let (mut me, producer) = self.producer();
        let consumer = (self.role == Role::Consumer).then(|| self.consumer(&me));
        if let Is::Damaged(damage) = self.is {
            self.damage(damage, &me);
        }
        if self.foreign {
            let other = Ring::memfd(&Options::new().slots(1), &Config::new(1024)).expect("a ring");
            me = brief(other.attach().expect("a free slot"));
        }
        WHOSE.iter().for_each(|&whose| records(facts, whose).next_reader());
        // In one state what is popped into has to grow.
        let bytes = Vec::with_capacity(if self.is == Is::Warm { 0 } else { TOO_LONG });
        let number = records(facts, MINE).begun.get() + 1;
        let mut payload = payload(MINE, number);
        if self.is == Is::TooLarge {
            payload.1 = TOO_LONG;
        }
        Victim { me, producer, consumer, bytes, number, payload, timeout: self.timeout }
    }
}

impl Subject for Claims {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.other {
            Other::Gone => drop(self.begin(facts)),
            Other::Writes | Other::Consumes => cast.stands(|| self.begin(facts)),
            Other::WroteAndDied | Other::ConsumedAndDied => cast.dies(|| self.begin(facts)),
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
        let (me, producer) = self.producer();
        Survivor { me, producer, consumer: None }
    }

    fn recover(&self, survivor: &mut Survivor, facts: &Facts) -> Result<&'static str, Finding> {
        WHOSE.iter().for_each(|&whose| records(facts, whose).next_reader());
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
        let consumer = match opened {
            Err(SeatError::Busy { .. }) if self.other == Other::Consumes || inherited => {
                return Ok("the consumer lives");
            }
            Err(error) => return Err(Finding::other(format!("the consumer's seat: {error}"))),
            Ok(opened) => opened.into_inner(),
        };
        let skips = self.ring.status().next_writer.is_some();
        let consumer = survivor.consumer.insert(consumer);
        while pop(consumer, facts)? {}
        Ok(if skips { "a record of a dead one" } else { "no record of a dead one" })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        let Some(consumer) = survivor.consumer.as_mut().filter(|_| self.other != Other::Writes) else {
            // What comes after a write that stands still waits for it; and who stands still with the seat reads nothing.
            return Ok(());
        };
        for whose in WHOSE {
            records(facts, whose).all_arrived()?;
        }
        // Records that were begun, and never committed, are gone: numbers go on. Each block has its turn.
        let mine = records(facts, MINE);
        for _ in 0..CAPACITY / BLOCK + 1 {
            mine.push(mine.last.get().max(mine.read.get()));
            push(&mut survivor.producer, MINE, facts)
                .map_err(|error| Finding::stuck(format!("a push after the recovery: {error}")))?;
            if !pop(consumer, facts)? {
                return Err(Finding::lost("a record that was pushed after the recovery"));
            }
        }
        let status = self.ring.status();
        if status.write_index != status.read_index {
            return Err(Finding::other(format!("a ring of which all was read is not empty: {status:?}")));
        }
        Ok(())
    }
}
