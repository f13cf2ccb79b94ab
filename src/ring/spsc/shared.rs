//! A ring in a segment.

use super::{Config, Control, Corrupt, Ring};
use crate::owner::SeatWords;
use crate::ring::record::{GRANULE, Geometry};
use crate::segment::{Body, CreateError, Kind, OpenError, OpenOrCreateError, Options, OutOfBody, Place, Segment};
use crate::sync::atomic::Ordering::Relaxed;

/// Where the records begin.
pub(super) const RECORDS: usize = 4096;
pub(super) const CHECKSUM: u64 = 1;
pub(super) const WIPE: u64 = 2;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, config) == 0 && offset_of!(Control, tail) == 128 && offset_of!(Control, head) == 256);
    assert!(offset_of!(Control, producer) == 384 && offset_of!(Control, consumer) == 512);
    assert!(offset_of!(Control, gate) == 640 && size_of::<Control>() <= RECORDS);
    assert!(size_of::<SeatWords>() == 16 && offset_of!(Control, head.0.heartbeat) == 264);
    assert!(offset_of!(Control, head.0.read) == 272);
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl Place for Control {}

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
    /// The capacity asked for is not allowed.
    Capacity {
        /// Bytes asked for.
        found: u64,
    },
    /// The segment's capacity or flags are not what a ring has.
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
            Self::Capacity { found } => {
                write!(f, "a ring of {found} bytes is not allowed, expected {}: ask for that", allowed_capacity())
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

macro_rules! from {
    ($($error:ident => $variant:ident),+) => {$(
        impl From<$error> for RingError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )+};
}
from!(OpenError => Open, CreateError => Create, OpenOrCreateError => OpenOrCreate, OutOfBody => Body, Corrupt => Corrupt);

fn allowed_capacity() -> String {
    format!("a power of two between {:#x} and {:#x}", Geometry::SMALLEST, Geometry::LARGEST)
}

impl Config {
    fn geometry(&self) -> Result<Geometry, RingError> {
        let capacity = self.capacity as u64;
        Geometry::new(capacity, self.checksum, self.wipe).ok_or(RingError::Capacity { found: capacity })
    }
}

fn body_len(geometry: &Geometry) -> usize {
    RECORDS + geometry.capacity as usize
}

fn init(geometry: Geometry) -> impl Fn(&Body) {
    move |body| {
        let control = body.place::<Control>(0).expect("the body holds the control words");
        // Relaxed: nobody sees the segment before it has a name. All else is zero: vacant seats, an empty ring.
        control.config[0].store(geometry.capacity, Relaxed);
        let flag = |on, flag| if on { flag } else { 0 };
        control.config[1].store(flag(geometry.checksum, CHECKSUM) | flag(geometry.wipe, WIPE), Relaxed);
    }
}

impl Ring {
    /// Makes a new ring under a name in `/dev/shm`.
    ///
    /// # Errors
    /// [`RingError`], also if the name is taken.
    pub fn create(name: &str, options: &Options, config: &Config) -> Result<Self, RingError> {
        let geometry = config.geometry()?;
        Self::from_segment(Segment::create(name, options, Kind::SPSC, body_len(&geometry), init(geometry))?)
    }

    /// Makes a new ring without a name: for processes that inherit it or are handed its descriptor.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn memfd(options: &Options, config: &Config) -> Result<Self, RingError> {
        let geometry = config.geometry()?;
        Self::from_segment(Segment::memfd(options, Kind::SPSC, body_len(&geometry), init(geometry))?)
    }

    /// Opens the ring of this name.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn open(name: &str) -> Result<Self, RingError> {
        Self::from_segment(Segment::open(name, Kind::SPSC)?)
    }

    /// Opens the ring of this name, or makes it. Says whether it was made.
    ///
    /// # Errors
    /// [`RingError`], also if it exists with another configuration.
    pub fn open_or_create(name: &str, options: &Options, config: &Config) -> Result<(Self, bool), RingError> {
        let geometry = config.geometry()?;
        let (segment, created) =
            Segment::open_or_create(name, options, Kind::SPSC, body_len(&geometry), init(geometry))?;
        let ring = Self::from_segment(segment)?;
        let differs = |field, found, expected| Err(RingError::Differs { field, found, expected });
        if ring.geometry.capacity != geometry.capacity {
            return differs("capacity", ring.geometry.capacity, geometry.capacity);
        }
        if ring.geometry.checksum != geometry.checksum {
            return differs("checksum setting", ring.geometry.checksum.into(), geometry.checksum.into());
        }
        if ring.geometry.wipe != geometry.wipe {
            return differs("wipe setting", ring.geometry.wipe.into(), geometry.wipe.into());
        }
        Ok((ring, created))
    }

    /// The ring in a segment that is open already.
    ///
    /// # Errors
    /// [`RingError`], if the segment holds none.
    pub fn from_segment(segment: Segment) -> Result<Self, RingError> {
        let control = segment.body::<Control>(0)?;
        // Relaxed: written before the segment had a name. Read once: from here on only the private copy counts.
        let (capacity, flags) = (control.config[0].load(Relaxed), control.config[1].load(Relaxed));
        if flags & !(CHECKSUM | WIPE) != 0 {
            let expected = format!("some bits of {:#x}", CHECKSUM | WIPE);
            return Err(Corrupt { field: "the word of flags", found: flags, expected }.into());
        }
        let geometry = Geometry::new(capacity, flags & CHECKSUM != 0, flags & WIPE != 0).ok_or_else(|| Corrupt {
            field: "the capacity",
            found: capacity,
            expected: allowed_capacity(),
        })?;
        let granules = segment.body_slice(RECORDS, (geometry.capacity / GRANULE) as usize)?;
        Ok(Self { table: segment.table(), control, granules, geometry, segment })
    }

    /// The segment that it lives in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}
