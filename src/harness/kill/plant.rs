//! A victim that really dies at one instruction: a breakpoint is there, and its handler kills the process.

use super::next::next;
use super::step::{BREAKPOINT, PAGE, handle, make_writable};
use super::trampoline::{EFL, RIP, TRAP_FLAG, run};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use core::arch::naked_asm;
use std::ffi::{c_int, c_void};
use std::io;

/// The breakpoint of this process: its address; how many visits until it kills; the byte that belongs there. Then, while that byte is
/// there, for one instruction: what ends that ([`FLAG`], or the address of a breakpoint), and the byte that belongs there.
pub(super) static PLANT: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

/// The trap flag, and no breakpoint.
const FLAG: u64 = 1;

/// Runs `operation` in this process, which is a victim's, and dies before the instruction at `at` is executed for the `visit`th
/// time (from 1). Returns if it never is: whether the operation did, and did not panic.
pub(super) fn die_at(at: u64, visit: u64, operation: &mut dyn FnMut()) -> io::Result<bool> {
    make_writable(at, 1)?;
    handle(on_breakpoint as *const () as usize)?;
    // SAFETY: made writable; this thread, the only one, is not executing it, since the operation has not begun.
    let byte = unsafe { (at as *const u8).read_volatile() };
    for (word, value) in PLANT.iter().zip([at, visit, byte.into(), 0, 0]) {
        word.store(value, Relaxed);
    }
    // SAFETY: as above. The handler is in place.
    unsafe { (at as *mut u8).write_volatile(BREAKPOINT) };
    // SAFETY: no trap flag.
    Ok(unsafe { run(operation, 0) })
}

/// Counts visits: dies at the last one, and steps over the others. In assembly: while the breakpoint is in place it executes nothing that
/// it could be in, not the C library's functions, nor core's.
#[unsafe(naked)]
extern "C" fn on_breakpoint(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    naked_asm!(
        "lea rax, [rip + {plant}]",
        "mov r9, [rax]",
        "mov r10, [rax + 24]",
        "test r10, r10",
        "jnz 2f",
        "dec qword ptr [rax + 8]",
        "jz 4f",
        // One instruction with the byte that belongs there.
        "mov r11, [rax + 16]",
        "mov byte ptr [r9], r11b",
        "mov [rdx + {rip}], r9",
        "lea rdi, [rdx + {registers}]",
        // As the ABI has it: a multiple of 16 before a call.
        "sub rsp, 8",
        "call {over}",
        "add rsp, 8",
        "lea rax, [rip + {plant}]",
        "mov r10, [rax + 24]",
        "cmp r10, {flag}",
        "je 1f",
        "mov byte ptr [r10], {breakpoint}",
        "1:",
        "ret",
        // It has been executed: the breakpoint again.
        "2:",
        "mov qword ptr [rax + 24], 0",
        "and qword ptr [rdx + {efl}], -0x101",
        "cmp r10, {flag}",
        "je 3f",
        "mov r11, [rax + 32]",
        "mov byte ptr [r10], r11b",
        "mov [rdx + {rip}], r10",
        "3:",
        "mov byte ptr [r9], {breakpoint}",
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
        over = sym over,
        flag = const FLAG,
        registers = const REGISTERS,
        rip = const REGISTERS + 8 * libc::REG_RIP as usize,
        efl = const REGISTERS + 8 * libc::REG_EFL as usize,
        breakpoint = const BREAKPOINT,
        getpid = const libc::SYS_getpid,
        kill = const libc::SYS_kill,
        sigkill = const libc::SIGKILL,
    )
}

/// Says how the one instruction at the breakpoint, whose own byte is there now, comes to its end.
extern "C" fn over(registers: *mut [i64; 23]) {
    // SAFETY: those of the context that the kernel has passed to the handler.
    let registers = unsafe { &mut *registers };
    let at = registers[RIP] as u64;
    // Of the same page, so that it is writable; and a loop of one instruction is over when the flag says so.
    let end = next(at, registers).filter(|&next| next != at && next / PAGE as u64 == at / PAGE as u64);
    if let Some(end) = end {
        // SAFETY: code in a page of code.
        PLANT[4].store(unsafe { (end as *const u8).read_volatile() }.into(), Relaxed);
    } else {
        registers[EFL] |= TRAP_FLAG as i64;
    }
    PLANT[3].store(end.unwrap_or(FLAG), Relaxed);
}

/// Where the registers are in a signal's context.
const REGISTERS: usize =
    core::mem::offset_of!(libc::ucontext_t, uc_mcontext) + core::mem::offset_of!(libc::mcontext_t, gregs);
