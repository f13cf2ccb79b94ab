//! Locks.

mod data;
mod error;
mod robust;

pub use data::Data;
#[doc(hidden)]
pub use data::{combine, fingerprint};
pub use error::{LockError, LockTimeoutError, OwnerDied, TryLockError};
pub use robust::{Guard, RobustMutex};
#[cfg(not(model))]
pub use shared::SharedError;
#[cfg(not(model))]
mod shared;
