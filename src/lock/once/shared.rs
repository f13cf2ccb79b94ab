//! Once-initialisation in a segment.
//!
//! ```text
//! body + 0     the word, on a line of its own
//!      + 128   fingerprint, size and alignment of the value's type; without a value, those of `[u8; 0]`
//!      + 256   the value
//! ```

use super::super::shared::{SharedError, VALUE, WORD, body_len, check_type, init_type};
use super::{Once, OnceCell};
use crate::data::Data;
use crate::segment::{Kind, Options, Segment};

/// What stands in the place of a value where there is none.
type NoValue = [u8; 0];

impl Once {
    /// Makes a new one, under a name in `/dev/shm`.
    ///
    /// # Errors
    /// [`SharedError::Create`], also if the name is taken.
    pub fn create(name: &str, options: &Options) -> Result<Self, SharedError> {
        Self::over(Segment::create(name, options, Kind::ONCE, VALUE, init_type::<NoValue>)?)
    }

    /// Makes a new one, without a name: for processes that inherit it or are handed its descriptor.
    ///
    /// # Errors
    /// [`SharedError::Create`].
    pub fn memfd(options: &Options) -> Result<Self, SharedError> {
        Self::over(Segment::memfd(options, Kind::ONCE, VALUE, init_type::<NoValue>)?)
    }

    /// Opens that of this name.
    ///
    /// # Errors
    /// [`SharedError`].
    pub fn open(name: &str) -> Result<Self, SharedError> {
        Self::over(Segment::open(name, Kind::ONCE)?)
    }

    /// Opens that of this name, or makes it. Says whether it was made.
    ///
    /// # Errors
    /// [`SharedError`].
    pub fn open_or_create(name: &str, options: &Options) -> Result<(Self, bool), SharedError> {
        let (segment, created) = Segment::open_or_create(name, options, Kind::ONCE, VALUE, init_type::<NoValue>)?;
        Ok((Self::over(segment)?, created))
    }

    /// That in a segment that is open already.
    ///
    /// # Errors
    /// [`SharedError`].
    pub fn from_segment(segment: Segment) -> Result<Self, SharedError> {
        Self::over(segment)
    }

    /// The segment that it lives in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    fn over(segment: Segment) -> Result<Self, SharedError> {
        check_type::<NoValue>(&segment)?;
        Self::of_any_type(segment)
    }

    fn of_any_type(segment: Segment) -> Result<Self, SharedError> {
        Ok(Self { table: segment.table(), word: segment.body(WORD)?, segment })
    }
}

impl<T: Data> OnceCell<T> {
    const BODY: usize = body_len::<T>();

    /// Makes a new one, under a name in `/dev/shm`.
    ///
    /// # Errors
    /// [`SharedError::Create`], also if the name is taken.
    pub fn create(name: &str, options: &Options) -> Result<Self, SharedError> {
        Self::over(Segment::create(name, options, Kind::ONCE, Self::BODY, init_type::<T>)?)
    }

    /// Makes a new one, without a name: for processes that inherit it or are handed its descriptor.
    ///
    /// # Errors
    /// [`SharedError::Create`].
    pub fn memfd(options: &Options) -> Result<Self, SharedError> {
        Self::over(Segment::memfd(options, Kind::ONCE, Self::BODY, init_type::<T>)?)
    }

    /// Opens that of this name.
    ///
    /// # Errors
    /// [`SharedError`].
    ///
    /// # Safety
    /// The value is given as a reference into the segment, so every process that can write it must follow the protocol: it writes
    /// the value only while it initialises it.
    pub unsafe fn open(name: &str) -> Result<Self, SharedError> {
        Self::over(Segment::open(name, Kind::ONCE)?)
    }

    /// Opens that of this name, or makes it. Says whether it was made.
    ///
    /// # Errors
    /// [`SharedError`].
    ///
    /// # Safety
    /// As for [`Self::open`].
    pub unsafe fn open_or_create(name: &str, options: &Options) -> Result<(Self, bool), SharedError> {
        let (segment, created) = Segment::open_or_create(name, options, Kind::ONCE, Self::BODY, init_type::<T>)?;
        Ok((Self::over(segment)?, created))
    }

    /// That in a segment that is open already.
    ///
    /// # Errors
    /// [`SharedError`].
    ///
    /// # Safety
    /// As for [`Self::open`].
    pub unsafe fn from_segment(segment: Segment) -> Result<Self, SharedError> {
        Self::over(segment)
    }

    /// The segment that it lives in.
    pub fn segment(&self) -> &Segment {
        &self.once.segment
    }

    fn over(segment: Segment) -> Result<Self, SharedError> {
        check_type::<T>(&segment)?;
        let data = segment.body(VALUE)?;
        Ok(Self { once: Once::of_any_type(segment)?, data })
    }
}
