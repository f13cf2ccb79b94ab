//! The consumer's side.

use super::producer::{checksum_at, no_record};
use super::wait::until_some;
#[cfg(not(model))]
use super::wait::{side, watch_some};
use super::word::{BlockWord, Says};
use super::{Corrupt, FARTHEST, PopError, PopTimeoutError, Ring, TryPopError};
use crate::owner::Attachment;
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::record::{Checksum, SLEEPER, head};
use crate::ring::spsc::pop_refused;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::{payload, thread, time};
use core::time::Duration;

/// The consumer's seat. It stays with its thread; dropping it gives the seat up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::mpsc::claims::Consumer>();
/// ```
#[derive(Debug)]
pub struct Consumer {
    pub(super) ring: Ring,
    pub(super) me: Attachment,
    /// Up to where records were read. Invariant 1: equal to the shared read index between calls, a multiple of a block; nobody else
    /// writes that.
    pub(super) head: u64,
    /// The write index is at least this.
    tail: u64,
    /// Room for the records of a batch, kept from one to the next. Its content means nothing.
    scratch: Vec<u8>,
}

/// A record in the ring. Invariant 1: it lies within, and its blocks are those that its payload takes.
#[derive(Clone, Copy, Debug)]
struct Found {
    start: u64,
    blocks: u64,
    kind: u32,
    len: u32,
    end: u64,
}

/// What lies at a position.
enum Step {
    Record(Found),
    /// Nothing to be read, up to here: no record, or one that somebody alive writes.
    Nothing(u64),
}

/// What the word at a position says to the consumer, who was told once more what a dead one wrote.
pub(super) enum Look {
    /// No record begins here yet.
    Free(BlockWord),
    /// Somebody alive writes it.
    Writing(BlockWord, crate::owner::Holder),
    Full {
        blocks: u64,
    },
    /// Padding, or given up, or its writer died.
    Skip {
        blocks: u64,
    },
}

impl Ring {
    /// What the word at a position says to `me`, its consumer or who watches for that.
    #[inline]
    pub(super) fn look(&self, me: &Attachment, position: u64) -> Result<Look, Corrupt> {
        // Acquire: the record; or who writes it, for `dead`.
        let word = BlockWord(self.word(position).load(Acquire));
        match word.says() {
            Says::Free { lap: of } if BlockWord::ahead(of, self.shape.lap(position)) == 0 => Ok(Look::Free(word)),
            Says::Writing { holder, blocks } if self.shape.fits(position, blocks) => {
                // Besides a seat this thread has no right, so it writes no record.
                let unknown = holder == me.id() && me.rights() <= 1;
                match self.table.dead(holder).filter(|_| !unknown) {
                    None => Err(no_record(position, word)),
                    Some(false) => Ok(Look::Writing(word, holder)),
                    Some(true) => self.look_again(position, word, blocks),
                }
            }
            says => self.done(position, word, says),
        }
    }

    /// The writer is dead. It may have published before it died.
    #[cold]
    fn look_again(&self, position: u64, before: BlockWord, blocks: u64) -> Result<Look, Corrupt> {
        // Relaxed: `dead` has acquired all that it did, this word's last change and the record among it.
        let word = BlockWord(self.word(position).load(Relaxed));
        // With WAITERS, both: the consumer and its bell may ask for a wake meanwhile.
        if word.with_waiters() == before.with_waiters() {
            Ok(Look::Skip { blocks })
        } else {
            self.done(position, word, word.says())
        }
    }

    /// A record that can be read, or is to be skipped.
    #[inline]
    fn done(&self, position: u64, word: BlockWord, says: Says) -> Result<Look, Corrupt> {
        match says {
            Says::Done { blocks, lap, void }
                if BlockWord::is_lap(lap, self.shape.lap(position)) && self.shape.fits(position, blocks) =>
            {
                Ok(if void { Look::Skip { blocks } } else { Look::Full { blocks } })
            }
            _ => Err(no_record(position, word)),
        }
    }
}

impl Consumer {
    /// After all is checked: dropping a consumer gives the seat up, and so does the caller where there is none.
    pub(super) fn new(ring: Ring, me: Attachment) -> Result<Self, Corrupt> {
        // Relaxed, both: the last consumer's stores are visible since its seat was taken (Acquire, or `dead`).
        let head = ring.control.head.index.load(Relaxed) & !SLEEPER;
        let read = ring.control.head.read.load(Relaxed);
        let (block, capacity) = (ring.shape.block, ring.shape.capacity);
        // By invariant 2 of the shape a block is a power of two.
        if head & (block - 1) != 0 || head > FARTHEST {
            let expected = format!("a multiple of {block}, at most {FARTHEST:#x}");
            return Err(Corrupt { field: "the read index", found: head, expected });
        }
        if read < head || read - head > capacity || read & (block - 1) != 0 {
            let expected = format!("a multiple of {block}, at most {capacity:#x} after the read index {head:#x}");
            return Err(Corrupt { field: "the index up to which records were read", found: read, expected });
        }
        let mut consumer = Self { ring, me, head, tail: 0, scratch: Vec::new() };
        if read > head {
            // The last one died before it had freed what it had read.
            consumer.commit(read);
        }
        Ok(consumer)
    }

    /// Copies the next record into `payload` (what it held is replaced), commits it as read, and gives its kind.
    ///
    /// # Errors
    /// [`TryPopError`], and the record, if there is one, stays; that the ring is empty, too, if the next record is that of a producer that is
    /// at work.
    #[inline]
    pub fn try_pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, TryPopError> {
        let found = self.next()?;
        payload.clear();
        self.copy(&found, payload)?;
        self.commit(found.end);
        Ok(found.kind)
    }

    /// The same, sleeping while there is none.
    ///
    /// # Errors
    /// [`PopError`], and the record, if there is one, stays; never that the producer died, since any may come.
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, PopError> {
        Ok(self.pop_until(payload, || None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PopTimeoutError`], and the record, if there is one, stays; never that the producer died, since any may come.
    pub fn pop_timeout(&mut self, payload: &mut Vec<u8>, timeout: Duration) -> Result<u32, PopTimeoutError> {
        self.pop_until(payload, || time::now().checked_add(timeout))
    }

    #[inline]
    fn pop_until(
        &mut self,
        payload: &mut Vec<u8>,
        deadline: impl FnOnce() -> Option<Duration>,
    ) -> Result<u32, PopTimeoutError> {
        match self.try_pop(payload) {
            Ok(kind) => Ok(kind),
            Err(TryPopError::Empty) => self.pop_when_full(payload, deadline()),
            Err(error) => Err(pop_refused(error)),
        }
    }

    #[cold]
    fn pop_when_full(&mut self, payload: &mut Vec<u8>, deadline: Option<Duration>) -> Result<u32, PopTimeoutError> {
        loop {
            let in_time = until_some(&self.ring, &self.me, self.head, deadline, None)?;
            match self.try_pop(payload) {
                Ok(kind) => return Ok(kind),
                // What came just in time counts.
                Err(TryPopError::Empty) if in_time => {}
                Err(TryPopError::Empty) => return Err(PopTimeoutError::TimedOut),
                Err(error) => return Err(pop_refused(error)),
            }
        }
    }

    /// Gives up to `max` records to `take`, in order, and commits them as read together: should this thread die before, all of
    /// them are delivered again. Says how many.
    ///
    /// # Errors
    /// [`TryPopError`] if there was not even one.
    pub fn pop_batch(&mut self, max: usize, mut take: impl FnMut(u32, &[u8])) -> Result<usize, TryPopError> {
        let (mut end, mut count, mut payload) = (self.head, 0, core::mem::take(&mut self.scratch));
        let stopped = loop {
            if count == max {
                break None;
            }
            payload.clear();
            let copied = self.find(end).and_then(|step| match step {
                Step::Record(found) => {
                    self.copy(&found, &mut payload)?;
                    Ok(Some(found))
                }
                Step::Nothing(at) => {
                    end = at;
                    Ok(None)
                }
            });
            match copied {
                Ok(Some(found)) => {
                    take(found.kind, &payload);
                    (end, count) = (found.end, count + 1);
                }
                Ok(None) => break Some(TryPopError::Empty),
                Err(error) => break Some(error),
            }
        };
        self.scratch = payload;
        // `take` may have forked: then the records are the parent's to commit.
        self.me.check()?;
        if end > self.head {
            self.commit(end);
        }
        match stopped {
            Some(error) if count == 0 => Err(error),
            _ => Ok(count),
        }
    }

    /// Looks at the next record without reading it off.
    ///
    /// # Errors
    /// [`TryPopError`].
    pub fn peek(&mut self) -> Result<Peek<'_>, TryPopError> {
        let found = self.next()?;
        self.me.intact()?;
        Ok(Peek { consumer: self, found })
    }

    /// Tells monitors that this side is alive though there is nothing to read.
    pub fn beat(&mut self) {
        self.ring.control.head.beat();
    }

    /// How often this seat was taken over from the dead.
    pub fn generation(&self) -> u64 {
        self.ring.control.consumer.generation()
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        Bell::new(&self.me, side(&self.ring, false))
    }

    /// Arms a bell of this ring: it rings once there is more than this side has seen, at once if there is already; also for what a dead
    /// one left to be skipped. Never because there are no producers: any may come. To be called after this side was told that the ring is empty.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring, false), watch_some(&self.ring, self.head))
    }

    /// Gives the seat up, as dropping does.
    pub fn close(self) {}

    /// The next record. If there is none, then what the dead left before it gives room.
    #[inline]
    fn next(&mut self) -> Result<Found, TryPopError> {
        match self.find(self.head)? {
            Step::Record(found) => Ok(found),
            Step::Nothing(at) => {
                if at > self.head {
                    self.commit(at);
                }
                Err(TryPopError::Empty)
            }
        }
    }

    /// The record at `position`, or after what is to be skipped there.
    #[inline]
    fn find(&mut self, mut position: u64) -> Result<Step, TryPopError> {
        self.me.check()?;
        loop {
            if position - self.head == self.ring.shape.capacity {
                // All of it was given away, and is not committed: nothing comes after this.
                return Ok(Step::Nothing(position));
            }
            let (blocks, full) = match self.ring.look(&self.me, position)? {
                Look::Free(_) | Look::Writing(..) => return Ok(Step::Nothing(position)),
                Look::Full { blocks } => (blocks, true),
                Look::Skip { blocks } => (blocks, false),
            };
            let end = position + blocks * self.ring.shape.block;
            if end - self.head > self.ring.shape.capacity {
                // At the words of a peer that does not follow the protocol it would go round for ever.
                return Err(goes_round(position, blocks).into());
            }
            self.pass(position, end);
            if full {
                return Ok(Step::Record(self.parse(position, blocks, end)?));
            }
            position = end;
        }
    }

    /// What a record says of itself, whose word was FULL.
    #[inline]
    fn parse(&self, start: u64, blocks: u64, end: u64) -> Result<Found, Corrupt> {
        // Read once: a peer that breaks the protocol may change it meanwhile.
        let first = self.ring.record(start, blocks)[0].load();
        let (len, kind) = (first as u32, (first >> 32) as u32);
        if self.ring.shape.blocks_of(len.into()) != blocks {
            return Err(wrong_length(len, start, blocks));
        }
        Ok(Found { start, blocks, kind, len, end })
    }

    /// Sees that the write index is past a record, before that may be freed: its writer may have died before it helped, or not come to it
    /// yet. Who claimed a record after this one has seen it past this one, so it is where this one begins, if not further.
    #[inline]
    fn pass(&mut self, from: u64, to: u64) {
        if self.tail < to {
            // Relaxed: it is only compared. That it was past the record is published by the read index.
            let tail = self.ring.control.tail.load(Relaxed);
            if tail < to {
                self.ring.help(from, to);
            }
            self.tail = tail.max(to);
        }
    }

    /// Appends the payload of a record to `payload`, and checks its checksum.
    #[inline]
    fn copy(&self, found: &Found, payload: &mut Vec<u8>) -> Result<(), Corrupt> {
        let from = payload.len();
        payload::append(&self.ring.record(found.start, found.blocks)[1..], found.len as usize, payload);
        let checked = self.check(found, &payload[from..]);
        if checked.is_err() {
            payload.truncate(from);
        }
        checked
    }

    /// Whether what was read of a record was in the ring; compares its checksum, if it has one, with what its payload gives.
    #[inline]
    fn check(&self, found: &Found, payload: &[u8]) -> Result<(), Corrupt> {
        self.me.intact()?;
        if !self.ring.shape.checksum {
            return Ok(());
        }
        let expected = Checksum::of(found.start, head(found.len, found.kind), [], payload);
        let stored = self.ring.record(found.start, found.blocks)[checksum_at(found.len as usize)].load();
        if stored == expected { Ok(()) } else { Err(wrong_checksum(found.start, stored, expected)) }
    }

    /// Commits everything before `end` as read, frees it, and lets producers have it.
    #[inline]
    fn commit(&mut self, end: u64) {
        let (ring, shape) = (&self.ring, &self.ring.shape);
        // Relaxed: for the next consumer, which acquires all that this one did. Before anything is freed, since where a record began is not
        // to be seen any more after that: the first Release below holds it back.
        ring.control.head.read.store(end, Relaxed);
        let mut position = self.head;
        while position < end {
            // Release: a producer that finds it free in a later lap than its own sees, when it looks again, that the tail has moved on. A
            // store: a record is nobody's any more. (A bell's thread that has asked for a wake here waits for a writer that died: for its life.)
            ring.word(position).store(BlockWord::free(shape.lap(position) + 1).0, Release);
            position += shape.block;
        }
        self.head = end;
        // Before the index, as those of other rings.
        ring.control.head.beat();
        // Release: the reads, the words, and the tail that was passed. A swap, so that a sleeper's bit is seen, however late it was set.
        let old = ring.control.head.index.swap(end, Release);
        if old & SLEEPER != 0 {
            // Should this thread die before it wakes the producers, its death does: they sleep on its life word too.
            wake(Word::Low(&ring.control.head.index), ALL);
        }
    }
}

#[cold]
fn goes_round(position: u64, blocks: u64) -> Corrupt {
    let expected = format!("no more than up to the first that was not read, a lap on, at position {position:#x}");
    Corrupt { field: "the blocks of a record", found: blocks, expected }
}

#[cold]
fn wrong_length(len: u32, position: u64, blocks: u64) -> Corrupt {
    Corrupt {
        field: "the length of a record",
        found: len.into(),
        expected: format!("one that takes {blocks} blocks, as claimed, at position {position:#x}"),
    }
}

#[cold]
fn wrong_checksum(position: u64, stored: u64, expected: u64) -> Corrupt {
    Corrupt {
        field: "the checksum of a record",
        found: stored,
        expected: format!("{expected:#x} at position {position:#x}"),
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        self.ring.control.consumer.give_up(&self.me, &self.ring.control.consumer_gate);
    }
}

/// The next record, still in the ring.
#[derive(Debug)]
pub struct Peek<'c> {
    consumer: &'c mut Consumer,
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
        self.consumer.copy(&self.found, payload)
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
        let (consumer, found) = (&self.consumer, &self.found);
        let record = &consumer.ring.record(found.start, found.blocks)[1..];
        // SAFETY: the record's blocks lie within the ring and hold `len` bytes behind its first granule (invariant 1 of `Found`), and by
        // the caller's promise nobody writes it.
        let bytes = unsafe { crate::sync::cell::bytes(record, self.len()) };
        consumer.check(found, bytes)?;
        Ok(bytes)
    }

    /// Commits it as read. In a child that was forked since it does nothing: the record is its parent's to consume.
    pub fn consume(self) {
        if self.consumer.me.is_current() {
            self.consumer.commit(self.found.end);
        }
    }
}
