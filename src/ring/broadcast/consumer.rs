//! A reader's side.

use super::view::View;
use super::wait::{Stop, until_committed, until_written_to};
#[cfg(not(model))]
use super::wait::{side, watch_commit, watch_writer};
use super::{
    Corrupt, FARTHEST, PopError, PopTimeoutError, ReaderPlace, Ring, TryPopError, WaitPeerError, beat, check_count,
    count, word,
};
use crate::owner::Attachment;
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::record::{Checksum, GRANULE, SLEEPER, head};
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::fence;
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::{payload, thread, time};
use core::time::Duration;

/// A reader's place. It stays with its thread; dropping it gives the place up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::broadcast::Consumer>();
/// ```
#[derive(Debug)]
pub struct Consumer {
    pub(super) ring: Ring,
    me: Attachment,
    place: usize,
    /// The record that is read next.
    next: u64,
    /// The tail's count as last read. Invariant 1: `next <= tail`.
    tail: u64,
}

/// A record in the ring: its granules lie within it. In a lossy ring all else may be a mixture, until [`Consumer::unless_lapped`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) kind: u32,
    pub(super) len: u32,
}

impl Consumer {
    pub(super) fn new(ring: Ring, me: Attachment, place: usize) -> Result<Self, Corrupt> {
        // After the place was taken, and by a read-modify-write: a writer that publishes more acquires this, and so sees the place as
        // taken. See `Producer::look_at_readers`. Release alone: what was committed before is not read.
        let tail = count(ring.control.written.tail.fetch_or(0, Release));
        check_count("the write index", tail, 0, FARTHEST)?;
        // Not before all is checked: dropping a reader gives the place up, and so does the caller where there is none.
        let consumer = Self { ring, me, place, next: tail, tail };
        consumer.publish();
        // Release: who sees that it has joined sees its place. Whoever waits for a reader is woken when the seat is marked consistent.
        consumer.ring.control.joins.fetch_add(1, Release);
        Ok(consumer)
    }

    /// Copies the next record into `payload` (what it held is replaced), commits it as read, and gives its kind.
    ///
    /// # Errors
    /// [`TryPopError`]; after [`TryPopError::Lapped`] it goes on with the oldest record there is.
    #[inline]
    pub fn try_pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, TryPopError> {
        self.there_is_one()?;
        payload.clear();
        let copied = self.find().and_then(|found| {
            self.copy(&found, payload)?;
            Ok(found.kind)
        });
        let kind = self.unless_lapped(copied);
        match kind {
            Ok(_) => self.commit(self.next + 1),
            Err(_) => payload.clear(),
        }
        kind
    }

    /// The same, sleeping while the ring is empty and its writer lives, or nobody has its seat.
    ///
    /// # Errors
    /// [`PopError`].
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, PopError> {
        Ok(self.pop_until(payload, None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PopTimeoutError`].
    pub fn pop_timeout(&mut self, payload: &mut Vec<u8>, timeout: Duration) -> Result<u32, PopTimeoutError> {
        match self.try_pop(payload) {
            Ok(kind) => Ok(kind),
            Err(TryPopError::Empty) => self.pop_until(payload, time::now().checked_add(timeout)),
            Err(error) => Err(refused(error)),
        }
    }

    fn pop_until(&mut self, payload: &mut Vec<u8>, deadline: Option<Duration>) -> Result<u32, PopTimeoutError> {
        loop {
            match self.try_pop(payload) {
                Ok(kind) => return Ok(kind),
                Err(TryPopError::Empty) => {}
                Err(error) => return Err(refused(error)),
            }
            until_committed(&self.ring, &self.me, word(self.tail), deadline, None).map_err(|stop| match stop {
                Stop::HolderDied => PopTimeoutError::ProducerDied,
                Stop::TimedOut => PopTimeoutError::TimedOut,
                Stop::Corrupt(corrupt) => PopTimeoutError::Corrupt(corrupt),
            })?;
        }
    }

    /// Looks at the next record without reading it off.
    ///
    /// # Errors
    /// [`TryPopError`].
    pub fn peek(&mut self) -> Result<View<'_>, TryPopError> {
        self.there_is_one()?;
        let found = self.find();
        let found = self.unless_lapped(found)?;
        Ok(View { consumer: self, found })
    }

    /// Passes over all records that are there, without reading them; says how many that were, those included that a lossy ring's writer
    /// has overwritten.
    ///
    /// # Errors
    /// [`TryPopError`], but neither that it is empty nor that it was lapped.
    pub fn discard(&mut self) -> Result<u64, TryPopError> {
        self.me.check()?;
        self.refresh()?;
        self.me.intact()?;
        let passed = self.tail - self.next;
        if passed > 0 {
            self.commit(self.tail);
        }
        Ok(passed)
    }

    /// Tells monitors that this side is alive though there is nothing to read.
    pub fn beat(&mut self) {
        beat(&self.place().heartbeat);
    }

    /// How often this place was taken over from the dead.
    pub fn generation(&self) -> u64 {
        self.place().seat.generation()
    }

    /// The record that it reads next, counted from the ring's birth.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Sleeps until somebody alive has the writer's seat, for up to `timeout` if there is one.
    ///
    /// # Errors
    /// [`WaitPeerError`].
    pub fn wait_producer(&self, timeout: Option<Duration>) -> Result<(), WaitPeerError> {
        self.me.check()?;
        until_written_to(&self.ring, &self.me, timeout.and_then(|timeout| time::now().checked_add(timeout)))?;
        Ok(self.me.intact()?)
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        Bell::new(&self.me, side(&self.ring, false))
    }

    /// Arms a bell of this ring: it rings once there is more than this side has seen, at once if there is already, or the writer dies. To be called
    /// after this side was told that the ring is empty.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring, false), watch_commit(&self.ring, word(self.tail)))
    }

    /// Arms a bell of this ring: it rings once somebody alive has the writer's seat.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm_for_producer(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring, false), watch_writer(&self.ring))
    }

    /// Gives the place up, as dropping does.
    pub fn close(self) {}

    #[inline]
    fn place(&self) -> &ReaderPlace {
        &self.ring.places[self.place]
    }

    /// Whether there is a record to read.
    #[inline]
    fn there_is_one(&mut self) -> Result<(), TryPopError> {
        self.me.check()?;
        if self.next == self.tail {
            self.refresh()?;
            if self.next == self.tail {
                return Err(TryPopError::Empty);
            }
        }
        Ok(())
    }

    /// Reads the tail again.
    fn refresh(&mut self) -> Result<(), Corrupt> {
        // Acquire, paired with the writer's Release: the records before it, and their entries.
        let tail = count(self.ring.control.written.tail.load(Acquire));
        let most = if self.ring.shape.lossless { self.next + self.ring.shape.records() } else { FARTHEST };
        check_count("the write index", tail, self.tail, most)?;
        self.tail = tail;
        Ok(())
    }

    /// The next record. Each word is read once: a writer may change it meanwhile, a lossy ring's with every right.
    #[inline]
    fn find(&self) -> Result<Found, Corrupt> {
        let bytes = &self.ring.shape.bytes;
        // Relaxed: acquired with the tail.
        let start = self.ring.entry(self.next).load(Relaxed);
        if !start.is_multiple_of(GRANULE) || start > FARTHEST {
            return Err(self.wrong("an entry of the index", start, "a multiple of 8"));
        }
        let first = self.ring.record(start, GRANULE)[0].load();
        let (len, kind) = (first as u32, (first >> 32) as u32);
        let size = bytes.record(len.into());
        if u64::from(len) > bytes.longest() || size > bytes.before_end(start) {
            return Err(self.wrong("the length of a record", len.into(), "one that fits before the ring's end"));
        }
        Ok(Found { start, size, kind, len })
    }

    #[cold]
    fn wrong(&self, field: &'static str, found: u64, expected: &str) -> Corrupt {
        Corrupt { field, found, expected: format!("{expected}, in record {}", self.next) }
    }

    /// Appends the payload of a record to `payload`, and checks its checksum.
    #[inline]
    pub(super) fn copy(&self, found: &Found, payload: &mut Vec<u8>) -> Result<(), Corrupt> {
        let record = self.ring.record(found.start, found.size);
        payload::append(&record[1..], found.len as usize, payload);
        self.me.intact()?;
        if !self.ring.shape.bytes.checksum {
            return Ok(());
        }
        let expected = Checksum::of(found.start, head(found.len, found.kind), [], payload);
        let stored = record[record.len() - 1].load();
        if stored == expected {
            return Ok(());
        }
        Err(self.wrong("the checksum of a record", stored, &format!("{expected:#x}")))
    }

    /// The oldest record that was certainly not overwritten before what this thread has read until now was read.
    #[inline]
    pub(super) fn oldest(&self) -> u64 {
        if self.ring.shape.lossless {
            return self.next;
        }
        // If any of what was read was written by one who had given way for it, then its fence came before this one, and its `oldest`
        // is seen here, or a later one.
        fence(Acquire);
        // Acquire: a tail that is no less, for the next `refresh`.
        self.ring.control.written.oldest.load(Acquire)
    }

    /// What was read of the next record, unless that may have been overwritten meanwhile.
    #[inline]
    fn unless_lapped<T>(&mut self, read: Result<T, Corrupt>) -> Result<T, TryPopError> {
        let oldest = self.oldest();
        self.me.intact()?;
        if oldest <= self.next { Ok(read?) } else { Err(self.lapped(oldest)) }
    }

    #[cold]
    fn lapped(&mut self, oldest: u64) -> TryPopError {
        if let Err(corrupt) = check_count("the oldest record", oldest, 0, FARTHEST) {
            return corrupt.into();
        }
        let lost = oldest - self.next;
        // The tail is read anew: it is no less.
        self.tail = oldest;
        self.commit(oldest);
        TryPopError::Lapped { lost }
    }

    /// All before `next` has been read.
    #[inline]
    pub(super) fn commit(&mut self, next: u64) {
        self.next = next;
        beat(&self.place().heartbeat);
        self.publish();
    }

    #[inline]
    fn publish(&self) {
        let position = &self.place().position;
        if !self.ring.shape.lossless {
            // A lossy ring's writer does not look. Release: who looks from outside sees a tail that is no less.
            position.store(word(self.next), Release);
            return;
        }
        // Release: the reads before it, so that the writer does not overwrite what is still read. A swap, so that a sleeper's bit is
        // seen, however late it was set.
        let old = position.swap(word(self.next), Release);
        if old & SLEEPER != 0 {
            // Should this thread die before it wakes the writer, its death does: the writer sleeps on its life word too.
            wake(Word::Low(position), ALL);
        }
    }

    /// The record that was looked at is read: that of a [`View`].
    pub(super) fn pass(&mut self) {
        self.commit(self.next + 1);
    }

    /// Whether what was read of the next record is as it was written, and is this process's to pass.
    pub(super) fn is_intact(&self) -> bool {
        // In a forked child the place is its parent's, which reads on meanwhile, and is not asked by whoever overwrites.
        self.me.is_current() && self.oldest() <= self.next && !self.me.is_cut_off()
    }
}

#[cold]
fn refused(error: TryPopError) -> PopTimeoutError {
    match error {
        TryPopError::Empty => unreachable!("an empty ring is waited for"),
        TryPopError::Lapped { lost } => PopTimeoutError::Lapped { lost },
        TryPopError::Forked => PopTimeoutError::Forked,
        TryPopError::Corrupt(corrupt) => PopTimeoutError::Corrupt(corrupt),
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        self.place().seat.give_up(&self.me, &self.ring.control.readers_gate);
    }
}
