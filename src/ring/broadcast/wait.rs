//! Sleeping until the writer commits, a reader reads, somebody dies, or a seat changes.
//!
//! A sleep on somebody who lives is as that of an SPSC ring's side: on the gate of the holder's slot, the word that it moves, the
//! gate of the seat, the seat's right, and both halves of the holder's life word (see `owner::wait`).
//!
//! Readers are many, and that makes one difference. Where the writer's seat is vacant, nobody's life word has them all; and should one
//! die between taking the seat and waking all at the gate, the kernel wakes *one* there. So the gate is the pending operation of who
//! sleeps on a vacant seat, and whoever finds the seat changed, or its holder dead, wakes all at the gate before anything else.

use super::{Corrupt, ReaderPlace, Ring, WaitPeerError, corrupt_seat};
use crate::owner::{Attachment, SeatFound, SeatState, finish_waiting, sleep_on_holder};
use crate::ring::record::SLEEPER;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};
use crate::sync::futex::{ALL, Wait, Woken, Word, wait_any, wake};
use core::time::Duration;

/// Why there is nothing to wait for any more.
pub(super) enum Stop {
    /// The writer is dead, and had committed no more.
    WriterDied,
    TimedOut,
    Corrupt(Corrupt),
}

/// Asks whoever moves `word` for a wake; whether it is still `seen`.
fn ask(word: &AtomicU64, seen: u64) -> bool {
    // Relaxed: it only asks. The caller reads the word again, with Acquire.
    let asked = word.compare_exchange(seen, seen | SLEEPER, Relaxed, Relaxed);
    asked.is_ok() || asked == Err(seen | SLEEPER)
}

fn on(word: &AtomicU64, expected: u64) -> Wait<'_> {
    Wait { word: Word::Low(word), expected: expected as u32 }
}

/// Sleeps until the tail is no longer `seen`, and says why it never will be.
pub(super) fn until_committed(ring: &Ring, me: &Attachment, seen: u64, deadline: Option<Duration>) -> Result<(), Stop> {
    let tail = &ring.control.written.tail;
    // Relaxed: what it has seen is looked at again below.
    let still = || {
        tail.load(Relaxed) & !SLEEPER == seen
            && matches!(ring.control.writer.look(me).state, SeatState::Alive(_) | SeatState::Vacant)
    };
    me.spin(deadline, still);
    let mut sleeper = Sleeper::new(ring, me);
    let result = loop {
        if !ask(tail, seen) {
            break Ok(());
        }
        let found = sleeper.look();
        let stop = match found.state {
            SeatState::Dead(_) => Some(Stop::WriterDied),
            SeatState::Corrupt(right) => Some(Stop::Corrupt(corrupt_seat(right))),
            SeatState::Alive(_) | SeatState::Vacant => {
                sleeper.sleep(found, Some(on(tail, seen | SLEEPER)), deadline).err()
            }
        };
        if let Some(stop) = stop {
            // What the dead one committed last counts, and what came just in time. Relaxed: `look` has acquired the death, so this is
            // no older than the last store before it; and the caller reads the tail again, with Acquire.
            let moved = tail.load(Relaxed) & !SLEEPER != seen;
            break if moved { Ok(()) } else { Err(stop) };
        }
    };
    sleeper.finish();
    result
}

/// Sleeps until somebody alive has the writer's seat.
pub(super) fn until_written_to(ring: &Ring, me: &Attachment, deadline: Option<Duration>) -> Result<(), WaitPeerError> {
    me.spin(deadline, || matches!(ring.control.writer.look(me).state, SeatState::Vacant | SeatState::Dead(_)));
    let mut sleeper = Sleeper::new(ring, me);
    let result = loop {
        let found = sleeper.look();
        match found.state {
            SeatState::Alive(_) => break Ok(()),
            SeatState::Corrupt(right) => break Err(WaitPeerError::Corrupt(corrupt_seat(right))),
            SeatState::Vacant | SeatState::Dead(_) => {}
        }
        if sleeper.sleep(found, None, deadline).is_err() {
            break Err(WaitPeerError::TimedOut);
        }
    };
    sleeper.finish();
    result
}

/// A reader that sleeps on the writer's seat, perhaps again and again.
struct Sleeper<'r> {
    ring: &'r Ring,
    me: &'r Attachment,
    /// The seat's word in the last sleep, and whether that was on nobody.
    slept_on: Option<(u32, bool)>,
}

impl<'r> Sleeper<'r> {
    fn new(ring: &'r Ring, me: &'r Attachment) -> Self {
        Self { ring, me, slept_on: None }
    }

    /// Whose the seat is; passes on to all at the gate what may have woken this one alone.
    fn look(&self) -> SeatFound {
        let found = self.ring.control.writer.look(self.me);
        if let Some((low, on_nobody)) = self.slept_on {
            let dead = matches!(found.state, SeatState::Dead(_));
            if if on_nobody { found.low != low } else { dead } {
                wake(Word::Low(&self.ring.control.writer_gate), ALL);
            }
        }
        found
    }

    /// One sleep, until the seat is no longer as `found`, its holder dies, or `word` moves.
    fn sleep(&mut self, found: SeatFound, word: Option<Wait<'_>>, deadline: Option<Duration>) -> Result<(), Stop> {
        let control = &self.ring.control;
        let gate = on(&control.writer_gate, 0);
        let right = Wait { word: control.writer.word(), expected: found.low };
        // Where the kernel allows only one, it is the word, or else the right.
        let words = [word.unwrap_or(gate), gate, right];
        let (words, primary) = if word.is_some() { (&words[..], 0) } else { (&words[1..], 1) };
        let late = match found.state {
            SeatState::Alive(holder) => {
                self.slept_on = Some((found.low, false));
                sleep_on_holder(self.me, holder, words, deadline).is_err()
            }
            _ => {
                self.slept_on = Some((found.low, true));
                self.me.list().set_pending(&control.writer_gate);
                wait_any(words, primary, deadline) == Woken::TimedOut
            }
        };
        if late { Err(Stop::TimedOut) } else { Ok(()) }
    }

    fn finish(self) {
        if self.slept_on.is_some() {
            finish_waiting(self.me);
        }
    }
}

/// Sleeps until the reader in `place`, whose position was `seen`, reads on, dies, or leaves.
pub(super) fn until_read(
    ring: &Ring,
    me: &Attachment,
    place: &ReaderPlace,
    seen: u64,
    deadline: Option<Duration>,
) -> Result<(), Stop> {
    let mut slept = false;
    // Relaxed: as in `until_committed`.
    let still =
        || place.position.load(Relaxed) & !SLEEPER == seen && matches!(place.seat.look(me).state, SeatState::Alive(_));
    me.spin(deadline, still);
    let result = loop {
        if !ask(&place.position, seen) {
            break Ok(());
        }
        let found = place.seat.look(me);
        let holder = match found.state {
            SeatState::Alive(holder) => holder,
            SeatState::Corrupt(right) => break Err(Stop::Corrupt(corrupt_seat(right))),
            // Nobody waits for it: there may be room now.
            SeatState::Vacant | SeatState::Dead(_) => break Ok(()),
        };
        let words = [
            on(&place.position, seen | SLEEPER),
            on(&ring.control.readers_gate, 0),
            Wait { word: place.seat.word(), expected: found.low },
        ];
        slept = true;
        if sleep_on_holder(me, holder, &words, deadline).is_err() {
            // Relaxed: as in `until_committed`.
            let moved = place.position.load(Relaxed) & !SLEEPER != seen;
            break if moved { Ok(()) } else { Err(Stop::TimedOut) };
        }
    };
    if slept {
        finish_waiting(me);
    }
    result
}

/// Sleeps until some reader that lives has a place.
pub(super) fn until_joined(ring: &Ring, me: &Attachment, deadline: Option<Duration>) -> Result<(), WaitPeerError> {
    let nobody =
        || ring.places.iter().all(|place| matches!(place.seat.look(me).state, SeatState::Vacant | SeatState::Dead(_)));
    me.spin(deadline, nobody);
    loop {
        // Acquire, and before the look: who is not seen by that has yet to count itself, and wakes all at the gate after it.
        let joins = ring.control.joins.load(Acquire);
        for place in ring.places.iter() {
            match place.seat.look(me).state {
                SeatState::Alive(_) => return Ok(()),
                SeatState::Corrupt(right) => return Err(WaitPeerError::Corrupt(corrupt_seat(right))),
                SeatState::Vacant | SeatState::Dead(_) => {}
            }
        }
        let words = [on(&ring.control.readers_gate, 0), on(&ring.control.joins, joins)];
        if wait_any(&words, 1, deadline) == Woken::TimedOut {
            return Err(WaitPeerError::TimedOut);
        }
    }
}
