//! All subjects, each for a while, as a table in markdown.

use crate::Options;
use crate::run::{campaign_report, names, sweep_report};
use ownerdead::harness::kill::{Finding, kill_limit};
use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

fn kinds<'f>(found: impl Iterator<Item = (&'f Finding, u64)>) -> String {
    let mut kinds = BTreeMap::<&str, u64>::new();
    for (finding, count) in found {
        *kinds.entry(finding.kind.as_str()).or_default() += count;
    }
    let texts: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if texts.is_empty() { "none".into() } else { texts.join(", ") }
}

/// What they change lies in files.
const CAMPAIGN_ALONE: [&str; 3] = ["ipc_ring-new", "sqlite", "sqlite-off"];

pub fn print(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    let limit = kill_limit(Duration::from_secs(1))?;
    println!("fork + SIGKILL + wait of an idle child, in this run: {limit:.0} a second\n");
    println!("| subject | method | deaths | findings | state | command |\n|---|---|---|---|---|---|");
    for (name, _) in names() {
        if !CAMPAIGN_ALONE.contains(&name.as_str()) {
            let report = sweep_report(&name)?;
            let deaths = format!("{} instructions, {} of recoveries", report.instructions, report.second_instructions);
            let found = kinds(report.found.iter().map(|found| (&found.finding, found.deaths)));
            let state = report.incomplete.as_deref().unwrap_or("complete");
            println!("| {name} | sweep | {deaths} | {found} | {state} | `cargo ownerdead foreign sweep {name}` |");
        }
        let report = campaign_report(&name, options)?;
        let deaths = format!("{} kills, {:.0} a second", report.kills, report.rate());
        let found = kinds(report.found.iter().map(|lapse| (&lapse.finding, lapse.count)));
        let state = report.incomplete.as_deref().unwrap_or("complete");
        println!("| {name} | campaign | {deaths} | {found} | {state} | `cargo ownerdead foreign campaign {name}` |");
    }
    Ok(ExitCode::SUCCESS)
}
