//! Executions that come from bytes, which are shuttle's alone: the seeds of the fuzz target `schedule`, and one that is known to fail. And what
//! executions leave behind.
#![cfg(model)]

#[path = "worlds/textbook.rs"]
mod textbook_worlds;
mod worlds;

use ownerdead::harness::model::{BACK_END, Sweep};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::shm::Shared;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::catch_unwind;
use textbook_worlds::{everybody_locks, textbook::Plant};

/// The system's allocator, which counts.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

thread_local! {
    /// Bytes that this thread has allocated, less those that it has freed.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: `System` keeps the contract, and gets each call as it came. A thread's counter needs no memory and no destructor: it can be
// reached from here at any time.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get().wrapping_add(layout.size()));
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.set(ALLOCATED.get().wrapping_sub(layout.size()));
        // SAFETY: the caller's promise is the same, and the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// loom chooses schedules by itself.
fn bytes_drive_this() -> bool {
    let drive = BACK_END == "shuttle";
    if !drive {
        println!("not run under {BACK_END}, which takes no schedule from outside");
    }
    drive
}

/// The textbook mutex between three. What was violated, if anything.
fn textbook(bytes: &[u8]) -> Result<(), String> {
    let bytes = bytes.to_vec();
    let ran = catch_unwind(move || {
        Sweep::new("schedule_textbook").victims(&["a"]).run_bytes(&bytes, |world| {
            everybody_locks(world, Plant::Nothing, &["b", "c"], false);
        });
    });
    ran.map_err(|payload| *payload.downcast::<String>().expect("a message"))
}

/// Found by the fuzzer, and shortened by its minimiser (`ci/schedule.sh`): `a` dies before its operation 3, the wake.
const LOST_WAKE_UP: [u8; 14] = [191, 118, 3, 0, 32, 255, 0, 0, 65, 0, 255, 0, 65, 0];

#[test]
fn bytes_that_lose_the_textbooks_wake_up_lose_it_each_time() {
    if bytes_drive_this() {
        for _ in 0..3 {
            let violated = textbook(&LOST_WAKE_UP).expect_err("it is known to fail");
            assert!(violated.contains("lost wake-up") && violated.contains("`b`"), "{violated}");
        }
    }
}

#[test]
fn the_same_bytes_without_the_death_lose_nothing() {
    if bytes_drive_this() {
        let mut bytes = LOST_WAKE_UP;
        bytes[0] = 0;
        textbook(&bytes).expect("nobody dies");
        textbook(&[]).expect("nobody is pre-empted");
    }
}

#[test]
fn every_seed_of_the_fuzzer_runs_without_a_violation() {
    if bytes_drive_this() {
        each_seed(|which, bytes| _ = worlds::run(which, bytes));
    }
}

/// A fuzzer runs millions of them in one process.
#[test]
fn an_execution_leaves_nothing_on_the_heap() {
    if bytes_drive_this() {
        each_seed(|which, bytes| {
            // What is made once, and kept.
            for _ in 0..2 {
                worlds::run(which, bytes);
            }
            let before = ALLOCATED.get();
            worlds::run(which, bytes);
            let left = ALLOCATED.get().wrapping_sub(before).cast_signed();
            assert_eq!(left, 0, "bytes that were allocated and not freed");
        });
    }
}

#[test]
fn a_handle_that_is_never_dropped_is_found() {
    let found = Sweep::new("schedule_leak").finds(|world| {
        world.process("a", || std::mem::forget(Shared::new(AtomicU64::new(0))));
    });
    assert!(found.contains("1 pieces of its shared memory are still in use"), "{found}");
}

/// Gives `play` each seed of the fuzzer: the number of its world, and its bytes.
fn each_seed(play: impl Fn(u8, &[u8])) {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/schedule/corpus/schedule");
    let mut played = 0;
    for seed in std::fs::read_dir(seeds).expect("the seeds") {
        let path = seed.expect("a seed").path();
        let bytes = std::fs::read(&path).expect("a seed");
        let (&which, rest) = bytes.split_first().unwrap_or_else(|| panic!("{}: empty", path.display()));
        println!("{}", path.display());
        play(which, rest);
        played += 1;
    }
    assert!(played > 0, "{seeds}: there is no seed");
    println!("{played} seeds");
}
