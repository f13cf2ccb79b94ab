//! The broadcast ring under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

#[path = "worlds/broadcast.rs"]
mod world;

use ownerdead::harness::model::{Sweep, World};
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::broadcast::{Config, Consumer, Overwritten, PopError, Ring};
use ownerdead::sync::atomic::AtomicU64;
use std::rc::Rc;
use world::{
    Bell, LOSSY, NARROW, Reading, Writing, add_bell, add_reader, add_writer, attach, consumer, payload, producer,
    write_next,
};

/// The writer sleeps for the reader, and the reader for the writer.
#[test]
fn records_arrive_and_nobody_waits_for_the_dead() {
    Sweep::new("broadcast_lossless").victims(&["w", "a"]).preemptions(2, 1).runs(10_000).run(|world| {
        let ring = Ring::private(&NARROW, 2);
        let writing = Rc::new(Writing::default());
        add_writer(world, &ring, &writing, 2);
        add_reader(world, &ring, &writing, "a", 2);
    });
}

#[test]
fn all_readers_are_woken_by_a_record_or_by_a_death() {
    Sweep::new("broadcast_three").victims(&["w"]).preemptions(1, 1).runs(8_000).run(|world| {
        let ring = Ring::private(&NARROW, 3);
        let writing = Rc::new(Writing::default());
        add_reader(world, &ring, &writing, "a", 1);
        add_reader(world, &ring, &writing, "b", 1);
        add_writer(world, &ring, &writing, 1);
    });
}

/// `v` sleeps as the thread of a reader's bell does, which nobody drops.
fn add_reader_bell(world: &mut World, ring: &Ring, writing: &Rc<Writing>) {
    let (open, ring, writing) = (ring.clone(), ring.clone(), Rc::clone(writing));
    let watch = move |me: &Attachment, until: &AtomicU64| {
        let lives = ring.watch_commit(me, 0, until).expect("a sound ring");
        assert!(lives || writing.ended.get() == 0, "it rang for a death, and there is a record");
    };
    add_bell(world, "v", move || attach(&open), watch);
}

/// `v` sleeps beside `a`. The kernel may wake either alone when `w` dies.
#[test]
fn a_reader_and_a_bell_are_both_woken_by_a_record_or_by_a_death() {
    let sweep = Sweep::new("broadcast_watched").victims(&["w", "v"]).two_deaths().beside_sleepers();
    sweep.preemptions(1, 0).full_preemptions(1, 1).runs(2_000).run(|world| {
        let ring = Ring::private(&NARROW, 3);
        let writing = Rc::new(Writing::default());
        add_reader_bell(world, &ring, &writing);
        add_reader(world, &ring, &writing, "a", 1);
        add_writer(world, &ring, &writing, 1);
    });
}

/// `v` reads, and sleeps at the ring as the thread of its bell does: armed for a record, and then for the next one, until `d` drops the bell.
#[test]
fn a_readers_bell_rings_for_a_record_or_a_death_and_ends_when_it_is_dropped() {
    let sweep = Sweep::new("broadcast_bell").victims(&["w"]).beside_sleepers().preemptions(3, 2).runs(4_000);
    sweep.run(|world| {
        let ring = Ring::private(&LOSSY, 2);
        let (writing, bell) = (Rc::new(Writing::default()), Bell::default());
        let (open, watched, known, armed) = (ring.clone(), ring.clone(), Rc::clone(&writing), bell.clone());
        world.process_after(
            "v",
            move || {
                let me = attach(&open);
                (consumer(&open, &me), me)
            },
            move |(mut consumer, me)| {
                let reading = Reading::from(&consumer, &known);
                let lives = watched.watch_commit(&me, 0, Bell::default().until()).expect("a sound ring");
                assert_eq!(reading.try_pop(&mut consumer), lives, "it rang for a record, or for a death without one");
                watched.watch_commit(&me, consumer.position(), armed.until()).expect("a sound ring");
                consumer
            },
        );
        add_writer(world, &ring, &writing, 1);
        world.process("d", move || bell.stop());
    });
}

/// `v` sleeps beside the writer as the thread of its bell does, which nobody drops. The kernel may wake either alone when `a` leaves or dies.
#[test]
fn a_writer_and_a_bell_are_both_woken_when_a_reader_leaves_or_dies() {
    let sweep = Sweep::new("broadcast_watched_reader").victims(&["a"]).beside_sleepers().preemptions(1, 1);
    sweep.full_preemptions(2, 1).runs(2_000).run(|world| {
        let ring = Ring::private(&NARROW, 3);
        let (open, watched) = (ring.clone(), ring.clone());
        let watch =
            move |me: &Attachment, until: &AtomicU64| watched.watch_reader(me, 0, 0, until).expect("a sound ring");
        add_writer(world, &ring, &Rc::default(), 2);
        add_bell(world, "v", move || attach(&open), watch);
        add_leaver(world, &ring);
    });
}

/// `v` sleeps as the thread of the writer's bell does: armed for what `a` has not read, and then for the next record, until `d` drops the
/// bell.
#[test]
fn a_writers_bell_rings_when_a_record_is_read_or_its_reader_dies_and_ends_when_it_is_dropped() {
    let sweep = Sweep::new("broadcast_bell_writer").victims(&["a"]).beside_sleepers().preemptions(2, 1).runs(4_000);
    sweep.run(|world| {
        let ring = Ring::private(&NARROW, 3);
        let (open, watched, bell) = (ring.clone(), ring.clone(), Bell::default());
        let armed = bell.clone();
        world.process_after(
            "v",
            move || attach(&open),
            move |me| {
                for (read, until) in [(0, &Bell::default()), (1, &armed)] {
                    watched.watch_reader(&me, 0, read, until.until()).expect("a sound ring");
                }
                me
            },
        );
        let open = ring.clone();
        world.process_after(
            "a",
            move || consumer(&open, &attach(&open)),
            |mut consumer| {
                consumer.try_pop(&mut Vec::new()).expect("a record was written");
                consumer
            },
        );
        world.process_after(
            "w",
            move || {
                let mut producer = producer(&ring, &attach(&ring));
                producer.try_push(0, &payload(0)).expect("an empty ring");
                producer
            },
            |producer| producer,
        );
        world.process("d", move || bell.stop());
    });
}

/// `a` has read nothing, and leaves.
fn add_leaver(world: &mut World, ring: &Ring) {
    let open = ring.clone();
    world.process_after(
        "a",
        move || {
            let me = attach(&open);
            (consumer(&open, &me), me)
        },
        |(consumer, me)| {
            consumer.close();
            me
        },
    );
}

/// `a` leaves or dies; `w` has filled the ring, and wants to go on.
#[test]
fn a_reader_that_leaves_or_dies_holds_nobody_up() {
    Sweep::new("broadcast_evicted").victims(&["a", "w"]).two_deaths().preemptions(2, 1).runs(8_000).run(|world| {
        let ring = Ring::private(&NARROW, 2);
        let writing = Rc::new(Writing::default());
        add_leaver(world, &ring);
        let (open, writing) = (ring.clone(), Rc::clone(&writing));
        world.process_after(
            "w",
            move || {
                let mut producer = producer(&open, &attach(&open));
                writing.push(&mut producer);
                (producer, writing)
            },
            |(mut producer, writing)| {
                writing.push(&mut producer);
                producer
            },
        );
    });
}

/// `j` joins, and reads what comes, while `w` writes; then it leaves.
fn joins(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 3);
    let writing = Rc::new(Writing::default());
    let (open, joined) = (ring.clone(), ring.clone());
    add_writer(world, &ring, &writing, 3);
    world.process_after(
        "j",
        move || attach(&open),
        move |me| {
            let mut consumer = consumer(&joined, &me);
            let reading = Reading::from(&consumer, &writing);
            while reading.try_pop(&mut consumer) {}
            // Else it would hold the writer up.
            consumer.close();
            me
        },
    );
}

#[test]
fn who_joins_a_lossless_ring_sees_every_record_from_then_on() {
    Sweep::new("broadcast_join").victims(&["j"]).preemptions(3, 2).runs(10_000).run(|world| joins(world, &NARROW));
}

#[test]
fn who_joins_a_lossy_ring_sees_every_record_from_then_on_or_is_told() {
    Sweep::new("broadcast_join_lossy").preemptions(2, 2).runs(10_000).run(|world| joins(world, &LOSSY.entries(2)));
}

/// `w` has written `before` records, of which `a` has read none, and writes `count` more meanwhile.
fn laps<R: 'static>(
    world: &mut World,
    ring: &Ring,
    writing: &Rc<Writing>,
    [before, count]: [u64; 2],
    read: impl FnOnce(&mut Consumer, &Reading) -> R + 'static,
) {
    let (open, writer) = (ring.clone(), Rc::clone(writing));
    let (ring, writing) = (ring.clone(), Rc::clone(writing));
    world.process_after(
        "a",
        move || consumer(&open, &attach(&open)),
        move |mut consumer| {
            let reading = Reading::from(&consumer, &writing);
            read(&mut consumer, &reading);
            consumer
        },
    );
    world.process_after(
        "w",
        move || {
            let mut producer = producer(&ring, &attach(&ring));
            (0..before).for_each(|_| writer.push(&mut producer));
            (producer, writer)
        },
        move |(mut producer, writing)| {
            (0..count).for_each(|_| writing.push(&mut producer));
            producer
        },
    );
}

fn reads_twice(consumer: &mut Consumer, reading: &Reading) {
    for _ in 0..2 {
        reading.try_pop(consumer);
    }
}

#[test]
fn a_lossy_reader_gets_every_record_whole_or_is_told_of_it_as_lost() {
    Sweep::new("broadcast_lossy").victims(&["w"]).preemptions(2, 1).runs(10_000).run(|world| {
        // Positions 0, 16, 32, 48, and 64 over the first.
        laps(world, &Ring::private(&LOSSY.entries(8), 2), &Rc::default(), [3, 2], reads_twice);
    });
}

/// The fifth record goes where the first one was, which `a` reads.
#[test]
fn a_record_of_a_lossless_ring_is_not_overwritten_while_it_is_read() {
    Sweep::new("broadcast_full").victims(&["a"]).preemptions(2, 1).runs(8_000).run(|world| {
        let config = Config::lossless(64, 2).checksum(false).entries(8);
        laps(world, &Ring::private(&config, 2), &Rc::default(), [4, 1], reads_twice);
    });
}

#[test]
fn an_entry_that_is_overwritten_is_told_as_lost() {
    Sweep::new("broadcast_lossy_index")
        .preemptions(3, 2)
        .runs(10_000)
        .run(|world| laps(world, &Ring::private(&LOSSY.entries(2), 2), &Rc::default(), [1, 2], reads_twice));
}

#[test]
fn what_a_view_shows_is_whole_if_it_says_so_afterwards() {
    Sweep::new("broadcast_view").preemptions(2, 2).runs(10_000).run(|world| {
        laps(world, &Ring::private(&LOSSY.entries(8), 2), &Rc::default(), [3, 2], |consumer, _| {
            let Ok(view) = consumer.peek() else { return };
            let (number, seen) = (view.kind(), view.granule(0));
            if view.finish() != Err(Overwritten) {
                assert_eq!(seen, Some(payload(number.into())), "torn: record {number}");
            }
        });
    });
}

/// Whoever comes next goes on after the last record that was committed; `a` is told of what was begun to be overwritten.
#[test]
fn a_dead_writers_seat_is_taken_over_and_nothing_is_torn() {
    Sweep::new("broadcast_take_over").victims(&["w", "n"]).two_deaths().preemptions(1, 1).runs(4_000).run(|world| {
        let ring = Ring::private(&Config::lossy(64, 1).checksum(false).entries(2), 3);
        let writing = Rc::new(Writing::default());
        let (open, open_n, write) = (ring.clone(), ring.clone(), Rc::clone(&writing));
        laps(world, &ring, &writing, [1, 1], reads_twice);
        world.process_after("n", move || attach(&open), move |me| write_next(&open_n, &me, &write));
    });
}

/// These sleep on a vacant seat. Should `n` die before it has woken them, the kernel wakes one, who must tell the other one.
fn comes(world: &mut World, ring: &Ring, names: &[&'static str]) {
    for &name in names {
        let open = ring.clone();
        world.process_after(
            name,
            move || consumer(&open, &attach(&open)),
            |mut consumer| match consumer.pop(&mut Vec::new()) {
                Ok(0) | Err(PopError::ProducerDied) => consumer,
                other => panic!("{other:?}"),
            },
        );
    }
    let (open, ring, again) = (ring.clone(), ring.clone(), ring.clone());
    let write = |ring: &Ring, me: &Attachment| {
        let mut producer = ring.producer(me).expect("nobody alive has it").into_inner();
        producer.push(0, &payload(0)).expect("room");
        producer
    };
    // One that died before it had the seat comes again; of one that had it they hear.
    world.process_after("n", move || attach(&open), move |me| write(&ring, &me)).restarts(move || {
        let me = attach(&again);
        (again.status().writer.state == SeatState::Vacant).then(|| write(&again, &me))
    });
}

#[test]
fn all_who_wait_for_a_writer_hear_of_one_that_comes_and_dies() {
    Sweep::new("broadcast_vacant").victims(&["n"]).preemptions(1, 0).full_preemptions(1, 1).runs(8_000).run(|world| {
        comes(world, &Ring::private(&NARROW, 3), &["a", "b"]);
    });
}

/// `v` sleeps there too, as the thread of the bell of `a` does: the kernel may wake it alone.
#[test]
fn who_only_watches_tells_who_waits_for_a_writer_of_one_that_comes_and_dies() {
    let sweep = Sweep::new("broadcast_watched_vacant").victims(&["n", "v"]).beside_sleepers();
    sweep.preemptions(0, 0).full_preemptions(1, 0).runs(2_000).run(|world| {
        let ring = Ring::private(&NARROW, 3);
        add_reader_bell(world, &ring, &Rc::default());
        comes(world, &ring, &["a"]);
    });
}

#[test]
fn who_looks_from_outside_sees_nobody_ahead_of_the_writer() {
    Sweep::new("broadcast_status").preemptions(2, 2).runs(4_000).run(|world| {
        let ring = Ring::private(&Config::lossy(64, 1).checksum(false).entries(2), 1);
        let open = ring.clone();
        world.process_after(
            "both",
            move || {
                let me = attach(&open);
                (producer(&open, &me), consumer(&open, &me))
            },
            |(mut producer, mut consumer)| {
                for number in 0..2 {
                    producer.try_push(number, &payload(number.into())).expect("a lossy ring has room");
                    assert_eq!(consumer.try_pop(&mut Vec::new()), Ok(number));
                }
                (producer, consumer)
            },
        );
        world.process("o", move || {
            let status = ring.status();
            assert!(status.readers[0].read <= status.written && status.oldest <= status.written, "{status:?}");
        });
    });
}

/// `w` waits for a reader, and `j` for a writer; whoever dies comes again.
#[test]
fn both_sides_wait_for_each_other_and_hear_of_each_other() {
    Sweep::new("broadcast_wait").victims(&["w", "j"]).preemptions(1, 0).runs(4_000).run(|world| {
        let ring = Ring::private(&NARROW, 4);
        let write = |ring: &Ring, me: &Attachment| {
            let mut producer = ring.producer(me).expect("nobody alive has it").into_inner();
            producer.beat();
            producer.wait_consumer(None).expect("a reader comes");
            drop(producer.reserve(9, 3).expect("room, for who has just joined"));
            let number = producer.position();
            if number == 0 {
                let mut reservation = producer.reserve(0, 8).expect("room");
                assert_eq!(reservation.write(0, &payload(number)), 8);
                reservation.commit().expect("no fork");
            }
            producer
        };
        let read = |ring: &Ring, me: &Attachment| {
            let mut consumer = consumer(ring, me);
            consumer.wait_producer(None).expect("a writer comes");
            consumer.beat();
            if let Ok(view) = consumer.peek() {
                let mut bytes = Vec::new();
                assert_eq!((view.copy_to(&mut bytes), &bytes[..]), (Ok(()), &payload(0)[..]));
            }
            assert!(consumer.discard().expect("a sound ring") <= 1, "one record is written");
            consumer
        };
        let (attached, open, again) = (ring.clone(), ring.clone(), ring.clone());
        world
            .process_after("w", move || attach(&attached), move |me| write(&open, &me))
            .restarts(move || write(&again, &attach(&again)));
        let (attached, again) = (ring.clone(), ring.clone());
        world
            .process_after("j", move || attach(&attached), move |me| read(&ring, &me))
            .restarts(move || read(&again, &attach(&again)));
    });
}
