//! What a layer reported, and the verdict on it.
//!
//! Two sources: the report file, to which tests append lines with their figures, and the log, in which the test
//! harness and the fuzzer say what passed. The verdict never rests on the exit status alone: a test that stopped early,
//! or checked nothing, exits with success too.

use crate::{fuzzed::Fuzzed, layer::Layer};
pub use ownerdead::harness::record::Verdict;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// State of one named check, as its last line gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Pass,
    Fail,
    Incomplete,
    NotRun,
}

/// One line of the report file: `state layer name cases deaths violations seconds detail test`, tab separated.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub state: State,
    pub name: String,
    pub cases: u64,
    pub deaths: u64,
    pub violations: u64,
    pub seconds: f64,
    pub detail: String,
    pub test: String,
}

/// A line, or `None` if it is none.
pub fn parse(line: &str) -> Option<Line> {
    let mut fields = line.split('\t');
    let state = match fields.next()? {
        "running" => State::Running,
        "pass" => State::Pass,
        "fail" => State::Fail,
        "incomplete" => State::Incomplete,
        "not-run" => State::NotRun,
        _ => return None,
    };
    let _layer = fields.next()?;
    let name = fields.next()?.to_owned();
    let mut count = || fields.next()?.parse::<u64>().ok();
    let (cases, deaths, violations) = (count()?, count()?, count()?);
    let seconds = fields.next()?.parse::<f64>().ok()?;
    let detail = fields.next().unwrap_or_default().to_owned();
    let test = fields.next().unwrap_or_default().to_owned();
    Some(Line { state, name, cases, deaths, violations, seconds, detail, test })
}

/// The last line of each name.
#[derive(Debug, Default)]
pub struct Tally {
    lines: BTreeMap<String, Line>,
    /// The name that reported last.
    pub latest: String,
    unreadable: u64,
}

impl Tally {
    pub fn feed(&mut self, line: &str) {
        match parse(line) {
            Some(line) => {
                self.latest.clone_from(&line.name);
                self.lines.insert(line.name.clone(), line);
            }
            None => self.unreadable += 1,
        }
    }

    fn sum(&self, figure: impl Fn(&Line) -> u64) -> u64 {
        self.lines.values().map(figure).sum()
    }

    pub fn cases(&self) -> u64 {
        self.sum(|line| line.cases)
    }

    pub fn deaths(&self) -> u64 {
        self.sum(|line| line.deaths)
    }

    fn violations(&self) -> u64 {
        self.sum(|line| line.violations)
    }

    /// The tests that failed for no other reason than that a check in them did not get to its end.
    fn incomplete_tests(&self) -> BTreeSet<&str> {
        let tests = |state| self.lines.values().filter(move |line| line.state == state).map(|line| line.test.as_str());
        let failed: BTreeSet<_> = tests(State::Fail).collect();
        tests(State::Incomplete).filter(|test| !test.is_empty() && !failed.contains(test)).collect()
    }

    fn of(&self, state: State) -> Vec<String> {
        let of_state = self.lines.values().filter(|line| line.state == state);
        of_state
            .map(
                |line| {
                    if line.detail.is_empty() { line.name.clone() } else { format!("{} ({})", line.name, line.detail) }
                },
            )
            .collect()
    }
}

/// What the log of a layer says.
#[derive(Debug, Default)]
pub struct Log {
    pub passed: u64,
    failed: u64,
    /// Target and name of each test that failed: two targets may have tests of one name.
    failing: BTreeSet<(String, String)>,
    /// The fuzz targets that got their turn.
    pub fuzzed: Vec<Fuzzed>,
    /// Somebody sent a signal that ends a process.
    killed: Option<String>,
    /// The process ended itself by a fault.
    faulted: Option<String>,
    /// The test that ended last, or the fuzz target that runs.
    pub latest: String,
    /// Tests that ended, while no result is out yet.
    pub ended: u64,
    /// The target whose tests come next.
    target: String,
    /// Targets that had no test to run.
    empty: BTreeSet<String>,
}

impl Log {
    pub fn runs(&self) -> u64 {
        self.fuzzed.iter().map(|target| target.executions).sum()
    }

    /// The inputs by which fuzzers ended.
    fn crashes(&self) -> Vec<String> {
        self.fuzzed.iter().flat_map(|target| target.findings.clone()).collect()
    }

    /// A step with a name is a fuzz target, which starts to count at zero.
    pub fn next_step(&mut self, name: &str) {
        if !name.is_empty() {
            self.fuzzed.push(Fuzzed::new(name));
        }
        name.clone_into(&mut self.latest);
    }

    pub fn feed(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.passed += number_before(rest, " passed");
            self.failed += number_before(rest, " failed");
        } else if let Some(rest) = line.strip_prefix("test ") {
            if let Some((name, outcome)) = rest.split_once(" ... ") {
                self.latest = name.to_owned();
                self.ended += 1;
                if outcome.trim_end().ends_with("FAILED") {
                    self.failing.insert((self.target.clone(), name.to_owned()));
                }
            }
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.failing.insert((self.target.clone(), name.to_owned()));
        } else if self.feed_fuzzer(line) {
        } else if line.contains("libFuzzer: run interrupted") {
            self.killed = Some("the fuzzer was interrupted".to_owned());
        } else if let Some(target) = target_started(line) {
            target.clone_into(&mut self.target);
        } else if line.trim_end() == "running 0 tests" {
            self.empty.insert(self.target.clone());
        } else {
            self.feed_signal(line);
        }
    }

    fn feed_fuzzer(&mut self, line: &str) -> bool {
        let Some(target) = self.fuzzed.last_mut() else { return false };
        if let Some((_, input)) = line.split_once("Test unit written to ") {
            target.findings.push(format!("input in {}", input.trim()));
            return true;
        }
        target.feed(line)
    }

    /// `(signal: 9, SIGKILL: kill)` from cargo, `exited with signal: 9` from cargo-fuzz.
    fn feed_signal(&mut self, line: &str) {
        let by = ["(signal: ", "exited with signal: "];
        let Some((_, rest)) = by.iter().find_map(|mark| line.split_once(mark)) else { return };
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if let Ok(signal) = rest[..digits].parse() {
            match ended_by(signal) {
                By::Hand(said) => self.killed = Some(said),
                By::Fault(said) => self.faulted = Some(said),
            }
        }
    }

    /// The names of the tests that failed.
    pub fn failing(&self) -> BTreeSet<&str> {
        self.failing.iter().map(|(_, name)| name.as_str()).collect()
    }

    /// How many tests failed that are not among `others`.
    fn failures_beside(&self, others: &BTreeSet<&str>) -> u64 {
        let counted = self.failing.iter().filter(|(_, name)| others.contains(name.as_str())).count() as u64;
        self.failed.max(self.failing.len() as u64) - counted
    }
}

/// `Running models/spsc.rs (target/release/deps/model_spsc-0123abcd)`.
fn target_started(line: &str) -> Option<&str> {
    let (_, binary) = line.trim().strip_prefix("Running ")?.split_once(" (")?;
    binary.trim_end_matches(')').rsplit('/').next()?.rsplit_once('-').map(|(name, _)| name)
}

fn number_before(text: &str, word: &str) -> u64 {
    let Some((before, _)) = text.split_once(word) else { return 0 };
    before.rsplit(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Whether a signal is one that people and the kernel send, or one that a fault raises.
pub enum By {
    Hand(String),
    Fault(String),
}

pub fn ended_by(signal: i32) -> By {
    use nix::sys::signal::Signal::{self, SIGHUP, SIGINT, SIGKILL, SIGTERM};
    match Signal::try_from(signal) {
        Ok(known @ (SIGKILL | SIGTERM | SIGINT | SIGHUP)) => By::Hand(format!("a process was killed by {known}")),
        Ok(known) => By::Fault(format!("a process died of {known}")),
        Err(_) => By::Fault(format!("a process died of signal {signal}")),
    }
}

/// How the commands of a layer ended.
#[derive(Debug)]
pub enum Ended {
    Success,
    Failure,
    Signal(i32),
    TimedOut(Duration),
}

/// The figures and the verdict of a layer. `reason` is empty for a plain pass.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    #[serde(rename = "name")]
    pub layer: Layer,
    pub cases: u64,
    pub deaths: u64,
    pub violations: u64,
    pub seconds: f64,
    pub verdict: Verdict,
    pub reason: String,
    /// Every check that it reported, and every test that failed.
    pub checks: Vec<Check>,
    /// The command that repeats it; empty where nothing ran.
    pub repeat: String,
    /// Its log, from the root of the checkout; empty where nothing ran.
    pub log: String,
}

/// One check of a layer.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub name: String,
    pub cases: u64,
    pub deaths: u64,
    pub violations: u64,
    pub seconds: f64,
    pub verdict: Verdict,
    pub detail: String,
}

impl From<&Line> for Check {
    fn from(line: &Line) -> Check {
        let (verdict, detail) = match line.state {
            State::Pass if line.violations > 0 => (Verdict::Fail, line.detail.clone()),
            State::Pass => (Verdict::Pass, line.detail.clone()),
            State::Fail => (Verdict::Fail, line.detail.clone()),
            State::Incomplete => (Verdict::Incomplete, line.detail.clone()),
            State::Running => (Verdict::Incomplete, "stopped early".to_owned()),
            State::NotRun => (Verdict::NotRun, line.detail.clone()),
        };
        let Line { name, cases, deaths, violations, seconds, .. } = line.clone();
        Check { name, cases, deaths, violations, seconds, verdict, detail }
    }
}

/// What reported, and what failed without a report.
fn checks(tally: &Tally, log: &Log) -> Vec<Check> {
    let reported = tally.lines.values().map(Check::from);
    let tests: BTreeSet<&str> = tally.lines.values().flat_map(|line| [line.test.as_str(), &line.name]).collect();
    let failing = log.failing().into_iter().filter(|name| !tests.contains(name));
    let failed = failing.map(|name| Check {
        name: name.to_owned(),
        cases: 0,
        deaths: 0,
        violations: 1,
        seconds: 0.0,
        verdict: Verdict::Fail,
        detail: "the test failed: see the log".to_owned(),
    });
    reported.chain(failed).chain(log.fuzzed.iter().map(Fuzzed::check)).collect()
}

impl Outcome {
    /// A layer of which nothing ran.
    pub fn without_run(layer: Layer, verdict: Verdict, reason: String) -> Outcome {
        Outcome {
            layer,
            cases: 0,
            deaths: 0,
            violations: 0,
            seconds: 0.0,
            verdict,
            reason,
            checks: Vec::new(),
            repeat: String::new(),
            log: String::new(),
        }
    }
}

/// The rules, the worst first: a failure outweighs what did not end, and that outweighs a pass.
pub fn judge(layer: Layer, tally: &Tally, log: &Log, ended: &Ended, took: Duration) -> Outcome {
    let cases = match layer {
        Layer::Unit => log.passed,
        Layer::Fuzz => log.runs(),
        Layer::Loom | Layer::Shuttle | Layer::Sweep | Layer::Chaos => tally.cases(),
    };
    let failures = log.failures_beside(&tally.incomplete_tests());
    let violations = tally.violations().max(failures).max(log.crashes().len() as u64);
    let (verdict, reason) = verdict(layer, tally, log, ended, cases, violations);
    let seconds = (took.as_secs_f64() * 1000.0).round() / 1000.0;
    Outcome {
        cases,
        deaths: tally.deaths(),
        violations,
        seconds,
        checks: checks(tally, log),
        ..Outcome::without_run(layer, verdict, reason)
    }
}

fn verdict(layer: Layer, tally: &Tally, log: &Log, ended: &Ended, cases: u64, violations: u64) -> (Verdict, String) {
    let incomplete = tally.incomplete_tests();
    let failed = log.failing().into_iter().filter(|name| !incomplete.contains(name)).map(str::to_owned).collect();
    let failing = [tally.of(State::Fail), failed, log.crashes()];
    if let Some(names) = failing.into_iter().find(|names| !names.is_empty()) {
        return (Verdict::Fail, names.join("; "));
    }
    let (mut killed, mut faulted) = (log.killed.clone(), log.faulted.clone());
    if let Ended::Signal(signal) = ended {
        match ended_by(*signal) {
            By::Hand(said) => killed = Some(said),
            By::Fault(said) => faulted = Some(said),
        }
    }
    if let Some(said) = faulted {
        return (Verdict::Fail, said);
    }
    if violations > 0 {
        return (Verdict::Fail, format!("{violations} violations reported"));
    }
    if let Some(said) = killed {
        return (Verdict::Incomplete, said);
    }
    match ended {
        Ended::TimedOut(limit) => {
            let at = if tally.latest.is_empty() { String::new() } else { format!(", in {}", tally.latest) };
            return (Verdict::Incomplete, format!("stopped after its limit of {} s{at}", limit.as_secs()));
        }
        // A test whose check is incomplete fails, and so does its command.
        Ended::Failure if log.failing.is_empty() => {
            return (Verdict::Fail, "the command failed: see its log".to_owned());
        }
        Ended::Failure | Ended::Success | Ended::Signal(_) => {}
    }
    let short = tally.of(State::Incomplete);
    if !short.is_empty() {
        return (Verdict::Incomplete, short.join("; "));
    }
    let early = tally.of(State::Running);
    if !early.is_empty() {
        return (Verdict::Incomplete, format!("stopped early: {}", early.join("; ")));
    }
    if tally.unreadable > 0 {
        return (Verdict::Incomplete, format!("{} lines of its report could not be read", tally.unreadable));
    }
    let left_out = tally.of(State::NotRun);
    if cases == 0 {
        return match left_out.as_slice() {
            [] => (Verdict::Incomplete, "no case ran".to_owned()),
            names => (Verdict::NotRun, names.join("; ")),
        };
    }
    let empty: Vec<&str> = log.empty.iter().map(String::as_str).filter(|name| layer.needs(name)).collect();
    if !empty.is_empty() {
        return (Verdict::Incomplete, format!("no test ran in {}", empty.join(", ")));
    }
    let reason = if left_out.is_empty() { String::new() } else { format!("without {}", left_out.join("; ")) };
    (Verdict::Pass, reason)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
