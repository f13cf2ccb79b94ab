//! The robust reader-writer lock: many readers, or one writer.
//!
//! **What it guarantees.** A writer excludes everybody else, readers exclude writers, between all threads of all processes that are
//! attached. A writer that waits keeps new readers out, so a stream of them cannot starve it; should it die, or give up, they go on.
//! No sleeper is forgotten, whoever dies when. Nothing is taken from a thread that is merely slow or stopped. A reader that meets
//! no writer makes no system call, and writes to no line that other readers write to.
//!
//! **What survives a death.** A dead reader's share ends with it, and nobody is told: it has changed nothing. Nor is anybody told of a
//! writer that died while it waited. A writer that died with the lock is told to the next one: a writer gets the guard
//! ([`LockError::OwnerDied`](super::LockError::OwnerDied)), repairs, and says so ([`WriteGuard::mark_consistent`]). A reader is refused
//! ([`ReadError::OwnerDied`]), again and again, until a writer has repaired: who only reads need not know how to repair,
//! and a guard that it dropped would make the lock not recoverable for all. So the duty stays with the lock until a writer takes it. A
//! writer that takes it and drops the guard unrepaired makes the lock not recoverable, sleepers included.
//!
//! **What it cannot do.** Be fair among writers, or keep a stream of writers from starving readers. Let a thread read twice at a time, or
//! upgrade: that is an error, since the second share would wait for a writer that waits for the first. A `try_write` keeps readers out
//! for a moment, and a `try_read` a writer, so each can be refused because somebody else just tries. A writer looks at one word for
//! each slot of the participants' table, so give it no more slots than there are threads. Guards hand out references into shared memory:
//! they are sound only if every process that can write the segment follows this protocol.
//!
//! ```text
//! the writer's word   a Right: its low half is the futex; the tag is WAITING while its holder waits for readers to leave
//! places              one word for each slot of the table: the Right of who reads from that slot, or 0
//! ```
//!
//! | the writer's word | state | next |
//! |---|---|---|
//! | 0 | readers come and go | WAITING |
//! | held, WAITING | a writer waits for the readers to leave; none is let in any more | held; or free again, if it gives up or dies |
//! | held | a writer changes the data | 0; if it dies, or panics, the next writer has it as inherited |
//! | held, INHERITED, with WAITING or without | the same, by one who is to repair | 0, or not recoverable |
//! | SUSPECT | given up in a panic, or by one who was to repair and did not come so far | WAITING and INHERITED |
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | `unlock`: swap of the writer's word, Release | reading after it: Acquire; taking it: the fence behind | the guarded data |
//! | a reader's leaving: swap of its place, Release | the writer's look at the places, Acquire | that its reads are done |
//! | kernel's marking of the life word | `Table::dead`, Acquire | what the dead one did |
//! | taking the word: Release | the word, Acquire, before `dead` | the holder's incarnation |
//! | a reader's place, then the writer's word | the writer's word, then the places | which of both came first, and the reader's incarnation: a SeqCst fence between, in each |

mod error;
mod guard;
#[cfg(not(model))]
pub(crate) mod image;
mod protocol;

pub use error::{ReadError, ReadTimeoutError, TryReadError};
pub use guard::{ReadGuard, WriteGuard};

use super::error::{LockError, LockTimeoutError, OwnerDied, TryLockError};
use crate::data::Data;
use crate::owner::{AttachError, Attachment, Table};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::cell::SharedCell;
use crate::sync::shm::Shared;
use crate::sync::time;
use core::time::Duration;
use protocol::{Had, Patience, Refused};

/// The tag of a writer's right while it waits for readers to leave.
const WAITING: u32 = 1;

/// A reader-writer lock in shared memory that survives those who hold it.
///
/// ```
/// use ownerdead::lock::{LockError, RwLock};
/// use ownerdead::segment::Options;
///
/// let lock = RwLock::memfd(&Options::new(), 41u64)?;
/// let me = lock.attach()?;
/// match lock.write(&me) {
///     Ok(mut count) => *count += 1,
///     Err(LockError::OwnerDied(died)) => {
///         let mut count = died.into_guard();
///         *count = 0; // repair, then
///         count.mark_consistent();
///     }
///     Err(error) => return Err(error.to_string().into()),
/// }
/// assert_eq!(*lock.read(&me)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RwLock<T: Data> {
    pub(super) table: Table,
    pub(super) word: Shared<Line<AtomicU64>>,
    /// Invariant 1: as many as the table has slots.
    pub(super) places: Shared<[Line<AtomicU64>]>,
    pub(super) data: Shared<SharedCell<T>>,
    #[cfg(not(model))]
    pub(super) segment: crate::segment::Segment,
}

impl<T: Data> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            word: self.word.clone(),
            places: self.places.clone(),
            data: self.data.clone(),
            #[cfg(not(model))]
            segment: self.segment.clone(),
        }
    }
}

impl<T: Data> RwLock<T> {
    /// A lock on the heap, for models.
    #[cfg(model)]
    pub fn private(slots: usize, value: T) -> Self {
        Self {
            table: Table::private(slots),
            word: Shared::new(Line(AtomicU64::new(0))),
            places: Shared::from_vec((0..slots).map(|_| Line(AtomicU64::new(0))).collect()),
            data: Shared::new(SharedCell::new(value)),
        }
    }

    /// Makes the calling thread a participant of the lock's segment. To be done once a thread.
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

    /// Locks it for reading, sleeping while a writer that lives has it or waits for it.
    ///
    /// # Errors
    /// [`ReadError`].
    #[inline]
    pub fn read<'a>(&'a self, me: &'a Attachment) -> Result<ReadGuard<'a, T>, ReadError> {
        match self.acquire_shared(me, Patience::Until(None)) {
            Ok(()) => Ok(ReadGuard::new(self, me)),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::OwnerDied) => Err(ReadError::OwnerDied),
            Err(Refused::Busy) => unreachable!("there was no deadline"),
        }
    }

    /// Locks it for reading if no writer that lives has it or waits for it.
    ///
    /// # Errors
    /// [`TryReadError`].
    #[inline]
    pub fn try_read<'a>(&'a self, me: &'a Attachment) -> Result<ReadGuard<'a, T>, TryReadError> {
        match self.acquire_shared(me, Patience::None) {
            Ok(()) => Ok(ReadGuard::new(self, me)),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::OwnerDied) => Err(TryReadError::OwnerDied),
            Err(Refused::Busy) => Err(TryReadError::WouldBlock),
        }
    }

    /// Locks it for reading, sleeping for up to `timeout` while a writer that lives has it or waits for it.
    ///
    /// # Errors
    /// [`ReadTimeoutError`].
    pub fn read_timeout<'a>(
        &'a self,
        me: &'a Attachment,
        timeout: Duration,
    ) -> Result<ReadGuard<'a, T>, ReadTimeoutError> {
        let deadline = time::now().checked_add(timeout);
        match self.acquire_shared(me, Patience::Until(deadline)) {
            Ok(()) => Ok(ReadGuard::new(self, me)),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::OwnerDied) => Err(ReadTimeoutError::OwnerDied),
            Err(Refused::Busy) => Err(ReadTimeoutError::TimedOut),
        }
    }

    /// Locks it for writing, sleeping while others that live have it.
    ///
    /// # Errors
    /// [`LockError`]; the guard is inside if the last writer died.
    #[inline]
    pub fn write<'a>(&'a self, me: &'a Attachment) -> Result<WriteGuard<'a, T>, LockError<WriteGuard<'a, T>>> {
        match self.acquire_exclusive(me, Patience::Until(None)) {
            Ok(Had::Consistent) => Ok(WriteGuard::new(self, me, false)),
            Ok(Had::FromTheDead) => Err(LockError::OwnerDied(OwnerDied::new(WriteGuard::new(self, me, true)))),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::Busy | Refused::OwnerDied) => unreachable!("there was no deadline, and it does not read"),
        }
    }

    /// Locks it for writing if nobody alive has it.
    ///
    /// # Errors
    /// [`TryLockError`]; the guard is inside if the last writer died.
    #[inline]
    pub fn try_write<'a>(&'a self, me: &'a Attachment) -> Result<WriteGuard<'a, T>, TryLockError<WriteGuard<'a, T>>> {
        match self.acquire_exclusive(me, Patience::None) {
            Ok(Had::Consistent) => Ok(WriteGuard::new(self, me, false)),
            Ok(Had::FromTheDead) => Err(TryLockError::OwnerDied(OwnerDied::new(WriteGuard::new(self, me, true)))),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::Busy | Refused::OwnerDied) => Err(TryLockError::WouldBlock),
        }
    }

    /// Locks it for writing, sleeping for up to `timeout` while others that live have it.
    ///
    /// # Errors
    /// [`LockTimeoutError`]; the guard is inside if the last writer died.
    pub fn write_timeout<'a>(
        &'a self,
        me: &'a Attachment,
        timeout: Duration,
    ) -> Result<WriteGuard<'a, T>, LockTimeoutError<WriteGuard<'a, T>>> {
        let deadline = time::now().checked_add(timeout);
        match self.acquire_exclusive(me, Patience::Until(deadline)) {
            Ok(Had::Consistent) => Ok(WriteGuard::new(self, me, false)),
            Ok(Had::FromTheDead) => Err(LockTimeoutError::OwnerDied(OwnerDied::new(WriteGuard::new(self, me, true)))),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::Busy | Refused::OwnerDied) => Err(LockTimeoutError::TimedOut),
        }
    }
}
