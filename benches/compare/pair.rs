//! One sample by two sides, each on its own processor, with the raw cache-line ping-pong between them before and after.

use crate::shared::{Child, Court, court, finish, or_exit};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use std::time::Instant;

/// Round trips of one raw ping-pong.
const RAW_TRIPS: u64 = 1000;

/// Relative difference of the raw ping-pong before and after, above which a sample is dropped: its cores have moved.
pub const UNSTEADY: f64 = 0.15;

/// The work of one side: does so many operations.
pub type Work = Box<dyn FnMut(usize)>;

/// Sets a side up, in the thread that will work.
pub type Setup = Box<dyn FnOnce() -> Work + Send>;

/// Both sides of a sample.
pub struct Pair {
    pub sides: [Setup; 2],
    /// Whether both sides are threads of one process: some contenders cannot cross processes.
    pub threads: bool,
}

/// How much work a sample is.
#[derive(Clone, Copy)]
pub struct Load {
    /// Operations before the sample, so that its memory is mapped and its code is known.
    pub warm_up: usize,
    /// Operations in the sample.
    pub count: usize,
}

/// What a sample said.
#[derive(Clone, Copy)]
pub enum Sample {
    /// Nanoseconds per operation, and of a raw ping-pong if it has two sides.
    Kept { value: f64, raw: Option<f64> },
    /// The raw ping-pong has changed meanwhile.
    Unsteady,
    /// A side was pre-empted meanwhile: something else wanted its processor.
    Preempted,
}

/// The first two processors that this process may use.
///
/// # Errors
/// A message, if there are not two.
pub fn two_processors() -> Result<[usize; 2], String> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(|errno| format!("sched_getaffinity: {errno}"))?;
    let mut usable = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    match (usable.next(), usable.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => Err("two processors are needed, and this process may use only one: see taskset(1)".into()),
    }
}

/// Keeps the calling thread on one processor.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a processor of this machine");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a processor that this process may use");
}

impl Pair {
    /// Runs it once.
    ///
    /// # Errors
    /// A message, if a side failed.
    pub fn run(self, court: &'static Court, cpus: [usize; 2], load: Load) -> Result<Sample, String> {
        let [first, second] = self.sides;
        let side = move |index: usize, setup: Setup| or_exit(|| play(court, index, cpus[index], setup, load));
        if self.threads {
            let both = || {
                std::thread::scope(|scope| {
                    scope.spawn(move || side(1, second));
                    side(0, first);
                });
            };
            finish(&mut [Child::fork(both)])?;
        } else {
            // Each takes what it needs and leaves the rest: a child's copies go with it.
            finish(&mut [Child::fork(|| side(0, first)), Child::fork(|| side(1, second))])?;
        }
        Ok(judge(court, load))
    }
}

/// One side of a sample.
fn play(court: &Court, side: usize, cpu: usize, setup: Setup, load: Load) {
    pin(cpu);
    let mut work = setup();
    court.meet(side);
    work(load.warm_up);
    court.meet(side);
    court.ping_pong(side, RAW_TRIPS / 10);
    let preempted = preemptions();
    let before = nanoseconds(|| court.ping_pong(side, RAW_TRIPS));
    court.meet(side);
    let took = nanoseconds(|| work(load.count));
    court.meet(side);
    let after = nanoseconds(|| court.ping_pong(side, RAW_TRIPS));
    court.say(side, [before, took, after, preemptions() - preempted]);
    court.meet(side);
}

fn judge(court: &Court, load: Load) -> Sample {
    let [first, second] = [court.heard(0), court.heard(1)];
    let [before, _, after, _] = first.map(|nanoseconds| nanoseconds as f64 / RAW_TRIPS as f64);
    if first[3] + second[3] > 0 {
        Sample::Preempted
    } else if !alike(before, after) {
        Sample::Unsteady
    } else {
        // The side that ended last has seen all of it.
        let took = first[1].max(second[1]) as f64;
        Sample::Kept { value: took / load.count as f64, raw: Some(f64::midpoint(before, after)) }
    }
}

/// Whether two raw ping-pongs are between the same two cores.
pub fn alike(first: f64, second: f64) -> bool {
    (first - second).abs() <= UNSTEADY * first.min(second)
}

pub fn nanoseconds(work: impl FnOnce()) -> u64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as u64
}

/// How often the calling thread has lost its processor to another.
pub fn preemptions() -> u64 {
    getrusage(UsageWho::RUSAGE_THREAD).expect("the calling thread exists").involuntary_context_switches() as u64
}

/// The court of a benchmark, and the processors of its sides.
pub struct Stage {
    pub court: &'static Court,
    pub cpus: [usize; 2],
}

impl Stage {
    /// # Errors
    /// A message, if there are not two processors.
    pub fn new() -> Result<Self, String> {
        Ok(Self { court: court(), cpus: two_processors()? })
    }
}
