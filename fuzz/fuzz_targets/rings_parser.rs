//! Any bytes as the memory of a ring, of every kind that there is: see `ownerdead_fuzz::parser`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::targets;

fuzz_target!(|data: &[u8]| targets::rings_parser(data));
