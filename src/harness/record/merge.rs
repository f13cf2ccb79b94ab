//! One record of several.

use super::{Finding, Instructions, Place, Record, Run, Uncovered, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Reasons that are told; of more, how many they are.
const REASONS: usize = 5;

/// Why two records do not make one.
#[derive(Debug, PartialEq, Eq)]
pub enum MergeError {
    /// They are of different checks.
    Different {
        /// Kind and name of the one.
        one: String,
        /// Kind and name of the other.
        other: String,
    },
    /// They have a run in common: it would count twice.
    Twice {
        /// Kind and name.
        check: String,
        /// The run.
        run: Run,
    },
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Different { one, other } => {
                write!(f, "a record of {one} and one of {other} are of different checks, expected one check")
            }
            Self::Twice { check, run } => write!(
                f,
                "the run of {check} with seed {}, begun at {} ms, is in both records: give each record once",
                run.seed, run.started_ms
            ),
        }
    }
}

impl std::error::Error for MergeError {}

impl Record {
    /// Takes in another record of the same check. Figures are added; what a sweep did not come by is what no run came by.
    ///
    /// A run that was stopped, and was made again later with the same seed on the same shard, counts as made: what it did is
    /// kept, and the record is not incomplete for its sake.
    ///
    /// # Errors
    /// [`MergeError`]; then nothing has changed.
    pub fn merge(&mut self, other: Self) -> Result<(), MergeError> {
        let check = |record: &Self| format!("{} {}", record.kind, record.name);
        if !self.is_of(&other) {
            return Err(MergeError::Different { one: check(self), other: check(&other) });
        }
        let id = |run: &Run| (run.started_ms, run.shard.clone(), run.seed);
        let known: BTreeSet<_> = self.runs.iter().map(id).collect();
        if let Some(run) = other.runs.iter().find(|run| known.contains(&id(run))) {
            return Err(MergeError::Twice { check: check(self), run: run.clone() });
        }
        self.cases = self.cases.saturating_add(other.cases);
        self.deaths = self.deaths.saturating_add(other.deaths);
        self.runs.extend(other.runs);
        self.findings.extend(other.findings);
        for (phase, kills) in other.phases {
            add(self.phases.entry(phase).or_default(), kills);
        }
        self.places.extend(other.places);
        self.recovery.merge(&other.recovery);
        self.progress.merge(&other.progress);
        self.states = self.states.max(other.states);
        self.come_by(other.instructions, other.uncovered);
        self.settle();
        Ok(())
    }

    /// What another run of the same sweep came by.
    fn come_by(&mut self, other: Option<Instructions>, uncovered: Vec<Uncovered>) {
        let Some(theirs) = other else { return };
        let Some(mut ours) = self.instructions else {
            (self.instructions, self.uncovered) = (other, uncovered);
            return;
        };
        let told =
            |of: &Instructions, uncovered: &[Uncovered]| of.covered.saturating_add(missed(uncovered)) == of.total;
        // Only where both name all that they did not come by can it be said what they came by together.
        let all_told = told(&ours, &self.uncovered) && told(&theirs, &uncovered) && ours.total == theirs.total;
        let place = |missed: &Uncovered| (missed.function.clone(), missed.file.clone(), missed.line);
        let neither: BTreeMap<_, _> = uncovered.into_iter().map(|missed| (place(&missed), missed)).collect();
        self.uncovered.retain_mut(|missed| {
            let Some(their) = neither.get(&place(missed)) else { return false };
            missed.instructions = missed.instructions.min(their.instructions);
            missed.reason = missed.reason.clone().max(their.reason.clone());
            true
        });
        add(&mut ours.executed, theirs.executed);
        add(&mut ours.outside, theirs.outside);
        ours.total = ours.total.max(theirs.total);
        ours.covered = ours.covered.max(theirs.covered);
        if all_told {
            ours.covered = ours.total - missed(&self.uncovered);
        }
        self.instructions = Some(ours);
    }

    /// Puts everything in order, and makes what follows from the rest follow from it: verdict, reason and times from the runs,
    /// and a failure from a finding. Whoever fills a record by hand calls it before it is written.
    pub fn settle(&mut self) {
        self.runs.sort();
        self.findings = united(std::mem::take(&mut self.findings));
        self.places = added(std::mem::take(&mut self.places));
        self.uncovered = together(std::mem::take(&mut self.uncovered));
        self.progress.settle();
        self.started_ms = self.runs.iter().map(|run| run.started_ms).min().unwrap_or(0);
        self.took_ms = self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.took_ms));
        self.judge();
    }

    fn judge(&mut self) {
        let counted: Vec<&Run> = self.runs.iter().filter(|run| !self.made_again(run)).collect();
        let of_runs = counted.iter().map(|run| run.verdict).max();
        let found = self.findings.iter().fold(0u64, |sum, finding| sum.saturating_add(finding.count.max(1)));
        let damaged = self.places.iter().filter(|place| place.is_damage()).count();
        self.verdict = match of_runs {
            _ if found > 0 || damaged > 0 => Verdict::Fail,
            Some(verdict) => verdict,
            None => Verdict::NotRun,
        };
        let mut reasons: BTreeSet<String> = BTreeSet::new();
        for run in &counted {
            if run.verdict == self.verdict && self.verdict != Verdict::Pass && !run.reason.is_empty() {
                reasons.insert(run.reason.clone());
            }
        }
        if self.verdict == Verdict::Fail && reasons.is_empty() {
            reasons.insert(if found > 0 { format!("{found} findings") } else { format!("damage at {damaged} places") });
        }
        if counted.is_empty() {
            reasons.insert("no run is in this record".into());
        }
        let more = reasons.len().saturating_sub(REASONS);
        self.reason = reasons.into_iter().take(REASONS).collect::<Vec<_>>().join("; ");
        if more > 0 {
            self.reason += &format!("; and {more} more");
        }
    }

    /// Whether a run that was stopped, or could not be made, was made later.
    fn made_again(&self, stopped: &Run) -> bool {
        let same = |run: &&Run| run.seed == stopped.seed && run.shard == stopped.shard;
        let made =
            |run: &Run| matches!(run.verdict, Verdict::Pass | Verdict::Fail) && run.started_ms > stopped.started_ms;
        !matches!(stopped.verdict, Verdict::Pass | Verdict::Fail) && self.runs.iter().filter(same).any(made)
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// Findings of the same kind and text are one. Its command and file are those that come first in the alphabet, so that it
/// does not matter who was first; one with a file goes before one without.
fn united(mut findings: Vec<Finding>) -> Vec<Finding> {
    let empty = |finding: &Finding| (finding.artefact.is_none(), finding.repeat.is_empty());
    findings.sort_by_cached_key(|finding| (finding.kind, finding.text.clone(), empty(finding), finding.clone()));
    findings.dedup_by(|later, first| {
        let same = (later.kind, &later.text) == (first.kind, &first.text);
        if same {
            add(&mut first.count, later.count);
        }
        same
    });
    findings
}

fn added(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_by(|a, b| key(a).cmp(&key(b)));
    places.dedup_by(|later, first| {
        let same = key(later) == key(first);
        if same {
            add(&mut first.deaths, later.deaths);
        }
        same
    });
    places
}

fn key(place: &Place) -> (&str, &str, &str, u32, &str) {
    let Place { operation, function, file, line, outcome, .. } = place;
    (operation, file, function, *line, outcome)
}

fn missed(uncovered: &[Uncovered]) -> u64 {
    uncovered.iter().fold(0, |sum, missed| sum.saturating_add(missed.instructions))
}

/// What was not come by at one place is one entry.
fn together(mut uncovered: Vec<Uncovered>) -> Vec<Uncovered> {
    uncovered.sort();
    uncovered.dedup_by(|later, first| {
        let same = (&later.function, &later.file, later.line) == (&first.function, &first.file, first.line);
        if same {
            add(&mut first.instructions, later.instructions);
            let reason = std::mem::take(&mut later.reason);
            first.reason = std::mem::take(&mut first.reason).max(reason);
        }
        same
    });
    uncovered
}
