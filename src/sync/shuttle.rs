//! shuttle, reduced to what the simulated kernel needs of a scheduler.

#[path = "shuttle_schedule.rs"]
mod schedule;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use ::shuttle::scheduler::{PctScheduler, Scheduler};
use schedule::{Random, Recorder, Schedule};

pub(crate) use ::shuttle::sync::atomic::{AtomicU32, AtomicU64, fence};
pub(crate) use ::shuttle::thread::{JoinHandle, Thread, current, park};

/// What the reports call this back end.
pub(crate) const NAME: &str = "shuttle";

/// A payload cell. shuttle checks no races; exclusion is for oracles to watch.
#[derive(Debug)]
pub(crate) struct Cell<T>(core::cell::UnsafeCell<T>);

impl<T> Cell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }
    pub(crate) fn read(&self) -> *const T {
        self.0.get()
    }
    pub(crate) fn write(&self) -> *mut T {
        self.0.get()
    }
}

/// A granule of payload: an atomic, so that the scheduler may switch between any two of them and torn records show.
#[derive(Debug)]
pub(crate) struct GranuleCell(AtomicU64);

impl GranuleCell {
    pub(crate) fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }
    pub(crate) fn load(&self) -> u64 {
        self.0.load(core::sync::atomic::Ordering::Relaxed)
    }
    pub(crate) fn store(&self, value: u64) {
        self.0.store(value, core::sync::atomic::Ordering::Relaxed)
    }
}

/// Model threads share one OS thread, so nothing is really sent.
struct OneThread<F>(F);
// SAFETY: shuttle runs all threads of an execution as coroutines on the OS thread that started it.
unsafe impl<F> Send for OneThread<F> {}

impl<F: FnOnce()> OneThread<F> {
    fn call(self) {
        (self.0)()
    }
}

/// Starts a model thread.
pub(crate) fn spawn(body: impl FnOnce() + 'static) -> JoinHandle<()> {
    let body = OneThread(body);
    ::shuttle::thread::spawn(move || body.call())
}

/// How far to explore.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) runs: usize,
    pub(crate) seed: u64,
    pub(crate) until: Option<Instant>,
}

impl Limits {
    pub(crate) fn new(_preemptions: usize, runs: usize, seed: u64, until: Instant) -> Self {
        Self { runs, seed, until: Some(until) }
    }
}

/// Thrown at the start of an execution when time is up.
struct OutOfTime;

/// What the model does.
pub(crate) type Execution = Arc<dyn Fn() + Send + Sync>;

fn run(scheduler: impl Scheduler + 'static, execution: &Execution) {
    let mut config = ::shuttle::Config::new();
    config.failure_persistence = ::shuttle::FailurePersistence::None;
    config.stack_size = 1 << 18;
    config.max_steps = ::shuttle::MaxSteps::FailAfter(200_000);
    let execution = Arc::clone(execution);
    ::shuttle::Runner::new(Recorder(scheduler), config).run(move || execution());
}

/// Runs `execution` under `limits.runs` schedules: half of them random, half by PCT with three change points. `Err` with the
/// number that ran, if time ended it.
pub(crate) fn explore(limits: Limits, execution: Execution) -> Result<u64, u64> {
    let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let execution: Execution = Arc::new(move || {
        if limits.until.is_some_and(|until| Instant::now() >= until) {
            resume_unwind(Box::new(OutOfTime));
        }
        counted.fetch_add(1, Relaxed);
        execution();
    });
    let (random, pct) = (limits.runs.div_ceil(2), limits.runs / 2);
    let result = catch_unwind(AssertUnwindSafe(|| {
        run(Random::new(limits.seed, random), &execution);
        if pct > 0 {
            run(PctScheduler::new_from_seed(limits.seed, 3, pct), &execution);
        }
    }));
    let ran = count.load(Relaxed);
    match result {
        Ok(()) => Ok(ran),
        Err(payload) if payload.is::<OutOfTime>() => Err(ran),
        Err(payload) => resume_unwind(payload),
    }
}

/// The schedule of the execution in which the last exploration of this thread failed, as text; shortened, as the second text
/// says.
pub(crate) fn failed_schedule(
    _limits: Limits,
    _scratch: &Path,
    execution: &Execution,
    same: &dyn Fn(&(dyn Any + Send)) -> bool,
) -> Result<(String, String), String> {
    let failed = Schedule::recorded();
    let (short, tries) = schedule::shorten(&failed, |schedule| {
        catch_unwind(AssertUnwindSafe(|| run(schedule.script(false), execution))).is_err_and(|payload| same(&*payload))
    });
    let said = format!("shortened from {} switches to {}, in {tries} tries", failed.switches(), short.switches());
    Ok((short.to_string(), said))
}

/// Runs the one execution that `schedule` describes. `Err` if it does not fit.
pub(crate) fn replay(schedule: &str, _scratch: &Path, execution: &Execution) -> Result<(), String> {
    let schedule: Schedule = schedule.parse()?;
    run(schedule.script(true), execution);
    schedule::misfit().map_or(Ok(()), Err)
}

/// Runs the one execution that `bytes` describe.
pub(crate) fn run_bytes(bytes: &[u8], execution: &Execution) {
    run(schedule::Bytes::new(bytes), execution);
}

/// What an exploration looks at, for the report.
pub(crate) fn bound(_without_deaths: usize, _with_deaths: usize, seed: u64) -> String {
    format!("a sample of all executions, seed {seed}")
}

/// After how many points at which nobody died a sweep takes it that the process has none left: a sample may miss one.
pub(crate) const MISSES: usize = 3;

/// Whether a weak compare-and-swap fails for no reason, as some processors let it: one in four, by the schedule's seed.
pub(crate) fn spuriously() -> bool {
    use ::shuttle::rand::Rng;
    ::shuttle::rand::thread_rng().gen_ratio(1, 4)
}
