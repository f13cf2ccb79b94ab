//! Sleeping until there is a record, or room, or it is one's turn.
//!
//! **A turn.** Producers sleep on the lock's word and on its holder's life word, with the gate of that one's slot pending, as at a robust
//! mutex: see `owner::wait`.
//!
//! **Room.** Producers sleep at the consumer's seat until it moves the head: see `owner::seat_wait`. None of them has the lock then.
//!
//! **A record.** The consumer sets its bit in the tail, and sleeps on the tail and, before that, on the producers' gate. It names no producer:
//! whoever publishes may have come since. Who finds the bit has the gate pending from before it changes the tail until it has woken the
//! consumer, so that its death in between wakes it there. The kernel compares and queues word by word: a change that comes after the tail
//! was compared finds the consumer at the gate already, and one that comes before is seen by the compare. The lock has no part in this:
//! it may be another one's by the time of the wake.
//!
//! The consumer is the only one that sleeps at the producers' gate, so one wake is enough there. A bit that a dead consumer left costs a
//! wake.

use super::consumer::Consumer;
use crate::owner::ask;
use crate::ring::record::SLEEPER;
use crate::ring::spsc::{Reader, Role};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::futex::{Wait, Woken, Word, wait_any};
use core::time::Duration;

impl Consumer {
    /// There was no record: sleeps until the tail moves. Whether that was before the deadline.
    pub(super) fn until_some(&self, deadline: Option<Duration>) -> bool {
        let Reader { ring, me, tail: seen, .. } = &self.inner.reader;
        let seen = *seen;
        let tail = &ring.control.tail.index;
        // Relaxed: the caller reads it again, with Acquire.
        me.spin(deadline, || tail.load(Relaxed) & !SLEEPER == seen);
        if !ask(tail, seen) {
            return true;
        }
        let gate = Wait { word: Word::Low(ring.gate(Role::Producer)), expected: 0 };
        let moves = Wait { word: Word::Low(tail), expected: (seen | SLEEPER) as u32 };
        wait_any(&[gate, moves], 1, deadline) != Woken::TimedOut
    }
}
