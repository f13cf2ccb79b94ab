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
//! The consumer is the only one that sleeps at the producers' gate, so one wake is enough there; a bell of it, which sleeps beside it, wakes
//! all there after each sleep. A bit that a dead consumer left costs a
//! wake.

use crate::owner::{Attachment, Interrupt, ask, finish_waiting};
#[cfg(not(model))]
use crate::ring::bell::{self, Rang, Watch};
use crate::ring::record::SLEEPER;
use crate::ring::spsc::{Ring, Role};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::futex::{Wait, Woken, Word, wait_any};
use core::time::Duration;

/// There was no record up to `seen`: sleeps until the tail moves; or until it is interrupted, which the caller sees for itself. Whether that
/// was before the deadline.
pub(super) fn until_some(
    ring: &Ring,
    me: &Attachment,
    seen: u64,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> bool {
    let tail = &ring.control.tail.index;
    // Relaxed: the caller reads it again, with Acquire.
    me.spin(deadline, || tail.load(Relaxed) & !SLEEPER == seen);
    if !ask(tail, seen) {
        return true;
    }
    let gate = Wait { word: Word::Low(ring.gate(Role::Producer)), expected: 0 };
    let moves = Wait { word: Word::Low(tail), expected: (seen | SLEEPER) as u32 };
    let words = [gate, moves, interrupt.map_or(moves, |interrupt| interrupt.wait())];
    wait_any(&words[..2 + usize::from(interrupt.is_some())], 1, deadline) != Woken::TimedOut
}

/// Sleeps as a bell's thread does, beside the consumer: until the tail is no longer `seen`, or it is interrupted.
pub(super) fn watch(ring: &Ring, me: &Attachment, seen: u64, interrupt: Interrupt<'_>) {
    let gate = ring.gate(Role::Producer);
    // Relaxed: the consumer reads it again, with Acquire.
    while ring.control.tail.index.load(Relaxed) & !SLEEPER == seen {
        // Should the kernel wake this thread there, and it dies before it wakes all, the kernel wakes the next one.
        me.list().set_pending(gate);
        until_some(ring, me, seen, None, Some(interrupt));
        let ended = interrupt.ends(gate);
        finish_waiting(me);
        if ended || me.is_cut_off() {
            break;
        }
    }
}

/// Whose bell it is that the consumer has.
#[cfg(not(model))]
pub(super) fn side(ring: &Ring) -> bell::Side {
    (core::ptr::from_ref(&*ring.control).addr(), 2)
}

/// What the consumer's bell sleeps for: the tail is no longer `seen`.
#[cfg(not(model))]
pub(super) fn watch_some(ring: &Ring, seen: u64) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| {
        watch(&ring, me, seen, interrupt);
        Rang::Ready
    })
}
