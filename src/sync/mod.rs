//! The one door to atomics, cells, futexes, the robust list, the clock and death.
//!
//! Code written against this module is one source with four back ends:
//!
//! | build | back end | what it is for |
//! |---|---|---|
//! | plain | Linux: the wrappers are `repr(transparent)` and inlined away | use |
//! | `--cfg loom` | loom, over a simulated kernel | memory orderings, every interleaving up to a bound |
//! | `--cfg shuttle` | shuttle, over the same simulated kernel | larger schedules, sampled |
//! | `--cfg fuzzing`, as cargo-fuzz builds | the plain one, with a peer that may write between any two accesses: `hostile` | what a peer may do that breaks the protocol |
//!
//! The names are those of `std` where `std` has
//! them. In a model build every operation here is also a *crash point*: the simulated process may die just before it.
//!
//! What a structure must do to be checkable: keep all that peers share behind these types, build it with `new()` (the
//! model puts it on the heap with [`shm::Shared::new`]; a plain build casts a mapping instead), treat all-zero bytes as a
//! valid value, and return at once from any `Drop` that would touch shared memory while [`thread::dying`] is true.
#![allow(clippy::disallowed_types, reason = "this is the door: the raw types live behind it and nowhere else")]

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("ownerdead supports 64-bit little-endian Linux only: it relies on its futexes and robust lists");

#[cfg(not(any(loom, shuttle)))]
mod os;
#[cfg(not(any(loom, shuttle)))]
use os as backend;

#[cfg(all(fuzzing, not(any(loom, shuttle))))]
pub mod hostile;

#[cfg(any(loom, shuttle))]
mod delay;
#[cfg(any(loom, shuttle))]
pub mod kernel;
#[cfg(any(loom, shuttle))]
mod log;
#[cfg(any(loom, shuttle))]
pub(crate) mod mutant;
#[cfg(any(loom, shuttle))]
mod sim;
#[cfg(any(loom, shuttle))]
use sim as backend;

#[cfg(loom)]
#[path = "loom.rs"]
pub(crate) mod rt;
#[cfg(shuttle)]
#[path = "shuttle.rs"]
pub(crate) mod rt;

pub mod backing;
pub mod futex;
pub mod payload;
#[cfg(test)]
mod scripts;
pub mod shm;
mod waiting;

pub use waiting::Waiting;

/// Atomic integers and fences, with the names and meanings of [`core::sync::atomic`].
pub mod atomic {
    pub use super::backend::atomic::{AtomicU32, AtomicU64, compiler_fence, fence};
    pub use core::sync::atomic::Ordering;
}

/// Cells for what is not an atomic: payload that an index or a lock protects.
pub mod cell {
    pub use super::backend::cell::{Granule, SharedCell};
    /// In place, for memory whose writers are trusted. A model has no bytes in place.
    #[cfg(not(any(loom, shuttle)))]
    pub use super::backend::cell::{bytes, bytes_mut};
}

/// The thread's robust list, by which the kernel tells of its death.
pub mod robust {
    #[cfg(not(any(loom, shuttle)))]
    pub use super::backend::robust::head;
    pub use super::backend::robust::{List, Node, NodeError};

    /// A life word holds the TID of its living thread in these bits. Every other value in them is no living thread.
    pub const TID_MASK: u32 = 0x3fff_ffff;
    /// Set by the kernel when the thread named in a life word has gone.
    pub const OWNER_DIED: u32 = 0x4000_0000;
    /// Set by those who sleep: the kernel wakes one of them when it marks the word.
    pub const WAITERS: u32 = 0x8000_0000;
    /// Where the life word must lie in its page: the node of the list follows it at the C library's own distance, in the
    /// private page behind.
    pub const WORD_OFFSET: usize = 4080;
}

/// Descriptors that a loop over descriptors waits for. A model has none.
#[cfg(not(any(loom, shuttle)))]
pub mod event {
    pub use super::backend::event::Event;
}

/// Who runs.
pub mod thread {
    pub use super::backend::thread::{Epoch, dying, epoch, id};
}

/// The monotonic clock; virtual in a model.
pub mod time {
    pub use super::backend::time::now;
}

/// Keeps `T` on a cache line of its own (two, since processors fetch them in pairs), so that two sides that write
/// different lines do not slow each other down. In a model it adds nothing.
#[cfg_attr(not(any(loom, shuttle)), repr(C, align(128)))]
#[derive(Debug, Default)]
pub struct Line<T>(pub T);

impl<T> core::ops::Deref for Line<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// `N` unused bytes of a layout. In a model it adds nothing.
#[derive(Debug)]
#[cfg_attr(not(any(loom, shuttle)), repr(transparent))]
pub struct Reserved<const N: usize> {
    #[cfg(not(any(loom, shuttle)))]
    _bytes: [core::cell::UnsafeCell<u8>; N],
}

impl<const N: usize> Reserved<N> {
    /// `N` zero bytes.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            #[cfg(not(any(loom, shuttle)))]
            _bytes: [const { core::cell::UnsafeCell::new(0) }; N],
        }
    }
}

// SAFETY: the bytes are private to this type, and nothing reads or writes them.
unsafe impl<const N: usize> Sync for Reserved<N> {}
