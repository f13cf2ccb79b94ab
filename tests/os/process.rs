//! Child processes for tests.

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::os::fd::{AsFd, OwnedFd};

/// A child that is killed when this is dropped, unless it was waited for.
pub struct Child {
    pub pid: Pid,
    waited: bool,
}

/// Seconds after which a child is ended that should have ended long before. A test that fails, and no test that stands still.
const HANGS: u32 = 120;

/// Runs `body` in a forked child, which then exits: with 0, or with 1 if it panicked; or by SIGALRM, if it hangs.
///
/// The test process has other threads, so `body` keeps to what works after such a fork: glibc's allocator does.
pub fn spawn(body: impl FnOnce()) -> Child {
    // SAFETY: the child runs `body` and leaves by `_exit`; it takes no lock that another thread of the parent may hold, but the
    // allocator's, which glibc makes usable in a child.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => Child { pid: child, waited: false },
        ForkResult::Child => {
            // SAFETY: prctl with PR_SET_PDEATHSIG takes a signal number.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            nix::unistd::alarm::set(HANGS);
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err();
            // SAFETY: ends the child at once, without the parent's destructors.
            unsafe { libc::_exit(i32::from(panicked)) }
        }
    }
}

impl Child {
    pub fn kill(&mut self) {
        nix::sys::signal::kill(self.pid, Signal::SIGKILL).expect("kill");
        waitpid(self.pid, None).expect("wait");
        self.waited = true;
    }

    /// Waits for its end, which must be a success.
    pub fn succeeds(&mut self) {
        assert_eq!(self.end(), WaitStatus::Exited(self.pid, 0));
    }

    /// Waits for its end, and says how it was.
    pub fn end(&mut self) -> WaitStatus {
        let status = waitpid(self.pid, None).expect("wait");
        self.waited = true;
        let hung = matches!(status, WaitStatus::Signaled(_, Signal::SIGALRM, _));
        assert!(!hung, "a child did not end within {HANGS} s");
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.waited {
            let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// One word, for one process to wait for another: a pipe.
pub struct Gate {
    read: OwnedFd,
    write: OwnedFd,
}

impl Gate {
    pub fn new() -> Self {
        let (read, write) = nix::unistd::pipe().expect("pipe");
        Self { read, write }
    }

    pub fn open(&self) {
        nix::unistd::write(self.write.as_fd(), b"!").expect("write to a pipe");
    }

    pub fn wait(&self) {
        assert_eq!(nix::unistd::read(self.read.as_fd(), &mut [0]).expect("read from a pipe"), 1);
    }
}

/// Sleeps in the kernel until killed.
pub fn for_ever() -> ! {
    loop {
        // SAFETY: waits for a signal; no arguments.
        unsafe { libc::pause() };
    }
}
