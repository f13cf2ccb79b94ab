//! Waiting at a barrier: a look at all seats, and a sleep until something changes.

use super::error::BarrierTrouble;
use super::party::Arrival;
use super::phase::Phase;
use super::{Barrier, Control, MAX_PARTIES};
use crate::owner::{Attachment, SeatState, watch_life};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::futex::{ALL, FEW_WAITS, MAX_WAITS, Wait, Woken, Word, wait_any, wake};
use core::time::Duration;

/// The gate, the phase, and three words of each party: of the sleeper too, should somebody have damaged its arrival.
const MOST_WAITS: usize = 2 + 3 * MAX_PARTIES;
const _: () = assert!(MOST_WAITS <= MAX_WAITS);

/// What a look at the seats came to.
enum Look {
    AllArrived,
    /// Somebody is dead and has not arrived.
    Dead(usize),
    /// Somebody is missing.
    Missing,
    /// Somebody who was missing has just died.
    Again,
    Corrupt {
        seat: usize,
        found: u64,
    },
}

impl Barrier {
    pub(super) fn load(&self) -> Phase {
        // Acquire: if a phase was completed, all that its parties wrote.
        Phase(self.control.phase.load(Acquire))
    }

    /// What was stored last, by a read-modify-write. Acquire: as for a load. Release: what the caller has stored before, its arrival above all,
    /// for who comes here later.
    pub(super) fn load_newest(&self) -> Phase {
        Phase(self.control.phase.fetch_or(0, AcqRel))
    }

    /// From one phase to the next; what it is instead, if somebody else was faster.
    pub(super) fn change(&self, from: Phase, to: Phase) -> Result<Phase, Phase> {
        // Release: what all parties wrote, which this thread has acquired with their arrivals, for those who see it completed. Relaxed
        // if it fails: who was not the first to complete a phase has acquired those arrivals too, and nobody else is given anything.
        self.control.phase.compare_exchange(from.0, to.0, Release, Relaxed).map(|_| to).map_err(Phase)
    }

    /// Looks at all seats. `waits`, if given, gets the words to sleep on until something changes.
    fn look<'b>(&'b self, me: &'b Attachment, phase: Phase, mut waits: Option<&mut Waits<'b, '_>>) -> Look {
        let mut all = true;
        for (number, place) in self.places.iter().enumerate() {
            // Acquire: what that party wrote before it arrived.
            let has_arrived = || place.arrived.load(Acquire) == phase.event() + 1;
            if has_arrived() {
                continue;
            }
            // A plain look: whoever took the seat before this phase was read has met the phase since (`Party::seated`), so it is seen; who
            // takes it over after that, from one that has not arrived, breaks the phase itself.
            let found = place.seat.look(me);
            // Again: it may have arrived and then died, or left its seat to another one, which `look` has acquired.
            if has_arrived() {
                continue;
            }
            let holder = match found.state {
                SeatState::Corrupt(found) => return Look::Corrupt { seat: number, found },
                SeatState::Dead(_) => return Look::Dead(number),
                SeatState::Vacant => None,
                SeatState::Alive(holder) => Some(holder),
            };
            all = false;
            let Some(waits) = waits.as_deref_mut() else { continue };
            waits.add(Wait { word: place.seat.word(), expected: found.low });
            if let Some(holder) = holder {
                let Some([low, high]) = watch_life(me.table(), holder) else { return Look::Again };
                waits.add(low);
                waits.add(high);
            }
        }
        if all { Look::AllArrived } else { Look::Missing }
    }

    /// Wakes all, who are owed that in `phase`: each looks at the phase, and at all seats.
    pub(super) fn pay(&self, phase: Phase) {
        wake(Word::Low(&self.control.gate), ALL);
        // Relaxed: at worst somebody wakes all once more. If it fails, another wake is owed.
        let _ = self.control.phase.compare_exchange(phase.0, phase.without_owed().0, Relaxed, Relaxed);
    }

    /// Sleeps on `waits`; the phase after that, and whether the deadline has passed.
    fn sleep(&self, waits: &[Wait<'_>], deadline: Option<Duration>) -> (Phase, bool) {
        let timed_out = wait_any(waits, 1, deadline) == Woken::TimedOut;
        let phase = self.load();
        if phase.is_owed() {
            // Perhaps the one who was to wake all is dead. The gate is still pending: so is this.
            self.pay(phase);
        }
        (phase, timed_out)
    }

    /// Whether the phase's word still says this. Relaxed: who sees that it does not reads it again, with Acquire.
    fn is_still(&self, phase: Phase) -> bool {
        self.control.phase.load(Relaxed) == phase.0
    }

    /// Sleeps until the phase is no longer `seen`, which is broken; then as [`Self::sleep`]. The gate is pending.
    pub(super) fn until_reset(&self, me: &Attachment, seen: Phase, deadline: Option<Duration>) -> (Phase, bool) {
        me.spin(deadline, || self.is_still(seen));
        self.sleep(&self.gate_and(seen), deadline)
    }

    /// The gate, and the phase's word, which is to be compared with this.
    fn gate_and(&self, phase: Phase) -> [Wait<'_>; 2] {
        let Control { phase: word, gate, .. } = &*self.control;
        [Wait { word: Word::Low(gate), expected: 0 }, Wait { word: Word::Low(word), expected: phase.0 as u32 }]
    }

    /// Sleeps until the phase in which the caller has arrived is over. The gate is pending.
    pub(super) fn until_over(
        &self,
        me: &Attachment,
        at: Phase,
        deadline: Option<Duration>,
    ) -> Result<Arrival, BarrierTrouble> {
        // Between the arrival and the look at the others: of two who arrive, the one that comes later here sees the other one's arrival.
        // With two plain accesses each could miss the other.
        let mut phase = self.load_newest();
        let mut timed_out = false;
        let [gate, _] = self.gate_and(phase);
        // Those of few parties do not pay for the space of the others.
        let (mut few, mut many);
        let space: &mut [Wait<'_>] = if 2 + 3 * self.places.len() <= FEW_WAITS {
            few = [gate; FEW_WAITS];
            &mut few
        } else {
            many = [gate; MOST_WAITS];
            &mut many
        };
        loop {
            me.intact()?;
            if phase.completed() != at.completed() {
                return Ok(Arrival::Follower);
            }
            if phase.is_broken() || phase.event() != at.event() {
                return Err(BarrierTrouble::PartyDied { seat: phase.seat(), next: phase.next_open() });
            }
            let missing =
                || !me.is_cut_off() && self.is_still(phase) && matches!(self.look(me, phase, None), Look::Missing);
            if !timed_out && me.waiting().spin(deadline, missing) && !self.is_still(phase) {
                phase = self.load();
                continue;
            }
            let mut waits = Waits { words: space, count: 0 };
            self.gate_and(phase).into_iter().for_each(|word| waits.add(word));
            match self.look(me, phase, Some(&mut waits)) {
                Look::AllArrived => match self.change(phase, phase.complete()) {
                    Ok(completed) => {
                        self.pay(completed);
                        return Ok(Arrival::Leader);
                    }
                    Err(now) => phase = now,
                },
                Look::Dead(seat) => match self.change(phase, phase.broken_by(seat)) {
                    Ok(broken) => {
                        self.pay(broken);
                        phase = broken;
                    }
                    Err(now) => phase = now,
                },
                Look::Again => phase = self.load(),
                Look::Corrupt { seat, found } => return Err(BarrierTrouble::Corrupt { seat, found }),
                Look::Missing if timed_out => return Err(BarrierTrouble::TimedOut),
                Look::Missing => (phase, timed_out) = self.sleep(waits.all(), deadline),
            }
        }
    }
}

/// The words that a sleep names.
struct Waits<'b, 's> {
    /// Invariant 1: the first `count` are those; at most two, and three for each party, and there is room for so many.
    words: &'s mut [Wait<'b>],
    count: usize,
}

impl<'b> Waits<'b, '_> {
    fn add(&mut self, word: Wait<'b>) {
        self.words[self.count] = word;
        self.count += 1;
    }

    fn all(&self) -> &[Wait<'b>] {
        &self.words[..self.count]
    }
}
