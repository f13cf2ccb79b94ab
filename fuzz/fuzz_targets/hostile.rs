//! Any bytes as the memory of a structure, of every kind that there is, at any moment of a call: see `ownerdead_fuzz::parser`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::parser::{Play, play};
use ownerdead_fuzz::{cells, locks, rings};

thread_local! {
    static ALL: Vec<Box<dyn Play>> = [rings::all(), cells::all(), locks::all()].into_iter().flatten().collect();
}

fuzz_target!(|data: &[u8]| ALL.with(|all| play(all, data, true)));
