//! Sleeping at a seat: until its holder moves a word, or dies, or somebody takes it.
//!
//! A sleep on a holder that lives is on the gate of its slot, the word, the seat's gate, the seat's right, and both halves of its life
//! word (see `owner::wait`). Where nobody has the seat it is on the word, the seat's gate and the right. The kernel compares and
//! queues in that order, and the gate comes before the right: who changes the right wakes all at the gate after it.
//!
//! Who takes the seat or gives it up has its gate pending until it has woken all there; should it die before, the kernel wakes one.
//! That may be anybody who sleeps at the gate, so each who comes back and finds the seat another one's than before, or its holder
//! dead, wakes all there, and only then lets go of its own pending gate: should it die too, the kernel wakes the next one. That gate
//! is the seat's where nobody has it. Where somebody has it, it is that one's own: the kernel wakes those who came first first, and
//! who sleeps at a seat that is nobody's came before those who have seen it taken. (Threads of real-time priority are woken before
//! others whenever they came. One that sleeps on a holder, and is killed between being woken for those at the gate and waking them,
//! leaves them to `LOOK_AGAIN`.)

use super::attachment::Attachment;
use super::seat::{SeatFound, SeatState, SeatWords};
use super::wait::{Interrupt, TimedOut, finish_waiting, sleep_on_holder};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::futex::{ALL, Wait, Woken, Word, wait_any, wake};
use core::time::Duration;

/// Set in a word by who sleeps until it moves; whoever moves it takes the bit with it, and wakes.
pub(crate) const SLEEPER: u64 = 1;

/// Why there is nothing to wait for any more.
pub(crate) enum Stop<C> {
    /// The holder is dead, and had not moved the word before it died.
    HolderDied,
    TimedOut,
    Corrupt(C),
}

impl<C> Stop<C> {
    fn map<D>(self, corrupt: impl FnOnce(C) -> D) -> Stop<D> {
        match self {
            Self::HolderDied => Stop::HolderDied,
            Self::TimedOut => Stop::TimedOut,
            Self::Corrupt(found) => Stop::Corrupt(corrupt(found)),
        }
    }
}

/// Whether what ended a wait without a deadline is not that the holder died; for models of bells.
#[cfg(model)]
pub(crate) fn but_for_deaths<C>(waited: Result<(), Stop<C>>) -> Result<bool, C> {
    match waited {
        Ok(()) => Ok(true),
        Err(Stop::HolderDied) => Ok(false),
        Err(Stop::Corrupt(corrupt)) => Err(corrupt),
        Err(Stop::TimedOut) => unreachable!("there was no deadline"),
    }
}

/// Asks whoever moves `word` for a wake; whether it is still `seen`.
pub(crate) fn ask(word: &AtomicU64, seen: u64) -> bool {
    // Relaxed: it only asks. The caller reads the word again, with Acquire.
    let asked = word.compare_exchange(seen, seen | SLEEPER, Relaxed, Relaxed);
    asked.is_ok() || asked == Err(seen | SLEEPER)
}

/// Where one sleeps, and until when.
#[derive(Clone, Copy)]
pub(crate) struct AtSeat<'a> {
    pub(crate) me: &'a Attachment,
    pub(crate) seat: &'a SeatWords,
    /// The seat's gate: an always-0 word, as [`SeatWords::take`] has it.
    pub(crate) gate: &'a AtomicU64,
    pub(crate) deadline: Option<Duration>,
    /// Ends each wait with `Ok`: the caller looks whether it was raised.
    pub(crate) interrupt: Option<Interrupt<'a>>,
}

impl AtSeat<'_> {
    /// Sleeps until `word` is no longer `seen`, which has no [`SLEEPER`], and says why it never will be. The error of a damaged
    /// right is made by `corrupt`.
    pub(crate) fn until_moved<C>(self, word: &AtomicU64, seen: u64, corrupt: fn(u64) -> C) -> Result<(), Stop<C>> {
        self.wait_move(word, seen).map_err(|stop| stop.map(corrupt))
    }

    /// Sleeps until somebody alive has the seat.
    pub(crate) fn until_taken<C>(self, corrupt: fn(u64) -> C) -> Result<(), Stop<C>> {
        self.wait_holder().map_err(|stop| stop.map(corrupt))
    }

    #[inline(never)]
    fn wait_move(&self, word: &AtomicU64, seen: u64) -> Result<(), Stop<u64>> {
        // Relaxed: what it has seen is looked at again below.
        let still = || {
            word.load(Relaxed) & !SLEEPER == seen
                && matches!(self.seat.look(self.me).state, SeatState::Alive(_) | SeatState::Vacant)
        };
        self.me.spin(self.deadline, still);
        let mut slept = false;
        let result = loop {
            if !ask(word, seen) {
                break Ok(());
            }
            let found = self.seat.look(self.me);
            let stop = match found.state {
                SeatState::Dead(_) => Some(Stop::HolderDied),
                SeatState::Corrupt(right) => Some(Stop::Corrupt(right)),
                SeatState::Alive(_) | SeatState::Vacant => {
                    slept = true;
                    let moves = Wait { word: Word::Low(word), expected: (seen | SLEEPER) as u32 };
                    self.sleep(found, Some(moves)).err().map(|TimedOut| Stop::TimedOut)
                }
            };
            if let Some(stop) = stop {
                // What the dead one published last counts, and what came just in time. Relaxed: `look` has acquired the death, so
                // this is no older than the last store before it; and the caller reads the word again, with Acquire.
                let moved = word.load(Relaxed) & !SLEEPER != seen;
                break if moved { Ok(()) } else { Err(stop) };
            }
            if self.is_interrupted() || self.me.is_cut_off() {
                break Ok(());
            }
        };
        if slept {
            finish_waiting(self.me);
        }
        result
    }

    #[inline(never)]
    fn wait_holder(&self) -> Result<(), Stop<u64>> {
        let nobody = || matches!(self.seat.look(self.me).state, SeatState::Vacant | SeatState::Dead(_));
        self.me.spin(self.deadline, nobody);
        let mut slept = false;
        let result = loop {
            let found = self.seat.look(self.me);
            match found.state {
                SeatState::Alive(_) => break Ok(()),
                SeatState::Corrupt(right) => break Err(Stop::Corrupt(right)),
                SeatState::Vacant | SeatState::Dead(_) => {}
            }
            slept = true;
            if let Err(TimedOut) = self.sleep(found, None) {
                break Err(Stop::TimedOut);
            }
            if self.is_interrupted() || self.me.is_cut_off() {
                break Ok(());
            }
        };
        if slept {
            finish_waiting(self.me);
        }
        result
    }

    /// Not inlined: the compiler would make loops for each case.
    #[inline(never)]
    fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|interrupt| interrupt.raised())
    }

    /// One sleep, until the seat is no longer as `found`, its holder dies, or `word` moves.
    fn sleep(&self, found: SeatFound, word: Option<Wait<'_>>) -> Result<(), TimedOut> {
        let gate = Wait { word: Word::Low(self.gate), expected: 0 };
        let right = Wait { word: self.seat.word(), expected: found.low };
        let interrupt = self.interrupt.map_or(gate, |interrupt| interrupt.wait());
        let words = [word.unwrap_or(gate), gate, right, interrupt];
        // Where the kernel allows only one, it is the word, or else the right.
        let (first, primary) = if word.is_some() { (0, 0) } else { (1, 1) };
        let words = &words[first..3 + usize::from(self.interrupt.is_some())];
        let slept = match found.state {
            SeatState::Alive(holder) => sleep_on_holder(self.me, holder, words, self.deadline),
            _ => {
                self.me.list().set_pending(self.gate);
                if wait_any(words, primary, self.deadline) == Woken::TimedOut { Err(TimedOut) } else { Ok(()) }
            }
        };
        if self.seat.look(self.me) != found {
            wake(Word::Low(self.gate), ALL);
        }
        slept
    }
}
