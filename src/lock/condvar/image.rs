//! Condition variables as bytes: what their words say.

use super::super::shared::CONDVARS_AT;
use super::{CONDVARS, COUNT, OWED, WAITERS, WATCHERS};
use crate::segment::image::{Layout, Look, Word};

/// A condition variable of a robust mutex.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CondvarReport {
    /// Notifications that found somebody waiting, modulo 2^29.
    pub notifications: u32,
    /// Somebody may wait.
    pub waiters: bool,
    /// Somebody may wait, and watch a thread.
    pub watchers: bool,
    /// All are to be woken, and perhaps were not yet.
    pub owed: bool,
}

/// Those of the mutex in the body.
pub(crate) fn condvars(look: &mut Look<'_>, layout: &Layout) -> Vec<CondvarReport> {
    let first = layout.body_offset() + CONDVARS_AT as u64;
    let mut found = Vec::new();
    for number in 0..CONDVARS as u64 {
        let Some([sequence, gate]) = look.words(first + 16 * number) else { break };
        if gate != 0 {
            look.problem(format!("condvar[{number}].gate"), Word(gate), "0");
        }
        if sequence >> 32 != 0 {
            look.problem(format!("condvar[{number}].sequence"), Word(sequence), "its upper 32 bits 0");
        }
        let low = sequence as u32;
        let (waiters, watchers, owed) = (low & WAITERS != 0, low & WATCHERS != 0, low & OWED != 0);
        found.push(CondvarReport { notifications: low & COUNT, waiters, watchers, owed });
    }
    found
}
