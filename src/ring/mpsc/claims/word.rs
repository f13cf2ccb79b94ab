//! The word of a block: what a record says of itself that begins there.
//!
//! It is an [`owner::Claim`](crate::owner::Claim) that has the record's blocks where a slot's has the low bits of its lap:
//!
//! | value | state | next |
//! |---|---|---|
//! | that of a free claim, lap (49 bits) | FREE: no record of this lap begins here, yet | WRITING or VOID, same lap, if one begins here; else FREE, next lap |
//! | that of a writing one, slot, incarnation, blocks | WRITING: that thread writes a record | FULL or VOID, same lap and blocks; FREE, next lap, after its death |
//! | that of a full one, blocks, lap (31 bits) | FULL: a record is to be read | FREE, next lap |
//! | the same with bit 17 of its lap | VOID: nothing, up to where the next record begins: padding, or given up | FREE, next lap |
//!
//! WAITERS may stand beside FREE and WRITING: the consumer sleeps until it changes. FREE in the next lap is the consumer's doing alone.
//!
//! Why no word but FREE needs more of its lap, and WRITING none:
//!
//! 1. A free word is claimed by a compare-and-swap that compares all 49 bits: a producer that was stopped for a lap or many fails.
//! 2. A word with blocks is looked at by the consumer at its own position, which moves on by the consumer's own hand: the lap is
//!    that of the position.
//! 3. And by a producer that helps the write index on from `p` to the record's end. It has seen that the index was `p`, and then that the
//!    read index was less than a lap behind: so the block was freed for this lap before. If what it finds is of a later lap, the
//!    consumer has been there since, and that moves the write index past a record before it frees it: the help's compare-and-swap,
//!    from `p`, fails. No index comes twice.
//! 4. The word of a living holder is changed by nobody else (but for WAITERS), and that of a dead one by the consumer alone.

use crate::owner::{Claim, ClaimState, Holder};

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockWord(pub(crate) u64);

/// What a word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// No record begins here, in a lap of 49 bits.
    Free { lap: u64 },
    /// Somebody writes a record.
    Writing { holder: Holder, blocks: u64 },
    /// A record, or `void`, nothing; the lap has 31 bits.
    Done { blocks: u64, lap: u64, void: bool },
    /// None of these: nobody who follows the protocol writes it.
    Damaged,
}

/// Bit of a full claim's lap.
const VOID: u64 = 1 << Claim::NARROW;
const LAP_SHIFT: u32 = Claim::NARROW + 1;

impl BlockWord {
    /// The most blocks of a record.
    pub(crate) const MOST_BLOCKS: u64 = (1 << Claim::NARROW) - 1;
    const LAPS: u64 = 1 << (Claim::WIDE - LAP_SHIFT);

    pub(crate) fn free(lap: u64) -> Self {
        Self(Claim::free(lap).0)
    }

    pub(crate) fn writing(holder: Holder, blocks: u64) -> Self {
        Self(Claim::writing(holder, blocks).0)
    }

    pub(crate) fn full(lap: u64, blocks: u64) -> Self {
        Self(Claim::full(lap << LAP_SHIFT | blocks).0)
    }

    pub(crate) fn void(lap: u64, blocks: u64) -> Self {
        Self(Claim::full(lap << LAP_SHIFT | VOID | blocks).0)
    }

    pub(crate) fn with_waiters(self) -> Self {
        Self(Claim(self.0).with_waiters().0)
    }

    pub(crate) fn has_waiters(self) -> bool {
        Claim(self.0).has_waiters()
    }

    /// The futex half.
    pub(crate) fn low(self) -> u32 {
        Claim(self.0).low()
    }

    pub(crate) fn says(self) -> Says {
        let claim = Claim(self.0).without_waiters();
        let lap = claim.lap();
        match (claim.state(), claim.holder()) {
            (ClaimState::Free, _) => Says::Free { lap },
            (ClaimState::Writing, Some(holder)) if lap > 0 => Says::Writing { holder, blocks: lap },
            (ClaimState::Full, _) if !lap.is_multiple_of(VOID) => {
                Says::Done { blocks: lap % VOID, lap: lap >> LAP_SHIFT, void: lap & VOID != 0 }
            }
            _ => Says::Damaged,
        }
    }

    /// How many laps `found`, by a free word, is ahead of `lap`; fewer than 0: behind. Of all that the bits allow, the nearest to 0.
    #[inline]
    pub(crate) fn ahead(found: u64, lap: u64) -> i64 {
        const UNUSED: u32 = u64::BITS - Claim::WIDE;
        (found.wrapping_sub(lap) << UNUSED) as i64 >> UNUSED
    }

    /// Whether that which is done, in `lap` by its word, is of the lap `of`.
    #[inline]
    pub(crate) fn is_lap(lap: u64, of: u64) -> bool {
        lap == of % Self::LAPS
    }
}

impl core::fmt::Debug for BlockWord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BlockWord({:#018x}: {:?})", self.0, self.says())
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    const ME: Holder = Holder { slot: 4093, incarnation: u32::MAX };
    const MOST: u64 = BlockWord::MOST_BLOCKS;

    #[test]
    fn a_word_gives_back_what_it_was_made_of() {
        for lap in [0, 1, 131_071, 131_072, 1 << 31, 1 << 40] {
            assert_eq!(BlockWord::free(lap).says(), Says::Free { lap });
            assert_eq!(BlockWord::free(lap).with_waiters().says(), Says::Free { lap });
            for ahead in -1..=1 {
                assert_eq!(BlockWord::ahead(lap, lap.wrapping_sub(ahead as u64)), ahead);
            }
            for blocks in [1, 2, MOST] {
                let short = lap % BlockWord::LAPS;
                let done = |void| Says::Done { blocks, lap: short, void };
                assert_eq!(BlockWord::full(lap, blocks).says(), done(false));
                assert_eq!(BlockWord::void(lap, blocks).with_waiters().says(), done(true));
                assert_eq!(BlockWord::writing(ME, blocks).says(), Says::Writing { holder: ME, blocks });
                assert!(BlockWord::is_lap(short, lap) && !BlockWord::is_lap(short, lap + 1));
            }
        }
    }

    #[test]
    fn a_record_of_no_blocks_or_one_that_is_read_is_damage() {
        for word in [BlockWord::writing(ME, 0), BlockWord::full(7, 0), BlockWord::void(7, 0)] {
            assert_eq!(word.says(), Says::Damaged, "{word:?}");
        }
        assert_eq!(BlockWord(Claim::reading(ME, 1).0).says(), Says::Damaged);
        assert_eq!(BlockWord(5).says(), Says::Damaged);
    }
}
