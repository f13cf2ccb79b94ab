//! A victim that really dies at one instruction: a breakpoint is there, and its handler kills the process.

use super::step::{BREAKPOINT, handle, make_writable};
use super::trampoline::run;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use core::arch::naked_asm;
use std::ffi::{c_int, c_void};
use std::io;

/// The breakpoint of this process: its address; how many visits until it kills; the byte that belongs there; 1 while that byte is
/// there, for one instruction.
static PLANT: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Runs `operation` in this process, which is a victim's, and dies before the instruction at `at` is executed for the `visit`th
/// time (from 1). Returns if it never is: whether the operation did, and did not panic.
pub(super) fn die_at(at: u64, visit: u64, operation: &mut dyn FnMut()) -> io::Result<bool> {
    make_writable(at, 1)?;
    handle(on_breakpoint as *const () as usize)?;
    // SAFETY: made writable; this thread, the only one, is not executing it, since the operation has not begun.
    let byte = unsafe { (at as *const u8).read_volatile() };
    for (word, value) in PLANT.iter().zip([at, visit, byte.into(), 0]) {
        word.store(value, Relaxed);
    }
    // SAFETY: as above. The handler is in place.
    unsafe { (at as *mut u8).write_volatile(BREAKPOINT) };
    // SAFETY: no trap flag.
    Ok(unsafe { run(operation, 0) })
}

/// Counts visits: dies at the last one, and steps over the others. In assembly, so that it executes nothing that the breakpoint
/// could be in: not the C library's functions, nor core's.
#[unsafe(naked)]
extern "C" fn on_breakpoint(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    naked_asm!(
        "lea rax, [rip + {plant}]",
        "mov r9, [rax]",
        "cmp qword ptr [rax + 24], 0",
        "jne 3f",
        "dec qword ptr [rax + 8]",
        "jz 4f",
        // One instruction with the byte that belongs there, and then a trap.
        "mov qword ptr [rax + 24], 1",
        "mov r11, [rax + 16]",
        "mov byte ptr [r9], r11b",
        "mov [rdx + {rip}], r9",
        "or qword ptr [rdx + {efl}], 0x100",
        "ret",
        // That trap: the breakpoint again.
        "3:",
        "mov qword ptr [rax + 24], 0",
        "mov byte ptr [r9], {breakpoint}",
        "and qword ptr [rdx + {efl}], -0x101",
        "ret",
        // kill(getpid(), SIGKILL)
        "4:",
        "mov eax, {getpid}",
        "syscall",
        "mov edi, eax",
        "mov esi, {sigkill}",
        "mov eax, {kill}",
        "syscall",
        "5:",
        "pause",
        "jmp 5b",
        plant = sym PLANT,
        rip = const REGISTERS + 8 * libc::REG_RIP as usize,
        efl = const REGISTERS + 8 * libc::REG_EFL as usize,
        breakpoint = const BREAKPOINT,
        getpid = const libc::SYS_getpid,
        kill = const libc::SYS_kill,
        sigkill = const libc::SIGKILL,
    )
}

/// Where the registers are in a signal's context.
const REGISTERS: usize =
    core::mem::offset_of!(libc::ucontext_t, uc_mcontext) + core::mem::offset_of!(libc::mcontext_t, gregs);
