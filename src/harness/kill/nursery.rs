//! The process that victims and survivors are forked from.
//!
//! It does nothing but fork and wait, on command, so its heap never changes: each victim begins with the very same one, and takes the
//! same path through the allocator. And it stays small, which is what a fork costs.

use super::board::End;
use super::engine::{Child, Engine, EngineError, hold_back_news, os};
use super::lodger::Lodging;
use super::record::Recording;
use super::stacks::Stacks;
use super::step::Recorder;
use super::trampoline::run;
use super::{Finding, Kind, Memory, Subject, clock, plant};
use std::io::{self, Read as _, Write as _};
use std::mem::forget;
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;

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
    /// Attach, do the operation, and say what there was to be written for that: see [`Lodging`].
    Learn,
    /// Attach, do the operation, and die, in the nursery's memory, which must be as before then.
    Check,
    /// Nothing; from now on victims are forked.
    Apart,
}

impl Task {
    fn pack(self) -> [u64; 3] {
        match self {
            Self::RecordOperation => [0, 0, 0],
            Self::RecordRecovery => [1, 0, 0],
            Self::DieAt(at, visit) => [2, at, visit],
            Self::Survive => [3, 0, 0],
            Self::Learn => [4, 0, 0],
            Self::Check => [5, 0, 0],
            Self::Apart => [6, 0, 0],
        }
    }

    fn unpack(words: [u64; 3]) -> Self {
        match words {
            [0, ..] => Self::RecordOperation,
            [1, ..] => Self::RecordRecovery,
            [2, at, visit] => Self::DieAt(at, visit),
            [3, ..] => Self::Survive,
            [4, ..] => Self::Learn,
            [5, ..] => Self::Check,
            _ => Self::Apart,
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
    /// Victims are forked until [`Self::takes_lodgers`].
    pub(super) fn new<S: Subject>(
        engine: &'e Engine,
        subject: &'e S,
        log: &'e Memory,
        flag_alone: bool,
    ) -> Result<Self, EngineError> {
        let (line, theirs) = UnixStream::pair().map_err(os("socketpair"))?;
        let mut recorder = Recorder::new(log, subject.memory(), &engine.facts, flag_alone);
        let stacks = Stacks::new().map_err(os("mapping stacks"))?;
        let lodging = Lodging::new().map_err(os("mapping memory for copies"))?;
        let process = engine.fork(|| {
            let place = Place { engine, subject, stacks: &stacks };
            let served = place.stacks.on_own(|| serve(&place, &mut recorder, &lodging, theirs));
            served.unwrap_or_else(|panic| resume_unwind(panic));
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
        let (words, whole, missed, maps) = self.engine.board.recording();
        let recording = Recording::parse(&self.log.words()[..words], ended.pid, whole, missed, maps);
        Ok((recording, self.engine.outcome(ended.end)))
    }

    /// Has victims that are to die share the memory of the nursery; if that cannot be, why not: then this one is not to be used any
    /// more. `put_back` brings the memory under test into the state in which the victim attaches.
    pub(super) fn takes_lodgers(&mut self, put_back: &mut dyn FnMut()) -> Result<Result<(), String>, EngineError> {
        for task in [Task::Learn, Task::Check] {
            put_back();
            let ended = self.run(task)?;
            if let Err(why) = self.engine.outcome(ended.end) {
                return Ok(Err(why.text));
            }
        }
        Ok(Ok(()))
    }
}

/// Where processes begin.
struct Place<'e, S> {
    engine: &'e Engine,
    subject: &'e S,
    stacks: &'e Stacks,
}

/// In the nursery: until the engine has gone.
fn serve<S: Subject>(place: &Place<'_, S>, recorder: &mut Recorder<'_>, lodging: &Lodging, mut line: UnixStream) {
    // As the engine does: a child begins with what was there before.
    hold_back_news();
    if let Err(error) = clock::install() {
        // The engine hears that the line is broken.
        eprintln!("the clock cannot be overwritten: {error}");
        return;
    }
    let board = &place.engine.board;
    let mut byte = [0];
    while line.read_exact(&mut byte).is_ok() {
        let task = Task::unpack(board.task());
        let ended = match task {
            Task::DieAt(..) if lodging.is_open() => lodge(place, recorder, lodging, task),
            Task::Check => Ok((0, check(place, recorder, lodging))),
            Task::Apart => {
                lodging.close();
                Ok((0, End::Exited(0)))
            }
            _ => fork(place, recorder, lodging, task),
        };
        match ended {
            Ok((pid, end)) => board.tell_end(pid as u32, &end),
            // The engine hears that the line is broken.
            Err(_) => return,
        }
        if line.write_all(&byte).is_err() {
            return;
        }
    }
}

/// In a process of its own.
fn fork<S: Subject>(
    place: &Place<'_, S>,
    recorder: &mut Recorder<'_>,
    lodging: &Lodging,
    task: Task,
) -> Result<(i32, End), EngineError> {
    let mut child = place.engine.fork(|| enter(place, recorder, Some(lodging), task))?;
    let end = place.engine.wait(&mut child)?;
    if matches!((task, &end), (Task::Learn, End::Exited(0)))
        && let Err(error) = lodging.settle()
    {
        return Ok((child.pid, place.engine.board.refuse(&error.to_string())));
    }
    Ok((child.pid, end))
}

/// In a process that shares the nursery's memory.
fn lodge<S: Subject>(
    place: &Place<'_, S>,
    recorder: &mut Recorder<'_>,
    lodging: &Lodging,
    task: Task,
) -> Result<(i32, End), EngineError> {
    place.engine.board.clear();
    let ended = lodging.lodge(place.stacks, &mut lodger(place, recorder, task)).map_err(os("clone"))?;
    Ok((ended.0, End::of(ended.1)))
}

fn check<S: Subject>(place: &Place<'_, S>, recorder: &mut Recorder<'_>, lodging: &Lodging) -> End {
    place.engine.board.clear();
    match lodging.check(place.stacks, &mut lodger(place, recorder, Task::Check)) {
        Ok(()) => End::Exited(0),
        Err(why) => place.engine.board.refuse(&why),
    }
}

/// What a lodger does.
fn lodger<S: Subject>(place: &Place<'_, S>, recorder: &mut Recorder<'_>, task: Task) -> impl FnMut() {
    // SAFETY: no arguments.
    let nursery = unsafe { libc::getpid() };
    move || {
        place.engine.live(nursery);
        // The nursery stands still, and cannot see that it hangs.
        place.engine.limit();
        place.engine.board.end(|| enter(place, recorder, None, task))
    }
}

/// In a victim or a survivor: on the stack that is the same for all. One function, so that its frames are, too.
#[inline(never)]
fn enter<S: Subject>(
    place: &Place<'_, S>,
    recorder: &mut Recorder<'_>,
    lodging: Option<&Lodging>,
    task: Task,
) -> Result<&'static str, Finding> {
    place.stacks.on_victims(|| perform(place, recorder, lodging, task)).unwrap_or_else(|panic| resume_unwind(panic))
}

fn perform<S: Subject>(
    place: &Place<'_, S>,
    recorder: &mut Recorder<'_>,
    lodging: Option<&Lodging>,
    task: Task,
) -> Result<&'static str, Finding> {
    let Place { engine, subject, stacks } = *place;
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
        Task::Learn => {
            let lodging = lodging.expect("forked");
            lodging.begin().map_err(|error| Finding::other(format!("reading its mappings: {error}")))?;
            act(subject, facts, &mut untouched).expect("no system call");
            lodging.learn(stacks).map(|()| "").map_err(Finding::other)
        }
        Task::Check => {
            act(subject, facts, &mut untouched).expect("no system call");
            // SAFETY: ends this process, which is a victim.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            Ok("")
        }
        Task::Apart => Ok(""),
    }
}

/// Runs the operation as it is.
fn untouched(operation: &mut dyn FnMut()) -> io::Result<bool> {
    // SAFETY: no trap flag.
    Ok(unsafe { run(operation, 0) })
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
