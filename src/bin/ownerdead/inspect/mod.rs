//! `ownerdead inspect`: opens a segment for reading, looks at it, and says what is there and what is wrong.

mod file;
mod hex;
mod text;
mod threads;

use file::{Opened, Status};
use hex::{Dump, Range};
use ownerdead::inspect::{RecordReport, Report, inspect};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

const EXIT_PROBLEMS: u8 = 1;
const EXIT_NO_INPUT: u8 = 66;

/// What to look at, and how much of it to show.
#[derive(clap::Args)]
pub struct Options {
    /// The segment: a name in /dev/shm, with or without a slash in front; or a path, if it has a slash further on
    /// (./file, /tmp/copy, /proc/PID/fd/N)
    #[arg(value_name = "NAME")]
    name: PathBuf,
    /// NAME is a path, whatever slashes it has
    #[arg(long)]
    path: bool,
    /// List the records of a ring between its indices, the first MAX of them
    #[arg(long, value_name = "MAX", num_args = 0..=1, require_equals = true, default_missing_value = "1000")]
    records: Option<usize>,
    /// Dump these bytes of the segment: 4096..4200, or 4096+104; 0x before a number for hexadecimal; at most 16 MiB
    #[arg(long, value_name = "RANGE")]
    hex: Option<Range>,
    /// Print one JSON object on stdout, and nothing else there; its fields are in docs/inspect.md
    #[arg(long)]
    json: bool,
}

/// All that is said, in the order in which it is said.
#[derive(Serialize)]
struct Output {
    name: String,
    path: String,
    valid: bool,
    file: Status,
    #[serde(flatten)]
    report: Report,
    /// With `--records`: the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    listed_records: Option<Vec<RecordReport>>,
    /// With `--hex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<Dump>,
}

/// Looks, and prints what it saw.
pub fn run(options: &Options) -> ExitCode {
    let output = match look(options) {
        Ok(output) => output,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(EXIT_NO_INPUT);
        }
    };
    let said = if options.json { json(&output) } else { text::print(&output) };
    match said {
        // Who reads has seen enough; the exit code still says what was found.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: the result could not be written: {error}");
            ExitCode::from(crate::check::EXIT_NOT_STARTED)
        }
        _ if output.valid => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_PROBLEMS),
    }
}

fn json(output: &Output) -> io::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(output)?)
}

fn look(options: &Options) -> Result<Output, String> {
    let path = file::path(&options.name, options.path);
    let file = Opened::open(&path)?;
    let status = file.status();
    let (mut report, mut listed) = once(&file, options);
    if !report.is_valid() {
        // The segment may be at work, and a word that was read while it changed may be a mixture.
        let earlier = report;
        (report, listed) = once(&file, options);
        report.keep_confirmed(&earlier);
    }
    report.problems.extend(file.problem());
    Ok(Output {
        // What is no UTF-8 cannot be shown as it is, in JSON least of all.
        name: options.name.to_string_lossy().into_owned(),
        path: path.to_string_lossy().into_owned(),
        valid: report.is_valid(),
        file: status,
        listed_records: options.records.map(|_| listed),
        hex: options.hex.map(|range| Dump::read(&file, range)),
        report,
    })
}

fn once(file: &Opened, options: &Options) -> (Report, Vec<RecordReport>) {
    let mut listed = Vec::new();
    let report = inspect(file, threads::look, |record| {
        if options.records.is_some_and(|most| listed.len() < most) {
            listed.push(*record);
        }
    });
    (report, listed)
}
