//! A victim that single-steps itself, and writes down what is new after each instruction.
//!
//! The trap flag makes the processor raise SIGTRAP after each instruction; the handler compares the memory with its last copy, and
//! the thread's robust list with what it was. After a system call there is no such trap, since the kernel returns past it: so a
//! breakpoint is put behind each `syscall` instruction before it is executed.
//!
//! The log is words in memory that the engine shares, for each instruction:
//!
//! ```text
//! address | changed words of the memory, of the facts, entries of the walk (16, 16, 32 bits: 1 more than there are, 0 if unchanged)
//! offset, value of each changed word ... | entry ...
//! ```

use super::engine::Board;
use super::trampoline::{EFL, RIP, RSP, TRAP_FLAG, run};
use super::walk::Walker;
use super::{Facts, Memory};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;

pub(super) const PAGE: usize = 4096;
/// `syscall`, of two bytes.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// `int3`.
pub(super) const BREAKPOINT: u8 = 0xcc;

thread_local! {
    static STEPPER: Cell<*mut Stepper<'static>> = const { Cell::new(ptr::null_mut()) };
}

/// Records operations. Made before victims are forked, so that none of them needs the allocator for it.
pub(super) struct Recorder<'s> {
    log: &'s [AtomicU64],
    memory: &'s [AtomicU64],
    memory_was: Box<[u64]>,
    facts: &'s [AtomicU64],
    facts_were: Box<[u64]>,
    walker: Walker,
}

/// What the handler works with.
struct Stepper<'s> {
    board: &'s Board,
    log: &'s [AtomicU64],
    /// Words of the log that are written.
    at: usize,
    memory: &'s [AtomicU64],
    memory_was: &'s mut [u64],
    facts: &'s [AtomicU64],
    facts_were: &'s mut [u64],
    walker: &'s mut Walker,
    /// Where the operation returns to.
    returned: u64,
    /// A breakpoint behind a system call: where, and the byte that belongs there.
    behind: Option<(u64, u8)>,
    /// The page that was made writable last.
    writable: u64,
}

impl<'s> Recorder<'s> {
    /// Of what `memory` and `facts` are, into `log`.
    pub(super) fn new(log: &'s Memory, memory: &'s Memory, facts: &'s Facts) -> Self {
        Self {
            log: log.words(),
            memory: memory.words(),
            memory_was: memory.image(),
            facts: facts.words(),
            facts_were: facts.image(),
            walker: Walker::new(memory),
        }
    }

    /// In a victim: what there is now is what the recording will begin from.
    pub(super) fn begin(&mut self) {
        copy(self.memory, &mut self.memory_was);
        copy(self.facts, &mut self.facts_were);
    }

    /// Runs `operation` in this process, which is a victim's, and records what is new since [`Self::begin`]. Whether it returned, and
    /// did not panic.
    pub(super) fn record(&mut self, board: &Board, operation: &mut dyn FnMut()) -> io::Result<bool> {
        self.walker.open()?;
        let mut stepper = Stepper {
            board,
            log: self.log,
            at: 0,
            memory: self.memory,
            memory_was: &mut self.memory_was,
            facts: self.facts,
            facts_were: &mut self.facts_were,
            walker: &mut self.walker,
            returned: 0,
            behind: None,
            writable: 0,
        };
        handle(on_step as *const () as usize)?;
        STEPPER.set((&raw mut stepper).cast());
        // SAFETY: the handler is in place, and clears the flag where the operation returns.
        let returned = unsafe { run(operation, TRAP_FLAG) };
        STEPPER.set(ptr::null_mut());
        Ok(returned)
    }
}

/// Makes `handler` that of SIGTRAP, on the engine's own stack: what lies below the victim's is not changed.
pub(super) fn handle(handler: usize) -> io::Result<()> {
    // SAFETY: all zero is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: a valid action, whose handler has the signature that SA_SIGINFO asks for; no old one is asked for.
    if unsafe { libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes the pages of code with the `bytes` at `at` writable, for this process alone.
pub(super) fn make_writable(at: u64, bytes: usize) -> io::Result<()> {
    let start = at as usize & !(PAGE - 1);
    let length = (at as usize + bytes - start).next_multiple_of(PAGE);
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: it is code that is being executed, and stays readable and executable; the kernel copies it on the first write.
    if unsafe { libc::mprotect(start as *mut c_void, length, all) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn on_step(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: `record` has set it, and it lives until the operation has returned; traps come then alone, and one at a time.
    let stepper = unsafe { &mut *STEPPER.get() };
    // SAFETY: the kernel passes a context, which is this handler's to change.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // SAFETY: where errno lies is this thread's own. What is interrupted must not see it change.
    let errno = unsafe { *libc::__errno_location() };
    stepper.step(registers);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

impl Stepper<'_> {
    fn step(&mut self, registers: &mut [i64; 23]) {
        if let Some((at, byte)) = self.behind.take() {
            // SAFETY: the breakpoint was written there, to a page that was made writable for it.
            unsafe { (at as *mut u8).write_volatile(byte) };
            registers[RIP] = at as i64;
            registers[EFL] |= TRAP_FLAG as i64;
        }
        let at = registers[RIP] as u64;
        if self.returned == 0 {
            // SAFETY: the first trap is before the operation's first instruction, so the address to return to is on top.
            self.returned = unsafe { (registers[RSP] as *const u64).read() };
        }
        let goes_on = self.write_down(at);
        self.board.recorded(self.at, false);
        if !goes_on || at == self.returned {
            registers[EFL] &= !(TRAP_FLAG as i64);
            self.board.recorded(self.at, goes_on);
            return;
        }
        self.break_behind(at);
    }

    /// Whether there was room.
    fn write_down(&mut self, at: u64) -> bool {
        let header = self.at;
        // The most that one instruction can need: all words, and the longest walk.
        let room = 2 + 2 * (self.memory.len() + self.facts.len()) + 2052;
        if self.log.len() - header < room {
            return false;
        }
        self.at += 2;
        let memory = changes(self.memory, self.memory_was, self.log, &mut self.at);
        let facts = changes(self.facts, self.facts_were, self.log, &mut self.at);
        let mut entries = 0;
        if let Some(walk) = self.walker.changed() {
            entries = walk.len() as u64 + 1;
            for &entry in walk {
                self.log[self.at].store(entry, Relaxed);
                self.at += 1;
            }
        }
        self.log[header].store(at, Relaxed);
        self.log[header + 1].store(memory | facts << 16 | entries << 32, Relaxed);
        true
    }

    /// Puts a breakpoint behind the instruction at `at`, if it is a system call.
    fn break_behind(&mut self, at: u64) {
        // SAFETY: the processor is about to execute it; a longer instruction at the end of a mapping has two bytes all the same,
        // and a shorter one is followed by others of its function.
        let bytes = unsafe { (at as *const [u8; 2]).read_unaligned() };
        if bytes != SYSCALL {
            return;
        }
        let behind = at + 2;
        if self.writable != behind / PAGE as u64 {
            if make_writable(behind, 1).is_err() {
                // The boundary is missed, and said to be.
                self.board.missed_boundary();
                return;
            }
            self.writable = behind / PAGE as u64;
        }
        // SAFETY: code of this process, made writable above; this thread, the only one, is not executing it now.
        unsafe {
            self.behind = Some((behind, (behind as *const u8).read_volatile()));
            (behind as *mut u8).write_volatile(BREAKPOINT);
        }
    }
}

fn copy(words: &[AtomicU64], into: &mut [u64]) {
    // Relaxed: who has written them has ended, or stands still.
    into.iter_mut().zip(words).for_each(|(to, word)| *to = word.load(Relaxed));
}

/// Writes offset and value of each word that is not as it was; how many.
fn changes(words: &[AtomicU64], were: &mut [u64], log: &[AtomicU64], at: &mut usize) -> u64 {
    let mut count = 0;
    for (index, (word, was)) in words.iter().zip(were).enumerate() {
        let is = word.load(Relaxed);
        if is != *was {
            *was = is;
            log[*at].store(index as u64, Relaxed);
            log[*at + 1].store(is, Relaxed);
            *at += 2;
            count += 1;
        }
    }
    count
}
