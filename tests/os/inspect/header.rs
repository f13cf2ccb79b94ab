//! The header, byte by byte.

use super::{bytes, fields, look, look_at, noted, set};
use ownerdead::inspect::Image;
use ownerdead::lock::{FutexMutex, RobustMutex};
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::{Kind, Options, Segment};
use std::cell::Cell;

fn segments() -> [Segment; 3] {
    let slots = Options::new().slots(5);
    [
        Ring::memfd(&slots, &Config::new(4096)).unwrap().segment().clone(),
        RobustMutex::memfd(&slots, 7u64).unwrap().segment().clone(),
        FutexMutex::memfd(&slots, [1u16; 3]).unwrap().segment().clone(),
    ]
}

#[test]
fn a_whole_segment_has_no_problem_and_nothing_to_note() {
    for (segment, kind) in segments().iter().zip([Kind::SPSC, Kind::MUTEX, Kind::FUTEX_MUTEX]) {
        let report = look_at(segment);
        assert_eq!((fields(&report), noted(&report)), (vec![], vec![]));
        let header = report.header.unwrap();
        assert_eq!((header.kind, header.version, header.checksum_valid), (kind.0, 1, true));
        assert_eq!(header.kind_name, kind.name());
        assert_eq!((header.total, header.body_len), (report.length, segment.body_len() as u64));
        assert_eq!((report.ring.is_some(), report.mutex.is_some()), (kind == Kind::SPSC, kind != Kind::SPSC));
        assert_eq!(report.participants.unwrap().free, header.slots);
    }
}

/// One byte is wrong: the checksum tells which field that byte is in, and the rest is shown all the same.
#[test]
fn a_damaged_byte_of_the_header_is_told_by_its_field_and_by_no_other() {
    const FIELDS: [(&str, std::ops::Range<usize>); 10] = [
        ("header.magic", 0..8),
        ("header.version", 8..12),
        ("header.kind", 12..16),
        ("header.total", 16..24),
        ("header.slots", 24..28),
        ("header.flags", 28..32),
        ("header.slots_offset", 32..40),
        ("header.body_offset", 40..48),
        ("header.body_len", 48..56),
        ("header.checksum", 56..64),
    ];
    for segment in segments() {
        let whole = bytes(&segment);
        let expected = look(&whole.as_slice());
        for (field, places) in FIELDS {
            for (place, flip) in places.flat_map(|place| [1, 2, 3, 4, 0x80, 0xff].map(|flip| (place, flip))) {
                let mut damaged = whole.clone();
                damaged[place] ^= flip;
                let report = look(&damaged.as_slice());
                assert_eq!(fields(&report), [field], "byte {place} ^ {flip:#x}: {report:#?}");
                assert_ne!(report.problems[0].found, report.problems[0].expected);
                assert!(!report.header.unwrap().checksum_valid);
                assert_eq!((&report.ring, &report.mutex), (&expected.ring, &expected.mutex), "{field}");
                assert_eq!(report.participants, expected.participants);
            }
        }
    }
}

#[test]
fn two_damaged_fields_are_both_told() {
    for segment in segments() {
        let mut damaged = bytes(&segment);
        set(&mut damaged, 0, 0);
        damaged[28] = 1;
        let report = look(&damaged.as_slice());
        assert_eq!(fields(&report), ["header.magic", "header.flags", "header.checksum"]);
        // Where things lie is known still.
        assert!(report.participants.is_some() && (report.ring.is_some() || report.mutex.is_some()));
        set(&mut damaged, 16, 1 << 40);
        let report = look(&damaged.as_slice());
        assert_eq!(fields(&report), ["header.magic", "header.flags", "header.total", "header.checksum"]);
        assert_eq!((report.participants, noted(&look(&damaged.as_slice()))), (None, vec!["header"]));
    }
}

#[test]
fn what_is_cut_short_is_told_wherever_it_ends() {
    for segment in segments() {
        let whole = bytes(&segment);
        for length in (0..whole.len()).filter(|length| *length < 100 || length % 509 == 0) {
            let report = look(&&whole[..length]);
            assert_eq!(fields(&report), ["length"], "{length}");
            assert_eq!(report.header.is_some(), length >= 64);
        }
        let mut longer = [whole.as_slice(), b"more"].concat();
        let report = look(&longer.as_slice());
        assert_eq!((fields(&report), noted(&report)), (vec![], vec!["length"]));
        // The total is known without the length, too.
        longer[17] ^= 1;
        assert_eq!(fields(&look(&longer.as_slice())), ["header.total"]);
    }
}

/// Bytes that end sooner once so many were read.
struct Shrinking<'b> {
    bytes: &'b [u8],
    reads_left: Cell<usize>,
}

impl Image for Shrinking<'_> {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> usize {
        let left = self.reads_left.get();
        self.reads_left.set(left.saturating_sub(1));
        if left > 0 { self.bytes.read_at(offset, into) } else { 0 }
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_a_problem_of_its_length() {
    for segment in segments() {
        let whole = bytes(&segment);
        let mut whole_looks = 0;
        for reads in 0.. {
            let image = Shrinking { bytes: &whole, reads_left: Cell::new(reads) };
            let report = look(&image);
            if image.reads_left.get() > 0 {
                break;
            }
            whole_looks += usize::from(report.is_valid());
            assert!(fields(&report) == ["length"] || report.is_valid(), "{reads}: {report:#?}");
        }
        // The one that had as many reads as it wanted.
        assert_eq!(whole_looks, 1);
    }
}
