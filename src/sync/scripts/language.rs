//! Reads a script.

use super::{Came, Stage};
use crate::sync::futex::Woken;
use crate::sync::robust::{OWNER_DIED, TID_MASK, WAITERS};
use std::fmt::Write as _;

/// A whole script.
#[derive(Debug)]
pub(in crate::sync) struct Script {
    pub(in crate::sync) name: &'static str,
    pub(in crate::sync) lines: Vec<Line>,
    /// Who takes part, and what each is.
    pub(in crate::sync) actors: Vec<Role>,
    pub(in crate::sync) words: Vec<&'static str>,
}

/// One who takes part.
#[derive(Debug)]
pub(in crate::sync) struct Role {
    pub(in crate::sync) name: &'static str,
    /// Not the first thread of its process.
    #[cfg_attr(any(loom, shuttle), allow(dead_code, reason = "a simulated process is a thread"))]
    pub(in crate::sync) thread: bool,
    /// Begins as somebody's child, later.
    #[cfg_attr(any(loom, shuttle), allow(dead_code, reason = "no simulated process forks"))]
    pub(in crate::sync) forked: bool,
}

/// One step of a script.
#[derive(Debug)]
pub(in crate::sync) struct Line {
    pub(in crate::sync) text: &'static str,
    pub(in crate::sync) step: Step,
    /// Under each kind of kernel.
    pub(in crate::sync) brings: [String; 2],
}

#[derive(Debug)]
pub(in crate::sync) enum Step {
    Does(usize, Deed),
    Is(usize, Value),
}

/// What a process does. Words and processes are indices.
#[derive(Debug)]
pub(in crate::sync) enum Deed {
    Sets(usize, Value),
    Links(usize, usize),
    Unlinks(usize),
    Pends(usize),
    PendsNode(usize),
    Clears,
    /// Word, whether its high half, and what must be in it.
    Sleeps(Vec<(usize, bool, Value)>),
    Wakes(usize, bool, u32),
    WakesBoth(usize, usize),
    Dies,
    Exits,
    Ends,
    Execs,
    Forks(#[cfg_attr(any(loom, shuttle), allow(dead_code, reason = "no simulated process forks"))] usize),
}

/// The value of a word: a number, perhaps with a TID in it.
#[derive(Debug, Default)]
pub(in crate::sync) struct Value {
    number: u64,
    tid_of: Option<usize>,
}

impl Value {
    pub(in crate::sync) fn with(&self, tid: impl Fn(usize) -> u32) -> u64 {
        self.number | u64::from(self.tid_of.map_or(0, tid))
    }
}

impl Script {
    /// Reads one.
    ///
    /// # Panics
    /// With the line that it does not understand.
    pub(in crate::sync) fn new(name: &'static str, text: &'static str) -> Self {
        let mut script = Self { name, lines: Vec::new(), actors: Vec::new(), words: Vec::new() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            script.read(line).unwrap_or_else(|| panic!("{name}: no line of a script: `{line}`"));
        }
        // Every word is looked at when all is over.
        let end = script.lines.iter().rposition(|line| matches!(line.step, Step::Does(..))).map_or(0, |last| last + 1);
        for (word, called) in script.words.iter().enumerate() {
            let looked = script.lines[end..].iter().any(|line| matches!(line.step, Step::Is(of, _) if of == word));
            assert!(looked, "{name}: what is in `{called}` at the end?");
        }
        script
    }

    fn read(&mut self, line: &'static str) -> Option<()> {
        let (text, brings) = line.split_once("->").unwrap_or((line, "nobody"));
        let (here, elsewhere) = brings.split_once('/').unwrap_or((brings, brings));
        let brings = [here.trim().to_owned(), elsewhere.trim().to_owned()];
        let parts: Vec<&'static str> = text.split_whitespace().collect();
        let step = match *parts.as_slice() {
            [who, "is", "a", "thread"] => {
                let actor = self.actor(who);
                self.actors[actor].thread = true;
                return Some(());
            }
            [word, "is", value] => Step::Is(self.word(word), self.value(value)?),
            [who, "forks", child] => {
                let (who, child) = (self.actor(who), self.actor(child));
                self.actors[child].forked = true;
                Step::Does(who, Deed::Forks(child))
            }
            [who, verb, ref rest @ ..] => {
                let who = self.actor(who);
                Step::Does(who, self.deed(verb, rest)?)
            }
            _ => return None,
        };
        self.lines.push(Line { text: text.trim(), step, brings });
        Some(())
    }

    fn deed(&mut self, verb: &str, rest: &[&'static str]) -> Option<Deed> {
        Some(match (verb, rest) {
            ("sets", [word, value]) => Deed::Sets(self.word(word), self.value(value)?),
            ("links", [word]) => Deed::Links(self.word(word), 1),
            ("links", [word, times]) => Deed::Links(self.word(word), times.parse().ok()?),
            ("unlinks", [word]) => Deed::Unlinks(self.word(word)),
            ("pends", ["node", word]) => Deed::PendsNode(self.word(word)),
            ("pends", [word]) => Deed::Pends(self.word(word)),
            ("clears", []) => Deed::Clears,
            ("sleeps", waits) if !waits.is_empty() => {
                let wait = |wait: &&'static str| {
                    let (half, value) = wait.split_once('=')?;
                    let (word, high) = self.half(half);
                    Some((word, high, self.value(value)?))
                };
                Deed::Sleeps(waits.iter().map(wait).collect::<Option<_>>()?)
            }
            ("wakes", [word, "and", other]) => Deed::WakesBoth(self.word(word), self.word(other)),
            ("wakes", [half, count]) => {
                let (word, high) = self.half(half);
                Deed::Wakes(word, high, count.parse().ok()?)
            }
            ("dies", []) => Deed::Dies,
            ("exits", []) => Deed::Exits,
            ("ends", []) => Deed::Ends,
            ("execs", []) => Deed::Execs,
            _ => return None,
        })
    }

    fn actor(&mut self, name: &'static str) -> usize {
        self.actors.iter().position(|role| role.name == name).unwrap_or_else(|| {
            self.actors.push(Role { name, thread: false, forked: false });
            self.actors.len() - 1
        })
    }

    fn word(&mut self, name: &'static str) -> usize {
        self.words.iter().position(|&word| word == name).unwrap_or_else(|| {
            self.words.push(name);
            self.words.len() - 1
        })
    }

    fn half(&mut self, text: &'static str) -> (usize, bool) {
        match text.strip_suffix(".high") {
            Some(word) => (self.word(word), true),
            None => (self.word(text), false),
        }
    }

    fn value(&mut self, text: &'static str) -> Option<Value> {
        let mut value = Value::default();
        for part in text.split('|') {
            match part {
                "W" => value.number |= u64::from(WAITERS),
                "D" => value.number |= u64::from(OWNER_DIED),
                _ if part.starts_with(|first: char| first.is_ascii_digit()) => {
                    let (number, shift) = part.split_once("<<").unwrap_or((part, "0"));
                    value.number |= number.parse::<u64>().ok()? << shift.parse::<u32>().ok()?;
                }
                _ if value.tid_of.is_none() => value.tid_of = Some(self.actor(part)),
                _ => return None,
            }
        }
        Some(value)
    }

    /// As it stands after an arrow.
    pub(in crate::sync) fn told(&self, mut came: Came) -> String {
        came.back.sort_by_key(|&(actor, _)| actor);
        let how = |woken: Woken| match woken {
            Woken::By(index) => format!("by {index}"),
            Woken::Changed => "changed".to_owned(),
            Woken::TimedOut => "timed out".to_owned(),
        };
        let back = came.back.iter().map(|&(actor, woken)| format!("{} {}", self.actors[actor].name, how(woken)));
        let back = back.collect::<Vec<_>>().join(", ");
        match (came.count, back.is_empty()) {
            (None, true) => "nobody".to_owned(),
            (None, false) => back,
            (Some(count), true) => count.to_string(),
            (Some(count), false) => format!("{count}: {back}"),
        }
    }

    /// A value as it stands in a script.
    pub(in crate::sync) fn shown(&self, value: u64, stage: &dyn Stage) -> String {
        let (low, high) = (value as u32, value >> 32);
        let tid = low & TID_MASK;
        let mut text = match (0..self.actors.len()).find(|&actor| tid != 0 && stage.tid(actor) == tid) {
            Some(actor) => self.actors[actor].name.to_owned(),
            None => tid.to_string(),
        };
        for (bit, letter) in [(OWNER_DIED, "|D"), (WAITERS, "|W")] {
            text.push_str(if low & bit != 0 { letter } else { "" });
        }
        if high != 0 {
            let _ = write!(text, "|{high}<<32");
        }
        text
    }
}
