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
//! The consumer is the only one that sleeps at the producers' gate, so one wake is enough there; a bell of it, which sleeps beside it, wakes
//! all there after each sleep. WAITERS that a
//! dead consumer left cost a wake, or are set anew.

use super::consumer::Look;
use super::{Corrupt, PushTimeoutError, Ring, WaitPeerError};
use crate::owner::{AtSeat, Attachment, Interrupt, Stop, finish_waiting, sleep_on_holder};
#[cfg(not(model))]
use crate::ring::bell::{self, Rang, Watch};
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

/// There was nothing to be read at the consumer's position: sleeps until the word there changes, or its writer dies; or until it is
/// interrupted, which the caller sees for itself. Whether that was before the deadline.
pub(super) fn until_some(
    ring: &Ring,
    me: &Attachment,
    position: u64,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> Result<bool, Corrupt> {
    let word = ring.word(position);
    me.spin(deadline, || matches!(ring.look(me, position), Ok(Look::Free(_) | Look::Writing(..))));
    let (seen, holder) = match ring.look(me, position)? {
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
    let words = [change, interrupt.map_or(change, |interrupt| interrupt.wait())];
    let words = &words[..1 + usize::from(interrupt.is_some())];
    let Some(holder) = holder else {
        let gate = Wait { word: Word::Low(&ring.control.producer_gate), expected: 0 };
        let words = [gate, words[0], words[words.len() - 1]];
        return Ok(wait_any(&words[..2 + usize::from(interrupt.is_some())], 1, deadline) != Woken::TimedOut);
    };
    let slept = sleep_on_holder(me, holder, words, deadline);
    finish_waiting(me);
    Ok(slept.is_ok())
}

/// Sleeps as a bell's thread does, beside the consumer: until there is something at its position, or it is interrupted.
pub(super) fn watch(ring: &Ring, me: &Attachment, position: u64, interrupt: Interrupt<'_>) -> Result<(), Corrupt> {
    match until_there_is(ring, me, position, interrupt) {
        // Relaxed: it is written before the words are freed, which were read with Acquire. Where the consumer has read on by itself, the
        // word may be a later lap's.
        Err(_) if ring.control.head.read.load(Relaxed) != position => Ok(()),
        watched => watched,
    }
}

fn until_there_is(ring: &Ring, me: &Attachment, position: u64, interrupt: Interrupt<'_>) -> Result<(), Corrupt> {
    let gate = &ring.control.producer_gate;
    while matches!(ring.look(me, position)?, Look::Free(_) | Look::Writing(..)) {
        // Should the kernel wake this thread there, and it dies before it wakes all, the kernel wakes the next one.
        me.list().set_pending(gate);
        let waited = until_some(ring, me, position, None, Some(interrupt));
        let ended = interrupt.ends(gate);
        finish_waiting(me);
        waited?;
        if ended || me.is_cut_off() {
            break;
        }
    }
    Ok(())
}

/// Whose bell it is: a producer's, or the consumer's.
#[cfg(not(model))]
pub(super) fn side(ring: &Ring, produces: bool) -> bell::Side {
    (core::ptr::from_ref(&*ring.control).addr(), u8::from(produces))
}

/// What a producer's bell sleeps for: the read index is no longer `read`.
#[cfg(not(model))]
pub(super) fn watch_room(ring: &Ring, read: u64) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| {
        let at = AtSeat { interrupt: Some(interrupt), ..at(&ring, me, None) };
        bell::rang(at.until_moved(&ring.control.head.index, read, corrupt_seat), Rang::Ready)
    })
}

/// The same: somebody alive has the consumer's seat.
#[cfg(not(model))]
pub(super) fn watch_taken(ring: &Ring) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| {
        let at = AtSeat { interrupt: Some(interrupt), ..at(&ring, me, None) };
        bell::rang(at.until_taken(corrupt_seat), Rang::PeerCame)
    })
}

/// What the consumer's bell sleeps for: there is something at its position.
#[cfg(not(model))]
pub(super) fn watch_some(ring: &Ring, position: u64) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| match watch(&ring, me, position, interrupt) {
        Ok(()) => Rang::Ready,
        Err(corrupt) => Rang::Corrupt(corrupt),
    })
}
