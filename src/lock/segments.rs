//! Once-initialisation and barriers in a segment.
//!
//! ```text
//! once:     body + 0     the word, on a line of its own
//!                + 128   fingerprint, size and alignment of the value's type; without a value, those of `[u8; 0]`
//!                + 256   the value
//! barrier:  see `lock::barrier`
//! ```

use super::barrier::{Barrier, Control, MAX_PARTIES, Place};
use crate::data::Data;
use super::once::{Once, OnceCell};
use super::shared::{SharedError, VALUE, WORD, body_len, check_type, init_type};
use crate::segment::{Body, Kind, Options, Segment};
use crate::sync::Line;
use crate::sync::atomic::Ordering::Relaxed;

/// What stands in the place of a value where there is none.
type NoValue = [u8; 0];

/// Where the places of a barrier's parties begin.
pub(super) const PLACES: usize = 384;
/// Bytes from one to the next.
pub(super) const PLACE: usize = 128;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, phase) == 128 && offset_of!(Control, gate) == 256 && size_of::<Control>() == PLACES);
    assert!(offset_of!(Place, arrived) == 16 && size_of::<Line<Place>>() == PLACE);
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl crate::segment::Place for Control {}
// SAFETY: as above.
unsafe impl crate::segment::Place for Place {}

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

/// Whether a barrier can have so many parties.
fn check_parties(parties: u64) -> Result<usize, SharedError> {
    let allowed = usize::try_from(parties).ok().filter(|parties| (1..=MAX_PARTIES).contains(parties));
    allowed.ok_or(SharedError::Parties { found: parties, expected: format!("1 to {MAX_PARTIES}") })
}

impl Barrier {
    /// Makes a new one for `parties` (1 to [`MAX_PARTIES`]), under a name in `/dev/shm`. `options` are to have as many slots, at least.
    ///
    /// # Errors
    /// [`SharedError::Create`], also if the name is taken, and [`SharedError::Parties`].
    pub fn create(name: &str, options: &Options, parties: usize) -> Result<Self, SharedError> {
        let (length, init) = Self::parts(parties)?;
        Self::over(Segment::create(name, options, Kind::BARRIER, length, init)?)
    }

    /// Makes a new one for `parties`, without a name: for processes that inherit it or are handed its descriptor.
    ///
    /// # Errors
    /// [`SharedError::Create`] and [`SharedError::Parties`].
    pub fn memfd(options: &Options, parties: usize) -> Result<Self, SharedError> {
        let (length, init) = Self::parts(parties)?;
        Self::over(Segment::memfd(options, Kind::BARRIER, length, init)?)
    }

    /// Opens that of this name.
    ///
    /// # Errors
    /// [`SharedError`].
    pub fn open(name: &str) -> Result<Self, SharedError> {
        Self::over(Segment::open(name, Kind::BARRIER)?)
    }

    /// Opens that of this name, or makes it for `parties`. Says whether it was made.
    ///
    /// # Errors
    /// [`SharedError`]; [`SharedError::Parties`], too, if it is there and for another number of them.
    pub fn open_or_create(name: &str, options: &Options, parties: usize) -> Result<(Self, bool), SharedError> {
        let (length, init) = Self::parts(parties)?;
        let (segment, created) = Segment::open_or_create(name, options, Kind::BARRIER, length, init)?;
        let barrier = Self::over(segment)?;
        let found = barrier.places.len();
        if found != parties {
            return Err(SharedError::Parties { found: found as u64, expected: format!("{parties}, as asked for") });
        }
        Ok((barrier, created))
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

    /// Length of the body, and what fills it.
    fn parts(parties: usize) -> Result<(usize, impl Fn(&Body)), SharedError> {
        let parties = check_parties(parties as u64)?;
        let init = move |body: &Body| {
            let control = body.place::<Control>(0).expect("the body holds the control words");
            // Relaxed: nobody sees the segment before it has a name. All else is zero: vacant seats, the first phase.
            control.parties.store(parties as u64, Relaxed);
        };
        Ok((PLACES + parties * PLACE, init))
    }

    fn over(segment: Segment) -> Result<Self, SharedError> {
        let control = segment.body::<Control>(0)?;
        // Relaxed: written before the segment had a name. Read once: from here on only the private copy counts.
        let parties = check_parties(control.parties.load(Relaxed))?;
        let places = segment.body_slice(PLACES, parties)?;
        Ok(Self { table: segment.table(), control, places, segment })
    }
}
