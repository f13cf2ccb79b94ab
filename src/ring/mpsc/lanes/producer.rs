//! A producer's side: an SPSC producer that numbers its records.

use super::{Control, NUMBER, PushError, PushTimeoutError, TryPushError, WaitPeerError};
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::spsc::{self, Role, push_refused};
use crate::sync::atomic::Ordering::{Relaxed, Release};
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::shm::Shared;
use crate::sync::time;
use core::time::Duration;

/// The producer's seat of a lane. It stays with its thread; dropping it gives the lane up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::mpsc::lanes::Producer>();
/// ```
#[derive(Debug)]
pub struct Producer {
    inner: spsc::Producer,
    control: Shared<Control>,
    lane: usize,
}

impl Producer {
    pub(super) fn new(inner: spsc::Producer, control: Shared<Control>, lane: usize) -> Self {
        Self { inner, control, lane }
    }

    /// Appends a record, if there is room in the lane. `kind` is the caller's.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    #[inline]
    pub fn try_push(&mut self, kind: u32, payload: &[u8]) -> Result<(), TryPushError> {
        let end = self.write(self.inner.tail, kind, payload)?;
        publish(&mut self.inner, end);
        Ok(())
    }

    /// Appends a record, sleeping while the lane is full and the consumer lives, or nobody has its seat.
    ///
    /// # Errors
    /// [`PushError`], and nothing was changed.
    pub fn push(&mut self, kind: u32, payload: &[u8]) -> Result<(), PushError> {
        Ok(self.push_until(kind, payload, None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PushTimeoutError`], and nothing was changed.
    pub fn push_timeout(&mut self, kind: u32, payload: &[u8], timeout: Duration) -> Result<(), PushTimeoutError> {
        match self.try_push(kind, payload) {
            Ok(()) => Ok(()),
            Err(TryPushError::Full) => self.push_until(kind, payload, time::now().checked_add(timeout)),
            Err(error) => Err(push_refused(error)),
        }
    }

    fn push_until(&mut self, kind: u32, payload: &[u8], deadline: Option<Duration>) -> Result<(), PushTimeoutError> {
        loop {
            match self.try_push(kind, payload) {
                Ok(()) => return Ok(()),
                Err(TryPushError::Full) => self.inner.until_room(deadline)?,
                Err(error) => return Err(push_refused(error)),
            }
        }
    }

    /// Appends as many of `records` as there is room for, and publishes them together: all of them or, after a death, none.
    /// Says how many. Records of other producers may come between them.
    ///
    /// # Errors
    /// [`TryPushError`] if not even the first one could be appended.
    pub fn push_batch<'r>(
        &mut self,
        records: impl IntoIterator<Item = (u32, &'r [u8])>,
    ) -> Result<usize, TryPushError> {
        let (mut end, mut count) = (self.inner.tail, 0);
        for (kind, payload) in records {
            match self.write(end, kind, payload) {
                Ok(next) => (end, count) = (next, count + 1),
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
        }
        // The iterator may have forked: then the records are the parent's to publish.
        self.inner.me.check()?;
        if count > 0 {
            publish(&mut self.inner, end);
        }
        Ok(count)
    }

    /// Reserves room for a record of `len` bytes, to be filled in place and committed. Dropped uncommitted, it never was. It arrives
    /// when it is committed.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    pub fn reserve(&mut self, kind: u32, len: usize) -> Result<Reservation<'_>, TryPushError> {
        let inner = self.inner.reserve(kind, len + NUMBER).map_err(without_number)?;
        Ok(Reservation { inner, control: &self.control })
    }

    /// Tells monitors that this side is alive though it has nothing to push.
    pub fn beat(&mut self) {
        self.inner.beat();
    }

    /// Which lane it has.
    pub fn lane(&self) -> usize {
        self.lane
    }

    /// How often this lane was taken over from the dead.
    pub fn generation(&self) -> u64 {
        self.inner.generation()
    }

    /// Sleeps until somebody alive has the consumer's seat, for up to `timeout` if there is one.
    ///
    /// # Errors
    /// [`WaitPeerError`].
    pub fn wait_consumer(&self, timeout: Option<Duration>) -> Result<(), WaitPeerError> {
        self.inner.wait_consumer(timeout)
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        self.inner.bell()
    }

    /// Arms a bell of this lane: it rings once there is more room than this side has seen, at once if there is already, or the consumer
    /// dies. To be called after this side was told that it is full.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        self.inner.arm(bell)
    }

    /// Arms a bell of this lane: it rings once somebody alive has the consumer's seat.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm_for_consumer(&self, bell: &Bell) -> Result<(), BellUseError> {
        self.inner.arm_for_consumer(bell)
    }

    /// Gives the lane up, as dropping does.
    pub fn close(self) {}

    /// Writes a record after `end`, unpublished; where it ends.
    #[inline]
    fn write(&mut self, end: u64, kind: u32, payload: &[u8]) -> Result<u64, TryPushError> {
        let room = self.inner.room(end, payload.len() + NUMBER).map_err(without_number)?;
        Ok(self.inner.fill(&room, kind, [arrival(&self.control)], payload))
    }
}

/// The number of a record that arrives now.
#[inline]
fn arrival(control: &Control) -> u64 {
    // Relaxed: one step gives each record a number of its own, and a larger one than all that were taken before, in the order in which
    // one push may follow another. Nothing is reached through it.
    control.arrivals.fetch_add(1, Relaxed)
}

/// Commits everything before `end`: one store.
#[inline]
fn publish(lane: &mut spsc::Producer, end: u64) {
    let before = core::mem::replace(&mut lane.tail, end);
    let tail = &lane.ring.control.tail;
    tail.beat();
    // Release: the records before it. Not what was written last: then the consumer's bit stands in it.
    if tail.index.compare_exchange(before, end, Release, Relaxed).is_err() {
        publish_and_wake(lane, end);
    }
}

/// The same, and the consumer sleeps, or is about to.
#[cold]
fn publish_and_wake(lane: &spsc::Producer, end: u64) {
    let tail = &lane.ring.control.tail.index;
    // Should this thread die after the swap, the kernel wakes the consumer there. It sleeps on the life word of one producer only.
    lane.me.list().set_pending(lane.ring.gate(Role::Producer));
    // Release, as above. A consumer that has not gone to sleep yet finds the index changed.
    tail.swap(end, Release);
    wake(Word::Low(tail), ALL);
    lane.me.list().clear_pending();
}

/// As the caller sees it, who does not know of the number.
#[cold]
fn without_number(error: TryPushError) -> TryPushError {
    match error {
        TryPushError::TooLarge { len, max } => TryPushError::TooLarge { len: len - NUMBER, max: max - NUMBER },
        other => other,
    }
}

/// Room in the lane for one record, zeroed.
#[derive(Debug)]
#[must_use = "a reservation that is not committed is no record"]
pub struct Reservation<'p> {
    inner: spsc::Reservation<'p>,
    control: &'p Control,
}

impl Reservation<'_> {
    /// Bytes of the payload.
    #[allow(clippy::len_without_is_empty, reason = "an empty payload is a payload")]
    pub fn len(&self) -> usize {
        self.inner.len() - NUMBER
    }

    /// Copies `bytes` into the payload at `offset`. Says how many fit: fewer than `bytes.len()` only at the payload's end.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> usize {
        offset.checked_add(NUMBER).map_or(0, |offset| self.inner.write(offset, bytes))
    }

    /// The payload, in place, to write to.
    ///
    /// # Safety
    /// Every process that can write the segment follows the ring's protocol: then nobody else reads or writes the record before
    /// it is committed. See `docs/trust.md`.
    #[cfg(not(model))]
    pub unsafe fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: by the caller's promise.
        let bytes = unsafe { self.inner.as_bytes_mut() };
        &mut bytes[NUMBER..]
    }

    /// Commits the record.
    ///
    /// # Errors
    /// [`TryPushError::Forked`], in a child that was forked since.
    pub fn commit(mut self) -> Result<(), TryPushError> {
        self.inner.producer().me.check()?;
        self.inner.payload()[0].store(arrival(self.control));
        let end = self.inner.seal();
        publish(self.inner.producer(), end);
        Ok(())
    }
}
