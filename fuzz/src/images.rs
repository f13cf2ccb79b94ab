//! Segments as bytes, by a fuzzer's input.

use crate::files::image;
use ownerdead::lock::RobustMutex;
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::Options;
use std::sync::LazyLock;

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
#[allow(dead_code, reason = "for the seeds alone")]
pub const BODY: u64 = 3 * 4096;
