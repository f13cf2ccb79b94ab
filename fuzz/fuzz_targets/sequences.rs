//! Each structure in step with a plain model: see `ownerdead_fuzz::sequences`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead_fuzz::targets;

fuzz_target!(|data: &[u8]| targets::sequences(data));

/// Address sanitizer's settings: little memory, since all of it is copied for each death. The dead leave what they had.
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const core::ffi::c_char {
    c"quarantine_size_mb=16:detect_leaks=0".as_ptr()
}
