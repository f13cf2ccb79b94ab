//! A barrier in a segment; the layout stands in `lock::barrier`.

use super::super::shared::SharedError;
use super::{Barrier, Control, MAX_PARTIES, Place};
use crate::segment::{Body, Kind, Options, Segment};
use crate::sync::Line;
use crate::sync::atomic::Ordering::Relaxed;

/// Where the phase is in the body.
pub(super) const PHASE: usize = 128;
/// Where the gate is.
pub(super) const GATE: usize = 256;
/// Where the places of the parties begin.
pub(super) const PLACES: usize = 384;
/// Bytes from one to the next.
pub(super) const PLACE: usize = 128;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, phase) == PHASE && offset_of!(Control, gate) == GATE && size_of::<Control>() == PLACES);
    assert!(offset_of!(Place, arrived) == 16 && size_of::<Line<Place>>() == PLACE);
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl crate::segment::Place for Control {}
// SAFETY: as above.
unsafe impl crate::segment::Place for Place {}

/// Whether a barrier can have so many parties.
fn check_parties(parties: u64) -> Result<usize, SharedError> {
    let allowed = usize::try_from(parties).ok().filter(|parties| (1..=MAX_PARTIES).contains(parties));
    allowed.ok_or(SharedError::Parties { found: parties })
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
    /// [`SharedError`]; [`SharedError::PartiesDiffer`] above all.
    pub fn open_or_create(name: &str, options: &Options, parties: usize) -> Result<(Self, bool), SharedError> {
        let (length, init) = Self::parts(parties)?;
        let (segment, created) = Segment::open_or_create(name, options, Kind::BARRIER, length, init)?;
        let barrier = Self::over(segment)?;
        let found = barrier.places.len();
        if found != parties {
            return Err(SharedError::PartiesDiffer { found, expected: parties });
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
