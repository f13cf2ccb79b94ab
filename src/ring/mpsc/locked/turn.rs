//! The producers' lock. Who has it, has its turn.
//!
//! Its word is a [`Right`], 0 when nobody has it, as that of a robust mutex: but a dead one's lock goes to the next one without more ado,
//! since what the dead one had not published is not there.

use super::Corrupt;
use crate::owner::{Attachment, Right, SeatState, Table, TimedOut, Unusable, finish_waiting, wait_for_holder};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::thread;
use core::time::Duration;

/// The lock's words in shared memory. All-zero: nobody's.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(super) struct Lock {
    right: AtomicU64,
    /// How often it was taken from the dead. For people: a death in between is not counted.
    takeovers: AtomicU64,
}

/// How long to wait for a turn.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    None,
    Until(Option<Duration>),
}

/// Why there is no turn.
pub(super) enum NoTurn {
    /// Somebody who lives has it, and that is not waited for, or not any more.
    Busy,
    Unusable(Unusable),
    Corrupt(Corrupt),
}

/// A turn. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Turn<'l> {
    lock: &'l Lock,
    me: &'l Attachment,
    /// The last one died in its turn.
    pub(super) from_the_dead: bool,
}

impl Lock {
    #[cfg(model)]
    pub(super) fn new() -> Self {
        Self { right: AtomicU64::new(0), takeovers: AtomicU64::new(0) }
    }

    /// Takes the lock, unless somebody alive has it for longer than there is patience.
    #[inline]
    pub(super) fn take<'l>(&'l self, me: &'l Attachment, patience: Patience) -> Result<Turn<'l>, NoTurn> {
        me.check().map_err(NoTurn::Unusable)?;
        // Acquire and Release: see the table of the module. On failure Acquire, since `seen` may be judged by `dead`.
        let from_the_dead = match self.right.compare_exchange(0, Right::held_by(me.id()).0, AcqRel, Acquire) {
            Ok(_) => false,
            Err(seen) => self.take_when_given_up(me, patience, Right(seen))?,
        };
        me.right_taken();
        Ok(Turn { lock: self, me, from_the_dead })
    }

    #[cold]
    fn take_when_given_up(&self, me: &Attachment, patience: Patience, seen: Right) -> Result<bool, NoTurn> {
        let mut slept = false;
        let had = self.wait(me, patience, seen, &mut slept);
        if slept {
            finish_waiting(me);
        }
        had
    }

    /// Whether it was taken from the dead.
    fn wait(&self, me: &Attachment, patience: Patience, mut seen: Right, slept: &mut bool) -> Result<bool, NoTurn> {
        loop {
            let from_the_dead = if seen.without_waiters() == Right::FREE {
                false
            } else {
                let Some(holder) = seen.holder().filter(|&holder| holder != me.id()) else { return Err(no_turn(seen)) };
                match me.table().dead(holder) {
                    None => return Err(no_turn(seen)),
                    // WAITERS is dropped: they sleep on the dead one's life word too, so they wake, and will say it again.
                    Some(true) => true,
                    Some(false) => {
                        let Patience::Until(deadline) = patience else { return Err(NoTurn::Busy) };
                        let waited = wait_for_holder(me, &self.right, seen, holder, deadline, slept);
                        seen = waited.map_err(|TimedOut| NoTurn::Busy)?;
                        continue;
                    }
                }
            };
            match self.right.compare_exchange(seen.0, Right::held_by(me.id()).0, AcqRel, Acquire) {
                Ok(_) => {
                    if from_the_dead {
                        // Relaxed: a count for people.
                        self.takeovers.fetch_add(1, Relaxed);
                    }
                    return Ok(from_the_dead);
                }
                Err(now) => seen = Right(now),
            }
        }
    }

    /// Whose it is.
    pub(super) fn look(&self, table: &Table) -> SeatState {
        let right = Right(self.right.load(Acquire));
        match right.holder().map(|holder| (holder, table.dead(holder))) {
            _ if right.without_waiters() == Right::FREE => SeatState::Vacant,
            Some((holder, Some(false))) => SeatState::Alive(holder),
            Some((holder, Some(true))) => SeatState::Dead(holder),
            _ => SeatState::Corrupt(right.0),
        }
    }

    pub(super) fn takeovers(&self) -> u64 {
        self.takeovers.load(Relaxed)
    }
}

/// The lock is this very thread's, or nobody's who could give it up.
#[cold]
fn no_turn(right: Right) -> NoTurn {
    let expected = "free, or held by another slot of the participants' table; by this thread's if it has a reservation, which is to be \
                    committed or dropped before it pushes";
    NoTurn::Corrupt(Corrupt { field: "the lock of the producers", found: right.0, expected: expected.into() })
}

impl Drop for Turn<'_> {
    /// One copy for all ways out of all pushes.
    #[inline(never)]
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        self.me.right_given_up();
        // Release: the tail and what is before it, for who takes it next. A swap, so that no sleeper's WAITERS is overwritten unseen.
        let old = Right(self.lock.right.swap(Right::FREE.0, Release));
        if old.has_waiters() {
            // All of them, as at a robust mutex: one that was woken alone could die. Should this thread die before it wakes them, its own
            // death does: they sleep on its life word too.
            wake(Word::Low(&self.lock.right), ALL);
        }
    }
}
