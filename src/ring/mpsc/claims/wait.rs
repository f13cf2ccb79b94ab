//! Sleeping until there is a record, or room.
//!
//! **Room.** Producers sleep at the consumer's seat until it moves the head: see `owner::seat_wait`. A push that waits looks again each time.
//!
//! **A record.** The consumer waits for one word: that of the block where the next record begins.
//!
//! 1. It is free, and any producer may claim it. The consumer sets WAITERS, and sleeps on the word and, before that, on the producers'
//!    gate. Who claims a word with WAITERS takes them off and wakes it; its pending operation is the gate from before the claim until
//!    then, so that its death in between wakes it there. The kernel compares and queues word by word: a claim that comes after the
//!    word was compared finds the consumer at the gate already, and one that comes before is seen by the compare.
//! 2. Somebody alive writes the record. The consumer sets WAITERS, and sleeps on the word and on that one's life word. Who publishes
//!    finds WAITERS and wakes it; its death, before or after that, wakes it too.
//!
//! The consumer is the only one that sleeps at the producers' gate and on words of blocks, so one wake is enough there. WAITERS that a
//! dead consumer left cost a wake, or are set anew.

use super::consumer::{Consumer, Look};
use super::{Corrupt, PushTimeoutError, Ring, WaitPeerError};
use crate::owner::{AtSeat, Attachment, Stop, finish_waiting, sleep_on_holder};
use crate::ring::spsc::corrupt_seat;
use crate::ring::spsc::wait::never_taken;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::futex::{Wait, Woken, Word, wait_any};
use core::time::Duration;

fn at<'a>(ring: &'a Ring, me: &'a Attachment, deadline: Option<Duration>) -> AtSeat<'a> {
    let control = &ring.control;
    AtSeat { me, seat: &control.consumer, gate: &control.consumer_gate, deadline, interrupt: None }
}

/// Sleeps until the read index is no longer `read`, and says why it never will be.
pub(super) fn until_room(
    ring: &Ring,
    me: &Attachment,
    read: u64,
    deadline: Option<Duration>,
) -> Result<(), PushTimeoutError> {
    let moved = at(ring, me, deadline).until_moved(&ring.control.head.index, read, corrupt_seat);
    moved.map_err(|stop| match stop {
        Stop::HolderDied => PushTimeoutError::ConsumerDied,
        Stop::TimedOut => PushTimeoutError::TimedOut,
        Stop::Corrupt(corrupt) => PushTimeoutError::Corrupt(corrupt),
    })
}

/// Sleeps until somebody alive has the consumer's seat.
pub(super) fn until_taken(ring: &Ring, me: &Attachment, deadline: Option<Duration>) -> Result<(), WaitPeerError> {
    at(ring, me, deadline).until_taken(corrupt_seat).map_err(never_taken)
}

impl Consumer {
    /// There was nothing to be read: sleeps until the next word changes, or its writer dies. Whether that was before the deadline.
    pub(super) fn until_some(&self, deadline: Option<Duration>) -> Result<bool, Corrupt> {
        let (ring, me) = (&self.ring, &self.me);
        let word = ring.word(self.head);
        me.spin(deadline, || matches!(self.look(self.head), Ok(Look::Free(_) | Look::Writing(..))));
        let (seen, holder) = match self.look(self.head)? {
            Look::Free(seen) => (seen, None),
            Look::Writing(seen, holder) => (seen, Some(holder)),
            Look::Full { .. } | Look::Skip { .. } => return Ok(true),
        };
        let asked = seen.with_waiters();
        // Relaxed: it publishes nothing, and stays in the release sequence of what it was read from. The caller reads the word again.
        if seen != asked && word.compare_exchange(seen.0, asked.0, Relaxed, Relaxed).is_err() {
            return Ok(true);
        }
        let change = Wait { word: Word::Low(word), expected: asked.low() };
        let Some(holder) = holder else {
            let gate = Wait { word: Word::Low(&ring.control.producer_gate), expected: 0 };
            return Ok(wait_any(&[gate, change], 1, deadline) != Woken::TimedOut);
        };
        let slept = sleep_on_holder(me, holder, &[change], deadline);
        finish_waiting(me);
        Ok(slept.is_ok())
    }
}
