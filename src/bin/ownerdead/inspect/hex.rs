//! Dumps of bytes.

use ownerdead::inspect::Image;
use pretty_hex::{HexConfig, config_hex};
use serde::Serialize;
use std::{fmt::Write as _, str::FromStr};

/// Bytes of a segment, from the first to before the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    from: u64,
    to: u64,
}

/// What is held and shown at a time.
const MOST: u64 = 16 << 20;

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let number = |text: &str| {
            let parsed = match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            };
            parsed.map_err(|_| format!("{text:?} is no offset: expected digits, or 0x and hexadecimal digits"))
        };
        let (from, to) = if let Some((from, to)) = text.split_once("..") {
            (number(from)?, number(to)?)
        } else if let Some((from, count)) = text.split_once('+') {
            let (from, count) = (number(from)?, number(count)?);
            (from, from.checked_add(count).ok_or("it ends past 2^64")?)
        } else {
            return Err("expected FROM..TO or FROM+COUNT, as 4096..4200 or 4096+104".to_owned());
        };
        match to.checked_sub(from) {
            None => Err(format!("it ends at {to}, before it begins at {from}")),
            Some(count) if count > MOST => Err(format!("found {count} bytes, expected at most {MOST}")),
            Some(_) => Ok(Range { from, to }),
        }
    }
}

/// Bytes that were read: fewer than asked for where there are no more.
#[derive(Serialize)]
pub struct Dump {
    pub offset: u64,
    #[serde(serialize_with = "digits")]
    pub bytes: Vec<u8>,
}

fn digits<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all");
    }
    serializer.serialize_str(&text)
}

impl Dump {
    pub fn read(image: &dyn Image, range: Range) -> Dump {
        let mut bytes = vec![0; (range.to - range.from) as usize];
        let count = image.read_at(range.from, &mut bytes);
        bytes.truncate(count);
        Dump { offset: range.from, bytes }
    }

    pub fn text(&self) -> String {
        if self.bytes.is_empty() {
            return format!("no bytes at {:#x}", self.offset);
        }
        let config = HexConfig { title: false, group: 8, display_offset: self.offset as usize, ..HexConfig::default() };
        config_hex(&self.bytes, config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_offsets_or_an_offset_and_a_count() {
        for text in ["4096..4200", "4096+104", "0x1000..0x1068", "0x1000+104"] {
            assert_eq!(text.parse(), Ok(Range { from: 4096, to: 4200 }), "{text}");
        }
        for text in ["", "5", "..", "5..", "..5", "7..5", "-1..5", "0..99999999999", "18446744073709551615+1", "a+b"] {
            assert!(text.parse::<Range>().is_err_and(|error| !error.is_empty()), "{text}");
        }
    }

    #[test]
    fn a_dump_has_what_there_is() {
        let dump = |range: &str| Dump::read(&&b"shared memory"[..], range.parse().unwrap());
        let text = dump("7..99").text();
        assert!(text.starts_with("0007:") && text.contains("6d 65 6d 6f 72 79") && text.ends_with("memory"), "{text}");
        assert_eq!(dump("13..99").text(), "no bytes at 0xd");
        assert!(dump("18446744073709551000+5").bytes.is_empty());
    }
}
