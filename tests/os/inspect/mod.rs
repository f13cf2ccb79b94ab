//! What `inspect` says of real segments, whole and damaged.

mod any_bytes;
mod header;
mod mutex;
mod ring;
mod table;

use ownerdead::inspect::{Image, RecordReport, Report, Thread, inspect};
use ownerdead::segment::Segment;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// The bytes of a segment, now.
fn bytes(segment: &Segment) -> Vec<u8> {
    let file = File::from(segment.as_fd().try_clone_to_owned().unwrap());
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn look(image: &dyn Image) -> Report {
    inspect(image, |_| Thread::Unknown, |_| ())
}

fn look_at(segment: &Segment) -> Report {
    look(&bytes(segment).as_slice())
}

fn records(image: &dyn Image) -> Vec<RecordReport> {
    let mut records = Vec::new();
    inspect(image, |_| Thread::Unknown, |record| records.push(*record));
    records
}

fn word(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

fn set(bytes: &mut [u8], offset: usize, word: u64) {
    bytes[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
}

fn fields(report: &Report) -> Vec<&str> {
    report.problems.iter().map(|problem| problem.field.as_str()).collect()
}

fn noted(report: &Report) -> Vec<&str> {
    report.notes.iter().map(|note| note.field.as_str()).collect()
}
