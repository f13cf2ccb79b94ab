//! The textbook mutex between three, one of which may die: it loses a wake-up, and the fuzzer must find it. See `ci/schedule.sh`.
//!
//! Input: the deaths and the schedule, as `ownerdead::harness::model::Sweep::run_bytes` takes them.
#![no_main]

#[path = "../../../models/worlds/textbook.rs"]
mod worlds;

use ownerdead::harness::model::Sweep;
use worlds::textbook::Plant;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ownerdead_fuzz_schedule::run(|| {
        Sweep::new("schedule_textbook").victims(&["a"]).run_bytes(data, |world| {
            worlds::everybody_locks(world, Plant::Nothing, &["b", "c"], false);
        })
    });
});
