//! Victims: processes that a stage forks, strikes, and waits for.

use super::hang::{state, whereabouts};
use super::{Stage, die_with_parent, hang};
use crate::stamps::Stamps;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use ownerdead::sync::time::now;
use std::time::Duration;

/// A process of the scenario, for who looks into a hang.
pub(super) struct Person {
    pid: Pid,
    role: &'static str,
    stamps: &'static Stamps,
}

/// A victim; killed when it goes out of scope, if it is still there.
pub struct Victim {
    pid: Pid,
    over: bool,
}

impl Victim {
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it SIGKILL; its end is waited for by [`Stage::dies`].
    pub fn strike(&self) {
        kill(self.pid, Signal::SIGKILL).expect("a victim that was not waited for");
    }

    /// Whether it sleeps in the kernel.
    pub fn sleeps(&self) -> bool {
        state(self.pid) == Some('S')
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if !self.over {
            let _ = kill(self.pid, Signal::SIGKILL);
            while waitpid(self.pid, None) == Err(Errno::EINTR) {}
        }
    }
}

impl Stage {
    /// Forks a victim that runs `body`. If it panics it exits with 101. Its role is for people, and so are its stamps.
    pub fn spawn(&mut self, role: &'static str, stamps: &'static Stamps, body: impl FnOnce()) -> Victim {
        let stage = Pid::this();
        // SAFETY: the stage has one thread, so the child may do anything.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => {
                self.people.push(Person { pid: child, role, stamps });
                Victim { pid: child, over: false }
            }
            ForkResult::Child => {
                die_with_parent();
                let code = if getppid() == stage {
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
                    if result.is_ok() { 0 } else { 101 }
                } else {
                    0
                };
                // SAFETY: ends the child at once: the stage's destructors and buffers are not its own.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// Kills a victim, waits until it is gone, and files the kill under the phase it was in. The time just before the kill.
    pub fn kill(&mut self, victim: &mut Victim, stamps: &Stamps) -> Duration {
        let since = now();
        kill(victim.pid, Signal::SIGKILL).expect("a victim that was not waited for");
        self.dies(victim, stamps);
        since
    }

    /// Waits for a victim that was sent a SIGKILL, and files the kill under the phase it was in.
    pub fn dies(&mut self, victim: &mut Victim, stamps: &Stamps) {
        match self.end_of(victim, "a killed victim") {
            Some(WaitStatus::Signaled(_, Signal::SIGKILL, _)) => self.killed(stamps),
            Some(WaitStatus::Exited(_, 0)) | None => {}
            Some(other) => self.finding(&format!("a victim ended by itself: {other:?}")),
        }
    }

    /// Files a death under the phase that the victim was in.
    pub fn killed(&mut self, stamps: &Stamps) {
        self.kills += 1;
        *self.phases.entry(stamps.phase()).or_default() += 1;
    }

    /// Waits for a victim to exit with 0; a finding if it does not, or hangs.
    pub fn exits(&mut self, victim: &mut Victim, what: &str) {
        match self.end_of(victim, what) {
            Some(WaitStatus::Exited(_, 0)) | None => {}
            Some(other) => self.finding(&format!("{what} ended with {other:?}")),
        }
    }

    /// Waits for the end of a victim; none, and a finding, if it hangs.
    pub fn end_of(&mut self, victim: &mut Victim, what: &str) -> Option<WaitStatus> {
        let status = self.wait(victim.pid, WaitPidFlag::WEXITED, what)?;
        victim.over = true;
        self.people.retain(|person| person.pid != victim.pid);
        Some(status)
    }

    /// Stops a victim, and waits until it is stopped. One that has ended instead is a finding, and is left to be waited for.
    pub fn stop(&mut self, victim: &Victim) {
        kill(victim.pid, Signal::SIGSTOP).expect("a victim that was not waited for");
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let status = self.wait(victim.pid, flags, "a victim to stop");
        self.expect(status.is_none_or(|status| matches!(status, WaitStatus::Stopped(..))), || {
            format!("a victim did not stop: {status:?}")
        });
    }

    /// Lets a stopped victim go on.
    pub fn go_on(&self, victim: &Victim) {
        kill(victim.pid, Signal::SIGCONT).expect("a victim that was not waited for");
    }

    /// `waitid`, which the stage's timer interrupts.
    fn wait(&mut self, pid: Pid, flags: WaitPidFlag, what: &str) -> Option<WaitStatus> {
        let until = now() + hang();
        loop {
            match waitid(Id::Pid(pid), flags) {
                Err(Errno::EINTR) if now() < until => {}
                Err(Errno::EINTR) => {
                    self.hangs(&format!("{what} did not come to its end"));
                    return None;
                }
                status => return Some(status.expect("a victim that was not waited for")),
            }
        }
    }

    /// What all victims that are still there do.
    pub(super) fn whereabouts(&self) -> String {
        let there = self.people.iter().filter(|person| state(person.pid).is_some());
        let said = there.map(|&Person { pid, role, stamps }| {
            let (phase, begun, ended) = (stamps.phase(), stamps.begun.get(), stamps.ended.get());
            format!("[{role} {pid}: phase {phase}, begun {begun}, ended {ended}; {}]", whereabouts(pid))
        });
        said.collect::<Vec<_>>().join(" ")
    }
}
