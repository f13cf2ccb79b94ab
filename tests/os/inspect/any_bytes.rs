//! Any bytes: no panic, no end that never comes, and the same verdict as those who open the segment.

use super::{bytes, fields, look, records, set};
use nix::sys::memfd::{MFdFlags, memfd_create};
use ownerdead::lock::RobustMutex;
use ownerdead::ring::spsc::{Config, Ring, TryPopError};
use ownerdead::segment::{Kind, Options, Segment};
use proptest::prelude::*;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

fn memfd(bytes: &[u8]) -> OwnedFd {
    let fd = memfd_create(c"ownerdead-inspect", MFdFlags::MFD_CLOEXEC).unwrap();
    let file = File::from(fd);
    file.write_all_at(bytes, 0).unwrap();
    file.into()
}

/// A ring with some records; their payloads.
fn ring(checksum: bool, lens: &[usize], popped: usize) -> (Ring, Vec<Vec<u8>>) {
    let ring = Ring::memfd(&Options::new().slots(2), &Config::new(512).checksum(checksum)).unwrap();
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let mut left = std::collections::VecDeque::new();
    for (number, len) in lens.iter().enumerate() {
        let payload = vec![number as u8 | 0x80; *len];
        if producer.try_push(number as u32, &payload).is_ok() {
            left.push_back(payload);
        }
        if number < popped && consumer.try_pop(&mut Vec::new()).is_ok() {
            left.pop_front();
        }
    }
    drop((producer, consumer));
    (ring, left.into())
}

/// Words of the header, of both life words and gates, of the ring's or the mutex' words, and of records.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![
        0usize..8,
        prop::sample::select(vec![512, 1022, 1024, 1534]),
        (0usize..90).prop_map(|word| 1536 + word),
        (0usize..64).prop_map(|word| 2048 + word),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..600,
        (0u32..64).prop_map(|bit| 1 << bit),
        (0u64..5, 0u64..4).prop_map(|(slot, incarnation)| incarnation << 32 | 1 << 29 | slot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_looked_at_to_the_end(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let report = look(&bytes.as_slice());
        prop_assert!(!report.is_valid());
    }

    #[test]
    fn a_segment_with_changed_words_is_judged_as_by_those_who_open_it(
        robust: bool,
        cut in prop::option::weighted(0.1, 0usize..20_000),
        changes in prop::collection::vec((place(), value()), 0..4),
    ) {
        let (whole, kind) = if robust {
            (bytes(RobustMutex::memfd(&Options::new().slots(2), 7u64).unwrap().segment()), Kind::MUTEX)
        } else {
            (bytes(ring(true, &[5, 90, 7], 1).0.segment()), Kind::SPSC)
        };
        let mut image = whole;
        for (place, value) in changes {
            if place * 8 < image.len() {
                set(&mut image, place * 8, value);
            }
        }
        image.truncate(cut.unwrap_or(usize::MAX));
        let report = look(&image.as_slice());
        for problem in &report.problems {
            prop_assert!(!problem.field.is_empty() && !problem.found.is_empty() && !problem.expected.is_empty());
        }
        let found = fields(&report);
        let opened = Segment::from_fd(memfd(&image), kind);
        let other_kind = report.header.as_ref().is_none_or(|header| header.kind != kind.0);
        let header = found.iter().any(|field| field.starts_with("header.") || *field == "length");
        prop_assert_eq!(opened.is_err(), header || other_kind, "{:?}", report.problems);
        let Ok(segment) = opened else { return Ok(()) };
        if robust {
            // SAFETY: nobody else has the file.
            let opened = unsafe { RobustMutex::<u64>::from_segment(segment) };
            if found.is_empty() {
                let mutex = report.mutex.as_ref().unwrap();
                let the_same = (mutex.type_name.as_deref(), mutex.align) == (Some("u64"), 8);
                prop_assert_eq!(opened.is_ok(), the_same, "{:?}", mutex);
            }
            return Ok(());
        }
        if found.is_empty() {
            open_a_valid_ring(segment, &image)?;
        }
    }

    #[test]
    fn the_records_told_are_those_that_a_consumer_gets(
        checksum: bool,
        lens in prop::collection::vec(0usize..250, 0..30),
        popped in 0usize..30,
    ) {
        let (ring, left) = ring(checksum, &lens, popped);
        let image = bytes(ring.segment());
        prop_assert!(look(&image.as_slice()).is_valid());
        let told: Vec<_> = records(&image.as_slice()).into_iter().filter(|record| !record.padding).collect();
        let told_lens: Vec<_> = told.iter().map(|record| record.length as usize).collect();
        prop_assert_eq!(told_lens, left.iter().map(Vec::len).collect::<Vec<_>>());
        for (record, payload) in told.iter().zip(&left) {
            let at = record.payload_offset as usize;
            prop_assert_eq!(at, record.offset as usize + 8);
            prop_assert_eq!(&image[at..at + payload.len()], payload.as_slice());
        }
    }
}

/// What has no problem gives no error: the ring opens, and its consumer gets all records.
fn open_a_valid_ring(segment: Segment, image: &[u8]) -> Result<(), TestCaseError> {
    let ring = Ring::from_segment(segment).expect("no problem was found");
    let Ok(me) = ring.attach() else { return Ok(()) };
    let Ok(consumer) = ring.consumer(&me) else {
        let state = ring.status().consumer.state;
        prop_assert!(matches!(state, ownerdead::owner::SeatState::Alive(_)), "{state:?}");
        return Ok(());
    };
    let mut consumer = consumer.into_inner();
    for record in records(&image).iter().filter(|record| !record.padding) {
        let mut payload = Vec::new();
        prop_assert_eq!(consumer.try_pop(&mut payload), Ok(record.kind));
        prop_assert_eq!(payload.len(), record.length as usize);
    }
    prop_assert_eq!(consumer.try_pop(&mut Vec::new()), Err(TryPopError::Empty));
    Ok(())
}
