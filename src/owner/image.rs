//! Life words as bytes: what one says, for those who look at a segment and take no part in it.

use super::right::{Holder, Life};

/// The largest TID that Linux gives (`PID_MAX_LIMIT`).
const MOST_TID: u32 = 1 << 22;

/// What a slot of the participants' table is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SlotState {
    /// Never taken, or left: can be taken.
    Free,
    /// A thread is moving in, or died while it did, which leaks the slot.
    Joining,
    /// A thread is attached.
    Attached,
    /// A thread is moving out, or died while it did, which leaks the slot.
    Leaving,
    /// Its thread died: can be taken.
    Dead,
    /// Taken 2^32 - 1 times: never again.
    Retired,
    /// The word is none that anybody writes who follows the protocol.
    Damaged,
}

/// What a life word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeFound {
    /// The word.
    pub word: u64,
}

impl LifeFound {
    /// What the slot is used for.
    pub fn state(self) -> SlotState {
        let life = Life(self.word);
        match self.tid() {
            // The first taking counts the incarnation up to 1, and the kernel marks words that have a TID.
            _ if life.incarnation() == 0 && !life.is_untouched() => SlotState::Damaged,
            Some(tid) if tid <= MOST_TID && !life.is_marked_dead() => SlotState::Attached,
            Some(_) => SlotState::Damaged,
            None if life.is_joining() => SlotState::Joining,
            None if life.is_leaving() => SlotState::Leaving,
            None if !life.is_vacated() => SlotState::Damaged,
            None if !life.can_be_taken() => SlotState::Retired,
            None if life.is_marked_dead() => SlotState::Dead,
            None => SlotState::Free,
        }
    }

    /// The TID in it, if it has one.
    pub fn tid(self) -> Option<u32> {
        Life(self.word).tid()
    }

    /// Number of its latest taking, from 1; 0 if it was never taken.
    pub fn incarnation(self) -> u32 {
        Life(self.word).incarnation()
    }

    /// Somebody may sleep until its thread is gone.
    pub fn has_waiters(self) -> bool {
        Life(self.word).has_waiters()
    }

    /// Whether `holder`, whose slot this is, is alive. To be asked of a word that was read after the right that names the holder.
    pub fn lives(self, holder: Holder) -> bool {
        Life(self.word).lives(holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::robust::{OWNER_DIED, WAITERS};

    #[test]
    fn a_life_word_says_its_state_with_waiters_and_without() {
        const JOINING: u32 = 1 << 29 | 1;
        const LEAVING: u32 = 1 << 29 | 2;
        for (incarnation, low, state) in [
            (0, 0, SlotState::Free),
            (3, 0, SlotState::Free),
            (1, JOINING, SlotState::Joining),
            (1, LEAVING, SlotState::Leaving),
            (1, 4711, SlotState::Attached),
            (1, MOST_TID, SlotState::Attached),
            (u32::MAX, 4711, SlotState::Attached),
            (1, OWNER_DIED, SlotState::Dead),
            (u32::MAX, 0, SlotState::Retired),
            (u32::MAX, OWNER_DIED, SlotState::Retired),
            (0, 4711, SlotState::Damaged),
            (0, OWNER_DIED, SlotState::Damaged),
            (0, JOINING, SlotState::Damaged),
            (1, MOST_TID + 1, SlotState::Damaged),
            (1, OWNER_DIED | 4711, SlotState::Damaged),
            (1, OWNER_DIED | JOINING, SlotState::Damaged),
            (1, 1 << 29, SlotState::Damaged),
            (1, 1 << 29 | 3, SlotState::Damaged),
        ] {
            for low in [low, low | WAITERS] {
                let found = LifeFound { word: u64::from(incarnation) << 32 | u64::from(low) };
                assert_eq!(found.state(), state, "{incarnation}, {low:#x}");
            }
        }
    }

    #[test]
    fn only_the_thread_of_that_taking_lives() {
        let found = LifeFound { word: 7 << 32 | 4711 };
        assert!(found.lives(Holder { slot: 0, incarnation: 7 }) && !found.lives(Holder { slot: 0, incarnation: 6 }));
        assert_eq!((found.tid(), found.incarnation(), found.has_waiters()), (Some(4711), 7, false));
    }
}
