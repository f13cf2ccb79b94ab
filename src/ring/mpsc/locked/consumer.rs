//! The consumer's side: that of an SPSC ring, but for what it waits for: any producer.

use super::wait::until_some;
#[cfg(not(model))]
use super::wait::{side, watch_some};
use super::{PopError, PopTimeoutError, TryPopError};
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::spsc::{self, Peek, pop_refused};
use crate::sync::time;
use core::time::Duration;

/// The consumer's seat. It stays with its thread; dropping it gives the seat up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::mpsc::locked::Consumer>();
/// ```
#[derive(Debug)]
pub struct Consumer {
    pub(super) inner: spsc::Consumer,
}

impl Consumer {
    /// Copies the next record into `payload` (what it held is replaced), commits it as read, and gives its kind.
    ///
    /// # Errors
    /// [`TryPopError`], and the record, if there is one, stays.
    #[inline]
    pub fn try_pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, TryPopError> {
        self.inner.try_pop(payload)
    }

    /// The same, sleeping while there is none.
    ///
    /// # Errors
    /// [`PopError`], and the record, if there is one, stays; never that the producer died, since any may come.
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, PopError> {
        Ok(self.pop_until(payload, None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PopTimeoutError`], and the record, if there is one, stays; never that the producer died, since any may come.
    pub fn pop_timeout(&mut self, payload: &mut Vec<u8>, timeout: Duration) -> Result<u32, PopTimeoutError> {
        self.pop_until(payload, Some(timeout))
    }

    fn pop_until(&mut self, payload: &mut Vec<u8>, timeout: Option<Duration>) -> Result<u32, PopTimeoutError> {
        let (mut deadline, mut waited, mut in_time) = (None, false, true);
        loop {
            match self.inner.try_pop(payload) {
                Ok(kind) => return Ok(kind),
                Err(TryPopError::Empty) if in_time => {
                    if !waited {
                        // The clock is not looked at before there is something to wait for.
                        deadline = timeout.and_then(|timeout| time::now().checked_add(timeout));
                        waited = true;
                    }
                    let reader = &self.inner.reader;
                    in_time = until_some(&reader.ring, &reader.me, reader.tail, deadline, None);
                }
                // Looked for once more: what came just in time counts.
                Err(TryPopError::Empty) => return Err(PopTimeoutError::TimedOut),
                Err(error) => return Err(pop_refused(error)),
            }
        }
    }

    /// Gives up to `max` records to `take`, in order, and commits them as read together: should this thread die before, all of
    /// them are delivered again. Says how many.
    ///
    /// # Errors
    /// [`TryPopError`] if there was not even one.
    pub fn pop_batch(&mut self, max: usize, take: impl FnMut(u32, &[u8])) -> Result<usize, TryPopError> {
        self.inner.pop_batch(max, take)
    }

    /// Looks at the next record without reading it off.
    ///
    /// # Errors
    /// [`TryPopError`].
    pub fn peek(&mut self) -> Result<Peek<'_>, TryPopError> {
        self.inner.peek()
    }

    /// Commits all records that are there as read, without reading them; says how many bytes of the ring they took. In a ring
    /// with wipe they are zeroed.
    ///
    /// # Errors
    /// [`TryPopError`], but never that it is empty.
    pub fn discard(&mut self) -> Result<u64, TryPopError> {
        self.inner.discard()
    }

    /// Tells monitors that this side is alive though there is nothing to read.
    pub fn beat(&mut self) {
        self.inner.beat();
    }

    /// How often this seat was taken over from the dead.
    pub fn generation(&self) -> u64 {
        self.inner.generation()
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        Bell::new(&self.inner.reader.me, side(&self.inner.reader.ring))
    }

    /// Arms a bell of this ring: it rings once there is more than this side has seen, at once if there is already. Never for a death: any
    /// producer may come. To be called after this side was told that the ring is empty.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        let reader = &self.inner.reader;
        bell.arm(side(&reader.ring), watch_some(&reader.ring, reader.tail))
    }

    /// Gives the seat up, as dropping does.
    pub fn close(self) {}
}
