//! The Linux back end: thin wrappers that compile to the bare instructions, and the system calls.

/// Before each access to what peers share: where there is a hostile one, it may write now.
#[inline(always)]
fn before_access<T>(_place: &T) {
    #[cfg(fuzzing)]
    super::hostile::strike((&raw const *_place).addr());
}

pub(super) mod atomic {
    use core::sync::atomic::{self as raw, Ordering};

    pub use raw::{compiler_fence, fence};

    use super::before_access;

    macro_rules! atomic {
        ($name:ident, $int:ty) => {
            /// An atomic integer in shared memory; see [`core::sync::atomic`] for each method.
            #[repr(transparent)]
            #[derive(Debug, Default)]
            pub struct $name(raw::$name);

            #[allow(missing_docs, reason = "std's names, std's meanings")]
            impl $name {
                #[inline(always)]
                pub const fn new(value: $int) -> Self {
                    Self(raw::$name::new(value))
                }
                #[inline(always)]
                pub fn load(&self, order: Ordering) -> $int {
                    before_access(&self.0);
                    self.0.load(order)
                }
                #[inline(always)]
                pub fn store(&self, value: $int, order: Ordering) {
                    before_access(&self.0);
                    self.0.store(value, order)
                }
                #[inline(always)]
                pub fn swap(&self, value: $int, order: Ordering) -> $int {
                    before_access(&self.0);
                    self.0.swap(value, order)
                }
                #[inline(always)]
                pub fn compare_exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    before_access(&self.0);
                    self.0.compare_exchange(current, new, success, failure)
                }
                #[inline(always)]
                pub fn compare_exchange_weak(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    before_access(&self.0);
                    self.0.compare_exchange_weak(current, new, success, failure)
                }
                #[inline(always)]
                pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                    before_access(&self.0);
                    self.0.fetch_add(value, order)
                }
                #[inline(always)]
                pub fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                    before_access(&self.0);
                    self.0.fetch_sub(value, order)
                }
                #[inline(always)]
                pub fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                    before_access(&self.0);
                    self.0.fetch_and(value, order)
                }
                #[inline(always)]
                pub fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                    before_access(&self.0);
                    self.0.fetch_or(value, order)
                }
                /// Where it lies, for the kernel.
                #[inline(always)]
                pub(in crate::sync) fn address(&self) -> *const u32 {
                    self.0.as_ptr().cast()
                }
            }
        };
    }
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
}

pub(super) mod cell {
    use super::before_access;
    use core::cell::UnsafeCell;
    use core::sync::atomic::{AtomicU64, Ordering};

    /// Eight bytes of payload. A peer that breaks the protocol may write them while they are read, so they are copied by
    /// relaxed atomic accesses: plain moves in machine code, and no data race in the language.
    #[repr(transparent)]
    #[derive(Debug, Default)]
    pub struct Granule(AtomicU64);

    impl Granule {
        /// A granule that holds `value`.
        pub const fn new(value: u64) -> Self {
            Self(AtomicU64::new(value))
        }
        /// Copies it out.
        #[inline(always)]
        pub fn load(&self) -> u64 {
            before_access(&self.0);
            self.0.load(Ordering::Relaxed)
        }
        /// Copies into it.
        #[inline(always)]
        pub fn store(&self, value: u64) {
            before_access(&self.0);
            self.0.store(value, Ordering::Relaxed)
        }
    }

    /// The first `len` bytes of `granules`, in place.
    ///
    /// # Safety
    /// `len` is at most `8 * granules.len()`, and nobody, in any process, writes them for as long as the bytes are borrowed.
    #[inline]
    pub unsafe fn bytes(granules: &[Granule], len: usize) -> &[u8] {
        debug_assert!(len <= size_of_val(granules));
        // SAFETY: in bounds, by the caller's first promise; initialised, since any bytes are; not written meanwhile, by the second.
        // The granules' interior is mutable, so that others may write it after.
        unsafe { core::slice::from_raw_parts(granules.as_ptr().cast(), len) }
    }

    /// The same to write to.
    ///
    /// # Safety
    /// `len` is at most `8 * granules.len()`, and nobody, in any process, reads or writes them for as long as the bytes are
    /// borrowed.
    #[inline]
    #[allow(
        clippy::mut_from_ref,
        reason = "the granules' interior is mutable, and the caller promises that no one else has it"
    )]
    pub unsafe fn bytes_mut(granules: &[Granule], len: usize) -> &mut [u8] {
        debug_assert!(len <= size_of_val(granules));
        // SAFETY: as above; a granule is an atomic, so writing through a shared reference to it is allowed.
        unsafe { core::slice::from_raw_parts_mut(granules.as_ptr().cast::<u8>().cast_mut(), len) }
    }

    /// A value in shared memory that a lock protects. It gives pointers; whoever turns them into references answers for
    /// the lock.
    #[repr(transparent)]
    #[derive(Debug)]
    pub struct SharedCell<T>(UnsafeCell<T>);

    impl<T> SharedCell<T> {
        /// A cell that holds `value`.
        pub const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }
        /// For reading.
        #[inline(always)]
        pub fn get(&self) -> *const T {
            self.0.get()
        }
        /// For writing.
        #[inline(always)]
        pub fn get_mut(&self) -> *mut T {
            self.0.get()
        }
    }

    // SAFETY: the cell itself only hands out raw pointers; who dereferences them must hold the lock that protects it, and
    // then `T` moves between threads, which `Send` allows.
    unsafe impl<T: Send> Sync for SharedCell<T> {}
}

#[path = "os_backing.rs"]
pub(super) mod backing;
#[path = "os_event.rs"]
pub(super) mod event;
#[path = "os_futex.rs"]
pub(super) mod futex;
#[path = "os_robust.rs"]
pub(super) mod robust;
#[path = "os_thread.rs"]
pub(super) mod thread;

pub(super) mod time {
    use core::time::Duration;

    /// Time since some fixed moment; `CLOCK_MONOTONIC`.
    pub fn now() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid timespec to write to; the call cannot fail for this clock.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}
