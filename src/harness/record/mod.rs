//! What a check did, for reports: one JSON file for each run of a chaos scenario, a sweep or a campaign.
//!
//! When `OWNERDEAD_RECORDS` names a directory, [`Record::emit`] writes there, and nowhere otherwise. A file is whole or absent: it
//! is written under another name, and renamed. A check that goes on writes its record now and then as
//! [`Verdict::Incomplete`], so that one which is killed has said how far it got.
//!
//! [`Record::merge`] makes one record of several of the same check: shards on several machines, rounds of a night, a run that was
//! stopped and resumed. The order does not matter, and neither does what is merged first. `cargo ownerdead report` does this for
//! directories. What the fields are is in `docs/reports.md`; [`VERSION`] counts up when one changes its meaning.

mod merge;
mod progress;
#[cfg(test)]
mod tests;
mod times;

pub use merge::MergeError;
pub use progress::{Point, Progress};
pub use times::Times;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, fs, io};

/// The version of the format: what [`Record::version`] must be.
pub const VERSION: u32 = 1;

/// The environment variable that names the directory of records.
pub const DIRECTORY: &str = "OWNERDEAD_RECORDS";

/// What kind of check a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A scenario of real processes, killed at seeded instants.
    Chaos,
    /// A death at every instruction of an operation.
    Sweep,
    /// Kills of several processes at work, or a whole night of checks.
    Campaign,
    /// The models under one checker.
    Model,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Chaos => "chaos",
            Self::Sweep => "sweep",
            Self::Campaign => "campaign",
            Self::Model => "model",
        })
    }
}

pub use super::finding::Kind as FindingKind;

/// What came of a check; the later in this list, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It could not run here.
    NotRun,
    /// It looked at all that it set out to look at, and found nothing.
    Pass,
    /// It found nothing, and has not looked at everything.
    Incomplete,
    /// It found something.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotRun => "not-run",
            Self::Pass => "pass",
            Self::Incomplete => "incomplete",
            Self::Fail => "fail",
        })
    }
}

/// One run of a check, on one machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Run {
    /// When it began, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// Which part of how many, as `2/4`; empty where it is not divided.
    #[serde(default)]
    pub shard: String,
    /// What its random choices follow from.
    #[serde(default)]
    pub seed: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What came of it.
    pub verdict: Verdict,
    /// Why; may be empty for a pass.
    #[serde(default)]
    pub reason: String,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of damage it is.
    pub kind: FindingKind,
    /// What was found. Findings of the same kind and text are one.
    pub text: String,
    /// The one command that repeats it; empty if there is none.
    #[serde(default)]
    pub repeat: String,
    /// A file to look into.
    #[serde(default)]
    pub artefact: Option<String>,
    /// How often it was found.
    pub count: u64,
}

/// Deaths at one place in the source, with one outcome: a piece of the kill map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// What the victim was doing, as `push`.
    pub operation: String,
    /// The function that the instruction is in; empty if that is not known.
    #[serde(default)]
    pub function: String,
    /// The source file, from the root of the checkout.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// What survivors made of it: `recovered`, `nothing` (there was nothing to recover), or the kind of damage.
    pub outcome: String,
    /// How many died there.
    pub deaths: u64,
}

impl Place {
    /// Whether survivors found damage: the outcome is a [`FindingKind`].
    pub fn is_damage(&self) -> bool {
        self.deaths > 0 && FindingKind::ALL.iter().any(|kind| kind.to_string() == self.outcome)
    }
}

/// Instructions of the code that a sweep went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructions {
    /// Instructions that were executed, and died at: one that was come by twice counts twice.
    pub executed: u64,
    /// Instructions of the code in question that were come by.
    pub covered: u64,
    /// Instructions of the code in question.
    pub total: u64,
    /// Instructions executed outside the code in question, as those of the C library.
    pub outside: u64,
}

/// Instructions that a sweep did not come by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Uncovered {
    /// The function that they are in.
    pub function: String,
    /// The source file, from the root of the checkout.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// How many they are.
    pub instructions: u64,
    /// Why they are not come by; empty if nobody has said.
    #[serde(default)]
    pub reason: String,
}

/// What a check did. Make one with [`Record::new`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// What kind of check.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// The worst of the runs, and a failure if there is a finding, or damage at a place. See [`Record::settle`].
    pub verdict: Verdict,
    /// Why; empty for a pass.
    #[serde(default)]
    pub reason: String,
    /// When the first run began, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub started_ms: u64,
    /// How long all runs took together, in milliseconds.
    #[serde(default)]
    pub took_ms: u64,
    /// Operations, rounds or executions that were judged.
    #[serde(default)]
    pub cases: u64,
    /// Processes that died.
    #[serde(default)]
    pub deaths: u64,
    /// Every run that is in here.
    pub runs: Vec<Run>,
    /// What was found.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// How many died in which phase of their work.
    #[serde(default)]
    pub phases: BTreeMap<String, u64>,
    /// Where they died.
    #[serde(default)]
    pub places: Vec<Place>,
    /// From a kill until a survivor's next success.
    #[serde(default)]
    pub recovery: Times,
    /// What was done when.
    #[serde(default)]
    pub progress: Progress,
    /// For sweeps.
    #[serde(default)]
    pub instructions: Option<Instructions>,
    /// Different states of memory that were recovered from, for sweeps.
    #[serde(default)]
    pub states: u64,
    /// What a sweep did not come by.
    #[serde(default)]
    pub uncovered: Vec<Uncovered>,
}

/// Milliseconds since 1970 UTC.
pub fn now_ms() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Why a file is no record.
#[derive(Debug)]
pub enum ReadError {
    /// It cannot be read.
    Io(io::Error),
    /// It is not JSON, or not that of a record.
    Format(serde_json::Error),
    /// Its format is another one than [`VERSION`].
    Version(u64),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Format(error) => write!(f, "it is no record: {error}"),
            Self::Version(found) => {
                write!(f, "it is a record of version {found}, expected {VERSION}: use the program that belongs to it")
            }
        }
    }
}

impl std::error::Error for ReadError {}

impl Record {
    /// Of a check that begins now; it is incomplete until [`Record::ended`]. The shard is that of `OWNERDEAD_PARTITION`.
    pub fn new(kind: Kind, name: &str, seed: u64) -> Self {
        let shard = std::env::var("OWNERDEAD_PARTITION").unwrap_or_default();
        let (started_ms, reason) = (now_ms(), "it has only begun".to_owned());
        let run = Run { started_ms, shard, seed, took_ms: 0, verdict: Verdict::Incomplete, reason };
        let mut record = Self {
            version: VERSION,
            kind,
            name: name.to_owned(),
            verdict: Verdict::Incomplete,
            reason: String::new(),
            started_ms,
            took_ms: 0,
            cases: 0,
            deaths: 0,
            runs: vec![run],
            findings: Vec::new(),
            phases: BTreeMap::new(),
            places: Vec::new(),
            recovery: Times::default(),
            progress: Progress::default(),
            instructions: None,
            states: 0,
            uncovered: Vec::new(),
        };
        record.settle();
        record
    }

    /// Says how its run stands after `took`.
    pub fn ended(&mut self, verdict: Verdict, reason: &str, took: Duration) {
        if let [run] = &mut self.runs[..] {
            (run.verdict, run.took_ms) = (verdict, milliseconds(took));
            reason.clone_into(&mut run.reason);
        }
        self.settle();
    }

    /// Adds a finding; one of the same kind and text is counted.
    pub fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.settle();
    }

    /// Whether this is a record of the same check.
    pub fn is_of(&self, other: &Self) -> bool {
        (self.kind, &self.name) == (other.kind, &other.name)
    }

    /// Writes it below the directory that `OWNERDEAD_RECORDS` names, if any; over the one that the same run wrote before. A file
    /// that cannot be written is said on standard error, and changes nothing else.
    pub fn emit(&self) {
        let Some(directory) = std::env::var_os(DIRECTORY) else { return };
        let directory = Path::new(&directory);
        if let Err(error) = self.write(directory) {
            eprintln!("{DIRECTORY}: cannot write a record below {}: {error}", directory.display());
        }
    }

    /// Writes it below `directory`, which is made if need be. The path of the file, whose name is the same for the same run of
    /// the same process.
    ///
    /// # Errors
    /// Of the directory or the file.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let first = self.runs.first();
        let which = format!("{}\0{}", self.name, first.map_or("", |run| &run.shard));
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let file: String = self.name.chars().map(plain).take(80).collect();
        let (started, id) = (self.started_ms, crc32fast::hash(which.as_bytes()));
        let file = format!("{}-{file}-{started}-{}-{id:08x}", self.kind, std::process::id());
        let (path, temporary) = (directory.join(format!("{file}.json")), directory.join(format!(".{file}.tmp")));
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        let renamed = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path));
        if renamed.is_err() {
            // What is left of it would be taken for nothing, and stay for ever.
            let _ = fs::remove_file(&temporary);
        }
        renamed.map(|()| path)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`ReadError`], if it is none that this version of the library can read.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        Self::from_json(&fs::read(path).map_err(ReadError::Io)?)
    }

    /// Of JSON.
    ///
    /// # Errors
    /// As [`Record::read`].
    pub fn from_json(json: &[u8]) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let Versioned { version } = serde_json::from_slice(json).map_err(ReadError::Format)?;
        if version != u64::from(VERSION) {
            return Err(ReadError::Version(version));
        }
        let mut record: Self = serde_json::from_slice(json).map_err(ReadError::Format)?;
        record.settle();
        Ok(record)
    }
}
