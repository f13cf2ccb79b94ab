//! A byte ring for one producer and one consumer.
//!
//! **What it guarantees.** Records arrive whole and in order, each once. Nobody waits for the dead: a blocking call returns when
//! its peer dies. No call makes a system call unless it has to sleep, or a sleeper has to be woken.
//!
//! **What survives a death.** Each side holds a seat. Who opens the seat of a dead one takes it over, and is told
//! ([`Opened::OwnerDied`]); the generation grows by one. A producer's death loses the record that it had not committed, and no
//! other. A consumer's death loses nothing: what it had not committed as read is delivered again.
//!
//! **What it cannot do.** More than one producer or consumer at a time. A seat is not taken from one who is merely slow or
//! stopped: others wait, or find the ring full. A record is at most half the ring.
//!
//! ```text
//! body + 0      capacity, flags                       fixed at birth
//!      + 128    tail | heartbeat of the producer      written by the producer
//!      + 256    head | heartbeat of the consumer | read, in a ring with wipe: written by the consumer
//!      + 384    seat of the producer: right, generation
//!      + 512    seat of the consumer: right, generation
//!      + 640    gate, always 0
//!      + 4096   the records (see `record`)
//! ```
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | tail, swap Release, by the producer | tail, Acquire, by the consumer | the records before it |
//! | head, swap Release, by the consumer | head, Acquire, by the producer | that the bytes before it were read |
//!
//! In a ring with wipe ([`Config::wipe`]) what has been read is zeroed before the producer may have its place. A record that is
//! half zeroed must not be delivered again, so reading it off takes three steps: `read` moves past it, which commits it; its
//! bytes are zeroed; `head` follows. Whoever takes over from a consumer that died in between finishes that.
//!
//! A side that sleeps sets a bit in the index that the other side moves; the other publishes by a swap, which shows it that bit.
//! So no fence is needed between publishing and looking for sleepers: they are one access.

mod consumer;
mod producer;
pub(in crate::ring) mod wait;

#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
pub(in crate::ring) mod shared;

#[cfg(not(model))]
pub use super::RingError;
pub use super::{
    Corrupt, Opened, PopError, PopTimeoutError, PushError, PushTimeoutError, SeatError, SeatStatus, TryPopError,
    TryPushError, WaitPeerError,
};
pub use consumer::{Consumer, Peek};
pub(in crate::ring) use consumer::{Found, Reader, refused as pop_refused};
pub(in crate::ring) use producer::refused as push_refused;
pub use producer::{Producer, Reservation};

use super::{Statistics, Unit};

use crate::owner::{AttachError, Attachment, SeatState, SeatWords, Table};
use crate::ring::record::{GRANULE, Geometry, PADDING, SLEEPER};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};
use crate::sync::cell::Granule;
use crate::sync::shm::Shared;

/// Capacity of a ring, whether its records have checksums, and whether it keeps what was read.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    capacity: usize,
    checksum: bool,
    wipe: bool,
}

impl Config {
    /// A ring of `capacity` bytes, a power of two between 64 and 2^32. Unless said otherwise, records have checksums and are not
    /// wiped.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, checksum: true, wipe: false }
    }

    /// Whether each record carries a CRC-32, checked when it is read.
    pub const fn checksum(mut self, on: bool) -> Self {
        self.checksum = on;
        self
    }

    /// For secrets: whether what was read, or reserved and dropped, is zeroed in the ring, before anybody else could have its
    /// place. What a producer had written when it died is zeroed by the next one, what a consumer had read when it died by the
    /// next one too. Opening the producer's seat costs a pass over the free space.
    ///
    /// What nobody reads stays: [`Consumer::discard`] it. What was copied out is the caller's to wipe.
    pub const fn wipe(mut self, on: bool) -> Self {
        self.wipe = on;
        self
    }
}

/// An index, and the heartbeat of the side that moves it.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct Side {
    /// A position, and [`SLEEPER`].
    pub(in crate::ring) index: AtomicU64,
    /// Counts the operations of that side, over all its generations. Relaxed: for people and monitors.
    heartbeat: AtomicU64,
    /// The consumer's, in a ring with wipe: up to where records are committed as read; what lies between the index and this is
    /// being zeroed. Relaxed: only consumers look at it, one after the other.
    pub(in crate::ring) read: AtomicU64,
}

impl Side {
    #[cfg(model)]
    pub(in crate::ring) fn new() -> Self {
        Self { index: AtomicU64::new(0), heartbeat: AtomicU64::new(0), read: AtomicU64::new(0) }
    }

    /// One more operation. A plain load and store: only the side itself writes it.
    #[inline]
    pub(in crate::ring) fn beat(&self) {
        self.heartbeat.store(self.heartbeat.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// How many there were.
    pub(in crate::ring) fn heartbeat(&self) -> u64 {
        self.heartbeat.load(Relaxed)
    }
}

/// What the two sides share, but for the records.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct Control {
    /// Capacity in bytes, and flags. Read once, when the ring is opened.
    #[cfg_attr(model, allow(dead_code, reason = "a model's ring is not opened"))]
    config: Line<[AtomicU64; 2]>,
    pub(in crate::ring) tail: Line<Side>,
    pub(in crate::ring) head: Line<Side>,
    producer: Line<SeatWords>,
    consumer: Line<SeatWords>,
    gate: Line<AtomicU64>,
}

impl Control {
    #[cfg(model)]
    pub(in crate::ring) fn new() -> Self {
        Self {
            config: Line([AtomicU64::new(0), AtomicU64::new(0)]),
            tail: Line(Side::new()),
            head: Line(Side::new()),
            producer: Line(SeatWords::new()),
            consumer: Line(SeatWords::new()),
            gate: Line(AtomicU64::new(0)),
        }
    }
}

/// A ring: open its two seats with [`Self::producer`] and [`Self::consumer`].
///
/// ```
/// use ownerdead::ring::spsc::{Config, Ring};
/// use ownerdead::segment::Options;
///
/// let ring = Ring::memfd(&Options::new(), &Config::new(4096))?;
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
    pub(crate) table: Table,
    pub(crate) control: Shared<Control>,
    /// The consumer's seat: this ring's own, or, of a lane, that of all lanes.
    consumer: Shared<SeatWords>,
    gates: Gates,
    /// Invariant 1: `geometry.capacity / 8` granules.
    pub(crate) granules: Shared<[Granule]>,
    pub(crate) geometry: Geometry,
    #[cfg(not(model))]
    pub(crate) segment: crate::segment::Segment,
}

/// Always-0 words where changes of seats are announced: who changes one has its gate pending.
#[derive(Clone, Debug)]
pub(in crate::ring) struct Gates {
    /// For those who wait for a producer.
    pub(in crate::ring) producer: Shared<AtomicU64>,
    /// For those who wait for a consumer.
    pub(in crate::ring) consumer: Shared<AtomicU64>,
}

/// What a ring looks like from outside. The indices belong together; all else was read at moments of its own.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Bytes for records.
    pub capacity: u64,
    /// Whether records have checksums.
    pub checksum: bool,
    /// Whether what was read is wiped.
    pub wipe: bool,
    /// Position up to which records are committed, in bytes since the ring's birth.
    pub write_index: u64,
    /// Position up to which they are committed as read.
    pub read_index: u64,
    /// Bytes in use: the difference. More than the capacity in a damaged ring.
    pub used: u64,
    /// The producer's seat.
    pub producer: SeatStatus,
    /// The consumer's seat.
    pub consumer: SeatStatus,
}

/// Which seat.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
}

impl Ring {
    /// A ring on the heap, for models.
    ///
    /// # Panics
    /// If the configuration is not allowed.
    #[cfg(model)]
    pub fn private(config: &Config, slots: usize) -> Self {
        let geometry =
            Geometry::new(config.capacity as u64, config.checksum, config.wipe).expect("an allowed capacity");
        let control = Shared::new(Control::new());
        let (consumer, gates) = own_seat(&control);
        Self::private_lane(Table::private(slots), control, consumer, gates, geometry)
    }

    /// The same of words that are there.
    #[cfg(model)]
    pub(in crate::ring) fn private_lane(
        table: Table,
        control: Shared<Control>,
        consumer: Shared<SeatWords>,
        gates: Gates,
        geometry: Geometry,
    ) -> Self {
        let granules = Shared::from_vec((0..geometry.capacity / GRANULE).map(|_| Granule::new(0)).collect());
        Self { table, control, consumer, gates, granules, geometry }
    }

    /// Makes the calling thread a participant of the ring's segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        Attachment::attach(&self.table)
    }

    /// Opens the producer's seat.
    ///
    /// # Errors
    /// [`SeatError`]: somebody alive has it, above all.
    pub fn producer(&self, me: &Attachment) -> Result<Opened<Producer>, SeatError> {
        let from_the_dead = self.take_seat(me, Role::Producer)?;
        let opened = Producer::new(self.clone(), me.clone());
        self.finish_open(me, Role::Producer, from_the_dead, opened)
    }

    /// Opens the consumer's seat.
    ///
    /// # Errors
    /// [`SeatError`]: somebody alive has it, above all.
    pub fn consumer(&self, me: &Attachment) -> Result<Opened<Consumer>, SeatError> {
        let from_the_dead = self.take_seat(me, Role::Consumer)?;
        let opened = Consumer::new(self.clone(), me.clone());
        self.finish_open(me, Role::Consumer, from_the_dead, opened)
    }

    pub(in crate::ring) fn take_seat(&self, me: &Attachment, role: Role) -> Result<bool, SeatError> {
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(SeatError::WrongSegment);
        }
        let seat = self.seat(role);
        match seat.take(me, self.gate(role)) {
            Ok(taken) => Ok(taken.from_the_dead),
            Err(SeatState::Alive(holder)) => Err(SeatError::Busy { slot: holder.slot, generation: seat.generation() }),
            Err(SeatState::Corrupt(found)) => Err(SeatError::Corrupt(corrupt_seat(found))),
            Err(SeatState::Vacant | SeatState::Dead(_)) => unreachable!("such a seat is taken"),
        }
    }

    /// The repair: a record counts only once the index has passed it, so all there is to do is to see that the indices make
    /// sense. Then the seat is marked consistent.
    pub(in crate::ring) fn finish_open<H>(
        &self,
        me: &Attachment,
        role: Role,
        from_the_dead: bool,
        opened: Result<H, Corrupt>,
    ) -> Result<Opened<H>, SeatError> {
        let seat = self.seat(role);
        match opened {
            Ok(opened) => {
                seat.repaired(me, self.gate(role));
                Ok(if from_the_dead { Opened::OwnerDied(opened) } else { Opened::Clean(opened) })
            }
            Err(corrupt) => {
                seat.give_up(me, self.gate(role));
                Err(SeatError::Corrupt(corrupt))
            }
        }
    }

    pub(crate) fn seat(&self, role: Role) -> &SeatWords {
        match role {
            Role::Producer => &self.control.producer,
            Role::Consumer => &self.consumer,
        }
    }

    /// Where changes of that seat are announced.
    pub(in crate::ring) fn gate(&self, role: Role) -> &AtomicU64 {
        match role {
            Role::Producer => &self.gates.producer,
            Role::Consumer => &self.gates.consumer,
        }
    }

    /// What it looks like now.
    pub fn status(&self) -> Status {
        let seat = |role, side: &Side| SeatStatus {
            generation: self.seat(role).generation(),
            state: self.seat(role).look_in(&self.table).state,
            heartbeat: side.heartbeat.load(Relaxed),
        };
        let (read_index, write_index) = self.indices();
        Status {
            capacity: self.geometry.capacity,
            checksum: self.geometry.checksum,
            wipe: self.geometry.wipe,
            write_index,
            read_index,
            used: write_index.wrapping_sub(read_index),
            producer: seat(Role::Producer, &self.control.tail),
            consumer: seat(Role::Consumer, &self.control.head),
        }
    }

    /// Both indices as they were at one moment, if the consumer lets us: the read index stood still while the write index was
    /// read. Otherwise the write index counts up to a full ring.
    fn indices(&self) -> (u64, u64) {
        /// A consumer that moves on each time is at work; only a hostile one could do so for ever.
        const LOOKS: u32 = 16;
        let index = |side: &Side| side.index.load(Acquire) & !SLEEPER;
        let mut read = index(&self.control.head);
        let mut write = 0;
        for _ in 0..LOOKS {
            write = index(&self.control.tail);
            let again = index(&self.control.head);
            if again == read {
                return (read, write);
            }
            read = again;
        }
        (read, write.clamp(read, read.saturating_add(self.geometry.capacity)))
    }

    /// How full it is.
    pub fn statistics(&self) -> Statistics {
        let (read, written) = self.indices();
        Statistics { unit: Unit::Bytes, capacity: self.geometry.capacity, written, read }
    }

    /// Bytes that the longest payload may have.
    pub fn longest_payload(&self) -> usize {
        self.geometry.longest() as usize
    }

    /// The granules of the record of `size` bytes, all in, at `start`. It does not wrap.
    #[inline]
    pub(crate) fn record(&self, start: u64, size: u64) -> &[Granule] {
        let from = (self.geometry.offset(start) / GRANULE) as usize;
        &self.granules[from..from + (size / GRANULE) as usize]
    }

    /// Zeroes the bytes between two positions.
    pub(crate) fn wipe(&self, from: u64, to: u64) {
        for position in (from..to).step_by(GRANULE as usize) {
            self.granule(position).store(0);
        }
    }

    #[inline]
    pub(crate) fn granule(&self, position: u64) -> &Granule {
        // In bounds by invariant 1; the check is one comparison.
        &self.granules[(self.geometry.offset(position) / GRANULE) as usize]
    }
}

crate::ring::interface!(Ring, Producer, Reservation, Consumer);

/// The seat and the gate that a ring of its own has for its consumer.
fn own_seat(control: &Shared<Control>) -> (Shared<SeatWords>, Gates) {
    let gate = control.project(|control| &*control.gate);
    (control.project(|control| &*control.consumer), Gates { producer: gate.clone(), consumer: gate })
}

#[cold]
pub(in crate::ring) fn corrupt_seat(found: u64) -> Corrupt {
    Corrupt { field: "a seat's right", found, expected: "a slot of the participants' table, or vacant".into() }
}

/// No ring gets so far in centuries; so position arithmetic cannot overflow.
const FARTHEST: u64 = 1 << 62;

/// Whether `found` can be an index of any ring.
pub(crate) fn check_index(field: &'static str, found: u64) -> Result<(), Corrupt> {
    if !found.is_multiple_of(GRANULE) {
        return Err(Corrupt { field, found, expected: "a multiple of 8".into() });
    }
    if found > FARTHEST {
        return Err(Corrupt { field, found, expected: format!("at most {FARTHEST:#x}") });
    }
    Ok(())
}

/// Whether `tail` and `head` can be the indices of this ring.
pub(crate) fn check_indices(geometry: &Geometry, tail: u64, head: u64) -> Result<(), Corrupt> {
    check_index("the write index", tail)?;
    check_index("the read index", head)?;
    // Not a subtraction alone: positions never wrap, so a tail behind the head is damage, however near.
    if tail < head || tail - head > geometry.capacity {
        return Err(Corrupt {
            field: "the write index",
            found: tail,
            expected: format!("between the read index {head:#x} and {:#x} bytes after it", geometry.capacity),
        });
    }
    Ok(())
}

/// What lies at a position between the indices.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A padding record, up to the end of the ring.
    Padding {
        /// Position after it.
        end: u64,
    },
    /// A record that lies between the position and the write index.
    Record {
        kind: u32,
        len: u32,
        /// Position after it.
        end: u64,
    },
}

/// What `first`, the first granule at `position`, says, `tail` being the write index, after `position`.
#[inline]
pub(crate) fn parse(geometry: &Geometry, position: u64, tail: u64, first: u64) -> Result<Step, Corrupt> {
    let (len, kind) = (first as u32, (first >> 32) as u32);
    let before_end = geometry.before_end(position);
    if len == PADDING {
        // A padding record fills the ring up to its end, and something follows it.
        if before_end >= tail - position {
            return Err(endless_padding(position + before_end, tail));
        }
        return Ok(Step::Padding { end: position + before_end });
    }
    // No producer writes a longer one than the ring takes.
    let room = before_end.min(tail - position).min(geometry.largest_record());
    let size = geometry.record(len.into());
    if size > room {
        return Err(too_long(position, len, room));
    }
    Ok(Step::Record { kind, len, end: position + size })
}

#[cold]
fn endless_padding(end: u64, tail: u64) -> Corrupt {
    Corrupt { field: "the end of a padding record", found: end, expected: format!("before the write index {tail:#x}") }
}

#[cold]
fn too_long(position: u64, len: u32, room: u64) -> Corrupt {
    Corrupt {
        field: "the length of a record",
        found: len.into(),
        expected: format!("a record of at most {room:#x} bytes, all in, at position {position:#x}"),
    }
}
