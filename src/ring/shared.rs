//! Rings in segments: what all of them have in common.

use super::Corrupt;
use crate::segment::{Body, CreateError, Kind, OpenError, OpenOrCreateError, OutOfBody, Segment, from_segments};

/// Why a segment gave no ring.
#[derive(Debug)]
pub enum RingError {
    /// The segment could not be opened.
    Open(OpenError),
    /// It could not be created.
    Create(CreateError),
    /// It could be neither opened nor created.
    OpenOrCreate(OpenOrCreateError),
    /// It is smaller than its ring says.
    Body(OutOfBody),
    /// What was asked for is not allowed.
    Config {
        /// What of it.
        field: &'static str,
        /// What was asked for.
        found: u64,
        /// What may be asked for.
        expected: String,
    },
    /// The segment's configuration is not what a ring has.
    Corrupt(Corrupt),
    /// The ring exists, and is another one than asked for.
    Differs {
        /// What differs.
        field: &'static str,
        /// What the ring has.
        found: u64,
        /// What was asked for.
        expected: u64,
    },
}

impl core::fmt::Display for RingError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Create(error) => error.fmt(f),
            Self::OpenOrCreate(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Config { field, found, expected } => {
                write!(f, "a ring with {field} of {found} is not allowed, expected {expected}: ask for that")
            }
            Self::Corrupt(corrupt) => corrupt.fmt(f),
            Self::Differs { field, found, expected } => {
                write!(
                    f,
                    "the ring exists with another {field}: found {found}, asked for {expected}; unlink it, or ask for that"
                )
            }
        }
    }
}

impl std::error::Error for RingError {}

from_segments!(RingError, Corrupt => Corrupt);

/// What a ring must say of itself to live in a segment; [`in_segments`] gives it the public functions.
pub(super) trait InSegment: Sized {
    /// What segments with such a ring are.
    const KIND: Kind;
    /// What a user asks for.
    type Config;
    /// The same, validated.
    type Geometry: Copy;

    /// Whether the configuration is allowed.
    fn geometry(config: &Self::Config) -> Result<Self::Geometry, RingError>;

    /// Bytes of the segment's body.
    fn body_len(geometry: &Self::Geometry) -> usize;

    /// Fills a body that is all zero, and that nobody else can reach yet.
    fn init(geometry: &Self::Geometry, body: &Body);

    /// The ring in a segment, all of which but the header is still untrusted.
    fn over(segment: Segment) -> Result<Self, RingError>;

    /// Each setting that can differ: its name, what this ring has, what `wanted` is.
    fn settings(&self, wanted: &Self::Geometry) -> Vec<(&'static str, u64, u64)>;

    /// Whether it is as wanted.
    fn matching(self, wanted: &Self::Geometry) -> Result<Self, RingError> {
        match self.settings(wanted).into_iter().find(|(_, found, expected)| found != expected) {
            Some((field, found, expected)) => Err(RingError::Differs { field, found, expected }),
            None => Ok(self),
        }
    }
}

/// The ways to have a ring in a segment.
macro_rules! in_segments {
    ($ring:ident, $config:ident) => {
        impl $ring {
            /// Makes a new ring under a name in `/dev/shm`.
            ///
            /// # Errors
            /// [`RingError`](crate::ring::RingError), also if the name is taken.
            pub fn create(
                name: &str,
                options: &crate::segment::Options,
                config: &$config,
            ) -> Result<Self, crate::ring::RingError> {
                use $crate::ring::shared::InSegment;
                let geometry = Self::geometry(config)?;
                let init = |body: &crate::segment::Body| Self::init(&geometry, body);
                Self::over(crate::segment::Segment::create(name, options, Self::KIND, Self::body_len(&geometry), init)?)
            }

            /// Makes a new ring without a name: for processes that inherit it or are handed its descriptor.
            ///
            /// # Errors
            /// [`RingError`](crate::ring::RingError).
            pub fn memfd(options: &crate::segment::Options, config: &$config) -> Result<Self, crate::ring::RingError> {
                use $crate::ring::shared::InSegment;
                let geometry = Self::geometry(config)?;
                let init = |body: &crate::segment::Body| Self::init(&geometry, body);
                Self::over(crate::segment::Segment::memfd(options, Self::KIND, Self::body_len(&geometry), init)?)
            }

            /// Opens the ring of this name.
            ///
            /// # Errors
            /// [`RingError`](crate::ring::RingError).
            pub fn open(name: &str) -> Result<Self, crate::ring::RingError> {
                use $crate::ring::shared::InSegment;
                Self::over(crate::segment::Segment::open(name, Self::KIND)?)
            }

            /// Opens the ring of this name, or makes it. Says whether it was made.
            ///
            /// # Errors
            /// [`RingError`](crate::ring::RingError), also if it exists with another configuration.
            pub fn open_or_create(
                name: &str,
                options: &crate::segment::Options,
                config: &$config,
            ) -> Result<(Self, bool), crate::ring::RingError> {
                use $crate::ring::shared::InSegment;
                let geometry = Self::geometry(config)?;
                let init = |body: &crate::segment::Body| Self::init(&geometry, body);
                let (segment, created) = crate::segment::Segment::open_or_create(
                    name,
                    options,
                    Self::KIND,
                    Self::body_len(&geometry),
                    init,
                )?;
                Ok((Self::over(segment)?.matching(&geometry)?, created))
            }

            /// The ring in a segment that is open already.
            ///
            /// # Errors
            /// [`RingError`](crate::ring::RingError), if the segment holds none.
            pub fn from_segment(segment: crate::segment::Segment) -> Result<Self, crate::ring::RingError> {
                <Self as $crate::ring::shared::InSegment>::over(segment)
            }

            /// The segment that it lives in.
            pub fn segment(&self) -> &crate::segment::Segment {
                &self.segment
            }
        }
    };
}
pub(super) use in_segments;
