//! A snapshot: the last committed value, always, whatever its writer does.
//!
//! **What it guarantees.** A value that is read is whole, was committed, and is no older than what that reader read before. A
//! reader only loads, and nobody waits for it. A write is wait-free; it makes a system call only if somebody sleeps in
//! [`Snapshot::wait_change`].
//!
//! **What survives a death.** The last committed value: a writer that dies mid-write, or is stopped there, takes nothing away from
//! readers. Who takes the seat over is told ([`Opened::OwnerDied`]), and goes on with the next number; there is nothing to repair.
//! Who sleeps until a newer value comes is told of the writer's death.
//!
//! **What it cannot do.** Keep older values, or wait for readers. A reader copies the buffer of the last value while the writer
//! goes on to the other ones. With B buffers (4, unless said otherwise) a copy is lost only if, while it is made, the writer
//! commits B - 1 values and begins one more: so a reader has at least the time of B - 2 writes for its copy, and that of what is
//! left of the one under way. If it is lost, the reader begins again with the newest value, at most 100 times; after that it is told
//! [`ReadError::Overrun`], and may read again. Where the writer rests between two writes for as long as a copy takes, or has died, no
//! copy is lost. Beside one that never rests many are with two buffers, as both want the same cache lines and a copy takes as long as
//! a write; with more buffers, few: `docs/benchmarks.md` has figures.
//!
//! ```text
//! body + 0     type, buffers, keys (see `shared`)     fixed at birth
//!      + 128   sequence | begun | seat: right, generation | gate, always 0
//!      + 256   the buffers, each on cache lines of its own: generation of the value's writer | the value
//! ```
//!
//! Value n lies in buffer n modulo B. `begun` is n + 1 from before its first word is changed; `sequence` says n + 1 once it is
//! whole, by one store. Between two writes both say n; `begun` is one ahead during a write, and after a death in it.
//!
//! | store | load | publishes |
//! |---|---|---|
//! | sequence, swap Release | sequence, Acquire | the value, and that it was begun |
//! | begun, then a Release fence, then the value | the value, then an Acquire fence, then begun | that the buffer is being changed |
//! | begun, Release | begun, Acquire | the value before it, for a reader that begins again |
//!
//! A reader that sleeps sets a bit in the sequence, which the writer's swap shows it; as a ring's reader does, it sleeps on the
//! writer's death and on a change of the seat too.
//!
//! ```
//! use ownerdead::cell::snapshot::{Config, Snapshot};
//! use ownerdead::segment::Options;
//!
//! let pose = Snapshot::memfd(&Options::new(), &Config::new(), [0.0f64; 3])?;
//! let me = pose.attach()?;
//! let mut writer = pose.writer(&me)?.into_inner();
//! let first = writer.write(&[1.0, 2.0, 0.5])?;
//! assert_eq!(pose.read()?.value, [1.0, 2.0, 0.5]);
//! assert!(pose.read_if_newer(first)?.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::place::{Cells, Control, Geometry, load, store};
use super::{Corrupt, Progress, ReadError, SeatError, Status, Versioned, WaitError, WaitWriterError, WriteError};
use crate::data::Data;
use crate::owner::{AttachError, Attachment, Opened, SeatState};
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::fence;
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::thread;
use core::time::Duration;

/// In the sequence: somebody may sleep on it. The number is what stands above it.
pub(super) use crate::owner::SLEEPER;
/// No number gets so far in centuries.
pub(super) const FARTHEST: u64 = 1 << 62;
/// Attempts of a read. Each one that fails means that the writer has gone round all buffers meanwhile.
const ATTEMPTS: u32 = 100;

/// How many buffers a snapshot has.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    buffers: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// Four buffers.
    pub const fn new() -> Self {
        Self { buffers: 4 }
    }

    /// How many buffers, 2 to 64: so many writes at least must be under way during a copy to make a reader begin again. Two are
    /// enough where the writer rests between its writes; where it does not, more cost memory, and save reads.
    pub const fn buffers(mut self, buffers: u64) -> Self {
        self.buffers = buffers;
        self
    }

    pub(super) const fn geometry<T>(&self, keys: u64) -> Geometry {
        Geometry::of::<T>(keys, self.buffers)
    }
}

/// A value that is always there. See the [module](self).
#[derive(Debug)]
pub struct Snapshot<T> {
    pub(super) cells: Cells<T>,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self { cells: self.cells.clone() }
    }
}

impl<T: Data> Snapshot<T> {
    /// A snapshot on the heap, for models; its value is all zero.
    #[cfg(model)]
    pub fn private(config: &Config, slots: usize) -> Self {
        Self { cells: Cells::private(config.geometry::<T>(1), slots) }
    }

    /// Makes the calling thread a participant of the segment, which a writer must be, and one who waits. A reader need not.
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
        self.cells.open_writer(me, 0, |_| Writer::new(self.cells.clone(), 0, me.clone()))
    }

    /// The last committed value.
    ///
    /// # Errors
    /// [`ReadError`].
    #[inline]
    pub fn read(&self) -> Result<Versioned<T>, ReadError> {
        self.cells.read(0)
    }

    /// The last committed value, if it has another number than `sequence`.
    ///
    /// # Errors
    /// [`ReadError`].
    #[inline]
    pub fn read_if_newer(&self, sequence: u64) -> Result<Option<Versioned<T>>, ReadError> {
        self.cells.read_if_newer(0, sequence)
    }

    /// Sleeps until the last committed value has another number than `sequence`, for up to `timeout` if there is one, and reads it.
    /// Where nobody has the writer's seat, it waits; where its holder is dead, it says so.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait_change(
        &self,
        me: &Attachment,
        sequence: u64,
        timeout: Option<Duration>,
    ) -> Result<Versioned<T>, WaitError> {
        self.cells.wait_change(me, 0, sequence, timeout)
    }

    /// Sleeps until somebody alive has the writer's seat, for up to `timeout` if there is one.
    ///
    /// # Errors
    /// [`WaitWriterError`].
    pub fn wait_writer(&self, me: &Attachment, timeout: Option<Duration>) -> Result<(), WaitWriterError> {
        self.cells.wait_writer(me, 0, timeout)
    }

    /// What it looks like now.
    pub fn status(&self) -> Status {
        self.cells.status(0).expect("a snapshot has one key")
    }
}

impl<T: Data> Cells<T> {
    #[inline]
    pub(super) fn existing(&self, key: usize) -> Result<&Control, ReadError> {
        self.control(key).ok_or(ReadError::NoSuchKey { key, keys: self.controls.len() })
    }

    #[inline]
    pub(super) fn read(&self, key: usize) -> Result<Versioned<T>, ReadError> {
        let control = self.existing(key)?;
        for _ in 0..ATTEMPTS {
            // Acquire: the value of this number, whole.
            let sequence = control.sequence.load(Acquire) / 2;
            let (generation, value) = load(self.buffer(key, sequence));
            // If a word of it was a later value's, then this fence and the writer's make what was begun no older than that value.
            fence(Acquire);
            // Acquire: if it fails, the value before the one that was begun is there for the next attempt.
            let begun = control.begun.load(Acquire);
            self.intact()?;
            match begun.checked_sub(sequence) {
                None => return Err(begun_behind(begun, sequence).into()),
                Some(ahead) if ahead < self.geometry.buffers => {
                    return Ok(Versioned { value, sequence, generation });
                }
                Some(_) => {}
            }
        }
        Err(ReadError::Overrun { attempts: ATTEMPTS })
    }

    #[inline]
    pub(super) fn read_if_newer(&self, key: usize, sequence: u64) -> Result<Option<Versioned<T>>, ReadError> {
        // Relaxed: a number to compare; `read` looks again, with Acquire.
        if self.existing(key)?.sequence.load(Relaxed) / 2 == sequence {
            self.intact()?;
            return Ok(None);
        }
        self.read(key).map(Some)
    }

    pub(super) fn status(&self, key: usize) -> Option<Status> {
        let control = self.control(key)?;
        // Acquire: what was begun is no older.
        let sequence = control.sequence.load(Acquire) / 2;
        // Acquire, so that the seat is no older: who began to write has it, dead or alive.
        let begun = control.begun.load(Acquire);
        let writer = control.seat.look_in(&self.table).state;
        let progress = match writer {
            _ if begun == sequence => Progress::Whole,
            SeatState::Alive(_) => Progress::Writing,
            // What it had begun may be committed: it was, if it died later.
            _ if control.sequence.load(Relaxed) / 2 != sequence => Progress::Whole,
            _ => Progress::Torn,
        };
        Some(Status { sequence, progress, generation: control.seat.generation(), writer })
    }
}

#[cold]
fn begun_behind(found: u64, sequence: u64) -> Corrupt {
    Corrupt {
        field: "the number that was begun",
        found,
        expected: format!("at least {sequence:#x}, the last committed"),
    }
}

/// The writer's seat. It stays with its thread; dropping it gives the seat up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::cell::snapshot::Writer<u64>>();
/// ```
#[derive(Debug)]
pub struct Writer<T: Data> {
    cells: Cells<T>,
    key: usize,
    me: Attachment,
    /// Invariant 1: the number of the last committed value, as the shared sequence says. Nobody else writes that.
    sequence: u64,
    generation: u64,
}

impl<T: Data> Writer<T> {
    /// There is nothing to repair: a value counts only once the sequence has its number. So all there is to do is to see that the
    /// numbers make sense.
    pub(super) fn new(cells: Cells<T>, key: usize, me: Attachment) -> Result<Self, Corrupt> {
        let control = cells.control(key).expect("the caller has looked");
        // Relaxed: the last holder's stores are visible since its seat was taken (Acquire, or `dead`).
        let (sequence, begun) = (control.sequence.load(Relaxed) / 2, control.begun.load(Relaxed));
        if sequence > FARTHEST {
            let expected = format!("at most {FARTHEST:#x}");
            return Err(Corrupt { field: "the number of the last value", found: sequence, expected });
        }
        if begun != sequence && begun != sequence + 1 {
            let expected = format!("{sequence:#x}, the last committed, or one more");
            return Err(Corrupt { field: "the number that was begun", found: begun, expected });
        }
        let generation = control.seat.generation();
        Ok(Self { cells, key, me, sequence, generation })
    }

    fn control(&self) -> &Control {
        self.cells.control(self.key).expect("`new` has looked")
    }

    /// Commits a value. Says its number.
    ///
    /// # Errors
    /// [`WriteError`], and nothing was changed.
    #[inline]
    pub fn write(&mut self, value: &T) -> Result<u64, WriteError> {
        self.me.check()?;
        let next = self.sequence + 1;
        let control = self.control();
        // Release: a reader that fails because of it must find the value before it.
        control.begun.store(next, Release);
        // Nobody may see a word of the value before its number was begun.
        fence(Release);
        store(self.cells.buffer(self.key, next), self.generation, value);
        // Release: the value. A swap, so that a sleeper's bit is seen, however late it was set.
        let old = control.sequence.swap(next * 2, Release);
        if old & SLEEPER != 0 {
            // Should this thread die before it wakes them, its death does: they sleep on its life word too.
            wake(Word::Low(&control.sequence), ALL);
        }
        self.sequence = next;
        Ok(next)
    }

    /// The last committed value.
    pub fn value(&self) -> T {
        // Only this thread overwrites it, and what others wrote before is visible since the seat was taken.
        load(self.cells.buffer(self.key, self.sequence)).1
    }

    /// Number of the last committed value.
    pub fn sequence(&self) -> u64 {
        self.sequence
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
        let control = self.control();
        control.seat.give_up(&self.me, &control.gate);
    }
}
