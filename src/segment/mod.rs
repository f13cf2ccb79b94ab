//! Shared memory that is born whole, and validated when it is opened.
//!
//! **What it guarantees.** Nobody ever opens a half-made segment: it is built without a name, with all its space allocated, and
//! linked into `/dev/shm` in one step. Whoever opens one has checked every field of its header against the real size of the
//! object, and goes by a private copy from then on.
//!
//! **What survives a death.** A creator that is killed leaves nothing behind. (Where `/dev/shm` has no `O_TMPFILE`, it may
//! leave one file called `.ownerdead.PID.N`.) Segments outlive all processes until they are unlinked.
//!
//! **What it cannot do.** A file in `/dev/shm` can be truncated by whoever may write it; touching what is gone is SIGBUS, unless the
//! process has called [`catch_truncation`]. A memfd segment is sealed against that, and one that is not is refused.
//!
//! ```text
//! 0       header, one page:  magic | version, kind | length | slots, flags | slots offset | body offset | body length | checksum
//! 4096    the participants' table: a page for each slot
//! ...     the body, on a page of its own: the structure
//! ```

mod error;
mod format;
pub(crate) mod image;
mod mapping;
mod posix;

pub(crate) use error::from_segments;
pub use error::{BadName, CreateError, OpenError, OpenOrCreateError, OutOfBody, UnlinkError};
pub use format::Kind;

pub use crate::sync::backing::Truncated;

use crate::owner::{AttachError, Attachment, MAX_SLOTS, Slot, Table};
use crate::sync::Line;
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sync::backing::{self, Backing};
use crate::sync::cell::Granule;
use crate::sync::shm::Shared;
use format::Header;
use mapping::Mapping;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// How a segment is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    slots: u32,
    mode: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// 16 slots, mode 0600.
    pub const fn new() -> Self {
        Self { slots: 16, mode: 0o600 }
    }

    /// How many threads can take part at a time, 1 to 4094; each costs a page of 4096 bytes.
    pub const fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// Permissions of the file, exactly: the umask is not applied.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// How many slots a segment that is made with these has.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots as usize
    }

    fn check(&self) -> Result<(), CreateError> {
        if !(1..=MAX_SLOTS as u32).contains(&self.slots) {
            return Err(CreateError::Slots { found: self.slots });
        }
        if self.mode & !0o777 != 0 {
            return Err(CreateError::Mode { found: self.mode });
        }
        Ok(())
    }
}

/// A type that may lie in a segment.
///
/// # Safety
/// Every pattern of bytes is a valid value, all-zero ones too; and all of it that ever changes is interior mutable, by
/// atomics or cells of [`crate::sync`].
pub unsafe trait Place {}

// SAFETY: integers, wholly interior mutable.
unsafe impl Place for AtomicU32 {}
// SAFETY: as above.
unsafe impl Place for AtomicU64 {}
// SAFETY: as above.
unsafe impl Place for Granule {}
// SAFETY: a `T` and padding.
unsafe impl<T: Place> Place for Line<T> {}
// SAFETY: the life word and the gate are atomics; the rest is never read.
unsafe impl Place for Slot {}

/// The body of a segment, while it is made or looked at.
#[derive(Debug)]
pub struct Body {
    mapping: Arc<Mapping>,
    /// Invariant 1: `offset + length` is at most the mapping's length, and `offset` is a multiple of 4096.
    offset: usize,
    length: usize,
}

impl Body {
    /// The `T` at `offset` of the body.
    ///
    /// # Errors
    /// [`OutOfBody`], if it does not lie in the body, or is not aligned there.
    pub fn place<T: Place>(&self, offset: usize) -> Result<Shared<T>, OutOfBody> {
        Ok(self.slice::<T>(offset, 1)?.project(|places| &places[0]))
    }

    /// `count` of them, one after the other.
    ///
    /// # Errors
    /// As for [`Self::place`].
    pub fn slice<T: Place>(&self, offset: usize, count: usize) -> Result<Shared<[T]>, OutOfBody> {
        let bytes = count.checked_mul(size_of::<T>());
        let end = bytes.and_then(|bytes| offset.checked_add(bytes));
        if end.is_none_or(|end| end > self.length) || !offset.is_multiple_of(align_of::<T>()) || align_of::<T>() > 4096
        {
            return Err(OutOfBody { offset, bytes, align: align_of::<T>(), body: self.length });
        }
        Ok(self.mapping.slice(self.offset + offset, count))
    }
}

/// From now on a truncated file is an error of its segment, and not the end of this process.
///
/// A file in `/dev/shm` can be truncated by whoever may write it, and to touch what is gone is SIGBUS. This installs a handler of that
/// signal, for the whole process: so it is the program's to call, early, and no part of the library does. Where a segment of this library
/// was touched, all of its mapping becomes private memory of zeroes: this process is cut off from it. Each operation on it from then on
/// is an error that says so, `Corrupt` or `Truncated`, and what sleeps there is woken. The call in which the fault came may say that there is
/// nothing (`Empty`, `Full`, `WouldBlock`), or that something is damaged, or that a record was written, which nobody will read; it gives no
/// value, and no guard, that was made of the zeroes. What was given as a reference before (a guard's value, a record in place) reads as
/// zeroes, and [`Segment::is_whole`] says so.
///
/// Any other SIGBUS goes to whom it went before: a handler that was there, or the end of the process. Called again it does nothing; a
/// handler that somebody installs later takes its place, and is to pass on what is not its own. Children that are forked inherit it; `exec`
/// takes it away.
///
/// # Errors
/// That of `sigaction(2)`.
pub fn catch_truncation() -> io::Result<()> {
    backing::catch()
}

/// A shared-memory segment, mapped.
#[derive(Clone, Debug)]
pub struct Segment {
    mapping: Arc<Mapping>,
    file: Arc<OwnedFd>,
    /// Validated against the mapping's length: the segment's own copy counts no more.
    header: Header,
}

impl Segment {
    /// Makes a new segment under `name` in `/dev/shm`. `init` fills its body, which is all zero, before anybody can open it.
    ///
    /// # Errors
    /// [`CreateError`], and nothing is left behind.
    pub fn create(
        name: &str,
        options: &Options,
        kind: Kind,
        body_len: usize,
        init: impl FnOnce(&Body),
    ) -> Result<Self, CreateError> {
        let name = posix::Name::parse(name)?;
        let newborn = posix::Newborn::new(options.mode)?;
        let segment = Self::build(newborn.fd()?, options, kind, body_len, init)?;
        newborn.link(&name)?;
        Ok(segment)
    }

    /// Makes a new segment without a name, sealed against shrinking.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn memfd(
        options: &Options,
        kind: Kind,
        body_len: usize,
        init: impl FnOnce(&Body),
    ) -> Result<Self, CreateError> {
        let segment = Self::build(posix::memfd()?, options, kind, body_len, init)?;
        posix::seal(&segment.file)?;
        Ok(segment)
    }

    /// Opens the segment of this name.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(name: &str, kind: Kind) -> Result<Self, OpenError> {
        Self::from_fd(posix::open(&posix::Name::parse(name)?)?, kind)
    }

    /// Opens the segment of this name, or makes it; says whether it was made.
    ///
    /// # Errors
    /// [`OpenOrCreateError`].
    pub fn open_or_create(
        name: &str,
        options: &Options,
        kind: Kind,
        body_len: usize,
        init: impl Fn(&Body),
    ) -> Result<(Self, bool), OpenOrCreateError> {
        // Each round lost means that somebody else has made or unlinked it meanwhile.
        const ROUNDS: usize = 64;
        for _ in 0..ROUNDS {
            match Self::open(name, kind) {
                Err(OpenError::NotFound { .. }) => {}
                opened => return Ok((opened?, false)),
            }
            match Self::create(name, options, kind, body_len, &init) {
                Err(CreateError::Exists { .. }) => {}
                created => return Ok((created?, true)),
            }
        }
        Err(OpenOrCreateError::Unsteady { rounds: ROUNDS })
    }

    /// The segment in an open file: a memfd that was handed over, say.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn from_fd(file: OwnedFd, kind: Kind) -> Result<Self, OpenError> {
        let length = posix::regular_file_length(&file)?;
        if length < format::PAGE as u64 {
            return Err(OpenError::TooShort { found: length, expected: format::PAGE as u64 });
        }
        let length = usize::try_from(length).map_err(|_| OpenError::TooShort { found: length, expected: 0 })?;
        let mapping = Arc::new(posix::map(&file, length)?);
        posix::cannot_shrink_where_it_could_be_sealed(&file)?;
        let header = Header::read(&mapping.slice(0, format::WORDS), length as u64, kind)?;
        Ok(Self { mapping, file: Arc::new(file), header })
    }

    /// Takes the name away; the memory lives on until nobody has it mapped.
    ///
    /// # Errors
    /// [`UnlinkError`].
    pub fn unlink(name: &str) -> Result<(), UnlinkError> {
        posix::unlink(&posix::Name::parse(name)?)
    }

    fn build(
        file: OwnedFd,
        options: &Options,
        kind: Kind,
        body_len: usize,
        init: impl FnOnce(&Body),
    ) -> Result<Self, CreateError> {
        options.check()?;
        let header = Header::new(kind, options.slots, body_len).ok_or(CreateError::TooLarge { body: body_len })?;
        posix::allocate(&file, header.total)?;
        let mapping = Mapping::new(&file, header.total as usize)
            .map_err(|source| CreateError::Os { operation: "mmap", source })?;
        let segment = Self { mapping: Arc::new(mapping), file: Arc::new(file), header };
        init(&segment.whole_body());
        segment.header.write(&segment.mapping.slice(0, format::WORDS));
        Ok(segment)
    }

    /// Its participants' table.
    pub fn table(&self) -> Table {
        let slots = self.mapping.slice(self.header.slots_offset as usize, self.header.slots as usize);
        Table::over(slots).backed(self.backing())
    }

    pub(crate) fn backing(&self) -> Backing {
        self.mapping.backing()
    }

    /// Whether the mapping is still that of its file, as far as this process has noticed: by an access to what is gone, after
    /// [`catch_truncation`]. For those who have references into the segment (a guard, a record in place), and for operations that
    /// have no error.
    ///
    /// # Errors
    /// [`Truncated`]. It stays so; others may have made the file longer again.
    pub fn is_whole(&self) -> Result<(), Truncated> {
        self.backing().check()
    }

    /// Makes the calling thread a participant.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        Attachment::attach(&self.table())
    }

    /// Bytes of the body.
    pub fn body_len(&self) -> usize {
        self.header.body_len as usize
    }

    /// The `T` at `offset` of the body.
    ///
    /// # Errors
    /// [`OutOfBody`], if it does not lie in the body, or is not aligned there.
    pub fn body<T: Place>(&self, offset: usize) -> Result<Shared<T>, OutOfBody> {
        self.whole_body().place(offset)
    }

    /// `count` of them, one after the other.
    ///
    /// # Errors
    /// As for [`Self::body`].
    pub fn body_slice<T: Place>(&self, offset: usize, count: usize) -> Result<Shared<[T]>, OutOfBody> {
        self.whole_body().slice(offset, count)
    }

    fn whole_body(&self) -> Body {
        Body { mapping: Arc::clone(&self.mapping), offset: self.header.body_offset as usize, length: self.body_len() }
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
