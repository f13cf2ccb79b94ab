//! Victims that share the nursery's memory, as after `vfork`, and what they have changed of it put back.
//!
//! Most of what a victim of its own memory costs is that memory: it is forked, each page that it writes is copied at a fault, and all
//! of it is unmapped at its end. None of that is needed for a death: the kernel's exit walk, and all else that a death does to memory
//! that is under test, is of the thread and the process, which are as real. So a victim may lodge in the nursery's memory, while
//! the nursery stands still:
//!
//! - What a victim writes is learnt from one that was forked, attached and did all of the operation: the pages that are its own by then
//!   (`pagemap`). A death in the same operation writes to some of them. They are copied, and put back after each death; what it mapped is
//!   unmapped.
//! - It stands where a forked one does: on the same stack, with its own number where the C library keeps that, and its robust list
//!   registered.
//! - Before it is relied on, one lodger does all and dies, and the nursery looks whether all of its memory is as it was before
//!   ([`Lodging::check`]). If not, or if it cannot be learnt, victims are forked.
//! - An operation that maps memory itself, or makes processes, is none for a lodger: what it had done when it died is not known.

use super::Memory;
use super::maps::{Mapping, Text, own_pages, without};
use super::plant::PLANT;
use super::stacks::Stacks;
use super::step::PAGE;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::robust::head;
use core::arch::naked_asm;
use std::ffi::c_void;
use std::io;
use std::ptr;

/// What is known of a victim's memory, and copies of it. All that it keeps lies in shared memory: of the nursery's own, what was there
/// before is put back.
pub(super) struct Lodging {
    /// What the kernel says of the mappings, before and after.
    maps: [Text; 2],
    /// See below; then pages; then starts and lengths of ranges.
    learnt: Memory,
    /// The pages.
    copies: Memory,
}

/// Words of what is learnt: whether it is, and was not found to be wrong.
const OPEN: usize = 0;
/// How many pages are put back.
const PAGES: usize = 1;
/// How many ranges are unmapped.
const RANGES: usize = 2;
/// Where the heap ends; 0 if it does not grow.
const HEAP: usize = 3;
/// Where the C library keeps the thread's number.
const TID: usize = 4;
/// The head of its robust list.
const ROBUST: usize = 5;
/// The first page.
const FIRST: usize = 6;
/// Bytes of a head: three words.
const HEAD: usize = 24;
/// The most pages that are put back, and the most ranges.
const MOST_PAGES: usize = 1024;
const MOST_RANGES: usize = 64;

impl Lodging {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            maps: [Text::new()?, Text::new()?],
            learnt: Memory::zeroed(8 * (FIRST + MOST_PAGES + 2 * MOST_RANGES))?,
            copies: Memory::zeroed(PAGE * MOST_PAGES)?,
        })
    }

    /// Whether there is room for lodgers.
    pub(super) fn is_open(&self) -> bool {
        self.get(OPEN) != 0
    }

    /// There is none.
    pub(super) fn close(&self) {
        self.set(OPEN, 0);
    }

    /// In a forked victim, before it attaches.
    pub(super) fn begin(&self) -> io::Result<()> {
        self.maps[0].read(c"/proc/self/maps")
    }

    /// In the same, when it has done all of the operation: which pages are its own, and what it has mapped.
    pub(super) fn learn(&self, stacks: &Stacks) -> Result<(), String> {
        self.maps[1].read(c"/proc/self/maps").map_err(|error| format!("reading its mappings: {error}"))?;
        let before: Vec<Mapping<'_>> = self.maps[0].mappings().collect();
        let after: Vec<Mapping<'_>> = self.maps[1].mappings().collect();
        let (mut ranges, mut heap) = (Vec::new(), 0);
        for old in &before {
            let left = without(old.range.clone(), after.iter().map(|new| new.range.clone()));
            if !left.is_empty() {
                return Err(format!("the victim has unmapped {left:x?}"));
            }
        }
        for new in &after {
            let of = before.iter().filter(|old| old.range.start < new.range.end && new.range.start < old.range.end);
            if let Some(old) = of.clone().find(|old| !new.has_rights_of(old)) {
                return Err(format!("the victim has changed the rights of {:x?}", old.range));
            }
            let added = without(new.range.clone(), before.iter().map(|old| old.range.clone()));
            match added.first() {
                // What the kernel calls the heap may be in several pieces.
                Some(first) if new.heap => heap = if heap == 0 { first.start } else { heap.min(first.start) },
                _ => ranges.extend(added),
            }
        }
        let pages =
            own_pages(&before, &stacks.own()).map_err(|error| format!("reading /proc/self/pagemap: {error}"))?;
        if pages.len() > MOST_PAGES || ranges.len() > MOST_RANGES {
            return Err(format!(
                "the victim writes to {} pages and maps {} ranges, expected at most {MOST_PAGES} and {MOST_RANGES}",
                pages.len(),
                ranges.len()
            ));
        }
        self.set(PAGES, pages.len() as u64);
        self.set(RANGES, ranges.len() as u64);
        self.set(HEAP, heap);
        let ranges = ranges.iter().flat_map(|range| [range.start, range.end - range.start]);
        pages.into_iter().chain(ranges).zip(FIRST..).for_each(|(value, word)| self.set(word, value));
        Ok(())
    }

    /// In the nursery, when that one has ended: copies the pages. `Err` if this kernel does not tell what a lodger needs.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut tid: *mut c_void = ptr::null_mut();
        // SAFETY: the kernel writes one pointer.
        if unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut tid) } != 0 || tid.is_null() {
            return Err(io::Error::other("the kernel does not say where the thread's number is kept"));
        }
        self.set(TID, tid as u64);
        self.set(ROBUST, head() as u64);
        for (index, page) in self.pages().enumerate() {
            // SAFETY: a page of this process's data, as its child had it too; the copy has room for it, and is nobody else's.
            unsafe { ptr::copy_nonoverlapping(page, self.copy(index), PAGE) };
        }
        self.set(OPEN, 1);
        Ok(())
    }

    fn get(&self, word: usize) -> u64 {
        self.learnt.words()[word].load(Relaxed)
    }

    fn set(&self, word: usize, value: u64) {
        self.learnt.words()[word].store(value, Relaxed);
    }

    fn pages(&self) -> impl Iterator<Item = *mut u8> + '_ {
        (FIRST..).take(self.get(PAGES) as usize).map(|word| self.get(word) as *mut u8)
    }

    fn copy(&self, index: usize) -> *mut u8 {
        assert!(index < MOST_PAGES);
        // SAFETY: a page of the mapping, which has `MOST_PAGES`.
        unsafe { self.copies.start().as_ptr().add(PAGE * index) }
    }

    /// In the nursery: has a lodger do `body`, and puts all back that it has changed, when it has died. Its number, and how it ended as
    /// `waitpid` tells.
    pub(super) fn lodge(&self, stacks: &Stacks, body: &mut dyn FnMut()) -> io::Result<(libc::pid_t, i32)> {
        struct Slot<'b>(&'b mut dyn FnMut());
        extern "C" fn enter(slot: *mut c_void) {
            // SAFETY: `lodge` passes a slot that lives until the lodger has ended, and that nobody else has meanwhile.
            let slot = unsafe { &mut *slot.cast::<Slot<'_>>() };
            (slot.0)();
        }
        let mut slot = Slot(body);
        let (mut status, stack) = (0, stacks.end(2 * (PAGE + Stacks::OWN)));
        let thread = [self.get(TID), self.get(ROBUST)];
        // SAFETY: the stack is the mapping's second, which nobody else uses; `thread` has the C library's words; the slot is what `enter`
        // expects.
        let pid = unsafe { lodger(stack, &thread, &mut status, enter, (&raw mut slot).cast()) };
        for (index, page) in self.pages().enumerate() {
            // SAFETY: as in `settle`; the lodger, who alone could be using it, has ended, and nothing of it is referred to by this
            // process but through what is put back: it is as it was when `settle` had copied it.
            unsafe { ptr::copy_nonoverlapping(self.copy(index), page, PAGE) };
        }
        let ranges = FIRST + self.get(PAGES) as usize;
        for range in (ranges..).step_by(2).take(self.get(RANGES) as usize) {
            let (start, length) = (self.get(range), self.get(range + 1));
            // SAFETY: nothing of this process is there: it was mapped by a victim.
            unsafe { libc::munmap(start as *mut c_void, length as usize) };
        }
        if self.get(HEAP) != 0 {
            // SAFETY: where the heap ended before, and its allocator believes again that it does.
            unsafe { libc::brk(self.get(HEAP) as *mut c_void) };
        }
        if pid < 0 { Err(io::Error::from_raw_os_error(-pid)) } else { Ok((pid, status)) }
    }

    /// In the nursery: has a lodger do `body`, and die at its end; an error unless all of this process's own memory is as before.
    pub(super) fn check(&self, stacks: &Stacks, body: &mut dyn FnMut()) -> Result<(), String> {
        let failed = |error| format!("looking at the memory: {error}");
        self.maps[0].read(c"/proc/self/maps").map_err(failed)?;
        let before = self.sum(stacks);
        let (_, status) = self.lodge(stacks, body).map_err(|error| format!("clone: {error}"))?;
        if !libc::WIFSIGNALED(status) || libc::WTERMSIG(status) != libc::SIGKILL {
            return Err(format!("a victim ended with status {status:#x}, expected its death"));
        }
        self.maps[1].read(c"/proc/self/maps").map_err(failed)?;
        if self.maps[0].get() != self.maps[1].get() {
            let [old, new] = [0, 1].map(|index| String::from_utf8_lossy(self.maps[index].get()).into_owned());
            let differ = |a: &str, b: &str| {
                a.lines().find(|line| !b.lines().any(|other| other == *line)).unwrap_or("-").to_owned()
            };
            return Err(format!(
                "a victim has left other mappings: {:?}, and before {:?}",
                differ(&new, &old),
                differ(&old, &new)
            ));
        }
        if self.sum(stacks) != before {
            return Err("the victim has changed pages that another one did not".into());
        }
        Ok(())
    }

    /// Of all private data of this process, but for its own stacks, that of signal handlers, and what lies deep in that of victims: FNV-1a,
    /// by words.
    fn sum(&self, stacks: &Stacks) -> u64 {
        let mut handlers = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: 0, ss_size: 0 };
        // SAFETY: the old stack is asked for alone.
        unsafe { libc::sigaltstack(ptr::null(), &mut handlers) };
        let handlers = handlers.ss_sp as u64..handlers.ss_sp as u64 + handlers.ss_size as u64;
        let own = stacks.own();
        // Of the victims' stack 64 KiB are looked at: all of it is 8 MiB, of zeroes. What the first victim used is put back, however deep.
        let deep =
            stacks.end(Stacks::BYTES) as u64 - Stacks::VICTIM as u64..stacks.end(Stacks::BYTES) as u64 - (1 << 16);
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        for mapping in self.maps[0].mappings().filter(Mapping::is_private_data) {
            let mut at = mapping.range.start;
            while at < mapping.range.end {
                match [&own, &deep, &handlers].into_iter().find(|hole| hole.contains(&at)) {
                    Some(hole) => at = hole.end.next_multiple_of(8),
                    None => {
                        // SAFETY: a word of a readable mapping of this process, which has one thread.
                        let word = unsafe { (at as *const u64).read_volatile() };
                        sum = (sum ^ word).wrapping_mul(0x100_0000_01b3);
                        at += 8;
                    }
                }
            }
        }
        sum
    }
}

/// Makes a process that shares this one's memory and calls `function(argument)` on the stack that ends at `top`. As `fork` does, writes its
/// number to where the first of `thread` says, and registers the second, a head of a robust list, for it. Waits until it has ended, and takes
/// the breakpoints away that it had in place (see [`PLANT`]). Its number, or an error's, negative.
///
/// In assembly: as long as a breakpoint is in place nothing is executed that it could be in.
///
/// # Safety
/// Nobody else uses that stack; `function` may be called with `argument` in such a process, and does not return.
#[unsafe(naked)]
unsafe extern "C" fn lodger(
    top: *mut u8,
    thread: *const [u64; 2],
    status: *mut i32,
    function: extern "C" fn(*mut c_void),
    argument: *mut c_void,
) -> i32 {
    naked_asm!(
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov r15, [rsi + 8]",
        "mov r12, rdx",
        "mov r13, rcx",
        "mov r14, r8",
        // clone(flags, stack, parent_tid, child_tid, tls)
        "mov r10, [rsi]",
        "mov rsi, rdi",
        "mov edi, {flags}",
        "xor edx, edx",
        "xor r8d, r8d",
        "mov eax, {clone}",
        "syscall",
        "test eax, eax",
        "jz 5f",
        "js 4f",
        "mov ebx, eax",
        // wait4(pid, status, 0, 0)
        "2:",
        "mov edi, ebx",
        "mov rsi, r12",
        "xor edx, edx",
        "xor r10d, r10d",
        "mov eax, {wait4}",
        "syscall",
        "cmp eax, {interrupted}",
        "je 2b",
        "lea rax, [rip + {plant}]",
        "mov rcx, [rax]",
        "test rcx, rcx",
        "jz 3f",
        "mov rdx, [rax + 16]",
        "mov byte ptr [rcx], dl",
        "mov rcx, [rax + 24]",
        "cmp rcx, 1",
        "jbe 3f",
        "mov rdx, [rax + 32]",
        "mov byte ptr [rcx], dl",
        "3:",
        "mov eax, ebx",
        "4:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "ret",
        // The lodger.
        "5:",
        "xor ebp, ebp",
        "mov rdi, r15",
        "mov esi, {head}",
        "mov eax, {set_robust_list}",
        "syscall",
        "mov rdi, r14",
        "call r13",
        "ud2",
        flags = const libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_CHILD_SETTID | libc::SIGCHLD,
        head = const HEAD,
        set_robust_list = const libc::SYS_set_robust_list,
        clone = const libc::SYS_clone,
        wait4 = const libc::SYS_wait4,
        interrupted = const -libc::EINTR,
        plant = sym PLANT,
    )
}
