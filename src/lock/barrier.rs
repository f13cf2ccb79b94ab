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
//! arrived: that phase is completed, and the next one breaks. If the last one to arrive dies before it has woken the others,
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
//! | kernel's marking of the life word | `SeatWords::look`, Acquire | the dead one's arrival, if it had arrived |

use super::error::{BarrierError, BarrierTimeoutError, BarrierTrouble, JoinError, ResetError};
use crate::owner::{AttachError, Attachment, SeatState, SeatWords, Table, finish_waiting, watch_life};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::futex::{ALL, MAX_WAITS, Wait, Woken, Word, wait_any, wake};
use crate::sync::shm::Shared;
use crate::sync::{thread, time};
use core::time::Duration;

/// The most parties that a barrier can have: its seats' numbers have five bits, and a sleep can name three words of each.
pub const MAX_PARTIES: usize = 32;
const _: () = assert!(2 + 3 * (MAX_PARTIES - 1) <= MAX_WAITS);

const BROKEN: u64 = 1 << 31;
const SEAT_SHIFT: u32 = 26;
/// All are to be woken, and perhaps are not yet.
const OWED: u64 = 1 << 25;
const EVENT: u64 = OWED - 1;
const SEAT: u64 = 0x1f << SEAT_SHIFT;

/// The value of the phase's word; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase(pub u64);

impl Phase {
    pub(super) fn event(self) -> u64 {
        self.0 & EVENT
    }
    pub(super) fn completed(self) -> u32 {
        (self.0 >> 32) as u32
    }
    pub(super) fn is_broken(self) -> bool {
        self.0 & BROKEN != 0
    }
    /// The seat whose holder's death broke the last phase that was broken.
    pub(super) fn seat(self) -> usize {
        ((self.0 & SEAT) >> SEAT_SHIFT) as usize
    }
    pub(super) fn is_owed(self) -> bool {
        self.0 & OWED != 0
    }
    fn next_event(self) -> u64 {
        (self.event() + 1) & EVENT
    }
    fn complete(self) -> Self {
        let completed = u64::from(self.completed().wrapping_add(1));
        Self(completed << 32 | self.0 & SEAT | OWED | self.next_event())
    }
    fn broken_by(self, seat: usize) -> Self {
        Self(self.0 & !SEAT | BROKEN | OWED | (seat as u64) << SEAT_SHIFT)
    }
    fn reset(self) -> Self {
        Self(self.0 & !(BROKEN | EVENT) | OWED | self.next_event())
    }
    /// The event that is the next one in which anybody can arrive.
    fn next_open(self) -> u64 {
        if self.is_broken() { self.next_event() } else { self.event() }
    }
}

/// What a party leaves in shared memory. All-zero: a vacant seat, and no arrival.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(super) struct Place {
    pub(super) seat: SeatWords,
    pub(super) arrived: AtomicU64,
}

/// What all parties share.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(super) struct Control {
    /// How many parties there are. Read once, when the barrier is opened.
    #[cfg_attr(model, allow(dead_code, reason = "a model's barrier is not opened"))]
    pub(super) parties: Line<AtomicU64>,
    pub(super) phase: Line<AtomicU64>,
    pub(super) gate: Line<AtomicU64>,
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
    pub(super) table: Table,
    pub(super) control: Shared<Control>,
    /// Invariant 1: between 1 and MAX_PARTIES places.
    pub(super) places: Shared<[Line<Place>]>,
    #[cfg(not(model))]
    pub(super) segment: crate::segment::Segment,
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

/// What a look at the seats came to.
enum Look {
    AllArrived,
    /// Somebody is dead and has not arrived.
    Dead(usize),
    /// Somebody is missing.
    Missing,
    /// Somebody who was missing has just died.
    Again,
    Corrupt {
        seat: usize,
        found: u64,
    },
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
        if !me.is_current() {
            return Err(JoinError::Forked);
        }
        if !me.table().same_place(&self.table) {
            return Err(JoinError::WrongSegment);
        }
        for (number, place) in self.places.iter().enumerate() {
            match place.seat.take(me, &self.control.gate) {
                Ok(taken) => return Ok(self.party(me, number, taken.from_the_dead)),
                Err(SeatState::Corrupt(found)) => return Err(JoinError::Corrupt { seat: number, found }),
                Err(_) => {}
            }
        }
        Err(JoinError::Full { parties: self.places.len() })
    }

    fn party(&self, me: &Attachment, number: usize, owner_died: bool) -> Party {
        let place = &self.places[number];
        let mut phase = self.load();
        // Relaxed: taking the seat has acquired what its last holder stored.
        let arrived = || place.arrived.load(Relaxed);
        while owner_died && !phase.is_broken() && arrived() != phase.event() + 1 {
            match self.change(phase, phase.broken_by(number)) {
                Ok(broken) | Err(broken) => phase = broken,
            }
        }
        // Wakes all at the gate, after the phase was broken too.
        place.seat.repaired(me, &self.control.gate);
        let had_arrived = !phase.is_broken() && arrived() == phase.event() + 1;
        Party {
            barrier: self.clone(),
            me: me.clone(),
            number,
            owner_died,
            arrived: had_arrived.then_some(phase),
            next: phase.next_open(),
        }
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

    fn load(&self) -> Phase {
        // Acquire: if a phase was completed, all that its parties wrote.
        Phase(self.control.phase.load(Acquire))
    }

    /// From one phase to the next; what it is instead, if somebody else was faster.
    fn change(&self, from: Phase, to: Phase) -> Result<Phase, Phase> {
        // Release: what all parties wrote, which this thread has acquired with their arrivals, for those who see it completed.
        // Acquire: as for a load.
        self.control.phase.compare_exchange(from.0, to.0, AcqRel, Acquire).map(|_| to).map_err(Phase)
    }

    /// Looks at all seats. `waits` gets the words to sleep on until something changes.
    fn look<'b>(&'b self, me: &'b Attachment, phase: Phase, waits: &mut Waits<'b>) -> Look {
        let mut all = true;
        for (number, place) in self.places.iter().enumerate() {
            // Acquire: what that party wrote before it arrived.
            let has_arrived = || place.arrived.load(Acquire) == phase.event() + 1;
            if has_arrived() {
                continue;
            }
            let found = place.seat.look(me);
            // Again: it may have arrived and then died, or left its seat to another one, which `look` has acquired.
            if has_arrived() {
                continue;
            }
            match found.state {
                SeatState::Corrupt(found) => return Look::Corrupt { seat: number, found },
                SeatState::Dead(_) => return Look::Dead(number),
                SeatState::Vacant => {}
                SeatState::Alive(holder) => match watch_life(me.table(), holder) {
                    Some(lives) => waits.add(&lives),
                    // It has died since.
                    None => return Look::Again,
                },
            }
            waits.add(&[Wait { word: place.seat.word(), expected: found.low }]);
            all = false;
        }
        if all { Look::AllArrived } else { Look::Missing }
    }

    /// Wakes all, who are owed that in `phase`: each looks at the phase, and at all seats.
    fn pay(&self, phase: Phase) {
        wake(Word::Low(&self.control.gate), ALL);
        // Relaxed: at worst somebody wakes all once more. If it fails, another wake is owed.
        let _ = self.control.phase.compare_exchange(phase.0, phase.0 & !OWED, Relaxed, Relaxed);
    }

    /// Sleeps on `waits`; the phase after that, and whether the deadline has passed.
    fn sleep(&self, waits: &Waits<'_>, deadline: Option<Duration>) -> (Phase, bool) {
        let timed_out = wait_any(waits.all(), 1, deadline) == Woken::TimedOut;
        let phase = self.load();
        if phase.is_owed() {
            // Perhaps the one who was to wake all is dead. The gate is still pending: so is this.
            self.pay(phase);
        }
        (phase, timed_out)
    }

    /// Sleeps until the phase in which the caller has arrived is over. The gate is pending.
    fn until_over(&self, me: &Attachment, at: Phase, deadline: Option<Duration>) -> Result<Arrival, BarrierTrouble> {
        // A read-modify-write, between the arrival and the look at the others: of two who arrive, the one that comes later here sees the
        // other one's arrival. With two plain accesses each could miss the other. Release: this arrival. Acquire: those before.
        let mut phase = Phase(self.control.phase.fetch_or(0, AcqRel));
        let mut timed_out = false;
        loop {
            if phase.completed() != at.completed() {
                return Ok(Arrival::Follower);
            }
            if phase.is_broken() || phase.event() != at.event() {
                return Err(BarrierTrouble::PartyDied { seat: phase.seat(), next: phase.next_open() });
            }
            let mut waits = Waits::new(&self.control, phase);
            match self.look(me, phase, &mut waits) {
                Look::AllArrived => match self.change(phase, phase.complete()) {
                    Ok(completed) => {
                        self.pay(completed);
                        return Ok(Arrival::Leader);
                    }
                    Err(now) => phase = now,
                },
                Look::Dead(seat) => match self.change(phase, phase.broken_by(seat)) {
                    Ok(broken) => {
                        self.pay(broken);
                        phase = broken;
                    }
                    Err(now) => phase = now,
                },
                Look::Again => phase = self.load(),
                Look::Corrupt { seat, found } => return Err(BarrierTrouble::Corrupt { seat, found }),
                Look::Missing if timed_out => return Err(BarrierTrouble::TimedOut),
                Look::Missing => (phase, timed_out) = self.sleep(&waits, deadline),
            }
        }
    }
}

/// The words that a sleep names.
struct Waits<'b> {
    /// Invariant 1: the first `count` are filled; 3 for each party but the sleeper, and 2, so all fit.
    waits: [Wait<'b>; MAX_WAITS],
    count: usize,
}

impl<'b> Waits<'b> {
    fn new(control: &'b Control, phase: Phase) -> Self {
        let gate = Wait { word: Word::Low(&control.gate), expected: 0 };
        let mut waits = Self { waits: [gate; MAX_WAITS], count: 1 };
        waits.add(&[Wait { word: Word::Low(&control.phase), expected: phase.0 as u32 }]);
        waits
    }

    fn add(&mut self, more: &[Wait<'b>]) {
        self.waits[self.count..self.count + more.len()].copy_from_slice(more);
        self.count += more.len();
    }

    fn all(&self) -> &[Wait<'b>] {
        &self.waits[..self.count]
    }
}

/// How a party came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// As the one of all parties that completed the phase.
    Leader,
    /// As another one.
    Follower,
}

/// A seat at a barrier. Dropping it gives the seat up.
///
/// It stays with its thread:
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::lock::Party>();
/// ```
#[derive(Debug)]
pub struct Party {
    barrier: Barrier,
    me: Attachment,
    number: usize,
    owner_died: bool,
    /// The phase in which it, or the one whose seat it took over, has arrived, until it was told what became of that.
    arrived: Option<Phase>,
    /// The event in which it arrives next. If another one comes before, a phase was broken.
    next: u64,
}

impl Party {
    /// Number of its seat.
    pub fn seat(&self) -> usize {
        self.number
    }

    /// Whether it took the seat over from a dead one.
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }

    /// Arrives, and sleeps until all have.
    ///
    /// # Errors
    /// [`BarrierError`]: that a party died before it arrived, above all.
    pub fn wait(&mut self) -> Result<Arrival, BarrierError> {
        self.wait_until(None).map_err(Into::into)
    }

    /// The same for up to `timeout`. After a time-out the arrival stands: the next wait goes on with it.
    ///
    /// # Errors
    /// [`BarrierTimeoutError`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Arrival, BarrierTimeoutError> {
        self.wait_until(time::now().checked_add(timeout)).map_err(Into::into)
    }

    fn wait_until(&mut self, deadline: Option<Duration>) -> Result<Arrival, BarrierTrouble> {
        if !self.me.is_current() {
            return Err(BarrierTrouble::Forked);
        }
        // Before it arrives: should it be the last one, and die before it has woken the others, the kernel wakes one.
        self.me.list().set_pending(&self.barrier.control.gate);
        let over = self.arrive(deadline).and_then(|at| self.barrier.until_over(&self.me, at, deadline));
        finish_waiting(&self.me);
        match over {
            Ok(_) => self.arrived = None,
            Err(BarrierTrouble::PartyDied { next, .. }) => (self.arrived, self.next) = (None, next),
            Err(_) => {}
        }
        over
    }

    /// The phase in which it has arrived. Sleeps until the reset of one that was broken, if it was told of that.
    fn arrive(&mut self, deadline: Option<Duration>) -> Result<Phase, BarrierTrouble> {
        if let Some(at) = self.arrived {
            return Ok(at);
        }
        let Barrier { control, places, .. } = &self.barrier;
        let (mut phase, mut timed_out) = (self.barrier.load(), false);
        let at = loop {
            if phase.next_open() != self.next {
                return Err(BarrierTrouble::PartyDied { seat: phase.seat(), next: phase.next_open() });
            }
            if !phase.is_broken() {
                break phase;
            }
            if timed_out {
                return Err(BarrierTrouble::TimedOut);
            }
            (phase, timed_out) = self.barrier.sleep(&Waits::new(control, phase), deadline);
        };
        // Release: all that this party wrote.
        places[self.number].arrived.store(at.event() + 1, Release);
        self.arrived = Some(at);
        self.next = at.next_event();
        Ok(at)
    }

    /// Begins a new phase after one that a death has broken. To be said when what the dead one left is repaired, and its seat
    /// is taken.
    ///
    /// # Errors
    /// [`ResetError`]: somebody else has said it already, above all.
    pub fn reset(&mut self) -> Result<(), ResetError> {
        if !self.me.is_current() {
            return Err(ResetError::Forked);
        }
        // Before the phase changes: should this thread die before it has woken those who wait for that, the kernel wakes one, who
        // does it.
        self.me.list().set_pending(&self.barrier.control.gate);
        let mut phase = self.barrier.load();
        let reset = loop {
            if !phase.is_broken() {
                break Err(ResetError::NotBroken);
            }
            match self.barrier.change(phase, phase.reset()) {
                Ok(open) => {
                    self.barrier.pay(open);
                    (self.arrived, self.next) = (None, open.event());
                    break Ok(());
                }
                Err(now) => phase = now,
            }
        };
        finish_waiting(&self.me);
        reset
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        self.barrier.places[self.number].seat.give_up(&self.me, &self.barrier.control.gate);
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_over_in_one_of_two_ways_and_the_next_one_is_another_event() {
        let last = Phase(u64::from(u32::MAX) << 32 | EVENT);
        for open in [Phase(0), Phase(7 << 32 | 31 << SEAT_SHIFT | 5), last] {
            let completed = open.complete();
            assert_eq!(completed.completed(), open.completed().wrapping_add(1));
            assert_eq!((completed.seat(), completed.is_broken()), (open.seat(), false));
            assert_eq!(completed.event(), (open.next_open() + 1) & EVENT);
            let broken = open.broken_by(9);
            assert_eq!((broken.completed(), broken.event(), broken.seat()), (open.completed(), open.event(), 9));
            assert!(broken.is_broken() && !broken.reset().is_broken());
            assert_eq!(broken.reset().event(), broken.next_open());
            assert_ne!(broken.reset().event(), open.event());
            assert_eq!((broken.reset().completed(), broken.reset().seat()), (open.completed(), 9));
        }
    }
}
