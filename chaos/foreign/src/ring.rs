//! The crate `ipc_ring`: one writer, one reader, a file that both map.
//!
//! What its own `docs/CRASH_BEHAVIOR.md` promises is what is asked of it: after the death of a reader another one opens the ring,
//! and the last record may come again, whole; after that of a writer all it had published can be read, and the ring has to be made
//! anew; what was published without a signal is found by looking again; `open` of what a dead `create` left is an error.

use crate::files::folder;
use ipc_ring::{IpcError, RingReader, RingWriter};
use ownerdead::harness::kill::{Facts, Finding, Memory, Subject, Word};
use ownerdead::harness::oracle::{Records, Violation};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Bytes of the ring.
const CAPACITY: usize = 256;
/// Longest payload, in bytes.
const LONGEST: u64 = 40;
/// The next record after this one does not fit before the end of the ring: the writer wraps.
const LAST: u64 = 12;
/// What one that waits may take: its peer is dead, then, or was never there.
const WAIT: Duration = Duration::from_millis(2);

/// The payload of record `number`.
fn payload(number: u64) -> Vec<u8> {
    let length = 8 + number % (LONGEST - 8);
    number.to_le_bytes().into_iter().chain((8..length).map(|at| (number ^ at) as u8)).collect()
}

fn records(facts: &Facts) -> Records<&Word, &Word> {
    let [begun, ended, may, read, last] = [0, 1, 2, 3, 4].map(|index| facts.word(index));
    Records::new([begun, ended], [may, read, last])
}

/// A ring whose writer was made before all forks: there is no way to open one again.
pub struct Ring {
    memory: Memory,
    path: PathBuf,
    writer: RefCell<RingWriter>,
    _folder: TempDir,
}

// SAFETY: never used by two threads: a campaign over it has one to a process (`main` gives it no other number).
unsafe impl Sync for Ring {}

/// A side of the ring.
pub enum Side {
    Writer,
    /// A writer has died: nobody can take its place.
    Gone,
    Reader(RingReader),
}

/// Fact beside those of [`Records`]: how many workers were to be the writer since the ring was made.
const WRITERS: usize = 8;

impl Ring {
    pub fn new() -> io::Result<Self> {
        let folder = folder("ipc_ring")?;
        let path = folder.path().join("ring");
        let writer = RingWriter::create(&path, CAPACITY).map_err(io::Error::other)?;
        let memory = Memory::of(OpenOptions::new().read(true).write(true).open(&path)?)?;
        Ok(Self { memory, path, writer: RefCell::new(writer), _folder: folder })
    }

    fn reader(&self, facts: &Facts) -> RingReader {
        records(facts).next_reader();
        RingReader::open(&self.path).expect("the ring was made whole")
    }

    fn push(&self, facts: &Facts) -> Result<(), Finding> {
        let records = records(facts);
        let number = records.ended.get() + 1;
        records.push(number);
        match self.writer.borrow_mut().push(&payload(number), Some(WAIT)) {
            Ok(()) => records.pushed(number),
            Err(IpcError::Timeout) => records.begun.set(number - 1),
            Err(error) => return Err(Finding::other(format!("push: {error}"))),
        }
        Ok(())
    }

    /// One record, if there is one.
    fn pop(reader: &mut RingReader, facts: &Facts) -> Result<bool, Finding> {
        let (records, mut bytes) = (records(facts), Vec::new());
        // `pop` advances, and then returns: a record may be read though nobody has seen it, should its reader die in between.
        let before = records.may_be_read.get();
        records.may_be_read.set(before.max(records.due()));
        match reader.pop(&mut bytes, Some(WAIT)) {
            Ok(_) => {
                let number = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                records.arrived(number, bytes == payload(number))?;
                records.committed(number);
                Ok(true)
            }
            Err(IpcError::Timeout) => {
                records.may_be_read.set(before);
                Ok(false)
            }
            Err(error) => Err(Finding::other(format!("pop: {error}"))),
        }
    }
}

impl Subject for Ring {
    type Victim<'s> = Side;
    type Survivor<'s> = RingReader;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn attach(&self, facts: &Facts) -> Side {
        let mut reader = self.reader(facts);
        for _ in 1..LAST {
            self.push(facts).expect("room");
            Self::pop(&mut reader, facts).expect("a record");
        }
        self.push(facts).expect("room");
        Side::Writer
    }

    #[inline(never)]
    fn operation(&self, side: &mut Side, facts: &Facts) {
        self.work(side, facts).expect("nobody has died");
    }

    fn arrive(&self, facts: &Facts) -> RingReader {
        self.reader(facts)
    }

    fn recover(&self, reader: &mut RingReader, facts: &Facts) -> Result<&'static str, Finding> {
        while Self::pop(reader, facts)? {}
        let records = records(facts);
        // The one that a dead reader may have taken is not asked for.
        let last = records.read.get().max(records.may_be_read.get());
        match records.ended.get() {
            ended if ended > last => Err(Violation::Lost { last, ended }.into()),
            _ => Ok("read to the end"),
        }
    }

    fn worker(&self, number: usize, facts: &Facts) -> Side {
        match number % 2 {
            0 if facts.word(WRITERS).add(1) == 0 => Side::Writer,
            0 => Side::Gone,
            _ => Side::Reader(self.reader(facts)),
        }
    }

    fn work(&self, side: &mut Side, facts: &Facts) -> Result<(), Finding> {
        match side {
            Side::Writer => self.push(facts),
            Side::Gone => {
                // It has nothing to do, and shall not take a processor from those who have.
                std::thread::sleep(Duration::from_micros(100));
                Ok(())
            }
            Side::Reader(reader) => Self::pop(reader, facts).map(|_| ()),
        }
    }

    fn explain(&self, _: &Facts) -> String {
        // The header begins with a mark, the capacity, and the positions of the writer and of the reader, eight bytes each.
        let word = |index: usize| {
            // SAFETY: in bounds of what is mapped, and aligned; others change it by atomic instructions.
            unsafe { self.memory.start().cast::<u64>().add(index).read_volatile() }
        };
        let (write, read) = (word(2), word(3));
        let empty = if write == read { "empty" } else { "not empty" };
        let at = if write % CAPACITY as u64 == 0 { "at the start of the ring" } else { "within the ring" };
        format!("the ring is {empty}, and the next record is to be {at}")
    }
}

/// Makes rings, one after the other, under one name.
pub struct Create {
    /// Nothing of it is under test.
    memory: Memory,
    path: PathBuf,
    _folder: TempDir,
}

impl Create {
    pub fn new() -> io::Result<Self> {
        let folder = folder("ipc_ring")?;
        Ok(Self { memory: Memory::zeroed(8)?, path: folder.path().join("ring"), _folder: folder })
    }
}

impl Subject for Create {
    type Victim<'s> = ();
    type Survivor<'s> = ();

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn attach(&self, _: &Facts) {}

    fn operation(&self, (): &mut (), _: &Facts) {
        let _ = std::fs::remove_file(&self.path);
        RingWriter::create(&self.path, CAPACITY).expect("the name is free");
    }

    fn arrive(&self, _: &Facts) {}

    fn recover(&self, (): &mut (), _: &Facts) -> Result<&'static str, Finding> {
        match RingReader::open(&self.path) {
            Ok(mut reader) => match reader.try_pop(&mut Vec::new()) {
                Ok(None) => Ok("an empty ring"),
                other => Err(Finding::other(format!("a record in a ring that was just made: {other:?}"))),
            },
            Err(IpcError::Layout) => Ok("open says: invalid layout"),
            Err(IpcError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok("there is none"),
            Err(_) => Ok("open gives another error"),
        }
    }
}
