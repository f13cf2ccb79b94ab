//! One line for each check, for whoever collects them (`ownerdead check` does).
//!
//! When `OWNERDEAD_REPORT` names a file, [`Line::emit`] appends to it, tab separated:
//! `state layer name cases deaths violations seconds detail test`. Lines with the state `running` are progress; the last line of a
//! name counts. `test` is the test that the check runs in: the name of its thread.

use std::fs::OpenOptions;
use std::io::Write as _;

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Under way; the figures are those so far.
    Running,
    /// It looked at all that it set out to look at, and found nothing.
    Pass,
    /// It found a violation.
    Fail,
    /// A budget or bound stopped it before it had looked at everything.
    Incomplete,
    /// It could not run here.
    NotRun,
}

impl State {
    /// As it stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Incomplete => "incomplete",
            Self::NotRun => "not-run",
        }
    }
}

/// The result of a check, or its progress.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// How it stands.
    pub state: State,
    /// The layer, as `loom` or `chaos`.
    pub layer: &'a str,
    /// The check.
    pub name: &'a str,
    /// Executions, operations or rounds that were judged.
    pub cases: u64,
    /// Processes that died in it.
    pub deaths: u64,
    /// What was found.
    pub violations: u64,
    /// How long it took.
    pub seconds: f64,
    /// For people: what was covered, or what was found and how to repeat it.
    pub detail: &'a str,
}

impl Line<'_> {
    /// Appends it to the file that `OWNERDEAD_REPORT` names, if any. A file that cannot be written is said on standard error, and
    /// changes nothing else.
    pub fn emit(&self) {
        let Some(path) = std::env::var_os("OWNERDEAD_REPORT") else { return };
        let line = self.to_string();
        let written =
            OpenOptions::new().create(true).append(true).open(&path).and_then(|mut f| f.write_all(line.as_bytes()));
        if let Err(error) = written {
            eprintln!("OWNERDEAD_REPORT: cannot append to {}: {error}", path.to_string_lossy());
        }
    }
}

impl core::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { layer, name, cases, deaths, violations, seconds, .. } = self;
        let detail = self.detail.replace(['\t', '\n', '\r'], " ");
        let (state, thread) = (self.state.as_str(), std::thread::current());
        let test = thread.name().unwrap_or("");
        writeln!(f, "{state}\t{layer}\t{name}\t{cases}\t{deaths}\t{violations}\t{seconds:.3}\t{detail}\t{test}")
    }
}
