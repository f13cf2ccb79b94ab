//! Any bytes, looked at: no panic, no end that never comes, and what has no problem opens without an error, and is as it was told.
//!
//! The input is that of [`crate::images`].

use crate::files::memfd;
use crate::images;
use crate::parser::looked;
use ownerdead::inspect::Thread;
use ownerdead::segment::{Kind, Segment};

/// Plays an input.
pub fn play(data: &[u8]) {
    images::with(data, |all, bytes, which, _| {
        let mut kinds = Vec::new();
        let threads = |tid| if tid % 2 == 0 { Thread::Gone } else { Thread::Unknown };
        let mut report = looked(&bytes, threads, |record| kinds.extend((!record.padding).then_some(record.kind)));
        let again = report.clone();
        report.keep_confirmed(&again);
        assert_eq!(report, again, "bytes that do not change");
        let Some(header) = &report.header else { return };
        let opened = Segment::from_fd(memfd(&bytes), Kind(header.kind));
        let known = header.kind_name.is_some();
        let wrong = |field: &str| field == "length" || field.starts_with("header.");
        let mut wrong = report.problems.iter().map(|problem| problem.field.as_str()).filter(|field| wrong(field));
        if opened.is_ok() && known {
            // The body's length may be another one than the structure needs, by what it says itself.
            assert!(wrong.all(|field| field == "header.body_len"), "{report:?}");
        } else {
            assert!(wrong.next().is_some(), "{report:?}");
        }
        // A once and a once cell are of one kind: as the one that it was.
        let is = |which: &usize| all[*which].kind().0 == header.kind;
        if report.is_valid()
            && let Some(one) = which.filter(is).or_else(|| (0..all.len()).find(is))
        {
            all[one].valid(memfd(&bytes), &kinds);
        }
    });
}
