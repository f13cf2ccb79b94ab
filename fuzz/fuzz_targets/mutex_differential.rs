//! Our robust mutex and the C library's, on the same script: see `ownerdead_fuzz::differential`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::targets;

fuzz_target!(|data: &[u8]| targets::mutex_differential(data));

/// Address sanitizer's settings: people live on from input to input, and what they have counts as lost when the fuzzer ends.
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const core::ffi::c_char {
    c"detect_leaks=0".as_ptr()
}
