//! Locks.

mod barrier;
mod condvar;
mod data;
mod error;
mod futex;
mod once;
mod robust;

pub use barrier::{Arrival, Barrier, BarrierStatus, MAX_PARTIES, Party};
pub use condvar::{Condvar, Waited};
pub use data::Data;
#[doc(hidden)]
pub use data::{combine, fingerprint};
pub use error::{
    BarrierError, BarrierTimeoutError, JoinError, LockError, LockTimeoutError, NotifyError, OnceError,
    OnceTimeoutError, OwnerDied, ResetError, TimedOut, TryLockError, WaitError,
};
pub use futex::{FutexGuard, FutexMutex};
pub use once::{Once, OnceCell, OnceState};
pub use robust::{Guard, RobustMutex};
#[cfg(not(model))]
pub use shared::SharedError;
#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
pub(crate) mod image_waits;
#[cfg(not(model))]
mod segments;
#[cfg(not(model))]
mod shared;
