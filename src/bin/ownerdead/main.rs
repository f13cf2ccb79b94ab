//! `ownerdead`: the command line of the project.
//!
//! `cargo ownerdead check`, in a checkout, runs every layer of checks that this machine can run and says what each of
//! them saw. It starts the same commands that a person would type; it decides nothing that they do not report.
//!
//! `ownerdead report DIR` makes one report of the records that checks have written: a page, XML for CI, JSON.
//!
//! `ownerdead inspect NAME` says what a segment holds and what is wrong with it. It only reads.

mod check;
mod checkout;
mod collect;
mod document;
mod foreign;
mod fuzzed;
mod inspect;
mod junit;
mod layer;
mod leftovers;
mod models;
mod output;
mod page;
mod process;
mod progress;
mod records;
mod report;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Shared-memory rings and locks that survive kill -9: the checks, and a look into segments.
#[derive(Parser)]
#[command(name = "ownerdead", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all layers of checks that this machine can run, and sum up what they saw.
    ///
    /// Exit code: 0 when no layer failed and none is incomplete; 1 on a violation or a failure; 2 when a layer is
    /// incomplete, or nothing ran at all; 64 when the command line is not understood; 69 when the checks could not be
    /// started; 130 when interrupted.
    Check(check::Options),
    /// Make one report of the records that checks have written, below the directories that are given.
    ///
    /// Records of the same check (shards, rounds, a run that was resumed) are merged. What cannot be read is said, and makes the
    /// report incomplete.
    ///
    /// Exit code: 0 when nothing was found and nothing is incomplete; 1 when something was found; 2 when something is
    /// incomplete or cannot be read, or nothing ran; 64 when the command line is not understood; 69 when a file cannot be written.
    Report(collect::Options),
    /// Say what a segment holds, and what is wrong with it: header, participants, seats, locks, records.
    ///
    /// It opens the segment for reading, attaches to nothing and changes nothing; the segment may be at work, dead, damaged,
    /// or no segment at all.
    ///
    /// Exit code: 0 when nothing is wrong; 1 when something is; 64 when the command line is not understood; 66 when the
    /// segment cannot be opened.
    Inspect(inspect::Options),
    /// Kill -9 in shared-memory code that is not ours: `list`, `sweep NAME`, `campaign NAME`, `table`; `--help` after it says more.
    ///
    /// In a checkout: it builds and starts the package in `chaos/foreign`.
    ///
    /// Exit code: 0 when nothing was found; 1 when something was; 2 when it is incomplete; 64 when the command line is not
    /// understood; 69 when it could not be run.
    #[command(disable_help_flag = true)]
    Foreign(foreign::Options),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // The help and the version come this way too.
            let _ = answer.print();
            return if answer.use_stderr() { ExitCode::from(check::EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Check(options) => check::run(&options).unwrap_or_else(not_started),
        Command::Report(options) => collect::run(&options).unwrap_or_else(not_started),
        Command::Inspect(options) => inspect::run(&options),
        Command::Foreign(options) => foreign::run(&options),
    }
}

fn not_started(error: String) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(check::EXIT_NOT_STARTED)
}
