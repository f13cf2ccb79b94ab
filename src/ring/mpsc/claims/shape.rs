//! What a ring looks like: arithmetic only, no memory.

use super::word::BlockWord;
use crate::ring::record::GRANULE;

/// Capacity of a ring, the size of its blocks, and whether its records have checksums.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub(super) capacity: usize,
    pub(super) block: usize,
    pub(super) checksum: bool,
}

impl Config {
    /// A ring of `capacity` bytes, a power of two up to 2^32, two blocks at least. Unless said otherwise a block has 64 bytes, and
    /// records have checksums.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, block: 64, checksum: true }
    }

    /// Bytes of a block: a power of two, between 16 and 65,536. A record takes whole blocks, and 16 bytes more than its payload
    /// (8 without a checksum). Each block costs 8 bytes beside it.
    pub const fn block(mut self, bytes: usize) -> Self {
        self.block = bytes;
        self
    }

    /// Whether each record carries a CRC-32, checked when it is read.
    pub const fn checksum(mut self, on: bool) -> Self {
        self.checksum = on;
        self
    }
}

/// A ring's, validated once, then private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes. Invariant 1: a power of two, at most 2^32, and two blocks at least.
    pub(super) capacity: u64,
    /// Bytes. Invariant 2: a power of two, between 16 and 65,536.
    pub(super) block: u64,
    pub(super) checksum: bool,
}

impl Shape {
    pub(super) const SMALLEST_BLOCK: u64 = 16;
    pub(super) const LARGEST_BLOCK: u64 = 1 << 16;
    pub(super) const LARGEST: u64 = 1 << 32;

    pub(super) fn new(capacity: u64, block: u64, checksum: bool) -> Option<Self> {
        (Self::is_block(block) && Self::is_capacity(capacity, block)).then_some(Self { capacity, block, checksum })
    }

    pub(super) fn is_block(block: u64) -> bool {
        block.is_power_of_two() && (Self::SMALLEST_BLOCK..=Self::LARGEST_BLOCK).contains(&block)
    }

    /// `block` is one.
    pub(super) fn is_capacity(capacity: u64, block: u64) -> bool {
        capacity.is_power_of_two() && (2 * block..=Self::LARGEST).contains(&capacity)
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> u64 {
        self.capacity >> self.block.trailing_zeros()
    }

    /// Which block a position is in.
    #[inline]
    pub(super) fn index(&self, position: u64) -> usize {
        ((position & (self.capacity - 1)) >> self.block.trailing_zeros()) as usize
    }

    #[inline]
    pub(super) fn lap(&self, position: u64) -> u64 {
        position >> self.capacity.trailing_zeros()
    }

    /// Blocks from a position to the end of the ring.
    #[inline]
    pub(super) fn before_end(&self, position: u64) -> u64 {
        self.blocks() - self.index(position) as u64
    }

    /// The most blocks of a record: with it a record and the padding before it fit in an empty ring, wherever the indices stand.
    pub(super) fn most_blocks(&self) -> u64 {
        (self.blocks() / 2).min(BlockWord::MOST_BLOCKS)
    }

    /// Whether a record of so many blocks can begin at a position.
    #[inline]
    pub(super) fn fits(&self, position: u64, blocks: u64) -> bool {
        blocks <= self.most_blocks() && blocks <= self.before_end(position)
    }

    fn extra(&self) -> u64 {
        if self.checksum { 2 * GRANULE } else { GRANULE }
    }

    /// Blocks of a record whose payload has `len` bytes.
    #[inline]
    pub(super) fn blocks_of(&self, len: u64) -> u64 {
        // By invariant 2: a shift, no division.
        (self.extra() + len.next_multiple_of(GRANULE) + self.block - 1) >> self.block.trailing_zeros()
    }

    /// The longest payload.
    pub(super) fn longest(&self) -> u64 {
        // What is more than its length takes cannot be told.
        (self.most_blocks() * self.block - self.extra()).min(u32::MAX.into())
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn the_longest_record_fits_with_its_padding_wherever_it_starts() {
        for (capacity, block) in [(32, 16), (256, 16), (4096, 64), (1 << 23, 16), (1 << 32, 65_536)] {
            for checksum in [false, true] {
                let shape = Shape::new(capacity, block, checksum).unwrap();
                let most = shape.blocks_of(shape.longest());
                assert!(most <= shape.most_blocks() && shape.blocks_of(shape.longest() + 1) > most, "{shape:?}");
                for start in (0..shape.blocks()).step_by(1 + shape.blocks() as usize / 64) {
                    let left = shape.before_end(start * block);
                    let padding = if most > left { left } else { 0 };
                    assert!(padding + most <= shape.blocks(), "{shape:?} at {start}");
                    assert!(padding == 0 || shape.fits(start * block, padding), "{shape:?} at {start}");
                }
            }
        }
    }

    #[test]
    fn sizes_that_are_no_powers_of_two_or_out_of_bounds_are_refused() {
        for (capacity, block) in [(0, 16), (16, 16), (48, 16), (64, 8), (64, 24), (1 << 20, 1 << 17), (1 << 33, 64)] {
            assert_eq!(Shape::new(capacity, block, true), None, "{capacity} {block}");
        }
    }
}
