//! Merging is the same in any order; what is written is read; nothing bad becomes good.

use super::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn record(name: &str) -> Record {
    let mut record = Record::new(Kind::Chaos, name, 7);
    record.runs[0].shard.clear();
    record.ended(Verdict::Pass, "", Duration::from_secs(2));
    record
}

/// A record of a run that began at `started_ms`.
fn run(started_ms: u64, verdict: Verdict, reason: &str) -> Record {
    let mut record = record("a");
    record.runs[0].started_ms = started_ms;
    record.ended(verdict, reason, Duration::from_secs(2));
    record
}

fn finding(text: &str, repeat: &str, count: u64) -> Finding {
    Finding { kind: FindingKind::Torn, text: text.into(), repeat: repeat.into(), artefact: None, count }
}

fn merged(records: impl IntoIterator<Item = Record>) -> Record {
    let all = records.into_iter().reduce(|mut one, other| {
        one.merge(other).expect("records of one check");
        one
    });
    all.expect("at least one")
}

/// A folder of this test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ownerdead/record-tests");
        Self(folder.join(format!("{name}-{}", std::process::id())))
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("it is there").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_written_is_read() {
    let folder = Folder::new("written");
    let mut record = record("a / \"b\"");
    record.recovery.add(Duration::from_micros(17));
    record.find(finding("torn: record 3", "cargo test", 1));
    let path = record.write(&folder.0).expect("a folder");
    assert_eq!(Record::read(&path).expect("a record"), record);
}

#[test]
fn a_run_that_writes_again_has_one_file_and_leaves_no_other() {
    let folder = Folder::new("again");
    let mut record = record("a");
    record.write(&folder.0).expect("a folder");
    record.deaths = 9;
    let path = record.write(&folder.0).expect("a folder");
    assert_eq!(folder.files(), [path.file_name().expect("a file").to_string_lossy()]);
    assert_eq!(Record::read(&path).expect("a record").deaths, 9);
}

#[test]
fn checks_whose_names_differ_in_odd_characters_have_files_of_their_own() {
    let folder = Folder::new("odd");
    for name in ["a/b", "a b", "../../a", "<a>"] {
        record(name).write(&folder.0).expect("a folder");
    }
    assert_eq!(folder.files().len(), 4);
}

#[test]
fn fields_are_in_the_order_that_the_docs_have() {
    let json = serde_json::to_string(&record("a")).expect("JSON");
    let at = |field: &str| json.find(&format!("\"{field}\":")).unwrap_or_else(|| panic!("{field} in {json}"));
    let docs = include_str!("../../../docs/reports.md");
    let table = docs.split_once("| field |").expect("a table").1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let fields: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    let in_json: serde_json::Map<_, _> = serde_json::from_str(&json).expect("an object");
    assert_eq!(fields.len(), in_json.len(), "{fields:?}");
    assert!(fields.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{fields:?} in {json}");
}

#[test]
fn another_version_and_what_is_no_record_are_refused() {
    let mut other = serde_json::to_value(record("a")).expect("JSON");
    other["version"] = 2.into();
    assert!(matches!(Record::from_json(other.to_string().as_bytes()), Err(ReadError::Version(2))));
    for json in ["", "{}", "[]", r#"{"version": 1}"#, r#"{"version": 1, "kind": "x", "name": "a"}"#] {
        assert!(matches!(Record::from_json(json.as_bytes()), Err(ReadError::Format(_))), "{json}");
    }
}

#[test]
fn a_finding_makes_a_failure_whatever_a_file_says() {
    let mut planted = serde_json::to_value(record("a")).expect("JSON");
    planted["findings"] = serde_json::json!([{"kind": "lost", "text": "t", "count": 0}]);
    let read = Record::from_json(planted.to_string().as_bytes()).expect("a record");
    assert_eq!((read.verdict, read.reason.as_str()), (Verdict::Fail, "1 findings"));
}

#[test]
fn damage_in_the_kill_map_makes_a_failure() {
    let place = |outcome: &str| Place {
        operation: "push".into(),
        function: "f".into(),
        file: "src/a.rs".into(),
        line: 3,
        outcome: outcome.into(),
        deaths: 1,
    };
    let with = |outcome| {
        let mut record = record("a");
        record.places.push(place(outcome));
        record.settle();
        record.verdict
    };
    assert_eq!(["recovered", "nothing", "torn"].map(with), [Verdict::Pass, Verdict::Pass, Verdict::Fail]);
}

#[test]
fn the_worst_run_decides() {
    use Verdict::{Fail, Incomplete, NotRun, Pass};
    for (one, other, expected) in [
        (Pass, Pass, Pass),
        (Pass, Incomplete, Incomplete),
        (Pass, NotRun, Pass),
        (NotRun, NotRun, NotRun),
        (Incomplete, Fail, Fail),
        (Incomplete, NotRun, Incomplete),
    ] {
        // The one that is worse is the later one: so it was not made again.
        let both = merged([run(1, one, "one"), run(2, other, "other")]);
        assert_eq!(both.verdict, expected, "{one} and {other}");
    }
    let other_seed = |mut record: Record| {
        record.runs[0].seed = 8;
        record
    };
    let both = merged([run(1, Incomplete, "stopped after 3 s"), other_seed(run(2, Pass, ""))]);
    assert_eq!((both.verdict, both.reason.as_str()), (Incomplete, "stopped after 3 s"));
}

#[test]
fn a_run_that_was_stopped_and_made_again_counts_as_made_and_all_it_did_counts() {
    let mut stopped = run(1, Verdict::Incomplete, "stopped");
    stopped.deaths = 5;
    let mut made = run(2, Verdict::Pass, "");
    made.deaths = 10;
    let both = merged([made, stopped.clone()]);
    assert_eq!((both.verdict, both.deaths, both.took_ms), (Verdict::Pass, 15, 4_000));
    // One that was made before says nothing of one that was stopped later.
    let both = merged([run(0, Verdict::Pass, ""), stopped]);
    assert_eq!(both.verdict, Verdict::Incomplete);
}

#[test]
fn findings_of_one_text_are_one_and_counted() {
    let (mut one, mut other) = (run(1, Verdict::Fail, "found"), run(2, Verdict::Fail, "found"));
    one.find(finding("torn: record 3", "b", 2));
    one.find(finding("torn: record 4", "b", 1));
    other.find(finding("torn: record 3", "a", 1));
    let both = merged([one, other]);
    let told: Vec<_> = both.findings.iter().map(|f| (f.text.as_str(), f.repeat.as_str(), f.count)).collect();
    assert_eq!(told, [("torn: record 3", "a", 3), ("torn: record 4", "b", 1)]);
}

#[test]
fn the_kind_of_what_an_oracle_says_is_told_by_its_words() {
    use crate::harness::oracle::Violation;
    for (violation, kind) in [
        (Violation::Torn { number: 1 }, FindingKind::Torn),
        (Violation::Lost { last: 1, ended: 2 }, FindingKind::Lost),
        (Violation::Changed { found: 1, expected: 2 }, FindingKind::Lost),
        (Violation::TwoInside { other: 1 }, FindingKind::Duplicated),
        (Violation::NotTold, FindingKind::Other),
    ] {
        assert_eq!(FindingKind::told_by(&violation.to_string()), kind, "{violation}");
    }
    assert_eq!(FindingKind::told_by("a victim says: no lock in ten seconds"), FindingKind::Stuck);
}

#[test]
fn a_record_counts_once() {
    let one = run(1, Verdict::Pass, "");
    let mut twice = one.clone();
    assert!(matches!(twice.merge(one.clone()), Err(MergeError::Twice { .. })));
    assert_eq!(twice, one);
    let mut other = record("b");
    assert!(matches!(other.merge(one), Err(MergeError::Different { .. })));
}

#[test]
fn two_sweeps_came_by_what_either_came_by() {
    let missed = |line, instructions| Uncovered {
        function: "f".into(),
        file: "src/a.rs".into(),
        line,
        instructions,
        reason: String::new(),
    };
    let sweep = |started, uncovered: &[Uncovered]| {
        let mut record = run(started, Verdict::Pass, "");
        let covered = 100 - uncovered.iter().map(|missed| missed.instructions).sum::<u64>();
        record.instructions = Some(Instructions { executed: 500, covered, total: 100, outside: 3 });
        record.uncovered = uncovered.to_vec();
        record
    };
    let both = merged([sweep(1, &[missed(1, 10), missed(2, 5)]), sweep(2, &[missed(2, 4), missed(3, 20)])]);
    assert_eq!(both.instructions, Some(Instructions { executed: 1000, covered: 96, total: 100, outside: 6 }));
    assert_eq!(both.uncovered, [missed(2, 4)]);
    // One that does not name what it did not come by may have missed what the other one came by.
    let mut silent = sweep(3, &[]);
    silent.instructions = Some(Instructions { executed: 1, covered: 80, total: 100, outside: 0 });
    let both = merged([sweep(1, &[missed(1, 10)]), silent]);
    assert_eq!(both.instructions.expect("a sweep").covered, 90);
}

#[test]
fn times_are_kept_to_one_percent() {
    let mut times = Times::default();
    for micros in 1..=1000 {
        times.add(Duration::from_micros(micros));
    }
    let median = times.at(0.5) as f64;
    assert!((median / 500e3 - 1.0).abs() < 0.01, "{median}");
    times.add(Duration::from_secs(100_000));
    assert_eq!((times.at(1.0), times.count()), (3_600_000_000_000, 1001));
    assert_eq!(Times::default().at(0.5), 0);
}

#[test]
fn progress_of_a_long_run_has_few_points_and_loses_nothing() {
    let mut progress = Progress::default();
    for second in 0..100_000 {
        progress.add(Point { at: 1_000_000_007 + second, cases: 2, deaths: 1, findings: 0 });
    }
    assert!(progress.points().len() <= 512, "{}", progress.points().len());
    assert_eq!(progress.points().iter().map(|point| point.deaths).sum::<u64>(), 100_000);
    assert!(progress.points().iter().all(|point| point.at % progress.every() == 0));
}

fn few() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("<c>")].prop_map(str::to_owned)
}

prop_compose! {
    fn runs()(
        runs in vec((0..20u64, 1..3u32, 0..3u64, 0..9000u64, 0..4usize, few()), 1..4)
    ) -> Vec<Run> {
        use Verdict::{Fail, Incomplete, NotRun, Pass};
        runs.into_iter().map(|(started_ms, shard, seed, took_ms, verdict, reason)| {
            let verdict = [NotRun, Pass, Incomplete, Fail][verdict];
            Run { started_ms, shard: format!("{shard}/2"), seed, took_ms, verdict, reason }
        }).collect()
    }
}

prop_compose! {
    fn facts()(
        findings in vec((0..6usize, few(), few(), option::of(few()), 1..9u64), 0..4),
        places in vec((few(), few(), 1..4u32, few(), 0..99u64), 0..6),
        times in vec((0..u64::MAX, 1..100u64), 0..6),
        points in vec((0..9_000_000u64, 0..9u64, 0..9u64, 0..2u64), 0..700),
        phases in proptest::collection::btree_map(few(), 0..99u64, 0..3),
    ) -> Record {
        let mut record = record("a");
        record.findings = findings.into_iter().map(|(kind, text, repeat, artefact, count)| {
            Finding { kind: FindingKind::ALL[kind], text, repeat, artefact, count }
        }).collect();
        record.places = places.into_iter().map(|(operation, file, line, outcome, deaths)| {
            Place { operation, function: String::new(), file, line, outcome, deaths }
        }).collect();
        record.phases = phases;
        for (time, count) in times {
            record.recovery.add_many(time, count);
        }
        for point in points {
            record.progress.add(point.into());
        }
        record
    }
}

prop_compose! {
    fn any_record()(
        mut record in facts(),
        runs in runs(),
        (cases, deaths, states) in (0..999u64, 0..999u64, 0..99u64),
        missed in option::of(vec((1..6u32, 1..9u64, few()), 0..4)),
    ) -> Record {
        (record.runs, record.cases, record.deaths, record.states) = (runs, cases, deaths, states);
        if let Some(missed) = missed {
            record.uncovered = missed.into_iter().map(|(line, instructions, reason)| {
                Uncovered { function: String::new(), file: "a".into(), line, instructions, reason }
            }).collect();
            record.settle();
            let missed: u64 = record.uncovered.iter().map(|missed| missed.instructions).sum();
            let covered = 100 - missed.min(100);
            record.instructions = Some(Instructions { executed: 9, covered, total: 100, outside: 1 });
        }
        record.settle();
        record
    }
}

/// Records that have no run in common.
fn records(count: usize) -> impl Strategy<Value = Vec<Record>> {
    vec(any_record(), count).prop_map(|mut records| {
        let mut number = 0;
        for record in &mut records {
            for run in &mut record.runs {
                // Different to the millisecond, in the order that chance gave.
                run.started_ms = run.started_ms * 100 + number;
                number += 1;
            }
            record.settle();
        }
        records
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn merging_is_the_same_in_any_order(records in records(3)) {
        let [a, b, c] = <[Record; 3]>::try_from(records).expect("three");
        let left = merged([merged([a.clone(), b.clone()]), c.clone()]);
        let right = merged([a.clone(), merged([b.clone(), c.clone()])]);
        let back = merged([c, b, a]);
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(&left, &back);
    }

    #[test]
    fn merging_adds_up_and_makes_nothing_better(records in records(3)) {
        let all = merged(records.clone());
        let sum = |what: fn(&Record) -> u64| records.iter().map(what).sum::<u64>();
        let same = |what: fn(&Record) -> u64| (sum(what), what(&all));
        for (parts, whole) in [
            same(|record| record.deaths),
            same(|record| record.took_ms),
            same(|record| record.recovery.count()),
            same(|record| record.phases.values().sum()),
            same(|record| record.places.iter().map(|place| place.deaths).sum()),
            same(|record| record.findings.iter().map(|finding| finding.count).sum()),
            same(|record| record.progress.points().iter().map(|point| point.cases).sum()),
            same(|record| record.runs.len() as u64),
        ] {
            prop_assert_eq!(parts, whole);
        }
        let failed = records.iter().any(|record| record.verdict == Verdict::Fail);
        prop_assert_eq!(all.verdict == Verdict::Fail, failed);
    }

    #[test]
    fn a_record_is_read_as_it_was_written(record in any_record()) {
        let json = serde_json::to_vec(&record).expect("JSON");
        prop_assert_eq!(Record::from_json(&json).expect("a record"), record);
    }
}
