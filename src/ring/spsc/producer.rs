//! The producer's side.

use super::wait::{Stop, until_moved, until_taken};
#[cfg(not(model))]
use super::wait::{side, watch_move, watch_taken};
use super::{
    Corrupt, PushError, PushTimeoutError, Ring, Role, TryPushError, WaitPeerError, check_index, check_indices,
};
use crate::owner::Attachment;
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::record::{Checksum, GRANULE, PADDING, SLEEPER, head};
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::cell::Granule;
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::{payload, thread, time};
use core::time::Duration;

/// The producer's seat. It stays with its thread; dropping it gives the seat up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::spsc::Producer>();
/// ```
#[derive(Debug)]
pub struct Producer {
    pub(in crate::ring) ring: Ring,
    pub(in crate::ring) me: Attachment,
    /// Where the next record goes. Invariant 1: equal to the shared write index between calls; nobody else writes that.
    pub(in crate::ring) tail: u64,
    /// The consumer's index as last read. Invariant 2: `head <= tail <= head + capacity`.
    head: u64,
    /// False of one of many that take turns at the write index, and have no seat. Invariant 1 holds in its turn, and of invariant 2
    /// the first half: what others wrote since may have had newer room.
    has_seat: bool,
}

/// Room for a record, from where it will start.
pub(in crate::ring) struct Room {
    /// Where the record starts, after any padding.
    start: u64,
    /// Bytes that it takes.
    size: u64,
}

impl Producer {
    pub(in crate::ring) fn new(ring: Ring, me: Attachment) -> Result<Self, Corrupt> {
        // Relaxed: the last producer's stores are visible since its seat was taken (Acquire, or `dead`).
        let tail = ring.control.tail.index.load(Relaxed) & !SLEEPER;
        let head = ring.control.head.index.load(Acquire) & !SLEEPER;
        check_indices(&ring.geometry, tail, head)?;
        if ring.geometry.wipe {
            // What the last producer had written when it died.
            ring.wipe(tail, head + ring.geometry.capacity);
        }
        Ok(Self { ring, me, tail, head, has_seat: true })
    }

    /// One of many that take turns.
    pub(in crate::ring) fn without_seat(ring: Ring, me: Attachment) -> Self {
        Self { ring, me, tail: 0, head: 0, has_seat: false }
    }

    /// Its turn begins, where the last one's ended; if that one died in it, with what it had written.
    #[inline]
    pub(in crate::ring) fn begin_turn(&mut self, last_one_died: bool) -> Result<(), Corrupt> {
        // Relaxed: who has the turn alone writes it, and what the last one did was acquired with the turn.
        let tail = self.ring.control.tail.index.load(Relaxed) & !SLEEPER;
        check_index("the write index", tail)?;
        self.tail = tail;
        if tail < self.head || last_one_died && self.ring.geometry.wipe {
            self.begin_anew(last_one_died)?;
        }
        Ok(())
    }

    /// The same with a new look at the head, and the free space zeroed, anywhere in which the dead one may have written. (A tail before the
    /// head is nothing that peers who follow the protocol leave: there is damage, or was when the head was read.)
    #[cold]
    fn begin_anew(&mut self, last_one_died: bool) -> Result<(), Corrupt> {
        // Acquire, as in `room`. No older than what a dead one saw, which was acquired with its death.
        let head = self.ring.control.head.index.load(Acquire) & !SLEEPER;
        check_indices(&self.ring.geometry, self.tail, head)?;
        self.head = head;
        if last_one_died && self.ring.geometry.wipe {
            self.ring.wipe(self.tail, head + self.ring.geometry.capacity);
        }
        Ok(())
    }

    /// Appends a record, if there is room. `kind` is the caller's.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    #[inline]
    pub fn try_push(&mut self, kind: u32, payload: &[u8]) -> Result<(), TryPushError> {
        let end = self.write(self.tail, kind, payload)?;
        self.publish(end);
        Ok(())
    }

    /// Appends a record, sleeping while the ring is full and its consumer lives, or nobody has its seat.
    ///
    /// # Errors
    /// [`PushError`], and nothing was changed.
    pub fn push(&mut self, kind: u32, payload: &[u8]) -> Result<(), PushError> {
        Ok(self.push_until(kind, payload, None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PushTimeoutError`], and nothing was changed.
    pub fn push_timeout(&mut self, kind: u32, payload: &[u8], timeout: Duration) -> Result<(), PushTimeoutError> {
        match self.try_push(kind, payload) {
            Ok(()) => Ok(()),
            Err(TryPushError::Full) => self.push_until(kind, payload, time::now().checked_add(timeout)),
            Err(error) => Err(refused(error)),
        }
    }

    fn push_until(&mut self, kind: u32, payload: &[u8], deadline: Option<Duration>) -> Result<(), PushTimeoutError> {
        loop {
            match self.try_push(kind, payload) {
                Ok(()) => return Ok(()),
                Err(TryPushError::Full) => {}
                Err(error) => return Err(refused(error)),
            }
            self.until_room(deadline)?;
        }
    }

    /// The ring is full: sleeps until something was read.
    pub(in crate::ring) fn until_room(&self, deadline: Option<Duration>) -> Result<(), PushTimeoutError> {
        until_moved(&self.ring, &self.me, &self.ring.control.head, Role::Consumer, self.head, deadline).map_err(
            |stop| match stop {
                Stop::HolderDied => PushTimeoutError::ConsumerDied,
                Stop::TimedOut => PushTimeoutError::TimedOut,
                Stop::Corrupt(corrupt) => PushTimeoutError::Corrupt(corrupt),
            },
        )
    }

    /// Appends as many of `records` as there is room for, and publishes them together: all of them or, after a death, none.
    /// Says how many.
    ///
    /// # Errors
    /// [`TryPushError`] if not even the first one could be appended.
    pub fn push_batch<'r>(
        &mut self,
        records: impl IntoIterator<Item = (u32, &'r [u8])>,
    ) -> Result<usize, TryPushError> {
        let (mut end, mut count) = (self.tail, 0);
        for (kind, payload) in records {
            match self.write(end, kind, payload) {
                Ok(next) => (end, count) = (next, count + 1),
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
        }
        // The iterator may have forked: then the records are the parent's to publish.
        self.me.check()?;
        if count > 0 {
            self.publish(end);
        }
        Ok(count)
    }

    /// Reserves room for a record of `len` bytes, to be filled in place and committed. Dropped uncommitted, it never was.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    pub fn reserve(&mut self, kind: u32, len: usize) -> Result<Reservation<'_>, TryPushError> {
        let room = self.room(self.tail, len)?;
        for granule in 0..(len as u64).div_ceil(GRANULE) {
            self.ring.granule(room.start + GRANULE * (1 + granule)).store(0);
        }
        Ok(Reservation { producer: self, room, kind, len, committed: false })
    }

    /// Tells monitors that this side is alive though it has nothing to push.
    pub fn beat(&mut self) {
        self.ring.control.tail.beat();
    }

    /// How often this seat was taken over from the dead.
    pub fn generation(&self) -> u64 {
        self.ring.seat(Role::Producer).generation()
    }

    /// Sleeps until somebody alive has the consumer's seat, for up to `timeout` if there is one.
    ///
    /// # Errors
    /// [`WaitPeerError`].
    pub fn wait_consumer(&self, timeout: Option<Duration>) -> Result<(), WaitPeerError> {
        self.me.check()?;
        let deadline = timeout.and_then(|timeout| time::now().checked_add(timeout));
        until_taken(&self.ring, &self.me, Role::Consumer, deadline)?;
        Ok(self.me.intact()?)
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        Bell::new(&self.me, side(&self.ring, Role::Consumer))
    }

    /// Arms a bell of this ring: it rings once there is more than this side has seen, at once if there is already, or the consumer dies.
    /// To be called after this side was told that it is full.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring, Role::Consumer), watch_move(&self.ring, Role::Consumer, self.head))
    }

    /// Arms a bell of this ring: it rings once somebody alive has the consumer's seat.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm_for_consumer(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring, Role::Consumer), watch_taken(&self.ring, Role::Consumer))
    }

    /// Gives the seat up, as dropping does.
    pub fn close(self) {}

    /// Finds room for a record after `end`, and pads up to its start if it would not fit before the end of the ring.
    #[inline]
    pub(in crate::ring) fn room(&mut self, end: u64, len: usize) -> Result<Room, TryPushError> {
        self.me.check()?;
        let geometry = self.ring.geometry;
        if len as u64 > geometry.longest() {
            return Err(TryPushError::TooLarge { len, max: geometry.longest() as usize });
        }
        let size = geometry.record(len as u64);
        let padding = geometry.padding(end, size);
        let used = end + padding + size - self.head;
        if used > geometry.capacity {
            // Acquire, paired with the consumer's Release: it has read what is overwritten now.
            let head = self.ring.control.head.index.load(Acquire) & !SLEEPER;
            if head < self.head {
                return Err(went_back("the read index", head, self.head).into());
            }
            check_indices(&geometry, self.tail, head)?;
            self.head = head;
            if end + padding + size - head > geometry.capacity {
                return Err(TryPushError::Full);
            }
        }
        if padding > 0 {
            self.ring.granule(end).store(PADDING.into());
        }
        Ok(Room { start: end + padding, size })
    }

    /// Writes a record after `end`, unpublished; where it ends.
    #[inline]
    pub(in crate::ring) fn write(&mut self, end: u64, kind: u32, payload: &[u8]) -> Result<u64, TryPushError> {
        let room = self.room(end, payload.len())?;
        Ok(self.fill(&room, kind, [], payload))
    }

    /// Writes a record, of granules `stamps` and then `payload`, where there is room for both; where it ends.
    #[inline]
    pub(in crate::ring) fn fill<const STAMPS: usize>(
        &mut self,
        room: &Room,
        kind: u32,
        stamps: [u64; STAMPS],
        payload: &[u8],
    ) -> u64 {
        let record = self.ring.record(room.start, room.size);
        let first = head((STAMPS as u64 * GRANULE) as u32 + payload.len() as u32, kind);
        record[0].store(first);
        for (place, stamp) in record[1..].iter().zip(stamps) {
            place.store(stamp);
        }
        payload::write(&record[1 + STAMPS..], payload);
        if self.ring.geometry.checksum {
            record[record.len() - 1].store(Checksum::of(room.start, first, stamps, payload));
        }
        room.start + room.size
    }

    /// Commits everything before `end`: one store.
    #[inline]
    fn publish(&mut self, end: u64) {
        self.tail = end;
        // Before the index, which is on the same line: the consumer looks at that, and would take the line away in between.
        self.ring.control.tail.beat();
        // Release: the records before it. A swap, so that a sleeper's bit is seen, however late it was set.
        let old = self.ring.control.tail.index.swap(end, Release);
        if old & SLEEPER != 0 {
            // Should this thread die before it wakes the consumer, its death does: the consumer sleeps on its life word too.
            wake(Word::Low(&self.ring.control.tail.index), ALL);
        }
    }
}

#[cold]
pub(in crate::ring) fn refused(error: TryPushError) -> PushTimeoutError {
    match error {
        TryPushError::Full => unreachable!("a full ring is waited for"),
        TryPushError::TooLarge { len, max } => PushTimeoutError::TooLarge { len, max },
        TryPushError::Forked => PushTimeoutError::Forked,
        TryPushError::Corrupt(corrupt) => PushTimeoutError::Corrupt(corrupt),
    }
}

/// An index that only ever grows has shrunk.
#[cold]
pub(super) fn went_back(field: &'static str, found: u64, before: u64) -> Corrupt {
    Corrupt { field, found, expected: format!("no less than {before:#x}, where it was") }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if !self.has_seat || thread::dying() || !self.me.is_current() {
            return;
        }
        self.ring.seat(Role::Producer).give_up(&self.me, self.ring.gate(Role::Producer));
    }
}

/// Room in the ring for one record, zeroed.
#[derive(Debug)]
#[must_use = "a reservation that is not committed is no record"]
pub struct Reservation<'p> {
    producer: &'p mut Producer,
    room: Room,
    kind: u32,
    len: usize,
    committed: bool,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let producer = &self.producer;
        if self.committed || !producer.ring.geometry.wipe || thread::dying() || !producer.me.is_current() {
            return;
        }
        producer.ring.wipe(producer.tail, self.room.start + self.room.size);
    }
}

impl core::fmt::Debug for Room {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes at {}", self.size, self.start)
    }
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
        // SAFETY: `room` has found place for the record within the ring, and by the caller's promise nobody else touches it.
        unsafe { crate::sync::cell::bytes_mut(self.payload(), self.len) }
    }

    /// Commits the record.
    ///
    /// # Errors
    /// [`TryPushError::Forked`], in a child that was forked since.
    pub fn commit(mut self) -> Result<(), TryPushError> {
        self.producer.me.check()?;
        let end = self.seal();
        self.producer.publish(end);
        Ok(())
    }

    /// Writes what is left to write of the record; where it ends. From here on it is the caller's to publish it.
    pub(in crate::ring) fn seal(&mut self) -> u64 {
        let Room { start, size } = self.room;
        let record = self.producer.ring.record(start, size);
        let first = head(self.len as u32, self.kind);
        record[0].store(first);
        if self.producer.ring.geometry.checksum {
            record[record.len() - 1].store(Checksum::in_place(start, first, &record[1..], self.len));
        }
        self.committed = true;
        start + size
    }

    /// The producer, whose record this is to be.
    pub(in crate::ring) fn producer(&mut self) -> &mut Producer {
        self.producer
    }

    /// The granules of the payload; a checksum's, if the ring has them, follows.
    pub(in crate::ring) fn payload(&self) -> &[Granule] {
        &self.producer.ring.record(self.room.start, self.room.size)[1..]
    }
}
