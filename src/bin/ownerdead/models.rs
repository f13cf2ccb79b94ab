//! Where simulated processes died: what the models tell, as a record.

use crate::report::{Outcome, Verdict};
use ownerdead::harness::record::{Kind, Place, Record};
use std::{collections::BTreeMap, time::Duration};

/// The record of a layer of models, of its outcome and of the lines that `OWNERDEAD_DEATHS` names:
/// `sweep test site - died times`, tab separated.
pub fn record(outcome: &Outcome, told: &str, began: u64, seed: Option<u64>) -> Record {
    let name = outcome.layer.to_string();
    let mut record = Record::new(Kind::Model, &name, seed.unwrap_or(0));
    record.runs[0].started_ms = began;
    (record.cases, record.deaths) = (outcome.cases, outcome.deaths);
    let verdicts: BTreeMap<&str, Verdict> =
        outcome.checks.iter().map(|check| (check.name.as_str(), check.verdict)).collect();
    record.places = told.lines().filter_map(|line| place(line, &name, &verdicts)).collect();
    record.ended(outcome.verdict, &outcome.reason, Duration::try_from_secs_f64(outcome.seconds).unwrap_or_default());
    record
}

fn place(line: &str, name: &str, verdicts: &BTreeMap<&str, Verdict>) -> Option<Place> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [sweep, _, site, _, "died", deaths] = fields[..] else { return None };
    let mut parts = site.rsplitn(3, ':');
    let (_column, number, file) = (parts.next()?, parts.next()?, parts.next()?);
    // A sweep that is not reported is one of what is known to be wrong; one that failed does not say which death did it.
    let outcome = match verdicts.get(sweep) {
        Some(Verdict::Pass) => "recovered",
        Some(Verdict::Incomplete) => "recovered so far",
        _ => "not judged",
    };
    Some(Place {
        operation: format!("the models under {name}"),
        function: String::new(),
        file: straight(file),
        line: number.parse().ok()?,
        outcome: outcome.to_owned(),
        deaths: deaths.parse().ok()?,
    })
}

/// Without `..`, as the source of a module that lies elsewhere has in its path.
fn straight(file: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in file.split('/') {
        if part == ".." && parts.last().is_some_and(|last| *last != "..") {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{layer::Layer, report::Check};

    #[test]
    fn a_path_has_no_way_back() {
        assert_eq!(straight("models/worlds/../fixtures/a.rs"), "models/fixtures/a.rs");
        assert_eq!(straight("../a.rs"), "../a.rs");
    }

    #[test]
    fn deaths_are_told_by_line_and_by_what_came_of_their_sweep() {
        let check = |name: &str, verdict| Check {
            name: name.to_owned(),
            cases: 1,
            deaths: 1,
            violations: 0,
            seconds: 1.0,
            verdict,
            detail: String::new(),
        };
        let mut outcome = Outcome::without_run(Layer::Loom, Verdict::Pass, String::new());
        outcome.checks = vec![check("two", Verdict::Pass), check("bad", Verdict::Fail)];
        let told = "two\tt\tsrc/lock/mod.rs:12:9\t-\tdied\t7\nthree\tt\tsrc/lock/mod.rs:12:30\t-\tdied\t2\n\
            two\tt\tsrc/lock/mod.rs:12:40\t-\tdied\t1\nbad\tt\tsrc/a.rs:3:1\t-\tdied\t1\nno line\n";
        let record = record(&outcome, told, 5, None);
        let places: Vec<_> =
            record.places.iter().map(|p| (p.file.as_str(), p.line, p.outcome.as_str(), p.deaths)).collect();
        assert_eq!(
            places,
            [
                ("src/a.rs", 3, "not judged", 1),
                ("src/lock/mod.rs", 12, "not judged", 2),
                ("src/lock/mod.rs", 12, "recovered", 8)
            ]
        );
    }
}
