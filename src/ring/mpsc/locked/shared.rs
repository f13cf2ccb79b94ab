//! A ring in a segment.

use super::{Config, Control, Ring, seat_and_gates};
use crate::ring::Corrupt;
use crate::ring::RingError;
use crate::ring::record::Geometry;
use crate::ring::shared::{InSegment, in_segments};
use crate::ring::spsc;
use crate::ring::spsc::shared::{CHECKSUM, WIPE, allowed_capacity};
use crate::segment::{Body, Kind, Place, Segment};
use crate::sync::atomic::Ordering::Relaxed;

/// Where the words that are those of an SPSC ring begin, and the records.
pub(super) const WORDS: usize = 1024;
pub(super) const RECORDS: usize = 4096;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, config) == 0 && offset_of!(Control, lock) == 128);
    assert!(offset_of!(Control, consumer) == 256 && offset_of!(Control, producer_gate) == 384);
    assert!(offset_of!(Control, consumer_gate) == 512 && size_of::<Control>() <= WORDS);
    assert!(WORDS + size_of::<spsc::Control>() <= RECORDS);
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl Place for Control {}

impl InSegment for Ring {
    const KIND: Kind = Kind::MPSC_LOCKED;
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
        let flag = |on, flag| if on { flag } else { 0 };
        let flags = flag(geometry.checksum, CHECKSUM) | flag(geometry.wipe, WIPE);
        for (word, value) in control.config.iter().zip([geometry.capacity, flags]) {
            // Relaxed: nobody sees the segment before it has a name. All else is zero: nobody's turn, a vacant seat, an empty ring.
            word.store(value, Relaxed);
        }
    }

    fn over(segment: Segment) -> Result<Self, RingError> {
        let control = segment.body::<Control>(0)?;
        // Relaxed: written before the segment had a name. Read once: from here on only the private copy counts.
        let [capacity, flags] = [0, 1].map(|word: usize| control.config[word].load(Relaxed));
        if flags & !(CHECKSUM | WIPE) != 0 {
            let expected = format!("some bits of {:#x}", CHECKSUM | WIPE);
            return Err(Corrupt { field: "the word of flags", found: flags, expected }.into());
        }
        let geometry = Geometry::new(capacity, flags & CHECKSUM != 0, flags & WIPE != 0).ok_or_else(|| Corrupt {
            field: "the capacity",
            found: capacity,
            expected: allowed_capacity(),
        })?;
        let (consumer, gates) = seat_and_gates(&control);
        let inner = spsc::Ring::lane(segment.clone(), [WORDS, RECORDS], consumer, gates, geometry)?;
        Ok(Self { control, inner, segment })
    }

    fn settings(&self, wanted: &Geometry) -> Vec<(&'static str, u64, u64)> {
        let found = &self.inner.geometry;
        vec![
            ("capacity", found.capacity, wanted.capacity),
            ("checksum setting", found.checksum.into(), wanted.checksum.into()),
            ("wipe setting", found.wipe.into(), wanted.wipe.into()),
        ]
    }
}

in_segments!(Ring, Config);
