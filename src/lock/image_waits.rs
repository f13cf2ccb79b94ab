//! Condition variables, once and barrier as bytes: what their words say.

use super::barrier::{MAX_PARTIES, Phase};
use super::condvar::{CONDVARS, COUNT, OWED, WAITERS, WATCHERS};
use super::once::DONE;
use super::segments::{PLACE, PLACES};
use super::shared::{CONDVARS_AT, WORD};
use crate::owner::{Right, RightState};
use crate::segment::image::{HolderReport, Layout, Look, Word};

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

/// A once-initialisation, with or without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct OnceReport {
    /// What its word says.
    pub state: OnceReportState,
    /// Who tries, dead or alive.
    pub holder: Option<HolderReport>,
    /// Tries that have failed before, as far as somebody has noticed; 0 when it is done.
    pub failed: u32,
    /// Somebody may sleep on it.
    pub waiters: bool,
    /// The word.
    pub word: Word,
}

/// What the word of a once-initialisation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum OnceReportState {
    /// Nobody tries.
    Vacant,
    /// Somebody who lives tries.
    Tried,
    /// Somebody died trying: who calls next tries again.
    Died,
    /// Done.
    Done,
    /// The word is none that anybody writes who follows the protocol.
    Damaged,
}

/// The once-initialisation in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn once(look: &mut Look<'_>, layout: &Layout) -> Option<OnceReport> {
    let word = look.word(layout.body_offset() + WORD as u64)?;
    let right = Right(word);
    let done = right.without_waiters() == DONE;
    let (state, holder) = match right.state() {
        _ if done => (OnceReportState::Done, None),
        RightState::Vacant => (OnceReportState::Vacant, None),
        RightState::Held(holder) if !right.is_inherited() => match layout.holder(look, "once.word", holder) {
            Some(holder) => (if holder.alive { OnceReportState::Tried } else { OnceReportState::Died }, Some(holder)),
            None => (OnceReportState::Damaged, None),
        },
        _ => {
            look.problem("once.word", Word(word), "free, held by a slot of the participants' table, or done");
            (OnceReportState::Damaged, None)
        }
    };
    let failed = if done { 0 } else { right.tag() };
    Some(OnceReport { state, holder, failed, waiters: right.has_waiters(), word: Word(word) })
}

/// A barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BarrierReport {
    /// Phases that were completed, modulo 2^32.
    pub completed: u32,
    /// The seat whose holder's death has broken this phase.
    pub broken_by: Option<usize>,
    /// All are to be woken, and perhaps were not yet.
    pub owed: bool,
    /// The phase's word.
    pub phase: Word,
    /// Its parties, by their seats.
    pub parties: Vec<PartyReport>,
}

/// A party of a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PartyReport {
    /// Who has its seat, dead or alive; none if it is vacant, or damaged.
    pub holder: Option<HolderReport>,
    /// It has arrived in this phase.
    pub arrived: bool,
    /// The right of the seat.
    pub right: Word,
}

/// The barrier in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn barrier(look: &mut Look<'_>, layout: &Layout) -> Option<BarrierReport> {
    let body = layout.body_offset();
    let parties = look.word(body)?;
    let phase = Phase(look.word(body + 128)?);
    let gate = look.word(body + 256)?;
    if gate != 0 {
        look.problem("barrier.gate", Word(gate), "0");
    }
    let mut report = BarrierReport {
        completed: phase.completed(),
        broken_by: phase.is_broken().then(|| phase.seat()),
        owed: phase.is_owed(),
        phase: Word(phase.0),
        parties: Vec::new(),
    };
    if !(1..=MAX_PARTIES as u64).contains(&parties) {
        look.problem("barrier.parties", parties, format!("1 to {MAX_PARTIES}"));
        return Some(report);
    }
    for number in 0..parties {
        let Some([word, _, arrived]) = look.words(body + PLACES as u64 + PLACE as u64 * number) else { break };
        let right = Right(word);
        let name = format!("barrier.seat[{number}]");
        let holder = match right.state() {
            RightState::Vacant => None,
            RightState::Held(holder) => layout.holder(look, &name, holder),
            RightState::Suspect | RightState::NotRecoverable | RightState::Damaged => {
                look.problem(name, Word(word), "vacant, or a slot of the participants' table");
                None
            }
        };
        report.parties.push(PartyReport { holder, arrived: arrived == phase.event() + 1, right: Word(word) });
    }
    Some(report)
}
