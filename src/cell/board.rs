//! A board: the latest value of each of a fixed number of keys, each with a writer of its own.
//!
//! **What it guarantees, what survives, what it cannot do.** Each key is a [snapshot](super::snapshot), with a seat of its own, so
//! that each key has one writer at a time and any number of readers, who write nothing. One thread may have the seats of many
//! keys. Values of different keys are read one after the other: [`Board::iter`] is not one moment. Keys are numbers from 0; their
//! number is fixed at birth. A key that nobody has written has the sequence 0 and a value of zeroes.
//!
//! ```text
//! body + 0     type, buffers, keys (see `shared`)     fixed at birth
//!      + 128   for each key 128 bytes: sequence | begun | seat: right, generation | gate, always 0
//!      + ...   for each key its buffers, as a snapshot's
//! ```
//!
//! What must synchronise with what is as in a snapshot, key by key.
//!
//! ```
//! use ownerdead::cell::board::{Board, Config};
//! use ownerdead::segment::Options;
//!
//! let prices = Board::memfd(&Options::new(), &Config::new(1000))?;
//! let me = prices.attach()?;
//! let mut writer = prices.writer(&me, 17)?.into_inner();
//! writer.write(&42u64)?;
//! assert_eq!(prices.read(17)?.value, 42);
//! for (key, latest) in prices.iter() {
//!     println!("{key}: {:?}", latest?);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::place::Cells;
use super::snapshot;
use super::{ReadError, SeatError, Status, Versioned, WaitError, WaitWriterError};
use crate::data::Data;
use crate::owner::{AttachError, Attachment, Opened};
use core::time::Duration;

pub use super::snapshot::Writer;

/// How many keys a board has, and how many buffers each of them.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub(super) keys: u64,
    pub(super) snapshot: snapshot::Config,
}

impl Config {
    /// A board of so many keys, 1 to 2^24, with four buffers each. A key costs 128 bytes and its buffers.
    pub const fn new(keys: u64) -> Self {
        Self { keys, snapshot: snapshot::Config::new() }
    }

    /// How many buffers each key has, 2 to 64; see [`snapshot::Config::buffers`].
    pub const fn buffers(mut self, buffers: u64) -> Self {
        self.snapshot = self.snapshot.buffers(buffers);
        self
    }
}

/// The latest value of each key. See the [module](self).
#[derive(Debug)]
pub struct Board<T> {
    pub(super) cells: Cells<T>,
}

impl<T> Clone for Board<T> {
    fn clone(&self) -> Self {
        Self { cells: self.cells.clone() }
    }
}

impl<T: Data> Board<T> {
    /// A board on the heap, for models.
    #[cfg(model)]
    pub fn private(config: &Config, slots: usize) -> Self {
        Self { cells: Cells::private(config.snapshot.geometry::<T>(config.keys), slots) }
    }

    /// Makes the calling thread a participant of the segment, which a writer must be, and one who waits. A reader need not.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        self.cells.attach()
    }

    /// How many keys there are: 0 up to, not including, this.
    pub fn keys(&self) -> usize {
        self.cells.controls.len()
    }

    /// Opens the seat of the writer of `key`.
    ///
    /// # Errors
    /// [`SeatError`]: somebody alive has it, above all.
    pub fn writer(&self, me: &Attachment, key: usize) -> Result<Opened<Writer<T>>, SeatError> {
        self.cells.open_writer(me, key, |_| Writer::new(self.cells.clone(), key, me.clone()))
    }

    /// The last committed value of `key`.
    ///
    /// # Errors
    /// [`ReadError`].
    #[inline]
    pub fn read(&self, key: usize) -> Result<Versioned<T>, ReadError> {
        self.cells.read(key)
    }

    /// The last committed value of `key`, if it has another number than `sequence`.
    ///
    /// # Errors
    /// [`ReadError`].
    #[inline]
    pub fn read_if_newer(&self, key: usize, sequence: u64) -> Result<Option<Versioned<T>>, ReadError> {
        self.cells.read_if_newer(key, sequence)
    }

    /// Each key that was ever written, in order, with its last committed value, each read when it is its turn.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Result<Versioned<T>, ReadError>)> + '_ {
        (0..self.keys()).filter_map(|key| Some((key, self.read_if_newer(key, 0).transpose()?)))
    }

    /// Sleeps until the last committed value of `key` has another number than `sequence`, for up to `timeout` if there is one, and
    /// reads it. Where nobody has the writer's seat, it waits; where its holder is dead, it says so.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait_change(
        &self,
        me: &Attachment,
        key: usize,
        sequence: u64,
        timeout: Option<Duration>,
    ) -> Result<Versioned<T>, WaitError> {
        self.cells.wait_change(me, key, sequence, timeout)
    }

    /// Sleeps until somebody alive has the seat of the writer of `key`, for up to `timeout` if there is one.
    ///
    /// # Errors
    /// [`WaitWriterError`].
    pub fn wait_writer(&self, me: &Attachment, key: usize, timeout: Option<Duration>) -> Result<(), WaitWriterError> {
        self.cells.wait_writer(me, key, timeout)
    }

    /// What `key` looks like now, if there is such a key.
    pub fn status(&self, key: usize) -> Option<Status> {
        self.cells.status(key)
    }
}
