//! Chaos: real processes over real shared memory, killed while they work.
//!
//! Each scenario is a test. It runs in a process of its own, the *stage*: single-threaded, so that it can fork its victims, and
//! small, so that it can do so thousands of times a second. What is left of it dies with this process.
//!
//! Environment: `OWNERDEAD_CHAOS_SECONDS` (how long each scenario runs, 2 by default), `OWNERDEAD_SEED` (random by default, and
//! always printed).

#[cfg(not(model))]
mod outcome;
#[cfg(not(model))]
mod plan;
#[cfg(not(model))]
mod scenarios;
#[cfg(not(model))]
mod stage;
#[cfg(not(model))]
mod stamps;

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() -> std::process::ExitCode {
    if std::env::var_os(scenarios::ends::AFTER_EXEC).is_some() {
        scenarios::ends::after_exec();
    }
    if let Some(name) = std::env::var_os("OWNERDEAD_STAGE") {
        return stage::run(&name.to_string_lossy());
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    // One at a time: the scenarios' own processes are what should compete for the cores.
    arguments.test_threads.get_or_insert(1);
    let tests = scenarios::ALL
        .iter()
        .map(|&(name, _)| libtest_mimic::Trial::ignorable_test(name, move || outcome::judge(name)))
        .collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}
