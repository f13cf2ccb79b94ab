//! The kill engine, pointed at code that is not ours. Figures and findings: `docs/foreign.md`.

mod files;
mod glibc;
mod locks;
mod ours;
mod ring;
mod run;
mod sqlite;
mod table;
mod textbook;

use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

/// Kill -9 in shared-memory code that is not ours: at each instruction (sweep), and while several are at work (campaign).
#[derive(Parser)]
#[command(name = "foreign", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Exit code: 0 when nothing was found, 1 when something was, 2 when it is incomplete, 64 when the command line is not understood, 69
/// when it could not be run.
#[derive(Subcommand)]
enum Command {
    /// The names of what can be killed.
    List,
    /// A death at each machine instruction of an operation, and of the recovery after it.
    Sweep {
        /// As `list` says.
        name: String,
    },
    /// Several processes at work, killed at seeded instants; the others must go on.
    Campaign {
        /// As `list` says.
        name: String,
        #[command(flatten)]
        options: Options,
    },
    /// All of them, each for a while: the table of `docs/foreign.md`.
    Table {
        #[command(flatten)]
        options: Options,
    },
}

/// How long a campaign lasts, and how it is made up.
#[derive(Args, Clone, Copy)]
pub struct Options {
    /// How long, in seconds. With --kills, the most that it may take.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// How many processes are killed.
    #[arg(long)]
    kills: Option<u64>,
    /// What the instants follow from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Processes at a time, instead of what fits the subject.
    #[arg(long)]
    processes: Option<usize>,
    /// Threads in each, instead of what fits the subject.
    #[arg(long)]
    threads: Option<usize>,
    /// Ends after so many findings, and is incomplete then.
    #[arg(long, default_value_t = 1000)]
    findings: u64,
    /// Kills nobody: what is found so is no matter of deaths.
    #[arg(long)]
    control: bool,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            let _ = answer.print();
            return if answer.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::List => {
            for (name, what) in run::names() {
                println!("{name:<14} {what}");
            }
            return ExitCode::SUCCESS;
        }
        Command::Sweep { name } => run::sweep(&name),
        Command::Campaign { name, options } => run::campaign(&name, options),
        Command::Table { options } => table::print(options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("foreign: {error}");
        ExitCode::from(69)
    })
}
