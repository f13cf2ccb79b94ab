//! Once-initialisation, with and without a value.
//!
//! **What it guarantees.** One thread at a time runs the initialisation, and once one has come to its end, nobody begins it again:
//! who calls after that, or has slept until then, sees all that it wrote. No sleeper is forgotten, whoever dies when. No
//! initialisation is taken from a thread that is merely slow or stopped.
//!
//! **What survives a death.** An initialiser that dies, or panics, at any point leaves a failed try: one of those who wait, or the next one
//! to call, tries again, and is told how many tries have failed ([`OnceState::failed`]), since what they wrote may be there in part. There
//! is no poison: a death leaves no less than a panic does.
//!
//! **What it cannot do.** Be undone. Where the value of an [`OnceCell`] is given as a reference into shared memory, it is sound only if every
//! process that can write the segment follows this protocol. Failed tries are counted up to 131,071.
//!
//! The word is a [`Right`]'s:
//!
//! | value | state | next |
//! |---|---|---|
//! | free, tag | nobody tries; `tag` tries have failed | held, by who calls |
//! | held, tag | somebody tries, or died trying | DONE; free with tag + 1, in a panic; held with tag + 1, by who takes over from the dead |
//! | DONE: nobody will ever hold it again | initialised | |
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | DONE, and the end of a try by a panic: swap, Release | the word, Acquire, by whoever calls | all that was written |
//! | kernel's marking of the life word | `Table::dead`, Acquire | what a failed try wrote, as far as it came |
//! | taking: compare-and-swap, Release | the word, read with Acquire before `dead` | the holder's incarnation |
//!
//! Once it is done, a call is one load.

#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;

use super::error::{OnceError, OnceTimeoutError, OnceTrouble};
use crate::data::Data;
use crate::owner::{AttachError, Attachment, Right, Table, TimedOut, finish_waiting, wait_for_holder};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Release};
use crate::sync::cell::SharedCell;
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::shm::Shared;
use crate::sync::{thread, time};
use core::time::Duration;

/// Initialised. The value of a right that nobody will ever hold again.
const DONE: Right = Right::NOT_RECOVERABLE;

/// What an initialiser is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnceState {
    failed: u32,
}

impl OnceState {
    /// How many tries before this one ended by a death or a panic.
    pub fn failed(self) -> u32 {
        self.failed
    }
}

/// Runs an initialisation once, for all processes.
///
/// ```
/// use ownerdead::lock::Once;
/// use ownerdead::segment::Options;
///
/// let once = Once::memfd(&Options::new())?;
/// let me = once.attach()?;
/// let mut ran = 0;
/// for _ in 0..2 {
///     once.call_once(&me, |state| {
///         assert_eq!(state.failed(), 0, "clean up what those before have left");
///         ran += 1;
///     })?;
/// }
/// assert_eq!(ran, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Once {
    table: Table,
    word: Shared<Line<AtomicU64>>,
    #[cfg(not(model))]
    segment: crate::segment::Segment,
}

impl Once {
    /// One on the heap, for models.
    #[cfg(model)]
    pub fn private(slots: usize) -> Self {
        Self { table: Table::private(slots), word: Shared::new(Line(AtomicU64::new(0))) }
    }

    /// Makes the calling thread a participant of its segment. To be done once a thread.
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

    /// Whether it is initialised. Then all that the initialiser wrote is visible.
    #[inline]
    pub fn is_completed(&self) -> bool {
        // Acquire: all that the initialiser wrote before DONE, a Release.
        self.word.load(Acquire) == DONE.0
    }

    /// Runs `initialise`, unless that was done already; sleeps while somebody alive does it.
    ///
    /// # Errors
    /// [`OnceError`], and `initialise` was not run; but for [`OnceError::Forked`], which a child is told too that was forked in it.
    #[inline]
    pub fn call_once(&self, me: &Attachment, initialise: impl FnOnce(OnceState)) -> Result<(), OnceError> {
        if self.is_completed() {
            return Ok(());
        }
        self.call_until(me, None, initialise).map_err(Into::into)
    }

    /// The same; sleeps for up to `timeout` while somebody alive does it.
    ///
    /// # Errors
    /// [`OnceTimeoutError`].
    pub fn call_once_timeout(
        &self,
        me: &Attachment,
        timeout: Duration,
        initialise: impl FnOnce(OnceState),
    ) -> Result<(), OnceTimeoutError> {
        if self.is_completed() {
            return Ok(());
        }
        self.call_until(me, time::now().checked_add(timeout), initialise).map_err(Into::into)
    }

    #[cold]
    fn call_until(
        &self,
        me: &Attachment,
        deadline: Option<Duration>,
        initialise: impl FnOnce(OnceState),
    ) -> Result<(), OnceTrouble> {
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(OnceTrouble::WrongSegment);
        }
        let mut slept = false;
        let begun = self.begin(me, deadline, &mut slept);
        if slept {
            finish_waiting(me);
        }
        let begun = begun?;
        me.intact()?;
        let Some(failed) = begun else { return Ok(()) };
        me.right_taken();
        let mut trying = Trying { once: self, me, to: Right::vacant(more(failed)) };
        initialise(OnceState { failed });
        me.check()?;
        trying.to = DONE;
        Ok(())
    }

    /// How many tries have failed, if the caller is to try now; none, if it is done.
    fn begin(&self, me: &Attachment, deadline: Option<Duration>, slept: &mut bool) -> Result<Option<u32>, OnceTrouble> {
        // Acquire: it may be DONE, or a right to be judged by `dead`.
        let mut seen = Right(self.word.load(Acquire));
        loop {
            let bare = seen.without_waiters();
            let corrupt = OnceTrouble::Corrupt(seen.0);
            let failed = if bare == DONE {
                return Ok(None);
            } else if bare == Right::vacant(bare.tag()) {
                bare.tag()
            } else {
                let Some(holder) = bare.holder() else { return Err(corrupt) };
                if holder == me.id() {
                    return Err(OnceTrouble::Deadlock);
                }
                match self.table.dead(holder) {
                    None => return Err(corrupt),
                    Some(false) => {
                        let waited = wait_for_holder(me, &self.word, seen, holder, deadline, slept);
                        seen = waited.map_err(|TimedOut| OnceTrouble::TimedOut)?;
                        continue;
                    }
                    // WAITERS is dropped: they sleep on the dead one's life word too, so they wake, and will say it again.
                    Some(true) => more(bare.tag()),
                }
            };
            // Release: who reads this right must see a life word that is at least as new as the incarnation in it. Acquire, on
            // failure: as for a load; on success it is what was seen, which was read with Acquire.
            match self.word.compare_exchange(seen.0, Right::held_by(me.id()).with_tag(failed).0, Release, Acquire) {
                Ok(_) => return Ok(Some(failed)),
                Err(now) => seen = Right(now),
            }
        }
    }
}

/// One more failed try than `failed`. Tags would begin anew.
fn more(failed: u32) -> u32 {
    (failed + 1).min(Right::TAGS - 1)
}

/// A try, which ends when this is dropped.
struct Trying<'a> {
    once: &'a Once,
    me: &'a Attachment,
    to: Right,
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        self.me.right_given_up();
        // Release: all that this try wrote, for who finds it done, or tries next. A swap, so that no sleeper's WAITERS is overwritten
        // unseen.
        let old = Right(self.once.word.swap(self.to.0, Release));
        if old.has_waiters() {
            // Should this thread die before it wakes them, its own death does: they sleep on its life word too.
            wake(Word::Low(&self.once.word), ALL);
        }
    }
}

/// A value that is made once, for all processes.
///
/// ```
/// use ownerdead::lock::OnceCell;
/// use ownerdead::segment::Options;
///
/// let cell = OnceCell::<u64>::memfd(&Options::new())?;
/// let me = cell.attach()?;
/// assert_eq!(cell.get(), None);
/// assert_eq!(*cell.get_or_init(&me, |_| 42)?, 42);
/// assert_eq!(cell.get(), Some(&42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OnceCell<T: Data> {
    once: Once,
    data: Shared<SharedCell<T>>,
}

impl<T: Data> Clone for OnceCell<T> {
    fn clone(&self) -> Self {
        Self { once: self.once.clone(), data: self.data.clone() }
    }
}

impl<T: Data> OnceCell<T> {
    /// One on the heap, for models, which holds `nothing` until it is initialised.
    #[cfg(model)]
    pub fn private(slots: usize, nothing: T) -> Self {
        Self { once: Once::private(slots), data: Shared::new(SharedCell::new(nothing)) }
    }

    /// Makes the calling thread a participant of its segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        self.once.attach()
    }

    /// The participants of its segment.
    pub fn table(&self) -> &Table {
        &self.once.table
    }

    /// The value, if it is there.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.once.is_completed().then(|| self.value())
    }

    /// The value; makes it, unless that was done already. Sleeps while somebody alive does it.
    ///
    /// # Errors
    /// [`OnceError`], as for [`Once::call_once`].
    #[inline]
    pub fn get_or_init(&self, me: &Attachment, make: impl FnOnce(OnceState) -> T) -> Result<&T, OnceError> {
        self.once.call_once(me, |state| self.put(me, make(state)))?;
        Ok(self.value())
    }

    /// The same; sleeps for up to `timeout` while somebody alive does it.
    ///
    /// # Errors
    /// [`OnceTimeoutError`].
    pub fn get_or_init_timeout(
        &self,
        me: &Attachment,
        timeout: Duration,
        make: impl FnOnce(OnceState) -> T,
    ) -> Result<&T, OnceTimeoutError> {
        self.once.call_once_timeout(me, timeout, |state| self.put(me, make(state)))?;
        Ok(self.value())
    }

    fn put(&self, me: &Attachment, value: T) {
        // A child that was forked while the value was made: it is its parent's to write.
        if me.is_current() {
            // SAFETY: this thread has the right to initialise it, so nobody who follows the protocol writes it or has a reference to it;
            // opening it promised that all who can write it do.
            unsafe { self.data.get_mut().write(value) };
        }
    }

    /// To be called when it is done.
    fn value(&self) -> &T {
        // SAFETY: it is done, so nobody who follows the protocol writes it any more; opening it promised that all who can write it
        // do. Any bytes are a `T` (`Data`).
        unsafe { &*self.data.get() }
    }
}
