//! A claim: a right that is held for one operation, on one slot of a ring; its word also says what the slot holds, and in which lap.
//!
//! The claim *is* the compare-and-swap of the slot's word: no counter is moved first, so a thread that is killed at any moment
//! leaves no slot that is taken and names nobody. It is held while user code runs (a reservation, a look at a record), and needs
//! nothing else of the thread meanwhile: not its pending operation, which a lock may use.
//!
//! Where the word names nobody its lap has 49 bits, else the 17 low ones of them. Why that is enough:
//!
//! 1. A free word is claimed by a compare-and-swap that compares all 49 bits: one who was stopped for a lap or many fails.
//! 2. A word that names a living holder is changed by that holder, and by others only as far as WAITERS goes.
//! 3. A word that names a dead one is changed by a compare-and-swap too, never by a store: the dead one may have published
//!    before it died, and the first of several who find it wins. Such a word never comes again, since a dead `{slot, incarnation}`
//!    claims nothing any more: so from the look to the compare-and-swap that succeeds it did not change. If in between the ring's
//!    counters were within 2^16 laps of the position that one works at, its own lap is the word's, in all 49 bits.

use super::Table;
use super::right::{HELD, Holder, NOBODY, Right, SLOT_MASK};
use crate::sync::robust::WAITERS;

/// The word of a slot.
///
/// | value | state | next |
/// |---|---|---|
/// | all 0, or HELD, slot = NOBODY, lap | FREE: to be written in this lap | WRITING, same lap |
/// | HELD, slot, incarnation, lap | WRITING: that thread writes a record | FULL, same lap; FREE, next lap, by its holder who gives up, or by anybody after its death |
/// | HELD, FILLED, slot = NOBODY, lap | FULL: a record is to be read | READING, same lap |
/// | HELD, FILLED, slot, incarnation, lap | READING: that thread reads it | FREE, next lap; FULL, same lap, by its holder who gives it back; one of both by anybody after its death |
///
/// WAITERS may stand beside each of them; who changes the state takes it off, and wakes. HELD is set in every value but 0, so
/// that none can equal a TID.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Claim(pub u64);

/// There is a record.
const FILLED: u32 = 1 << 30;

/// What a slot's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// To be written.
    Free,
    /// Somebody writes.
    Writing,
    /// To be read.
    Full,
    /// Somebody reads.
    Reading,
    /// None of these: nobody who follows the protocol writes it.
    Damaged,
}

/// What a slot's word says, and of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimFound {
    /// The word, as it was read.
    pub word: Claim,
    /// What it says; `Damaged` too if its holder's slot is none of the table's.
    pub state: ClaimState,
    /// Who writes or reads.
    pub holder: Option<Holder>,
    /// That one is dead, so it has stopped.
    pub dead: bool,
}

impl Claim {
    /// Laps are counted modulo 2 to the power of this where the word names nobody.
    pub const WIDE: u32 = 49;
    /// Laps are counted modulo 2 to the power of this where it names a holder.
    pub const NARROW: u32 = 17;

    /// To be written in `lap`.
    pub fn free(lap: u64) -> Self {
        let lap = lap & ((1 << Self::WIDE) - 1);
        if lap == 0 { Self(0) } else { Self::nobodys(lap) }
    }

    /// `holder` writes in `lap`.
    pub fn writing(holder: Holder, lap: u64) -> Self {
        Self(Right::held_by(holder).with_tag(lap as u32 % Right::TAGS).0)
    }

    /// Written in `lap`.
    pub fn full(lap: u64) -> Self {
        Self(Self::nobodys(lap).0 | u64::from(FILLED))
    }

    /// `holder` reads what was written in `lap`.
    pub fn reading(holder: Holder, lap: u64) -> Self {
        Self(Self::writing(holder, lap).0 | u64::from(FILLED))
    }

    fn nobodys(lap: u64) -> Self {
        let high = (lap & ((1 << Self::WIDE) - 1)) >> Self::NARROW;
        Self(Right(high << 32 | u64::from(HELD | NOBODY)).with_tag(lap as u32 % Right::TAGS).0)
    }

    /// The same, with sleepers.
    pub fn with_waiters(self) -> Self {
        Self(self.0 | u64::from(WAITERS))
    }

    /// The same, without.
    pub fn without_waiters(self) -> Self {
        Self(self.0 & !u64::from(WAITERS))
    }

    /// Somebody may sleep until it changes.
    pub fn has_waiters(self) -> bool {
        self.low() & WAITERS != 0
    }

    /// The futex half.
    pub fn low(self) -> u32 {
        self.0 as u32
    }

    /// What it says, to the letter.
    pub fn state(self) -> ClaimState {
        let bare = self.without_waiters();
        let filled = self.low() & FILLED != 0;
        match Right(bare.0).holder() {
            // The first taking of a slot is number 1.
            Some(Holder { incarnation: 0, .. }) => ClaimState::Damaged,
            Some(_) if filled => ClaimState::Reading,
            Some(_) => ClaimState::Writing,
            None if filled && bare == Self::full(self.lap()) => ClaimState::Full,
            None if bare == Self::free(self.lap()) => ClaimState::Free,
            None => ClaimState::Damaged,
        }
    }

    /// Who writes or reads.
    pub fn holder(self) -> Option<Holder> {
        Right(self.0).holder()
    }

    /// The lap: all of its [`Self::WIDE`] bits if the word names nobody, else the [`Self::NARROW`] low ones.
    pub fn lap(self) -> u64 {
        let tag = u64::from(Right(self.0).tag());
        if self.holder().is_some() { tag } else { (self.0 >> 32) << Self::NARROW | tag }
    }

    /// How many laps the word is ahead of `lap`; fewer than 0: behind. Of all that the bits allow, the nearest to 0.
    #[inline]
    pub fn ahead_of(self, lap: u64) -> i64 {
        let unused = 64 - if self.holder().is_some() { Self::NARROW } else { Self::WIDE };
        (self.lap().wrapping_sub(lap) << unused) as i64 >> unused
    }

    /// What it says, and whether its holder lives. The word was read with Acquire: see [`Table::dead`], which acquires what a dead
    /// one wrote.
    #[inline]
    pub fn judge(self, table: &Table) -> ClaimFound {
        let (state, holder) = (self.state(), self.holder());
        let named = matches!(state, ClaimState::Writing | ClaimState::Reading);
        match holder.filter(|_| named).map(|holder| table.dead(holder)) {
            None => ClaimFound { word: self, state, holder: None, dead: false },
            Some(Some(dead)) => ClaimFound { word: self, state, holder, dead },
            Some(None) => ClaimFound { word: self, state: ClaimState::Damaged, holder, dead: false },
        }
    }
}

impl core::fmt::Debug for Claim {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Claim({:#018x}: {:?}, lap {})", self.0, self.state(), self.lap())
    }
}

const _: () = assert!(SLOT_MASK == NOBODY && Right::TAGS == 1 << Claim::NARROW && Claim::WIDE == Claim::NARROW + 32);

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::sync::robust::TID_MASK;

    const ME: Holder = Holder { slot: 4093, incarnation: u32::MAX };
    const LAPS: [u64; 7] = [0, 1, 65_535, 131_071, 131_072, 1 << 40, (1 << Claim::WIDE) - 1];

    #[test]
    fn a_word_gives_back_what_it_was_made_of() {
        for lap in LAPS {
            for (claim, state, holder) in [
                (Claim::free(lap), ClaimState::Free, None),
                (Claim::writing(ME, lap), ClaimState::Writing, Some(ME)),
                (Claim::full(lap), ClaimState::Full, None),
                (Claim::reading(ME, lap), ClaimState::Reading, Some(ME)),
            ] {
                for claim in [claim, claim.with_waiters()] {
                    assert_eq!((claim.state(), claim.holder()), (state, holder), "{claim:?}");
                    let kept = if holder.is_some() { lap % (1 << Claim::NARROW) } else { lap };
                    assert_eq!((claim.lap(), claim.ahead_of(lap)), (kept, 0), "{claim:?}");
                }
                assert!(claim.with_waiters().has_waiters() && !claim.has_waiters());
                assert_eq!(claim.with_waiters().without_waiters(), claim);
            }
        }
    }

    #[test]
    fn no_two_states_or_laps_or_holders_are_the_same_word() {
        let mut words = Vec::new();
        for lap in LAPS {
            words.extend([Claim::free(lap), Claim::full(lap)]);
        }
        for lap in 0..3 {
            for holder in [ME, Holder { slot: 0, incarnation: 1 }, Holder { slot: 0, incarnation: 2 }] {
                words.extend([Claim::writing(holder, lap), Claim::reading(holder, lap)]);
            }
        }
        let all = words.len();
        words.sort_by_key(|claim| claim.0);
        words.dedup();
        assert_eq!(words.len(), all);
    }

    #[test]
    fn how_far_a_word_is_ahead_is_right_across_the_end_of_its_laps() {
        let last = (1 << Claim::WIDE) - 1;
        assert_eq!((Claim::free(0).ahead_of(last), Claim::full(last).ahead_of(0)), (1, -1));
        assert_eq!((Claim::free(7).ahead_of(2), Claim::free(2).ahead_of(7)), (5, -5));
        let end = (1 << Claim::NARROW) - 1;
        assert_eq!((Claim::writing(ME, 0).ahead_of(end), Claim::reading(ME, end).ahead_of(1 << 20)), (1, -1));
        // A position counts its laps without end.
        assert_eq!(Claim::free(5).ahead_of((1 << Claim::WIDE) + 4), 1);
    }

    #[test]
    fn no_claim_but_free_in_the_first_lap_can_equal_a_tid() {
        for lap in LAPS {
            for claim in [Claim::writing(ME, lap), Claim::reading(ME, lap), Claim::full(lap), Claim::free(lap)] {
                assert!(claim.low() & TID_MASK > 1 << 22 || claim.0 == 0, "{claim:?}");
            }
        }
    }

    #[test]
    fn what_no_state_writes_is_damage() {
        let lost = Claim::free(9).0 & !1;
        let words = [5, 1 << 32, lost, u64::from(FILLED), Claim::free(0).0 | u64::from(HELD | NOBODY), 7 << 12];
        for word in words.into_iter().chain([Claim::writing(Holder { slot: 3, incarnation: 0 }, 1).0]) {
            assert_eq!(Claim(word).state(), ClaimState::Damaged, "{word:#x}");
        }
    }

    #[test]
    fn a_holder_that_the_table_has_no_slot_for_is_damage_and_one_that_never_was_is_dead() {
        let table = Table::private(2);
        let judge = |slot, incarnation| Claim::writing(Holder { slot, incarnation }, 1).judge(&table);
        assert_eq!((judge(2, 1).state, judge(2, 1).dead), (ClaimState::Damaged, false));
        assert_eq!((judge(1, 1).state, judge(1, 1).dead), (ClaimState::Writing, true));
        assert_eq!(Claim::full(3).judge(&table).holder, None);
    }
}
