//! Names, sweeps and campaigns.

use crate::Options;
use crate::glibc::Pthread;
use crate::locks::{Lock, Locked};
use crate::ours::Ours;
use crate::ring::{Create, Ring};
use crate::sqlite::{Database, Journal, MOST_WORKERS};
use crate::textbook::{PLANTS, Real};
use ownerdead::harness::kill::{Campaign, CampaignReport, Subject, Survivors, Sweep, SweepReport};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What can be killed, and what it is.
pub fn names() -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = [
        ("glibc", "pthread_mutex_t of the C library, robust, shared between processes"),
        ("ours", "the robust mutex of this project, as glibc's is tried"),
        ("textbook", "the textbook robust mutex, the fixture of the models"),
        ("ipc_ring", "the crate ipc_ring 0.2: records from a writer to readers that die"),
        ("ipc_ring-new", "the same: RingWriter::create, and RingReader::open of what a dead one left (campaign alone)"),
        ("sqlite", "SQLite in WAL mode: several processes write (campaign alone)"),
        ("sqlite-off", "the same without a journal, which it says is not safe (campaign alone)"),
    ]
    .map(|(name, what)| (name.to_owned(), what.to_owned()))
    .into();
    names.extend(
        PLANTS
            .iter()
            .map(|(number, plant)| (format!("textbook-{number}"), format!("with known bug {number}: {plant:?}"))),
    );
    names
}

/// What is done with a subject, whichever it is.
trait Visit {
    type Output;
    fn lock<L: Lock>(self, lock: L) -> Result<Self::Output>;
    fn ring(self, ring: Ring) -> Result<Self::Output>;
    fn create(self, create: Create) -> Result<Self::Output>;
    fn database(self, database: Database) -> Result<Self::Output>;
}

fn visit<V: Visit>(name: &str, visitor: V) -> Result<V::Output> {
    match name {
        "glibc" => visitor.lock(Pthread::new()?),
        "ours" => visitor.lock(Ours::new()?),
        "ipc_ring" => visitor.ring(Ring::new()?),
        "ipc_ring-new" => visitor.create(Create::new()?),
        "sqlite" => visitor.database(Database::new(Journal::Wal)?),
        "sqlite-off" => visitor.database(Database::new(Journal::Off)?),
        _ if names().iter().any(|(known, _)| known == name) => {
            let number = name.strip_prefix("textbook-").map_or(Ok(0), str::parse)?;
            visitor.lock(Real::new(number)?)
        }
        _ => Err(format!("found the name {name:?}, expected one of those that `foreign list` prints").into()),
    }
}

/// What no operation here takes, but one that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

struct Sweeps<'n>(&'n str);

impl Sweeps<'_> {
    fn over<S: Subject>(self, subject: &S) -> Result<SweepReport> {
        Ok(Sweep::new(self.0, subject).patience(PATIENCE).run()?)
    }
}

impl Visit for Sweeps<'_> {
    type Output = SweepReport;
    fn lock<L: Lock>(self, lock: L) -> Result<SweepReport> {
        self.over(&Locked(lock))
    }
    fn ring(self, ring: Ring) -> Result<SweepReport> {
        self.over(&ring)
    }
    fn create(self, _: Create) -> Result<SweepReport> {
        Err("not run: what it changes is a file's length, which a sweep does not record; use `campaign`".into())
    }
    fn database(self, _: Database) -> Result<SweepReport> {
        Err("not run: what it changes lies in files, which a sweep does not record; use `campaign`".into())
    }
}

struct Campaigns<'n>(&'n str, Options);

impl Campaigns<'_> {
    fn over<'s, S: Subject + Sync>(&self, subject: &'s S, size: [usize; 2], survivors: Survivors) -> Campaign<'s, S> {
        let options = self.1;
        let campaign = Campaign::new(self.0, subject)
            .seed(options.seed)
            .survivors(survivors)
            .processes(options.processes.unwrap_or(size[0]))
            .threads(options.threads.unwrap_or(size[1]))
            .most_found(options.findings)
            .control(options.control);
        let campaign = options.kills.into_iter().fold(campaign, Campaign::kills);
        // Without any: so long.
        let seconds = options.seconds.or(if options.kills.is_none() { Some(10) } else { None });
        seconds.into_iter().fold(campaign, |campaign, seconds| campaign.time(Duration::from_secs(seconds)))
    }
}

/// Sleepers with nobody awake are stuck after this.
const ASLEEP: Duration = Duration::from_secs(1);

impl Visit for Campaigns<'_> {
    type Output = CampaignReport;
    fn lock<L: Lock>(self, lock: L) -> Result<CampaignReport> {
        let subject = Locked(lock);
        // Bug 36 lets two in, whoever dies: it wants few who sleep. The others are about sleepers.
        let size = if self.0 == "textbook-36" { [3, 1] } else { [2, 3] };
        Ok(self.over(&subject, size, Survivors::Finish).asleep(ASLEEP).run()?)
    }
    fn ring(self, ring: Ring) -> Result<CampaignReport> {
        Ok(self.over(&ring, [2, 1], Survivors::WithOthers).bound(PATIENCE).run()?)
    }
    fn create(self, create: Create) -> Result<CampaignReport> {
        Ok(self.over(&create, [1, 1], Survivors::GoOn).run()?)
    }
    fn database(self, database: Database) -> Result<CampaignReport> {
        let size = [self.1.processes.unwrap_or(3), self.1.threads.unwrap_or(1)];
        let workers = size[0].saturating_mul(size[1]);
        if workers > MOST_WORKERS {
            return Err(format!("found {workers} workers, expected at most {MOST_WORKERS} in a database").into());
        }
        // More than a call waits for a lock: then it is SQLite that says so.
        Ok(self
            .over(&database, size, Survivors::GoOn)
            .bound(Duration::from_secs(30))
            .asleep(Duration::from_secs(30))
            .run()?)
    }
}

pub fn sweep_report(name: &str) -> Result<SweepReport> {
    visit(name, Sweeps(name))
}

pub fn campaign_report(name: &str, options: Options) -> Result<CampaignReport> {
    visit(name, Campaigns(name, options))
}

fn code(found: bool, incomplete: bool) -> ExitCode {
    ExitCode::from(if found { 1 } else { 2 * u8::from(incomplete) })
}

pub fn sweep(name: &str) -> Result<ExitCode> {
    let report = sweep_report(name)?;
    print_sweep(&report);
    Ok(code(!report.found.is_empty() || !report.disagreements.is_empty(), report.incomplete.is_some()))
}

fn print_sweep(report: &SweepReport) {
    println!(
        "{}: a death at each of {} instructions ({} states), at each of {} of recoveries; {} really died, {} survivors",
        report.name, report.instructions, report.states, report.second_instructions, report.planted, report.survivors
    );
    let mut met = std::collections::BTreeMap::<&str, u64>::new();
    for ((_, outcome), place) in &report.places {
        *met.entry(outcome).or_default() += place.deaths;
    }
    met.iter().for_each(|(outcome, deaths)| println!("  after {deaths} deaths in the operation: {outcome}"));
    for found in &report.found {
        let (number, at) = found.death.first;
        println!(
            "  FOUND at {} instructions, first before number {number}, at {at:#x}: {}",
            found.deaths, found.finding
        );
    }
    report.disagreements.iter().for_each(|text| println!("  DISAGREE: {text}"));
    match &report.incomplete {
        Some(reason) => println!("  INCOMPLETE: {reason}"),
        None if report.passed() => println!("  nothing found"),
        None => {}
    }
}

pub fn campaign(name: &str, options: Options) -> Result<ExitCode> {
    let report = campaign_report(name, options)?;
    print!("{report}");
    Ok(code(!report.found.is_empty(), report.incomplete.is_some()))
}
