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
//! publishing and waking, or between changing its seat and waking. A bell of the consumer sleeps there beside it: its thread wakes all
//! there after each sleep, and lives and dies with the consumer's process.

use super::{Ring, WaitPeerError};
use crate::owner::{Attachment, Holder, Interrupt, SeatFound, SeatState, ask, finish_waiting, sleep_on_holder};
#[cfg(not(model))]
use crate::ring::bell::{self, Rang, Watch};
use crate::ring::record::SLEEPER;
pub(super) use crate::ring::spsc::wait::Stop;
use crate::ring::spsc::wait::never_taken;
use crate::ring::spsc::{Role, corrupt_seat};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::futex::{Wait, Woken, Word, wait_any};
use core::time::Duration;

/// All lanes were found empty, up to what `tail` says of each: sleeps until one is not, and says why none ever will be. Or until it is
/// interrupted, which the caller sees for itself.
pub(super) fn until_some(
    ring: &Ring,
    me: &Attachment,
    tail: impl Fn(usize) -> u64,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> Result<(), Stop> {
    let mut slept = false;
    // Relaxed: the caller reads the indices again, with Acquire.
    let all_empty = || indices(ring).all(|(lane, index)| index.load(Relaxed) & !SLEEPER == tail(lane));
    me.spin(deadline, || all_empty() && may_come(ring, me));
    let result = loop {
        if !indices(ring).all(|(lane, index)| ask(index, tail(lane))) {
            break Ok(());
        }
        slept = true;
        let stopped = sleep(ring, me, &tail, deadline, interrupt);
        let ended = interrupt.is_some_and(|interrupt| interrupt.ends(gate_word(ring)));
        if let Err(stop) = stopped {
            // What the dead published last counts, and what came just in time. Relaxed: `look` has acquired each death, so this
            // is no older than the last store before it; and the caller reads the indices again, with Acquire.
            break if all_empty() { Err(stop) } else { Ok(()) };
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

/// Sleeps until somebody alive has a lane.
pub(super) fn until_taken(ring: &Ring, me: &Attachment, deadline: Option<Duration>) -> Result<(), WaitPeerError> {
    sleep_until_taken(ring, me, deadline, None).map_err(never_taken)
}

fn sleep_until_taken(
    ring: &Ring,
    me: &Attachment,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> Result<(), Stop> {
    me.spin(deadline, || !ring.lanes.iter().any(|lane| matches!(seat(lane, me), SeatState::Alive(_))));
    loop {
        let found = look(ring, me).map_err(|right| Stop::Corrupt(corrupt_seat(right)))?;
        if alive(&found).is_some() {
            return Ok(());
        }
        let mut words = vec![gate(ring)];
        words.extend(rights(ring, &found));
        words.extend(interrupt.map(|interrupt| interrupt.wait()));
        if wait_any(&words, 0, deadline) == Woken::TimedOut {
            return Err(Stop::TimedOut);
        }
        if interrupt.is_some_and(|interrupt| interrupt.ends(gate_word(ring))) || me.is_cut_off() {
            return Ok(());
        }
    }
}

/// The write index of each lane.
fn indices(ring: &Ring) -> impl Iterator<Item = (usize, &AtomicU64)> {
    ring.lanes.iter().map(|lane| &lane.control.tail.index).enumerate()
}

/// Whose bell it is that the consumer has.
#[cfg(not(model))]
pub(super) fn side(ring: &Ring) -> bell::Side {
    (core::ptr::from_ref(&*ring.lanes[0].control).addr(), 2)
}

/// What a bell sleeps for that is to ring once there is more in some lane than was `seen` of each.
#[cfg(not(model))]
pub(super) fn watch_some(ring: &Ring, seen: Vec<u64>) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| {
        bell::rang(until_some(&ring, me, |lane| seen[lane], None, Some(interrupt)), Rang::Ready)
    })
}

/// The same, once somebody alive has a lane.
#[cfg(not(model))]
pub(super) fn watch_taken(ring: &Ring) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| bell::rang(sleep_until_taken(&ring, me, None, Some(interrupt)), Rang::PeerCame))
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
fn sleep(
    ring: &Ring,
    me: &Attachment,
    tail: impl Fn(usize) -> u64,
    deadline: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
) -> Result<(), Stop> {
    let found = look(ring, me).map_err(|right| Stop::Corrupt(corrupt_seat(right)))?;
    let moves = |(lane, index)| Wait { word: Word::Low(index), expected: (tail(lane) | SLEEPER) as u32 };
    let mut words = vec![gate(ring)];
    words.extend(indices(ring).map(moves));
    words.extend(interrupt.map(|interrupt| interrupt.wait()));
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

fn gate_word(ring: &Ring) -> &AtomicU64 {
    ring.lanes[0].gate(Role::Producer)
}

fn gate(ring: &Ring) -> Wait<'_> {
    Wait { word: Word::Low(gate_word(ring)), expected: 0 }
}
