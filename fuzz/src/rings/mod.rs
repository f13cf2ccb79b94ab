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
use crate::sequences::death::dies;
use ownerdead::owner::{Attachment, Claim, ClaimState, DetachError, Holder};
use ownerdead::ring::{
    Bell, BellError, BellUseError, Commit, Consume, Opened, PopTimeoutError, Produce, PushTimeoutError, Rang,
    RingError, Topology, TryPopError, TryPushError,
};
use ownerdead::segment::{Kind, Segment};
use ownerdead::sync::Waiting;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use std::fmt::{Debug, Display};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Looks at the next record, and takes it or not, while its memory is changed.
macro_rules! look_at_next {
    ($consumer:expr, $longest:expr, $turn:expr) => {
        $crate::rings::popped($consumer.peek().map(|peek| {
            let mut bytes = Vec::new();
            $turn.disturb();
            let copied = peek.copy_to(&mut bytes);
            $crate::rings::within(&bytes, $longest);
            match copied {
                Ok(()) => {
                    assert_eq!(bytes.len(), peek.len());
                    if !$turn.under_fire {
                        // SAFETY: this thread alone has the memory, and does nothing else meanwhile.
                        assert_eq!(unsafe { peek.as_bytes() }, Ok(&bytes[..]), "kind {}", peek.kind());
                    }
                }
                Err(error) => $crate::parser::said(&error),
            }
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
            if !$turn.under_fire && $turn.flags & 1 == 0 {
                // SAFETY: this thread alone has the memory, and does nothing else meanwhile.
                unsafe { room.as_bytes_mut() }.fill(7);
            }
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
    /// The words by which records are claimed, if it has such: one for each place that one can begin at.
    fn claims(&self) -> Option<Words> {
        None
    }
    /// Whether a push without a time-out may wait, for somebody who will not come.
    fn may_wait(&self, _under_fire: bool) -> bool {
        false
    }
}

/// The operations of a side that are its topology's own.
trait Sides {
    /// One of 8. Payloads have at most `longest` bytes.
    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>);

    /// Arms its bell for the other side's coming, where it can.
    fn arm_for_the_other(&self, _bell: &Bell) -> Result<(), BellUseError> {
        Ok(())
    }
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
            pop(&mut consumer, 9, self.0.longest_payload(), Duration::ZERO);
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
            4 if turn.input.byte() == RARELY => match (turn.flags >> 1, producer, consumer) {
                (0, Some(producer), _) => ring_bell(producer.bell(), turn, |bell, other| {
                    if other { producer.arm_for_the_other(bell) } else { producer.arm(bell) }
                }),
                (1, _, Some(consumer)) => ring_bell(consumer.bell(), turn, |bell, other| {
                    if other { consumer.arm_for_the_other(bell) } else { consumer.arm(bell) }
                }),
                (2, Some(producer), Some(consumer)) => wrong_bell(producer, consumer),
                (_, producer, consumer) if !turn.under_fire => {
                    forked(&self.0, me, producer.as_mut(), consumer.as_mut());
                }
                _ => {}
            },
            4 => {
                _ = (format!("{:?}", self.0.status()), self.0.statistics());
                let ways = [Waiting::Sleep, Waiting::SpinThenSleep { looks: 3 }, Waiting::Spin, Waiting::default()];
                me.set_waiting(ways[turn.input.below(4)]);
                let left = me.clone().detach().expect_err("there is another one of it");
                said(&left);
            }
            5..=8 => {
                if let Some(producer) = producer
                    && (operation == TIMED || !self.0.may_wait(turn.under_fire))
                {
                    push(producer, operation, longest, turn);
                }
            }
            9..=11 => {
                if let Some(consumer) = consumer {
                    let nothing = pop(consumer, operation, longest, soon(turn));
                    // With the seat twice, which was put back meanwhile, it has a right more that may be a reservation, for all it knows.
                    let itself = || {
                        let claims = self.0.claims().filter(|_| me.rights() <= 1);
                        claims.is_some_and(|claims| all_claimed(self.0.segment(), claims, me.id()))
                    };
                    assert!(
                        turn.under_fire || !nothing || !itself(),
                        "a consumer waits for a record of its own thread's"
                    );
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
        producer.push(8, b"another").expect("room");
        assert_eq!(consumer.pop(&mut bytes), Ok(8));
        assert_eq!(bytes, b"another");
        assert_eq!(consumer.try_pop(&mut bytes), Err(TryPopError::Empty));
    }
}

fn opened<H>(opened: Result<Opened<H>, impl Display + Debug>) -> Option<H> {
    opened.map(Opened::into_inner).map_err(|error| said(&error)).ok()
}

/// The push that has a time-out.
const TIMED: u8 = 7;

/// A time-out that is over at once, or one for which the kernel is asked to sleep.
fn soon(turn: &Turn<'_, '_>) -> Duration {
    if turn.flags & 4 == 0 { Duration::ZERO } else { Duration::from_micros(1) }
}

/// A bell is armed and asked while its memory is changed, armed for the other side, and dropped. What it rings for is what it may ring for.
fn ring_bell(
    bell: Result<Bell, BellError>,
    turn: &mut Turn<'_, '_>,
    arm: impl Fn(&Bell, bool) -> Result<(), BellUseError>,
) {
    let bell = match bell {
        Ok(bell) => bell,
        Err(error) => return said(&error),
    };
    for other in [false, true] {
        arm(&bell, other).expect("its own side, and its own process");
        turn.disturb();
        // Its thread looks meanwhile, or does not.
        let mut poll = libc::pollfd { fd: bell.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one place, as it says.
        unsafe { libc::poll(&mut poll, 1, 1) };
        if let Some(Rang::Corrupt(corrupt)) = bell.take().expect("its own process") {
            said(&corrupt);
        }
    }
    assert!(!format!("{bell:?}").is_empty());
}

/// A bell of one side is none of the other's.
fn wrong_bell<P: Produce + Sides, C: Consume + Sides>(producer: &P, consumer: &C) {
    match producer.bell() {
        Ok(bell) => {
            let refused = [consumer.arm(&bell), producer.arm(&bell)];
            assert_eq!(refused, [Err(BellUseError::WrongSide), Ok(())]);
            refused.iter().flat_map(|refused| refused.err()).for_each(|error| said(&error));
        }
        Err(error) => said(&error),
    }
}

/// The byte after which a bell's thread is started, or a child is forked: rarely, since that takes as long as all else.
const RARELY: u8 = 0x46;

/// A forked child has what its parent had, and none of it is its own.
fn forked<R: Topology>(
    ring: &R,
    me: &Attachment,
    producer: Option<&mut R::Producer>,
    consumer: Option<&mut R::Consumer>,
) {
    let before = me.rights();
    let said = dies(|| {
        let mut bytes = Vec::new();
        assert!(!me.is_current() && ring.producer(me).is_err() && ring.consumer(me).is_err());
        if let Some(producer) = producer {
            assert_eq!(producer.try_push(1, b"x"), Err(TryPushError::Forked));
            assert_eq!(producer.push_timeout(1, b"x", Duration::ZERO), Err(PushTimeoutError::Forked));
            assert_eq!(producer.reserve(1, 1).err(), Some(TryPushError::Forked));
            assert!(matches!(producer.bell(), Err(BellError::Forked)));
        }
        if let Some(consumer) = consumer {
            assert_eq!(consumer.try_pop(&mut bytes), Err(TryPopError::Forked));
            assert_eq!(consumer.pop_timeout(&mut bytes, Duration::ZERO), Err(PopTimeoutError::Forked));
            assert!(matches!(consumer.bell(), Err(BellError::Forked)));
        }
        match me.clone().detach() {
            Err(DetachError::Forked) => 1,
            _ => 0,
        }
    });
    assert_eq!((said, me.rights()), (1, before));
}

/// A payload, up to three times as long as fits in half a ring of 1 KiB.
fn payload(input: &mut Input<'_>) -> Vec<u8> {
    let len = usize::from(input.byte());
    vec![len as u8; if len < 128 { len } else { 3 * len }]
}

fn push<P: Produce>(producer: &mut P, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
    let payload = payload(turn.input);
    let result = match operation {
        5 | 6 => producer.try_push(1, &payload),
        TIMED => return told(producer.push_timeout(2, &payload, soon(turn))),
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

/// Whether it found nothing.
fn pop<C: Consume>(consumer: &mut C, operation: u8, longest: usize, timeout: Duration) -> bool {
    let mut bytes = Vec::new();
    let nothing = match operation {
        9 | 10 => {
            let result = consumer.try_pop(&mut bytes);
            popped(result.clone());
            matches!(result, Err(TryPopError::Empty))
        }
        _ => {
            let result = consumer.pop_timeout(&mut bytes, timeout);
            told(result.clone());
            matches!(result, Err(PopTimeoutError::TimedOut))
        }
    };
    within(&bytes, longest);
    nothing
}

/// Whether each of these words says that this thread, which is at no record, writes one: wherever a consumer looks, something is wrong.
fn all_claimed(segment: &Segment, claims: Words, by: Holder) -> bool {
    let body = segment.body_slice::<AtomicU64>(0, segment.body_len() / 8).expect("the body");
    let mut words = (0..claims.count).map(|index| Claim(body[(claims.at + index * claims.stride) / 8].load(Relaxed)));
    words.all(|word| word.state() == ClaimState::Writing && word.holder() == Some(by))
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
