//! How long after a SIGKILL a survivor is told.

use crate::pair::{Sample, Stage, pin};
use crate::plan::{Contender, Group, Measure};
use crate::shared::{Child, Court, finish};
use ownerdead::lock::{LockError, RobustMutex};
use ownerdead::ring::spsc::{Config, PopError, Ring};
use ownerdead::segment::Options;
use ownerdead::sync::time::now;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::hint::{black_box, spin_loop};

/// Bytes that a victim has touched.
const SIZES: [usize; 2] = [0, 256 << 20];

/// Sides: who dies, and who is told.
const VICTIM: usize = 0;
const SURVIVOR: usize = 1;

/// By what the survivor is told.
#[derive(Clone)]
enum Watch {
    Lock(RobustMutex<u64>),
    Pop(Ring),
    Pidfd,
}

type Make = fn() -> Watch;

const WATCHES: [(&str, Make); 3] = [
    ("ownerdead RobustMutex::lock", Watch::lock),
    ("ownerdead Consumer::pop", Watch::pop),
    ("pidfd, poll", || Watch::Pidfd),
];

impl Watch {
    fn lock() -> Self {
        Self::Lock(RobustMutex::memfd(&Options::new(), 0).expect("a mutex"))
    }

    fn pop() -> Self {
        Self::Pop(Ring::memfd(&Options::new(), &Config::new(4096)).expect("a ring"))
    }

    /// The victim: holds what the survivor waits for, and works until it is killed.
    fn hold(&self, court: &Court, bytes: usize) {
        let _touched = black_box(vec![0xa5u8; bytes]);
        let work = || {
            court.meet(VICTIM);
            loop {
                spin_loop();
            }
        };
        match self {
            Self::Lock(mutex) => {
                let me = mutex.attach().expect("a free slot");
                let _guard = mutex.lock(&me).expect("nobody died");
                work()
            }
            Self::Pop(ring) => {
                let me = ring.attach().expect("a free slot");
                let _producer = ring.producer(&me).expect("a vacant seat");
                work()
            }
            Self::Pidfd => work(),
        }
    }

    /// The survivor: sleeps until the victim is dead, and says when it was told.
    fn wait(&self, court: &Court, victim: i32) {
        match self {
            Self::Lock(mutex) => {
                let me = mutex.attach().expect("a free slot");
                about_to_sleep(court);
                let had = mutex.lock(&me);
                told(court);
                assert!(matches!(had, Err(LockError::OwnerDied(_))), "the holder died");
            }
            Self::Pop(ring) => {
                let me = ring.attach().expect("a free slot");
                let mut consumer = ring.consumer(&me).expect("a vacant seat").into_inner();
                about_to_sleep(court);
                let popped = consumer.pop(&mut Vec::new());
                told(court);
                assert!(matches!(popped, Err(PopError::ProducerDied)), "the producer died");
            }
            Self::Pidfd => {
                let victim = Pid::from_raw(victim).expect("a process has a number");
                let pidfd = pidfd_open(victim, PidfdFlags::empty()).expect("pidfd_open");
                about_to_sleep(court);
                let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None);
                told(court);
                assert_eq!(ready, Ok(1));
            }
        }
    }
}

fn about_to_sleep(court: &Court) {
    court.meet(SURVIVOR);
    court.say(SURVIVOR, [1, 0, 0, 0]);
}

fn told(court: &Court) {
    court.say(SURVIVOR, [1, now().as_nanos() as u64, 0, 0]);
}

/// The letter of a process's state, as in `proc_pid_stat(5)`.
fn state(process: &Child) -> Result<char, String> {
    let path = format!("/proc/{}/stat", process.pid());
    let stat = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The name, in parentheses, may hold anything.
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    after_name.chars().next().ok_or_else(|| format!("{path} is empty"))
}

fn sample(stage: &Stage, watch: &Watch, bytes: usize) -> Result<Sample, String> {
    let (court, [victims, survivors]) = (stage.court, stage.cpus);
    court.say(SURVIVOR, [0; 4]);
    let mut victim = Child::fork(|| {
        pin(victims);
        watch.hold(court, bytes);
    });
    let number = victim.pid().as_raw();
    let survivor = Child::fork(|| {
        pin(survivors);
        watch.wait(court, number);
    });
    // Killed when the survivor sleeps: a poll of its state, since nobody tells of that.
    while court.heard(SURVIVOR)[0] == 0 || state(&survivor)? != 'S' {
        if [&victim, &survivor].into_iter().any(|child| state(child).is_ok_and(|state| state == 'Z')) {
            return Err("a process of the benchmark ended too early".into());
        }
        // SAFETY: no arguments.
        unsafe { libc::sched_yield() };
    }
    let killed = now().as_nanos() as u64;
    victim.kill();
    finish(&mut [survivor])?;
    let [_, told, ..] = court.heard(SURVIVOR);
    Ok(Sample::Kept { value: told.saturating_sub(killed) as f64, raw: None })
}

/// The table of deaths.
pub fn deaths() -> Group {
    let contenders = SIZES
        .into_iter()
        .flat_map(|size| {
            WATCHES.map(|(name, watch)| Contender {
                name: name.into(),
                size,
                sample: Box::new(move |stage| sample(stage, &watch(), size)),
            })
        })
        .collect();
    Group {
        name: "death notice",
        what: "from just before SIGKILL until a sleeping survivor runs; the victim was busy on another processor",
        measure: Measure::Notice,
        rounds: [40, 4],
        contenders,
        aims: Vec::new(),
    }
}
