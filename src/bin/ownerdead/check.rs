//! `ownerdead check`: builds all layers, runs them one after the other, and judges each by what it reported.

use crate::{
    checkout::Checkout,
    collect,
    document::Document,
    fuzzed,
    layer::{Layer, Plan, Settings, Step, plan},
    leftovers,
    output::Summary,
    process::{End, Runner},
    progress::{Figures, Progress},
    records,
    report::{By, Ended, Log, Outcome, Tally, Verdict, ended_by, judge},
};
use ownerdead::harness::record;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

pub const EXIT_NOT_STARTED: u8 = 69;
pub const EXIT_USAGE: u8 = 64;
const EXIT_VIOLATION: u8 = 1;
const EXIT_INCOMPLETE: u8 = 2;
const EXIT_INTERRUPTED: u8 = 130;

/// All that `--quick` may take after building.
const QUICK: Duration = Duration::from_secs(600);
/// A layer that needs longer than this is stuck; fuzzing has its own time besides.
const FULL_LAYER: Duration = Duration::from_secs(3 * 3600);
/// Lines of a failed layer's log that are shown.
const TAIL: usize = 60;

/// What to run, and for how long.
#[derive(clap::Args)]
pub struct Options {
    /// At most ten minutes after building: short chaos and fuzzing, the quick tier of the models
    #[arg(long)]
    quick: bool,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long)]
    json: bool,
    /// Write the report, one HTML page, here too [it is always in target/ownerdead/report.html]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run only this layer (may be repeated)
    #[arg(long = "layer", value_name = "NAME")]
    layers: Vec<Layer>,
    /// Seconds for each chaos scenario [default: 60, with --quick 3]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    chaos_seconds: Option<u64>,
    /// Seconds for each fuzz target [default: 300, with --quick 6]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    fuzz_seconds: Option<u64>,
    /// Of the fuzz targets run only this one (may be repeated)
    #[arg(long = "fuzz-target", value_name = "NAME")]
    fuzz_targets: Vec<String>,
    /// Seed for chaos, properties and fuzzing [default: a new one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Stop a layer that runs longer; its verdict is then incomplete [default: 3 hours, for fuzzing more than it is given, with
    /// --quick 10 minutes for all]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl Options {
    fn settings(&self) -> Settings {
        let default = |quick, full| if self.quick { quick } else { full };
        Settings {
            quick: self.quick,
            chaos_seconds: self.chaos_seconds.unwrap_or(default(3, 60)),
            fuzz_seconds: self.fuzz_seconds.unwrap_or(default(6, 300)),
            fuzz_targets: self.fuzz_targets.clone(),
            seed: self.seed,
        }
    }

    fn selected(&self) -> Vec<Layer> {
        Layer::ALL.into_iter().filter(|layer| self.layers.is_empty() || self.layers.contains(layer)).collect()
    }
}

/// Why no outcome came about.
enum Stopped {
    Interrupted(String),
    Broken(String),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Broken(error.to_string())
    }
}

/// Runs the checks; the error says why they could not be started.
pub fn run(options: &Options) -> Result<ExitCode, String> {
    let checkout = Checkout::find()?;
    let broken = |error: io::Error| error.to_string();
    let output = checkout.output();
    fs::create_dir_all(&output).map_err(|e| format!("{} cannot be made: {e}", output.display()))?;
    let check = Check {
        runner: Runner::new().map_err(broken)?,
        progress: Progress::new(),
        settings: options.settings(),
        checkout,
        output,
    };
    check.forget_records().map_err(broken)?;
    let mut summary = match check.layers(options) {
        Ok(layers) => Summary::new(layers),
        Err(Stopped::Broken(why)) => return Err(why),
        Err(Stopped::Interrupted(what)) => {
            check.progress.say(&format!("interrupted: {what} was stopped, and nothing of it runs on"));
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
    };
    let page = check.report(&mut summary, options)?;
    if options.json { summary.json() } else { summary.print() }.map_err(broken)?;
    check.progress.say(&format!("report: {}", check.checkout.shown(&page)));
    Ok(exit_code(summary.verdict))
}

/// 0, 1 or 2.
pub fn exit_code(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Pass => ExitCode::SUCCESS,
        Verdict::Fail => ExitCode::from(EXIT_VIOLATION),
        Verdict::Incomplete | Verdict::NotRun => ExitCode::from(EXIT_INCOMPLETE),
    }
}

struct Check {
    checkout: Checkout,
    settings: Settings,
    runner: Runner,
    progress: Progress,
    output: PathBuf,
}

impl Check {
    fn layers(&self, options: &Options) -> Result<Vec<Outcome>, Stopped> {
        let mut built = Vec::new();
        for layer in options.selected() {
            built.push((layer, self.build(layer)?));
        }
        let quick = self.settings.quick.then(|| Instant::now() + QUICK);
        let mut outcomes = Vec::new();
        for (index, (layer, plan)) in built.iter().enumerate() {
            let outcome = match plan {
                Ok(plan) => {
                    let ready = built[index + 1..].iter().filter(|(_, plan)| plan.is_ok());
                    let later = ready.map(|(layer, _)| layer.share()).sum();
                    let limit = match (options.limit, quick) {
                        (Some(seconds), _) => Duration::from_secs(seconds),
                        (None, Some(end)) => end.saturating_duration_since(Instant::now()).saturating_sub(later),
                        (None, None) if *layer == Layer::Fuzz => {
                            let targets = u32::try_from(plan.run.len()).unwrap_or(u32::MAX);
                            FULL_LAYER + Duration::from_secs(self.settings.fuzz_seconds).saturating_mul(targets)
                        }
                        (None, None) => FULL_LAYER,
                    };
                    self.run(*layer, plan, limit)?
                }
                Err(outcome) => outcome.clone(),
            };
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn records(&self) -> PathBuf {
        self.output.join("records")
    }

    /// Those of an earlier run are none of this one's.
    fn forget_records(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.records()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(self.records()),
        }
    }

    /// Writes the report; where the page is. What is wrong with the records is wrong with the run.
    fn report(&self, summary: &mut Summary, options: &Options) -> Result<PathBuf, String> {
        let read = records::read(&[self.records()]);
        let document =
            Document::new(summary.layers.clone(), read.records, read.problems, Some(self.checkout.root.clone()));
        summary.verdict = document.verdict;
        let page = self.output.join("report.html");
        collect::write(&document, Some(&page), options.junit.as_deref())?;
        if options.html.is_some() {
            collect::write(&document, options.html.as_deref(), None)?;
        }
        summary.html = self.checkout.shown(&page);
        summary.records = self.checkout.shown(&self.records());
        Ok(page)
    }

    fn log(&self, layer: Layer) -> PathBuf {
        self.output.join(format!("{layer}.log"))
    }

    /// The plan of a layer once it is built, or the outcome that it has without a run.
    fn build(&self, layer: Layer) -> Result<Result<Plan, Outcome>, Stopped> {
        let plan = match plan(layer, &self.checkout, &self.settings) {
            Ok(plan) => plan,
            Err(reason) => {
                self.progress.say(&format!("not run  {layer:<7} {reason}"));
                return Ok(Err(Outcome::without_run(layer, Verdict::NotRun, reason)));
            }
        };
        let log = self.log(layer);
        let mut outcome = None;
        let mut activity = self.progress.start("building", layer);
        for step in &plan.build {
            let file = File::create(&log)?;
            let end = self.runner.run(step.command(&self.checkout), file, None, || activity.idle())?;
            let verdict = match end {
                End::Interrupted => return Err(Stopped::Interrupted(format!("the build of {layer}"))),
                End::Exited(status) if status.success() => continue,
                End::Exited(status) => match status.signal().map(ended_by) {
                    Some(By::Hand(_)) => Verdict::Incomplete,
                    Some(By::Fault(_)) | None => Verdict::Fail,
                },
                End::TimedOut => Verdict::Incomplete,
            };
            let reason = if verdict == Verdict::Fail { "it does not build" } else { "its build was killed" };
            outcome = Some((Outcome::without_run(layer, verdict, reason.to_owned()), step));
            break;
        }
        match outcome {
            Some((outcome, step)) => {
                activity.end(&outcome.reason);
                self.explain(layer, step, &[]);
                Ok(Err(outcome))
            }
            None => {
                activity.clear();
                Ok(Ok(plan))
            }
        }
    }

    fn run(&self, layer: Layer, plan: &Plan, limit: Duration) -> Result<Outcome, Stopped> {
        let report = self.output.join(format!("{layer}.tsv"));
        let deaths = self.output.join(format!("{layer}.deaths"));
        let log = self.log(layer);
        for file in [&report, &deaths, &log] {
            File::create(file)?;
        }
        let began = record::now_ms();
        let mut seen = Seen::new(layer, &report, &log);
        let mut activity = self.progress.start("running", layer);
        let started = Instant::now();
        let segments = leftovers::segments();
        let mut ended = Ended::Success;
        let mut last = None;
        for step in &plan.run {
            last = Some(step);
            seen.log.next_step(&step.name);
            let mut command = step.command(&self.checkout);
            command.env("OWNERDEAD_REPORT", &report).env(record::DIRECTORY, self.records());
            if layer.is_model() {
                command.env("OWNERDEAD_DEATHS", &deaths);
            }
            let file = OpenOptions::new().append(true).open(&log)?;
            let left = limit.saturating_sub(started.elapsed());
            let end = self.runner.run(command, file, Some(left), || activity.update(&seen.look()))?;
            ended = match end {
                End::Exited(status) => match status.signal() {
                    Some(signal) => Ended::Signal(signal),
                    None if status.success() => Ended::Success,
                    None => Ended::Failure,
                },
                End::TimedOut => {
                    leftovers::remove(&segments);
                    Ended::TimedOut(limit)
                }
                End::Interrupted => {
                    activity.clear();
                    leftovers::remove(&segments);
                    let after = started.elapsed().as_secs();
                    return Err(Stopped::Interrupted(format!("{layer}, after {after} s,")));
                }
            };
            if !matches!(ended, Ended::Success) {
                break;
            }
        }
        seen.look();
        let mut outcome = judge(layer, &seen.tally, &seen.log, &ended, started.elapsed());
        let root = format!("{}/", self.checkout.root.display());
        for said in outcome.checks.iter_mut().map(|check| &mut check.detail).chain([&mut outcome.reason]) {
            *said = said.replace(&root, "");
        }
        outcome.repeat = last.map(|step| step.shown(&self.checkout)).unwrap_or_default();
        outcome.log = self.checkout.shown(&log);
        if layer == Layer::Fuzz {
            let targets: Vec<&str> = plan.run.iter().map(|step| step.name.as_str()).collect();
            fs::write(self.output.join("fuzz-targets.tsv"), fuzzed::table(&targets, &seen.log.fuzzed))?;
        }
        if layer.is_model() {
            let told = fs::read_to_string(&deaths)?;
            crate::models::record(&outcome, &told, began, self.settings.seed).write(&self.records())?;
        }
        let mut said = format!("{}: {} cases, {} deaths", outcome.verdict, outcome.cases, outcome.deaths);
        if !outcome.reason.is_empty() {
            said = format!("{said}; {}", outcome.reason);
        }
        activity.end(&said);
        if let (Verdict::Fail | Verdict::Incomplete, Some(step)) = (outcome.verdict, last) {
            self.explain(layer, step, &seen.log.failing().into_iter().collect::<Vec<_>>());
        }
        Ok(outcome)
    }

    /// What a person needs to look into a layer that did not pass.
    fn explain(&self, layer: Layer, step: &Step, failing: &[&str]) {
        let log = self.log(layer);
        let text = fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let mut said = String::new();
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            said.push_str("  | ");
            said.push_str(line);
            said.push('\n');
        }
        if !failing.is_empty() {
            said.push_str(&format!("failing: {}\n", failing.join(", ")));
        }
        said.push_str(&format!("log of {layer}: {}\n", self.checkout.shown(&log)));
        said.push_str(&format!("to repeat it: {}", step.shown(&self.checkout)));
        self.progress.say(&said);
        let _ = io::stderr().flush();
    }
}

/// Follows the two files of a running layer.
struct Seen {
    layer: Layer,
    report: Tail,
    log_file: Tail,
    tally: Tally,
    log: Log,
}

impl Seen {
    fn new(layer: Layer, report: &Path, log: &Path) -> Seen {
        Seen {
            layer,
            report: Tail::new(report),
            log_file: Tail::new(log),
            tally: Tally::default(),
            log: Log::default(),
        }
    }

    fn look(&mut self) -> Figures {
        self.report.lines(|line| self.tally.feed(line));
        self.log_file.lines(|line| self.log.feed(line));
        let (cases, current) = match self.layer {
            Layer::Unit => (self.log.ended, &self.log.latest),
            Layer::Fuzz => (self.log.runs(), &self.log.latest),
            Layer::Loom | Layer::Shuttle | Layer::Sweep | Layer::Chaos => (self.tally.cases(), &self.tally.latest),
        };
        Figures { cases, deaths: self.tally.deaths(), current: current.clone() }
    }
}

/// Reads a growing file line by line; a line without its end is left for later.
struct Tail {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
}

impl Tail {
    fn new(path: &Path) -> Tail {
        Tail { path: path.to_owned(), offset: 0, rest: Vec::new() }
    }

    fn lines(&mut self, mut each: impl FnMut(&str)) {
        let Ok(mut file) = File::open(&self.path) else { return };
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return;
        }
        self.offset += file.read_to_end(&mut self.rest).unwrap_or(0) as u64;
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else { return };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole).lines().for_each(&mut each);
    }
}
