//! The MPSC ring of lanes: a producer, or the consumer, dies in each of its operations, beside another producer.

mod operations;
mod subject;

pub use operations::cases;

use super::case::{Handles, brief};
use super::records::{self, FACTS_LEFT, MINE, OTHERS, Sides, arrives, records};
use ownerdead::harness::kill::{Facts, Finding, Memory};
use ownerdead::owner::Attachment;
use ownerdead::ring::mpsc::lanes::{
    Config, Consumer, PopTimeoutError, Producer, PushTimeoutError, Ring, TryPopError, TryPushError,
};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::time::Duration;

/// Bytes of a lane: four records.
const CAPACITY: usize = 256;
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
const SHORT: Duration = Duration::from_micros(1500);
const LONGEST: usize = 24;
const AS_LONG_AS_CAN_BE: usize = CAPACITY / 2 - 24;
const TOO_LONG: usize = 128;

const SLOTS: u32 = 6;
/// Offset of the ring's body in its segment: see `segment`.
const BODY: usize = 4096 * (1 + SLOTS as usize);
/// Offsets in the body: see `ring::mpsc::lanes`.
const LANE_WORDS: usize = 4096;
const LANE: usize = 1024;
const CONSUMER_SEAT: usize = 256;
const TAIL: usize = 128;
const HEAD: usize = 256;
const PRODUCER_SEAT: usize = 384;

/// The third are those of the other producer's second lane.
const WHOSE: [u64; 3] = [MINE, OTHERS, 2];
/// Which seat the victim has for sure: 0, or a role.
const HOLDS: usize = FACTS_LEFT;
const PRODUCER: u64 = 1;
const CONSUMER: u64 = 2;

/// What the ring is like when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// Some records are in each lane, and some were read.
    Warm,
    /// The next record that is pushed does not fit before the end, or the next one that is read is behind padding.
    Padded,
    /// The victim's lane is full.
    Full,
    /// The producer last saw its lane full, and some were read since.
    ReadSince,
    /// All lanes are empty.
    Empty,
    /// The consumer last saw all empty, and both have pushed since.
    PushedSince,
    /// The last lane alone has a record, and the consumer last saw all empty.
    Last,
    /// Three lanes have records, in the order of the lanes, then the other way round. One was read.
    Three,
    /// The same, and the consumer knows the first of each lane, and has read none.
    Known,
    /// The same the other way round.
    Turned,
    /// The other side sleeps, or did when it was stopped.
    Slept,
    /// The records are as long as can be.
    Long,
    /// The payload fits in no lane.
    TooLarge,
    /// The batch is of no records.
    NoBatch,
    Damaged(Damage),
}

/// What somebody has done to the ring who does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The other side's index is less than it was.
    WentBack,
    Odd,
    TooFar,
    Apart,
    /// A record ends behind the write index.
    TooLong,
    EndlessPadding,
    /// A record has no room for its number.
    NoNumber,
    Payload,
    /// The first records of all lanes have the same number.
    Numbers,
    /// All seats are of a slot that is not there.
    Seats,
    SeatsOfEmpty,
    /// What the second record of a batch meets.
    Second,
}

/// What the other producer does; if the victim is a producer, it has the consumer's seat too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// It has closed its seats.
    Gone,
    Stands,
    Dead,
}

/// How the victim finds what it opens in the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// There is a seat.
    Free,
    /// All are taken.
    Taken,
    /// The victim is attached to another segment.
    Foreign,
}

pub type Operation = fn(&Lanes, &mut Victim, &Facts);

pub struct Lanes {
    pub ring: Ring,
    memory: Memory,
    role: u64,
    pub is: Is,
    other: Other,
    opens: Option<Opens>,
    handles: Handles,
    timeout: Option<Duration>,
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

pub struct Victim {
    pub me: Attachment,
    pub producer: Option<Producer>,
    pub consumer: Option<Consumer>,
    pub bytes: Vec<u8>,
    pub number: u64,
    pub payload: ([u8; TOO_LONG], usize),
    pub timeout: Option<Duration>,
}

/// The victim's seats.
pub fn seated<T>(seat: &mut Option<T>) -> &mut T {
    seat.as_mut().expect("the seat that the operation is of")
}

impl Sides for Victim {
    type Producer = Producer;
    type Consumer = Consumer;
    const WHOSE: u64 = WHOSE.len() as u64;

    fn pushing(&mut self) -> (&mut Producer, u64, &[u8]) {
        let (bytes, len) = &self.payload;
        (seated(&mut self.producer), self.number, &bytes[..*len])
    }

    fn popping(&mut self) -> (&mut Consumer, &mut Vec<u8>) {
        (seated(&mut self.consumer), &mut self.bytes)
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

pub struct Survivor {
    me: Attachment,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
}

/// The payload of a record; those of more than 1000 are as long as can be.
pub fn payload(whose: u64, number: u64) -> ([u8; TOO_LONG], usize) {
    let len = if number > 1000 { AS_LONG_AS_CAN_BE } else { LONGEST - (number % 3) as usize * 5 };
    (records::bytes(whose, number), len)
}

fn push(producer: &mut Producer, whose: u64, facts: &Facts) -> Result<(), TryPushError> {
    records::push(producer, whose, facts, payload)
}

fn pop(consumer: &mut Consumer, facts: &Facts) -> Result<bool, Finding> {
    let mut bytes = Vec::new();
    match consumer.try_pop(&mut bytes) {
        Ok(kind) => {
            let (whose, number) = arrives(kind, &bytes, &WHOSE, facts, payload)?;
            records(facts, whose).committed(number);
            Ok(true)
        }
        Err(TryPopError::Empty) => Ok(false),
        Err(error) => Err(Finding::other(format!("a pop: {error}"))),
    }
}

impl Lanes {
    /// With so many lanes, of which two at most are used, or three.
    pub fn new(config: Config, role: u64, is: Is, other: Other, operation: Operation) -> Self {
        let ring = Ring::memfd(&Options::new().slots(SLOTS), &config).expect("a ring");
        let memory = Memory::of(ring.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (opens, handles, inherited) = (None, Handles::Own, RefCell::new(None));
        Self { ring, memory, role, is, other, opens, handles, timeout: Some(SHORT), inherited, operation }
    }

    pub fn opening(self, opens: Opens) -> Self {
        Self { opens: Some(opens), ..self }
    }

    pub fn inherited(self) -> Self {
        Self { handles: Handles::Inherited, ..self }
    }

    pub fn waiting(self, timeout: Option<Duration>) -> Self {
        Self { timeout, ..self }
    }

    fn producer(&self, me: &Attachment) -> Producer {
        self.ring.producer(me).expect("a lane").into_inner()
    }

    /// The other producer: of one lane, or two, if there is one.
    fn others(&self, me: &Attachment) -> Vec<Producer> {
        let of = match self.is {
            Is::Three | Is::Known | Is::Turned | Is::Damaged(Damage::Numbers) => 2,
            _ => (self.ring.lanes() - 1).min(1),
        };
        (0..of).map(|_| self.producer(me)).collect()
    }

    fn consumer(&self, me: &Attachment) -> Consumer {
        self.ring.consumer(me).expect("a seat that is free").into_inner()
    }

    /// Brings the ring into its state, with all seats open: private indices are part of the state.
    fn bring(&self, mine: &mut Producer, others: &mut [Producer], consumer: &mut Consumer, facts: &Facts) {
        let wanted = "as the ring is then";
        let push_of = |(whose, other): (u64, &mut Producer)| push(other, whose, facts).expect(wanted);
        let push_of_others = |others: &mut [Producer]| (OTHERS..).zip(others).for_each(push_of);
        let empties = |consumer: &mut Consumer| while pop(consumer, facts).expect(wanted) {};
        match self.is {
            Is::Warm | Is::TooLarge | Is::NoBatch | Is::Damaged(Damage::Second) => {
                for _ in 0..2 {
                    push(mine, MINE, facts).expect(wanted);
                    push_of_others(others);
                }
                let second = self.is == Is::Damaged(Damage::Second);
                if second && self.role == PRODUCER {
                    // Then there is room for one more, without a look at what was read.
                    (0..2).for_each(|_| push(mine, MINE, facts).expect(wanted));
                } else if !second {
                    pop(consumer, facts).expect(wanted);
                }
            }
            Is::Padded => {
                let room =
                    |ring: &Ring, lane: usize| CAPACITY - ring.status().lanes[lane].write_index as usize % CAPACITY;
                while room(&self.ring, mine.lane()) >= LONGEST + 24 {
                    push(mine, MINE, facts).expect(wanted);
                    empties(consumer);
                }
                if self.role == CONSUMER {
                    push(mine, MINE, facts).expect(wanted);
                }
            }
            Is::Full => while push(mine, MINE, facts).is_ok() {},
            Is::ReadSince => {
                while push(mine, MINE, facts).is_ok() {}
                (0..2).for_each(|_| assert!(pop(consumer, facts).expect(wanted)));
            }
            Is::Empty | Is::Damaged(Damage::SeatsOfEmpty) => {
                push(mine, MINE, facts).expect(wanted);
                empties(consumer);
            }
            Is::Last => {
                empties(consumer);
                push_of_others(others);
            }
            Is::PushedSince => {
                empties(consumer);
                push_of_others(others);
                push(mine, MINE, facts).expect(wanted);
            }
            Is::Three | Is::Known | Is::Turned | Is::Damaged(Damage::Numbers) => {
                let turned = self.is == Is::Turned;
                for turned in [turned, !turned] {
                    if turned {
                        WHOSE[1..].iter().copied().zip(&mut *others).rev().for_each(push_of);
                    }
                    push(mine, MINE, facts).expect(wanted);
                    if !turned {
                        push_of_others(others);
                    }
                }
                match self.is {
                    Is::Three => assert!(pop(consumer, facts).expect(wanted)),
                    Is::Known | Is::Turned => assert!(consumer.peek().is_ok()),
                    _ => {}
                }
            }
            Is::Slept if self.role == PRODUCER => {
                let slept = consumer.pop_timeout(&mut Vec::new(), SHORT);
                assert_eq!(slept, Err(PopTimeoutError::TimedOut));
            }
            Is::Slept => {
                while push(mine, MINE, facts).is_ok() {}
                let slept = mine.push_timeout(0, &[0; LONGEST], SHORT);
                assert_eq!(slept, Err(PushTimeoutError::TimedOut));
            }
            Is::Long => {
                let mine_facts = records(facts, MINE);
                for fact in
                    [mine_facts.begun, mine_facts.ended, mine_facts.may_be_read, mine_facts.read, mine_facts.last]
                {
                    fact.set(1000);
                }
                push(mine, MINE, facts).expect(wanted);
                if self.role == PRODUCER {
                    empties(consumer);
                }
            }
            Is::Damaged(Damage::WentBack | Damage::Odd | Damage::TooFar | Damage::Apart) if self.role == PRODUCER => {
                push(mine, MINE, facts).expect(wanted);
                empties(consumer);
                while push(mine, MINE, facts).is_ok() {}
            }
            Is::Damaged(Damage::WentBack | Damage::Odd | Damage::TooFar | Damage::Apart) => {
                push(mine, MINE, facts).expect(wanted);
                empties(consumer);
            }
            Is::Damaged(Damage::Seats) if self.role == PRODUCER => while push(mine, MINE, facts).is_ok() {},
            Is::Damaged(_) => push(mine, MINE, facts).expect(wanted),
        }
    }

    fn body(&self, offset: usize) -> *mut u64 {
        let start = BODY + offset;
        assert!(start.is_multiple_of(8) && start + 8 <= self.memory.len(), "a word of the memory: {start}");
        // SAFETY: in bounds of the mapping, as was just seen.
        unsafe { self.memory.start().as_ptr().add(start).cast() }
    }

    /// Damages the lane of the victim's producer, which has number `lane`, when both sides have come to know what they know.
    fn damage(&self, damage: Damage, lane: usize) {
        let words = LANE_WORDS + lane * LANE;
        let index = words + if self.role == PRODUCER { HEAD } else { TAIL };
        let (lanes, all) = (self.ring.lanes(), self.ring.status().lanes);
        let status = all[lane];
        let records = |lane: usize| (LANE_WORDS + LANE * lanes).next_multiple_of(4096) + lane * CAPACITY;
        let at = |position: u64| self.body(records(lane) + position as usize % CAPACITY);
        // SAFETY: words of the mapping; nobody else is at work.
        unsafe {
            assert_eq!(*self.body(words + TAIL) & !1, status.write_index, "as ring::mpsc::lanes says");
            let (index, next) = (self.body(index), at(status.read_index));
            let with_length = |place: *mut u64, length: u64| *place = (*place & !0xffff_ffff) | length;
            match damage {
                Damage::WentBack => *index -= 8,
                Damage::Odd => *index += 4,
                Damage::TooFar => *index = 1 << 63,
                Damage::Apart => *index += 1 << 20,
                Damage::TooLong => with_length(next, 200),
                Damage::EndlessPadding => *next |= 0xffff_ffff,
                Damage::NoNumber => with_length(next, 7),
                Damage::Payload => *next.add(2) ^= 1,
                // They are where the lanes begin.
                Damage::Numbers => (0..lanes).for_each(|lane| *self.body(records(lane) + 8) = 7),
                Damage::Second if self.role == PRODUCER => *index += 4,
                Damage::Second => with_length(at(status.write_index - 40), 200),
                Damage::Seats | Damage::SeatsOfEmpty => {
                    let seats = (0..lanes).map(|lane| LANE_WORDS + lane * LANE + PRODUCER_SEAT);
                    for seat in seats.chain([CONSUMER_SEAT]) {
                        *self.body(seat) = 1 << 32 | 1 << 29 | 77;
                    }
                }
            }
        }
    }

    /// What the victim has when its operation begins.
    fn seats(&self, facts: &Facts) -> Victim {
        let me = match self.opens {
            Some(Opens::Foreign) => {
                let other = Ring::memfd(&Options::new().slots(1), &Config::new(1, CAPACITY)).expect("a ring");
                brief(other.attach().expect("a free slot"))
            }
            _ => brief(self.ring.attach().expect("a free slot")),
        };
        // In one state what is popped into has to grow.
        let bytes = Vec::with_capacity(if self.is == Is::Warm { 0 } else { CAPACITY });
        let (payload, timeout) = (payload(MINE, 0), self.timeout);
        let mut victim = Victim { me, producer: None, consumer: None, bytes, number: 0, payload, timeout };
        if self.opens.is_some() {
            if let Is::Damaged(damage) = self.is {
                self.damage(damage, 0);
            }
        } else if self.other == Other::Gone {
            // It is all of them, in this state.
            let mut mine = self.producer(&victim.me);
            let lane = mine.lane();
            let (mut others, mut consumer) = (self.others(&victim.me), self.consumer(&victim.me));
            self.bring(&mut mine, &mut others, &mut consumer, facts);
            drop(others);
            if self.role == PRODUCER {
                drop(consumer);
                victim.producer = Some(mine);
            } else {
                drop(mine);
                victim.consumer = Some(consumer);
            }
            if let Is::Damaged(damage) = self.is {
                self.damage(damage, lane);
            }
        } else if self.role == PRODUCER {
            victim.producer = Some(self.producer(&victim.me));
        } else {
            WHOSE.iter().for_each(|&whose| records(facts, whose).next_reader());
            victim.consumer = Some(self.consumer(&victim.me));
        }
        facts.word(HOLDS).set(if self.opens.is_some() { 0 } else { self.role });
        victim.number = records(facts, MINE).begun.get() + 1;
        victim.payload = self::payload(MINE, victim.number);
        if self.is == Is::TooLarge {
            victim.payload.1 = TOO_LONG;
        }
        victim
    }
}
