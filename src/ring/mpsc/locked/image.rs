//! A ring as bytes: what its lock, its words and its records say.

use super::Control;
use super::shared::{RECORDS, WORDS};
use crate::owner::{Right, RightState};
use crate::ring::spsc::image::{Place, RecordReport, RecordsReport, SeatReport, SeatReportState, geometry, lane, seat};
use crate::ring::spsc::shared::{CHECKSUM, WIPE};
use crate::segment::image::{HolderReport, Layout, Look, Word};
use core::mem::offset_of;

/// An MPSC ring whose producers take turns.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LockedReport {
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
    /// Whose turn it is.
    pub turn: TurnReport,
    /// A producer may sleep until there is room.
    pub producers_sleep: bool,
    /// The consumer's seat.
    pub consumer: SeatReport,
    /// The records between the indices, if those make sense.
    pub records: Option<RecordsReport>,
}

/// The producers' lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TurnReport {
    /// Whose it is.
    pub state: SeatReportState,
    /// Who has it, dead or alive.
    pub holder: Option<HolderReport>,
    /// Another producer may sleep until it is given up.
    pub waiters: bool,
    /// How often it was taken from the dead.
    pub takeovers: u64,
    /// Turns in which something was committed, since the ring's birth.
    pub heartbeat: u64,
    /// The lock's word.
    pub word: Word,
}

/// The ring in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn ring(look: &mut Look<'_>, layout: &Layout, each: &mut dyn FnMut(&RecordReport)) -> Option<LockedReport> {
    let body = layout.body_offset();
    let at = |offset: usize| body + offset as u64;
    let [capacity, flags] = look.words(at(offset_of!(Control, config)))?;
    let geometry = geometry(look, layout, RECORDS, capacity, flags);
    for (name, offset) in [
        ("ring.producer_gate", offset_of!(Control, producer_gate)),
        ("ring.consumer_gate", offset_of!(Control, consumer_gate)),
    ] {
        let gate = look.word(at(offset))?;
        if gate != 0 {
            look.problem(name, Word(gate), "0, always");
        }
    }
    let place = Place { name: "ring", of: "", words: at(WORDS), records: at(RECORDS), stamps: 0 };
    let found = lane(look, layout, &place, geometry, each)?;
    let consumer_at = at(offset_of!(Control, consumer));
    let consumer = seat(look, layout, "ring.consumer.right", consumer_at, found.consumer_beat, found.consumer_sleeps)?;
    Some(LockedReport {
        capacity,
        flags: Word(flags),
        checksum: flags & CHECKSUM != 0,
        wipe: flags & WIPE != 0,
        write_index: found.write_index,
        read_index: found.read_index,
        used: found.used,
        turn: turn(look, layout, at(offset_of!(Control, lock)), found.producer.heartbeat)?,
        producers_sleep: found.producer.sleeps,
        consumer,
        records: found.records,
    })
}

fn turn(look: &mut Look<'_>, layout: &Layout, at: u64, heartbeat: u64) -> Option<TurnReport> {
    let [word, takeovers] = look.words(at)?;
    let (right, field) = (Right(word), "ring.lock");
    let (state, holder) = match right.state() {
        RightState::Held(holder) if right.without_waiters() == Right::held_by(holder) => {
            match layout.holder(look, field, holder) {
                Some(holder) => {
                    (if holder.alive { SeatReportState::Alive } else { SeatReportState::Dead }, Some(holder))
                }
                None => (SeatReportState::Damaged, None),
            }
        }
        RightState::Vacant if right.tag() == 0 => (SeatReportState::Vacant, None),
        _ => {
            look.problem(field, Word(word), "free, or held by a slot of the participants' table");
            (SeatReportState::Damaged, None)
        }
    };
    let waiters = right.has_waiters();
    Some(TurnReport { state, holder, waiters, takeovers, heartbeat, word: Word(word) })
}
