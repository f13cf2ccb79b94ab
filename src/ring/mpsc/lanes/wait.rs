//! Sleeping until some lane has a record, or no producer lives, or somebody takes a lane.
//!
//! The sleep is on every lane's write index at once: whoever publishes moves its own, so nothing that comes before the sleep begins is
//! missed, whatever happens to its producer then. Beside that it is on the producers' gate, and
//!
//! - if a producer lives, on the right of its lane, and on its life word with what goes with that (see `owner::wait`). Others may
//!   come, go and die meanwhile: there is one to wait for.
//! - if nobody has a lane, on the right of each.
//!
//! The gate comes first. The kernel compares and queues word by word: a producer that changes a word which was compared already, and
//! dies before it wakes anybody there, has its death told at the gate.
//!
//! Only the consumer sleeps at the producers' gate, so that one wake is enough there: that of the kernel, if a producer dies between
//! publishing and waking, or between changing its seat and waking.

use super::consumer::Lane;
use super::{Ring, WaitPeerError};
use crate::owner::{Attachment, Holder, SeatFound, SeatState, ask, finish_waiting, sleep_on_holder};
use crate::ring::record::SLEEPER;
pub(super) use crate::ring::spsc::wait::Stop;
use crate::ring::spsc::{Role, corrupt_seat};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::futex::{Wait, Woken, Word, wait_any};
use core::time::Duration;

/// All lanes were found empty: sleeps until one is not, and says why none ever will be.
pub(super) fn until_some(ring: &Ring, me: &Attachment, lanes: &[Lane], deadline: Option<Duration>) -> Result<(), Stop> {
    let mut slept = false;
    me.spin(deadline, || lanes.iter().all(is_empty) && may_come(ring, me));
    let result = loop {
        if !lanes.iter().all(|lane| ask(index(lane), lane.reader.tail)) {
            break Ok(());
        }
        slept = true;
        match sleep(ring, me, lanes, deadline) {
            Ok(()) => {}
            Err(stop) => {
                // What the dead published last counts, and what came just in time. Relaxed: `look` has acquired each death, so this
                // is no older than the last store before it; and the caller reads the indices again, with Acquire.
                let moved = |lane: &Lane| index(lane).load(Relaxed) & !SLEEPER != lane.reader.tail;
                break if lanes.iter().any(moved) { Ok(()) } else { Err(stop) };
            }
        }
    };
    if slept {
        finish_waiting(me);
    }
    result
}

/// Sleeps until somebody alive has a lane.
pub(super) fn until_taken(ring: &Ring, me: &Attachment, deadline: Option<Duration>) -> Result<(), WaitPeerError> {
    me.spin(deadline, || !ring.lanes.iter().any(|lane| matches!(seat(lane, me), SeatState::Alive(_))));
    loop {
        let found = look(ring, me).map_err(corrupt_seat)?;
        if alive(&found).is_some() {
            return Ok(());
        }
        let mut words = vec![gate(ring)];
        words.extend(rights(ring, &found));
        if wait_any(&words, 0, deadline) == Woken::TimedOut {
            return Err(WaitPeerError::TimedOut);
        }
    }
}

fn index(lane: &Lane) -> &AtomicU64 {
    &lane.reader.ring.control.tail.index
}

/// Whether it still is what it was found to be. Relaxed: the caller reads the index again, with Acquire.
fn is_empty(lane: &Lane) -> bool {
    index(lane).load(Relaxed) & !SLEEPER == lane.reader.tail
}

/// Whether it makes sense to look again: a producer lives, or none has ever died.
fn may_come(ring: &Ring, me: &Attachment) -> bool {
    let mut none_died = true;
    for lane in &*ring.lanes {
        match seat(lane, me) {
            SeatState::Alive(_) => return true,
            SeatState::Vacant => {}
            SeatState::Dead(_) | SeatState::Corrupt(_) => none_died = false,
        }
    }
    none_died
}

fn seat(lane: &crate::ring::spsc::Ring, me: &Attachment) -> SeatState {
    lane.seat(Role::Producer).look(me).state
}

/// One sleep, as the seats are now.
fn sleep(ring: &Ring, me: &Attachment, lanes: &[Lane], deadline: Option<Duration>) -> Result<(), Stop> {
    let found = look(ring, me).map_err(|right| Stop::Corrupt(corrupt_seat(right)))?;
    let tail = |lane| Wait { word: Word::Low(index(lane)), expected: (lane.reader.tail | SLEEPER) as u32 };
    let mut words = vec![gate(ring)];
    words.extend(lanes.iter().map(tail));
    if let Some((lane, holder)) = alive(&found) {
        words.push(rights(ring, &found)[lane]);
        return sleep_on_holder(me, holder, &words, deadline).map_err(|_| Stop::TimedOut);
    }
    if found.iter().any(|seat| matches!(seat.state, SeatState::Dead(_))) {
        // That nobody lives is what two looks agree on: in one alone the living can come behind it and go before it.
        let again = look(ring, me).map_err(|right| Stop::Corrupt(corrupt_seat(right)))?;
        let same = found.iter().zip(&again).all(|(one, other)| one.state == other.state);
        return if same { Err(Stop::HolderDied) } else { Ok(()) };
    }
    words.extend(rights(ring, &found));
    if wait_any(&words, 0, deadline) == Woken::TimedOut { Err(Stop::TimedOut) } else { Ok(()) }
}

/// Whose the lanes are; the right that is none, if one is.
fn look(ring: &Ring, me: &Attachment) -> Result<Vec<SeatFound>, u64> {
    let look = |lane: &crate::ring::spsc::Ring| match lane.seat(Role::Producer).look(me) {
        SeatFound { state: SeatState::Corrupt(right), .. } => Err(right),
        found => Ok(found),
    };
    ring.lanes.iter().map(look).collect()
}

/// A lane whose producer lives.
fn alive(found: &[SeatFound]) -> Option<(usize, Holder)> {
    let holder = |(lane, seat): (usize, &SeatFound)| match seat.state {
        SeatState::Alive(holder) => Some((lane, holder)),
        _ => None,
    };
    found.iter().enumerate().find_map(holder)
}

fn rights<'r>(ring: &'r Ring, found: &[SeatFound]) -> Vec<Wait<'r>> {
    let right = |(lane, seat): (&'r crate::ring::spsc::Ring, &SeatFound)| {
        let word = lane.seat(Role::Producer).word();
        Wait { word, expected: seat.low }
    };
    ring.lanes.iter().zip(found).map(right).collect()
}

fn gate(ring: &Ring) -> Wait<'_> {
    Wait { word: Word::Low(ring.lanes[0].gate(Role::Producer)), expected: 0 }
}
