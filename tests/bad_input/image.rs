//! The bytes of a segment, to be looked at and spoiled from outside.

use ownerdead::segment::Segment;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Bytes of a page: the header's, and each slot's.
pub const PAGE: u64 = 4096;

/// Where the body of a segment with `slots` slots begins.
pub const fn body(slots: u64) -> u64 {
    PAGE * (1 + slots)
}

/// The file of a segment, written to behind the library's back.
pub struct Image(File);

impl Image {
    pub fn of(segment: &Segment) -> Self {
        Self(File::from(descriptor(segment)))
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.0.metadata().expect("a file").len() as usize];
        self.0.read_exact_at(&mut bytes, 0).expect("memory");
        bytes
    }

    /// Puts `bytes` back, from `from` to their end.
    pub fn restore(&self, bytes: &[u8], from: u64) {
        self.0.write_all_at(&bytes[from as usize..], from).expect("memory");
    }

    /// Writes a word.
    pub fn poke(&self, at: u64, value: u64) {
        self.0.write_all_at(&value.to_le_bytes(), at).expect("memory");
    }

    /// Reads a word.
    pub fn peek(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, at).expect("memory");
        u64::from_le_bytes(bytes)
    }

    /// Makes the header's checksum fit its words again.
    pub fn sign_header(&self) {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.bytes()[..56]);
        self.poke(56, hasher.finalize().into());
    }
}

pub fn descriptor(segment: &Segment) -> OwnedFd {
    segment.as_fd().try_clone_to_owned().expect("a descriptor")
}
