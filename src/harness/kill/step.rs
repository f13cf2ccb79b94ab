//! A victim that single-steps itself, and writes down what is new after each instruction.
//!
//! A trap comes before each instruction: from a breakpoint there, where it is known which one will be next ([`next`]), else from the trap
//! flag, which has the processor raise SIGTRAP after the one that it executes. The handler compares the memory with its last copy, and
//! the thread's robust list with what it was. After a system call the flag gives no trap, since the kernel returns past it: there is
//! always a breakpoint behind a `syscall` instruction.
//!
//! The log is words in memory that the engine shares, for each instruction:
//!
//! ```text
//! address | changed words of the memory, of the facts, entries of the walk (16, 16, 32 bits: 1 more than there are, 0 if unchanged)
//! offset, value of each changed word ... | entry ...
//! ```

use super::board::Board;
use super::next::{is_system_call, next, prepare};
use super::trampoline::{EFL, RIP, RSP, TRAP_FLAG, run};
use super::walk::Walker;
use super::{Facts, Memory};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use core::arch::naked_asm;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::ops::Range;
use std::ptr;

pub(super) const PAGE: usize = 4096;
/// `int3`.
pub(super) const BREAKPOINT: u8 = 0xcc;

/// The breakpoint that is in place while the victim runs: where, or 0, and the byte that belongs there.
static NEXT: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Pages that are known to be writable, each in the place of its number modulo this.
const PAGES: usize = 256;

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
    code: Box<[Range<u64>]>,
    flag_alone: bool,
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
    /// Where a breakpoint may be. Elsewhere it would be written to data, if the operation jumps there.
    code: &'s [Range<u64>],
    flag_alone: bool,
    /// Numbers of pages that were made writable.
    writable: [u64; PAGES],
}

impl<'s> Recorder<'s> {
    /// Of what `memory` and `facts` are, into `log`.
    pub(super) fn new(log: &'s Memory, memory: &'s Memory, facts: &'s Facts, flag_alone: bool) -> Self {
        prepare();
        Self {
            log: log.words(),
            memory: memory.words(),
            memory_was: memory.image(),
            facts: facts.words(),
            facts_were: facts.image(),
            walker: Walker::new(memory),
            code: code(),
            flag_alone,
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
            code: &self.code,
            flag_alone: self.flag_alone,
            returned: 0,
            writable: [0; PAGES],
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

/// Takes the breakpoint away, has [`stepped`] say where the next one is to be, and puts it there. In assembly: neither before the first
/// nor after the last of these is anything executed that it could be in.
#[unsafe(naked)]
extern "C" fn on_step(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    naked_asm!(
        "lea rax, [rip + {next}]",
        "mov rcx, [rax]",
        "test rcx, rcx",
        "jz 2f",
        "mov r8, [rax + 8]",
        "mov [rcx], r8b",
        "2:",
        "mov rdi, rdx",
        // As the ABI has it: a multiple of 16 before a call.
        "sub rsp, 8",
        "call {stepped}",
        "add rsp, 8",
        "lea rax, [rip + {next}]",
        "mov rcx, [rax]",
        "test rcx, rcx",
        "jz 3f",
        "mov byte ptr [rcx], {breakpoint}",
        "3:",
        "ret",
        next = sym NEXT,
        stepped = sym stepped,
        breakpoint = const BREAKPOINT,
    )
}

extern "C" fn stepped(context: *mut c_void) {
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
        let breakpoint = NEXT[0].swap(0, Relaxed);
        if breakpoint != 0 {
            // The processor has executed the breakpoint, and not what belongs there.
            registers[RIP] = breakpoint as i64;
        }
        registers[EFL] &= !(TRAP_FLAG as i64);
        let at = registers[RIP] as u64;
        if self.returned == 0 {
            // SAFETY: the first trap is before the operation's first instruction, so the address to return to is on top.
            self.returned = unsafe { (registers[RSP] as *const u64).read() };
        }
        let goes_on = self.write_down(at);
        self.board.recorded(self.at, false);
        if !goes_on || at == self.returned {
            self.board.recorded(self.at, goes_on);
            return;
        }
        if is_system_call(at) && maps_memory(registers[libc::REG_RAX as usize]) {
            self.board.maps_memory();
        }
        if (!self.flag_alone || is_system_call(at))
            && let Some(next) = next(at, registers)
            && self.break_at(next)
        {
            return;
        }
        registers[EFL] |= TRAP_FLAG as i64;
        if is_system_call(at) {
            // The boundary is missed, and said to be.
            self.board.missed_boundary();
        }
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

    /// Has a breakpoint put at `at`, if that can be.
    fn break_at(&mut self, at: u64) -> bool {
        let page = at / PAGE as u64;
        let known = &mut self.writable[page as usize % PAGES];
        if *known != page {
            if !self.code.iter().any(|code| code.contains(&at)) || make_writable(at, 1).is_err() {
                return false;
            }
            *known = page;
        }
        // SAFETY: code of this process, made writable.
        let byte = unsafe { (at as *const u8).read_volatile() };
        NEXT[1].store(byte.into(), Relaxed);
        NEXT[0].store(at, Relaxed);
        true
    }
}

/// Whether a system call changes what its process has mapped, or makes another one.
fn maps_memory(number: i64) -> bool {
    const CALLS: [libc::c_long; 20] = [
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_munmap,
        libc::SYS_brk,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_shmat,
        libc::SYS_shmdt,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_remap_file_pages,
        libc::SYS_pkey_mprotect,
        libc::SYS_mlock,
        libc::SYS_mlock2,
        libc::SYS_mlockall,
        libc::SYS_munlock,
    ];
    CALLS.contains(&number)
}

/// Where this process has code, by its list of mappings; nowhere, if that cannot be read.
fn code() -> Box<[Range<u64>]> {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let range = |line: &str| {
        // `start-end perms ...`
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |hex| u64::from_str_radix(hex, 16).ok();
        rest.get(2..4)?.eq("xp").then_some(number(start)?..number(end)?)
    };
    text.lines().filter_map(range).collect()
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
