//! Files in `/dev/shm`, and memfds: names, birth, opening.

use super::error::{BadName, CreateError, OpenError, UnlinkError};
use super::mapping::Mapping;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, SealFlag, fcntl, open as open_file, posix_fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{linkat, unlink as unlink_file};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where POSIX shared memory lives on Linux (`shm_open(3)`).
const DIRECTORY: &str = "/dev/shm";

/// A valid name, without its slash.
pub(super) struct Name(String);

impl Name {
    pub(super) fn parse(name: &str) -> Result<Self, BadName> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let reason = match bare {
            "" => Some("it is empty"),
            "." | ".." => Some("it is a directory"),
            _ if bare.contains('/') => Some("it has a slash"),
            _ if bare.contains('\0') => Some("it has a zero byte"),
            _ if bare.len() > 255 => Some("it is longer than 255 bytes"),
            _ => None,
        };
        match reason {
            Some(reason) => Err(BadName { name: name.to_owned(), reason }),
            None => Ok(Self(bare.to_owned())),
        }
    }

    fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.0)
    }
}

fn os(operation: &'static str) -> impl Fn(Errno) -> CreateError {
    move |errno| CreateError::Os { operation, source: errno.into() }
}

/// The error of an operation that makes one more file.
fn no_file(operation: &'static str) -> impl Fn(Errno) -> CreateError {
    move |errno| match errno {
        Errno::ENOSPC | Errno::EDQUOT => CreateError::NoMoreFiles,
        Errno::EACCES | Errno::EPERM | Errno::EROFS => CreateError::Permission,
        errno => os(operation)(errno),
    }
}

/// A file that has no name yet, or only a private one.
pub(super) struct Newborn {
    file: OwnedFd,
    /// Where it lies if the file system cannot make files without a name. Removed when this is dropped.
    private: Option<PathBuf>,
}

impl Newborn {
    pub(super) fn new(mode: u32) -> Result<Self, CreateError> {
        let bits = Mode::from_bits_truncate(mode & 0o777);
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let newborn = match open_file(DIRECTORY, flags | OFlag::O_TMPFILE, bits) {
            Ok(file) => Self { file, private: None },
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOENT) => Self::private(bits)?,
            Err(errno) => return Err(no_file("open /dev/shm with O_TMPFILE")(errno)),
        };
        // The umask has had its say in open; the caller asked for exactly this.
        fchmod(&newborn.file, bits).map_err(os("fchmod"))?;
        Ok(newborn)
    }

    fn private(bits: Mode) -> Result<Self, CreateError> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_CREAT | OFlag::O_EXCL;
        for number in 0.. {
            let path = Path::new(DIRECTORY).join(format!(".ownerdead.{}.{number}", std::process::id()));
            match open_file(&path, flags, bits) {
                Ok(file) => return Ok(Self { file, private: Some(path) }),
                // Another thread's, or what a killed process of the same PID has left.
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(no_file("open a private file in /dev/shm")(errno)),
            }
        }
        unreachable!("numbers do not run out")
    }

    /// The file, for whoever builds the segment in it.
    pub(super) fn fd(&self) -> Result<OwnedFd, CreateError> {
        self.file.try_clone().map_err(|source| CreateError::Os { operation: "dup", source })
    }

    /// Gives it its name, in one step, if nobody has that name.
    pub(super) fn link(self, name: &Name) -> Result<(), CreateError> {
        let from = match &self.private {
            Some(path) => path.clone(),
            None => PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd())),
        };
        // A private file keeps its private name until `self` is dropped, right below.
        match linkat(AT_FDCWD, &from, AT_FDCWD, &name.path(), AtFlags::AT_SYMLINK_FOLLOW) {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) => Err(CreateError::Exists { name: name.0.clone() }),
            Err(errno) => Err(no_file("linkat")(errno)),
        }
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if let Some(path) = &self.private {
            let _ = unlink_file(path);
        }
    }
}

/// A file without a name that can be sealed.
pub(super) fn memfd() -> Result<OwnedFd, CreateError> {
    memfd_create(c"ownerdead", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).map_err(os("memfd_create"))
}

/// Nobody can change its length any more.
pub(super) fn seal(file: &OwnedFd) -> Result<(), CreateError> {
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals)).map_err(os("fcntl F_ADD_SEALS"))?;
    Ok(())
}

/// Gives the file its length, and all its space: a full file system is an error here, not a SIGBUS later.
pub(super) fn allocate(file: &OwnedFd, length: u64) -> Result<(), CreateError> {
    // The kernel does not only refuse what is over this limit: it sends SIGXFSZ, which ends the process.
    let limit = file_size_limit();
    if length > limit {
        return Err(CreateError::FileSizeLimit { needed: length, limit });
    }
    loop {
        match posix_fallocate(file, 0, length as i64) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC | Errno::EFBIG | Errno::EDQUOT | Errno::ENOMEM) => {
                return Err(CreateError::NoSpace { needed: length });
            }
            Err(errno) => return Err(os("posix_fallocate")(errno)),
        }
    }
}

/// The largest file that this process may make, in bytes.
fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is valid to write to. The call cannot fail for this resource; if it did, there would be no limit.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    limit.rlim_cur
}

pub(super) fn open(name: &Name) -> Result<OwnedFd, OpenError> {
    // O_NONBLOCK: a fifo must not hang. O_NOFOLLOW: a link is no segment.
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    open_file(&name.path(), flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOENT => OpenError::NotFound { name: name.0.clone() },
        Errno::EACCES | Errno::EPERM => OpenError::Permission { name: name.0.clone() },
        Errno::EROFS => OpenError::ReadOnly { found: "a file system that is mounted read-only" },
        Errno::EISDIR => OpenError::NotARegularFile { found: "a directory" },
        Errno::ELOOP => OpenError::NotARegularFile { found: "a symbolic link" },
        Errno::ENXIO => OpenError::NotARegularFile { found: "a socket" },
        errno => OpenError::Os { operation: "open", source: errno.into() },
    })
}

/// Sees that nobody can make the file shorter, where that can be had: a memfd is sealed by who makes it. (A file of `/dev/shm` has no
/// seals, and never gets any; other file systems do not know them.)
pub(super) fn cannot_shrink_where_it_could_be_sealed(file: &OwnedFd) -> Result<(), OpenError> {
    let Ok(bits) = fcntl(file, FcntlArg::F_GET_SEALS) else { return Ok(()) };
    let seals = SealFlag::from_bits_truncate(bits);
    if seals.intersects(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL) {
        return Ok(());
    }
    Err(OpenError::NotSealed { found: bits as u32 })
}

/// Maps all of a file that somebody else has made.
pub(super) fn map(file: &OwnedFd, length: usize) -> Result<Mapping, OpenError> {
    let flags = fcntl(file, FcntlArg::F_GETFL)
        .map_err(|errno| OpenError::Os { operation: "fcntl F_GETFL", source: errno.into() })?;
    let flags = OFlag::from_bits_truncate(flags);
    if flags.contains(OFlag::O_PATH) || flags & OFlag::O_ACCMODE != OFlag::O_RDWR {
        return Err(OpenError::ReadOnly { found: "a descriptor that is not open for reading and writing" });
    }
    Mapping::new(file, length).map_err(|source| match source.raw_os_error() {
        Some(libc::EPERM) => OpenError::ReadOnly { found: "a seal or a mount that forbids writing" },
        _ => OpenError::Os { operation: "mmap", source },
    })
}

/// The length of the file, which must be a regular one.
pub(super) fn regular_file_length(file: &OwnedFd) -> Result<u64, OpenError> {
    let stat = fstat(file).map_err(|errno| OpenError::Os { operation: "fstat", source: errno.into() })?;
    let found = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => return Ok(stat.st_size as u64),
        SFlag::S_IFIFO => "a fifo",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    };
    Err(OpenError::NotARegularFile { found })
}

pub(super) fn unlink(name: &Name) -> Result<(), UnlinkError> {
    unlink_file(&name.path()).map_err(|errno| match errno {
        Errno::ENOENT => UnlinkError::NotFound { name: name.0.clone() },
        errno => UnlinkError::Os { operation: "unlink", source: errno.into() },
    })
}
