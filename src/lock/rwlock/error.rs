//! What can go wrong with reading; one enum per operation. Writing has the errors of a mutex.

use super::super::error::Trouble;
use core::fmt;

macro_rules! read_errors {
    ($($(#[$doc:meta])* $name:ident $( { $(#[$extra_doc:meta])* $extra:ident: $extra_text:literal } )?)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            /// The last writer died with the lock, or gave it up in a panic, and nobody has repaired yet. It stays so until somebody locks
            /// it for writing, repairs, and marks it consistent.
            OwnerDied,
            /// A writer died and the next one did not repair what it guards: nobody can lock it any more. Make a new one.
            NotRecoverable,
            /// This thread has a share already, or all of it. `EDEADLK`.
            Deadlock,
            /// This is a forked child, and the attachment is its parent's: attach anew.
            Forked,
            /// The attachment is to another segment than the lock.
            WrongSegment,
            /// A word of the lock names no slot of the participants' table: somebody has damaged the segment.
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
                    Self::OwnerDied => f.write_str(
                        "the last writer died with the lock: lock it for writing, repair what it guards, and mark it consistent",
                    ),
                    Self::NotRecoverable => f.write_str(
                        "not recoverable: a writer died and nobody repaired what the lock guards; make a new one",
                    ),
                    Self::Deadlock => f.write_str("this thread has the lock already: drop its guard first"),
                    Self::Forked => {
                        f.write_str("the attachment is the parent's, and this is a forked child: attach anew")
                    }
                    Self::WrongSegment => {
                        f.write_str("the attachment is to another segment: attach to the lock's own")
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

read_errors! {
    /// Why [`RwLock::read`](super::RwLock::read) gave no guard.
    ReadError
    /// Why [`RwLock::try_read`](super::RwLock::try_read) gave no guard.
    TryReadError {
        /// A writer that lives has it, or waits for it.
        WouldBlock: "a writer that lives has the lock, or waits for it: try later, or wait with `read`"
    }
    /// Why [`RwLock::read_timeout`](super::RwLock::read_timeout) gave no guard.
    ReadTimeoutError {
        /// A writer that lives had it, or waited for it, all that time.
        TimedOut: "a writer that lives had the lock, or waited for it, until the time-out: try later, or wait longer"
    }
}
