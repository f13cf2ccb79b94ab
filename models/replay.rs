//! What a failure prints runs exactly that execution again, or says why it cannot. Each test runs [`subject`] in a process of its
//! own, as a person would.
#![cfg(model)]

#[path = "worlds/textbook.rs"]
mod worlds;

use ownerdead::harness::model::{BACK_END, Sweep};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use std::path::{Path, PathBuf};
use std::process::Command;
use worlds::{everybody_locks, textbook::Plant};

/// Fails: the textbook mutex loses a wake-up. `OWNERDEAD_TEST_SUBJECT` says how its code has changed since.
#[test]
#[ignore = "no test, but what fails: the tests below start it, each in a process of its own"]
fn subject() {
    let changed = std::env::var("OWNERDEAD_TEST_SUBJECT").unwrap_or_default();
    let name = if changed == "renamed" { "replay_renamed" } else { "replay_subject" };
    let plant = match changed.as_str() {
        "another order" => Plant::PendingAfterTheSwap,
        "steps less" => Plant::NeverLinked,
        _ => Plant::Nothing,
    };
    let others: &[_] = if changed == "a process less" { &["b"] } else { &["b", "c"] };
    Sweep::new(name).victims(&["a"]).preemptions(3, 3).run(move |world| {
        everybody_locks(world, plant, others, false);
        if changed == "a process more" {
            world.process("d", || AtomicU64::new(0).load(Relaxed));
        }
    });
}

/// Fails, though nothing is violated: somebody is to sleep beside a death, and nobody ever sleeps.
#[test]
#[ignore = "no test, but what fails: a test below starts it, in a process of its own"]
fn sleepless() {
    Sweep::new("replay_sleepless").victims(&["a"]).beside_sleepers().runs(100).run(|world| {
        for name in ["a", "b"] {
            world.process(name, || AtomicU64::new(0).load(Relaxed));
        }
    });
}

/// What [`subject`] said; it must have failed.
fn failure(folder: &Path, replay: Option<&Path>, changed: &str) -> String {
    // Of all deaths the one that matters: the others are for `models/textbook.rs`.
    failure_of("subject", folder, replay, &[("OWNERDEAD_TEST_SUBJECT", changed), ("OWNERDEAD_KILL", "a@3")])
}

/// What `test` said; it must have failed.
fn failure_of(test: &str, folder: &Path, replay: Option<&Path>, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "--ignored", "--nocapture", test]);
    // Where the replay file goes; and nothing of what is asked of us is asked of it.
    command.env("CARGO_TARGET_DIR", folder).env_remove("OWNERDEAD_KILL").envs(environment.iter().copied());
    for name in ["OWNERDEAD_REPORT", "OWNERDEAD_DEATHS", "OWNERDEAD_SITES", "OWNERDEAD_WEAKEN", "OWNERDEAD_TIER"] {
        command.env_remove(name);
    }
    match replay {
        Some(file) => command.env("OWNERDEAD_REPLAY", file),
        None => command.env_remove("OWNERDEAD_REPLAY"),
    };
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it passed: {said}");
    said
}

/// From the head of the table to what was violated.
fn table(said: &str) -> &str {
    let start = said.find("step  process").unwrap_or_else(|| panic!("no table: {said}"));
    let end = start + said[start..].find("\nViolated: ").expect("what was violated");
    &said[start..end + said[end + 1..].find('\n').expect("more") + 1]
}

/// A folder of its own for `test`, and the replay file that a failure leaves in it.
fn failed(test: &str) -> (PathBuf, PathBuf, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&folder);
    let said = failure(&folder, None, "");
    let file = folder.join(format!("ownerdead/replay/replay_subject.{BACK_END}"));
    // From the root, if it is below it.
    let (asked, command) =
        (format!("/ownerdead/replay/replay_subject.{BACK_END} "), "\nto repeat exactly this one: OWNERDEAD_REPLAY=");
    assert!(said.contains(command) && said.contains(&asked), "{said}");
    (folder, file, said)
}

#[test]
fn a_replay_is_one_execution_with_the_same_table() {
    let (folder, file, said) = failed("replay_same");
    let again = failure(&folder, Some(&file), "");
    assert!(again.contains("\nreplayed 1 execution\n"), "{again}");
    assert_eq!(table(&said), table(&again));
    let table = table(&said);
    assert!(table.contains("`a` was killed just before its operation 3, `futex_wake` at models/fixtures/"), "{table}");
    assert!(table.contains("compare_exchange     Acquire/Relaxed  failed: 0x3e8, not 0x0 "), "{table}");
    assert_eq!(
        std::fs::read_dir(file.parent().expect("a folder")).expect("it is there").count(),
        1,
        "one file is left"
    );
}

#[test]
fn a_sweep_that_is_about_sleepers_and_has_none_fails() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay_sleepless");
    let said = failure_of("sleepless", &folder, None, &[]);
    assert!(said.contains("found no death beside a process that sleeps, expected one at least"), "{said}");
}

#[test]
fn a_schedule_that_fits_the_code_no_more_is_no_violation() {
    let (folder, file, _) = failed("replay_changed");
    for changed in ["another order", "steps less", "a process less"] {
        let said = failure(&folder, Some(&file), changed);
        assert!(said.contains("the schedule does not fit this code any more: "), "{changed}: {said}");
        assert!(!said.contains("Violated: "), "{changed}: {said}");
        // shuttle's schedule is ours, so it is known before anything else goes wrong.
        let stuck = BACK_END == "shuttle" && changed == "a process less";
        assert!(!stuck || said.contains("which cannot run"), "{said}");
        let line = said.lines().find(|line| line.contains("does not fit")).expect("it was there");
        println!("{changed}: {line}");
    }
}

#[test]
fn code_that_does_the_same_up_to_the_violation_is_still_seen_to_violate() {
    let (folder, file, _) = failed("replay_more");
    let said = failure(&folder, Some(&file), "a process more");
    assert!(said.contains("\nreplayed 1 execution\n") && said.contains("Violated: lost wake-up"), "{said}");
}

#[test]
fn a_file_that_cannot_be_replayed_says_what_was_found_and_what_was_expected() {
    let (folder, file, _) = failed("replay_damaged");
    let text = std::fs::read_to_string(&file).expect("the replay file");
    let other_end = if BACK_END == "loom" { "shuttle" } else { "loom" };
    let sealed = |text: &str| {
        let (body, _) = text.rsplit_once("sum ").expect("its check sum");
        format!("{body}sum {:08x}\n", crc(body.as_bytes()))
    };
    let cases = [
        (text.replace("a swap", "a swop"), "", "damaged: its check sum is "),
        (text[..text.len() / 2].to_owned(), "", "is its end missing?"),
        (String::new(), "", "expected a first line `ownerdead replay 1`, found ``"),
        (text.replacen("replay 1", "replay 2", 1), "", "found `ownerdead replay 2`"),
        (
            sealed(&text.replacen(&format!("back-end {BACK_END}"), &format!("back-end {other_end}"), 1)),
            "",
            &format!("found a schedule of {other_end}, expected one of {BACK_END}: build with RUSTFLAGS="),
        ),
        (
            sealed(&text.replacen("test subject", "test other", 1)),
            "renamed",
            "found the sweep `replay_subject` of the test `other`, expected the sweep `replay_renamed`",
        ),
        (sealed(&text.replacen("kill a@3", "kill z@3", 1)), "", "expected process@operation or process@sN"),
    ];
    for (text, changed, why) in cases {
        std::fs::write(&file, text).expect("the replay file");
        let said = failure(&folder, Some(&file), changed);
        assert!(said.contains(why), "expected {why:?} in: {said}");
        assert!(!said.contains("Violated: "), "{said}");
    }
    std::fs::remove_file(&file).expect("the replay file");
    let said = failure(&folder, Some(&file), "");
    assert!(said.contains("No such file"), "{said}");
}

#[test]
fn where_no_file_can_be_written_the_failure_is_told_all_the_same() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay_unwritable");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("ownerdead")).expect("a folder");
    std::fs::write(folder.join("ownerdead/replay"), "in the way").expect("a file");
    let said = failure(&folder, None, "");
    assert!(said.contains("There is no replay file: ") && said.contains("OWNERDEAD_KILL=a@3 "), "{said}");
    assert!(table(&said).contains("lost wake-up"), "{said}");
}

/// CRC-32, bit by bit: the files are small, and the model builds have no crate for it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ if sum & 1 != 0 { 0xedb8_8320 } else { 0 })
    })
}
