//! The command line.

use crate::pair::{Stage, pin};
use crate::plan::Group;
use crate::report::{Report, legend};
use crate::{cells, death, lock, machine, ring, structures, topology, turns};
use clap::Parser;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures the structures beside others: locks and cells, round trips and throughput of rings, notice of deaths.
#[derive(Parser)]
#[command(name = "cargo bench --bench compare --")]
struct Arguments {
    /// Only tables and contenders whose "TABLE: CONTENDER" contains this
    filter: Option<String>,
    /// Fewer rounds: seconds instead of minutes
    #[arg(long)]
    quick: bool,
    /// So many rounds for each table
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Write the figures as JSON to FILE; "-" is standard output, without the tables then
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Say what there is to measure, and measure nothing
    #[arg(long)]
    list: bool,
    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

/// All of a run, for machines.
#[derive(Serialize)]
struct Run {
    machine: machine::Machine,
    tables: Vec<Report>,
}

pub fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let stage = Stage::new()?;
    let mut groups = vec![lock::locks()];
    groups.extend(structures::groups());
    groups.push(cells::group());
    groups.extend([ring::round_trips(stage.court), ring::throughputs()]);
    groups.extend(topology::groups());
    groups.extend(turns::groups());
    groups.push(death::deaths());
    if let Some(filter) = &arguments.filter {
        groups = groups.into_iter().filter_map(|group| narrowed(group, filter)).collect();
        if groups.is_empty() {
            return Err(format!("nothing has \"{filter}\" in its name; --list says what there is"));
        }
    }
    if arguments.list {
        for group in &groups {
            for contender in &group.contenders {
                println!("{}: {}, {} bytes", group.name, contender.name, contender.size);
            }
        }
        return Ok(());
    }
    let quiet = arguments.json.as_deref() == Some(Path::new("-"));
    let mut run = Run { machine: machine::Machine::new(stage.cpus), tables: Vec::new() };
    if !quiet {
        println!("{}\n{}\n", run.machine, legend());
    }
    // Beside a victim, not on its processor.
    pin(stage.cpus[1]);
    for group in &groups {
        let rounds = arguments.rounds.map_or(group.rounds[usize::from(arguments.quick)], |rounds| rounds as usize);
        let report = Report::new(group, &group.run(&stage, rounds)?);
        if !quiet {
            println!("{report}");
        }
        run.tables.push(report);
    }
    let json = serde_json::to_string_pretty(&run).map_err(|error| format!("JSON: {error}"))?;
    match &arguments.json {
        Some(_) if quiet => println!("{json}"),
        Some(path) => std::fs::write(path, json + "\n").map_err(|error| format!("{}: {error}", path.display()))?,
        None => {}
    }
    if !quiet {
        let (aims, met) = run.tables.iter().map(Report::aims).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        if aims > 0 {
            println!("bench: {met} of {aims} aims met");
        }
    }
    Ok(())
}

/// The contenders of a group whose name has `filter` in it, with the aims that are about them alone.
fn narrowed(mut group: Group, filter: &str) -> Option<Group> {
    let name = group.name;
    group.contenders.retain(|contender| format!("{name}: {}", contender.name).contains(filter));
    let left: Vec<_> = group.contenders.iter().map(|contender| contender.name.clone()).collect();
    group.aims.retain(|aim| aim.names().all(|name| left.iter().any(|left| left == name)));
    (!group.contenders.is_empty()).then_some(group)
}
