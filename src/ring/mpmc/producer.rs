//! A producer's side.

use super::claims::{Side, Watched};
use super::wait::Role;
#[cfg(not(model))]
use super::wait::{side, watch};
use super::{Order, PushError, PushTimeoutError, TryPushError};
use crate::owner::{Claim, Right};
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::record::{Checksum, GRANULE, head};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::cell::Granule;
use crate::sync::{payload, thread, time};
use core::time::Duration;

/// A producer's side. It stays with its thread.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::mpmc::Producer>();
/// ```
#[derive(Debug)]
pub struct Producer {
    side: Side,
}

impl Producer {
    pub(super) fn new(side: Side) -> Self {
        Self { side }
    }

    /// Appends a record, if there is room. `kind` is the caller's.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    #[inline]
    pub fn try_push(&mut self, kind: u32, payload: &[u8]) -> Result<(), TryPushError> {
        self.check(payload.len())?;
        let position = self.side.claim_to_write(None)?.ok_or(TryPushError::Full)?;
        self.write(position, kind, payload);
        Ok(())
    }

    /// Appends a record, sleeping while the ring is full.
    ///
    /// # Errors
    /// [`PushError`], and nothing was changed; never that the consumer died, since any may come.
    pub fn push(&mut self, kind: u32, payload: &[u8]) -> Result<(), PushError> {
        Ok(self.push_or_wait(kind, payload, || None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PushTimeoutError`], and nothing was changed; never that the consumer died, since any may come.
    pub fn push_timeout(&mut self, kind: u32, payload: &[u8], timeout: Duration) -> Result<(), PushTimeoutError> {
        self.push_or_wait(kind, payload, || time::now().checked_add(timeout))
    }

    #[inline]
    fn push_or_wait(
        &mut self,
        kind: u32,
        payload: &[u8],
        deadline: impl FnOnce() -> Option<Duration>,
    ) -> Result<(), PushTimeoutError> {
        match self.try_push(kind, payload) {
            Ok(()) => Ok(()),
            Err(TryPushError::Full) => self.push_until(kind, payload, deadline()),
            Err(error) => Err(refused(error)),
        }
    }

    #[cold]
    fn push_until(&mut self, kind: u32, payload: &[u8], deadline: Option<Duration>) -> Result<(), PushTimeoutError> {
        let attempt = |watch: Option<&mut Watched>| {
            let position = self.side.claim_to_write(watch)?;
            if let Some(position) = position {
                self.write(position, kind, payload);
            }
            Ok(position)
        };
        let claimed = self.side.until(Role::Producer, deadline, None, attempt).map_err(PushTimeoutError::Corrupt)?;
        self.side.me.intact()?;
        claimed.map(|_| ()).ok_or(PushTimeoutError::TimedOut)
    }

    /// Reserves a slot for a record of `len` bytes, to be filled in place and committed. Dropped uncommitted, it never was: its slot is
    /// skipped. Until then it is a producer that is at work: see [`Order`].
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    pub fn reserve(&mut self, kind: u32, len: usize) -> Result<Reservation<'_>, TryPushError> {
        self.check(len)?;
        let position = self.side.claim_to_write(None)?.ok_or(TryPushError::Full)?;
        self.side.me.right_taken();
        let reservation = Reservation { producer: self, position, kind, len, committed: false };
        for granule in reservation.payload() {
            granule.store(0);
        }
        Ok(reservation)
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        Bell::new(&self.side.me, side(&self.side.ring, Role::Producer))
    }

    /// Arms a bell of this ring: it rings once there is room, at once if there is already; another producer may have it by then. To be called after
    /// this side was told that the ring is full. Never for a death: any may come.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        let ring = &self.side.ring;
        bell.arm(side(ring, Role::Producer), watch(ring, Role::Producer))
    }

    /// Goes, as dropping does.
    pub fn close(self) {}

    #[inline]
    fn check(&self, len: usize) -> Result<(), TryPushError> {
        self.side.me.check()?;
        let max = self.side.ring.longest_payload();
        if len > max { Err(TryPushError::TooLarge { len, max }) } else { Ok(()) }
    }

    /// Writes a record to the slot that was claimed, and publishes it.
    #[inline]
    fn write(&self, position: u64, kind: u32, payload: &[u8]) {
        let ring = &self.side.ring;
        payload::write(ring.payload(position), payload);
        let first = head(payload.len() as u32, kind);
        if ring.geometry.checksum {
            ring.slot(position).checksum.store(Checksum::of(position, first, [], payload));
        }
        self.publish(position, first);
    }

    #[inline]
    fn publish(&self, position: u64, first: u64) {
        let ring = &self.side.ring;
        let slot = ring.slot(position);
        slot.first.store(first);
        if ring.geometry.order == Order::Round {
            // Relaxed: the word below publishes it.
            slot.writer.store(Right::held_by(self.side.me.id()).0, Relaxed);
        }
        self.side.release(position, Claim::full(ring.geometry.lap(position)));
    }
}

#[cold]
fn refused(error: TryPushError) -> PushTimeoutError {
    match error {
        TryPushError::Full => unreachable!("a full ring is waited for"),
        TryPushError::TooLarge { len, max } => PushTimeoutError::TooLarge { len, max },
        TryPushError::Forked => PushTimeoutError::Forked,
        TryPushError::Corrupt(corrupt) => PushTimeoutError::Corrupt(corrupt),
    }
}

/// A slot of the ring for one record, its payload zeroed.
#[derive(Debug)]
#[must_use = "a reservation that is not committed is no record"]
pub struct Reservation<'p> {
    producer: &'p mut Producer,
    position: u64,
    kind: u32,
    /// Invariant 1: at most the ring's longest payload.
    len: usize,
    committed: bool,
}

impl Reservation<'_> {
    /// Bytes of the payload.
    #[allow(clippy::len_without_is_empty, reason = "an empty payload is a payload")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies `bytes` into the payload at `offset`. Says how many fit: fewer than `bytes.len()` only at the payload's end.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> usize {
        payload::write_at(self.payload(), self.len, offset, bytes)
    }

    /// The payload, in place, to write to.
    ///
    /// # Safety
    /// Every process that can write the segment follows the ring's protocol: then nobody else reads or writes the record before
    /// it is committed. See `docs/trust.md`.
    #[cfg(not(model))]
    pub unsafe fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the slot's payload has at least `len` bytes (invariant 1), and by the caller's promise nobody else touches it.
        unsafe { crate::sync::cell::bytes_mut(self.payload(), self.len) }
    }

    /// Commits the record.
    ///
    /// # Errors
    /// [`TryPushError::Forked`], in a child that was forked since.
    pub fn commit(mut self) -> Result<(), TryPushError> {
        let side = &self.producer.side;
        side.me.check()?;
        let first = head(self.len as u32, self.kind);
        if side.ring.geometry.checksum {
            let checksum = Checksum::in_place(self.position, first, self.payload(), self.len);
            side.ring.slot(self.position).checksum.store(checksum);
        }
        self.producer.publish(self.position, first);
        self.producer.side.me.right_given_up();
        self.committed = true;
        Ok(())
    }

    fn payload(&self) -> &[Granule] {
        &self.producer.side.ring.payload(self.position)[..self.len.div_ceil(GRANULE as usize)]
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let side = &self.producer.side;
        if self.committed || thread::dying() || !side.me.is_current() {
            return;
        }
        side.release(self.position, Claim::free(side.ring.geometry.lap(self.position) + 1));
        side.me.right_given_up();
    }
}
