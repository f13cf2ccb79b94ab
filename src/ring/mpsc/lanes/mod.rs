//! A ring for many producers and one consumer: a lane for each producer, merged by the order of arrival.
//!
//! **What it guarantees.** Records arrive whole, each once, those of one producer in order. A push that has returned before another
//! one began, whoever made them, comes first. Pushes that overlap come in any order. A producer waits for room in its own lane
//! and for nobody else: not for a slow, stopped or dead producer. Nobody waits for the dead.
//!
//! **What survives a death.** Each lane has its producer's seat, and all lanes together have one consumer's. Who opens a producer takes
//! a dead one's lane over, if there is one, and is told ([`Opened::OwnerDied`]); the lane's generation grows by one. A producer's
//! death loses the record that it had not committed, and no other; the number of its arrival is missed by nobody. A consumer's death
//! loses nothing: what it had not committed as read is delivered again.
//!
//! **What it cannot do.** More producers than lanes at a time. A record is at most half a lane, less 8 bytes. A lane that is full is full,
//! however empty the others are. A seat is not taken from one who is merely slow or stopped. A peer that does not follow the
//! protocol can have its own records come before those of others.
//!
//! ```text
//! body + 0      lanes, capacity of each, flags        fixed at birth
//!      + 128    arrivals: numbers given to records    every producer adds to it
//!      + 256    seat of the consumer: right, generation
//!      + 384    gate of the producers' seats, always 0: the consumer sleeps here
//!      + 512    gate of the consumer's seat, always 0: producers sleep here
//!      + 4096   lanes' words, 1024 bytes each, as those of `spsc`: tail, head, seat of the producer
//!      + ...    from the next page on: lanes' records, one lane after the other
//! record        as in `record`, with the number of its arrival in the first 8 bytes of its payload
//! ```
//!
//! What must synchronise with what: what `spsc` says, lane by lane. The numbers need no more than to be read and written in one
//! step: see [`Consumer::try_pop`] for why.
//!
//! **Sleeping.** A consumer that finds all lanes empty sets the sleeper's bit in each write index, and sleeps on all of them at once;
//! so a record that comes in between is seen by the sleep itself. It also sleeps on the life word of one living producer: as long as
//! that one lives, there is something to wait for. A producer that finds the bit may not be that one, so its death after it has
//! published must be told in another way: it has the gate where the consumer sleeps as its pending operation until it has woken it.

mod consumer;
mod producer;
mod wait;

#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;

pub use crate::ring::{
    Corrupt, Opened, PopError, PopTimeoutError, PushError, PushTimeoutError, SeatError, SeatStatus, TryPopError,
    TryPushError, WaitPeerError,
};
pub use consumer::{Consumer, Peek};
pub use producer::{Producer, Reservation};

#[cfg(not(model))]
pub use crate::ring::RingError;

use crate::owner::{AttachError, Attachment, SeatState, SeatWords, Table};
use crate::ring::record::{GRANULE, Geometry};
use crate::ring::spsc::{self, Role};
use crate::ring::{Statistics, Unit};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::shm::Shared;
use std::sync::Arc;

/// The most lanes that a ring can have: a sleep names two words of each, and the kernel takes 128.
pub const MAX_LANES: usize = 32;

/// Bytes of the number of a record's arrival, in front of its payload.
const NUMBER: usize = GRANULE as usize;

/// Lanes, capacity of each, whether records have checksums, and whether what was read is kept.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    lanes: usize,
    capacity: usize,
    checksum: bool,
    wipe: bool,
}

impl Config {
    /// As many `lanes` as there are to be producers at a time, 1 to [`MAX_LANES`], each of `capacity` bytes, a power of two between 64 and
    /// 2^32. Unless said otherwise, records have checksums and are not wiped.
    pub const fn new(lanes: usize, capacity: usize) -> Self {
        Self { lanes, capacity, checksum: true, wipe: false }
    }

    /// Whether each record carries a CRC-32, checked when it is read.
    pub const fn checksum(mut self, on: bool) -> Self {
        self.checksum = on;
        self
    }

    /// As [`spsc::Config::wipe`], for each lane.
    pub const fn wipe(mut self, on: bool) -> Self {
        self.wipe = on;
        self
    }
}

/// What all lanes share.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct Control {
    /// Lanes, capacity of each in bytes, and flags. Read once, when the ring is opened.
    #[cfg_attr(model, allow(dead_code, reason = "a model's ring is not opened"))]
    config: Line<[AtomicU64; 3]>,
    arrivals: Line<AtomicU64>,
    consumer: Line<SeatWords>,
    producer_gate: Line<AtomicU64>,
    consumer_gate: Line<AtomicU64>,
}

/// A ring: open a lane with [`Self::producer`], and the one consumer with [`Self::consumer`].
///
/// ```
/// use ownerdead::ring::mpsc::lanes::{Config, Ring};
/// use ownerdead::segment::Options;
///
/// let ring = Ring::memfd(&Options::new(), &Config::new(4, 4096))?;
/// let me = ring.attach()?;
/// let mut one = ring.producer(&me)?.into_inner();
/// let mut other = ring.producer(&me)?.into_inner();
/// let mut consumer = ring.consumer(&me)?.into_inner();
/// one.push(1, b"first")?;
/// other.push(2, b"second")?;
/// let mut record = Vec::new();
/// assert_eq!((consumer.pop(&mut record)?, record.as_slice()), (1, &b"first"[..]));
/// assert_eq!((consumer.pop(&mut record)?, record.as_slice()), (2, &b"second"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ring {
    table: Table,
    control: Shared<Control>,
    /// Invariant 1: 1 to [`MAX_LANES`]; each is an SPSC ring whose consumer's seat and whose gates are those of all.
    lanes: Arc<[spsc::Ring]>,
    /// Of each lane.
    geometry: Geometry,
    #[cfg(not(model))]
    segment: crate::segment::Segment,
}

/// What a ring looks like from outside. Each lane's indices belong together; all else was read at moments of its own.
#[derive(Clone, Debug)]
pub struct Status {
    /// Bytes for records in each lane.
    pub capacity: u64,
    /// Whether records have checksums.
    pub checksum: bool,
    /// Whether what was read is wiped.
    pub wipe: bool,
    /// Numbers that were given to records: as many were pushed, but for those whose producer died meanwhile.
    pub arrivals: u64,
    /// The consumer's seat.
    pub consumer: SeatStatus,
    /// The lanes.
    pub lanes: Vec<LaneStatus>,
}

/// A lane from outside.
#[derive(Clone, Copy, Debug)]
pub struct LaneStatus {
    /// Position up to which records are committed, in bytes since the ring's birth.
    pub write_index: u64,
    /// Position up to which they are committed as read.
    pub read_index: u64,
    /// Bytes in use: the difference. More than the capacity in a damaged ring.
    pub used: u64,
    /// Its producer's seat.
    pub producer: SeatStatus,
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
        assert!((1..=MAX_LANES).contains(&config.lanes), "1 to {MAX_LANES} lanes");
        let word = || Line(AtomicU64::new(0));
        let control = Shared::new(Control {
            config: Line([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]),
            arrivals: word(),
            consumer: Line(SeatWords::new()),
            producer_gate: word(),
            consumer_gate: word(),
        });
        let table = Table::private(slots);
        let (consumer, gates) = seat_of_all(&control);
        let lane = |_| {
            let words = Shared::new(spsc::Control::new());
            spsc::Ring::private_lane(table.clone(), words, consumer.clone(), gates.clone(), geometry)
        };
        let lanes = (0..config.lanes).map(lane).collect();
        Self { table, control, lanes, geometry }
    }

    /// Sleeps beside the consumer as a bell's thread does, until there is more in some lane than was `seen` of it, or nobody lives who could
    /// push and one has died, or `until` is not 0; for models. False: one has died.
    ///
    /// # Errors
    /// [`Corrupt`].
    #[cfg(model)]
    pub fn watch(&self, me: &Attachment, seen: &[u64], until: &AtomicU64) -> Result<bool, Corrupt> {
        let interrupt = Some(crate::owner::Interrupt::new(until, 0));
        crate::owner::but_for_deaths(wait::until_some(self, me, |lane| seen[lane], None, interrupt))
    }

    /// Makes the calling thread a participant of the ring's segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        Attachment::attach(&self.table)
    }

    /// Opens a producer: takes a lane over whose producer died, or else a lane that nobody has.
    ///
    /// # Errors
    /// [`SeatError`]: all lanes are taken, above all; `Busy` tells of the last one's holder then.
    pub fn producer(&self, me: &Attachment) -> Result<Opened<Producer>, SeatError> {
        let (lane, from_the_dead) = self.take_lane(me)?;
        let ring = &self.lanes[lane];
        let opened = spsc::Producer::new(ring.clone(), me.clone());
        let opened = opened.map(|inner| Producer::new(inner, self.control.clone(), lane));
        ring.finish_open(me, Role::Producer, from_the_dead, opened)
    }

    /// Opens the consumer's seat.
    ///
    /// # Errors
    /// [`SeatError`]: somebody alive has it, above all.
    pub fn consumer(&self, me: &Attachment) -> Result<Opened<Consumer>, SeatError> {
        // Any lane will do: the seat is that of all.
        let lane = &self.lanes[0];
        let from_the_dead = lane.take_seat(me, Role::Consumer)?;
        lane.finish_open(me, Role::Consumer, from_the_dead, Consumer::new(self.clone(), me.clone()))
    }

    /// Takes the seat of a lane; which one, and whether from a dead one.
    fn take_lane(&self, me: &Attachment) -> Result<(usize, bool), SeatError> {
        /// Looks before all lanes count as taken though they keep changing hands: only peers that play with them make so many.
        const MOST_LOOKS: u32 = 1_000;
        let mut refused = None;
        for _ in 0..MOST_LOOKS {
            let states = self.producers(me);
            let dead = (0..).zip(&states).filter(|(_, state)| matches!(state, SeatState::Dead(_)));
            let vacant = (0..).zip(&states).filter(|(_, state)| matches!(state, SeatState::Vacant));
            for (lane, _) in dead.chain(vacant) {
                match self.lanes[lane].take_seat(me, Role::Producer) {
                    Ok(from_the_dead) => return Ok((lane, from_the_dead)),
                    // Another one was faster: there may be a lane still.
                    Err(SeatError::Busy { .. } | SeatError::Corrupt(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            // None is what two looks agree on: one alone could meet each lane at a moment when it was taken.
            if refused.as_ref() == Some(&states) {
                break;
            }
            refused = Some(states);
        }
        // Says which error it is: nobody gives a lane up at this very moment, or all is well.
        let last = self.lanes.len() - 1;
        self.lanes[last].take_seat(me, Role::Producer).map(|from_the_dead| (last, from_the_dead))
    }

    /// Whose the lanes are.
    fn producers(&self, me: &Attachment) -> Vec<SeatState> {
        self.lanes.iter().map(|lane| lane.seat(Role::Producer).look(me).state).collect()
    }

    /// What it looks like now.
    pub fn status(&self) -> Status {
        let lanes: Vec<_> = self.lanes.iter().map(spsc::Ring::status).collect();
        // Each lane counts what was read from it.
        let heartbeat = lanes.iter().fold(0, |sum: u64, lane| sum.wrapping_add(lane.consumer.heartbeat));
        let lane = |lane: &spsc::Status| LaneStatus {
            write_index: lane.write_index,
            read_index: lane.read_index,
            used: lane.used,
            producer: lane.producer,
        };
        Status {
            capacity: self.geometry.capacity,
            checksum: self.geometry.checksum,
            wipe: self.geometry.wipe,
            // Relaxed: a count for people.
            arrivals: self.control.arrivals.load(Relaxed),
            consumer: SeatStatus { heartbeat, ..lanes[0].consumer },
            lanes: lanes.iter().map(lane).collect(),
        }
    }

    /// How full it is, all lanes together.
    pub fn statistics(&self) -> Statistics {
        let nothing = Statistics { unit: Unit::Bytes, capacity: 0, written: 0, read: 0 };
        self.lanes.iter().map(spsc::Ring::statistics).fold(nothing, |sum, lane| Statistics {
            unit: Unit::Bytes,
            capacity: sum.capacity + lane.capacity,
            written: sum.written.wrapping_add(lane.written),
            read: sum.read.wrapping_add(lane.read),
        })
    }

    /// Bytes that the longest payload may have.
    pub fn longest_payload(&self) -> usize {
        self.geometry.longest() as usize - NUMBER
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }
}

/// The consumer's seat and the gates, for each lane.
fn seat_of_all(control: &Shared<Control>) -> (Shared<SeatWords>, spsc::Gates) {
    let gates = spsc::Gates {
        producer: control.project(|control| &*control.producer_gate),
        consumer: control.project(|control| &*control.consumer_gate),
    };
    (control.project(|control| &*control.consumer), gates)
}

crate::ring::interface!(Ring, Producer, Reservation, Consumer);
