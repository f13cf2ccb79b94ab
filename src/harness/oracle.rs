//! What must hold, said once: for models, for the fuzzer of schedules, and for chaos scenarios, whatever the facts are kept in.
//!
//! An oracle looks on: it is told what each process is about to do and what came of it, and compares. It must not be part of the
//! structure, nor die with a process: a model keeps its facts in [`Cell`]s, chaos in shared memory that is not under test.

#[cfg(not(model))]
use crate::sync::atomic::Ordering::SeqCst;
use core::cell::Cell;

/// A number that an oracle keeps.
pub trait Fact {
    /// What it is.
    fn get(&self) -> u64;
    /// It is `value` now; what it was.
    fn swap(&self, value: u64) -> u64;
    /// It is `value` now.
    fn set(&self, value: u64) {
        self.swap(value);
    }
}

impl Fact for Cell<u64> {
    fn get(&self) -> u64 {
        self.get()
    }
    fn swap(&self, value: u64) -> u64 {
        self.replace(value)
    }
}

/// A fact in memory that processes share, and that is not under test. SeqCst throughout: what is under test must not lean on it.
#[cfg(not(model))]
#[derive(Debug)]
#[repr(transparent)]
pub struct Word(crate::sync::atomic::AtomicU64);

#[cfg(not(model))]
impl Word {
    /// The fact that is kept in `word`.
    pub fn of(word: &crate::sync::atomic::AtomicU64) -> &Self {
        // SAFETY: a transparent wrapper.
        unsafe { &*core::ptr::from_ref(word).cast::<Self>() }
    }
    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(SeqCst)
    }
    /// It is `value` now.
    pub fn set(&self, value: u64) {
        self.0.store(value, SeqCst);
    }
    /// It is `value` more; what it was.
    pub fn add(&self, value: u64) -> u64 {
        self.0.fetch_add(value, SeqCst)
    }
    /// It is `value` now; what it was.
    pub fn swap(&self, value: u64) -> u64 {
        self.0.swap(value, SeqCst)
    }
}

#[cfg(not(model))]
impl Fact for Word {
    fn get(&self) -> u64 {
        self.get()
    }
    fn swap(&self, value: u64) -> u64 {
        self.swap(value)
    }
}

impl<F: Fact + ?Sized> Fact for &F {
    fn get(&self) -> u64 {
        (**self).get()
    }
    fn swap(&self, value: u64) -> u64 {
        (**self).swap(value)
    }
}

/// Something that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A record is not as it was written.
    Torn {
        /// Its number.
        number: u64,
    },
    /// A record arrived that nobody had begun to push.
    Invented {
        /// Its number.
        number: u64,
        /// The last one that was begun.
        begun: u64,
    },
    /// A record arrived where another one was due.
    OutOfOrder {
        /// Its number.
        number: u64,
        /// The first one that might have come.
        from: u64,
        /// The last one that might have.
        to: u64,
    },
    /// Records whose push had returned did not arrive.
    Lost {
        /// The last one that arrived.
        last: u64,
        /// The last one whose push had returned.
        ended: u64,
    },
    /// Somebody was let in beside another one, or in the place of a dead one without being told.
    TwoInside {
        /// The other one.
        other: u64,
    },
    /// A holder died while it changed what the lock guards, and the next one was not told.
    NotTold,
    /// The data are not what the last holder left.
    Changed {
        /// What is there.
        found: u64,
        /// What was left.
        expected: u64,
    },
    /// A reader was told that it was overrun, and was not.
    NotOverrun {
        /// Writes that were begun while it read.
        writes: u64,
        /// How many it takes.
        expected: u64,
    },
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Torn { number } => write!(f, "torn: record {number}"),
            Self::Invented { number, begun } => {
                write!(f, "invented: record {number} arrived, {begun} was the last one begun")
            }
            Self::OutOfOrder { number, from, to } if from == to => {
                write!(f, "record {number} arrived, {from} was due")
            }
            Self::OutOfOrder { number, from, to } => {
                write!(f, "record {number} arrived, one of {from} to {to} was due")
            }
            Self::Lost { last, ended } => {
                write!(f, "committed records are lost: {last} arrived, {ended} were committed")
            }
            Self::TwoInside { other } => {
                write!(f, "two are inside, or a death in the lock was not told: the other one is {other}")
            }
            Self::NotTold => f.write_str("the last holder died while it changed the data, and nobody was told"),
            Self::Changed { found, expected } => {
                write!(f, "what the last holder wrote is not there: {found}, expected {expected}")
            }
            Self::NotOverrun { writes, expected } => {
                write!(f, "a reader was told that it was overrun, by {writes} writes, which takes {expected}")
            }
        }
    }
}

impl std::error::Error for Violation {}

/// Records of one producer at a time, numbered from 1, and one reader at a time. Committed ones are neither lost nor torn nor
/// reordered, and none comes again that was committed as read.
#[derive(Debug, Default)]
pub struct Records<P, C> {
    /// The last record of which a push was begun.
    pub begun: P,
    /// The last one whose push has returned.
    pub ended: P,
    /// The last one that may be committed as read.
    pub may_be_read: C,
    /// The last one that is, for sure.
    pub read: C,
    /// The last one that this life of the reader has seen; 0 if none.
    pub last: C,
}

impl<P: Fact, C: Fact> Records<P, C> {
    /// Of facts of the producer's (`begun`, `ended`) and of the reader's (`may_be_read`, `read`, `last`) that are kept elsewhere.
    pub fn new([begun, ended]: [P; 2], [may_be_read, read, last]: [C; 3]) -> Self {
        Self { begun, ended, may_be_read, read, last }
    }

    /// Record `number`, and all before it, is about to be pushed.
    pub fn push(&self, number: u64) {
        self.begun.set(number);
    }

    /// The push of record `number`, and of all before it, has returned.
    pub fn pushed(&self, number: u64) {
        self.ended.set(number);
    }

    /// Another reader comes: it begins with a record that the one before it did not commit as read for sure.
    pub fn next_reader(&self) {
        self.last.set(0);
    }

    /// The reader, which has seen a record already, is about to commit the next one as read before it has been looked at.
    pub fn read_unseen(&self) {
        self.may_be_read.set(self.may_be_read.get().max(self.due()));
    }

    /// The record that comes next, as far as is known.
    pub fn due(&self) -> u64 {
        self.read.get().max(self.last.get()) + 1
    }

    /// Record `number` arrived; `whole`: as it was written.
    ///
    /// # Errors
    /// A [`Violation`].
    pub fn arrived(&self, number: u64, whole: bool) -> Result<(), Violation> {
        let (last, begun) = (self.last.get(), self.begun.get());
        let (from, to) =
            if last > 0 { (last + 1, last + 1) } else { (self.read.get() + 1, self.may_be_read.get() + 1) };
        if number < from || number > to {
            return Err(Violation::OutOfOrder { number, from, to });
        }
        if number > begun {
            return Err(Violation::Invented { number, begun });
        }
        if !whole {
            return Err(Violation::Torn { number });
        }
        self.last.set(number);
        if last == 0 {
            // It is the first one that is not committed as read: so those before it are, and none after.
            self.read.set(number - 1);
            self.may_be_read.set(number);
        } else {
            self.may_be_read.set(self.may_be_read.get().max(number));
        }
        Ok(())
    }

    /// Record `number`, and all before it, is committed as read.
    pub fn committed(&self, number: u64) {
        self.read.set(number);
    }

    /// The reader was told that the producer is dead, or looks for records no more since there are none.
    ///
    /// # Errors
    /// [`Violation::Lost`], if not all arrived whose push had returned.
    pub fn all_arrived(&self) -> Result<(), Violation> {
        // One that has seen none cannot tell which were the last that another one committed as read and had not looked at.
        let seen = if self.last.get() == 0 { self.may_be_read.get() } else { self.last.get() };
        let (last, ended) = (seen.max(self.read.get()), self.ended.get());
        if last < ended { Err(Violation::Lost { last, ended }) } else { Ok(()) }
    }
}

/// One at a time has a lock, and who gets it after a death in it is told, and nobody else.
#[derive(Debug, Default)]
pub struct Exclusion<F> {
    /// Who is inside; 0 for nobody.
    pub inside: F,
    /// The holder is between its first change and its last.
    pub changing: F,
    /// How often somebody was told of a death.
    pub told: F,
    /// How often somebody has gone through.
    pub through: F,
}

impl<F: Fact> Exclusion<F> {
    /// `who` (not 0) has the lock; `told` that the last holder died.
    ///
    /// # Errors
    /// A [`Violation`].
    pub fn enter(&self, who: u64, told: bool) -> Result<(), Violation> {
        let other = self.inside.swap(who);
        let changing = self.changing.swap(0);
        if told {
            self.told.set(self.told.get() + 1);
            return Ok(());
        }
        if other != 0 {
            return Err(Violation::TwoInside { other });
        }
        if changing != 0 { Err(Violation::NotTold) } else { Ok(()) }
    }

    /// `who` has the lock still, and is about to leave: whoever came in since did so beside it, told of a death or not.
    ///
    /// # Errors
    /// [`Violation::TwoInside`].
    pub fn alone(&self, who: u64) -> Result<(), Violation> {
        let other = self.inside.get();
        if other == who { Ok(()) } else { Err(Violation::TwoInside { other }) }
    }

    /// The holder begins to change what the lock guards: should it die, that must be told.
    pub fn change(&self) {
        self.changing.set(1);
    }

    /// The holder has changed what it wanted to, and is about to unlock.
    pub fn leave(&self) {
        self.changing.set(0);
        self.through.set(self.through.get() + 1);
        self.inside.set(0);
    }
}

/// The latest value of one writer at a time, numbered from 1 by that writer; 0 is what was there at birth. What a reader gets is
/// whole, was begun, and is no older than what it had before.
#[derive(Debug, Default)]
pub struct Latest<F> {
    /// The last value of which a write was begun.
    pub begun: F,
    /// The last one whose write has returned.
    pub ended: F,
}

impl<F: Fact> Latest<F> {
    /// Value `number` is about to be written.
    pub fn write(&self, number: u64) {
        self.begun.set(number);
    }

    /// The write of value `number` has returned.
    pub fn written(&self, number: u64) {
        self.ended.set(number);
    }

    /// A reader whose last value was `last` gets value `number`; `whole`: as it was written. `at_least`: no older value may come,
    /// as its write had returned before the read began, where that orders them.
    ///
    /// # Errors
    /// A [`Violation`].
    pub fn read(&self, last: u64, at_least: u64, number: u64, whole: bool) -> Result<(), Violation> {
        let (from, begun) = (last.max(at_least), self.begun.get());
        if !whole {
            return Err(Violation::Torn { number });
        }
        if number > begun {
            return Err(Violation::Invented { number, begun });
        }
        if number < from { Err(Violation::OutOfOrder { number, from, to: begun }) } else { Ok(()) }
    }

    /// A reader was given no value, as the writer was faster: while it read, which began when value `begun` was the last one begun,
    /// `takes` writes at least have been begun.
    ///
    /// # Errors
    /// A [`Violation`].
    pub fn overrun(&self, begun: u64, takes: u64) -> Result<(), Violation> {
        let writes = self.begun.get() - begun;
        if writes < takes { Err(Violation::NotOverrun { writes, expected: takes }) } else { Ok(()) }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    fn records() -> Records<Cell<u64>, Cell<u64>> {
        let records = Records::default();
        records.push(5);
        records.pushed(4);
        records
    }

    #[test]
    fn records_that_arrive_one_after_the_other_are_as_they_should_be() {
        let records = records();
        for number in 1..=5 {
            assert_eq!(records.arrived(number, true), Ok(()));
            records.committed(number);
        }
        assert_eq!(records.all_arrived(), Ok(()));
    }

    #[test]
    fn a_record_that_is_torn_invented_skipped_or_comes_twice_is_a_violation() {
        let first = |number, whole| records().arrived(number, whole).unwrap_err();
        assert_eq!(first(1, false), Violation::Torn { number: 1 });
        assert_eq!(first(2, true), Violation::OutOfOrder { number: 2, from: 1, to: 1 });
        let records = records();
        for number in 1..=5 {
            records.arrived(number, true).expect("in order");
        }
        assert_eq!(records.arrived(5, true), Err(Violation::OutOfOrder { number: 5, from: 6, to: 6 }));
        assert_eq!(records.arrived(6, true), Err(Violation::Invented { number: 6, begun: 5 }));
    }

    #[test]
    fn what_was_not_committed_as_read_comes_again_and_nothing_else_does() {
        let two_seen = |committed| {
            let records = records();
            records.arrived(1, true).expect("in order");
            records.committed(1);
            records.arrived(2, true).expect("in order");
            if committed {
                records.committed(2);
            }
            records.next_reader();
            records
        };
        assert_eq!(two_seen(false).arrived(2, true), Ok(()));
        assert_eq!(two_seen(false).arrived(3, true), Ok(()));
        let again = two_seen(false);
        again.arrived(2, true).expect("not committed");
        again.next_reader();
        assert_eq!(again.arrived(1, true), Err(Violation::OutOfOrder { number: 1, from: 2, to: 3 }));
        assert_eq!(two_seen(false).arrived(1, true), Err(Violation::OutOfOrder { number: 1, from: 2, to: 3 }));
        assert_eq!(two_seen(true).arrived(2, true), Err(Violation::OutOfOrder { number: 2, from: 3, to: 3 }));
        assert_eq!(two_seen(true).all_arrived(), Err(Violation::Lost { last: 2, ended: 4 }));
        // One that was to be committed before it was looked at may be gone.
        let records = two_seen(true);
        records.read_unseen();
        assert_eq!(records.arrived(4, true), Ok(()));
    }

    #[test]
    fn a_second_one_inside_and_an_untold_death_are_violations() {
        let lock: Exclusion<Cell<u64>> = Exclusion::default();
        assert_eq!(lock.enter(1, false), Ok(()));
        assert_eq!(lock.enter(2, false), Err(Violation::TwoInside { other: 1 }));
        // Told of a death that was none: only the one who was inside can tell.
        assert_eq!(lock.alone(2), Ok(()));
        assert_eq!(lock.enter(3, true), Ok(()));
        assert_eq!(lock.alone(2), Err(Violation::TwoInside { other: 3 }));
        lock.change();
        lock.inside.set(0);
        assert_eq!(lock.enter(4, false), Err(Violation::NotTold));
        lock.leave();
        assert_eq!((lock.enter(5, false), lock.told.get(), lock.through.get()), (Ok(()), 1, 1));
    }

    #[test]
    fn a_value_that_is_torn_invented_or_older_than_before_is_a_violation() {
        let latest: Latest<Cell<u64>> = Latest::default();
        latest.write(3);
        latest.written(2);
        assert_eq!(latest.read(2, 2, 2, true), Ok(()));
        assert_eq!(latest.read(2, 2, 3, true), Ok(()));
        assert_eq!(latest.read(0, 0, 3, false), Err(Violation::Torn { number: 3 }));
        assert_eq!(latest.read(0, 0, 4, true), Err(Violation::Invented { number: 4, begun: 3 }));
        assert_eq!(latest.read(3, 0, 2, true), Err(Violation::OutOfOrder { number: 2, from: 3, to: 3 }));
        assert_eq!(latest.read(0, 2, 1, true), Err(Violation::OutOfOrder { number: 1, from: 2, to: 3 }));
        latest.write(13);
        assert_eq!(latest.overrun(3, 10), Ok(()));
        assert_eq!(latest.overrun(4, 10), Err(Violation::NotOverrun { writes: 9, expected: 10 }));
    }
}
