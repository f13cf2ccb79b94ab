//! The consumer's side.

use super::producer::went_back;
use super::wait::{Stop, until_moved, until_taken};
#[cfg(not(model))]
use super::wait::{side, watch_move, watch_taken};
use super::{Corrupt, PopError, PopTimeoutError, Ring, Role, Step, TryPopError, WaitPeerError, check_indices, parse};
use crate::owner::Attachment;
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::record::{Checksum, GRANULE, SLEEPER};
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::compiler_fence;
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::{payload, thread, time};
use core::time::Duration;

/// The consumer's seat. It stays with its thread; dropping it gives the seat up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::spsc::Consumer>();
/// ```
#[derive(Debug)]
pub struct Consumer {
    pub(in crate::ring) reader: Reader,
    /// Room for the records of a batch, kept from one to the next. Its content means nothing.
    scratch: Vec<u8>,
}

/// Who reads a ring, and does not care whose seat it is: its caller has that.
#[derive(Debug)]
pub(in crate::ring) struct Reader {
    pub(in crate::ring) ring: Ring,
    pub(in crate::ring) me: Attachment,
    /// Up to where records were read. Invariant 1: equal to the shared read index between calls; nobody else writes that.
    pub(in crate::ring) head: u64,
    /// The producer's index as last read. Invariant 2: `head <= tail <= head + capacity`.
    pub(in crate::ring) tail: u64,
}

/// A record in the ring, validated: its granules lie between the read index and the write index.
#[derive(Clone, Copy, Debug)]
pub(in crate::ring) struct Found {
    pub(in crate::ring) start: u64,
    pub(in crate::ring) kind: u32,
    /// Bytes of its stamps and its payload.
    pub(in crate::ring) len: u32,
    pub(in crate::ring) end: u64,
}

impl Reader {
    pub(in crate::ring) fn new(ring: Ring, me: Attachment) -> Result<Self, Corrupt> {
        // Relaxed: the last consumer's stores are visible since its seat was taken (Acquire, or `dead`).
        let head = ring.control.head.index.load(Relaxed) & !SLEEPER;
        let tail = ring.control.tail.index.load(Acquire) & !SLEEPER;
        check_indices(&ring.geometry, tail, head)?;
        let mut read = head;
        if ring.geometry.wipe {
            // Relaxed: as for the head. Beyond it the last consumer may have committed more than it had zeroed. The same as the
            // head if the last one closed; before it in a ring that nobody has read from.
            read = head.max(ring.control.head.read.load(Relaxed));
            if read > tail || !read.is_multiple_of(GRANULE) {
                let expected = format!("a multiple of 8, at most the write index {tail:#x}");
                return Err(Corrupt { field: "the index up to which records were read", found: read, expected });
            }
        }
        let mut reader = Self { ring, me, head, tail };
        if read > head {
            reader.commit(read);
        }
        Ok(reader)
    }

    /// The record at `position`, or after the padding there.
    #[inline]
    pub(in crate::ring) fn find(&mut self, mut position: u64) -> Result<Found, TryPopError> {
        self.me.check()?;
        loop {
            if position == self.tail && !self.refresh()? {
                return Err(TryPopError::Empty);
            }
            // Read once: a peer that breaks the protocol may change it meanwhile.
            let first = self.ring.granule(position).load();
            match parse(&self.ring.geometry, position, self.tail, first)? {
                Step::Padding { end } => position = end,
                Step::Record { kind, len, end } => return Ok(Found { start: position, kind, len, end }),
            }
        }
    }

    /// Reads the producer's index again; whether it has moved.
    pub(in crate::ring) fn refresh(&mut self) -> Result<bool, Corrupt> {
        // Acquire, paired with the producer's Release: the records before it.
        let tail = self.ring.control.tail.index.load(Acquire) & !SLEEPER;
        if tail < self.tail {
            return Err(went_back("the write index", tail, self.tail));
        }
        check_indices(&self.ring.geometry, tail, self.head)?;
        let moved = tail != self.tail;
        self.tail = tail;
        Ok(moved)
    }

    /// Appends the payload of a record, behind granules `stamps` that were read before, to `payload`, and checks its checksum.
    #[inline]
    pub(in crate::ring) fn copy<const STAMPS: usize>(
        &self,
        found: &Found,
        stamps: [u64; STAMPS],
        payload: &mut Vec<u8>,
    ) -> Result<(), Corrupt> {
        let from = payload.len();
        let record = self.ring.record(found.start, found.end - found.start);
        payload::append(&record[1 + STAMPS..], found.len as usize - STAMPS * GRANULE as usize, payload);
        let checked = self.check(found, stamps, &payload[from..]);
        if checked.is_err() {
            payload.truncate(from);
        }
        checked
    }

    /// Whether what was read of a record was in the ring; compares its checksum, if it has one, with what its payload gives.
    #[inline]
    pub(in crate::ring) fn check<const STAMPS: usize>(
        &self,
        found: &Found,
        stamps: [u64; STAMPS],
        payload: &[u8],
    ) -> Result<(), Corrupt> {
        self.me.intact()?;
        if !self.ring.geometry.checksum {
            return Ok(());
        }
        let expected = Checksum::of(found.start, crate::ring::record::head(found.len, found.kind), stamps, payload);
        let stored = self.ring.granule(found.end - GRANULE).load();
        if stored == expected {
            return Ok(());
        }
        Err(wrong_checksum(found.start, stored, expected))
    }

    /// Commits everything before `end` as read: one store. In a ring with wipe it is zeroed before the producer may have it.
    #[inline]
    pub(in crate::ring) fn commit(&mut self, end: u64) {
        if self.ring.geometry.wipe {
            self.commit_and_wipe(end);
        }
        self.head = end;
        // Before the index, as the producer's.
        self.ring.control.head.beat();
        // Release: the reads before it, so that the producer does not overwrite what is still read. A swap, so that a sleeper's
        // bit is seen, however late it was set.
        let old = self.ring.control.head.index.swap(end, Release);
        if old & SLEEPER != 0 {
            // Should this thread die before it wakes the producer, its death does: the producer sleeps on its life word too.
            wake(Word::Low(&self.ring.control.head.index), ALL);
        }
    }

    #[cold]
    fn commit_and_wipe(&mut self, end: u64) {
        // Relaxed: for the next consumer, which acquires all that this one did.
        self.ring.control.head.read.store(end, Relaxed);
        // Committed before it is zeroed: a death in between must not deliver zeroes. The processor keeps a thread's own stores in
        // order for who comes after its death; this keeps the compiler from turning them round.
        compiler_fence(Release);
        self.ring.wipe(self.head, end);
    }
}

impl Consumer {
    /// After all is checked: dropping a consumer gives the seat up, and so does the caller where there is none.
    pub(super) fn new(ring: Ring, me: Attachment) -> Result<Self, Corrupt> {
        Ok(Self { reader: Reader::new(ring, me)?, scratch: Vec::new() })
    }

    /// Copies the next record into `payload` (what it held is replaced), commits it as read, and gives its kind.
    ///
    /// # Errors
    /// [`TryPopError`], and the record, if there is one, stays.
    #[inline]
    pub fn try_pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, TryPopError> {
        let found = self.reader.find(self.reader.head)?;
        payload.clear();
        self.reader.copy(&found, [], payload)?;
        self.reader.commit(found.end);
        Ok(found.kind)
    }

    /// The same, sleeping while the ring is empty and its producer lives, or nobody has its seat.
    ///
    /// # Errors
    /// [`PopError`], and the record, if there is one, stays.
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, PopError> {
        Ok(self.pop_until(payload, None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PopTimeoutError`], and the record, if there is one, stays.
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
            until_moved(
                &self.reader.ring,
                &self.reader.me,
                &self.reader.ring.control.tail,
                Role::Producer,
                self.reader.tail,
                deadline,
            )
            .map_err(|stop| match stop {
                Stop::HolderDied => PopTimeoutError::ProducerDied,
                Stop::TimedOut => PopTimeoutError::TimedOut,
                Stop::Corrupt(corrupt) => PopTimeoutError::Corrupt(corrupt),
            })?;
        }
    }

    /// Gives up to `max` records to `take`, in order, and commits them as read together: should this thread die before, all of
    /// them are delivered again. Says how many.
    ///
    /// # Errors
    /// [`TryPopError`] if there was not even one.
    pub fn pop_batch(&mut self, max: usize, mut take: impl FnMut(u32, &[u8])) -> Result<usize, TryPopError> {
        let (mut end, mut count, mut payload) = (self.reader.head, 0, core::mem::take(&mut self.scratch));
        let stopped = loop {
            if count == max {
                break None;
            }
            payload.clear();
            let copied = self.reader.find(end).and_then(|found| {
                self.reader.copy(&found, [], &mut payload)?;
                Ok(found)
            });
            match copied {
                Ok(found) => {
                    take(found.kind, &payload);
                    (end, count) = (found.end, count + 1);
                }
                Err(error) => break Some(error),
            }
        };
        if !self.reader.ring.geometry.wipe {
            // What is wiped in the ring is not kept here either.
            self.scratch = payload;
        }
        // `take` may have forked: then the records are the parent's to commit.
        self.reader.me.check()?;
        match stopped {
            Some(error) if count == 0 => return Err(error),
            _ if count > 0 => self.reader.commit(end),
            _ => {}
        }
        Ok(count)
    }

    /// Looks at the next record without reading it off.
    ///
    /// # Errors
    /// [`TryPopError`].
    pub fn peek(&mut self) -> Result<Peek<'_>, TryPopError> {
        let found = self.reader.find(self.reader.head)?;
        self.reader.me.intact()?;
        Ok(Peek { reader: &mut self.reader, found })
    }

    /// Commits all records that are there as read, without reading them; says how many bytes of the ring they took. In a ring
    /// with wipe they are zeroed.
    ///
    /// # Errors
    /// [`TryPopError`], but never that it is empty.
    pub fn discard(&mut self) -> Result<u64, TryPopError> {
        self.reader.me.check()?;
        self.reader.refresh()?;
        self.reader.me.intact()?;
        let dropped = self.reader.tail - self.reader.head;
        if dropped > 0 {
            self.reader.commit(self.reader.tail);
        }
        Ok(dropped)
    }

    /// Tells monitors that this side is alive though there is nothing to read.
    pub fn beat(&mut self) {
        self.reader.ring.control.head.beat();
    }

    /// How often this seat was taken over from the dead.
    pub fn generation(&self) -> u64 {
        self.reader.ring.seat(Role::Consumer).generation()
    }

    /// Sleeps until somebody alive has the producer's seat, for up to `timeout` if there is one.
    ///
    /// # Errors
    /// [`WaitPeerError`].
    pub fn wait_producer(&self, timeout: Option<Duration>) -> Result<(), WaitPeerError> {
        self.reader.me.check()?;
        let deadline = timeout.and_then(|timeout| time::now().checked_add(timeout));
        until_taken(&self.reader.ring, &self.reader.me, Role::Producer, deadline)?;
        Ok(self.reader.me.intact()?)
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        Bell::new(&self.reader.me, side(&self.reader.ring, Role::Producer))
    }

    /// Arms a bell of this ring: it rings once there is more than this side has seen, at once if there is already, or the producer dies.
    /// To be called after this side was told that the ring is empty.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        let ring = &self.reader.ring;
        bell.arm(side(ring, Role::Producer), watch_move(ring, Role::Producer, self.reader.tail))
    }

    /// Arms a bell of this ring: it rings once somebody alive has the producer's seat.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm_for_producer(&self, bell: &Bell) -> Result<(), BellUseError> {
        let ring = &self.reader.ring;
        bell.arm(side(ring, Role::Producer), watch_taken(ring, Role::Producer))
    }

    /// Gives the seat up, as dropping does.
    pub fn close(self) {}
}

#[cold]
fn wrong_checksum(position: u64, stored: u64, expected: u64) -> Corrupt {
    Corrupt {
        field: "the checksum of a record",
        found: stored,
        expected: format!("{expected:#x} at position {position:#x}"),
    }
}

#[cold]
pub(in crate::ring) fn refused(error: TryPopError) -> PopTimeoutError {
    match error {
        TryPopError::Empty => unreachable!("an empty ring is waited for"),
        TryPopError::Lapped { lost } => PopTimeoutError::Lapped { lost },
        TryPopError::Forked => PopTimeoutError::Forked,
        TryPopError::Corrupt(corrupt) => PopTimeoutError::Corrupt(corrupt),
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if thread::dying() || !self.reader.me.is_current() {
            return;
        }
        let ring = &self.reader.ring;
        ring.seat(Role::Consumer).give_up(&self.reader.me, ring.gate(Role::Consumer));
    }
}

/// The next record, still in the ring.
#[derive(Debug)]
pub struct Peek<'c> {
    reader: &'c mut Reader,
    found: Found,
}

impl Peek<'_> {
    /// Its kind.
    pub fn kind(&self) -> u32 {
        self.found.kind
    }

    /// Bytes of its payload.
    #[allow(clippy::len_without_is_empty, reason = "an empty payload is a payload")]
    pub fn len(&self) -> usize {
        self.found.len as usize
    }

    /// Copies its payload (what `payload` held is replaced).
    ///
    /// # Errors
    /// [`Corrupt`], if the checksum is wrong; `payload` is empty then.
    pub fn copy_to(&self, payload: &mut Vec<u8>) -> Result<(), Corrupt> {
        payload.clear();
        self.reader.copy(&self.found, [], payload)
    }

    /// Its payload, in place, after a look at its checksum.
    ///
    /// # Errors
    /// [`Corrupt`], if the checksum is wrong.
    ///
    /// # Safety
    /// Every process that can write the segment follows the ring's protocol: then nobody writes the record before it is
    /// committed as read. See `docs/trust.md`.
    #[cfg(not(model))]
    pub unsafe fn as_bytes(&self) -> Result<&[u8], Corrupt> {
        let ring = &self.reader.ring;
        // SAFETY: `find` saw that the record lies within the ring, and by the caller's promise nobody writes it.
        let bytes = unsafe {
            crate::sync::cell::bytes(&ring.record(self.found.start, self.found.end - self.found.start)[1..], self.len())
        };
        self.reader.check(&self.found, [], bytes)?;
        Ok(bytes)
    }

    /// Commits it as read. In a child that was forked since it does nothing: the record is its parent's to consume.
    pub fn consume(self) {
        if self.reader.me.is_current() {
            self.reader.commit(self.found.end);
        }
    }
}
