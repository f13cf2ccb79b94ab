//! Calls the operation such that its first and its last instruction are known.

use super::step::PAGE;
use core::arch::naked_asm;
use core::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The trap flag of the flags register: a trap after each instruction.
pub(super) const TRAP_FLAG: u64 = 1 << 8;
/// Index of the stack pointer, the instruction pointer and the flags in `gregs` of a signal's context.
pub(super) const RSP: usize = libc::REG_RSP as usize;
pub(super) const RIP: usize = libc::REG_RIP as usize;
pub(super) const EFL: usize = libc::REG_EFL as usize;

/// Calls `function(argument)`, with `flags` (0, or the trap flag) added to the flags register.
///
/// `popf` sets the trap flag for what follows the next instruction, which is the call: so the first trap comes before the first
/// instruction of `function`, with the address to return to on top of the stack; and the last one there, after it has returned.
///
/// The stack of `function` begins at a multiple of a page, however deep the caller's is: `memset` and its like take another path for
/// bytes that end near the end of a page, and a victim that dies is to take the path of the one that was recorded.
///
/// # Safety
/// `function` may be called with `argument`, and does not unwind. With the trap flag, SIGTRAP has a handler, which clears the
/// flag at the address to return to.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn call(function: extern "C" fn(*mut c_void), argument: *mut c_void, flags: u64) {
    naked_asm!(
        "push rbx",
        "mov rbx, rsp",
        "and rsp, -{page}",
        "mov rax, rdi",
        "mov rdi, rsi",
        "pushfq",
        "or qword ptr [rsp], rdx",
        "popfq",
        "call rax",
        "mov rsp, rbx",
        "pop rbx",
        "ret",
        page = const PAGE,
    )
}

/// An operation, until it is called, and whether it panicked.
struct Slot<'o> {
    operation: &'o mut dyn FnMut(),
    panicked: bool,
}

/// Calls `operation` through [`call`]; whether it returned, and did not panic. The instructions around it are the same whatever it is:
/// one recording's are those of another process.
///
/// # Safety
/// As for [`call`].
pub(super) unsafe fn run(operation: &mut dyn FnMut(), flags: u64) -> bool {
    extern "C" fn enter(slot: *mut c_void) {
        // SAFETY: `run` passes a slot that lives during the call, and nobody else has.
        let slot = unsafe { &mut *slot.cast::<Slot<'_>>() };
        slot.panicked = catch_unwind(AssertUnwindSafe(|| (slot.operation)())).is_err();
    }
    let mut slot = Slot { operation, panicked: false };
    // SAFETY: the slot is what `enter` expects, which does not unwind; the rest is the caller's.
    unsafe { call(enter, (&raw mut slot).cast(), flags) };
    !slot.panicked
}
