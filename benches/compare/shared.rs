//! Memory that the processes of a sample share, and how they are made.

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use ownerdead::sync::Line;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// Words that a sample's two sides share, each where only one side writes it. Zero bytes are a valid value.
#[repr(C)]
pub struct Court {
    /// The raw ping-pong: side 0 writes `balls[0]`, side 1 `balls[1]`.
    balls: [Line<AtomicU64>; 2],
    /// What each side sends over two lines: a record, and its number.
    pub lines: [[Line<AtomicU64>; 2]; 2],
    /// How many meetings each side has come to.
    meetings: [Line<AtomicU64>; 2],
    /// What each side has to say at the end.
    said: [Line<[AtomicU64; 4]>; 2],
}

impl Court {
    /// Waits until the other side comes to this meeting too.
    pub fn meet(&self, side: usize) {
        // Relaxed: nobody else writes this side's word. Release and Acquire: what each did before the meeting.
        let number = self.meetings[side].load(Relaxed) + 1;
        self.meetings[side].store(number, Release);
        while self.meetings[1 - side].load(Acquire) < number {
            std::hint::spin_loop();
        }
    }

    /// Sends a word to and fro over two cache lines.
    pub fn ping_pong(&self, side: usize, trips: u64) {
        let [ball, other] = if side == 0 { [&self.balls[0], &self.balls[1]] } else { [&self.balls[1], &self.balls[0]] };
        // Relaxed: nobody else writes this side's word, and nothing else is published by it.
        let first = ball.load(Relaxed);
        for number in first + 1..=first + trips {
            if side == 0 {
                ball.store(number, Release);
            }
            while other.load(Acquire) < number {
                std::hint::spin_loop();
            }
            if side == 1 {
                ball.store(number, Release);
            }
        }
    }

    /// Says something, to be read when the process is over.
    pub fn say(&self, side: usize, words: [u64; 4]) {
        for (place, word) in self.said[side].iter().zip(words) {
            // Relaxed: the process's end, for which the reader waits, orders it.
            place.store(word, Relaxed);
        }
    }

    /// What was said.
    pub fn heard(&self, side: usize) -> [u64; 4] {
        // Relaxed: as above.
        std::array::from_fn(|index| self.said[side][index].load(Relaxed))
    }
}

/// Zero bytes that forked children share with their parent, on pages of their own. They are never unmapped.
pub fn mapped<T>() -> NonNull<T> {
    let length = NonZeroUsize::new(size_of::<T>()).expect("what is shared has a size");
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping, at a place that the kernel chooses.
    unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) }.expect("mmap").cast()
}

/// A court that forked children share with their parent. It is never unmapped.
pub fn court() -> &'static Court {
    // SAFETY: the mapping is long enough, starts on a page, and lives for ever; zero bytes are a valid court, and all of it is
    // atomics, so `&` is enough.
    unsafe { mapped().as_ref() }
}

/// Makes a mutex of the C library's, robust and shared between processes.
///
/// # Safety
/// `mutex` is long enough, aligned, nobody else's yet, and stays where it is for as long as somebody uses it.
pub unsafe fn init_robust(mutex: *mut libc::pthread_mutex_t) {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the attributes are initialised before they are used; the mutex, by the caller's promise.
    let failed = unsafe {
        libc::pthread_mutexattr_init(attributes.as_mut_ptr())
            | libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED)
            | libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST)
            | libc::pthread_mutex_init(mutex, attributes.as_ptr())
    };
    assert_eq!(failed, 0, "pthread_mutex_init");
}

/// A child process; killed when it goes out of scope, if it is still there.
pub struct Child {
    pid: Pid,
    over: bool,
}

impl Child {
    /// Forks a child that runs `body`, and dies with this process. The caller has one thread.
    pub fn fork(body: impl FnOnce()) -> Self {
        let parent = Pid::this();
        // SAFETY: this process has one thread (nothing here starts another but in a child), so the child may do anything.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => Self { pid: child, over: false },
            ForkResult::Child => {
                // SAFETY: PR_SET_PDEATHSIG takes a signal number.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                if getppid() == parent {
                    or_exit(body);
                }
                // SAFETY: ends the child at once: the parent's destructors and buffers are not its own.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// Who it is.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) {
        if !self.over {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
            self.over = true;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until all of `children` have exited with 0.
///
/// # Errors
/// How one ended instead; the others are killed, since they may wait for that one for ever.
pub fn finish(children: &mut [Child]) -> Result<(), String> {
    while children.iter().any(|child| !child.over) {
        let status = waitpid(None, None).map_err(|errno| format!("waitpid: {errno}"))?;
        if let Some(child) = children.iter_mut().find(|child| Some(child.pid) == status.pid()) {
            child.over = true;
        }
        if !matches!(status, WaitStatus::Exited(_, 0)) {
            return Err(format!("a process of the benchmark ended with {status:?}"));
        }
    }
    Ok(())
}

/// Runs `body`; a panic in it ends the whole process, whichever thread it is in, so that nobody waits for that thread.
pub fn or_exit<R>(body: impl FnOnce() -> R) -> R {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(result) => result,
        // SAFETY: ends the process at once.
        Err(_) => unsafe { libc::_exit(101) },
    }
}
