//! What can go wrong with a barrier; one enum per operation.

use crate::owner::Unusable;
use crate::sync::backing::Truncated;
use core::fmt;

macro_rules! barrier_errors {
    ($($(#[$doc:meta])* $name:ident $( { $(#[$extra_doc:meta])* $extra:ident: $extra_text:literal } )?)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            /// A party died before it arrived, and the phase is broken. Its seat is to be taken over, and the barrier reset: then all
            /// arrive anew. Each party is told once.
            PartyDied {
                /// Number of its seat.
                seat: usize,
            },
            /// This is a forked child, and the seat is its parent's: attach and join anew.
            Forked,
            /// The word of a seat names no slot of the participants' table: somebody has damaged the segment.
            Corrupt {
                /// Number of the seat.
                seat: usize,
                /// What its word holds.
                found: u64,
            },
            /// The segment's file was truncated.
            Truncated(Truncated),
            $($(#[$extra_doc])* $extra,)?
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::PartyDied { seat } => write!(
                        f,
                        "the phase is broken: the party with seat {seat} died before it arrived; have its seat taken over, reset the \
                         barrier, and wait again"
                    ),
                    Self::Forked => f.write_str("the seat is the parent's, and this is a forked child: attach and join anew"),
                    Self::Corrupt { seat, found } => write!(
                        f,
                        "the segment is damaged: the right of seat {seat} is {found:#x}, expected a slot of the participants' table, \
                         or vacant; make it anew"
                    ),
                    Self::Truncated(truncated) => truncated.fmt(f),
                    $(Self::$extra => f.write_str($extra_text),)?
                }
            }
        }

        impl std::error::Error for $name {}
    )+};
}

barrier_errors! {
    /// Why [`Party::wait`](super::Party::wait) did not come through.
    BarrierError
    /// Why [`Party::wait_timeout`](super::Party::wait_timeout) did not come through.
    BarrierTimeoutError {
        /// Somebody alive, or nobody who has the seat yet, was missing all that time. The arrival stands: wait again.
        TimedOut: "a party that lives was missing until the time-out: the arrival stands, so wait again"
    }
}

/// What both have in common, and the one that one has alone.
#[derive(Clone, Copy)]
pub(super) enum BarrierTrouble {
    /// `next`: the event in which one can arrive again.
    PartyDied {
        seat: usize,
        next: u64,
    },
    Forked,
    Corrupt {
        seat: usize,
        found: u64,
    },
    Truncated(Truncated),
    TimedOut,
}

impl From<Truncated> for BarrierTrouble {
    fn from(truncated: Truncated) -> Self {
        Self::Truncated(truncated)
    }
}

/// For each error that has the two.
macro_rules! from_unusable {
    ($($error:ident),+) => {$(
        impl From<Unusable> for $error {
            fn from(unusable: Unusable) -> Self {
                match unusable {
                    Unusable::Forked => Self::Forked,
                    Unusable::Truncated(truncated) => Self::Truncated(truncated),
                }
            }
        }
    )+};
}
from_unusable!(BarrierTrouble, JoinError, ResetError);

impl From<BarrierTrouble> for BarrierTimeoutError {
    fn from(trouble: BarrierTrouble) -> Self {
        match trouble {
            BarrierTrouble::PartyDied { seat, .. } => Self::PartyDied { seat },
            BarrierTrouble::Forked => Self::Forked,
            BarrierTrouble::Corrupt { seat, found } => Self::Corrupt { seat, found },
            BarrierTrouble::Truncated(truncated) => Self::Truncated(truncated),
            BarrierTrouble::TimedOut => Self::TimedOut,
        }
    }
}

impl From<BarrierTrouble> for BarrierError {
    fn from(trouble: BarrierTrouble) -> Self {
        match trouble {
            BarrierTrouble::PartyDied { seat, .. } => Self::PartyDied { seat },
            BarrierTrouble::Forked => Self::Forked,
            BarrierTrouble::Corrupt { seat, found } => Self::Corrupt { seat, found },
            BarrierTrouble::Truncated(truncated) => Self::Truncated(truncated),
            BarrierTrouble::TimedOut => unreachable!("there was no deadline"),
        }
    }
}

/// Why [`Barrier::join`](super::Barrier::join) gave no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// Somebody alive has each seat.
    Full {
        /// How many there are.
        parties: usize,
    },
    /// This is a forked child, and the attachment is its parent's: attach anew.
    Forked,
    /// The attachment is to another segment.
    WrongSegment,
    /// The word of a seat names no slot of the participants' table: somebody has damaged the segment.
    Corrupt {
        /// Number of the seat.
        seat: usize,
        /// What its word holds.
        found: u64,
    },
    /// The segment's file was truncated.
    Truncated(Truncated),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { parties } => {
                write!(
                    f,
                    "somebody alive has each of the {parties} seats: wait until one is given up, or make a larger barrier"
                )
            }
            Self::Forked => f.write_str("the attachment is the parent's, and this is a forked child: attach anew"),
            Self::WrongSegment => f.write_str("the attachment is to another segment: attach to the barrier's own"),
            Self::Corrupt { seat, found } => write!(
                f,
                "the segment is damaged: the right of seat {seat} is {found:#x}, expected a slot of the participants' table, or \
                 vacant; make it anew"
            ),
            Self::Truncated(truncated) => truncated.fmt(f),
        }
    }
}

impl std::error::Error for JoinError {}

/// Why [`Party::reset`](super::Party::reset) began no new phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetError {
    /// The phase is not broken, or somebody else has reset it: wait.
    NotBroken,
    /// This is a forked child, and the seat is its parent's: attach and join anew.
    Forked,
    /// The segment's file was truncated.
    Truncated(Truncated),
}

impl fmt::Display for ResetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBroken => "the phase is not broken, or not any more: wait",
            Self::Forked => "the seat is the parent's, and this is a forked child: attach and join anew",
            Self::Truncated(truncated) => return truncated.fmt(f),
        })
    }
}

impl std::error::Error for ResetError {}
