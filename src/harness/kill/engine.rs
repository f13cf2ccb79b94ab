//! Processes: forked, waited for with a bound, and heard.

use super::board::{Board, End};
use super::{Facts, Finding};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::time::{Duration, Instant};

/// Why the engine cannot do its work. What it finds in a subject is no error.
#[derive(Debug)]
pub enum EngineError {
    /// The process that the engine forks from has more than one thread, so a child of it could find a lock held for ever.
    Threads {
        /// How many there are.
        found: usize,
    },
    /// The memory under test is larger than a sweep can record.
    TooLarge {
        /// Its bytes.
        found: usize,
        /// The most that there may be.
        expected: usize,
    },
    /// A process of the cast did not come to where it was to stand.
    Cast {
        /// What became of it.
        text: String,
    },
    /// A system call failed.
    Os {
        /// Which one, or what for.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
}

impl core::fmt::Display for EngineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Threads { found } => write!(
                f,
                "found {found} threads in the process, expected 1: run the engine in a process of its own, before any other \
                 thread is started (a test with `harness = false` can start itself anew)"
            ),
            Self::TooLarge { found, expected } => {
                write!(
                    f,
                    "found {found} bytes of memory under test, expected at most {expected}: make the structure smaller"
                )
            }
            Self::Cast { text } => write!(f, "a process of the cast: {text}"),
            Self::Os { call, source } => write!(f, "{call} failed: {source}"),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

pub(super) fn os(call: &'static str) -> impl FnOnce(io::Error) -> EngineError {
    move |source| EngineError::Os { call, source }
}

/// Forks, and waits. While it lives SIGCHLD is blocked in this thread.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) board: Board,
    pub(super) facts: Facts,
    /// What a process may take before it is said to hang.
    pub(super) patience: Duration,
    signals: libc::sigset_t,
    processor: Option<libc::cpu_set_t>,
    core: libc::rlimit,
    /// For signal handlers of its children, which inherit it.
    _stack: SignalStack,
}

/// A child of the engine's; killed and waited for when dropped, if it is still there.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: libc::pid_t,
    over: bool,
}

impl Engine {
    /// `pinned`: this process and those it forks use one processor, which makes forks four times as fast.
    pub(super) fn new(patience: Duration, pinned: bool) -> Result<Self, EngineError> {
        let threads = std::fs::read_dir("/proc/self/task").map_err(os("reading /proc/self/task"))?.count();
        if threads != 1 {
            return Err(EngineError::Threads { found: threads });
        }
        let board = Board::new().map_err(os("mapping memory for the engine"))?;
        let facts = Facts::new().map_err(os("mapping memory for the facts"))?;
        let signals = hold_back_news();
        let processor = pinned.then(pin).flatten();
        let mut core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: valid pointers. A core dump of each victim is not wanted, and children inherit that.
        unsafe {
            libc::getrlimit(libc::RLIMIT_CORE, &mut core);
            libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, ..core });
        }
        hush_children();
        let stack = SignalStack::new().map_err(os("sigaltstack"))?;
        Ok(Self { board, facts, patience, signals, processor, core, _stack: stack })
    }

    /// Forks a child that runs `body` and ends, with what it says on the board.
    pub(super) fn fork(&self, body: impl FnOnce() -> Result<&'static str, Finding>) -> Result<Child, EngineError> {
        self.fork_to(&self.board, body)
    }

    /// The same, with a board of its own.
    pub(super) fn fork_to(
        &self,
        board: &Board,
        body: impl FnOnce() -> Result<&'static str, Finding>,
    ) -> Result<Child, EngineError> {
        board.clear();
        // SAFETY: no arguments.
        let engine = unsafe { libc::getpid() };
        // SAFETY: this process has one thread, so the child may do anything.
        match unsafe { libc::fork() } {
            -1 => Err(os("fork")(io::Error::last_os_error())),
            0 => {
                self.live(engine);
                board.end(body)
            }
            pid => Ok(Child { pid, over: false }),
        }
    }

    /// In a child, before all else.
    pub(super) fn live(&self, engine: libc::pid_t) {
        // SAFETY: PR_SET_PDEATHSIG takes a signal number; the mask is the engine's own from before.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.signals, ptr::null_mut());
            if libc::getppid() != engine {
                libc::_exit(0);
            }
        }
    }

    /// In a child that nobody waits for with a bound: SIGALRM ends it when the engine's patience does.
    pub(super) fn limit(&self) {
        let value = libc::timeval {
            tv_sec: self.patience.as_secs() as i64,
            tv_usec: self.patience.subsec_micros().max(1).into(),
        };
        let timer = libc::itimerval { it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 }, it_value: value };
        // SAFETY: plain data; the old one is not asked for.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
    }

    /// Whether a child that has used up the engine's patience does nothing, or does it for ever. One that is recorded, and goes on, is
    /// not; nor is one that wants a processor and has had little of one, on a machine that is busy.
    fn is_stuck(&self, child: &Child, logged: &mut usize) -> bool {
        let (words, ..) = self.board.recording();
        if std::mem::replace(logged, words) != words {
            return false;
        }
        !child.runs() || child.processor_time() >= self.patience / 2
    }

    /// Waits until the child has ended or stopped, no longer than the engine's patience: see [`Self::is_stuck`].
    pub(super) fn wait(&self, child: &mut Child) -> Result<End, EngineError> {
        let (mut until, mut logged) = (Instant::now() + self.patience, 0);
        let signal = only(libc::SIGCHLD);
        loop {
            let mut status = 0;
            // SAFETY: a child of this process that was not waited for yet, and a status to write to.
            match unsafe { libc::waitpid(child.pid, &mut status, libc::WNOHANG | libc::WUNTRACED) } {
                0 => {}
                -1 => return Err(os("waitpid")(io::Error::last_os_error())),
                _ => {
                    let end = End::of(status);
                    child.over = end != End::Stopped;
                    return Ok(end);
                }
            }
            let mut left = until.saturating_duration_since(Instant::now());
            if left.is_zero() && !self.is_stuck(child, &mut logged) {
                until = Instant::now() + self.patience;
                left = self.patience;
            }
            if left.is_zero() {
                let whereabouts = child.whereabouts();
                child.kill();
                return Ok(End::Hung(whereabouts));
            }
            let left = libc::timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            // SAFETY: valid pointers; which child it was is asked above.
            unsafe { libc::sigtimedwait(&signal, ptr::null_mut(), &left) };
        }
    }

    /// What a child that was to give an outcome has come to.
    pub(super) fn outcome(&self, end: End) -> Result<String, Finding> {
        self.board.outcome(end, self.patience)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: what was there before.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.signals, ptr::null_mut());
            libc::setrlimit(libc::RLIMIT_CORE, &self.core);
            if let Some(processors) = &self.processor {
                libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), processors);
            }
        }
    }
}

impl Child {
    /// Ends it, if it is still there, and waits until it has.
    pub(super) fn kill(&mut self) {
        if !self.over {
            // SAFETY: a child that was not waited for, so the PID is still its own.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, ptr::null_mut(), 0);
            }
            self.over = true;
        }
    }

    /// Waits until it has ended, and says how; without `wait`, `None` if it has not yet.
    pub(super) fn ended(&mut self, wait: bool) -> Result<Option<End>, EngineError> {
        let mut status = 0;
        let flags = if wait { 0 } else { libc::WNOHANG };
        // SAFETY: a child of this process that was not waited for yet, and a status to write to.
        match unsafe { libc::waitpid(self.pid, &mut status, flags) } {
            0 => Ok(None),
            -1 => Err(os("waitpid")(io::Error::last_os_error())),
            _ => {
                self.over = true;
                Ok(Some(End::of(status)))
            }
        }
    }

    /// Sends SIGKILL, and does not wait.
    pub(super) fn send_kill(&self) {
        if !self.over {
            // SAFETY: a child that was not waited for, so the PID is still its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
    }

    /// The fields of `/proc/PID/stat` behind the name: state, and from there as `proc(5)` counts them, less 3.
    fn stat(&self) -> Vec<String> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().map(str::to_owned).collect()
    }

    /// Whether it wants a processor, or has one.
    fn runs(&self) -> bool {
        self.stat().first().is_some_and(|state| state == "R")
    }

    /// How long it has had one.
    fn processor_time(&self) -> Duration {
        let stat = self.stat();
        let ticks: u64 = [11, 12].iter().filter_map(|&field| stat.get(field)?.parse::<u64>().ok()).sum();
        // SAFETY: no pointer is involved.
        let second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
        Duration::from_millis(ticks * 1000 / second)
    }

    /// Where it is, as far as the kernel tells.
    pub(super) fn whereabouts(&self) -> String {
        whereabouts(&format!("/proc/{}", self.pid))
    }
}

/// Where the process or thread is that this folder of `/proc` tells of.
pub(super) fn whereabouts(folder: &str) -> String {
    let read = |what| {
        let text = std::fs::read_to_string(format!("{folder}/{what}")).unwrap_or_default();
        format!("{what}: {}", text.trim())
    };
    ["wchan", "syscall", "stack"].map(read).join("; ")
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// From here on a panic in a child is silent: it is said on the board. In other processes it is as it was.
fn hush_children() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (engine, before) = (std::process::id(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            if std::process::id() == engine {
                before(panic);
            }
        }));
    });
}

/// An alternate stack for signal handlers of this thread; the one before is put back.
#[derive(Debug)]
struct SignalStack {
    _bytes: Box<[u8]>,
    before: libc::stack_t,
}

impl SignalStack {
    const BYTES: usize = 1 << 16;

    fn new() -> io::Result<Self> {
        let mut bytes = vec![0; Self::BYTES].into_boxed_slice();
        let stack = libc::stack_t { ss_sp: bytes.as_mut_ptr().cast(), ss_flags: 0, ss_size: bytes.len() };
        let mut before = MaybeUninit::uninit();
        // SAFETY: the bytes live until `drop` puts the old stack back; the old one is filled.
        match unsafe { libc::sigaltstack(&stack, before.as_mut_ptr()) } {
            // SAFETY: the call has filled it.
            0 => Ok(Self { _bytes: bytes, before: unsafe { before.assume_init() } }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        // SAFETY: what was there before.
        unsafe { libc::sigaltstack(&self.before, ptr::null_mut()) };
    }
}

/// From here on SIGCHLD is pending until it is waited for; the mask of signals before.
pub(super) fn hold_back_news() -> libc::sigset_t {
    let (child, mut before) = (only(libc::SIGCHLD), MaybeUninit::uninit());
    // SAFETY: both sets are valid, and the old one is filled.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &child, before.as_mut_ptr());
        before.assume_init()
    }
}

/// The set of one signal.
fn only(signal: libc::c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        set.assume_init()
    }
}

/// Keeps this process on the processor that it is on. Those that it could use before, if that worked.
fn pin() -> Option<libc::cpu_set_t> {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: all zero is a valid, empty set; the sets are valid to read and to write.
    unsafe {
        let mut before: libc::cpu_set_t = std::mem::zeroed();
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size, &mut before) != 0 {
            return None;
        }
        libc::CPU_SET(usize::try_from(libc::sched_getcpu()).ok()?, &mut one);
        (libc::sched_setaffinity(0, size, &one) == 0).then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_more_threads_than_one_is_refused() {
        // Tests run beside the thread that started them.
        let error = std::thread::spawn(|| Engine::new(Duration::from_secs(1), false).expect_err("two threads"));
        let error = error.join().expect("no panic");
        assert!(matches!(error, EngineError::Threads { found } if found > 1), "{error}");
        assert!(error.to_string().contains("expected 1"), "{error}");
    }
}
