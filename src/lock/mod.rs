//! Locks.

mod error;
mod futex;
mod robust;
pub(crate) mod rwlock;
pub(crate) mod semaphore;

pub use crate::data::Data;
#[doc(hidden)]
pub use crate::data::{combine, fingerprint};
pub use error::{LockError, LockTimeoutError, OwnerDied, TimedOut, TryLockError};
pub use futex::{FutexGuard, FutexMutex};
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
