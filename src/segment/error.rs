//! What can go wrong with a segment; one enum per operation.

use super::format::Kind;
use crate::owner::MAX_SLOTS;
use core::fmt;
use std::io;

/// A name that no segment can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadName {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no name for a segment: {}; expected 1 to 255 bytes, with no slash but one in front",
            self.name, self.reason
        )
    }
}

/// Why a segment could not be made.
#[derive(Debug)]
pub enum CreateError {
    /// No segment can have that name.
    BadName(BadName),
    /// The name is taken.
    Exists {
        /// The name.
        name: String,
    },
    /// The number of slots is not allowed.
    Slots {
        /// The number found.
        found: u32,
    },
    /// The mode has more than permission bits.
    Mode {
        /// The mode found.
        found: u32,
    },
    /// No file can be so large.
    TooLarge {
        /// Bytes of the body.
        body: usize,
    },
    /// This process may not make files so large (`RLIMIT_FSIZE`).
    FileSizeLimit {
        /// Bytes that the segment needs.
        needed: u64,
        /// Bytes that a file may have.
        limit: u64,
    },
    /// There is not enough space.
    NoSpace {
        /// Bytes that the segment needs.
        needed: u64,
    },
    /// `/dev/shm` has no room for one more file, however small.
    NoMoreFiles,
    /// This user may not make files in `/dev/shm`, or it is mounted read-only.
    Permission,
    /// A system call failed.
    Os {
        /// Which one.
        operation: &'static str,
        /// Its error.
        source: io::Error,
    },
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(error) => error.fmt(f),
            Self::Exists { name } => write!(f, "the segment {name:?} exists: open it, or unlink it first"),
            Self::Slots { found } => write!(f, "found {found} slots, expected 1 to {MAX_SLOTS}: ask for that"),
            Self::Mode { found } => {
                write!(f, "found mode {found:#o}, expected permission bits only: ask for at most 0o777")
            }
            Self::TooLarge { body } => {
                write!(f, "a body of {body} bytes is larger than a file can be: make a smaller segment")
            }
            Self::FileSizeLimit { needed, limit } => write!(
                f,
                "a segment of {needed} bytes is over this process's limit of {limit} for a file: raise it (RLIMIT_FSIZE, \
                 `ulimit -f`), or make a smaller one"
            ),
            Self::NoMoreFiles => f.write_str("no room in /dev/shm for one more file: remove some"),
            Self::Permission => f.write_str(
                "no permission to make a file in /dev/shm: see that it is mounted to be written by this user",
            ),
            Self::NoSpace { needed } => {
                write!(f, "no space for a segment of {needed} bytes: free some, or make a smaller one")
            }
            Self::Os { operation, source } => write!(f, "{operation} failed: {source}"),
        }
    }
}

/// Why a segment could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// No segment can have that name.
    BadName(BadName),
    /// There is none of that name.
    NotFound {
        /// The name.
        name: String,
    },
    /// This user may not read and write it.
    Permission {
        /// The name.
        name: String,
    },
    /// It cannot be written: its descriptor, its file system or a seal forbids that.
    ReadOnly {
        /// What forbids it.
        found: &'static str,
    },
    /// It can be made shorter while it is mapped, though it could have been sealed against that: a memfd that its maker has not sealed.
    NotSealed {
        /// The seals that it has, as `F_GET_SEALS` gives them.
        found: u32,
    },
    /// It is a directory, a fifo, a link or the like.
    NotARegularFile {
        /// What it is.
        found: &'static str,
    },
    /// It is shorter than it must be, or than its header says.
    TooShort {
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// Another version of the layout.
    Version {
        /// The version found.
        found: u32,
        /// The version that this library knows.
        supported: u32,
    },
    /// It holds another structure.
    Kind {
        /// The kind found.
        found: Kind,
        /// The kind asked for.
        expected: Kind,
    },
    /// A field of its header is not what it must be.
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: u64,
        /// What it must hold.
        expected: String,
    },
    /// A system call failed.
    Os {
        /// Which one.
        operation: &'static str,
        /// Its error.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(error) => error.fmt(f),
            Self::NotFound { name } => write!(f, "there is no segment {name:?}: create it first"),
            Self::Permission { name } => {
                write!(f, "no permission to read and write the segment {name:?}: ask its owner")
            }
            Self::ReadOnly { found } => {
                write!(
                    f,
                    "found {found}, expected to read and write the segment: open it with O_RDWR where that is allowed"
                )
            }
            Self::NotSealed { found } => write!(
                f,
                "found a memfd that can be made shorter (seals {found:#x}), expected one with F_SEAL_SHRINK: seal it before it is handed \
                 over"
            ),
            Self::NotARegularFile { found } => write!(f, "found {found}, expected a segment: choose another name"),
            Self::TooShort { found, expected } => {
                write!(f, "the segment is cut short: found {found} bytes, expected {expected}; make it anew")
            }
            Self::Version { found, supported } => {
                let than = if found > supported { "newer: update this program" } else { "older: make it anew" };
                write!(f, "the segment has layout version {found}, expected {supported}; it is {than}")
            }
            Self::Kind { found, expected } => {
                write!(
                    f,
                    "the segment is of kind {found}, expected {expected}: open it as what it is, or choose another name"
                )
            }
            Self::Field { field, found, expected } => {
                write!(f, "not a segment, or a damaged one: {field} is {found:#x}, expected {expected}; make it anew")
            }
            Self::Os { operation, source } => write!(f, "{operation} failed: {source}"),
        }
    }
}

/// Why a segment could be neither opened nor made.
#[derive(Debug)]
pub enum OpenOrCreateError {
    /// It exists, and could not be opened.
    Open(OpenError),
    /// It did not exist, and could not be made.
    Create(CreateError),
    /// Others kept making and unlinking it.
    Unsteady {
        /// Rounds that were tried.
        rounds: usize,
    },
}

impl fmt::Display for OpenOrCreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Create(error) => error.fmt(f),
            Self::Unsteady { rounds } => {
                write!(
                    f,
                    "others made and unlinked the segment {rounds} times while it was opened: settle who owns the name"
                )
            }
        }
    }
}

/// Why a name could not be taken away.
#[derive(Debug)]
pub enum UnlinkError {
    /// No segment can have that name.
    BadName(BadName),
    /// There is none of that name.
    NotFound {
        /// The name.
        name: String,
    },
    /// A system call failed.
    Os {
        /// Which one.
        operation: &'static str,
        /// Its error.
        source: io::Error,
    },
}

impl fmt::Display for UnlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(error) => error.fmt(f),
            Self::NotFound { name } => write!(f, "there is no segment {name:?}: check the name, or it is gone already"),
            Self::Os { operation, source } => write!(f, "{operation} failed: {source}"),
        }
    }
}

/// A place that does not lie in the body of its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBody {
    /// Offset in the body, in bytes.
    pub offset: usize,
    /// Bytes asked for; `None` if that is more than can be counted.
    pub bytes: Option<usize>,
    /// Alignment asked for, in bytes.
    pub align: usize,
    /// Bytes of the body.
    pub body: usize,
}

impl fmt::Display for OutOfBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, bytes, align, body } = self;
        let bytes = bytes.map_or_else(|| "too many".to_owned(), |bytes| bytes.to_string());
        write!(
            f,
            "the segment is too small for its structure, or another one: {bytes} bytes at {offset} (aligned to {align}) do not lie in its body of {body} bytes; make it anew"
        )
    }
}

macro_rules! errors {
    ($($name:ident),+) => {$( impl std::error::Error for $name {} )+};
}
errors!(CreateError, OpenError, OpenOrCreateError, UnlinkError, OutOfBody, BadName);

macro_rules! from {
    ($($error:ident => $name:ident :: $variant:ident),+ $(,)?) => {$(
        impl From<$error> for $name {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )+};
}
from!(
    BadName => CreateError::BadName,
    BadName => OpenError::BadName,
    BadName => UnlinkError::BadName,
    OpenError => OpenOrCreateError::Open,
    CreateError => OpenOrCreateError::Create,
);

/// Conversions for the error of a structure that lives in a segment: from each error that a segment can give, and from others of its own.
macro_rules! from_segments {
    ($error:ident $(, $other:ident => $variant:ident)*) => {
        $crate::segment::from_segments!(
            @ $error, OpenError => Open, CreateError => Create, OpenOrCreateError => OpenOrCreate, OutOfBody => Body
            $(, $other => $variant)*
        );
    };
    (@ $error:ident $(, $from:ident => $variant:ident)+) => {$(
        impl From<$from> for $error {
            fn from(error: $from) -> Self {
                Self::$variant(error)
            }
        }
    )+};
}
pub(crate) use from_segments;
