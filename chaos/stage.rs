//! The stage: a small single-threaded process that forks victims and kills them.

use crate::scenarios;
use crate::stamps::Stamps;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use ownerdead::harness::oracle::Violation;
use ownerdead::harness::record::Times;
use ownerdead::sync::time::now;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// No wait is longer than this: then it is a hang, and a finding. It decides nothing else.
pub const HANG: Duration = Duration::from_secs(10);

/// What a scenario works with, and what it has found so far.
pub struct Stage {
    pub rng: StdRng,
    until: Duration,
    spoke: Duration,
    /// Operations or rounds that were judged.
    pub cases: u64,
    kills: u64,
    phases: BTreeMap<&'static str, u64>,
    recoveries: Times,
    findings: u64,
}

/// When to send a kill that is to arrive while the victim does one short thing: the kill takes tens of microseconds, which
/// differ from machine to machine, and longer than what is to be hit. So it is learnt from each kill.
pub struct Aim {
    /// From when the victim hears its beginning.
    after: Duration,
}

impl Aim {
    /// From when the victim hears its beginning until it begins.
    const LEAD: Duration = Duration::from_micros(100);
    /// Kills are spread over this time, evenly.
    const SPREAD: Duration = Duration::from_micros(40);
    const STEP: Duration = Duration::from_micros(4);

    pub fn new() -> Self {
        Self { after: Duration::from_micros(50) }
    }

    /// Says that the last kill came before the victim had begun, or after it had ended.
    pub fn missed(&mut self, early: bool) {
        // A victim that came too late by a whole time slice says nothing of where to aim.
        let most = 3 * Self::LEAD;
        self.after = if early { (self.after + Self::STEP).min(most) } else { self.after.saturating_sub(Self::STEP) };
    }
}

/// Runs scenario `name` as the stage.
pub fn run(name: &str) -> ExitCode {
    die_with_parent();
    // SAFETY: PR_SET_TIMERSLACK takes nanoseconds: sleeps shall end when they are due.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    // SAFETY: plain data; a core dump of each victim is not wanted.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 }) };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok()).expect("set by the test");
    let seconds: f64 = std::env::var("OWNERDEAD_CHAOS_SECONDS").expect("set by the test").parse().expect("a number");
    let mut stage = Stage {
        rng: StdRng::seed_from_u64(number("OWNERDEAD_SEED")),
        until: now() + Duration::from_secs_f64(seconds),
        spoke: now(),
        cases: 0,
        kills: 0,
        phases: BTreeMap::new(),
        recoveries: Times::default(),
        findings: 0,
    };
    let (_, scenario) = scenarios::ALL.iter().find(|(known, _)| *known == name).expect("a known scenario");
    scenario(&mut stage);
    stage.finish();
    ExitCode::SUCCESS
}

/// Sleeps: spinning could keep the processor from the very victim that is to work meanwhile.
fn sleep_until(instant: Duration) {
    let id = ClockId::CLOCK_MONOTONIC;
    while clock_nanosleep(id, ClockNanosleepFlags::TIMER_ABSTIME, &instant.into()) == Err(Errno::EINTR) {}
}

/// So that nothing outlives a run that was interrupted.
fn die_with_parent() {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

impl Stage {
    /// Whether there is time for another round. Says now and then how things stand.
    pub fn goes_on(&mut self) -> bool {
        let now = now();
        if now - self.spoke > Duration::from_millis(500) {
            self.spoke = now;
            self.tell("progress");
        }
        now < self.until && self.findings < 10
    }

    /// Something that must never be.
    pub fn finding(&mut self, text: &str) {
        self.findings += 1;
        println!("finding\t{}", text.replace(['\n', '\t'], " "));
    }

    /// A finding, unless `holds`.
    pub fn expect(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.finding(&text());
        }
    }

    /// A finding, if an oracle says so.
    pub fn hold(&mut self, judged: Result<(), Violation>) {
        if let Err(violation) = judged {
            self.finding(&violation.to_string());
        }
    }

    /// A victim said that something is wrong.
    pub fn hear(&mut self, stamps: &Stamps, meanings: &[&str]) {
        let code = stamps.wrong.swap(0);
        if code != 0 {
            let meaning = meanings.get(code as usize - 1).copied().unwrap_or("an unknown complaint");
            let (found, expected) = (stamps.wrong_found.get(), stamps.wrong_expected.get());
            self.finding(&format!("a victim says: {meaning}: found {found}, expected {expected}"));
        }
    }

    /// From just before a kill until a survivor's next success.
    pub fn recovered(&mut self, since: Duration) {
        self.recoveries.add(now() - since);
    }

    /// Spins for a random time below `most`.
    pub fn pause(&mut self, most: Duration) {
        let until = self.instant(most);
        while now() < until {
            std::hint::spin_loop();
        }
    }

    /// Says when a victim that waits in [`Stamps::wait_to_begin`] is to begin, and waits until it is time to send the kill.
    pub fn aim(&mut self, aim: &Aim, stamps: &Stamps) {
        let from = now();
        stamps.begin_at(from + Aim::LEAD);
        let spread = self.rng.random_range(0..Aim::SPREAD.as_nanos() as u64);
        sleep_until(from + aim.after + Duration::from_nanos(spread));
    }

    /// A random instant before `most` from now.
    pub fn instant(&mut self, most: Duration) -> Duration {
        now() + Duration::from_nanos(self.rng.random_range(0..most.as_nanos() as u64))
    }

    /// Spins until `ready`, or a finding after [`HANG`].
    pub fn wait_for(&mut self, what: &str, ready: impl Fn() -> bool) -> bool {
        let until = now() + HANG;
        while !ready() {
            if now() > until {
                self.finding(&format!("hang: waited {HANG:?} for {what}"));
                return false;
            }
            // SAFETY: no arguments.
            unsafe { libc::sched_yield() };
        }
        true
    }

    /// Forks a victim that runs `body`. If it panics it exits with 101.
    pub fn spawn(&mut self, body: impl FnOnce()) -> Victim {
        let stage = Pid::this();
        // SAFETY: the stage has one thread, so the child may do anything.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => Victim { pid: child, over: false },
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
        let status = waitpid(victim.pid, None).expect("a victim that was not waited for");
        victim.over = true;
        match status {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => {
                self.kills += 1;
                *self.phases.entry(stamps.phase()).or_default() += 1;
            }
            WaitStatus::Exited(_, 0) => {}
            other => self.finding(&format!("a victim ended by itself: {other:?}")),
        }
        since
    }

    /// Waits for a victim to exit with 0; a finding if it does not, or hangs.
    pub fn exits(&mut self, victim: &mut Victim, what: &str) {
        let until = now() + HANG;
        loop {
            match waitpid(victim.pid, Some(WaitPidFlag::WNOHANG)).expect("a victim that was not waited for") {
                WaitStatus::StillAlive if now() < until => {
                    // SAFETY: no arguments.
                    unsafe { libc::sched_yield() };
                }
                WaitStatus::StillAlive => {
                    self.finding(&format!("hang: {what} did not end in {HANG:?}; {}", victim.whereabouts()));
                    return;
                }
                WaitStatus::Exited(_, 0) => break,
                other => {
                    self.finding(&format!("{what} ended with {other:?}"));
                    break;
                }
            }
        }
        victim.over = true;
    }

    /// Stops a victim, and waits until it is stopped.
    pub fn stop(&mut self, victim: &Victim) {
        kill(victim.pid, Signal::SIGSTOP).expect("a victim that was not waited for");
        let status = waitpid(victim.pid, Some(WaitPidFlag::WUNTRACED)).expect("a victim that was not waited for");
        self.expect(matches!(status, WaitStatus::Stopped(..)), || format!("a victim did not stop: {status:?}"));
    }

    /// Lets a stopped victim go on.
    pub fn go_on(&self, victim: &Victim) {
        kill(victim.pid, Signal::SIGCONT).expect("a victim that was not waited for");
    }

    fn finish(self) {
        self.tell("end");
    }

    /// How things stand; what is told before is in place of what was told the last time.
    fn tell(&self, how: &str) {
        let times = self.recoveries.buckets().map(|(nanoseconds, count)| format!("{nanoseconds}:{count}"));
        println!("recovery\t{}", times.collect::<Vec<_>>().join(" "));
        for (phase, count) in &self.phases {
            println!("phase\t{phase}\t{count}");
        }
        println!("{how}\t{}\t{}\t{}", self.cases, self.kills, self.findings);
    }
}

/// A victim; killed when it goes out of scope, if it is still there.
pub struct Victim {
    pid: Pid,
    over: bool,
}

impl Victim {
    /// Where it hangs, as far as the kernel tells.
    fn whereabouts(&self) -> String {
        let read = |what| {
            let text = std::fs::read_to_string(format!("/proc/{}/{what}", self.pid)).unwrap_or_default();
            format!("{what}: {}", text.trim())
        };
        ["wchan", "syscall", "stack"].map(read).join("; ")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if !self.over {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}
