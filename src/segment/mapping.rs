//! A shared mapping of a whole file.

use super::Place;
use crate::sync::backing::{Backing, Listed};
use crate::sync::shm::Shared;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Unmapped when the last reference into it is gone.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Invariant 1: start of a shared mapping of `length` bytes, readable and writable, that lives as long as this value.
    start: NonNull<u8>,
    length: usize,
    /// Taken off the list before it is unmapped.
    listed: Option<Listed>,
}

// SAFETY: it owns the mapping, as a box owns its memory, and gives out only `Shared` places, which are interior mutable.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes of `file`.
    pub(super) fn new(file: &OwnedFd, length: usize) -> io::Result<Self> {
        let size = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start =
            unsafe { mmap(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, file, 0) }?;
        // SAFETY: the mapping above, of whole pages (the kernel rounds the length up), which `drop` keeps until it has taken it off the
        // list. Whoever has a file may write it, so what is there may be any bytes at any time: `Shared` places accept that.
        let listed = unsafe { Listed::new(start.addr().get(), length.next_multiple_of(4096)) };
        Ok(Self { start: start.cast(), length, listed: Some(listed) })
    }

    /// Whether it is still its file's.
    pub(super) fn backing(&self) -> Backing {
        self.listed.as_ref().map_or(Backing::always(), Backing::from)
    }

    /// `count` values of `T` at `offset`, which the caller has found to be in bounds and aligned.
    ///
    /// # Panics
    /// If they are not.
    pub(super) fn slice<T: Place>(self: &Arc<Self>, offset: usize, count: usize) -> Shared<[T]> {
        let end = count.checked_mul(size_of::<T>()).and_then(|bytes| offset.checked_add(bytes));
        assert!(
            end.is_some_and(|end| end <= self.length)
                && offset.is_multiple_of(align_of::<T>())
                && align_of::<T>() <= 4096
        );
        // SAFETY: in bounds of the mapping (invariant 1), so within one allocation.
        let first = unsafe { self.start.add(offset) }.cast::<T>();
        let keep: Arc<Self> = Arc::clone(self);
        // SAFETY: `first` is aligned (a mapping starts on a page, and `offset` is aligned to at most a page) and `count` values
        // are in bounds; they are valid whatever their bytes are, and interior mutable (`Place`); `keep` keeps the mapping.
        unsafe { Shared::from_raw(NonNull::slice_from_raw_parts(first, count), keep) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        drop(self.listed.take());
        // SAFETY: the mapping is this value's own (invariant 1), and every reference into it keeps this value alive. It cannot
        // fail for a range that is mapped.
        let _ = unsafe { munmap(self.start.cast(), self.length) };
    }
}
