//! A byte ring for one writer and many readers, each of which sees every record from when it joined.
//!
//! Two modes, chosen at creation:
//!
//! - **lossy**: the writer never waits and needs nobody. A reader that is too slow is *lapped*: it is told how many records it has
//!   lost, to the record, and goes on with the oldest one there is.
//! - **lossless**: the writer waits for the slowest reader that lives.
//!
//! **What it guarantees.** Records arrive whole and in order, at each reader. In a lossy ring each record either arrives or is
//! counted as lost. Nobody waits for the dead. No call makes a system call unless it has to sleep, or a sleeper has to be woken.
//! A reader's steps are bounded, however fast the writer is.
//!
//! **What survives a death.** The writer holds a seat, and each reader one of a table of places. Who opens the seat of a dead writer
//! takes it over, and is told ([`Opened::OwnerDied`]); the generation grows by one. A writer's death loses the record that it had
//! not committed, and no other; but what it had begun to overwrite is lost. A dead reader holds nobody up from then on, and its
//! place is free for the next one, which begins where it joins.
//!
//! **What it cannot do.** More than one writer at a time. In a lossless ring a reader that is merely slow or stopped holds the
//! writer up, from when it takes its place. A record is at most half the ring. In a lossy ring there are no references into
//! it: a [`View`] copies, and says afterwards whether what it copied was overwritten meanwhile. Bytes that a peer may write are
//! no secrets: there is no wiping, as an [`spsc`](super::spsc) ring has it.
//!
//! ```text
//! body + 0      capacity, flags, places for readers, entries of the index      fixed at birth
//!      + 128    tail | oldest | heartbeat of the writer                        written by the writer
//!      + 256    seat of the writer: right, generation
//!      + 384    gate of the writer's seat, always 0
//!      + 512    gate of the readers' places, always 0
//!      + 640    joins: how often a place was taken
//!      + 4096   places for readers, 128 bytes each: position | heartbeat | right, generation
//!      + a page index: 8 bytes for each entry
//!      + a page the records (see `record`)
//! ```
//!
//! Records are counted from 0, and `tail`, `oldest` and the positions of readers are such counts (doubled: bit 0 is for sleepers). So
//! each is one word, and what a reader has lost is a subtraction. Entry `n % entries` of the index says where record `n` starts;
//! the entry after the last record, where that one ends. Where a record would not fit before the end of the ring, it starts at the
//! ring's beginning.
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | tail, swap AcqRel, by the writer | tail, Acquire, by a reader | the records before it, and their entries |
//! | oldest, Release, and the fence after it, by the writer | the fence before it, and oldest, Acquire, by a reader (lossy) | that what lies before it may be overwritten: who has read a byte that was written later sees it |
//! | position, swap Release, by a reader | position, Acquire, by the writer (lossless) | that the records before it were read |
//! | oldest, and position, Release | the same, Acquire, by who looks from outside | a tail that is no less |
//! | a reader's place, taken; then tail, `fetch_or(0)`, Release | tail, swap AcqRel; then the place, by the writer (lossless) | that somebody reads from here on: see `Producer::look_at_readers` |
//!
//! A side that sleeps sets a bit in the word that the other side moves; the other publishes by a swap, which shows it that bit.

mod consumer;
mod geometry;
mod producer;
mod view;
mod wait;

#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;

#[cfg(not(model))]
pub use super::RingError;
pub use super::{
    Corrupt, Opened, PopError, PopTimeoutError, PushError, PushTimeoutError, SeatError, SeatStatus, TryPopError,
    TryPushError, WaitPeerError,
};
pub use consumer::Consumer;
pub use geometry::{Config, Mode};
pub use producer::{Producer, Reservation};
pub use view::{Overwritten, View, ViewError};

use super::{Statistics, Unit};
use crate::owner::{AttachError, Attachment, SeatState, SeatWords, Table, Taken};
use crate::ring::record::{GRANULE, SLEEPER};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};
use crate::sync::cell::Granule;
use crate::sync::shm::Shared;
use geometry::Shape;

/// What the writer writes.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct Written {
    /// How many records are committed, doubled, and [`SLEEPER`].
    tail: AtomicU64,
    /// Records before this one are, or may be, overwritten. Lossy rings only.
    oldest: AtomicU64,
    /// Counts the writer's operations, over all its generations. Relaxed: for people and monitors.
    heartbeat: AtomicU64,
}

/// A place for a reader.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct ReaderPlace {
    /// The record that it reads next, doubled, and [`SLEEPER`]. In a place that was just taken it may be the last one's still,
    /// which is no later.
    position: AtomicU64,
    /// As the writer's.
    heartbeat: AtomicU64,
    seat: SeatWords,
}

/// What all share, but for places, index and records.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct Control {
    /// Capacity in bytes, flags, places, entries. Read once, when the ring is opened.
    #[cfg_attr(model, allow(dead_code, reason = "a model's ring is not opened"))]
    config: Line<[AtomicU64; 4]>,
    written: Line<Written>,
    writer: Line<SeatWords>,
    /// Where those sleep who wait for a change of the writer's seat.
    writer_gate: Line<AtomicU64>,
    /// Where the writer sleeps, for a change of the readers' places.
    readers_gate: Line<AtomicU64>,
    joins: Line<AtomicU64>,
}

#[cfg(model)]
impl Control {
    fn new() -> Self {
        let word = || AtomicU64::new(0);
        Self {
            config: Line([word(), word(), word(), word()]),
            written: Line(Written { tail: word(), oldest: word(), heartbeat: word() }),
            writer: Line(SeatWords::new()),
            writer_gate: Line(word()),
            readers_gate: Line(word()),
            joins: Line(word()),
        }
    }
}

/// One more operation. A plain load and store: only the side itself writes it.
#[inline]
fn beat(heartbeat: &AtomicU64) {
    heartbeat.store(heartbeat.load(Relaxed).wrapping_add(1), Relaxed);
}

/// A count of records in a word that has a sleepers' bit.
#[inline]
fn count(word: u64) -> u64 {
    word >> 1
}

/// The word for a count, without sleepers.
#[inline]
fn word(count: u64) -> u64 {
    count << 1
}

const _: () = assert!(SLEEPER == 1);

/// No ring gets so far in centuries; so arithmetic with counts and positions cannot overflow.
pub(crate) const FARTHEST: u64 = 1 << 61;

/// A ring: open the writer's seat with [`Self::producer`], and a place for a reader with [`Self::consumer`].
///
/// ```
/// use ownerdead::ring::broadcast::{Config, Ring, TryPopError};
/// use ownerdead::segment::Options;
///
/// let ring = Ring::memfd(&Options::new(), &Config::lossy(256, 8))?;
/// let me = ring.attach()?;
/// let mut writer = ring.producer(&me)?.into_inner();
/// let (mut fast, mut slow) = (ring.consumer(&me)?.into_inner(), ring.consumer(&me)?.into_inner());
/// let mut record = Vec::new();
/// for tick in 0..100 {
///     writer.try_push(tick, b"price")?;
///     assert_eq!(fast.try_pop(&mut record)?, tick);
/// }
/// let Err(TryPopError::Lapped { lost }) = slow.try_pop(&mut record) else { panic!("it has read none of 100") };
/// assert_eq!(u64::from(slow.try_pop(&mut record)?), lost);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ring {
    table: Table,
    control: Shared<Control>,
    /// Invariant 1: `shape.readers` places.
    places: Shared<[Line<ReaderPlace>]>,
    /// Invariant 2: `shape.entries` entries.
    index: Shared<[AtomicU64]>,
    /// Invariant 3: `shape.bytes.capacity / 8` granules.
    granules: Shared<[Granule]>,
    shape: Shape,
    #[cfg(not(model))]
    segment: crate::segment::Segment,
}

/// What a ring looks like from outside. Each word was read at a moment of its own.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whether a slow reader is lapped or holds the writer up.
    pub mode: Mode,
    /// Bytes for records.
    pub capacity: u64,
    /// Whether records have checksums.
    pub checksum: bool,
    /// Records that it can hold at a time, if they are small enough.
    pub records: u64,
    /// Records committed since the ring's birth.
    pub written: u64,
    /// The oldest record that a reader of a lossy ring can have, counted from 0.
    pub oldest: u64,
    /// The writer's seat.
    pub writer: SeatStatus,
    /// The places for readers.
    pub readers: Vec<ReaderStatus>,
}

/// A place for a reader from outside.
#[derive(Clone, Copy, Debug)]
pub struct ReaderStatus {
    /// Its seat.
    pub seat: SeatStatus,
    /// Records, counted from the ring's birth, that lie behind its reader.
    pub read: u64,
}

impl Ring {
    /// A ring on the heap, for models.
    ///
    /// # Panics
    /// If the configuration is not allowed.
    #[cfg(model)]
    pub fn private(config: &Config, slots: usize) -> Self {
        let shape = Shape::new(config).expect("an allowed configuration");
        let place =
            || ReaderPlace { position: AtomicU64::new(0), heartbeat: AtomicU64::new(0), seat: SeatWords::new() };
        // What a lossy ring's writer overwrites may be read meanwhile.
        let granule = if shape.lossless { Granule::new } else { Granule::overwritable };
        Self {
            table: Table::private(slots),
            control: Shared::new(Control::new()),
            places: Shared::from_vec((0..shape.readers).map(|_| Line(place())).collect()),
            index: Shared::from_vec((0..shape.entries).map(|_| AtomicU64::new(0)).collect()),
            granules: Shared::from_vec((0..shape.bytes.capacity / GRANULE).map(|_| granule(0)).collect()),
            shape,
        }
    }

    /// Sleeps as the thread of a reader's bell does, until more than `seen` records are committed, or the writer has died, or `until` is not
    /// 0; for models. False: it has died.
    ///
    /// # Errors
    /// [`Corrupt`].
    #[cfg(model)]
    pub fn watch_commit(&self, me: &Attachment, seen: u64, until: &AtomicU64) -> Result<bool, Corrupt> {
        let interrupt = crate::owner::Interrupt::new(until, 0);
        crate::owner::but_for_deaths(wait::until_committed(self, me, word(seen), None, Some(interrupt)))
    }

    /// Sleeps as the thread of the writer's bell does, until the reader in `place` has read more than `seen` records, or dies, or leaves, or
    /// `until` is not 0; for models.
    ///
    /// # Errors
    /// [`Corrupt`].
    #[cfg(model)]
    pub fn watch_reader(&self, me: &Attachment, place: usize, seen: u64, until: &AtomicU64) -> Result<(), Corrupt> {
        let interrupt = Some(crate::owner::Interrupt::new(until, 0));
        let waited = wait::until_read(self, me, &self.places[place], word(seen), None, interrupt);
        crate::owner::but_for_deaths(waited).map(drop)
    }

    /// Makes the calling thread a participant of the ring's segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        Attachment::attach(&self.table)
    }

    /// Opens the writer's seat.
    ///
    /// # Errors
    /// [`SeatError`]: somebody alive has it, above all.
    pub fn producer(&self, me: &Attachment) -> Result<Opened<Producer>, SeatError> {
        self.belongs(me)?;
        let (seat, gate) = (&*self.control.writer, &*self.control.writer_gate);
        match seat.take(me, gate) {
            Ok(taken) => opened(me, seat, gate, taken, Producer::new(self.clone(), me.clone())),
            Err(SeatState::Alive(holder)) => Err(SeatError::Busy { slot: holder.slot, generation: seat.generation() }),
            Err(SeatState::Corrupt(found)) => Err(corrupt_seat(found).into()),
            Err(SeatState::Vacant | SeatState::Dead(_)) => unreachable!("such a seat is taken"),
        }
    }

    /// Takes a place for a reader, which sees every record that is committed from now on. [`Opened::OwnerDied`] says that the place
    /// was a dead one's; nothing of that one's is left.
    ///
    /// # Errors
    /// [`SeatError`]: readers that live have all places, above all.
    pub fn consumer(&self, me: &Attachment) -> Result<Opened<Consumer>, SeatError> {
        self.belongs(me)?;
        let (place, taken) = self.take_place(me)?;
        let gate = &*self.control.readers_gate;
        opened(me, &self.places[place].seat, gate, taken, Consumer::new(self.clone(), me.clone(), place))
    }

    fn belongs(&self, me: &Attachment) -> Result<(), SeatError> {
        me.check()?;
        if me.table().same_place(&self.table) { Ok(()) } else { Err(SeatError::WrongSegment) }
    }

    /// Takes a place that is nobody's, or a dead one's.
    fn take_place(&self, me: &Attachment) -> Result<(usize, Taken), SeatError> {
        /// Only peers that play with the places make so many.
        const MOST_ROUNDS: usize = 1_000;
        let mut last_look = Vec::new();
        for _ in 0..MOST_ROUNDS {
            let mut look = Vec::with_capacity(self.places.len());
            for (index, place) in self.places.iter().enumerate() {
                let mut found = place.seat.look(me).state;
                if let SeatState::Vacant | SeatState::Dead(_) = found {
                    match place.seat.take(me, &self.control.readers_gate) {
                        Ok(taken) => return Ok((index, taken)),
                        Err(state) => found = state,
                    }
                }
                look.push(found);
            }
            // Full is what two looks in a row agree on. One look alone could meet each place at a moment when it was taken.
            if look == last_look {
                break;
            }
            last_look = look;
        }
        let damaged = last_look.iter().find_map(|state| match state {
            SeatState::Corrupt(found) => Some(corrupt_seat(*found)),
            _ => None,
        });
        Err(damaged.map_or(SeatError::NoPlace { places: self.places.len() }, SeatError::Corrupt))
    }

    /// What it looks like now.
    pub fn status(&self) -> Status {
        let seat = |seat: &SeatWords, heartbeat: &AtomicU64| SeatStatus {
            generation: seat.generation(),
            state: seat.look_in(&self.table).state,
            heartbeat: heartbeat.load(Relaxed),
        };
        let written = &self.control.written;
        let reader = |place: &Line<ReaderPlace>| ReaderStatus {
            seat: seat(&place.seat, &place.heartbeat),
            read: count(place.position.load(Acquire)),
        };
        let readers = self.places.iter().map(reader).collect();
        let oldest = written.oldest.load(Acquire);
        Status {
            mode: self.shape.mode(),
            capacity: self.shape.bytes.capacity,
            checksum: self.shape.bytes.checksum,
            records: self.shape.records(),
            // After the others, which were acquired, so that it is no less than they are.
            written: count(written.tail.load(Relaxed)),
            oldest,
            writer: seat(&self.control.writer, &written.heartbeat),
            readers,
        }
    }

    /// How full it is, in records. `read` is that of the slowest reader that lives, or all if there is none.
    pub fn statistics(&self) -> Statistics {
        let status = self.status();
        let living = status.readers.iter().filter(|reader| matches!(reader.seat.state, SeatState::Alive(_)));
        let read = living.map(|reader| reader.read).min().unwrap_or(status.written);
        Statistics { unit: Unit::Records, capacity: status.records, written: status.written, read }
    }

    /// Bytes that the longest payload may have.
    pub fn longest_payload(&self) -> usize {
        self.shape.bytes.longest() as usize
    }

    /// The entry of a record in the index.
    #[inline]
    fn entry(&self, record: u64) -> &AtomicU64 {
        // In bounds by invariant 2, the number of entries being a power of two.
        &self.index[(record & (self.shape.entries - 1)) as usize]
    }

    /// The granules of the record of `size` bytes, all in, at `start`. It does not wrap.
    #[inline]
    fn record(&self, start: u64, size: u64) -> &[Granule] {
        let from = (self.shape.bytes.offset(start) / GRANULE) as usize;
        &self.granules[from..from + (size / GRANULE) as usize]
    }
}

crate::ring::interface!(Ring, Producer, Reservation, Consumer);

/// The repair: a record counts only once the tail has passed it, so all there is to do is to see that the words make sense. Then the
/// seat is marked consistent.
fn opened<H>(
    me: &Attachment,
    seat: &SeatWords,
    gate: &AtomicU64,
    taken: Taken,
    side: Result<H, Corrupt>,
) -> Result<Opened<H>, SeatError> {
    match side {
        Ok(side) => {
            seat.repaired(me, gate);
            Ok(if taken.from_the_dead { Opened::OwnerDied(side) } else { Opened::Clean(side) })
        }
        Err(corrupt) => {
            seat.give_up(me, gate);
            Err(SeatError::Corrupt(corrupt))
        }
    }
}

#[cold]
fn corrupt_seat(found: u64) -> Corrupt {
    Corrupt { field: "a seat's right", found, expected: "a slot of the participants' table, or vacant".into() }
}

/// Whether `found` can be a count of records.
fn check_count(field: &'static str, found: u64, least: u64, most: u64) -> Result<(), Corrupt> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(Corrupt { field, found, expected: format!("between {least:#x} and {most:#x}") })
}
