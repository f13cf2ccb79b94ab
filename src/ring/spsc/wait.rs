//! Sleeping until the peer moves its index, or dies, or somebody takes its seat.
//!
//! A sleep on a seat that somebody alive has is on: the gate of the holder's slot, the index, the ring's gate, the seat's
//! right, and both halves of the holder's life word (see `owner::wait`). Where nobody has the seat it is on the index, the
//! ring's gate and the seat's right. Opening and closing a seat wakes all at the ring's gate, or the kernel does, if that
//! thread dies in between: the gate is its pending operation.

use super::{Corrupt, Ring, Role, Side, WaitPeerError};
use crate::owner::{Attachment, SeatState, finish_waiting, sleep_on_holder};
use crate::ring::record::SLEEPER;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::futex::{Wait, Woken, Word, wait_any};
use core::time::Duration;

/// Why there is nothing to wait for any more.
pub(super) enum Stop {
    /// The peer is dead, and its index did not move before it died.
    PeerDied,
    TimedOut,
    Corrupt(Corrupt),
}

/// Sleeps until `side`'s index is no longer `seen`, the position last read from it, and says why it never will be.
pub(super) fn until_moved(
    ring: &Ring,
    me: &Attachment,
    side: &Side,
    peer: Role,
    seen: u64,
    deadline: Option<Duration>,
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
pub(super) fn until_taken(
    ring: &Ring,
    me: &Attachment,
    peer: Role,
    deadline: Option<Duration>,
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
        let words = [gate(ring), Wait { word: seat.word(), expected: found.low }];
        if wait_any(&words, 1, deadline) == Woken::TimedOut {
            return Err(WaitPeerError::TimedOut);
        }
    }
}

fn gate(ring: &Ring) -> Wait<'_> {
    Wait { word: Word::Low(&ring.control.gate), expected: 0 }
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
    let words = [index, gate(ring), Wait { word: seat.word(), expected: found.low }];
    match found.state {
        SeatState::Dead(_) => Err(Stop::PeerDied),
        SeatState::Corrupt(right) => Err(Stop::Corrupt(corrupt_seat(right))),
        SeatState::Alive(holder) => sleep_on_holder(me, holder, &words, deadline).map_err(|_| Stop::TimedOut),
        SeatState::Vacant if wait_any(&words, 0, deadline) == Woken::TimedOut => Err(Stop::TimedOut),
        SeatState::Vacant => Ok(()),
    }
}

fn corrupt_seat(found: u64) -> Corrupt {
    Corrupt { field: "a seat's right", found, expected: "a slot of the participants' table, or vacant".into() }
}
