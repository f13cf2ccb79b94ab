//! A ring in a segment.

use super::{Config, Control, Corrupt, Gates, Ring, own_seat};
use crate::owner::SeatWords;
use crate::ring::RingError;
use crate::ring::record::{GRANULE, Geometry};
use crate::ring::shared::{InSegment, in_segments};
use crate::segment::{Body, Kind, Place, Segment};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::shm::Shared;

/// Where the records begin.
pub(super) const RECORDS: usize = 4096;
pub(in crate::ring) const CHECKSUM: u64 = 1;
pub(in crate::ring) const WIPE: u64 = 2;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, config) == 0 && offset_of!(Control, tail) == 128 && offset_of!(Control, head) == 256);
    assert!(offset_of!(Control, producer) == 384 && offset_of!(Control, consumer) == 512);
    assert!(offset_of!(Control, gate) == 640 && size_of::<Control>() <= RECORDS);
    assert!(size_of::<SeatWords>() == 16 && offset_of!(Control, head.0.heartbeat) == 264);
    assert!(offset_of!(Control, head.0.read) == 272);
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl Place for Control {}

pub(in crate::ring) fn allowed_capacity() -> String {
    format!("a power of two between {:#x} and {:#x}", Geometry::SMALLEST, Geometry::LARGEST)
}

impl InSegment for Ring {
    const KIND: Kind = Kind::SPSC;
    type Config = Config;
    type Geometry = Geometry;

    fn geometry(config: &Config) -> Result<Geometry, RingError> {
        let capacity = config.capacity as u64;
        Geometry::new(capacity, config.checksum, config.wipe).ok_or_else(|| RingError::Config {
            field: "a capacity",
            found: capacity,
            expected: allowed_capacity(),
        })
    }

    fn body_len(geometry: &Geometry) -> usize {
        RECORDS + geometry.capacity as usize
    }

    fn init(geometry: &Geometry, body: &Body) {
        let control = body.place::<Control>(0).expect("the body holds the control words");
        // Relaxed: nobody sees the segment before it has a name. All else is zero: vacant seats, an empty ring.
        control.config[0].store(geometry.capacity, Relaxed);
        let flag = |on, flag| if on { flag } else { 0 };
        control.config[1].store(flag(geometry.checksum, CHECKSUM) | flag(geometry.wipe, WIPE), Relaxed);
    }

    fn over(segment: Segment) -> Result<Self, RingError> {
        let control = segment.body::<Control>(0)?;
        // Relaxed: written before the segment had a name. Read once: from here on only the private copy counts.
        let (capacity, flags) = (control.config[0].load(Relaxed), control.config[1].load(Relaxed));
        if flags & !(CHECKSUM | WIPE) != 0 {
            let expected = format!("some bits of {:#x}", CHECKSUM | WIPE);
            return Err(Corrupt { field: "the word of flags", found: flags, expected }.into());
        }
        let geometry = Geometry::new(capacity, flags & CHECKSUM != 0, flags & WIPE != 0).ok_or_else(|| Corrupt {
            field: "the capacity",
            found: capacity,
            expected: allowed_capacity(),
        })?;
        let granules = segment.body_slice(RECORDS, (geometry.capacity / GRANULE) as usize)?;
        let (consumer, gates) = own_seat(&control);
        Ok(Self { table: segment.table(), control, consumer, gates, granules, geometry, segment })
    }

    fn settings(&self, wanted: &Geometry) -> Vec<(&'static str, u64, u64)> {
        let found = &self.geometry;
        vec![
            ("capacity", found.capacity, wanted.capacity),
            ("checksum setting", found.checksum.into(), wanted.checksum.into()),
            ("wipe setting", found.wipe.into(), wanted.wipe.into()),
        ]
    }
}

impl Ring {
    /// One of several rings in a segment: its words, at `control` in the body, and its records, at `records`.
    pub(in crate::ring) fn lane(
        segment: Segment,
        [control, records]: [usize; 2],
        consumer: Shared<SeatWords>,
        gates: Gates,
        geometry: Geometry,
    ) -> Result<Self, RingError> {
        let granules = segment.body_slice(records, (geometry.capacity / GRANULE) as usize)?;
        let control = segment.body::<Control>(control)?;
        Ok(Self { table: segment.table(), control, consumer, gates, granules, geometry, segment })
    }
}

in_segments!(Ring, Config);
