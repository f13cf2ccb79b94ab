//! A ring of fixed-size slots for any number of producers and consumers.
//!
//! **What it guarantees.** Records arrive whole, each once, and those of one producer in the order in which it wrote them. Nobody
//! waits for the dead. A try_push or try_pop makes no system call unless a sleeper has to be woken.
//!
//! **What survives a death.** A producer's death loses the record that it had not committed, and no other: its slot is skipped by
//! whoever meets it. A consumer's death leaves the record that it had not committed as read; [`OnDeath`] says, at creation, whether
//! that is delivered again or dropped. Nobody holds a seat, so nothing has to be taken over: opening is always [`Opened::Clean`], and
//! a full ring without consumers is waited for.
//!
//! **What it cannot do.** Take a slot from one who is merely slow or stopped: a paused producer holds back what [`Order`] says, a
//! paused consumer keeps its slot, so that the producers find the ring full once they have come round to it. A record that is
//! delivered again, or given back unread ([`Peek`]), comes after those that were delivered meanwhile. Who pops while its own thread has
//! a reservation open waits for itself. With more than 14 consumers stopped amid their reads at once, the death of one more is seen
//! by the next who comes by, and not by those who sleep.
//!
//! ```text
//! body + 0      slots (power of two), bytes of a payload, flags    fixed at birth
//!      + 128    tail: no free slot is before it                    a hint
//!      + 256    head: no record is before it                       a hint
//!      + 384    bells: the consumers' (low half), the producers'
//!      + 512    gate, always 0
//!      + 4096   the slots, 64 bytes each: claim | who wrote | length, kind | CRC-32 | payload, if it has up to 32 bytes
//!      + ...    the payloads, if longer
//! ```
//!
//! Positions count slots and never wrap; position p is slot p modulo their number, in lap p divided by it. The words of the slots
//! ([`Claim`](crate::owner::Claim)) are all that counts, and each step is one compare-and-swap or swap of one of them:
//!
//! ```text
//! FREE(lap) -> WRITING -> FULL(lap) -> READING -> FREE(lap + 1)
//! ```
//!
//! Positions are claimed in order: one is claimed only by who has seen that those before it were. Head and tail say where to begin to
//! look, and are helped on by anybody who finds them behind; so a death between two steps leaves a word that names the dead one, or a
//! hint that is behind, and nothing else.
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | a slot: FULL, swap Release | a slot, Acquire | the record |
//! | a slot: FREE, swap or compare-and-swap Release | a slot, Acquire | that the record was read, or its dead writer's last store |
//! | a slot: WRITING or READING, compare-and-swap Release | a slot, Acquire | the holder's incarnation, for `Table::dead` |
//! | the kernel's marking of a life word | `Table::dead`, Acquire | what the dead one did |
//! | tail, head: compare-and-swap Release | tail, head, Acquire | words that are as new as the hint says |
//!
//! How nobody is forgotten is in `wait`.

mod claims;
mod consumer;
mod producer;
mod wait;

#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;

#[cfg(not(model))]
pub use super::RingError;
pub use super::{
    Corrupt, Opened, PopError, PopTimeoutError, PushError, PushTimeoutError, SeatError, TryPopError, TryPushError,
};
pub use consumer::{Consumer, Peek};
pub use producer::{Producer, Reservation};

use super::{Statistics, Unit};
use crate::owner::{AttachError, Attachment, ClaimState, Table};
use crate::ring::record::GRANULE;
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Acquire;
use crate::sync::cell::Granule;
use crate::sync::shm::Shared;

/// What a consumer waits for whose turn comes to the record of a producer that is slow, or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// For that record: they are delivered in the order in which their places were claimed.
    Strict,
    /// For nothing: it goes on with what others wrote. Of one producer's records none is delivered before an earlier one.
    Round,
}

/// What becomes of the record that a consumer was reading when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeath {
    /// It is delivered again.
    Redeliver,
    /// It is dropped.
    Drop,
}

/// Slots and payloads of a ring, whether its records have checksums, and what is done about the slow and the dead.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    slots: usize,
    payload: usize,
    checksum: bool,
    order: Order,
    on_death: OnDeath,
}

impl Config {
    /// A ring of `slots` (a power of two, up to 2^24) for payloads of up to `payload` bytes (at most 2^24). Unless said otherwise,
    /// records have checksums, their order is strict, and a dead consumer's is delivered again.
    pub const fn new(slots: usize, payload: usize) -> Self {
        Self { slots, payload, checksum: true, order: Order::Strict, on_death: OnDeath::Redeliver }
    }

    /// Whether each record carries a CRC-32, checked when it is read.
    pub const fn checksum(mut self, on: bool) -> Self {
        self.checksum = on;
        self
    }

    /// What a consumer waits for.
    pub const fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// What becomes of the record that a consumer was reading when it died.
    pub const fn on_death(mut self, on_death: OnDeath) -> Self {
        self.on_death = on_death;
        self
    }
}

/// What a ring looks like. Validated once, then private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Invariant 1: a power of two, at most [`Self::MOST_SLOTS`].
    slots: u64,
    /// Bytes. Invariant 2: at most [`Self::LONGEST`].
    payload: u64,
    checksum: bool,
    order: Order,
    on_death: OnDeath,
}

impl Geometry {
    const MOST_SLOTS: u64 = 1 << 24;
    const LONGEST: u64 = 1 << 24;

    fn new(config: &Config) -> Option<Self> {
        let &Config { slots, payload, checksum, order, on_death } = config;
        let (slots, payload) = (slots as u64, payload as u64);
        let allowed = slots.is_power_of_two() && slots <= Self::MOST_SLOTS && payload <= Self::LONGEST;
        allowed.then_some(Self { slots, payload, checksum, order, on_death })
    }

    #[inline]
    fn index(&self, position: u64) -> usize {
        (position & (self.slots - 1)) as usize
    }

    #[inline]
    fn lap(&self, position: u64) -> u64 {
        position >> self.slots.trailing_zeros()
    }

    /// Granules of a payload outside its slot: none if it fits inside. Whole cache lines, so that neighbours share none.
    fn outside(&self) -> usize {
        let granules = self.payload.div_ceil(GRANULE) as usize;
        if granules <= INSIDE { 0 } else { granules.next_multiple_of(INSIDE * 2) }
    }
}

/// Granules of payload in the slot itself.
const INSIDE: usize = if cfg!(model) { 1 } else { 4 };

/// A slot. All-zero: free, in the first lap.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C, align(64)))]
pub(crate) struct Slot {
    /// See [`crate::owner::Claim`].
    claim: AtomicU64,
    /// Who wrote the record, as a right: in a ring of [`Order::Round`] one looks at it before one claims the record.
    writer: AtomicU64,
    /// Length and kind.
    first: Granule,
    checksum: Granule,
    inside: [Granule; INSIDE],
}

impl Slot {
    #[cfg(model)]
    fn new() -> Self {
        let granule = || Granule::new(0);
        Self {
            claim: AtomicU64::new(0),
            writer: AtomicU64::new(0),
            first: granule(),
            checksum: granule(),
            inside: core::array::from_fn(|_| granule()),
        }
    }
}

/// What all share, but for the slots.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct Control {
    /// Slots, bytes of a payload, flags. Read once, when the ring is opened.
    #[cfg_attr(model, allow(dead_code, reason = "a model's ring is not opened"))]
    config: Line<[AtomicU64; 3]>,
    /// Where to look for a free slot: all positions before it were claimed by writers.
    tail: Line<AtomicU64>,
    /// Where to look for a record: all positions before it are done with.
    head: Line<AtomicU64>,
    /// Low half: counts up before all consumers are woken, that sleep on it. High half: the same of producers. (That the low half
    /// carries into the high one wakes nobody wrongly: it is a count that changed.)
    bells: Line<AtomicU64>,
    gate: Line<AtomicU64>,
}

impl Control {
    #[cfg(model)]
    fn new() -> Self {
        let line = || Line(AtomicU64::new(0));
        Self {
            config: Line(core::array::from_fn(|_| AtomicU64::new(0))),
            tail: line(),
            head: line(),
            bells: line(),
            gate: line(),
        }
    }
}

/// A ring: any number of threads open a side of it, with [`Self::producer`] and [`Self::consumer`].
///
/// ```
/// use ownerdead::ring::mpmc::{Config, Ring};
/// use ownerdead::segment::Options;
///
/// let ring = Ring::memfd(&Options::new(), &Config::new(64, 100))?;
/// let me = ring.attach()?;
/// let mut producer = ring.producer(&me)?.into_inner();
/// let mut consumer = ring.consumer(&me)?.into_inner();
/// producer.push(7, b"hello")?;
/// let mut record = Vec::new();
/// assert_eq!(consumer.pop(&mut record)?, 7);
/// assert_eq!(record, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ring {
    table: Table,
    control: Shared<Control>,
    /// Invariant 1: `geometry.slots` of them.
    slots: Shared<[Slot]>,
    /// Invariant 2: `geometry.outside()` for each slot.
    payloads: Shared<[Granule]>,
    geometry: Geometry,
    #[cfg(not(model))]
    segment: crate::segment::Segment,
}

/// What a ring looks like from outside. Each was read at a moment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Slots.
    pub slots: u64,
    /// Bytes that a payload may have.
    pub payload: u64,
    /// Whether records have checksums.
    pub checksum: bool,
    /// What a consumer waits for.
    pub order: Order,
    /// What becomes of the record that a consumer was reading when it died.
    pub on_death: OnDeath,
    /// Positions claimed for writing since the ring's birth: a hint that may be behind.
    pub write_index: u64,
    /// Positions done with since the ring's birth, those that were skipped included: a hint that may be behind.
    pub read_index: u64,
    /// Slots that somebody who lives writes.
    pub writing: u64,
    /// Slots with a record that nobody reads.
    pub full: u64,
    /// Slots that somebody who lives reads.
    pub reading: u64,
    /// Slots whose writer or reader died: whoever meets them recovers them.
    pub dead: u64,
    /// Slots whose word makes no sense.
    pub damaged: u64,
}

impl Ring {
    /// A ring on the heap, for models.
    ///
    /// # Panics
    /// If the configuration is not allowed.
    #[cfg(model)]
    pub fn private(config: &Config, participants: usize) -> Self {
        let geometry = Geometry::new(config).expect("an allowed configuration");
        let outside = geometry.slots as usize * geometry.outside();
        Self {
            table: Table::private(participants),
            control: Shared::new(Control::new()),
            slots: Shared::from_vec((0..geometry.slots).map(|_| Slot::new()).collect()),
            payloads: Shared::from_vec((0..outside).map(|_| Granule::new(0)).collect()),
            geometry,
        }
    }

    /// Makes the calling thread a participant of the ring's segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        Attachment::attach(&self.table)
    }

    /// Opens a producer's side. There may be any number.
    ///
    /// # Errors
    /// [`SeatError`], but never that it is busy.
    pub fn producer(&self, me: &Attachment) -> Result<Opened<Producer>, SeatError> {
        Ok(Opened::Clean(Producer::new(self.side(me)?)))
    }

    /// Opens a consumer's side. There may be any number.
    ///
    /// # Errors
    /// [`SeatError`], but never that it is busy.
    pub fn consumer(&self, me: &Attachment) -> Result<Opened<Consumer>, SeatError> {
        Ok(Opened::Clean(Consumer::new(self.side(me)?)))
    }

    fn side(&self, me: &Attachment) -> Result<claims::Side, SeatError> {
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(SeatError::WrongSegment);
        }
        Ok(claims::Side::new(self.clone(), me.clone()))
    }

    /// What it looks like now. Looks at each slot.
    pub fn status(&self) -> Status {
        let Geometry { slots, payload, checksum, order, on_death } = self.geometry;
        let Statistics { written, read, .. } = self.statistics();
        let mut status = Status {
            slots,
            payload,
            checksum,
            order,
            on_death,
            write_index: written,
            read_index: read,
            writing: 0,
            full: 0,
            reading: 0,
            dead: 0,
            damaged: 0,
        };
        for slot in self.slots.iter() {
            // Acquire: for `dead`.
            let found = crate::owner::Claim(slot.claim.load(Acquire)).judge(&self.table);
            match found.state {
                ClaimState::Free => {}
                ClaimState::Damaged => status.damaged += 1,
                _ if found.dead => status.dead += 1,
                ClaimState::Writing => status.writing += 1,
                ClaimState::Full => status.full += 1,
                ClaimState::Reading => status.reading += 1,
            }
        }
        status
    }

    /// How full it is. What is being written and read counts as in it.
    pub fn statistics(&self) -> Statistics {
        // The head first: it only grows. Acquire, so that they are read in this order. Who dies between its claim and helping the tail
        // on leaves that one behind what was read.
        let read = self.control.head.load(Acquire);
        let written = self.control.tail.load(Acquire).max(read);
        Statistics { unit: Unit::Records, capacity: self.geometry.slots, written, read }
    }

    /// Bytes that the longest payload may have.
    pub fn longest_payload(&self) -> usize {
        self.geometry.payload as usize
    }

    #[inline]
    fn slot(&self, position: u64) -> &Slot {
        // In bounds by invariant 1; the check is one comparison.
        &self.slots[self.geometry.index(position)]
    }

    /// The granules of the payload at a position: at least as many as the longest payload has.
    #[inline]
    fn payload(&self, position: u64) -> &[Granule] {
        let outside = self.geometry.outside();
        if outside == 0 {
            return &self.slot(position).inside;
        }
        let from = self.geometry.index(position) * outside;
        &self.payloads[from..from + outside]
    }
}

crate::ring::interface!(Ring, Producer, Reservation, Consumer);
