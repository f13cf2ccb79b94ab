//! A ring for many producers and one consumer: one ring of records of any length, in which a producer claims its place by one
//! compare-and-swap.
//!
//! **What it guarantees.** Records arrive whole, each once, in the order in which their places were claimed: those of one producer in
//! order, and a push that has returned before another one began, whoever made them, comes first. No push waits for another one:
//! only for room. Nobody waits for the dead. A try_push or try_pop makes no system call unless a sleeper has to be woken.
//!
//! **What survives a death.** A producer's death loses the record that it had not committed, and no other: the consumer skips it at once,
//! without a lock. Producers hold no seat, so nothing of theirs has to be taken over: opening one is always [`Opened::Clean`], and an
//! empty ring without producers is waited for. The consumer's seat is taken over from a dead one by the next, which is told
//! ([`Opened::OwnerDied`]); what that one had not committed as read is delivered again, and nothing is lost.
//!
//! **What it cannot do.** Take a place from one who is merely slow or stopped: the order is strict, so what comes after the record of a paused
//! producer waits for that one, and in the end producers find the ring full. [`mpsc::lanes`](super::lanes) have no such wait. A record is at
//! most half the ring, and at most 131,071 blocks. Room is not given out in turn: who pushes long records may find the ring full while
//! others push short ones. Who pops while its own thread has a reservation open waits for itself.
//!
//! ```text
//! body + 0      capacity, bytes of a block, flags                 fixed at birth
//!      + 128    tail: no record can begin before it               a hint: every producer helps it on
//!      + 256    head | heartbeat of the consumer | read           written by the consumer
//!      + 384    seat of the consumer: right, generation
//!      + 512    gate of the producers, always 0: the consumer sleeps here
//!      + 640    gate of the consumer's seat, always 0: producers sleep here
//!      + 4096   the words of the blocks (see `word`), 8 bytes each
//!      + ...    from the next page on: the blocks
//! record        length, kind | payload, zero-padded to 8 bytes | CRC-32, if the ring has checksums | up to the end of its last block
//! ```
//!
//! Positions count bytes, whole blocks, and never wrap. The word of the block where a record begins is all that counts:
//!
//! ```text
//! FREE(lap) -> WRITING(who, blocks) -> FULL(blocks) -> FREE(lap + 1)
//! FREE(lap) -> VOID(blocks)                         -> FREE(lap + 1)      padding before the end of the ring
//! ```
//!
//! - **Push.** Who sees that there is room, and that the word at the tail is free, claims as many blocks as it needs by one compare-and-swap
//!   of that word, and then helps the tail on. Nothing is moved before, so a death leaves no hole: the word names the dead one, and says
//!   how far its record goes; anybody helps the tail over it. Where a record does not fit before the end of the ring, the rest is
//!   claimed as VOID first. A record is published by a swap of its word. One that is given up becomes VOID.
//! - **Pop.** At FULL the consumer reads. At WRITING it waits while that one lives. When that one is dead it reads the word once more, since
//!   the dead one may have published last, and skips the record if not. It commits by `read`; then the words of all blocks up to there are
//!   free in the next lap; then the head follows, and that is what gives producers room. Whoever takes over from a consumer that died
//!   in between does that part again. Before that the tail is past the record, so the tail never is behind the head.
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | a word: FULL or VOID, swap Release, by its holder | a word, Acquire, by the consumer | the record |
//! | a word: WRITING or VOID, compare-and-swap Release | a word, Acquire | the holder's incarnation, for `Table::dead`; the head that it was claimed by |
//! | a word: FREE, store Release, by the consumer | a word, Acquire, by producers | the tail past the record that was there |
//! | the kernel's marking of a life word | `Table::dead`, Acquire | what the dead one did |
//! | tail, compare-and-swap Release | tail, Acquire, by producers | a head that is as new as what was claimed |
//! | head, swap Release, by the consumer | head, Acquire, by producers | that the blocks before it were read, and their words freed |
//!
//! How nobody is forgotten is in `wait`.

mod consumer;
mod producer;
mod shape;
mod wait;
mod word;

#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;

#[cfg(not(model))]
pub use crate::ring::RingError;
pub use crate::ring::{
    Corrupt, Opened, PopError, PopTimeoutError, PushError, PushTimeoutError, SeatError, SeatStatus, TryPopError,
    TryPushError, WaitPeerError,
};
pub use consumer::{Consumer, Peek};
pub use producer::{Producer, Reservation};
pub use shape::Config;

use crate::owner::{AttachError, Attachment, Holder, SeatState, SeatWords, Table};
use crate::ring::record::{GRANULE, SLEEPER};
use crate::ring::spsc::{self, corrupt_seat};
use crate::ring::{Statistics, Unit};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Relaxed, Release};
use crate::sync::cell::Granule;
use crate::sync::shm::Shared;
use shape::Shape;
use word::{BlockWord, Says};

/// No ring gets so far in centuries; so position arithmetic cannot overflow.
pub(super) const FARTHEST: u64 = 1 << 62;

/// What all share, but for the blocks and their words.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct Control {
    /// Capacity, bytes of a block, flags. Read once, when the ring is opened.
    #[cfg_attr(model, allow(dead_code, reason = "a model's ring is not opened"))]
    config: Line<[AtomicU64; 3]>,
    /// A position where a record begins, or is to begin: all before it is claimed.
    tail: Line<AtomicU64>,
    /// Index: what lies before it is read, and free. Beyond it, up to `read`, what is being freed.
    head: Line<spsc::Side>,
    consumer: Line<SeatWords>,
    producer_gate: Line<AtomicU64>,
    consumer_gate: Line<AtomicU64>,
}

/// A ring: open a producer's side with [`Self::producer`], as many as are wanted, and the one consumer with [`Self::consumer`].
///
/// ```
/// use ownerdead::ring::mpsc::claims::{Config, Ring};
/// use ownerdead::segment::Options;
///
/// let ring = Ring::memfd(&Options::new(), &Config::new(1 << 16))?;
/// let me = ring.attach()?;
/// let mut one = ring.producer(&me)?.into_inner();
/// let mut other = ring.producer(&me)?.into_inner();
/// let mut consumer = ring.consumer(&me)?.into_inner();
/// one.push(1, b"first")?;
/// other.push(2, &[7; 1000])?;
/// let mut record = Vec::new();
/// assert_eq!((consumer.pop(&mut record)?, record.as_slice()), (1, &b"first"[..]));
/// assert_eq!((consumer.pop(&mut record)?, record.len()), (2, 1000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ring {
    table: Table,
    control: Shared<Control>,
    /// Invariant 1: `shape.blocks()` of them.
    words: Shared<[AtomicU64]>,
    /// Invariant 2: `shape.capacity / 8` of them.
    granules: Shared<[Granule]>,
    shape: Shape,
    #[cfg(not(model))]
    segment: crate::segment::Segment,
}

/// What a ring looks like from outside. Each was read at a moment of its own.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Bytes for records.
    pub capacity: u64,
    /// Bytes of a block.
    pub block: u64,
    /// Whether records have checksums.
    pub checksum: bool,
    /// Position up to which records are claimed, in bytes since the ring's birth: a hint that may be one record behind.
    pub write_index: u64,
    /// Position up to which they are read.
    pub read_index: u64,
    /// The consumer's seat.
    pub consumer: SeatStatus,
    /// Who writes the record that is next to be read, dead or alive; `None` if nobody does.
    pub next_writer: Option<Holder>,
}

impl Ring {
    /// A ring on the heap, for models.
    ///
    /// # Panics
    /// If the configuration is not allowed.
    #[cfg(model)]
    pub fn private(config: &Config, slots: usize) -> Self {
        let shape = Shape::new(config.capacity as u64, config.block as u64, config.checksum).expect("allowed sizes");
        let word = || Line(AtomicU64::new(0));
        Self {
            table: Table::private(slots),
            control: Shared::new(Control {
                config: Line(core::array::from_fn(|_| AtomicU64::new(0))),
                tail: word(),
                head: Line(spsc::Side::new()),
                consumer: Line(SeatWords::new()),
                producer_gate: word(),
                consumer_gate: word(),
            }),
            words: Shared::from_vec((0..shape.blocks()).map(|_| AtomicU64::new(0)).collect()),
            granules: Shared::from_vec((0..shape.capacity / GRANULE).map(|_| Granule::new(0)).collect()),
            shape,
        }
    }

    /// Sleeps beside the consumer as a bell's thread does, until there is something at `position`, or `until` is not 0; for models.
    ///
    /// # Errors
    /// [`Corrupt`].
    #[cfg(model)]
    pub fn watch(&self, me: &Attachment, position: u64, until: &AtomicU64) -> Result<(), Corrupt> {
        wait::watch(self, me, position, crate::owner::Interrupt::new(until, 0))
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
        self.belongs(me)?;
        Ok(Opened::Clean(Producer::new(self.clone(), me.clone())))
    }

    /// Opens the consumer's seat.
    ///
    /// # Errors
    /// [`SeatError`]: somebody alive has it, above all.
    pub fn consumer(&self, me: &Attachment) -> Result<Opened<Consumer>, SeatError> {
        self.belongs(me)?;
        let (seat, gate) = (&*self.control.consumer, &*self.control.consumer_gate);
        let from_the_dead = match seat.take(me, gate) {
            Ok(taken) => taken.from_the_dead,
            Err(SeatState::Alive(holder)) => {
                return Err(SeatError::Busy { slot: holder.slot, generation: seat.generation() });
            }
            Err(SeatState::Corrupt(found)) => return Err(corrupt_seat(found).into()),
            Err(SeatState::Vacant | SeatState::Dead(_)) => unreachable!("such a seat is taken"),
        };
        // The repair: what the last one committed as read and had not freed.
        match Consumer::new(self.clone(), me.clone()) {
            Ok(consumer) => {
                seat.repaired(me, gate);
                Ok(if from_the_dead { Opened::OwnerDied(consumer) } else { Opened::Clean(consumer) })
            }
            Err(corrupt) => {
                seat.give_up(me, gate);
                Err(SeatError::Corrupt(corrupt))
            }
        }
    }

    fn belongs(&self, me: &Attachment) -> Result<(), SeatError> {
        me.check()?;
        if me.table().same_place(&self.table) { Ok(()) } else { Err(SeatError::WrongSegment) }
    }

    /// What it looks like now.
    pub fn status(&self) -> Status {
        let Statistics { capacity, written, read, .. } = self.statistics();
        let head = &self.control.head;
        // Relaxed: for people. Whether that one lives is not asked here.
        let next_writer = match BlockWord(self.word(read).load(Relaxed)).says() {
            Says::Writing { holder, .. } => Some(holder),
            _ => None,
        };
        Status {
            capacity,
            block: self.shape.block,
            checksum: self.shape.checksum,
            write_index: written,
            read_index: read,
            consumer: SeatStatus {
                generation: self.control.consumer.generation(),
                state: self.control.consumer.look_in(&self.table).state,
                heartbeat: head.heartbeat(),
            },
            next_writer,
        }
    }

    /// How full it is. What is being written counts as in it.
    pub fn statistics(&self) -> Statistics {
        // Relaxed: for people. They may belong to different moments, and are brought together below.
        let read = self.control.head.index.load(Relaxed) & !SLEEPER;
        let written = self.control.tail.load(Relaxed);
        let capacity = self.shape.capacity;
        Statistics { unit: Unit::Bytes, capacity, written: written.clamp(read, read.saturating_add(capacity)), read }
    }

    /// Bytes that the longest payload may have.
    pub fn longest_payload(&self) -> usize {
        self.shape.longest() as usize
    }

    /// The word of the block at a position.
    #[inline]
    fn word(&self, position: u64) -> &AtomicU64 {
        // In bounds by invariant 1; the check is one comparison.
        &self.words[self.shape.index(position)]
    }

    /// The granules of the record of so many blocks at `start`. It does not wrap.
    #[inline]
    fn record(&self, start: u64, blocks: u64) -> &[Granule] {
        let granules = (self.shape.block / GRANULE) as usize;
        let from = self.shape.index(start) * granules;
        &self.granules[from..from + blocks as usize * granules]
    }

    /// Helps the tail on over a record, if that is where it stands.
    #[inline]
    fn help(&self, from: u64, to: u64) {
        // Release: the head that the record was claimed by, which the caller knows, for who reads the tail next. A read-modify-write, so
        // what earlier ones published stays in its release sequence. Relaxed where it fails: somebody else was faster.
        let _ = self.control.tail.compare_exchange(from, to, Release, Relaxed);
    }
}

crate::ring::interface!(Ring, Producer, Reservation, Consumer);
