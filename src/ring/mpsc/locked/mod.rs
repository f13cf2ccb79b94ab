//! A ring for many producers and one consumer: one ring of records of any length, whose producers take turns under a robust lock.
//!
//! **What it guarantees.** Records arrive whole, each once, in the order of the producers' turns: those of one producer in order, and a
//! push that has returned before another one began, whoever made them, comes first. The records of a batch come one after the other.
//! Nobody waits for the dead. A try_push or try_pop makes no system call unless it has to wait for its turn, or a sleeper has to be woken.
//!
//! **What survives a death.** A producer's death loses the record that it had not committed, and no other: the next one takes the lock from
//! the dead one, and goes on behind what that one had committed. There is nothing to repair (in a ring with wipe: what the dead one
//! had written is zeroed first), so nobody is told: opening a producer is always [`Opened::Clean`], and an empty ring without producers
//! is waited for. [`Status::takeovers`] counts such deaths. The consumer's seat is taken over from a dead one by the next, which is told
//! ([`Opened::OwnerDied`]); what that one had not committed as read is delivered again, and nothing is lost.
//!
//! **What it cannot do.** Go round a producer that is merely slow or stopped in its turn: it holds up all other producers (not the
//! consumer), for as long as it lives. A [`Reservation`] is a turn. So every push waits for its turn, `try_push` and `reserve` too:
//! a lock that is taken is no full ring, and an answer that says so would have callers drop records for which there is room. Who must not
//! wait says for how long at most: `push_timeout`. Turns are not given in order. Who pushes while its own thread has a reservation
//! open would wait for itself, and gets an error ([`Corrupt`]: the lock of the producers). A record is at most half the ring.
//! [`mpsc::lanes`](super::lanes) have none of these waits, [`mpsc::claims`](super::claims) only that of the consumer.
//!
//! ```text
//! body + 0      capacity, flags                       fixed at birth
//!      + 128    lock of the producers | takeovers     see `turn`
//!      + 256    seat of the consumer: right, generation
//!      + 384    gate of the producers, always 0: the consumer sleeps here
//!      + 512    gate of the consumer's seat, always 0: producers sleep here
//!      + 1024   the ring's words, as those of `spsc`: tail | heartbeat of the producers, head | heartbeat of the consumer | read
//!      + 4096   the records (see `record`)
//! ```
//!
//! Under the lock a producer is that of an SPSC ring: it reads the tail, finds room behind it, writes there, and publishes by one change
//! of the tail. A producer that finds no room gives the lock up before it sleeps.
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | lock, swap Release, by who gives it up | lock, compare-and-swap Acquire, by who takes it | the tail, and the records before it |
//! | the kernel's marking of a life word | `Table::dead`, Acquire | the same, as far as the dead one came; what it wrote behind the tail |
//! | lock, compare-and-swap Release, by who takes it | lock, Acquire, before `dead` | the holder's incarnation |
//! | tail, compare-and-swap or swap Release, in a turn | tail, Acquire, by the consumer | the records before it |
//! | head, swap Release, by the consumer | head, Acquire, by producers | that the bytes before it were read |
//!
//! How nobody is forgotten is in `wait`.

mod consumer;
mod producer;
mod turn;
mod wait;

#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;

#[cfg(not(model))]
pub use crate::ring::RingError;
pub use crate::ring::spsc::Peek;
pub use crate::ring::{
    Corrupt, Opened, PopError, PopTimeoutError, PushError, PushTimeoutError, SeatError, SeatStatus, TryPopError,
    TryPushError, WaitPeerError,
};
pub use consumer::Consumer;
pub use producer::{Producer, Reservation};

use crate::owner::{AttachError, Attachment, SeatState, SeatWords};
use crate::ring::Statistics;
#[cfg(model)]
use crate::ring::record::Geometry;
use crate::ring::spsc;
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::shm::Shared;
use turn::Lock;

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

    /// As [`spsc::Config::wipe`]. What a producer had written when it died is zeroed in the next one's turn, which costs that one a
    /// pass over the free space.
    pub const fn wipe(mut self, on: bool) -> Self {
        self.wipe = on;
        self
    }
}

/// What all share, but for the words that are those of an SPSC ring, and the records.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct Control {
    /// Capacity in bytes, and flags. Read once, when the ring is opened.
    #[cfg_attr(model, allow(dead_code, reason = "a model's ring is not opened"))]
    config: Line<[AtomicU64; 2]>,
    lock: Line<Lock>,
    consumer: Line<SeatWords>,
    producer_gate: Line<AtomicU64>,
    consumer_gate: Line<AtomicU64>,
}

/// A ring: open a producer's side with [`Self::producer`], as many as are wanted, and the one consumer with [`Self::consumer`].
///
/// ```
/// use ownerdead::ring::mpsc::locked::{Config, Ring};
/// use ownerdead::segment::Options;
///
/// let ring = Ring::memfd(&Options::new(), &Config::new(4096))?;
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
    control: Shared<Control>,
    /// The records and their indices. Its consumer's seat and its gates are those in `control`; the producer's seat is nobody's.
    inner: spsc::Ring,
    #[cfg(not(model))]
    segment: crate::segment::Segment,
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
    /// Whose turn it is to push: nobody's, somebody's who lives, or somebody's who died in it, until the next one takes it over.
    pub turn: SeatState,
    /// Turns that were taken over from producers that had died in them.
    pub takeovers: u64,
    /// Turns in which something was committed, since the ring's birth.
    pub heartbeat: u64,
    /// The consumer's seat.
    pub consumer: SeatStatus,
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
        let word = || AtomicU64::new(0);
        let control = Shared::new(Control {
            config: Line([word(), word()]),
            lock: Line(Lock::new()),
            consumer: Line(SeatWords::new()),
            producer_gate: Line(word()),
            consumer_gate: Line(word()),
        });
        let (consumer, gates) = seat_and_gates(&control);
        let words = Shared::new(spsc::Control::new());
        let table = crate::owner::Table::private(slots);
        Self { inner: spsc::Ring::private_lane(table, words, consumer, gates, geometry), control }
    }

    /// Sleeps beside the consumer as a bell's thread does, until the write index is no longer `seen`, or `until` is not 0; for models.
    #[cfg(model)]
    pub fn watch(&self, me: &Attachment, seen: u64, until: &AtomicU64) {
        wait::watch(&self.inner, me, seen, crate::owner::Interrupt::new(until, 0));
    }

    /// Makes the calling thread a participant of the ring's segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        self.inner.attach()
    }

    /// Opens a producer's side. There may be any number.
    ///
    /// # Errors
    /// [`SeatError`], but never that it is busy.
    pub fn producer(&self, me: &Attachment) -> Result<Opened<Producer>, SeatError> {
        me.check()?;
        if !me.table().same_place(&self.inner.table) {
            return Err(SeatError::WrongSegment);
        }
        Ok(Opened::Clean(Producer::new(self, me)))
    }

    /// Opens the consumer's seat.
    ///
    /// # Errors
    /// [`SeatError`]: somebody alive has it, above all.
    pub fn consumer(&self, me: &Attachment) -> Result<Opened<Consumer>, SeatError> {
        Ok(match self.inner.consumer(me)? {
            Opened::Clean(inner) => Opened::Clean(Consumer { inner }),
            Opened::OwnerDied(inner) => Opened::OwnerDied(Consumer { inner }),
        })
    }

    /// What it looks like now.
    pub fn status(&self) -> Status {
        let spsc::Status { capacity, checksum, wipe, write_index, read_index, used, producer, consumer } =
            self.inner.status();
        Status {
            capacity,
            checksum,
            wipe,
            write_index,
            read_index,
            used,
            turn: self.control.lock.look(&self.inner.table),
            takeovers: self.control.lock.takeovers(),
            heartbeat: producer.heartbeat,
            consumer,
        }
    }

    /// How full it is.
    pub fn statistics(&self) -> Statistics {
        self.inner.statistics()
    }

    /// Bytes that the longest payload may have.
    pub fn longest_payload(&self) -> usize {
        self.inner.longest_payload()
    }
}

/// The consumer's seat and the gates.
fn seat_and_gates(control: &Shared<Control>) -> (Shared<SeatWords>, spsc::Gates) {
    let gates = spsc::Gates {
        producer: control.project(|control| &*control.producer_gate),
        consumer: control.project(|control| &*control.consumer_gate),
    };
    (control.project(|control| &*control.consumer), gates)
}

crate::ring::interface!(Ring, Producer, Reservation, Consumer);
