//! A semaphore as bytes: what its words say.

use super::MAX_PERMITS;
use super::shared::{GATE, PERMITS, PLACES};
use crate::owner::{Right, RightState};
use crate::segment::image::{HolderReport, Layout, Look, Word};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;

/// A semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SemaphoreReport {
    /// How many permits there are.
    pub permits: u64,
    /// Those that are not free.
    pub held: Vec<PermitReport>,
}

/// A permit that is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PermitReport {
    /// Which one, from 0.
    pub number: u64,
    /// Who has it. A dead one's can be had. `None` if the word is damaged.
    pub holder: Option<HolderReport>,
    /// Somebody may sleep on it.
    pub waiters: bool,
    /// Its word.
    pub word: Word,
}

/// The semaphore in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn semaphore(look: &mut Look<'_>, layout: &Layout) -> Option<SemaphoreReport> {
    let body = layout.body_offset();
    let permits = look.word(body + PERMITS as u64)?;
    if !(1..=MAX_PERMITS as u64).contains(&permits) {
        look.problem("semaphore.permits", permits, format!("1 to {MAX_PERMITS}"));
        return None;
    }
    let line = size_of::<Line<AtomicU64>>() as u64;
    let needed = PLACES as u64 + permits * line;
    if layout.body_len() < needed {
        let expected = format!("as many as fit into {} bytes, by the header's body length", layout.body_len());
        look.problem("semaphore.permits", permits, expected);
        return None;
    }
    let gate = look.word(body + GATE as u64)?;
    if gate != 0 {
        look.problem("semaphore.gate", Word(gate), "0");
    }
    let mut held = Vec::new();
    for number in 0..permits {
        let right = Right(look.word(body + PLACES as u64 + number * line)?);
        if right == Right::FREE {
            continue;
        }
        let field = format!("semaphore.permit[{number}]");
        let holder = match right.state() {
            RightState::Held(holder) if right.tag() == 0 && !right.is_inherited() => {
                layout.holder(look, &field, holder)
            }
            _ => {
                look.problem(field, Word(right.0), "0, or held by a slot of the participants' table");
                None
            }
        };
        held.push(PermitReport { number, holder, waiters: right.has_waiters(), word: Word(right.0) });
    }
    Some(SemaphoreReport { permits, held })
}
