//! Plays a script with real processes. None of it goes by time: whether one sleeps is read from `/proc`, and each wait is bounded.

use super::{Actor, Came, Deed, Script, Stage, Step, play, waits};
use crate::sync::atomic::{AtomicU64, Ordering::SeqCst};
use crate::sync::backend::futex as os_futex;
use crate::sync::futex::Woken;
use crate::sync::robust::WORD_OFFSET;
use crate::sync::shm::Shared;
use core::ptr::NonNull;
use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// A wait longer than this is a failure.
const HANG: Duration = Duration::from_secs(10);
/// What an actor says that is no count of a wake.
const BACK: u64 = 1 << 32;
const CHANGED: u64 = BACK | 0xff;

/// The script that tells the two kinds of kernel apart.
const WHICH: &str = "
    a sets x W
    a pends x
    b sleeps x=W
    a dies -> b by 0 / nobody
    x is W";

/// The test of a script on the kernel of this machine.
pub(super) fn run(name: &'static str, text: &'static str) {
    let script = Script::new(name, text);
    if let Err(wrong) = played(&script, kind()) {
        panic!("on {} {wrong}", kernel());
    }
}

fn played(script: &Script, kind: usize) -> Result<(), String> {
    let mut stage = Real::new(script);
    play(script, &mut stage, kind)
}

/// Which kind of kernel this is, found by a script.
fn kind() -> usize {
    static KIND: OnceLock<usize> = OnceLock::new();
    *KIND.get_or_init(|| {
        let script = Script::new("which kind of kernel", WHICH);
        let kind = match (played(&script, 0), played(&script, 1)) {
            (Ok(()), Err(_)) => 0,
            (Err(_), Ok(())) => 1,
            (here, there) => panic!("on {} one and only one was to hold: {here:?}, {there:?}", kernel()),
        };
        let test = ["the owner", "the whole word"][kind];
        // Not by `eprintln!`, which is shown only when a test fails.
        let _ = writeln!(std::io::stderr(), "{}: of a pending word it tests {test}", kernel());
        kind
    })
}

fn kernel() -> String {
    format!("Linux {}", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim())
}

#[test]
fn the_kernel_is_of_one_kind() {
    kind();
}

/// A page that all processes share, and its mapping.
struct Pages {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it is an address; the memory is reached through atomics alone.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    fn new(pages: usize) -> Self {
        let length = pages * PAGE;
        // SAFETY: a new anonymous mapping, at a place that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        Self { start: NonNull::new(start.cast()).expect("mmap gives no null page"), length }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`; who refers to it keeps an `Arc` of this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// The 64-bit word at `offset`.
fn word(pages: &Arc<Pages>, offset: usize) -> Shared<AtomicU64> {
    assert!(offset.is_multiple_of(8) && offset + 8 <= pages.length);
    // SAFETY: inside the mapping, aligned, and zero or an integer; `pages` keeps it mapped.
    unsafe { Shared::from_raw(pages.start.add(offset).cast(), Arc::clone(pages) as _) }
}

/// What an actor says to the stage.
struct Says {
    /// Its TID, once it runs.
    tid: Shared<AtomicU64>,
    /// The step that it is through with, plus one.
    done: Shared<AtomicU64>,
    /// What came of it.
    result: Shared<AtomicU64>,
}

/// What every process has.
struct Common<'a> {
    script: &'a Script,
    words: Vec<Shared<AtomicU64>>,
    says: Vec<Says>,
    /// By which each is told which step to take.
    pipes: Vec<(PipeReader, PipeWriter)>,
    stage: libc::pid_t,
}

impl Common<'_> {
    fn tid(&self, actor: usize) -> u32 {
        self.says[actor].tid.load(SeqCst) as u32
    }
}

struct Real<'a> {
    common: Common<'a>,
    /// The process of each, while there is one to wait for.
    processes: Vec<Option<libc::pid_t>>,
    /// Who was sent to sleep and is not back.
    asleep: Vec<usize>,
}

impl<'a> Real<'a> {
    fn new(script: &'a Script) -> Self {
        let (count, actors) = (script.words.len(), script.actors.len());
        let pages = Arc::new(Pages::new(count + 1));
        let place = |index: usize| word(&pages, count * PAGE + 8 * index);
        // SAFETY: no arguments, cannot fail.
        let stage = unsafe { libc::getpid() };
        let common = Common {
            script,
            words: (0..count).map(|index| word(&pages, index * PAGE + WORD_OFFSET)).collect(),
            says: (0..actors)
                .map(|actor| Says { tid: place(3 * actor), done: place(3 * actor + 1), result: place(3 * actor + 2) })
                .collect(),
            pipes: (0..actors).map(|_| std::io::pipe().expect("a pipe")).collect(),
            stage,
        };
        let mut real = Self { common, processes: vec![None; actors], asleep: Vec::new() };
        for actor in (0..actors).filter(|&actor| !script.actors[actor].forked) {
            // SAFETY: the child runs `live` and leaves by `_exit`; of the locks that another thread of the parent may hold it
            // takes the allocator's alone, which glibc makes usable in a child.
            let process = unsafe { libc::fork() };
            assert_ne!(process, -1, "fork: {}", std::io::Error::last_os_error());
            if process == 0 {
                live(actor, &real.common);
            }
            real.processes[actor] = Some(process);
            real.wait_for("it runs", || real.common.tid(actor) != 0);
        }
        real
    }

    fn wait_for(&self, what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + HANG;
        while !done() {
            assert!(Instant::now() < until, "{}: waited {HANG:?} until {what}", self.common.script.name);
            std::thread::yield_now();
        }
    }

    /// Waits until a process that ends has ended, its exit walk included.
    fn wait_for_end(&mut self, actor: usize) {
        let process = self.processes[actor].expect("a process to wait for");
        self.wait_for("a process has ended", || {
            // SAFETY: waits for a child of ours that nobody else waits for; no status is wanted.
            unsafe { libc::waitpid(process, core::ptr::null_mut(), libc::WNOHANG) == process }
        });
        self.processes[actor] = None;
    }

    /// Whether it sleeps in `futex_waitv`; who was woken does not, from the moment that the wake is through.
    fn sleeps(&self, actor: usize) -> bool {
        let process = self.processes[actor].expect("a process that lives");
        let task = format!("/proc/{process}/task/{}", self.common.tid(actor));
        let read = |what| {
            let path = format!("{task}/{what}");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path} tells whether a process sleeps: {error}"))
        };
        // First that it sleeps at all, then where: one that is just being woken is still shown in its system call.
        let stat = read("stat");
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        state.starts_with('S') && read("syscall").split(' ').next() == Some(&libc::SYS_futex_waitv.to_string())
    }

    fn is_through(&self, actor: usize, line: usize) -> bool {
        self.common.says[actor].done.load(SeqCst) == line as u64 + 1
    }

    /// Kills what is left, and waits for it.
    fn end(&mut self) {
        for process in self.processes.iter_mut().filter_map(Option::take) {
            // SAFETY: a child of ours that was not waited for, so the number is still its own.
            unsafe {
                libc::kill(process, libc::SIGKILL);
                libc::waitpid(process, core::ptr::null_mut(), 0);
            }
        }
    }
}

impl Drop for Real<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Stage for Real<'_> {
    fn perform(&mut self, actor: usize, line: usize) -> Came {
        let Step::Does(_, deed) = &self.common.script.lines[line].step else { unreachable!("asked to do nothing") };
        let mut came = Came::default();
        if let Deed::Dies = deed {
            let process = self.processes[actor].expect("a process that lives");
            // SAFETY: a child of ours that was not waited for, so the number is still its own.
            assert_eq!(unsafe { libc::kill(process, libc::SIGKILL) }, 0);
        } else {
            (&self.common.pipes[actor].1).write_all(&[line as u8]).expect("a pipe");
        }
        match deed {
            Deed::Dies | Deed::Exits => {
                self.wait_for_end(actor);
                self.asleep.retain(|&sleeper| sleeper != actor);
            }
            Deed::Execs => {
                let process = self.processes[actor].expect("a process that lives");
                // The kernel gives it its new name after the walk.
                self.wait_for("it is another program", || {
                    fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == "sleep")
                });
            }
            Deed::Sleeps(_) => self.asleep.push(actor),
            Deed::Forks(child) => {
                self.wait_for("it has forked", || self.is_through(actor, line));
                self.processes[*child] = Some(self.common.says[actor].result.load(SeqCst) as libc::pid_t);
                self.wait_for("the child runs", || self.common.tid(*child) != 0);
            }
            _ => {
                self.wait_for("a step is done", || self.is_through(actor, line));
                let result = self.common.says[actor].result.load(SeqCst);
                came.count = matches!(deed, Deed::Wakes(..) | Deed::WakesBoth(..)).then_some(result as u32);
            }
        }
        for sleeper in self.asleep.clone() {
            let said = || self.common.says[sleeper].result.load(SeqCst);
            // It says so last, and has said nothing since it was sent to sleep.
            self.wait_for("one sleeps or is back", || said() & BACK != 0 || self.sleeps(sleeper));
            let said = said();
            if said & BACK != 0 {
                self.common.says[sleeper].result.store(0, SeqCst);
                let woken = if said == CHANGED { Woken::Changed } else { Woken::By(said as u32 as usize) };
                came.back.push((sleeper, woken));
                self.asleep.retain(|&other| other != sleeper);
            }
        }
        came
    }

    fn value(&self, word: usize) -> u64 {
        self.common.words[word].load(SeqCst)
    }

    fn tid(&self, actor: usize) -> u32 {
        self.common.tid(actor)
    }
}

/// So that nothing outlives a test that was interrupted.
fn die_with_the_stage(stage: libc::pid_t) {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number, getppid nothing, _exit ends the process at once.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != stage {
            libc::_exit(1);
        }
    }
}

/// The life of a process.
fn live(actor: usize, common: &Common<'_>) -> ! {
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| -> usize {
        if !common.script.actors[actor].thread {
            return act(actor, common);
        }
        die_with_the_stage(common.stage);
        // The TID is known before the thread is asked for anything, and its last word is said when it is gone.
        let line = std::thread::scope(|scope| scope.spawn(|| act(actor, common)).join());
        say(actor, common, line.unwrap_or_else(|payload| std::panic::resume_unwind(payload)), 0);
        loop {
            // SAFETY: waits for a signal; no arguments.
            unsafe { libc::pause() };
        }
    }));
    if let Err(payload) = &lived {
        // What the panic itself printed is kept for a test's end, which this process does not see.
        let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied());
        let _ = writeln!(std::io::stderr(), "{}: {}", common.script.name, text.unwrap_or("a panic"));
    }
    // SAFETY: ends the child at once, without the parent's destructors.
    unsafe { libc::_exit(i32::from(lived.is_err())) }
}

fn say(actor: usize, common: &Common<'_>, line: usize, result: u64) {
    common.says[actor].result.store(result, SeqCst);
    common.says[actor].done.store(line as u64 + 1, SeqCst);
}

/// Does what it is told, until it ends: with which step.
fn act(mut me: usize, common: &Common<'_>) -> usize {
    die_with_the_stage(common.stage);
    common.says[me].tid.store(crate::sync::thread::id().into(), SeqCst);
    // What is linked stays so, and what a forked child inherits is not its own: nothing is dropped.
    let mut actor = core::mem::ManuallyDrop::new(Actor::new());
    loop {
        let mut line = [0];
        (&common.pipes[me].0).read_exact(&mut line).expect("a pipe");
        let line = usize::from(line[0]);
        let Step::Does(_, deed) = &common.script.lines[line].step else { unreachable!("asked to do nothing") };
        let tid = |actor| common.tid(actor);
        let result = match deed {
            Deed::Sleeps(sleep) => match os_futex::waitv(&waits(sleep, &common.words, tid), None) {
                Ok(index) => BACK | index as u64,
                Err(libc::EAGAIN) => CHANGED,
                Err(error) => panic!("futex_waitv: {}", std::io::Error::from_raw_os_error(error)),
            },
            // SAFETY: ends the process at once.
            Deed::Exits => unsafe { libc::_exit(0) },
            Deed::Ends => return line,
            Deed::Execs => {
                let (path, seconds) = (c"/bin/sleep", c"60");
                let arguments = [path.as_ptr(), seconds.as_ptr(), core::ptr::null()];
                // SAFETY: strings and a null-terminated array of them, valid for the call.
                unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) };
                panic!("{path:?}: {}", std::io::Error::last_os_error());
            }
            Deed::Forks(child) => match fork_a_sibling() {
                0 => {
                    (me, actor) = (*child, core::mem::ManuallyDrop::new(Actor::new()));
                    die_with_the_stage(common.stage);
                    common.says[me].tid.store(crate::sync::thread::id().into(), SeqCst);
                    continue;
                }
                child => child as u64,
            },
            Deed::WakesBoth(first, second) => os_futex::wake_both(&common.words[*first], &common.words[*second]).into(),
            deed => actor.act(deed, &common.words, tid).unwrap_or(0).into(),
        };
        say(me, common, line, result);
    }
}

/// `fork`, as the kernel has it, without what the C library does to a child's robust list. The stage is the child's parent.
fn fork_a_sibling() -> libc::pid_t {
    let (flags, null) = (libc::CLONE_PARENT | libc::SIGCHLD, 0usize);
    // SAFETY: a copy of this process with a stack of its own. The child does what needs none of the C library's locks, nor what it
    // remembers of the thread: it reads a pipe, stores, wakes, sleeps, ends.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, null, null, null, null) };
    assert_ne!(child, -1, "clone: {}", std::io::Error::last_os_error());
    child as libc::pid_t
}
