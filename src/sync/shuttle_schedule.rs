//! Schedules as data: written down as they happen, run again, shortened, and read from a fuzzer's bytes.
//!
//! A schedule is who went on at each point where the scheduler was asked, as runs of one task, and the random numbers that
//! were drawn. Task 0 is the model's main thread; process `n` is task `n + 1`.

use crate::sync::kernel;
use ::shuttle::scheduler::{RandomScheduler, Schedule as Started, Scheduler, Task, TaskId};
use core::cell::RefCell;
use core::fmt;
use core::mem::ManuallyDrop;
use core::str::FromStr;
use std::time::{Duration, Instant};

/// No spurious failure, whatever it is asked for.
const CALM: u64 = u64::MAX;

thread_local! {
    /// The execution under way, or the last one.
    static RECORD: RefCell<Schedule> = RefCell::default();
    /// Why the last schedule did not fit.
    static MISFIT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Who goes on, and what is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Tasks, and for how many decisions each goes on.
    runs: Vec<(usize, u32)>,
    draws: Vec<u64>,
}

impl Schedule {
    /// That of this thread's last execution.
    pub(super) fn recorded() -> Self {
        RECORD.with_borrow(Clone::clone)
    }

    fn push(&mut self, task: usize) {
        match self.runs.last_mut() {
            Some((last, count)) if *last == task => *count += 1,
            _ => self.runs.push((task, 1)),
        }
    }

    /// How often another task goes on than before.
    pub(super) fn switches(&self) -> usize {
        self.runs.len().saturating_sub(1)
    }

    /// A scheduler that follows it. If `strict`, an execution that cannot follow it is given up; otherwise what cannot be done
    /// is left out.
    pub(super) fn script(&self, strict: bool) -> Script {
        MISFIT.set(None);
        Script { schedule: self.clone(), strict, started: false, run: 0, used: 0, drawn: 0 }
    }
}

/// `task*count` for each run, then `|`, then the draws.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (task, count) in &self.runs {
            write!(f, "{task}*{count} ")?;
        }
        write!(f, "|")?;
        self.draws.iter().try_for_each(|draw| write!(f, " {draw:x}"))
    }
}

impl FromStr for Schedule {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (runs, draws) = text.split_once('|')?;
            let run = |run: &str| run.split_once('*').and_then(|(task, n)| Some((task.parse().ok()?, n.parse().ok()?)));
            Some(Self {
                runs: runs.split_whitespace().map(run).collect::<Option<_>>()?,
                draws: draws
                    .split_whitespace()
                    .map(|draw| u64::from_str_radix(draw, 16).ok())
                    .collect::<Option<_>>()?,
            })
        };
        parse().ok_or_else(|| format!("{text:?} is no schedule: expected `task*count ... | draw ...`"))
    }
}

/// Why the last strict script could not be followed.
pub(super) fn misfit() -> Option<String> {
    MISFIT.take()
}

/// shuttle's random scheduler. It is not dropped, for it would print a seed then, with which only shuttle's own tests can do
/// something; it owns no memory.
pub(super) struct Random(ManuallyDrop<RandomScheduler>);

impl Random {
    pub(super) fn new(seed: u64, runs: usize) -> Self {
        Self(ManuallyDrop::new(RandomScheduler::new_from_seed(seed, runs)))
    }
}

impl Scheduler for Random {
    fn new_execution(&mut self) -> Option<Started> {
        self.0.new_execution()
    }
    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        self.0.next_task(runnable, current, is_yielding)
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// Writes down what another scheduler chooses.
pub(super) struct Recorder<S>(pub(super) S);

impl<S: Scheduler> Scheduler for Recorder<S> {
    fn new_execution(&mut self) -> Option<Started> {
        let started = self.0.new_execution()?;
        RECORD.with_borrow_mut(|record| {
            record.runs.clear();
            record.draws.clear();
        });
        Some(started)
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        let task = self.0.next_task(runnable, current, is_yielding)?;
        RECORD.with_borrow_mut(|record| record.push(task.into()));
        Some(task)
    }

    fn next_u64(&mut self) -> u64 {
        let draw = self.0.next_u64();
        RECORD.with_borrow_mut(|record| record.draws.push(draw));
        draw
    }
}

/// The first that can run after `current`, in a round: what happens where a schedule says nothing is that the current one goes
/// on, unless it cannot or asks to be left out.
fn default_choice(runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> TaskId {
    let ids = || runnable.iter().map(|task| task.id());
    match current {
        Some(current) if !is_yielding && ids().any(|id| id == current) => current,
        Some(current) => ids().find(|&id| usize::from(id) > usize::from(current)).unwrap_or(runnable[0].id()),
        None => runnable[0].id(),
    }
}

/// Follows a [`Schedule`], once.
pub(super) struct Script {
    schedule: Schedule,
    strict: bool,
    started: bool,
    /// Which run, and how much of it was used.
    run: usize,
    used: u32,
    drawn: usize,
}

impl Scheduler for Script {
    fn new_execution(&mut self) -> Option<Started> {
        (!core::mem::replace(&mut self.started, true)).then(|| Started::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        while let Some(&(task, count)) = self.schedule.runs.get(self.run) {
            let found = runnable.iter().find(|one| usize::from(one.id()) == task);
            match found {
                Some(task) if self.used < count => {
                    self.used += 1;
                    return Some(task.id());
                }
                None if self.strict && self.used < count => {
                    let who = task.checked_sub(1).map_or("the model itself", kernel::name);
                    let step = kernel::steps();
                    MISFIT.set(Some(format!("step {step} wanted process `{who}`, which cannot run")));
                    return None;
                }
                _ => (self.run, self.used) = (self.run + 1, 0),
            }
        }
        Some(default_choice(runnable, current, is_yielding))
    }

    fn next_u64(&mut self) -> u64 {
        self.drawn += 1;
        self.schedule.draws.get(self.drawn - 1).copied().unwrap_or(CALM)
    }
}

/// Shortens a schedule that fails: run by run it tries to leave one out, or to let one go on until it must stop, and keeps what
/// still `fails` with fewer switches. Bounded in tries and in time, so what it gives may not be the shortest. Also how many
/// tries it took.
pub(super) fn shorten(failed: &Schedule, fails: impl Fn(&Schedule) -> bool) -> (Schedule, usize) {
    const MOST_TRIES: usize = 3_000;
    const MOST_TIME: Duration = Duration::from_secs(3);
    let (started, mut tries) = (Instant::now(), 0);
    let mut best = failed.clone();
    let mut attempt = |candidate: &Schedule, best: &mut Schedule| {
        tries += 1;
        // What was really done is what counts: a script leaves out what cannot be.
        let better = fails(candidate)
            .then(Schedule::recorded)
            .filter(|done| (done.switches(), done.length()) < (best.switches(), best.length()));
        let found = better.is_some();
        *best = better.unwrap_or_else(|| core::mem::take(best));
        (found, tries < MOST_TRIES && started.elapsed() < MOST_TIME)
    };
    // Without failures for no reason, if they do not matter.
    let calm = Schedule { draws: Vec::new(), ..best.clone() };
    if fails(&calm) {
        best = Schedule::recorded();
    }
    loop {
        let mut progress = false;
        let mut run = 0;
        while run < best.runs.len() {
            let mut without = best.clone();
            without.runs.remove(run);
            let mut longer = best.clone();
            longer.runs[run].1 = u32::MAX;
            for candidate in [without, longer] {
                let (found, more) = attempt(&candidate, &mut best);
                if !more {
                    return (best, tries);
                }
                progress |= found;
                if found {
                    break;
                }
            }
            run += 1;
        }
        if !progress {
            return (best, tries);
        }
    }
}

impl Schedule {
    fn length(&self) -> u64 {
        self.runs.iter().map(|&(_, count)| u64::from(count)).sum::<u64>() + self.draws.len() as u64
    }
}

/// Takes its choices from a fuzzer's bytes.
///
/// The first two are a mask: the weak compare-and-swap of number `n` (from 0 to 15) fails for no reason if bit `n` is set. Each
/// further byte is a run: its upper three bits say which of those that can run goes on, its lower five for how many decisions.
/// Where only one can run no byte is used; where they end, the current one goes on until it cannot, and then the next. So a byte
/// that is changed moves one switch, one that is added or removed adds or removes one, and no byte at all is no pre-emption.
pub(super) struct Bytes {
    bytes: Vec<u8>,
    next: usize,
    /// For how many more decisions the current one goes on.
    left: u8,
    weak: u16,
    started: bool,
}

impl Bytes {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let weak = u16::from_le_bytes([byte(0), byte(1)]);
        Self { bytes: bytes.to_vec(), next: 2, left: 0, weak, started: false }
    }
}

impl Scheduler for Bytes {
    fn new_execution(&mut self) -> Option<Started> {
        (!core::mem::replace(&mut self.started, true)).then(|| Started::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        if let [only] = runnable {
            return Some(only.id());
        }
        let goes_on = current.filter(|&current| !is_yielding && runnable.iter().any(|task| task.id() == current));
        if let Some(current) = goes_on
            && self.left > 0
        {
            self.left -= 1;
            return Some(current);
        }
        let Some(&byte) = self.bytes.get(self.next) else {
            return Some(default_choice(runnable, current, is_yielding));
        };
        self.next += 1;
        self.left = byte & 0x1f;
        Some(runnable[usize::from(byte >> 5) % runnable.len()].id())
    }

    fn next_u64(&mut self) -> u64 {
        let fails = self.weak & 1 != 0;
        self.weak >>= 1;
        if fails { 0 } else { CALM }
    }
}
