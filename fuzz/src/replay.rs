//! Plays the inputs of all fuzz targets, without a fuzzer: the seeds in `fuzz/corpus/`, and in `fuzz/regressions/` what was found once.
//!
//! It is the test `fuzz_inputs` of the root package, for any toolchain. Each input is a test, and a process of its own: so a fault or a hang
//! has a name, too.
//!
//! ```sh
//! cargo test --test fuzz_inputs                                     # all of them, but those of `hostile`
//! RUSTFLAGS="--cfg fuzzing" cargo test --test fuzz_inputs           # all: the peer of `hostile` is in such builds alone
//! cargo test --test fuzz_inputs -- --play rings_parser FILE         # any file, in this process
//! ```

#[cfg(not(model))]
mod cells;
#[cfg(not(model))]
#[allow(
    dead_code,
    unused_imports,
    reason = "its seeds are for `make_seeds`; its own tests are run in the package of the fuzzers"
)]
mod differential;
#[cfg(not(model))]
mod files;
#[cfg(not(model))]
mod images;
#[cfg(not(model))]
mod input;
#[cfg(not(model))]
mod inspected;
#[cfg(not(model))]
mod locks;
#[cfg(not(model))]
mod memory;
#[cfg(not(model))]
mod named;
#[cfg(not(model))]
mod opened;
#[cfg(not(model))]
mod parser;
#[cfg(not(model))]
mod played;
#[cfg(not(model))]
mod rings;
#[cfg(not(model))]
mod sequences;
#[cfg(not(model))]
mod targets;

#[cfg(not(model))]
pub use parser::structures;

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() -> std::process::ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if let [flag, target, file] = &words[..]
        && flag == "--play"
    {
        return played::here(target, file.as_ref());
    }
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, played::trials()).exit_code()
}
