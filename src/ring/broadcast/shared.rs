//! A ring in a segment.

use super::geometry::{NotAllowed, Shape};
use super::{Config, Control, Corrupt, ReaderPlace, Ring, Written};
use crate::owner::SeatWords;
use crate::ring::RingError;
use crate::ring::record::GRANULE;
use crate::ring::shared::{InSegment, in_segments};
use crate::segment::{Body, Kind, Place, Segment};
use crate::sync::Line;
use crate::sync::atomic::Ordering::Relaxed;

/// Where the readers' places begin.
pub(super) const PLACES: usize = 4096;
const PAGE: usize = 4096;
pub(super) const CHECKSUM: u64 = 1;
pub(super) const LOSSLESS: u64 = 2;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, config) == 0 && offset_of!(Control, written) == 128);
    assert!(offset_of!(Written, tail) == 0 && offset_of!(Written, oldest) == 8 && offset_of!(Written, heartbeat) == 16);
    assert!(offset_of!(Control, writer) == 256 && offset_of!(Control, writer_gate) == 384);
    assert!(offset_of!(Control, readers_gate) == 512 && offset_of!(Control, joins) == 640);
    assert!(size_of::<Control>() <= PLACES && size_of::<Line<ReaderPlace>>() == 128);
    assert!(offset_of!(ReaderPlace, heartbeat) == 8 && offset_of!(ReaderPlace, seat) == 16);
    assert!(size_of::<SeatWords>() == 16);
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl Place for Control {}
// SAFETY: as above.
unsafe impl Place for ReaderPlace {}

/// Where the index begins, in bytes of the body.
pub(super) fn index_at(shape: &Shape) -> usize {
    PLACES + (shape.readers * size_of::<Line<ReaderPlace>>()).next_multiple_of(PAGE)
}

/// Where the records begin.
pub(super) fn records_at(shape: &Shape) -> usize {
    index_at(shape) + (shape.entries as usize * 8).next_multiple_of(PAGE)
}

impl InSegment for Ring {
    const KIND: Kind = Kind::BROADCAST;
    type Config = Config;
    type Geometry = Shape;

    fn geometry(config: &Config) -> Result<Shape, RingError> {
        Shape::new(config).map_err(|NotAllowed { field, found, expected }| RingError::Config { field, found, expected })
    }

    fn body_len(shape: &Shape) -> usize {
        records_at(shape) + shape.bytes.capacity as usize
    }

    fn init(shape: &Shape, body: &Body) {
        let control = body.place::<Control>(0).expect("the body holds the control words");
        let flag = |on, flag| if on { flag } else { 0 };
        let flags = flag(shape.bytes.checksum, CHECKSUM) | flag(shape.lossless, LOSSLESS);
        let words = [shape.bytes.capacity, flags, shape.readers as u64, shape.entries];
        // Relaxed: nobody sees the segment before it has a name. All else is zero: vacant seats, an empty ring.
        for (place, word) in control.config.iter().zip(words) {
            place.store(word, Relaxed);
        }
    }

    fn over(segment: Segment) -> Result<Self, RingError> {
        let control = segment.body::<Control>(0)?;
        // Relaxed: written before the segment had a name. Read once: from here on only the private copy counts.
        let [capacity, flags, readers, entries] = [0, 1, 2, 3].map(|word: usize| control.config[word].load(Relaxed));
        if flags & !(CHECKSUM | LOSSLESS) != 0 {
            let expected = format!("some bits of {:#x}", CHECKSUM | LOSSLESS);
            return Err(Corrupt { field: "the word of flags", found: flags, expected }.into());
        }
        let shape = Shape::checked(capacity, flags & CHECKSUM != 0, flags & LOSSLESS != 0, readers, entries)
            .map_err(|NotAllowed { field, found, expected }| Corrupt { field, found, expected })?;
        let places = segment.body_slice(PLACES, shape.readers)?;
        let index = segment.body_slice(index_at(&shape), shape.entries as usize)?;
        let granules = segment.body_slice(records_at(&shape), (shape.bytes.capacity / GRANULE) as usize)?;
        Ok(Self { table: segment.table(), control, places, index, granules, shape, segment })
    }

    fn settings(&self, wanted: &Shape) -> Vec<(&'static str, u64, u64)> {
        let found = &self.shape;
        vec![
            ("capacity", found.bytes.capacity, wanted.bytes.capacity),
            ("checksum setting", found.bytes.checksum.into(), wanted.bytes.checksum.into()),
            ("lossless setting", found.lossless.into(), wanted.lossless.into()),
            ("number of places for readers", found.readers as u64, wanted.readers as u64),
            ("number of entries of the index", found.entries, wanted.entries),
        ]
    }
}

in_segments!(Ring, Config);
