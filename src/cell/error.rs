//! What can go wrong with a cell; one enum per operation.

use crate::owner::Unusable;
use crate::sync::backing::Truncated;
use core::fmt;

/// The cell's memory holds what no peer that follows the protocol writes. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// The field.
    pub field: &'static str,
    /// What it holds.
    pub found: u64,
    /// What it may hold.
    pub expected: String,
}

impl Corrupt {
    pub(super) fn right(found: u64) -> Self {
        Self { field: "a writer's right", found, expected: "a slot of the participants' table, or vacant".into() }
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the cell is damaged: {} is {:#x}, expected {}; make a new one",
            self.field, self.found, self.expected
        )
    }
}

impl std::error::Error for Corrupt {}

impl From<Truncated> for Corrupt {
    #[cold]
    fn from(Truncated { offset }: Truncated) -> Self {
        Self { field: Truncated::FIELD, found: offset, expected: Truncated::EXPECTED.into() }
    }
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),+ })? : $text:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant $({ $($(#[$field_doc])* $field: $type),+ })?,)+
            /// The cell is damaged.
            Corrupt(Corrupt),
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant $({ $($field),+ })? => write!(f, $text),)+
                    Self::Corrupt(corrupt) => corrupt.fmt(f),
                }
            }
        }

        impl std::error::Error for $name {}

        impl From<Corrupt> for $name {
            fn from(corrupt: Corrupt) -> Self {
                Self::Corrupt(corrupt)
            }
        }

        impl From<Truncated> for $name {
            fn from(truncated: Truncated) -> Self {
                Self::Corrupt(truncated.into())
            }
        }
    )+};
}

errors! {
    /// Why a writer's seat could not be opened.
    SeatError {
        /// Somebody alive has it.
        Busy {
            /// Slot of its holder.
            slot: u32,
            /// Generation of the seat.
            generation: u64
        }: "somebody alive has the seat: slot {slot}, generation {generation}; wait until it closes it",
        /// The board has no such key.
        NoSuchKey {
            /// The key.
            key: usize,
            /// How many there are.
            keys: usize
        }: "there is no key {key}: the board has keys 0 up to, not including, {keys}",
        /// The attachment is to another segment than the cell.
        WrongSegment: "the attachment is to another segment: attach to the cell's own",
        /// This is a forked child, and the attachment is its parent's: attach anew.
        Forked: "the attachment is the parent's, and this is a forked child: attach anew",
    }
    /// Why a sequence lock gave no value.
    TryReadError {
        /// Its writer, who lives, was writing all the time. It may be stopped.
        Busy: "its writer, who lives, is writing: read again, or for longer with `read_timeout`",
        /// Its writer died while it wrote. There is no value until somebody takes the seat over, and writes.
        WriterDied: "its writer died while it wrote: take its seat over, and write a whole value",
    }
    /// Why a sequence lock gave no value in time.
    ReadTimeoutError {
        /// Its writer, who lives, was writing at each look until the time-out. It may be stopped.
        TimedOut: "its writer, who lives, was writing until the time-out",
        /// Its writer died while it wrote. There is no value until somebody takes the seat over, and writes.
        WriterDied: "its writer died while it wrote: take its seat over, and write a whole value",
    }
    /// Why a snapshot or a board gave no value.
    ReadError {
        /// At each attempt the writer began to overwrite the buffer that was read.
        Overrun {
            /// How many attempts.
            attempts: u32
        }: "the writer went round all buffers during each of {attempts} reads: read again, or make it with more buffers",
        /// The board has no such key.
        NoSuchKey {
            /// The key.
            key: usize,
            /// How many there are.
            keys: usize
        }: "there is no key {key}: the board has keys 0 up to, not including, {keys}",
    }
    /// Why there was no newer value.
    WaitError {
        /// There was none all that time.
        TimedOut: "there was no newer value until the time-out",
        /// There is none, and the writer is dead. Somebody has to take its seat over.
        WriterDied: "there is no newer value, and the writer has died: take its seat over, or wait with `wait_writer`",
        /// At each attempt to read it the writer began to overwrite the buffer that was read.
        Overrun {
            /// How many attempts.
            attempts: u32
        }: "the writer went round all buffers during each of {attempts} reads: read again, or make it with more buffers",
        /// The board has no such key.
        NoSuchKey {
            /// The key.
            key: usize,
            /// How many there are.
            keys: usize
        }: "there is no key {key}: the board has keys 0 up to, not including, {keys}",
        /// The attachment is to another segment than the cell.
        WrongSegment: "the attachment is to another segment: attach to the cell's own",
        /// This is a forked child, and the attachment is its parent's: attach anew.
        Forked: "the attachment is the parent's, and this is a forked child: attach anew",
    }
    /// Why a value was not written.
    WriteError {
        /// This is a forked child, and the seat is its parent's. Attach and open anew.
        Forked: "the seat is the parent's, and this is a forked child: attach and open anew",
    }
    /// Why no writer could be waited for.
    WaitWriterError {
        /// Nobody alive took the writer's seat in all that time.
        TimedOut: "nobody alive had the writer's seat until the time-out",
        /// The board has no such key.
        NoSuchKey {
            /// The key.
            key: usize,
            /// How many there are.
            keys: usize
        }: "there is no key {key}: the board has keys 0 up to, not including, {keys}",
        /// The attachment is to another segment than the cell.
        WrongSegment: "the attachment is to another segment: attach to the cell's own",
        /// This is a forked child, and the attachment is its parent's: attach anew.
        Forked: "the attachment is the parent's, and this is a forked child: attach anew",
    }
}

impl From<ReadError> for WaitError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Overrun { attempts } => Self::Overrun { attempts },
            ReadError::NoSuchKey { key, keys } => Self::NoSuchKey { key, keys },
            ReadError::Corrupt(corrupt) => Self::Corrupt(corrupt),
        }
    }
}

/// For each error that has the two.
macro_rules! from_unusable {
    ($($error:ident),+) => {$(
        impl From<Unusable> for $error {
            #[cold]
            fn from(unusable: Unusable) -> Self {
                match unusable {
                    Unusable::Forked => Self::Forked,
                    Unusable::Truncated(truncated) => truncated.into(),
                }
            }
        }
    )+};
}
from_unusable!(SeatError, WaitError, WaitWriterError, WriteError);
