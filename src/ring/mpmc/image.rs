//! A ring as bytes: what its words, its slots and the records in them say.
//!
//! The ring may be at work meanwhile. The head is read first, then the slots, then the tail: all positions before the head were done with
//! before a slot was looked at, and no slot was claimed beyond the tail. That the tail may be one behind is why a slot at the tail itself
//! may be somebody's.

use super::shared::{FLAGS, SLOTS, allowed_payload, allowed_slots};
use super::{Control, Geometry, Slot};
use crate::owner::{Claim, ClaimState};
use crate::ring::record::{Checksum, GRANULE};
use crate::ring::spsc::image::{ChecksumState, RecordReport, RecordsReport};
use crate::segment::image::{HolderReport, Layout, Look, Word};
use core::mem::offset_of;

/// Problems of one sort that are told of one by one, and claims that are listed.
const MOST_TOLD: usize = 1000;
/// No ring gets so far: see `claims`.
const FARTHEST: u64 = super::claims::FARTHEST;

/// An MPMC ring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MpmcReport {
    /// Slots that it says that it has.
    pub slots: u64,
    /// Bytes that a payload may have.
    pub payload: u64,
    /// The flags' word.
    pub flags: Word,
    /// Whether records have checksums.
    pub checksum: bool,
    /// Whether a consumer goes round a producer that is at work.
    pub round: bool,
    /// Whether a dead consumer's record is dropped; else it is delivered again.
    pub drops: bool,
    /// Positions that were claimed for writing: a hint that may be behind.
    pub write_index: u64,
    /// Positions that are done with: a hint that may be behind.
    pub read_index: u64,
    /// How many slots are what.
    pub states: ClaimCounts,
    /// Those of them, at most a thousand, that name somebody or make no sense.
    pub claims: Vec<ClaimReport>,
    /// The records that nobody reads, if the slots make sense. What others read meanwhile is counted in bytes of payload.
    pub records: Option<RecordsReport>,
}

/// Slots, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClaimCounts {
    /// To be written.
    pub free: u64,
    /// Written by somebody who lives.
    pub writing: u64,
    /// To be read.
    pub full: u64,
    /// Read by somebody who lives.
    pub reading: u64,
    /// Written or read by somebody who died: whoever meets it recovers it.
    pub dead: u64,
    /// Nothing that anybody writes who follows the protocol.
    pub damaged: u64,
}

/// A slot that names somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClaimReport {
    /// The slot of the ring, from 0.
    pub index: u64,
    /// Whether it is read; else it is written.
    pub reads: bool,
    /// Who reads or writes. `None` if the word is damaged.
    pub holder: Option<HolderReport>,
    /// Somebody may sleep until it changes.
    pub waiters: bool,
    /// Its word.
    pub word: Word,
}

/// The ring in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn ring(look: &mut Look<'_>, layout: &Layout, each: &mut dyn FnMut(&RecordReport)) -> Option<MpmcReport> {
    let at = |offset: usize| layout.body_offset() + offset as u64;
    let words = look.words(at(offset_of!(Control, config)))?;
    let [slots, payload, flags] = words;
    let geometry = geometry(look, layout, words);
    let gate = look.word(at(offset_of!(Control, gate)))?;
    if gate != 0 {
        look.problem("ring.gate", Word(gate), "0, always");
    }
    let read_index = look.word(at(offset_of!(Control, head)))?;
    let mut claims = Vec::new();
    for index in 0..geometry.map_or(0, |geometry| geometry.slots) {
        claims.push(Claim(look.word(at(SLOTS) + index * size_of::<Slot>() as u64)?));
    }
    let write_index = look.word(at(offset_of!(Control, tail)))?;
    let mut report = MpmcReport {
        slots,
        payload,
        flags: Word(flags),
        checksum: flags & super::shared::CHECKSUM != 0,
        round: flags & super::shared::ROUND != 0,
        drops: flags & super::shared::DROP != 0,
        write_index,
        read_index,
        states: ClaimCounts::default(),
        claims: Vec::new(),
        records: None,
    };
    let Some(geometry) = geometry else { return Some(report) };
    let sound = indices(look, read_index, write_index);
    let mut walk = Walk { layout, geometry, records: RecordsReport { complete: true, ..RecordsReport::default() } };
    for (index, &claim) in (0..).zip(&claims) {
        let found = walk.claim(look, index, claim, sound.then_some((read_index, write_index)), &mut report);
        if let Some(position) = found {
            walk.record(look, index, position, claim, each)?;
        }
    }
    report.records = sound.then_some(walk.records);
    Some(report)
}

/// What it looks like, if that makes sense.
fn geometry(look: &mut Look<'_>, layout: &Layout, words: [u64; 3]) -> Option<Geometry> {
    let [slots, payload, flags] = words;
    if flags & !FLAGS != 0 {
        look.problem("ring.flags", format!("{flags:#x}"), format!("some of {FLAGS:#x}"));
    }
    if !slots.is_power_of_two() || slots > Geometry::MOST_SLOTS {
        look.problem("ring.slots", slots, allowed_slots());
    }
    if payload > Geometry::LONGEST {
        look.problem("ring.payload", payload, allowed_payload());
    }
    let geometry = Geometry::of(words).ok()?;
    let expected = geometry.body_len() as u64;
    if layout.body_len() != expected {
        look.problem("header.body_len", layout.body_len(), format!("{expected}, by its slots and payloads"));
    }
    (layout.body_len() >= expected).then_some(geometry)
}

/// Whether positions can be told by them.
fn indices(look: &mut Look<'_>, read: u64, written: u64) -> bool {
    for (field, found) in [("ring.read_index", read), ("ring.write_index", written)] {
        if found > FARTHEST {
            look.problem(field, Word(found), format!("at most {FARTHEST:#x}"));
            return false;
        }
    }
    if read > written + 1 {
        look.problem("ring.read_index", read, format!("at most {written}, where slots are claimed, or one more"));
        return false;
    }
    true
}

/// Going through the slots.
struct Walk<'l> {
    layout: &'l Layout,
    geometry: Geometry,
    records: RecordsReport,
}

impl Walk<'_> {
    /// Counts what a slot's word says. The position of its record, if it has one that nobody reads.
    fn claim(
        &self,
        look: &mut Look<'_>,
        index: u64,
        claim: Claim,
        indices: Option<(u64, u64)>,
        report: &mut MpmcReport,
    ) -> Option<u64> {
        let field = || format!("slot[{index}].claim");
        let state = claim.state();
        let named = matches!(state, ClaimState::Writing | ClaimState::Reading);
        let holder = claim.holder().filter(|_| named);
        let holder = holder.and_then(|holder| self.layout.holder(look, &field(), holder));
        let lap = indices.map(|(read, written)| self.laps(index, read, written));
        // Laps are cut short in a word, so one that is far ahead of the last lap may look as if it were behind: by the first alone it is told.
        let ahead = lap.map(|(least, end)| (claim.ahead_of(least), least, end));
        let early = ahead.is_some_and(|(ahead, ..)| ahead < 0);
        let free = u64::from(state == ClaimState::Free);
        let late = ahead.is_some_and(|(ahead, least, end)| !early && least + ahead.unsigned_abs() >= end + free);
        if state == ClaimState::Damaged {
            look.problem(field(), Word(claim.0), "free, full, or written or read by a slot of the participants' table");
        } else if early {
            let least = lap.unwrap_or_default().0;
            look.problem(field(), Word(claim.0), format!("a word of lap {least} or later, by the read index"));
        } else if late {
            let expected = match lap.unwrap_or_default().1.checked_sub(1) {
                None => "0: never claimed, by the write index".to_owned(),
                Some(most) => format!("a word of lap {most} at most, or free in the next, by the write index"),
            };
            look.problem(field(), Word(claim.0), expected);
        }
        let damaged = state == ClaimState::Damaged || early || late || named && holder.is_none();
        let counts = &mut report.states;
        let count = match (state, &holder) {
            _ if damaged => &mut counts.damaged,
            (_, Some(holder)) if !holder.alive => &mut counts.dead,
            (ClaimState::Writing, _) => &mut counts.writing,
            (ClaimState::Reading, _) => &mut counts.reading,
            (ClaimState::Full, _) => &mut counts.full,
            _ => &mut counts.free,
        };
        *count += 1;
        if (named || damaged) && report.claims.len() < MOST_TOLD {
            let (reads, word) = (state == ClaimState::Reading, Word(claim.0));
            report.claims.push(ClaimReport { index, reads, holder, waiters: claim.has_waiters(), word });
        }
        // In a lap that the indices allow.
        let ahead = ahead.filter(|_| state == ClaimState::Full && !damaged);
        ahead.map(|(ahead, least, _)| (least + ahead.unsigned_abs()) * self.geometry.slots + index)
    }

    /// The laps in which a slot may be, the first and one more than the last, where the first position that is not done with is `read`, and slots
    /// are claimed up to `written`.
    fn laps(&self, index: u64, read: u64, written: u64) -> (u64, u64) {
        let slots = self.geometry.slots;
        let first = read + index.wrapping_sub(read) % slots;
        let back = written.wrapping_sub(index) % slots;
        let end = written.checked_sub(back).map_or(0, |last| self.geometry.lap(last) + 1);
        (self.geometry.lap(first), end)
    }

    /// The record in a slot: its length, and its checksum. `None` if the bytes end.
    fn record(
        &mut self,
        look: &mut Look<'_>,
        index: u64,
        position: u64,
        claim: Claim,
        each: &mut dyn FnMut(&RecordReport),
    ) -> Option<()> {
        let slot = self.layout.body_offset() + SLOTS as u64 + index * size_of::<Slot>() as u64;
        let size = size_of::<Slot>() as u64;
        look.whole(slot, size)?;
        let [first, stored] = look.words(slot + offset_of!(Slot, first) as u64)?;
        let (length, kind) = (first as u32, (first >> 32) as u32);
        let fits = u64::from(length) <= self.geometry.payload;
        let outside = self.geometry.outside() as u64 * GRANULE;
        let payload_offset = match outside {
            0 => slot + offset_of!(Slot, inside) as u64,
            _ => self.layout.body_offset() + self.geometry.payloads() as u64 + index * outside,
        };
        let mut right = true;
        if fits && self.geometry.checksum {
            right = Checksum::of_image(look, position, first, payload_offset, length)? == stored;
        }
        // After the bytes: a word that is the same still was the same while they were read.
        if Claim(look.word(slot)?).without_waiters() != claim.without_waiters() {
            self.records.read_meanwhile += if fits { length.into() } else { 0 };
            return Some(());
        }
        if !fits {
            let expected = format!("at most {}", self.geometry.payload);
            look.problem(format_args!("record[{position}].length"), length, expected);
            self.records.complete = false;
            return Some(());
        }
        self.records.count += 1;
        self.records.payload_bytes += u64::from(length);
        if !right {
            self.records.checksums_wrong += 1;
            if self.records.checksums_wrong <= MOST_TOLD as u64 {
                let expected = "the CRC-32 of position, length, kind and payload";
                look.problem(format_args!("record[{position}].checksum"), "a wrong one", expected);
            }
        }
        let checksum = match right {
            _ if !self.geometry.checksum => ChecksumState::None,
            true => ChecksumState::Ok,
            false => ChecksumState::Wrong,
        };
        each(&RecordReport { position, offset: slot, size, padding: false, payload_offset, kind, length, checksum });
        Some(())
    }
}
