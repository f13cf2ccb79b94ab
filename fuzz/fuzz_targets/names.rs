//! Segments by name: see `ownerdead_fuzz::named`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::targets;

fuzz_target!(|data: &[u8]| targets::names(data));
