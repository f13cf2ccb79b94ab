//! The test around a stage: starts it, listens to it, judges, and writes down what it heard.

use libtest_mimic::Completion;
use ownerdead::harness::record::{Finding, FindingKind, Kind, Point, Record, Times, Verdict, now_ms};
use ownerdead::harness::report::{Line, State};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Beyond its own time, a stage may take this long; its own waits are bounded well below.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Heard {
    cases: u64,
    kills: u64,
    ended: bool,
    findings: Vec<String>,
    phases: BTreeMap<String, u64>,
    recovery: Times,
    /// Parts that could not run here, and why.
    not_run: Vec<(String, String)>,
}

impl Heard {
    fn line(&mut self, line: &str) {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        match fields.first().copied() {
            Some("progress" | "end") => {
                (self.cases, self.kills) = (number(1), number(2));
                self.ended |= fields[0] == "end";
            }
            Some("finding") => self.findings.push(fields[1..].join(" ")),
            Some("phase") => {
                self.phases.insert(fields[1].to_owned(), number(2));
            }
            Some("recovery") => self.recovery = times(fields[1]),
            Some("not-run") => self.not_run.push((fields[1].to_owned(), fields[2..].join(" "))),
            _ => println!("{line}"),
        }
    }

    fn inside(&self) -> u64 {
        self.phases.iter().filter(|(phase, _)| *phase != "outside").map(|(_, count)| count).sum()
    }

    fn summary(&self) -> String {
        let share = |count: u64| 100.0 * count as f64 / self.kills.max(1) as f64;
        let phases = self.phases.iter().map(|(phase, count)| format!("{phase} {:.0} %", share(*count)));
        let phases = phases.collect::<Vec<_>>().join(", ");
        let mut said = format!("inside an operation {:.0} %: {phases}", share(self.inside()));
        if self.recovery.count() > 0 {
            let [min, median, p99, max] =
                [0.0, 0.5, 0.99, 1.0].map(|share| format!("{:.0}", self.recovery.at(share) as f64 / 1e3));
            said += &format!("; kill to next success {min} / {median} / {p99} / {max} us (min / median / p99 / max)");
        }
        said
    }
}

/// As a stage tells them: `nanoseconds:count` for each bucket.
fn times(text: &str) -> Times {
    let mut times = Times::default();
    for bucket in text.split_whitespace() {
        if let Some((Ok(nanoseconds), Ok(count))) = bucket.split_once(':').map(|(a, b)| (a.parse(), b.parse())) {
            times.add_many(nanoseconds, count);
        }
    }
    times
}

/// What is written down, for reports: now and then, so that a run that is killed has said how far it got.
struct Written {
    record: Record,
    repeat: String,
    started: Instant,
    /// Cases, deaths and findings at the last point.
    before: [u64; 3],
}

impl Written {
    fn new(name: &str, seed: u64, repeat: String, started: Instant) -> Self {
        let written = Self { record: Record::new(Kind::Chaos, name, seed), repeat, started, before: [0; 3] };
        written.record.emit();
        written
    }

    fn goes_on(&mut self, heard: &Heard, seconds: f64) {
        let took = self.started.elapsed();
        let reason = format!("stopped after {:.1} of {seconds} s", took.as_secs_f64());
        self.write(heard, &heard.findings, Verdict::Incomplete, &reason, took);
    }

    /// `short`: why it has not looked where it should.
    fn ended(mut self, heard: &Heard, findings: &[String], short: Option<&str>) {
        let took = self.started.elapsed();
        let (verdict, reason) = match (findings, short) {
            ([], None) => (Verdict::Pass, String::new()),
            ([], Some(why)) => (Verdict::Incomplete, why.to_owned()),
            _ => (Verdict::Fail, format!("{} findings", findings.len())),
        };
        self.write(heard, findings, verdict, &reason, took);
    }

    fn not_run(mut self, why: &str) {
        let took = self.started.elapsed();
        self.write(&Heard::default(), &[], Verdict::NotRun, why, took);
    }

    fn write(&mut self, heard: &Heard, findings: &[String], verdict: Verdict, reason: &str, took: Duration) {
        let record = &mut self.record;
        let figures = [heard.cases, heard.kills, findings.len() as u64];
        let [cases, deaths, found] = [0, 1, 2].map(|index| figures[index].saturating_sub(self.before[index]));
        record.progress.add(Point { at: now_ms() / 1000, cases, deaths, findings: found });
        self.before = figures;
        (record.cases, record.deaths) = (heard.cases, heard.kills);
        (record.phases, record.recovery) = (heard.phases.clone(), heard.recovery.clone());
        let finding = |text: &String| {
            let (text, repeat) = (text.clone(), self.repeat.clone());
            Finding { kind: FindingKind::told_by(&text), text, repeat, artefact: None, count: 1 }
        };
        record.findings = findings.iter().map(finding).collect();
        record.ended(verdict, reason, took);
        record.emit();
    }
}

/// Kills the stage, and with it its victims, if the test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a scenario on a stage; an error if it found something.
pub fn judge(name: &str) -> Result<Completion, libtest_mimic::Failed> {
    let seconds = std::env::var("OWNERDEAD_CHAOS_SECONDS").unwrap_or_else(|_| "2".into());
    let seconds: f64 = seconds.parse().map_err(|_| format!("OWNERDEAD_CHAOS_SECONDS={seconds:?}: expected seconds"))?;
    let seed = match std::env::var("OWNERDEAD_SEED") {
        Ok(text) => text.parse().map_err(|_| format!("OWNERDEAD_SEED={text:?}: expected a whole number"))?,
        Err(_) => rand::random::<u32>().into(),
    };
    let repeat = format!(
        "OWNERDEAD_SEED={seed} OWNERDEAD_CHAOS_SECONDS={seconds} cargo test --release --test chaos -- --exact {name}"
    );
    let started = Instant::now();
    let mut written = Written::new(name, seed, repeat.clone(), started);
    let heard = listen(name, seconds, seed, started, &mut written)?;
    let elapsed = started.elapsed().as_secs_f64();
    let mut findings = heard.findings.clone();
    if !heard.ended {
        findings.push("the stage did not end as it should".into());
    }
    // Not that something is wrong: on a machine that is too busy to aim, it has not looked where it should.
    let short = (heard.kills >= 100 && heard.inside() * 10 < heard.kills * 3)
        .then(|| format!("only {} of {} kills fell inside an operation", heard.inside(), heard.kills));
    for (part, why) in &heard.not_run {
        println!("{name}: not run: {part}: {why}");
        emit(&format!("{name}: {part}"), State::NotRun, &Heard::default(), 0, 0.0, why);
    }
    if heard.cases == 0 && findings.is_empty() && !heard.not_run.is_empty() {
        let why = heard.not_run.iter().map(|(part, why)| format!("{part}: {why}")).collect::<Vec<_>>().join("; ");
        emit(name, State::NotRun, &heard, 0, elapsed, &why);
        written.not_run(&why);
        return Ok(Completion::ignored_with(why));
    }
    written.ended(&heard, &findings, short.as_deref());
    let summary = heard.summary();
    let rate = heard.kills as f64 / elapsed;
    println!("{name}: {} cases, {} kills ({rate:.0}/s), seed {seed}; {summary}", heard.cases, heard.kills);
    let (state, detail) = match (&findings[..], &short) {
        ([], None) => (State::Pass, summary),
        ([], Some(why)) => (State::Incomplete, format!("INCOMPLETE: {why}; {summary}; repeat: {repeat}")),
        _ => (State::Fail, format!("{}; repeat: {repeat}", findings.join("; "))),
    };
    emit(name, state, &heard, findings.len() as u64, elapsed, &detail);
    match (state, short) {
        (State::Pass, _) => return Ok(Completion::Completed),
        (State::Incomplete, Some(why)) => {
            return Err(
                format!("INCOMPLETE: {why}: give it a machine that is less busy\nto repeat it: {repeat}").into()
            );
        }
        _ => {}
    }
    Err(format!("{}\nto repeat it: {repeat}", findings.join("\n")).into())
}

fn emit(name: &str, state: State, heard: &Heard, violations: u64, seconds: f64, detail: &str) {
    let line =
        Line { state, layer: "chaos", name, cases: heard.cases, deaths: heard.kills, violations, seconds, detail };
    line.emit();
}

fn listen(name: &str, seconds: f64, seed: u64, started: Instant, written: &mut Written) -> Result<Heard, String> {
    let stage = Command::new("/proc/self/exe")
        .env("OWNERDEAD_STAGE", name)
        .env("OWNERDEAD_SEED", seed.to_string())
        .env("OWNERDEAD_CHAOS_SECONDS", seconds.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the stage could not be started: {error}"))?;
    let mut stage = Running(stage);
    let (send, lines) = channel();
    let stdout = BufReader::new(stage.0.stdout.take().expect("piped"));
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let mut heard = Heard::default();
    let until = started + Duration::from_secs_f64(seconds) + GRACE;
    if !hear(&lines, until, &mut heard, |heard| {
        emit(name, State::Running, heard, heard.findings.len() as u64, started.elapsed().as_secs_f64(), "");
        written.goes_on(heard, seconds);
    }) {
        let doing = crate::stage::family(stage.0.id());
        heard.findings.push(format!("hang: the stage was still running {GRACE:?} after its time; {doing}"));
    }
    Ok(heard)
}

/// Listens until the stage has no more to say; false if it has after `until`.
fn hear(lines: &Receiver<String>, until: Instant, heard: &mut Heard, mut progress: impl FnMut(&Heard)) -> bool {
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                heard.line(&line);
                if line.starts_with("progress") {
                    progress(heard);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}
