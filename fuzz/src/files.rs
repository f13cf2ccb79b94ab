//! Files in memory, whose bytes a fuzzer chooses.

use ownerdead::segment::Segment;
use std::fs::File;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// A memory file that holds `bytes`.
pub fn memfd(bytes: &[u8]) -> OwnedFd {
    // SAFETY: the name is a C string; no other pointer is involved.
    let fd = unsafe { libc::memfd_create(c"ownerdead-fuzz".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: a descriptor that was just made, and that nobody else owns.
    let file = unsafe { File::from_raw_fd(fd) };
    file.write_all_at(bytes, 0).expect("memory");
    file.into()
}

/// The bytes of a segment.
pub fn image(segment: &Segment) -> Vec<u8> {
    read(&segment.as_fd().try_clone_to_owned().expect("a descriptor"))
}

/// The bytes of a file.
pub fn read(file: &OwnedFd) -> Vec<u8> {
    let file = File::from(file.try_clone().expect("a descriptor"));
    let mut bytes = vec![0; file.metadata().expect("a file").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("memory");
    bytes
}

/// Puts `bytes` into a segment, from `offset` on.
pub fn restore(segment: &Segment, bytes: &[u8], offset: u64) {
    let file = File::from(segment.as_fd().try_clone_to_owned().expect("a descriptor"));
    file.write_all_at(bytes, offset).expect("memory");
}
