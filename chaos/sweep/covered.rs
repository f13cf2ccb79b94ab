//! What all sweeps together have covered of the operations' instructions.

use crate::outcome::Figures;
use comfy_table::{CellAlignment, Table, presets};
use ownerdead::harness::kill::Place;
use ownerdead::harness::kill::code::{Address, Branch, Code, Coverage, Functions, Reason, Reasons, Uncovered};
use ownerdead::harness::record::{self, Record, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
const REASONS: &str = "chaos/sweep/uncovered.tsv";
/// The variable that asks for each line that is not covered and has a reason.
const DETAILS: &str = "OWNERDEAD_SWEEP_UNCOVERED";

/// Operations that panic on purpose: where they come is not what others are to cover.
const PANICS: [&str; 2] = ["robust_mutex.panic_inside", "once.panic_inside"];

/// What sweeps have seen, by operation.
#[derive(Default)]
pub struct Seen {
    operations: Mutex<BTreeMap<String, Vec<Operation>>>,
}

/// What one sweep has seen.
pub struct Operation {
    /// Where the operation begins.
    pub at: Address,
    /// Before which instructions a process died, what came of it, and how often.
    pub places: Vec<(Address, String, Place)>,
    pub figures: Figures,
    pub verdict: Verdict,
    pub found: Vec<record::Finding>,
    pub took: Duration,
}

impl Seen {
    pub fn add(&self, name: &str, operation: Operation) {
        self.operations.lock().expect("no holder panics").entry(name.to_owned()).or_default().push(operation);
    }

    /// Function, file and line at an address, as far as they are known.
    pub fn place(&self, at: &str) -> String {
        let code = Code::new(CHECKOUT);
        let frames = at.parse().ok().and_then(|at: Address| code.lookup(&at).ok()).unwrap_or_default();
        let ours = frames.iter().find(|frame| frame.file.as_deref().is_some_and(is_ours)).or(frames.first());
        match ours {
            Some(frame) => {
                let (file, line) = (frame.file.as_deref(), frame.line.unwrap_or(0));
                let file = file.map_or_else(String::new, |file| format!(" ({}:{line})", file.display()));
                format!("in {}{file}", frame.function)
            }
            None => format!("at {at}"),
        }
    }
}

/// Whether a source file is that of a structure.
fn is_ours(file: &Path) -> bool {
    ["src/ring", "src/lock", "src/cell", "src/owner", "src/sync", "src/segment"].iter().any(|dir| file.starts_with(dir))
}

/// Prints what was covered; whether all of it was, or has a reason. Only what is `whole` has to be.
pub fn report(seen: &Seen, whole: bool) -> bool {
    match cover(seen) {
        Ok(covered) => {
            covered.write_down(seen);
            covered.print(whole)
        }
        Err(error) => {
            println!("coverage: FAILED: {error}");
            false
        }
    }
}

/// An operation.
struct Row {
    name: String,
    /// By its own sweeps.
    coverage: Coverage,
    /// By those of all operations.
    by_any: Coverage,
    figures: Figures,
    sweeps: usize,
}

struct Covered {
    rows: Vec<Row>,
    all: Coverage,
    figures: Figures,
    /// Of all sweeps: see [`Figures::limit`].
    limit: u64,
}

fn cover(seen: &Seen) -> Result<Covered, Box<dyn std::error::Error>> {
    let operations = seen.operations.lock().expect("no holder panics");
    let code = Code::new(CHECKOUT);
    let reasons = Reasons::read(Path::new(CHECKOUT), Path::new(REASONS))?;
    let (mut rows, mut figures, mut roots, mut died) =
        (Vec::new(), Figures::default(), BTreeSet::new(), BTreeSet::new());
    for (name, sweeps) in operations.iter() {
        figures = sweeps.iter().fold(figures, |sum, sweep| sum.plus(&sweep.figures));
        if !PANICS.contains(&name.as_str()) {
            roots.extend(sweeps.iter().map(|sweep| sweep.at.clone()));
            died.extend(sweeps.iter().flat_map(executed));
        }
    }
    for (name, sweeps) in operations.iter() {
        let at: BTreeSet<&Address> = sweeps.iter().map(|sweep| &sweep.at).collect();
        let functions: Functions = code.closure(at, is_ours)?;
        let own: BTreeSet<Address> = sweeps.iter().flat_map(executed).collect();
        let any = own.union(&died).cloned().collect();
        rows.push(Row {
            name: name.clone(),
            coverage: functions.coverage(&own, &reasons)?,
            by_any: functions.coverage(&any, &reasons)?,
            figures: sweeps.iter().fold(Figures::default(), |sum, sweep| sum.plus(&sweep.figures)),
            sweeps: sweeps.len(),
        });
    }
    let all = code.closure(&roots, is_ours)?.coverage(&died, &reasons)?;
    let mut limits: Vec<u64> = operations.values().flatten().map(|sweep| sweep.figures.limit).collect();
    limits.sort_unstable();
    let limit = limits.get(limits.len() / 2).copied().unwrap_or(0);
    Ok(Covered { rows, all, figures, limit })
}

/// The instructions of the operation before which the victim died, by image or really.
fn executed(sweep: &Operation) -> impl Iterator<Item = Address> {
    sweep.places.iter().filter(|(.., place)| place.deaths > 0).map(|(at, ..)| at.clone())
}

impl Covered {
    /// A record of each operation, if somebody wants them.
    fn write_down(&self, seen: &Seen) {
        if std::env::var_os(record::DIRECTORY).is_none() {
            return;
        }
        let operations = seen.operations.lock().expect("no holder panics");
        let code = Code::new(CHECKOUT);
        for Row { name, coverage, figures, .. } in &self.rows {
            let sweeps = &operations[name];
            let mut record = Record::new(record::Kind::Sweep, name, 0);
            record.cases = figures.survivors;
            record.deaths = figures.instructions + figures.second_instructions + figures.planted;
            record.states = figures.states + figures.second_states;
            record.findings = sweeps.iter().flat_map(|sweep| sweep.found.iter().cloned()).collect();
            record.places = places(&code, name, sweeps);
            record.instructions = Some(record::Instructions {
                executed: figures.instructions,
                covered: coverage.covered,
                total: coverage.total,
                outside: coverage.outside_executed,
            });
            record.uncovered = coverage.uncovered.iter().map(uncovered).collect();
            let verdict = sweeps.iter().map(|sweep| sweep.verdict).max().unwrap_or(Verdict::NotRun);
            let took = sweeps.iter().map(|sweep| sweep.took).sum();
            record.ended(verdict, "", took);
            record.emit();
        }
    }

    fn print(&self, whole: bool) -> bool {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header([
            "operation",
            "sweeps",
            "states",
            "second",
            "planted",
            "instructions",
            "covered",
            "elsewhere",
            "reason",
            "none",
        ]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for Row { name, coverage, by_any, figures, sweeps } in &self.rows {
            let counts = [
                *sweeps as u64,
                figures.states,
                figures.second_states,
                figures.planted,
                coverage.total,
                coverage.covered,
                by_any.covered - coverage.covered,
                by_any.total - by_any.covered - by_any.unexplained(),
                by_any.unexplained(),
            ];
            table.add_row(std::iter::once(name.clone()).chain(counts.map(|count| count.to_string())));
        }
        println!("{table}");
        println!(
            "states: different ones that the operation left, and second: that recoveries left. Of the instructions that it can come to, \
             covered: it died before them; elsewhere: another operation did; reason: none did, and there is a reason; none: there is none"
        );
        self.uncovered(whole);
        let rate = |count: u64, micros: u64| count as f64 * 1e6 / micros.max(1) as f64;
        let Figures {
            instructions, second_instructions, planted, forked, survivors, image_micros, planted_micros, ..
        } = self.figures;
        println!(
            "{} boundaries judged by image, {:.0} a second of a processor, {survivors} survivors; {planted} deaths planted, {:.0} a \
             second, {forked} of them with memory of their own; the machine's own limit, taken beside each sweep: {} forks, kills and waits a second (median)",
            instructions + second_instructions,
            rate(instructions + second_instructions, image_micros),
            rate(planted, planted_micros),
            self.limit
        );
        println!(
            "coverage: {} of {} instructions of all operations together, {} have a reason, {} have none",
            self.all.covered,
            self.all.total,
            self.all.total - self.all.covered - self.all.unexplained(),
            self.all.unexplained()
        );
        !whole || self.all.passed()
    }

    fn uncovered(&self, whole: bool) {
        let mut reasons: BTreeMap<&Reason, u64> = BTreeMap::new();
        let mut regions: Vec<(&Branch, Vec<&Uncovered>)> = Vec::new();
        let nowhere = Branch::default();
        let details = std::env::var_os(DETAILS).is_some();
        for uncovered in &self.all.uncovered {
            if let Some(reason) = &uncovered.reason {
                *reasons.entry(reason).or_default() += uncovered.instructions;
                if details {
                    println!("  {}: {reason}", lines_of(uncovered));
                }
                continue;
            }
            let branch = uncovered.branch.as_deref().unwrap_or(&nowhere);
            match regions.last_mut() {
                Some((last, lines)) if *last == branch => lines.push(uncovered),
                _ => regions.push((branch, vec![uncovered])),
            }
        }
        println!("not covered, and why:");
        for (reason, instructions) in reasons {
            let seen = if matches!(reason, Reason::Proved(_)) { " (seen in the code)" } else { "" };
            println!("  {instructions:4} {reason}{seen}");
        }
        if !details {
            println!("  ({DETAILS}=1 prints the lines of each)");
        }
        if whole {
            for (line, count) in &self.all.exceeded {
                println!(
                    "  {REASONS}:{}: TOO MUCH: it explains {count} instructions, expected at most {}: is a sweep missing?",
                    line.number,
                    line.most.unwrap_or_default()
                );
            }
            for line in &self.all.unused {
                println!(
                    "  {REASONS}:{}: UNUSED: nothing uncovered is in or behind {} with `{}`",
                    line.number,
                    line.file.display(),
                    line.contains
                );
            }
        }
        if whole || details {
            regions.iter().for_each(|(branch, lines)| without_reason(branch, lines));
        }
        for (address, unreached) in &self.all.disproved {
            println!("  {address} was executed, and was thought to be: {unreached}");
        }
        for address in &self.all.undecoded {
            println!("  {address} was executed, and is no instruction as decoded");
        }
    }
}

/// A region that has no reason.
fn without_reason(branch: &Branch, lines: &[&Uncovered]) {
    let sum: u64 = lines.iter().map(|uncovered| uncovered.instructions).sum();
    println!("  {sum} NOT COVERED, without a reason, behind:");
    for (what, places) in [("branch", &branch.from), ("to", &branch.to)] {
        for (file, line) in places {
            println!("      {what:6} {}:{line}  {}", file.display(), text(file, *line));
        }
    }
    for uncovered in lines {
        println!("    {}, {}", lines_of(uncovered), uncovered.first.short());
    }
}

fn lines_of(uncovered: &Uncovered) -> String {
    let Uncovered { source, instructions, .. } = uncovered;
    format!("{instructions:4} at {}:{} {}", source.file.display(), source.line, source.function)
}

/// What stands there, for people.
fn text(file: &Path, line: u32) -> String {
    let text = std::fs::read_to_string(Path::new(CHECKOUT).join(file)).unwrap_or_default();
    (line as usize).checked_sub(1).and_then(|line| text.lines().nth(line)).unwrap_or_default().trim().to_owned()
}

/// The kill map of an operation.
fn places(code: &Code, name: &str, sweeps: &[Operation]) -> Vec<record::Place> {
    let all = sweeps.iter().flat_map(|sweep| &sweep.places).map(|(at, outcome, place)| (at, outcome.as_str(), place));
    let Ok((lines, _)) = code.kill_map(all, is_ours) else { return Vec::new() };
    let place = |line: ownerdead::harness::kill::code::KillLine| record::Place {
        operation: name.to_owned(),
        function: line.source.function.to_string(),
        file: line.source.file.display().to_string(),
        line: line.source.line,
        outcome: line.outcome,
        deaths: line.deaths.deaths + line.deaths.second_deaths + line.deaths.planted,
    };
    lines.into_iter().map(place).collect()
}

fn uncovered(uncovered: &Uncovered) -> record::Uncovered {
    record::Uncovered {
        function: uncovered.source.function.to_string(),
        file: uncovered.source.file.display().to_string(),
        line: uncovered.source.line,
        instructions: uncovered.instructions,
        reason: uncovered.reason.as_ref().map(Reason::to_string).unwrap_or_default(),
    }
}

impl Figures {
    fn plus(&self, other: &Self) -> Self {
        Self {
            instructions: self.instructions + other.instructions,
            second_instructions: self.second_instructions + other.second_instructions,
            states: self.states + other.states,
            second_states: self.second_states + other.second_states,
            survivors: self.survivors + other.survivors,
            planted: self.planted + other.planted,
            forked: self.forked + other.forked,
            not_planted: self.not_planted + other.not_planted,
            left_out: self.left_out + other.left_out,
            image_micros: self.image_micros + other.image_micros,
            planted_micros: self.planted_micros + other.planted_micros,
            // Of rates there is no sum.
            limit: 0,
        }
    }
}
