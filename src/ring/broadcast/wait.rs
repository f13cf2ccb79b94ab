//! Sleeping until the writer commits, a reader reads, somebody dies, or a seat changes: see `owner::seat_wait`.

use super::{Corrupt, ReaderPlace, Ring, WaitPeerError, corrupt_seat};
use crate::owner::{self, AtSeat, Attachment, SeatState, ask, finish_waiting, sleep_on_holder};
use crate::ring::record::SLEEPER;
use crate::ring::spsc::wait::never_taken;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};
use crate::sync::futex::{Wait, Woken, Word, wait_any};
use core::time::Duration;

pub(super) type Stop = owner::Stop<Corrupt>;

fn on(word: &AtomicU64, expected: u64) -> Wait<'_> {
    Wait { word: Word::Low(word), expected: expected as u32 }
}

fn at_writer<'a>(ring: &'a Ring, me: &'a Attachment, deadline: Option<Duration>) -> AtSeat<'a> {
    let control = &ring.control;
    AtSeat { me, seat: &control.writer, gate: &control.writer_gate, deadline, interrupt: None }
}

/// Sleeps until the tail is no longer `seen`, and says why it never will be.
pub(super) fn until_committed(ring: &Ring, me: &Attachment, seen: u64, deadline: Option<Duration>) -> Result<(), Stop> {
    at_writer(ring, me, deadline).until_moved(&ring.control.written.tail, seen, corrupt_seat)
}

/// Sleeps until somebody alive has the writer's seat.
pub(super) fn until_written_to(ring: &Ring, me: &Attachment, deadline: Option<Duration>) -> Result<(), WaitPeerError> {
    at_writer(ring, me, deadline).until_taken(corrupt_seat).map_err(never_taken)
}

/// Sleeps until the reader in `place`, whose position was `seen`, reads on, dies, or leaves.
pub(super) fn until_read(
    ring: &Ring,
    me: &Attachment,
    place: &ReaderPlace,
    seen: u64,
    deadline: Option<Duration>,
) -> Result<(), Stop> {
    let mut slept = false;
    // Relaxed: what it has seen is looked at again below.
    let still =
        || place.position.load(Relaxed) & !SLEEPER == seen && matches!(place.seat.look(me).state, SeatState::Alive(_));
    me.spin(deadline, still);
    let result = loop {
        if !ask(&place.position, seen) {
            break Ok(());
        }
        let found = place.seat.look(me);
        let holder = match found.state {
            SeatState::Alive(holder) => holder,
            SeatState::Corrupt(right) => break Err(Stop::Corrupt(corrupt_seat(right))),
            // Nobody waits for it: there may be room now.
            SeatState::Vacant | SeatState::Dead(_) => break Ok(()),
        };
        let words = [
            on(&place.position, seen | SLEEPER),
            on(&ring.control.readers_gate, 0),
            Wait { word: place.seat.word(), expected: found.low },
        ];
        slept = true;
        if sleep_on_holder(me, holder, &words, deadline).is_err() {
            // Relaxed: the caller reads it again, with Acquire.
            let moved = place.position.load(Relaxed) & !SLEEPER != seen;
            break if moved { Ok(()) } else { Err(Stop::TimedOut) };
        }
    };
    if slept {
        finish_waiting(me);
    }
    result
}

/// Sleeps until some reader that lives has a place.
pub(super) fn until_joined(ring: &Ring, me: &Attachment, deadline: Option<Duration>) -> Result<(), WaitPeerError> {
    let nobody =
        || ring.places.iter().all(|place| matches!(place.seat.look(me).state, SeatState::Vacant | SeatState::Dead(_)));
    me.spin(deadline, nobody);
    loop {
        // Acquire, and before the look: who is not seen by that has yet to count itself, and wakes all at the gate after it.
        let joins = ring.control.joins.load(Acquire);
        for place in ring.places.iter() {
            match place.seat.look(me).state {
                SeatState::Alive(_) => return Ok(()),
                SeatState::Corrupt(right) => return Err(WaitPeerError::Corrupt(corrupt_seat(right))),
                SeatState::Vacant | SeatState::Dead(_) => {}
            }
        }
        let words = [on(&ring.control.readers_gate, 0), on(&ring.control.joins, joins)];
        if wait_any(&words, 1, deadline) == Woken::TimedOut {
            return Err(WaitPeerError::TimedOut);
        }
    }
}
