//! The stage: a small single-threaded process that forks victims and kills them.

mod aim;
pub mod cgroup;
mod hang;
pub mod janitor;
pub mod keep;
mod victim;

pub use aim::{Aim, Trigger};
pub use hang::family;
pub use victim::Victim;

use crate::plan;
use crate::scenarios;
use crate::stamps::Stamps;
use nix::errno::Errno;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use ownerdead::harness::oracle::Violation;
use ownerdead::harness::record::Times;
use ownerdead::sync::futex::look_again_after;
use ownerdead::sync::time::now;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

static PATIENCE: OnceLock<Duration> = OnceLock::new();

/// No wait is longer than this: then it is a hang, and a finding. It decides nothing else. 10 s, unless a scenario is slow on
/// purpose and said so in the beginning ([`Stage::has_patience`]).
pub fn hang() -> Duration {
    *PATIENCE.get_or_init(|| Duration::from_secs(10))
}

/// What a scenario works with, and what it has found so far.
pub struct Stage {
    /// The dice of this round: what it throws follows from the seed and the round alone.
    pub rng: StdRng,
    name: String,
    seed: u64,
    round: u64,
    people: Vec<victim::Person>,
    watched: Vec<keep::Watched>,
    hung: bool,
    until: Duration,
    spoke: Duration,
    /// Operations or rounds that were judged.
    pub cases: u64,
    kills: u64,
    phases: BTreeMap<&'static str, u64>,
    recoveries: Times,
    findings: u64,
}

/// Runs scenario `name` as the stage.
pub fn run(name: &str) -> ExitCode {
    die_with_parent();
    // SAFETY: PR_SET_TIMERSLACK takes nanoseconds: sleeps shall end when they are due.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    no_core_dumps();
    tick();
    // A sleeper that nobody wakes is to hang, and not to be late.
    look_again_after(Duration::MAX);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok()).expect("set by the test");
    let seconds: f64 = std::env::var("OWNERDEAD_CHAOS_SECONDS").expect("set by the test").parse().expect("a number");
    let seed = number("OWNERDEAD_SEED");
    let mut stage = Stage {
        rng: plan::dice(seed, 0),
        name: name.to_owned(),
        seed,
        round: 0,
        people: Vec::new(),
        watched: Vec::new(),
        hung: false,
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

/// Of each victim one is not wanted. One that is to dump its core takes the hard limit.
fn no_core_dumps() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to write to, and plain data.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) };
    limit.rlim_cur = 0;
    // SAFETY: as above.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) };
}

/// Interrupts the stage's system calls each second, so that each wait ends at some time and can be said to hang. Children do not
/// inherit the timer.
fn tick() {
    extern "C" fn nothing(_: libc::c_int) {}
    let second = libc::timeval { tv_sec: 1, tv_usec: 0 };
    // SAFETY: an all-zero sigaction is a valid one, without SA_RESTART; its handler does nothing. The timer is plain data.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        let every = libc::itimerval { it_interval: second, it_value: second };
        libc::setitimer(libc::ITIMER_REAL, &every, std::ptr::null_mut());
    }
}

impl Stage {
    /// Whether there is time for another round, whose dice are thrown now. Says now and then how things stand.
    pub fn goes_on(&mut self) -> bool {
        self.round += 1;
        self.rng = plan::dice(self.seed, self.round);
        let now = now();
        if now - self.spoke > Duration::from_millis(500) {
            self.spoke = now;
            self.tell("progress");
        }
        now < self.until && self.findings < 10 && !self.hung
    }

    /// Something that must never be.
    pub fn finding(&mut self, text: &str) {
        self.findings += 1;
        let kept = if self.findings == 1 { self.keep() } else { String::new() };
        println!("finding\t{} (round {}){kept}", text.replace(['\n', '\t'], " "), self.round);
    }

    /// Something that never ended, with what all processes of the scenario do. The scenario ends with it.
    pub fn hangs(&mut self, what: &str) {
        self.hung = true;
        let text = format!("hang: {what} in {:?}; {}", hang(), self.whereabouts());
        self.finding(&text);
    }

    /// A part of the scenario, or all of it, cannot run here.
    pub fn not_run(&mut self, part: &str, why: &str) {
        println!("not-run\t{part}\t{}", why.replace(['\n', '\t'], " "));
    }

    /// All is slow in this scenario, on purpose. To be said before anything else.
    pub fn has_patience(&self, patience: Duration) {
        PATIENCE.set(patience).expect("nobody has waited yet");
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

    /// Sleeps.
    pub fn sleep(&self, time: Duration) {
        sleep_until(now() + time);
    }

    /// A random instant before `most` from now.
    pub fn instant(&mut self, most: Duration) -> Duration {
        now() + Duration::from_nanos(self.rng.random_range(0..most.as_nanos() as u64))
    }

    /// Spins until `ready`, or a finding after [`hang`].
    pub fn wait_for(&mut self, what: &str, ready: impl Fn() -> bool) -> bool {
        let until = now() + hang();
        while !ready() {
            if now() > until {
                self.hangs(&format!("waited for {what}"));
                return false;
            }
            // SAFETY: no arguments.
            unsafe { libc::sched_yield() };
        }
        true
    }

    /// The same, with a nudge now and then.
    pub fn nudge_until(&mut self, what: &str, ready: impl Fn() -> bool, mut nudge: impl FnMut(&mut Self)) -> bool {
        let until = now() + hang();
        while now() < until && self.findings == 0 {
            let next = now() + Duration::from_micros(200);
            while now() < next {
                if ready() {
                    return true;
                }
            }
            nudge(self);
        }
        self.wait_for(what, ready)
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
