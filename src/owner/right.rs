//! The word of a right, and the word of a life: their bits.

use crate::sync::robust::{OWNER_DIED, TID_MASK, WAITERS};

/// The most slots that a table can have: two slot numbers mean something else.
pub const MAX_SLOTS: usize = 4094;

/// A thread, for ever: its slot in the participants' table and which of the slot's takings it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Index of the slot.
    pub slot: u32,
    /// Number of the taking, from 1.
    pub incarnation: u32,
}

/// The value of a right.
///
/// | value | state |
/// |---|---|
/// | all 0 | free |
/// | HELD, slot, incarnation | held |
/// | the same with INHERITED | held by one who took it from the dead and has not yet said that all is repaired |
/// | HELD, slot = NOBODY, tag | free, with a tag that is kept from holder to holder |
/// | HELD, slot = NOBODY, INHERITED | free, but what it protects is suspect: its holder gave it up in a panic |
/// | HELD, slot = LOST | not recoverable: nobody repaired it |
///
/// WAITERS may stand beside each of them. HELD (bit 29) is set in every value but 0, so that none can equal a TID.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Right(pub u64);

pub(super) const HELD: u32 = 1 << 29;
const INHERITED: u32 = 1 << 30;
pub(super) const SLOT_MASK: u32 = 0xfff;
pub(super) const NOBODY: u32 = 0xfff;
const LOST: u32 = 0xffe;
const TAG_SHIFT: u32 = 12;

impl Right {
    /// Nobody holds it.
    pub const FREE: Self = Self(0);
    /// Nobody holds it, and what it protects is suspect.
    pub const SUSPECT: Self = Self((HELD | INHERITED | NOBODY) as u64);
    /// Nobody will ever hold it again.
    pub const NOT_RECOVERABLE: Self = Self((HELD | LOST) as u64);
    /// Tags are counted modulo this.
    pub const TAGS: u32 = 1 << 17;

    /// Held by `holder`.
    pub fn held_by(holder: Holder) -> Self {
        Self(u64::from(holder.incarnation) << 32 | u64::from(HELD | (holder.slot & SLOT_MASK)))
    }

    /// Free, with a tag.
    pub fn vacant(tag: u32) -> Self {
        if tag == 0 { Self::FREE } else { Self((HELD | NOBODY) as u64).with_tag(tag) }
    }

    /// The same with another tag.
    pub fn with_tag(self, tag: u32) -> Self {
        let mask = u64::from((Self::TAGS - 1) << TAG_SHIFT);
        Self(self.0 & !mask | u64::from(tag % Self::TAGS) << TAG_SHIFT)
    }

    /// The same, marked as taken from the dead.
    pub fn inherited(self) -> Self {
        Self(self.0 | u64::from(INHERITED))
    }

    /// The same, no longer marked so.
    pub fn consistent(self) -> Self {
        Self(self.0 & !u64::from(INHERITED))
    }

    /// The same, with sleepers.
    pub fn with_waiters(self) -> Self {
        Self(self.0 | u64::from(WAITERS))
    }

    /// The same, without.
    pub fn without_waiters(self) -> Self {
        Self(self.0 & !u64::from(WAITERS))
    }

    /// The futex half.
    pub fn low(self) -> u32 {
        self.0 as u32
    }

    /// The tag.
    pub fn tag(self) -> u32 {
        (self.low() >> TAG_SHIFT) & (Self::TAGS - 1)
    }

    /// Somebody may sleep on it.
    pub fn has_waiters(self) -> bool {
        self.low() & WAITERS != 0
    }

    /// Taken from the dead, or given up in a panic, and not yet repaired.
    pub fn is_inherited(self) -> bool {
        self.low() & INHERITED != 0
    }

    /// Who holds it, if somebody does.
    pub fn holder(self) -> Option<Holder> {
        let slot = self.low() & SLOT_MASK;
        let held = self.low() & HELD != 0 && slot < LOST;
        held.then_some(Holder { slot, incarnation: (self.0 >> 32) as u32 })
    }

    /// Nobody holds it, and it can be had.
    pub fn is_vacant(self) -> bool {
        self.low() & HELD == 0 || self.low() & SLOT_MASK == NOBODY
    }
}

/// What a right's word says, by the table of [`Right`].
#[cfg(not(model))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RightState {
    /// Nobody's, with or without a tag.
    Vacant,
    /// Somebody's, dead or alive.
    Held(Holder),
    /// Nobody's, given up in a panic.
    Suspect,
    /// Nobody's for ever.
    NotRecoverable,
    /// None of these: nobody who follows the protocol writes it.
    Damaged,
}

#[cfg(not(model))]
impl Right {
    /// What it says, to the letter: stricter than those who only need to know whether they can have it.
    pub(crate) fn state(self) -> RightState {
        let bare = self.without_waiters();
        match self.holder() {
            // The first taking of a slot is number 1.
            Some(Holder { incarnation: 0, .. }) => RightState::Damaged,
            Some(holder) => RightState::Held(holder),
            None if bare == Self::vacant(self.tag()) => RightState::Vacant,
            None if bare == Self::SUSPECT => RightState::Suspect,
            None if bare == Self::NOT_RECOVERABLE => RightState::NotRecoverable,
            None => RightState::Damaged,
        }
    }
}

impl core::fmt::Debug for Right {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Right({:#018x})", self.0)
    }
}

/// The value of a life word.
///
/// | low half | state | next |
/// |---|---|---|
/// | 0 | never taken, or left | JOINING, by the compare-and-swap that counts the incarnation up |
/// | JOINING | a thread is moving in; its death here leaks the slot | TID |
/// | TID | a thread lives here | LEAVING, or OWNER_DIED by the kernel |
/// | LEAVING | a thread is moving out; its death here leaks the slot | 0 |
/// | OWNER_DIED | it died | JOINING |
///
/// WAITERS may stand beside each of them: once set it stays until all were woken at the next taking or leaving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Life(pub u64);

/// No TID: the kernel caps those at 2^22.
const JOINING: u32 = HELD | 1;
const LEAVING: u32 = HELD | 2;

impl Life {
    pub(super) fn low(self) -> u32 {
        self.0 as u32
    }
    pub(super) fn incarnation(self) -> u32 {
        (self.0 >> 32) as u32
    }
    pub(super) fn has_waiters(self) -> bool {
        self.low() & WAITERS != 0
    }
    /// A thread lives here.
    pub(super) fn has_tid(self) -> bool {
        let tid = self.low() & TID_MASK;
        tid != 0 && tid & HELD == 0
    }
    /// `holder` lives here.
    #[inline]
    pub(super) fn lives(self, holder: Holder) -> bool {
        self.incarnation() == holder.incarnation && self.has_tid()
    }
    /// The slot can be taken: free or dead, and its incarnations are not used up.
    pub(super) fn can_be_taken(self) -> bool {
        self.low() & TID_MASK == 0 && self.incarnation() != u32::MAX
    }
    /// In one of the states in which a death leaks the slot.
    pub(super) fn is_moving(self) -> bool {
        matches!(self.low() & !(WAITERS | OWNER_DIED), JOINING | LEAVING)
    }
    /// The TID in it.
    #[cfg(not(model))]
    pub(super) fn tid(self) -> Option<u32> {
        self.has_tid().then_some(self.low() & TID_MASK)
    }
    #[cfg(not(model))]
    pub(super) fn is_marked_dead(self) -> bool {
        self.low() & OWNER_DIED != 0
    }
    #[cfg(not(model))]
    pub(super) fn is_joining(self) -> bool {
        self.low() & !WAITERS == JOINING
    }
    #[cfg(not(model))]
    pub(super) fn is_leaving(self) -> bool {
        self.low() & !WAITERS == LEAVING
    }
    /// No thread's, nor between two states: left, or marked by the kernel.
    #[cfg(not(model))]
    pub(super) fn is_vacated(self) -> bool {
        self.low() & TID_MASK == 0
    }
    /// As at birth, but for WAITERS.
    #[cfg(not(model))]
    pub(super) fn is_untouched(self) -> bool {
        self.low() & !WAITERS == 0
    }
    pub(super) fn joining(self) -> Self {
        Self(u64::from(self.incarnation() + 1) << 32 | u64::from(JOINING | self.low() & WAITERS))
    }
    pub(super) fn lived_by(self, tid: u32) -> Self {
        self.replace(tid | self.low() & WAITERS)
    }
    pub(super) fn leaving(self) -> Self {
        self.replace(LEAVING)
    }
    pub(super) fn left(self) -> Self {
        self.replace(0)
    }
    pub(super) fn with_waiters(self) -> Self {
        self.replace(self.low() | WAITERS)
    }
    fn replace(self, low: u32) -> Self {
        Self(self.0 & !u64::from(u32::MAX) | u64::from(low))
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn no_right_but_free_can_equal_a_tid() {
        let me = Holder { slot: 5, incarnation: 7 };
        for right in [Right::held_by(me), Right::SUSPECT, Right::NOT_RECOVERABLE, Right::vacant(3)] {
            assert!(right.low() & TID_MASK > 1 << 22, "{right:?}");
        }
    }

    #[test]
    fn a_tag_changes_nothing_else() {
        let me = Holder { slot: 4093, incarnation: u32::MAX };
        let right = Right::held_by(me).inherited().with_tag(Right::TAGS + 9);
        assert_eq!((right.tag(), right.holder(), right.is_inherited()), (9, Some(me), true));
        assert_eq!(Right::vacant(9).tag(), 9);
        assert!(Right::vacant(9).is_vacant() && Right::vacant(0).is_vacant() && Right::SUSPECT.is_vacant());
        assert!(!Right::NOT_RECOVERABLE.is_vacant() && Right::NOT_RECOVERABLE.holder().is_none());
    }

    #[test]
    fn what_a_right_says_is_one_of_its_table_or_damage() {
        let me = Holder { slot: 5, incarnation: 7 };
        let mine = Right::held_by(me);
        for (right, state) in [
            (Right::FREE, RightState::Vacant),
            (Right::vacant(9), RightState::Vacant),
            (Right::FREE.with_waiters(), RightState::Vacant),
            (mine, RightState::Held(me)),
            (mine.inherited().with_tag(3).with_waiters(), RightState::Held(me)),
            (Right::SUSPECT, RightState::Suspect),
            (Right::NOT_RECOVERABLE, RightState::NotRecoverable),
            (Right(5), RightState::Damaged),
            (Right(7 << 32), RightState::Damaged),
            (Right::held_by(Holder { slot: 5, incarnation: 0 }), RightState::Damaged),
            (Right(Right::vacant(9).0 | 1 << 32), RightState::Damaged),
            (Right(Right::SUSPECT.0 | 1 << 12), RightState::Damaged),
        ] {
            assert_eq!(right.state(), state, "{right:?}");
        }
    }

    #[test]
    fn a_slot_whose_incarnations_are_used_up_is_retired() {
        assert!(Life(0).can_be_taken());
        assert!(!Life(u64::from(u32::MAX) << 32).can_be_taken());
    }
}
