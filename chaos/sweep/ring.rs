//! The SPSC ring: a producer, or a consumer, dies in each of its operations, whatever the ring is like then.

use super::case::{Case, FactsOf, Handles};
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
    for (index, byte) in bytes[..LONGEST].iter_mut().enumerate() {
        *byte = (number as u8).wrapping_mul(31).wrapping_add(index as u8) | 1;
    }
    (bytes, LONGEST - (number % 3) as usize * 5)
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
            Is::Damaged(Damage::Read) => push(producer, facts).expect(wanted),
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
            Is::Warm | Is::TooLarge => {
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
                Damage::Read => *self.body(HEAD + 16) = 1 << 20,
                Damage::Seats => SEATS_AT.iter().for_each(|&seat| *self.body(seat) = 1 << 32 | 1 << 29 | 77),
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
                let me = self.ring.attach().expect("a free slot");
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
                let me = self.ring.attach().expect("a free slot");
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
        Survivor { me: self.ring.attach().expect("a free slot"), producer: None, consumer: None }
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
            // One record at most is there, and what is wrong with it is found.
            let popped = consumer.try_pop(&mut Vec::new());
            let fits = popped.is_err() || self.role == PRODUCER || self.is == Is::Damaged(Damage::Seats);
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
                other.attach().expect("a free slot")
            }
            _ => self.ring.attach().expect("a free slot"),
        };
        let bytes = Vec::with_capacity(CAPACITY);
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

/// Defines operations: functions of their own, so that their instructions are.
macro_rules! operations {
    ($($name:ident($subject:ident, $victim:ident, $facts:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name($subject: &Spsc, $victim: &mut Victim, $facts: &Facts) $body
    )+};
}

/// The victim's seats.
fn seated<T>(seat: &mut Option<T>) -> &mut T {
    seat.as_mut().expect("the seat that the operation is of")
}

/// One record, by `push`; it may be refused.
macro_rules! pushes {
    ($victim:ident, $facts:ident, |$producer:ident, $kind:ident, $bytes:ident| $push:expr) => {{
        let records = records($facts);
        let (number, (bytes, len)) = ($victim.number, &$victim.payload);
        let ($producer, $kind, $bytes) = (seated(&mut $victim.producer), number as u32, &bytes[..*len]);
        records.push(number);
        match $push {
            Ok(_) => records.pushed(number),
            Err(_) => records.push(number - 1),
        }
    }};
}

/// One record, by `pop`; there may be none.
macro_rules! pops {
    ($victim:ident, $facts:ident, |$consumer:ident, $bytes:ident| $pop:expr) => {{
        let records = records($facts);
        records.read_unseen();
        let ($consumer, $bytes) = (seated(&mut $victim.consumer), &mut $victim.bytes);
        if let Ok(number) = $pop {
            records.committed(number.into());
        }
    }};
}

operations! {
    try_push(_s, victim, facts) { pushes!(victim, facts, |producer, kind, bytes| producer.try_push(kind, bytes)) }
    push_blocking(_s, victim, facts) { pushes!(victim, facts, |producer, kind, bytes| producer.push(kind, bytes)) }
    push_timeout(_s, victim, facts) {
        let timeout = victim.timeout.unwrap_or(Duration::MAX);
        pushes!(victim, facts, |producer, kind, bytes| producer.push_timeout(kind, bytes, timeout))
    }
    reserve(_s, victim, facts) {
        pushes!(victim, facts, |producer, kind, bytes| producer.reserve(kind, bytes.len()).and_then(|mut reservation| {
            reservation.write(0, &bytes[..5]);
            reservation.write(5, &bytes[5..]);
            reservation.commit()
        }))
    }
    reserve_and_drop(_s, victim, _facts) {
        let (bytes, len) = &victim.payload;
        if let Ok(mut reservation) = seated(&mut victim.producer).reserve(1, *len) {
            reservation.write(0, &bytes[..*len]);
        }
    }
    push_batch(_s, victim, facts) {
        let records = records(facts);
        let first = victim.number;
        let [second, third] = [first + 1, first + 2].map(payload);
        let all = [(first, &victim.payload), (first + 1, &second), (first + 2, &third)];
        let batch = all.iter().map(|&(number, (bytes, len))| (number as u32, &bytes[..*len]));
        records.push(first + 2);
        let count = seated(&mut victim.producer).push_batch(batch).unwrap_or(0) as u64;
        records.push(first - 1 + count);
        records.pushed(first - 1 + count);
    }
    beat_producer(_s, victim, _facts) { seated(&mut victim.producer).beat() }
    wait_consumer(_s, victim, _facts) { let _ = seated(&mut victim.producer).wait_consumer(victim.timeout); }
    close_producer(_s, victim, facts) {
        facts.word(HOLDS).set(0);
        victim.producer = None;
    }
    open_producer(subject, victim, _facts) { victim.producer = subject.ring.producer(&victim.me).map(Opened::into_inner).ok(); }

    try_pop(_s, victim, facts) { pops!(victim, facts, |consumer, bytes| consumer.try_pop(bytes)) }
    pop_blocking(_s, victim, facts) { pops!(victim, facts, |consumer, bytes| consumer.pop(bytes)) }
    pop_timeout(_s, victim, facts) {
        let timeout = victim.timeout.unwrap_or(Duration::MAX);
        pops!(victim, facts, |consumer, bytes| consumer.pop_timeout(bytes, timeout))
    }
    peek(_s, victim, facts) {
        pops!(victim, facts, |consumer, bytes| consumer.peek().map(|peek| {
            let _ = peek.copy_to(bytes);
            let number = peek.kind();
            peek.consume();
            number
        }))
    }
    peek_and_drop(_s, victim, _facts) { let _ = seated(&mut victim.consumer).peek().map(|peek| peek.len()); }
    pop_batch(_s, victim, facts) {
        let records = records(facts);
        let due = records.due();
        records.may_be_read.set(records.ended.get().min(due + 1).max(records.may_be_read.get()));
        let count = seated(&mut victim.consumer).pop_batch(2, |_, _| {}).unwrap_or(0) as u64;
        records.committed(due - 1 + count);
    }
    discard(_s, victim, facts) {
        let records = records(facts);
        records.may_be_read.set(records.ended.get());
        let _ = seated(&mut victim.consumer).discard();
        records.committed(records.ended.get());
    }
    beat_consumer(_s, victim, _facts) { seated(&mut victim.consumer).beat() }
    wait_producer(_s, victim, _facts) { let _ = seated(&mut victim.consumer).wait_producer(victim.timeout); }
    close_consumer(_s, victim, facts) {
        facts.word(HOLDS).set(0);
        victim.consumer = None;
    }
    open_consumer(subject, victim, _facts) { victim.consumer = subject.ring.consumer(&victim.me).map(Opened::into_inner).ok(); }
}

/// An operation, of which role, in which states of the ring, with whom at the other seat.
struct Row(&'static str, Operation, u64, &'static [(Is, Peer)]);

use Is::*;
use Peer::{Dead, Stands, Vacant};

const PUSHES: &[(Is, Peer)] =
    &[(Fresh, Vacant), (Warm, Vacant), (AtTheEnd, Vacant), (Full, Vacant), (ReadSince, Vacant), (Slept, Vacant)];
/// Not where it would wait for ever.
const PUSHES_THAT_BLOCK: &[(Is, Peer)] = &[(Warm, Vacant), (ReadSince, Vacant), (Slept, Vacant), (Full, Dead)];
const PUSHES_THAT_WAIT: &[(Is, Peer)] =
    &[(Warm, Vacant), (Slept, Vacant), (Full, Vacant), (Full, Stands), (Full, Dead)];
const POPS: &[(Is, Peer)] =
    &[(Empty, Vacant), (Warm, Vacant), (Padded, Vacant), (PushedSince, Vacant), (Full, Vacant), (Slept, Vacant)];
const POPS_THAT_BLOCK: &[(Is, Peer)] = &[(Warm, Vacant), (PushedSince, Vacant), (Slept, Vacant), (Empty, Dead)];
const POPS_THAT_WAIT: &[(Is, Peer)] =
    &[(Warm, Vacant), (Slept, Vacant), (Empty, Vacant), (Empty, Stands), (Empty, Dead)];
const DAMAGED_FOR_PUSHES: &[(Is, Peer)] = &[
    (Damaged(Damage::WentBack), Vacant),
    (Damaged(Damage::Odd), Vacant),
    (Damaged(Damage::TooFar), Vacant),
    (Damaged(Damage::Apart), Vacant),
];
const DAMAGED_FOR_POPS: &[(Is, Peer)] = &[
    (Damaged(Damage::WentBack), Vacant),
    (Damaged(Damage::Odd), Vacant),
    (Damaged(Damage::TooFar), Vacant),
    (Damaged(Damage::Apart), Vacant),
    (Damaged(Damage::TooLong), Vacant),
    (Damaged(Damage::EndlessPadding), Vacant),
    (Damaged(Damage::Payload), Vacant),
];
const DAMAGED_SEATS: &[(Is, Peer)] = &[(Damaged(Damage::Seats), Vacant)];
const WARM: &[(Is, Peer)] = &[(Warm, Vacant)];
const SEATS: &[(Is, Peer)] = &[(Warm, Vacant), (Warm, Stands), (Warm, Dead)];

const ROWS: [Row; 19] = [
    Row("try_push", try_push, PRODUCER, PUSHES),
    Row("push", push_blocking, PRODUCER, PUSHES_THAT_BLOCK),
    Row("push_timeout", push_timeout, PRODUCER, PUSHES_THAT_WAIT),
    Row("reserve", reserve, PRODUCER, PUSHES),
    Row("reserve_and_drop", reserve_and_drop, PRODUCER, WARM),
    Row("push_batch", push_batch, PRODUCER, PUSHES),
    Row("beat_producer", beat_producer, PRODUCER, WARM),
    Row("wait_consumer", wait_consumer, PRODUCER, SEATS),
    Row("close_producer", close_producer, PRODUCER, WARM),
    Row("try_pop", try_pop, CONSUMER, POPS),
    Row("pop", pop_blocking, CONSUMER, POPS_THAT_BLOCK),
    Row("pop_timeout", pop_timeout, CONSUMER, POPS_THAT_WAIT),
    Row("peek", peek, CONSUMER, POPS),
    Row("peek_and_drop", peek_and_drop, CONSUMER, WARM),
    Row("pop_batch", pop_batch, CONSUMER, POPS),
    Row("discard", discard, CONSUMER, POPS),
    Row("beat_consumer", beat_consumer, CONSUMER, WARM),
    Row("wait_producer", wait_producer, CONSUMER, SEATS),
    Row("close_consumer", close_consumer, CONSUMER, WARM),
];

/// Operations that may need to zero what they pass; in two that wait, one state is enough.
const WIPES: [&str; 11] = [
    "try_push",
    "reserve",
    "reserve_and_drop",
    "close_producer",
    "try_pop",
    "pop",
    "pop_timeout",
    "peek",
    "pop_batch",
    "discard",
    "close_consumer",
];
/// Operations whose records may have no checksum, and those that may be given a payload that is too long.
const CHECKED: [&str; 10] =
    ["try_push", "push", "push_timeout", "reserve", "push_batch", "try_pop", "pop", "pop_timeout", "peek", "pop_batch"];
const LARGE: [&str; 5] = ["try_push", "push", "push_timeout", "reserve", "push_batch"];

pub fn cases(all: &mut Vec<Case>) {
    let plain = Config::new(CAPACITY);
    for Row(name, operation, role, states) in ROWS {
        let address = operation as *const () as usize;
        let damaged = match name {
            "beat_producer" | "close_producer" | "beat_consumer" | "close_consumer" | "reserve_and_drop" => &[][..],
            "wait_consumer" | "wait_producer" => DAMAGED_SEATS,
            "peek_and_drop" => &[],
            _ if role == PRODUCER => DAMAGED_FOR_PUSHES,
            _ => DAMAGED_FOR_POPS,
        };
        let mut add = |is, peer, config, how: &str| {
            let title = format!("ring.{name}.{}{how}", state(is, peer));
            all.push(Case::new(title, address, move || Spsc::new(config, role, is, peer, operation)));
        };
        for &(is, peer) in states.iter().chain(damaged) {
            add(is, peer, plain, "");
            if WIPES.contains(&name) && matches!(is, Warm | Padded | Full | AtTheEnd) {
                add(is, peer, plain.wipe(true), "_wiped");
            }
        }
        if CHECKED.contains(&name) {
            add(Warm, Vacant, plain.checksum(false), "_without_checksum");
        }
        if LARGE.contains(&name) {
            add(TooLarge, Vacant, plain, "");
        }
        // Without an end, and with one that is later than the clock can say: where it is not waited for.
        for (timeout, how) in [(None, "_without_end"), (Some(Duration::MAX), "_centuries")] {
            let (is, peer) = match name {
                "wait_consumer" | "wait_producer" => (Warm, Stands),
                "push_timeout" => (Full, Dead),
                "pop_timeout" => (Empty, Dead),
                _ => continue,
            };
            let title = format!("ring.{name}.{}{how}", state(is, peer));
            let made = move || Spsc { timeout, ..Spsc::new(plain, role, is, peer, operation) };
            all.push(Case::new(title, address, made).first_deaths_alone());
        }
        let forked = move || Spsc { handles: Handles::Inherited, ..Spsc::new(plain, role, Warm, Vacant, operation) };
        all.push(Case::new(format!("ring.{name}.forked"), address, forked).first_deaths_alone());
    }
    opened(all);
}

/// Seats that are opened in the operation.
fn opened(all: &mut Vec<Case>) {
    use Damage::{Apart, Odd, Read, Seats, TooFar};
    let plain = Config::new(CAPACITY);
    for (name, operation, role) in
        [("producer", open_producer as Operation, PRODUCER), ("consumer", open_consumer, CONSUMER)]
    {
        let address = operation as *const () as usize;
        let made = move |opens, is, wipe| {
            let peer = if opens == Opens::Taken { Stands } else { Dead };
            Spsc { opens: Some(opens), ..Spsc::new(plain.wipe(wipe), role, is, peer, operation) }
        };
        let mut add = |opens: Opens, is, wipe| {
            let found = format!("{opens:?}").to_lowercase();
            let title = format!("ring.{name}.{found}_{}{}", state(is, Vacant), if wipe { "_wiped" } else { "" });
            all.push(Case::new(title, address, move || made(opens, is, wipe)));
        };
        for opens in [Opens::Vacant, Opens::Dead, Opens::Taken] {
            for (is, wipe) in [(Warm, false), (Padded, false), (Warm, true), (Full, true)] {
                add(opens, is, wipe);
            }
        }
        add(Opens::Foreign, Warm, false);
        for damage in [Odd, TooFar, Apart, Seats] {
            add(Opens::Dead, Damaged(damage), false);
        }
        add(Opens::Dead, Damaged(Read), true);
        // Without an end, and with one that is later than the clock can say: where it is not waited for.
        for (timeout, how) in [(None, "_without_end"), (Some(Duration::MAX), "_centuries")] {
            let (is, peer) = match name {
                "wait_consumer" | "wait_producer" => (Warm, Stands),
                "push_timeout" => (Full, Dead),
                "pop_timeout" => (Empty, Dead),
                _ => continue,
            };
            let title = format!("ring.{name}.{}{how}", state(is, peer));
            let made = move || Spsc { timeout, ..Spsc::new(plain, role, is, peer, operation) };
            all.push(Case::new(title, address, made).first_deaths_alone());
        }
        let forked = move || Spsc { handles: Handles::Inherited, ..made(Opens::Vacant, Warm, false) };
        all.push(Case::new(format!("ring.{name}.forked"), address, forked).first_deaths_alone());
    }
}

fn state(is: Is, peer: Peer) -> String {
    let is = match is {
        AtTheEnd => "at_the_end",
        ReadSince => "read_since",
        PushedSince => "pushed_since",
        Fresh => "fresh",
        Warm => "warm",
        Padded => "padded",
        Full => "full",
        Slept => "slept",
        Empty => "empty",
        TooLarge => "too_large",
        Damaged(damage) => return format!("damaged_{damage:?}").to_lowercase(),
    };
    match peer {
        Vacant => is.to_owned(),
        Stands => format!("{is}_peer_stands"),
        Dead => format!("{is}_peer_dead"),
    }
}
