//! A ring in a segment.

use super::{Config, Control, Corrupt, Geometry, OnDeath, Order, Ring, Slot};
use crate::ring::RingError;
use crate::ring::record::GRANULE;
use crate::ring::shared::{InSegment, in_segments};
use crate::segment::{Body, Kind, Place, Segment};
use crate::sync::atomic::Ordering::Relaxed;

/// Where the slots begin.
pub(super) const SLOTS: usize = 4096;
pub(super) const CHECKSUM: u64 = 1;
pub(super) const ROUND: u64 = 2;
pub(super) const DROP: u64 = 4;
pub(super) const FLAGS: u64 = CHECKSUM | ROUND | DROP;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, config) == 0 && offset_of!(Control, tail) == 128 && offset_of!(Control, head) == 256);
    assert!(offset_of!(Control, bells) == 384);
    assert!(offset_of!(Control, gate) == 512 && size_of::<Control>() <= SLOTS);
    assert!(size_of::<Slot>() == 64 && offset_of!(Slot, claim) == 0 && offset_of!(Slot, first) == 16);
    assert!(offset_of!(Slot, checksum) == 24 && offset_of!(Slot, inside) == 32);
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl Place for Control {}
// SAFETY: it is made of atomics and granules only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl Place for Slot {}

impl Geometry {
    /// What is in `words`, if it is allowed: slots, bytes of a payload, flags.
    pub(super) fn of([slots, payload, flags]: [u64; 3]) -> Result<Self, Corrupt> {
        if flags & !FLAGS != 0 {
            let expected = format!("some bits of {FLAGS:#x}");
            return Err(Corrupt { field: "the word of flags", found: flags, expected });
        }
        if !slots.is_power_of_two() || slots > Self::MOST_SLOTS {
            return Err(Corrupt { field: "the number of slots", found: slots, expected: allowed_slots() });
        }
        if payload > Self::LONGEST {
            return Err(Corrupt { field: "the bytes of a payload", found: payload, expected: allowed_payload() });
        }
        let order = if flags & ROUND != 0 { Order::Round } else { Order::Strict };
        let on_death = if flags & DROP != 0 { OnDeath::Drop } else { OnDeath::Redeliver };
        Ok(Self { slots, payload, checksum: flags & CHECKSUM != 0, order, on_death })
    }

    fn flags(&self) -> u64 {
        let flag = |on, flag| if on { flag } else { 0 };
        flag(self.checksum, CHECKSUM)
            | flag(self.order == Order::Round, ROUND)
            | flag(self.on_death == OnDeath::Drop, DROP)
    }

    /// Where the payloads begin that are outside their slots.
    pub(super) fn payloads(&self) -> usize {
        SLOTS + self.slots as usize * size_of::<Slot>()
    }

    pub(super) fn body_len(&self) -> usize {
        self.payloads() + self.slots as usize * self.outside() * GRANULE as usize
    }
}

pub(super) fn allowed_slots() -> String {
    format!("a power of two, at most {:#x}", Geometry::MOST_SLOTS)
}

pub(super) fn allowed_payload() -> String {
    format!("at most {:#x}", Geometry::LONGEST)
}

impl InSegment for Ring {
    const KIND: Kind = Kind::MPMC;
    type Config = Config;
    type Geometry = Geometry;

    fn geometry(config: &Config) -> Result<Geometry, RingError> {
        let (field, found, expected) = if config.payload as u64 > Geometry::LONGEST {
            ("a payload", config.payload, allowed_payload())
        } else {
            ("a number of slots", config.slots, allowed_slots())
        };
        Geometry::new(config).ok_or(RingError::Config { field, found: found as u64, expected })
    }

    fn body_len(geometry: &Geometry) -> usize {
        geometry.body_len()
    }

    fn init(geometry: &Geometry, body: &Body) {
        let control = body.place::<Control>(0).expect("the body holds the control words");
        // All else is zero: free slots, in the first lap.
        for (place, word) in control.config.iter().zip([geometry.slots, geometry.payload, geometry.flags()]) {
            // Relaxed: nobody sees the segment before it has a name.
            place.store(word, Relaxed);
        }
    }

    fn over(segment: Segment) -> Result<Self, RingError> {
        let control = segment.body::<Control>(0)?;
        // Relaxed: written before the segment had a name. Read once: from here on only the private copy counts.
        let geometry = Geometry::of([0, 1, 2].map(|index| control.config[index].load(Relaxed)))?;
        let slots = segment.body_slice(SLOTS, geometry.slots as usize)?;
        let payloads = segment.body_slice(geometry.payloads(), geometry.slots as usize * geometry.outside())?;
        Ok(Self { table: segment.table(), control, slots, payloads, geometry, segment })
    }

    fn settings(&self, wanted: &Geometry) -> Vec<(&'static str, u64, u64)> {
        let found = &self.geometry;
        let flag = |geometry: &Geometry, flag| u64::from(geometry.flags() & flag != 0);
        vec![
            ("number of slots", found.slots, wanted.slots),
            ("size of payloads", found.payload, wanted.payload),
            ("checksum setting", flag(found, CHECKSUM), flag(wanted, CHECKSUM)),
            ("order (1: round)", flag(found, ROUND), flag(wanted, ROUND)),
            ("fate of a dead consumer's record (1: dropped)", flag(found, DROP), flag(wanted, DROP)),
        ]
    }
}

in_segments!(Ring, Config);
