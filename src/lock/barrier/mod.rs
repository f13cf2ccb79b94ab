//! The barrier: parties with seats, who wait for each other, again and again.
//!
//! **What it guarantees.** A phase is completed when all parties have arrived in it, and not before: then all who wait return, and one of them, at
//! most, is its leader. What a party wrote before it arrived is visible to all who return. Nobody waits for the dead: a death is
//! told as soon as one of those who wait looks, which the death itself makes one do. A party that is merely slow or stopped is waited for.
//!
//! **What survives a death.** A party that dies in a phase before it has arrived *breaks* that phase: all others are told, with the number
//! of the dead one's seat, each once, whether they were waiting or come later. Then somebody takes the seat over
//! ([`Barrier::join`]), repairs what the dead one left, and says [`Party::reset`]: a new phase begins, in which all arrive anew. Who was told
//! and waits again sleeps until then. (Any party may reset; with the dead one still in its seat, the new phase breaks at once.) A party that dies after it has arrived has
//! arrived: that phase is completed, and the next one breaks, unless its seat is taken over before ([`Party::has_arrived`]). If the last one to arrive dies before it has woken the others,
//! the kernel wakes one of them, who does it.
//!
//! **What it cannot do.** Go on with fewer parties than it was made for. It does not know who will reset it, so who waits for that is not told
//! of further deaths before: give that wait a time-out, or reset yourself. A seat that nobody has yet, or that was given up, is waited for.
//! Nobody is the leader of a phase whose leader died at that moment.
//!
//! Layout of the body:
//!
//! ```text
//! 0      parties
//! 128    phase   63 .. 32                31      30 .. 26                      25    24 .. 0
//!                completed, modulo 2^32  BROKEN  seat that broke the last one  OWED  event, modulo 2^25
//! 256    gate, always 0: all sleep on it first, and have it pending
//! 384    for each party, 128 bytes: the seat (16), the event in which it arrived, plus 1
//! ```
//!
//! | phase | to | by |
//! |---|---|---|
//! | open, event e | open, e + 1, completed + 1 | whoever sees that all have arrived in e: the leader |
//! | open, event e | BROKEN, e, seat | whoever sees a dead party that had not arrived in e, or takes its seat over |
//! | BROKEN, e | open, e + 1 | `reset` |
//!
//! Each of these sets OWED: all are to be woken. Whoever has done so since clears it: the one who made the change, or one that
//! was woken in its stead.
//!
//! No phase can be completed without a party that waits, so if `completed` has moved on, its own phase is completed, whatever
//! came since; if only the event has, it was broken.
//!
//! A sleeper names the gate, the phase, and of each party that is missing the seat's right and both halves of its holder's life word, in this
//! order. All who sleep on a life word of this segment sleep on the gate too, so it is the one pending operation that is
//! needed: one that was woken and dies makes the kernel wake another one there, and whoever wakes looks at all seats.
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | arrival: store, Release | who counts the arrivals, Acquire | what that party wrote |
//! | completing: compare-and-swap, Release | the phase, Acquire | what all parties wrote |
//! | arriving, taking a seat: read-modify-write of the phase, AcqRel | the phase, Acquire | that arrival, that seat's new right |
//! | kernel's marking of the life word | `SeatWords::look`, Acquire | the dead one's arrival, if it had arrived |

mod error;
#[cfg(not(model))]
pub(crate) mod image;
mod party;
mod phase;
#[cfg(not(model))]
mod shared;
mod wait;

pub use error::{BarrierError, BarrierTimeoutError, JoinError, ResetError};
pub use party::{Arrival, Party};

use crate::owner::{AttachError, Attachment, SeatState, SeatWords, Table};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::shm::Shared;

/// The most parties that a barrier can have: its seats' numbers have five bits, and a sleep can name three words of each.
pub const MAX_PARTIES: usize = 32;
/// Looks at the seats before they count as taken though they keep changing: only peers that play with them make so many.
const MOST_ROUNDS: usize = 1_000;

/// What a party leaves in shared memory. All-zero: a vacant seat, and no arrival.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
struct Place {
    seat: SeatWords,
    arrived: AtomicU64,
}

/// What all parties share.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
struct Control {
    /// How many parties there are. Read once, when the barrier is opened.
    #[cfg_attr(model, allow(dead_code, reason = "a model's barrier is not opened"))]
    parties: Line<AtomicU64>,
    phase: Line<AtomicU64>,
    gate: Line<AtomicU64>,
}

/// A barrier: take a seat with [`Self::join`], and wait with it.
///
/// ```
/// use ownerdead::lock::Barrier;
/// use ownerdead::segment::Options;
///
/// let barrier = Barrier::memfd(&Options::new(), 2)?;
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| {
///             let me = barrier.attach().expect("a free slot");
///             let mut party = barrier.join(&me).expect("a seat is left");
///             party.wait().expect("nobody died");
///         });
///     }
/// });
/// assert_eq!(barrier.status().completed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Barrier {
    table: Table,
    control: Shared<Control>,
    /// Invariant 1: between 1 and MAX_PARTIES places.
    places: Shared<[Line<Place>]>,
    #[cfg(not(model))]
    segment: crate::segment::Segment,
}

/// What a barrier looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierStatus {
    /// Phases that were completed, modulo 2^32.
    pub completed: u32,
    /// The seat whose holder's death has broken this phase, until it is reset.
    pub broken_by: Option<usize>,
    /// Parties that have arrived in this phase, dead or alive.
    pub arrived: usize,
    /// Parties that it is made for.
    pub parties: usize,
}

impl Barrier {
    /// One on the heap, for models.
    #[cfg(model)]
    pub fn private(slots: usize, parties: usize) -> Self {
        let line = || Line(AtomicU64::new(0));
        let place = || Line(Place { seat: SeatWords::new(), arrived: AtomicU64::new(0) });
        Self {
            table: Table::private(slots),
            control: Shared::new(Control { parties: line(), phase: line(), gate: line() }),
            places: Shared::from_vec((0..parties).map(|_| place()).collect()),
        }
    }

    /// Makes the calling thread a participant of the barrier's segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        Attachment::attach(&self.table)
    }

    /// The participants of its segment.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Takes the first seat that nobody alive has. If its last holder died before it arrived, the phase is broken, as
    /// it would be by whoever waits.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn join(&self, me: &Attachment) -> Result<Party, JoinError> {
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(JoinError::WrongSegment);
        }
        let mut last_look = [SeatState::Vacant; MAX_PARTIES];
        for _ in 0..MOST_ROUNDS {
            let mut look = [SeatState::Vacant; MAX_PARTIES];
            for (number, place) in self.places.iter().enumerate() {
                match place.seat.take(me, &self.control.gate) {
                    Ok(taken) => return Ok(Party::seated(self, me, number, taken.from_the_dead)),
                    Err(SeatState::Corrupt(found)) => return Err(JoinError::Corrupt { seat: number, found }),
                    Err(state) => look[number] = state,
                }
            }
            // Full is what two looks in a row agree on. One look alone could meet each seat at a moment when it was taken.
            if look == last_look {
                break;
            }
            last_look = look;
        }
        Err(JoinError::Full { parties: self.places.len() })
    }

    /// What it looks like now. Each word was read at a moment of its own.
    pub fn status(&self) -> BarrierStatus {
        let phase = self.load();
        let arrived = |place: &&Line<Place>| place.arrived.load(Relaxed) == phase.event() + 1;
        BarrierStatus {
            completed: phase.completed(),
            broken_by: phase.is_broken().then(|| phase.seat()),
            arrived: self.places.iter().filter(arrived).count(),
            parties: self.places.len(),
        }
    }
}
