//! A producer's side: in its turn, an SPSC producer.

use super::turn::{NoTurn, Patience, Turn};
use super::{Control, PushError, PushTimeoutError, Ring, TryPushError, WaitPeerError};
use crate::owner::Attachment;
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::spsc::{self, Role, push_refused};
use crate::sync::atomic::Ordering::{Relaxed, Release};
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::shm::Shared;
use crate::sync::{thread, time};
use core::time::Duration;

/// A producer's side. It stays with its thread.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::mpsc::locked::Producer>();
/// ```
#[derive(Debug)]
pub struct Producer {
    inner: spsc::Producer,
    control: Shared<Control>,
    me: Attachment,
}

/// There is no record.
enum NotYet {
    /// Somebody who lives had the lock.
    Busy,
    Refused(TryPushError),
}

impl From<NoTurn> for NotYet {
    fn from(error: NoTurn) -> Self {
        match error {
            NoTurn::Busy => Self::Busy,
            NoTurn::Unusable(unusable) => Self::Refused(unusable.into()),
            NoTurn::Corrupt(corrupt) => Self::Refused(corrupt.into()),
        }
    }
}

impl From<NotYet> for TryPushError {
    fn from(error: NotYet) -> Self {
        match error {
            NotYet::Busy => unreachable!("a turn that is waited for without a deadline"),
            NotYet::Refused(error) => error,
        }
    }
}

/// For as long as it takes.
const ALWAYS: Patience = Patience::Until(None);

impl Producer {
    pub(super) fn new(ring: &Ring, me: &Attachment) -> Self {
        let inner = spsc::Producer::without_seat(ring.inner.clone(), me.clone());
        Self { inner, control: ring.control.clone(), me: me.clone() }
    }

    /// Appends a record, if there is room. `kind` is the caller's. Waits for its turn, but not for room.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    #[inline]
    pub fn try_push(&mut self, kind: u32, payload: &[u8]) -> Result<(), TryPushError> {
        Ok(self.append(kind, payload, ALWAYS)?)
    }

    /// Appends a record, sleeping while it is another one's turn who lives, and while the ring is full and its consumer lives, or nobody
    /// has its seat.
    ///
    /// # Errors
    /// [`PushError`], and nothing was changed.
    pub fn push(&mut self, kind: u32, payload: &[u8]) -> Result<(), PushError> {
        Ok(self.push_until(kind, payload, None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PushTimeoutError`], and nothing was changed. `TimedOut` also if it was another one's turn all that time.
    pub fn push_timeout(&mut self, kind: u32, payload: &[u8], timeout: Duration) -> Result<(), PushTimeoutError> {
        match self.append(kind, payload, Patience::None) {
            Ok(()) => Ok(()),
            Err(NotYet::Busy | NotYet::Refused(TryPushError::Full)) => {
                self.push_until(kind, payload, time::now().checked_add(timeout))
            }
            Err(NotYet::Refused(error)) => Err(push_refused(error)),
        }
    }

    fn push_until(&mut self, kind: u32, payload: &[u8], deadline: Option<Duration>) -> Result<(), PushTimeoutError> {
        loop {
            match self.append(kind, payload, Patience::Until(deadline)) {
                Ok(()) => return Ok(()),
                Err(NotYet::Busy) => return Err(PushTimeoutError::TimedOut),
                // The turn has ended: nobody sleeps with the lock.
                Err(NotYet::Refused(TryPushError::Full)) => self.inner.until_room(deadline)?,
                Err(NotYet::Refused(error)) => return Err(push_refused(error)),
            }
        }
    }

    #[inline]
    fn append(&mut self, kind: u32, payload: &[u8], patience: Patience) -> Result<(), NotYet> {
        let turn = begin(&mut self.inner, &self.control, &self.me, patience)?;
        let end = self.inner.write(self.inner.tail, kind, payload).map_err(NotYet::Refused)?;
        publish(&mut self.inner, turn, end);
        Ok(())
    }

    /// Appends as many of `records` as there is room for, in one turn, and publishes them together: all of them or, after a death, none.
    /// Says how many. Waits for its turn, but not for room; and all other producers wait for `records`.
    ///
    /// # Errors
    /// [`TryPushError`] if not even the first one could be appended.
    pub fn push_batch<'r>(
        &mut self,
        records: impl IntoIterator<Item = (u32, &'r [u8])>,
    ) -> Result<usize, TryPushError> {
        let turn = begin(&mut self.inner, &self.control, &self.me, ALWAYS)?;
        let (mut batch, mut count) = (Batch { end: self.inner.tail, inner: &mut self.inner }, 0);
        for (kind, payload) in records {
            match batch.inner.write(batch.end, kind, payload) {
                Ok(end) => (batch.end, count) = (end, count + 1),
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
        }
        if count > 0 {
            self.me.check()?;
            let end = batch.end;
            publish(batch.inner, turn, end);
        }
        Ok(count)
    }

    /// Reserves room for a record of `len` bytes, all zero, to be filled in place and committed. Dropped uncommitted, it never was. Until
    /// then all other producers wait: it is this one's turn.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    pub fn reserve(&mut self, kind: u32, len: usize) -> Result<Reservation<'_>, TryPushError> {
        let turn = begin(&mut self.inner, &self.control, &self.me, ALWAYS)?;
        Ok(Reservation { inner: self.inner.reserve(kind, len)?, turn })
    }

    /// How often the consumer's seat was taken over from the dead.
    pub fn consumer_generation(&self) -> u64 {
        self.control.consumer.generation()
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

    /// Arms a bell of this ring: it rings once more was read than this side has seen, at once if it was already, or the consumer dies; another
    /// producer may have the room by then. To be called after this side was told that the ring is full.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        self.inner.arm(bell)
    }

    /// Arms a bell of this ring: it rings once somebody alive has the consumer's seat.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm_for_consumer(&self, bell: &Bell) -> Result<(), BellUseError> {
        self.inner.arm_for_consumer(bell)
    }

    /// Goes, as dropping does.
    pub fn close(self) {}
}

/// Takes the lock, and goes on where the last one came to. Should the repair fail, the turn ends; should this thread die in it, the next one
/// takes the lock from the dead as this one did, and repairs.
#[inline(never)]
fn begin<'t>(
    inner: &mut spsc::Producer,
    control: &'t Control,
    me: &'t Attachment,
    patience: Patience,
) -> Result<Turn<'t>, NotYet> {
    let turn = control.lock.take(me, patience)?;
    inner.begin_turn(turn.from_the_dead).map_err(|corrupt| NotYet::Refused(corrupt.into()))?;
    Ok(turn)
}

/// Commits everything before `end`: one store. And ends the turn: after it, or the next one would not know of it.
#[inline]
fn publish(inner: &mut spsc::Producer, turn: Turn<'_>, end: u64) {
    let before = core::mem::replace(&mut inner.tail, end);
    let tail = &inner.ring.control.tail;
    tail.beat();
    // Release: the records before it. Not what was written last: then the consumer's bit stands in it.
    if tail.index.compare_exchange(before, end, Release, Relaxed).is_err() {
        publish_and_wake(inner, turn, end);
    }
}

/// The same, and the consumer sleeps, or is about to. It is woken after the turn: others need not wait for that.
#[cold]
fn publish_and_wake(inner: &spsc::Producer, turn: Turn<'_>, end: u64) {
    let tail = &inner.ring.control.tail.index;
    // Should this thread die after the swap, the kernel wakes the consumer there: it sleeps on no producer's life word.
    inner.me.list().set_pending(inner.ring.gate(Role::Producer));
    // Release, as above. A consumer that has not gone to sleep yet finds the index changed.
    tail.swap(end, Release);
    drop(turn);
    wake(Word::Low(tail), ALL);
    inner.me.list().clear_pending();
}

/// A batch: what it has written, and does not publish, since its caller has panicked, is wiped in a ring with wipe.
struct Batch<'p> {
    inner: &'p mut spsc::Producer,
    /// Up to where it has written.
    end: u64,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let ring = &self.inner.ring;
        if ring.geometry.wipe && !thread::dying() && self.inner.me.is_current() {
            // Nothing, if it was published.
            ring.wipe(self.inner.tail, self.end);
        }
    }
}

/// Room in the ring for one record, zeroed; and the turn in which it is written.
#[derive(Debug)]
#[must_use = "a reservation that is not committed is no record"]
pub struct Reservation<'p> {
    inner: spsc::Reservation<'p>,
    /// Dropped last: what was written, and is wiped, is wiped in the turn.
    turn: Turn<'p>,
}

impl Reservation<'_> {
    /// Bytes of the payload.
    #[allow(clippy::len_without_is_empty, reason = "an empty payload is a payload")]
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Copies `bytes` into the payload at `offset`. Says how many fit: fewer than `bytes.len()` only at the payload's end.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> usize {
        self.inner.write(offset, bytes)
    }

    /// The payload, in place, to write to.
    ///
    /// # Safety
    /// Every process that can write the segment follows the ring's protocol: then nobody else reads or writes the record before
    /// it is committed. See `docs/trust.md`.
    #[cfg(not(model))]
    pub unsafe fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: by the caller's promise.
        unsafe { self.inner.as_bytes_mut() }
    }

    /// Commits the record.
    ///
    /// # Errors
    /// [`TryPushError::Forked`], in a child that was forked since.
    pub fn commit(self) -> Result<(), TryPushError> {
        let Self { mut inner, turn } = self;
        inner.producer().me.check()?;
        let end = inner.seal();
        publish(inner.producer(), turn, end);
        Ok(())
    }
}
