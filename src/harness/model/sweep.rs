//! The sweep: which deaths are explored, and what is said of it.

use super::super::report::{Line, State};
use super::plan::{deaths_of, name_kills};
use super::replay::{Asked, Replay};
use super::{Rules, World, execute};
use crate::sync::kernel::{self, DeathPlace, Kill, Variant, When};
use crate::sync::{mutant, rt};
use core::time::Duration;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A model and how far to sweep it.
pub struct Sweep {
    pub(super) name: &'static str,
    pub(super) victims: Vec<&'static str>,
    pub(super) deaths: usize,
    preemptions: usize,
    preemptions_with_deaths: usize,
    full_preemptions: Option<(usize, usize)>,
    runs: usize,
    pub(super) rules: Rules,
    delayed: Option<&'static str>,
    unfenced: Option<&'static str>,
    only: Option<String>,
    stale: bool,
    sleepers: bool,
}

impl Sweep {
    /// A sweep without deaths, at three pre-emptions under loom and 40,000 runs under shuttle.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            victims: Vec::new(),
            deaths: 0,
            preemptions: 3,
            preemptions_with_deaths: 2,
            full_preemptions: None,
            runs: 40_000,
            rules: Rules::default(),
            delayed: None,
            unfenced: None,
            only: None,
            stale: false,
            sleepers: false,
        }
    }

    /// Each of `victims` dies, at every point; one in each execution.
    pub fn victims(mut self, victims: &[&'static str]) -> Self {
        self.victims = victims.to_vec();
        self.deaths = self.deaths.max(1);
        self
    }

    /// Two die in each execution: each pair of points of the victims, restarted ones included.
    pub fn two_deaths(mut self) -> Self {
        self.deaths = 2;
        self
    }

    /// The most pre-emptions in one execution under loom, without deaths and with; one more of each in the full tier.
    pub fn preemptions(mut self, without_deaths: usize, with_deaths: usize) -> Self {
        (self.preemptions, self.preemptions_with_deaths) = (without_deaths, with_deaths);
        self
    }

    /// The same for the full tier, in place of one more of each: that may be ten times the work, and more.
    pub fn full_preemptions(mut self, without_deaths: usize, with_deaths: usize) -> Self {
        self.full_preemptions = Some((without_deaths, with_deaths));
        self
    }

    /// The most pre-emptions in this tier, without deaths and with.
    fn bounds(&self, full: bool) -> (usize, usize) {
        let (without, with) = (self.preemptions, self.preemptions_with_deaths);
        if full { self.full_preemptions.unwrap_or((without + 1, with + 1)) } else { (without, with) }
    }

    /// How many schedules shuttle tries without a death; at each point of death a twentieth of them.
    pub fn runs(mut self, runs: usize) -> Self {
        self.runs = runs;
        self
    }

    /// The model has time-outs, so its end may be later than its beginning. Otherwise that is a violation.
    pub fn time_may_pass(mut self) -> Self {
        self.rules.time_may_pass = true;
        self
    }

    /// All stores of one kind sink as far as a compiler may let them, and are lost if their process dies before: `store`, `payload
    /// store`, `pending set`, `pending cleared`, `robust link` or `robust unlink`. (In the real thing those to the robust
    /// list have compiler fences around them.) To delay one store alone, see `OWNERDEAD_DELAY`.
    pub fn delays(mut self, stores: &'static str) -> Self {
        self.delayed = Some(stores);
        self
    }

    /// No operation of this kind (`compiler_fence`, or one on the robust list) holds a delayed store back.
    pub fn unfences(mut self, operations: &'static str) -> Self {
        self.unfenced = Some(operations);
        self
    }

    /// A compare-and-swap that fails may give an older value, as C11 lets it; loom's own gives the newest one. It costs about twice the
    /// executions. For all sweeps: `OWNERDEAD_STALE=1`.
    pub fn stale_failures(mut self) -> Self {
        self.stale = true;
        self
    }

    /// Somebody has to die while another process sleeps, or the sweep fails: it says nothing of sleepers that are never asleep. With few
    /// pre-emptions the processes run in the order in which they were added, so those that are to sleep come first.
    pub fn beside_sleepers(mut self) -> Self {
        self.sleepers = true;
        self
    }

    /// Explores with these deaths alone, in the notation of `OWNERDEAD_KILL`.
    pub fn only(mut self, deaths: &str) -> Self {
        self.only = Some(deaths.to_owned());
        self
    }

    /// The kernel below is of this kind.
    pub fn kernel(mut self, variant: Variant) -> Self {
        self.rules.kernel = variant;
        self
    }

    /// Explores the model that `build` makes, which is called once for each execution.
    ///
    /// # Panics
    /// If an execution violates something (with its interleaving and how to repeat it), or the sweep could not be finished.
    pub fn run(self, build: impl Fn(&mut World) + Send + Sync + 'static) {
        let asked = Replay::asked(self.name);
        if let Some(Asked::Another(other)) = &asked {
            println!("{}: not explored, since OWNERDEAD_REPLAY is for the sweep `{other}` of this test", self.name);
            return;
        }
        let (mut run, result) = self.explore(asked, build);
        let covered = run.covered();
        match result {
            Ok(()) if run.is_to_have_sleepers() && run.beside_sleepers == 0 => run.without_sleepers(),
            Ok(()) => run.emit(State::Pass, 0, &covered),
            Err(Stopped::OutOfTime { at }) => run.out_of_time(&at),
            Err(Stopped::Misfit(why)) => run.misfit(&why),
            Err(Stopped::Violation(payload)) => {
                run.emit(State::Fail, 1, message(&*payload));
                resume_unwind(payload);
            }
        }
    }

    /// Explores a model that is known to violate something, and gives what it was. To show that a check can fail.
    ///
    /// # Panics
    /// If nothing was found, or the sweep ran out of its time before.
    pub fn finds(self, build: impl Fn(&mut World) + Send + Sync + 'static) -> String {
        let asked = Replay::asked(self.name);
        let (mut run, result) = self.explore(asked, build);
        match result {
            Ok(()) => {
                let text = format!("found nothing, where something is known to be wrong; {}", run.covered());
                run.emit(State::Fail, 1, &text);
                panic!("{}: {text}", run.sweep.name);
            }
            Err(Stopped::OutOfTime { at }) => run.out_of_time(&at),
            Err(Stopped::Misfit(why)) => run.misfit(&why),
            Err(Stopped::Violation(payload)) => {
                let found = message(&*payload).to_owned();
                run.emit(State::Pass, 0, &format!("found, as it should: {found}"));
                found
            }
        }
    }

    fn explore(
        self,
        asked: Option<Asked>,
        build: impl Fn(&mut World) + Send + Sync + 'static,
    ) -> (Run, Result<(), Stopped>) {
        let replayed = match asked {
            Some(Asked::This(replay)) => Some(replay),
            _ => None,
        };
        let mut run = Run {
            limits: Limits::from_environment(),
            started: Instant::now(),
            build: Arc::new(build),
            places: Arc::default(),
            executions: 0,
            deaths: 0,
            beside_sleepers: 0,
            points: 0,
            spoke: Instant::now(),
            put_off: None,
            replayed,
            sweep: self,
        };
        mutant::everywhere(run.sweep.delayed, run.sweep.unfenced);
        mutant::let_failures_be_stale(run.sweep.stale);
        let result = if let Some(replay) = run.replayed.clone() {
            run.replay(&replay)
        } else {
            match catch_unwind(AssertUnwindSafe(|| run.sweep_all())) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(OutOfTime { at })) => Err(Stopped::OutOfTime { at }),
                Err(payload) => Err(Stopped::Violation(payload)),
            }
        };
        run.put_off = mutant::stores_put_off();
        mutant::finish_sweep(run.sweep.name, &*run.places.lock().unwrap_or_else(PoisonError::into_inner));
        (run, result)
    }
}

pub(super) struct Limits {
    full: bool,
    budget: Duration,
    pub(super) seed: u64,
    only: Option<String>,
}

impl Limits {
    fn from_environment() -> Self {
        let full = std::env::var("OWNERDEAD_TIER").is_ok_and(|tier| tier == "full");
        let number = |name: &str| {
            std::env::var(name)
                .ok()
                .map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text:?}: expected a whole number")))
        };
        Self {
            full,
            budget: Duration::from_secs(number("OWNERDEAD_BUDGET").unwrap_or(if full { 3_600 } else { 240 })),
            seed: number("OWNERDEAD_SEED").unwrap_or(0x0dead),
            only: std::env::var("OWNERDEAD_KILL").ok(),
        }
    }
}

struct OutOfTime {
    at: String,
}

/// Why a sweep did not get to its end.
pub(super) enum Stopped {
    OutOfTime {
        at: String,
    },
    /// An execution that was to be replayed is not there any more.
    Misfit(String),
    Violation(Box<dyn Any + Send>),
}

/// What a panic said.
pub(super) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

pub(super) struct Run {
    pub(super) sweep: Sweep,
    pub(super) limits: Limits,
    started: Instant,
    build: Arc<dyn Fn(&mut World) + Send + Sync>,
    places: Arc<Mutex<BTreeMap<String, u64>>>,
    pub(super) executions: u64,
    pub(super) deaths: u64,
    /// Of these, beside a process that slept.
    beside_sleepers: u64,
    points: u64,
    spoke: Instant,
    /// How many stores were delayed, if any were to be.
    put_off: Option<u64>,
    /// It is this execution alone.
    replayed: Option<Replay>,
}

impl Run {
    fn sweep_all(&mut self) -> Result<(), OutOfTime> {
        let only = self.limits.only.clone().map(|only| ("OWNERDEAD_KILL", only));
        if let Some((from, only)) = only.or_else(|| Some(("only", self.sweep.only.clone()?))) {
            self.explore(&self.parse(from, &only))?;
            return Ok(());
        }
        self.explore(&[])?;
        if self.sweep.deaths == 0 {
            return Ok(());
        }
        let victims = self.victims();
        // Of each victim, awake and asleep: how many deaths it has where nobody else dies.
        let mut alone = Vec::new();
        for &(process, _) in &victims {
            let mut counts = [0; 2];
            for (first, count) in deaths_of(process, 0).into_iter().zip(&mut counts) {
                let mut misses = 0;
                for number in 0.. {
                    if self.explore(&[first(number)])?.deaths == 0 {
                        misses += 1;
                        if misses == rt::MISSES {
                            break;
                        }
                        continue;
                    }
                    *count = number + 1;
                    if self.sweep.deaths > 1 {
                        self.pairs_with(first(number), &victims, &alone)?;
                    }
                }
            }
            alone.push(counts);
        }
        Ok(())
    }

    /// All second deaths beside `first`. A pair of two processes is explored once, from the one that was added first; but for what that one
    /// comes to only where the other one has died, which is explored from the other one. `alone` is of the victims before that.
    fn pairs_with(&mut self, first: Kill, victims: &[(usize, bool)], alone: &[[u32; 2]]) -> Result<(), OutOfTime> {
        let mut seconds = Vec::new();
        for (index, &(process, restarts)) in victims.iter().enumerate() {
            if process != first.process {
                let known = alone.get(index).copied().unwrap_or_default();
                seconds.extend(deaths_of(process, 0).into_iter().zip(known));
            } else if restarts {
                seconds.extend(deaths_of(process, 1).map(|death| (death, 0)));
            }
        }
        for (second, known) in seconds {
            let mut misses = 0;
            for number in known.. {
                misses += usize::from(self.explore(&[first, second(number)])?.both == 0);
                if misses == rt::MISSES {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Index of each victim, in the order in which they were added, and whether it restarts: then it has a second life.
    fn victims(&self) -> Vec<(usize, bool)> {
        let processes = self.processes();
        let find = |victim: &&'static str| {
            let index = processes.iter().position(|(name, _)| name == victim);
            let index = index.unwrap_or_else(|| panic!("no process is called {victim:?}: they are {processes:?}"));
            (index, processes[index].1)
        };
        let mut victims: Vec<_> = self.sweep.victims.iter().map(find).collect();
        victims.sort_unstable();
        victims
    }

    /// Name of each process, and whether it restarts.
    fn processes(&self) -> Vec<(&'static str, bool)> {
        let names = Arc::new(Mutex::new(Vec::new()));
        let (build, found) = (Arc::clone(&self.build), Arc::clone(&names));
        let look: rt::Execution = Arc::new(move || {
            kernel::reset(Variant::default());
            let mut world = World::default();
            build(&mut world);
            *found.lock().expect("one thread") =
                world.processes.iter().map(|process| (process.name, process.again.is_some())).collect();
            kernel::finish();
        });
        let looked = rt::explore(self.rt_limits(0, 1), look);
        assert!(looked.is_ok(), "building the world alone ran out of time");
        // Cloned out of the lock: the closure that shares it is still alive.
        #[allow(clippy::let_and_return, reason = "the guard must not outlive `names`")]
        let found = names.lock().expect("one thread").clone();
        found
    }

    fn rt_limits(&self, preemptions: usize, runs: usize) -> rt::Limits {
        let until = self.started + self.limits.budget;
        rt::Limits::new(preemptions, runs, self.limits.seed, until)
    }

    /// What is executed with these deaths; where processes died is the concern of `note`.
    pub(super) fn execution(
        &self,
        kills: &[Kill],
        note: impl Fn(Vec<DeathPlace>) + Send + Sync + 'static,
    ) -> rt::Execution {
        let (build, kills, rules) = (Arc::clone(&self.build), kills.to_vec(), self.sweep.rules);
        Arc::new(move || note(execute(&*build, &|_| kills.clone(), rules)))
    }

    /// Explores every execution with these deaths.
    fn explore(&mut self, kills: &[Kill]) -> Result<Found, OutOfTime> {
        let sweep = &self.sweep;
        let (without, with) = sweep.bounds(self.limits.full);
        let preemptions = if kills.is_empty() { without } else { with };
        let runs =
            (if self.limits.full { 10 * sweep.runs } else { sweep.runs }) / if kills.is_empty() { 1 } else { 20 };
        let (places, counts) = (Arc::clone(&self.places), Arc::new(Mutex::new(Found::default())));
        let counted = Arc::clone(&counts);
        let execution = self.execution(kills, move |deaths| {
            let mut found = counted.lock().expect("one thread");
            found.ended += 1;
            found.deaths += deaths.len() as u64;
            found.both += u64::from(deaths.len() > 1);
            found.beside_sleepers += deaths.iter().filter(|death| death.beside_sleeper).count() as u64;
            let mut places = places.lock().expect("one thread");
            for death in deaths {
                *places.entry(death.at.to_string()).or_default() += 1;
            }
        });
        let limits = self.rt_limits(preemptions, runs.max(1));
        let explored = catch_unwind(AssertUnwindSafe(|| rt::explore(limits, execution)));
        let text = name_kills(kills);
        let explored = match explored {
            Ok(explored) => explored,
            Err(payload) => {
                // Those that ended, and the one that did not.
                let found = *counts.lock().unwrap_or_else(PoisonError::into_inner);
                self.executions += found.ended + 1;
                self.deaths += found.deaths;
                self.explain(kills, &text, limits, message(&*payload));
                resume_unwind(payload);
            }
        };
        let found = *counts.lock().expect("one thread");
        self.executions += explored.unwrap_or_else(|ran| ran);
        self.deaths += found.deaths;
        self.beside_sleepers += found.beside_sleepers;
        self.points += u64::from(found.deaths > 0);
        if self.spoke.elapsed() > Duration::from_millis(500) {
            self.spoke = Instant::now();
            self.emit(State::Running, 0, "");
        }
        explored
            .map(|_| found)
            .map_err(|ran| OutOfTime { at: format!("deaths [{text}] after {ran} executions of them") })
    }

    /// `from` is where `text` came from.
    pub(super) fn parse(&self, from: &str, text: &str) -> Vec<Kill> {
        let names = self.processes();
        let parse = |one: &str| {
            let (name, at) = one.split_once('@')?;
            let (name, life) = match name.split_once('#') {
                Some((name, life)) => (name, life.parse().ok()?),
                None => (name, 0),
            };
            let process = names.iter().position(|&(known, _)| known == name)?;
            let when = match at.strip_prefix('s') {
                Some(sleep) => When::Asleep(sleep.parse().ok()?),
                None => When::Before(at.parse().ok()?),
            };
            Some(Kill { process, life, when })
        };
        let kills = text.split(',').filter(|one| !one.is_empty());
        kills
            .map(|one| {
                parse(one).unwrap_or_else(|| {
                    panic!("{from}={text:?}: expected process@operation or process@sN, processes {names:?}")
                })
            })
            .collect()
    }

    /// Reports that an execution was to be replayed which is not there any more.
    fn misfit(&self, why: &str) -> ! {
        let text = format!("OWNERDEAD_REPLAY: the schedule does not fit this code any more: {why}");
        self.emit(State::Incomplete, 0, &text);
        panic!("{}: {text}", self.sweep.name)
    }

    /// A single execution, or one that somebody asked for, need not have any.
    fn is_to_have_sleepers(&self) -> bool {
        self.sweep.sleepers && self.replayed.is_none() && self.limits.only.is_none()
    }

    /// Reports that it has not looked at what it is for.
    fn without_sleepers(&self) -> ! {
        let text = format!(
            "found no death beside a process that sleeps, expected one at least: add those that are to sleep before the others, or allow \
             more pre-emptions; {}",
            self.covered()
        );
        self.emit(State::Fail, 1, &text);
        panic!("{}: {text}", self.sweep.name)
    }

    /// Reports that the budget ended it.
    fn out_of_time(&mut self, at: &str) -> ! {
        let text = format!("INCOMPLETE: the budget of {:?} ended it at {at}; {}", self.limits.budget, self.covered());
        self.emit(State::Incomplete, 0, &text);
        panic!("{}: {text}", self.sweep.name)
    }

    fn covered(&self) -> String {
        if let Some(replay) = &self.replayed {
            return format!("replayed 1 execution, which violates nothing; it was: {}", replay.violated);
        }
        let places = self.places.lock().map(|places| places.len()).unwrap_or(0);
        let (without, with) = self.sweep.bounds(self.limits.full);
        let bound = rt::bound(without, with, self.limits.seed);
        let put_off = self.put_off.map(|count| format!("; {count} stores were delayed")).unwrap_or_default();
        let asleep = self.beside_sleepers;
        format!(
            "{} crash points at {places} source lines, {asleep} deaths beside sleepers, {bound}{put_off}",
            self.points
        )
    }

    fn emit(&self, state: State, violations: u64, detail: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let line = Line {
            state,
            layer: rt::NAME,
            name: self.sweep.name,
            cases: self.executions,
            deaths: self.deaths,
            violations,
            seconds,
            detail,
        };
        line.emit();
        if state != State::Running {
            println!(
                "{} {}: {} executions, {} deaths, {seconds:.1} s; {detail}",
                rt::NAME,
                self.sweep.name,
                self.executions,
                self.deaths
            );
        }
    }
}

/// What an exploration came to.
#[derive(Clone, Copy, Default)]
struct Found {
    /// Executions that came to their end.
    ended: u64,
    /// Processes that died.
    deaths: u64,
    /// Executions in which two died.
    both: u64,
    /// Deaths beside a process that slept.
    beside_sleepers: u64,
}
