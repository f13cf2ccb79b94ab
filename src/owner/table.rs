//! The participants' table.

use super::right::{Holder, Life, MAX_SLOTS};
use crate::sync::Reserved;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::backing::Backing;
use crate::sync::robust::WORD_OFFSET;
use crate::sync::shm::Shared;

/// A participant's place: one page of the segment. All-zero bytes are a free slot.
///
/// The life word stands at the end of the page, so that the node of the robust list that belongs to it can lie in a
/// private page mapped behind (see [`crate::sync::robust`]).
#[cfg_attr(not(model), repr(C, align(4096)))]
#[derive(Debug)]
pub struct Slot {
    /// Always 0. A sleeper names it as its pending operation, and sleeps on it too: if the sleeper is woken and dies, the
    /// kernel wakes one more here.
    gate: AtomicU64,
    _reserved: Reserved<{ WORD_OFFSET - 8 }>,
    /// See [`super::right::Life`].
    life: AtomicU64,
    _tail: Reserved<8>,
}

#[cfg(not(model))]
const _: () = {
    assert!(size_of::<Slot>() == 4096 && align_of::<Slot>() == 4096);
    assert!(
        core::mem::offset_of!(Slot, life) == Slot::LIFE
            && Slot::LIFE == WORD_OFFSET
            && core::mem::offset_of!(Slot, gate) == 0
    );
};

impl Slot {
    /// Where the life word lies in a slot.
    #[cfg(not(model))]
    pub(crate) const LIFE: usize = WORD_OFFSET;

    /// A free slot.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { gate: AtomicU64::new(0), _reserved: Reserved::new(), life: AtomicU64::new(0), _tail: Reserved::new() }
    }

    pub(super) fn gate(&self) -> &AtomicU64 {
        &self.gate
    }

    pub(super) fn life(&self) -> &AtomicU64 {
        &self.life
    }
}

/// The participants' table of a segment: who takes part, and whether they live.
#[derive(Clone, Debug)]
pub struct Table {
    /// Invariant 1: between 1 and MAX_SLOTS slots.
    slots: Shared<[Slot]>,
    backing: Backing,
}

/// What the slots of a table are used for; their sum is its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Free, or left by a dead thread: can be taken.
    pub free: usize,
    /// A thread is attached.
    pub attached: usize,
    /// A thread is moving in or out, or died while it did, which leaks the slot.
    pub moving: usize,
    /// Taken 2^32 - 1 times: never again.
    pub retired: usize,
}

impl Table {
    /// The table in these slots.
    ///
    /// # Panics
    /// If there are none, or more than [`MAX_SLOTS`]: a segment checks that first.
    pub fn over(slots: Shared<[Slot]>) -> Self {
        assert!((1..=MAX_SLOTS).contains(&slots.len()), "a table has 1 to {MAX_SLOTS} slots, found {}", slots.len());
        Self { slots, backing: Backing::always() }
    }

    /// The same, in a mapping of a file.
    #[cfg(not(model))]
    pub(crate) fn backed(self, backing: Backing) -> Self {
        Self { backing, ..self }
    }

    /// Whether the mapping that it lies in is still that of its file.
    #[inline(always)]
    pub(crate) fn backing(&self) -> Backing {
        self.backing
    }

    /// A table on the heap. Threads of a model attach to it; real ones cannot, since a life word must be in a shared mapping.
    pub fn private(slots: usize) -> Self {
        Self::over(Shared::from_vec((0..slots).map(|_| Slot::new()).collect()))
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whether both are the same table in the same mapping.
    pub fn same_place(&self, other: &Self) -> bool {
        self.slots.same_place(&other.slots)
    }

    /// How many slots are in use, and how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for slot in self.slots.iter() {
            // Relaxed: a count for people; nothing is decided by it.
            let life = Life(slot.life.load(Ordering::Relaxed));
            if life.has_tid() {
                counts.attached += 1;
            } else if life.is_moving() {
                counts.moving += 1;
            } else if life.can_be_taken() {
                counts.free += 1;
            } else {
                counts.retired += 1;
            }
        }
        counts
    }

    /// Whether `holder`, read from a right by an Acquire load, is gone for ever. `None` if there is no such slot: the right is
    /// corrupt.
    ///
    /// Acquire, paired with the kernel's marking of the life word: what the dead thread wrote is visible to who takes its right.
    /// That the right was read with Acquire, and taken with Release, keeps this load from seeing a life word older than the
    /// right's own incarnation, which would look like a reused slot.
    #[inline]
    pub fn dead(&self, holder: Holder) -> Option<bool> {
        let life = Life(self.slot(holder)?.life.load(Ordering::Acquire));
        Some(!life.lives(holder))
    }

    pub(super) fn slot(&self, holder: Holder) -> Option<&Slot> {
        self.slots.get(holder.slot as usize)
    }

    pub(super) fn at(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    pub(super) fn life(&self, index: usize) -> Shared<AtomicU64> {
        self.slots.project(|slots| &slots[index].life)
    }
}
