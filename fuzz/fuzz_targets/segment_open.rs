//! Any bytes as a segment that is opened: see `ownerdead_fuzz::opened`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::targets;

fuzz_target!(|data: &[u8]| targets::segment_open(data));
