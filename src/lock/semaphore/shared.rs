//! A semaphore in a segment.
//!
//! ```text
//! body + 0     how many permits there are
//!      + 128   the gate
//!      + 256   the permits, each on a line of its own
//! ```

use super::{MAX_PERMITS, Semaphore};
use crate::segment::{
    Body, CreateError, Kind, OpenError, OpenOrCreateError, Options, OutOfBody, Segment, from_segments,
};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;

pub(super) const PERMITS: usize = 0;
pub(super) const GATE: usize = 128;
pub(super) const PLACES: usize = 256;

/// Why a segment gave no semaphore.
#[derive(Debug)]
pub enum SemaphoreError {
    /// The segment could not be opened.
    Open(OpenError),
    /// It could not be created.
    Create(CreateError),
    /// It could be neither opened nor created.
    OpenOrCreate(OpenOrCreateError),
    /// It is too small for its permits.
    Body(OutOfBody),
    /// So many permits cannot be: asked for, or what the segment says.
    Permits {
        /// How many.
        found: u64,
    },
    /// The semaphore exists with another number of permits than asked for.
    Differs {
        /// How many it has.
        found: usize,
        /// How many were asked for.
        expected: usize,
    },
}

impl core::fmt::Display for SemaphoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Create(error) => error.fmt(f),
            Self::OpenOrCreate(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Permits { found } => {
                write!(f, "a semaphore cannot have {found} permits, expected 1 to {MAX_PERMITS}: make one with so many")
            }
            Self::Differs { found, expected } => write!(
                f,
                "the semaphore exists with another number of permits: found {found}, asked for {expected}; unlink it, or ask for that"
            ),
        }
    }
}

impl std::error::Error for SemaphoreError {}

from_segments!(SemaphoreError);

/// Bytes of the body of a segment with so many permits.
fn body_len(permits: usize) -> Result<usize, SemaphoreError> {
    let allowed = (1..=MAX_PERMITS).contains(&permits);
    let len = PLACES + permits.min(MAX_PERMITS) * size_of::<Line<AtomicU64>>();
    if allowed { Ok(len) } else { Err(SemaphoreError::Permits { found: permits as u64 }) }
}

/// Fills a body that is all zero, and that nobody can reach yet.
fn init(permits: usize) -> impl Fn(&Body) {
    move |body| {
        let word = body.place::<AtomicU64>(PERMITS).expect("body_len holds the word");
        // Relaxed: nobody sees the segment before it has a name.
        word.store(permits as u64, Relaxed);
    }
}

impl Semaphore {
    /// Makes a new semaphore with `permits` (1 to [`MAX_PERMITS`]) under a name in `/dev/shm`.
    ///
    /// # Errors
    /// [`SemaphoreError`], also if the name is taken.
    pub fn create(name: &str, options: &Options, permits: usize) -> Result<Self, SemaphoreError> {
        Self::over(Segment::create(name, options, Kind::SEMAPHORE, body_len(permits)?, init(permits))?)
    }

    /// Makes a new semaphore with `permits` (1 to [`MAX_PERMITS`]), without a name: for processes that inherit it or are handed its
    /// descriptor.
    ///
    /// # Errors
    /// [`SemaphoreError`].
    pub fn memfd(options: &Options, permits: usize) -> Result<Self, SemaphoreError> {
        Self::over(Segment::memfd(options, Kind::SEMAPHORE, body_len(permits)?, init(permits))?)
    }

    /// Opens the semaphore of this name.
    ///
    /// # Errors
    /// [`SemaphoreError`].
    pub fn open(name: &str) -> Result<Self, SemaphoreError> {
        Self::over(Segment::open(name, Kind::SEMAPHORE)?)
    }

    /// Opens the semaphore of this name, or makes it. Says whether it was made.
    ///
    /// # Errors
    /// [`SemaphoreError`], also if it exists with another number of permits.
    pub fn open_or_create(name: &str, options: &Options, permits: usize) -> Result<(Self, bool), SemaphoreError> {
        let len = body_len(permits)?;
        let (segment, created) = Segment::open_or_create(name, options, Kind::SEMAPHORE, len, init(permits))?;
        let semaphore = Self::over(segment)?;
        let found = semaphore.permits();
        if found == permits {
            Ok((semaphore, created))
        } else {
            Err(SemaphoreError::Differs { found, expected: permits })
        }
    }

    /// The semaphore in a segment that is open already.
    ///
    /// # Errors
    /// [`SemaphoreError`], if the segment holds none.
    pub fn from_segment(segment: Segment) -> Result<Self, SemaphoreError> {
        Self::over(segment)
    }

    /// The segment that it lives in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    fn over(segment: Segment) -> Result<Self, SemaphoreError> {
        // Relaxed: written before the segment had a name, and never again; read once, as a peer may scribble.
        let found = segment.body::<AtomicU64>(PERMITS)?.load(Relaxed);
        let permits = usize::try_from(found).ok().filter(|permits| (1..=MAX_PERMITS).contains(permits));
        let permits = permits.ok_or(SemaphoreError::Permits { found })?;
        Ok(Self {
            table: segment.table(),
            gate: segment.body(GATE)?,
            permits: segment.body_slice(PLACES, permits)?,
            segment,
        })
    }
}
