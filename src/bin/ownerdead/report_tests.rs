//! Lines of reports and logs as they come, and the rules of the verdict.

use super::*;

fn tally(lines: &[&str]) -> Tally {
    let mut tally = Tally::default();
    for line in lines {
        tally.feed(line);
    }
    tally
}

fn log(lines: &[&str]) -> Log {
    let mut log = Log::default();
    for line in lines {
        log.feed(line);
    }
    log
}

fn judged(layer: Layer, reports: &[&str], said: &[&str], ended: Ended) -> Outcome {
    judge(layer, &tally(reports), &log(said), &ended, Duration::from_secs(1))
}

const PASS: &str = "pass\tchaos\tkill_waiter\t120\t100\t0\t2.0\t";
const ONE_FAILED: &str = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
const KILLED: &str = "  process didn't exit successfully: `target/chaos` (signal: 9, SIGKILL: kill)";

#[test]
fn a_line_has_seven_fields_and_a_detail() {
    let line = parse("fail\tloom\tlost_wakeup\t12\t3\t1\t0.25\tseed 7").unwrap();
    assert_eq!((line.state, line.name.as_str()), (State::Fail, "lost_wakeup"));
    assert_eq!((line.cases, line.deaths, line.violations), (12, 3, 1));
    assert_eq!(line.detail, "seed 7");
    assert!(parse("pass\tloom\tshort\t1\t2\t3\t0.5").is_some());
}

#[test]
fn what_is_no_line_is_not_read_as_one() {
    for line in
        ["", "pass", "good\tloom\ta\t1\t2\t3\t0.5\t", "pass\tloom\ta\t-1\t2\t3\t0.5\t", "pass\tloom\ta\t1\t2\t3\tx\t"]
    {
        assert_eq!(parse(line), None, "{line:?}");
    }
}

#[test]
fn the_last_line_of_a_name_counts() {
    let tally =
        tally(&["running\tchaos\ta\t5\t4\t0\t1\t", "running\tchaos\tb\t1\t1\t0\t1\t", "pass\tchaos\ta\t9\t8\t0\t2\t"]);
    assert_eq!((tally.cases(), tally.deaths()), (10, 9));
    assert_eq!(tally.latest, "a");
}

#[test]
fn a_pass_has_no_reason() {
    let outcome = judged(Layer::Chaos, &[PASS], &[], Ended::Success);
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Pass, ""));
    assert_eq!((outcome.cases, outcome.deaths), (120, 100));
}

#[test]
fn a_layer_without_a_case_does_not_pass() {
    let outcome = judged(Layer::Loom, &[], &["test result: ok. 4 passed; 0 failed;"], Ended::Success);
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Incomplete, "no case ran"));
}

#[test]
fn unit_counts_tests() {
    let said = ["test result: ok. 4 passed; 0 failed;", "test result: ok. 6 passed; 0 failed;"];
    let outcome = judged(Layer::Unit, &[], &said, Ended::Success);
    assert_eq!((outcome.cases, outcome.verdict), (10, Verdict::Pass));
}

#[test]
fn a_failed_test_fails_its_layer_and_is_named() {
    let said = ["test a::b ... ok", "test a::c ... FAILED", ONE_FAILED];
    let outcome = judged(Layer::Unit, &[], &said, Ended::Failure);
    assert_eq!((outcome.verdict, outcome.violations, outcome.reason.as_str()), (Verdict::Fail, 1, "a::c"));
}

#[test]
fn a_reported_violation_fails_a_layer_that_exits_with_success() {
    let line = "pass\tchaos\ta\t9\t8\t2\t2\t";
    let outcome = judged(Layer::Chaos, &[line], &[], Ended::Success);
    assert_eq!((outcome.verdict, outcome.violations), (Verdict::Fail, 2));
}

#[test]
fn a_failure_is_worse_than_a_kill_and_a_kill_worse_than_a_pass() {
    let outcome = judged(Layer::Chaos, &[PASS], &[KILLED], Ended::Failure);
    assert_eq!(outcome.verdict, Verdict::Incomplete);
    assert!(outcome.reason.contains("SIGKILL"), "{}", outcome.reason);
    let fail = "fail\tchaos\ta\t9\t8\t1\t2\tseed 7";
    let outcome = judged(Layer::Chaos, &[fail], &[KILLED], Ended::Failure);
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Fail, "a (seed 7)"));
}

#[test]
fn a_fault_is_a_failure_not_a_kill() {
    let said = ["  process didn't exit successfully: `target/chaos` (signal: 11, SIGSEGV: invalid memory reference)"];
    assert_eq!(judged(Layer::Chaos, &[PASS], &said, Ended::Failure).verdict, Verdict::Fail);
    assert_eq!(judged(Layer::Chaos, &[PASS], &[], Ended::Signal(6)).verdict, Verdict::Fail);
    assert_eq!(judged(Layer::Chaos, &[PASS], &[], Ended::Signal(15)).verdict, Verdict::Incomplete);
}

#[test]
fn what_stopped_early_is_incomplete() {
    let running = "running\tchaos\tb\t1\t1\t0\t1\t";
    let outcome = judged(Layer::Chaos, &[PASS, running], &[], Ended::Success);
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Incomplete, "stopped early: b"));
    let budget = "incomplete\tloom\tb\t1\t1\t0\t1\tbudget ran out";
    let outcome = judged(Layer::Loom, &[PASS, budget], &[], Ended::Success);
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Incomplete, "b (budget ran out)"));
    let limit = Ended::TimedOut(Duration::from_secs(60));
    assert_eq!(judged(Layer::Chaos, &[PASS, running], &[], limit).verdict, Verdict::Incomplete);
    assert_eq!(judged(Layer::Chaos, &[PASS, "torn"], &[], Ended::Success).verdict, Verdict::Incomplete);
}

#[test]
fn a_test_that_failed_because_its_check_is_incomplete_is_no_violation() {
    let short = "incomplete\tloom\tb\t1\t1\t0\t1\tbudget ran out\tthe_test";
    let said = ["test the_test ... FAILED", ONE_FAILED];
    let outcome = judged(Layer::Loom, &[PASS, short], &said, Ended::Failure);
    assert_eq!((outcome.verdict, outcome.violations), (Verdict::Incomplete, 0));
    assert_eq!(outcome.reason, "b (budget ran out)");
    // Two of one name, in two targets.
    let target = |name: &str| format!("     Running models/x.rs (target/loom/release/deps/{name}-0a62c8858dbe0355)");
    let (first, second) = (target("model_a"), target("model_b"));
    let both = [&first, said[0], said[1], &second, said[0], said[1]];
    let outcome = judged(Layer::Loom, &[PASS, short], &both, Ended::Failure);
    assert_eq!((outcome.verdict, outcome.violations), (Verdict::Incomplete, 0));
    // Beside it, one that found something; and one that found something in a second check.
    let two = ["test the_test ... FAILED", "test other ... FAILED", "test result: FAILED. 3 passed; 2 failed;"];
    let outcome = judged(Layer::Loom, &[PASS, short], &two, Ended::Failure);
    assert_eq!((outcome.verdict, outcome.violations, outcome.reason.as_str()), (Verdict::Fail, 1, "other"));
    let fail = "fail\tloom\tc\t1\t1\t1\t1\ttorn\tthe_test";
    let outcome = judged(Layer::Loom, &[short, fail], &said, Ended::Failure);
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Fail, "c (torn)"));
}

#[test]
fn what_could_not_run_is_said_beside_what_passed() {
    let not_run = "not-run\tunit\tnamespaces\t0\t0\t0\t0\tneeds user namespaces";
    let outcome = judged(Layer::Chaos, &[PASS, not_run], &[], Ended::Success);
    assert_eq!(
        (outcome.verdict, outcome.reason.as_str()),
        (Verdict::Pass, "without namespaces (needs user namespaces)")
    );
    assert_eq!(judged(Layer::Chaos, &[not_run], &[], Ended::Success).verdict, Verdict::NotRun);
}

#[test]
fn a_model_without_a_test_is_incomplete_and_what_other_layers_run_is_not_missed() {
    let empty = |target: &str| format!("     Running models/x.rs (target/loom/release/deps/{target}-0a62c8858dbe0355)");
    let outcome = judged(Layer::Loom, &[PASS], &[&empty("model_spsc"), "running 0 tests"], Ended::Success);
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Incomplete, "no test ran in model_spsc"));
    assert_eq!(judged(Layer::Loom, &[PASS], &[&empty("os"), "running 0 tests"], Ended::Success).verdict, Verdict::Pass);
}

/// A layer of one fuzz target, whose fuzzer said this.
fn fuzzed(said: &[&str], ended: Ended) -> Outcome {
    let mut log = Log::default();
    log.next_step("rings_parser");
    said.iter().for_each(|line| log.feed(line));
    judge(Layer::Fuzz, &Tally::default(), &log, &ended, Duration::ZERO)
}

#[test]
fn fuzzer_runs_add_up_over_its_targets() {
    let mut log = Log::default();
    log.next_step("inspect");
    for line in ["#2\tINITED cov: 3", "#4096\tpulse  cov: 4", "Done 5000 runs in 21 second(s)"] {
        log.feed(line);
    }
    log.next_step("rings_parser");
    log.feed("stat::number_of_executed_units: 700");
    assert_eq!(log.runs(), 5700);
    let outcome = judge(Layer::Fuzz, &Tally::default(), &log, &Ended::Success, Duration::ZERO);
    assert_eq!((outcome.cases, outcome.verdict), (5700, Verdict::Pass));
    let checks: Vec<_> = outcome.checks.iter().map(|check| (check.name.as_str(), check.cases)).collect();
    assert_eq!(checks, [("inspect", 5000), ("rings_parser", 700)]);
}

#[test]
fn a_crash_of_the_fuzzer_names_its_input() {
    let said = [
        "#9\tNEW",
        "artifact_prefix='a/'; Test unit written to a/crash-1",
        "Error: Fuzz target exited with exit status: 77",
    ];
    let outcome = fuzzed(&said, Ended::Failure);
    assert_eq!((outcome.verdict, outcome.violations), (Verdict::Fail, 1));
    assert_eq!(outcome.reason, "input in a/crash-1");
    // Once, and with its target.
    assert_eq!((outcome.checks.len(), outcome.checks[0].name.as_str()), (1, "rings_parser"));
    let outcome = fuzzed(&["Error: Fuzz target exited with signal: 9 (SIGKILL)"], Ended::Failure);
    assert_eq!(outcome.verdict, Verdict::Incomplete);
}
