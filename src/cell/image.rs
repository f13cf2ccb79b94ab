//! A cell as bytes: what its words say.
//!
//! It may be at work meanwhile: the sequence is read before what was begun, which is never behind it, and a sequence that is odd
//! though nobody has the seat is looked at again.

use super::place::{Control, Geometry, Progress};
use super::seqlock::{self, ODD, TORN};
use super::shared::{CONTROL, CONTROLS, body_len, fault};
use super::snapshot::{self, SLEEPER};
use crate::data::primitive_name;
use crate::owner::{Right, RightState, generation};
use crate::segment::Kind;
use crate::segment::image::{HolderReport, Layout, Look, Word};
use core::mem::offset_of;

/// Keys that are told one by one.
const MOST_TOLD: usize = 1000;
/// With so many problems the keys that are left are not looked at.
const MOST_PROBLEMS: usize = 1000;

/// A sequence lock, a snapshot or a board.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CellReport {
    /// Fingerprint of the values' type.
    pub fingerprint: Word,
    /// What that type is called, if it is an integer, a float or an array of them.
    pub type_name: Option<String>,
    /// Bytes of a value.
    pub size: u64,
    /// Its alignment in bytes.
    pub align: u64,
    /// Buffers of each key; 1 in a sequence lock.
    pub buffers: u64,
    /// Keys; 1 but in a board.
    pub keys: u64,
    /// Keys that were ever written, or whose seat is somebody's.
    pub in_use: u64,
    /// The first thousand of those; key 0 of what is no board.
    pub entries: Vec<EntryReport>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct EntryReport {
    /// The key; 0 but in a board.
    pub key: u64,
    /// Number of the last value that was committed; of a sequence lock that is not whole, of the one that was begun.
    pub sequence: u64,
    /// What is done to the value.
    pub progress: ValueState,
    /// Somebody may sleep until a newer value comes.
    pub waiters: bool,
    /// Take-overs of the writer's seat from the dead.
    pub generation: u64,
    /// Whose that seat is.
    pub writer: WriterState,
    /// Who holds it, dead or alive.
    pub holder: Option<HolderReport>,
    /// Taken over from a dead one, and not yet looked through.
    pub inherited: bool,
    /// The seat's word.
    pub right: Word,
    /// Where the buffer of that value lies in the segment, in bytes: the generation of its writer, and the value.
    pub buffer_offset: u64,
}

/// What is done to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ValueState {
    /// Nothing.
    Whole,
    /// It is being written, or the next one is.
    Writing,
    /// A writer died while it wrote.
    Torn,
}

/// Whose a writer's seat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum WriterState {
    /// Nobody's.
    Vacant,
    /// Somebody's who lives.
    Alive,
    /// Somebody's who died: who opens it next takes it over.
    Dead,
    /// The word is none that anybody writes who follows the protocol.
    Damaged,
}

/// The cells in the body. `None` if there are not enough bytes, which is a problem already.
pub(crate) fn cells(look: &mut Look<'_>, layout: &Layout) -> Option<CellReport> {
    let body = layout.body_offset();
    let [fingerprint, size, align, buffers, keys] = look.words(body)?;
    let mut report = CellReport {
        fingerprint: Word(fingerprint),
        type_name: primitive_name(fingerprint, size),
        size,
        align,
        buffers,
        keys,
        in_use: 0,
        entries: Vec::new(),
    };
    if !align.is_power_of_two() || !size.is_multiple_of(align) {
        look.problem("cell.align", align, format!("a power of two that divides the size, {size}"));
    }
    // A buffer is as long as the size says, so a size that cannot be is not used to find it.
    let geometry = Geometry { keys, buffers, size: size.min(layout.body_len()) };
    if let Some((field, found, expected)) = fault(layout.kind(), &geometry) {
        let field = if field.ends_with("keys") { "cell.keys" } else { "cell.buffers" };
        look.problem(field, found, expected);
        return Some(report);
    }
    let expected = body_len(&geometry).expect("it has no fault") as u64;
    if size != geometry.size || layout.body_len() != expected {
        look.problem("cell.size", size, format!("one for which the body has the header's {} bytes", layout.body_len()));
        return Some(report);
    }
    for key in 0..keys {
        if look.problems.len() > MOST_PROBLEMS {
            look.note(
                "cell.keys",
                format!("keys from {key} on were not looked at, as so many before them are damaged"),
            );
            break;
        }
        let entry = entry(look, layout, &geometry, key)?;
        if entry.sequence > 0 || entry.writer != WriterState::Vacant || layout.kind() != Kind::BOARD {
            report.in_use += 1;
            if report.entries.len() < MOST_TOLD {
                report.entries.push(entry);
            }
        }
    }
    Some(report)
}

fn entry(look: &mut Look<'_>, layout: &Layout, geometry: &Geometry, key: u64) -> Option<EntryReport> {
    let at = layout.body_offset() + (CONTROLS + CONTROL * key as usize) as u64;
    let [word] = look.words(at + offset_of!(Control, sequence) as u64)?;
    let [begun] = look.words(at + offset_of!(Control, begun) as u64)?;
    let [right, wide] = look.words(at + offset_of!(Control, seat) as u64)?;
    let [gate] = look.words(at + offset_of!(Control, gate) as u64)?;
    if gate != 0 {
        look.problem("cell.gate", Word(gate), "0, always");
    }
    let right = Right(right);
    let (writer, holder) = match right.state() {
        RightState::Vacant => (WriterState::Vacant, None),
        RightState::Held(holder) => match layout.holder(look, "cell.right", holder) {
            Some(holder) => (if holder.alive { WriterState::Alive } else { WriterState::Dead }, Some(holder)),
            None => (WriterState::Damaged, None),
        },
        RightState::Suspect | RightState::NotRecoverable | RightState::Damaged => {
            look.problem("cell.right", Word(right.0), "vacant, or held by a slot of the participants' table");
            (WriterState::Damaged, None)
        }
    };
    let again = look.word(at + offset_of!(Control, sequence) as u64)?;
    let (sequence, progress) = if layout.kind() == Kind::SEQLOCK {
        sequence_lock(look, word, again, writer)
    } else {
        last_value(look, word, again, begun, writer)
    };
    // The controls of all keys come before the buffers.
    let buffers = layout.body_offset() + (CONTROLS + CONTROL * geometry.keys as usize) as u64;
    let index = key * geometry.buffers + sequence % geometry.buffers;
    Some(EntryReport {
        key,
        sequence,
        progress,
        waiters: layout.kind() != Kind::SEQLOCK && word & SLEEPER != 0,
        generation: generation(right, wide),
        writer,
        inherited: holder.is_some() && right.is_inherited(),
        holder,
        right: Word(right.0),
        buffer_offset: buffers + index * geometry.stride() as u64 * 8,
    })
}

fn sequence_lock(look: &mut Look<'_>, word: u64, again: u64, writer: WriterState) -> (u64, ValueState) {
    let sequence = word & !TORN;
    if sequence > seqlock::FARTHEST {
        look.problem("cell.sequence", Word(word), format!("at most {:#x}", seqlock::FARTHEST));
    } else if word & TORN != 0 && word & ODD == 0 {
        look.problem("cell.sequence", Word(word), "an odd one, as its value is torn");
    } else if word & (TORN | ODD) == ODD && writer == WriterState::Vacant && again == word {
        look.problem("cell.sequence", Word(word), "an even one, as nobody has the writer's seat");
    }
    let state = match writer {
        _ if word & TORN != 0 => ValueState::Torn,
        _ if word & ODD == 0 => ValueState::Whole,
        WriterState::Dead if again == word => ValueState::Torn,
        _ => ValueState::Writing,
    };
    (sequence.div_ceil(2), state)
}

fn last_value(look: &mut Look<'_>, word: u64, again: u64, begun: u64, writer: WriterState) -> (u64, ValueState) {
    let sequence = word / 2;
    let still = again / 2 == sequence;
    if sequence > snapshot::FARTHEST {
        look.problem("cell.sequence", sequence, format!("at most {:#x}", snapshot::FARTHEST));
    } else if begun < sequence || still && begun > sequence + 1 {
        look.problem("cell.begun", begun, format!("{sequence}, the last committed, or one more"));
    }
    let state = match writer {
        _ if begun == sequence => ValueState::Whole,
        WriterState::Alive => ValueState::Writing,
        _ if !still => ValueState::Whole,
        _ => ValueState::Torn,
    };
    (sequence, state)
}

impl From<ValueState> for Progress {
    fn from(state: ValueState) -> Self {
        match state {
            ValueState::Whole => Self::Whole,
            ValueState::Writing => Self::Writing,
            ValueState::Torn => Self::Torn,
        }
    }
}
