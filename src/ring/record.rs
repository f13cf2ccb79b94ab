//! Records and positions: arithmetic only, no memory but a payload's granules.
//!
//! ```text
//! granule 0       length (32 bits, low) | kind (32 bits, high)
//! granules 1..n   payload, zero-padded to 8 bytes
//! granule n + 1   CRC-32 of position, length, kind and payload, if the ring has checksums
//! ```
//!
//! A record never wraps: where it does not fit before the end of the ring, a padding record (length [`PADDING`]) fills the
//! rest, and it starts at the beginning. Positions count bytes and never wrap; `position % capacity` is the offset. Being
//! multiples of 8, they leave bit 0 of an index word for [`SLEEPER`].

#[cfg(not(model))]
use crate::segment::image::Look;
use crate::sync::cell::Granule;
use crate::sync::payload;

/// Bytes in a granule.
pub(crate) const GRANULE: u64 = 8;
/// The length of a padding record: it fills the ring up to its end.
pub(crate) const PADDING: u32 = u32::MAX;
/// In an index word.
pub(crate) use crate::owner::SLEEPER;

/// What a ring looks like. Validated once, then private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Invariant 1: a power of two, between 64 and 2^32.
    pub(crate) capacity: u64,
    pub(crate) checksum: bool,
    /// Free space is zero: what was read, or never committed, is wiped.
    pub(crate) wipe: bool,
}

impl Geometry {
    pub(crate) const SMALLEST: u64 = 64;
    pub(crate) const LARGEST: u64 = 1 << 32;

    pub(crate) fn new(capacity: u64, checksum: bool, wipe: bool) -> Option<Self> {
        let allowed = capacity.is_power_of_two() && (Self::SMALLEST..=Self::LARGEST).contains(&capacity);
        allowed.then_some(Self { capacity, checksum, wipe })
    }

    /// Offset of a position in the ring's bytes.
    #[inline]
    pub(crate) fn offset(&self, position: u64) -> u64 {
        position & (self.capacity - 1)
    }

    /// Bytes from a position to the end of the ring.
    #[inline]
    pub(crate) fn before_end(&self, position: u64) -> u64 {
        self.capacity - self.offset(position)
    }

    /// Bytes that a record of `length` takes, all in.
    #[inline]
    pub(crate) fn record(&self, length: u64) -> u64 {
        let checksum = if self.checksum { GRANULE } else { 0 };
        GRANULE + length.next_multiple_of(GRANULE) + checksum
    }

    /// The longest payload: with it a record and the padding before it fit in an empty ring, wherever the indices stand.
    pub(crate) fn longest(&self) -> u64 {
        self.largest_record() - self.record(0)
    }

    /// Bytes of the longest record, all in.
    #[inline]
    pub(crate) fn largest_record(&self) -> u64 {
        self.capacity / 2
    }

    /// Bytes of padding that a record of `size` needs before it.
    #[inline]
    pub(crate) fn padding(&self, position: u64, size: u64) -> u64 {
        let room = self.before_end(position);
        if size > room { room } else { 0 }
    }
}

/// The first granule of a record.
#[inline]
pub(crate) fn head(length: u32, kind: u32) -> u64 {
    u64::from(kind) << 32 | u64::from(length)
}

/// Checksum of a record. The position is in it, so that what an earlier lap left is no valid record.
pub(crate) struct Checksum(crc32fast::Hasher);

impl Checksum {
    pub(crate) fn new(position: u64, head: u64) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&position.to_le_bytes());
        hasher.update(&head.to_le_bytes());
        Self(hasher)
    }
    /// The checksum of a whole record; `stamps` are what its kind of ring puts before the payload.
    #[inline]
    pub(crate) fn of<const STAMPS: usize>(position: u64, head: u64, stamps: [u64; STAMPS], payload: &[u8]) -> u64 {
        let mut checksum = Self::new(position, head);
        for stamp in stamps {
            checksum.update(&stamp.to_le_bytes());
        }
        checksum.update(payload);
        checksum.finish()
    }
    /// The same of a payload of `len` bytes that lies in `granules`.
    ///
    /// # Panics
    /// If they hold fewer bytes.
    #[inline]
    #[track_caller]
    pub(crate) fn in_place(position: u64, head: u64, granules: &[Granule], len: usize) -> u64 {
        let mut checksum = Self::new(position, head);
        payload::for_each(granules, len, |bytes| checksum.update(bytes));
        checksum.finish()
    }
    /// The same of a payload of `len` bytes at `offset` of an image; `None` if that ends before.
    #[cfg(not(model))]
    pub(crate) fn of_image(look: &Look<'_>, position: u64, head: u64, offset: u64, len: u32) -> Option<u64> {
        let mut checksum = Self::new(position, head);
        let mut window = [0; 4096];
        let mut done = 0;
        while done < len {
            let part = &mut window[..(len - done).min(4096) as usize];
            look.bytes(offset + u64::from(done), part)?;
            checksum.update(part);
            done += part.len() as u32;
        }
        Some(checksum.finish())
    }
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    pub(crate) fn finish(self) -> u64 {
        self.0.finalize().into()
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_the_same_in_one_piece_and_in_many() {
        let payload: Vec<u8> = (0..200).collect();
        for len in 0..payload.len() {
            let mut pieces = Checksum::new(8, 77);
            payload[..len].chunks(8).for_each(|piece| pieces.update(piece));
            assert_eq!(Checksum::of(8, 77, [], &payload[..len]), pieces.finish(), "{len} bytes");
        }
        // Position, head and payload of an empty record, as any CRC-32 sees them.
        assert_eq!(Checksum::of(0, 0, [], &[]), u64::from(crc32fast::hash(&[0; 16])));
    }

    #[test]
    fn the_longest_record_fits_with_its_padding_wherever_it_starts() {
        for checksum in [false, true] {
            let geometry = Geometry::new(256, checksum, false).unwrap();
            let size = geometry.record(geometry.longest());
            assert_eq!(size, geometry.largest_record());
            for position in (0..512).step_by(8) {
                assert!(geometry.padding(position, size) + size <= 256, "at {position}");
            }
        }
    }

    #[test]
    fn a_capacity_that_is_no_power_of_two_or_out_of_bounds_is_refused() {
        for capacity in [0, 1, 32, 63, 65, 384, (1 << 32) + 1, 1 << 33, u64::MAX] {
            assert_eq!(Geometry::new(capacity, true, false), None, "{capacity}");
        }
    }
}
