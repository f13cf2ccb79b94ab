//! Sleeping until the peer moves its index, or dies, or somebody takes its seat.
//!
//! A sleep on a seat that somebody alive has is on: the gate of the holder's slot, the index, the ring's gate, the seat's
//! right, and both halves of the holder's life word (see `owner::wait`). Where nobody has the seat it is on the index, the
//! ring's gate and the seat's right. Opening and closing a seat wakes all at the ring's gate, or the kernel does, if that
//! thread dies in between: the gate is its pending operation.

use super::{Corrupt, Ring, Role, Side, WaitPeerError, corrupt_seat};
use crate::owner::{Attachment, SeatState, finish_waiting, sleep_on_holder};
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
    let mut slept = false;
    let result = loop {
        // Relaxed: it only asks for a wake. The caller reads the index again, with Acquire.
        let asked = side.index.compare_exchange(seen, seen | SLEEPER, Relaxed, Relaxed);
        if asked.is_err_and(|now| now != seen | SLEEPER) {
            break Ok(());
        }
        let index = Wait { word: Word::Low(&side.index), expected: (seen | SLEEPER) as u32 };
        slept = true;
        match sleep_on_seat(ring, me, peer, index, deadline) {
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
    let seat = ring.seat(peer);
    loop {
        let found = seat.look(me);
        match found.state {
            SeatState::Alive(_) => return Ok(()),
            SeatState::Corrupt(right) => return Err(WaitPeerError::Corrupt(corrupt_seat(right))),
            SeatState::Vacant | SeatState::Dead(_) => {}
        }
        let words = [gate(ring, peer), Wait { word: seat.word(), expected: found.low }];
        let woken = sleep_at_gate(ring, me, peer, found.low, &words, deadline);
        finish_waiting(me);
        if woken == Woken::TimedOut {
            return Err(WaitPeerError::TimedOut);
        }
    }
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
) -> Result<(), Stop> {
    let seat = ring.seat(peer);
    let found = seat.look(me);
    let words = [index, gate(ring, peer), Wait { word: seat.word(), expected: found.low }];
    match found.state {
        SeatState::Dead(_) => Err(Stop::PeerDied),
        SeatState::Corrupt(right) => Err(Stop::Corrupt(corrupt_seat(right))),
        SeatState::Alive(holder) => sleep_on_holder(me, holder, &words, deadline).map_err(|_| Stop::TimedOut),
        SeatState::Vacant if sleep_at_gate(ring, me, peer, found.low, &words, deadline) == Woken::TimedOut => {
            Err(Stop::TimedOut)
        }
        SeatState::Vacant => Ok(()),
    }
}
