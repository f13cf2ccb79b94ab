//! A seat: a right that is held for as long as a role is played, with a generation that counts its take-overs from the dead.
//!
//! The right's tag is the generation modulo 2^17, so both change in one compare-and-swap. `generation` is a wide copy, brought
//! up to date in each repair; readers take it for the upper bits only, so it may lag by up to 65,535 repairs that died.

use super::attachment::Attachment;
use super::right::{Holder, Right};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::futex::{ALL, Word, wake};

/// The words of a seat in shared memory. All-zero: vacant, generation 0.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub struct SeatWords {
    right: AtomicU64,
    generation: AtomicU64,
}

/// Whose seat it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatState {
    /// Nobody's: never taken, or given up.
    Vacant,
    /// Somebody's who lives.
    Alive(Holder),
    /// Somebody's who died: who opens it next takes it over.
    Dead(Holder),
    /// The word names no slot of the table: the segment is damaged.
    Corrupt(u64),
}

/// What a seat's word said, for one who waits on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatFound {
    /// Whose it was.
    pub state: SeatState,
    /// The futex half of the word.
    pub low: u32,
}

/// A seat that was just taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// It was taken over from a dead holder, and what it protects must be repaired before [`SeatWords::repaired`].
    pub from_the_dead: bool,
}

/// A seat that was opened.
#[derive(Debug)]
#[must_use = "dropping it gives the seat up again"]
pub enum Opened<H> {
    /// It was nobody's.
    Clean(H),
    /// It was a dead one's: `EOWNERDEAD`. What it left is repaired, and the generation is one more than before.
    OwnerDied(H),
}

impl<H> Opened<H> {
    /// The seat, however it was had.
    pub fn into_inner(self) -> H {
        match self {
            Self::Clean(seat) | Self::OwnerDied(seat) => seat,
        }
    }

    /// Whether it was taken over from a dead one.
    pub fn owner_died(&self) -> bool {
        matches!(self, Self::OwnerDied(_))
    }
}

impl SeatWords {
    /// A vacant seat.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { right: AtomicU64::new(0), generation: AtomicU64::new(0) }
    }

    /// Takes the seat for `me`, if nobody alive holds it. `gate` is the structure's: an always-0 word that those sleep on who
    /// wait for a change of seats. It is pending from before the change until they are woken, so a death in between wakes one.
    /// To be followed by [`Self::repaired`].
    ///
    /// # Errors
    /// What the seat is instead: `Alive` or `Corrupt`.
    pub fn take(&self, me: &Attachment, gate: &AtomicU64) -> Result<Taken, SeatState> {
        me.list().set_pending(gate);
        let mut seen = Right(self.right.load(Acquire));
        let refused = loop {
            let mine = Right::held_by(me.id());
            let (to, from_the_dead) = match self.judge(me, seen) {
                SeatState::Vacant => (mine.with_tag(seen.tag()), false),
                SeatState::Dead(_) => (mine.with_tag(seen.tag() + 1).inherited(), true),
                refused => break refused,
            };
            // Acquire: what the last holder did before it gave the seat up (Release there). Release: who reads this right must see
            // a life word that is at least as new as the incarnation in it.
            match self.right.compare_exchange(seen.0, to.0, AcqRel, Acquire) {
                Ok(_) => {
                    me.right_taken();
                    return Ok(Taken { from_the_dead });
                }
                Err(now) => seen = Right(now),
            }
        };
        me.list().clear_pending();
        Err(refused)
    }

    /// The holder has repaired what the seat protects: it is consistent again, and those who wait for a holder hear of this one.
    pub fn repaired(&self, me: &Attachment, gate: &AtomicU64) {
        // Relaxed, all of it: only the holder writes these words while it lives, and no decision about data hangs on them.
        let right = Right(self.right.load(Relaxed));
        if right.is_inherited() {
            self.generation.store(self.wide(right), Relaxed);
            self.right.swap(right.consistent().0, Relaxed);
        }
        wake(Word::Low(gate), ALL);
        me.list().clear_pending();
    }

    /// Gives the seat up.
    pub fn give_up(&self, me: &Attachment, gate: &AtomicU64) {
        me.list().set_pending(gate);
        let tag = Right(self.right.load(Relaxed)).tag();
        // Release, for the Acquire of the next one who takes it: all that this holder did.
        self.right.swap(Right::vacant(tag).0, Release);
        me.right_given_up();
        wake(Word::Low(gate), ALL);
        me.list().clear_pending();
    }

    /// Whose seat it is. Acquire: after `Dead`, all that the dead holder wrote is visible.
    pub fn look(&self, me: &Attachment) -> SeatFound {
        self.look_in(me.table())
    }

    /// Whose seat it is, for one who takes no part.
    pub fn look_in(&self, table: &super::Table) -> SeatFound {
        let right = Right(self.right.load(Acquire));
        SeatFound { state: judge(table, right), low: right.low() }
    }

    /// How often the seat was taken over from the dead.
    pub fn generation(&self) -> u64 {
        // Relaxed: a count, of which each value was right at some moment; nothing is reached through it.
        self.wide(Right(self.right.load(Relaxed)))
    }

    /// The word to sleep on until the seat changes.
    pub fn word(&self) -> Word<'_> {
        Word::Low(&self.right)
    }

    fn judge(&self, me: &Attachment, right: Right) -> SeatState {
        judge(me.table(), right)
    }

    /// The full generation: the one nearest to the wide copy that has the tag's low bits.
    fn wide(&self, right: Right) -> u64 {
        generation(right, self.generation.load(Relaxed))
    }
}

/// The generation of a seat with this right and this wide copy.
pub(crate) fn generation(right: Right, wide: u64) -> u64 {
    let ahead = right.tag().wrapping_sub(wide as u32) % Right::TAGS;
    if ahead < Right::TAGS / 2 {
        wide.wrapping_add(ahead.into())
    } else {
        wide.wrapping_sub((Right::TAGS - ahead).into())
    }
}

fn judge(table: &super::Table, right: Right) -> SeatState {
    if right.is_vacant() {
        return SeatState::Vacant;
    }
    match right.holder().map(|holder| (holder, table.dead(holder))) {
        Some((holder, Some(false))) => SeatState::Alive(holder),
        Some((holder, Some(true))) => SeatState::Dead(holder),
        _ => SeatState::Corrupt(right.0),
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn the_generation_stays_exact_when_its_tag_wraps() {
        let seat = SeatWords::new();
        for (wide, tag, expected) in [
            (0, 0, 0),
            (0, 5, 5),
            (131_071, 0, 131_072),
            (131_072, 131_071, 131_071),
            (10 * 131_072 + 3, 7, 10 * 131_072 + 7),
        ] {
            seat.generation.store(wide, Relaxed);
            assert_eq!(seat.wide(Right::vacant(tag)), expected, "copy {wide}, tag {tag}");
        }
    }
}
