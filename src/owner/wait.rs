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
use super::right::{Holder, Life};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::futex::{ALL, MAX_WAITS, Wait, Woken, Word, wait_any, wake};
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
    let Some(life) = ask_for_the_end_of(slot.life(), holder) else { return Ok(()) };
    me.list().set_pending(slot.gate());
    let mut waits = [Wait { word: Word::Low(slot.gate()), expected: 0 }; MAX_WAITS];
    waits[1..=words.len()].copy_from_slice(words);
    waits[words.len() + 1] = Wait { word: Word::Low(slot.life()), expected: life.low() };
    waits[words.len() + 2] = Wait { word: Word::High(slot.life()), expected: life.incarnation() };
    let woken = wait_any(&waits[..words.len() + 3], 1, deadline);
    if gone(slot.life(), holder) {
        wake(Word::Low(slot.life()), ALL);
    }
    if woken == Woken::TimedOut { Err(TimedOut) } else { Ok(()) }
}

/// Sets WAITERS in the life word of `holder`, unless that one is gone; the word as it is then.
///
/// Relaxed, all of it: the sleep itself compares again, under the kernel's lock, and whoever finds the holder dead here looks again
/// with `dead`, which acquires.
fn ask_for_the_end_of(word: &AtomicU64, holder: Holder) -> Option<Life> {
    let mut life = Life(word.load(Relaxed));
    loop {
        if !life.lives(holder) {
            return None;
        }
        if life.has_waiters() {
            return Some(life);
        }
        match word.compare_exchange(life.0, life.with_waiters().0, Relaxed, Relaxed) {
            Ok(_) => life = life.with_waiters(),
            Err(seen) => life = Life(seen),
        }
    }
}

/// Whether `holder` is, for one who looks again with `dead` before it takes anything. Relaxed, for that reason.
fn gone(word: &AtomicU64, holder: Holder) -> bool {
    !Life(word.load(Relaxed)).lives(holder)
}

/// The deadline of a sleep has passed.
pub(crate) struct TimedOut;

/// The caller has what it waited for, or gives up: no wake-up is owed to anybody any more.
pub(crate) fn finish_waiting(me: &Attachment) {
    me.list().clear_pending();
}

/// Sleeps until one of `words` (two at most) changes, one of `holders` (those that there is room for) dies, or `gate` is woken; says how
/// it ended. For
/// structures in which a sleeper may wait for several threads at once, or for none that has a name. All sleepers of such a structure
/// name the same `gate`, an always-0 word of its own, which is what a woken one that dies wakes the next one at: so whoever is woken
/// must be able to find out for whom, or hand that on ([`finish_waiting`] alone does not).
///
/// The order is that of [`sleep_on_holder`]: gate, words, and of each holder the low and the high half of its life word. Returns at
/// once if one of the holders is dead.
pub(crate) fn sleep_on_holders(
    me: &Attachment,
    gate: &AtomicU64,
    words: &[Wait<'_>],
    holders: &[Holder],
    deadline: Option<Duration>,
) -> Woken {
    me.list().set_pending(gate);
    let mut waits = [Wait { word: Word::Low(gate), expected: 0 }; MAX_WAITS];
    waits[1..=words.len()].copy_from_slice(words);
    let mut count = 1 + words.len();
    for &holder in &holders[..holders.len().min(MOST_HOLDERS)] {
        let Some(slot) = me.table().slot(holder) else { return Woken::Changed };
        let Some(life) = ask_for_the_end_of(slot.life(), holder) else { return Woken::Changed };
        waits[count] = Wait { word: Word::Low(slot.life()), expected: life.low() };
        waits[count + 1] = Wait { word: Word::High(slot.life()), expected: life.incarnation() };
        count += 2;
    }
    let woken = wait_any(&waits[..count], 1, deadline);
    for slot in holders.iter().filter_map(|&holder| me.table().slot(holder).filter(|slot| gone(slot.life(), holder))) {
        wake(Word::Low(slot.life()), ALL);
    }
    woken
}

/// How many holders one sleep can name.
pub(crate) const MOST_HOLDERS: usize = (MAX_WAITS - 3) / 2;
