//! The rounds of a campaign: all at work, a kill, a look at who lives; until all are killed.

use super::board::End;
use super::campaign::{Campaign, CampaignReport, Lapse, Survivors};
use super::crowd::Crowd;
use super::engine::{Child, Engine, EngineError};
use super::instants::{Decision, Decisions};
use super::tally::Tally;
use super::{Finding, Kind, Subject};
use std::time::{Duration, Instant};

/// Between two looks at whether those who are waited for sleep, or have ended.
const LOOK: Duration = Duration::from_millis(10);
/// The longest that the engine sleeps between two looks at what workers say. The first ones are much shorter.
const NAP: Duration = Duration::from_micros(200);
/// Findings that differ in their texts are told of up to this; those after it are counted with the last of their kind.
const MOST_TOLD: usize = 16;

/// Why a decision was not carried through.
enum Stop {
    Engine(EngineError),
    Found { finding: Finding, image: Option<Box<[u64]>>, whereabouts: Vec<String> },
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Found { finding, image: None, whereabouts: Vec::new() }
    }
}

pub(super) struct Rounds<'r, S> {
    campaign: &'r Campaign<'r, S>,
    engine: &'r Engine,
    crowd: &'r Crowd<'r, S>,
    /// Memory and facts when a round begins.
    start: [Box<[u64]>; 2],
    children: Vec<Option<Child>>,
    /// Turns of each worker when it was last told to go on.
    from: Vec<u64>,
    report: CampaignReport,
    recovery: Tally,
    settled: Tally,
}

impl<'r, S: Subject> Rounds<'r, S> {
    pub(super) fn new(
        campaign: &'r Campaign<'r, S>,
        engine: &'r Engine,
        crowd: &'r Crowd<'r, S>,
        report: CampaignReport,
    ) -> Self {
        Self {
            campaign,
            engine,
            crowd,
            start: [campaign.subject.memory().image(), engine.facts.image()],
            children: (0..campaign.processes).map(|_| None).collect(),
            from: vec![0; campaign.processes * campaign.threads],
            report,
            recovery: Tally::default(),
            settled: Tally::default(),
        }
    }

    pub(super) fn finish(self) -> CampaignReport {
        CampaignReport { recovery: self.recovery.sorted(), settled: self.settled.sorted(), ..self.report }
    }

    pub(super) fn run(&mut self, began: Instant) -> Result<(), EngineError> {
        let Campaign { seed, processes, group_every, most_found, .. } = *self.campaign;
        for decision in Decisions::new(seed, processes, group_every) {
            if self.is_over(began) {
                break;
            }
            match self.carry_out(&decision, began) {
                Ok(()) => {}
                Err(Stop::Engine(error)) => return Err(error),
                Err(Stop::Found { finding, image, whereabouts }) => {
                    self.file(finding, image, whereabouts);
                    self.begin_again();
                }
            }
            self.report.decisions += 1;
            let found: u64 = self.report.found.iter().map(|lapse| lapse.count).sum();
            if found >= most_found && !self.is_over(began) {
                self.report.incomplete = Some(format!("stopped after {found} findings"));
                break;
            }
        }
        self.begin_again();
        Ok(())
    }

    fn is_over(&mut self, began: Instant) -> bool {
        let Campaign { time, kills, .. } = *self.campaign;
        let wanted = kills.unwrap_or(if time.is_some() { u64::MAX } else { 1000 });
        if wanted <= if self.campaign.control { self.report.decisions } else { self.report.kills } {
            return true;
        }
        let over = time.is_some_and(|time| began.elapsed() >= time);
        if over && kills.is_some() {
            self.report.incomplete = Some(format!("{} of {wanted} kills when its time was over", self.report.kills));
        }
        over
    }

    fn carry_out(&mut self, decision: &Decision, began: Instant) -> Result<(), Stop> {
        let (crowd, finish) = (self.crowd, self.campaign.survivors == Survivors::Finish);
        self.fill()?;
        self.all_at_work()?;
        // The instant of the kill, as the seed has it.
        std::thread::sleep(decision.delay(self.spread(began)));
        let since = Instant::now();
        let victims: &[usize] = if self.campaign.control { &[] } else { &decision.victims };
        victims.iter().filter_map(|&victim| self.children[victim].as_ref()).for_each(Child::send_kill);
        let survivors = (0..self.campaign.processes).filter(|process| !victims.contains(process));
        let survivors: Vec<usize> = survivors.flat_map(|process| crowd.workers(process)).collect();
        if finish {
            survivors.iter().for_each(|&worker| crowd.stop(worker, true));
        }
        for &victim in victims {
            self.reap(victim)?;
        }
        if survivors.is_empty() {
            self.report.groups += 1;
            return self.judge();
        }
        let turns: Vec<u64> = (0..self.from.len()).map(|worker| crowd.turns(worker)).collect();
        if self.campaign.survivors == Survivors::WithOthers {
            self.fill()?;
        }
        let first = if finish {
            self.watch(&survivors, true, |worker| crowd.parked(worker))?
        } else {
            self.watch(&survivors, false, |worker| crowd.turns(worker) > turns[worker])?
        };
        self.recovery.add_time(first - since);
        self.settled.add_time(since.elapsed());
        survivors.iter().for_each(|&worker| self.from[worker] = crowd.turns(worker));
        Ok(())
    }

    /// Waits until all have come so far that they can be killed.
    fn all_at_work(&mut self) -> Result<(), Stop> {
        let (crowd, from, living) = (self.crowd, self.from.clone(), self.living());
        if self.campaign.survivors != Survivors::Finish {
            self.watch(&living, false, |worker| crowd.turns(worker) > from[worker])?;
            return Ok(());
        }
        // They wait for those who come new outside, so as not to take the processors from them, and begin together.
        self.watch(&living, true, |worker| crowd.parked(worker))?;
        living.iter().for_each(|&worker| crowd.stop(worker, false));
        // One of each process is enough: where there are more workers than processors, the last one would get its turn much later.
        let at_work =
            |worker: usize| crowd.workers(worker / crowd.threads).any(|worker| crowd.turns(worker) > from[worker]);
        self.watch(&living, false, at_work)?;
        Ok(())
    }

    /// The time over which kills are spread: not less than two turns take.
    fn spread(&self, began: Instant) -> Duration {
        let Campaign { spread, bound, .. } = *self.campaign;
        let time = began.elapsed().as_nanos() as u64 * self.from.len() as u64;
        let turn = time.checked_div(self.report.turns).map_or(Duration::ZERO, Duration::from_nanos);
        spread.max((2 * turn).min(bound / 4))
    }

    /// Starts the processes that are missing.
    fn fill(&mut self) -> Result<(), EngineError> {
        for process in 0..self.children.len() {
            if self.children[process].is_some() {
                continue;
            }
            let (crowd, work) = (self.crowd, self.campaign.work);
            crowd.clear(process);
            for worker in crowd.workers(process) {
                self.from[worker] = 0;
                crowd.stop(worker, self.campaign.survivors == Survivors::Finish);
            }
            self.children[process] = Some(self.engine.fork_to(crowd.board(process), || work(crowd, process))?);
        }
        Ok(())
    }

    /// Waits for one that was sent SIGKILL.
    fn reap(&mut self, process: usize) -> Result<(), Stop> {
        let Some(mut child) = self.children[process].take() else { return Ok(()) };
        match child.ended(true)? {
            Some(End::Signal(libc::SIGKILL)) => self.report.kills += 1,
            Some(end) => return Err(self.by_itself(process, end).into()),
            None => {}
        }
        for worker in self.crowd.workers(process) {
            self.report.dead += 1;
            self.report.inside += u64::from(self.crowd.inside(worker));
            self.report.turns += self.crowd.turns(worker);
        }
        Ok(())
    }

    /// A worker must not end by itself.
    fn by_itself(&self, process: usize, end: End) -> Finding {
        let outcome = self.crowd.board(process).outcome(end, self.campaign.bound);
        outcome.map_or_else(|finding| finding, |said| Finding::new(Kind::Crashed, format!("ended by itself: {said}")))
    }

    fn living(&self) -> Vec<usize> {
        let processes = self.children.iter().enumerate().filter(|(_, child)| child.is_some());
        processes.flat_map(|(process, _)| self.crowd.workers(process)).collect()
    }

    fn pid(&self, worker: usize) -> libc::pid_t {
        self.children[worker / self.campaign.threads].as_ref().map_or(0, |child| child.pid)
    }

    /// Waits until `done` is true of each of `workers`; when it was true of the first one. `alone`: the other workers stand still, so
    /// these alone could wake each other.
    fn watch(&mut self, workers: &[usize], alone: bool, done: impl Fn(usize) -> bool) -> Result<Instant, Stop> {
        let began = Instant::now();
        let (mut left, mut first, mut look, mut nap) = (workers.to_vec(), None, began + LOOK, Duration::from_micros(5));
        // Since when they sleep, and what the kernel counts of each.
        let mut quiet: Option<(Instant, Vec<[u64; 2]>)> = None;
        let mut slept = false;
        loop {
            left.retain(|&worker| !done(worker));
            let now = Instant::now();
            if left.len() < workers.len() {
                first.get_or_insert(now);
            }
            if left.is_empty() {
                self.report.late += u64::from(slept);
                return Ok(first.unwrap_or(now));
            }
            if now >= look {
                look = now + LOOK;
                self.look_for_the_dead()?;
                let who = if alone { left.clone() } else { self.living() };
                let counts = who.iter().map(|&worker| self.crowd.asleep(worker, self.pid(worker))).collect();
                quiet = match (quiet, counts) {
                    (Some((since, known)), Some(counts)) if known == counts => Some((since, known)),
                    (_, counts) => counts.map(|counts: Vec<_>| (now, counts)),
                };
                let asleep = quiet.as_ref().map_or(Duration::ZERO, |(since, _)| now - *since);
                slept |= asleep >= LOOK;
                // One look is no proof.
                if asleep >= self.campaign.asleep.max(LOOK) {
                    return Err(self.stuck("asleep in a turn, and nobody is awake who could wake them"));
                }
                if now - began >= self.campaign.bound {
                    let text = format!("no turn finished in {:?}", self.campaign.bound);
                    return Err(self.stuck(&text));
                }
            }
            // Between two looks: who has done a turn tells nobody, or its peers would run otherwise than without a campaign.
            std::thread::sleep(nap);
            nap = (2 * nap).min(NAP);
        }
    }

    fn look_for_the_dead(&mut self) -> Result<(), Stop> {
        for process in 0..self.children.len() {
            let Some(child) = &mut self.children[process] else { continue };
            if let Some(end) = child.ended(false)? {
                return Err(self.by_itself(process, end).into());
            }
        }
        Ok(())
    }

    fn stuck(&self, text: &str) -> Stop {
        let explained = self.campaign.subject.explain(self.crowd.facts);
        let text = if explained.is_empty() { text.to_owned() } else { format!("{text}; {explained}") };
        let living = self.living().into_iter().map(|worker| (worker, self.pid(worker)));
        let whereabouts = self.crowd.whereabouts(living);
        Stop::Found { finding: Finding::stuck(text), image: None, whereabouts }
    }

    /// All are dead: one that comes new takes over, and judges.
    fn judge(&mut self) -> Result<(), Stop> {
        let (subject, facts) = (self.campaign.subject, self.crowd.facts);
        let image = subject.memory().image();
        let mut child = self.engine.fork(|| {
            let mut survivor = subject.arrive(facts);
            let met = subject.recover(&mut survivor, facts)?;
            subject.judge(&mut survivor, facts)?;
            Ok(met)
        })?;
        let end = self.engine.wait(&mut child)?;
        match self.engine.outcome(end) {
            Ok(met) => *self.report.met.entry(met).or_default() += 1,
            Err(finding) => return Err(Stop::Found { finding, image: Some(image), whereabouts: Vec::new() }),
        }
        self.put_back();
        Ok(())
    }

    fn put_back(&self) {
        let [memory, facts] = &self.start;
        self.campaign.subject.memory().restore(memory);
        self.engine.facts.restore(facts);
    }

    /// Ends all who live, not as victims, and puts the structure back.
    fn begin_again(&mut self) {
        for process in 0..self.children.len() {
            if let Some(mut child) = self.children[process].take() {
                child.kill();
                self.report.turns += self.crowd.workers(process).map(|worker| self.crowd.turns(worker)).sum::<u64>();
            }
        }
        self.put_back();
    }

    fn file(&mut self, finding: Finding, image: Option<Box<[u64]>>, whereabouts: Vec<String>) {
        let found = &mut self.report.found;
        let full = found.len() >= MOST_TOLD;
        let same = |lapse: &Lapse| lapse.finding == finding || full && lapse.finding.kind == finding.kind;
        if let Some(known) = found.iter_mut().rev().find(|lapse| same(lapse)) {
            known.count += 1;
            return;
        }
        let image = image.unwrap_or_else(|| self.campaign.subject.memory().image());
        let image = image.iter().flat_map(|word| word.to_le_bytes()).collect();
        found.push(Lapse { finding, count: 1, decision: self.report.decisions, image, whereabouts });
    }
}
