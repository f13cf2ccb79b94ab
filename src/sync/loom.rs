//! loom, reduced to what the simulated kernel needs of a scheduler.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ::loom::model::Builder;

pub(crate) use ::loom::sync::atomic::{AtomicU32, AtomicU64, fence};
pub(crate) use ::loom::thread::{JoinHandle, Thread, current, park};

/// What the reports call this back end.
pub(crate) const NAME: &str = "loom";

/// A payload cell: loom reports two accesses that no happens-before edge orders.
#[derive(Debug)]
pub(crate) struct Cell<T>(::loom::cell::UnsafeCell<T>);

impl<T> Cell<T> {
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        Self(::loom::cell::UnsafeCell::new(value))
    }
    /// Counts as a read.
    #[track_caller]
    pub(crate) fn read(&self) -> *const T {
        self.0.with(|value| value)
    }
    /// Counts as a write.
    #[track_caller]
    pub(crate) fn write(&self) -> *mut T {
        self.0.with_mut(|value| value)
    }
}

/// A granule of payload.
pub(crate) type GranuleCell = Cell<u64>;

impl GranuleCell {
    #[track_caller]
    pub(crate) fn load(&self) -> u64 {
        // SAFETY: loom runs one thread at a time and has just checked that no write races with this read.
        unsafe { *self.read() }
    }
    #[track_caller]
    pub(crate) fn store(&self, value: u64) {
        // SAFETY: as above.
        unsafe { *self.write() = value }
    }
}

/// Starts a model thread.
pub(crate) fn spawn(body: impl FnOnce() + 'static) -> JoinHandle<()> {
    ::loom::thread::spawn(body)
}

/// How far to explore.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) preemptions: Option<usize>,
    pub(crate) until: Option<Instant>,
}

impl Limits {
    pub(crate) fn new(preemptions: usize, _runs: usize, _seed: u64, until: Instant) -> Self {
        Self { preemptions: Some(preemptions), until: Some(until) }
    }
}

/// Thrown at the start of an execution when time is up: loom's own limits end a check as if it had been complete.
struct OutOfTime;

/// Thrown at the start of the execution after the one that was wanted.
struct Enough;

/// What the model does.
pub(crate) type Execution = Arc<dyn Fn() + Send + Sync>;

thread_local! {
    /// How many executions this thread's last exploration began.
    static BEGAN: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

fn builder(limits: Limits) -> Builder {
    let mut builder = Builder::new();
    builder.preemption_bound = limits.preemptions;
    builder.max_branches = 20_000;
    builder.max_threads = 5;
    builder
}

/// Runs `execution` for every execution within the limits. `Err` with the number that ran, if time ended it.
pub(crate) fn explore(limits: Limits, execution: Execution) -> Result<u64, u64> {
    BEGAN.set(0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        builder(limits).check(move || {
            if limits.until.is_some_and(|until| Instant::now() >= until) {
                resume_unwind(Box::new(OutOfTime));
            }
            BEGAN.set(BEGAN.get() + 1);
            execution();
        });
    }));
    match result {
        Ok(()) => Ok(BEGAN.get() as u64),
        Err(payload) if payload.is::<OutOfTime>() => Err(BEGAN.get() as u64),
        Err(payload) => resume_unwind(payload),
    }
}

/// The schedule of the execution in which the last exploration of this thread failed, as text.
///
/// loom writes its path down only as it goes, and only in steps of so many executions. So the same exploration is made once
/// more, which is as long as the first; its step is the number of the execution that failed.
pub(crate) fn failed_schedule(
    limits: Limits,
    scratch: &Path,
    execution: &Execution,
    _same: &dyn Fn(&(dyn Any + Send)) -> bool,
) -> Result<(String, String), String> {
    let wanted = BEGAN.get();
    // What is there loom would take for where to begin.
    let _ = std::fs::remove_file(scratch);
    let mut builder = builder(limits);
    builder.checkpoint_interval = wanted;
    builder.checkpoint_file = Some(scratch.to_owned());
    let result = catch_unwind(AssertUnwindSafe(|| check_at_most(wanted, &builder, Arc::clone(execution))));
    let text = std::fs::read_to_string(scratch).map_err(|error| format!("{}: {error}", scratch.display()));
    let _ = std::fs::remove_file(scratch);
    match result {
        Err(payload) if !payload.is::<Enough>() => Ok((text?, String::new())),
        _ => Err(format!("execution {wanted} was no failure the second time: the model is not deterministic")),
    }
}

/// Runs the one execution that `schedule` describes. `Err` if it does not fit.
pub(crate) fn replay(schedule: &str, scratch: &Path, execution: &Execution) -> Result<(), String> {
    std::fs::write(scratch, schedule).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let mut builder = builder(Limits { preemptions: None, until: None });
    builder.checkpoint_interval = usize::MAX;
    builder.checkpoint_file = Some(scratch.to_owned());
    let result = catch_unwind(AssertUnwindSafe(|| check_at_most(1, &builder, Arc::clone(execution))));
    let _ = std::fs::remove_file(scratch);
    match result {
        Ok(()) => Ok(()),
        Err(payload) if payload.is::<Enough>() => Ok(()),
        Err(payload) => resume_unwind(payload),
    }
}

/// loom takes no schedule from outside, and nobody asks it to.
pub(crate) fn run_bytes(_bytes: &[u8], _execution: &Execution) {
    unreachable!("bytes drive shuttle alone");
}

/// Throws [`Enough`] where execution `most + 1` would begin.
fn check_at_most(most: usize, builder: &Builder, execution: Execution) {
    BEGAN.set(0);
    builder.check(move || {
        if BEGAN.get() == most {
            resume_unwind(Box::new(Enough));
        }
        BEGAN.set(BEGAN.get() + 1);
        execution();
    });
}

/// What an exploration looks at, for the report.
pub(crate) fn bound(without_deaths: usize, with_deaths: usize, _seed: u64) -> String {
    format!("every execution of at most {without_deaths} pre-emptions, {with_deaths} with deaths")
}

/// After how many points at which nobody died a sweep takes it that the process has none left.
pub(crate) const MISSES: usize = 1;

/// Whether a weak compare-and-swap fails for no reason. loom has no choices of its own to make, so never.
pub(crate) fn spuriously() -> bool {
    false
}
