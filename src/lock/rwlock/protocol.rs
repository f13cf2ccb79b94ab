//! Who gets the lock, and who sleeps on whom.
//!
//! A reader publishes its place and then looks at the writer's word; a writer publishes its word and then looks at the places.
//! Whichever fence comes second sees what the other one has published: the reader draws its place back, or the writer waits for
//! it. The reader has nothing any more when it sleeps on the writer, so they do not wait for each other.
//!
//! Each sleep is on one holder: the writer's word and its holder, or a place and its holder. Both are swapped when they are given up,
//! so that the one who leaves sees that somebody sleeps, and wakes all; should it die before, its life word does.

use super::super::error::Trouble;
use super::{Data, RwLock, WAITING};
use crate::owner::{Attachment, Holder, Right, TimedOut, finish_waiting, wait_for_holder};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::sync::atomic::fence;
use crate::sync::futex::{ALL, Word, wake};
use core::time::Duration;

/// How a writer has the lock.
pub(super) enum Had {
    Consistent,
    FromTheDead,
}

/// How long to wait for it.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    None,
    Until(Option<Duration>),
}

/// Why it was not had.
pub(super) enum Refused {
    Busy,
    /// To a reader: the last writer died, or panicked, and nobody has repaired yet.
    OwnerDied,
    Trouble(Trouble),
}

impl<E> From<E> for Refused
where
    Trouble: From<E>,
{
    #[cold]
    fn from(error: E) -> Self {
        Self::Trouble(error.into())
    }
}

/// What the writer's word says.
enum Found {
    Free,
    /// Of one who waited for readers, and died: nothing has changed.
    Forsaken,
    /// Of one who died, or panicked, while it could change the data.
    Broken,
    Alive(Holder),
}

impl<T: Data> RwLock<T> {
    /// A share of the lock, for reading.
    #[inline]
    pub(super) fn acquire_shared(&self, me: &Attachment, patience: Patience) -> Result<(), Refused> {
        let place = self.place_of(me)?;
        let mut slept = false;
        let result = loop {
            // Relaxed: a writer that finds it and must wait for it has its fence behind this one's, which shows it the life word too; one
            // that has not, is seen below. A swap over what one who died in this slot has left.
            place.swap(Right::held_by(me.id()).0, Relaxed);
            // With the fence of `readers_leave`: see above.
            fence(SeqCst);
            // Acquire: the data, as the last writer left them.
            let seen = Right(self.word.load(Acquire));
            // With WAITERS it is damaged, and free still, as `judge` says: else this would go on for ever.
            if seen.without_waiters() == Right::FREE {
                break Ok(());
            }
            leave(place);
            if let Err(refused) = self.until_no_writer(me, patience, seen, &mut slept) {
                break Err(refused);
            }
        };
        if slept {
            finish_waiting(me);
        }
        result?;
        me.intact()?;
        me.right_taken();
        Ok(())
    }

    /// All of the lock, for writing.
    #[inline]
    pub(super) fn acquire_exclusive(&self, me: &Attachment, patience: Patience) -> Result<Had, Refused> {
        self.place_of(me)?;
        let mut slept = false;
        let result = self.take_word(me, patience, &mut slept).and_then(|had| {
            let left = self.readers_leave(me, patience, &mut slept);
            if left.is_err() {
                self.release(if matches!(had, Had::FromTheDead) { Right::SUSPECT } else { Right::FREE });
            }
            left.map(|()| had)
        });
        if slept {
            finish_waiting(me);
        }
        let had = result?;
        me.intact()?;
        // From here on a death is told. Acquire keeps all changes of the data behind it.
        self.word.fetch_and(Right(u64::MAX).with_tag(0).0, Acquire);
        me.right_taken();
        Ok(had)
    }

    /// A reader's share ends.
    #[inline]
    pub(super) fn release_shared(&self, me: &Attachment) {
        me.right_given_up();
        leave(&self.places[me.id().slot as usize]);
    }

    /// The writer is done, and leaves the lock as `to`.
    #[inline]
    pub(super) fn release_exclusive(&self, me: &Attachment, to: Right) {
        me.right_given_up();
        self.release(to);
    }

    /// The caller's place, which is empty.
    #[inline]
    fn place_of(&self, me: &Attachment) -> Result<&AtomicU64, Refused> {
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(Refused::Trouble(Trouble::WrongSegment));
        }
        // In bounds: invariant 1 of `RwLock`, and a member's slot is one of the table.
        let place = &self.places[me.id().slot as usize];
        // Relaxed: only this thread makes it name this thread.
        if Right(place.load(Relaxed)).holder() == Some(me.id()) {
            return Err(Refused::Trouble(Trouble::Deadlock));
        }
        Ok(place)
    }

    fn judge(&self, me: &Attachment, seen: Right) -> Result<Found, Refused> {
        match seen.without_waiters() {
            Right::FREE => return Ok(Found::Free),
            Right::SUSPECT => return Ok(Found::Broken),
            Right::NOT_RECOVERABLE => return Err(Refused::Trouble(Trouble::NotRecoverable)),
            _ => {}
        }
        let corrupt = Refused::Trouble(Trouble::Corrupt(seen.0));
        let Some(holder) = seen.holder() else { return Err(corrupt) };
        if holder == me.id() {
            return Err(Refused::Trouble(Trouble::Deadlock));
        }
        match self.table.dead(holder) {
            None => Err(corrupt),
            Some(false) => Ok(Found::Alive(holder)),
            Some(true) if seen.tag() == WAITING && !seen.is_inherited() => Ok(Found::Forsaken),
            Some(true) => Ok(Found::Broken),
        }
    }

    /// Returns when readers are let in, as far as is known.
    #[cold]
    fn until_no_writer(
        &self,
        me: &Attachment,
        patience: Patience,
        mut seen: Right,
        slept: &mut bool,
    ) -> Result<(), Refused> {
        loop {
            match self.judge(me, seen)? {
                Found::Free => return Ok(()),
                Found::Broken => {
                    // `judge` has acquired the death: this load is no older than the last store before it, which may be an unlock.
                    let now = Right(self.word.load(Acquire));
                    if now == seen {
                        return Err(Refused::OwnerDied);
                    }
                    seen = now;
                }
                // Relaxed: nothing has changed. WAITERS is dropped: they sleep on the dead one's life word too.
                Found::Forsaken => match self.word.compare_exchange(seen.0, Right::FREE.0, Relaxed, Acquire) {
                    Ok(_) => return Ok(()),
                    Err(now) => seen = Right(now),
                },
                Found::Alive(holder) => {
                    let Patience::Until(deadline) = patience else { return Err(Refused::Busy) };
                    seen = self.sleep(me, &self.word, seen, holder, deadline, slept)?;
                }
            }
        }
    }

    /// Takes the writer's word, as one who waits for the readers to leave.
    #[inline]
    fn take_word(&self, me: &Attachment, patience: Patience, slept: &mut bool) -> Result<Had, Refused> {
        let mine = Right::held_by(me.id()).with_tag(WAITING);
        let mut seen = Right::FREE;
        loop {
            let (to, had) = match self.judge(me, seen)? {
                Found::Free | Found::Forsaken => (mine, Had::Consistent),
                Found::Broken => (mine.inherited(), Had::FromTheDead),
                Found::Alive(holder) => {
                    let Patience::Until(deadline) = patience else { return Err(Refused::Busy) };
                    seen = self.sleep(me, &self.word, seen, holder, deadline, slept)?;
                    continue;
                }
            };
            // Release: the incarnation, for who judges it by `dead`. The data are acquired by the fence of `readers_leave`, which follows.
            // On failure Acquire, since `now` is judged. WAITERS is dropped, as above.
            match self.word.compare_exchange(seen.0, to.0, Release, Acquire) {
                Ok(_) => return Ok(had),
                Err(now) => seen = Right(now),
            }
        }
    }

    /// Waits until nobody alive reads. The caller has the writer's word, so no place that it has found empty is taken again for long.
    fn readers_leave(&self, me: &Attachment, patience: Patience, slept: &mut bool) -> Result<(), Refused> {
        // With the fence of `acquire_shared`: see above.
        fence(SeqCst);
        for (slot, place) in self.places.iter().enumerate() {
            // Acquire: what the reader did before it left.
            let mut seen = Right(place.load(Acquire));
            while seen != Right::FREE {
                // A place is of its own slot's thread alone; anything else is damage.
                let holder = seen.holder().filter(|holder| holder.slot as usize == slot);
                let dead = holder.and_then(|holder| Some((holder, self.table.dead(holder)?)));
                let Some((holder, dead)) = dead else {
                    return Err(Refused::Trouble(Trouble::CorruptPlace(seen.0)));
                };
                if dead {
                    // It has ended with its holder; who takes the slot next writes over it.
                    break;
                }
                let Patience::Until(deadline) = patience else { return Err(Refused::Busy) };
                seen = self.sleep(me, place, seen, holder, deadline, slept)?;
            }
        }
        Ok(())
    }

    /// Sleeps while `word` is `seen`, and `holder`, who is named there, lives; the word after that.
    fn sleep(
        &self,
        me: &Attachment,
        word: &AtomicU64,
        seen: Right,
        holder: Holder,
        deadline: Option<Duration>,
        slept: &mut bool,
    ) -> Result<Right, Refused> {
        let waited = wait_for_holder(me, word, seen, holder, deadline, slept);
        waited.map_err(|TimedOut| Refused::Busy)
    }

    fn release(&self, to: Right) {
        // Release: the guarded data, for who comes next. A swap, so that no sleeper's WAITERS is overwritten unseen.
        let old = Right(self.word.swap(to.0, Release));
        if old.has_waiters() {
            // All of them: readers go on together, and one that was woken alone could die.
            wake(Word::Low(&self.word), ALL);
        }
    }
}

/// Gives a place up.
#[inline]
fn leave(place: &AtomicU64) {
    // Release: what was read, before a writer changes it. A swap, so that the writer's WAITERS is seen.
    let old = Right(place.swap(Right::FREE.0, Release));
    if old.has_waiters() {
        wake(Word::Low(place), ALL);
    }
}
