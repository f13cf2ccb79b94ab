//! What the fuzz targets share: files in memory whose bytes the fuzzer chooses, and structures whose memory it changes.

pub mod cells;
pub mod differential;
pub mod input;
pub mod locks;
pub mod memory;
pub mod parser;
pub mod rings;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

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

/// The bytes of a segment, from a fuzzer's input: after a first byte of 0 to 2 they are the rest. Otherwise they are a valid ring
/// (odd) or mutex (even) in which the rest changes words: two bytes of offset (in words, modulo the length), eight of value.
pub fn from_input(data: &[u8]) -> Option<Vec<u8>> {
    static RING: LazyLock<Vec<u8>> = LazyLock::new(|| image(valid_ring().segment()));
    static MUTEX: LazyLock<Vec<u8>> = LazyLock::new(|| image(valid_mutex().segment()));
    let (&how, rest) = data.split_first()?;
    let valid = match how {
        0..=2 => return Some(rest.to_vec()),
        how if how % 2 == 1 => &RING,
        _ => &MUTEX,
    };
    let mut bytes = valid.to_vec();
    for change in rest.chunks_exact(10) {
        let word = usize::from(u16::from_le_bytes([change[0], change[1]])) % (bytes.len() / 8);
        bytes[word * 8..word * 8 + 8].copy_from_slice(&change[2..]);
    }
    Some(bytes)
}

/// Where the body of both begins: after the header and two slots.
pub const BODY: u64 = 3 * 4096;
