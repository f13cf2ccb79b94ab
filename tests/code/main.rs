//! What `harness::kill::code` says of machine code, held against what the processor executes.
//!
//! Each case is a function of `known.rs`. A process of its own, the *stage*, single-steps it by the engine, and says which
//! instructions were executed; this process decodes the same function, and compares.

#[cfg(not(model))]
mod checks;
#[cfg(not(model))]
mod inlined;
#[cfg(not(model))]
mod known;
#[cfg(not(model))]
mod stage;

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() -> std::process::ExitCode {
    if let Some(case) = std::env::var_os("OWNERDEAD_STAGE") {
        return stage::run(&case.to_string_lossy());
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let trial = |&(name, check): &(&'static str, fn())| {
        libtest_mimic::Trial::test(name, move || {
            check();
            Ok(())
        })
        .with_ignored_flag(cfg!(debug_assertions) && checks::OF_RELEASE.contains(&name))
    };
    let tests = checks::ALL.iter().map(trial).collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}
