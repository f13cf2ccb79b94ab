//! The SPSC ring: a producer, or a consumer, dies in each of its operations, whatever the ring is like then.

mod operations;

pub use operations::cases;

use super::case::{FactsOf, Handles, brief};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject, Word};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::spsc::{
    Config, Consumer, Opened, PopTimeoutError, Producer, PushTimeoutError, Ring, SeatError, SeatStatus, TryPopError,
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

impl Subject for Spsc {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        // Who opens in the operation comes to a ring that others have brought into its state.
        let all = self.opens.is_some();
        let other = CONSUMER + PRODUCER - self.role;
        if all {
            let both = || {
                let me = brief(self.ring.attach().expect("a free slot"));
                let (mut producer, mut consumer) = (self.producer(&me), self.consumer(&me));
                self.bring(&mut producer, &mut consumer, facts);
                let vacant = |role| {
                    let mine = matches!(self.opens, Some(Opens::Vacant | Opens::Foreign));
                    role == other && self.peer == Peer::Vacant || mine && role != other
                };
                let producer = (!vacant(PRODUCER)).then_some(producer);
                let consumer = (!vacant(CONSUMER)).then_some(consumer);
                (me, producer, consumer)
            };
            if self.opens == Some(Opens::Taken) { cast.stands(both) } else { cast.dies(both) }
        } else if self.peer != Peer::Vacant {
            let one = || {
                let me = brief(self.ring.attach().expect("a free slot"));
                let (mut producer, mut consumer) = (self.producer(&me), self.consumer(&me));
                self.bring(&mut producer, &mut consumer, facts);
                let producer = (other == PRODUCER).then_some(producer);
                let consumer = (other == CONSUMER).then_some(consumer);
                (me, producer, consumer)
            };
            if self.peer == Peer::Stands { cast.stands(one) } else { cast.dies(one) }
        }
        if self.handles == Handles::Inherited {
            let mut inherited = self.seats(facts);
            // The other seat too: a child is to give up neither.
            inherited.producer = inherited.producer.or_else(|| Some(self.producer(&inherited.me)));
            inherited.consumer = inherited.consumer.or_else(|| Some(self.consumer(&inherited.me)));
            facts.word(HOLDS).set(0);
            self.inherited.replace(Some(inherited));
        }
    }

    fn attach(&self, facts: &Facts) -> Victim {
        match self.inherited.take() {
            Some(inherited) => inherited,
            None => self.seats(facts),
        }
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Survivor {
        Survivor { me: brief(self.ring.attach().expect("a free slot")), producer: None, consumer: None }
    }

    fn recover(&self, survivor: &mut Survivor, facts: &Facts) -> Result<&'static str, Finding> {
        if matches!(self.is, Is::Damaged(_)) {
            // Whether it can be opened depends on the damage: it is to be said, and nobody is to wait or to crash.
            survivor.producer = self.ring.producer(&survivor.me).ok().map(Opened::into_inner);
            survivor.consumer = self.ring.consumer(&survivor.me).ok().map(Opened::into_inner);
            return Ok("damaged");
        }
        let producer = self.take_over(survivor, PRODUCER, facts)?;
        let consumer = self.take_over(survivor, CONSUMER, facts)?;
        Ok(match (producer == Some(true), consumer == Some(true)) {
            (true, true) => "both seats of dead ones",
            (true, false) => "producer died",
            (false, true) => "consumer died",
            (false, false) => "no seat of a dead one",
        })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        let Some(consumer) = &mut survivor.consumer else { return Ok(()) };
        if matches!(self.is, Is::Damaged(_)) {
            // What is wrong with the next record is found, if anything is.
            let popped = consumer.try_pop(&mut Vec::new());
            let sound = matches!(self.is, Is::Damaged(Damage::Seats | Damage::Second));
            let fits = popped.is_err() || self.role == PRODUCER || sound;
            return if fits { Ok(()) } else { Err(Finding::other(format!("a damaged ring gave {popped:?}"))) };
        }
        let records = records(facts);
        records.next_reader();
        while pop(consumer, facts)? {}
        records.all_arrived()?;
        match self.wiped() {
            Err(finding) if self.ring.status().wipe => return Err(finding),
            // Or the look at the bytes is at other bytes.
            Ok(()) if !self.ring.status().wipe && records.ended.get() > 0 => {
                return Err(Finding::other("records were written, and the ring's bytes are all zero"));
            }
            _ => {}
        }
        let Some(producer) = &mut survivor.producer else { return Ok(()) };
        // Records that were begun, and never committed, are gone: numbers go on.
        for _ in 0..8 {
            let next = records.last.get().max(records.read.get());
            records.push(next);
            push(producer, facts).map_err(|error| Finding::stuck(format!("a push after the recovery: {error}")))?;
            if !pop(consumer, facts)? {
                return Err(Finding::lost("a record that was pushed after the recovery"));
            }
        }
        Ok(())
    }
}

impl Spsc {
    /// What the victim has when its operation begins.
    fn seats(&self, facts: &Facts) -> Victim {
        let me = match self.opens {
            Some(Opens::Foreign) => {
                let other = Ring::memfd(&Options::new().slots(1), &Config::new(CAPACITY)).expect("a ring");
                brief(other.attach().expect("a free slot"))
            }
            _ => brief(self.ring.attach().expect("a free slot")),
        };
        // In one state what is popped into has to grow.
        let bytes = Vec::with_capacity(if self.is == Is::Warm { 0 } else { CAPACITY });
        let timeout = self.timeout;
        let mut victim = Victim { me, producer: None, consumer: None, bytes, number: 0, payload: payload(0), timeout };
        if self.opens.is_some() {
            if let Is::Damaged(damage) = self.is {
                self.damage(damage);
            }
            records(facts).next_reader();
            return victim;
        }
        let (mut producer, mut consumer) = (None, None);
        if self.peer == Peer::Vacant {
            let (mut both, mut sides) = (self.producer(&victim.me), self.consumer(&victim.me));
            self.bring(&mut both, &mut sides, facts);
            (producer, consumer) = (Some(both), Some(sides));
        } else if self.role == CONSUMER {
            // Another process has read before: a reader begins anew.
            records(facts).next_reader();
        }
        if self.role == PRODUCER {
            drop(consumer);
            victim.producer = producer.or_else(|| Some(self.producer(&victim.me)));
        } else {
            drop(producer);
            victim.consumer = consumer.or_else(|| Some(self.consumer(&victim.me)));
        }
        if let Is::Damaged(damage) = self.is {
            self.damage(damage);
        }
        facts.word(HOLDS).set(self.role);
        victim.number = records(facts).begun.get() + 1;
        victim.payload = payload(victim.number);
        if self.is == Is::TooLarge {
            victim.payload.1 = TOO_LONG;
        }
        victim
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
