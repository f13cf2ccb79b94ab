//! The stage: a small single-threaded process that runs one sweep, and says what it has seen, line by line.

use crate::case::{Case, Reach};
use ownerdead::harness::kill::code::{Address, Modules};
use ownerdead::harness::kill::{Found, SweepReport, kill_limit};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The variable that makes a process a stage: the sweep.
pub const NAME: &str = "OWNERDEAD_SWEEP";

/// Where images of what dead processes have left are kept.
pub fn artefacts() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("ownerdead").join("artefacts")
}

/// Runs the sweep `name`.
pub fn run(name: &str, cases: &[Case]) -> ExitCode {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number: nothing outlives a run that was interrupted.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let case = cases.iter().find(|case| case.name == name).expect("a known sweep");
    let reach = Reach::from_environment().expect("set by the test");
    match case.run(reach) {
        Ok(Ok(report)) => {
            say(&report, case);
            ExitCode::SUCCESS
        }
        Ok(Err(text)) => {
            println!("error\tthe engine did not see what it should: {}", flat(&text));
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("error\t{}", flat(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn say(report: &SweepReport, case: &Case) {
    let modules = Modules::of_this_process().expect("/proc is there");
    let address = |at: u64| modules.find(at).unwrap_or_else(|| Address::new("[unknown]", at));
    if case.operation != 0 {
        println!("operation\t{}", address(case.operation as u64));
    }
    for ((at, outcome), place) in &report.places {
        println!(
            "place\t{}\t{}\t{}\t{}\t{}\t{}",
            address(*at),
            flat(outcome),
            place.deaths,
            place.second_deaths,
            place.planted,
            place.found
        );
    }
    for (index, found) in report.found.iter().enumerate() {
        let Found { finding, death, deaths, .. } = found;
        let second = death.second.map(|(number, at)| format!("{number}\t{}", address(at)));
        println!(
            "found\t{}\t{deaths}\t{}\t{}\t{}\t{}\t{}",
            finding.kind,
            death.first.0,
            address(death.first.1),
            second.unwrap_or_else(|| "-\t-".into()),
            keep(&report.name, index, found),
            flat(&finding.text)
        );
    }
    for text in &report.disagreements {
        println!("disagree\t{}", flat(text));
    }
    if let Some(text) = &report.incomplete {
        println!("incomplete\t{}", flat(text));
    }
    if let Some(why) = &report.forked {
        println!("forked\t{}", flat(why));
    }
    let figures = [
        report.instructions,
        report.second_instructions,
        report.states,
        report.second_states,
        report.survivors,
        report.planted,
        report.not_planted,
        report.left_out,
        report.image_time.as_micros() as u64,
        report.planted_time.as_micros() as u64,
        limit(),
        if report.forked.is_some() { report.planted } else { 0 },
    ];
    println!("end\t{}", figures.map(|figure| figure.to_string()).join("\t"));
}

/// What no engine can exceed, taken beside each sweep, since the machine is not the same all the time: so many idle processes can be
/// forked, killed and waited for in a second, on one processor.
fn limit() -> u64 {
    kill_limit(Duration::from_millis(4)).map_or(0, |rate| rate as u64)
}

/// Keeps the memory that was left; where.
fn keep(name: &str, index: usize, found: &Found) -> String {
    let path = artefacts().join(format!("{name}.{index}.image"));
    let kept = std::fs::create_dir_all(artefacts()).and_then(|()| std::fs::write(&path, &found.image));
    match kept {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("not kept: {error}"),
    }
}

fn flat(text: &str) -> String {
    text.replace(['\n', '\t'], " ")
}
