//! A ring in a segment.

use super::{Config, Control, Corrupt, Ring, Shape};
use crate::ring::RingError;
use crate::ring::record::GRANULE;
use crate::ring::shared::{InSegment, in_segments};
use crate::segment::{Body, Kind, Place, Segment};
use crate::sync::atomic::Ordering::Relaxed;

/// Where the words of the blocks begin.
pub(super) const WORDS: usize = 4096;
pub(super) const CHECKSUM: u64 = 1;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, config) == 0 && offset_of!(Control, tail) == 128 && offset_of!(Control, head) == 256);
    assert!(offset_of!(Control, head.0.index) == 256 && offset_of!(Control, head.0.read) == 272);
    assert!(offset_of!(Control, consumer) == 384 && offset_of!(Control, producer_gate) == 512);
    assert!(offset_of!(Control, consumer_gate) == 640 && size_of::<Control>() <= WORDS);
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl Place for Control {}

impl Shape {
    /// What is in `words`, if it is allowed: capacity, bytes of a block, flags.
    pub(super) fn of([capacity, block, flags]: [u64; 3]) -> Result<Self, Corrupt> {
        if flags & !CHECKSUM != 0 {
            let expected = format!("some bits of {CHECKSUM:#x}");
            return Err(Corrupt { field: "the word of flags", found: flags, expected });
        }
        if !Self::is_block(block) {
            return Err(Corrupt { field: "the bytes of a block", found: block, expected: allowed_block() });
        }
        Self::new(capacity, block, flags & CHECKSUM != 0).ok_or_else(|| Corrupt {
            field: "the capacity",
            found: capacity,
            expected: allowed_capacity(block),
        })
    }

    /// Where the blocks begin.
    pub(super) fn granules_at(&self) -> usize {
        (WORDS + self.blocks() as usize * size_of::<u64>()).next_multiple_of(4096)
    }

    pub(super) fn body_len(&self) -> usize {
        self.granules_at() + self.capacity as usize
    }
}

pub(super) fn allowed_block() -> String {
    format!("a power of two between {:#x} and {:#x}", Shape::SMALLEST_BLOCK, Shape::LARGEST_BLOCK)
}

/// `block` is one.
pub(super) fn allowed_capacity(block: u64) -> String {
    format!("a power of two between {:#x}, two blocks, and {:#x}", 2 * block, Shape::LARGEST)
}

impl InSegment for Ring {
    const KIND: Kind = Kind::MPSC_CLAIMS;
    type Config = Config;
    type Geometry = Shape;

    fn geometry(config: &Config) -> Result<Shape, RingError> {
        let (capacity, block) = (config.capacity as u64, config.block as u64);
        if !Shape::is_block(block) {
            return Err(RingError::Config { field: "a block", found: block, expected: allowed_block() });
        }
        Shape::new(capacity, block, config.checksum).ok_or_else(|| RingError::Config {
            field: "a capacity",
            found: capacity,
            expected: allowed_capacity(block),
        })
    }

    fn body_len(shape: &Shape) -> usize {
        shape.body_len()
    }

    fn init(shape: &Shape, body: &Body) {
        let control = body.place::<Control>(0).expect("the body holds the control words");
        // All else is zero: a vacant seat, blocks that are free in the first lap.
        for (word, value) in control.config.iter().zip([shape.capacity, shape.block, u64::from(shape.checksum)]) {
            // Relaxed: nobody sees the segment before it has a name.
            word.store(value, Relaxed);
        }
    }

    fn over(segment: Segment) -> Result<Self, RingError> {
        let control = segment.body::<Control>(0)?;
        // Relaxed: written before the segment had a name. Read once: from here on only the private copy counts.
        let shape = Shape::of([0, 1, 2].map(|index| control.config[index].load(Relaxed)))?;
        let words = segment.body_slice(WORDS, shape.blocks() as usize)?;
        let granules = segment.body_slice(shape.granules_at(), (shape.capacity / GRANULE) as usize)?;
        Ok(Self { table: segment.table(), control, words, granules, shape, segment })
    }

    fn settings(&self, wanted: &Shape) -> Vec<(&'static str, u64, u64)> {
        let found = &self.shape;
        vec![
            ("capacity", found.capacity, wanted.capacity),
            ("size of blocks", found.block, wanted.block),
            ("checksum setting", found.checksum.into(), wanted.checksum.into()),
        ]
    }
}

in_segments!(Ring, Config);
