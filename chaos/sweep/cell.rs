//! Cells: a writer dies in each of its operations, a reader in each of its own, and whoever comes after gets whole values.

use super::case::{Case, FactsOf, brief};
use ownerdead::cell::snapshot::{Config, Snapshot};
use ownerdead::cell::{Board, SeqLock, TryReadError, Versioned, WaitError, board, seqlock, snapshot};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject, Word};
use ownerdead::harness::oracle::Latest;
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;
use std::time::Duration;

/// Words that must agree.
type Value = [u64; 3];
const ZERO: Value = [0; 3];
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
const SHORT: Duration = Duration::from_micros(1500);
const SLOTS: u32 = 6;
/// Offsets in the segment: see `segment` and `cell::shared`.
const BODY: usize = 4096 * (1 + SLOTS as usize);
const SEQUENCE: usize = BODY + 128;
const BEGUN: usize = BODY + 136;
const RIGHT: usize = BODY + 144;
/// A right that names slot 77, which does not exist.
const NO_SUCH_SLOT: u64 = 1 << 32 | 1 << 29 | 77;
/// The key of a board that all is about.
const KEY: usize = 1;

/// Words of the facts: the last value of which a write was begun, the last one whose write has returned.
const FACTS: FactsOf<2> = FactsOf([0, 1]);

fn latest(facts: &Facts) -> Latest<&Word> {
    let [begun, ended] = FACTS.words(facts);
    Latest { begun, ended }
}

/// Writes the next value, by the function `write`.
fn write_next<E: core::fmt::Debug>(facts: &Facts, write: impl FnOnce(&Value) -> Result<u64, E>) {
    let latest = latest(facts);
    let next = latest.begun.get() + 1;
    latest.write(next);
    write(&[next; 3]).expect("not forked");
    latest.written(next);
}

/// A value that was read when nobody wrote: no older than what was written for sure.
fn judge(facts: &Facts, found: &Versioned<Value>) -> Result<(), Finding> {
    let (latest, [number, ..]) = (latest(facts), found.value);
    latest.read(0, latest.ended.get(), number, found.value == [number; 3])?;
    Ok(())
}

/// What the cell is like when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// Two values were written, and nobody has the seat, but for a victim that is to write.
    Vacant,
    /// Another one has the writer's seat, and stands still.
    Held,
    /// Its last writer is dead.
    Dead,
    /// It died mid-write.
    Torn,
    /// The same, and another one has had the seat since, and did not write.
    Marked,
    /// Another one has the seat, and stands still mid-write.
    Writing,
    /// Somebody sleeps, or did when it was stopped.
    Slept,
    /// The seat is of a slot that is not there, and a value is half written.
    Damaged,
    /// The numbers make no sense.
    Numbers,
    /// The buffer that is read is overwritten, again and again.
    Overrun,
}

/// Whose an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Has the seat.
    Writer,
    /// Has attached.
    Member,
}

/// A word of the memory.
///
/// # Safety
/// `offset` is that of a word in it, and nobody else is at work.
unsafe fn poke(memory: &Memory, offset: usize, value: u64) {
    assert!(offset + 8 <= memory.len());
    // SAFETY: in bounds, and the caller promises the rest.
    unsafe { memory.start().byte_add(offset).cast::<u64>().write(value) };
}

// --- the sequence lock ---

struct LockVictim<'s> {
    writer: Option<seqlock::Writer<Value>>,
    me: Attachment,
    lock: &'s SeqLock<Value>,
}
type LockOperation = fn(&mut LockVictim, &Facts);

struct Lock {
    lock: SeqLock<Value>,
    memory: Memory,
    role: Role,
    is: Is,
    operation: LockOperation,
}

impl Lock {
    fn new(role: Role, is: Is, operation: LockOperation) -> Self {
        let lock = SeqLock::memfd(&Options::new().slots(SLOTS), ZERO).expect("a sequence lock");
        let memory = Memory::of(lock.segment()).expect("its file, mapped");
        Self { lock, memory, role, is, operation }
    }

    fn write_two(&self, facts: &Facts) -> (seqlock::Writer<Value>, Attachment) {
        let me = brief(self.lock.attach().expect("a free slot"));
        let mut writer = self.lock.writer(&me).expect("a vacant seat").into_inner();
        for _ in 0..2 {
            write_next(facts, |value| writer.write(value));
        }
        (writer, me)
    }
}

impl Subject for Lock {
    type Victim<'s> = LockVictim<'s>;
    type Survivor<'s> = Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.is {
            Is::Held | Is::Writing => cast.stands(|| self.write_two(facts)),
            Is::Dead | Is::Torn | Is::Marked => cast.dies(|| self.write_two(facts)),
            _ => cast.stands(|| drop(self.write_two(facts))),
        }
        // SAFETY: words of the control line; nobody is at work.
        unsafe {
            match self.is {
                Is::Torn | Is::Marked | Is::Writing => {
                    latest(facts).write(3);
                    poke(&self.memory, SEQUENCE, 5);
                }
                Is::Damaged => {
                    poke(&self.memory, SEQUENCE, 5);
                    poke(&self.memory, RIGHT, NO_SUCH_SLOT);
                }
                Is::Numbers => poke(&self.memory, SEQUENCE, 5),
                _ => {}
            }
        }
        if self.is == Is::Marked {
            cast.stands(|| drop(self.lock.writer(&brief(self.lock.attach().expect("a free slot")))));
        }
    }

    fn attach(&self, _: &Facts) -> LockVictim<'_> {
        let me = brief(self.lock.attach().expect("a free slot"));
        let writer = (self.role == Role::Writer).then(|| self.lock.writer(&me).expect("a seat").into_inner());
        LockVictim { writer, me, lock: &self.lock }
    }

    fn operation<'s>(&'s self, victim: &mut LockVictim<'s>, facts: &Facts) {
        (self.operation)(victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Attachment {
        brief(self.lock.attach().expect("a free slot"))
    }

    fn recover(&self, me: &mut Attachment, facts: &Facts) -> Result<&'static str, Finding> {
        let under_way = latest(facts).begun.get() > latest(facts).ended.get();
        let damaged = matches!(self.is, Is::Damaged | Is::Numbers);
        match self.lock.try_read() {
            Ok(found) => judge(facts, &found)?,
            // Odd, for no reason: who has taken the seat then and died is taken for the one who made it so.
            Err(TryReadError::WriterDied) if under_way || damaged => {}
            Err(TryReadError::WriterDied) => return Err(Finding::torn("nobody was writing, and the value is torn")),
            Err(TryReadError::Busy) if self.is == Is::Writing => {}
            Err(TryReadError::Busy) => return Err(Finding::stuck("busy, and nobody writes")),
            Err(TryReadError::Corrupt(_)) if damaged => {}
            Err(TryReadError::Corrupt(corrupt)) => return Err(Finding::other(corrupt.to_string())),
        }
        let mut writer = match self.lock.writer(me) {
            Ok(opened) => opened.into_inner(),
            Err(_) if damaged || matches!(self.is, Is::Held | Is::Writing) => return Ok("its seat is not to be had"),
            Err(error) => return Err(Finding::stuck(error.to_string())),
        };
        write_next(facts, |value| writer.write(value));
        match self.lock.try_read() {
            Ok(found) => judge(facts, &found).map(|()| "read and written"),
            Err(error) => Err(Finding::stuck(format!("after a write: {error}"))),
        }
    }
}

#[inline(never)]
fn lock_open(victim: &mut LockVictim, _: &Facts) {
    victim.writer = victim.lock.writer(&victim.me).ok().map(|opened| opened.into_inner());
}

#[inline(never)]
fn lock_write(victim: &mut LockVictim, facts: &Facts) {
    if let Some(writer) = &mut victim.writer {
        write_next(facts, |value| writer.write(value));
    }
}

#[inline(never)]
fn lock_close(victim: &mut LockVictim, _: &Facts) {
    victim.writer = None;
}

#[inline(never)]
fn lock_read(victim: &mut LockVictim, facts: &Facts) {
    if let Ok(found) = victim.lock.try_read() {
        judge(facts, &found).expect("a whole value");
    }
}

#[inline(never)]
fn lock_read_timeout(victim: &mut LockVictim, facts: &Facts) {
    if let Ok(found) = victim.lock.read_timeout(SHORT) {
        judge(facts, &found).expect("a whole value");
    }
}

// --- the snapshot, and a key of a board ---

struct Victim<'s> {
    writer: Option<snapshot::Writer<Value>>,
    me: Attachment,
    shot: &'s Shot,
}
type Operation = fn(&mut Victim, &Facts);

/// What is under test: a key of a board, which is a snapshot, or a snapshot.
enum Cell {
    Snapshot(Snapshot<Value>),
    Board(Board<Value>),
}

struct Shot {
    cell: Cell,
    memory: Memory,
    role: Role,
    is: Is,
    operation: Operation,
}

impl Shot {
    fn new(board: bool, role: Role, is: Is, operation: Operation) -> Self {
        let options = Options::new().slots(SLOTS);
        let (cell, memory) = if board {
            let board = Board::memfd(&options, &board::Config::new(2)).expect("a board");
            let memory = Memory::of(board.segment()).expect("its file, mapped");
            (Cell::Board(board), memory)
        } else {
            let snapshot = Snapshot::memfd(&options, &Config::new(), ZERO).expect("a snapshot");
            let memory = Memory::of(snapshot.segment()).expect("its file, mapped");
            (Cell::Snapshot(snapshot), memory)
        };
        Self { cell, memory, role, is, operation }
    }

    fn attach(&self) -> Attachment {
        let attached = match &self.cell {
            Cell::Snapshot(snapshot) => snapshot.attach(),
            Cell::Board(board) => board.attach(),
        };
        brief(attached.expect("a free slot"))
    }

    fn writer(&self, me: &Attachment) -> Result<snapshot::Writer<Value>, ownerdead::cell::SeatError> {
        let opened = match &self.cell {
            Cell::Snapshot(snapshot) => snapshot.writer(me),
            Cell::Board(board) => board.writer(me, KEY),
        };
        opened.map(|opened| opened.into_inner())
    }

    fn read(&self) -> Result<Versioned<Value>, ownerdead::cell::ReadError> {
        match &self.cell {
            Cell::Snapshot(snapshot) => snapshot.read(),
            Cell::Board(board) => board.read(KEY),
        }
    }

    fn wait_change(&self, me: &Attachment, sequence: u64) -> Result<Versioned<Value>, WaitError> {
        match &self.cell {
            Cell::Snapshot(snapshot) => snapshot.wait_change(me, sequence, Some(SHORT)),
            Cell::Board(board) => board.wait_change(me, KEY, sequence, Some(SHORT)),
        }
    }

    fn write_two(&self, facts: &Facts) -> (snapshot::Writer<Value>, Attachment) {
        let me = self.attach();
        let mut writer = self.writer(&me).expect("a vacant seat");
        for _ in 0..2 {
            write_next(facts, |value| writer.write(value));
        }
        (writer, me)
    }

    /// Offset of a word of the key's control line.
    fn at(&self, word: usize) -> usize {
        word + if matches!(self.cell, Cell::Board(_)) { 128 * KEY } else { 0 }
    }
}

impl Subject for Shot {
    type Victim<'s> = Victim<'s>;
    type Survivor<'s> = Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.is {
            Is::Held | Is::Writing => cast.stands(|| self.write_two(facts)),
            Is::Dead | Is::Torn => cast.dies(|| self.write_two(facts)),
            _ => cast.stands(|| drop(self.write_two(facts))),
        }
        // SAFETY: words of the control line; nobody is at work.
        unsafe {
            match self.is {
                Is::Torn | Is::Writing => {
                    latest(facts).write(3);
                    poke(&self.memory, self.at(BEGUN), 3);
                }
                // The bit of one that sleeps.
                Is::Slept => poke(&self.memory, self.at(SEQUENCE), 2 * 2 + 1),
                Is::Damaged => poke(&self.memory, self.at(RIGHT), NO_SUCH_SLOT),
                Is::Numbers => poke(&self.memory, self.at(BEGUN), 1),
                Is::Overrun => poke(&self.memory, self.at(BEGUN), 4),
                _ => {}
            }
        }
    }

    fn attach(&self, _: &Facts) -> Victim<'_> {
        let me = self.attach();
        let writer = (self.role == Role::Writer).then(|| self.writer(&me).expect("a seat"));
        Victim { writer, me, shot: self }
    }

    fn operation<'s>(&'s self, victim: &mut Victim<'s>, facts: &Facts) {
        (self.operation)(victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Attachment {
        self.attach()
    }

    fn recover(&self, me: &mut Attachment, facts: &Facts) -> Result<&'static str, Finding> {
        let damaged = matches!(self.is, Is::Numbers | Is::Overrun);
        match self.read() {
            Ok(found) => judge(facts, &found)?,
            Err(_) if damaged => {}
            Err(error) => return Err(Finding::stuck(error.to_string())),
        }
        let mut writer = match self.writer(me) {
            Ok(writer) => writer,
            Err(_) if damaged || matches!(self.is, Is::Held | Is::Writing | Is::Damaged) => {
                return Ok("its seat is not to be had");
            }
            Err(error) => return Err(Finding::stuck(error.to_string())),
        };
        write_next(facts, |value| writer.write(value));
        match self.read() {
            Ok(found) => judge(facts, &found).map(|()| "read and written"),
            Err(error) => Err(Finding::stuck(format!("after a write: {error}"))),
        }
    }
}

#[inline(never)]
fn open(victim: &mut Victim, _: &Facts) {
    victim.writer = victim.shot.writer(&victim.me).ok();
}

#[inline(never)]
fn write(victim: &mut Victim, facts: &Facts) {
    if let Some(writer) = &mut victim.writer {
        write_next(facts, |value| writer.write(value));
    }
}

#[inline(never)]
fn close(victim: &mut Victim, _: &Facts) {
    victim.writer = None;
}

#[inline(never)]
fn read(victim: &mut Victim, facts: &Facts) {
    if let Ok(found) = victim.shot.read() {
        judge(facts, &found).expect("a whole value");
    }
}

#[inline(never)]
fn wait_change(victim: &mut Victim, facts: &Facts) {
    if let Ok(found) = victim.shot.wait_change(&victim.me, 2) {
        judge(facts, &found).expect("a whole value");
    }
}

#[inline(never)]
fn wait_first_change(victim: &mut Victim, facts: &Facts) {
    let found = victim.shot.wait_change(&victim.me, 1).expect("there is a newer one");
    judge(facts, &found).expect("a whole value");
}

#[inline(never)]
fn wait_writer(victim: &mut Victim, _: &Facts) {
    let _ = match &victim.shot.cell {
        Cell::Snapshot(snapshot) => snapshot.wait_writer(&victim.me, Some(SHORT)),
        Cell::Board(board) => board.wait_writer(&victim.me, KEY, Some(SHORT)),
    };
}

pub fn cases(all: &mut Vec<Case>) {
    const LOCK: [(&str, LockOperation, Role, Is); 17] = [
        ("open.vacant", lock_open, Role::Member, Is::Vacant),
        ("open.held", lock_open, Role::Member, Is::Held),
        ("open.dead", lock_open, Role::Member, Is::Dead),
        ("open.torn", lock_open, Role::Member, Is::Torn),
        ("open.marked", lock_open, Role::Member, Is::Marked),
        ("open.damaged", lock_open, Role::Member, Is::Damaged),
        ("open.numbers", lock_open, Role::Member, Is::Numbers),
        ("write.whole", lock_write, Role::Writer, Is::Vacant),
        ("write.torn", lock_write, Role::Writer, Is::Torn),
        ("close", lock_close, Role::Writer, Is::Vacant),
        ("try_read.whole", lock_read, Role::Member, Is::Vacant),
        ("try_read.torn", lock_read, Role::Member, Is::Torn),
        ("try_read.marked", lock_read, Role::Member, Is::Marked),
        ("try_read.damaged", lock_read, Role::Member, Is::Damaged),
        ("try_read.numbers", lock_read, Role::Member, Is::Numbers),
        ("read_timeout.whole", lock_read_timeout, Role::Member, Is::Vacant),
        ("read_timeout.writing", lock_read_timeout, Role::Member, Is::Writing),
    ];
    for (name, operation, role, is) in LOCK {
        let case = Case::new(format!("seqlock.{name}"), operation as *const () as usize, move || {
            Lock::new(role, is, operation)
        });
        all.push(if role == Role::Writer || name == "open.torn" { case } else { case.first_deaths_alone() });
    }
    const SHOT: [(&str, Operation, Role, Is); 19] = [
        ("open.vacant", open, Role::Member, Is::Vacant),
        ("open.held", open, Role::Member, Is::Held),
        ("open.torn", open, Role::Member, Is::Torn),
        ("open.damaged", open, Role::Member, Is::Damaged),
        ("open.numbers", open, Role::Member, Is::Numbers),
        ("write.whole", write, Role::Writer, Is::Vacant),
        ("write.torn", write, Role::Writer, Is::Torn),
        ("write.slept", write, Role::Writer, Is::Slept),
        ("close", close, Role::Writer, Is::Vacant),
        ("read.whole", read, Role::Member, Is::Vacant),
        ("read.numbers", read, Role::Member, Is::Numbers),
        ("read.overrun", read, Role::Member, Is::Overrun),
        ("wait_change.vacant", wait_change, Role::Member, Is::Vacant),
        ("wait_change.held", wait_change, Role::Member, Is::Held),
        ("wait_change.dead", wait_change, Role::Member, Is::Dead),
        ("wait_change.damaged", wait_change, Role::Member, Is::Damaged),
        ("wait_change.newer", wait_first_change, Role::Member, Is::Vacant),
        ("wait_writer.dead", wait_writer, Role::Member, Is::Dead),
        ("wait_writer.held", wait_writer, Role::Member, Is::Held),
    ];
    for board in [false, true] {
        for (name, operation, role, is) in SHOT {
            // A key of a board is a snapshot: one state of each way to reach it.
            if board && !matches!(name, "open.torn" | "write.torn" | "read.whole") {
                continue;
            }
            let structure = if board { "board" } else { "snapshot" };
            let case = Case::new(format!("{structure}.{name}"), operation as *const () as usize, move || {
                Shot::new(board, role, is, operation)
            });
            let second = !board && (role == Role::Writer || name == "open.torn");
            all.push(if second { case } else { case.first_deaths_alone() });
        }
    }
}
