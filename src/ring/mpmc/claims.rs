//! Finding a slot, claiming it, and what is done about one whose holder died.

use super::wait::Role;
use super::{Corrupt, OnDeath, Order, Ring};
use crate::owner::{Attachment, Claim, ClaimFound, ClaimState, Holder, Interrupt, Right};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::futex::{ALL, Word, wake};
use core::cell::Cell;

/// No ring gets so far in centuries; so position arithmetic cannot overflow.
pub(super) const FARTHEST: u64 = 1 << 62;
/// Slots that one call looks at beyond those of the ring: only one whose hints were tampered with needs so many.
const MOST_LOOKS: u64 = 1 << 16;
/// One stroke of a bell.
const CONSUMERS: u64 = 1;
const PRODUCERS: u64 = 1 << 32;
/// Holders that one sleep waits for. (The kernel would allow some 60; few sleeps are to pay for more than this.)
const MOST_HOLDERS: usize = 14;
/// Writers that one look goes round.
const MOST_ROUND: usize = 8;

/// One thread's side of a ring: what producers and consumers have in common.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) ring: Ring,
    pub(super) me: Attachment,
    /// The thread has slept, and has not yet what it wants: the ring's gate is its pending operation.
    pub(super) owes: Cell<bool>,
}

/// Those that a sleeper waits for.
#[derive(Default)]
pub(super) struct Watched {
    holders: [Option<Holder>; MOST_HOLDERS],
    count: usize,
    /// The word that names nobody, as it is while there is nothing: its position, and its futex half.
    word: Option<(u64, u32)>,
}

impl Watched {
    pub(super) fn holders(&self) -> impl Iterator<Item = Holder> {
        self.holders.into_iter().flatten()
    }

    pub(super) fn word(&self) -> Option<(u64, u32)> {
        self.word
    }

    /// Waits for `holder`, and for no other one.
    fn only(&mut self, holder: Holder) {
        (self.holders[0], self.count) = (Some(holder), 1);
    }

    /// Waits for `holder` too; if it `must`, then in the place of another one.
    fn add(&mut self, holder: Holder, must: bool) -> bool {
        if self.holders[..self.count].contains(&Some(holder)) {
            return true;
        }
        if self.count == MOST_HOLDERS && !must {
            return false;
        }
        self.count = (self.count + 1).min(MOST_HOLDERS);
        self.holders[self.count - 1] = Some(holder);
        true
    }
}

/// Producers whose records are held back by one that they still write.
#[derive(Default)]
struct Round {
    /// As rights, as in the slots; 0 behind the last one.
    writers: [u64; MOST_ROUND],
}

impl Round {
    /// Whether there was room.
    fn add(&mut self, writer: Holder) -> bool {
        let writer = Right::held_by(writer).0;
        let place = self.writers.iter_mut().find(|place| **place == 0 || **place == writer);
        place.map(|place| *place = writer).is_some()
    }

    fn holds_back(&self, writer: u64) -> bool {
        self.writers[0] != 0 && self.writers.contains(&writer)
    }
}

impl Side {
    pub(super) fn new(ring: Ring, me: Attachment) -> Self {
        Self { ring, me, owes: Cell::new(false) }
    }

    /// Claims the first free slot for writing; its position. `None`: the ring is full. With `watch` the word that it is full by has
    /// WAITERS then, and `watch` has its holder.
    pub(super) fn claim_to_write(&self, watch: Option<&mut Watched>) -> Result<Option<u64>, Corrupt> {
        self.find_room::<true>(watch)
    }

    /// The same; claimed or, by one who only looks, found.
    fn find_room<const CLAIM: bool>(&self, mut watch: Option<&mut Watched>) -> Result<Option<u64>, Corrupt> {
        let ring = &self.ring;
        let (me, slots) = (self.me.id(), ring.geometry.slots);
        let mut position = hint("the write index", &ring.control.tail)?;
        for _ in 0..slots + MOST_LOOKS {
            let lap = ring.geometry.lap(position);
            let found = self.look(position)?;
            let ahead = found.word.ahead_of(lap);
            if ahead == 0 && found.state == ClaimState::Free {
                if !CLAIM {
                    return Ok(Some(position));
                }
                if self.take(position, found.word, Claim::writing(me, lap)) {
                    advance(&ring.control.tail, position);
                    return Ok(Some(position));
                }
            } else if ahead >= 0 {
                // Claimed by somebody, or done with already.
                advance(&ring.control.tail, position);
                position += 1;
                if ahead > 0 {
                    // Others may be laps ahead.
                    position = position.max(hint("the write index", &ring.control.tail)?);
                }
            } else if ahead < -1 || found.state == ClaimState::Free || position < slots {
                return Err(self.not_a_lap_ahead("the write index", position, found.word));
            } else if let Some(before) = position.checked_sub(slots).filter(|_| found.dead) {
                self.recover(before, &found)?;
                position = hint("the write index", &ring.control.tail)?;
            } else if let Some(watch) = &mut watch {
                if self.ask(position, found.word) {
                    match found.holder {
                        Some(holder) => watch.only(holder),
                        None => watch.word = Some((position, found.word.with_waiters().low())),
                    }
                    return Ok(None);
                }
            } else {
                return Ok(None);
            }
        }
        Err(runs_away("the write index", position))
    }

    /// Claims the first record that is to be had for reading; its position. `None`: there is none now. With `watch` all words that may
    /// become one have WAITERS then, and `watch` has their holders.
    pub(super) fn claim_to_read(&self, watch: Option<&mut Watched>) -> Result<Option<u64>, Corrupt> {
        self.find_record::<true>(watch)
    }

    /// The same; claimed or, by one who only looks, found.
    fn find_record<const CLAIM: bool>(&self, mut watch: Option<&mut Watched>) -> Result<Option<u64>, Corrupt> {
        let ring = &self.ring;
        let slots = ring.geometry.slots;
        // `begin`: all before it is done with.
        let mut begin = hint("the read index", &ring.control.head)?;
        let (mut position, mut round) = (begin, Round::default());
        for _ in 0..slots + MOST_LOOKS {
            if position == begin + slots {
                // No slot is free to be written, so nothing comes after this.
                return Ok(None);
            }
            let lap = ring.geometry.lap(position);
            let found = self.look(position)?;
            let ahead = found.word.ahead_of(lap);
            if ahead < 0 {
                return Err(self.not_a_lap_ahead("the read index", position, found.word));
            }
            let mut ask = |must| match (&mut watch, found.holder) {
                (None, _) => true,
                (Some(watch), Some(holder)) => !watch.add(holder, must) || self.ask(position, found.word),
                (Some(watch), None) => {
                    watch.word = Some((position, found.word.with_waiters().low()));
                    self.ask(position, found.word)
                }
            };
            match found.state {
                _ if ahead > 0 => {
                    if position == begin {
                        advance(&ring.control.head, position);
                        begin = hint("the read index", &ring.control.head)?.max(position + 1);
                        position = begin;
                    } else {
                        position += 1;
                    }
                }
                ClaimState::Free => {
                    if ask(true) {
                        return Ok(None);
                    }
                }
                ClaimState::Full => {
                    // Relaxed: written before the word said FULL, which was read with Acquire; if it was another lap's, the claim fails.
                    if ring.geometry.order == Order::Round && round.holds_back(ring.slot(position).writer.load(Relaxed))
                    {
                        position += 1;
                    } else if !CLAIM || self.take(position, found.word, Claim::reading(self.me.id(), lap)) {
                        return Ok(Some(position));
                    }
                }
                _ if found.dead => {
                    self.recover(position, &found)?;
                    begin = hint("the read index", &ring.control.head)?;
                    (position, round) = (begin, Round::default());
                }
                ClaimState::Reading => {
                    if ask(false) {
                        position += 1;
                    }
                }
                _ => {
                    if ask(true) {
                        let go_on = ring.geometry.order == Order::Round && found.holder.is_some_and(|it| round.add(it));
                        if !go_on {
                            return Ok(None);
                        }
                        position += 1;
                    }
                }
            }
        }
        Err(runs_away("the read index", position))
    }

    /// Sleeps until there is a record for a consumer, or room for a producer, though nobody has claimed it then; or until it is interrupted.
    pub(super) fn until_there_is(&self, role: Role, interrupt: Option<Interrupt<'_>>) -> Result<(), Corrupt> {
        let look = |watch: Option<&mut Watched>| match role {
            Role::Producer => self.find_room::<false>(watch),
            Role::Consumer => self.find_record::<false>(watch),
        };
        self.until(role, None, interrupt, look).map(drop)
    }

    /// Gives up the claim at a position, as `to`.
    #[inline]
    pub(super) fn release(&self, position: u64, to: Claim) {
        // Release: the record, or that it was read. A swap, so that WAITERS is seen, however late it was set. Should this thread die
        // before it wakes them, its death does: they sleep on its life word.
        let old = Claim(self.ring.slot(position).claim.swap(to.0, Release));
        if old.has_waiters() {
            self.ring.wake_everybody();
        }
    }

    /// The record at a position is read: its slot is free in the next lap.
    #[inline]
    pub(super) fn done(&self, position: u64) {
        self.release(position, Claim::free(self.ring.geometry.lap(position) + 1));
        // From there alone: what is before it may be being read.
        advance(&self.ring.control.head, position);
    }

    /// What the word at a position says; `Damaged` is an error.
    #[inline]
    fn look(&self, position: u64) -> Result<ClaimFound, Corrupt> {
        // Acquire: what was done before it was written, and for `dead`.
        let found = Claim(self.ring.slot(position).claim.load(Acquire)).judge(self.me.table());
        let unknown = found.holder == Some(self.me.id()) && self.me.rights() == 0;
        if found.state == ClaimState::Damaged || unknown {
            return Err(no_claim(found.word, unknown));
        }
        Ok(found)
    }

    /// Claims a slot whose word names nobody. Whether that was in time.
    #[inline]
    fn take(&self, position: u64, from: Claim, to: Claim) -> bool {
        let word = &self.ring.slot(position).claim;
        if !from.has_waiters() {
            // Release: who reads this word must see a life word that is at least as new. No Acquire: `look` has acquired what the last
            // holder did; and if it has become the same word since, then by a record that was given back, as it was.
            return word.compare_exchange(from.0, to.0, Release, Relaxed).is_ok();
        }
        // Those who sleep named nobody, so this thread's death would wake none of them: but at the gate it does.
        self.me.list().set_pending(&self.ring.control.gate);
        // Release: as above.
        let taken = word.compare_exchange(from.0, to.0, Release, Relaxed).is_ok();
        if taken {
            self.ring.wake_everybody();
        }
        if !self.owes.get() {
            self.me.list().clear_pending();
        }
        taken
    }

    /// Asks to be woken when the word changes. Whether that was in time.
    fn ask(&self, position: u64, seen: Claim) -> bool {
        // Relaxed: it publishes nothing, and stays in the release sequence of what it was read from. A compare-and-swap even where
        // WAITERS is there already: it may have been taken off since, by one that died before it struck the bells.
        let word = &self.ring.slot(position).claim;
        word.compare_exchange(seen.0, seen.with_waiters().0, Relaxed, Relaxed).is_ok()
    }

    /// Ends the claim of a dead one at a position.
    #[cold]
    fn recover(&self, position: u64, found: &ClaimFound) -> Result<(), Corrupt> {
        let ring = &self.ring;
        let lap = ring.geometry.lap(position);
        // The word has 17 bits of the lap, and the position may have been read long ago: see `owner::claim`, 3.
        let tail = hint("the write index", &ring.control.tail)?;
        if ring.geometry.lap(tail).abs_diff(lap) >= 1 << (Claim::NARROW - 2) {
            return Ok(());
        }
        // Before the word is changed. So long as it is not, whoever finds out that somebody died before it woke others finds it, and
        // wakes them; and nobody goes to sleep over it.
        ring.wake_everybody();
        let again = found.state == ClaimState::Reading && ring.geometry.on_death == OnDeath::Redeliver;
        let to = if again { Claim::full(lap) } else { Claim::free(lap + 1) };
        // Never a store: the dead one may have published before it died, and another one may have been here first. Release: the dead
        // one's last store, which `dead` has acquired.
        let _ = ring.slot(position).claim.compare_exchange(found.word.0, to.0, Release, Relaxed);
        Ok(())
    }

    #[cold]
    fn not_a_lap_ahead(&self, field: &'static str, position: u64, word: Claim) -> Corrupt {
        let lap = self.ring.geometry.lap(position);
        Corrupt {
            field,
            found: position,
            expected: format!("one whose slot is in lap {lap}: its word is {:#x}", word.0),
        }
    }
}

impl Ring {
    /// Wakes the consumers that sleep.
    #[cold]
    pub(super) fn wake_consumers(&self) {
        // Release: as below.
        self.control.bells.fetch_add(CONSUMERS, Release);
        wake(Word::Low(&self.control.bells), ALL);
    }

    /// Wakes all who sleep. The bells count up first: who has looked at the words before sleeps on the old count, or not at all.
    #[cold]
    pub(super) fn wake_everybody(&self) {
        // Release: who sees the new counts sees what was changed before.
        self.control.bells.fetch_add(CONSUMERS + PRODUCERS, Release);
        wake(Word::Low(&self.control.bells), ALL);
        wake(Word::High(&self.control.bells), ALL);
    }
}

/// A hint, as somebody may have tampered with it.
#[inline]
fn hint(field: &'static str, hint: &AtomicU64) -> Result<u64, Corrupt> {
    // Acquire: words that are at least as new as those by which it was helped on.
    let found = hint.load(Acquire);
    if found > FARTHEST { Err(runs_away(field, found)) } else { Ok(found) }
}

/// Helps a hint on over `position`, if that is where it stands: this one is as the hint says, and so are all before it.
#[inline]
fn advance(hint: &AtomicU64, position: u64) {
    // Release: see `hint`. A read-modify-write, so what earlier ones published stays in its release sequence. Relaxed where it fails:
    // somebody else was faster.
    let _ = hint.compare_exchange(position, position + 1, Release, Relaxed);
}

#[cold]
fn runs_away(field: &'static str, found: u64) -> Corrupt {
    Corrupt { field, found, expected: format!("at most {FARTHEST:#x}, and within a lap of the words of the slots") }
}

#[cold]
fn no_claim(word: Claim, unknown: bool) -> Corrupt {
    let nobodys = "free, full, or written or read by a slot of the participants' table";
    let expected = if unknown { "not this thread, which writes and reads nothing now" } else { nobodys };
    Corrupt { field: "the claim of a slot", found: word.0, expected: expected.into() }
}
