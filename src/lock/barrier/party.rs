//! A party: a seat at a barrier, and how it comes through.

use super::Barrier;
use super::error::{BarrierError, BarrierTimeoutError, BarrierTrouble, ResetError};
use super::phase::Phase;
use crate::owner::{Attachment, finish_waiting};
use crate::sync::atomic::Ordering::{Relaxed, Release};
use crate::sync::{thread, time};
use core::time::Duration;

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
    /// Has just taken seat `number`, which is less than the barrier's parties.
    pub(super) fn seated(barrier: &Barrier, me: &Attachment, number: usize, owner_died: bool) -> Self {
        let place = &barrier.places[number];
        // The newest: a plain load may give one that was over when this seat was taken. And it releases the seat's new right to all who
        // read the phase later.
        let mut phase = barrier.load_newest();
        // Relaxed: taking the seat has acquired what its last holder stored.
        let arrived = || place.arrived.load(Relaxed);
        while owner_died && !phase.is_broken() && arrived() != phase.event() + 1 {
            match barrier.change(phase, phase.broken_by(number)) {
                Ok(broken) | Err(broken) => phase = broken,
            }
        }
        // Wakes all at the gate, after the phase was broken too.
        place.seat.repaired(me, &barrier.control.gate);
        let had_arrived = !phase.is_broken() && arrived() == phase.event() + 1;
        Self {
            barrier: barrier.clone(),
            me: me.clone(),
            number,
            owner_died,
            arrived: had_arrived.then_some(phase),
            next: if had_arrived { phase.next_event() } else { phase.next_open() },
        }
    }

    /// Number of its seat.
    pub fn seat(&self) -> usize {
        self.number
    }

    /// Whether it took the seat over from a dead one.
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }

    /// Whether it has arrived, or the one whose seat it took over has, in a phase of whose end it was not told yet: the next wait does that, and
    /// does not arrive again. So who takes a seat over knows whether the dead one's part of the phase is done.
    pub fn has_arrived(&self) -> bool {
        self.arrived.is_some()
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
        self.me.check()?;
        // Before it arrives: should it be the last one, and die before it has woken the others, the kernel wakes one.
        self.me.list().set_pending(&self.barrier.control.gate);
        let over = self.arrive(deadline).and_then(|at| self.barrier.until_over(&self.me, at, deadline));
        finish_waiting(&self.me);
        self.me.intact()?;
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
            self.me.intact()?;
            (phase, timed_out) = self.barrier.until_reset(&self.me, phase, deadline);
        };
        // Release: all that this party wrote.
        self.barrier.places[self.number].arrived.store(at.event() + 1, Release);
        self.arrived = Some(at);
        self.next = at.next_event();
        Ok(at)
    }

    /// Begins a new phase after one that a death has broken. To be said when what the dead one left is repaired, and its seat
    /// is taken. An arrival of this party that a time-out has left standing is forgotten with it, also if the others have come since.
    ///
    /// # Errors
    /// [`ResetError`]: somebody else has said it already, above all.
    pub fn reset(&mut self) -> Result<(), ResetError> {
        self.me.check()?;
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
