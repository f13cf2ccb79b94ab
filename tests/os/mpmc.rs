//! The MPMC ring with more at work at once than one look goes round, or one sleep waits for.

use ownerdead::ring::mpmc::{Config, Order, Ring, TryPopError};
use ownerdead::segment::Options;
use std::sync::mpsc::channel;
use std::time::Duration;

#[test]
fn a_ninth_writer_at_work_holds_up_what_comes_after_it_in_round_order() {
    const WRITERS: u32 = 9;
    let config = Config::new(16, 8).order(Order::Round);
    let ring = Ring::memfd(&Options::new().slots(WRITERS + 1), &config).unwrap();
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    std::thread::scope(|scope| {
        // One after the other, so that each has the place of its number.
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let ((has, had), (go, goes)) = (channel(), channel::<()>());
                let ring = ring.clone();
                let thread = scope.spawn(move || {
                    let me = ring.attach().unwrap();
                    let mut producer = ring.producer(&me).unwrap().into_inner();
                    let room = producer.reserve(number, 0).unwrap();
                    has.send(()).unwrap();
                    goes.recv().unwrap();
                    room.commit().unwrap();
                });
                had.recv().unwrap();
                (thread, go)
            })
            .collect();
        producer.push(99, b"after").unwrap();
        let mut bytes = Vec::new();
        assert_eq!(consumer.try_pop(&mut bytes), Err(TryPopError::Empty));
        let mut writers = writers.into_iter();
        let (ninth, go) = writers.next_back().unwrap();
        go.send(()).unwrap();
        ninth.join().unwrap();
        // Now there are eight.
        assert_eq!(consumer.try_pop(&mut bytes), Ok(WRITERS - 1));
        assert_eq!(consumer.try_pop(&mut bytes), Ok(99));
        for (number, (thread, go)) in (0..).zip(writers) {
            go.send(()).unwrap();
            thread.join().unwrap();
            assert_eq!(consumer.try_pop(&mut bytes), Ok(number));
        }
    });
}

#[test]
fn who_waits_behind_more_readers_than_one_sleep_names_is_woken_by_the_next_record() {
    const READERS: u32 = 20;
    let ring = Ring::memfd(&Options::new().slots(READERS + 2), &Config::new(64, 8)).unwrap();
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                producer.push(number, b"").unwrap();
                let ((has, had), (go, goes)) = (channel(), channel::<()>());
                let ring = ring.clone();
                let thread = scope.spawn(move || {
                    let me = ring.attach().unwrap();
                    let mut consumer = ring.consumer(&me).unwrap().into_inner();
                    let peek = consumer.peek().unwrap();
                    assert_eq!(peek.kind(), number);
                    has.send(()).unwrap();
                    goes.recv().unwrap();
                    peek.consume();
                });
                had.recv().unwrap();
                (thread, go)
            })
            .collect();
        let (waits, waiting) = channel();
        let open = ring.clone();
        let sleeper = scope.spawn(move || {
            let me = open.attach().unwrap();
            let mut consumer = open.consumer(&me).unwrap().into_inner();
            let mut bytes = Vec::new();
            waits.send(()).unwrap();
            consumer.pop_timeout(&mut bytes, Duration::from_secs(100))
        });
        waiting.recv().unwrap();
        producer.push(READERS, b"").unwrap();
        assert_eq!(sleeper.join().unwrap(), Ok(READERS));
        for (thread, go) in readers {
            go.send(()).unwrap();
            thread.join().unwrap();
        }
    });
    assert_eq!((ring.status().reading, ring.status().full), (0, 0));
}
