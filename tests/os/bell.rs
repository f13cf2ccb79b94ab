//! Bells: a ring whose sides live in a loop over descriptors.

use crate::process::{Gate, for_ever, spawn};
use ownerdead::ring::spsc::{Config, PopError, Ring, TryPopError};
use ownerdead::ring::{Bell, BellUseError, Consume, Produce, Rang, Topology};
use ownerdead::segment::Options;
use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::AsFd;

fn ring() -> Ring {
    Ring::memfd(&Options::new(), &Config::new(256)).unwrap()
}

/// Whether its descriptor is readable, within `milliseconds`.
fn readable(bell: &Bell, milliseconds: i64) -> bool {
    let wait = rustix::event::Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
    poll(&mut [PollFd::new(&bell.as_fd(), PollFlags::IN)], Some(&wait)).expect("poll") == 1
}

/// What it rings for.
fn rang(bell: &Bell) -> Rang {
    assert!(readable(bell, 10_000), "it did not ring");
    let rang = bell.take().unwrap().expect("it rang for something");
    assert!(!readable(bell, 0) && bell.take().unwrap().is_none(), "it is silent once it was asked");
    rang
}

#[test]
fn a_bell_rings_for_a_record_that_comes_before_or_after_it_is_armed() {
    let ring = ring();
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let bell = consumer.bell().unwrap();
    let mut bytes = Vec::new();
    for round in 0..50 {
        assert_eq!(consumer.try_pop(&mut bytes), Err(TryPopError::Empty));
        if round % 2 == 0 {
            producer.push(round, b"before").unwrap();
            consumer.arm(&bell).unwrap();
        } else {
            consumer.arm(&bell).unwrap();
            producer.push(round, b"after").unwrap();
        }
        assert_eq!(rang(&bell), Rang::Ready);
        assert_eq!(consumer.try_pop(&mut bytes), Ok(round));
    }
    // Nothing has come since, and it is not armed.
    assert!(!readable(&bell, 0));
}

#[test]
fn a_bell_rings_for_room() {
    let ring = ring();
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let bell = producer.bell().unwrap();
    while producer.try_push(0, b"").is_ok() {}
    producer.arm(&bell).unwrap();
    consumer.try_pop(&mut Vec::new()).unwrap();
    assert_eq!(rang(&bell), Rang::Ready);
    producer.try_push(0, b"").unwrap();
}

#[test]
fn a_bell_rings_when_the_peer_is_killed_and_when_another_one_comes() {
    let ring = ring();
    let seated = Gate::new();
    let mut victim = spawn(|| {
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        producer.push(1, b"last").unwrap();
        seated.open();
        for_ever();
    });
    seated.wait();
    let me = ring.attach().unwrap();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let bell = consumer.bell().unwrap();
    let mut bytes = Vec::new();
    assert_eq!(consumer.try_pop(&mut bytes), Ok(1));
    consumer.arm(&bell).unwrap();
    victim.kill();
    assert_eq!(rang(&bell), Rang::PeerDied);
    assert_eq!(consumer.pop(&mut bytes), Err(PopError::ProducerDied));
    consumer.arm_for_producer(&bell).unwrap();
    let next = ring.producer(&me).unwrap();
    assert!(next.owner_died());
    assert_eq!(rang(&bell), Rang::PeerCame);
}

#[test]
fn a_bell_that_is_dropped_while_it_watches_ends_its_thread_and_frees_its_slot() {
    let ring = ring();
    let me = ring.attach().unwrap();
    let _producer = ring.producer(&me).unwrap().into_inner();
    let consumer = ring.consumer(&me).unwrap().into_inner();
    for _ in 0..100 {
        let bell = consumer.bell().unwrap();
        consumer.arm(&bell).unwrap();
        drop(bell);
    }
    assert_eq!(ring.segment().table().counts().attached, 1);
}

#[test]
fn a_bell_is_for_the_side_that_made_it_and_for_no_forked_child() {
    let (ring, other) = (ring(), ring());
    let (me, there) = (ring.attach().unwrap(), other.attach().unwrap());
    let producer = ring.producer(&me).unwrap().into_inner();
    let consumer = ring.consumer(&me).unwrap().into_inner();
    let stranger = other.consumer(&there).unwrap().into_inner();
    let bell = consumer.bell().unwrap();
    assert_eq!(producer.arm(&bell), Err(BellUseError::WrongSide));
    assert_eq!(stranger.arm(&bell), Err(BellUseError::WrongSide));
    spawn(|| {
        assert_eq!(consumer.arm(&bell), Err(BellUseError::Forked));
        assert_eq!(bell.take(), Err(BellUseError::Forked));
        assert!(matches!(consumer.bell(), Err(ownerdead::ring::BellError::Forked)));
        // Its destructor waits for no thread, since a child has none, and touches none that the child has made.
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let own = std::thread::spawn(move || ends.recv());
        drop(bell);
        drop(end);
        own.join().unwrap().unwrap_err();
    })
    .succeeds();
}

/// What holds at a bell of any ring: `ring` takes a record of four bytes, and is full after some.
fn rings_at<R: Topology>(ring: &R) {
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let (there_is_room, there_is_one) = (producer.bell().unwrap(), consumer.bell().unwrap());
    let mut bytes = Vec::new();
    for round in 0..50u32 {
        assert_eq!(consumer.try_pop(&mut bytes), Err(TryPopError::Empty));
        if round % 2 == 0 {
            consumer.arm(&there_is_one).unwrap();
        }
        producer.push(round, &round.to_le_bytes()).unwrap();
        if round % 2 == 1 {
            consumer.arm(&there_is_one).unwrap();
        }
        assert_eq!(rang(&there_is_one), Rang::Ready);
        assert_eq!((consumer.try_pop(&mut bytes), &bytes[..]), (Ok(round), &round.to_le_bytes()[..]));
    }
    // Armed, and the side goes on by itself: a ring that is whole is not called damaged.
    for round in 0..100u32 {
        consumer.arm(&there_is_one).unwrap();
        producer.push(round, &round.to_le_bytes()).unwrap();
        assert_eq!(consumer.try_pop(&mut bytes), Ok(round));
        // Its thread has a millisecond to come too late. Of a ring for many it does not say that there was something.
        readable(&there_is_one, 1);
        assert!(matches!(there_is_one.take().unwrap(), None | Some(Rang::Ready)));
    }
    assert_eq!(producer.arm(&there_is_one), Err(BellUseError::WrongSide));
    assert_eq!(consumer.arm(&there_is_room), Err(BellUseError::WrongSide));
    for round in 0..50u32 {
        while producer.try_push(round, &[1; 4]).is_ok() {}
        producer.arm(&there_is_room).unwrap();
        assert!(!readable(&there_is_room, 0), "nothing was read");
        consumer.try_pop(&mut bytes).unwrap();
        assert_eq!(rang(&there_is_room), Rang::Ready);
    }
}

#[test]
fn a_bell_of_any_ring_rings_for_a_record_and_for_room() {
    use ownerdead::ring::{broadcast, mpmc, mpsc};
    rings_at(&ring());
    rings_at(&mpsc::lanes::Ring::memfd(&Options::new(), &mpsc::lanes::Config::new(2, 256)).unwrap());
    rings_at(&mpsc::claims::Ring::memfd(&Options::new(), &mpsc::claims::Config::new(4096)).unwrap());
    rings_at(&mpsc::locked::Ring::memfd(&Options::new(), &mpsc::locked::Config::new(256)).unwrap());
    rings_at(&mpmc::Ring::memfd(&Options::new(), &mpmc::Config::new(8, 16)).unwrap());
    let lossless = broadcast::Config::lossless(4096, 2);
    rings_at(&broadcast::Ring::memfd(&Options::new(), &lossless).unwrap());
}

/// A consumer's bell in a ring whose producer is killed with a reservation open: what it rings for, if for anything.
fn rings_for_a_death<R: Topology>(ring: &R, wait: i64) -> Option<Rang> {
    let seated = Gate::new();
    let mut victim = spawn(|| {
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let _reservation = producer.reserve(1, 4).unwrap();
        seated.open();
        for_ever();
    });
    seated.wait();
    let me = ring.attach().unwrap();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let bell = consumer.bell().unwrap();
    assert_eq!(consumer.try_pop(&mut Vec::new()), Err(TryPopError::Empty));
    consumer.arm(&bell).unwrap();
    assert!(!readable(&bell, 20), "it lives");
    victim.kill();
    let rang = readable(&bell, wait).then(|| rang(&bell));
    if rang.is_some() {
        assert_eq!(consumer.try_pop(&mut Vec::new()), Err(TryPopError::Empty));
        consumer.arm(&bell).unwrap();
    }
    // Whatever it was: the next producer's record is heard.
    let mut next = ring.producer(&me).unwrap().into_inner();
    next.push(7, b"next").unwrap();
    assert!(readable(&bell, 10_000) && bell.take().unwrap().is_some());
    assert_eq!(consumer.try_pop(&mut Vec::new()), Ok(7));
    rang
}

#[test]
fn a_bell_of_any_ring_tells_of_the_death_that_its_side_waits_for_and_hears_the_next_producer() {
    use ownerdead::ring::{broadcast, mpmc, mpsc};
    let died = Some(Rang::PeerDied);
    assert_eq!(rings_for_a_death(&ring(), 10_000), died);
    let lanes = mpsc::lanes::Ring::memfd(&Options::new(), &mpsc::lanes::Config::new(2, 256)).unwrap();
    assert_eq!(rings_for_a_death(&lanes, 10_000), died);
    let broadcast = broadcast::Ring::memfd(&Options::new(), &broadcast::Config::lossy(4096, 2)).unwrap();
    assert_eq!(rings_for_a_death(&broadcast, 10_000), died);
    // There is something to be done: what the dead one wrote is to be skipped.
    let claims = mpsc::claims::Ring::memfd(&Options::new(), &mpsc::claims::Config::new(4096)).unwrap();
    assert_eq!(rings_for_a_death(&claims, 10_000), Some(Rang::Ready));
    // There is nothing to be read, or to be skipped.
    let locked = mpsc::locked::Ring::memfd(&Options::new(), &mpsc::locked::Config::new(256)).unwrap();
    assert_eq!(rings_for_a_death(&locked, 20), None);
    // The bell's thread has skipped it.
    let mpmc = mpmc::Ring::memfd(&Options::new(), &mpmc::Config::new(8, 16)).unwrap();
    assert_eq!(rings_for_a_death(&mpmc, 20), None);
}
