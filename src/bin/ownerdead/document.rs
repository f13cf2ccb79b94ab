//! What a report is made of, whatever it is written as: layers of `ownerdead check`, merged records, or both.

use crate::report::{Outcome, Verdict};
use ownerdead::harness::record::{Kind, Progress, Record, Times, VERSION};
use serde::Serialize;
use std::path::PathBuf;

/// A run of `ownerdead check`, or a set of records.
#[derive(Debug, Serialize)]
pub struct Document {
    /// That of the records.
    pub version: u32,
    pub verdict: Verdict,
    pub cases: u64,
    pub deaths: u64,
    pub findings: u64,
    /// When the first run of a record began, in milliseconds since 1970 UTC; 0 if there is none.
    pub started_ms: u64,
    pub seconds: f64,
    /// What could not be read.
    pub problems: Vec<String>,
    pub layers: Vec<Outcome>,
    pub records: Vec<Record>,
    /// Where the sources are.
    #[serde(skip)]
    pub root: Option<PathBuf>,
}

/// What was found, and how to see it again.
pub struct Found<'a> {
    pub check: String,
    pub kind: String,
    pub text: &'a str,
    pub count: u64,
    pub repeat: &'a str,
    pub artefact: Option<&'a str>,
}

impl Document {
    pub fn new(layers: Vec<Outcome>, records: Vec<Record>, problems: Vec<String>, root: Option<PathBuf>) -> Document {
        let verdicts = layers.iter().map(|layer| layer.verdict).chain(records.iter().map(|record| record.verdict));
        // What could not be read may have been a failure.
        let unread = (!problems.is_empty()).then_some(Verdict::Incomplete);
        let mut document = Document {
            version: VERSION,
            verdict: verdicts.chain(unread).max().unwrap_or(Verdict::NotRun),
            cases: 0,
            deaths: 0,
            findings: 0,
            started_ms: records.iter().map(|record| record.started_ms).min().unwrap_or(0),
            seconds: 0.0,
            problems,
            layers,
            records,
            root,
        };
        document.findings = document.found().iter().map(|found| found.count).sum();
        let (layers, records) = (&document.layers, &document.records);
        let (cases, deaths, seconds) = if layers.is_empty() {
            let sum = |figure: fn(&Record) -> u64| records.iter().map(figure).sum::<u64>();
            // A campaign's time is that of the checks in it.
            let took = records.iter().filter(|record| record.kind != Kind::Campaign || record.deaths > 0);
            (sum(|r| r.cases), sum(|r| r.deaths), took.map(|r| r.took_ms).sum::<u64>() as f64 / 1e3)
        } else {
            let sum = |figure: fn(&Outcome) -> u64| layers.iter().map(figure).sum::<u64>();
            (sum(|l| l.cases), sum(|l| l.deaths), layers.iter().map(|layer| layer.seconds).sum())
        };
        (document.cases, document.deaths, document.seconds) = (cases, deaths, seconds);
        document
    }

    /// Findings of the records, and of layers what no record tells.
    pub fn found(&self) -> Vec<Found<'_>> {
        let mut found = Vec::new();
        for record in &self.records {
            let check = format!("{} {}", record.kind, record.name);
            found.extend(record.findings.iter().map(|finding| Found {
                check: check.clone(),
                kind: finding.kind.to_string(),
                text: &finding.text,
                count: finding.count.max(1),
                repeat: &finding.repeat,
                artefact: finding.artefact.as_deref(),
            }));
        }
        for layer in &self.layers {
            let told = |name: &str| {
                let mut records = self.records.iter();
                records.any(|record| record.name == name && !record.findings.is_empty())
            };
            let failed = layer.checks.iter().filter(|check| check.verdict == Verdict::Fail && !told(&check.name));
            found.extend(failed.map(|check| Found {
                check: format!("{} {}", layer.layer, check.name),
                kind: "other".to_owned(),
                text: &check.detail,
                count: check.violations.max(1),
                repeat: &layer.repeat,
                artefact: Some(layer.log.as_str()).filter(|log| !log.is_empty()),
            }));
        }
        found
    }

    /// Recovery times of all checks together.
    pub fn recovery(&self) -> Times {
        let mut all = Times::default();
        self.records.iter().for_each(|record| all.merge(&record.recovery));
        all
    }

    /// Progress of all checks together.
    pub fn progress(&self) -> Progress {
        let mut all = Progress::default();
        self.records.iter().for_each(|record| all.merge(&record.progress));
        all
    }
}
