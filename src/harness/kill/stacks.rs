//! Stacks on which the nursery and its children stand, other than the one that they come from.

use super::step::PAGE;
use core::arch::naked_asm;
use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::thread::Result as Caught;

/// Stacks of the nursery: its own, the one that a lodger begins on, and the one that victims and survivors do all on.
pub(super) struct Stacks {
    /// Invariant 1: the start of a mapping of `BYTES`, which is never unmapped, with a page that may not be touched below each stack.
    start: NonNull<u8>,
}

impl Stacks {
    /// The nursery's, and a lodger's first one.
    pub(super) const OWN: usize = 1 << 18;
    /// As a main thread has by default; what is never touched is never there.
    pub(super) const VICTIM: usize = 8 << 20;
    pub(super) const BYTES: usize = 2 * (PAGE + Self::OWN) + PAGE + Self::VICTIM;

    pub(super) fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), Self::BYTES, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        for guard in [0, PAGE + Self::OWN, 2 * (PAGE + Self::OWN)] {
            // SAFETY: one page within the mapping, which nobody uses yet.
            if unsafe { libc::mprotect(start.byte_add(guard), PAGE, libc::PROT_NONE) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self { start: NonNull::new(start.cast()).expect("mmap gives no null page") })
    }

    pub(super) fn end(&self, offset: usize) -> *mut u8 {
        // SAFETY: invariant 1, and no caller passes more than `BYTES`.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// Calls `body` on the nursery's own stack.
    pub(super) fn on_own<R>(&self, body: impl FnOnce() -> R) -> Caught<R> {
        // SAFETY: invariant 1; of each process one thread alone runs, and calls this once.
        unsafe { on(self.end(PAGE + Self::OWN), body) }
    }

    /// Calls `body` on the stack of victims and survivors, whose first frame is the same each time.
    pub(super) fn on_victims<R>(&self, body: impl FnOnce() -> R) -> Caught<R> {
        // SAFETY: as above: the nursery does not call this, and its children do once.
        unsafe { on(self.end(Self::BYTES), body) }
    }

    /// What the nursery and a lodger change while they are no victim.
    pub(super) fn own(&self) -> Range<u64> {
        let start = self.start.as_ptr() as u64;
        start..start + 2 * (PAGE + Self::OWN) as u64
    }
}

/// Calls `body` on the stack that ends at `top`.
///
/// # Safety
/// Nobody else uses that stack, and there is room for what `body` does.
unsafe fn on<R>(top: *mut u8, body: impl FnOnce() -> R) -> Caught<R> {
    struct Slot<F, R>(Option<F>, Option<Caught<R>>);
    extern "C" fn enter<F: FnOnce() -> R, R>(slot: *mut c_void) {
        // SAFETY: `on` passes a slot that lives during the call, and nobody else has.
        let slot = unsafe { &mut *slot.cast::<Slot<F, R>>() };
        let body = slot.0.take().expect("called once");
        slot.1 = Some(catch_unwind(AssertUnwindSafe(body)));
    }
    fn entry<F: FnOnce() -> R, R>(_: &F) -> extern "C" fn(*mut c_void) {
        enter::<F, R>
    }
    let enter = entry(&body);
    let mut slot = Slot(Some(body), None);
    // SAFETY: the slot is what `enter` expects, which does not unwind; the stack is the caller's.
    unsafe { call_on(top, enter, (&raw mut slot).cast()) };
    slot.1.expect("`enter` has returned")
}

/// Calls `function(argument)` on the stack that ends at `top`, a multiple of 16.
///
/// # Safety
/// Nobody else uses that stack; `function` may be called with `argument`, and does not unwind.
#[unsafe(naked)]
unsafe extern "C" fn call_on(top: *mut u8, function: extern "C" fn(*mut c_void), argument: *mut c_void) {
    naked_asm!("push rbx", "mov rbx, rsp", "mov rsp, rdi", "mov rdi, rdx", "call rsi", "mov rsp, rbx", "pop rbx", "ret",)
}
