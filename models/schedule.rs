//! Executions that come from bytes: the seeds of the fuzz target `schedule`, and one that is known to fail. shuttle's alone.
#![cfg(model)]

#[path = "worlds/textbook.rs"]
mod textbook_worlds;
mod worlds;

use ownerdead::harness::model::{BACK_END, Sweep};
use std::panic::catch_unwind;
use textbook_worlds::{everybody_locks, textbook::Plant};

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
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/schedule/corpus/schedule");
        let mut ran = 0;
        for seed in std::fs::read_dir(seeds).expect("the seeds") {
            let path = seed.expect("a seed").path();
            let bytes = std::fs::read(&path).expect("a seed");
            let (&which, rest) = bytes.split_first().unwrap_or_else(|| panic!("{}: empty", path.display()));
            println!("{}", path.display());
            worlds::run(which, rest);
            ran += 1;
        }
        assert!(ran > 0, "{seeds}: there is no seed");
        println!("{ran} seeds");
    }
}
