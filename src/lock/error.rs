//! What can go wrong with a lock; one enum per operation.

use crate::owner::Unusable;
use crate::sync::backing::Truncated;
use core::fmt;

/// The lock was had, but its last holder died with it, or gave it up in a panic: what it guards may be half changed.
///
/// Repair it and call [`mark_consistent`](super::Guard::mark_consistent); a guard that is dropped without makes the lock not
/// recoverable for all. `EOWNERDEAD` of `pthread_mutex_lock(3)`.
pub struct OwnerDied<G> {
    guard: G,
}

impl<G> OwnerDied<G> {
    pub(super) fn new(guard: G) -> Self {
        Self { guard }
    }
    /// The guard, to look at what it guards.
    pub fn guard(&self) -> &G {
        &self.guard
    }
    /// The guard, to repair what it guards.
    pub fn into_guard(self) -> G {
        self.guard
    }
}

impl<G> fmt::Debug for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerDied { .. }")
    }
}

macro_rules! lock_errors {
    ($($(#[$doc:meta])* $name:ident $( { $(#[$extra_doc:meta])* $extra:ident: $extra_text:literal } )?)+) => {$(
        $(#[$doc])*
        pub enum $name<G> {
            /// The lock was had; what it guards may be half changed. The guard is inside.
            OwnerDied(OwnerDied<G>),
            /// A holder died and the next one did not repair what it guards: nobody can lock it any more. Make a new one.
            NotRecoverable,
            /// This thread holds it already. `EDEADLK`.
            Deadlock,
            /// This is a forked child, and the attachment is its parent's: attach anew.
            Forked,
            /// The attachment is to another segment than the lock.
            WrongSegment,
            /// The word of the lock names no slot of the participants' table: somebody has damaged the segment.
            Corrupt {
                /// The field.
                field: &'static str,
                /// What it holds.
                found: u64,
                /// What it may hold.
                expected: &'static str,
            },
            $($(#[$extra_doc])* $extra,)?
        }

        impl<G> fmt::Debug for $name<G> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl<G> fmt::Display for $name<G> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::OwnerDied(_) => f.write_str("the last holder died with the lock: repair what it guards, and mark it consistent"),
                    Self::NotRecoverable => {
                        f.write_str("not recoverable: a holder died and nobody repaired what it guards; make a new one")
                    }
                    Self::Deadlock => f.write_str("this thread holds the lock already: drop its guard first"),
                    Self::Forked => f.write_str("the attachment is the parent's, and this is a forked child: attach anew"),
                    Self::WrongSegment => f.write_str("the attachment is to another segment: attach to the lock's own"),
                    Self::Corrupt { field, found, expected } => {
                        write!(f, "the segment is damaged: {field} is {found:#x}, expected {expected}; make it anew")
                    }
                    $(Self::$extra => f.write_str($extra_text),)?
                }
            }
        }

        impl<G> std::error::Error for $name<G> {}

        impl<G> From<Trouble> for $name<G> {
            fn from(trouble: Trouble) -> Self {
                match trouble {
                    Trouble::NotRecoverable => Self::NotRecoverable,
                    Trouble::Deadlock => Self::Deadlock,
                    Trouble::Forked => Self::Forked,
                    Trouble::WrongSegment => Self::WrongSegment,
                    Trouble::Corrupt(found)
                    | Trouble::CorruptPlace(found)
                    | Trouble::Gate(found)
                    | Trouble::Truncated(found) => {
                        let (field, expected) = trouble.damage();
                        Self::Corrupt { field, found, expected }
                    }
                }
            }
        }
    )+};
}

lock_errors! {
    /// Why [`RobustMutex::lock`](super::RobustMutex::lock) or [`RwLock::write`](super::RwLock::write) gave no plain guard.
    LockError
    /// Why [`RobustMutex::try_lock`](super::RobustMutex::try_lock) or [`RwLock::try_write`](super::RwLock::try_write) gave no plain
    /// guard.
    TryLockError {
        /// Somebody alive holds it.
        WouldBlock: "somebody alive holds the lock: try later, or wait for it with `lock`"
    }
    /// Why [`RobustMutex::lock_timeout`](super::RobustMutex::lock_timeout) or
    /// [`RwLock::write_timeout`](super::RwLock::write_timeout) gave no plain guard.
    LockTimeoutError {
        /// Somebody alive held it all that time.
        TimedOut: "somebody alive held the lock until the time-out: try later, or wait longer"
    }
}

/// What all three have in common.
pub(super) enum Trouble {
    NotRecoverable,
    Deadlock,
    Forked,
    WrongSegment,
    Corrupt(u64),
    /// The same of a condition variable's gate.
    Gate(u64),
    /// The same of a reader's place.
    CorruptPlace(u64),
    /// The segment's file was truncated: [`Truncated::offset`].
    Truncated(u64),
}

impl From<Truncated> for Trouble {
    fn from(truncated: Truncated) -> Self {
        Self::Truncated(truncated.offset)
    }
}

impl From<Unusable> for Trouble {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Forked => Self::Forked,
            Unusable::Truncated(truncated) => truncated.into(),
        }
    }
}

impl Trouble {
    /// Which field is damaged, and what it may hold.
    pub(super) fn damage(&self) -> (&'static str, &'static str) {
        match self {
            Self::CorruptPlace(_) => ("a reader's place", "its own slot of the participants' table, or free"),
            Self::Truncated(_) => (Truncated::FIELD, Truncated::EXPECTED),
            Self::Gate(_) => ("the gate of a condition variable", "0"),
            _ => ("the lock word", "a slot of the participants' table, or free"),
        }
    }
}

/// Why [`FutexMutex::lock_timeout`](super::FutexMutex::lock_timeout) gave no guard: it was locked until the time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the lock was held until the time-out, perhaps by a thread that is dead: this mutex cannot tell; use RobustMutex \
             where a holder can be killed",
        )
    }
}

impl std::error::Error for TimedOut {}

/// Why a wait of a [`Condvar`](super::Condvar) gave no plain guard.
pub enum WaitError<G> {
    /// The lock was had again, but its last holder died; what it guards may be half changed. The guard is inside. Repair, mark it
    /// consistent, and notify all: the dead one may have been about to.
    OwnerDied(OwnerDied<G>),
    /// A holder died and the next one did not repair what the mutex guards: nobody can lock it any more. Make a new one.
    NotRecoverable,
    /// This is a forked child, and the guard was its parent's.
    Forked,
    /// The guard is of another mutex than the condition variable. It is given back.
    OtherMutex(G),
    /// The guard was had as `OwnerDied` and is not marked consistent yet: who unlocks it now makes the mutex not recoverable. It is given
    /// back.
    NotRepaired(G),
    /// The thread to watch names no slot of the mutex's participants' table. The guard is given back.
    UnknownHolder(G),
    /// Somebody has damaged the segment.
    Corrupt {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: u64,
        /// What it may hold.
        expected: &'static str,
    },
}

impl<G> WaitError<G> {
    /// `mine`: what the lock word is while the caller holds it.
    pub(super) fn of(trouble: Trouble, mine: u64) -> Self {
        let lock = |found, expected| Self::Corrupt { field: "the lock word", found, expected };
        match trouble {
            Trouble::NotRecoverable => Self::NotRecoverable,
            Trouble::Forked => Self::Forked,
            // The caller has unlocked it, by an attachment to the mutex's own segment: who says so is the word.
            Trouble::Deadlock | Trouble::WrongSegment => lock(mine, "not this thread, which has unlocked it to wait"),
            Trouble::Corrupt(found)
            | Trouble::CorruptPlace(found)
            | Trouble::Gate(found)
            | Trouble::Truncated(found) => {
                let (field, expected) = trouble.damage();
                Self::Corrupt { field, found, expected }
            }
        }
    }
}

impl<G> fmt::Debug for WaitError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<G> fmt::Display for WaitError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => f.write_str(
                "the last holder died with the lock: repair what it guards, mark it consistent, and notify all",
            ),
            Self::NotRecoverable => {
                f.write_str("not recoverable: a holder died and nobody repaired what it guards; make a new mutex")
            }
            Self::Forked => f.write_str("the guard is the parent's, and this is a forked child: attach anew, and lock"),
            Self::OtherMutex(_) => {
                f.write_str("the guard is of another mutex than the condition variable: wait with its own")
            }
            Self::NotRepaired(_) => f.write_str(
                "the last holder died, and what it guards is not marked consistent yet: do that before you wait",
            ),
            Self::UnknownHolder(_) => {
                f.write_str("the thread to watch names no slot of the mutex's participants' table")
            }
            Self::Corrupt { field, found, expected } => {
                write!(f, "the segment is damaged: {field} is {found:#x}, expected {expected}; make it anew")
            }
        }
    }
}

impl<G> std::error::Error for WaitError<G> {}

/// Why nobody was notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyError {
    /// This is a forked child, and the attachment is its parent's: attach anew.
    Forked,
    /// The attachment is to another segment than the mutex of the condition variable.
    WrongSegment,
    /// The segment's file was truncated.
    Truncated(Truncated),
}

impl From<Unusable> for NotifyError {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Forked => Self::Forked,
            Unusable::Truncated(truncated) => Self::Truncated(truncated),
        }
    }
}

impl fmt::Display for NotifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forked => "the attachment is the parent's, and this is a forked child: attach anew",
            Self::WrongSegment => "the attachment is to another segment: attach to the mutex's own",
            Self::Truncated(truncated) => return truncated.fmt(f),
        })
    }
}

impl std::error::Error for NotifyError {}

macro_rules! once_errors {
    ($($(#[$doc:meta])* $name:ident $( { $(#[$extra_doc:meta])* $extra:ident: $extra_text:literal } )?)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            /// This thread runs the initialisation already, and waits for itself.
            Deadlock,
            /// This is a forked child, and the attachment is its parent's: attach anew.
            Forked,
            /// The attachment is to another segment.
            WrongSegment,
            /// The word names no slot of the participants' table: somebody has damaged the segment.
            Corrupt {
                /// What it holds.
                found: u64,
            },
            /// The segment's file was truncated.
            Truncated(Truncated),
            $($(#[$extra_doc])* $extra,)?
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Deadlock => f.write_str("this thread runs the initialisation already: do not call it from inside"),
                    Self::Forked => f.write_str("the attachment is the parent's, and this is a forked child: attach anew"),
                    Self::WrongSegment => f.write_str("the attachment is to another segment: attach to its own"),
                    Self::Corrupt { found } => write!(
                        f,
                        "the segment is damaged: the word is {found:#x}, expected a slot of the participants' table, free or done; \
                         make it anew"
                    ),
                    Self::Truncated(truncated) => truncated.fmt(f),
                    $(Self::$extra => f.write_str($extra_text),)?
                }
            }
        }

        impl std::error::Error for $name {}
    )+};
}

once_errors! {
    /// Why [`Once::call_once`](super::Once::call_once) did not come to be done.
    OnceError
    /// Why [`Once::call_once_timeout`](super::Once::call_once_timeout) did not come to be done.
    OnceTimeoutError {
        /// Somebody alive was at it all that time.
        TimedOut: "somebody alive ran the initialisation until the time-out: try later, or wait longer"
    }
}

/// What both have in common, and the one that one has alone.
#[derive(Clone, Copy)]
pub(super) enum OnceTrouble {
    Deadlock,
    Forked,
    WrongSegment,
    Corrupt(u64),
    Truncated(Truncated),
    TimedOut,
}

impl From<Truncated> for OnceTrouble {
    fn from(truncated: Truncated) -> Self {
        Self::Truncated(truncated)
    }
}

impl From<Unusable> for OnceTrouble {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Forked => Self::Forked,
            Unusable::Truncated(truncated) => Self::Truncated(truncated),
        }
    }
}

impl From<OnceTrouble> for OnceTimeoutError {
    fn from(trouble: OnceTrouble) -> Self {
        match trouble {
            OnceTrouble::Deadlock => Self::Deadlock,
            OnceTrouble::Forked => Self::Forked,
            OnceTrouble::WrongSegment => Self::WrongSegment,
            OnceTrouble::Corrupt(found) => Self::Corrupt { found },
            OnceTrouble::Truncated(truncated) => Self::Truncated(truncated),
            OnceTrouble::TimedOut => Self::TimedOut,
        }
    }
}

impl From<OnceTrouble> for OnceError {
    fn from(trouble: OnceTrouble) -> Self {
        match trouble {
            OnceTrouble::Deadlock => Self::Deadlock,
            OnceTrouble::Forked => Self::Forked,
            OnceTrouble::WrongSegment => Self::WrongSegment,
            OnceTrouble::Corrupt(found) => Self::Corrupt { found },
            OnceTrouble::Truncated(truncated) => Self::Truncated(truncated),
            OnceTrouble::TimedOut => unreachable!("there was no deadline"),
        }
    }
}
