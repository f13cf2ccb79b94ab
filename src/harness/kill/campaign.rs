//! A campaign: several processes at work, SIGKILL at seeded instants, and the others must go on.

use super::crowd::{Crowd, Work, alone, threaded};
use super::engine::{Engine, EngineError, os};
use super::round::Rounds;
use super::tally::Tally;
use super::{Finding, Kind, Subject};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How those who live are held to going on after a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// Each finishes a turn, beside the others that live. Then the dead are replaced.
    GoOn,
    /// Each finishes the turn that it is in, while nobody begins another one. Then the dead are replaced, and all go on. For turns that
    /// end by themselves when nobody else is inside: those with a lock. It sees the sleeper whom the next contention would wake.
    Finish,
    /// The dead are replaced, and then each finishes a turn. For turns that wait for others, which may have been killed.
    WithOthers,
}

/// Something that must not be, how often it was, and where it came up first.
#[derive(Clone, Debug)]
pub struct Lapse {
    /// What.
    pub finding: Finding,
    /// How often.
    pub count: u64,
    /// At which decision of the seed, from 0.
    pub decision: u64,
    /// The memory as it was then.
    pub image: Vec<u8>,
    /// Where the workers were then that lived.
    pub whereabouts: Vec<String>,
}

/// What a campaign has seen.
#[derive(Clone, Debug, Default)]
pub struct CampaignReport {
    /// Of the campaign.
    pub name: String,
    /// What its decisions follow from.
    pub seed: u64,
    /// Processes at a time, and workers in each.
    pub size: (usize, usize),
    /// Decisions that were carried out.
    pub decisions: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Of the decisions, those that killed all; after each, one that came new was the judge.
    pub groups: u64,
    /// Workers that died.
    pub dead: u64,
    /// Of these, the ones that died in a turn.
    pub inside: u64,
    /// Turns that were finished.
    pub turns: u64,
    /// What those met who came after all were dead.
    pub met: BTreeMap<String, u64>,
    /// What must not be.
    pub found: Vec<Lapse>,
    /// Times when those who were still in a turn all slept for 10 ms or longer with nobody else awake, and went on by themselves: a
    /// time-out has done what a wake-up should have, or the machine was busy elsewhere.
    pub late: u64,
    /// From a kill until the first survivor has finished a turn, in microseconds, in ascending order: all, or an even part of them.
    pub recovery: Vec<u32>,
    /// From a kill until all of them have.
    pub settled: Vec<u32>,
    /// Why it has ended before its end.
    pub incomplete: Option<String>,
    /// How long it took.
    pub time: Duration,
}

impl CampaignReport {
    /// Whether it came to its end and found nothing.
    pub fn passed(&self) -> bool {
        self.found.is_empty() && self.incomplete.is_none()
    }

    /// Processes killed per second.
    pub fn rate(&self) -> f64 {
        self.kills as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// How often something of this kind was found.
    pub fn count(&self, kind: Kind) -> u64 {
        self.found.iter().filter(|lapse| lapse.finding.kind == kind).map(|lapse| lapse.count).sum()
    }
}

impl core::fmt::Display for CampaignReport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { name, seed, size: (processes, threads), kills, groups, dead, inside, turns, .. } = self;
        let share = 100.0 * *inside as f64 / (*dead).max(1) as f64;
        writeln!(f, "{name}: {processes} processes of {threads} workers, seed {seed:#x}")?;
        writeln!(
            f,
            "  {kills} kills in {:.1} s, {:.0} a second; all at once {groups} times; {share:.0} % of {dead} workers died in \
             a turn; {turns} turns finished",
            self.time.as_secs_f64(),
            self.rate()
        )?;
        for (what, times) in [("the first survivor", &self.recovery), ("all survivors", &self.settled)] {
            if let Some([least, median, high, most]) = quantiles(times) {
                writeln!(
                    f,
                    "  kill to the next turn of {what}: {least} / {median} / {high} / {most} us (min / median / p99 / max)"
                )?;
            }
        }
        if self.late > 0 {
            writeln!(f, "  {} times sleepers went on by themselves after 10 ms or more", self.late)?;
        }
        for (met, count) in &self.met {
            writeln!(f, "  after all had died: {met} ({count})")?;
        }
        for lapse in &self.found {
            writeln!(f, "  FOUND {} times, first at decision {}: {}", lapse.count, lapse.decision, lapse.finding)?;
            lapse.whereabouts.iter().try_for_each(|line| writeln!(f, "    {}", line.replace('\n', " | ")))?;
        }
        match &self.incomplete {
            Some(reason) => writeln!(f, "  INCOMPLETE: {reason}"),
            None if self.found.is_empty() => writeln!(f, "  nothing found"),
            None => Ok(()),
        }
    }
}

/// Least, median, 99th percentile and greatest of what is in ascending order.
fn quantiles(sorted: &[u32]) -> Option<[u32; 4]> {
    let last = sorted.len().checked_sub(1)?;
    Some([0.0, 0.5, 0.99, 1.0].map(|share| sorted[(last as f64 * share) as usize]))
}

/// A campaign over a subject.
#[derive(Debug)]
pub struct Campaign<'s, S> {
    pub(super) name: String,
    pub(super) subject: &'s S,
    pub(super) processes: usize,
    pub(super) threads: usize,
    pub(super) work: Work<S>,
    pub(super) survivors: Survivors,
    pub(super) group_every: u32,
    pub(super) spread: Duration,
    pub(super) bound: Duration,
    pub(super) asleep: Duration,
    pub(super) seed: u64,
    pub(super) time: Option<Duration>,
    pub(super) kills: Option<u64>,
    pub(super) most_found: u64,
    pub(super) control: bool,
}

impl<'s, S: Subject> Campaign<'s, S> {
    /// Over `subject`, with three processes of one worker each, seed 0, 1,000 kills.
    pub fn new(name: impl Into<String>, subject: &'s S) -> Self {
        Self {
            name: name.into(),
            subject,
            processes: 3,
            threads: 1,
            work: alone::<S>,
            survivors: Survivors::GoOn,
            group_every: 8,
            spread: Duration::from_micros(200),
            bound: Duration::from_secs(10),
            asleep: Duration::from_secs(10),
            seed: 0,
            time: None,
            kills: None,
            most_found: 10,
            control: false,
        }
    }

    /// How many processes there are at a time; with one, each kill is one of all.
    pub fn processes(mut self, count: usize) -> Self {
        self.processes = count.max(1);
        self
    }

    /// How many workers there are in each process, each a thread of its own. They die together.
    pub fn threads(mut self, count: usize) -> Self
    where
        S: Sync,
    {
        self.threads = count.max(1);
        self.work = if self.threads == 1 { alone::<S> } else { threaded::<S> };
        self
    }

    /// How survivors are held to going on: [`Survivors::GoOn`], unless this says otherwise.
    pub fn survivors(mut self, how: Survivors) -> Self {
        self.survivors = how;
        self
    }

    /// All are killed at about one decision in so many: 8, unless this says otherwise. Then one that comes new recovers and judges,
    /// and all begins again from the initial image.
    pub fn group_every(mut self, decisions: u32) -> Self {
        self.group_every = decisions.max(1);
        self
    }

    /// Kills are spread evenly over so long from when all are at work: 200 us, unless this says otherwise, or twice a turn, if that is
    /// longer. A worker does nothing but turns, so a kill is in one, anywhere in it.
    pub fn spread(mut self, time: Duration) -> Self {
        self.spread = time;
        self
    }

    /// A worker that lives, and finishes no turn in so long, is stuck: 10 s, unless this says otherwise.
    pub fn bound(mut self, time: Duration) -> Self {
        self.bound = time;
        self
    }

    /// All who are in a turn (with [`Survivors::Finish`]; all workers, otherwise) that sleep in a futex call for so long, without being
    /// scheduled once, are stuck: nobody is awake to wake them. 10 s, unless this says otherwise; with a second it takes less to
    /// count many. A turn must not sleep longer on a futex with a time-out.
    pub fn asleep(mut self, time: Duration) -> Self {
        self.asleep = time;
        self
    }

    /// What the decisions follow from: see [`super::Decisions`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Ends after so many processes were killed.
    pub fn kills(mut self, count: u64) -> Self {
        self.kills = Some(count);
        self
    }

    /// Ends after so long. If [`Self::kills`] was given too, and has not come about by then, it is incomplete.
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// After so many findings it stops, and is incomplete: 10, unless this says otherwise.
    pub fn most_found(mut self, most: u64) -> Self {
        self.most_found = most.max(1);
        self
    }

    /// Kills nobody: at each decision all are held to going on, and that is all. What is found so is no matter of deaths. Of
    /// [`Self::kills`], decisions are counted then.
    pub fn control(mut self, yes: bool) -> Self {
        self.control = yes;
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`EngineError`], if it could not be run. What it finds is in the report.
    pub fn run(self) -> Result<CampaignReport, EngineError> {
        let engine = Engine::new(self.bound, false)?;
        let _prompt = Prompt::new();
        let crowd = Crowd::new(self.subject, &engine.facts, self.processes, self.threads);
        let crowd = crowd.map_err(os("mapping memory for the workers"))?;
        let mut cast = super::Cast::new(&engine);
        self.subject.prepare(&mut cast, &engine.facts);
        cast.finish()?;
        let report = CampaignReport {
            name: self.name.clone(),
            seed: self.seed,
            size: (self.processes, self.threads),
            ..CampaignReport::default()
        };
        let began = Instant::now();
        let mut rounds = Rounds::new(&self, &engine, &crowd, report);
        let result = rounds.run(began);
        let mut report = rounds.finish();
        report.time = began.elapsed();
        result.map(|()| report)
    }
}

/// While it lives, this thread's sleeps end when they are due, and it is run then at once, if it may ask for that: workers that spin
/// would make it wait for tens of milliseconds.
struct Prompt;

impl Prompt {
    fn new() -> Self {
        // SAFETY: PR_SET_TIMERSLACK takes nanoseconds; PID 0 is this thread, and the priority is a valid one. What is forked gets the
        // ordinary policy again. Without the right to it nothing is changed.
        unsafe {
            libc::prctl(libc::PR_SET_TIMERSLACK, 1);
            let priority = libc::sched_param { sched_priority: 1 };
            libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &priority);
        }
        Self
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        // SAFETY: as above; 0 is the slack that the thread began with, and the ordinary policy's only priority.
        unsafe {
            libc::sched_setscheduler(0, libc::SCHED_OTHER, &libc::sched_param { sched_priority: 0 });
            libc::prctl(libc::PR_SET_TIMERSLACK, 0);
        }
    }
}

/// How many idle processes this machine can fork, kill and wait for in a second, on one processor: what no engine can exceed.
///
/// # Errors
/// [`EngineError`], as for a campaign.
pub fn kill_limit(time: Duration) -> Result<f64, EngineError> {
    let engine = Engine::new(Duration::from_secs(10), true)?;
    let (began, mut tally) = (Instant::now(), Tally::default());
    while began.elapsed() < time {
        let mut child = engine.fork(|| {
            loop {
                // SAFETY: no arguments.
                unsafe { libc::pause() };
            }
        })?;
        child.kill();
        tally.add(0);
    }
    Ok(tally.count() as f64 / began.elapsed().as_secs_f64())
}
