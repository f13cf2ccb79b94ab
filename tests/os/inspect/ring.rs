//! Rings: indices, seats, records.

use super::{bytes, fields, look, look_at, records, set, word};
use crate::process::{Gate, for_ever, spawn};
use ownerdead::inspect::{ChecksumState, Image, SeatReportState, Thread, inspect};
use ownerdead::owner::SlotState;
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::ring::{Consume, Produce, Topology};
use ownerdead::segment::{Options, Segment};
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

const SLOTS: u32 = 2;
const BODY: usize = 3 * 4096;
const TAIL: usize = BODY + 128;
const HEAD: usize = BODY + 256;
const PRODUCER: usize = BODY + 384;
const RECORDS: usize = BODY + 4096;

fn ring(config: Config) -> Ring {
    Ring::memfd(&Options::new().slots(SLOTS), &config).unwrap()
}

/// A ring of 256 bytes with records of 24, 32 and 40 bytes in it, from position 24 on.
fn with_records() -> Vec<u8> {
    let ring = ring(Config::new(256));
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    for len in [3, 8, 10, 24] {
        producer.push(len as u32, &vec![len as u8; len]).unwrap();
    }
    consumer.pop(&mut Vec::new()).unwrap();
    drop((producer, consumer));
    bytes(ring.segment())
}

#[test]
fn records_are_told_with_their_padding() {
    let ring = ring(Config::new(256));
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    for len in [100, 60, 80] {
        producer.push(len, &vec![1; len as usize]).unwrap();
        if len == 100 {
            consumer.pop(&mut Vec::new()).unwrap();
        }
    }
    let image = bytes(ring.segment());
    let report = look(&image.as_slice());
    assert!(report.is_valid(), "{:?}", report.problems);
    let found = report.ring.unwrap();
    assert_eq!((found.capacity, found.checksum, found.wipe), (256, true, false));
    // 120 bytes were read; 80, padding up to 256, and 96.
    assert_eq!((found.read_index, found.write_index, found.used), (120, 352, Some(232)));
    assert_eq!(found.fill_percent, Some(90.625));
    let counts = found.records.unwrap();
    assert_eq!((counts.count, counts.payload_bytes, counts.padding, counts.complete), (2, 140, 1, true));
    let seen: Vec<_> = records(&image.as_slice())
        .iter()
        .map(|record| (record.position, record.offset as usize - RECORDS, record.size, record.length, record.padding))
        .collect();
    assert_eq!(seen, [(120, 120, 80, 60, false), (200, 200, 56, 0, true), (256, 0, 96, 80, false)]);
    let (producer, consumer) = (found.producer, found.consumer);
    assert_eq!((producer.state, producer.heartbeat, producer.generation), (SeatReportState::Alive, 3, 0));
    assert_eq!((consumer.state, consumer.heartbeat, consumer.sleeps), (SeatReportState::Alive, 1, false));
    assert_eq!(producer.holder.unwrap().tid, Some(ownerdead::sync::thread::id()));
}

#[test]
fn a_killed_producer_leaves_its_seat_and_what_it_had_committed() {
    let ring = ring(Config::new(4096));
    let pushed = Gate::new();
    let mut victim = spawn(|| {
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        producer.push(1, b"first").unwrap();
        let mut unfinished = producer.reserve(3, 5).unwrap();
        unfinished.write(0, b"third");
        pushed.open();
        for_ever();
    });
    pushed.wait();
    let seat = || {
        let report = look_at(ring.segment());
        assert!(report.is_valid() && report.notes.is_empty());
        (report.ring.unwrap(), report.participants.unwrap().slots[0].state)
    };
    let (before, slot) = seat();
    assert_eq!((before.producer.state, slot), (SeatReportState::Alive, SlotState::Attached));
    victim.kill();
    let (after, slot) = seat();
    assert_eq!((after.producer.state, slot), (SeatReportState::Dead, SlotState::Dead));
    let holder = after.producer.holder.unwrap();
    assert_eq!((holder.slot, holder.incarnation, holder.tid, holder.alive), (0, 1, None, false));
    assert_eq!((after.records.unwrap().count, after.write_index), (1, 24));
    assert_eq!(after.consumer.state, SeatReportState::Vacant);
    let me = ring.attach().unwrap();
    let producer = ring.producer(&me).unwrap().into_inner();
    let (taken, _) = seat();
    assert_eq!((taken.producer.state, taken.producer.generation), (SeatReportState::Alive, 1));
    assert!(!taken.producer.inherited);
    drop(producer);
    assert_eq!(seat().0.producer.state, SeatReportState::Vacant);
}

#[test]
fn a_ring_without_checksums_has_none_and_an_empty_payload_is_a_record() {
    let ring = ring(Config::new(256).checksum(false));
    let me = ring.attach().unwrap();
    ring.producer(&me).unwrap().into_inner().push(9, b"").unwrap();
    let image = bytes(ring.segment());
    let found = records(&image.as_slice());
    assert_eq!((found.len(), found[0].size, found[0].kind, found[0].checksum), (1, 8, 9, ChecksumState::None));
    assert!(look(&image.as_slice()).is_valid());
}

#[test]
fn every_byte_of_a_record_is_under_its_checksum_or_tells_its_length() {
    let whole = with_records();
    assert_eq!(records(&whole.as_slice()).iter().map(|record| record.position).collect::<Vec<_>>(), [24, 48, 80]);
    for place in 48..80 {
        let mut image = whole.clone();
        image[RECORDS + place] ^= 0x40;
        let report = look(&image.as_slice());
        // Four of these bytes are the length; ten, less than all 16, are payload; the rest of a granule is not looked at.
        let expected = match place {
            48..52 => "record[48].length",
            66..72 => {
                assert!(report.is_valid(), "{place}");
                continue;
            }
            _ => "record[48].checksum",
        };
        // Another length may still fit: then it is the checksum that is wrong.
        let found = fields(&report);
        assert!(found[0] == expected || place < 52 && found[0] == "record[48].checksum", "{place}: {found:?}");
        let counts = report.ring.unwrap().records.unwrap();
        assert!(!counts.complete || counts.checksums_wrong == 1, "{place}: {counts:?}");
    }
}

#[test]
fn indices_that_cannot_be_are_told_by_their_name() {
    let whole = with_records();
    assert_eq!((word(&whole, HEAD), word(&whole, TAIL)), (24, 120));
    for (offset, value, field) in [
        (TAIL, 124, "ring.write_index"),
        (TAIL, 16, "ring.write_index"),
        (TAIL, 24 + 256 + 8, "ring.write_index"),
        (TAIL, 1 << 63, "ring.write_index"),
        (HEAD, 28, "ring.read_index"),
        (HEAD, u64::MAX - 7, "ring.read_index"),
        (HEAD, 128, "ring.write_index"),
    ] {
        let mut image = whole.clone();
        set(&mut image, offset, value);
        let report = look(&image.as_slice());
        assert_eq!(fields(&report), [field], "{value}");
        let ring = report.ring.unwrap();
        assert_eq!((ring.used, ring.fill_percent, ring.records), (None, None, None));
        assert_eq!(if offset == TAIL { ring.write_index } else { ring.read_index }, value);
    }
    // Bit 0 is the sleeper's, not the index's: of the side that waits for the other one to move it.
    for (offset, sleeps) in [(TAIL, (false, true)), (HEAD, (true, false))] {
        let mut image = whole.clone();
        image[offset] |= 1;
        let report = look(&image.as_slice());
        assert!(report.is_valid());
        let ring = report.ring.unwrap();
        assert_eq!((ring.producer.sleeps, ring.consumer.sleeps), sleeps);
    }
}

#[test]
fn a_capacity_flags_a_gate_or_a_seat_that_cannot_be_is_told_by_its_name() {
    let whole = with_records();
    for (offset, value, field) in [
        (BODY, 100, "ring.capacity"),
        (BODY, 128, "ring.capacity"),
        (BODY, 512, "ring.capacity"),
        (BODY, u64::MAX, "ring.capacity"),
        (BODY + 8, 4, "ring.flags"),
        (BODY + 640, 1, "ring.gate"),
        (PRODUCER, 4711, "ring.producer.right"),
        (PRODUCER, 1 << 32 | 1 << 29 | 2, "ring.producer.right"),
        (PRODUCER, 9 << 32 | 1 << 29, "ring.producer.right"),
        (PRODUCER, 1 << 29 | 0xffe, "ring.producer.right"),
        (PRODUCER + 128, 1 << 30 | 1 << 29 | 0xfff, "ring.consumer.right"),
    ] {
        let mut image = whole.clone();
        set(&mut image, offset, value);
        let report = look(&image.as_slice());
        assert!(fields(&report).contains(&field), "{value:#x}: {:?}", report.problems);
        assert!(report.ring.is_some() && report.participants.is_some());
        if offset >= BODY + 128 {
            assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        }
    }
}

#[test]
fn a_wiped_ring_begins_where_its_consumer_had_read_to() {
    let ring = ring(Config::new(256).wipe(true));
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    for _ in 0..3 {
        producer.push(1, b"a secret").unwrap();
    }
    let mut image = bytes(ring.segment());
    assert_eq!(records(&image.as_slice()).len(), 3);
    // A consumer that dies while it wipes: committed, and zeroed in part.
    set(&mut image, HEAD + 16, 24);
    image[RECORDS..RECORDS + 16].fill(0);
    let report = look(&image.as_slice());
    assert!(report.is_valid(), "{:?}", report.problems);
    assert_eq!(records(&image.as_slice()).iter().map(|record| record.position).collect::<Vec<_>>(), [24, 48]);
    for wrong in [20, 80, u64::MAX] {
        set(&mut image, HEAD + 16, wrong);
        assert!(fields(&look(&image.as_slice())).contains(&"ring.read_ahead"), "{wrong}");
    }
}

/// A ring whose consumer reads all, and whose producer goes on, while somebody looks at the records.
struct AtWork {
    bytes: RefCell<Vec<u8>>,
}

impl Image for AtWork {
    fn length(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> usize {
        if offset as usize >= RECORDS {
            let mut bytes = self.bytes.borrow_mut();
            set(&mut bytes, HEAD, 120);
            set(&mut bytes, TAIL, 320);
            bytes[RECORDS..].fill(0xee);
        }
        self.bytes.borrow().as_slice().read_at(offset, into)
    }
}

#[test]
fn a_record_that_was_read_and_overwritten_meanwhile_is_no_problem() {
    let report = look(&AtWork { bytes: RefCell::new(with_records()) });
    assert!(report.is_valid(), "{:?}", report.problems);
    let counts = report.ring.unwrap().records.unwrap();
    assert_eq!((counts.count, counts.read_meanwhile, counts.complete), (0, 96, true));
}

struct Live(File);

impl Image for Live {
    fn length(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> usize {
        self.0.read_at(into, offset).unwrap()
    }
}

#[test]
fn a_ring_at_work_has_no_problem() {
    for wipe in [false, true] {
        let ring = ring(Config::new(1024).wipe(wipe));
        let started = Gate::new();
        let work = |producer: bool| {
            let me = ring.attach().unwrap();
            if producer {
                let mut seat = ring.producer(&me).unwrap().into_inner();
                started.open();
                for round in 0u32.. {
                    seat.push(round, &vec![round as u8; round as usize % 300]).unwrap();
                }
            }
            let mut seat = ring.consumer(&me).unwrap().into_inner();
            let mut payload = Vec::new();
            while seat.pop(&mut payload).is_ok() {}
        };
        let (_producer, _consumer) = (spawn(|| work(true)), spawn(|| work(false)));
        started.wait();
        let image = Live(File::from(ring.segment().as_fd().try_clone_to_owned().unwrap()));
        let (mut looks, mut seen) = (0, 0);
        // Both sides go on for as long as it takes.
        while looks < 2_000 || seen < 500 {
            let mut report = inspect(&image, |_| Thread::Unknown, |_| seen += 1);
            report.keep_confirmed(&look(&image));
            assert!(report.is_valid(), "{report:#?}");
            looks += 1;
        }
    }
}

/// A producer and a consumer at work in processes of their own, and a look at that, again and again: one alone, or one that another one confirms.
fn at_work<R: Topology>(ring: &R, image: &Live, confirmed: bool) {
    let started = Gate::new();
    let work = |producer: bool| {
        let me = ring.attach().unwrap();
        if producer {
            let mut side = ring.producer(&me).unwrap().into_inner();
            started.open();
            for round in 0u32.. {
                side.push(round, &vec![round as u8; round as usize % 100]).unwrap();
            }
        }
        let mut side = ring.consumer(&me).unwrap().into_inner();
        let mut payload = Vec::new();
        while side.pop(&mut payload).is_ok() {}
    };
    let (_producer, _consumer) = (spawn(|| work(true)), spawn(|| work(false)));
    started.wait();
    let (mut looks, mut seen) = (0, 0);
    // Both sides go on for as long as it takes.
    while looks < 3_000 || seen < 500 {
        let mut report = inspect(image, |_| Thread::Unknown, |_| seen += 1);
        if confirmed {
            report.keep_confirmed(&look(image));
        }
        assert!(report.is_valid(), "{report:#?}");
        looks += 1;
    }
}

#[test]
fn rings_of_many_at_work_have_no_problem() {
    use ownerdead::ring::mpsc::{claims, locked};
    let live = |segment: &Segment| Live(File::from(segment.as_fd().try_clone_to_owned().unwrap()));
    let ring = claims::Ring::memfd(&Options::new(), &claims::Config::new(512).block(16)).unwrap();
    at_work(&ring, &live(ring.segment()), false);
    let ring = locked::Ring::memfd(&Options::new(), &locked::Config::new(512)).unwrap();
    at_work(&ring, &live(ring.segment()), true);
}

#[test]
fn a_problem_counts_if_two_looks_have_it() {
    let whole = with_records();
    let (mut one, mut other) = (whole.clone(), whole.clone());
    set(&mut one, BODY + 640, 1);
    set(&mut one, TAIL, 124);
    set(&mut other, TAIL, 100);
    let mut later = look(&one.as_slice());
    assert_eq!(fields(&later), ["ring.gate", "ring.write_index"]);
    later.keep_confirmed(&look(&other.as_slice()));
    assert_eq!(fields(&later), ["ring.write_index"]);
    later.keep_confirmed(&look(&whole.as_slice()));
    assert!(later.is_valid());
}

#[test]
fn a_claim_that_is_half_of_all_laps_ahead_is_a_problem_and_no_record() {
    use ownerdead::owner::Claim;
    use ownerdead::ring::mpmc;
    const SLOT: usize = 64;
    let ring = mpmc::Ring::memfd(&Options::new().slots(SLOTS), &mpmc::Config::new(4, 16)).unwrap();
    let mut image = bytes(ring.segment());
    for laps in [1 << (Claim::WIDE - 1), (1 << (Claim::WIDE - 1)) - 1, (1 << Claim::WIDE) - 1, 1] {
        // Counted in so few bits it may be ahead of the first lap, and behind the last one.
        set(&mut image, RECORDS + SLOT, Claim::full(laps).0);
        let report = look(&image.as_slice());
        assert_eq!((fields(&report), records(&image.as_slice()).len()), (vec!["slot[1].claim"], 0), "{laps:#x}");
    }
}

/// A ring that is filled up, goes on at its beginning, and tells of its records: each of them, and its payload, lie where they are told to.
fn records_are_where_they_are_told_to_be<R: Topology>(what: &str, ring: &R, segment: &Segment) {
    const POPPED: usize = 3;
    let me = ring.attach().unwrap();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let payload = |number: u8| vec![number; 11 + usize::from(number % 4)];
    let mut numbers = 1..=u8::MAX;
    let mut fill = || numbers.by_ref().take_while(|&it| producer.try_push(it.into(), &payload(it)).is_ok()).count();
    let first = fill();
    (0..POPPED).for_each(|_| _ = consumer.try_pop(&mut Vec::new()).unwrap());
    let pushed = first + fill();
    let image = bytes(segment);
    let mut told = records(&image.as_slice());
    told.sort_by_key(|record| record.offset);
    for (record, next) in told.iter().zip(&told[1..]) {
        assert!(record.offset + record.size <= next.offset, "{what}: {record:?}, and then {next:?}");
    }
    // Nor beyond the end, where the file was cut.
    let end = told.last().map_or(0, |last| last.offset + last.size) as usize;
    for length in end - 100..=end {
        for record in records(&&image[..length]) {
            assert!(record.offset + record.size <= length as u64, "{what}: {record:?} in {length} bytes");
        }
    }
    told.retain(|record| !record.padding);
    assert!(first > POPPED && told.len() == pushed - POPPED, "{what}: {pushed} records, {} told", told.len());
    for record in told {
        let place = record.payload_offset as usize..record.payload_offset as usize + record.length as usize;
        assert_eq!(image.get(place), Some(&*payload(record.kind as u8)), "{what}: {record:?}");
    }
}

#[test]
fn where_a_record_is_told_to_be_it_is() {
    use ownerdead::ring::{mpmc, mpsc, spsc};
    let options = Options::new().slots(SLOTS);
    macro_rules! each {
        ($($what:literal: $ring:ty, $config:expr;)+) => {$({
            let ring = <$ring>::memfd(&options, &$config).unwrap();
            records_are_where_they_are_told_to_be($what, &ring, ring.segment());
        })+};
    }
    each! {
        "spsc": spsc::Ring, spsc::Config::new(1024);
        "spsc without checksums": spsc::Ring, spsc::Config::new(1024).checksum(false);
        "locked": mpsc::locked::Ring, mpsc::locked::Config::new(1024);
        "lanes": mpsc::lanes::Ring, mpsc::lanes::Config::new(2, 1024);
        "claims": mpsc::claims::Ring, mpsc::claims::Config::new(1024);
        "mpmc, inside": mpmc::Ring, mpmc::Config::new(4, 16);
        "mpmc, outside": mpmc::Ring, mpmc::Config::new(4, 70);
    }
}

#[test]
fn long_padding_is_told_of_where_all_of_it_is_there() {
    const CAPACITY: usize = 1 << 20;
    let ring = ring(Config::new(CAPACITY));
    let me = ring.attach().unwrap();
    let (mut producer, mut consumer) =
        (ring.producer(&me).unwrap().into_inner(), ring.consumer(&me).unwrap().into_inner());
    for length in [300_000, 300_000] {
        producer.push(1, &vec![1; length]).unwrap();
        consumer.pop(&mut Vec::new()).unwrap();
    }
    // Up to the end of the ring there are some 440,000 bytes: more than are read at a time.
    producer.push(2, &[2; 480_000]).unwrap();
    let image = bytes(ring.segment());
    let paddings = |image: &[u8]| records(&image).iter().filter(|record| record.padding).count();
    let end = RECORDS + CAPACITY;
    assert_eq!([image.len(), end, end - 1, end - 100_000].map(|length| paddings(&image[..length])), [1, 1, 0, 0]);
}
