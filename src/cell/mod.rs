//! Cells: values that are read whole while they are written, and survive their writer.
//!
//! | | a writer that dies mid-write leaves | a reader meanwhile | for |
//! |---|---|---|---|
//! | [`SeqLock`] | no value: readers are told at once | is told that it is busy | the fewest bytes, the fastest write |
//! | [`Snapshot`] | the last committed value | reads that value | all else |
//! | [`Board`] | the last committed value of that key | reads that value | many keys, a writer for each |
//!
//! Values are [`Data`] without padding. They are copied in and out, word by word, and never given as references, so opening a cell
//! is safe: a peer that breaks the protocol can make a value any bytes, which any `Data` may be.

pub mod board;
mod error;
mod place;
pub mod seqlock;
pub mod snapshot;
mod wait;

#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;

pub use crate::data::Data;
pub use crate::owner::Opened;
pub use board::Board;
pub use error::{
    Corrupt, ReadError, ReadTimeoutError, SeatError, TryReadError, WaitError, WaitWriterError, WriteError,
};
pub use place::{Progress, Status, Versioned};
pub use seqlock::SeqLock;
#[cfg(not(model))]
pub use shared::CellError;
pub use snapshot::Snapshot;
