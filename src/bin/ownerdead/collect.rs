//! `ownerdead report`: one report of the records in directories.

use crate::{document::Document, junit::junit, page::page, records, report::Verdict};
use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Which records, and what to make of them.
#[derive(clap::Args)]
pub struct Options {
    /// Where records are, also in directories below
    #[arg(required = true, value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Write one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the merged records as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Merges, writes, and says what came of it; the error says what could not be written.
pub fn run(options: &Options) -> Result<ExitCode, String> {
    let read = records::read(&options.directories);
    let mut problems = read.problems;
    if read.files == 0 && problems.is_empty() {
        problems.push("there is no record in these directories".to_owned());
    }
    // The sources, for the kill map, if this is a checkout.
    let root = env::current_dir().ok().and_then(|here| crate::checkout::root(&here).map(Path::to_owned));
    let document = Document::new(Vec::new(), read.records, problems, root);
    write(&document, options.html.as_deref(), options.junit.as_deref())?;
    if let Some(file) = &options.json {
        let mut json = serde_json::to_vec_pretty(&document).map_err(|error| error.to_string())?;
        json.push(b'\n');
        into_file(file, &json)?;
    }
    say(&document, read.files).map_err(|error| error.to_string())?;
    Ok(crate::check::exit_code(document.verdict))
}

/// The page and the XML, where they are wanted.
pub fn write(document: &Document, html: Option<&Path>, xml: Option<&Path>) -> Result<(), String> {
    if let Some(file) = html {
        into_file(file, page(document).as_bytes())?;
    }
    if let Some(file) = xml {
        into_file(file, junit(document).map_err(|error| format!("JUnit XML: {error}"))?.as_bytes())?;
    }
    Ok(())
}

/// The directory is made if need be.
fn into_file(file: &Path, bytes: &[u8]) -> Result<(), String> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let made = directory.map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, bytes));
    made.map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

fn say(document: &Document, files: usize) -> io::Result<()> {
    let mut text = Vec::new();
    tell(&mut text, document, files)?;
    // Records come from elsewhere, and a terminal obeys control characters.
    let text: String = String::from_utf8_lossy(&text).chars().map(crate::page::harmless).collect();
    io::stdout().write_all(text.as_bytes())
}

fn tell(out: &mut impl Write, document: &Document, files: usize) -> io::Result<()> {
    for problem in &document.problems {
        writeln!(out, "problem: {problem}")?;
    }
    for record in &document.records {
        let why = if record.reason.is_empty() { String::new() } else { format!("; {}", record.reason) };
        writeln!(
            out,
            "{:<10} {:<8} {:<28} {} deaths, {} cases, {} runs{why}",
            record.verdict.to_string(),
            record.kind.to_string(),
            record.name,
            record.deaths,
            record.cases,
            record.runs.len()
        )?;
    }
    for found in document.found() {
        writeln!(out, "found in {}: {} ({} times): {}", found.check, found.kind, found.count, found.text)?;
        if !found.repeat.is_empty() {
            writeln!(out, "  to repeat it: {}", found.repeat)?;
        }
    }
    let word = match document.verdict {
        Verdict::Pass => "passed",
        Verdict::Fail => "FAILED",
        Verdict::Incomplete => "INCOMPLETE",
        Verdict::NotRun => "not run",
    };
    let (cases, deaths, findings) = (document.cases, document.deaths, document.findings);
    writeln!(out, "report: {word}: {deaths} deaths, {cases} cases, {findings} findings in {files} records")
}
