//! A ring in a segment.

use super::{Config, Control, Corrupt, MAX_LANES, Ring, seat_of_all};
use crate::ring::RingError;
use crate::ring::record::Geometry;
use crate::ring::shared::{InSegment, in_segments};
use crate::ring::spsc;
use crate::ring::spsc::shared::{CHECKSUM, WIPE, allowed_capacity};
use crate::segment::{Body, Kind, Place, Segment};
use crate::sync::atomic::Ordering::Relaxed;

/// Where the lanes' words begin, and how far apart they are.
pub(super) const LANES: usize = 4096;
pub(super) const LANE: usize = 1024;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, config) == 0 && offset_of!(Control, arrivals) == 128);
    assert!(offset_of!(Control, consumer) == 256 && offset_of!(Control, producer_gate) == 384);
    assert!(offset_of!(Control, consumer_gate) == 512 && size_of::<Control>() <= LANES);
    assert!(size_of::<spsc::Control>() <= LANE);
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl Place for Control {}

/// Where the records of the first lane begin.
pub(super) fn records(lanes: usize) -> usize {
    (LANES + lanes * LANE).next_multiple_of(4096)
}

pub(super) fn allowed_lanes() -> String {
    format!("1 to {MAX_LANES}")
}

/// Lanes, and what each looks like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    lanes: usize,
    lane: Geometry,
}

impl InSegment for Ring {
    const KIND: Kind = Kind::MPSC_LANES;
    type Config = Config;
    type Geometry = Shape;

    fn geometry(config: &Config) -> Result<Shape, RingError> {
        let refused = |field, found: usize, expected| RingError::Config { field, found: found as u64, expected };
        if !(1..=MAX_LANES).contains(&config.lanes) {
            return Err(refused("a number of lanes", config.lanes, allowed_lanes()));
        }
        let lane = Geometry::new(config.capacity as u64, config.checksum, config.wipe)
            .ok_or_else(|| refused("a capacity", config.capacity, allowed_capacity()))?;
        Ok(Shape { lanes: config.lanes, lane })
    }

    fn body_len(shape: &Shape) -> usize {
        records(shape.lanes) + shape.lanes * shape.lane.capacity as usize
    }

    fn init(shape: &Shape, body: &Body) {
        let control = body.place::<Control>(0).expect("the body holds the control words");
        let flag = |on, flag| if on { flag } else { 0 };
        let flags = flag(shape.lane.checksum, CHECKSUM) | flag(shape.lane.wipe, WIPE);
        for (word, value) in control.config.iter().zip([shape.lanes as u64, shape.lane.capacity, flags]) {
            // Relaxed: nobody sees the segment before it has a name. All else is zero: vacant seats, empty lanes.
            word.store(value, Relaxed);
        }
    }

    fn over(segment: Segment) -> Result<Self, RingError> {
        let control = segment.body::<Control>(0)?;
        // Relaxed: written before the segment had a name. Read once: from here on only the private copy counts.
        let [lanes, capacity, flags] = [0, 1, 2].map(|word: usize| control.config[word].load(Relaxed));
        let corrupt = |field, found, expected| RingError::Corrupt(Corrupt { field, found, expected });
        if flags & !(CHECKSUM | WIPE) != 0 {
            return Err(corrupt("the word of flags", flags, format!("some bits of {:#x}", CHECKSUM | WIPE)));
        }
        if !(1..=MAX_LANES as u64).contains(&lanes) {
            return Err(corrupt("the number of lanes", lanes, allowed_lanes()));
        }
        let geometry = Geometry::new(capacity, flags & CHECKSUM != 0, flags & WIPE != 0)
            .ok_or_else(|| corrupt("the capacity", capacity, allowed_capacity()))?;
        let (consumer, gates) = seat_of_all(&control);
        let lane = |lane: usize| {
            let records = records(lanes as usize) + lane * capacity as usize;
            let places = [LANES + lane * LANE, records];
            spsc::Ring::lane(segment.clone(), places, consumer.clone(), gates.clone(), geometry)
        };
        let lanes = (0..lanes as usize).map(lane).collect::<Result<_, _>>()?;
        Ok(Self { table: segment.table(), control, lanes, geometry, segment })
    }

    fn settings(&self, wanted: &Shape) -> Vec<(&'static str, u64, u64)> {
        let (found, lane) = (&self.geometry, &wanted.lane);
        vec![
            ("number of lanes", self.lanes.len() as u64, wanted.lanes as u64),
            ("capacity", found.capacity, lane.capacity),
            ("checksum setting", found.checksum.into(), lane.checksum.into()),
            ("wipe setting", found.wipe.into(), lane.wipe.into()),
        ]
    }
}

in_segments!(Ring, Config);
