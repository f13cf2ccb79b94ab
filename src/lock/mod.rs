//! Locks.

pub(crate) mod barrier;
pub(crate) mod condvar;
mod error;
mod futex;
pub(crate) mod once;
mod robust;
pub(crate) mod rwlock;
pub(crate) mod semaphore;

pub use crate::data::Data;
#[doc(hidden)]
pub use crate::data::{combine, fingerprint};
pub use barrier::{
    Arrival, Barrier, BarrierError, BarrierStatus, BarrierTimeoutError, JoinError, MAX_PARTIES, Party, ResetError,
};
pub use condvar::{Condvar, Waited};
pub use error::{
    LockError, LockTimeoutError, NotifyError, OnceError, OnceTimeoutError, OwnerDied, TimedOut, TryLockError, WaitError,
};
pub use futex::{FutexGuard, FutexMutex};
pub use once::{Once, OnceCell, OnceState};
pub use robust::{Guard, RobustMutex};
pub use rwlock::{ReadError, ReadGuard, ReadTimeoutError, RwLock, TryReadError, WriteGuard};
#[cfg(not(model))]
pub use semaphore::SemaphoreError;
pub use semaphore::{AcquireError, AcquireTimeoutError, MAX_PERMITS, Permit, Semaphore, TryAcquireError};
#[cfg(not(model))]
pub use shared::SharedError;
#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;
