//! Shared memory under test: mapped before the engine forks, so at one address in every process.

use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// Shared memory under test.
#[derive(Debug)]
pub struct Memory {
    file: OwnedFd,
    /// Invariant 1: the start of a shared, writable mapping of `words` 64-bit words, which lives as long as `self`.
    start: NonNull<AtomicU64>,
    words: usize,
    /// Device and inode: how the mappings of it are known.
    id: (u64, u64),
}

// SAFETY: invariant 1 holds in every thread; the words are atomics, and `start` is no promise to who follows it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `length` zero bytes, rounded up to pages, page-aligned: for structures that are laid out in memory that they are given.
    ///
    /// # Errors
    /// Of `memfd_create`, `ftruncate` or `mmap`.
    pub fn zeroed(length: usize) -> io::Result<Self> {
        let file = memfd_create(c"ownerdead-subject", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&file, length.max(1).next_multiple_of(4096) as i64)?;
        Self::map(file)
    }

    /// All of an open file: for structures that make their own. It is mapped once more; the structure's own mapping, made before,
    /// is what processes inherit.
    ///
    /// # Errors
    /// Of `dup` or `mmap`; or `InvalidInput` for a file that is empty, or whose length is not a multiple of 8.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Self::map(file.as_fd().try_clone_to_owned()?)
    }

    fn map(file: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&file)?;
        let length = usize::try_from(stat.st_size).ok().and_then(NonZeroUsize::new).filter(|n| n.get() % 8 == 0);
        let length = length.ok_or_else(|| {
            let text = format!("found a file of {} bytes, expected a multiple of 8, and not 0", stat.st_size);
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let flags = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses; it is unmapped in `drop` alone.
        let start = unsafe { mmap(None, length, flags, MapFlags::MAP_SHARED, &file, 0)? };
        Ok(Self { start: start.cast(), words: length.get() / 8, id: (stat.st_dev, stat.st_ino), file })
    }

    /// Where it starts, in every process.
    pub fn start(&self) -> NonNull<u8> {
        self.start.cast()
    }

    /// Its bytes.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.words * 8
    }

    /// The file that it is.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Device and inode of its file.
    pub(super) fn id(&self) -> (u64, u64) {
        self.id
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: invariant 1; a mapping is page-aligned, any bytes are an atomic, and others change it by atomics or in other
        // processes alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// What is in it.
    pub(super) fn image(&self) -> Box<[u64]> {
        // Relaxed, here and below: who has written it has ended since, or stands still.
        self.words().iter().map(|word| word.load(Relaxed)).collect()
    }

    /// Puts `image` into it. What is the same already is not written.
    pub(super) fn restore(&self, image: &[u64]) {
        for (word, &value) in self.words().iter().zip(image) {
            if word.load(Relaxed) != value {
                word.store(value, Relaxed);
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: invariant 1, and nothing borrows from `self` any more.
        let _ = unsafe { munmap(self.start.cast(), self.len()) };
    }
}
