//! The process that victims and survivors are forked from.
//!
//! It does nothing but fork and wait, on command, so its heap never changes: each victim begins with the very same one, and takes the
//! same path through the allocator. And it stays small, which is what a fork costs.

use super::engine::{Child, End, Engine, EngineError, hold_back_news, os};
use super::record::Recording;
use super::step::Recorder;
use super::{Finding, Kind, Memory, Subject, clock, plant};
use std::io::{self, Read as _, Write as _};
use std::mem::forget;
use std::os::unix::net::UnixStream;

/// What a process that is forked there is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// Attach, and be recorded in the operation.
    RecordOperation,
    /// Arrive, and be recorded in the recovery.
    RecordRecovery,
    /// Attach, and die in the operation, before the instruction at this address is executed for the so manieth time (from 1).
    DieAt(u64, u64),
    /// Arrive, recover and judge.
    Survive,
}

impl Task {
    fn pack(self) -> [u64; 3] {
        match self {
            Self::RecordOperation => [0, 0, 0],
            Self::RecordRecovery => [1, 0, 0],
            Self::DieAt(at, visit) => [2, at, visit],
            Self::Survive => [3, 0, 0],
        }
    }

    fn unpack(words: [u64; 3]) -> Self {
        match words {
            [0, ..] => Self::RecordOperation,
            [1, ..] => Self::RecordRecovery,
            [2, at, visit] => Self::DieAt(at, visit),
            _ => Self::Survive,
        }
    }
}

/// What became of a process.
pub(super) struct Ended {
    /// Its number.
    pub(super) pid: u32,
    /// How it ended.
    pub(super) end: End,
}

/// The nursery, seen from the engine.
pub(super) struct Nursery<'e> {
    engine: &'e Engine,
    log: &'e Memory,
    /// Killed when this is dropped, and its children with it.
    _process: Child,
    line: UnixStream,
}

impl<'e> Nursery<'e> {
    /// Forks it. `log` is where recordings go; `flag_alone` is how: see [`super::Sweep::trap_flag_alone`].
    pub(super) fn new<S: Subject>(
        engine: &'e Engine,
        subject: &'e S,
        log: &'e Memory,
        flag_alone: bool,
    ) -> Result<Self, EngineError> {
        let (line, theirs) = UnixStream::pair().map_err(os("socketpair"))?;
        let mut recorder = Recorder::new(log, subject.memory(), &engine.facts, flag_alone);
        let process = engine.fork(|| {
            serve(engine, subject, &mut recorder, theirs);
            Ok("")
        })?;
        Ok(Self { engine, log, _process: process, line })
    }

    /// Has a process forked for `task`, and waits until it has ended.
    pub(super) fn run(&mut self, task: Task) -> Result<Ended, EngineError> {
        let board = &self.engine.board;
        board.clear();
        board.give(task.pack());
        let mut answer = [0];
        self.line
            .write_all(&[0])
            .and_then(|()| self.line.read_exact(&mut answer))
            .map_err(os("speaking to the process that forks victims"))?;
        let (pid, end) = board.ended();
        Ok(Ended { pid, end })
    }

    /// The same for a task that records.
    pub(super) fn record(&mut self, task: Task) -> Result<(Recording, Result<String, Finding>), EngineError> {
        let ended = self.run(task)?;
        let (words, whole, missed) = self.engine.board.recording();
        let recording = Recording::parse(&self.log.words()[..words], ended.pid, whole, missed);
        Ok((recording, self.engine.outcome(ended.end)))
    }
}

/// In the nursery: until the engine has gone.
fn serve<S: Subject>(engine: &Engine, subject: &S, recorder: &mut Recorder<'_>, mut line: UnixStream) {
    // As the engine does: a child begins with what was there before.
    hold_back_news();
    if let Err(error) = clock::install() {
        // The engine hears that the line is broken.
        eprintln!("the clock cannot be overwritten: {error}");
        return;
    }
    let mut byte = [0];
    while line.read_exact(&mut byte).is_ok() {
        let task = Task::unpack(engine.board.task());
        let ended = engine.fork(|| perform(engine, subject, recorder, task)).and_then(|mut child| {
            let end = engine.wait(&mut child)?;
            Ok((child.pid, end))
        });
        match ended {
            Ok((pid, end)) => engine.board.tell_end(pid as u32, &end),
            // The engine hears that the line is broken.
            Err(_) => return,
        }
        if line.write_all(&byte).is_err() {
            return;
        }
    }
}

/// In a victim or a survivor.
fn perform<S: Subject>(
    engine: &Engine,
    subject: &S,
    recorder: &mut Recorder<'_>,
    task: Task,
) -> Result<&'static str, Finding> {
    let facts = &engine.facts;
    clock::begin();
    match task {
        Task::RecordOperation => {
            recorder.begin();
            let recorded = act(subject, facts, &mut |operation| recorder.record(&engine.board, operation));
            returned(recorded).map(|()| "")
        }
        Task::RecordRecovery => {
            recorder.begin();
            let mut survivor = subject.arrive(facts);
            let mut recovered = Ok("");
            let recorded = recorder.record(&engine.board, &mut || recovered = subject.recover(&mut survivor, facts));
            forget(survivor);
            returned(recorded).and(recovered)
        }
        Task::DieAt(at, visit) => match act(subject, facts, &mut |operation| plant::die_at(at, visit, operation)) {
            Ok(_) => Ok("reached its end"),
            Err(error) => Err(Finding::other(format!("mprotect: {error}"))),
        },
        Task::Survive => {
            let mut survivor = subject.arrive(facts);
            let met = subject.recover(&mut survivor, facts)?;
            subject.judge(&mut survivor, facts)?;
            Ok(met)
        }
    }
}

/// A victim attaches, and `how` does its operation. One function, in its own frame, so that the victim lies in the same place by both
/// methods: see [`super::trampoline::call`].
#[inline(never)]
fn act<S: Subject>(
    subject: &S,
    facts: &super::Facts,
    how: &mut dyn FnMut(&mut dyn FnMut()) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut victim = subject.attach(facts);
    let returned = how(&mut || subject.operation(&mut victim, facts));
    forget(victim);
    returned
}

fn returned(recorded: io::Result<bool>) -> Result<(), Finding> {
    match recorded {
        Ok(true) => Ok(()),
        Ok(false) => Err(Finding::new(Kind::Crashed, "the operation panicked, and nobody had died")),
        Err(error) => Err(Finding::other(format!("it cannot be single-stepped here: {error}"))),
    }
}
