//! Time in the processes of a sweep: so many calls, whatever the machine does.
//!
//! A process that is single-stepped is thousands of times slower than one that is not. Would time pass in them, they would take
//! different paths: one has its deadline behind it when the other goes to sleep. So `clock_gettime` of the C library is
//! overwritten in these processes alone. It says that it is an hour ago (or, on a machine that has not been up for so long, one second after its start), and a millisecond more at each call; a sleep with a
//! deadline in that time is over at once, for the kernel has its own clock.
//!
//! A call is also where what another process does meanwhile can come in between: see [`meanwhile`].

use super::step::make_writable;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use core::arch::asm;
use std::cell::Cell;
use std::ffi::c_int;
use std::io;

/// Nanoseconds between two calls.
const TICK: u64 = 1_000_000;
/// Seconds before now at which time begins.
const AGO: i64 = 3600;
/// `movabs rax, address; jmp rax`
const JUMP: [u8; 12] = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0];

/// When time begins, in nanoseconds; 0 while the time is the real one. A whole second: whether nanoseconds carry when times are added
/// is the same each time.
static BEGINS: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

/// What is done at a call, counted from the begin of time.
type Step = (u64, &'static dyn Fn());

thread_local! {
    static STEP: Cell<Option<Step>> = const { Cell::new(None) };
}

/// Has the victim find that another process went on while it worked: `step` is done at its `call`th look at the clock from now on (from
/// 1). A call that waits looks at the clock before it sleeps. To be called when the victim attaches; the last one counts.
///
/// `step` must write what the other process would have, in its order: the victim dies between its writes, too, and that is as if the
/// other one stood still there.
pub fn meanwhile(call: u64, step: impl Fn() + 'static) {
    STEP.set(Some((CALLS.load(Relaxed) + call - 1, Box::leak(Box::new(step)))));
}

/// Overwrites `clock_gettime` in this process. Time is as it was, until [`begin`].
pub(super) fn install() -> io::Result<()> {
    let target = libc::clock_gettime as *const () as u64;
    let mut jump = JUMP;
    jump[2..10].copy_from_slice(&(clock_gettime as *const () as u64).to_le_bytes());
    make_writable(target, jump.len())?;
    // SAFETY: made writable; the C library's function is longer than the jump, and this thread, the only one, is not in it.
    unsafe { (target as *mut [u8; JUMP.len()]).write_volatile(jump) };
    Ok(())
}

/// From here on time is counted in calls.
pub(super) fn begin() {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    real(libc::CLOCK_MONOTONIC, &mut now);
    // A machine that has not been up for so long begins in its first second.
    BEGINS.store((now.tv_sec - AGO).max(1) as u64 * 1_000_000_000, Relaxed);
}

extern "C" fn clock_gettime(id: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let begins = BEGINS.load(Relaxed);
    if begins == 0 || id != libc::CLOCK_MONOTONIC {
        return real(id, time);
    }
    // A load and a store: it has one thread.
    let calls = CALLS.load(Relaxed);
    CALLS.store(calls + 1, Relaxed);
    if let Some((at, step)) = STEP.get()
        && at == calls
    {
        step();
    }
    let now = begins + calls * TICK;
    // SAFETY: the caller's, as of the C library's function.
    unsafe {
        time.write(libc::timespec { tv_sec: (now / 1_000_000_000) as i64, tv_nsec: (now % 1_000_000_000) as i64 })
    };
    0
}

/// The system call.
fn real(id: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let result: i64;
    // SAFETY: the kernel checks the pointer; the registers that it does not keep are named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") libc::SYS_clock_gettime => result,
            in("rdi") id,
            in("rsi") time,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // The caller of the C library's function gets -1, and errno, which nobody here looks at.
    if result < 0 { -1 } else { 0 }
}
