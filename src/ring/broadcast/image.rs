//! A ring as bytes: what its words say.
//!
//! The ring may be at work meanwhile. Counts only grow, and what is less is read before what is more: positions and `oldest`, then the
//! tail. Records are not gone through: a lossy ring's writer may be on each of them.

use super::geometry::Shape;
use super::shared::{CHECKSUM, LOSSLESS, PLACES, records_at};
use super::{Control, FARTHEST, ReaderPlace, Written, count};
use crate::ring::record::SLEEPER;
use crate::ring::spsc::image::{SeatReport, SeatReportState, seat};
use crate::segment::image::{Layout, Look, Word};
use crate::sync::Line;
use core::mem::offset_of;

/// A broadcast ring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BroadcastReport {
    /// Bytes for records.
    pub capacity: u64,
    /// The flags' word.
    pub flags: Word,
    /// Whether a slow reader holds the writer up; else it is lapped.
    pub lossless: bool,
    /// Whether records have checksums.
    pub checksum: bool,
    /// Entries of the index.
    pub entries: u64,
    /// Records committed since the ring's birth.
    pub written: u64,
    /// The oldest record that a reader of a lossy ring can have.
    pub oldest: u64,
    /// The writer's seat.
    pub writer: SeatReport,
    /// The places for readers that were ever taken.
    pub readers: Vec<ReaderReport>,
    /// Places that there are.
    pub places: u64,
}

/// A place for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ReaderReport {
    /// Number of the place.
    pub place: u64,
    /// Records, counted from the ring's birth, that lie behind its reader.
    pub read: u64,
    /// Its seat.
    pub seat: SeatReport,
}

/// The ring in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn ring(look: &mut Look<'_>, layout: &Layout) -> Option<BroadcastReport> {
    let body = layout.body_offset();
    let at = |offset: usize| body + offset as u64;
    let [capacity, flags, places, entries] = look.words(at(offset_of!(Control, config)))?;
    for (name, offset) in [
        ("ring.writer_gate", offset_of!(Control, writer_gate)),
        ("ring.readers_gate", offset_of!(Control, readers_gate)),
    ] {
        let gate = look.word(at(offset))?;
        if gate != 0 {
            look.problem(name, Word(gate), "0, always");
        }
    }
    if flags & !(CHECKSUM | LOSSLESS) != 0 {
        look.problem("ring.flags", format!("{flags:#x}"), format!("some of {:#x}", CHECKSUM | LOSSLESS));
    }
    let lossless = flags & LOSSLESS != 0;
    let shape = match Shape::checked(capacity, flags & CHECKSUM != 0, lossless, places, entries) {
        Ok(shape) => {
            let wanted = records_at(&shape) as u64 + capacity;
            if layout.body_len() != wanted {
                let expected = format!("{wanted}, by its capacity, places and entries");
                look.problem("header.body_len", layout.body_len(), expected);
            }
            Some(shape)
        }
        Err(wrong) => {
            look.problem(format_args!("ring.{}", wrong.field), wrong.found, wrong.expected);
            None
        }
    };
    let mut readers = Vec::new();
    let known = shape.as_ref().filter(|shape| layout.body_len() >= records_at(shape) as u64);
    for place in 0..known.map_or(0, |shape| shape.readers) {
        let start = PLACES + place * size_of::<Line<ReaderPlace>>();
        let [position, heartbeat] = look.words(at(start))?;
        let name = format!("ring.reader[{place}].right");
        let seat = seat(look, layout, &name, at(start + offset_of!(ReaderPlace, seat)), heartbeat, false)?;
        let untouched = seat.state == SeatReportState::Vacant && position == 0 && heartbeat == 0;
        if !untouched {
            readers.push((place as u64, position, seat));
        }
    }
    let written_at = |offset: usize| at(offset_of!(Control, written) + offset);
    let oldest = look.word(written_at(offset_of!(Written, oldest)))?;
    let heartbeat = look.word(written_at(offset_of!(Written, heartbeat)))?;
    let tail = look.word(written_at(offset_of!(Written, tail)))?;
    let written = count(tail);
    if written > FARTHEST {
        look.problem("ring.write_index", written, format!("at most {FARTHEST}"));
    }
    let most = |look: &mut Look<'_>, name: &str, found: u64| {
        if found > written {
            look.problem(name, found, format!("at most {written}, the records that were written"));
        }
    };
    most(look, "ring.oldest", oldest);
    let writer_at = at(offset_of!(Control, writer));
    // The bit for those who sleep for a side stands in the word that it moves.
    let writer_sleeps = readers.iter().any(|(_, position, _)| position & SLEEPER != 0);
    let writer = seat(look, layout, "ring.writer.right", writer_at, heartbeat, writer_sleeps)?;
    let readers = readers.into_iter().map(|(place, position, mut seat)| {
        most(look, &format!("ring.reader[{place}].position"), count(position));
        seat.sleeps = seat.state == SeatReportState::Alive && tail & SLEEPER != 0 && count(position) == written;
        ReaderReport { place, read: count(position), seat }
    });
    let readers = readers.collect();
    let checksum = flags & CHECKSUM != 0;
    Some(BroadcastReport {
        capacity,
        flags: Word(flags),
        lossless,
        checksum,
        entries,
        written,
        oldest,
        writer,
        readers,
        places,
    })
}
