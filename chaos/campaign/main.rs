//! The campaign engine, held against subjects of which it is known what is wrong with them.
//!
//! Each test runs in a process of its own, with one thread: the engine forks from it.

#[cfg(not(model))]
mod subjects;

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() -> std::process::ExitCode {
    if let Some(name) = std::env::var_os("OWNERDEAD_CAMPAIGN_TEST") {
        let (_, test) = subjects::ALL.iter().find(|(known, _)| *known == name).expect("a known test");
        test();
        return std::process::ExitCode::SUCCESS;
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let tests = subjects::ALL.iter().map(|&(name, _)| libtest_mimic::Trial::test(name, move || alone(name))).collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Runs a test in a process of its own.
#[cfg(not(model))]
fn alone(name: &str) -> Result<(), libtest_mimic::Failed> {
    let output = std::process::Command::new("/proc/self/exe").env("OWNERDEAD_CAMPAIGN_TEST", name).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}
