//! What a child says to the engine, and how it ended.

use super::{Finding, Kind, Memory};
use crate::sync::atomic::Ordering::SeqCst;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this exit code.
    Exited(i32),
    /// By a signal.
    Signal(i32),
    /// It stopped itself, and stands.
    Stopped,
    /// Not at all in the time that it had; it was killed. Where it was.
    Hung(String),
}

impl End {
    /// By a status of `waitpid`.
    pub(super) fn of(status: i32) -> Self {
        match () {
            () if libc::WIFSTOPPED(status) => Self::Stopped,
            () if libc::WIFSIGNALED(status) => Self::Signal(libc::WTERMSIG(status)),
            () => Self::Exited(libc::WEXITSTATUS(status)),
        }
    }
}

/// A child's code for a panic, as Rust's own.
const PANICKED: i32 = 101;
/// A child's code for a finding.
const FOUND: i32 = 1;

/// What a child says to the engine: memory that both have.
#[derive(Debug)]
pub(super) struct Board(Memory);

/// Words of the board.
const LOGGED: usize = 0;
const WHOLE: usize = 1;
const MISSED: usize = 2;
const MAPS: usize = 11;
const KIND: usize = 3;
const LENGTH: usize = 4;
/// Three words.
const TASK: usize = 5;
/// Three words.
const END: usize = 8;
const TEXT: usize = 16;
const WORDS: usize = 512;

impl Board {
    pub(super) fn new() -> io::Result<Self> {
        Memory::zeroed(8 * WORDS).map(Self)
    }

    fn set(&self, word: usize, value: u64) {
        self.0.words()[word].store(value, SeqCst);
    }

    fn get(&self, word: usize) -> u64 {
        self.0.words()[word].load(SeqCst)
    }

    pub(super) fn clear(&self) {
        (0..TEXT).for_each(|word| self.set(word, 0));
    }

    /// So many words of the log are written, and whether the operation came to its end.
    pub(super) fn recorded(&self, words: usize, whole: bool) {
        self.set(LOGGED, words as u64);
        self.set(WHOLE, whole.into());
    }

    /// Says what the next process is to do.
    pub(super) fn give(&self, task: [u64; 3]) {
        task.into_iter().enumerate().for_each(|(index, word)| self.set(TASK + index, word));
    }

    /// What it is to do.
    pub(super) fn task(&self) -> [u64; 3] {
        [0, 1, 2].map(|index| self.get(TASK + index))
    }

    /// Says how process `pid` ended.
    pub(super) fn tell_end(&self, pid: u32, end: &End) {
        let (kind, value) = match end {
            End::Exited(code) => (0, *code as u64),
            End::Signal(signal) => (1, *signal as u64),
            End::Stopped => (2, 0),
            End::Hung(place) => {
                self.say(0, place);
                (3, 0)
            }
        };
        [pid.into(), kind, value].into_iter().enumerate().for_each(|(index, word)| self.set(END + index, word));
    }

    /// Which process has ended, and how.
    pub(super) fn ended(&self) -> (u32, End) {
        let [pid, kind, value] = [0, 1, 2].map(|index| self.get(END + index));
        let end = match kind {
            0 => End::Exited(value as i32),
            1 => End::Signal(value as i32),
            2 => End::Stopped,
            _ => End::Hung(self.text()),
        };
        (pid as u32, end)
    }

    pub(super) fn missed_boundary(&self) {
        self.set(MISSED, self.get(MISSED) + 1);
    }

    /// The operation changes what its process has mapped, or makes another one.
    pub(super) fn maps_memory(&self) {
        self.set(MAPS, 1);
    }

    /// Words of the log, whether it is whole, boundaries missed, whether it [`Self::maps_memory`].
    pub(super) fn recording(&self) -> (usize, bool, u64, bool) {
        (self.get(LOGGED) as usize, self.get(WHOLE) != 0, self.get(MISSED), self.get(MAPS) != 0)
    }

    /// Writes what came of it.
    fn say(&self, kind: u64, text: &str) {
        let bytes = text.as_bytes();
        let bytes = &bytes[..bytes.len().min(8 * (WORDS - TEXT))];
        for (index, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.set(TEXT + index, u64::from_le_bytes(word));
        }
        self.set(LENGTH, bytes.len() as u64);
        self.set(KIND, kind);
    }

    fn text(&self) -> String {
        let length = (self.get(LENGTH) as usize).min(8 * (WORDS - TEXT));
        let bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|word| self.get(TEXT + word).to_le_bytes()).collect();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn kind(&self) -> Kind {
        let said = self.get(KIND);
        Kind::ALL.into_iter().find(|&kind| kind as u64 == said).unwrap_or(Kind::Other)
    }

    /// What is said for a child that could not begin.
    pub(super) fn refuse(&self, why: &str) -> End {
        self.say(Kind::Other as u64, why);
        End::Exited(FOUND)
    }

    /// In a child: ends it with what `body` gives.
    pub(super) fn end(&self, body: impl FnOnce() -> Result<&'static str, Finding>) -> ! {
        let code = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(outcome)) => {
                self.say(0, outcome);
                0
            }
            Ok(Err(finding)) => {
                self.say(finding.kind as u64, &finding.text);
                FOUND
            }
            Err(payload) => {
                self.say(Kind::Crashed as u64, message(&*payload));
                PANICKED
            }
        };
        // SAFETY: ends the child at once: the engine's destructors and buffers are not its own.
        unsafe { libc::_exit(code) }
    }

    /// What a child that was to give an outcome has come to.
    pub(super) fn outcome(&self, end: End, patience: Duration) -> Result<String, Finding> {
        match end {
            End::Exited(0) => Ok(self.text()),
            End::Exited(FOUND) => Err(Finding::new(self.kind(), self.text())),
            End::Exited(PANICKED) => Err(Finding::new(Kind::Crashed, format!("panicked: {}", self.text()))),
            End::Exited(code) => Err(Finding::new(Kind::Crashed, format!("ended by itself, with exit code {code}"))),
            End::Signal(signal) => Err(Finding::new(Kind::Crashed, format!("ended by signal {signal}"))),
            End::Stopped => Err(Finding::new(Kind::Stuck, "stopped itself")),
            End::Hung(place) => Err(Finding::new(Kind::Stuck, format!("did not end in {patience:?}: {place}"))),
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_says_arrives_and_is_cut_where_the_board_ends() {
        let board = Board::new().expect("memory");
        for text in ["", "torn", &"x".repeat(9999)] {
            board.say(Kind::Torn as u64, text);
            assert_eq!(board.text(), text[..text.len().min(8 * (WORDS - TEXT))]);
        }
    }

    #[test]
    fn how_a_process_ended_arrives() {
        let board = Board::new().expect("memory");
        for end in [End::Exited(101), End::Signal(9), End::Stopped, End::Hung("futex_wait".into())] {
            board.tell_end(77, &end);
            assert_eq!(board.ended(), (77, end));
        }
    }
}
