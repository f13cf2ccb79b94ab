//! Cells: a writer dies in each of its operations, a reader in each of its own, and whoever comes after gets whole values.

mod seqlock;
mod snapshot;

use super::case::{Case, FactsOf};
use ownerdead::cell::{Opened, SeatError, Versioned};
use ownerdead::harness::kill::{Facts, Finding, Memory, Word};
use ownerdead::harness::oracle::Latest;
use std::time::Duration;

pub fn cases(all: &mut Vec<Case>) {
    seqlock::cases(all);
    snapshot::cases(all);
}

/// Words that must agree.
type Value = [u64; 3];
const ZERO: Value = [0; 3];
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once; and three times.
const SHORT: Duration = Duration::from_micros(1500);
const LONGER: Duration = Duration::from_micros(5500);
const SLOTS: u32 = 6;
/// Offsets in the segment: see `segment` and `cell::shared`.
const BODY: usize = 4096 * (1 + SLOTS as usize);
const SEQUENCE: usize = BODY + 128;
const BEGUN: usize = BODY + 136;
const RIGHT: usize = BODY + 144;
/// A right that names slot 77, which does not exist.
const NO_SUCH_SLOT: u64 = 1 << 32 | 1 << 29 | 77;

/// Words of the facts: the last value of which a write was begun, the last one whose write has returned.
const FACTS: FactsOf<2> = FactsOf([0, 1]);

fn latest(facts: &Facts) -> Latest<&Word> {
    let [begun, ended] = FACTS.words(facts);
    Latest { begun, ended }
}

/// Writes the next value, by the function `write`, which may refuse it.
fn write_next<E>(facts: &Facts, write: impl FnOnce(&Value) -> Result<u64, E>) -> Result<(), E> {
    let latest = latest(facts);
    let next = latest.begun.get() + 1;
    latest.write(next);
    let written = write(&[next; 3]);
    match written {
        Ok(_) => latest.written(next),
        Err(_) => latest.write(next - 1),
    }
    written.map(drop)
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
    /// The same, and their numbers do not fit in 32 bits.
    Far,
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
    /// The seat is of a slot that is not there, and a sequence lock's value is half written.
    Damaged,
    /// The numbers make no sense.
    Numbers,
    /// The sequence is one that nobody gets to.
    TooFar,
    /// The sequence says that its value is torn, and is that of a whole one.
    Even,
    /// The buffer that is read is overwritten, again and again.
    Overrun,
    /// The victim is attached to another segment.
    Foreign,
    /// The victim's handles are those of the process that it was forked from, which lives, and stands still.
    Forked,
    /// The victim names a key that is not there.
    NoKey,
}

impl Is {
    /// Somebody alive has the seat whatever becomes of a victim of this role.
    fn is_taken(self, role: Role) -> bool {
        matches!(self, Self::Held | Self::Writing) || self == Self::Forked && role == Role::Writer
    }

    fn is_damaged(self) -> bool {
        matches!(self, Self::Damaged | Self::Numbers | Self::TooFar | Self::Even | Self::Overrun)
    }

    /// Whether that is what is to come of opening the seat in this state.
    fn opens<W>(self, opened: &Result<Opened<W>, SeatError>) -> bool {
        match opened {
            Ok(_) if self.is_taken(Role::Member) || self.is_damaged() => false,
            Ok(_) if matches!(self, Self::Foreign | Self::Forked | Self::NoKey) => false,
            Ok(opened) => opened.owner_died() == matches!(self, Self::Dead | Self::Torn),
            Err(SeatError::Busy { .. }) => self.is_taken(Role::Member),
            Err(SeatError::Corrupt(_)) => self.is_damaged(),
            Err(SeatError::WrongSegment) => self == Self::Foreign,
            Err(SeatError::Forked) => self == Self::Forked,
            Err(SeatError::NoSuchKey { .. }) => self == Self::NoKey,
        }
    }
}

/// Whose an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Has the seat.
    Writer,
    /// Has attached.
    Member,
}

/// How far a sweep of a state goes.
#[derive(Clone, Copy, Debug)]
enum Goes {
    /// Survivors die too.
    Whole,
    /// Survivors do not: they find what those of another sweep do.
    First,
    /// The same, and few deaths are planted: it differs from another sweep in a path that changes nothing.
    Few,
}

impl Goes {
    fn far(self, case: Case) -> Case {
        match self {
            Self::Whole => case,
            Self::First => case.first_deaths_alone(),
            Self::Few => case.first_deaths_alone().few_planted(),
        }
    }
}

/// A survivor opens the seat, of which it was known whether a dead one had it.
fn survivor_opens<W>(
    (is, role, of_the_dead): (Is, Role, bool),
    opened: Result<Opened<W>, SeatError>,
) -> Result<Option<W>, Finding> {
    match opened {
        Ok(_) if is.is_taken(role) => {
            Err(Finding::duplicated("one who lives has the writer's seat, and it was opened"))
        }
        Ok(opened) if opened.owner_died() != of_the_dead => {
            Err(Finding::other(format!("a seat of a dead one: {of_the_dead}; opened otherwise")))
        }
        Ok(opened) => Ok(Some(opened.into_inner())),
        Err(SeatError::Busy { .. }) if is.is_taken(role) => Ok(None),
        Err(SeatError::Corrupt(_)) if is.is_damaged() => Ok(None),
        Err(error) => Err(Finding::stuck(error.to_string())),
    }
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
