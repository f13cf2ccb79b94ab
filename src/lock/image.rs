//! A mutex as bytes: what its words say.

use super::futex::{CONTENDED, FREE, LOCKED};
use super::shared::{TYPE, VALUE, WORD};
use crate::data::primitive_name;
use crate::owner::{Right, RightState};
use crate::segment::Kind;
use crate::segment::image::{HolderReport, Layout, Look, Word};

/// A mutex of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MutexReport {
    /// Whether it is a robust mutex; else it is a futex mutex, which does not say who holds it.
    pub robust: bool,
    /// What the lock word says.
    pub state: LockState,
    /// Who holds it, dead or alive.
    pub holder: Option<HolderReport>,
    /// Taken from a dead one, and not yet marked consistent.
    pub inherited: bool,
    /// Somebody may sleep on it.
    pub waiters: bool,
    /// The lock word: 64 bits of a robust mutex, 32 of a futex mutex.
    pub word: Word,
    /// Fingerprint of the guarded type.
    pub fingerprint: Word,
    /// What that type is called, if it is an integer, a float or an array of them.
    pub type_name: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Its alignment in bytes.
    pub align: u64,
    /// Where the guarded value lies in the segment, in bytes.
    pub value_offset: u64,
}

/// What a lock word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum LockState {
    /// Nobody holds it.
    Free,
    /// Somebody who lives holds it; of a futex mutex, somebody who may be dead.
    Held,
    /// Its holder died: who locks it next is told.
    OwnerDied,
    /// Given up in a panic: who locks it next is told.
    Suspect,
    /// Nobody repaired it: nobody can lock it any more.
    NotRecoverable,
    /// The word is none that anybody writes who follows the protocol.
    Damaged,
}

/// The mutex in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn mutex(look: &mut Look<'_>, layout: &Layout) -> Option<MutexReport> {
    let body = layout.body_offset();
    let robust = layout.kind() == Kind::MUTEX;
    let word = look.word(body + WORD as u64)?;
    let [fingerprint, size, align] = look.words(body + TYPE as u64)?;
    check_align(look, "mutex.align", size, align);
    let in_body = layout.body_len().checked_sub(VALUE as u64);
    if in_body != Some(size) {
        let expected =
            in_body.map_or("a larger body".to_owned(), |bytes| format!("{bytes}, by the header's body length"));
        look.problem("mutex.size", size, expected);
    }
    let (state, holder) =
        if robust { robust_state(look, layout, "mutex.word", Right(word)) } else { futex_state(look, word as u32) };
    Some(MutexReport {
        robust,
        state,
        inherited: holder.is_some() && Right(word).is_inherited(),
        holder,
        waiters: if robust { Right(word).has_waiters() } else { word as u32 == CONTENDED },
        word: Word(if robust { word } else { u64::from(word as u32) }),
        fingerprint: Word(fingerprint),
        type_name: primitive_name(fingerprint, size),
        size,
        align,
        value_offset: body + VALUE as u64,
    })
}

/// Whether a type of this size can have this alignment.
pub(super) fn check_align(look: &mut Look<'_>, field: &str, size: u64, align: u64) {
    if !align.is_power_of_two() || align > VALUE as u64 {
        look.problem(field, align, format!("a power of two, at most {VALUE}"));
    } else if !size.is_multiple_of(align) {
        look.problem(field, align, format!("a divisor of the size, {size}"));
    }
}

/// What the word of a robust lock, which is called `field`, says.
pub(super) fn robust_state(
    look: &mut Look<'_>,
    layout: &Layout,
    field: &str,
    right: Right,
) -> (LockState, Option<HolderReport>) {
    // Locks have no tags.
    let state = if right.tag() == 0 { right.state() } else { RightState::Damaged };
    match state {
        RightState::Vacant => (LockState::Free, None),
        RightState::Suspect => (LockState::Suspect, None),
        RightState::NotRecoverable => {
            look.note(field, "it is not recoverable: nobody can lock it any more; make a new one");
            (LockState::NotRecoverable, None)
        }
        RightState::Held(holder) => match layout.holder(look, field, holder) {
            Some(holder) => (if holder.alive { LockState::Held } else { LockState::OwnerDied }, Some(holder)),
            None => (LockState::Damaged, None),
        },
        RightState::Damaged => {
            let expected = "free, held by a slot of the participants' table, suspect or not recoverable";
            look.problem(field, Word(right.0), expected);
            (LockState::Damaged, None)
        }
    }
}

fn futex_state(look: &mut Look<'_>, word: u32) -> (LockState, Option<HolderReport>) {
    let state = match word {
        FREE => LockState::Free,
        LOCKED | CONTENDED => LockState::Held,
        other => {
            look.problem("mutex.word", Word(other.into()), "0 (free), 1 (locked) or 2 (locked, with sleepers)");
            LockState::Damaged
        }
    };
    (state, None)
}
