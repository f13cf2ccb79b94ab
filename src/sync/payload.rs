//! Payload between granules and private memory, over either back end.
//!
//! Granule by granule, as a peer may write them meanwhile; the bounds are looked at once. In a model each granule is a crash point.

use super::cell::Granule;
use core::mem::MaybeUninit;

/// Bytes in a granule.
const GRANULE: usize = 8;

/// Copies `bytes` into the first of `granules`; the last one is zero-padded.
///
/// # Panics
/// If `granules` hold fewer bytes.
#[inline]
#[track_caller]
pub fn write(granules: &[Granule], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<GRANULE>();
    let (places, after) = granules.split_at(whole.len());
    for (place, chunk) in places.iter().zip(whole) {
        place.store(u64::from_le_bytes(*chunk));
    }
    if !rest.is_empty() {
        let mut last = [0; GRANULE];
        last[..rest.len()].copy_from_slice(rest);
        after[0].store(u64::from_le_bytes(last));
    }
}

/// Copies `bytes` into a payload of `len` bytes in the first of `granules`, at `offset` of it. Says how many fit: fewer than there are
/// only at the payload's end.
///
/// # Panics
/// If `granules` hold fewer than `len` bytes.
#[inline]
#[track_caller]
pub fn write_at(granules: &[Granule], len: usize, offset: usize, bytes: &[u8]) -> usize {
    let bytes = &bytes[..bytes.len().min(len.saturating_sub(offset))];
    // Bytes first: where none fit, the offset may be anything.
    for (&byte, at) in bytes.iter().zip(offset..) {
        let granule = &granules[at / GRANULE];
        let shift = 8 * (at % GRANULE);
        granule.store(granule.load() & !(0xff << shift) | u64::from(byte) << shift);
    }
    bytes.len()
}

/// Gives `each` the first `len` bytes of `granules`, piece by piece.
///
/// # Panics
/// If `granules` hold fewer bytes.
#[inline]
#[track_caller]
pub fn for_each(granules: &[Granule], len: usize, mut each: impl FnMut(&[u8])) {
    let mut left = len;
    for granule in &granules[..len.div_ceil(GRANULE)] {
        let used = left.min(GRANULE);
        each(&granule.load().to_le_bytes()[..used]);
        left -= used;
    }
}

/// Appends the first `len` bytes of `granules` to `bytes`.
///
/// # Panics
/// If `granules` hold fewer bytes.
#[inline]
#[track_caller]
pub fn append(granules: &[Granule], len: usize, bytes: &mut Vec<u8>) {
    let granules = &granules[..len.div_ceil(GRANULE)];
    bytes.reserve(granules.len() * GRANULE);
    let (places, _) = bytes.spare_capacity_mut().as_chunks_mut::<GRANULE>();
    let places = &mut places[..granules.len()];
    for (place, granule) in places.iter_mut().zip(granules) {
        *place = granule.load().to_le_bytes().map(MaybeUninit::new);
    }
    // SAFETY: the loop has initialised `granules.len() * 8` bytes after the old length, which is no less than `len`, and within
    // the capacity, as they were part of what is spare of it.
    unsafe { bytes.set_len(bytes.len() + len) };
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_appended_whatever_its_length() {
        for len in 0..40 {
            let granules: Vec<_> = (0..5).map(|_| Granule::new(u64::MAX)).collect();
            let bytes: Vec<u8> = (1..=len).collect();
            write(&granules, &bytes);
            let mut found = vec![0xee];
            append(&granules, bytes.len(), &mut found);
            assert_eq!((found[0], &found[1..]), (0xee, &bytes[..]));
            let (used, padded) = (bytes.len(), bytes.len().next_multiple_of(GRANULE));
            let mut all = Vec::new();
            append(&granules, 40, &mut all);
            assert!(all[used..padded].iter().all(|&byte| byte == 0), "padding of {len} bytes");
            assert!(all[padded..].iter().all(|&byte| byte == 0xff), "nothing behind {len} bytes");
        }
    }

    #[test]
    fn what_is_written_in_parts_lies_where_it_was_to_and_ends_with_the_payload() {
        for len in 0..20_usize {
            for offset in [0, 1, 7, 8, 13, 19, 20, usize::MAX - 1, usize::MAX] {
                let granules: Vec<_> = (0..3).map(|_| Granule::new(u64::MAX)).collect();
                let bytes: Vec<u8> = (1..=9).collect();
                let fits = bytes.len().min(len.saturating_sub(offset));
                assert_eq!(write_at(&granules, len, offset, &bytes), fits, "{len} bytes, at {offset}");
                let (mut found, mut expected) = (Vec::new(), vec![0xff; 24]);
                append(&granules, 24, &mut found);
                expected[offset.min(24)..][..fits].copy_from_slice(&bytes[..fits]);
                assert_eq!(found, expected, "{len} bytes, at {offset}");
                assert_eq!(write_at(&granules, len, offset, &[]), 0);
            }
        }
    }

    #[test]
    fn piece_by_piece_is_what_is_appended() {
        let granules: Vec<_> = (0..5).map(|n| Granule::new(0x0102_0304_0506_0708 * n)).collect();
        for len in 0..40 {
            let (mut pieces, mut whole) = (Vec::<u8>::new(), Vec::new());
            for_each(&granules, len, |piece| pieces.extend(piece));
            append(&granules, len, &mut whole);
            assert_eq!(pieces, whole);
        }
    }

    #[test]
    #[should_panic(expected = "range end index 2 out of range")]
    fn more_bytes_than_there_are_granules_are_refused() {
        append(&[Granule::new(0)], 9, &mut Vec::new());
    }
}
