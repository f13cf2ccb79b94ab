//! Any bytes, looked at: no panic, no end that never comes, and what has no problem opens without an error.
//!
//! The input is as for `segment_open`.

use crate::files::memfd;
use crate::images::from_input;
use ownerdead::inspect::{Thread, inspect};
use ownerdead::ring::spsc::{Ring, TryPopError};
use ownerdead::segment::{Kind, Segment};

/// Plays an input.
pub fn play(data: &[u8]) {
    let Some(bytes) = from_input(data) else { return };
    let mut kinds = Vec::new();
    let report = inspect(
        &bytes.as_slice(),
        |tid| if tid % 2 == 0 { Thread::Gone } else { Thread::Unknown },
        |record| {
            assert!(record.offset + record.size <= bytes.len() as u64);
            kinds.extend((!record.padding).then_some(record.kind));
        },
    );
    for problem in &report.problems {
        assert!(!problem.field.is_empty() && !problem.found.is_empty() && !problem.expected.is_empty());
    }
    let Some(header) = &report.header else { return };
    let opened = Segment::from_fd(memfd(&bytes), Kind(header.kind));
    let wrong = |field: &str| field == "length" || field.starts_with("header.");
    let known = header.kind_name.is_some();
    assert_eq!(opened.is_ok() && known, !report.problems.iter().any(|problem| wrong(&problem.field)), "{report:?}");
    if let Ok(segment) = opened
        && report.is_valid()
        && report.ring.is_some()
    {
        ring(segment, &kinds);
    }
}

/// The consumer gets the records that were told.
fn ring(segment: Segment, kinds: &[u32]) {
    let ring = Ring::from_segment(segment).expect("no problem was found");
    let Ok(me) = ring.attach() else { return };
    let Ok(consumer) = ring.consumer(&me) else { return };
    let mut consumer = consumer.into_inner();
    for kind in kinds {
        assert_eq!(consumer.try_pop(&mut Vec::new()), Ok(*kind));
    }
    assert_eq!(consumer.try_pop(&mut Vec::new()), Err(TryPopError::Empty));
}
