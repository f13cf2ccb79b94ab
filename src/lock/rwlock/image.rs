//! A reader-writer lock as bytes: what its words say.

use super::super::image::{LockState, check_align, robust_state};
use super::super::shared::{TYPE, VALUE, WORD, places};
use super::WAITING;
use crate::data::primitive_name;
use crate::owner::{Right, RightState};
use crate::segment::image::{HolderReport, Layout, Look, Word};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;

/// A reader-writer lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RwLockReport {
    /// What the writer's word says.
    pub state: LockState,
    /// Which writer has it, or waits for readers, dead or alive.
    pub writer: Option<HolderReport>,
    /// It waits for readers to leave, or died while it did: it has changed nothing.
    pub waiting: bool,
    /// It had it from a dead one, and has not marked it consistent yet.
    pub inherited: bool,
    /// Somebody may sleep on it.
    pub waiters: bool,
    /// The writer's word.
    pub word: Word,
    /// Who reads. A dead one among them keeps nobody out.
    pub readers: Vec<HolderReport>,
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

/// The lock in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn rwlock(look: &mut Look<'_>, layout: &Layout) -> Option<RwLockReport> {
    let body = layout.body_offset();
    let right = Right(look.word(body + WORD as u64)?);
    let [fingerprint, size, align] = look.words(body + TYPE as u64)?;
    check_align(look, "rwlock.align", size, align);
    let line = size_of::<Line<AtomicU64>>() as u64;
    let fits = usize::try_from(size).ok().filter(|&size| size <= isize::MAX as usize / 2).map(|size| {
        let first = places(size) as u64;
        (first, first + u64::from(layout.slots()) * line)
    });
    let Some((first, end)) = fits.filter(|&(_, end)| end == layout.body_len()) else {
        let expected = format!("one with which the body is {} bytes, by the header", layout.body_len());
        look.problem("rwlock.size", size, expected);
        return None;
    };
    debug_assert!(first < end);
    let held = matches!(right.state(), RightState::Held(_));
    let waiting = held && right.tag() == WAITING;
    let bare = if waiting { right.with_tag(0) } else { right };
    let (state, writer) = robust_state(look, layout, "rwlock.word", bare);
    let mut readers = Vec::new();
    for slot in 0..layout.slots() {
        let place = Right(look.word(body + first + u64::from(slot) * line)?);
        let field = format!("rwlock.place[{slot}]");
        match place.state() {
            RightState::Vacant if place == Right::FREE => {}
            RightState::Held(holder) if holder.slot == slot && !place.is_inherited() && place.tag() == 0 => {
                readers.extend(layout.holder(look, &field, holder));
            }
            _ => look.problem(field, Word(place.0), "0, or held by its own slot"),
        }
    }
    Some(RwLockReport {
        state,
        waiting,
        inherited: writer.is_some() && right.is_inherited(),
        writer,
        waiters: right.has_waiters(),
        word: Word(right.0),
        readers,
        fingerprint: Word(fingerprint),
        type_name: primitive_name(fingerprint, size),
        size,
        align,
        value_offset: body + VALUE as u64,
    })
}
