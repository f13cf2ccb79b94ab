//! Segments as bytes, by a fuzzer's input: any bytes, or those of a structure with its fields in mind.
//!
//! After a first byte of 0 to 2 they are the rest of the input. Otherwise it chooses one of all structures, whose memory is changed as by
//! [`Play::image`]; then come changes of what the structure does not know of, its header and its length, up to a byte of 128 or more. What is left of
//! the input is for who uses the segment.

use crate::input::Input;
use crate::parser::{Play, structures};

/// Bytes of the header, the last eight of which are a checksum of the others.
const HEADER: usize = 64;
/// Changes of what lies around the structure.
const MOST: usize = 16;

thread_local! {
    static ALL: Vec<Box<dyn Play>> = structures();
}

/// The segment that the input says, which structure it was, if any, and what is left of the input: for `each`, with all structures.
pub fn with<R>(data: &[u8], each: impl FnOnce(&[Box<dyn Play>], Vec<u8>, Option<usize>, Input<'_>) -> R) -> Option<R> {
    let mut input = Input::new(data);
    let how = usize::from(input.next()?);
    Some(ALL.with(|all| match how.checked_sub(3) {
        None => each(all, input.take(usize::MAX).to_vec(), None, Input::new(&[])),
        Some(which) => {
            let which = which % all.len();
            let mut bytes = all[which].image(&mut input);
            for _ in 0..MOST {
                let Some(way @ 0..0x80) = input.next() else { break };
                change(&mut bytes, way, &mut input);
            }
            each(all, bytes, Some(which), input)
        }
    }))
}

/// The kind that a header says, if there is one.
pub fn kind(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(12..16)?.try_into().expect("four bytes")))
}

fn change(bytes: &mut Vec<u8>, way: u8, input: &mut Input<'_>) {
    let at = input.below(HEADER / 8) * 8;
    match way % 6 {
        // A word of the header: by a little, a bit, or to anything; with a checksum that fits, or without.
        by @ 0..=3 if bytes.len() >= HEADER => {
            let mut word = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            match by {
                0 => word = word.wrapping_add_signed(input.byte().cast_signed().into()),
                1 => word ^= 1 << input.below(64),
                _ => word = input.word(),
            }
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            if way < 64 {
                let sum = u64::from(crc32fast::hash(&bytes[..HEADER - 8]));
                bytes[HEADER - 8..HEADER].copy_from_slice(&sum.to_le_bytes());
            }
        }
        // Cut, by a few bytes or to a few pages; or longer than it says.
        4 => bytes.truncate(bytes.len().saturating_sub(1 + input.below(256) * if way < 64 { 1 } else { 128 })),
        _ => bytes.resize(bytes.len() + 8 * input.below(256), input.byte()),
    }
}
