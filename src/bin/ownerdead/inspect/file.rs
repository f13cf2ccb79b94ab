//! The file that is looked at: opened for reading, and read by `pread`, so that no truncation of it is a fault here.

use nix::libc;
use ownerdead::inspect::{Image, Problem};
use serde::Serialize;
use std::{
    cell::RefCell,
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

const DIRECTORY: &str = "/dev/shm";

/// Where NAME is. A name in `/dev/shm` has no slash but one in front, so what has another can only be a path.
pub fn path(name: &Path, is_path: bool) -> PathBuf {
    let bare = name.strip_prefix("/").unwrap_or(name);
    if is_path || bare.as_os_str().as_bytes().contains(&b'/') {
        name.to_owned()
    } else {
        Path::new(DIRECTORY).join(bare)
    }
}

/// What the system says of the file.
#[derive(Serialize)]
pub struct Status {
    /// Permissions, in octal.
    pub mode: String,
    pub uid: u32,
    pub gid: u32,
    /// Names of the file; 0 once it is unlinked, or of a memfd.
    pub links: u64,
}

/// An open regular file.
pub struct Opened {
    file: File,
    metadata: Metadata,
    /// The first error in reading.
    error: RefCell<Option<io::Error>>,
}

impl Opened {
    pub fn open(path: &Path) -> Result<Opened, String> {
        let shown = path.display();
        let not = |what: &str| format!("{shown} is {what}, expected a regular file or a memfd: name a segment");
        // O_NONBLOCK: a fifo must not hang. A link in /dev/shm is no segment for those who attach, so it is none here.
        let follow = if path.parent() == Some(Path::new(DIRECTORY)) { libc::O_NOFOLLOW } else { 0 };
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | follow;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::ENOENT) => format!("{shown} does not exist: look for the name with `ls {DIRECTORY}`"),
                Some(libc::EACCES | libc::EPERM) => format!("no permission to read {shown}: run as its owner"),
                Some(libc::ELOOP) => not("a symbolic link"),
                Some(libc::ENXIO) => not("a socket, or a device without a driver"),
                _ => format!("{shown} cannot be opened: {error}"),
            }
        })?;
        let metadata = file.metadata().map_err(|error| format!("{shown} cannot be looked at: {error}"))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Err(not("a directory"));
        }
        if kind.is_fifo() {
            return Err(not("a fifo"));
        }
        if !kind.is_file() {
            return Err(not("a device"));
        }
        Ok(Opened { file, metadata, error: RefCell::new(None) })
    }

    pub fn status(&self) -> Status {
        let metadata = &self.metadata;
        Status {
            mode: format!("{:04o}", metadata.mode() & 0o7777),
            uid: metadata.uid(),
            gid: metadata.gid(),
            links: metadata.nlink(),
        }
    }

    /// What went wrong in reading.
    pub fn problem(&self) -> Option<Problem> {
        self.error.borrow().as_ref().map(|error| Problem {
            field: "file".to_owned(),
            found: error.to_string(),
            expected: "bytes that can be read".to_owned(),
        })
    }
}

impl Image for Opened {
    fn length(&self) -> u64 {
        self.metadata.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.error.borrow_mut().get_or_insert(error);
                    break;
                }
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_slash_but_one_in_front() {
        for (name, is_path, expected) in [
            ("camera", false, "/dev/shm/camera"),
            ("/camera", false, "/dev/shm/camera"),
            ("./camera", false, "./camera"),
            ("/tmp/camera", false, "/tmp/camera"),
            ("/proc/7/fd/3", false, "/proc/7/fd/3"),
            ("camera", true, "camera"),
            ("/camera", true, "/camera"),
        ] {
            assert_eq!(path(Path::new(name), is_path), Path::new(expected), "{name}, {is_path}");
        }
    }
}
