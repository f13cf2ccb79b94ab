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
use super::table::Table;
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
    // Relaxed, all of it: the sleep itself compares again, under the kernel's lock, and whoever finds the holder dead here
    // looks again with `dead`, which acquires.
    let mut life = Life(slot.life().load(Relaxed));
    loop {
        if life.incarnation() != holder.incarnation || !life.has_tid() {
            return Ok(());
        }
        if life.has_waiters() {
            break;
        }
        match slot.life().compare_exchange(life.0, life.with_waiters().0, Relaxed, Relaxed) {
            Ok(_) => life = life.with_waiters(),
            Err(seen) => life = Life(seen),
        }
    }
    me.list().set_pending(slot.gate());
    let mut waits = [Wait { word: Word::Low(slot.gate()), expected: 0 }; MAX_WAITS];
    waits[1..=words.len()].copy_from_slice(words);
    waits[words.len() + 1] = Wait { word: Word::Low(slot.life()), expected: life.low() };
    waits[words.len() + 2] = Wait { word: Word::High(slot.life()), expected: life.incarnation() };
    let woken = wait_any(&waits[..words.len() + 3], 1, deadline);
    let now = Life(slot.life().load(Relaxed));
    if now.incarnation() != holder.incarnation || !now.has_tid() {
        wake(Word::Low(slot.life()), ALL);
    }
    if woken == Woken::TimedOut { Err(TimedOut) } else { Ok(()) }
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
pub(crate) fn watch(table: &Table, holder: Holder) -> Option<[Wait<'_>; 2]> {
    let slot = table.slot(holder)?;
    // Relaxed: as in `sleep_on_holder`.
    let mut life = Life(slot.life().load(Relaxed));
    while life.incarnation() == holder.incarnation && life.has_tid() {
        let asked = life.with_waiters();
        if life == asked || slot.life().compare_exchange(life.0, asked.0, Relaxed, Relaxed).is_ok() {
            return Some([
                Wait { word: Word::Low(slot.life()), expected: asked.low() },
                Wait { word: Word::High(slot.life()), expected: asked.incarnation() },
            ]);
        }
        life = Life(slot.life().load(Relaxed));
    }
    None
}
