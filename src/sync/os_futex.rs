//! `futex_waitv(2)` and `futex(2)`, shared between processes.

use crate::sync::futex::{FEW_WAITS, LOOK_AGAIN, MAX_WAITS, Wait, Woken, Word};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

/// `struct futex_waitv` of the kernel's ABI.
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// The word is 32 bits wide; without `FUTEX2_PRIVATE` it is shared.
const FUTEX2_SIZE_U32: u32 = 2;

/// How long a sleep on one word alone lasts where the kernel cannot sleep on several.
const SINGLE_BOUND: Duration = Duration::from_millis(1);

/// The kernel has no `futex_waitv` (before 5.16), or a filter refuses it. Relaxed: a hint that each thread may find out for
/// itself; it publishes nothing.
static NO_WAITV: AtomicBool = AtomicBool::new(false);

/// How long a sleep lasts at most, in nanoseconds. Relaxed: a setting, which publishes nothing.
static LOOK_AGAIN_NS: AtomicU64 = AtomicU64::new(LOOK_AGAIN.as_nanos() as u64);

pub(in crate::sync) fn look_again_after(bound: Duration) {
    LOOK_AGAIN_NS.store(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn address(word: Word<'_>) -> *const u32 {
    match word {
        Word::Whole(word) => word.address(),
        Word::Low(word) => word.address(),
        // Little-endian, so the high half is the second one; wrapping, since the compiler need not know that it is in bounds.
        Word::High(word) => word.address().wrapping_add(1),
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec { tv_sec: time.as_secs() as libc::time_t, tv_nsec: time.subsec_nanos().into() }
}

#[cold]
pub(in crate::sync) fn wait_any(waits: &[Wait<'_>], primary: usize, deadline: Option<Duration>) -> Woken {
    let now = super::time::now();
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Woken::TimedOut;
    }
    let woken = if NO_WAITV.load(Ordering::Relaxed) {
        wait_one(&waits[primary], bounded(now, SINGLE_BOUND, deadline)).map_or(Woken::Changed, |()| Woken::By(primary))
    } else {
        wait_several(waits, primary, now, deadline)
    };
    match deadline {
        Some(deadline) if woken == Woken::Changed && super::time::now() >= deadline => Woken::TimedOut,
        _ => woken,
    }
}

fn look_again() -> Duration {
    Duration::from_nanos(LOOK_AGAIN_NS.load(Ordering::Relaxed))
}

fn bounded(now: Duration, bound: Duration, deadline: Option<Duration>) -> Duration {
    let until = now.saturating_add(bound);
    deadline.map_or(until, |deadline| deadline.min(until))
}

fn wait_several(waits: &[Wait<'_>], primary: usize, now: Duration, deadline: Option<Duration>) -> Woken {
    match waitv(waits, Some(bounded(now, look_again(), deadline))) {
        Ok(index) => Woken::By(index),
        Err(libc::ENOSYS | libc::EPERM) => {
            NO_WAITV.store(true, Ordering::Relaxed);
            let until = bounded(now, SINGLE_BOUND, deadline);
            wait_one(&waits[primary], until).map_or(Woken::Changed, |()| Woken::By(primary))
        }
        // EAGAIN: a value differed. EINTR, ETIMEDOUT: look again.
        Err(_) => Woken::Changed,
    }
}

/// `futex_waitv(2)`: the index that it was woken through, or the error's number.
pub(in crate::sync) fn waitv(waits: &[Wait<'_>], until: Option<Duration>) -> Result<usize, i32> {
    if waits.len() <= FEW_WAITS { waitv_of::<FEW_WAITS>(waits, until) } else { waitv_of::<MAX_WAITS>(waits, until) }
}

/// Of at most `MOST` words.
fn waitv_of<const MOST: usize>(waits: &[Wait<'_>], until: Option<Duration>) -> Result<usize, i32> {
    let mut waiters = [Waiter { value: 0, address: 0, flags: FUTEX2_SIZE_U32, reserved: 0 }; MOST];
    for (waiter, wait) in waiters.iter_mut().zip(waits) {
        waiter.value = wait.expected.into();
        waiter.address = address(wait.word) as u64;
    }
    let until = until.map(timespec);
    let until = until.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: `waiters` and `until`, which is null for "no end", are valid for the call; the addresses are of live 32-bit words,
    // which the kernel only reads. the length is at most MOST, and
    // by zip it names only filled entries.
    let woken = unsafe {
        libc::syscall(libc::SYS_futex_waitv, waiters.as_ptr(), waits.len().min(MOST), 0, until, libc::CLOCK_MONOTONIC)
    };
    usize::try_from(woken).map_err(|_| errno())
}

fn wait_one(wait: &Wait<'_>, until: Duration) -> Option<()> {
    let until = timespec(until);
    // SAFETY: the address is of a live 32-bit word, which the kernel only reads; `until` is valid for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            address(wait.word),
            libc::FUTEX_WAIT_BITSET,
            wait.expected,
            &until,
            core::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    (result == 0).then_some(())
}

#[cold]
pub(in crate::sync) fn wake(word: Word<'_>, count: u32) -> u32 {
    // SAFETY: FUTEX_WAKE reads nothing through the address; it only names the queue.
    let woken = unsafe { libc::syscall(libc::SYS_futex, address(word), libc::FUTEX_WAKE, count.min(i32::MAX as u32)) };
    u32::try_from(woken).unwrap_or(0)
}

/// `FUTEX_WAKE_OP`: one sleeper of each, under the locks of both queues, so that one who sleeps on both is woken through both.
/// How many. The low half of `second` is to be 0.
#[cfg(test)]
pub(in crate::sync) fn wake_both(first: &super::atomic::AtomicU64, second: &super::atomic::AtomicU64) -> u32 {
    /// Adds 0 to the second word, and wakes there if it was 0.
    const ADD_0_IF_0: u32 = (libc::FUTEX_OP_ADD as u32) << 28 | (libc::FUTEX_OP_CMP_EQ as u32) << 24;
    let (first, second) = (address(Word::Low(first)), address(Word::Low(second)));
    // SAFETY: the addresses are of live atomics; the kernel's addition to the second is atomic, and changes nothing.
    let woken = unsafe { libc::syscall(libc::SYS_futex, first, libc::FUTEX_WAKE_OP, 1, 1usize, second, ADD_0_IF_0) };
    u32::try_from(woken).expect("FUTEX_WAKE_OP")
}

/// Whether `folder` of `/proc`, a thread's, tells of one that sleeps in a futex call.
pub(in crate::sync) fn sleeps(folder: &str) -> bool {
    let read = |what| std::fs::read_to_string(format!("{folder}/{what}")).unwrap_or_default();
    // First that it sleeps at all, then where: one that is just being woken is still shown in its system call. The name of the
    // program, in brackets, may hold anything.
    let (state, call) = (read("stat"), read("syscall"));
    let state = state.rsplit(") ").next().unwrap_or_default();
    let call = call.split(' ').next().and_then(|number| number.parse::<i64>().ok());
    state.starts_with('S') && call.is_some_and(|call| [libc::SYS_futex, libc::SYS_futex_waitv].contains(&call))
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::atomic::AtomicU64;
    use std::io::Read;

    /// The folder of a new thread that runs `body`.
    fn folder(body: impl FnOnce() + Send + 'static) -> String {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            send.send(crate::sync::thread::id()).expect("the test listens");
            body();
        });
        format!("/proc/self/task/{}", receive.recv().expect("the thread says who it is"))
    }

    #[test]
    fn who_sleeps_in_a_futex_call_is_told_from_who_reads_or_runs() {
        static WORD: AtomicU64 = AtomicU64::new(0);
        let (mut read, _write) = std::io::pipe().expect("a pipe");
        let [in_futex, in_read, running] = [
            folder(|| while waitv(&[Wait { word: Word::Low(&WORD), expected: 0 }], None).is_ok() {}),
            folder(move || drop(read.read(&mut [0]))),
            folder(|| {
                loop {
                    core::hint::spin_loop();
                }
            }),
        ];
        while !sleeps(&in_futex) {
            std::thread::yield_now();
        }
        let state = |folder: &str| std::fs::read_to_string(format!("{folder}/stat")).expect("it lives");
        while !state(&in_read).contains(") S ") {
            std::thread::yield_now();
        }
        assert!(!sleeps(&in_read) && !sleeps(&running) && !sleeps("/proc/self/task/0"));
    }
}
