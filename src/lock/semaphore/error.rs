//! What can go wrong with a semaphore; one enum per operation.

use crate::owner::Unusable;
use crate::sync::backing::Truncated;
use core::fmt;

/// Why no permit was had.
pub(super) enum Refused {
    Busy,
    Trouble(Trouble),
}

/// What all operations have in common.
pub(super) enum Trouble {
    Deadlock,
    Forked,
    WrongSegment,
    Corrupt(u64),
    Truncated(Truncated),
}

impl From<Truncated> for Refused {
    #[cold]
    fn from(truncated: Truncated) -> Self {
        Self::Trouble(Trouble::Truncated(truncated))
    }
}

impl From<Unusable> for Refused {
    #[cold]
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Forked => Self::Trouble(Trouble::Forked),
            Unusable::Truncated(truncated) => truncated.into(),
        }
    }
}

impl Refused {
    pub(super) const DEADLOCK: Self = Self::Trouble(Trouble::Deadlock);
    pub(super) const WRONG_SEGMENT: Self = Self::Trouble(Trouble::WrongSegment);

    pub(super) fn corrupt(found: u64) -> Self {
        Self::Trouble(Trouble::Corrupt(found))
    }
}

macro_rules! acquire_errors {
    ($($(#[$doc:meta])* $name:ident $( { $(#[$extra_doc:meta])* $extra:ident: $extra_text:literal } )?)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            /// This thread has all the permits itself. `EDEADLK`.
            Deadlock,
            /// This is a forked child, and the attachment is its parent's: attach anew.
            Forked,
            /// The attachment is to another segment than the semaphore.
            WrongSegment,
            /// A permit names no slot of the participants' table: somebody has damaged the segment.
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

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Deadlock => f.write_str("this thread has all the permits already: drop one first"),
                    Self::Forked => {
                        f.write_str("the attachment is the parent's, and this is a forked child: attach anew")
                    }
                    Self::WrongSegment => {
                        f.write_str("the attachment is to another segment: attach to the semaphore's own")
                    }
                    Self::Corrupt { field, found, expected } => {
                        write!(f, "the segment is damaged: {field} is {found:#x}, expected {expected}; make it anew")
                    }
                    $(Self::$extra => f.write_str($extra_text),)?
                }
            }
        }

        impl std::error::Error for $name {}

        impl From<Trouble> for $name {
            fn from(trouble: Trouble) -> Self {
                match trouble {
                    Trouble::Deadlock => Self::Deadlock,
                    Trouble::Forked => Self::Forked,
                    Trouble::WrongSegment => Self::WrongSegment,
                    Trouble::Corrupt(found) => Self::Corrupt {
                        field: "a permit",
                        found,
                        expected: "a slot of the participants' table, or free",
                    },
                    Trouble::Truncated(Truncated { offset }) => {
                        Self::Corrupt { field: Truncated::FIELD, found: offset, expected: Truncated::EXPECTED }
                    }
                }
            }
        }
    )+};
}

acquire_errors! {
    /// Why [`Semaphore::acquire`](super::Semaphore::acquire) gave no permit.
    AcquireError
    /// Why [`Semaphore::try_acquire`](super::Semaphore::try_acquire) gave no permit.
    TryAcquireError {
        /// Others that live have the permits.
        WouldBlock: "others that live have all the permits: try later, or wait with `acquire`"
    }
    /// Why [`Semaphore::acquire_timeout`](super::Semaphore::acquire_timeout) gave no permit.
    AcquireTimeoutError {
        /// Others that live had the permits all that time.
        TimedOut: "others that live had all the permits until the time-out: try later, or wait longer"
    }
}
