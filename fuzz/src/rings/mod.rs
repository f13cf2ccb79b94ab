//! Rings as structures whose memory is changed.

mod broadcast;
mod claims;
mod lanes;
mod locked;
mod mpmc;
mod spsc;

use crate::input::Input;
use crate::memory::Words;
use crate::parser::{Play, Structure, Turn, fixture, options, said};
use ownerdead::owner::Attachment;
use ownerdead::ring::{Commit, Consume, Opened, Produce, RingError, Topology, TryPopError, TryPushError};
use ownerdead::segment::{Kind, Segment};
use std::fmt::{Debug, Display};
use std::time::Duration;

/// Looks at the next record, and takes it or not, while its memory is changed.
macro_rules! look_at_next {
    ($consumer:expr, $longest:expr, $turn:expr) => {
        $crate::rings::popped($consumer.peek().map(|peek| {
            let mut bytes = Vec::new();
            $turn.disturb();
            if peek.copy_to(&mut bytes).is_ok() {
                assert_eq!(bytes.len(), peek.len());
            }
            $crate::rings::within(&bytes, $longest);
            if $turn.flags & 4 == 0 {
                peek.consume();
            }
        }))
    };
}
use look_at_next;

/// Pushes a batch, while its memory is changed.
macro_rules! push_several {
    ($producer:expr, $longest:expr, $turn:expr) => {{
        let payload = $crate::rings::payload($turn.input);
        let records = (0..4).map(|kind| {
            $turn.disturb();
            (kind, payload.as_slice())
        });
        $crate::rings::pushed($producer.push_batch(records), payload.len(), $longest);
    }};
}
use push_several;

/// Takes a batch, while its memory is changed.
macro_rules! pop_several {
    ($consumer:expr, $longest:expr, $turn:expr) => {
        $crate::rings::popped($consumer.pop_batch(8, |_, bytes| {
            $crate::rings::within(bytes, $longest);
            $turn.disturb();
        }))
    };
}
use pop_several;

/// Reserves a record of less than `$below` bytes, and commits it or not, while its memory is changed.
macro_rules! reserve_and_write {
    ($producer:expr, $kind:expr, $below:expr, $longest:expr, $turn:expr) => {{
        let len = $turn.input.below($below);
        let committed = $producer.reserve($kind.into(), len).and_then(|mut room| {
            $turn.disturb();
            $turn.disturb();
            assert_eq!((room.len(), room.write(len, b"x")), (len, 0));
            if $turn.flags & 4 == 0 { room.commit() } else { Ok(()) }
        });
        $crate::rings::pushed(committed, len, $longest);
    }};
}
use reserve_and_write;

/// What each ring has under the same names, as part of its `Parsed`.
macro_rules! of_its_kind {
    ($kind:ident) => {
        const KIND: ownerdead::segment::Kind = ownerdead::segment::Kind::$kind;

        fn of(segment: ownerdead::segment::Segment) -> Result<Self, ownerdead::ring::RingError> {
            Self::from_segment(segment)
        }
        fn segment(&self) -> &ownerdead::segment::Segment {
            self.segment()
        }
        fn status(&self) -> impl std::fmt::Debug {
            self.status()
        }
    };
}
use of_its_kind;

/// What a topology has beyond the interface of all.
trait Parsed: Topology<Producer: Sides, Consumer: Sides> + Sized {
    /// Whether a consumer gets what was pushed before it came.
    const KEEPS: bool = true;
    /// Whether it is told of its records in the order in which one consumer gets them.
    const ORDERED: bool = false;

    const KIND: Kind;

    fn of(segment: Segment) -> Result<Self, RingError>;
    fn segment(&self) -> &Segment;
    fn words(&self) -> Vec<Words>;
    /// What it says of itself.
    fn status(&self) -> impl Debug;
    /// Whether a push without a time-out may wait, for somebody who will not come.
    fn may_wait(&self, _under_fire: bool) -> bool {
        false
    }
}

/// The operations of a side that are its topology's own.
trait Sides {
    /// One of 8. Payloads have at most `longest` bytes.
    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>);
}

struct Ring<R>(R);

/// Two of each, so that one can be in the other's way.
struct Handles<R: Topology> {
    producers: [Option<R::Producer>; 2],
    consumers: [Option<R::Consumer>; 2],
}

impl<R: Topology> Default for Handles<R> {
    fn default() -> Self {
        Self { producers: [None, None], consumers: [None, None] }
    }
}

/// All rings, in the order of an input's first byte.
pub fn all() -> Vec<Box<dyn Play>> {
    let mut all = Vec::new();
    add(&mut all, spsc::all());
    add(&mut all, mpmc::all());
    add(&mut all, lanes::all());
    add(&mut all, claims::all());
    add(&mut all, broadcast::all());
    add(&mut all, locked::all());
    all
}

/// Each with a record in it.
fn add<R: Parsed + 'static>(all: &mut Vec<Box<dyn Play>>, rings: impl IntoIterator<Item = R>) {
    all.extend(rings.into_iter().map(|ring| {
        let me = ring.attach().expect("a free slot");
        ring.producer(&me).expect("a free side").into_inner().push(7, b"a record").expect("room");
        me.detach().expect("no rights are left");
        fixture(Ring(ring))
    }));
}

impl<R: Parsed> Structure for Ring<R> {
    type Handles<'s>
        = Handles<R>
    where
        Self: 's;

    const KIND: Kind = R::KIND;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        R::of(segment).map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        _ = (format!("{:?}", self.0.status()), self.0.statistics());
        if let Some(mut producer) = opened(self.0.producer(me)) {
            told(producer.push_timeout(1, b"a record", Duration::ZERO));
        }
        if let Some(mut consumer) = opened(self.0.consumer(me)) {
            pop(&mut consumer, 9, self.0.longest_payload());
        }
    }

    /// Nobody is at work, so what was told of is there, in its order, and nothing else.
    fn as_told(&self, me: &Attachment, records: &[u32]) {
        if R::ORDERED
            && let Ok(consumer) = self.0.consumer(me)
        {
            let (mut consumer, mut bytes) = (consumer.into_inner(), Vec::new());
            for kind in records {
                assert_eq!(consumer.try_pop(&mut bytes), Ok(*kind));
            }
            assert_eq!(consumer.try_pop(&mut bytes), Err(TryPopError::Empty));
        }
    }

    fn words(&self) -> Vec<Words> {
        self.0.words()
    }

    fn step<'s>(&'s self, me: &'s Attachment, handles: &mut Handles<R>, operation: u8, turn: &mut Turn<'_, '_>) {
        let (longest, side) = (self.0.longest_payload(), usize::from(turn.flags & 1));
        let Handles { producers, consumers } = handles;
        let (producer, consumer) = (&mut producers[side], &mut consumers[side]);
        match operation {
            0 => *producer = producer.take().or_else(|| opened(self.0.producer(me))),
            1 => *consumer = consumer.take().or_else(|| opened(self.0.consumer(me))),
            2 => *producer = None,
            3 => *consumer = None,
            4 => _ = (format!("{:?}", self.0.status()), self.0.statistics()),
            5..=8 => {
                if let Some(producer) = producer
                    && (operation == TIMED || !self.0.may_wait(turn.under_fire))
                {
                    push(producer, operation, longest, turn);
                }
            }
            9..=11 => {
                if let Some(consumer) = consumer {
                    pop(consumer, operation, longest);
                }
            }
            12.. if turn.flags & 2 == 0 => {
                if let Some(producer) = producer
                    && !self.0.may_wait(turn.under_fire)
                {
                    producer.more(operation % 8, longest, turn);
                }
            }
            _ => {
                if let Some(consumer) = consumer {
                    consumer.more(operation % 8, longest, turn);
                }
            }
        }
    }

    fn honest(&self, me: &Attachment) {
        let mut consumer = self.0.consumer(me).expect("a free side").into_inner();
        let mut producer = self.0.producer(me).expect("a free side").into_inner();
        let mut bytes = Vec::new();
        if R::KEEPS {
            assert_eq!(consumer.try_pop(&mut bytes), Ok(7));
            assert_eq!(bytes, b"a record");
        }
        producer.try_push(8, b"another").expect("room");
        assert_eq!(consumer.try_pop(&mut bytes), Ok(8));
        assert_eq!(bytes, b"another");
        assert_eq!(consumer.try_pop(&mut bytes), Err(TryPopError::Empty));
    }
}

fn opened<H>(opened: Result<Opened<H>, impl Display + Debug>) -> Option<H> {
    opened.map(Opened::into_inner).map_err(|error| said(&error)).ok()
}

/// The push that has a time-out.
const TIMED: u8 = 7;

/// A payload, up to three times as long as fits in half a ring of 1 KiB.
fn payload(input: &mut Input<'_>) -> Vec<u8> {
    let len = usize::from(input.byte());
    vec![len as u8; if len < 128 { len } else { 3 * len }]
}

fn push<P: Produce>(producer: &mut P, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
    let payload = payload(turn.input);
    let result = match operation {
        5 | 6 => producer.try_push(1, &payload),
        TIMED => return told(producer.push_timeout(2, &payload, Duration::ZERO)),
        _ => producer.reserve(3, payload.len()).and_then(|mut room| {
            let offset = turn.input.below(256);
            turn.disturb();
            assert_eq!(room.write(offset, &payload), payload.len().saturating_sub(offset));
            if turn.flags & 2 == 0 { room.commit() } else { Ok(()) }
        }),
    };
    pushed(result, payload.len(), longest);
}

fn pushed<T>(result: Result<T, TryPushError>, len: usize, longest: usize) {
    match result {
        Ok(_) => assert!(len <= longest, "{len} bytes in a ring for {longest}"),
        Err(TryPushError::TooLarge { max, .. }) => assert!(len > max && max == longest),
        Err(TryPushError::Forked) => unreachable!("nobody forked"),
        Err(error) => said(&error),
    }
}

fn pop<C: Consume>(consumer: &mut C, operation: u8, longest: usize) {
    let mut bytes = Vec::new();
    match operation {
        9 | 10 => popped(consumer.try_pop(&mut bytes)),
        _ => told(consumer.pop_timeout(&mut bytes, Duration::ZERO)),
    }
    within(&bytes, longest);
}

fn popped<T>(result: Result<T, TryPopError>) {
    assert!(!matches!(result, Err(TryPopError::Forked)), "nobody forked");
    told(result);
}

fn within(payload: &[u8], longest: usize) {
    assert!(payload.len() <= longest, "{} bytes from a ring for {longest}", payload.len());
}

fn told<T>(result: Result<T, impl Display + Debug>) {
    if let Err(error) = result {
        said(&error);
    }
}
