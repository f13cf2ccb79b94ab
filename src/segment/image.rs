//! A segment as bytes: for those who look at one, whole or damaged, and take no part in it. Nothing here makes a system call.

use super::format::{Header, Kind, MAGIC, PAGE, VERSION, WORDS, checksum};
use crate::owner::{Holder, LifeFound, MAX_SLOTS, Slot, SlotState};
use core::cell::Cell;
use core::fmt::{self, Display};

/// Bytes of a segment, wherever they lie. They may change, and end sooner than they said, while they are read.
pub trait Image {
    /// How many there are.
    fn length(&self) -> u64;

    /// Copies bytes from `offset` on into `into`, and says how many: fewer than asked for only if there are no more.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> usize;
}

impl Image for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> usize {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or(&[]);
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        count
    }
}

/// Something that nobody writes who follows the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Problem {
    /// Which field, as `ring.write_index`.
    pub field: String,
    /// What it holds.
    pub found: String,
    /// What it may hold.
    pub expected: String,
}

/// Something that is allowed, and that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Note {
    /// Which field, as `slot[3].life`.
    pub field: String,
    /// What is to be said of it.
    pub says: String,
}

/// A raw word; shown, and serialized, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

impl Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Word {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether a thread of that TID exists where the one who looks runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(tag = "state", rename_all = "snake_case"))]
pub enum Thread {
    /// It exists. Another thread may have got the TID since.
    Exists {
        /// Its name, if it can be known.
        name: Option<String>,
    },
    /// It does not: it is dead, or lives in another PID namespace.
    Gone,
    /// Nobody has looked.
    Unknown,
}

/// What the header says, right or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct HeaderReport {
    /// `OWNRDEAD` in ASCII, the first letter in the lowest byte.
    pub magic: Word,
    /// Version of the layout.
    pub version: u32,
    /// Number of the structure's kind.
    pub kind: u32,
    /// What that kind is called, if it is known.
    pub kind_name: Option<&'static str>,
    /// Length of the segment, in bytes.
    pub total: u64,
    /// Slots of the participants' table.
    pub slots: u32,
    /// Flags; none has a meaning yet.
    pub flags: u32,
    /// Where the participants' table begins, in bytes.
    pub slots_offset: u64,
    /// Where the body begins, in bytes.
    pub body_offset: u64,
    /// Bytes of the body.
    pub body_len: u64,
    /// CRC-32 of all the above.
    pub checksum: Word,
    /// Whether that is right.
    pub checksum_valid: bool,
}

/// The participants' table: as many slots as the header says, or fewer, where the bytes end before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ParticipantsReport {
    /// Slots that can be taken, and were never taken or were left.
    pub free: u32,
    /// Slots that a thread is moving into, or died moving into: leaked.
    pub joining: u32,
    /// Slots whose thread is attached.
    pub attached: u32,
    /// Slots that a thread is moving out of, or died moving out of: leaked.
    pub leaving: u32,
    /// Slots that can be taken, and whose thread died.
    pub dead: u32,
    /// Slots that are never taken again.
    pub retired: u32,
    /// Slots whose life word is none.
    pub damaged: u32,
    /// How many of those attached have a TID that does not exist.
    pub gone: u32,
    /// Each slot that is not free.
    pub slots: Vec<SlotReport>,
}

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SlotReport {
    /// Its index.
    pub slot: u32,
    /// What it is used for.
    pub state: SlotState,
    /// The TID in it, as its own PID namespace has it.
    pub tid: Option<u32>,
    /// Whether there is such a thread, if there is a TID.
    pub thread: Option<Thread>,
    /// Number of the latest taking, from 1.
    pub incarnation: u32,
    /// Somebody may sleep until its thread is gone.
    pub waiters: bool,
    /// The life word.
    pub life: Word,
}

/// Who holds a right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct HolderReport {
    /// Its slot.
    pub slot: u32,
    /// Which of the slot's takings it is.
    pub incarnation: u32,
    /// Its TID, while it is alive.
    pub tid: Option<u32>,
    /// Whether it is alive, by its life word.
    pub alive: bool,
}

/// Collects problems and notes, and reads without ever going past the end.
pub(crate) struct Look<'i> {
    image: &'i dyn Image,
    length: u64,
    /// Where the bytes ended though they should not have.
    ended: Cell<Option<u64>>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<Note>,
}

impl<'i> Look<'i> {
    pub(crate) fn new(image: &'i dyn Image) -> Self {
        Self { image, length: image.length(), ended: Cell::new(None), problems: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn problem(&mut self, field: impl Display, found: impl Display, expected: impl Display) {
        let (field, found, expected) = (field.to_string(), found.to_string(), expected.to_string());
        self.problems.push(Problem { field, found, expected });
    }

    pub(crate) fn note(&mut self, field: impl Display, says: impl Display) {
        self.notes.push(Note { field: field.to_string(), says: says.to_string() });
    }

    /// Fills `into`, if there are so many bytes.
    pub(crate) fn bytes(&self, offset: u64, into: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(into.len() as u64)?;
        let count = self.image.read_at(offset, into);
        if count < into.len() && end <= self.length {
            let ended = self.ended.get().unwrap_or(u64::MAX).min(offset + count as u64);
            self.ended.set(Some(ended));
        }
        (count == into.len()).then_some(())
    }

    /// `N` words.
    pub(crate) fn words<const N: usize>(&self, offset: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (index, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            self.bytes(offset.checked_add(8 * index as u64)?, &mut bytes)?;
            *word = u64::from_le_bytes(bytes);
        }
        Some(words)
    }

    pub(crate) fn word(&self, offset: u64) -> Option<u64> {
        self.words(offset).map(|[word]| word)
    }

    /// Whether `size` bytes, words and at least one, are there from `offset` on: `None` if the bytes end before.
    pub(crate) fn whole(&self, offset: u64, size: u64) -> Option<()> {
        self.word(offset.checked_add(size)?.checked_sub(8)?).map(drop)
    }

    /// To be called last.
    pub(crate) fn end(&mut self) {
        if let Some(ended) = self.ended.get() {
            let expected = format!("{} bytes, as when it was opened", self.length);
            self.problem("length", format!("no bytes after {ended}"), expected);
        }
    }
}

/// Where the parts of a segment lie: from its header, or from what its header must have been.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    header: Header,
}

impl Layout {
    pub(crate) fn kind(&self) -> Kind {
        self.header.kind
    }

    pub(crate) fn body_offset(&self) -> u64 {
        self.header.body_offset
    }

    pub(crate) fn body_len(&self) -> u64 {
        self.header.body_len
    }

    pub(crate) fn slots(&self) -> u32 {
        self.header.slots
    }

    fn slot(&self, index: u32) -> u64 {
        self.header.slots_offset + u64::from(index) * PAGE as u64
    }

    /// Whether `holder` lives. The right that names it must have been read before. None, with a problem, if there is no such
    /// holder.
    pub(crate) fn holder(&self, look: &mut Look<'_>, field: &str, holder: Holder) -> Option<HolderReport> {
        let Holder { slot, incarnation } = holder;
        if slot >= self.header.slots {
            look.problem(field, format!("slot {slot}"), format!("one of the {} slots", self.header.slots));
            return None;
        }
        let life = LifeFound { word: look.word(self.slot(slot) + Slot::LIFE as u64)? };
        if incarnation > life.incarnation() {
            let found = format!("taking {incarnation} of slot {slot}");
            look.problem(field, found, format!("at most the latest, {}", life.incarnation()));
            return None;
        }
        let alive = life.lives(holder);
        Some(HolderReport { slot, incarnation, tid: life.tid().filter(|_| alive), alive })
    }
}

/// What the header says, and where things lie, if that can be known.
pub(crate) fn header(look: &mut Look<'_>) -> (Option<HeaderReport>, Option<Layout>) {
    let length = look.length();
    if length < PAGE as u64 {
        look.problem("length", format!("{length} bytes"), format!("at least {PAGE}: a header takes a page"));
    }
    let Some(found) = look.words::<WORDS>(0) else { return (None, None) };
    let kind = Kind(high(found[1]));
    let report = HeaderReport {
        magic: Word(found[0]),
        version: found[1] as u32,
        kind: kind.0,
        kind_name: kind.name(),
        total: found[2],
        slots: found[3] as u32,
        flags: high(found[3]),
        slots_offset: found[4],
        body_offset: found[5],
        body_len: found[6],
        checksum: Word(found[7]),
        checksum_valid: found[7] == checksum(&found),
    };
    let words = repair(look, &found).unwrap_or(found);
    (Some(report), judge(look, &words).map(|header| Layout { header }))
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

fn with_low(word: u64, low: u32) -> u64 {
    word & !u64::from(u32::MAX) | u64::from(low)
}

fn with_high(word: u64, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(word as u32)
}

/// If the checksum is wrong, and right once one field is what the others say it must be, then that field is the damaged one:
/// the header as it was.
fn repair(look: &mut Look<'_>, found: &[u64; WORDS]) -> Option<[u64; WORDS]> {
    if found[7] == checksum(found) {
        return None;
    }
    let page = PAGE as u64;
    let &[_, names, total, slots, _, body_offset, body_len, _] = found;
    let slots_of_offset = (body_offset / page).checked_sub(1).and_then(|slots| u32::try_from(slots).ok());
    let derived = usize::try_from(body_len).ok().and_then(|len| Header::new(Kind::SPSC, slots as u32, len));
    let before_body_end = total.saturating_sub(body_offset);
    let mut candidates = vec![
        ("header.magic", 0, MAGIC),
        ("header.version", 1, with_low(names, VERSION)),
        ("header.total", 2, look.length()),
        ("header.flags", 3, with_high(slots, 0)),
        ("header.slots_offset", 4, page),
        ("header.body_offset", 5, (u64::from(slots as u32) + 1) * page),
    ];
    candidates.extend(Kind::ALL.map(|kind| ("header.kind", 1, with_high(names, kind.0))));
    candidates.extend(derived.map(|header| ("header.total", 2, header.total)));
    candidates.extend(slots_of_offset.map(|count| ("header.slots", 3, with_low(slots, count))));
    // The total is the end of the body, rounded up to a page.
    candidates.extend((0..page).map(|rest| ("header.body_len", 6, before_body_end.saturating_sub(rest))));
    let (field, word, value) = candidates.into_iter().find(|&(_, word, value)| {
        let mut words = *found;
        words[word] = value;
        found[7] == checksum(&words)
    })?;
    let shown = |word: u64| match field {
        "header.magic" => format!("{word:#x}"),
        "header.kind" => Kind(high(word)).to_string(),
        "header.flags" => format!("{:#x}", high(word)),
        "header.version" | "header.slots" => (word as u32).to_string(),
        _ => word.to_string(),
    };
    let expected = format!("{}: with that the checksum is right", shown(value));
    look.problem(field, shown(found[word]), expected);
    let mut words = *found;
    words[word] = value;
    Some(words)
}

/// Every field that is not what it must be. The header, if it says where things lie in spite of that.
fn judge(look: &mut Look<'_>, words: &[u64; WORDS]) -> Option<Header> {
    let before = look.problems.len();
    if words[0] != MAGIC {
        look.problem("header.magic", Word(words[0]), format!("{MAGIC:#x}: not a segment, or a damaged one"));
    }
    let (version, kind) = (words[1] as u32, Kind(high(words[1])));
    if version != VERSION {
        look.problem("header.version", version, format!("{VERSION}: this program knows no other"));
    }
    if kind.name().is_none() {
        let known = Kind::ALL.map(|kind| kind.to_string()).join(", ");
        look.problem("header.kind", kind.0, format!("one of {known}"));
    }
    if high(words[3]) != 0 {
        look.problem("header.flags", format!("{:#x}", high(words[3])), "0");
    }
    let slots = words[3] as u32;
    let counted = (1..=MAX_SLOTS as u32).contains(&slots);
    if !counted {
        look.problem("header.slots", slots, format!("1 to {MAX_SLOTS}"));
    }
    let header = usize::try_from(words[6]).ok().and_then(|body_len| Header::new(kind, slots, body_len));
    if header.is_none() {
        look.problem("header.body_len", words[6], "less than a file can have");
    }
    let mut consistent = counted;
    match header {
        // Everything else follows from the slots and the body's length.
        Some(should) if counted => {
            for (field, found, expected) in [
                ("header.slots_offset", words[4], should.slots_offset),
                ("header.body_offset", words[5], should.body_offset),
                ("header.total", words[2], should.total),
            ] {
                if found != expected {
                    consistent = false;
                    let why = format!("{expected}, by {slots} slots and a body of {} bytes", should.body_len);
                    look.problem(field, found, why);
                }
            }
            let length = look.length();
            if consistent && length < should.total && length >= PAGE as u64 {
                look.problem("length", format!("{length} bytes"), format!("{} bytes, by the header", should.total));
            } else if consistent && length > should.total {
                look.note("length", format!("{} bytes follow the end of the segment", length - should.total));
            }
        }
        _ => consistent = false,
    }
    if words[7] != checksum(words) {
        look.problem("header.checksum", Word(words[7]), Word(checksum(words)));
    }
    let known = consistent && version == VERSION;
    if !known && look.problems.len() > before {
        look.note("header", "it does not say where the rest lies, so the rest is not shown");
    }
    header.filter(|_| known)
}

/// The participants' table, as far as there are bytes.
pub(crate) fn participants(
    look: &mut Look<'_>,
    layout: &Layout,
    threads: &mut dyn FnMut(u32) -> Thread,
) -> ParticipantsReport {
    let mut report = ParticipantsReport::default();
    for slot in 0..layout.header.slots {
        let at = layout.slot(slot);
        let (Some(gate), Some(word)) = (look.word(at), look.word(at + Slot::LIFE as u64)) else { break };
        if gate != 0 {
            look.problem(format_args!("slot[{slot}].gate"), Word(gate), "0, always");
        }
        let life = LifeFound { word };
        let (state, tid) = (life.state(), life.tid());
        *match state {
            SlotState::Free => &mut report.free,
            SlotState::Joining => &mut report.joining,
            SlotState::Attached => &mut report.attached,
            SlotState::Leaving => &mut report.leaving,
            SlotState::Dead => &mut report.dead,
            SlotState::Retired => &mut report.retired,
            SlotState::Damaged => &mut report.damaged,
        } += 1;
        if state == SlotState::Free {
            continue;
        }
        let thread = tid.filter(|_| state == SlotState::Attached).map(&mut *threads);
        report.gone += u32::from(thread == Some(Thread::Gone));
        let found = SlotReport {
            slot,
            state,
            tid,
            thread,
            incarnation: life.incarnation(),
            waiters: life.has_waiters(),
            life: Word(word),
        };
        remark(look, &found);
        report.slots.push(found);
    }
    let can_be_had = report.free + report.dead;
    if report.slots.len() as u32 == layout.header.slots && can_be_had == 0 {
        look.note("participants", format!("all {} slots are taken: nobody else can attach", layout.header.slots));
    }
    report
}

/// What there is to say of a slot.
fn remark(look: &mut Look<'_>, slot: &SlotReport) {
    let field = format!("slot[{}].life", slot.slot);
    match (slot.state, slot.tid, &slot.thread) {
        (SlotState::Damaged, ..) => look.problem(field, slot.life, "a life word (see the table in src/owner/right.rs)"),
        (SlotState::Joining, ..) => look.note(field, "a thread is moving in; if none is, one died doing so: leaked"),
        (SlotState::Leaving, ..) => look.note(field, "a thread is moving out; if none is, one died doing so: leaked"),
        (SlotState::Retired, ..) => look.note(field, "its incarnations are used up: it is never taken again"),
        (_, Some(tid), Some(Thread::Gone)) => look.note(
            field,
            format!(
                "there is no thread {tid} in this PID namespace: it lives in another one, or it died and the kernel was kept \
                 from telling; if it is dead, what it holds stays taken until somebody marks the word by hand"
            ),
        ),
        _ => {}
    }
}
