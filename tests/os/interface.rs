//! All rings through their one interface, and as `inspect` sees them.

use ownerdead::inspect::{Thread, inspect};
use ownerdead::ring::{
    Commit, Consume, PopTimeoutError, Produce, PushTimeoutError, Topology, TryPopError, TryPushError, broadcast, mpmc,
    mpsc::claims, mpsc::lanes, mpsc::locked, spsc,
};
use ownerdead::segment::{Options, Segment};
use std::os::fd::AsFd;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(5);

/// Fills the ring and drains it, by each function of the interface.
fn does_all<R: Topology>(ring: &R) {
    let me = ring.attach().unwrap();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut payload = Vec::new();
    assert_eq!(consumer.try_pop(&mut payload), Err(TryPopError::Empty));
    assert_eq!(consumer.pop_timeout(&mut payload, SOON), Err(PopTimeoutError::TimedOut));
    producer.push(1, b"one").unwrap();
    producer.push_timeout(2, b"two", SOON).unwrap();
    let mut room = producer.reserve(3, 5).unwrap();
    assert_eq!((room.write(0, b"th"), room.write(2, b"ree!")), (2, 3));
    room.commit().unwrap();
    drop(producer.reserve(9, 5).unwrap());
    assert!(ring.statistics().written > ring.statistics().read);
    for (kind, expected) in [(1, &b"one"[..]), (2, b"two"), (3, b"three")] {
        assert_eq!(consumer.pop(&mut payload), Ok(kind));
        assert_eq!(payload, expected);
    }
    let longest = ring.longest_payload();
    let refused = producer.try_push(0, &vec![0; longest + 1]);
    assert_eq!(refused, Err(TryPushError::TooLarge { len: longest + 1, max: longest }));
    producer.try_push(4, &vec![7; longest]).unwrap();
    assert_eq!(consumer.pop_timeout(&mut payload, SOON), Ok(4));
    let mut count = 0;
    while producer.try_push(5, b"again").is_ok() {
        count += 1;
    }
    assert_eq!(producer.push_timeout(6, b"again", SOON), Err(PushTimeoutError::TimedOut));
    for _ in 0..count {
        assert_eq!(consumer.try_pop(&mut payload), Ok(5));
    }
    assert_eq!(ring.statistics().written, ring.statistics().read);
}

/// What `inspect` says of a segment's bytes: the fields in which it finds problems.
fn problems(segment: &Segment, damage: Option<(usize, u64)>) -> Vec<String> {
    let file = std::fs::File::from(segment.as_fd().try_clone_to_owned().unwrap());
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
    if let Some((offset, word)) = damage {
        // The body follows the header and the slots.
        let body = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
        bytes[body + offset..][..8].copy_from_slice(&word.to_le_bytes());
    }
    let report = inspect(&&bytes[..], |_| Thread::Unknown, |_| ());
    report.problems.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn an_spsc_ring_does_all_that_a_ring_does() {
    let ring = spsc::Ring::memfd(&Options::new(), &spsc::Config::new(256)).unwrap();
    does_all(&ring);
    assert!(problems(ring.segment(), None).is_empty());
}

#[test]
fn lanes_do_all_that_a_ring_does() {
    let ring = lanes::Ring::memfd(&Options::new(), &lanes::Config::new(2, 256)).unwrap();
    does_all(&ring);
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    producer.push(1, b"seen by inspect").unwrap();
    assert!(problems(ring.segment(), None).is_empty());
    // The configuration's words: lanes, capacity, flags.
    for (offset, word) in [(0, 0), (8, 100), (16, 1 << 40)] {
        assert!(!problems(ring.segment(), Some((offset, word))).is_empty(), "{word:#x} at {offset}");
    }
}

#[test]
fn a_lossless_broadcast_ring_does_all_that_a_ring_does() {
    let ring = broadcast::Ring::memfd(&Options::new(), &broadcast::Config::lossless(256, 2)).unwrap();
    does_all(&ring);
    let me = ring.attach().unwrap();
    let _reader = ring.consumer(&me).unwrap().into_inner();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    producer.push(1, b"seen by inspect").unwrap();
    assert!(problems(ring.segment(), None).is_empty());
    for (offset, word) in [(0, 100), (8, 1 << 40)] {
        assert!(!problems(ring.segment(), Some((offset, word))).is_empty(), "{word:#x} at {offset}");
    }
}

#[test]
fn an_mpmc_ring_does_all_that_a_ring_does() {
    use mpmc::{Config, OnDeath, Order, Ring};
    // Payloads in their slots, and outside.
    for config in [Config::new(4, 32), Config::new(8, 100).order(Order::Round).on_death(OnDeath::Drop).checksum(false)]
    {
        let ring = Ring::memfd(&Options::new(), &config).unwrap();
        does_all(&ring);
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        producer.push(1, b"seen by inspect").unwrap();
        producer.push(2, b"as well").unwrap();
        let peek = consumer.peek().unwrap();
        let reservation = producer.reserve(3, 5).unwrap();
        assert!(problems(ring.segment(), None).is_empty());
        // The configuration's words: slots, payload, flags; a hint; and a slot that is of an earlier lap, and of a later one.
        let first = 4096 + 64 * (ring.statistics().read % ring.statistics().capacity) as usize;
        for (offset, word) in
            [(0, 3), (8, 1 << 40), (16, 1 << 40), (128, 0), (256, 1 << 63), (first, 0), (first, 1 << 40)]
        {
            assert!(!problems(ring.segment(), Some((offset, word))).is_empty(), "{word:#x} at {offset}");
        }
        drop((peek, reservation));
        assert!(problems(ring.segment(), None).is_empty());
    }
}

#[test]
fn a_ring_of_claims_does_all_that_a_ring_does() {
    for config in [claims::Config::new(512), claims::Config::new(256).block(16).checksum(false)] {
        let ring = claims::Ring::memfd(&Options::new(), &config).unwrap();
        does_all(&ring);
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        producer.push(1, b"seen by inspect").unwrap();
        producer.push(2, b"as well").unwrap();
        let peek = consumer.peek().unwrap();
        let reservation = producer.reserve(3, 5).unwrap();
        assert!(problems(ring.segment(), None).is_empty());
        let status = ring.status();
        // Capacity, block, flags; write and read index; the gates; the word of the first record; and its length.
        let block = (status.read_index % status.capacity) as usize;
        let (word, words) =
            (4096 + 8 * block / status.block as usize, 4096 + 8 * (status.capacity / status.block) as usize);
        let first = words.next_multiple_of(4096) + block;
        for (offset, word) in [
            (0, 100),
            (8, 24),
            (16, 1 << 40),
            (128, 8),
            (256, 1 << 63),
            (256, 8),
            (272, 0),
            (512, 1),
            (640, 1),
            (word, 5),
            (word, 1 << 40),
            (first, 1 << 20),
        ] {
            assert!(!problems(ring.segment(), Some((offset, word))).is_empty(), "{word:#x} at {offset}");
        }
        drop((peek, reservation));
        assert!(problems(ring.segment(), None).is_empty());
    }
}

#[test]
fn a_lossy_broadcast_ring_never_holds_its_writer_up() {
    let ring = broadcast::Ring::memfd(&Options::new(), &broadcast::Config::lossy(256, 2)).unwrap();
    let me = ring.attach().unwrap();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    for number in 0..1_000u32 {
        producer.push(number, b"a record").unwrap();
    }
    let mut payload = Vec::new();
    let lost = match Consume::try_pop(&mut consumer, &mut payload) {
        Err(TryPopError::Lapped { lost }) => lost,
        other => panic!("{other:?}"),
    };
    for number in lost as u32..1_000 {
        assert_eq!(Consume::pop(&mut consumer, &mut payload), Ok(number));
    }
    assert_eq!(consumer.try_pop(&mut payload), Err(TryPopError::Empty));
    assert!(problems(ring.segment(), None).is_empty());
}

#[test]
fn a_ring_whose_producers_take_turns_does_all_that_a_ring_does() {
    for config in [locked::Config::new(512), locked::Config::new(256).checksum(false).wipe(true)] {
        let ring = locked::Ring::memfd(&Options::new(), &config).unwrap();
        does_all(&ring);
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        producer.push(1, b"seen by inspect").unwrap();
        let peek = consumer.peek().unwrap();
        let reservation = producer.reserve(3, 5).unwrap();
        assert!(problems(ring.segment(), None).is_empty());
        let first = 4096 + (ring.status().read_index % ring.status().capacity) as usize;
        // Capacity and flags; the lock: of a slot that is not there, of nobody; seat and gates; both indices; the first record's length.
        for (offset, word) in [
            (0, 100),
            (8, 1 << 40),
            (128, 1 << 32 | 1 << 29 | 77),
            (128, 1 << 29 | 0xffe),
            (256, 5),
            (384, 1),
            (512, 1),
            (1024 + 128, 4),
            (1024 + 256, 1 << 63),
            (first, 1 << 20),
        ] {
            assert!(!problems(ring.segment(), Some((offset, word))).is_empty(), "{word:#x} at {offset}");
        }
        drop((peek, reservation));
        assert!(problems(ring.segment(), None).is_empty());
    }
}
