//! The robust mutex.
//!
//! **What it guarantees.** Mutual exclusion between all threads of all processes that are attached. A lock whose holder is
//! gone, in whatever way, goes to the next one, who is told ([`LockError::OwnerDied`]). No sleeper is forgotten, whoever dies
//! when. No lock is ever taken from a thread that is merely slow or stopped.
//!
//! **What survives a death.** Everything but what the dead one was changing: the next holder repairs that and says so
//! ([`Guard::mark_consistent`]); a second death during the repair is seen by the next one as the first was. If the repairer
//! gives up (drops the guard unrepaired), the mutex is not recoverable, and all are told, sleepers included.
//!
//! **What it cannot do.** It is not fair, and it does not inherit priorities. Uncontended it makes no system call. A guard hands
//! out references into shared memory: they are sound only if every process that can write the segment follows this protocol.
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | `unlock`: swap, Release | taking: compare-and-swap, Acquire | the guarded data |
//! | kernel's marking of the life word | `Table::dead`, Acquire | the guarded data, as far as the dead one came |
//! | taking: compare-and-swap, Release | the lock word, read with Acquire before `dead` | the holder's incarnation |
//!
//! The fast path is one compare-and-swap and one swap; the word of the lock is the [`Right`]'s.

use super::condvar::{CONDVARS, Words};
use super::error::{LockError, LockTimeoutError, OwnerDied, Trouble, TryLockError};
use crate::data::Data;
use crate::owner::{AttachError, Attachment, Right, Table, TimedOut, finish_waiting, wait_for_holder};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::cell::SharedCell;
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::shm::Shared;
use crate::sync::{thread, time};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::time::Duration;

/// A mutex in shared memory that survives its holder.
///
/// ```
/// use ownerdead::lock::{LockError, RobustMutex};
/// use ownerdead::segment::Options;
///
/// let mutex = RobustMutex::memfd(&Options::new(), 41u64)?;
/// let me = mutex.attach()?;
/// match mutex.lock(&me) {
///     Ok(mut count) => *count += 1,
///     Err(LockError::OwnerDied(died)) => {
///         let mut count = died.into_guard();
///         *count = 0; // repair, then
///         count.mark_consistent();
///     }
///     Err(error) => return Err(error.to_string().into()),
/// }
/// assert_eq!(*mutex.lock(&me).expect("nobody died"), 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RobustMutex<T: Data> {
    pub(super) table: Table,
    pub(super) word: Shared<Line<AtomicU64>>,
    pub(super) data: Shared<SharedCell<T>>,
    pub(super) condvars: Shared<[Words; CONDVARS]>,
    #[cfg(not(model))]
    pub(super) segment: crate::segment::Segment,
}

impl<T: Data> Clone for RobustMutex<T> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            word: self.word.clone(),
            data: self.data.clone(),
            condvars: self.condvars.clone(),
            #[cfg(not(model))]
            segment: self.segment.clone(),
        }
    }
}

/// How the lock was had.
pub(super) enum Had {
    Consistent,
    FromTheDead,
}

/// How long to wait for it.
pub(super) enum Patience {
    None,
    Until(Option<Duration>),
}

/// Why it was not had.
pub(super) enum Refused {
    Busy,
    Trouble(Trouble),
}

impl<E> From<E> for Refused
where
    Trouble: From<E>,
{
    #[cold]
    fn from(error: E) -> Self {
        Self::Trouble(error.into())
    }
}

impl<T: Data> RobustMutex<T> {
    /// A mutex on the heap, for models.
    #[cfg(model)]
    pub fn private(slots: usize, value: T) -> Self {
        Self {
            table: Table::private(slots),
            word: Shared::new(Line(AtomicU64::new(0))),
            data: Shared::new(SharedCell::new(value)),
            condvars: Shared::new(core::array::from_fn(|_| Words::new())),
        }
    }

    /// Makes the calling thread a participant of the mutex's segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        Attachment::attach(&self.table)
    }

    /// The participants of its segment.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Locks it, sleeping while somebody alive holds it.
    ///
    /// # Errors
    /// [`LockError`]; the guard is inside if the last holder died.
    #[inline]
    pub fn lock<'a>(&'a self, me: &'a Attachment) -> Result<Guard<'a, T>, LockError<Guard<'a, T>>> {
        match self.acquire(me, &Patience::Until(None)) {
            Ok(Had::Consistent) => Ok(self.guard(me, false)),
            Ok(Had::FromTheDead) => Err(LockError::OwnerDied(OwnerDied::new(self.guard(me, true)))),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::Busy) => unreachable!("there was no deadline"),
        }
    }

    /// Locks it if nobody alive holds it.
    ///
    /// # Errors
    /// [`TryLockError`]; the guard is inside if the last holder died.
    #[inline]
    pub fn try_lock<'a>(&'a self, me: &'a Attachment) -> Result<Guard<'a, T>, TryLockError<Guard<'a, T>>> {
        match self.acquire(me, &Patience::None) {
            Ok(Had::Consistent) => Ok(self.guard(me, false)),
            Ok(Had::FromTheDead) => Err(TryLockError::OwnerDied(OwnerDied::new(self.guard(me, true)))),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::Busy) => Err(TryLockError::WouldBlock),
        }
    }

    /// Locks it, sleeping for up to `timeout` while somebody alive holds it.
    ///
    /// # Errors
    /// [`LockTimeoutError`]; the guard is inside if the last holder died.
    pub fn lock_timeout<'a>(
        &'a self,
        me: &'a Attachment,
        timeout: Duration,
    ) -> Result<Guard<'a, T>, LockTimeoutError<Guard<'a, T>>> {
        let deadline = time::now().checked_add(timeout);
        match self.acquire(me, &Patience::Until(deadline)) {
            Ok(Had::Consistent) => Ok(self.guard(me, false)),
            Ok(Had::FromTheDead) => Err(LockTimeoutError::OwnerDied(OwnerDied::new(self.guard(me, true)))),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::Busy) => Err(LockTimeoutError::TimedOut),
        }
    }

    pub(super) fn guard<'a>(&'a self, me: &'a Attachment, suspect: bool) -> Guard<'a, T> {
        Guard { mutex: self, me, suspect, panicking: std::thread::panicking(), _not_send: PhantomData }
    }

    #[inline]
    pub(super) fn acquire(&self, me: &Attachment, patience: &Patience) -> Result<Had, Refused> {
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(Refused::Trouble(Trouble::WrongSegment));
        }
        // Acquire and Release: see the table above. On failure Acquire, since `seen` may be judged by `dead`.
        let had = match self.word.compare_exchange(0, Right::held_by(me.id()).0, AcqRel, Acquire) {
            Ok(_) => Had::Consistent,
            Err(seen) => {
                let mut slept = false;
                let result = self.acquire_slow(me, patience, Right(seen), &mut slept);
                if slept {
                    finish_waiting(me);
                }
                result?
            }
        };
        me.intact()?;
        me.right_taken();
        Ok(had)
    }

    #[cold]
    fn acquire_slow(
        &self,
        me: &Attachment,
        patience: &Patience,
        mut seen: Right,
        slept: &mut bool,
    ) -> Result<Had, Refused> {
        loop {
            let mine = Right::held_by(me.id());
            let (to, had) = match seen.without_waiters() {
                Right::FREE => (mine, Had::Consistent),
                Right::SUSPECT => (mine.inherited(), Had::FromTheDead),
                Right::NOT_RECOVERABLE => return Err(Refused::Trouble(Trouble::NotRecoverable)),
                held => {
                    let corrupt = Refused::Trouble(Trouble::Corrupt(seen.0));
                    let Some(holder) = held.holder() else { return Err(corrupt) };
                    if holder == me.id() {
                        return Err(Refused::Trouble(Trouble::Deadlock));
                    }
                    let Some(dead) = self.table.dead(holder) else { return Err(corrupt) };
                    if !dead {
                        let Patience::Until(deadline) = *patience else { return Err(Refused::Busy) };
                        let waited = wait_for_holder(me, &self.word, seen, holder, deadline, slept);
                        seen = waited.map_err(|TimedOut| Refused::Busy)?;
                        continue;
                    }
                    // WAITERS is dropped: they sleep on the dead one's life word too, so they wake, and will say it again.
                    (mine.inherited(), Had::FromTheDead)
                }
            };
            match self.word.compare_exchange(seen.0, to.0, AcqRel, Acquire) {
                Ok(_) => return Ok(had),
                Err(now) => seen = Right(now),
            }
        }
    }

    /// Nobody will ever change what they wait for: all who wait are woken, and will be told. Before the lock says so: should this
    /// thread die before it does, they are told of that.
    #[cold]
    fn give_up_waiters(&self, me: &Attachment) {
        for words in self.condvars.iter() {
            words.notify_all(me);
        }
    }

    /// Gives the lock up, as `to`.
    #[inline]
    fn release(&self, me: &Attachment, to: Right) {
        me.right_given_up();
        // Release: the guarded data, for who takes it next. A swap, so that no sleeper's WAITERS is overwritten unseen.
        let old = Right(self.word.swap(to.0, Release));
        if old.has_waiters() {
            // All of them: one that was woken alone could die, and the others would sleep on. Should this thread die before it
            // wakes them, its own death does: they sleep on its life word too.
            wake(Word::Low(&self.word), ALL);
        }
    }
}

/// The lock, held. Dropping it unlocks.
///
/// It stays with its thread; the `T` may be shared:
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::lock::Guard<'static, u64>>();
/// ```
#[must_use = "dropping the guard unlocks"]
pub struct Guard<'a, T: Data> {
    pub(super) mutex: &'a RobustMutex<T>,
    pub(super) me: &'a Attachment,
    /// Taken from the dead, and not yet marked consistent.
    suspect: bool,
    /// The thread was panicking when it locked.
    panicking: bool,
    _not_send: PhantomData<*mut ()>,
}

impl<'a, T: Data> Guard<'a, T> {
    /// Unlocks, to lock again.
    pub(super) fn unlock(self) -> (&'a RobustMutex<T>, &'a Attachment) {
        (self.mutex, self.me)
    }
}

impl<T: Data> Guard<'_, T> {
    /// The last holder died with the lock, and [`Self::mark_consistent`] was not called yet.
    pub fn needs_repair(&self) -> bool {
        self.suspect
    }

    /// What the lock guards is repaired. To be called last: a death before it is seen by the next holder.
    /// `pthread_mutex_consistent(3)`.
    pub fn mark_consistent(&mut self) {
        if self.suspect {
            self.suspect = false;
            // Relaxed: the mark is for those who inspect; the next holder hears from the unlock. WAITERS must stay.
            self.mutex.word.fetch_and(Right(u64::MAX).consistent().0, Relaxed);
        }
    }
}

impl<T: Data> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock, so nobody who follows the protocol writes the data; opening the mutex promised
        // that all who can write it do. Any bytes are a `T` (`Data`).
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: Data> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `&mut self` keeps other references of this guard away.
        unsafe { &mut *self.mutex.data.get_mut() }
    }
}

impl<T: Data> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        let to = if std::thread::panicking() && !self.panicking {
            // What it guards may be half changed, as if the thread had died.
            Right::SUSPECT
        } else if self.suspect {
            self.mutex.give_up_waiters(self.me);
            Right::NOT_RECOVERABLE
        } else {
            Right::FREE
        };
        self.mutex.release(self.me, to);
    }
}

impl<T: Data + core::fmt::Debug> core::fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Guard").field("data", &**self).field("needs_repair", &self.suspect).finish()
    }
}
