//! loom, reduced to what the simulated kernel needs of a scheduler.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Instant;

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

/// Runs `execution` for every execution within the limits. `Err` with the number that ran, if time ended it.
pub(crate) fn explore(limits: Limits, execution: impl Fn() + Send + Sync + 'static) -> Result<u64, u64> {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = limits.preemptions;
    builder.max_branches = 20_000;
    builder.max_threads = 5;
    let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let ran = || count.load(std::sync::atomic::Ordering::Relaxed);
    let result = catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            if limits.until.is_some_and(|until| Instant::now() >= until) {
                resume_unwind(Box::new(OutOfTime));
            }
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            execution();
        });
    }));
    match result {
        Ok(()) => Ok(ran()),
        Err(payload) if payload.is::<OutOfTime>() => Err(ran()),
        Err(payload) => resume_unwind(payload),
    }
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
