//! Locks.

mod error;
mod futex;
mod robust;

pub use crate::data::Data;
#[doc(hidden)]
pub use crate::data::{combine, fingerprint};
pub use error::{LockError, LockTimeoutError, OwnerDied, TimedOut, TryLockError};
pub use futex::{FutexGuard, FutexMutex};
pub use robust::{Guard, RobustMutex};
#[cfg(not(model))]
pub use shared::SharedError;
#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;
