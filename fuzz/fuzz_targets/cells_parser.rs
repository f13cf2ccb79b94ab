//! Any bytes as the memory of a cell, of every kind that there is: see `ownerdead_fuzz::parser`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::cells;
use ownerdead_fuzz::parser::{Play, play};

thread_local! {
    static ALL: Vec<Box<dyn Play>> = cells::all();
}

fuzz_target!(|data: &[u8]| ALL.with(|all| play(all, data, false)));
