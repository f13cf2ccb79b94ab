//! A producer's side.

use super::wait::until_room;
#[cfg(not(model))]
use super::wait::{side, watch_room, watch_taken};
use super::word::{BlockWord, Says};
use super::{Corrupt, FARTHEST, PushError, PushTimeoutError, Ring, TryPushError, WaitPeerError};
use crate::owner::Attachment;
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::record::{Checksum, GRANULE, SLEEPER, head};
use crate::ring::spsc::push_refused;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::cell::Granule;
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::{payload, thread, time};
use core::time::Duration;

/// Looks of one call for a place: each but the last was in vain since another producer was faster, so only peers that play with the
/// words make it so many.
const MOST_LOOKS: u32 = 1 << 16;

/// A producer's side. It stays with its thread.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::mpsc::claims::Producer>();
/// ```
#[derive(Debug)]
pub struct Producer {
    ring: Ring,
    me: Attachment,
    /// The read index when there was no room last.
    read: u64,
}

/// Blocks that this thread has claimed. Invariant 1: they lie within the ring.
#[derive(Clone, Copy, Debug)]
struct Claimed {
    start: u64,
    blocks: u64,
}

impl Producer {
    pub(super) fn new(ring: Ring, me: Attachment) -> Self {
        Self { ring, me, read: 0 }
    }

    /// Appends a record, if there is room. `kind` is the caller's.
    ///
    /// # Errors
    /// [`TryPushError`], and there is no record.
    #[inline]
    pub fn try_push(&mut self, kind: u32, payload: &[u8]) -> Result<(), TryPushError> {
        self.append(kind, payload)
    }

    /// Appends a record, sleeping while the ring is full and its consumer lives, or nobody has its seat.
    ///
    /// # Errors
    /// [`PushError`], and there is no record.
    pub fn push(&mut self, kind: u32, payload: &[u8]) -> Result<(), PushError> {
        Ok(self.push_until(kind, payload, || None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PushTimeoutError`], and there is no record.
    pub fn push_timeout(&mut self, kind: u32, payload: &[u8], timeout: Duration) -> Result<(), PushTimeoutError> {
        self.push_until(kind, payload, || time::now().checked_add(timeout))
    }

    #[inline]
    fn push_until(
        &mut self,
        kind: u32,
        payload: &[u8],
        deadline: impl FnOnce() -> Option<Duration>,
    ) -> Result<(), PushTimeoutError> {
        match self.append(kind, payload) {
            Ok(()) => Ok(()),
            Err(TryPushError::Full) => self.push_when_read(kind, payload, deadline()),
            Err(error) => Err(push_refused(error)),
        }
    }

    #[cold]
    fn push_when_read(
        &mut self,
        kind: u32,
        payload: &[u8],
        deadline: Option<Duration>,
    ) -> Result<(), PushTimeoutError> {
        loop {
            until_room(&self.ring, &self.me, self.read, deadline)?;
            match self.append(kind, payload) {
                Ok(()) => return Ok(()),
                Err(TryPushError::Full) => {}
                Err(error) => return Err(push_refused(error)),
            }
        }
    }

    /// Reserves room for a record of `len` bytes, all zero, to be filled in place and committed. Dropped uncommitted, it is skipped by
    /// the consumer. What others push after it waits until then.
    ///
    /// # Errors
    /// [`TryPushError`], and there is no record.
    pub fn reserve(&mut self, kind: u32, len: usize) -> Result<Reservation<'_>, TryPushError> {
        let claimed = self.claim(len)?;
        self.me.right_taken();
        let reservation = Reservation { producer: self, claimed, kind, len, committed: false };
        for granule in reservation.payload() {
            granule.store(0);
        }
        Ok(reservation)
    }

    /// How often the consumer's seat was taken over from the dead.
    pub fn consumer_generation(&self) -> u64 {
        self.ring.control.consumer.generation()
    }

    /// Sleeps until somebody alive has the consumer's seat, for up to `timeout` if there is one.
    ///
    /// # Errors
    /// [`WaitPeerError`].
    pub fn wait_consumer(&self, timeout: Option<Duration>) -> Result<(), WaitPeerError> {
        self.me.check()?;
        let deadline = timeout.and_then(|timeout| time::now().checked_add(timeout));
        super::wait::until_taken(&self.ring, &self.me, deadline)?;
        Ok(self.me.intact()?)
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        Bell::new(&self.me, side(&self.ring, true))
    }

    /// Arms a bell of this ring: it rings once more was read than this side has seen, at once if it was already, or the consumer dies; another
    /// producer may have the room by then. To be called after this side was told that the ring is full.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring, true), watch_room(&self.ring, self.read))
    }

    /// Arms a bell of this ring: it rings once somebody alive has the consumer's seat.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm_for_consumer(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring, true), watch_taken(&self.ring))
    }

    /// Goes, as dropping does.
    pub fn close(self) {}

    /// Claims, writes, publishes.
    #[inline]
    fn append(&mut self, kind: u32, payload: &[u8]) -> Result<(), TryPushError> {
        let claimed = self.claim(payload.len())?;
        let record = self.ring.record(claimed.start, claimed.blocks);
        let first = head(payload.len() as u32, kind);
        record[0].store(first);
        payload::write(&record[1..], payload);
        if self.ring.shape.checksum {
            record[checksum_at(payload.len())].store(Checksum::of(claimed.start, first, [], payload));
        }
        self.release(claimed, BlockWord::full(self.ring.shape.lap(claimed.start), claimed.blocks));
        Ok(())
    }

    /// Claims the blocks for a record.
    #[inline]
    fn claim(&mut self, len: usize) -> Result<Claimed, TryPushError> {
        self.me.check()?;
        let (ring, shape) = (&self.ring, &self.ring.shape);
        if len as u64 > shape.longest() {
            return Err(TryPushError::TooLarge { len, max: shape.longest() as usize });
        }
        let blocks = shape.blocks_of(len as u64);
        let mut position = 0;
        for _ in 0..MOST_LOOKS {
            // Acquire, and before the head: that is then as new as all that was claimed before this position.
            position = ring.control.tail.load(Acquire);
            // Acquire: the blocks before it were read, and their words are free.
            let read = ring.control.head.index.load(Acquire) & !SLEEPER;
            if read > position {
                // Others were here meanwhile: whoever has moved the head has moved the tail past it before.
                continue;
            }
            self.check_indices(position, read)?;
            let left = shape.before_end(position);
            let padding = if blocks > left { left } else { 0 };
            if position - read + (padding + blocks) * shape.block > shape.capacity {
                // Relaxed: another one may have filled the rest of the ring up to its end meanwhile; then there may be room.
                if ring.control.tail.load(Relaxed) == position {
                    self.read = read;
                    return Err(TryPushError::Full);
                }
                continue;
            }
            // Acquire: who claimed it, and by what head, for who reads the tail after this one has helped it on.
            let word = BlockWord(ring.word(position).load(Acquire));
            let lap = shape.lap(position);
            let end = |blocks| position + blocks * shape.block;
            match word.says() {
                Says::Free { lap: of } if BlockWord::ahead(of, lap) > 0 => {}
                Says::Free { lap: of } if BlockWord::ahead(of, lap) < 0 => return Err(not_free(position, word).into()),
                Says::Free { .. } if padding > 0 => {
                    if self.take(position, word, BlockWord::void(lap, padding)) {
                        ring.help(position, end(padding));
                    }
                }
                Says::Free { .. } => {
                    if self.take(position, word, BlockWord::writing(self.me.id(), blocks)) {
                        ring.help(position, end(blocks));
                        return Ok(Claimed { start: position, blocks });
                    }
                }
                Says::Writing { blocks, .. } | Says::Done { blocks, .. } if shape.fits(position, blocks) => {
                    ring.help(position, end(blocks));
                }
                _ => return Err(no_record(position, word).into()),
            }
        }
        Err(runs_away(position).into())
    }

    /// The indices can be those of this ring. What they say was read once; the tail first.
    #[inline]
    fn check_indices(&self, tail: u64, head: u64) -> Result<(), Corrupt> {
        let shape = &self.ring.shape;
        if (tail | head) & (shape.block - 1) == 0 && tail <= FARTHEST && tail - head <= shape.capacity {
            return Ok(());
        }
        Err(Corrupt {
            field: "the write index",
            found: tail,
            expected: format!(
                "a multiple of {} up to {FARTHEST:#x}, at most {:#x} after the read index {head:#x}",
                shape.block, shape.capacity
            ),
        })
    }

    /// Changes the word of a block that is free. Whether that was in time.
    #[inline]
    fn take(&self, position: u64, from: BlockWord, to: BlockWord) -> bool {
        let (word, asleep) = (self.ring.word(position), from.has_waiters());
        if asleep {
            // The consumer does not know this thread, so its death would not wake it. But at the gate it does.
            self.me.list().set_pending(&self.ring.control.producer_gate);
        }
        // Release: who reads this word must see a life word that is at least as new, and a head too. No Acquire: what was done with the
        // blocks before comes with the head.
        let taken = word.compare_exchange(from.0, to.0, Release, Relaxed).is_ok();
        if asleep {
            if taken {
                wake(Word::Low(word), ALL);
            }
            self.me.list().clear_pending();
        }
        taken
    }

    /// Gives the claim up, as `to`.
    #[inline]
    fn release(&self, claimed: Claimed, to: BlockWord) {
        let word = self.ring.word(claimed.start);
        // Release: the record. A swap, so that WAITERS is seen, however late it was set. Should this thread die before it wakes the consumer,
        // its death does: who has set WAITERS here sleeps on its life word.
        let old = BlockWord(word.swap(to.0, Release));
        if old.has_waiters() {
            wake(Word::Low(word), ALL);
        }
    }
}

/// The granule of a record that has its checksum.
#[inline]
pub(super) fn checksum_at(len: usize) -> usize {
    1 + len.div_ceil(GRANULE as usize)
}

#[cold]
fn not_free(position: u64, word: BlockWord) -> Corrupt {
    let expected = format!("one whose block was freed for its lap, as the read index says: its word is {:#x}", word.0);
    Corrupt { field: "the write index", found: position, expected }
}

#[cold]
fn runs_away(position: u64) -> Corrupt {
    let expected = format!("one that is as far as the words of the blocks, after {MOST_LOOKS} looks");
    Corrupt { field: "the write index", found: position, expected }
}

#[cold]
pub(super) fn no_record(position: u64, word: BlockWord) -> Corrupt {
    let expected = format!("free, or a record that can begin there, at position {position:#x}");
    Corrupt { field: "the word of a block", found: word.0, expected }
}

/// Blocks of the ring for one record, its payload zeroed.
#[derive(Debug)]
#[must_use = "a reservation that is not committed is no record"]
pub struct Reservation<'p> {
    producer: &'p mut Producer,
    claimed: Claimed,
    kind: u32,
    /// Invariant 1: the blocks claimed hold a record of so many bytes.
    len: usize,
    committed: bool,
}

impl Reservation<'_> {
    /// Bytes of the payload.
    #[allow(clippy::len_without_is_empty, reason = "an empty payload is a payload")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies `bytes` into the payload at `offset`. Says how many fit: fewer than `bytes.len()` only at the payload's end.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> usize {
        payload::write_at(self.payload(), self.len, offset, bytes)
    }

    /// The payload, in place, to write to.
    ///
    /// # Safety
    /// Every process that can write the segment follows the ring's protocol: then nobody else reads or writes the record before
    /// it is committed. See `docs/trust.md`.
    #[cfg(not(model))]
    pub unsafe fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the payload's granules hold at least `len` bytes (invariant 1), and by the caller's promise nobody else touches them.
        unsafe { crate::sync::cell::bytes_mut(self.payload(), self.len) }
    }

    /// Commits the record.
    ///
    /// # Errors
    /// [`TryPushError::Forked`], in a child that was forked since.
    pub fn commit(mut self) -> Result<(), TryPushError> {
        self.producer.me.check()?;
        let (ring, Claimed { start, blocks }) = (&self.producer.ring, self.claimed);
        let record = ring.record(start, blocks);
        let first = head(self.len as u32, self.kind);
        record[0].store(first);
        if ring.shape.checksum {
            record[checksum_at(self.len)].store(Checksum::in_place(start, first, &record[1..], self.len));
        }
        self.give_up(BlockWord::full(ring.shape.lap(start), blocks));
        self.committed = true;
        Ok(())
    }

    fn give_up(&self, to: BlockWord) {
        self.producer.release(self.claimed, to);
        self.producer.me.right_given_up();
    }

    fn payload(&self) -> &[Granule] {
        let granules = self.len.div_ceil(GRANULE as usize);
        &self.producer.ring.record(self.claimed.start, self.claimed.blocks)[1..1 + granules]
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.committed || thread::dying() || !self.producer.me.is_current() {
            return;
        }
        self.give_up(BlockWord::void(self.producer.ring.shape.lap(self.claimed.start), self.claimed.blocks));
    }
}
