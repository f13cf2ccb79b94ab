//! The kill map: lines of source, and how many died there, with which outcome.

use super::{count, counted};
use maud::{Markup, html};
use ownerdead::harness::record::{FindingKind, Record};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path},
};

/// Lines left out between two that are shown, at least: else they are shown.
const GAP: u32 = 3;
/// A longer file is not looked into.
const LONGEST: u64 = 4 << 20;

/// What is known of a line.
#[derive(Default)]
struct Line {
    functions: BTreeSet<String>,
    outcomes: BTreeMap<String, u64>,
    /// Instructions that no sweep came by, with the reasons.
    missed: u64,
    reasons: BTreeSet<String>,
}

impl Line {
    fn deaths(&self) -> u64 {
        self.outcomes.values().fold(0, |sum, deaths| sum.saturating_add(*deaths))
    }

    fn bad(&self) -> bool {
        self.outcomes.iter().any(|(outcome, deaths)| *deaths > 0 && is_bad(outcome))
    }
}

/// A file that processes died in while they did one thing.
#[derive(Default)]
struct File {
    lines: BTreeMap<u32, Line>,
}

impl File {
    fn deaths(&self) -> u64 {
        self.lines.values().fold(0, |sum, line| sum.saturating_add(line.deaths()))
    }

    fn died_at(&self) -> usize {
        self.lines.values().filter(|line| line.deaths() > 0).count()
    }

    fn bad(&self) -> bool {
        self.lines.values().any(Line::bad)
    }
}

/// Damage of some kind.
fn is_bad(outcome: &str) -> bool {
    FindingKind::ALL.iter().any(|kind| kind.to_string() == outcome)
}

/// By operation, then by file.
type Map = BTreeMap<String, BTreeMap<String, File>>;

fn map(records: &[Record]) -> Map {
    let mut map = Map::new();
    for record in records {
        for place in &record.places {
            let file = map.entry(place.operation.clone()).or_default().entry(place.file.clone()).or_default();
            let line = file.lines.entry(place.line).or_default();
            if !place.function.is_empty() {
                line.functions.insert(place.function.clone());
            }
            let deaths = line.outcomes.entry(place.outcome.clone()).or_default();
            *deaths = deaths.saturating_add(place.deaths);
        }
    }
    for record in records {
        // Where lines of its operations are shown; the table of what was not come by has all of it.
        let operations: BTreeSet<&str> = record.places.iter().map(|place| place.operation.as_str()).collect();
        for (missed, operation) in record.uncovered.iter().flat_map(|m| operations.iter().map(move |o| (m, *o))) {
            let Some(file) = map.get_mut(operation).and_then(|files| files.get_mut(&missed.file)) else { continue };
            let line = file.lines.entry(missed.line).or_default();
            line.missed = line.missed.max(missed.instructions);
            line.reasons.insert(missed.reason.clone());
        }
    }
    map
}

/// All of it; nothing if no record tells of a place.
pub fn kill_map(records: &[Record], root: Option<&Path>) -> Markup {
    let map = map(records);
    html! {
        @for (operation, files) in &map {
            @let deaths = files.values().fold(0u64, |sum, file| sum.saturating_add(file.deaths()));
            h3 { "Deaths in " (operation) ": " (count(deaths)) }
            @let most = files.values().map(File::deaths).max().unwrap_or(1).max(1);
            @for (name, file) in most_first(files) {
                details open[file.bad()] {
                    summary {
                        code { (name) } " "
                        (super::bar(file.deaths(), most))
                        " " (counted(file.deaths(), "death")) " at " (counted(file.died_at() as u64, "line"))
                        @if file.bad() { " " strong class="fail" { "✘ with damage" } }
                    }
                    (lines(name, file, root))
                }
            }
        }
    }
}

fn most_first(files: &BTreeMap<String, File>) -> Vec<(&String, &File)> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_key(|(name, file)| (Reverse(file.deaths()), *name));
    files
}

fn lines(name: &str, file: &File, root: Option<&Path>) -> Markup {
    let text = root.and_then(|root| source(root, name));
    let text: Vec<&str> = text.as_deref().map(|text| text.lines().collect()).unwrap_or_default();
    let most = file.lines.values().map(Line::deaths).max().unwrap_or(1).max(1);
    let mut shown = Vec::new();
    let mut before: Option<u32> = None;
    for (&number, line) in &file.lines {
        let next = before.map_or(number, |before| before.saturating_add(1));
        if number.saturating_sub(next) > GAP {
            shown.push(None);
        } else if !text.is_empty() {
            shown.extend((next..number).map(|between| Some((between, None))));
        }
        shown.push(Some((number, Some(line))));
        before = Some(number);
    }
    html! {
        div class="wide" tabindex="0" role="region" aria-label=(format!("Source of {name}")) { table class="source" {
            caption { "Where processes died in " (name) }
            thead { tr { th scope="col" { "line" } th scope="col" { "deaths" } th scope="col" { "outcome" } th scope="col" { "source" } } }
            tbody {
                @for row in shown {
                    @match row {
                        None => { tr class="gap" { td colspan="4" { "⋯" } } }
                        Some((number, line)) => {
                            (self::row(number, line, most, text.get((number as usize).wrapping_sub(1)).copied()))
                        }
                    }
                }
            }
        } }
    }
}

fn row(number: u32, line: Option<&Line>, most: u64, text: Option<&str>) -> Markup {
    let deaths = line.map_or(0, Line::deaths);
    // Five steps over powers: a line with a hundredth of the deaths is to be seen too.
    let heat = match (deaths as f64 / most as f64).powf(0.25) {
        _ if deaths == 0 => 0,
        share => ((share * 5.0).ceil() as u32).clamp(1, 5),
    };
    let class = if line.is_some_and(Line::bad) { format!("bad heat{heat}") } else { format!("heat{heat}") };
    html! {
        tr class=(class) {
            th scope="row" { (number) }
            td class="number" { @if line.is_some() { (count(deaths)) } }
            td {
                @if let Some(line) = line {
                    @for (outcome, deaths) in &line.outcomes {
                        span class=(if is_bad(outcome) { "fail" } else { "quiet" }) {
                            @if is_bad(outcome) { "✘ " }
                            (outcome) @if line.outcomes.len() > 1 { " " (count(*deaths)) }
                        } " "
                    }
                    @if line.missed > 0 {
                        span class="incomplete" {
                            (line.missed) " instructions not come by"
                            @for reason in line.reasons.iter().filter(|reason| !reason.is_empty()) { ": " (reason) }
                        }
                    }
                }
            }
            td { code { (text.unwrap_or_default()) }
                @if text.is_none() { @if let Some(line) = line {
                    @for function in &line.functions { span class="quiet" { (function) } " " }
                } }
            }
        }
    }
}

/// The text of a file of the checkout; none for a path that leads elsewhere: records may come from others.
fn source(root: &Path, name: &str) -> Option<String> {
    let relative = Path::new(name);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let (root, path) = (root.canonicalize().ok()?, root.join(relative).canonicalize().ok()?);
    let inside = path.starts_with(root) && path.extension().is_some_and(|e| e == "rs" || e == "c" || e == "h");
    let short = fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
    if inside && short { fs::read_to_string(path).ok() } else { None }
}
