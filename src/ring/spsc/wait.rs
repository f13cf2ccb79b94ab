//! Sleeping until the peer moves its index, or dies, or somebody takes its seat.
//!
//! A sleep on a seat that somebody alive has is on: the gate of the holder's slot, the index, the ring's gate, the seat's
//! right, and both halves of the holder's life word (see `owner::wait`). Where nobody has the seat it is on the index, the
//! ring's gate and the seat's right. Opening and closing a seat wakes all at the ring's gate, or the kernel does, if that
//! thread dies in between: the gate is its pending operation.

use super::{Corrupt, Ring, Role, Side, WaitPeerError, corrupt_seat};
use crate::owner::{Attachment, Interrupt, SeatState, finish_waiting, sleep_on_holder};
#[cfg(not(model))]
use crate::ring::bell::{self, Rang, Watch, Watcher};
use crate::ring::record::SLEEPER;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::futex::{ALL, Wait, Woken, Word, wait_any, wake};
use core::time::Duration;

/// Why there is nothing to wait for any more.
pub(in crate::ring) enum Stop {
    /// The peer is dead, and its index did not move before it died.
    PeerDied,
    TimedOut,
    Corrupt(Corrupt),
}

/// Sleeps until `side`'s index is no longer `seen`, the position last read from it, and says why it never will be.
pub(in crate::ring) fn until_moved(
    ring: &Ring,
    me: &Attachment,
    side: &Side,
    peer: Role,
    seen: u64,
    deadline: Option<Duration>,
) -> Result<(), Stop> {
    until_moved_or(ring, me, side, peer, seen, deadline, None)
}

/// The same, or until it is interrupted: the caller looks whether it was.
pub(super) fn until_moved_or(
    ring: &Ring,
    me: &Attachment,
    side: &Side,
    peer: Role,
    seen: u64,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> Result<(), Stop> {
    let mut slept = false;
    // Relaxed: what it has seen is looked at again below.
    let still = || {
        side.index.load(Relaxed) & !SLEEPER == seen
            && matches!(ring.seat(peer).look(me).state, SeatState::Alive(_) | SeatState::Vacant)
    };
    me.spin(deadline, still);
    let result = loop {
        // Relaxed: it only asks for a wake. The caller reads the index again, with Acquire.
        let asked = side.index.compare_exchange(seen, seen | SLEEPER, Relaxed, Relaxed);
        if asked.is_err_and(|now| now != seen | SLEEPER) {
            break Ok(());
        }
        let index = Wait { word: Word::Low(&side.index), expected: (seen | SLEEPER) as u32 };
        slept = true;
        match sleep_on_seat(ring, me, peer, index, deadline, interrupt) {
            Ok(()) if interrupt.is_some_and(|interrupt| interrupt.raised()) => break Ok(()),
            Ok(()) => {}
            Err(stop) => {
                // What the dead one published last counts, and what came just in time. Relaxed: `look` has acquired the death, so
                // this is no older than the last store before it; and the caller reads the index again, with Acquire.
                let moved = side.index.load(Relaxed) & !SLEEPER != seen;
                break if moved { Ok(()) } else { Err(stop) };
            }
        }
    };
    if slept {
        finish_waiting(me);
    }
    result
}

/// Sleeps until somebody alive has the seat of `peer`.
pub(in crate::ring) fn until_taken(
    ring: &Ring,
    me: &Attachment,
    peer: Role,
    deadline: Option<Duration>,
) -> Result<(), WaitPeerError> {
    until_taken_or(ring, me, peer, deadline, None)
}

/// The same, or until it is interrupted: the caller looks whether it was.
pub(super) fn until_taken_or(
    ring: &Ring,
    me: &Attachment,
    peer: Role,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> Result<(), WaitPeerError> {
    let seat = ring.seat(peer);
    me.spin(deadline, || matches!(seat.look(me).state, SeatState::Vacant | SeatState::Dead(_)));
    loop {
        let found = seat.look(me);
        match found.state {
            SeatState::Alive(_) => return Ok(()),
            SeatState::Corrupt(right) => return Err(WaitPeerError::Corrupt(corrupt_seat(right))),
            SeatState::Vacant | SeatState::Dead(_) => {}
        }
        let words =
            [gate(ring, peer), Wait { word: seat.word(), expected: found.low }, or(interrupt, gate(ring, peer))];
        let words = &words[..2 + usize::from(interrupt.is_some())];
        let woken = sleep_at_gate(ring, me, peer, found.low, words, deadline);
        finish_waiting(me);
        if woken == Woken::TimedOut {
            return Err(WaitPeerError::TimedOut);
        }
        if interrupt.is_some_and(|interrupt| interrupt.raised()) {
            return Ok(());
        }
    }
}

/// Whose bell it is that waits for `peer`.
#[cfg(not(model))]
pub(super) fn side(ring: &Ring, peer: Role) -> bell::Side {
    (core::ptr::from_ref(&*ring.control).addr(), u8::from(peer == Role::Producer))
}

/// What a bell of this side sleeps for: the peer's index, or somebody in its seat.
#[cfg(not(model))]
pub(super) fn watcher(ring: &Ring, peer: Role) -> Watcher {
    let ring = ring.clone();
    Box::new(move |me, watch, interrupt| {
        let rang = match watch {
            Watch::Moved(seen) => {
                let side = if peer == Role::Producer { &ring.control.tail } else { &ring.control.head };
                match until_moved_or(&ring, me, side, peer, seen, None, Some(interrupt)) {
                    Ok(()) => Rang::Ready,
                    Err(Stop::PeerDied) => Rang::PeerDied,
                    Err(Stop::Corrupt(corrupt)) => Rang::Corrupt(corrupt),
                    Err(Stop::TimedOut) => unreachable!("there was no deadline"),
                }
            }
            Watch::Taken => match until_taken_or(&ring, me, peer, None, Some(interrupt)) {
                Ok(()) => Rang::PeerCame,
                Err(WaitPeerError::Corrupt(corrupt)) => Rang::Corrupt(corrupt),
                Err(WaitPeerError::TimedOut | WaitPeerError::Forked) => {
                    unreachable!("there was no deadline, nor a fork")
                }
            },
        };
        (!interrupt.raised()).then_some(rang)
    })
}

fn or<'a>(interrupt: Option<Interrupt<'a>>, other: Wait<'a>) -> Wait<'a> {
    interrupt.map_or(other, |interrupt| interrupt.wait())
}

fn gate(ring: &Ring, peer: Role) -> Wait<'_> {
    Wait { word: Word::Low(ring.gate(peer)), expected: 0 }
}

/// Sleeps at a seat that nobody alive has. Producers of several lanes may sleep so at once, and nothing tells all of them of the
/// death of who takes the seat and dies before it wakes them: the kernel wakes one, at the gate. So that one wakes the others; and
/// should it die before, the kernel wakes another one, since the gate is its pending operation. The caller clears that.
fn sleep_at_gate(
    ring: &Ring,
    me: &Attachment,
    peer: Role,
    seen: u32,
    words: &[Wait<'_>],
    deadline: Option<Duration>,
) -> Woken {
    me.list().set_pending(ring.gate(peer));
    let woken = wait_any(words, 0, deadline);
    if ring.seat(peer).look(me).low != seen {
        wake(Word::Low(ring.gate(peer)), ALL);
    }
    woken
}

/// One sleep, as the seat is now.
fn sleep_on_seat(
    ring: &Ring,
    me: &Attachment,
    peer: Role,
    index: Wait<'_>,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> Result<(), Stop> {
    let seat = ring.seat(peer);
    let found = seat.look(me);
    let words = [index, gate(ring, peer), Wait { word: seat.word(), expected: found.low }, or(interrupt, index)];
    let words = &words[..3 + usize::from(interrupt.is_some())];
    match found.state {
        SeatState::Dead(_) => Err(Stop::PeerDied),
        SeatState::Corrupt(right) => Err(Stop::Corrupt(corrupt_seat(right))),
        SeatState::Alive(holder) => sleep_on_holder(me, holder, words, deadline).map_err(|_| Stop::TimedOut),
        SeatState::Vacant if sleep_at_gate(ring, me, peer, found.low, words, deadline) == Woken::TimedOut => {
            Err(Stop::TimedOut)
        }
        SeatState::Vacant => Ok(()),
    }
}
