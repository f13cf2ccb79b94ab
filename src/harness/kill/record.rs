//! What a victim's single-stepping has shown.

use super::walk::{Entry, Walk};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;

/// An operation, instruction by instruction.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// Each boundary between two instructions, in order: the address of the one that follows, and the index of the state.
    pub(super) steps: Vec<Step>,
    /// Each is what was new after the one before it.
    pub(super) states: Vec<Change>,
    /// The thread that was the victim.
    pub(super) tid: u32,
    /// It was recorded to its end.
    pub(super) whole: bool,
    /// System calls behind which no breakpoint could be put.
    pub(super) missed: u64,
    /// The operation has changed what its process has mapped, or made another one.
    pub(super) maps: bool,
}

/// A boundary between two instructions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Address of the instruction that is next.
    pub(super) at: u64,
    /// Index of the state.
    pub(super) state: usize,
}

/// From one state to the next.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Words of the memory, with their values.
    memory: Vec<(usize, u64)>,
    /// Words of the facts.
    facts: Vec<(usize, u64)>,
    /// The walk, if it has changed.
    walk: Option<Walk>,
}

/// A state: what is in memory, and what the kernel would do.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) memory: Box<[u64]>,
    pub(super) facts: Box<[u64]>,
    pub(super) walk: Walk,
}

impl Recording {
    /// From the log of [`super::step`].
    pub(super) fn parse(log: &[AtomicU64], tid: u32, whole: bool, missed: u64, maps: bool) -> Self {
        let mut words = log.iter().map(|word| word.load(Relaxed));
        let mut recording = Self { tid, whole, missed, maps, ..Self::default() };
        let mut next = || words.next();
        while let (Some(at), Some(counts)) = (next(), next()) {
            let mut pairs = |count: u64| -> Vec<(usize, u64)> {
                (0..count).map_while(|_| Some((next()? as usize, next()?))).collect()
            };
            let (memory, facts) = (pairs(counts & 0xffff), pairs(counts >> 16 & 0xffff));
            let walk = (counts >> 32).checked_sub(1);
            let walk = walk.map(|entries| Walk((0..entries).map_while(|_| next()).map(Entry::unpack).collect()));
            if recording.states.is_empty() || !memory.is_empty() || !facts.is_empty() || walk.is_some() {
                recording.states.push(Change { memory, facts, walk });
            }
            recording.steps.push(Step { at, state: recording.states.len() - 1 });
        }
        recording
    }

    /// The states one after the other, of which the first is what `memory` and `facts` become by the first change.
    pub(super) fn walk_through(&self, start: &State, mut each: impl FnMut(usize, &State)) {
        let mut state = start.clone();
        for (index, change) in self.states.iter().enumerate() {
            change.memory.iter().for_each(|&(word, value)| state.memory[word] = value);
            change.facts.iter().for_each(|&(word, value)| state.facts[word] = value);
            if let Some(walk) = &change.walk {
                state.walk = walk.clone();
            }
            each(index, &state);
        }
    }
}

impl State {
    /// What is left when thread `tid` has died in it.
    pub(super) fn after_death(&self, tid: u32) -> Self {
        let mut state = self.clone();
        self.walk.apply(&mut state.memory, tid);
        state.walk = Walk::default();
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(words: &[u64]) -> Vec<AtomicU64> {
        words.iter().map(|&word| AtomicU64::new(word)).collect()
    }

    #[test]
    fn a_log_is_read_as_it_was_written() {
        // Nothing new; a word of the memory; one of the facts, and a walk of one entry.
        let log = log(&[0x10, 0, 0x11, 1, 3, 33, 0x12, 1 << 16 | 2 << 32, 5, 55, 8]);
        let recording = Recording::parse(&log, 1, true, 0, false);
        let steps: Vec<_> = recording.steps.iter().map(|step| (step.at, step.state)).collect();
        assert_eq!(steps, [(0x10, 0), (0x11, 1), (0x12, 2)]);
        let start = State { memory: vec![0; 8].into(), facts: vec![0; 8].into(), walk: Walk::default() };
        let mut seen = Vec::new();
        recording.walk_through(&start, |_, state| seen.push((state.memory[3], state.facts[5], state.walk.0.clone())));
        assert_eq!(seen, [(0, 0, vec![]), (33, 0, vec![]), (33, 55, vec![Entry::At(8)])]);
    }

    #[test]
    fn a_log_that_was_cut_off_gives_what_is_whole_of_it() {
        let recording = Recording::parse(&log(&[0x10, 0, 0x11]), 1, false, 0, false);
        assert_eq!((recording.steps.len(), recording.whole), (1, false));
    }
}
