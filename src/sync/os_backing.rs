//! The list of mappings, and the handler of SIGBUS.
//!
//! The handler takes no lock, allocates nothing, and keeps `errno`: it walks a list that only ever grows at its front, and makes one
//! system call. A signal that is not about one of the mappings goes to whom it would have gone to without it.

use crate::sync::backing::Truncated;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A place of the list. Places are never freed; one whose mapping is gone is used again.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Invariant 1: with `length` above 0, `start..start + length` is a mapping of whole pages, all of which whoever is in the middle of
    /// an access to it keeps mapped.
    start: AtomicUsize,
    length: AtomicUsize,
    /// 0: it is there. Otherwise one more than the offset of the access that found nothing.
    gone: AtomicU64,
    taken: AtomicBool,
    /// Set before the entry is listed, and never again.
    next: AtomicPtr<Entry>,
}

/// Of memory that cannot go.
pub(crate) static ALWAYS: Entry = Entry::new();
/// The list.
static FIRST: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

impl Entry {
    const fn new() -> Self {
        Self {
            start: AtomicUsize::new(0),
            length: AtomicUsize::new(0),
            gone: AtomicU64::new(0),
            taken: AtomicBool::new(true),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Whether some of what this thread has read through the mapping may not have been its file's.
    #[inline(always)]
    pub(crate) fn is_gone(&self) -> bool {
        // Reads of the mapping come before the look. Who has read zeroes of the private memory has the mark before it: the handler
        // stores that before it maps the memory, and a change of the address space is seen by all threads in that order.
        fence(Ordering::Acquire);
        self.gone.load(Ordering::Relaxed) != 0
    }

    #[cold]
    pub(crate) fn truncated(&self) -> Truncated {
        Truncated { offset: self.gone.load(Ordering::Relaxed).saturating_sub(1) }
    }
}

/// All that are listed, or were.
fn entries() -> impl Iterator<Item = &'static Entry> {
    // Acquire, of both: what the entry was made of.
    let next = |link: &AtomicPtr<Entry>| {
        let entry = link.load(Ordering::Acquire);
        // SAFETY: links are null or lead to entries that `list` has leaked.
        unsafe { entry.as_ref() }
    };
    core::iter::successors(next(&FIRST), move |entry| next(&entry.next))
}

/// A mapping that is listed. To be dropped before it is unmapped.
#[derive(Debug)]
pub(crate) struct Listed(&'static Entry);

impl Listed {
    /// Lists a mapping of `length` bytes from `start` on.
    ///
    /// # Safety
    /// It is a mapping of whole pages, readable and writable, of nobody but the caller; until the value is dropped it stays mapped,
    /// and its caller accepts whatever bytes there, at any time.
    pub(crate) unsafe fn new(start: usize, length: usize) -> Self {
        let entry = entries().find(|entry| !entry.taken.swap(true, Ordering::Acquire)).unwrap_or_else(list);
        entry.gone.store(0, Ordering::Relaxed);
        entry.start.store(start, Ordering::Relaxed);
        // Release, for the handler in any thread: the two before it.
        entry.length.store(length, Ordering::Release);
        Self(entry)
    }

    pub(crate) fn entry(&self) -> &'static Entry {
        self.0
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // Before the pages are another mapping's.
        self.0.length.store(0, Ordering::SeqCst);
        self.0.taken.store(false, Ordering::Release);
    }
}

/// A new place at the front of the list.
fn list() -> &'static Entry {
    let entry: &'static Entry = Box::leak(Box::new(Entry::new()));
    let mut first = FIRST.load(Ordering::Relaxed);
    loop {
        entry.next.store(first, Ordering::Relaxed);
        // Release: the entry.
        let listed =
            FIRST.compare_exchange_weak(first, ptr::from_ref(entry).cast_mut(), Ordering::Release, Ordering::Relaxed);
        match listed {
            Ok(_) => return entry,
            Err(now) => first = now,
        }
    }
}

/// What was done about SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

pub(crate) fn catch() -> io::Result<()> {
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if BEFORE.get().is_some() {
        return Ok(());
    }
    let before = action(None)?;
    let mut ours = before;
    ours.sa_sigaction = on_sigbus as *const () as usize;
    // Who comes after us finds the mask that it asked for, and a system call that a sent signal interrupts does as it would have.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | before.sa_flags & (libc::SA_RESTART | libc::SA_NODEFER);
    // First, as the handler may run at once. It is read only by that.
    let _ = BEFORE.set(before);
    action(Some(&ours)).map(|_| ())
}

/// `sigaction(2)` of SIGBUS: what it was.
fn action(new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    // SAFETY: an all-zero sigaction is a valid one.
    let mut old: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: `new` is null or valid to read, `old` is valid to write.
    if unsafe { libc::sigaction(libc::SIGBUS, new.map_or(ptr::null(), ptr::from_ref), &mut old) } == 0 {
        Ok(old)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// SAFETY contract, kept by the kernel: `info` and `context` are those of a signal that is being delivered.
unsafe extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: `errno` is this thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let kept = unsafe { *errno };
    // SAFETY: by the contract; a SIGBUS of the kernel's has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if code != libc::BUS_ADRERR || !replace(address) {
        // SAFETY: by the contract.
        unsafe { pass_on(signal, info, context) };
    }
    // SAFETY: as above.
    unsafe { *errno = kept };
}

/// Cuts the mapping at `address` off, if it is one of ours. Whether the access can be made again.
fn replace(address: usize) -> bool {
    let holds = |entry: &&Entry| {
        // Twice, around the start: so both belong together. Acquire: as `Listed::new` stores them.
        let length = entry.length.load(Ordering::Acquire);
        let start = entry.start.load(Ordering::Acquire);
        length == entry.length.load(Ordering::Relaxed)
            && address.checked_sub(start).is_some_and(|offset| offset < length)
    };
    let Some(entry) = entries().find(holds) else { return false };
    let (start, length) = (entry.start.load(Ordering::Relaxed), entry.length.load(Ordering::Relaxed));
    // Before the memory is there to be read: see `is_gone`. The first one counts.
    let _ = entry.gone.compare_exchange(0, (address - start) as u64 + 1, Ordering::SeqCst, Ordering::Relaxed);
    // SAFETY: all of the range is that mapping (invariant 1): the thread that runs this is in the middle of an access to it. What is
    // there may become any bytes at any time, by the contract of `Listed::new`, so zeroes too. `mmap` by number: nothing of the C
    // library's that could be in use by what the signal has interrupted.
    let mapped = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            start,
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    mapped == start as i64
}

/// As if we were not there.
///
/// # Safety
/// `info` and `context` are those of a signal that is being delivered.
unsafe fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(before) = BEFORE.get() else { return };
    // SAFETY: by the caller.
    let sent = unsafe { (*info).si_code } <= 0;
    let again = || {
        // SAFETY: of this very thread; the signal is blocked until the handler returns, or comes at once.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::syscall(libc::SYS_gettid), signal) };
    };
    match before.sa_sigaction {
        // A fault cannot be ignored; the kernel kills who tries.
        libc::SIG_IGN if sent => {}
        libc::SIG_IGN | libc::SIG_DFL => {
            let _ = action(Some(before));
            // One that was sent does not come again by itself; a fault does, once this returns.
            if sent {
                again();
            }
        }
        handler => {
            if before.sa_flags & libc::SA_RESETHAND != 0 {
                // SAFETY: an all-zero sigaction is the default.
                let _ = action(Some(&unsafe { core::mem::zeroed() }));
            }
            if before.sa_flags & libc::SA_SIGINFO != 0 {
                type Handler = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
                // SAFETY: with SA_SIGINFO it is the address of such a function.
                let handler: Handler = unsafe { core::mem::transmute(handler) };
                // SAFETY: as the kernel would have called it.
                unsafe { handler(signal, info, context) };
            } else {
                // SAFETY: without SA_SIGINFO it is the address of such a function.
                let handler: unsafe extern "C" fn(i32) = unsafe { core::mem::transmute(handler) };
                // SAFETY: as above.
                unsafe { handler(signal) };
            }
        }
    }
}
