//! What can go wrong with a ring; one enum per operation, the same for all kinds of rings.

use crate::owner::Unusable;
use crate::sync::backing::Truncated;
use core::fmt;

/// The ring's memory holds what no peer that follows the protocol writes. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// The field.
    pub field: &'static str,
    /// What it holds.
    pub found: u64,
    /// What it may hold.
    pub expected: String,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the ring is damaged: {} is {:#x}, expected {}; make a new one",
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
            /// This is a forked child, and the seat is its parent's: attach and open anew.
            Forked,
            /// The ring is damaged.
            Corrupt(Corrupt),
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant $({ $($field),+ })? => write!(f, $text),)+
                    Self::Forked => f.write_str("the attachment is the parent's, and this is a forked child: attach anew"),
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

        impl From<Unusable> for $name {
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

errors! {
    /// Why a seat could not be opened.
    SeatError {
        /// Somebody alive has it.
        Busy {
            /// Slot of its holder.
            slot: u32,
            /// Generation of the seat.
            generation: u64
        }: "somebody alive has the seat: slot {slot}, generation {generation}; wait until it closes it",
        /// The attachment is to another segment than the ring.
        WrongSegment: "the attachment is to another segment: attach to the ring's own",
        /// Readers that live have all the places that there are.
        NoPlace {
            /// How many places there are.
            places: usize
        }: "all {places} places for readers are taken by readers that live: close one, or create the ring with more",
    }
    /// Why a record could not be pushed, or room for one reserved, without waiting.
    TryPushError {
        /// There is no room now.
        Full: "the ring is full",
        /// It never fits.
        TooLarge {
            /// Bytes of the payload.
            len: usize,
            /// Bytes that it may have.
            max: usize
        }: "a payload of {len} bytes is too large: this ring takes up to {max}; split it, or make a larger ring",
    }
    /// Why a record could not be pushed.
    PushError {
        /// There is no room, and the consumer is dead. Somebody has to take its seat over.
        ConsumerDied: "the ring is full and its consumer has died: take its seat over",
        /// It never fits.
        TooLarge {
            /// Bytes of the payload.
            len: usize,
            /// Bytes that it may have.
            max: usize
        }: "a payload of {len} bytes is too large: this ring takes up to {max}; split it, or make a larger ring",
    }
    /// Why a record could not be pushed in time.
    PushTimeoutError {
        /// There was no room all that time.
        TimedOut: "the ring was full until the time-out",
        /// There is no room, and the consumer is dead. Somebody has to take its seat over.
        ConsumerDied: "the ring is full and its consumer has died: take its seat over",
        /// It never fits.
        TooLarge {
            /// Bytes of the payload.
            len: usize,
            /// Bytes that it may have.
            max: usize
        }: "a payload of {len} bytes is too large: this ring takes up to {max}; split it, or make a larger ring",
    }
    /// Why no record could be read without waiting.
    TryPopError {
        /// There is none now.
        Empty: "the ring is empty",
        /// A lossy broadcast ring's writer has gone round this reader. The next call goes on with the oldest record there is.
        Lapped {
            /// Records that it has not read, and will not.
            lost: u64
        }: "the writer has gone round this reader, which has lost {lost} records: go on, and read more often",
    }
    /// Why no record could be read.
    PopError {
        /// All that was committed has been read, and the producer is dead. Somebody has to take its seat over.
        ProducerDied: "the ring is drained and its producer has died: take its seat over",
        /// A lossy broadcast ring's writer has gone round this reader. The next call goes on with the oldest record there is.
        Lapped {
            /// Records that it has not read, and will not.
            lost: u64
        }: "the writer has gone round this reader, which has lost {lost} records: go on, and read more often",
    }
    /// Why no record could be read in time.
    PopTimeoutError {
        /// There was none all that time.
        TimedOut: "the ring was empty until the time-out",
        /// All that was committed has been read, and the producer is dead. Somebody has to take its seat over.
        ProducerDied: "the ring is drained and its producer has died: take its seat over",
        /// A lossy broadcast ring's writer has gone round this reader. The next call goes on with the oldest record there is.
        Lapped {
            /// Records that it has not read, and will not.
            lost: u64
        }: "the writer has gone round this reader, which has lost {lost} records: go on, and read more often",
    }
    /// Why nobody could be waited for.
    WaitPeerError {
        /// Nobody alive took the peer's seat in all that time.
        TimedOut: "nobody alive had the peer's seat until the time-out",
    }
}

impl From<PushTimeoutError> for PushError {
    fn from(error: PushTimeoutError) -> Self {
        match error {
            PushTimeoutError::TimedOut => unreachable!("a push without a deadline"),
            PushTimeoutError::ConsumerDied => Self::ConsumerDied,
            PushTimeoutError::TooLarge { len, max } => Self::TooLarge { len, max },
            PushTimeoutError::Forked => Self::Forked,
            PushTimeoutError::Corrupt(corrupt) => Self::Corrupt(corrupt),
        }
    }
}

impl From<PopTimeoutError> for PopError {
    fn from(error: PopTimeoutError) -> Self {
        match error {
            PopTimeoutError::TimedOut => unreachable!("a pop without a deadline"),
            PopTimeoutError::ProducerDied => Self::ProducerDied,
            PopTimeoutError::Lapped { lost } => Self::Lapped { lost },
            PopTimeoutError::Forked => Self::Forked,
            PopTimeoutError::Corrupt(corrupt) => Self::Corrupt(corrupt),
        }
    }
}
