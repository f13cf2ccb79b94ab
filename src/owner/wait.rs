//! Sleeping until something happens or a holder dies.
//!
//! What must be so that no sleeper is forgotten, whoever dies when:
//!
//! 1. WAITERS is in the holder's life word before the sleep, or the kernel would wake nobody.
//! 2. The sleep is on the gate of the holder's slot, then on the caller's words, then on the low and the high half of the
//!    life word. The kernel compares in that order; the high half last proves that the low half is still that holder's.
//! 3. The gate is the pending operation from before the sleep until the caller needs nothing any more: one that was woken
//!    and dies makes the kernel wake another one there.
//! 4. The kernel wakes one when a holder dies. Whoever wakes and finds the holder dead wakes all.

use super::attachment::Attachment;
use super::right::{Holder, Life, Right};
use super::table::{Slot, Table};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};
use crate::sync::futex::{ALL, FEW_WAITS, MAX_WAITS, Wait, Woken, Word, wait_any, wake};
use core::time::Duration;

/// Sleeps until one of `words` changes or `holder` dies, and says whether the deadline has passed. The caller looks at its
/// words again in any case, and calls [`finish_waiting`] when it needs nothing any more. `words` come in the order in which
/// they are to be compared; `words[0]` is the one to sleep on where the kernel allows only one.
///
/// Returns at once if the holder is dead, or its slot does not exist.
pub(crate) fn sleep_on_holder(
    me: &Attachment,
    holder: Holder,
    words: &[Wait<'_>],
    deadline: Option<Duration>,
) -> Result<(), TimedOut> {
    let Some(slot) = me.table().slot(holder) else { return Ok(()) };
    let Some(life) = watch(slot, holder) else { return Ok(()) };
    me.list().set_pending(slot.gate());
    let woken = if words.len() + 3 <= FEW_WAITS {
        sleep::<FEW_WAITS>(slot, life, words, deadline)
    } else {
        sleep::<MAX_WAITS>(slot, life, words, deadline)
    };
    wake_others(slot, holder);
    if woken == Woken::TimedOut { Err(TimedOut) } else { Ok(()) }
}

/// Waits while `word`, a right that was `seen`, names `holder`, who was found alive: looks for as long as the thread is to, and then sleeps.
/// What it says after that, read with Acquire. Whether it slept is said in `slept`: then the caller calls [`finish_waiting`] when it needs
/// nothing any more. All who change the right take its WAITERS off with it, and wake all there.
///
/// # Errors
/// [`TimedOut`], if somebody alive has it still: to wait for the dead never is one.
pub(crate) fn wait_for_holder(
    me: &Attachment,
    word: &AtomicU64,
    seen: Right,
    holder: Holder,
    deadline: Option<Duration>,
    slept: &mut bool,
) -> Result<Right, TimedOut> {
    let lives = |holder| me.table().dead(holder) == Some(false);
    // Relaxed: what it has seen is looked at again below.
    me.spin(deadline, || word.load(Relaxed) == seen.0 && lives(holder));
    let waiting = seen.with_waiters();
    // Relaxed on success: it only asks for a wake, and the sleep compares the word again under the kernel's lock.
    if seen != waiting
        && let Err(now) = word.compare_exchange(seen.0, waiting.0, Relaxed, Acquire)
    {
        return Ok(Right(now));
    }
    *slept = true;
    let words = [Wait { word: Word::Low(word), expected: waiting.low() }];
    let timed_out = sleep_on_holder(me, holder, &words, deadline).is_err();
    let now = Right(word.load(Acquire));
    // Whoever timed out tries still if nobody alive has it.
    if timed_out && now.holder().is_some_and(lives) { Err(TimedOut) } else { Ok(now) }
}

/// The sleep itself, on at most `MOST` words, the gate and the life word's halves included.
fn sleep<const MOST: usize>(slot: &Slot, life: Life, words: &[Wait<'_>], deadline: Option<Duration>) -> Woken {
    let mut waits = [Wait { word: Word::Low(slot.gate()), expected: 0 }; MOST];
    waits[1..=words.len()].copy_from_slice(words);
    waits[words.len() + 1] = Wait { word: Word::Low(slot.life()), expected: life.low() };
    waits[words.len() + 2] = Wait { word: Word::High(slot.life()), expected: life.incarnation() };
    wait_any(&waits[..words.len() + 3], 1, deadline)
}

/// Ends a sleep of one thread at another one's word: it is no longer what it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt<'a> {
    word: &'a AtomicU64,
    expected: u64,
}

impl<'a> Interrupt<'a> {
    pub(crate) fn new(word: &'a AtomicU64, expected: u64) -> Self {
        Self { word, expected }
    }

    pub(crate) fn raised(&self) -> bool {
        // Relaxed: a hint to come back; who does reads it with Acquire.
        self.word.load(Relaxed) != self.expected
    }

    /// After each sleep at `gate`, where otherwise one sleeps and the kernel wakes one: that may have been this thread, so all there are woken.
    /// Whether it is to sleep no more.
    pub(crate) fn ends(&self, gate: &AtomicU64) -> bool {
        wake(Word::Low(gate), ALL);
        self.raised()
    }

    pub(crate) fn wait(&self) -> Wait<'a> {
        Wait { word: Word::Low(self.word), expected: self.expected as u32 }
    }
}

/// Sleeps until one of `words` changes, one of `holders` dies, or `gate` is woken; says how it ended. For structures in which a sleeper
/// may wait for several threads at once, or for none that has a name. `gate` is the structure's own: an always-0 word that all its
/// sleepers sleep on, and their pending operation, so that a woken one that dies wakes the next one there. The caller looks again at all
/// it waits for in any case; when it needs nothing any more it wakes one at the gate, and calls [`finish_waiting`].
///
/// The order is that of [`sleep_on_holder`]: gate, words, and of each holder the low and the high half of its life word; where the kernel
/// allows only one, it is the first of `words`. At most [`MAX_WAITS`] words in all. Nobody wakes all at a dead one's life word here: see
/// [`wake_those_who_wait_for_the_dead`]. Returns at once if a holder is dead, or its slot does not exist.
pub(crate) fn sleep_on_holders<'a>(
    me: &'a Attachment,
    gate: &'a AtomicU64,
    words: impl Iterator<Item = Wait<'a>>,
    holders: impl Iterator<Item = Holder>,
    deadline: Option<Duration>,
) -> Woken {
    let mut waits = [Wait { word: Word::Low(gate), expected: 0 }; MAX_WAITS];
    let mut count = 1;
    for word in words {
        waits[count] = word;
        count += 1;
    }
    for holder in holders {
        let Some(slot) = me.table().slot(holder) else { return Woken::Changed };
        let Some(life) = watch(slot, holder) else { return Woken::Changed };
        waits[count] = Wait { word: Word::Low(slot.life()), expected: life.low() };
        waits[count + 1] = Wait { word: Word::High(slot.life()), expected: life.incarnation() };
        count += 2;
    }
    me.list().set_pending(gate);
    wait_any(&waits[..count], 1, deadline)
}

/// See [`wake_others`].
pub(crate) fn wake_those_who_wait_for_the_dead(me: &Attachment, holders: impl Iterator<Item = Holder>) {
    for (slot, holder) in holders.filter_map(|holder| Some((me.table().slot(holder)?, holder))) {
        wake_others(slot, holder);
    }
}

/// Asks for a wake when `holder`, of this slot, dies: what its life word is then. `None` if it is dead.
fn watch(slot: &Slot, holder: Holder) -> Option<Life> {
    // Relaxed, all of it: the sleep itself compares again, under the kernel's lock, and whoever finds the holder dead here
    // looks again with `dead`, which acquires.
    let mut life = Life(slot.life().load(Relaxed));
    loop {
        if !life.lives(holder) {
            return None;
        }
        if life.has_waiters() {
            return Some(life);
        }
        match slot.life().compare_exchange(life.0, life.with_waiters().0, Relaxed, Relaxed) {
            Ok(_) => life = life.with_waiters(),
            Err(seen) => life = Life(seen),
        }
    }
}

/// The kernel wakes one when a holder dies, who may not be the one that has to go on: so that one wakes all who sleep on its life word.
fn wake_others(slot: &Slot, holder: Holder) {
    // Relaxed: who is woken looks again with `dead` before it takes anything.
    if !Life(slot.life().load(Relaxed)).lives(holder) {
        wake(Word::Low(slot.life()), ALL);
    }
}

/// The deadline of a sleep has passed.
pub(crate) struct TimedOut;

/// The caller has what it waited for, or gives up: no wake-up is owed to anybody any more.
pub(crate) fn finish_waiting(me: &Attachment) {
    me.list().clear_pending();
}

/// Asks to be woken when `holder` dies, and gives the words to be compared for that, in this order: the halves of its life word. None
/// if it is dead, or its slot does not exist. For those who watch several at once, with a gate of their structure's own: all who
/// sleep on life words of its segment must sleep on that gate before, and have it pending, and whoever wakes and finds a death
/// must wake all there.
pub(crate) fn watch_life(table: &Table, holder: Holder) -> Option<[Wait<'_>; 2]> {
    let slot = table.slot(holder)?;
    let life = watch(slot, holder)?;
    Some([
        Wait { word: Word::Low(slot.life()), expected: life.low() },
        Wait { word: Word::High(slot.life()), expected: life.incarnation() },
    ])
}
