//! The broadcast ring under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

#[path = "worlds/broadcast.rs"]
mod world;

use ownerdead::harness::model::Sweep;
use ownerdead::ring::broadcast::Ring;
use std::rc::Rc;
use world::{LOSSY, NARROW, Reading, Writing, add_reader, add_writer, attach, consumer, producer, write_next};

/// The writer sleeps for the slowest reader, both readers sleep for the writer, and each is woken, whoever dies.
#[test]
fn records_arrive_at_all_readers_and_nobody_waits_for_the_dead() {
    Sweep::new("broadcast_lossless").victims(&["w", "a", "b"]).preemptions(2, 1).runs(8_000).run(|world| {
        let ring = Ring::private(&NARROW, 3);
        let writing = Rc::new(Writing::default());
        add_writer(world, &ring, &writing, 2);
        add_reader(world, &ring, &writing, "a", 2);
        add_reader(world, &ring, &writing, "b", 2);
    });
}

#[test]
fn a_lossy_reader_gets_every_record_whole_or_is_told_of_it_as_lost() {
    Sweep::new("broadcast_lossy").victims(&["w"]).preemptions(3, 2).runs(20_000).run(|world| {
        let ring = Ring::private(&LOSSY.entries(2), 2);
        let writing = Rc::new(Writing::default());
        add_writer(world, &ring, &writing, 5);
        let open = ring.clone();
        world.process_after(
            "a",
            move || consumer(&open, &attach(&open)),
            move |mut consumer| {
                let reading = Reading::from(&consumer, &writing);
                for _ in 0..2 {
                    reading.try_pop(&mut consumer);
                }
                consumer
            },
        );
    });
}
