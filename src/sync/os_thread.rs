//! Thread identity, and noticing that one is a forked child.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// The TID of the calling thread, in its own PID namespace. One system call.
pub fn id() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// Whether the calling simulated process is dying, so that destructors must leave shared memory alone. Never, in a real one:
/// a killed process runs none.
#[inline(always)]
pub fn dying() -> bool {
    false
}

/// Which process this is, as long as it does not fork: a child gets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u64);

/// A page that the kernel gives to a child as zeroes (`MADV_WIPEONFORK`), so that noticing a fork costs one load.
struct Page(NonNull<AtomicU64>);
// SAFETY: it points to an atomic in a page that is never unmapped.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

static PAGE: OnceLock<Page> = OnceLock::new();
/// The last epoch given out, also to ancestors: ordinary memory, which a child inherits. Relaxed: only uniqueness counts.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Epoch {
    /// Whether the process that `self` was taken in is the one that runs.
    #[inline(always)]
    pub fn is_current(self) -> bool {
        // Relaxed: a process sees its own stores, and the kernel wipes the page before the child runs.
        PAGE.get().is_some_and(|page| {
            // SAFETY: the page is mapped for ever, and an all-zero word is a valid atomic.
            unsafe { page.0.as_ref() }.load(Ordering::Relaxed) == self.0
        })
    }
}

/// The epoch of the calling process.
///
/// # Errors
/// The error of `mmap` or `madvise` (`MADV_WIPEONFORK`, since Linux 4.14).
pub fn epoch() -> std::io::Result<Epoch> {
    let page = match PAGE.get() {
        Some(page) => page,
        None => {
            let page = wiped_page()?;
            PAGE.get_or_init(|| page)
        }
    };
    // SAFETY: the page is mapped for ever, and an all-zero word is a valid atomic.
    let word = unsafe { page.0.as_ref() };
    let seen = word.load(Ordering::Relaxed);
    if seen != 0 {
        return Ok(Epoch(seen));
    }
    let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    match word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(Epoch(fresh)),
        Err(other) => Ok(Epoch(other)),
    }
}

/// Maps the page. One that loses the race to be the first stays mapped unused; that happens at most once a thread.
fn wiped_page() -> std::io::Result<Page> {
    // SAFETY: a new anonymous mapping, at a place that the kernel chooses.
    let address = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the page was mapped above and is ours alone.
    if unsafe { libc::madvise(address, 4096, libc::MADV_WIPEONFORK) } != 0 {
        let error = std::io::Error::last_os_error();
        // SAFETY: as above; nothing refers to it.
        unsafe { libc::munmap(address, 4096) };
        return Err(error);
    }
    Ok(Page(NonNull::new(address.cast()).expect("mmap gives no null page")))
}
