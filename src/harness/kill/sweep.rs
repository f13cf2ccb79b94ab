//! A death at each instruction of an operation, and of the recovery after it.

use super::board::End;
use super::engine::{Engine, EngineError, os};
use super::nursery::{Nursery, Task};
use super::record::{Recording, State};
use super::walk::Walk;
use super::{Cast, Facts, Finding, Memory, Subject};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// How a process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// What it left was recorded, and what the kernel does was applied to a copy.
    Image,
    /// It died there, and the kernel did it.
    Planted,
}

/// Where a process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// How.
    pub method: Method,
    /// The instruction of the operation before which the victim died: its number from 0, and its address.
    pub first: (u64, u64),
    /// That of the recovery before which a first survivor died, if one did.
    pub second: Option<(u64, u64)>,
}

/// Something that must not be, and where it came up first.
#[derive(Clone, Debug)]
pub struct Found {
    /// What.
    pub finding: Finding,
    /// Where it came up first.
    pub death: Death,
    /// At how many instructions.
    pub deaths: u64,
    /// The memory as the dead left it.
    pub image: Vec<u8>,
}

/// What deaths at one instruction came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Victims that died before it in the operation.
    pub deaths: u64,
    /// Survivors that died before it in the recovery.
    pub second_deaths: u64,
    /// Deaths that were planted.
    pub planted: u64,
    /// Of all of them, those that something was found after.
    pub found: u64,
}

/// What a sweep has seen.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    /// Of the sweep.
    pub name: String,
    /// By the address of the instruction before which a process died, and what the survivor met.
    pub places: BTreeMap<(u64, String), Place>,
    /// Boundaries between two instructions of the operation, each judged.
    pub instructions: u64,
    /// Boundaries between two instructions of recoveries, each judged.
    pub second_instructions: u64,
    /// Different states of memory and robust list in the operation.
    pub states: u64,
    /// The same of the recoveries, those that were seen before not counted.
    pub second_states: u64,
    /// Survivors that were run.
    pub survivors: u64,
    /// Processes that really died at an instruction.
    pub planted: u64,
    /// Boundaries at which no death could be planted: the kernel's own code in the process (vDSO), if it may not be changed.
    pub not_planted: u64,
    /// Boundaries at which none was, since there are so many.
    pub left_out: u64,
    /// What must not be.
    pub found: Vec<Found>,
    /// Where the two methods do not agree: a failure of the engine, or a subject that is not the same each time.
    pub disagreements: Vec<String>,
    /// Why it has not looked at everything.
    pub incomplete: Option<String>,
    /// Why victims that were to die had memory of their own, which takes three times as long, and not the memory of who made them: it was
    /// asked for, or what they do to it could not be put back. `None` if they shared it, or none was to die.
    pub forked: Option<String>,
    /// How long single-stepping took, survivors included.
    pub image_time: Duration,
    /// How long planted deaths took, survivors included.
    pub planted_time: Duration,
}

impl SweepReport {
    /// Whether it looked at everything and found nothing.
    pub fn passed(&self) -> bool {
        self.found.is_empty() && self.disagreements.is_empty() && self.incomplete.is_none()
    }
}

impl core::fmt::Display for SweepReport {
    /// For people: what was looked at, and what was found, over several lines.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { name, instructions, second_instructions, states, second_states, planted, .. } = self;
        writeln!(
            f,
            "{name}: a death before each of {instructions} instructions ({states} states), and of {second_instructions} in recoveries \
             ({second_states} more states); {planted} of them real"
        )?;
        for Found { finding, death, deaths, .. } in &self.found {
            let (number, at) = death.first;
            write!(f, "{finding}: after {deaths} deaths, first before instruction {number} at {at:#x}")?;
            if let Some((number, at)) = death.second {
                write!(f, " and, in the recovery, before instruction {number} at {at:#x}")?;
            }
            writeln!(f)?;
        }
        for text in &self.disagreements {
            writeln!(f, "the two methods do not agree: {text}")?;
        }
        if let Some(why) = &self.incomplete {
            writeln!(f, "INCOMPLETE: {why}")?;
        }
        f.write_str(if self.passed() { "passed" } else { "FAILED" })
    }
}

/// A sweep over a subject.
#[derive(Debug)]
pub struct Sweep<'s, S> {
    name: String,
    subject: &'s S,
    second_deaths: bool,
    planted: bool,
    most_planted: usize,
    patience: Duration,
    most_found: usize,
    log_words: usize,
    flag_alone: bool,
    forked: bool,
}

impl<'s, S: Subject> Sweep<'s, S> {
    /// Over `subject`, with all there is: second deaths, and planted ones.
    pub fn new(name: impl Into<String>, subject: &'s S) -> Self {
        Self {
            name: name.into(),
            subject,
            second_deaths: true,
            planted: true,
            most_planted: 4000,
            patience: Duration::from_secs(10),
            most_found: 3,
            log_words: 1 << 24,
            flag_alone: false,
            forked: false,
        }
    }

    /// Whether survivors die too, at each instruction of their recovery. By image alone.
    pub fn second_deaths(mut self, yes: bool) -> Self {
        self.second_deaths = yes;
        self
    }

    /// Whether deaths are planted beside those by image.
    pub fn planted(mut self, yes: bool) -> Self {
        self.planted = yes;
        self
    }

    /// Of an operation with more instructions, only so many deaths are planted: before and after each instruction that changes the state,
    /// and evenly over the others. 4000, unless this says otherwise.
    pub fn most_planted(mut self, most: usize) -> Self {
        self.most_planted = most;
        self
    }

    /// What a process may take before it is said to hang: 10 s, unless this says otherwise. It decides nothing else. One that is being
    /// recorded, and goes on, does not hang, nor does one that could use a processor and gets none.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// After so many different findings it stops, and is incomplete: 3, unless this says otherwise.
    pub fn most_found(mut self, most: usize) -> Self {
        self.most_found = most.max(1);
        self
    }

    /// Room for what is recorded of one operation, in 64-bit words: 16 million, unless this says otherwise. An operation that needs
    /// more is incomplete.
    pub fn log_words(mut self, words: usize) -> Self {
        self.log_words = words;
        self
    }

    /// Whether single-stepping uses the processor's trap flag at each instruction, and not breakpoints where it is known which one comes next.
    /// The boundaries are the same, and on a virtual machine it takes several times as long: to see whether the engine is at fault. Not,
    /// unless this says otherwise; without the feature `symbols` always.
    pub fn trap_flag_alone(mut self, yes: bool) -> Self {
        self.flag_alone = yes;
        self
    }

    /// Whether each victim that is to die is forked, with memory of its own. It dies in the same way, and takes three times as long: to see
    /// whether the engine is at fault. Not, unless this says otherwise, or what it does to memory cannot be put back.
    pub fn forked(mut self, yes: bool) -> Self {
        self.forked = yes;
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`EngineError`], if it could not be run. What it finds is in the report.
    pub fn run(self) -> Result<SweepReport, EngineError> {
        let (memory, most) = (self.subject.memory(), 8 * 0xffff);
        if memory.len() > most {
            return Err(EngineError::TooLarge { found: memory.len(), expected: most });
        }
        let engine = Engine::new(self.patience, true)?;
        let log = Memory::zeroed(8 * self.log_words).map_err(os("mapping memory for the log"))?;
        let mut cast = Cast::new(&engine);
        self.subject.prepare(&mut cast, &engine.facts);
        cast.finish()?;
        let start = State { memory: memory.image(), facts: engine.facts.image(), walk: Walk::default() };
        let report = SweepReport { name: self.name.clone(), ..SweepReport::default() };
        let nursery = Nursery::new(&engine, self.subject, &log, self.flag_alone)?;
        let mut work =
            Work { sweep: &self, engine: &engine, log: &log, nursery, start, judged: HashMap::new(), report };
        let result = work.sweep();
        let report = work.report;
        drop(cast);
        match result {
            Ok(()) | Err(Stop::Enough) => Ok(report),
            Err(Stop::Engine(error)) => Err(error),
        }
    }
}

/// Why a sweep ends before its end.
enum Stop {
    Engine(EngineError),
    Enough,
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// What a state was judged to be: what survivors met, or the index of what was found.
type Verdict = Result<String, usize>;

struct Work<'w, S> {
    sweep: &'w Sweep<'w, S>,
    engine: &'w Engine,
    log: &'w Memory,
    nursery: Nursery<'w>,
    /// When the victim is about to attach.
    start: State,
    /// States that dead ones have left, by a hash of 128 bits.
    judged: HashMap<[u64; 2], Verdict>,
    report: SweepReport,
}

impl<S: Subject> Work<'_, S> {
    fn sweep(&mut self) -> Result<(), Stop> {
        let start = self.start.clone();
        if self.sweep.planted {
            let began = Instant::now();
            self.share(&start)?;
            self.report.planted_time = began.elapsed();
        }
        let began = Instant::now();
        let recording = self.record(&start, Task::RecordOperation)?;
        self.report.instructions = recording.steps.len() as u64;
        self.report.states = recording.states.len() as u64;
        let verdicts = self.judge_all(&recording, &start, None)?;
        for step in &recording.steps {
            self.count(step.at, &verdicts[step.state], |place| place.deaths += 1);
        }
        if self.sweep.second_deaths {
            self.second(&recording, &start, &verdicts)?;
        }
        self.report.image_time = began.elapsed();
        if self.sweep.planted {
            let began = Instant::now();
            if recording.maps {
                self.part("the operation changes what its process has mapped, or makes another one".into())?;
            }
            self.plant(&recording, &start, &verdicts)?;
            self.report.planted_time += began.elapsed();
        }
        Ok(())
    }

    /// Has victims share the nursery's memory, if they can.
    fn share(&mut self, start: &State) -> Result<(), Stop> {
        if self.sweep.forked {
            self.report.forked = Some("asked for".into());
            return Ok(());
        }
        let (memory, facts) = (self.sweep.subject.memory(), &self.engine.facts);
        if let Err(why) = self.nursery.takes_lodgers(&mut || put_back(memory, facts, start))? {
            self.report.forked = Some(why);
            // A lodger may have left something behind.
            self.nursery = Nursery::new(self.engine, self.sweep.subject, self.log, self.sweep.flag_alone)?;
        }
        Ok(())
    }

    /// From now on victims are forked.
    fn part(&mut self, why: String) -> Result<(), Stop> {
        self.report.forked.get_or_insert(why);
        self.nursery.run(Task::Apart)?;
        Ok(())
    }

    /// Deaths in the recoveries after each different first death.
    fn second(&mut self, first: &Recording, start: &State, verdicts: &[Verdict]) -> Result<(), Stop> {
        let mut left = Vec::new();
        first.walk_through(start, |index, state| left.push((index, state.after_death(first.tid))));
        let mut seen = HashSet::new();
        for (index, state) in left {
            if verdicts[index].is_err() || !seen.insert(hash(&state, first.tid)) {
                continue;
            }
            let at = first.steps.iter().position(|step| step.state == index).unwrap_or(0);
            let death = (at as u64, first.steps[at].at);
            let recording = self.record(&state, Task::RecordRecovery)?;
            self.report.second_instructions += recording.steps.len() as u64;
            let known = self.judged.len();
            let verdicts = self.judge_all(&recording, &state, Some(death))?;
            self.report.second_states += (self.judged.len() - known) as u64;
            for step in &recording.steps {
                self.count(step.at, &verdicts[step.state], |place| place.second_deaths += 1);
            }
        }
        Ok(())
    }

    /// Really dies before each instruction, and compares what is left with what the recording says.
    fn plant(&mut self, recording: &Recording, start: &State, verdicts: &[Verdict]) -> Result<(), Stop> {
        let mut visits: HashMap<u64, u64> = HashMap::new();
        // Made before the first fork: what is written after one is copied by the kernel, page by page.
        let mut left = Vec::new();
        recording.walk_through(start, |_, state| left.push(state.after_death(recording.tid)));
        let mut judged = vec![false; left.len()];
        let every = recording.steps.len().div_ceil(self.sweep.most_planted.max(1)).max(1);
        for (number, step) in recording.steps.iter().enumerate() {
            let visit = visits.entry(step.at).or_default();
            *visit += 1;
            let changes = |number: usize| number > 0 && recording.steps[number - 1].state != step.state;
            let next_changes = recording.steps.get(number + 1).is_none_or(|next| next.state != step.state);
            if !number.is_multiple_of(every) && !changes(number) && !next_changes {
                self.report.left_out += 1;
                continue;
            }
            let death = Death { method: Method::Planted, first: (number as u64, step.at), second: None };
            let Some(tid) = self.die(start, step.at, *visit, &death)? else { continue };
            self.agree(&left[step.state], recording.tid, tid, &death);
            self.count(step.at, &verdicts[step.state], |place| place.planted += 1);
            if !std::mem::replace(&mut judged[step.state], true) {
                let outcome = self.survive()?;
                self.same(&outcome, &verdicts[step.state], &death);
            }
        }
        Ok(())
    }

    /// A victim dies at an instruction; its TID, if it did.
    fn die(&mut self, start: &State, at: u64, visit: u64, death: &Death) -> Result<Option<u32>, Stop> {
        self.put_back(start);
        let mut ended = self.nursery.run(Task::DieAt(at, visit))?;
        if ended.end == End::Signal(libc::SIGALRM) && self.report.forked.is_none() {
            // It hangs, or the machine is busy: one with memory of its own will show.
            self.part(format!("a victim did not end in {:?}", self.sweep.patience))?;
            self.put_back(start);
            ended = self.nursery.run(Task::DieAt(at, visit))?;
        }
        match ended.end {
            End::Signal(libc::SIGKILL) => {
                self.report.planted += 1;
                return Ok(Some(ended.pid));
            }
            end @ End::Exited(1) => {
                // The vDSO may not be written to.
                let _ = self.engine.outcome(end);
                self.report.not_planted += 1;
            }
            end => {
                let said = self.engine.outcome(end).unwrap_or_else(|finding| finding.to_string());
                self.disagree(death, format!("it was recorded, and was not come by: the victim {said}"));
            }
        }
        Ok(None)
    }

    /// What process `tid` has left is what `expected` says of process `recorded`.
    fn agree(&mut self, expected: &State, recorded: u32, tid: u32, death: &Death) {
        let (memory, facts) = (self.sweep.subject.memory().words(), self.engine.facts.words());
        let differs = |found: &[AtomicU64], expected: &[u64]| {
            let both = found.iter().map(|word| word.load(Relaxed)).zip(expected.iter().copied());
            both.enumerate()
                .find(|&(_, (found, expected))| found != expected && found != replace(expected, recorded, tid))
        };
        let memory = differs(memory, &expected.memory).map(|difference| ("memory", difference));
        let facts = differs(facts, &expected.facts).map(|difference| ("facts", difference));
        if let Some((what, (word, (found, expected)))) = memory.or(facts) {
            let text = format!("{what} at byte {}: the dead left {found:#x}, the image has {expected:#x}", 8 * word);
            self.disagree(death, text);
        }
    }

    fn same(&mut self, outcome: &Result<String, Finding>, verdict: &Verdict, death: &Death) {
        let same = match (outcome, verdict) {
            (Ok(met), Ok(expected)) => met == expected,
            // Texts may hold addresses and numbers of processes.
            (Err(finding), Err(index)) => finding.kind == self.report.found[*index].finding.kind,
            _ => false,
        };
        if !same {
            let expected = match verdict {
                Ok(met) => met.clone(),
                Err(index) => self.report.found[*index].finding.to_string(),
            };
            self.disagree(death, format!("survivors of the real death: {outcome:?}, of the image: {expected:?}"));
        }
    }

    fn disagree(&mut self, death: &Death, text: String) {
        if self.report.disagreements.len() < 20 {
            let (number, at) = death.first;
            self.report.disagreements.push(format!("instruction {number} at {at:#x}: {text}"));
        }
    }

    fn count(&mut self, at: u64, verdict: &Verdict, add: impl FnOnce(&mut Place)) {
        let outcome = match verdict {
            Ok(met) => met.clone(),
            Err(index) => self.report.found[*index].finding.kind.to_string(),
        };
        let place = self.report.places.entry((at, outcome)).or_default();
        add(place);
        if let Err(index) = verdict {
            place.found += 1;
            self.report.found[*index].deaths += 1;
        }
    }

    /// Records what a process does that begins in `start`.
    fn record(&mut self, start: &State, task: Task) -> Result<Recording, Stop> {
        self.put_back(start);
        let (recording, outcome) = self.nursery.record(task)?;
        if let Err(finding) = outcome {
            let death = Death { method: Method::Image, first: (0, 0), second: None };
            self.found(finding, death)?;
        }
        if !recording.whole {
            self.incomplete(format!(
                "an operation was recorded for {} instructions, and not to its end",
                recording.steps.len()
            ));
        }
        if recording.missed > 0 {
            self.incomplete(format!("{} boundaries behind system calls were missed", recording.missed));
        }
        Ok(recording)
    }

    /// A verdict for each state of a recording.
    fn judge_all(
        &mut self,
        recording: &Recording,
        start: &State,
        first: Option<(u64, u64)>,
    ) -> Result<Vec<Verdict>, Stop> {
        let mut states = Vec::with_capacity(recording.states.len());
        let mut places: Vec<(u64, u64)> = Vec::new();
        for (number, step) in recording.steps.iter().enumerate() {
            if step.state == places.len() {
                places.push((number as u64, step.at));
            }
        }
        let mut result = Ok(());
        recording.walk_through(start, |index, state| {
            if result.is_ok() {
                let death = match first {
                    None => Death { method: Method::Image, first: places[index], second: None },
                    Some(first) => Death { method: Method::Image, first, second: Some(places[index]) },
                };
                let left = state.after_death(recording.tid);
                result = self.judge(&left, recording.tid, death).map(|verdict| states.push(verdict));
            }
        });
        result.map(|()| states)
    }

    fn judge(&mut self, left: &State, tid: u32, death: Death) -> Result<Verdict, Stop> {
        let key = hash(left, tid);
        if let Some(verdict) = self.judged.get(&key) {
            return Ok(verdict.clone());
        }
        self.put_back(left);
        let verdict = match self.survive()? {
            Ok(met) => Ok(met),
            Err(finding) => {
                self.put_back(left);
                Err(self.found(finding, death)?)
            }
        };
        self.judged.insert(key, verdict.clone());
        Ok(verdict)
    }

    /// A survivor comes to what is in memory now.
    fn survive(&mut self) -> Result<Result<String, Finding>, Stop> {
        self.report.survivors += 1;
        let ended = self.nursery.run(Task::Survive)?;
        Ok(self.engine.outcome(ended.end))
    }

    /// Files what was found; its index. What is in memory is what the dead one left.
    fn found(&mut self, finding: Finding, death: Death) -> Result<usize, Stop> {
        if let Some(known) = self.report.found.iter().position(|found| found.finding == finding) {
            return Ok(known);
        }
        if self.report.found.len() == self.sweep.most_found {
            self.incomplete(format!("stopped after {} different findings", self.sweep.most_found));
            return Err(Stop::Enough);
        }
        let image = self.sweep.subject.memory().image().iter().flat_map(|word| word.to_le_bytes()).collect();
        self.report.found.push(Found { finding, death, deaths: 0, image });
        Ok(self.report.found.len() - 1)
    }

    fn incomplete(&mut self, text: String) {
        self.report.incomplete.get_or_insert(text);
    }

    fn put_back(&self, state: &State) {
        put_back(self.sweep.subject.memory(), &self.engine.facts, state);
    }
}

fn put_back(memory: &Memory, facts: &Facts, state: &State) {
    memory.restore(&state.memory);
    facts.restore(&state.facts);
}

/// Of what a dead process has left; its number does not count.
fn hash(state: &State, tid: u32) -> [u64; 2] {
    [0u8, 1].map(|seed| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        for &word in state.memory.iter().chain(&state.facts) {
            hasher.write_u64(replace(word, tid, u32::MAX));
        }
        hasher.finish()
    })
}

/// `word`, with another number in the halves that hold `tid`.
fn replace(word: u64, tid: u32, with: u32) -> u64 {
    let half = |half: u32| if half == tid { with } else { half };
    u64::from(half((word >> 32) as u32)) << 32 | u64::from(half(word as u32))
}
