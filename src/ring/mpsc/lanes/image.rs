//! A ring of lanes as bytes: what its words and records say, lane by lane.

use super::shared::{LANE, LANES, allowed_lanes, records};
use super::{Control, MAX_LANES, NUMBER};
use crate::ring::record::Geometry;
use crate::ring::spsc::image::{Place, RecordReport, RecordsReport, SeatReport, lane, seat};
use crate::ring::spsc::shared::{CHECKSUM, WIPE, allowed_capacity};
use crate::segment::image::{Layout, Look, Word};
use core::mem::offset_of;

/// An MPSC ring of lanes.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LanesReport {
    /// How many lanes it says that it has.
    pub count: u64,
    /// Bytes for records in each lane.
    pub capacity: u64,
    /// The flags' word.
    pub flags: Word,
    /// Whether records have checksums.
    pub checksum: bool,
    /// Whether what was read is wiped.
    pub wipe: bool,
    /// Numbers given to records.
    pub arrivals: u64,
    /// The consumer's seat.
    pub consumer: SeatReport,
    /// Each lane, if their number makes sense.
    pub lanes: Vec<LaneReport>,
}

/// A lane.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LaneReport {
    /// Position up to which records are committed, in bytes since the ring's birth.
    pub write_index: u64,
    /// Position up to which they are committed as read.
    pub read_index: u64,
    /// Bytes in use, if the indices make sense.
    pub used: Option<u64>,
    /// Its producer's seat.
    pub producer: SeatReport,
    /// The records between the indices, if those make sense.
    pub records: Option<RecordsReport>,
}

/// The ring in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn ring(look: &mut Look<'_>, layout: &Layout, each: &mut dyn FnMut(&RecordReport)) -> Option<LanesReport> {
    let body = layout.body_offset();
    let [count, capacity, flags] = look.words(body + offset_of!(Control, config) as u64)?;
    let arrivals = look.word(body + offset_of!(Control, arrivals) as u64)?;
    for (name, at) in [
        ("ring.producer_gate", offset_of!(Control, producer_gate)),
        ("ring.consumer_gate", offset_of!(Control, consumer_gate)),
    ] {
        let gate = look.word(body + at as u64)?;
        if gate != 0 {
            look.problem(name, Word(gate), "0, always");
        }
    }
    let shape = shape(look, layout, [count, capacity, flags]);
    let (mut lanes, mut beats, mut sleeps) = (Vec::new(), 0u64, false);
    for index in 0..shape.map_or(0, |(count, _)| count) {
        let (name, of) = (format!("lane[{index}]"), format!("lane[{index}]."));
        let words = body + (LANES + index * LANE) as u64;
        // As wide as the count of lanes, which is small; the capacity was seen to fit.
        let records = body + records(count as usize) as u64 + index as u64 * capacity;
        let place = Place { name: &name, of: &of, words, records, stamps: NUMBER as u32 };
        let found = lane(look, layout, &place, shape.map(|(_, geometry)| geometry), each)?;
        beats = beats.wrapping_add(found.consumer_beat);
        sleeps |= found.consumer_sleeps;
        lanes.push(LaneReport {
            write_index: found.write_index,
            read_index: found.read_index,
            used: found.used,
            producer: found.producer,
            records: found.records,
        });
    }
    let consumer_at = body + offset_of!(Control, consumer) as u64;
    let consumer = seat(look, layout, "ring.consumer.right", consumer_at, beats, sleeps)?;
    let (checksum, wipe) = (flags & CHECKSUM != 0, flags & WIPE != 0);
    Some(LanesReport { count, capacity, flags: Word(flags), checksum, wipe, arrivals, consumer, lanes })
}

/// How many lanes there are, and what each looks like, if that makes sense.
fn shape(look: &mut Look<'_>, layout: &Layout, [count, capacity, flags]: [u64; 3]) -> Option<(usize, Geometry)> {
    let unknown = flags & !(CHECKSUM | WIPE) != 0;
    if unknown {
        look.problem("ring.flags", format!("{flags:#x}"), format!("some of {:#x}", CHECKSUM | WIPE));
    }
    let lanes = usize::try_from(count).ok().filter(|count| (1..=MAX_LANES).contains(count));
    if lanes.is_none() {
        look.problem("ring.lanes", count, allowed_lanes());
    }
    let geometry = Geometry::new(capacity, flags & CHECKSUM != 0, flags & WIPE != 0);
    if geometry.is_none() {
        look.problem("ring.capacity", capacity, allowed_capacity());
    }
    let (lanes, geometry) = (lanes?, geometry?);
    let expected = records(lanes) as u64 + lanes as u64 * capacity;
    if layout.body_len() != expected {
        let of_body = format!("{} bytes of body, by the header", layout.body_len());
        look.problem("ring.capacity", capacity, format!("{lanes} lanes that take {of_body}"));
    }
    (!unknown && layout.body_len() >= expected).then_some((lanes, geometry))
}
