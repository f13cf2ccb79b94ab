//! A mutex of either kind, or a reader-writer lock, in a segment.
//!
//! ```text
//! body + 0     the lock word, on a line of its own: 64 bits (robust) or 32 (futex)
//!      + 128   fingerprint, size and alignment of the guarded type
//!      + 192   four condition variables of 16 bytes (robust); those who do not know them leave them 0
//!      + 256   the guarded value
//!      ...     of a reader-writer lock: on lines of their own, a place for each slot of the participants' table
//! ```

use super::barrier::MAX_PARTIES;
use super::condvar;
use super::futex::FutexMutex;
use super::robust::RobustMutex;
use super::rwlock::RwLock;
use crate::data::Data;
use crate::segment::{
    Body, CreateError, Kind, OpenError, OpenOrCreateError, Options, OutOfBody, Place, Segment, from_segments,
};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::cell::SharedCell;
use crate::sync::{Line, Waiting, thread};

pub(super) const WORD: usize = 0;
pub(super) const TYPE: usize = 128;
pub(super) const CONDVARS_AT: usize = 192;
pub(super) const VALUE: usize = 256;

// SAFETY: a `Data` is valid whatever its bytes are, and `SharedCell` gives only pointers to it.
unsafe impl<T: Data> Place for SharedCell<T> {}
// SAFETY: atomics, and bytes that nobody reads.
unsafe impl Place for [condvar::Words; condvar::CONDVARS] {}
const _: () = assert!(CONDVARS_AT + size_of::<[condvar::Words; condvar::CONDVARS]>() <= VALUE);

/// Why a segment gave no lock.
#[derive(Debug)]
pub enum SharedError {
    /// The segment could not be opened.
    Open(OpenError),
    /// It could not be created.
    Create(CreateError),
    /// It could be neither opened nor created.
    OpenOrCreate(OpenOrCreateError),
    /// It is too small for the guarded type.
    Body(OutOfBody),
    /// The page that tells a forked child from its parent could not be made.
    Fork(std::io::Error),
    /// It guards another type.
    Type {
        /// What differs: the fingerprint, the size or the alignment.
        field: &'static str,
        /// What the segment says.
        found: u64,
        /// What the type has.
        expected: u64,
    },
    /// A barrier cannot have so many parties: asked for, or what the segment says.
    Parties {
        /// How many.
        found: u64,
    },
    /// The barrier exists for another number of parties than asked for.
    PartiesDiffer {
        /// How many it has.
        found: usize,
        /// How many were asked for.
        expected: usize,
    },
}

impl core::fmt::Display for SharedError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Create(error) => error.fmt(f),
            Self::OpenOrCreate(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Fork(error) => {
                write!(f, "madvise(MADV_WIPEONFORK) failed: {error}; it needs Linux 4.14, and to be allowed")
            }
            Self::Parties { found } => {
                write!(f, "a barrier cannot have {found} parties, expected 1 to {MAX_PARTIES}: make one with so many")
            }
            Self::PartiesDiffer { found, expected } => write!(
                f,
                "the barrier exists for another number of parties: found {found}, asked for {expected}; unlink it, or ask for that"
            ),
            Self::Type { field, found, expected } => write!(
                f,
                "the lock guards another type: its {field} is {found:#x}, expected {expected:#x}; open it with the type that \
                 it was created with"
            ),
        }
    }
}

impl std::error::Error for SharedError {}

from_segments!(SharedError);

/// What the segment says of the guarded type: three words.
fn type_words<T: Data>() -> [(&'static str, u64); 3] {
    [
        ("fingerprint", T::FINGERPRINT),
        ("size in bytes", size_of::<T>() as u64),
        ("alignment in bytes", align_of::<T>() as u64),
    ]
}

/// Where the guarded value of type `T` ends in the body.
pub(super) const fn body_len<T: Data>() -> usize {
    assert!(align_of::<T>() <= VALUE, "a guarded type is aligned to at most 256 bytes");
    VALUE + size_of::<T>()
}

/// Says in the body of a segment that nobody can reach yet which type it is for.
pub(super) fn init_type<T: Data>(body: &Body) {
    let words = body.slice::<AtomicU64>(TYPE, 3).expect("body_len holds the words");
    for (word, (_, value)) in words.iter().zip(type_words::<T>()) {
        // Relaxed: nobody sees the segment before it has a name.
        word.store(value, Relaxed);
    }
}

/// Where a reader-writer lock's places begin in the body.
pub(super) const fn places(value_size: usize) -> usize {
    (VALUE + value_size).next_multiple_of(align_of::<Line<AtomicU64>>())
}

/// Fills the body of a segment that nobody can reach yet.
fn init<T: Data>(value: T) -> impl Fn(&Body) {
    move |body| {
        init_type::<T>(body);
        let cell = body.place::<SharedCell<T>>(VALUE).expect("body_len holds the value");
        // SAFETY: nobody else can reach the segment before it has a name; the place is aligned and large enough.
        unsafe { cell.get_mut().write(value) };
    }
}

/// Whether the segment is for a `T`.
pub(super) fn check_type<T: Data>(segment: &Segment) -> Result<(), SharedError> {
    let words = segment.body_slice::<AtomicU64>(TYPE, 3)?;
    for (word, (field, expected)) in words.iter().zip(type_words::<T>()) {
        // Relaxed: written before the segment had a name, and never again.
        let found = word.load(Relaxed);
        if found != expected {
            return Err(SharedError::Type { field, found, expected });
        }
    }
    Ok(())
}

/// The ways to have a lock in a segment; `$more` gives the bytes of the body, from the options and what all have; `$options` are the caller's, or what is made of them.
macro_rules! in_segments {
    ($mutex:ident, $kind:expr, $options:expr, $more:expr) => {
        impl<T: Data> $mutex<T> {
            const BODY: usize = body_len::<T>();

            fn body_of(options: &Options) -> usize {
                let more: fn(&Options, usize) -> usize = $more;
                more(options, Self::BODY)
            }

            /// Makes a new lock that guards `value`, under a name in `/dev/shm`.
            ///
            /// # Errors
            /// [`SharedError::Create`], also if the name is taken.
            pub fn create(name: &str, options: &Options, value: T) -> Result<Self, SharedError> {
                Self::over(Segment::create(name, &$options(options), $kind, Self::body_of(options), init(value))?)
            }

            /// Makes a new lock that guards `value`, without a name: for processes that inherit it or are handed its
            /// descriptor.
            ///
            /// # Errors
            /// [`SharedError::Create`].
            pub fn memfd(options: &Options, value: T) -> Result<Self, SharedError> {
                Self::over(Segment::memfd(&$options(options), $kind, Self::body_of(options), init(value))?)
            }

            /// Opens the lock of this name.
            ///
            /// # Errors
            /// [`SharedError`].
            ///
            /// # Safety
            /// Guards give references into the segment, so every process that can write it must follow the lock's
            /// protocol: it changes the guarded value only while it holds the lock.
            pub unsafe fn open(name: &str) -> Result<Self, SharedError> {
                Self::over(Segment::open(name, $kind)?)
            }

            /// Opens the lock of this name, or makes it with `value`. Says whether it was made.
            ///
            /// # Errors
            /// [`SharedError`].
            ///
            /// # Safety
            /// As for [`Self::open`].
            pub unsafe fn open_or_create(name: &str, options: &Options, value: T) -> Result<(Self, bool), SharedError> {
                let (segment, created) =
                    Segment::open_or_create(name, &$options(options), $kind, Self::body_of(options), init(value))?;
                Ok((Self::over(segment)?, created))
            }

            /// The lock in a segment that is open already.
            ///
            /// # Errors
            /// [`SharedError::Body`] or [`SharedError::Type`].
            ///
            /// # Safety
            /// As for [`Self::open`].
            pub unsafe fn from_segment(segment: Segment) -> Result<Self, SharedError> {
                Self::over(segment)
            }

            /// The segment that it lives in.
            pub fn segment(&self) -> &Segment {
                &self.segment
            }
        }
    };
}

in_segments!(RobustMutex, Kind::MUTEX, Options::clone, |_, body| body);
// Nobody takes part in its segment: one slot is the fewest that there can be.
in_segments!(FutexMutex, Kind::FUTEX_MUTEX, |options: &Options| options.slots(1), |_, body| body);
in_segments!(RwLock, Kind::RWLOCK, Options::clone, |options, body| {
    places(body - VALUE) + options.slot_count() * size_of::<Line<AtomicU64>>()
});

impl<T: Data> RobustMutex<T> {
    fn over(segment: Segment) -> Result<Self, SharedError> {
        check_type::<T>(&segment)?;
        let condvars = segment.body(CONDVARS_AT)?;
        Ok(Self { table: segment.table(), word: segment.body(WORD)?, data: segment.body(VALUE)?, condvars, segment })
    }
}

impl<T: Data> FutexMutex<T> {
    fn over(segment: Segment) -> Result<Self, SharedError> {
        check_type::<T>(&segment)?;
        // From here on, asking for the epoch cannot fail: its page is there.
        thread::epoch().map_err(SharedError::Fork)?;
        Ok(Self { word: segment.body(WORD)?, data: segment.body(VALUE)?, waiting: Waiting::default(), segment })
    }
}

impl<T: Data> RwLock<T> {
    fn over(segment: Segment) -> Result<Self, SharedError> {
        check_type::<T>(&segment)?;
        let table = segment.table();
        let places = segment.body_slice(places(size_of::<T>()), table.slots())?;
        Ok(Self { table, word: segment.body(WORD)?, places, data: segment.body(VALUE)?, segment })
    }
}
