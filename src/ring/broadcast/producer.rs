//! The writer's side.

use super::wait::{Stop, until_joined, until_read};
#[cfg(not(model))]
use super::wait::{side, watch_joined, watch_reader};
use super::{
    Corrupt, FARTHEST, PushError, PushTimeoutError, Ring, TryPushError, WaitPeerError, beat, check_count, corrupt_seat,
    count, word,
};
use crate::owner::{Attachment, SeatState};
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::record::{Checksum, GRANULE, SLEEPER, head};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::fence;
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::{payload, thread, time};
use core::time::Duration;

/// The writer's seat. It stays with its thread; dropping it gives the seat up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::broadcast::Producer>();
/// ```
#[derive(Debug)]
pub struct Producer {
    ring: Ring,
    me: Attachment,
    /// Records that are committed. Invariant 1: equal to the shared tail's between calls; nobody else changes that.
    count: u64,
    /// Where the last one ends, or the gap after it. Invariant 2: so says the next record's entry of the index.
    cursor: u64,
    /// Lossy: what the shared word says; nobody else writes that. Invariant 3: `oldest <= count < oldest + entries`.
    oldest: u64,
    /// Lossless: how far the readers let it go.
    limits: Limits,
}

/// How far the readers of a lossless ring let the writer go, as last seen. All zero: not looked at.
#[derive(Debug, Default)]
struct Limits {
    /// A record must end here at the latest.
    end: u64,
    /// And be one of those before this.
    count: u64,
    /// Who holds it up: a place, and the word there.
    slowest: Option<(usize, u64)>,
}

/// Room for a record, and all that is before it may be overwritten.
struct Room {
    /// Where the record starts.
    start: u64,
    /// Bytes that it takes.
    size: u64,
}

impl Producer {
    pub(super) fn new(ring: Ring, me: Attachment) -> Result<Self, Corrupt> {
        // Relaxed, all of it: the last writer's stores are visible since its seat was taken (Acquire, or `dead`).
        let written = &ring.control.written;
        let count = count(written.tail.load(Relaxed));
        check_count("the write index", count, 0, FARTHEST)?;
        let cursor = ring.entry(count).load(Relaxed);
        if !cursor.is_multiple_of(GRANULE) || cursor > FARTHEST {
            return Err(wrong_entry(cursor, FARTHEST));
        }
        let oldest = written.oldest.load(Relaxed);
        if !ring.shape.lossless {
            check_count("the oldest record", oldest, count.saturating_sub(ring.shape.records()), count)?;
            // As in `give_way`: a dead writer may have given way for what this one overwrites, and died before its fence.
            fence(Release);
        }
        Ok(Self { ring, me, count, cursor, oldest, limits: Limits::default() })
    }

    /// Appends a record. `kind` is the caller's. A lossy ring always has room.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    #[inline]
    pub fn try_push(&mut self, kind: u32, payload: &[u8]) -> Result<(), TryPushError> {
        let room = self.room(payload.len())?;
        let record = self.ring.record(room.start, room.size);
        let first = head(payload.len() as u32, kind);
        record[0].store(first);
        payload::write(&record[1..], payload);
        if self.ring.shape.bytes.checksum {
            record[record.len() - 1].store(Checksum::of(room.start, first, [], payload));
        }
        self.publish(room.start + room.size);
        Ok(())
    }

    /// Appends a record, sleeping while a reader that lives holds a lossless ring up. It waits for no dead one, so it never says
    /// [`PushError::ConsumerDied`]; and where nobody reads, nothing is waited for.
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
            // Nobody holds it up, and yet there is no room: an empty ring has room for every record that it takes.
            let Some((place, seen)) = self.limits.slowest else { unreachable!("a full ring has a slowest reader") };
            until_read(&self.ring, &self.me, &self.ring.places[place], seen, deadline, None).map_err(
                |stop| match stop {
                    Stop::HolderDied => unreachable!("a dead reader is not waited for"),
                    Stop::TimedOut => PushTimeoutError::TimedOut,
                    Stop::Corrupt(corrupt) => PushTimeoutError::Corrupt(corrupt),
                },
            )?;
        }
    }

    /// Reserves room for a record of `len` bytes, to be filled in place and committed. Dropped uncommitted, it never was; but what
    /// a lossy ring has overwritten for it is lost.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    pub fn reserve(&mut self, kind: u32, len: usize) -> Result<Reservation<'_>, TryPushError> {
        let room = self.room(len)?;
        for granule in &self.ring.record(room.start, room.size)[1..] {
            granule.store(0);
        }
        Ok(Reservation { producer: self, room, kind, len })
    }

    /// Tells monitors that this side is alive though it has nothing to push.
    pub fn beat(&mut self) {
        beat(&self.ring.control.written.heartbeat);
    }

    /// How often this seat was taken over from the dead.
    pub fn generation(&self) -> u64 {
        self.ring.control.writer.generation()
    }

    /// Records committed since the ring's birth.
    pub fn position(&self) -> u64 {
        self.count
    }

    /// Sleeps until some reader that lives has a place, for up to `timeout` if there is one.
    ///
    /// # Errors
    /// [`WaitPeerError`].
    pub fn wait_consumer(&self, timeout: Option<Duration>) -> Result<(), WaitPeerError> {
        self.me.check()?;
        until_joined(&self.ring, &self.me, timeout.and_then(|timeout| time::now().checked_add(timeout)))?;
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

    /// Arms a bell of this ring: it rings once the slowest reader has read more than this side has seen, or leaves, or dies; at once where nobody
    /// holds the writer up. To be called after this side was told that the ring is full; there may still be no room.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring, true), watch_reader(&self.ring, self.limits.slowest))
    }

    /// Arms a bell of this ring: it rings once some reader that lives has a place.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm_for_consumer(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring, true), watch_joined(&self.ring))
    }

    /// Gives the seat up, as dropping does.
    pub fn close(self) {}

    /// Makes room for the next record.
    #[inline]
    fn room(&mut self, len: usize) -> Result<Room, TryPushError> {
        self.me.check()?;
        let bytes = self.ring.shape.bytes;
        if len as u64 > bytes.longest() {
            return Err(TryPushError::TooLarge { len, max: bytes.longest() as usize });
        }
        let size = bytes.record(len as u64);
        let start = self.cursor + bytes.padding(self.cursor, size);
        let end = start + size;
        if self.ring.shape.lossless {
            // Two entries are written: the record's, and the one after it.
            let fits = |limits: &Limits| end <= limits.end && self.count + 2 <= limits.count;
            if !fits(&self.limits) {
                self.limits = self.look_at_readers()?;
                if !fits(&self.limits) {
                    return Err(TryPushError::Full);
                }
            }
        } else {
            self.give_way(end)?;
        }
        if start != self.cursor {
            // Whoever writes the next record begins there, this thread or, should it die, the next one.
            self.ring.entry(self.count).store(start, Relaxed);
            self.cursor = start;
        }
        Ok(Room { start, size })
    }

    /// Lossy: announces that what a record that ends at `end` overwrites is lost.
    #[inline]
    fn give_way(&mut self, end: u64) -> Result<(), Corrupt> {
        let mut oldest = self.oldest;
        // Bounded by invariant 3. A record's entry is its start, or for the next one no later than that.
        while oldest < self.count
            && (self.count + 2 - oldest > self.ring.shape.entries
                || self.start_of(oldest)? + self.ring.shape.bytes.capacity < end)
        {
            oldest += 1;
        }
        if oldest != self.oldest {
            self.oldest = oldest;
            // Release: who reads it knows of a tail that is no less.
            self.ring.control.written.oldest.store(oldest, Release);
            // A reader that has read any byte or entry that is written from here on, and then passes its own fence, sees that.
            fence(Release);
        }
        Ok(())
    }

    /// Lossless: how far the readers that live let it go. One that is not seen here has not joined yet, and will read no record
    /// before `count`. For it took its place before its read-modify-write of the tail, J. Had the swap by which `count` was
    /// published come after J, it would have acquired J, and the place would be seen as taken. So it came before J, and J read
    /// `count` or more. No limit is more than a ring's length after `count`'s, so what such a reader will read stays.
    #[cold]
    fn look_at_readers(&self) -> Result<Limits, Corrupt> {
        let (mut least, mut slowest) = (self.count, None);
        for (index, place) in self.ring.places.iter().enumerate() {
            match place.seat.look(&self.me).state {
                SeatState::Alive(_) => {}
                // A dead one is waited for no more: so it is evicted, without a word being written.
                SeatState::Vacant | SeatState::Dead(_) => continue,
                SeatState::Corrupt(right) => return Err(corrupt_seat(right)),
            }
            // Acquire, paired with the reader's Release: it has read what is overwritten now. In a place that was just taken it may be
            // its last reader's, which is less.
            let position = place.position.load(Acquire);
            check_count("the read index", count(position), 0, self.count)?;
            if count(position) < least || slowest.is_none() {
                (least, slowest) = (count(position).min(least), Some((index, position & !SLEEPER)));
            }
        }
        let shape = &self.ring.shape;
        // The entry of one that has just joined may be another record's by now.
        let known = self.count - least < shape.entries;
        let start = if least == self.count { self.cursor } else { self.start_of(least)? };
        Ok(Limits { end: if known { start + shape.bytes.capacity } else { 0 }, count: least + shape.entries, slowest })
    }

    /// Where a record that is committed starts.
    #[inline]
    fn start_of(&self, record: u64) -> Result<u64, Corrupt> {
        // Relaxed: the writer's own, or a dead one's, acquired with the seat.
        let start = self.ring.entry(record).load(Relaxed);
        if start <= self.cursor { Ok(start) } else { Err(wrong_entry(start, self.cursor)) }
    }

    /// Commits the record that ends at `end`: one store.
    #[inline]
    fn publish(&mut self, end: u64) {
        self.count += 1;
        self.cursor = end;
        let written = &self.ring.control.written;
        // Relaxed: published by the tail.
        self.ring.entry(self.count).store(end, Relaxed);
        beat(&written.heartbeat);
        // Release: the record before it. Acquire: who has joined, see `look_at_readers`. A swap, so that a sleeper's bit is seen,
        // however late it was set.
        let old = written.tail.swap(word(self.count), AcqRel);
        if old & SLEEPER != 0 {
            // All: each reader may sleep there. Should this thread die before, its death wakes them: they sleep on its life word too.
            wake(Word::Low(&written.tail), ALL);
        }
    }
}

#[cold]
fn wrong_entry(found: u64, most: u64) -> Corrupt {
    Corrupt { field: "an entry of the index", found, expected: format!("a multiple of 8, at most {most:#x}") }
}

#[cold]
fn refused(error: TryPushError) -> PushTimeoutError {
    match error {
        TryPushError::Full => unreachable!("a full ring is waited for"),
        TryPushError::TooLarge { len, max } => PushTimeoutError::TooLarge { len, max },
        TryPushError::Forked => PushTimeoutError::Forked,
        TryPushError::Corrupt(corrupt) => PushTimeoutError::Corrupt(corrupt),
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        self.ring.control.writer.give_up(&self.me, &self.ring.control.writer_gate);
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
        payload::write_at(&self.producer.ring.record(self.room.start, self.room.size)[1..], self.len, offset, bytes)
    }

    /// Commits the record.
    ///
    /// # Errors
    /// [`TryPushError::Forked`], in a child that was forked since.
    pub fn commit(self) -> Result<(), TryPushError> {
        self.producer.me.check()?;
        let Room { start, size } = self.room;
        let record = self.producer.ring.record(start, size);
        let first = head(self.len as u32, self.kind);
        record[0].store(first);
        if self.producer.ring.shape.bytes.checksum {
            record[record.len() - 1].store(Checksum::in_place(start, first, &record[1..], self.len));
        }
        self.producer.publish(start + size);
        Ok(())
    }
}
