//! Rows, the processes they run in, and the table in `docs/errors.md`.

use crate::process::spawn;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use std::io::{Read, Write};
use std::path::PathBuf;

/// A bad input.
pub struct Row {
    /// What it is, as the table says.
    pub input: &'static str,
    /// Does it, and gives the error. It may change its process as it likes.
    pub run: fn(&Name) -> Got,
}

pub struct Section {
    pub title: &'static str,
    pub rows: Vec<Row>,
}

/// What came of a row.
pub enum Got {
    Error(String),
    /// It cannot run here, and why.
    NotRun(&'static str),
}

impl Got {
    /// The error of what must fail.
    pub fn error<T, E: std::fmt::Display>(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => panic!("there was no error"),
            Err(error) => Self::Error(error.to_string()),
        }
    }
}

/// A name in `/dev/shm` for one row: what is there when the row has ended is removed.
pub struct Name(String);

impl Name {
    pub fn new() -> Self {
        Self(format!("ownerdead-bad-{}", std::process::id()))
    }

    /// This one.
    pub fn of(name: String) -> Self {
        Self(name)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from("/dev/shm").join(&self.0)
    }

    /// A second one.
    pub fn other(&self) -> Self {
        Self(format!("{}-other", self.0))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path());
        let _ = std::fs::remove_dir(self.path());
    }
}

/// Longer than anything that goes well takes: then the kernel ends the process, and that is a hang.
const HANG_SECONDS: u32 = 120;

/// Runs `body` in a process of its own, which must end well, and gives what it says.
pub fn in_a_process(what: &str, body: impl FnOnce() -> String) -> String {
    let (mut read, mut write) = std::io::pipe().expect("pipe");
    let mut child = spawn(|| {
        // SAFETY: no pointer is involved; the signal's default action ends the process.
        unsafe { libc::alarm(HANG_SECONDS) };
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        let (ok, text) = match said {
            Ok(text) => (b'=', text),
            Err(panic) => (b'!', panic_text(&*panic)),
        };
        write.write_all(&[&[ok], text.as_bytes()].concat()).expect("a pipe");
        assert_eq!(ok, b'=');
    });
    drop(write);
    let mut said = String::new();
    read.read_to_string(&mut said).expect("a pipe");
    let panicked = said.strip_prefix('!');
    assert!(panicked.is_none(), "{what}: panicked: {}", panicked.unwrap_or_default());
    match child.end() {
        WaitStatus::Exited(_, 0) => {}
        WaitStatus::Signaled(_, Signal::SIGALRM, _) => panic!("{what}: it hung for {HANG_SECONDS} s"),
        other => panic!("{what}: {other:?}"),
    }
    said.strip_prefix('=').unwrap_or_else(|| panic!("{what}: said {said:?}")).to_owned()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Says that a check cannot run here, and why, to the report and to who reads.
pub fn not_run(name: &str, reason: &str) {
    use ownerdead::harness::report::{Line, State};
    let state = State::NotRun;
    let line = Line { state, layer: "unit", name, cases: 0, deaths: 0, violations: 0, seconds: 0.0, detail: reason };
    line.emit();
    println!("not run: {name}: {reason}");
}

/// Runs a row.
fn run(row: &Row) -> Got {
    let name = Name::new();
    let other = name.other();
    let said = in_a_process(row.input, || match (row.run)(&name) {
        Got::Error(text) => format!("error {text}"),
        Got::NotRun(reason) => format!("not run {reason}"),
    });
    drop(other);
    match said.strip_prefix("error ") {
        Some(text) => Got::Error(text.replace(name.as_str(), "NAME")),
        None => {
            not_run(row.input, said.trim_start_matches("not run "));
            Got::NotRun("see above")
        }
    }
}

const BEGIN: &str = "<!-- The table: written by OWNERDEAD_BLESS=1 cargo test --test bad_input -->\n";
const END: &str = "<!-- The end of the table. -->\n";

/// Runs all rows, and compares the table that comes of them with the file; with `OWNERDEAD_BLESS=1` it writes it there. A row
/// that could not run here counts as what the file says.
pub fn compare_with_docs(sections: &[Section]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let file = std::fs::read_to_string(&path).expect("docs/errors.md");
    let (before, rest) = file.split_once(BEGIN).expect("the beginning of the table");
    let (documented, after) = rest.split_once(END).expect("the end of the table");
    let bless = std::env::var_os("OWNERDEAD_BLESS").is_some_and(|value| value == "1");
    let (mut table, mut inputs) = (String::new(), Vec::new());
    for section in sections {
        table += &format!("\n## {}\n\n| bad input | error |\n|---|---|\n", section.title);
        for row in &section.rows {
            assert!(!inputs.contains(&row.input), "two rows for {:?}", row.input);
            inputs.push(row.input);
            let line = match run(row) {
                Got::Error(text) => format!("| {} | {} |", row.input, text.replace('|', "\\|")),
                Got::NotRun(_) => {
                    assert!(!bless, "{:?} does not run here: bless where every row runs", row.input);
                    let is_row = |line: &&str| line.starts_with(&format!("| {} | ", row.input));
                    documented.lines().find(is_row).unwrap_or("| a row that the file lacks |").to_owned()
                }
            };
            table += &(line + "\n");
        }
    }
    table += "\n";
    if bless {
        std::fs::write(&path, [before, BEGIN, &table, END, after].concat()).expect("docs/errors.md is written");
        return;
    }
    for (found, documented) in table.lines().zip(documented.lines()) {
        assert_eq!(found, documented, "docs/errors.md (right) differs; OWNERDEAD_BLESS=1 writes it anew");
    }
    assert_eq!(table, documented, "docs/errors.md (right) differs; OWNERDEAD_BLESS=1 writes it anew");
}
