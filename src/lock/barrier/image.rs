//! A barrier as bytes: what its words say.

use super::MAX_PARTIES;
use super::phase::Phase;
use super::shared::{GATE, PHASE, PLACE, PLACES};
use crate::owner::{Right, RightState};
use crate::segment::image::{HolderReport, Layout, Look, Word};

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
    let phase = Phase(look.word(body + PHASE as u64)?);
    let gate = look.word(body + GATE as u64)?;
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
    if layout.body_len() < PLACES as u64 + PLACE as u64 * parties {
        let expected = format!("as many as fit into {} bytes, by the header's body length", layout.body_len());
        look.problem("barrier.parties", parties, expected);
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
