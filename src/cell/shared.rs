//! Cells in segments.
//!
//! ```text
//! body + 0     fingerprint, size and alignment of the value's type | buffers of each key | keys
//!      + 128   control words: 128 bytes for each key
//!      + ...   buffers: those of key 0, of key 1, ...; each begins at a multiple of 64 bytes
//! ```

use super::place::{Cells, Control, Geometry, store};
use super::{Board, Corrupt, SeqLock, Snapshot, board, snapshot};
use crate::data::Data;
use crate::segment::{
    Body, CreateError, Kind, OpenError, OpenOrCreateError, Options, OutOfBody, Place, Segment, from_segments,
};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use core::marker::PhantomData;

pub(super) const CONTROLS: usize = 128;
/// Bytes from one key's control words to the next one's.
pub(super) const CONTROL: usize = size_of::<Line<Control>>();

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Control, sequence) == 0 && offset_of!(Control, begun) == 8);
    assert!(offset_of!(Control, seat) == 16 && offset_of!(Control, gate) == 32);
    assert!(CONTROL == 128 && CONTROLS.is_multiple_of(CONTROL));
};

// SAFETY: it is made of atomics only, so any bytes are a valid value and all of it is interior mutable.
unsafe impl Place for Control {}

/// Why a segment gave no cell.
#[derive(Debug)]
pub enum CellError {
    /// The segment could not be opened.
    Open(OpenError),
    /// It could not be created.
    Create(CreateError),
    /// It could be neither opened nor created.
    OpenOrCreate(OpenOrCreateError),
    /// It is smaller than its cell says.
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
    /// The segment's configuration is not what a cell has.
    Corrupt(Corrupt),
    /// Its values are of another type.
    Type {
        /// What differs: the fingerprint, the size or the alignment.
        field: &'static str,
        /// What the segment says.
        found: u64,
        /// What the type has.
        expected: u64,
    },
    /// The cell exists, and is another one than asked for.
    Differs {
        /// What differs.
        field: &'static str,
        /// What the cell has.
        found: u64,
        /// What was asked for.
        expected: u64,
    },
}

impl core::fmt::Display for CellError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Create(error) => error.fmt(f),
            Self::OpenOrCreate(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Config { field, found, expected } => {
                write!(f, "a cell with {field} of {found} is not allowed, expected {expected}: ask for that")
            }
            Self::Corrupt(corrupt) => corrupt.fmt(f),
            Self::Type { field, found, expected } => write!(
                f,
                "the cell has values of another type: its {field} is {found:#x}, expected {expected:#x}; open it with the type \
                 that it was created with"
            ),
            Self::Differs { field, found, expected } => {
                write!(
                    f,
                    "the cell exists with another {field}: found {found}, asked for {expected}; unlink it, or ask for that"
                )
            }
        }
    }
}

impl std::error::Error for CellError {}

from_segments!(CellError, Corrupt => Corrupt);

/// What the body begins with.
fn config_words<T: Data>(geometry: &Geometry) -> [u64; 5] {
    [T::FINGERPRINT, geometry.size, align_of::<T>() as u64, geometry.buffers, geometry.keys]
}

/// Where `buffers` of each key may lie in cells of this kind.
pub(super) fn allowed_buffers(kind: Kind) -> core::ops::RangeInclusive<u64> {
    if kind == Kind::SEQLOCK { 1..=1 } else { 2..=Geometry::MOST_BUFFERS }
}

/// How many keys cells of this kind may have.
pub(super) fn allowed_keys(kind: Kind) -> core::ops::RangeInclusive<u64> {
    if kind == Kind::BOARD { 1..=Geometry::MOST_KEYS } else { 1..=1 }
}

/// What is wrong with a geometry: the field, what it is, what it may be.
pub(super) fn fault(kind: Kind, geometry: &Geometry) -> Option<(&'static str, u64, String)> {
    let said = |range: core::ops::RangeInclusive<u64>| format!("{} to {}", range.start(), range.end());
    if !allowed_buffers(kind).contains(&geometry.buffers) {
        Some(("a number of buffers", geometry.buffers, said(allowed_buffers(kind))))
    } else if !allowed_keys(kind).contains(&geometry.keys) {
        Some(("a number of keys", geometry.keys, said(allowed_keys(kind))))
    } else if body_len(geometry).is_none() {
        Some(("a size of the value", geometry.size, "less than all memory, times buffers and keys".into()))
    } else {
        None
    }
}

/// Where the buffers begin.
fn buffers_at(geometry: &Geometry) -> Option<usize> {
    CONTROL.checked_mul(usize::try_from(geometry.keys).ok()?)?.checked_add(CONTROLS)
}

/// Bytes of the body.
pub(super) fn body_len(geometry: &Geometry) -> Option<usize> {
    buffers_at(geometry)?.checked_add(geometry.words()?.checked_mul(8)?)
}

/// A geometry that was asked for, and the bytes that it takes.
fn asked(kind: Kind, geometry: Geometry) -> Result<(Geometry, usize), CellError> {
    match fault(kind, &geometry) {
        Some((field, found, expected)) => Err(CellError::Config { field, found, expected }),
        None => Ok((geometry, body_len(&geometry).expect("it has no fault"))),
    }
}

/// Fills a body that is all zero, and that nobody else can reach yet. All else is zero: vacant seats, sequence 0.
fn init<T: Data>(geometry: Geometry, value: Option<T>) -> impl Fn(&Body) {
    move |body| {
        let words = body.slice::<AtomicU64>(0, 5).expect("body_len holds the words");
        for (word, value) in words.iter().zip(config_words::<T>(&geometry)) {
            // Relaxed: nobody sees the segment before it has a name.
            word.store(value, Relaxed);
        }
        if let Some(value) = value {
            let at = buffers_at(&geometry).expect("it has no fault");
            let buffer = body.slice::<AtomicU64>(at, geometry.used()).expect("body_len holds the buffers");
            store(&buffer, 0, &value);
        }
    }
}

impl<T: Data> Cells<T> {
    /// The cells in a segment, all of which but the header is still untrusted.
    fn over(segment: Segment, kind: Kind) -> Result<Self, CellError> {
        // Relaxed: written before the segment had a name. Read once: from here on only the private copy counts.
        let words = segment.body_slice::<AtomicU64>(0, 5)?;
        let found: [u64; 5] = core::array::from_fn(|index| words[index].load(Relaxed));
        let geometry = Geometry { keys: found[4], buffers: found[3], size: size_of::<T>() as u64 };
        let fields = ["fingerprint", "size in bytes", "alignment in bytes"];
        for ((field, found), expected) in fields.into_iter().zip(found).zip(config_words::<T>(&geometry)) {
            if found != expected {
                return Err(CellError::Type { field, found, expected });
            }
        }
        if let Some((field, found, expected)) = fault(kind, &geometry) {
            return Err(Corrupt { field, found, expected }.into());
        }
        let (at, words) = (buffers_at(&geometry).expect("no fault"), geometry.words().expect("no fault"));
        Ok(Self {
            table: segment.table(),
            controls: segment.body_slice(CONTROLS, geometry.keys as usize)?,
            words: segment.body_slice(at, words)?,
            geometry,
            segment,
            value: PhantomData,
        })
    }

    /// Whether it is as wanted.
    fn matching(self, wanted: &Geometry) -> Result<Self, CellError> {
        let found = &self.geometry;
        for (field, found, expected) in
            [("number of buffers", found.buffers, wanted.buffers), ("number of keys", found.keys, wanted.keys)]
        {
            if found != expected {
                return Err(CellError::Differs { field, found, expected });
            }
        }
        Ok(self)
    }
}

/// The ways to have a cell in a segment. `$arguments` say what is asked for.
macro_rules! in_segments {
    ($cell:ident, $kind:expr, ($($argument:ident: $type:ty),*), $geometry:expr, $value:expr) => {
        impl<T: Data> $cell<T> {
            /// Makes a new one under a name in `/dev/shm`.
            ///
            /// # Errors
            /// [`CellError`], also if the name is taken.
            pub fn create(name: &str, options: &Options, $($argument: $type),*) -> Result<Self, CellError> {
                let (geometry, len) = asked($kind, $geometry)?;
                Self::over(Segment::create(name, options, $kind, len, init::<T>(geometry, $value))?)
            }

            /// Makes a new one without a name: for processes that inherit it or are handed its descriptor.
            ///
            /// # Errors
            /// [`CellError`].
            pub fn memfd(options: &Options, $($argument: $type),*) -> Result<Self, CellError> {
                let (geometry, len) = asked($kind, $geometry)?;
                Self::over(Segment::memfd(options, $kind, len, init::<T>(geometry, $value))?)
            }

            /// Opens the one of this name.
            ///
            /// It is safe: values are copied, and any bytes are a valid `T`.
            ///
            /// # Errors
            /// [`CellError`].
            pub fn open(name: &str) -> Result<Self, CellError> {
                Self::over(Segment::open(name, $kind)?)
            }

            /// Opens the one of this name, or makes it. Says whether it was made.
            ///
            /// # Errors
            /// [`CellError`], also if it exists with another configuration.
            pub fn open_or_create(
                name: &str,
                options: &Options,
                $($argument: $type),*
            ) -> Result<(Self, bool), CellError> {
                let (geometry, len) = asked($kind, $geometry)?;
                let (segment, created) =
                    Segment::open_or_create(name, options, $kind, len, init::<T>(geometry, $value))?;
                Ok((Self { cells: Cells::over(segment, $kind)?.matching(&geometry)? }, created))
            }

            /// The one in a segment that is open already.
            ///
            /// # Errors
            /// [`CellError`], if the segment holds none.
            pub fn from_segment(segment: Segment) -> Result<Self, CellError> {
                Self::over(segment)
            }

            /// The segment that it lives in.
            pub fn segment(&self) -> &Segment {
                &self.cells.segment
            }

            fn over(segment: Segment) -> Result<Self, CellError> {
                Ok(Self { cells: Cells::over(segment, $kind)? })
            }
        }
    };
}

in_segments!(SeqLock, Kind::SEQLOCK, (value: T), Geometry::of::<T>(1, 1), Some(value));
in_segments!(Snapshot, Kind::SNAPSHOT, (config: &snapshot::Config, value: T), config.geometry::<T>(1), Some(value));
in_segments!(Board, Kind::BOARD, (config: &board::Config), config.snapshot.geometry::<T>(config.keys), None);
