//! The test around a stage: starts it, listens to it, judges.

use crate::case::Reach;
use crate::covered::{Operation, Seen};
use crate::stage;
use ownerdead::harness::kill::Place;
use ownerdead::harness::kill::code::Address;
use ownerdead::harness::record::{self, FindingKind, Verdict};
use ownerdead::harness::report::{Line, State};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What a sweep has said.
#[derive(Default)]
pub struct Heard {
    operation: Option<Address>,
    places: Vec<(Address, String, Place)>,
    found: Vec<Finding>,
    disagreements: Vec<String>,
    incomplete: Option<String>,
    errors: Vec<String>,
    /// Why victims were forked, and did not share memory, if so.
    forked: Option<String>,
    pub figures: Option<Figures>,
}

/// What must not be.
struct Finding {
    kind: String,
    deaths: u64,
    /// Number and address of the instruction that the victim died before, and of that which a first survivor did.
    first: (String, String),
    second: Option<(String, String)>,
    image: String,
    text: String,
}

/// How much a sweep has looked at.
#[derive(Clone, Copy, Default)]
pub struct Figures {
    pub instructions: u64,
    pub second_instructions: u64,
    pub states: u64,
    pub second_states: u64,
    pub survivors: u64,
    pub planted: u64,
    /// Of those, by victims with memory of their own.
    pub forked: u64,
    pub not_planted: u64,
    pub left_out: u64,
    pub image_micros: u64,
    pub planted_micros: u64,
    /// Idle processes that can be forked, killed and waited for in a second.
    pub limit: u64,
}

impl Heard {
    fn line(&mut self, line: &str) {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        match fields.as_slice() {
            ["operation", at] => self.operation = at.parse().ok(),
            ["place", at, outcome, ..] => {
                let place = Place { deaths: number(3), second_deaths: number(4), planted: number(5), found: number(6) };
                self.places.extend(at.parse().ok().map(|at| (at, (*outcome).to_owned(), place)));
            }
            ["found", kind, _, first, first_at, second, second_at, image, text] => self.found.push(Finding {
                kind: (*kind).to_owned(),
                deaths: number(2),
                first: ((*first).to_owned(), (*first_at).to_owned()),
                second: (*second != "-").then(|| ((*second).to_owned(), (*second_at).to_owned())),
                image: (*image).to_owned(),
                text: (*text).to_owned(),
            }),
            ["disagree", text] => self.disagreements.push((*text).to_owned()),
            ["incomplete", text] => self.incomplete = Some((*text).to_owned()),
            ["forked", text] => self.forked = Some((*text).to_owned()),
            ["error", text] => self.errors.push((*text).to_owned()),
            ["end", ..] => {
                self.figures = Some(Figures {
                    instructions: number(1),
                    second_instructions: number(2),
                    states: number(3),
                    second_states: number(4),
                    survivors: number(5),
                    planted: number(6),
                    not_planted: number(7),
                    left_out: number(8),
                    image_micros: number(9),
                    planted_micros: number(10),
                    limit: number(11),
                    forked: number(12),
                });
            }
            _ => println!("{line}"),
        }
    }
}

/// Kills the stage, and with it its victims, if the test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a sweep on a stage; an error if it found something, or did not look at everything.
pub fn judge(name: &str, reach: Reach, seen: &Seen) -> Result<(), libtest_mimic::Failed> {
    let started = Instant::now();
    let heard = listen(name, reach)?;
    let seconds = started.elapsed().as_secs_f64();
    let release = if cfg!(debug_assertions) { "" } else { "--release " };
    let repeat = format!("OWNERDEAD_SWEEP_REACH={} cargo test {release}--test sweep -- --exact {name}", reach.as_str());
    let mut said: Vec<String> = heard.errors.clone();
    for finding in &heard.found {
        said.push(tell(finding, seen));
    }
    said.extend(heard.disagreements.iter().map(|text| format!("the two methods do not agree: {text}")));
    if heard.figures.is_none() && said.is_empty() {
        said.push("the stage did not end as it should".into());
    }
    let figures = heard.figures.unwrap_or_default();
    let deaths = figures.instructions + figures.second_instructions + figures.planted;
    let forked = heard.forked.as_ref().map(|why| format!(" (victims were forked: {why})")).unwrap_or_default();
    let summary = format!(
        "{} instructions, {} in recoveries; {} and {} states, {} deaths planted{forked}",
        figures.instructions, figures.second_instructions, figures.states, figures.second_states, figures.planted
    );
    let (state, detail) = match (&said[..], &heard.incomplete) {
        ([], None) => (State::Pass, summary.clone()),
        ([], Some(why)) => (State::Incomplete, format!("INCOMPLETE: {why}; {summary}; repeat: {repeat}")),
        _ => (State::Fail, format!("{}; repeat: {repeat}", said.join("; "))),
    };
    let violations = said.len() as u64;
    Line { state, layer: "sweep", name, cases: figures.survivors, deaths, violations, seconds, detail: &detail }.emit();
    println!("{name}: {summary}");
    if let Some(operation) = heard.operation {
        // `structure.operation.state`
        let name = name.rsplit_once('.').map_or(name, |(operation, _)| operation);
        let found = heard.found.iter().map(|finding| recorded(finding, seen, &repeat)).collect();
        let verdict = match state {
            State::Pass => Verdict::Pass,
            State::Incomplete => Verdict::Incomplete,
            _ => Verdict::Fail,
        };
        let took = started.elapsed();
        seen.add(name, Operation { at: operation, places: heard.places, figures, verdict, found, took });
    }
    if state == State::Pass {
        return Ok(());
    }
    said.extend(heard.incomplete.map(|why| format!("INCOMPLETE: {why}")));
    Err(format!("{}\nto repeat it: {repeat}", said.join("\n")).into())
}

fn recorded(finding: &Finding, seen: &Seen, repeat: &str) -> record::Finding {
    let kind = FindingKind::ALL.into_iter().find(|kind| kind.to_string() == finding.kind);
    record::Finding {
        kind: kind.unwrap_or(FindingKind::Other),
        text: tell(finding, seen),
        repeat: repeat.to_owned(),
        artefact: Some(finding.image.clone()),
        count: finding.deaths.max(1),
    }
}

fn tell(finding: &Finding, seen: &Seen) -> String {
    let Finding { kind, deaths, first: (number, at), second, image, text } = finding;
    let mut said = format!("{kind}: {text}\n  the victim died before instruction {number}, {}", seen.place(at));
    if let Some((number, at)) = second {
        said += &format!("\n  and who recovered before instruction {number} of the recovery, {}", seen.place(at));
    }
    said + &format!("\n  the same after {deaths} deaths; the memory as it was left: {image}")
}

fn listen(name: &str, reach: Reach) -> Result<Heard, String> {
    let stage = Command::new("/proc/self/exe")
        .env(stage::NAME, name)
        .env("OWNERDEAD_SWEEP_REACH", reach.as_str())
        // No function is bound while a victim is in it.
        .env("LD_BIND_NOW", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the stage could not be started: {error}"))?;
    let mut stage = Running(stage);
    let stdout = BufReader::new(stage.0.stdout.take().expect("piped"));
    let mut heard = Heard::default();
    // Each wait in the stage is bounded, so it ends.
    for line in stdout.lines().map_while(Result::ok) {
        heard.line(&line);
    }
    Ok(heard)
}
