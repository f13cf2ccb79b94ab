//! Schedules and deaths from bytes, for three and four processes: `ownerdead::harness::model::Sweep::run_bytes`.
//!
//! Input: a byte for the world (modulo their number, in the order of `models/worlds/mod.rs`), then the deaths and the schedule.
#![no_main]

#[path = "../../../models/worlds/mod.rs"]
mod worlds;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((&which, bytes)) = data.split_first() {
        ownerdead_fuzz_schedule::run(|| worlds::run(which, bytes));
    }
});
