//! The shares of a reader-writer lock.

use super::{Data, RwLock};
use crate::owner::{Attachment, Right};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::thread;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// A reader's share of the lock. Dropping it gives it up.
///
/// It stays with its thread; the `T` may be shared:
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::lock::ReadGuard<'static, u64>>();
/// ```
#[must_use = "dropping the guard unlocks"]
pub struct ReadGuard<'a, T: Data> {
    lock: &'a RwLock<T>,
    me: &'a Attachment,
    _not_send: PhantomData<*mut ()>,
}

impl<'a, T: Data> ReadGuard<'a, T> {
    #[inline]
    pub(super) fn new(lock: &'a RwLock<T>, me: &'a Attachment) -> Self {
        Self { lock, me, _not_send: PhantomData }
    }
}

impl<T: Data> Deref for ReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread has a share, so nobody who follows the protocol writes the data; opening the lock promised that all
        // who can write it do. Any bytes are a `T` (`Data`).
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: Data> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        self.lock.release_shared(self.me);
    }
}

impl<T: Data + core::fmt::Debug> core::fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReadGuard").field("data", &**self).finish()
    }
}

/// All of the lock, for writing. Dropping it gives it up.
///
/// It stays with its thread; the `T` may be shared:
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::lock::WriteGuard<'static, u64>>();
/// ```
#[must_use = "dropping the guard unlocks"]
pub struct WriteGuard<'a, T: Data> {
    lock: &'a RwLock<T>,
    me: &'a Attachment,
    /// Taken from the dead, and not yet marked consistent.
    suspect: bool,
    /// The thread was panicking when it locked.
    panicking: bool,
    _not_send: PhantomData<*mut ()>,
}

impl<'a, T: Data> WriteGuard<'a, T> {
    #[inline]
    pub(super) fn new(lock: &'a RwLock<T>, me: &'a Attachment, suspect: bool) -> Self {
        Self { lock, me, suspect, panicking: std::thread::panicking(), _not_send: PhantomData }
    }

    /// The last writer died with the lock, and [`Self::mark_consistent`] was not called yet.
    pub fn needs_repair(&self) -> bool {
        self.suspect
    }

    /// What the lock guards is repaired. To be called last: a death before it is seen by the next one.
    pub fn mark_consistent(&mut self) {
        if self.suspect {
            self.suspect = false;
            // Relaxed: the mark is for those who inspect; the others hear from the unlock. WAITERS must stay.
            self.lock.word.fetch_and(Right(u64::MAX).consistent().0, Relaxed);
        }
    }
}

impl<T: Data> Deref for WriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread has the lock alone, so nobody who follows the protocol writes the data; opening the lock promised
        // that all who can write it do. Any bytes are a `T` (`Data`).
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: Data> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and nobody reads it either; `&mut self` keeps other references of this guard away.
        unsafe { &mut *self.lock.data.get_mut() }
    }
}

impl<T: Data> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        let to = if std::thread::panicking() && !self.panicking {
            // What it guards may be half changed, as if the thread had died.
            Right::SUSPECT
        } else if self.suspect {
            Right::NOT_RECOVERABLE
        } else {
            Right::FREE
        };
        self.lock.release_exclusive(self.me, to);
    }
}

impl<T: Data + core::fmt::Debug> core::fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WriteGuard").field("data", &**self).field("needs_repair", &self.suspect).finish()
    }
}
