//! References into shared memory.

use core::any::Any;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

/// A counted reference to a `T` that several processes see: what it points to stays mapped while it lives.
pub struct Shared<T: ?Sized> {
    /// Invariant 1: points to a `T` that is valid, and shared only through interior mutability, while `keep` lives.
    ptr: NonNull<T>,
    keep: Arc<dyn Any + Send + Sync>,
}

impl<T: Send + Sync + 'static> Shared<T> {
    /// Puts `value` on the heap. For models and for use within one process.
    pub fn new(value: T) -> Self {
        let keep = Arc::new(value);
        Self::kept(NonNull::from(&*keep), keep)
    }
}

impl<T: Send + Sync + 'static> Shared<[T]> {
    /// Puts `values` on the heap. For models and for use within one process.
    pub fn from_vec(values: Vec<T>) -> Self {
        let keep = Arc::new(values);
        Self::kept(NonNull::from(keep.as_slice()), keep)
    }
}

impl<T: ?Sized> Shared<T> {
    fn kept(ptr: NonNull<T>, keep: Arc<dyn Any + Send + Sync>) -> Self {
        // Shared memory outlives each process that maps it: the exit walk of a dead one still writes to it.
        #[cfg(any(loom, shuttle))]
        {
            let start = ptr.addr().get();
            // SAFETY: both callers point into what `keep` owns, which is not changed but through cells, and `keep` lives.
            let size = size_of_val(unsafe { ptr.as_ref() });
            super::kernel::keep(start..start + size, Arc::clone(&keep));
        }
        Self { ptr, keep }
    }
}

impl<T: ?Sized> Shared<T> {
    /// Refers to a `T` in memory that `keep` keeps mapped.
    ///
    /// # Safety
    /// `ptr` must be aligned and point to a `T` that stays valid, whatever its bytes become, for as long as `keep` lives;
    /// all of `T` that can change must be interior mutable through atomics or cells of [`crate::sync`].
    pub unsafe fn from_raw(ptr: NonNull<T>, keep: Arc<dyn Any + Send + Sync>) -> Self {
        Self { ptr, keep }
    }

    /// A reference to a part of it.
    pub fn project<U: ?Sized>(&self, part: impl FnOnce(&T) -> &U) -> Shared<U> {
        Shared { ptr: NonNull::from(part(self)), keep: Arc::clone(&self.keep) }
    }

    /// Whether both refer to the same place.
    pub fn same_place(&self, other: &Self) -> bool {
        core::ptr::addr_eq(self.ptr.as_ptr(), other.ptr.as_ptr())
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: invariant 1.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { ptr: self.ptr, keep: Arc::clone(&self.keep) }
    }
}

impl<T: ?Sized> core::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Shared({:p})", self.ptr)
    }
}

// SAFETY: a `Shared<T>` gives only `&T`, from any thread, so `T: Sync` is what sending or sharing it needs; it never gives
// the `T` away, and `keep`, which drops it, is Send + Sync itself.
unsafe impl<T: ?Sized + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for Shared<T> {}
