//! Sleeping until the peer moves its index, or dies, or somebody takes its seat: see `owner::seat_wait`.

use super::{Corrupt, Ring, Role, Side, WaitPeerError, corrupt_seat};
use crate::owner::{self, AtSeat, Attachment};
#[cfg(not(model))]
use crate::ring::bell::{self, Rang, Watch};
use core::time::Duration;

pub(in crate::ring) type Stop = owner::Stop<Corrupt>;

fn at<'a>(ring: &'a Ring, me: &'a Attachment, peer: Role, deadline: Option<Duration>) -> AtSeat<'a> {
    AtSeat { me, seat: ring.seat(peer), gate: ring.gate(peer), deadline, interrupt: None }
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
    at(ring, me, peer, deadline).until_moved(&side.index, seen, corrupt_seat)
}

/// Sleeps until somebody alive has the seat of `peer`.
pub(in crate::ring) fn until_taken(
    ring: &Ring,
    me: &Attachment,
    peer: Role,
    deadline: Option<Duration>,
) -> Result<(), WaitPeerError> {
    at(ring, me, peer, deadline).until_taken(corrupt_seat).map_err(never_taken)
}

/// Nobody will have the seat, or not in time.
pub(in crate::ring) fn never_taken(stop: Stop) -> WaitPeerError {
    match stop {
        Stop::TimedOut => WaitPeerError::TimedOut,
        Stop::Corrupt(corrupt) => WaitPeerError::Corrupt(corrupt),
        Stop::HolderDied => unreachable!("it waits for the next holder"),
    }
}

/// Whose bell it is that waits for `peer`.
#[cfg(not(model))]
pub(super) fn side(ring: &Ring, peer: Role) -> bell::Side {
    (core::ptr::from_ref(&*ring.control).addr(), u8::from(peer == Role::Producer))
}

/// What a bell sleeps for that is to ring once the peer's index is no longer `seen`.
#[cfg(not(model))]
pub(super) fn watch_move(ring: &Ring, peer: Role, seen: u64) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| {
        let at = AtSeat { interrupt: Some(interrupt), ..at(&ring, me, peer, None) };
        let side = if peer == Role::Producer { &ring.control.tail } else { &ring.control.head };
        bell::rang(at.until_moved(&side.index, seen, corrupt_seat), Rang::Ready)
    })
}

/// The same, once somebody alive has the peer's seat.
#[cfg(not(model))]
pub(super) fn watch_taken(ring: &Ring, peer: Role) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| {
        let at = AtSeat { interrupt: Some(interrupt), ..at(&ring, me, peer, None) };
        bell::rang(at.until_taken(corrupt_seat), Rang::PeerCame)
    })
}
