//! A ring as bytes: what its words and records say.
//!
//! The ring may be at work meanwhile. Indices only grow, so they are read in the order head, tail, head: whatever the sides do in
//! between, the tail lies between the first head and the second one's end. A record counts only if its place was not given to
//! the producer while it was read.

use super::shared::{CHECKSUM, RECORDS, WIPE};
use super::{Control, Step, check_index, check_indices, parse};
use crate::owner::{Right, RightState, generation};
use crate::ring::record::{Checksum, GRANULE, Geometry, SLEEPER, head};
use crate::segment::image::{HolderReport, Layout, Look, Word};
use core::mem::offset_of;

/// Wrong checksums that are told one by one; the count has them all.
const MOST_TOLD: u64 = 100;
/// Bytes of records that are read at a time.
const WINDOW: u64 = 1 << 18;

/// A ring.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RingReport {
    /// Bytes for records.
    pub capacity: u64,
    /// The flags' word.
    pub flags: Word,
    /// Whether records have checksums.
    pub checksum: bool,
    /// Whether what was read is wiped.
    pub wipe: bool,
    /// Position up to which records are committed, in bytes since the ring's birth.
    pub write_index: u64,
    /// Position up to which they are committed as read.
    pub read_index: u64,
    /// Bytes in use, if the indices make sense.
    pub used: Option<u64>,
    /// The same in percent of the capacity.
    pub fill_percent: Option<f64>,
    /// The producer's seat.
    pub producer: SeatReport,
    /// The consumer's seat.
    pub consumer: SeatReport,
    /// The records between the indices, if those make sense.
    pub records: Option<RecordsReport>,
}

/// A seat.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SeatReport {
    /// Whose it is.
    pub state: SeatReportState,
    /// Who holds it, dead or alive.
    pub holder: Option<HolderReport>,
    /// Taken over from a dead one, and not yet repaired.
    pub inherited: bool,
    /// Take-overs from the dead since the ring's birth.
    pub generation: u64,
    /// Operations, and calls of `beat`, since the ring's birth.
    pub heartbeat: u64,
    /// This side may sleep until the other one moves its index.
    pub sleeps: bool,
    /// The seat's word.
    pub right: Word,
}

/// Whose a seat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SeatReportState {
    /// Nobody's.
    Vacant,
    /// Somebody's who lives.
    Alive,
    /// Somebody's who died: who opens it next takes it over.
    Dead,
    /// The word is none that anybody writes who follows the protocol.
    Damaged,
}

/// The records between the indices, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RecordsReport {
    /// Records.
    pub count: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Padding records, which fill the ring up to its end.
    pub padding: u64,
    /// Records whose checksum is wrong.
    pub checksums_wrong: u64,
    /// Bytes that the consumer committed as read before they could be looked at.
    pub read_meanwhile: u64,
    /// Whether all was looked at, up to the write index: damage hides what follows it.
    pub complete: bool,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RecordReport {
    /// Where it starts, in bytes since the ring's birth.
    pub position: u64,
    /// Where that is in the segment, in bytes. In an MPMC ring, where its slot is.
    pub offset: u64,
    /// Bytes that it takes from there, all of which are there.
    pub size: u64,
    /// It is padding, which has none of the following.
    pub padding: bool,
    /// Where its payload begins in the segment, in bytes: within those, but for the long payloads of an MPMC ring, which lie behind all slots.
    pub payload_offset: u64,
    /// Its kind.
    pub kind: u32,
    /// Bytes of its payload.
    pub length: u32,
    /// Its checksum.
    pub checksum: ChecksumState,
}

/// What there is to say of a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ChecksumState {
    /// It is right.
    Ok,
    /// It is wrong.
    Wrong,
    /// There is none: the ring has no checksums, or this is padding.
    None,
}

/// The ring in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn ring(look: &mut Look<'_>, layout: &Layout, each: &mut dyn FnMut(&RecordReport)) -> Option<RingReport> {
    let body = layout.body_offset();
    let [capacity, flags] = look.words(body + offset_of!(Control, config) as u64)?;
    let geometry = geometry(look, layout, RECORDS, capacity, flags);
    let gate = look.word(body + offset_of!(Control, gate) as u64)?;
    if gate != 0 {
        look.problem("ring.gate", Word(gate), "0, always");
    }
    let place = Place { name: "ring", of: "", words: body, records: body + RECORDS as u64, stamps: 0 };
    let found = lane(look, layout, &place, geometry, each)?;
    let consumer_at = body + offset_of!(Control, consumer) as u64;
    let consumer = seat(look, layout, "ring.consumer.right", consumer_at, found.consumer_beat, found.consumer_sleeps)?;
    Some(RingReport {
        capacity,
        flags: Word(flags),
        checksum: flags & CHECKSUM != 0,
        wipe: flags & WIPE != 0,
        write_index: found.write_index,
        read_index: found.read_index,
        used: found.used,
        fill_percent: found.used.map(|used| used as f64 * 100.0 / capacity as f64),
        producer: found.producer,
        consumer,
        records: found.records,
    })
}

/// Where the words and the records of a ring lie, and what they are called.
pub(in crate::ring) struct Place<'n> {
    pub(in crate::ring) name: &'n str,
    /// Before the names of its records.
    pub(in crate::ring) of: &'n str,
    pub(in crate::ring) words: u64,
    pub(in crate::ring) records: u64,
    /// Bytes that each record has before its payload.
    pub(in crate::ring) stamps: u32,
}

/// A ring but for its consumer's seat and its settings.
pub(in crate::ring) struct Lane {
    pub(in crate::ring) write_index: u64,
    pub(in crate::ring) read_index: u64,
    pub(in crate::ring) used: Option<u64>,
    pub(in crate::ring) producer: SeatReport,
    pub(in crate::ring) consumer_beat: u64,
    pub(in crate::ring) consumer_sleeps: bool,
    pub(in crate::ring) records: Option<RecordsReport>,
}

pub(in crate::ring) fn lane(
    look: &mut Look<'_>,
    layout: &Layout,
    place: &Place<'_>,
    geometry: Option<Geometry>,
    each: &mut dyn FnMut(&RecordReport),
) -> Option<Lane> {
    let Place { name, words, .. } = *place;
    let [head_word, consumer_beat] = look.words(words + offset_of!(Control, head) as u64)?;
    let read_ahead = look.word(words + offset_of!(Control, head.0.read) as u64)?;
    let [tail_word, producer_beat] = look.words(words + offset_of!(Control, tail) as u64)?;
    let later_head = look.word(words + offset_of!(Control, head) as u64)? & !SLEEPER;
    let (tail, head) = (tail_word & !SLEEPER, head_word & !SLEEPER);
    let mut used = None;
    let mut records = None;
    if let Some(geometry) = geometry {
        let start = indices(look, name, &geometry, Indices { tail, head, later_head, read_ahead });
        used = start.as_ref().map(|_| tail - later_head.clamp(head, tail));
        records = start.map(|Start { position, wiping }| {
            Walk { look, geometry, wiping, place, tail, window: Vec::new(), from: 0, consumed: 0 }.all(position, each)
        });
    }
    let right = format!("{name}.producer.right");
    // A side's bit stands in the index that the other one moves.
    let sleeps = head_word & SLEEPER != 0;
    let producer = seat(look, layout, &right, words + offset_of!(Control, producer) as u64, producer_beat, sleeps)?;
    let read_index = if used.is_some() { later_head.clamp(head, tail) } else { head };
    let consumer_sleeps = tail_word & SLEEPER != 0;
    Some(Lane { write_index: tail, read_index, used, producer, consumer_beat, consumer_sleeps, records })
}

/// What a ring looks like whose records begin at `records` in the body, and fill the rest of it; if that makes sense.
pub(in crate::ring) fn geometry(
    look: &mut Look<'_>,
    layout: &Layout,
    records: usize,
    capacity: u64,
    flags: u64,
) -> Option<Geometry> {
    let unknown = flags & !(CHECKSUM | WIPE) != 0;
    if unknown {
        look.problem("ring.flags", format!("{flags:#x}"), format!("some of {:#x}", CHECKSUM | WIPE));
    }
    let geometry = Geometry::new(capacity, flags & CHECKSUM != 0, flags & WIPE != 0);
    let in_body = layout.body_len().checked_sub(records as u64);
    if geometry.is_none() {
        let (least, most) = (Geometry::SMALLEST, Geometry::LARGEST);
        look.problem("ring.capacity", capacity, format!("a power of two between {least} and {most}"));
    } else if in_body != Some(capacity) {
        let expected = format!("{}, by the header's body length", in_body.unwrap_or(0));
        look.problem("ring.capacity", capacity, expected);
    }
    // With unknown flags nobody knows what a record looks like.
    geometry.filter(|_| !unknown && in_body.is_some_and(|bytes| bytes >= capacity))
}

/// Without their sleepers' bits; in the order in which they were read: head, `read_ahead`, tail, `later_head`.
struct Indices {
    tail: u64,
    head: u64,
    later_head: u64,
    read_ahead: u64,
}

/// Where the records begin.
struct Start {
    position: u64,
    /// What the consumer has committed as read can be ahead of the read index, and makes sense.
    wiping: bool,
}

/// Where the records begin, if the indices make sense.
fn indices(look: &mut Look<'_>, name: &str, geometry: &Geometry, indices: Indices) -> Option<Start> {
    let Indices { tail, head, later_head, read_ahead } = indices;
    let mut sound = true;
    for (field, found) in [("write_index", tail), ("read_index", head), ("read_index", later_head)] {
        if let Err(corrupt) = check_index("an index", found)
            && sound
        {
            look.problem(format_args!("{name}.{field}"), both(found), corrupt.expected);
            sound = false;
        }
    }
    if !sound {
        return None;
    }
    // The tail was read between the two heads: it is not before the first, nor more than the capacity after the second.
    if tail < head || tail > later_head.max(head) + geometry.capacity {
        let expected = format!("between the read index {head} and {} bytes after it", geometry.capacity);
        look.problem(format_args!("{name}.write_index"), both(tail), expected);
        return None;
    }
    let position = later_head.clamp(head, tail);
    if !geometry.wipe || read_ahead <= position {
        return Some(Start { position, wiping: geometry.wipe });
    }
    // The consumer has committed so much as read, and is wiping it.
    match check_indices(geometry, tail, read_ahead) {
        Ok(()) => Some(Start { position: read_ahead, wiping: true }),
        Err(corrupt) => {
            let before = format!("at most the write index {tail}");
            look.problem(
                format_args!("{name}.read_ahead"),
                both(read_ahead),
                if read_ahead > tail { before } else { corrupt.expected },
            );
            Some(Start { position, wiping: false })
        }
    }
}

/// As the tables show it, and as errors of the ring do.
fn both(number: u64) -> String {
    format!("{number} ({number:#x})")
}

/// Going through the records.
struct Walk<'l, 'i> {
    look: &'l mut Look<'i>,
    geometry: Geometry,
    wiping: bool,
    place: &'l Place<'l>,
    tail: u64,
    /// Bytes of the ring from `from` on.
    window: Vec<u8>,
    from: u64,
    /// Up to where the consumer had read when the window had been filled.
    consumed: u64,
}

impl Walk<'_, '_> {
    fn all(&mut self, start: u64, each: &mut dyn FnMut(&RecordReport)) -> RecordsReport {
        let mut report = RecordsReport::default();
        let mut position = start;
        // Each round gets on by 8 bytes at least.
        while position < self.tail {
            let Some(found) = self.record(position) else { return report };
            if self.consumed > position {
                let next = self.consumed.min(self.tail);
                report.read_meanwhile += next - position;
                if !next.is_multiple_of(GRANULE) {
                    // Damaged since it was checked.
                    return report;
                }
                position = next;
                continue;
            }
            let record = match found {
                Ok(record) => record,
                Err(problem) => {
                    let field = format_args!("{}record[{position}].length", self.place.of);
                    self.look.problem(field, both(problem.found), problem.expected);
                    return report;
                }
            };
            if record.padding {
                report.padding += 1;
            } else {
                report.count += 1;
                report.payload_bytes += u64::from(record.length);
            }
            report.checksums_wrong += u64::from(record.checksum == ChecksumState::Wrong);
            if record.checksum == ChecksumState::Wrong && report.checksums_wrong <= MOST_TOLD {
                let expected = "the CRC-32 of position, length, kind and payload";
                let field = format_args!("{}record[{position}].checksum", self.place.of);
                self.look.problem(field, "a wrong one", expected);
            }
            each(&record);
            position += record.size;
        }
        report.complete = true;
        report
    }

    /// The record at `position`; `None` if the bytes end.
    fn record(&mut self, position: u64) -> Option<Result<RecordReport, super::Corrupt>> {
        let first = self.granule(position)?;
        let offset = self.place.records + self.geometry.offset(position);
        let payload = offset + GRANULE + u64::from(self.place.stamps);
        let found = |size, kind, length, checksum, padding| RecordReport {
            position,
            offset,
            size,
            padding,
            payload_offset: if padding { 0 } else { payload },
            kind,
            length,
            checksum,
        };
        match parse(&self.geometry, position, self.tail, first) {
            Err(corrupt) => Some(Err(corrupt)),
            Ok(Step::Padding { end }) => {
                self.look.whole(offset, end - position)?;
                Some(Ok(found(end - position, 0, 0, ChecksumState::None, true)))
            }
            Ok(Step::Record { len, .. }) if len < self.place.stamps => {
                let expected = format!("at least {}, for the number of its arrival", self.place.stamps);
                Some(Err(super::Corrupt { field: "the length of a record", found: len.into(), expected }))
            }
            Ok(Step::Record { kind, len, end }) if !self.geometry.checksum => {
                Some(Ok(found(end - position, kind, len - self.place.stamps, ChecksumState::None, false)))
            }
            Ok(Step::Record { kind, len, end }) => {
                let mut found = found(end - position, kind, len - self.place.stamps, ChecksumState::Wrong, false);
                if self.checksum(position, len, kind)? == self.granule(end - GRANULE)? {
                    found.checksum = ChecksumState::Ok;
                }
                Some(Ok(found))
            }
        }
    }

    fn checksum(&mut self, start: u64, len: u32, kind: u32) -> Option<u64> {
        let mut checksum = Checksum::new(start, head(len, kind));
        let (mut at, mut left) = (start + GRANULE, u64::from(len));
        while left > 0 {
            let bytes = self.bytes(at)?;
            let count = left.min(bytes.len() as u64);
            checksum.update(&bytes[..count as usize]);
            at += count;
            left -= count;
        }
        Some(checksum.finish())
    }

    fn granule(&mut self, position: u64) -> Option<u64> {
        let bytes = self.bytes(position)?;
        bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// Bytes from `position`, which is before the tail: at least 8 of them.
    fn bytes(&mut self, position: u64) -> Option<&[u8]> {
        let end = self.from + self.window.len() as u64;
        if !(self.from..end).contains(&position) {
            let len = WINDOW.min(self.geometry.before_end(position)).min(self.tail - position);
            self.window.clear();
            self.window.resize(len as usize, 0);
            let at = self.place.records + self.geometry.offset(position);
            self.look.bytes(at, &mut self.window)?;
            self.from = position;
            // After the bytes: a place that is not given up now was not when they were read.
            self.consumed = self.read_index()?;
        }
        Some(&self.window[(position - self.from) as usize..])
    }

    fn read_index(&self) -> Option<u64> {
        let head = self.look.word(self.place.words + offset_of!(Control, head) as u64)? & !SLEEPER;
        if !self.wiping {
            return Some(head);
        }
        Some(head.max(self.look.word(self.place.words + offset_of!(Control, head.0.read) as u64)?))
    }
}

pub(crate) fn seat(
    look: &mut Look<'_>,
    layout: &Layout,
    name: &str,
    at: u64,
    heartbeat: u64,
    sleeps: bool,
) -> Option<SeatReport> {
    let [word, wide] = look.words(at)?;
    let right = Right(word);
    let (state, holder) = match right.state() {
        RightState::Vacant => (SeatReportState::Vacant, None),
        RightState::Held(holder) => match layout.holder(look, name, holder) {
            Some(holder) => (if holder.alive { SeatReportState::Alive } else { SeatReportState::Dead }, Some(holder)),
            None => (SeatReportState::Damaged, None),
        },
        RightState::Suspect | RightState::NotRecoverable | RightState::Damaged => {
            look.problem(name, Word(word), "vacant, or a slot of the participants' table");
            (SeatReportState::Damaged, None)
        }
    };
    Some(SeatReport {
        state,
        inherited: holder.is_some() && right.is_inherited(),
        holder,
        generation: generation(right, wide),
        heartbeat,
        sleeps,
        right: Word(word),
    })
}
