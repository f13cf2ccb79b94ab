//! Other ways to end than SIGKILL: a thread that returns without dropping its guard, an exec by the first thread, a core dump; and a
//! fork, which is no end. Those who are gone are told, those who live on keep what they have.

use super::{Pair, ZERO};
use crate::stage::janitor::{Janitor, Waste};
use crate::stage::{Stage, Victim, hang, keep};
use crate::stamps::{Phase, Stamps, shared};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use ownerdead::lock::{LockTimeoutError, RobustMutex, TryLockError};
use ownerdead::owner::{Attachment, DetachError, SeatState};
use ownerdead::ring::spsc::{Config, PopTimeoutError, Ring, SeatError, TryPushError};
use ownerdead::segment::Options;
use rand::RngExt;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::time::Duration;

/// A process that was started with this by an exec waits for its end.
pub const AFTER_EXEC: &str = "OWNERDEAD_AFTER_EXEC";

const COMPLAINTS: [&str; 4] = [
    "a forked child was not refused: 1 lock, 2 push, 3 detach, 4 open",
    "the parent of a forked child lost a right: 1 lock, 2 seat",
    "a thread that lives on beside one that ended: 1 was not told of the lock, 2 got no lock, 3 was not told of the seat",
    "exec failed: errno",
];
/// Signals: the victim stands where it is to end; its child has done its worst; go on.
const HERE: u64 = 1;
const DONE: u64 = 2;
const GO: u64 = 3;

/// A lock and a ring, each the subject of one right of the victim's.
struct Things {
    mutex: RobustMutex<Pair>,
    ring: Ring,
    me: [Attachment; 2],
}

impl Things {
    fn new(stage: &mut Stage) -> Self {
        let options = Options::new().slots(4);
        let mutex = RobustMutex::memfd(&options, ZERO).expect("a mutex");
        let ring = Ring::memfd(&options, &Config::new(64)).expect("a ring");
        stage.watch(&[("mutex", mutex.segment()), ("ring", ring.segment())]);
        let me = [mutex.attach(), ring.attach()].map(|me| me.expect("a free slot"));
        Self { mutex, ring, me }
    }

    /// Somebody alive has both.
    fn are_held(&self, stage: &mut Stage, by: &str) {
        let held = matches!(self.mutex.try_lock(&self.me[0]), Err(TryLockError::WouldBlock));
        stage.expect(held, || format!("the lock of {by} is not held"));
        let held = matches!(self.ring.producer(&self.me[1]), Err(SeatError::Busy { .. }));
        stage.expect(held, || format!("the seat of {by} is not held"));
    }

    /// Who had both is gone: that is told, and what it had committed is there.
    fn are_left(&self, stage: &mut Stage, by: &str) {
        let dead = || matches!(self.ring.status().producer.state, SeatState::Dead(_));
        if !stage.wait_for(&format!("the death of {by} to be told"), dead) {
            return;
        }
        match self.mutex.lock_timeout(&self.me[0], hang()) {
            Err(LockTimeoutError::OwnerDied(died)) => died.into_guard().mark_consistent(),
            other => {
                stage.finding(&format!("the lock of {by}: {:?}, expected OwnerDied", other.map(|_| "a plain guard")))
            }
        }
        let mut consumer = self.ring.consumer(&self.me[1]).expect("a vacant seat").into_inner();
        let mut bytes = Vec::new();
        let popped = [0, 1].map(|_| consumer.pop_timeout(&mut bytes, hang()));
        stage.expect(popped == [Ok(1), Err(PopTimeoutError::ProducerDied)] && bytes == b"kept", || {
            format!("from the ring of {by}: {popped:?}, expected one record, and that its producer died")
        });
        let opened = self.ring.producer(&self.me[1]).map(|opened| opened.owner_died());
        stage.expect(opened == Ok(true), || format!("the seat of {by} was opened as {opened:?}, expected OwnerDied"));
    }
}

/// In a victim: takes both rights, pushes one record, and ends as told with both in its hands.
fn hold(mutex: &RobustMutex<Pair>, ring: &Ring, stamps: &Stamps, end: impl FnOnce()) {
    stamps.enter(Phase::Attaching);
    let me = ManuallyDrop::new([mutex.attach(), ring.attach()].map(|me| me.expect("a free slot")));
    stamps.enter(Phase::Locking);
    let mut guard = ManuallyDrop::new(mutex.lock(&me[0]).expect("a free lock"));
    guard.left += 1;
    stamps.enter(Phase::Opening);
    let mut producer = ManuallyDrop::new(ring.producer(&me[1]).expect("a vacant seat").into_inner());
    producer.push(1, b"kept").expect("room");
    stamps.enter(Phase::Holding);
    end();
}

pub fn run(stage: &mut Stage) {
    let stamps = &shared(1)[0];
    let dump = Dump::new(stage);
    // SAFETY: PR_SET_CHILD_SUBREAPER takes a flag: orphans become the stage's children.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    while stage.goes_on() {
        by_thread(stage, stamps);
        by_exec(stage, stamps);
        not_by_fork(stage, stamps);
        if let Some(dump) = &dump {
            by_core_dump(stage, stamps, dump);
        }
    }
}

fn start(stage: &mut Stage, stamps: &'static Stamps, role: &'static str, body: impl FnOnce()) -> Victim {
    stamps.reset();
    for word in [&stamps.signal, &stamps.begun, &stamps.generation] {
        word.set(0);
    }
    let victim = stage.spawn(role, stamps, body);
    stage.wait_for("a victim to stand still", || stamps.signal.get() == HERE || stamps.wrong.get() != 0);
    victim
}

/// In a victim: says that it stands here, and waits until it may go on.
fn stand(stamps: &Stamps, here: u64) {
    stamps.signal.set(here);
    while stamps.signal.get() != GO {
        // SAFETY: no arguments.
        unsafe { libc::sched_yield() };
    }
}

fn wait_for_the_end() -> ! {
    loop {
        // SAFETY: waits for a signal; no arguments.
        unsafe { libc::pause() };
    }
}

/// A thread returns with both in its hands; its process lives on, and another of its threads takes one, or the stage both.
fn by_thread(stage: &mut Stage, stamps: &'static Stamps) {
    let things = Things::new(stage);
    let (inside, bare) = (stage.rng.random_bool(0.5), stage.rng.random_bool(0.5));
    let mut victim = start(stage, stamps, "process of a thread that ended", || {
        let hold = || hold(&things.mutex, &things.ring, stamps, || ());
        if bare {
            in_a_bare_thread(&hold)
        } else {
            std::thread::scope(|scope| scope.spawn(hold).join().expect("no panic"))
        }
        if inside {
            live_on(&things, stamps);
        }
        stamps.signal.set(HERE);
        wait_for_the_end();
    });
    stage.hear(stamps, &COMPLAINTS);
    if !inside {
        things.are_left(stage, "a thread that ended");
    }
    stage.kill(&mut victim, stamps);
    stage.cases += 1;
}

/// Runs it in a thread that is not std's and simply returns, with nobody to drop anything.
fn in_a_bare_thread(body: &(dyn Fn() + Sync)) {
    extern "C" fn call(body: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the reference below, which outlives this thread.
        unsafe { (*body.cast::<&(dyn Fn() + Sync)>())() };
        std::ptr::null_mut()
    }
    let mut thread = 0;
    let place = (&raw const body).cast_mut().cast();
    // SAFETY: `thread` is valid to write to, null attributes are the default ones; `call` gets a pointer to `body`, which lives
    // until the thread is joined, right after.
    let made = unsafe { libc::pthread_create(&mut thread, std::ptr::null(), call, place) };
    assert_eq!(made, 0, "pthread_create");
    // SAFETY: the thread was made above, and nobody else joins it.
    assert_eq!(unsafe { libc::pthread_join(thread, std::ptr::null_mut()) }, 0, "pthread_join");
}

/// The first thread of the victim takes what its other thread has left.
fn live_on(things: &Things, stamps: &Stamps) {
    let me = [things.mutex.attach(), things.ring.attach()].map(|me| me.expect("a free slot"));
    match things.mutex.lock_timeout(&me[0], hang()) {
        Err(LockTimeoutError::OwnerDied(died)) => died.into_guard().mark_consistent(),
        Ok(_) => stamps.complain(3, 1, 0),
        Err(_) => stamps.complain(3, 2, 0),
    }
    if !things.ring.producer(&me[1]).is_ok_and(|opened| opened.owner_died()) {
        stamps.complain(3, 3, 0);
    }
}

/// The first thread calls exec, beside a second one or alone. The process lives on, under the same PID and TID, and has nothing.
fn by_exec(stage: &mut Stage, stamps: &'static Stamps) {
    let things = Things::new(stage);
    let beside = stage.rng.random_bool(0.5);
    let mut victim = start(stage, stamps, "process that called exec", || {
        if beside {
            std::thread::spawn(|| wait_for_the_end());
        }
        hold(&things.mutex, &things.ring, stamps, || {
            stamps.signal.set(HERE);
            let error = exec();
            stamps.complain(4, error as u64, 0);
        });
    });
    things.are_left(stage, "one that called exec");
    stage.hear(stamps, &COMPLAINTS);
    let alive = kill(victim.pid(), None).is_ok();
    stage.expect(alive, || "the process did not live on after its exec".into());
    stage.kill(&mut victim, stamps);
    stage.cases += 1;
}

/// This program again, to wait for its end.
fn exec() -> i32 {
    let variable = std::ffi::CString::new(format!("{AFTER_EXEC}=1")).expect("no zero byte");
    let (arguments, environment) = ([c"chaos"], [variable.as_c_str()]);
    nix::unistd::execve(c"/proc/self/exe", &arguments, &environment).expect_err("exec returns with an error only")
        as i32
}

/// What a process does that [`by_exec`] has started. Its stage's death ends it, as before the exec.
pub fn after_exec() -> ! {
    wait_for_the_end()
}

/// A victim forks with both in its hands. The child is refused, and its end, however it ends, changes nothing; the parent's is told
/// though the child lives.
fn not_by_fork(stage: &mut Stage, stamps: &'static Stamps) {
    let things = Things::new(stage);
    let stage_pid = Pid::this();
    let (survives, killed) = (stage.rng.random_bool(0.5), stage.rng.random_bool(0.5));
    let mut victim = start(stage, stamps, "process that forked", || {
        stamps.enter(Phase::Attaching);
        let me = [things.mutex.attach(), things.ring.attach()].map(|me| me.expect("a free slot"));
        let mut guard = things.mutex.lock(&me[0]).expect("a free lock");
        guard.left += 1;
        let mut producer = things.ring.producer(&me[1]).expect("a vacant seat").into_inner();
        producer.push(1, b"kept").expect("room");
        stamps.enter(Phase::Holding);
        let family = [stage_pid, Pid::this()];
        // SAFETY: the victim has one thread, so the child may do anything.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                stamps.generation.set(std::process::id().into());
                as_a_child(&things, &me, &mut producer, stamps);
                if !killed && !survives {
                    // In good order: each of these must leave shared memory alone.
                    drop((guard, producer));
                    drop(me);
                    stamps.begun.set(DONE);
                    // SAFETY: ends the child at once.
                    unsafe { libc::_exit(0) };
                }
                stamps.begun.set(DONE);
                outlive_the_parent(family);
            }
            ForkResult::Parent { child } => in_a_parent(&things, stamps, child, [survives, killed]),
        }
        if survives {
            stand(stamps, HERE);
        } else if producer.try_push(2, b"more").is_err() {
            stamps.complain(2, 2, 0);
        } else {
            drop(guard);
            drop(producer);
            stand(stamps, HERE);
        }
    });
    stage.hear(stamps, &COMPLAINTS);
    if survives {
        things.are_held(stage, "one whose child was forked");
        stage.kill(&mut victim, stamps);
        things.are_left(stage, "a parent whose child lives on");
        let child = Pid::from_raw(stamps.generation.get() as i32);
        kill(child, Signal::SIGKILL).expect("a child that waits for its end");
        // The stage is its parent now: it takes in orphans.
        while waitpid(child, None) == Err(Errno::EINTR) {}
    } else {
        let plain = things.mutex.lock_timeout(&things.me[0], hang()).is_ok();
        stage.expect(plain, || "a lock that its holder gave up did not come as a plain guard".into());
        stage.kill(&mut victim, stamps);
    }
    stage.cases += 1;
}

/// Waits for SIGKILL as long as one of `family` is the parent. The signal of a parent's death would come too early: the stage,
/// which takes in orphans, is to look first.
fn outlive_the_parent(family: [Pid; 2]) -> ! {
    while family.contains(&nix::unistd::getppid()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: ends the child at once.
    unsafe { libc::_exit(0) }
}

fn as_a_child(things: &Things, me: &[Attachment; 2], producer: &mut ownerdead::ring::spsc::Producer, stamps: &Stamps) {
    if !matches!(things.mutex.try_lock(&me[0]), Err(TryLockError::Forked)) {
        stamps.complain(1, 1, 0);
    }
    if producer.try_push(9, b"not mine") != Err(TryPushError::Forked) {
        stamps.complain(1, 2, 0);
    }
    if !matches!(me[0].clone().detach(), Err(DetachError::Forked)) {
        stamps.complain(1, 3, 0);
    }
    if !matches!(things.ring.consumer(&me[1]), Err(SeatError::Forked)) {
        stamps.complain(1, 4, 0);
    }
}

/// The parent's part: waits for its child to do its worst, and to end if it is to end before its parent.
fn in_a_parent(things: &Things, stamps: &Stamps, child: Pid, [survives, killed]: [bool; 2]) {
    while stamps.begun.get() != DONE {
        // SAFETY: no arguments.
        unsafe { libc::sched_yield() };
    }
    if survives {
        return;
    }
    if killed {
        kill(child, Signal::SIGKILL).expect("a child that was not waited for");
    }
    waitpid(child, None).expect("a child that was not waited for");
    let other = |_| things.mutex.attach().expect("a free slot");
    // Another membership of the same thread: to it the lock is held, as to anybody.
    if !matches!(things.mutex.try_lock(&other(())), Err(TryLockError::WouldBlock)) {
        stamps.complain(2, 1, 0);
    }
}

/// Where the kernel puts a core.
struct Dump {
    folder: PathBuf,
    _janitor: Janitor,
}

impl Dump {
    /// None if it would go where it cannot be removed, or none is written here.
    fn new(stage: &mut Stage) -> Option<Self> {
        let folder = keep::target().join(format!("cores-{}", std::process::id()));
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        let pattern = pattern.trim();
        if pattern.is_empty() || pattern.starts_with('|') || pattern.contains('/') {
            stage
                .not_run("a core dump", &format!("core_pattern is {pattern:?}, expected a file name without a folder"));
            return None;
        }
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is valid to write to.
        unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) };
        // SAFETY: no arguments.
        if limit.rlim_max == 0 && unsafe { libc::geteuid() } != 0 {
            stage.not_run("a core dump", "the hard limit on core files is 0, expected more");
            return None;
        }
        let janitor = stage.clean_up_after(Waste::Folder(folder.clone()));
        if let Err(error) = std::fs::create_dir_all(&folder) {
            stage.not_run("a core dump", &format!("{} cannot be made: {error}", folder.display()));
            return None;
        }
        Some(Self { folder, _janitor: janitor })
    }
}

/// Ends by a signal that dumps the core, which is written before anybody is told.
fn by_core_dump(stage: &mut Stage, stamps: &'static Stamps, dump: &Dump) {
    let things = Things::new(stage);
    let signal = [Signal::SIGABRT, Signal::SIGSEGV, Signal::SIGQUIT][stage.rng.random_range(0..3)];
    stamps.reset();
    let mut victim = stage.spawn("process that dumps its core", stamps, || {
        std::env::set_current_dir(&dump.folder).expect("the stage's folder");
        let limit = libc::rlimit { rlim_cur: 64 << 20, rlim_max: 64 << 20 };
        // SAFETY: plain data; then the default action of a signal, which nothing here relies on to be another one.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &limit);
            libc::signal(signal as i32, libc::SIG_DFL);
        }
        hold(&things.mutex, &things.ring, stamps, || {
            nix::sys::signal::raise(signal).expect("a signal to oneself");
        });
    });
    match stage.end_of(&mut victim, "a process that dumps its core") {
        Some(WaitStatus::Signaled(_, by, dumped)) if by == signal => {
            stage.expect(dumped, || format!("{signal} ended it, and no core was dumped"));
            stage.killed(stamps);
        }
        Some(other) => stage.finding(&format!("{signal} was to end it: {other:?}")),
        None => return,
    }
    things.are_left(stage, "one that dumped its core");
    for file in std::fs::read_dir(&dump.folder).expect("the stage's folder").flatten() {
        let _ = std::fs::remove_file(file.path());
    }
    stage.cases += 1;
}
