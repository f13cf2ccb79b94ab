//! The ring between real processes: what chaos does not stop to look at.

use crate::process::{Gate, for_ever, spawn};
use ownerdead::owner::SeatState;
use ownerdead::ring::spsc::{Config, Opened, PopError, PushError, Ring, SeatError, TryPopError, TryPushError};
use ownerdead::segment::{Options, Segment};
use std::time::Duration;

fn ring(capacity: usize) -> Ring {
    Ring::memfd(&Options::new(), &Config::new(capacity)).unwrap()
}

#[test]
fn a_dead_producers_records_arrive_and_its_seat_is_taken_over_once() {
    let ring = ring(4096);
    let pushed = Gate::new();
    let mut victim = spawn(|| {
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        producer.push(1, b"first").unwrap();
        producer.push(2, b"second").unwrap();
        let mut unfinished = producer.reserve(3, 5).unwrap();
        unfinished.write(0, b"third");
        pushed.open();
        for_ever();
    });
    pushed.wait();
    let me = ring.attach().unwrap();
    match ring.producer(&me) {
        Err(SeatError::Busy { generation: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
    victim.kill();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let mut bytes = Vec::new();
    assert_eq!((consumer.pop(&mut bytes).unwrap(), bytes.as_slice()), (1, &b"first"[..]));
    assert_eq!((consumer.pop(&mut bytes).unwrap(), bytes.as_slice()), (2, &b"second"[..]));
    assert_eq!(consumer.pop(&mut bytes), Err(PopError::ProducerDied));
    match ring.producer(&me) {
        Ok(Opened::OwnerDied(producer)) => assert_eq!(producer.generation(), 1),
        other => panic!("{other:?}"),
    }
    match ring.producer(&me) {
        Ok(Opened::Clean(producer)) => assert_eq!(producer.generation(), 1),
        other => panic!("{other:?}"),
    };
}

#[test]
fn a_full_ring_whose_consumer_dies_ends_the_push() {
    let ring = ring(64);
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    while producer.try_push(0, b"").is_ok() {}
    let seated = Gate::new();
    let mut victim = spawn(|| {
        let me = ring.attach().unwrap();
        let _consumer = ring.consumer(&me).unwrap().into_inner();
        seated.open();
        for_ever();
    });
    seated.wait();
    std::thread::scope(|scope| {
        scope.spawn(|| victim.kill());
        assert_eq!(producer.push(0, b""), Err(PushError::ConsumerDied));
    });
    assert!(matches!(ring.status().consumer.state, SeatState::Dead(_)));
}

#[test]
fn records_of_every_length_come_back_and_a_larger_one_is_refused() {
    for checksum in [true, false] {
        let ring = Ring::memfd(&Options::new(), &Config::new(256).checksum(checksum)).unwrap();
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        let max = ring.longest_payload();
        for len in (0..=max).chain((0..=max).rev()) {
            let payload: Vec<u8> = (0..len).map(|at| (at ^ len) as u8).collect();
            producer.try_push(len as u32, &payload).unwrap();
            let mut bytes = vec![9; 3];
            assert_eq!(consumer.try_pop(&mut bytes).unwrap(), len as u32);
            assert_eq!(bytes, payload);
        }
        assert_eq!(producer.try_push(0, &vec![0; max + 1]), Err(TryPushError::TooLarge { len: max + 1, max }));
        assert_eq!(consumer.try_pop(&mut Vec::new()), Err(TryPopError::Empty));
        assert_eq!(ring.status().used, 0);
    }
}

#[test]
fn batches_are_published_and_read_together() {
    let ring = ring(4096);
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let records: Vec<Vec<u8>> = (0..1000u32).map(|n| n.to_le_bytes().repeat(3)).collect();
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < records.len() {
        let rest = records[sent..].iter().map(|record| (7, record.as_slice()));
        sent += if sent < records.len() { producer.push_batch(rest).unwrap() } else { 0 };
        consumer.pop_batch(10, |kind, bytes| got.push((kind, bytes.to_vec()))).unwrap();
    }
    assert!(got.iter().zip(&records).all(|((kind, bytes), record)| *kind == 7 && bytes == record));
}

#[test]
fn what_is_peeked_stays_and_what_is_not_committed_never_was() {
    let ring = ring(4096);
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    drop(producer.reserve(1, 100).unwrap());
    assert!(matches!(consumer.peek(), Err(TryPopError::Empty)));
    let mut reservation = producer.reserve(2, 10).unwrap();
    assert_eq!(reservation.write(4, b"abcdefgh"), 6);
    reservation.commit().unwrap();
    for _ in 0..2 {
        let peek = consumer.peek().unwrap();
        let mut bytes = Vec::new();
        peek.copy_to(&mut bytes).unwrap();
        assert_eq!((peek.kind(), peek.len(), bytes.as_slice()), (2, 10, &b"\0\0\0\0abcdef"[..]));
    }
    consumer.peek().unwrap().consume();
    assert!(matches!(consumer.peek(), Err(TryPopError::Empty)));
}

#[test]
fn a_time_out_is_an_error_and_a_vacant_seat_is_waited_for() {
    let ring = ring(64);
    let me = ring.attach().unwrap();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let soon = Duration::from_millis(5);
    assert!(matches!(
        consumer.pop_timeout(&mut Vec::new(), soon),
        Err(ownerdead::ring::spsc::PopTimeoutError::TimedOut)
    ));
    assert!(consumer.wait_producer(Some(soon)).is_err());
    let mut producer = ring.producer(&me).unwrap().into_inner();
    consumer.wait_producer(None).unwrap();
    while producer.try_push(0, b"").is_ok() {}
    assert!(matches!(producer.push_timeout(0, b"", soon), Err(ownerdead::ring::spsc::PushTimeoutError::TimedOut)));
}

#[test]
fn the_heartbeat_moves_with_operations_and_by_hand() {
    let ring = ring(4096);
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    producer.push(0, b"").unwrap();
    producer.beat();
    consumer.pop(&mut Vec::new()).unwrap();
    consumer.beat();
    consumer.beat();
    let status = ring.status();
    assert_eq!((status.producer.heartbeat, status.consumer.heartbeat), (2, 3));
}

#[test]
fn a_forked_child_is_refused_by_its_parents_handles() {
    let ring = ring(4096);
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut child = spawn(|| {
        assert_eq!(producer.try_push(0, b""), Err(TryPushError::Forked));
        assert!(matches!(ring.consumer(&me), Err(SeatError::Forked)));
        let mine = ring.attach().unwrap();
        assert!(matches!(ring.producer(&mine), Err(SeatError::Busy { .. })));
    });
    child.succeeds();
    producer.push(0, b"still mine").unwrap();
}

#[test]
fn a_second_mapping_of_a_ring_is_the_same_ring_and_another_segment() {
    let ring = ring(4096);
    let file = std::os::fd::AsFd::as_fd(ring.segment()).try_clone_to_owned().unwrap();
    let other = Ring::from_segment(Segment::from_fd(file, ownerdead::segment::Kind::SPSC).unwrap()).unwrap();
    let (me, there) = (ring.attach().unwrap(), other.attach().unwrap());
    assert!(matches!(other.producer(&me), Err(SeatError::WrongSegment)));
    ring.producer(&me).unwrap().into_inner().push(5, b"through memory").unwrap();
    let mut bytes = Vec::new();
    assert_eq!(other.consumer(&there).unwrap().into_inner().pop(&mut bytes).unwrap(), 5);
    assert_eq!(bytes, b"through memory");
}

#[test]
fn threads_of_one_process_pass_records() {
    const RECORDS: u32 = 20_000;
    let ring = ring(256);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let me = ring.attach().unwrap();
            let mut producer = ring.producer(&me).unwrap().into_inner();
            for number in 0..RECORDS {
                producer.push(number, &[number as u8; 40][..number as usize % 41]).unwrap();
            }
        });
        let me = ring.attach().unwrap();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        let mut bytes = Vec::new();
        for number in 0..RECORDS {
            assert_eq!(consumer.pop(&mut bytes), Ok(number));
            assert_eq!(bytes, vec![number as u8; number as usize % 41]);
        }
    });
}

#[test]
fn a_batch_of_lanes_whose_taker_panics_is_read_again() {
    use ownerdead::ring::mpsc::lanes;

    let ring = lanes::Ring::memfd(&Options::new(), &lanes::Config::new(3, 256)).unwrap();
    let me = ring.attach().unwrap();
    let mut producers = [(); 3].map(|()| ring.producer(&me).unwrap().into_inner());
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    (0..6).for_each(|kind| producers[kind as usize % 3].push(kind, b"").unwrap());
    let batch = std::panic::AssertUnwindSafe(|| consumer.pop_batch(6, |kind, _| assert!(kind < 4, "the taker's own")));
    assert!(std::panic::catch_unwind(batch).is_err());
    let mut kinds = Vec::new();
    assert_eq!(consumer.pop_batch(6, |kind, _| kinds.push(kind)), Ok(6));
    assert_eq!(kinds, [0, 1, 2, 3, 4, 5]);
}
