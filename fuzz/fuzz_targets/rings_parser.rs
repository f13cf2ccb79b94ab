//! Any bytes as the memory of a ring, of every kind that there is: see `ownerdead_fuzz::parser`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::parser::{Play, play};
use ownerdead_fuzz::rings;

thread_local! {
    static ALL: Vec<Box<dyn Play>> = rings::all();
}

fuzz_target!(|data: &[u8]| ALL.with(|all| play(all, data, false)));
