//! The futex mutex: four bytes, no attachment, and no help when its holder dies.
//!
//! **What it guarantees.** Mutual exclusion between all threads of all processes that have the segment. No sleeper is forgotten
//! while nobody dies.
//!
//! **What survives a death.** Nothing is taken from a dead holder: the mutex stays locked, and [`FutexMutex::lock_timeout`] is
//! the way to notice ([`TimedOut`](super::TimedOut) says so). A waiter's death takes nothing either; had it just been woken,
//! the next one in line sleeps up to [`LOOK_AGAIN`](crate::sync::futex::LOOK_AGAIN) longer. Where holders can be killed, use
//! [`RobustMutex`](super::RobustMutex).
//!
//! **What it cannot do.** Notice that a thread locks it twice (it waits for itself), be fair, inherit priorities, or tell of a
//! panic: a guard that is dropped in one unlocks.
//!
//! The word, as in U. Drepper, "Futexes Are Tricky" (2011), mutex 2:
//!
//! | state | to | by |
//! |---|---|---|
//! | FREE | LOCKED | compare-and-swap, Acquire, by who finds it free |
//! | FREE | CONTENDED | swap, Acquire, by who was woken or is about to sleep: others may sleep still |
//! | LOCKED | CONTENDED | the same swap: then it sleeps |
//! | LOCKED, CONTENDED | FREE | swap, Release, by the holder; from CONTENDED it wakes one |
//!
//! Any other value, which only damage can make, counts as CONTENDED.
//!
//! What must synchronise with what: the unlocking swap (Release) with either way of locking (Acquire); it publishes the guarded
//! data. A swap by a thread that then sleeps is part of that release sequence.

use super::error::TimedOut;
use crate::data::Data;
use crate::sync::Line;
use crate::sync::atomic::AtomicU32;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::cell::SharedCell;
use crate::sync::futex::{Wait, Woken, Word, wait_any, wake};
use crate::sync::shm::Shared;
use crate::sync::{Waiting, thread, time};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::time::Duration;

pub(super) const FREE: u32 = 0;
pub(super) const LOCKED: u32 = 1;
/// Locked, and somebody may sleep.
pub(super) const CONTENDED: u32 = 2;

/// A mutex in shared memory that its holder's death leaves locked.
///
/// ```
/// use ownerdead::lock::FutexMutex;
/// use ownerdead::segment::Options;
///
/// let mutex = FutexMutex::memfd(&Options::new(), 41u64)?;
/// *mutex.lock() += 1;
/// assert_eq!(*mutex.lock(), 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FutexMutex<T: Data> {
    pub(super) word: Shared<Line<AtomicU32>>,
    pub(super) data: Shared<SharedCell<T>>,
    /// How this handle waits.
    pub(super) waiting: Waiting,
    #[cfg(not(model))]
    pub(super) segment: crate::segment::Segment,
}

impl<T: Data> Clone for FutexMutex<T> {
    fn clone(&self) -> Self {
        Self {
            word: self.word.clone(),
            data: self.data.clone(),
            waiting: self.waiting,
            #[cfg(not(model))]
            segment: self.segment.clone(),
        }
    }
}

impl<T: Data> FutexMutex<T> {
    /// A mutex on the heap, for models.
    #[cfg(model)]
    pub fn private(value: T) -> Self {
        Self {
            word: Shared::new(Line(AtomicU32::new(FREE))),
            data: Shared::new(SharedCell::new(value)),
            waiting: Waiting::default(),
        }
    }

    /// The same mutex, by a handle that waits so. It has no participants, who could each say how they wait.
    #[must_use = "the handle that it is called on waits as before"]
    pub fn with_waiting(&self, waiting: Waiting) -> Self {
        Self { waiting, ..self.clone() }
    }

    /// Locks it, sleeping while it is locked: for ever, if its holder is dead.
    #[inline]
    pub fn lock(&self) -> FutexGuard<'_, T> {
        if !self.take_free() {
            self.lock_contended(None).expect("there was no deadline");
        }
        self.guard()
    }

    /// Locks it if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<FutexGuard<'_, T>> {
        self.take_free().then(|| self.guard())
    }

    /// Locks it, sleeping for up to `timeout` while it is locked.
    ///
    /// # Errors
    /// [`TimedOut`]: its holder is slow, or dead; this mutex cannot tell which.
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<FutexGuard<'_, T>, TimedOut> {
        if !self.take_free() {
            // Later than the clock can say is never.
            self.lock_contended(time::now().checked_add(timeout))?;
        }
        Ok(self.guard())
    }

    fn guard(&self) -> FutexGuard<'_, T> {
        let epoch = thread::epoch().expect("its page was made with this handle, and children inherit it");
        FutexGuard { mutex: self, epoch, _not_send: PhantomData }
    }

    #[inline]
    fn take_free(&self) -> bool {
        // Acquire: what the last holder did. Not the weak kind: `try_lock` must not fail on a free lock.
        self.word.compare_exchange(FREE, LOCKED, Acquire, Relaxed).is_ok()
    }

    #[cold]
    fn lock_contended(&self, deadline: Option<Duration>) -> Result<(), TimedOut> {
        // While nobody sleeps: who does is to have it before those who have only come. Relaxed: it is looked at again.
        if self.waiting.spin(deadline, || self.word.load(Relaxed) == LOCKED) && self.take_free() {
            return Ok(());
        }
        // As CONTENDED, since others may sleep too: who unlocks then wakes the next one. Acquire: what the last holder did.
        while self.word.swap(CONTENDED, Acquire) != FREE {
            let waits = [Wait { word: Word::Whole(&self.word), expected: CONTENDED }];
            if wait_any(&waits, 0, deadline) == Woken::TimedOut {
                // It may have been freed just now. As LOCKED: if others sleep, who freed it has woken one, who will say so.
                return self.take_free().then_some(()).ok_or(TimedOut);
            }
        }
        Ok(())
    }

    #[inline]
    fn unlock(&self) {
        // Release: the guarded data, for who takes it next. A swap, so that CONTENDED is seen, however late it was set.
        if self.word.swap(FREE, Release) != LOCKED {
            // One is enough: it takes the lock as CONTENDED, and wakes the next one in turn.
            wake(Word::Whole(&self.word), 1);
        }
    }
}

/// The lock, held. Dropping it unlocks, but not in a forked child: the lock is its parent's.
///
/// It stays with its thread; the `T` may be shared:
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::lock::FutexGuard<'static, u64>>();
/// ```
#[must_use = "dropping the guard unlocks"]
pub struct FutexGuard<'a, T: Data> {
    mutex: &'a FutexMutex<T>,
    /// When it was locked.
    epoch: thread::Epoch,
    _not_send: PhantomData<*mut ()>,
}

impl<T: Data> Deref for FutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock, so nobody who follows the protocol writes the data; opening the mutex promised
        // that all who can write it do. Any bytes are a `T` (`Data`).
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: Data> DerefMut for FutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `&mut self` keeps other references of this guard away.
        unsafe { &mut *self.mutex.data.get_mut() }
    }
}

impl<T: Data> Drop for FutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !thread::dying() && self.epoch.is_current() {
            self.mutex.unlock();
        }
    }
}

impl<T: Data + core::fmt::Debug> core::fmt::Debug for FutexGuard<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("FutexGuard").field(&**self).finish()
    }
}
