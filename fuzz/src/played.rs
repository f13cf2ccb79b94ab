//! Inputs as tests: which there are, and what came of each. For `replay.rs` alone.

use crate::targets::{self, Target};
use libtest_mimic::{Completion, Failed, Trial};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// An input takes milliseconds. After so long the kernel ends its process, and that is a hang.
const HANG_SECONDS: u32 = 120;
/// Where inputs lie, a folder for each target.
const PLACES: [&str; 2] = ["corpus", "regressions"];

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn found(name: &str) -> Option<&'static Target> {
    targets::ALL.iter().find(|target| target.name == name)
}

/// Plays a file in this process.
pub fn here(target: &str, file: &Path) -> ExitCode {
    let names = || targets::ALL.map(|target| target.name).join(", ");
    let Some(target) = found(target) else {
        eprintln!("{target} is no target; there are {}", names());
        return ExitCode::from(64);
    };
    let input = match std::fs::read(file) {
        Ok(input) => input,
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            return ExitCode::from(66);
        }
    };
    // SAFETY: neither call takes a pointer. The signal's default action ends the process; and it does not outlive the one that waits for it.
    unsafe {
        libc::alarm(HANG_SECONDS);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    (target.play)(&input);
    println!("{} bytes: nothing is wrong", input.len());
    ExitCode::SUCCESS
}

/// The names in a folder, sorted. None where there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("a folder").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// A test for each input, and one of the folders. Where a target's inputs cannot be played, one test says so.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![Trial::test("each_target_has_inputs_and_each_folder_a_target", || {
        folders();
        Ok(())
    })];
    for place in PLACES {
        for target in targets::ALL {
            let folder = format!("{place}/{}", target.name);
            let files = names(&package().join(&folder));
            if target.between_accesses && cfg!(not(fuzzing)) {
                let reason = format!("{} inputs are not run: they need RUSTFLAGS=\"--cfg fuzzing\"", files.len());
                trials.push(Trial::ignorable_test(folder, || Ok(Completion::ignored_with(reason))));
                continue;
            }
            trials.extend(files.into_iter().map(|file| {
                let input = format!("{folder}/{file}");
                Trial::test(input.clone(), move || apart(target.name, &input))
            }));
        }
    }
    trials
}

/// Plays an input in a process of its own.
fn apart(target: &str, input: &str) -> Result<(), Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--play", target]).arg(package().join(input)).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let process = child.id();
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    crate::named::clear_after(process);
    let what = match output.status.signal() {
        Some(libc::SIGALRM) => format!("it did not end within {HANG_SECONDS} s"),
        _ => output.status.to_string(),
    };
    let flags = if cfg!(fuzzing) { "RUSTFLAGS=\"--cfg fuzzing\" " } else { "" };
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "fuzz/{input}: {what}\n{said}\nagain: {flags}cargo test --test fuzz_inputs -- --exact {input}\n\
         or: {flags}cargo test --test fuzz_inputs -- --play {target} fuzz/{input}"
    )
    .into())
}

/// No input is left out by its folder's name, and no target is without.
fn folders() {
    let manifest = std::fs::read_to_string(package().join("Cargo.toml")).expect("the package of the targets");
    let programs = manifest.split("[[bin]]\nname = \"").skip(1);
    let programs: BTreeSet<_> = programs.map(|rest| rest.split('"').next().expect("a name").to_owned()).collect();
    let played: BTreeSet<_> = targets::ALL.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(programs, played, "the programs of fuzz/Cargo.toml, and the targets of fuzz/src/targets.rs");
    let seeds: BTreeSet<_> = names(&package().join("corpus")).into_iter().collect();
    assert_eq!(seeds, played, "the folders of fuzz/corpus, and the targets");
    for target in &played {
        assert!(!names(&package().join("corpus").join(target)).is_empty(), "fuzz/corpus/{target} is empty");
    }
    for folder in names(&package().join("regressions")) {
        assert!(played.contains(&folder), "fuzz/regressions/{folder}: there is no target of that name");
    }
}
