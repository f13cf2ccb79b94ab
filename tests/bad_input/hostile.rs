//! A peer that writes anything anywhere, at any moment, while honest handles are used.

use crate::image::{Image, body};
use crate::process::{Gate, spawn};
use crate::ring::use_it;
use crate::row::in_a_process;
use ownerdead::lock::{Condvar, LockTimeoutError, RobustMutex, RwLock};
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::{Options, Segment};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serial_test::serial;
use std::time::Duration;

/// Runs `play` while another process writes into the first `words` of the body of `segment`: one word, any value or one that is
/// nearly right, and every other time all of them back as they were. Both end when `play` does.
fn under_fire(segment: &Segment, words: u64, play: impl FnOnce()) {
    let image = Image::of(segment);
    let (firing, whole) = (Gate::new(), image.bytes());
    let whole = &whole[..(body(2) + 8 * words) as usize];
    let mut peer = spawn(|| {
        let mut random = SmallRng::seed_from_u64(1);
        let mut shots = 0;
        loop {
            let at = body(2) + 8 * random.random_range(0..words);
            let value = match random.random_range(0..4) {
                0 => random.random(),
                1 => 8 * random.random_range(0..300),
                2 => 1 << 29 | random.random_range(0..8) | 1 << 32,
                _ => u64::from(u32::MAX) - random.random_range(0..2),
            };
            image.poke(at, value);
            if random.random() {
                image.restore(whole, body(2));
            }
            shots += 1;
            if shots == 100 {
                firing.open();
            }
        }
    });
    firing.wait();
    play();
    peer.kill();
}

/// Of every operation.
const ROUNDS: u32 = 3_000;

#[test]
#[serial(dev_shm)]
fn no_operation_of_a_ring_panics_faults_or_hangs_under_a_peer_that_writes_anything() {
    for wipe in [false, true] {
        in_a_process("hostile", || {
            let ring = Ring::memfd(&Options::new().slots(2), &Config::new(1024).wipe(wipe)).unwrap();
            let me = ring.attach().unwrap();
            ring.producer(&me).unwrap().into_inner().push(7, b"a record").unwrap();
            let image = Image::of(ring.segment());
            let whole = image.bytes();
            let (mut done, mut refused) = (0u32, 0u32);
            // The control words and the first records.
            under_fire(ring.segment(), (4096 + 128) / 8, || {
                let mut bytes = Vec::new();
                let mut round = 0;
                // However the two are scheduled: until both have been seen.
                while round < ROUNDS || done == 0 || refused == 0 {
                    round += 1;
                    let mut count = |well: bool| *(if well { &mut done } else { &mut refused }) += 1;
                    let (producer, consumer) = (ring.producer(&me), ring.consumer(&me));
                    if let Ok(opened) = producer {
                        let mut producer = opened.into_inner();
                        for len in 0..8 {
                            count(producer.try_push(round, &[1; 200][..len * 25]).is_ok());
                            count(producer.push_timeout(round, b"", Duration::ZERO).is_ok());
                            count(producer.reserve(round, len).and_then(|room| room.commit()).is_ok());
                        }
                    }
                    if let Ok(opened) = consumer {
                        let mut consumer = opened.into_inner();
                        for _ in 0..8 {
                            count(consumer.try_pop(&mut bytes).is_ok());
                            assert!(bytes.len() <= 1024);
                            count(consumer.pop_timeout(&mut bytes, Duration::from_micros(1)).is_ok());
                            count(consumer.pop_batch(4, |_, bytes| assert!(bytes.len() <= 1024)).is_ok());
                        }
                        count(consumer.discard().is_ok());
                    }
                    let _ = format!("{:?}", ring.status());
                }
            });
            image.restore(&whole, body(2));
            use_it(&ring, &me, &[b"a record"]);
            String::new()
        });
    }
}

#[test]
#[serial(dev_shm)]
fn no_operation_of_an_mpmc_ring_panics_faults_or_hangs_under_a_peer_that_writes_anything() {
    use ownerdead::ring::mpmc;
    in_a_process("hostile", || {
        let config = mpmc::Config::new(4, 32).order(mpmc::Order::Round);
        let ring = mpmc::Ring::memfd(&Options::new().slots(2), &config).unwrap();
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        let image = Image::of(ring.segment());
        let whole = image.bytes();
        let (mut done, mut refused) = (0u32, 0u32);
        // The control words, and all slots.
        under_fire(ring.segment(), (4096 + 4 * 64) / 8, || {
            let mut bytes = Vec::new();
            let mut round = 0;
            while round < ROUNDS || done == 0 || refused == 0 {
                round += 1;
                let mut count = |well: bool| *(if well { &mut done } else { &mut refused }) += 1;
                for len in 0..4 {
                    count(producer.try_push(round, &[1; 40][..len * 11]).is_ok());
                    count(producer.push_timeout(round, b"", Duration::ZERO).is_ok());
                    count(producer.reserve(round, len).and_then(|room| room.commit()).is_ok());
                    count(consumer.try_pop(&mut bytes).is_ok());
                    assert!(bytes.len() <= 32);
                    count(consumer.pop_timeout(&mut bytes, Duration::from_micros(1)).is_ok());
                    count(consumer.peek().map(|peek| peek.consume()).is_ok());
                }
                let _ = format!("{:?}", ring.status());
            }
        });
        assert_eq!(me.rights(), 0);
        image.restore(&whole, body(2));
        producer.try_push(7, b"a record").unwrap();
        assert_eq!((consumer.try_pop(&mut Vec::new()), ring.status().full), (Ok(7), 0));
        String::new()
    });
}

/// A test of a ring with many producers that hold no seat: so many of its first words are written.
macro_rules! no_seats {
    ($name:ident, $ring:ident, $config:expr, $words:expr) => {
        #[test]
        #[serial(dev_shm)]
        fn $name() {
            use ownerdead::ring::mpsc::$ring;
            in_a_process("hostile", || {
                let ring = $ring::Ring::memfd(&Options::new().slots(2), &$config).unwrap();
                let me = ring.attach().unwrap();
                let mut producer = ring.producer(&me).unwrap().into_inner();
                let image = Image::of(ring.segment());
                let whole = image.bytes();
                let (mut done, mut refused) = (0u32, 0u32);
                for words in $words {
                    under_fire(ring.segment(), words, || {
                        let mut bytes = Vec::new();
                        let mut round = 0;
                        while round < ROUNDS / 3 || done == 0 || refused == 0 {
                            round += 1;
                            let mut count = |well: bool| *(if well { &mut done } else { &mut refused }) += 1;
                            for len in 0..4 {
                                count(producer.try_push(round, &[1; 300][..len * 90]).is_ok());
                                count(producer.push_timeout(round, b"", Duration::ZERO).is_ok());
                                count(producer.reserve(round, len).and_then(|room| room.commit()).is_ok());
                            }
                            let Ok(opened) = ring.consumer(&me) else { continue };
                            let mut consumer = opened.into_inner();
                            for _ in 0..4 {
                                count(consumer.try_pop(&mut bytes).is_ok());
                                assert!(bytes.len() <= 256);
                                count(consumer.pop_timeout(&mut bytes, Duration::from_micros(1)).is_ok());
                                count(consumer.pop_batch(4, |_, bytes| assert!(bytes.len() <= 256)).is_ok());
                                count(consumer.peek().map(|peek| peek.consume()).is_ok());
                            }
                            let _ = format!("{:?}", ring.status());
                        }
                    });
                }
                assert_eq!(me.rights(), 0);
                image.restore(&whole, body(2));
                producer.try_push(7, b"a record").unwrap();
                let mut consumer = ring.consumer(&me).unwrap().into_inner();
                assert_eq!(consumer.try_pop(&mut Vec::new()), Ok(7));
                String::new()
            });
        }
    };
}

// The control words, the words of the blocks, and the first records.
no_seats!(
    no_operation_of_a_ring_of_claims_panics_faults_or_hangs_under_a_peer_that_writes_anything,
    claims,
    claims::Config::new(512),
    [4096 / 8 + 8, (8192 + 512) / 8]
);
// The control words, and the records.
no_seats!(
    no_operation_of_a_ring_with_a_lock_panics_faults_or_hangs_under_a_peer_that_writes_anything,
    locked,
    locked::Config::new(512).wipe(true),
    [2048 / 8, (4096 + 512) / 8]
);

#[test]
#[serial(dev_shm)]
fn no_operation_of_a_mutex_panics_faults_or_hangs_under_a_peer_that_writes_anything() {
    in_a_process("hostile", || {
        let mutex = RobustMutex::memfd(&Options::new().slots(2), 7u64).unwrap();
        let (one, two) = (mutex.attach().unwrap(), mutex.attach().unwrap());
        let image = Image::of(mutex.segment());
        let whole = image.bytes();
        let (mut done, mut refused) = (0u32, 0u32);
        // The lock word alone.
        under_fire(mutex.segment(), 1, || {
            let mut round = 0;
            while round < ROUNDS || done == 0 || refused == 0 {
                round += 1;
                let me = if round % 2 == 0 { &one } else { &two };
                let _ = mutex.try_lock(me);
                match mutex.lock_timeout(me, Duration::from_micros(50)) {
                    Ok(_) => done += 1,
                    Err(LockTimeoutError::OwnerDied(died)) => died.into_guard().mark_consistent(),
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        refused += 1;
                    }
                }
            }
        });
        assert_eq!((one.rights(), two.rights()), (0, 0));
        image.restore(&whole, body(2));
        assert_eq!(*mutex.lock(&one).unwrap(), 7);
        String::new()
    });
}

#[test]
#[serial(dev_shm)]
fn a_free_reader_writer_lock_whose_word_says_that_somebody_sleeps_lets_readers_and_writers_in() {
    in_a_process("hostile", || {
        let lock = RwLock::memfd(&Options::new().slots(2), 7u64).unwrap();
        let me = lock.attach().unwrap();
        let image = Image::of(lock.segment());
        for ways in 0..4 {
            // WAITERS, beside nobody: none that follows the protocol leaves it so.
            image.poke(body(2), 1 << 31);
            assert_eq!(
                match ways {
                    0 => *lock.try_read(&me).unwrap(),
                    1 => *lock.read_timeout(&me, Duration::ZERO).unwrap(),
                    2 => *lock.read(&me).unwrap(),
                    _ => *lock.try_write(&me).unwrap(),
                },
                7
            );
        }
        assert_eq!((me.rights(), image.peek(body(2))), (0, 0));
        String::new()
    });
}

#[test]
#[serial(dev_shm)]
fn a_condition_variable_that_was_notified_as_often_as_it_can_count_counts_from_0() {
    in_a_process("hostile", || {
        let mutex = RobustMutex::memfd(&Options::new().slots(2), 7u64).unwrap();
        let me = mutex.attach().unwrap();
        let image = Image::of(mutex.segment());
        let [condvar, ..] = mutex.condvars();
        for notify in [Condvar::notify_one, Condvar::notify_all] {
            // All flags, and 2^29 - 1 notifications.
            image.poke(body(2) + 192, u64::from(u32::MAX));
            notify(&condvar, &me).unwrap();
            assert!(condvar.notifications() < 2, "{}", condvar.notifications());
        }
        String::new()
    });
}
