//! What is killed.

use super::{Cast, Facts, Memory};
use crate::harness::finding::Kind;
use crate::harness::oracle::Violation;

/// A structure in shared memory, an operation to die in, what a survivor does then, and what must hold.
///
/// The value itself is the structure, made in fresh memory. The engine forks all processes from its own, so they have the
/// value, and every mapping, at the same addresses. Each phase below runs in the process that it is named for:
///
/// ```text
/// engine     prepare ........................................................................
///             | fork
/// victim     attach | operation, which ends at some instruction
///                              | the kernel's exit walk
/// survivor                       arrive | recover | judge
/// ```
///
/// `recover` is an operation to die in too (see [`super::Sweep::second_deaths`]): then a second survivor does all three.
///
/// Nothing may be decided by chance, by the time or by addresses that differ from fork to fork: the same instruction must be
/// reached in the same state each time. So in the processes of a sweep `clock_gettime(CLOCK_MONOTONIC)` tells no real time: it begins
/// an hour ago, and each call is a millisecond later. A time-out of 1.5 ms goes to sleep once, and is over then.
pub trait Subject {
    /// What the victim has when its operation begins: handles, guards.
    type Victim<'s>
    where
        Self: 's;
    /// What a survivor has.
    type Survivor<'s>
    where
        Self: 's;

    /// The shared memory under test. Everything in it is compared, copied and put back; so keep it small.
    fn memory(&self) -> &Memory;

    /// Brings the structure into the state in which the operation begins, by processes of the `cast`. Once.
    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        let _ = (cast, facts);
    }

    /// In the victim: all that comes before the operation.
    fn attach(&self, facts: &Facts) -> Self::Victim<'_>;

    /// In the victim: dies in it. Mark it `#[inline(never)]`, so that its instructions are a function of their own.
    fn operation<'s>(&'s self, victim: &mut Self::Victim<'s>, facts: &Facts);

    /// In a survivor: all that comes before the recovery.
    fn arrive(&self, facts: &Facts) -> Self::Survivor<'_>;

    /// In a survivor: takes over what the dead one left. In bounded time: it must neither wait for the dead, nor for a process
    /// that stands still. Gives, for the report, what it met (`"owner died"`, say).
    ///
    /// # Errors
    /// A [`Finding`].
    fn recover<'s>(&'s self, survivor: &mut Self::Survivor<'s>, facts: &Facts) -> Result<&'static str, Finding>;

    /// In a survivor that has recovered: whether all is as it must be.
    ///
    /// # Errors
    /// A [`Finding`].
    fn judge<'s>(&'s self, survivor: &mut Self::Survivor<'s>, facts: &Facts) -> Result<(), Finding> {
        let _ = (survivor, facts);
        Ok(())
    }

    /// In worker `number` (from 0) of a [`super::Campaign`]: all that comes before its first turn. Numbers can be roles: a producer,
    /// a consumer. As [`Self::attach`], unless this says otherwise. A worker that takes the place of a dead one has its number.
    fn worker(&self, number: usize, facts: &Facts) -> Self::Victim<'_> {
        let _ = number;
        self.attach(facts)
    }

    /// One turn of a worker of a [`super::Campaign`], beside others that do the same: so `facts` must be changed with that in mind.
    /// [`Self::operation`], unless this says otherwise. It must come to an end also after the deaths of others, as long as others
    /// live.
    ///
    /// # Errors
    /// A [`Finding`]: something is not as it must be.
    fn work<'s>(&'s self, worker: &mut Self::Victim<'s>, facts: &Facts) -> Result<(), Finding> {
        self.operation(worker, facts);
        Ok(())
    }

    /// In the engine, when workers of a [`super::Campaign`] are stuck: what the memory says, for the report. Findings that differ in
    /// it are counted apart, so leave out what is different each time.
    fn explain(&self, facts: &Facts) -> String {
        let _ = facts;
        String::new()
    }
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Of what kind.
    pub kind: Kind,
    /// What was found, and what was expected.
    pub text: String,
}

impl Finding {
    /// Of this kind.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Records, or what a lock protects, that were committed and are gone.
    pub fn lost(text: impl Into<String>) -> Self {
        Self::new(Kind::Lost, text)
    }

    /// Half of something.
    pub fn torn(text: impl Into<String>) -> Self {
        Self::new(Kind::Torn, text)
    }

    /// The same thing twice, or two where one can be.
    pub fn duplicated(text: impl Into<String>) -> Self {
        Self::new(Kind::Duplicated, text)
    }

    /// A wait that does not end.
    pub fn stuck(text: impl Into<String>) -> Self {
        Self::new(Kind::Stuck, text)
    }

    /// What no other kind fits.
    pub fn other(text: impl Into<String>) -> Self {
        Self::new(Kind::Other, text)
    }
}

impl core::fmt::Display for Finding {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

impl std::error::Error for Finding {}

impl From<Violation> for Finding {
    fn from(violation: Violation) -> Self {
        Self::new(violation.kind(), violation.to_string())
    }
}
