//! The snapshot, and a key of a board, which is a snapshot.

use super::super::case::{Case, brief};
use super::Goes::{Few, First, Whole};
use super::Is::{
    self, Damaged, Dead, Far, Foreign, Forked, Held, NoKey, Numbers, Overrun, Slept, TooFar, Torn, Vacant, Writing,
};
use super::Role::{self, Member, Writer};
use super::{
    BEGUN, Goes, LONGER, NO_SUCH_SLOT, RIGHT, SEQUENCE, SHORT, SLOTS, Value, ZERO, judge, latest, poke, survivor_opens,
    write_next,
};
use ownerdead::cell::snapshot::{Config, Snapshot};
use ownerdead::cell::{
    Board, Opened, Progress, ReadError, SeatError, Status, Versioned, WaitError, WaitWriterError, board, snapshot,
};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::time::Duration;

/// The keys of a board, and the one that all is about.
const KEYS: usize = 2;
const KEY: usize = 1;
/// The last number before those that are written, in [`Far`]: the first ones lie in the same buffers as 1 and 2.
const LAST: u64 = 1 << 40;

type Operation = fn(&Shot, &mut Victim, &Facts);

struct Victim {
    me: Attachment,
    writer: Option<snapshot::Writer<Value>>,
}

/// What is under test.
enum Cell {
    Snapshot(Snapshot<Value>),
    Board(Board<Value>),
}

struct Shot {
    cell: Cell,
    memory: Memory,
    role: Role,
    is: Is,
    timeout: Option<Duration>,
    /// Those of the engine's process, which its children inherit.
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

impl Shot {
    fn new(board: bool, role: Role, is: Is, timeout: Option<Duration>, operation: Operation) -> Self {
        let options = Options::new().slots(SLOTS);
        let (cell, memory) = if board {
            let board = Board::memfd(&options, &board::Config::new(KEYS as u64).buffers(2)).expect("a board");
            let memory = Memory::of(board.segment()).expect("its file, mapped");
            (Cell::Board(board), memory)
        } else {
            let snapshot = Snapshot::memfd(&options, &Config::new().buffers(2), ZERO).expect("a snapshot");
            let memory = Memory::of(snapshot.segment()).expect("its file, mapped");
            (Cell::Snapshot(snapshot), memory)
        };
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        Self { cell, memory, role, is, timeout, inherited: RefCell::new(None), operation }
    }

    fn attached(&self) -> Attachment {
        let attached = match &self.cell {
            Cell::Snapshot(snapshot) => snapshot.attach(),
            Cell::Board(board) => board.attach(),
        };
        brief(attached.expect("a free slot"))
    }

    /// The key that the victim names.
    fn key(&self) -> usize {
        if self.is == NoKey { KEYS } else { KEY }
    }

    // What is inlined into several operations, or several times into one, is one function: what each state comes by is the code of all.

    #[inline(never)]
    fn writer(&self, me: &Attachment, key: usize) -> Result<Opened<snapshot::Writer<Value>>, SeatError> {
        match &self.cell {
            Cell::Snapshot(snapshot) => snapshot.writer(me),
            Cell::Board(board) => board.writer(me, key),
        }
    }

    #[inline(never)]
    fn read(&self, key: usize) -> Result<Versioned<Value>, ReadError> {
        match &self.cell {
            Cell::Snapshot(snapshot) => snapshot.read(),
            Cell::Board(board) => board.read(key),
        }
    }

    #[inline(never)]
    fn read_if_newer(&self, key: usize, sequence: u64) -> Result<Option<Versioned<Value>>, ReadError> {
        match &self.cell {
            Cell::Snapshot(snapshot) => snapshot.read_if_newer(sequence),
            Cell::Board(board) => board.read_if_newer(key, sequence),
        }
    }

    #[inline(never)]
    fn status(&self, key: usize) -> Option<Status> {
        match &self.cell {
            Cell::Snapshot(snapshot) => Some(snapshot.status()),
            Cell::Board(board) => board.status(key),
        }
    }

    #[inline(never)]
    fn wait_change(&self, me: &Attachment, sequence: u64) -> Result<Versioned<Value>, WaitError> {
        match &self.cell {
            Cell::Snapshot(snapshot) => snapshot.wait_change(me, sequence, self.timeout),
            Cell::Board(board) => board.wait_change(me, self.key(), sequence, self.timeout),
        }
    }

    fn write_two(&self, facts: &Facts) -> Victim {
        let me = self.attached();
        let mut writer = self.writer(&me, KEY).expect("a vacant seat").into_inner();
        for _ in 0..2 {
            write_next(facts, |value| writer.write(value)).expect("not forked");
        }
        Victim { me, writer: Some(writer) }
    }

    /// What the victim has when its operation begins.
    fn seated(&self) -> Victim {
        let me = if self.is == Foreign {
            let other = Snapshot::memfd(&Options::new().slots(1), &Config::new().buffers(2), ZERO).expect("a snapshot");
            brief(other.attach().expect("a free slot"))
        } else {
            self.attached()
        };
        let writer = (self.role == Writer).then(|| self.writer(&me, KEY).expect("a seat").into_inner());
        Victim { me, writer }
    }

    /// A word of the key's control line is `value`.
    ///
    /// # Safety
    /// `word` is the offset of such a word in a snapshot, and nobody is at work.
    unsafe fn poke(&self, word: usize, value: u64) {
        let offset = word + if matches!(self.cell, Cell::Board(_)) { 128 * KEY } else { 0 };
        // SAFETY: as the caller promises; each key of a board has such a line.
        unsafe { poke(&self.memory, offset, value) };
    }
}

impl Subject for Shot {
    type Victim<'s> = Victim;
    type Survivor<'s> = Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        if self.is == Far {
            latest(facts).write(LAST);
            // SAFETY: words of the control line; nobody is at work.
            unsafe {
                self.poke(SEQUENCE, 2 * LAST);
                self.poke(BEGUN, LAST);
            }
        }
        match self.is {
            Held | Writing => cast.stands(|| self.write_two(facts)),
            Dead | Torn => cast.dies(|| self.write_two(facts)),
            _ => cast.stands(|| drop(self.write_two(facts))),
        }
        // SAFETY: words of the control line; nobody is at work.
        unsafe {
            match self.is {
                Torn | Writing => {
                    latest(facts).write(3);
                    self.poke(BEGUN, 3);
                }
                // The bit of one that sleeps.
                Slept => self.poke(SEQUENCE, 2 * 2 + 1),
                Damaged => self.poke(RIGHT, NO_SUCH_SLOT),
                Numbers => self.poke(BEGUN, 1),
                TooFar => self.poke(SEQUENCE, (1 << 63) + 2),
                Overrun => self.poke(BEGUN, 4),
                _ => {}
            }
        }
        if self.is == Forked {
            self.inherited.replace(Some(self.seated()));
        }
    }

    fn attach(&self, _: &Facts) -> Victim {
        self.inherited.take().unwrap_or_else(|| self.seated())
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Attachment {
        self.attached()
    }

    fn recover(&self, me: &mut Attachment, facts: &Facts) -> Result<&'static str, Finding> {
        match self.read(KEY) {
            Ok(found) => judge(facts, &found)?,
            Err(_) if matches!(self.is, Numbers | TooFar | Overrun) => {}
            Err(error) => return Err(Finding::stuck(error.to_string())),
        }
        let of_the_dead = self.status(KEY).is_some_and(|status| matches!(status.writer, SeatState::Dead(_)));
        let Some(mut writer) = survivor_opens((self.is, self.role, of_the_dead), self.writer(me, KEY))? else {
            return Ok("its seat is not to be had");
        };
        write_next(facts, |value| writer.write(value)).expect("not forked");
        match self.read(KEY) {
            Ok(found) => judge(facts, &found).map(|()| "read and written"),
            Err(error) => Err(Finding::stuck(format!("after a write: {error}"))),
        }
    }
}

#[inline(never)]
fn open(subject: &Shot, victim: &mut Victim, _: &Facts) {
    let opened = subject.writer(&victim.me, subject.key());
    assert!(subject.is.opens(&opened));
    victim.writer = opened.ok().map(Opened::into_inner);
}

#[inline(never)]
fn write(subject: &Shot, victim: &mut Victim, facts: &Facts) {
    let writer = victim.writer.as_mut().expect("the seat");
    let written = write_next(facts, |value| writer.write(value));
    assert_eq!(written.is_err(), subject.is == Forked);
}

#[inline(never)]
fn close(_: &Shot, victim: &mut Victim, _: &Facts) {
    victim.writer = None;
}

#[inline(never)]
fn value(_: &Shot, victim: &mut Victim, facts: &Facts) {
    let found = victim.writer.as_ref().expect("the seat").value();
    assert_eq!(found, [latest(facts).ended.get(); 3]);
}

/// Whether a read has come to what it is to come to in this state.
fn reads(is: Is, read: &Result<Versioned<Value>, ReadError>, facts: &Facts) -> bool {
    match read {
        Ok(found) => judge(facts, found).is_ok() && matches!(is, Vacant | Far | Writing),
        Err(ReadError::Overrun { .. }) => is == Overrun,
        Err(ReadError::NoSuchKey { .. }) => is == NoKey,
        Err(ReadError::Corrupt(_)) => is == Numbers,
    }
}

#[inline(never)]
fn read(subject: &Shot, _: &mut Victim, facts: &Facts) {
    assert!(reads(subject.is, &subject.read(subject.key()), facts));
}

/// A newer one than the first, and than the second.
#[inline(never)]
fn read_if_newer(subject: &Shot, _: &mut Victim, facts: &Facts) {
    if let Some(read) = subject.read_if_newer(subject.key(), 1).transpose() {
        assert!(reads(subject.is, &read, facts));
    }
    assert!(matches!(subject.read_if_newer(subject.key(), 2), Ok(None)) || subject.is == NoKey);
}

#[inline(never)]
fn iter(subject: &Shot, _: &mut Victim, facts: &Facts) {
    let Cell::Board(board) = &subject.cell else { unreachable!("an operation of boards") };
    for (key, read) in board.iter() {
        assert!(key == KEY && reads(subject.is, &read, facts));
    }
}

#[inline(never)]
fn status(subject: &Shot, _: &mut Victim, _: &Facts) {
    let expected = match subject.is {
        NoKey => None,
        Torn => Some(Progress::Torn),
        Writing => Some(Progress::Writing),
        _ => Some(Progress::Whole),
    };
    assert_eq!(subject.status(subject.key()).map(|status| status.progress), expected);
}

/// Whether a wait has come to what it is to come to in this state; there was a newer one.
fn waits(is: Is, waited: &Result<Versioned<Value>, WaitError>, newer: bool, facts: &Facts) -> bool {
    match waited {
        Ok(found) => judge(facts, found).is_ok() && newer,
        Err(WaitError::TimedOut) => !newer && matches!(is, Vacant | Held | Slept),
        Err(WaitError::WriterDied) => !newer && is == Dead,
        Err(WaitError::Corrupt(_)) => is == if newer { Numbers } else { Damaged },
        Err(WaitError::Overrun { .. }) => newer && is == Overrun,
        Err(WaitError::NoSuchKey { .. }) => is == NoKey,
        Err(WaitError::WrongSegment) => is == Foreign,
        Err(WaitError::Forked) => is == Forked,
    }
}

#[inline(never)]
fn wait_change(subject: &Shot, victim: &mut Victim, facts: &Facts) {
    assert!(waits(subject.is, &subject.wait_change(&victim.me, 2), false, facts));
}

#[inline(never)]
fn wait_first_change(subject: &Shot, victim: &mut Victim, facts: &Facts) {
    assert!(waits(subject.is, &subject.wait_change(&victim.me, 1), true, facts));
}

#[inline(never)]
fn wait_writer(subject: &Shot, victim: &mut Victim, _: &Facts) {
    let waited = match &subject.cell {
        Cell::Snapshot(snapshot) => snapshot.wait_writer(&victim.me, subject.timeout),
        Cell::Board(board) => board.wait_writer(&victim.me, subject.key(), subject.timeout),
    };
    assert!(match waited {
        Ok(()) => subject.is == Held,
        Err(WaitWriterError::TimedOut) => matches!(subject.is, Vacant | Dead),
        Err(WaitWriterError::Corrupt(_)) => subject.is == Damaged,
        Err(WaitWriterError::NoSuchKey { .. }) => subject.is == NoKey,
        Err(WaitWriterError::WrongSegment) => subject.is == Foreign,
        Err(WaitWriterError::Forked) => subject.is == Forked,
    });
}

type Row = (&'static str, Operation, Role, Is, Goes);

const SNAPSHOTS: [Row; 43] = [
    ("open.vacant", open, Member, Vacant, First),
    ("open.held", open, Member, Held, First),
    ("open.torn", open, Member, Torn, Whole),
    ("open.damaged", open, Member, Damaged, First),
    ("open.numbers", open, Member, Numbers, First),
    ("open.too_far", open, Member, TooFar, Few),
    ("open.foreign", open, Member, Foreign, Few),
    ("open.forked", open, Member, Forked, Few),
    ("write.whole", write, Writer, Vacant, Whole),
    ("write.torn", write, Writer, Torn, Whole),
    ("write.slept", write, Writer, Slept, Whole),
    ("write.far", write, Writer, Far, Few),
    ("write.forked", write, Writer, Forked, Few),
    ("close.whole", close, Writer, Vacant, Whole),
    ("close.forked", close, Writer, Forked, Few),
    ("value.whole", value, Writer, Vacant, First),
    ("value.far", value, Writer, Far, Few),
    ("read.whole", read, Member, Vacant, First),
    ("read.writing", read, Member, Writing, Few),
    ("read.far", read, Member, Far, Few),
    ("read.numbers", read, Member, Numbers, First),
    ("read.overrun", read, Member, Overrun, Few),
    ("read_if_newer.whole", read_if_newer, Member, Vacant, First),
    ("read_if_newer.numbers", read_if_newer, Member, Numbers, Few),
    ("status.whole", status, Member, Vacant, First),
    ("status.torn", status, Member, Torn, Few),
    ("status.writing", status, Member, Writing, Few),
    ("wait_change.vacant", wait_change, Member, Vacant, First),
    ("wait_change.held", wait_change, Member, Held, First),
    ("wait_change.slept", wait_change, Member, Slept, Few),
    ("wait_change.dead", wait_change, Member, Dead, First),
    ("wait_change.damaged", wait_change, Member, Damaged, First),
    ("wait_change.foreign", wait_change, Member, Foreign, Few),
    ("wait_change.forked", wait_change, Member, Forked, Few),
    ("wait_change.newer", wait_first_change, Member, Vacant, First),
    ("wait_change.newer_numbers", wait_first_change, Member, Numbers, Few),
    ("wait_change.newer_overrun", wait_first_change, Member, Overrun, Few),
    ("wait_writer.vacant", wait_writer, Member, Vacant, Few),
    ("wait_writer.dead", wait_writer, Member, Dead, First),
    ("wait_writer.held", wait_writer, Member, Held, First),
    ("wait_writer.damaged", wait_writer, Member, Damaged, Few),
    ("wait_writer.foreign", wait_writer, Member, Foreign, Few),
    ("wait_writer.forked", wait_writer, Member, Forked, Few),
];

/// A key of a board is a snapshot: one state of each way to reach it, keys that are not there, and what the compiler has twice.
const BOARDS: [Row; 22] = [
    ("open.held", open, Member, Held, Few),
    ("open.torn", open, Member, Torn, First),
    ("open.damaged", open, Member, Damaged, Few),
    ("open.numbers", open, Member, Numbers, Few),
    ("open.foreign", open, Member, Foreign, Few),
    ("open.forked", open, Member, Forked, Few),
    ("open.no_key", open, Member, NoKey, Few),
    ("write.torn", write, Writer, Torn, First),
    ("read.whole", read, Member, Vacant, First),
    ("read.no_key", read, Member, NoKey, Few),
    ("read_if_newer.whole", read_if_newer, Member, Vacant, Few),
    ("read_if_newer.no_key", read_if_newer, Member, NoKey, Few),
    ("iter.whole", iter, Member, Vacant, First),
    ("iter.far", iter, Member, Far, Few),
    ("iter.numbers", iter, Member, Numbers, Few),
    ("iter.overrun", iter, Member, Overrun, Few),
    ("status.whole", status, Member, Vacant, First),
    ("status.torn", status, Member, Torn, Few),
    ("status.writing", status, Member, Writing, Few),
    ("status.no_key", status, Member, NoKey, Few),
    ("wait_change.no_key", wait_change, Member, NoKey, Few),
    ("wait_writer.no_key", wait_writer, Member, NoKey, Few),
];

/// The same, with another end of the wait: later, none, and one that is later than the clock can say, where it is not waited for.
const WAITS: [(&str, Operation, Is, Option<Duration>); 9] = [
    ("wait_change.vacant_longer", wait_change, Vacant, Some(LONGER)),
    ("wait_change.held_longer", wait_change, Held, Some(LONGER)),
    ("wait_change.dead_without_end", wait_change, Dead, None),
    ("wait_change.dead_centuries", wait_change, Dead, Some(Duration::MAX)),
    ("wait_change.newer_without_end", wait_first_change, Vacant, None),
    ("wait_writer.vacant_longer", wait_writer, Vacant, Some(LONGER)),
    ("wait_writer.dead_longer", wait_writer, Dead, Some(LONGER)),
    ("wait_writer.held_without_end", wait_writer, Held, None),
    ("wait_writer.held_centuries", wait_writer, Held, Some(Duration::MAX)),
];

pub fn cases(all: &mut Vec<Case>) {
    let mut add = |board: bool, (name, operation, role, is, goes): Row, timeout: Option<Duration>| {
        let title = format!("{}.{name}", if board { "board" } else { "snapshot" });
        let made = move || Shot::new(board, role, is, timeout, operation);
        all.push(goes.far(Case::new(title, operation as *const () as usize, made)));
    };
    SNAPSHOTS.into_iter().for_each(|row| add(false, row, Some(SHORT)));
    for (name, operation, is, timeout) in WAITS {
        add(false, (name, operation, Member, is, Few), timeout);
    }
    BOARDS.into_iter().for_each(|row| add(true, row, Some(SHORT)));
}
