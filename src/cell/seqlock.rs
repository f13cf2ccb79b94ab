//! A sequence lock: one value, one writer at a time, any number of readers who write nothing.
//!
//! **What it guarantees.** A value that is read is whole, was committed, and is no older than what that reader read before. A
//! reader only loads: it takes no part in the segment, and nobody waits for it. A write is wait-free and makes no system call.
//!
//! **What survives a death.** A reader's death is nothing to anybody. A writer that dies between two writes leaves its value. One
//! that dies mid-write leaves none: readers are told at once ([`TryReadError::WriterDied`]) until somebody takes the seat over
//! ([`Opened::OwnerDied`]) and writes. Where readers must have the last value then, use a [snapshot](super::snapshot).
//!
//! **What it cannot do.** Give a value while a writer that lives is mid-write: a reader looks a bounded number of times, and is
//! then told [`TryReadError::Busy`], however long the writer has been stopped. Wake a reader: since it writes nothing, nobody
//! knows that it sleeps. [`SeqLock::read_timeout`] looks again every millisecond; who must be woken uses a snapshot.
//!
//! ```text
//! body + 0     type, buffers, keys (see `shared`)     fixed at birth
//!      + 128   sequence | - | seat: right, generation | gate, always 0
//!      + 256   generation of the value's writer | the value
//! ```
//!
//! | sequence | state |
//! |---|---|
//! | 2n | value n is there, whole |
//! | 2n + 1 | the holder of the seat writes value n + 1, or died while it did |
//! | TORN, 2n + 1 | a writer died while it wrote value n + 1, and the seat has another holder since, who has not written |
//!
//! The number of a value that was never finished is not used again. What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | even sequence, Release | sequence, Acquire | the value |
//! | odd sequence, then a Release fence, then the value | the value, then an Acquire fence, then the sequence again | that the value is being changed |
//! | odd sequence, Release | sequence, Acquire, then the seat | whose seat it is: or one who has begun to write were taken for its dead predecessor |
//!
//! ```
//! use ownerdead::cell::SeqLock;
//! use ownerdead::segment::Options;
//!
//! let pose = SeqLock::memfd(&Options::new(), [0.0f64; 3])?;
//! let me = pose.attach()?;
//! let mut writer = pose.writer(&me)?.into_inner();
//! writer.write(&[1.0, 2.0, 0.5])?;
//! assert_eq!(pose.try_read()?.value, [1.0, 2.0, 0.5]); // any thread, of any process; it need not attach
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::place::{Cells, Control, load, store};
use super::{Corrupt, Progress, ReadTimeoutError, SeatError, Status, TryReadError, Versioned, WriteError};
use crate::data::Data;
use crate::owner::{AttachError, Attachment, Opened, SeatState};
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::{compiler_fence, fence};
use crate::sync::futex::{Word, wait};
use crate::sync::{thread, time};
use core::time::Duration;

/// The value is being written.
pub(super) const ODD: u64 = 1;
/// It was, by one who is dead; the seat has another holder since.
pub(super) const TORN: u64 = 1 << 63;
/// No sequence gets so far in centuries.
pub(super) const FARTHEST: u64 = 1 << 62;
/// Looks before a reader says that the writer is busy. Each takes some nanoseconds, as a write does. A model's reader that looks in
/// vain looks in vain under every schedule that there is, so one is enough.
const LOOKS: u32 = if cfg!(model) { 1 } else { 64 };
/// How long a reader with a deadline sleeps between looks.
const SLICE: Duration = Duration::from_millis(1);

/// A value that is always read whole. See the [module](self).
#[derive(Debug)]
pub struct SeqLock<T> {
    pub(super) cells: Cells<T>,
}

impl<T> Clone for SeqLock<T> {
    fn clone(&self) -> Self {
        Self { cells: self.cells.clone() }
    }
}

impl<T: Data> SeqLock<T> {
    /// A sequence lock on the heap, for models; its value is all zero.
    #[cfg(model)]
    pub fn private(slots: usize) -> Self {
        Self { cells: Cells::private(super::place::Geometry::of::<T>(1, 1), slots) }
    }

    /// Makes the calling thread a participant of the segment, which a writer must be, and a reader need not.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        self.cells.attach()
    }

    /// Opens the writer's seat.
    ///
    /// # Errors
    /// [`SeatError`]: somebody alive has it, above all.
    pub fn writer(&self, me: &Attachment) -> Result<Opened<Writer<T>>, SeatError> {
        self.cells.open_writer(me, 0, |from_the_dead| Writer::new(self.clone(), me.clone(), from_the_dead))
    }

    /// Reads the value, looking again a bounded number of times while it is being written.
    ///
    /// # Errors
    /// [`TryReadError`].
    #[inline]
    pub fn try_read(&self) -> Result<Versioned<T>, TryReadError> {
        for _ in 0..LOOKS {
            if let Some(value) = self.look()? {
                return Ok(value);
            }
            core::hint::spin_loop();
        }
        Err(TryReadError::Busy)
    }

    /// The same for up to `timeout`: looking first, then every millisecond.
    ///
    /// # Errors
    /// [`ReadTimeoutError`].
    pub fn read_timeout(&self, timeout: Duration) -> Result<Versioned<T>, ReadTimeoutError> {
        let deadline = time::now().checked_add(timeout);
        loop {
            match self.try_read() {
                Ok(value) => return Ok(value),
                Err(TryReadError::Busy) => {}
                Err(TryReadError::WriterDied) => return Err(ReadTimeoutError::WriterDied),
                Err(TryReadError::Corrupt(corrupt)) => return Err(corrupt.into()),
            }
            let now = time::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Err(ReadTimeoutError::TimedOut);
            }
            // Relaxed: only to sleep on it. Nobody wakes this one, which only reads; so it sleeps for a moment, if it still is odd.
            let sequence = self.control().sequence.load(Relaxed);
            if sequence & ODD != 0 {
                let slice = now + SLICE;
                let until = deadline.map_or(slice, |deadline| deadline.min(slice));
                wait(Word::Low(&self.control().sequence), sequence as u32, Some(until));
            }
        }
    }

    /// What it looks like now.
    pub fn status(&self) -> Status {
        let control = self.control();
        // Acquire: whose seat it was when it became odd, as in `look`.
        let sequence = control.sequence.load(Acquire);
        let writer = control.seat.look_in(&self.cells.table).state;
        let progress = match writer {
            _ if sequence & TORN != 0 => Progress::Torn,
            _ if sequence & ODD == 0 => Progress::Whole,
            SeatState::Dead(_) if control.sequence.load(Relaxed) == sequence => Progress::Torn,
            _ => Progress::Writing,
        };
        let number = (sequence & !TORN).div_ceil(2);
        Status { sequence: number, progress, generation: control.seat.generation(), writer }
    }

    /// One look: the value, if nobody writes it meanwhile.
    #[inline]
    fn look(&self) -> Result<Option<Versioned<T>>, TryReadError> {
        let control = self.control();
        // Acquire: of an even one, the value; of an odd one, whose seat it was when it became so.
        let before = control.sequence.load(Acquire);
        if before & (ODD | TORN) != 0 {
            return self.unfinished(before).map(|()| None);
        }
        let (generation, value) = load(self.cells.buffer(0, 0));
        // If a word of it was a later value's, then this fence and the writer's make the sequence no older than that value's odd
        // one.
        fence(Acquire);
        let after = control.sequence.load(Relaxed);
        self.cells.intact()?;
        Ok((after == before).then_some(Versioned { value, sequence: before / 2, generation }))
    }

    /// Whether it makes sense to look again after the sequence was `odd`.
    #[cold]
    fn unfinished(&self, odd: u64) -> Result<(), TryReadError> {
        if odd & TORN != 0 {
            return Err(TryReadError::WriterDied);
        }
        let control = self.control();
        let state = control.seat.look_in(&self.cells.table).state;
        if let SeatState::Alive(_) = state {
            return Ok(());
        }
        // Relaxed: the state was acquired, so this is no older than the last store of the one who died, or gave the seat up.
        let now = control.sequence.load(Relaxed);
        match state {
            _ if now & TORN != 0 => Err(TryReadError::WriterDied),
            _ if now != odd => Ok(()),
            SeatState::Corrupt(found) => Err(Corrupt::right(found).into()),
            SeatState::Dead(_) => Err(TryReadError::WriterDied),
            SeatState::Vacant | SeatState::Alive(_) => Err(unowned(odd).into()),
        }
    }

    pub(super) fn control(&self) -> &Control {
        self.cells.control(0).expect("a sequence lock has one key")
    }
}

#[cold]
fn unowned(odd: u64) -> Corrupt {
    Corrupt { field: "the sequence", found: odd, expected: "an even one, as nobody has the writer's seat".into() }
}

/// The writer's seat. It stays with its thread; dropping it gives the seat up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::cell::seqlock::Writer<u64>>();
/// ```
#[derive(Debug)]
pub struct Writer<T: Data> {
    lock: SeqLock<T>,
    me: Attachment,
    /// What the next write begins with: odd. Invariant 1: between calls the shared sequence is `odd - 1`; or it has TORN, and is
    /// `odd - 2` but for that, until the first write. Nobody else writes it.
    odd: u64,
    generation: u64,
}

impl<T: Data> Writer<T> {
    fn new(lock: SeqLock<T>, me: Attachment, from_the_dead: bool) -> Result<Self, Corrupt> {
        let control = lock.control();
        // Relaxed: the last holder's stores are visible since its seat was taken (Acquire, or `dead`).
        let found = control.sequence.load(Relaxed);
        let sequence = found & !TORN;
        if sequence > FARTHEST {
            return Err(Corrupt { field: "the sequence", found, expected: format!("at most {FARTHEST:#x}") });
        }
        if found & TORN != 0 && sequence & ODD == 0 {
            return Err(Corrupt { field: "the sequence", found, expected: "an odd one, as its value is torn".into() });
        }
        if found & (TORN | ODD) == ODD {
            if !from_the_dead {
                return Err(unowned(found));
            }
            // From here on the seat says nothing about the value any more. Relaxed: who sees it needs nothing else.
            control.sequence.store(found | TORN, Relaxed);
        }
        let generation = control.seat.generation();
        Ok(Self { lock, me, odd: (sequence + 1) | ODD, generation })
    }

    /// Writes a value. Says its number.
    ///
    /// # Errors
    /// [`WriteError`], and nothing was changed.
    #[inline]
    pub fn write(&mut self, value: &T) -> Result<u64, WriteError> {
        self.me.check()?;
        let sequence = &self.lock.control().sequence;
        // Release: who finds it odd must find this writer in the seat, dead or alive, and nobody from before.
        sequence.store(self.odd, Release);
        // Nobody may see a word of the value before the odd sequence.
        fence(Release);
        store(self.lock.cells.buffer(0, 0), self.generation, value);
        let even = self.odd + 1;
        // Release: the value.
        sequence.store(even, Release);
        // So that a compiler does not put it off: a write that has returned outlives its writer.
        compiler_fence(Release);
        self.odd = even + 1;
        Ok(even / 2)
    }

    /// The value that is there; `None` if it is torn: its writer died, and nobody has written since.
    pub fn value(&self) -> Option<T> {
        // Relaxed: only this thread writes it, and what others wrote before is visible since the seat was taken.
        let sequence = self.lock.control().sequence.load(Relaxed);
        (sequence & (ODD | TORN) == 0).then(|| load(self.lock.cells.buffer(0, 0)).1)
    }

    /// How often this seat was taken over from the dead.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Gives the seat up, as dropping does.
    pub fn close(self) {}
}

impl<T: Data> Drop for Writer<T> {
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        let control = self.lock.control();
        control.seat.give_up(&self.me, &control.gate);
    }
}
