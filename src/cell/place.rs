//! What all cells are made of: for each key a line of control words, and its buffers.

use super::{Corrupt, SeatError};
use crate::data::Data;
use crate::owner::{AttachError, Attachment, Opened, SeatState, SeatWords, Table};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::backing::Truncated;
use crate::sync::shm::Shared;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Bytes of a word.
const WORD: usize = 8;
/// Each buffer begins on a cache line of its own: so many words.
const LINE: usize = 8;

/// A key's words, but for its buffers. All-zero: value 0, a vacant seat.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(crate) struct Control {
    /// A sequence lock's sequence; a snapshot's last committed number, and [`super::snapshot::SLEEPER`].
    pub(super) sequence: AtomicU64,
    /// A snapshot's: the number that was begun last.
    pub(super) begun: AtomicU64,
    pub(super) seat: SeatWords,
    /// Always 0. Changes of the seat are announced here.
    pub(super) gate: AtomicU64,
}

impl Control {
    #[cfg(model)]
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { sequence: zero(), begun: zero(), seat: SeatWords::new(), gate: zero() }
    }
}

/// How much there is of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(super) keys: u64,
    /// For each key.
    pub(super) buffers: u64,
    /// Bytes of a value.
    pub(super) size: u64,
}

impl Geometry {
    /// Keys that a board may have.
    #[cfg(not(model))]
    pub(super) const MOST_KEYS: u64 = 1 << 24;
    /// Buffers that a snapshot may have.
    #[cfg(not(model))]
    pub(super) const MOST_BUFFERS: u64 = 64;

    pub(super) const fn of<T>(keys: u64, buffers: u64) -> Self {
        Self { keys, buffers, size: size_of::<T>() as u64 }
    }

    /// Words of a buffer: the writer's generation, and the value.
    pub(super) const fn used(&self) -> usize {
        1 + (self.size as usize).div_ceil(WORD)
    }

    /// Words from one buffer to the next.
    pub(super) const fn stride(&self) -> usize {
        self.used().next_multiple_of(LINE)
    }

    /// Words of all buffers. `None` if nobody has so much memory.
    pub(super) fn words(&self) -> Option<usize> {
        let buffers = usize::try_from(self.keys.checked_mul(self.buffers)?).ok()?;
        let words = self.stride().checked_mul(buffers)?;
        words.checked_mul(WORD).map(|_| words)
    }
}

/// A value as it was read: whole, and committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Its number: it grows with each value. 0 is what was there at birth.
    pub sequence: u64,
    /// Generation of the writer's seat when it was written.
    pub generation: u64,
}

/// A cell from outside.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Number of the last value that was committed, or begun in a sequence lock whose value is not whole. It grows with each
    /// write, so it is the writer's heartbeat too.
    pub sequence: u64,
    /// What is done to the value now.
    pub progress: Progress,
    /// Take-overs of the writer's seat from the dead since the cell's birth.
    pub generation: u64,
    /// Whose the writer's seat is.
    pub writer: SeatState,
}

/// What is done to a cell's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing: all that was begun is committed.
    Whole,
    /// The writer is writing the next one.
    Writing,
    /// A writer died while it wrote, and nobody has written since. A sequence lock has no value then; a snapshot has its last one.
    Torn,
}

/// One or more cells with values of type `T`.
pub(crate) struct Cells<T> {
    pub(super) table: Table,
    /// Invariant 1: `geometry.keys` of them.
    pub(super) controls: Shared<[Line<Control>]>,
    /// Invariant 2: `geometry.words()` of them.
    pub(super) words: Shared<[AtomicU64]>,
    pub(super) geometry: Geometry,
    #[cfg(not(model))]
    pub(super) segment: crate::segment::Segment,
    pub(super) value: PhantomData<fn() -> T>,
}

impl<T> Clone for Cells<T> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            controls: self.controls.clone(),
            words: self.words.clone(),
            geometry: self.geometry,
            #[cfg(not(model))]
            segment: self.segment.clone(),
            value: PhantomData,
        }
    }
}

impl<T> core::fmt::Debug for Cells<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cells").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

impl<T: Data> Cells<T> {
    /// Cells on the heap, for models.
    #[cfg(model)]
    pub(super) fn private(geometry: Geometry, slots: usize) -> Self {
        let words = geometry.words().expect("little memory");
        Self {
            table: Table::private(slots),
            controls: Shared::from_vec((0..geometry.keys).map(|_| Line(Control::new())).collect()),
            words: Shared::from_vec((0..words).map(|_| AtomicU64::new(0)).collect()),
            geometry,
            value: PhantomData,
        }
    }

    pub(super) fn attach(&self) -> Result<Attachment, AttachError> {
        Attachment::attach(&self.table)
    }

    /// Whether what was read was the cell's.
    #[inline(always)]
    pub(super) fn intact(&self) -> Result<(), Truncated> {
        self.table.backing().check()
    }

    /// A key's control words, if there is such a key.
    #[inline]
    pub(super) fn control(&self, key: usize) -> Option<&Control> {
        self.controls.get(key).map(|line| &line.0)
    }

    /// The buffer for value `number` of `key`, which exists.
    #[inline]
    pub(super) fn buffer(&self, key: usize, number: u64) -> &[AtomicU64] {
        let index = key * self.geometry.buffers as usize + (number % self.geometry.buffers) as usize;
        let start = index * self.geometry.stride();
        // In bounds by invariant 2; the check is one comparison.
        &self.words[start..start + self.geometry.used()]
    }

    /// Takes the writer's seat of `key`, and lets `repair` look at what is there, told whether it was a dead one's.
    pub(super) fn open_writer<H>(
        &self,
        me: &Attachment,
        key: usize,
        repair: impl FnOnce(bool) -> Result<H, Corrupt>,
    ) -> Result<Opened<H>, SeatError> {
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(SeatError::WrongSegment);
        }
        let Some(Control { seat, gate, .. }) = self.control(key) else {
            return Err(SeatError::NoSuchKey { key, keys: self.controls.len() });
        };
        let from_the_dead = match seat.take(me, gate) {
            Ok(taken) => taken.from_the_dead,
            Err(SeatState::Alive(holder)) => {
                return Err(SeatError::Busy { slot: holder.slot, generation: seat.generation() });
            }
            Err(SeatState::Corrupt(found)) => return Err(Corrupt::right(found).into()),
            Err(SeatState::Vacant | SeatState::Dead(_)) => unreachable!("such a seat is taken"),
        };
        match repair(from_the_dead) {
            Ok(writer) => {
                seat.repaired(me, gate);
                Ok(if from_the_dead { Opened::OwnerDied(writer) } else { Opened::Clean(writer) })
            }
            Err(corrupt) => {
                seat.give_up(me, gate);
                Err(corrupt.into())
            }
        }
    }
}

/// Copies `value` into `buffer`, word by word. Who reads it meanwhile sees a mixture, and is told so by the sequence around it.
///
/// Relaxed, here and in [`load`]: what orders them are the fences of the caller.
#[inline]
pub(super) fn store<T: Data>(buffer: &[AtomicU64], generation: u64, value: &T) {
    const { assert!(!T::PADDED, "a value of a cell has no padding: fill the holes with fields of their own") };
    buffer[0].store(generation, Relaxed);
    for (index, word) in buffer[1..][..size_of::<T>().div_ceil(WORD)].iter().enumerate() {
        let (from, mut bytes) = (index * WORD, [0; WORD]);
        let len = WORD.min(size_of::<T>() - from);
        // SAFETY: `from + len` is at most the size of a `T`, and all of its bytes are initialised, as it has no padding.
        unsafe { core::ptr::from_ref(value).cast::<u8>().add(from).copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
        word.store(u64::from_le_bytes(bytes), Relaxed);
    }
}

/// Copies the generation and the value out of `buffer`.
#[inline]
pub(super) fn load<T: Data>(buffer: &[AtomicU64]) -> (u64, T) {
    const { assert!(!T::PADDED, "a value of a cell has no padding: fill the holes with fields of their own") };
    let generation = buffer[0].load(Relaxed);
    let mut value = MaybeUninit::<T>::uninit();
    for (index, word) in buffer[1..][..size_of::<T>().div_ceil(WORD)].iter().enumerate() {
        let (from, bytes) = (index * WORD, word.load(Relaxed).to_le_bytes());
        let len = WORD.min(size_of::<T>() - from);
        // SAFETY: `from + len` is at most the size of a `T`.
        unsafe { value.as_mut_ptr().cast::<u8>().add(from).copy_from_nonoverlapping(bytes.as_ptr(), len) };
    }
    // SAFETY: the loop has initialised all bytes of it, and any bytes are a valid `Data`.
    (generation, unsafe { value.assume_init() })
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded_whatever_its_size() {
        fn both_ways<T: Data + PartialEq + core::fmt::Debug>(value: T) {
            let buffer: Vec<_> = (0..Geometry::of::<T>(1, 1).used()).map(|_| AtomicU64::new(u64::MAX)).collect();
            store(&buffer, 7, &value);
            assert_eq!(load::<T>(&buffer), (7, value));
        }
        both_ways([0u8; 0]);
        both_ways(5u8);
        both_ways([1u8, 2, 3, 4, 5, 6, 7, 8, 9]);
        both_ways([1u16; 12]);
        both_ways(u128::MAX - 5);
        both_ways([[1u32, 2, 3], [4, 5, 6]]);
    }

    #[test]
    fn no_geometry_is_larger_than_memory() {
        assert_eq!(Geometry { keys: 3, buffers: 2, size: 60 }.words(), Some(3 * 2 * 16));
        assert_eq!(Geometry { keys: 1 << 24, buffers: 64, size: 1 << 40 }.words(), None);
    }
}
