//! Sleeping until the writer commits, a reader reads, somebody dies, or a seat changes: see `owner::seat_wait`.

use super::{Corrupt, ReaderPlace, Ring, WaitPeerError, corrupt_seat};
use crate::owner::{self, AtSeat, Attachment, Interrupt, SeatState, ask, finish_waiting, sleep_on_holder};
#[cfg(not(model))]
use crate::ring::bell::{self, Rang, Watch};
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

/// Sleeps until the tail is no longer `seen`, and says why it never will be. Or until it is interrupted, which the caller sees for itself.
pub(super) fn until_committed(
    ring: &Ring,
    me: &Attachment,
    seen: u64,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> Result<(), Stop> {
    let at = AtSeat { interrupt, ..at_writer(ring, me, deadline) };
    at.until_moved(&ring.control.written.tail, seen, corrupt_seat)
}

/// Sleeps until somebody alive has the writer's seat.
pub(super) fn until_written_to(ring: &Ring, me: &Attachment, deadline: Option<Duration>) -> Result<(), WaitPeerError> {
    at_writer(ring, me, deadline).until_taken(corrupt_seat).map_err(never_taken)
}

/// Sleeps until the reader in `place`, whose position was `seen`, reads on, dies, or leaves. Or until it is interrupted, which the caller
/// sees for itself.
pub(super) fn until_read(
    ring: &Ring,
    me: &Attachment,
    place: &ReaderPlace,
    seen: u64,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
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
        let gate = on(&ring.control.readers_gate, 0);
        let right = Wait { word: place.seat.word(), expected: found.low };
        let words = [on(&place.position, seen | SLEEPER), gate, right, interrupt.map_or(gate, |it| it.wait())];
        slept = true;
        let slept_on = sleep_on_holder(me, holder, &words[..3 + usize::from(interrupt.is_some())], deadline);
        let ended = interrupt.is_some_and(|interrupt| interrupt.ends(&ring.control.readers_gate));
        if slept_on.is_err() {
            // Relaxed: the caller reads it again, with Acquire.
            let moved = place.position.load(Relaxed) & !SLEEPER != seen;
            break if moved { Ok(()) } else { Err(Stop::TimedOut) };
        }
        if ended || me.is_cut_off() {
            break Ok(());
        }
    };
    if slept {
        finish_waiting(me);
    }
    result
}

/// Sleeps until some reader that lives has a place.
pub(super) fn until_joined(ring: &Ring, me: &Attachment, deadline: Option<Duration>) -> Result<(), WaitPeerError> {
    sleep_until_joined(ring, me, deadline, None).map_err(never_taken)
}

fn sleep_until_joined(
    ring: &Ring,
    me: &Attachment,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> Result<(), Stop> {
    let nobody =
        || ring.places.iter().all(|place| matches!(place.seat.look(me).state, SeatState::Vacant | SeatState::Dead(_)));
    me.spin(deadline, nobody);
    loop {
        // Acquire, and before the look: who is not seen by that has yet to count itself, and wakes all at the gate after it.
        let joins = ring.control.joins.load(Acquire);
        for place in ring.places.iter() {
            match place.seat.look(me).state {
                SeatState::Alive(_) => return Ok(()),
                SeatState::Corrupt(right) => return Err(Stop::Corrupt(corrupt_seat(right))),
                SeatState::Vacant | SeatState::Dead(_) => {}
            }
        }
        let joins = on(&ring.control.joins, joins);
        let words = [on(&ring.control.readers_gate, 0), joins, interrupt.map_or(joins, |it| it.wait())];
        if wait_any(&words[..2 + usize::from(interrupt.is_some())], 1, deadline) == Woken::TimedOut {
            return Err(Stop::TimedOut);
        }
        if interrupt.is_some_and(|interrupt| interrupt.ends(&ring.control.readers_gate)) || me.is_cut_off() {
            return Ok(());
        }
    }
}

/// Whose bell it is: the writer's, or a reader's.
#[cfg(not(model))]
pub(super) fn side(ring: &Ring, writes: bool) -> bell::Side {
    (core::ptr::from_ref(&*ring.control).addr(), u8::from(writes))
}

/// What a reader's bell sleeps for: the tail is no longer `seen`.
#[cfg(not(model))]
pub(super) fn watch_commit(ring: &Ring, seen: u64) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| bell::rang(until_committed(&ring, me, seen, None, Some(interrupt)), Rang::Ready))
}

/// The same: somebody alive has the writer's seat.
#[cfg(not(model))]
pub(super) fn watch_writer(ring: &Ring) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| {
        let at = AtSeat { interrupt: Some(interrupt), ..at_writer(&ring, me, None) };
        bell::rang(at.until_taken(corrupt_seat), Rang::PeerCame)
    })
}

/// What the writer's bell sleeps for: the reader that holds it up, in that place, is no longer at the position. `None`: nobody does.
#[cfg(not(model))]
pub(super) fn watch_reader(ring: &Ring, slowest: Option<(usize, u64)>) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| {
        let Some((place, seen)) = slowest else { return Rang::Ready };
        bell::rang(until_read(&ring, me, &ring.places[place], seen, None, Some(interrupt)), Rang::Ready)
    })
}

/// The same: some reader that lives has a place.
#[cfg(not(model))]
pub(super) fn watch_joined(ring: &Ring) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| bell::rang(sleep_until_joined(&ring, me, None, Some(interrupt)), Rang::PeerCame))
}
