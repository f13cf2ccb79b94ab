//! The report as JUnit XML, for CI: a suite for each layer and for each kind of record, a case for each check.
//!
//! | verdict | in the file |
//! |---|---|
//! | pass | a case |
//! | fail | `failure` |
//! | incomplete | `error`: it is no pass |
//! | not-run | `skipped` |

use crate::{
    document::Document,
    report::{Check, Outcome, Verdict},
};
use chrono::DateTime;
use ownerdead::harness::record::Record;
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// The file's text.
pub fn junit(document: &Document) -> Result<String, SerializeError> {
    let mut report = Report::new("ownerdead");
    report.set_time(seconds(document.seconds));
    for layer in &document.layers {
        report.add_test_suite(of_layer(layer, &document.records));
    }
    for records in document.records.chunk_by(|one, other| one.kind == other.kind) {
        let mut suite = TestSuite::new(records[0].kind.to_string());
        suite.add_test_cases(records.iter().map(of_record));
        report.add_test_suite(suite);
    }
    if !document.problems.is_empty() {
        let mut suite = TestSuite::new("records");
        let told = document.problems.join("\n");
        suite.add_test_case(case("records", "all can be read", Verdict::Incomplete, "", &told, 0.0));
        report.add_test_suite(suite);
    }
    report.to_string()
}

/// The layer's own verdict is its first case: it may have failed for another reason than a check. A check with a record that says
/// the same has its case there, with what was found.
fn of_layer(layer: &Outcome, records: &[Record]) -> TestSuite {
    let name = layer.layer.to_string();
    let mut suite = TestSuite::new(format!("check {name}"));
    let mut of_layer = case(&name, &name, layer.verdict, &layer.reason, &layer.repeat, layer.seconds);
    of_layer.add_property(("cases", layer.cases.to_string().as_str()));
    of_layer.add_property(("deaths", layer.deaths.to_string().as_str()));
    suite.add_test_case(of_layer);
    let told = |check: &&Check| {
        let mut records = records.iter().filter(|record| record.kind.to_string() == name);
        records.any(|record| record.name == check.name && record.verdict == check.verdict)
    };
    for check in layer.checks.iter().filter(|check| !told(check)) {
        suite.add_test_case(case(&name, &check.name, check.verdict, &check.detail, &layer.repeat, check.seconds));
    }
    suite
}

fn of_record(record: &Record) -> TestCase {
    let found = record.findings.iter().map(|finding| {
        let times = if finding.count > 1 { format!(" ({} times)", finding.count) } else { String::new() };
        let artefact = finding.artefact.as_ref().map(|path| format!("\nto look into: {path}")).unwrap_or_default();
        format!("{}{times}: {}\nto repeat it: {}{artefact}", finding.kind, finding.text, finding.repeat)
    });
    let told = found.collect::<Vec<_>>().join("\n\n");
    let took = record.took_ms as f64 / 1e3;
    let kind = record.kind.to_string();
    let mut case = case(&kind, &record.name, record.verdict, &record.reason, &told, took);
    let started = i64::try_from(record.started_ms).ok().and_then(DateTime::from_timestamp_millis);
    if let Some(started) = started {
        case.set_timestamp(started);
    }
    case.add_property(("cases", record.cases.to_string().as_str()));
    case.add_property(("deaths", record.deaths.to_string().as_str()));
    for run in &record.runs {
        case.add_property(("seed", run.seed.to_string().as_str()));
    }
    case
}

fn case(class: &str, name: &str, verdict: Verdict, reason: &str, told: &str, took: f64) -> TestCase {
    let mut status = match verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Incomplete => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::NotRun => TestCaseStatus::skipped(),
    };
    if verdict != Verdict::Pass {
        status.set_type(verdict.to_string());
        status.set_message(if reason.is_empty() { verdict.to_string() } else { reason.to_owned() });
        if !told.is_empty() {
            status.set_description(told);
        }
    }
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("ownerdead.{class}"));
    case.set_time(seconds(took));
    case
}

fn seconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{layer::Layer, records};
    use ownerdead::harness::record::Kind;
    use roxmltree::{Document as Xml, Node};
    use std::path::Path;

    fn fixture() -> Document {
        let read = records::read(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/fixtures/records")]);
        let layer = |layer, verdict| Outcome::without_run(layer, verdict, format!("why <{verdict}> & \u{7}"));
        let layers = vec![
            layer(Layer::Unit, Verdict::Pass),
            layer(Layer::Loom, Verdict::Incomplete),
            layer(Layer::Chaos, Verdict::Fail),
            layer(Layer::Fuzz, Verdict::NotRun),
        ];
        Document::new(layers, read.records, vec!["x.json: it is no record".to_owned()], None)
    }

    fn elements<'a>(of: Node<'a, 'a>, name: &'static str) -> Vec<Node<'a, 'a>> {
        of.children().filter(|node| node.has_tag_name(name)).collect()
    }

    /// The element that says what came of a case.
    fn came_of(case: Node<'_, '_>) -> &'static str {
        let found: Vec<_> = ["failure", "error", "skipped"]
            .into_iter()
            .filter(|name| case.children().any(|node| node.has_tag_name(*name)))
            .collect();
        assert!(found.len() <= 1, "{found:?}");
        found.first().copied().unwrap_or("")
    }

    /// As the readers of JUnit files want it: names, classes and times of all cases, counts that are those of the cases.
    #[test]
    fn the_file_has_the_structure_of_junit() {
        let text = junit(&fixture()).expect("XML");
        let xml = Xml::parse(&text).expect("well-formed");
        let root = xml.root_element();
        assert_eq!(root.tag_name().name(), "testsuites");
        let number = |node: Node<'_, '_>, name: &str| node.attribute(name).and_then(|text| text.parse::<usize>().ok());
        let mut all = [0; 3];
        for suite in root.children().filter(Node::is_element) {
            assert_eq!(suite.tag_name().name(), "testsuite");
            let cases = elements(suite, "testcase");
            assert!(suite.attribute("name").is_some_and(|name| !name.is_empty()) && !cases.is_empty());
            let of = |what| cases.iter().filter(|case| came_of(**case) == what).count();
            assert_eq!(number(suite, "tests"), Some(cases.len()));
            assert_eq!(number(suite, "failures"), Some(of("failure")));
            assert_eq!(number(suite, "errors"), Some(of("error")));
            assert_eq!(number(suite, "disabled").or(number(suite, "skipped")), Some(of("skipped")));
            for case in &cases {
                assert!(case.attribute("name").is_some() && case.attribute("classname").is_some());
                assert!(case.attribute("time").is_some_and(|time| time.parse::<f64>().is_ok()));
                let known = ["failure", "error", "skipped", "properties"];
                assert!(case.children().filter(Node::is_element).all(|node| known.contains(&node.tag_name().name())));
            }
            all = [all[0] + cases.len(), all[1] + of("failure"), all[2] + of("error")];
        }
        assert_eq!(["tests", "failures", "errors"].map(|name| number(root, name)), all.map(Some));
    }

    #[test]
    fn what_did_not_pass_is_a_failure_an_error_or_skipped() {
        let document = fixture();
        let text = junit(&document).expect("XML");
        let xml = Xml::parse(&text).expect("well-formed");
        let expected = |verdict| match verdict {
            Verdict::Pass => "",
            Verdict::Fail => "failure",
            Verdict::Incomplete => "error",
            Verdict::NotRun => "skipped",
        };
        let layers = document
            .layers
            .iter()
            .map(|layer| (format!("ownerdead.{}", layer.layer), layer.layer.to_string(), layer.verdict));
        let of_records = document.records.iter();
        let records =
            of_records.map(|record| (format!("ownerdead.{}", record.kind), record.name.clone(), record.verdict));
        let mut seen = std::collections::BTreeSet::new();
        for (class, name, verdict) in layers.chain(records) {
            let mut cases = xml.descendants().filter(|node| node.has_tag_name("testcase"));
            let case = cases.find(|c| c.attribute("classname") == Some(&class) && c.attribute("name") == Some(&name));
            assert_eq!(came_of(case.unwrap_or_else(|| panic!("{class} {name}"))), expected(verdict), "{class} {name}");
            seen.insert(verdict);
        }
        assert_eq!(seen.len(), 4);
        let unread = xml.descendants().find(|node| node.attribute("name") == Some("all can be read"));
        assert_eq!(unread.map(came_of), Some("error"));
    }

    #[test]
    fn a_check_with_a_record_that_says_the_same_counts_once_and_one_that_says_something_else_twice() {
        let mut document = fixture();
        let check = |verdict| Check {
            name: "kill_producer_mid_write".to_owned(),
            cases: 1,
            deaths: 1,
            violations: 0,
            seconds: 1.0,
            verdict,
            detail: String::new(),
        };
        for (verdict, expected) in [(Verdict::Pass, 1), (Verdict::Fail, 2)] {
            document.layers[2].checks = vec![check(verdict)];
            let text = junit(&document).expect("XML");
            assert_eq!(text.matches("name=\"kill_producer_mid_write\"").count(), expected, "{verdict}");
        }
    }

    #[test]
    fn findings_are_there_with_their_commands_whatever_is_in_them() {
        let document = fixture();
        let text = junit(&document).expect("XML");
        let xml = Xml::parse(&text).expect("well-formed");
        let told: String =
            xml.descendants().filter(|node| node.has_tag_name("failure")).filter_map(|node| node.text()).collect();
        let damage =
            document.records.iter().find(|record| record.kind == Kind::Chaos && record.verdict == Verdict::Fail);
        for finding in &damage.expect("one").findings {
            assert!(told.contains(&finding.repeat), "{}", finding.repeat);
        }
        assert!(told.contains("<script>document.title=\"owned\"</script>"));
    }
}
