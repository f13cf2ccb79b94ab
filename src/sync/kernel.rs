//! The simulated kernel: processes, futex queues, robust lists and the exit walk, death, virtual time.
//!
//! It runs under loom and under shuttle alike. Both run all model threads of an execution as coroutines on one OS thread and
//! switch only inside their own operations, so what is kept here (a plain `RefCell`) is never seen half changed.
//!
//! What it does as Linux does (kernel/futex), and `scripts` holds against a real one: a sleep on several words compares and
//! queues them one by one in the order given, and takes itself off them one by one; it reports the last word that it was woken
//! through; a waiter that was woken through one word stays on the queues of the others until it runs, and may eat a wake there.
//! When a process dies, its robust list is walked from the front, 2048 entries at most, then the pending operation, unless that
//! entry was on the list: a word whose TID bits are the dead one's becomes OWNER_DIED, keeping WAITERS, and if WAITERS was set
//! *one* sleeper is woken; a pending word that names no TID wakes one, or under an older kernel ([`Variant`]) one that is 0.
//!
//! What it does on purpose otherwise: a process that has finished stays alive and idle, since an exit walk would hide lost
//! wake-ups; time stands still until nobody can run, and then jumps to the next deadline; if there is none, somebody sleeps
//! for ever, and that is reported.

use super::atomic::AtomicU64;
use super::delay::{self, Holds};
use super::futex::{Wait, Woken, Word};
use super::log::{self, Event, Order, Value};
use super::{mutant, rt};
use core::cell::{Cell, RefCell};
use core::panic::Location;
use core::ptr::NonNull;
use core::time::Duration;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;

#[cfg(test)]
#[path = "scripts/simulated.rs"]
pub(super) mod scripts;

mod robust;
mod told;
pub(super) use robust::{link, set_pending, unlink};
pub(crate) use told::*;

/// More operations than this in one life of a process is a loop that does not end.
const MOST_OPERATIONS: u32 = 20_000;

/// What a kernel asks of the pending word of a dead one, which does not name it, before it wakes a sleeper there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// That it names no TID; whatever else is in it. What `scripts` sees Linux 6.18 do.
    #[default]
    OwnerTest,
    /// That the whole half is 0: where WAITERS or OWNER_DIED is left in it, nobody is woken. Older kernels.
    WholeWordTest,
}

/// A death to come: which process, in which of its lives, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Index of the process, in the order in which they were added.
    pub process: usize,
    /// 0 for its first life, 1 for that after a restart.
    pub life: u32,
    /// The moment.
    pub when: When,
}

/// The moment of a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Just before its shared operation of this number (from 0). Payload copies, robust-list stores and system calls count.
    Before(u32),
    /// During its sleep of this number (from 0), at any moment until it would have run again.
    Asleep(u32),
}

impl core::fmt::Display for When {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Before(operation) => write!(f, "{operation}"),
            Self::Asleep(sleep) => write!(f, "s{sleep}"),
        }
    }
}

/// A place where a process died.
#[derive(Clone, Copy, Debug)]
pub struct DeathPlace {
    /// The kill that struck.
    pub kill: Kill,
    /// The operation before which (or in which) it died.
    pub operation: &'static str,
    /// Where that operation stands in the source.
    pub at: &'static Location<'static>,
    /// Another process was asleep.
    pub beside_sleeper: bool,
}

type Queue = (usize, u8);

/// A pending operation. The kernel tells entries apart by address, and a word that is named without its node has one of its own.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub(super) word: NonNull<AtomicU64>,
    pub(super) node: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Asleep,
    Finished,
}

struct Process {
    name: &'static str,
    tid: u32,
    life: u32,
    operations: u32,
    sleeps: u32,
    /// Front first.
    list: Vec<NonNull<AtomicU64>>,
    pending: Option<Pending>,
    state: State,
    thread: Option<rt::Thread>,
    dying: bool,
    /// Of the sleep under way: which of its words it was woken through.
    woken: Vec<bool>,
    deadline: Option<Duration>,
    asleep_at: Option<&'static Location<'static>>,
}

#[derive(Default)]
struct Kernel {
    variant: Variant,
    processes: Vec<Process>,
    queues: HashMap<Queue, VecDeque<(usize, usize)>>,
    now: Duration,
    kills: Vec<Kill>,
    deaths: Vec<DeathPlace>,
    log: Vec<Event>,
    /// Of a replay: the steps that must come.
    expected: Option<Rc<[String]>>,
    /// While the main thread sets a process up, its operations are no crash points.
    setting_up: bool,
    /// The shared memory of this execution.
    memory: Vec<(core::ops::Range<usize>, Arc<dyn Any + Send + Sync>)>,
    /// Everything is over: destructors run, and must not touch shared memory.
    over: bool,
}

thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::default();
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
    static EXPECTED: RefCell<Option<Rc<[String]>>> = const { RefCell::new(None) };
}

fn with<R>(f: impl FnOnce(&mut Kernel) -> R) -> R {
    KERNEL.with_borrow_mut(f)
}

/// The private payload of a death; it bypasses the panic hook.
struct Death;

/// Runs something in which the scheduler may switch to another process, and comes back as this one.
#[track_caller]
pub(crate) fn switching<R>(f: impl FnOnce() -> R) -> R {
    let me = CURRENT.get();
    let result = f();
    CURRENT.set(me);
    result
}

/// One shared operation: a crash point, then the operation, then its line in the log.
#[track_caller]
pub(super) fn operation<R>(
    what: &'static str,
    order: Order,
    value: impl FnOnce(&R) -> Value,
    f: impl FnOnce() -> R,
) -> R {
    let at = Location::caller();
    step(what, at);
    let result = switching(f);
    record(what, order, value(&result), at);
    result
}

fn record(what: &'static str, order: Order, value: Value, at: &'static Location<'static>) {
    if let Some(process) = CURRENT.get() {
        with(|kernel| kernel.record(process, what, order, value, at));
    }
}

fn log(what: &'static str, value: Value, at: &'static Location<'static>) {
    record(what, Order::None, value, at);
}

impl Kernel {
    fn record(
        &mut self,
        process: usize,
        what: &'static str,
        order: Order,
        value: Value,
        at: &'static Location<'static>,
    ) {
        let life = self.processes[process].life;
        if let Some(expected) = &self.expected {
            log::check(expected, self.log.len(), self.processes[process].name, life, what);
        }
        self.log.push(Event { process, life, what, order, value, at });
    }
}

/// Counts an operation, and dies if it is the one to die at.
fn step(what: &'static str, at: &'static Location<'static>) {
    let Some(me) = CURRENT.get() else { return };
    let dies = with(|kernel| {
        if kernel.setting_up {
            return false;
        }
        let process = &mut kernel.processes[me];
        assert!(
            !process.dying,
            "{}: `{what}` at {at} after its death: a destructor must look at `dying`",
            process.name
        );
        let number = process.operations;
        process.operations += 1;
        assert!(number < MOST_OPERATIONS, "{}: no end after {number} operations, last `{what}` at {at}", process.name);
        let kill = Kill { process: me, life: process.life, when: When::Before(number) };
        strike(kernel, kill, what, at)
    });
    if dies {
        resume_unwind(Box::new(Death));
    }
}

/// If this death was planned, it happens now.
fn strike(kernel: &mut Kernel, kill: Kill, operation: &'static str, at: &'static Location<'static>) -> bool {
    let planned = kernel.kills.contains(&kill);
    if planned {
        kernel.processes[kill.process].dying = true;
        let asleep = |(index, process): (usize, &Process)| index != kill.process && process.state == State::Asleep;
        let beside_sleeper = kernel.processes.iter().enumerate().any(asleep);
        kernel.deaths.push(DeathPlace { kill, operation, at, beside_sleeper });
        kernel.record(kill.process, "KILLED", Order::None, Value::Nothing, at);
    }
    planned
}

fn queue(word: Word<'_>) -> Queue {
    match word {
        Word::Whole(word) => (core::ptr::from_ref(word).addr(), 0),
        Word::Low(word) => (core::ptr::from_ref(word).addr(), 0),
        Word::High(word) => (core::ptr::from_ref(word).addr(), 1),
    }
}

#[track_caller]
fn read(word: Word<'_>) -> u32 {
    match word {
        Word::Whole(word) => word.kernel_read(),
        Word::Low(word) => word.kernel_read() as u32,
        Word::High(word) => (word.kernel_read() >> 32) as u32,
    }
}

/// Takes `me` off the queues of `waits`, word by word; the last one that it was woken through.
#[track_caller]
fn leave(me: usize, waits: &[Wait<'_>]) -> Option<usize> {
    let mut last = None;
    for (index, wait) in waits.iter().enumerate() {
        read(wait.word);
        with(|kernel| {
            if let Some(queue) = kernel.queues.get_mut(&queue(wait.word)) {
                queue.retain(|&entry| entry != (me, index));
            }
            if kernel.processes[me].woken[index] {
                last = Some(index);
            }
        });
    }
    last
}

#[track_caller]
pub(super) fn futex_wait(waits: &[Wait<'_>], _primary: usize, deadline: Option<Duration>) -> Woken {
    let at = Location::caller();
    mutant::came_by(at, "futex_waitv");
    delay::settle(at, "futex_waitv", Holds::Always, 0);
    step("futex_waitv", at);
    let me = CURRENT.get().expect("only a process sleeps");
    if deadline.is_some_and(|deadline| deadline <= now()) {
        return Woken::TimedOut;
    }
    let sleep = with(|kernel| {
        let process = &mut kernel.processes[me];
        process.woken = vec![false; waits.len()];
        process.deadline = deadline;
        process.asleep_at = Some(at);
        process.sleeps += 1;
        process.sleeps - 1
    });
    for (index, wait) in waits.iter().enumerate() {
        if read(wait.word) != wait.expected {
            log("futex_waitv: differs", Value::Is(index as u64), at);
            return leave(me, &waits[..index]).map_or(Woken::Changed, Woken::By);
        }
        with(|kernel| kernel.queues.entry(queue(wait.word)).or_default().push_back((me, index)));
    }
    log("futex_waitv: asleep", Value::Is(waits.len() as u64), at);
    let kill = with(|kernel| Kill { process: me, life: kernel.processes[me].life, when: When::Asleep(sleep) });
    loop {
        if with(|kernel| kernel.kills.contains(&kill)) {
            // Each look at a word lets others run, so that the death falls before, between and after their wakes.
            leave(me, waits);
            with(|kernel| strike(kernel, kill, "futex_waitv", at));
            resume_unwind(Box::new(Death));
        }
        let (woken, late) = with(|kernel| {
            let process = &kernel.processes[me];
            (process.woken.contains(&true), process.deadline.is_some_and(|deadline| deadline <= kernel.now))
        });
        if woken || late {
            let result = leave(me, waits).map_or(Woken::TimedOut, Woken::By);
            log("futex_waitv: back", Value::Nothing, at);
            return result;
        }
        with(|kernel| kernel.processes[me].state = State::Asleep);
        nobody_left();
        if with(|kernel| kernel.processes[me].state == State::Asleep) {
            switching(rt::park);
        }
    }
}

#[track_caller]
pub(super) fn futex_wake(word: Word<'_>, count: u32) -> u32 {
    let at = Location::caller();
    mutant::came_by(at, "futex_wake");
    delay::settle(at, "futex_wake", Holds::Always, 0);
    step("futex_wake", at);
    let woken = wake(word, count);
    log("futex_wake", Value::Is(woken.into()), at);
    woken
}

#[track_caller]
fn wake(word: Word<'_>, count: u32) -> u32 {
    read(word);
    let woken = with(|kernel| take_off(kernel, queue(word), count));
    woken.iter().for_each(|&process| run_again(process));
    woken.len() as u32
}

/// Takes up to `count` sleepers off a queue, under its lock: nobody goes off it by himself meanwhile. Who they are.
fn take_off(kernel: &mut Kernel, queue: Queue, count: u32) -> Vec<usize> {
    let Some(queue) = kernel.queues.get_mut(&queue) else { return Vec::new() };
    let first = queue.len().min(count as usize);
    let take = |(process, index): (usize, usize)| {
        kernel.processes[process].woken[index] = true;
        process
    };
    queue.drain(..first).map(take).collect()
}

fn run_again(process: usize) {
    let thread = with(|kernel| {
        let process = &mut kernel.processes[process];
        if process.state != State::Asleep {
            return None;
        }
        process.state = State::Running;
        process.thread.clone()
    });
    if let Some(thread) = thread {
        switching(|| thread.unpark());
    }
}

/// If nobody can run and somebody sleeps: time jumps to the next deadline, and all whose deadline that is run again, in any
/// order; or somebody sleeps for ever.
fn nobody_left() {
    let due = with(|kernel| {
        if kernel.over || kernel.processes.iter().any(|process| process.state == State::Running) {
            return Vec::new();
        }
        let sleepers: Vec<_> =
            (0..kernel.processes.len()).filter(|&p| kernel.processes[p].state == State::Asleep).collect();
        if sleepers.is_empty() {
            return Vec::new();
        }
        let Some(next) = sleepers.iter().filter_map(|&p| kernel.processes[p].deadline).min() else {
            let mut text = String::from("lost wake-up: nobody is left to wake");
            for process in sleepers.iter().map(|&p| &kernel.processes[p]) {
                let at = log::place(process.asleep_at.expect("asleep"));
                let _ = write!(text, " `{}` (asleep at {at})", process.name);
            }
            panic!("{text}");
        };
        kernel.now = kernel.now.max(next);
        let late = |&p: &usize| kernel.processes[p].deadline.is_some_and(|deadline| deadline <= kernel.now);
        sleepers.into_iter().filter(late).collect()
    });
    for process in due {
        run_again(process);
    }
}

/// Keeps shared memory, which is at `place`, until the execution is over.
pub(super) fn keep(place: core::ops::Range<usize>, memory: Arc<dyn Any + Send + Sync>) {
    with(|kernel| kernel.memory.push((place, memory)));
}

/// How many pieces of shared memory somebody else keeps too.
pub(crate) fn still_kept() -> usize {
    with(|kernel| kernel.memory.iter().filter(|(_, memory)| Arc::strong_count(memory) > 1).count())
}

/// Whether memory that is kept is at this address.
pub(super) fn is_shared(address: usize) -> bool {
    with(|kernel| kernel.memory.iter().any(|(place, _)| place.contains(&address)))
}

/// The calling process, if its stores can be delayed: not while it is set up.
pub(super) fn delayer() -> Option<usize> {
    CURRENT.get().filter(|_| !with(|kernel| kernel.setting_up))
}

/// A store that was put off is done now.
pub(super) fn delayed_store(at: &'static Location<'static>, value: u64, store: impl FnOnce()) {
    step("delayed store", at);
    switching(store);
    log("delayed store", Value::Is(value), at);
}

/// The virtual time.
pub fn now() -> Duration {
    with(|kernel| kernel.now)
}

/// The TID of the calling process.
pub fn tid() -> u32 {
    let me = CURRENT.get().expect("only a process has a TID");
    with(|kernel| kernel.processes[me].tid)
}

/// Whether the calling process is dying: a destructor that would touch shared memory must return at once.
pub fn dying() -> bool {
    std::thread::panicking() || with(|kernel| kernel.over || CURRENT.get().is_some_and(|me| kernel.processes[me].dying))
}

/// Starts an execution over a kernel of this kind: an empty world, in which nobody dies.
pub(crate) fn reset(variant: Variant) {
    CURRENT.set(None);
    delay::reset();
    // What the last execution left (after a failure) is dropped with `over` set.
    with(|kernel| kernel.over = true);
    let expected = EXPECTED.with_borrow(Clone::clone);
    let fresh = Kernel { expected, variant, ..Kernel::default() };
    drop(with(|kernel| core::mem::replace(kernel, fresh)));
}

/// These deaths will strike.
pub(crate) fn plan(kills: Vec<Kill>) {
    with(|kernel| kernel.kills = kills);
}

/// Adds a process. `tid` need not be unique: two PID namespaces may have the same.
pub(crate) fn add_process(name: &'static str, tid: u32) -> usize {
    with(|kernel| {
        kernel.processes.push(Process {
            name,
            tid,
            life: 0,
            operations: 0,
            sleeps: 0,
            list: Vec::new(),
            pending: None,
            state: State::Running,
            thread: None,
            dying: false,
            woken: Vec::new(),
            deadline: None,
            asleep_at: None,
        });
        kernel.processes.len() - 1
    })
}

/// Runs `setup` as process `index`, before any process starts: its operations are no crash points.
pub(crate) fn set_up<R>(index: usize, setup: impl FnOnce() -> R) -> R {
    with(|kernel| kernel.setting_up = true);
    CURRENT.set(Some(index));
    let result = setup();
    CURRENT.set(None);
    with(|kernel| kernel.setting_up = false);
    result
}

/// The body of a process: what it gives back is kept until the execution is over.
pub(crate) type Body = Box<dyn FnOnce() -> Box<dyn Any>>;

/// Runs the lives of process `index` on the calling model thread: `body`, and after its death, if it dies, `again`.
pub(crate) fn live(index: usize, body: Body, again: Option<Body>, next_tid: Option<u32>) -> Option<Box<dyn Any>> {
    with(|kernel| kernel.processes[index].thread = Some(rt::current()));
    let mut lives = std::iter::once(body).chain(again);
    let kept = loop {
        let Some(body) = lives.next() else { break None };
        CURRENT.set(Some(index));
        let whole = || {
            let kept = body();
            delay::settle_all(index);
            kept
        };
        match catch_unwind(AssertUnwindSafe(whole)) {
            Ok(kept) => break Some(kept),
            Err(payload) if payload.is::<Death>() => {}
            Err(payload) => resume_unwind(payload),
        }
        delay::forget(index);
        robust::exit_walk(index);
        with(|kernel| {
            let process = &mut kernel.processes[index];
            process.life += 1;
            process.tid = next_tid.unwrap_or(process.tid + 100);
            (process.operations, process.sleeps, process.dying) = (0, 0, false);
        });
    };
    with(|kernel| kernel.processes[index].state = State::Finished);
    nobody_left();
    kept
}

/// Ends the execution: from here on destructors leave shared memory alone. The virtual time, and where processes died.
pub(crate) fn finish() -> (Duration, Vec<DeathPlace>) {
    CURRENT.set(None);
    with(|kernel| {
        kernel.over = true;
        (kernel.now, kernel.deaths.clone())
    })
}
