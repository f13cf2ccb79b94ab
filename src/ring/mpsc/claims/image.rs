//! A ring as bytes: what its words and the records in it say.
//!
//! The ring may be at work meanwhile. How far the consumer has read is read again behind each word: it says so before it frees a word, so if it
//! has not passed the word's position, the word was of that position's lap.

use super::shared::{CHECKSUM, WORDS, allowed_block, allowed_capacity};
use super::word::{BlockWord, Says};
use super::{Control, FARTHEST, Shape};
use crate::ring::record::{Checksum, GRANULE, SLEEPER};
use crate::ring::spsc;
use crate::ring::spsc::image::{ChecksumState, RecordReport, RecordsReport, SeatReport, seat};
use crate::segment::image::{HolderReport, Layout, Look, Word};
use core::mem::offset_of;

/// Problems of one sort that are told of one by one, and writers that are listed.
const MOST_TOLD: usize = 1000;

/// An MPSC ring of claims.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClaimsReport {
    /// Bytes for records.
    pub capacity: u64,
    /// Bytes of a block.
    pub block: u64,
    /// The flags' word.
    pub flags: Word,
    /// Whether records have checksums.
    pub checksum: bool,
    /// Position up to which records are claimed, in bytes since the ring's birth: a hint that may be one record behind.
    pub write_index: u64,
    /// Position up to which they are read, and their blocks free.
    pub read_index: u64,
    /// Bytes behind that which are read, and not free yet: the consumer is about to free them, or died over it.
    pub unfreed: u64,
    /// A producer may sleep until there is room.
    pub producers_sleep: bool,
    /// The consumer's seat.
    pub consumer: SeatReport,
    /// Records that somebody writes who lives.
    pub writing: u64,
    /// Records whose writer died: the consumer skips them.
    pub dead: u64,
    /// Those and these, at most a thousand.
    pub writers: Vec<WriterReport>,
    /// The records that are to be read, if the indices make sense.
    pub records: Option<RecordsReport>,
}

/// A record that is being written, or whose writer died.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct WriterReport {
    /// Where it begins, in bytes since the ring's birth.
    pub position: u64,
    /// Bytes that were claimed.
    pub size: u64,
    /// Who writes, or wrote.
    pub holder: HolderReport,
    /// The consumer may sleep until that is done.
    pub waiters: bool,
}

/// The ring in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn ring(look: &mut Look<'_>, layout: &Layout, each: &mut dyn FnMut(&RecordReport)) -> Option<ClaimsReport> {
    let at = |offset: usize| layout.body_offset() + offset as u64;
    let words = look.words(at(offset_of!(Control, config)))?;
    let [capacity, block, flags] = words;
    let shape = shape(look, layout, words);
    for (name, offset) in [
        ("ring.producer_gate", offset_of!(Control, producer_gate)),
        ("ring.consumer_gate", offset_of!(Control, consumer_gate)),
    ] {
        let gate = look.word(at(offset))?;
        if gate != 0 {
            look.problem(name, Word(gate), "0, always");
        }
    }
    let head = at(offset_of!(Control, head));
    // One by one, and the index on both sides of what it must not be far from.
    let [index, heartbeat] = look.words(head)?;
    let read = look.word(head + offset_of!(spsc::Side, read) as u64)?;
    let index_behind = look.word(head)? & !SLEEPER;
    let read_index = index & !SLEEPER;
    let consumer = seat(look, layout, "ring.consumer.right", at(offset_of!(Control, consumer)), heartbeat, false)?;
    let mut report = ClaimsReport {
        capacity,
        block,
        flags: Word(flags),
        checksum: flags & CHECKSUM != 0,
        write_index: 0,
        read_index,
        unfreed: read.saturating_sub(read_index),
        producers_sleep: index & SLEEPER != 0,
        consumer,
        writing: 0,
        dead: 0,
        writers: Vec::new(),
        records: None,
    };
    let tail_at = at(offset_of!(Control, tail));
    let Some(shape) = shape else {
        report.write_index = look.word(tail_at)?;
        return Some(report);
    };
    let sound = indices(look, &shape, [read_index, index_behind], read);
    let mut walk = Walk { layout, shape, records: RecordsReport { complete: true, ..RecordsReport::default() } };
    let end = if sound { walk.all(look, read.max(read_index), &mut report, each)? } else { 0 };
    // Behind the words: then it is not behind what they say, but by the one record that a dead one has claimed, or one that lives now.
    report.write_index = look.word(tail_at)?;
    // Behind that: it was no further than a ring's length after what is read by now.
    let end = end.max(walk.read(look)?);
    report.records = sound.then_some(walk.records);
    let written = report.write_index;
    if sound && (written & (shape.block - 1) != 0 || written > FARTHEST || written < read_index) {
        let expected = format!("a multiple of {}, no less than the read index {read_index}", shape.block);
        look.problem("ring.write_index", written, expected);
    } else if sound && walk.records.complete && written > end && written - end > shape.capacity {
        look.problem("ring.write_index", written, format!("at most {} bytes after {end}", shape.capacity));
    }
    Some(report)
}

/// What it looks like, if that makes sense.
fn shape(look: &mut Look<'_>, layout: &Layout, words: [u64; 3]) -> Option<Shape> {
    let [capacity, block, flags] = words;
    if flags & !CHECKSUM != 0 {
        look.problem("ring.flags", format!("{flags:#x}"), format!("some of {CHECKSUM:#x}"));
    }
    if !Shape::is_block(block) {
        look.problem("ring.block", block, allowed_block());
    } else if !Shape::is_capacity(capacity, block) {
        look.problem("ring.capacity", capacity, allowed_capacity(block));
    }
    let shape = Shape::of(words).ok()?;
    let expected = shape.body_len() as u64;
    if layout.body_len() != expected {
        look.problem("header.body_len", layout.body_len(), format!("{expected}, by its capacity and blocks"));
    }
    (layout.body_len() >= expected).then_some(shape)
}

/// Whether positions can be told by them: the read index, as it was before and behind the look at how far was read.
fn indices(look: &mut Look<'_>, shape: &Shape, index: [u64; 2], read: u64) -> bool {
    let block = shape.block;
    if let Some(index) = index.into_iter().find(|index| !index.is_multiple_of(block) || *index > FARTHEST) {
        look.problem("ring.read_index", Word(index), format!("a multiple of {block}, at most {FARTHEST:#x}"));
        return false;
    }
    let [before, behind] = index;
    if read < before || read.saturating_sub(behind) > shape.capacity || !read.is_multiple_of(block) {
        let expected = format!("a multiple of {block}, at most {:#x} after the read index {before:#x}", shape.capacity);
        look.problem("ring.read", Word(read), expected);
        return false;
    }
    true
}

/// Going through the records.
struct Walk<'l> {
    layout: &'l Layout,
    shape: Shape,
    records: RecordsReport,
}

impl Walk<'_> {
    /// From a position on; where nothing more is claimed, or damage hides it.
    fn all(
        &mut self,
        look: &mut Look<'_>,
        first: u64,
        report: &mut ClaimsReport,
        each: &mut dyn FnMut(&RecordReport),
    ) -> Option<u64> {
        let shape = self.shape;
        let mut position = first;
        // A ring at work is looked through once, and no longer.
        while position < first + shape.capacity {
            let word_at = self.layout.body_offset() + WORDS as u64 + 8 * shape.index(position) as u64;
            let word = BlockWord(look.word(word_at)?);
            let now = self.read(look)?;
            if now > position {
                self.records.read_meanwhile += now - position;
                position = now;
                continue;
            }
            let lap = shape.lap(position);
            let blocks = match word.says() {
                Says::Free { lap: of } if BlockWord::ahead(of, lap) == 0 => {
                    report.consumer.sleeps |= word.has_waiters();
                    return Some(position);
                }
                Says::Writing { holder, blocks } if shape.fits(position, blocks) => {
                    let field = format!("record[{position}].writer");
                    let Some(holder) = self.layout.holder(look, &field, holder) else { break };
                    let count = if holder.alive { &mut report.writing } else { &mut report.dead };
                    *count += 1;
                    report.consumer.sleeps |= word.has_waiters();
                    if report.writers.len() < MOST_TOLD {
                        let (size, waiters) = (blocks * shape.block, word.has_waiters());
                        report.writers.push(WriterReport { position, size, holder, waiters });
                    }
                    blocks
                }
                Says::Done { blocks, lap: of, void } if BlockWord::is_lap(of, lap) && shape.fits(position, blocks) => {
                    let size = blocks * shape.block;
                    look.whole(self.offset(position), size)?;
                    if void {
                        self.records.padding += 1;
                        each(&RecordReport {
                            position,
                            offset: self.offset(position),
                            size,
                            padding: true,
                            payload_offset: 0,
                            kind: 0,
                            length: 0,
                            checksum: ChecksumState::None,
                        });
                    } else if !self.record(look, position, blocks, each)? {
                        break;
                    }
                    blocks
                }
                _ => {
                    let expected = format!("free, or a record that can begin there, in lap {lap}");
                    look.problem(format_args!("record[{position}].word"), Word(word.0), expected);
                    break;
                }
            };
            position += blocks * shape.block;
            if position == first + shape.capacity {
                return Some(position);
            }
        }
        self.records.complete = false;
        Some(position)
    }

    /// How far the consumer has read by now, whether all words before that are free or not.
    fn read(&self, look: &Look<'_>) -> Option<u64> {
        let head = self.layout.body_offset() + offset_of!(Control, head) as u64;
        let [index, _, read] = look.words(head)?;
        Some(read.max(index & !SLEEPER))
    }

    fn offset(&self, position: u64) -> u64 {
        let blocks = self.shape.index(position) as u64 * self.shape.block;
        self.layout.body_offset() + self.shape.granules_at() as u64 + blocks
    }

    /// The record there: its length, and its checksum. Whether its length makes sense, or it was read meanwhile. `None` if the bytes end.
    fn record(
        &mut self,
        look: &mut Look<'_>,
        position: u64,
        blocks: u64,
        each: &mut dyn FnMut(&RecordReport),
    ) -> Option<bool> {
        let offset = self.offset(position);
        let first = look.word(offset)?;
        let (length, kind) = (first as u32, (first >> 32) as u32);
        let fits = self.shape.blocks_of(length.into()) == blocks;
        let mut right = true;
        if fits && self.shape.checksum {
            let stored = look.word(offset + GRANULE + u64::from(length).next_multiple_of(GRANULE))?;
            right = Checksum::of_image(look, position, first, offset + GRANULE, length)? == stored;
        }
        let size = blocks * self.shape.block;
        if self.read(look)? > position {
            self.records.read_meanwhile += size;
            return Some(true);
        }
        if !fits {
            look.problem(format_args!("record[{position}].length"), length, format!("one that takes {blocks} blocks"));
            return Some(false);
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
            _ if !self.shape.checksum => ChecksumState::None,
            true => ChecksumState::Ok,
            false => ChecksumState::Wrong,
        };
        let payload_offset = offset + GRANULE;
        each(&RecordReport { position, offset, size, padding: false, payload_offset, kind, length, checksum });
        Some(true)
    }
}
