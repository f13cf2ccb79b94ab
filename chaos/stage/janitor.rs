//! Who cleans up after a stage, however that ends: a process of its own session, which Ctrl-C does not reach, and which does not
//! die with the stage.

use super::Stage;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, setsid};
use ownerdead::sync::time::now;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel needs a moment until a killed process has left its cgroup.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a stage would leave behind.
pub enum Waste {
    /// A control group, with whoever is left in it.
    Cgroup(PathBuf),
    /// A folder with all that is in it.
    Folder(PathBuf),
}

/// A janitor at its post. Dropping it ends its wait, and waits until all is clean.
pub struct Janitor {
    pid: Pid,
    /// A byte says that it is time; so does its end, by whatever ended the stage. Victims have it too, and die with the stage.
    alive: PipeWriter,
}

impl Stage {
    /// Removes `waste` when the stage has ended. To be called before there is any.
    pub fn clean_up_after(&mut self, waste: Waste) -> Janitor {
        let (reader, writer) = pipe().expect("a pipe");
        // SAFETY: the stage has one thread, so the child may do anything.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => Janitor { pid: child, alive: writer },
            ForkResult::Child => {
                drop(writer);
                wait_and_clean(reader, &waste);
                // SAFETY: ends the child at once: the stage's destructors and buffers are not its own.
                unsafe { libc::_exit(0) }
            }
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        let _ = self.alive.write_all(&[1]);
        while waitpid(self.pid, None) == Err(nix::errno::Errno::EINTR) {}
    }
}

fn wait_and_clean(mut alive: PipeReader, waste: &Waste) {
    let _ = setsid();
    // Standard output is a pipe that the test reads to its end: it must not wait for the janitor.
    // SAFETY: closes a descriptor that nothing in this process uses any more.
    unsafe { libc::close(libc::STDOUT_FILENO) };
    let _ = alive.read(&mut [0]);
    match waste {
        Waste::Cgroup(path) => remove_cgroup(path),
        Waste::Folder(path) => drop(std::fs::remove_dir_all(path)),
    }
}

fn remove_cgroup(path: &Path) {
    let until = now() + PATIENCE;
    // There may be none yet, or none any more.
    while path.exists() && std::fs::remove_dir(path).is_err() && now() < until {
        for pid in std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines() {
            if let Ok(pid) = pid.parse() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        // It leaves when it is dead, of which nobody is told but its parent.
        std::thread::sleep(Duration::from_millis(1));
    }
}
