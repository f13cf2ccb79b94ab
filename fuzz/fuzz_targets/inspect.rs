//! Any bytes as a segment that is looked at: see `ownerdead_fuzz::inspected`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::targets;

fuzz_target!(|data: &[u8]| targets::inspect(data));
