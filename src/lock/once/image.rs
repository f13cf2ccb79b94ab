//! A once-initialisation as bytes: what its word says.

use super::super::shared::{TYPE, VALUE, WORD};
use super::DONE;
use crate::owner::{Right, RightState};
use crate::segment::image::{HolderReport, Layout, Look, Word};

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
    let [_, size, _] = look.words(layout.body_offset() + TYPE as u64)?;
    let in_body = layout.body_len().checked_sub(VALUE as u64);
    if in_body != Some(size) {
        let expected =
            in_body.map_or("a larger body".to_owned(), |bytes| format!("{bytes}, by the header's body length"));
        look.problem("once.size", size, expected);
    }
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
