//! `ownerdead inspect` as a person runs it. Needs the binary: `cargo test --features cli --test inspect_cli`.
#![cfg(not(model))]

#[path = "os/process.rs"]
#[allow(dead_code, reason = "it serves more tests than these")]
mod process;

use ownerdead::lock::RobustMutex;
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::{Options, Segment};
use process::{Gate, for_ever, spawn};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A name in `/dev/shm` of this test's own, taken away when it goes out of scope.
struct Named(String);

impl Named {
    fn new(what: &str) -> Self {
        Self(format!("ownerdead-inspect-{}-{what}", std::process::id()))
    }
    fn path(&self) -> PathBuf {
        PathBuf::from("/dev/shm").join(&self.0)
    }
    /// A ring of this name with two records.
    fn ring(what: &str) -> (Self, Ring) {
        let name = Self::new(what);
        let ring = Ring::create(&name.0, &Options::new().slots(3), &Config::new(4096)).unwrap();
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        producer.push(7, b"first").unwrap();
        producer.push(8, b"second").unwrap();
        drop(producer);
        me.detach().unwrap();
        (name, ring)
    }
    fn set(&self, offset: u64, word: u64) {
        let file = File::options().write(true).open(self.path()).unwrap();
        file.write_all_at(&word.to_le_bytes(), offset).unwrap();
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path()).or_else(|_| fs::remove_dir(self.path()));
    }
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ownerdead"));
    command.arg("inspect").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Its exit code, and what it said on stdout.
fn said(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap_or_else(|| panic!("{:?}", output.status)), text)
}

fn json(arguments: &[&str]) -> (i32, Value) {
    let (code, text) = said(&[arguments, &["--json"]].concat());
    assert_eq!(text.lines().count(), 1);
    (code, serde_json::from_str(&text).unwrap())
}

#[test]
fn a_name_with_or_without_a_slash_and_every_path_to_it_are_the_same_segment() {
    let (name, ring) = Named::ring("names");
    let (bare, slash) = (name.0.as_str(), format!("/{}", name.0));
    let path = name.path().to_str().unwrap().to_owned();
    let fd = std::os::fd::AsFd::as_fd(ring.segment()).as_raw_fd();
    let descriptor = format!("/proc/{}/fd/{fd}", std::process::id());
    let (code, first) = json(&[bare]);
    assert_eq!((code, &first["valid"], &first["path"]), (0, &Value::from(true), &Value::from(path.as_str())));
    for arguments in [vec![slash.as_str()], vec![path.as_str()], vec!["--path", &path], vec![descriptor.as_str()]] {
        let (code, same) = json(&arguments);
        assert_eq!((code, &same["ring"], &same["file"]), (0, &first["ring"], &first["file"]), "{arguments:?}");
    }
    let memfd = RobustMutex::memfd(&Options::new(), 5u32).unwrap();
    let fd = std::os::fd::AsFd::as_fd(memfd.segment()).as_raw_fd();
    let (code, mutex) = json(&[&format!("/proc/{}/fd/{fd}", std::process::id())]);
    assert_eq!((code, &mutex["mutex"]["type_name"], &mutex["file"]["links"]), (0, &"u32".into(), &0.into()));
}

/// Scripts and monitors depend on these; docs/inspect.md describes them.
#[test]
fn the_fields_of_the_json_are_those_that_the_page_describes() {
    let (name, ring) = Named::ring("fields");
    let _me = ring.attach().unwrap();
    let (_, all) = json(&[&name.0, "--records", "--hex", "0..8"]);
    let mutex = Named::new("fields-mutex");
    RobustMutex::create(&mutex.0, &Options::new(), 5u32).unwrap();
    let (_, of_mutex) = json(&[&mutex.0]);
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/inspect.md")).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    for (part, expected) in [
        (&all["file"], "mode uid gid links"),
        (&all["participants"], "free joining attached leaving dead retired damaged gone slots"),
        (&all["participants"]["slots"][0], "slot state tid thread incarnation waiters life"),
        (&all["ring"]["producer"], "state holder inherited generation heartbeat sleeps right"),
        (&all["ring"]["records"], "count payload_bytes padding checksums_wrong read_meanwhile complete"),
        (&all["listed_records"][0], "position offset size padding payload_offset kind length checksum"),
        (&all["hex"], "offset bytes"),
        (
            &of_mutex["mutex"],
            "robust state holder inherited waiters word fingerprint type_name size align value_offset",
        ),
        (
            &all["header"],
            "magic version kind kind_name total slots flags slots_offset body_offset body_len checksum checksum_valid",
        ),
        (
            &all["ring"],
            "capacity flags checksum wipe write_index read_index used fill_percent producer consumer records",
        ),
        (
            &all,
            "name path valid file length header participants ring lanes claims locked broadcast mpmc mutex condvars rwlock semaphore once barrier \
             cells problems notes listed_records hex",
        ),
    ] {
        let sorted = |keys: &str| {
            let mut keys: Vec<_> = keys.split(' ').map(str::to_owned).collect();
            keys.sort();
            keys
        };
        assert_eq!(sorted(&keys(part)), sorted(expected));
        for key in expected.split(' ') {
            assert!(page.contains(&format!("`{key}`")), "docs/inspect.md says nothing of `{key}`");
        }
    }
}

#[test]
fn a_ring_whose_producer_was_killed_is_valid_and_says_so() {
    let (name, ring) = Named::ring("killed");
    let pushed = Gate::new();
    let mut victim = spawn(|| {
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        producer.push(9, b"third").unwrap();
        pushed.open();
        for_ever();
    });
    pushed.wait();
    let (code, alive) = json(&[&name.0]);
    assert_eq!((code, &alive["ring"]["producer"]["state"]), (0, &"alive".into()));
    // Its TID is that of a thread that exists here.
    let slot = &alive["participants"]["slots"][0];
    assert_eq!((&slot["tid"], &slot["state"]), (&alive["ring"]["producer"]["holder"]["tid"], &"attached".into()));
    assert!(slot["thread"]["state"] == "exists" && slot["thread"]["name"].is_string(), "{slot}");
    victim.kill();
    let (code, dead) = json(&[&name.0, "--records"]);
    assert_eq!((code, &dead["ring"]["producer"]["state"]), (0, &"dead".into()));
    assert_eq!((&dead["participants"]["dead"], &dead["notes"]), (&1.into(), &Value::Array(vec![])));
    let kinds: Vec<_> = dead["listed_records"].as_array().unwrap().iter().map(|record| &record["kind"]).collect();
    assert_eq!(kinds, [7, 8, 9]);
    let (code, text) = said(&[&name.0]);
    assert_eq!(code, 0);
    assert!(text.contains("a dead thread (slot 0, taking 2) held it"), "{text}");
    assert!(text.lines().next().unwrap().ends_with(": SPSC ring, valid"), "{text}");
}

#[test]
fn what_is_wrong_is_named_and_the_exit_code_is_1() {
    let (name, _ring) = Named::ring("wrong");
    let body = 4 * 4096;
    name.set(24, 5);
    name.set(body + 128, 4);
    let (code, found) = json(&[&name.0]);
    assert_eq!((code, &found["valid"]), (1, &false.into()));
    let problems = found["problems"].as_array().unwrap();
    let fields: Vec<_> = problems.iter().map(|problem| &problem["field"]).collect();
    assert_eq!(fields, ["header.slots", "ring.write_index"]);
    assert_eq!((&problems[0]["found"], &problems[1]["found"]), (&"5".into(), &"4 (0x4)".into()));
    assert!(problems.iter().all(|problem| problem["expected"].is_string()));
    let (code, text) = said(&[&name.0]);
    assert_eq!(code, 1);
    assert!(text.contains("NOT valid: 2 found wrong"), "{text}");
    assert!(text.contains("header.slots: found 5, expected 3"), "{text}");
}

#[test]
fn a_leaked_slot_and_a_thread_that_is_gone_are_noted() {
    let (name, _ring) = Named::ring("leaked");
    // TIDs are smaller.
    let tid = 1u64 << 22;
    let life = |slot: u64| 4096 * (1 + slot) + 4080;
    name.set(life(0), 2 << 32 | 1 << 29 | 1);
    name.set(life(1), 1 << 32 | tid);
    let (code, found) = json(&[&name.0]);
    let notes: Vec<_> = found["notes"].as_array().unwrap().iter().map(|note| &note["field"]).collect();
    assert_eq!((code, notes), (0, vec![&Value::from("slot[0].life"), &"slot[1].life".into()]));
    let table = &found["participants"];
    assert_eq!((&table["joining"], &table["gone"], &table["attached"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(table["slots"][1]["thread"]["state"], "gone");
}

#[test]
fn what_is_no_segment_is_told_at_once() {
    let folder = Named::new("folder");
    fs::create_dir(folder.path()).unwrap();
    let fifo = Named::new("fifo");
    nix::unistd::mkfifo(&fifo.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let socket = Named::new("socket");
    let _listener = std::os::unix::net::UnixListener::bind(socket.path()).unwrap();
    let link = Named::new("link");
    std::os::unix::fs::symlink("/dev/null", link.path()).unwrap();
    let none = Named::new("none");
    for (name, says) in [
        (&folder.0, "a directory"),
        (&fifo.0, "a fifo"),
        (&socket.0, "a socket"),
        (&link.0, "a symbolic link"),
        (&none.0, "does not exist"),
        (&"/dev/null".to_owned(), "a device"),
        (&"/".to_owned(), "a directory"),
    ] {
        let output = run(&[name]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(66), 0), "{name}: {error}");
        assert!(error.starts_with("error: ") && error.contains(says), "{name}: {error}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_exit_code_64() {
    for arguments in [
        &[][..],
        &[""],
        &["a", "b"],
        &["a", "--hex", "5"],
        &["a", "--hex", "9..5"],
        &["a", "--hex", "0..99999999"],
        &["a", "--records=many"],
        &["a", "--fast"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(64), "{arguments:?}");
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn any_file_is_looked_at() {
    let file = Named::new("file");
    for length in [0, 1, 63, 64, 4095, 4096, 70_000] {
        let bytes: Vec<u8> = (0..length).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(file.path(), &bytes).unwrap();
        for arguments in [&[file.0.as_str()][..], &[&file.0, "--json"], &[&file.0, "--records", "--hex", "0..99999"]] {
            assert_eq!(run(arguments).status.code(), Some(1), "{length} bytes, {arguments:?}");
        }
    }
    // As large as a file can be, and nearly all of it a hole, with a valid header.
    let (name, _ring) = Named::ring("sparse");
    File::options().write(true).open(name.path()).unwrap().set_len(1 << 40).unwrap();
    let (code, found) = json(&[&name.0]);
    assert_eq!((code, &found["notes"][0]["field"]), (0, &"length".into()));
}

#[test]
fn records_and_bytes_are_shown_when_asked_for() {
    let (name, _ring) = Named::ring("shown");
    let (code, text) = said(&[&name.0, "--records=1", "--hex", "20480+32"]);
    assert_eq!(code, 0);
    assert!(text.contains("and 1 more: --records=2 lists all"), "{text}");
    // Length 5, kind 7, the payload.
    assert!(text.contains("5000:") && text.contains("05 00 00 00 07 00 00 00  66 69 72 73 74"), "{text}");
    assert!(text.contains("........first"), "{text}");
    let (_, found) = json(&[&name.0, "--records=1", "--hex", "0..8"]);
    assert_eq!(found["listed_records"].as_array().unwrap().len(), 1);
    assert_eq!((&found["hex"]["offset"], &found["hex"]["bytes"]), (&0.into(), &"4f574e5244454144".into()));
    let (_, found) = json(&[&name.0]);
    assert!(found.get("listed_records").is_none() && found.get("hex").is_none());
}

#[test]
fn looking_changes_nothing() {
    let (name, ring) = Named::ring("unchanged");
    let before = fs::read(name.path()).unwrap();
    run(&[&name.0, "--records", "--hex", "0..99999"]);
    assert_eq!(fs::read(name.path()).unwrap(), before);
    assert_eq!(ring.attach().unwrap().id().incarnation, 2);
    Segment::unlink(&name.0).unwrap();
}

#[test]
fn a_reader_that_has_seen_enough_changes_nothing_in_the_exit_code() {
    let (name, _ring) = Named::ring("pipe");
    for expected in [0, 1] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ownerdead"));
        // The reader is gone before the first line.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.args(["inspect", &name.0]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        std::io::stderr().write_all(&output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(expected), 0));
        name.set(0, 0);
    }
}
