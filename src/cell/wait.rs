//! Sleeping until a newer value comes, or the writer dies, or somebody takes its seat.
//!
//! A sleep on a writer that lives is on: the gate of the holder's slot, the sequence, the key's gate, the seat's right, and both
//! halves of the holder's life word (see `owner::wait`). Where nobody has the seat it is on the sequence, the key's gate and the
//! seat's right. Who takes the seat or gives it up wakes all at the key's gate; should it die before, the kernel wakes one there,
//! since the gate is its pending operation. So whoever comes back from a sleep and finds another right than before wakes all at
//! the gate, and until then has a gate pending itself: should it die too, the kernel wakes the next one.

use super::place::{Cells, Control};
use super::snapshot::SLEEPER;
use super::{Corrupt, Versioned, WaitError, WaitWriterError};
use crate::data::Data;
use crate::owner::{Attachment, SeatFound, SeatState, finish_waiting, sleep_on_holder};
use crate::sync::atomic::Ordering::{Acquire, Relaxed};
use crate::sync::futex::{ALL, Wait, Woken, Word, wait_any, wake};
use crate::sync::time;
use core::time::Duration;

impl<T: Data> Cells<T> {
    pub(super) fn wait_change(
        &self,
        me: &Attachment,
        key: usize,
        seen: u64,
        timeout: Option<Duration>,
    ) -> Result<Versioned<T>, WaitError> {
        let control = self.existing(key)?;
        if !me.is_current() {
            return Err(WaitError::Forked);
        }
        if !me.table().same_place(&self.table) {
            return Err(WaitError::WrongSegment);
        }
        let deadline = timeout.and_then(|timeout| time::now().checked_add(timeout));
        until_changed(control, me, seen, deadline)?;
        Ok(self.read(key)?)
    }

    pub(super) fn wait_writer(
        &self,
        me: &Attachment,
        key: usize,
        timeout: Option<Duration>,
    ) -> Result<(), WaitWriterError> {
        let Some(control) = self.control(key) else {
            return Err(WaitWriterError::NoSuchKey { key, keys: self.controls.len() });
        };
        if !me.is_current() {
            return Err(WaitWriterError::Forked);
        }
        if !me.table().same_place(&self.table) {
            return Err(WaitWriterError::WrongSegment);
        }
        let deadline = timeout.and_then(|timeout| time::now().checked_add(timeout));
        me.spin(deadline, || matches!(control.seat.look(me).state, SeatState::Vacant | SeatState::Dead(_)));
        let result = loop {
            let found = control.seat.look(me);
            match found.state {
                SeatState::Alive(_) => break Ok(()),
                SeatState::Corrupt(right) => break Err(Corrupt::right(right).into()),
                SeatState::Vacant | SeatState::Dead(_) => {}
            }
            if sleep_on_gate(control, me, &[gate(control), right(control, found)], deadline) == Woken::TimedOut {
                break Err(WaitWriterError::TimedOut);
            }
            tell_of_a_change(control, me, found);
        };
        finish_waiting(me);
        result
    }
}

/// Sleeps until the sequence has another number than `seen`, and says why it never will.
fn until_changed(control: &Control, me: &Attachment, seen: u64, deadline: Option<Duration>) -> Result<(), WaitError> {
    let mut slept = false;
    // Relaxed: what it has seen is looked at again below.
    let still = || {
        control.sequence.load(Relaxed) / 2 == seen
            && matches!(control.seat.look(me).state, SeatState::Alive(_) | SeatState::Vacant)
    };
    me.spin(deadline, still);
    let result = loop {
        // Relaxed, here and below: the value is read later, with Acquire.
        let word = control.sequence.load(Relaxed);
        if word / 2 != seen {
            break Ok(());
        }
        if word & SLEEPER == 0
            && control
                .sequence
                .compare_exchange(word, word | SLEEPER, Relaxed, Relaxed)
                .is_err_and(|now| now / 2 != seen)
        {
            break Ok(());
        }
        slept = true;
        let sequence = Wait { word: Word::Low(&control.sequence), expected: (word | SLEEPER) as u32 };
        if let Err(error) = sleep_on_writer(control, me, sequence, deadline) {
            // What the dead one committed last counts, and what came just in time. The state was acquired, so this is no older than
            // its last store.
            let moved = control.sequence.load(Acquire) / 2 != seen;
            break if moved { Ok(()) } else { Err(error) };
        }
    };
    if slept {
        finish_waiting(me);
    }
    result
}

/// One sleep, as the seat is now.
fn sleep_on_writer(
    control: &Control,
    me: &Attachment,
    sequence: Wait<'_>,
    deadline: Option<Duration>,
) -> Result<(), WaitError> {
    let found = control.seat.look(me);
    let words = [sequence, gate(control), right(control, found)];
    let timed_out = match found.state {
        SeatState::Dead(_) => return Err(WaitError::WriterDied),
        SeatState::Corrupt(right) => return Err(Corrupt::right(right).into()),
        SeatState::Alive(holder) => sleep_on_holder(me, holder, &words, deadline).is_err(),
        SeatState::Vacant => sleep_on_gate(control, me, &words, deadline) == Woken::TimedOut,
    };
    tell_of_a_change(control, me, found);
    if timed_out { Err(WaitError::TimedOut) } else { Ok(()) }
}

/// Sleeps on `words` with the key's gate pending.
fn sleep_on_gate(control: &Control, me: &Attachment, words: &[Wait<'_>], deadline: Option<Duration>) -> Woken {
    me.list().set_pending(&control.gate);
    wait_any(words, words.len() - 1, deadline)
}

/// Wakes all at the gate if the seat is not as it was `found`: who changed it may have died, and then only one was woken.
fn tell_of_a_change(control: &Control, me: &Attachment, found: SeatFound) {
    if control.seat.look(me).low != found.low {
        wake(Word::Low(&control.gate), ALL);
    }
}

fn gate(control: &Control) -> Wait<'_> {
    Wait { word: Word::Low(&control.gate), expected: 0 }
}

fn right(control: &Control, found: SeatFound) -> Wait<'_> {
    Wait { word: control.seat.word(), expected: found.low }
}
