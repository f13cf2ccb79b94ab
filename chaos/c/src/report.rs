//! What was seen, for people, and as JSON.

use crate::Result;
use crate::abi::Options;
use crate::place::Places;
use ownerdead::harness::kill::{CampaignReport, Lapse, SweepReport};
use serde_json::{Value, json};
use std::ffi::{CStr, c_int};

fn code(found: bool, incomplete: bool) -> c_int {
    if found { 1 } else { 2 * c_int::from(incomplete) }
}

fn write(options: &Options, value: &Value) -> Result<()> {
    if options.json.is_null() {
        return Ok(());
    }
    // SAFETY: a string, by the header.
    let path = unsafe { CStr::from_ptr(options.json) }.to_str()?;
    let written = std::fs::write(path, format!("{value:#}\n"));
    written.map_err(|error| format!("the report cannot be written to {path}: {error}").into())
}

pub fn sweep(report: &SweepReport, options: &Options) -> Result<c_int> {
    let mut places = Places::default();
    println!(
        "{}: a death at each of {} instructions ({} states), and at each of {} of recoveries",
        report.name, report.instructions, report.states, report.second_instructions
    );
    println!("  {} processes really died there, {} survivors", report.planted, report.survivors);
    let mut found = Vec::new();
    for one in &report.found {
        println!("  FOUND at {} instructions: {}", one.deaths, one.finding);
        let mut place = |what, (number, at): (u64, u64)| {
            let source = places.source(at);
            let shown = source.as_ref().map_or_else(|| format!("{at:#x}"), ToString::to_string);
            println!("    {what} died before instruction {number}: {shown}");
            let source =
                source.map(|source| json!({"function": source.function, "called": source.called, "file": source.file, "line": source.line}));
            json!({"instruction": number, "address": at, "source": source})
        };
        let first = place("the victim", one.death.first);
        let second = one.death.second.map(|second| place("a survivor", second));
        let finding = &one.finding;
        found.push(json!({"kind": finding.kind.as_str(), "text": finding.text, "deaths": one.deaths, "first": first, "second": second}));
    }
    report.disagreements.iter().for_each(|text| println!("  the image and the real death differ: {text}"));
    end(report.found.is_empty() && report.disagreements.is_empty(), report.incomplete.as_deref());
    write(
        options,
        &json!({
            "name": report.name, "method": "sweep", "instructions": report.instructions, "states": report.states,
            "second_instructions": report.second_instructions, "planted": report.planted, "survivors": report.survivors,
            "found": found, "disagreements": report.disagreements, "incomplete": report.incomplete,
        }),
    )?;
    Ok(code(!report.found.is_empty() || !report.disagreements.is_empty(), report.incomplete.is_some()))
}

fn end(clean: bool, incomplete: Option<&str>) {
    match incomplete {
        Some(reason) => println!("  INCOMPLETE: {reason}"),
        None if clean => println!("  nothing found"),
        None => {}
    }
}

pub fn campaign(report: &CampaignReport, options: &Options) -> Result<c_int> {
    print!("{report}");
    let lapse = |lapse: &Lapse| {
        let finding = &lapse.finding;
        json!({"kind": finding.kind.as_str(), "text": finding.text, "count": lapse.count, "decision": lapse.decision, "whereabouts": lapse.whereabouts})
    };
    write(
        options,
        &json!({
            "name": report.name, "method": "campaign", "seed": report.seed, "kills": report.kills, "groups": report.groups,
            "dead": report.dead, "inside": report.inside, "turns": report.turns, "seconds": report.time.as_secs_f64(),
            "found": report.found.iter().map(lapse).collect::<Vec<_>>(), "incomplete": report.incomplete,
        }),
    )?;
    Ok(code(!report.found.is_empty(), report.incomplete.is_some()))
}
