//! What the fuzz targets share: files in memory whose bytes the fuzzer chooses.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use ownerdead::lock::RobustMutex;
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::{Options, Segment};

/// A memory file that holds `bytes`.
pub fn memfd(bytes: &[u8]) -> OwnedFd {
    // SAFETY: the name is a C string; no other pointer is involved.
    let fd = unsafe { libc::memfd_create(c"ownerdead-fuzz".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: a descriptor that was just made, and that nobody else owns.
    let file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    file.write_all_at(bytes, 0).expect("memory");
    file.into()
}

/// The bytes of a segment.
pub fn image(segment: &Segment) -> Vec<u8> {
    let file = File::from(segment.as_fd().try_clone_to_owned().expect("a descriptor"));
    let mut bytes = vec![0; file.metadata().expect("a file").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("memory");
    bytes
}

/// Puts `bytes` into a segment, from its start.
pub fn restore(segment: &Segment, bytes: &[u8], offset: u64) {
    let file = File::from(segment.as_fd().try_clone_to_owned().expect("a descriptor"));
    file.write_all_at(bytes, offset).expect("memory");
}

/// A valid ring of 1 KiB with two slots and a record in it.
pub fn valid_ring() -> Ring {
    let ring = Ring::memfd(&Options::new().slots(2), &Config::new(1024)).expect("a ring");
    let me = ring.attach().expect("a free slot");
    ring.producer(&me).expect("a vacant seat").into_inner().push(7, b"a record").expect("room");
    ring
}

/// A valid mutex with two slots.
pub fn valid_mutex() -> RobustMutex<u64> {
    RobustMutex::memfd(&Options::new().slots(2), 7).expect("a mutex")
}

/// Where the body of both begins: after the header and two slots.
pub const BODY: u64 = 3 * 4096;
