//! Any bytes as the memory of a structure, of every kind that there is, at any moment of a call: see `ownerdead_fuzz::parser`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::targets;

fuzz_target!(|data: &[u8]| targets::hostile(data));
