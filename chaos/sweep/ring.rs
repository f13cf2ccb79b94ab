//! The SPSC ring: a producer, or a consumer, dies in each of its operations, whatever the ring is like then.

mod operations;
mod subject;

pub use operations::cases;

use super::case::{FactsOf, Handles};
use ownerdead::harness::kill::{Facts, Finding, Memory, Word};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::spsc::{
    Config, Consumer, PopTimeoutError, Producer, PushTimeoutError, Ring, SeatError, SeatStatus, TryPopError,
    TryPushError,
};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::time::Duration;

/// Bytes of the ring: five records, so that it is soon full, and a padding record soon needed.
const CAPACITY: usize = 256;
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
const SHORT: Duration = Duration::from_micros(1500);
/// Longest payload, in bytes; but for one that is too long for the ring.
const LONGEST: usize = 24;
const TOO_LONG: usize = 128;
/// From this record on payloads are as long as the ring allows: what copies and sums them does so in larger steps.
const LONG_FROM: u64 = 1001;
const AS_LONG_AS_CAN_BE: usize = CAPACITY / 2 - 16;

const SLOTS: u32 = 6;
/// Offset of the ring's body in its segment: see `segment`.
const BODY: usize = 4096 * (1 + SLOTS as usize);
/// Offsets in the ring's body: see `ring::spsc`.
const RECORDS: usize = 4096;
const TAIL: usize = 128;
const HEAD: usize = 256;
const SEATS_AT: [usize; 2] = [384, 512];

/// Words of the facts.
const FACTS: FactsOf<5> = FactsOf([0, 1, 2, 3, 4]);
/// Seats that the victim has for sure: bit 0 the producer's, bit 1 the consumer's.
const HOLDS: usize = 5;
const PRODUCER: u64 = 1;
const CONSUMER: u64 = 2;

/// What the ring is like when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// As it was made.
    Fresh,
    /// Some records are in it, and some were read.
    Warm,
    /// The next record that is pushed does not fit before the end.
    AtTheEnd,
    /// The next record that is read is behind a padding record.
    Padded,
    /// Full.
    Full,
    /// The producer last saw it full, and some were read since.
    ReadSince,
    /// The consumer last saw it empty, and some were pushed since.
    PushedSince,
    /// The other side sleeps, or did when it was stopped.
    Slept,
    /// Empty.
    Empty,
    /// Records are as long as can be: one at most is in it.
    Long,
    /// Warm, and the batch is of no records.
    NoBatch,
    /// Warm, and the payload does not fit in a ring of this size.
    TooLarge,
    /// Damaged, by somebody who does not follow the protocol: so.
    Damaged(Damage),
}

/// What is wrong with a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The other side's index is less than it was.
    WentBack,
    /// The other side's index is no multiple of 8.
    Odd,
    /// The other side's index is beyond all that a ring comes to.
    TooFar,
    /// The indices do not fit each other.
    Apart,
    /// A record ends behind the write index.
    TooLong,
    /// A padding record has nothing behind it.
    EndlessPadding,
    /// A record is not as it was written.
    Payload,
    /// Both seats are of a slot that is not there.
    Seats,
    /// The same, of an empty ring.
    SeatsOfEmpty,
    /// What the second record of a batch meets.
    Second,
    /// None, as the next one; and the producer sleeps.
    UnwipedSlept,
    /// None: what was read is not zeroed yet, in a ring with wipe.
    Unwiped,
    /// More was read than was written, by the index of a ring with wipe.
    Read,
}

/// Whose the other seat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// Nobody's.
    Vacant,
    /// Of one that stands still.
    Stands,
    /// Of a dead one.
    Dead,
}

type Operation = fn(&Spsc, &mut Victim, &Facts);

pub struct Spsc {
    ring: Ring,
    memory: Memory,
    role: u64,
    is: Is,
    peer: Peer,
    /// The victim opens its seat in the operation, not before.
    opens: Option<Opens>,
    handles: Handles,
    /// What the victim's operation may wait for; for ever, if nothing.
    timeout: Option<Duration>,
    /// Those of the engine's process, which its children inherit.
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

/// How the victim finds the seat that it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opens {
    /// Nobody's.
    Vacant,
    /// A dead one's.
    Dead,
    /// Of one that stands still.
    Taken,
    /// Nobody's, and the victim is attached to another segment.
    Foreign,
}

pub struct Victim {
    me: Attachment,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    /// What it pops into, and the record that it pushes.
    bytes: Vec<u8>,
    number: u64,
    payload: ([u8; TOO_LONG], usize),
    timeout: Option<Duration>,
}

pub struct Survivor {
    me: Attachment,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
}

/// The payload of record `number`: its length and its bytes follow from it.
fn payload(number: u64) -> ([u8; TOO_LONG], usize) {
    let mut bytes = [0; TOO_LONG];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = (number as u8).wrapping_mul(31).wrapping_add(index as u8) | 1;
    }
    (bytes, if number >= LONG_FROM { AS_LONG_AS_CAN_BE } else { LONGEST - (number % 3) as usize * 5 })
}

/// In operations: made before, so that its instructions are not the operation's.
fn records(facts: &Facts) -> Records<&Word, &Word> {
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
    let records = records(facts);
    let mut bytes = Vec::new();
    match consumer.try_pop(&mut bytes) {
        Ok(number) => {
            let (expected, len) = payload(number.into());
            records.arrived(number.into(), bytes == expected[..len])?;
            records.committed(number.into());
            Ok(true)
        }
        Err(TryPopError::Empty) => Ok(false),
        Err(error) => Err(Finding::other(format!("a pop: {error}"))),
    }
}

impl Spsc {
    fn new(config: Config, role: u64, is: Is, peer: Peer, operation: Operation) -> Self {
        let ring = Ring::memfd(&Options::new().slots(SLOTS), &config).expect("a ring");
        let memory = Memory::of(ring.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (opens, handles, inherited) = (None, Handles::Own, RefCell::new(None));
        Self { ring, memory, role, is, peer, opens, handles, timeout: Some(SHORT), inherited, operation }
    }

    fn producer(&self, me: &Attachment) -> Producer {
        self.ring.producer(me).expect("a seat that is free").into_inner()
    }

    fn consumer(&self, me: &Attachment) -> Consumer {
        self.ring.consumer(me).expect("a seat that is free").into_inner()
    }

    /// Brings the ring into its state, with both seats open, and leaves them so: private indices are part of the state.
    fn bring(&self, producer: &mut Producer, consumer: &mut Consumer, facts: &Facts) {
        let wanted = "as the ring is then";
        let empties = |consumer: &mut Consumer| while pop(consumer, facts).expect(wanted) {};
        match self.is {
            Is::Fresh => {}
            Is::Long => {
                let all = records(facts);
                for fact in [all.begun, all.ended, all.may_be_read, all.read, all.last] {
                    fact.set(LONG_FROM - 1);
                }
                push(producer, facts).expect(wanted);
                if self.role == PRODUCER {
                    empties(consumer);
                }
            }
            // Room for one record that a producer knows of, and two to read.
            Is::Damaged(Damage::Second) => {
                while CAPACITY - self.ring.status().used as usize >= 2 * (LONGEST + 16) {
                    push(producer, facts).expect(wanted);
                }
            }
            Is::Damaged(Damage::Read | Damage::Unwiped | Damage::UnwipedSlept) => push(producer, facts).expect(wanted),
            // A producer looks at the other index when the ring seems full, a consumer when it seems empty.
            Is::Damaged(_) if self.role == PRODUCER => {
                push(producer, facts).expect(wanted);
                empties(consumer);
                while push(producer, facts).is_ok() {}
            }
            Is::Damaged(Damage::TooLong | Damage::EndlessPadding | Damage::Payload | Damage::Seats) => {
                push(producer, facts).expect(wanted);
            }
            Is::Damaged(_) => {
                push(producer, facts).expect(wanted);
                empties(consumer);
            }
            Is::Warm | Is::TooLarge | Is::NoBatch => {
                (0..3).for_each(|_| push(producer, facts).expect(wanted));
                pop(consumer, facts).expect(wanted);
            }
            Is::Empty => {
                push(producer, facts).expect(wanted);
                empties(consumer);
            }
            Is::AtTheEnd | Is::Padded => {
                let room = |ring: &Ring| CAPACITY - ring.status().write_index as usize % CAPACITY;
                while room(&self.ring) >= LONGEST + 16 {
                    push(producer, facts).expect(wanted);
                    empties(consumer);
                }
                if self.is == Is::Padded {
                    push(producer, facts).expect(wanted);
                }
            }
            Is::Full => while push(producer, facts).is_ok() {},
            Is::ReadSince => {
                while push(producer, facts).is_ok() {}
                (0..2).for_each(|_| assert!(pop(consumer, facts).expect(wanted)));
            }
            Is::PushedSince => {
                push(producer, facts).expect(wanted);
                empties(consumer);
                push(producer, facts).expect(wanted);
            }
            Is::Slept if self.role == PRODUCER => {
                let slept = consumer.pop_timeout(&mut Vec::new(), SHORT);
                assert_eq!(slept, Err(PopTimeoutError::TimedOut));
            }
            Is::Slept => {
                while push(producer, facts).is_ok() {}
                let slept = producer.push_timeout(0, &[0; LONGEST], SHORT);
                assert_eq!(slept, Err(PushTimeoutError::TimedOut));
            }
        }
    }

    /// Where the ring's body has this offset.
    fn body(&self, offset: usize) -> *mut u64 {
        let start = BODY + offset;
        assert!(start.is_multiple_of(8) && start + 8 <= self.memory.len(), "a word of the memory: {start}");
        // SAFETY: in bounds of the mapping, as was just seen.
        unsafe { self.memory.start().as_ptr().add(start).cast() }
    }

    /// Damages the ring, when both sides have come to know what they know.
    fn damage(&self, damage: Damage) {
        let (index, other) = if self.role == PRODUCER { (HEAD, TAIL) } else { (TAIL, HEAD) };
        let status = self.ring.status();
        let at = |offset: usize| RECORDS + offset % CAPACITY;
        // SAFETY: words of the mapping; nobody else is at work.
        let (index, other) = unsafe { (self.body(index), *self.body(other)) };
        // SAFETY: as above, all of them.
        unsafe {
            assert_eq!(
                [*self.body(TAIL), *self.body(HEAD)],
                [status.write_index, status.read_index],
                "as ring::spsc says"
            );
            let next = self.body(at(if self.role == CONSUMER { other } else { *index } as usize));
            match damage {
                Damage::WentBack => *index -= 8,
                Damage::Odd => *index += 4,
                Damage::TooFar => *index = 1 << 63,
                Damage::Apart => *index += 1 << 20,
                Damage::TooLong => *next = (*next & !0xffff_ffff) | 200,
                Damage::EndlessPadding => *next |= 0xffff_ffff,
                Damage::Payload => *next.add(1) ^= 1,
                Damage::Second if self.role == PRODUCER => *index += 4,
                Damage::Second => {
                    let second = self.body(at(status.read_index as usize + 16 + payload(1).1.next_multiple_of(8)));
                    *second = (*second & !0xffff_ffff) | 200;
                }
                Damage::UnwipedSlept => {
                    *self.body(HEAD + 16) = status.write_index;
                    *self.body(HEAD) |= 1;
                }
                Damage::Unwiped => *self.body(HEAD + 16) = status.write_index,
                Damage::Read => *self.body(HEAD + 16) = 1 << 20,
                Damage::Seats | Damage::SeatsOfEmpty => {
                    SEATS_AT.iter().for_each(|&seat| *self.body(seat) = 1 << 32 | 1 << 29 | 77)
                }
            }
        }
    }

    fn open(&self, me: &Attachment, role: u64) -> Result<(bool, u64, Seat), SeatError> {
        if role == PRODUCER {
            let opened = self.ring.producer(me)?;
            let died = opened.owner_died();
            let seat = opened.into_inner();
            Ok((died, seat.generation(), Seat::Producer(seat)))
        } else {
            let opened = self.ring.consumer(me)?;
            let died = opened.owner_died();
            let seat = opened.into_inner();
            Ok((died, seat.generation(), Seat::Consumer(seat)))
        }
    }

    /// A survivor opens a seat; whether its holder had died, or nothing if one who lives has it.
    fn take_over(&self, survivor: &mut Survivor, role: u64, facts: &Facts) -> Result<Option<bool>, Finding> {
        let status = self.ring.status();
        let SeatStatus { generation: before, state, .. } =
            if role == PRODUCER { status.producer } else { status.consumer };
        let name = if role == PRODUCER { "producer" } else { "consumer" };
        let stands =
            role != self.role && self.peer == Peer::Stands || role == self.role && self.opens == Some(Opens::Taken);
        let stands = stands || self.handles == Handles::Inherited;
        if facts.word(HOLDS).get() & role != 0 && !matches!(state, SeatState::Dead(_)) {
            return Err(Finding::lost(format!(
                "the dead {name}'s seat is {state:?}, expected that it is a dead one's"
            )));
        }
        match self.open(&survivor.me, role) {
            Ok((died, generation, seat)) => {
                let expected = before + u64::from(died);
                if generation != expected || died != matches!(state, SeatState::Dead(_)) {
                    return Err(Finding::other(format!(
                        "the {name}'s seat was {state:?} at generation {before}; opened with owner died: {died}, generation \
                         {generation}, expected {expected}"
                    )));
                }
                match seat {
                    Seat::Producer(producer) => survivor.producer = Some(producer),
                    Seat::Consumer(consumer) => survivor.consumer = Some(consumer),
                }
                if stands {
                    return Err(Finding::duplicated(format!("one who lives has the {name}'s seat, and it was opened")));
                }
                Ok(Some(died))
            }
            Err(SeatError::Busy { .. }) if stands => Ok(None),
            Err(error) => Err(Finding::stuck(format!("the {name}'s seat: {error}"))),
        }
    }
}

enum Seat {
    Producer(Producer),
    Consumer(Consumer),
}
