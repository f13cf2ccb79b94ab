//! The MPSC ring of lanes under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

#[path = "worlds/lanes.rs"]
mod lanes;

use lanes::{
    Bell, Oracle, a_bell_is_armed, add_consumer, add_producer, add_single_push, add_watcher, all, bare, consumer, kind,
    payload, producer,
};
use ownerdead::harness::model::{Sweep, World};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::SeatState;
use ownerdead::ring::mpsc::lanes::{
    Config, Consumer, Opened, PopError, PopTimeoutError, PushTimeoutError, Ring, SeatError, TryPushError,
};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::{Acquire, Release};
use ownerdead::sync::shm::Shared;
use ownerdead::sync::time::now;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn records_of_both_arrive_whole_and_in_order_and_nobody_waits_for_the_dead() {
    Sweep::new("lanes_two").victims(&["p", "q", "c"]).preemptions(1, 1).runs(10_000).run(all);
}

#[test]
fn two_deaths_lose_no_committed_record() {
    let sweep = Sweep::new("lanes_two_deaths").victims(&["p", "q"]).two_deaths().beside_sleepers().preemptions(1, 0);
    sweep.runs(2_000).run(all);
}

#[test]
fn a_lane_wraps() {
    Sweep::new("lanes_wrap").victims(&["p", "c"]).preemptions(2, 1).runs(8_000).run(|world| {
        let ring = Ring::private(&bare(1), 2);
        let oracle = Rc::new(Oracle::default());
        add_producer(world, &ring, &oracle, 0, 3);
        add_consumer(world, &ring, &oracle, 3);
    });
}

/// `q` pushes when the push of `p` has returned, or has not: what is known to have come first is delivered first.
#[test]
fn a_push_that_returned_before_another_began_comes_first() {
    Sweep::new("lanes_order").preemptions(2, 2).runs(10_000).run(|world| {
        let ring = Ring::private(&bare(2), 3);
        let returned = Shared::new(AtomicU64::new(0));
        let after = Rc::new(Cell::new(false));
        let (open, told) = (ring.clone(), returned.clone());
        world.process_after(
            "p",
            move || producer(&open),
            move |mut producer| {
                producer.try_push(1, b"p").expect("room");
                told.store(1, Release);
                producer
            },
        );
        let (open, knows) = (ring.clone(), Rc::clone(&after));
        world.process_after(
            "q",
            move || producer(&open),
            move |mut producer| {
                knows.set(returned.load(Acquire) == 1);
                producer.try_push(2, b"q").expect("room");
                producer
            },
        );
        world.process_after(
            "c",
            move || consumer(&ring),
            move |mut consumer| {
                let mut bytes = Vec::new();
                let first = consumer.try_pop(&mut bytes);
                assert!(first != Ok(2) || !after.get(), "what was pushed later came first");
                consumer
            },
        );
    });
}

/// `q` lives, and does nothing: `c` watches it, not `p`, which pushes, and dies between publishing and waking. With a bell, which `c` drops.
fn another_one_is_watched(world: &mut World, ring: &Ring, bell: Option<Bell>) {
    let (open, look) = (ring.clone(), ring.clone());
    world.process_after("q", move || producer(&open), |producer| producer);
    let open = ring.clone();
    world.process_after(
        "c",
        move || consumer(&open),
        move |mut consumer| {
            match consumer.pop_timeout(&mut Vec::new(), Duration::from_secs(1)) {
                Ok(number) => assert_eq!((number, now()), (1, Duration::ZERO), "found when time was up"),
                // It waits for ever only if `p` dies before it has published. No other producer comes: that would wake `c` too.
                Err(PopTimeoutError::TimedOut) => assert_eq!(look.status().lanes[1].write_index, 0, "forgotten"),
                Err(error) => panic!("{error}"),
            }
            if let Some(bell) = bell {
                bell.stop();
            }
            consumer
        },
    );
    add_single_push(world, ring);
}

#[test]
fn a_record_whose_producer_dies_before_it_wakes_the_consumer_is_read() {
    let sweep = Sweep::new("lanes_wake").victims(&["p"]).preemptions(2, 1).runs(6_000);
    sweep.time_may_pass().run(|world| another_one_is_watched(world, &Ring::private(&bare(2), 3), None));
}

/// The kernel may wake a bell's thread alone.
#[test]
fn who_only_watches_takes_no_wake_up_from_the_consumer() {
    let sweep = Sweep::new("lanes_watched")
        .victims(&["p"])
        .beside_sleepers()
        .preemptions(1, 0)
        .full_preemptions(1, 1)
        .runs(2_000);
    sweep.time_may_pass().run(|world| {
        let ring = Ring::private(&bare(2), 4);
        let bell = add_watcher(world, &ring);
        another_one_is_watched(world, &ring, Some(bell));
    });
}

/// Nobody has a lane: `n` takes one, and dies before it has told both. The kernel tells one, the bell's thread.
#[test]
fn who_only_watches_vacant_lanes_takes_no_word_of_a_producer_from_the_consumer() {
    let sweep = Sweep::new("lanes_watched_vacant")
        .victims(&["n"])
        .beside_sleepers()
        .preemptions(1, 0)
        .full_preemptions(2, 0)
        .runs(2_000);
    // `c` waits in vain only if `n` dies before it has a lane.
    sweep.time_may_pass().run(|world| {
        let ring = Ring::private(&bare(2), 3);
        let bell = add_watcher(world, &ring);
        let (open, look) = (ring.clone(), ring.clone());
        world.process_after(
            "c",
            move || consumer(&open),
            move |mut consumer| {
                match consumer.pop_timeout(&mut Vec::new(), Duration::from_secs(1)) {
                    Ok(1) | Err(PopTimeoutError::ProducerDied) => {
                        assert_eq!(now(), Duration::ZERO, "found when time was up");
                    }
                    Err(PopTimeoutError::TimedOut) => {
                        assert_eq!(look.status().lanes[0].producer.state, SeatState::Vacant, "forgotten");
                    }
                    other => panic!("{other:?}"),
                }
                bell.stop();
                consumer
            },
        );
        let attach = ring.clone();
        world.process_after(
            "n",
            move || attach.attach().expect("a free slot"),
            move |me| {
                let mut producer = ring.producer(&me).expect("a lane").into_inner();
                producer.push(1, &payload(1)).expect("an empty lane");
                producer
            },
        );
    });
}

#[test]
fn a_bell_rings_for_a_record_though_its_producer_dies_and_ends_when_it_is_dropped() {
    let sweep =
        Sweep::new("lanes_bell").victims(&["p"]).beside_sleepers().preemptions(1, 1).full_preemptions(2, 1).runs(2_000);
    sweep.run(|world| a_bell_is_armed(world, 2));
}

#[test]
fn a_bell_rings_when_the_last_producer_dies() {
    let sweep = Sweep::new("lanes_bell_death")
        .victims(&["p"])
        .beside_sleepers()
        .preemptions(2, 1)
        .full_preemptions(2, 2)
        .runs(2_000);
    sweep.run(|world| a_bell_is_armed(world, 1));
}

/// `p` dies with its lane, and comes back.
#[test]
fn who_comes_back_has_its_lane_again_and_is_told() {
    Sweep::new("lanes_restart").victims(&["p"]).preemptions(1, 1).runs(6_000).run(|world| {
        let ring = Ring::private(&bare(2), 3);
        let open = ring.clone();
        world.process_after(
            "c",
            move || consumer(&open),
            |mut consumer| {
                while consumer.pop(&mut Vec::new()) != Ok(1) {
                    consumer.wait_producer(None).expect("it comes back");
                }
                consumer
            },
        );
        let again = ring.clone();
        add_single_push(world, &ring);
        world.restarts(move || {
            let opened = again.producer(&again.attach().expect("a free slot")).expect("a dead one's lane");
            assert!(opened.owner_died(), "its first life had the lane");
            let mut producer = opened.into_inner();
            assert_eq!((producer.lane(), producer.generation()), (0, 1));
            // If it was not committed. If it was, `c` has it, or will.
            if again.status().lanes[0].write_index == 0 {
                producer.push(1, &payload(1)).expect("an empty lane");
            }
            producer
        });
    });
}

/// Both lanes are full and nobody has the consumer's seat: who takes it may die before it has told both.
#[test]
fn all_who_wait_for_room_hear_of_the_next_consumer_or_of_its_death() {
    let sweep = Sweep::new("lanes_full").victims(&["c", "p"]).two_deaths().preemptions(1, 0).runs(1_000);
    // They wait for ever only if `c` dies before it takes the seat.
    sweep.time_may_pass().run(|world| {
        let ring = Ring::private(&bare(2), 3);
        // They sleep before `c` comes, where nothing else is said.
        for name in ["p", "q"] {
            let (open, look) = (ring.clone(), ring.clone());
            world.process_after(
                name,
                move || {
                    let mut producer = producer(&open);
                    (1..=2).for_each(|number| producer.try_push(number, &payload(number)).expect("room for two"));
                    producer
                },
                move |mut producer| {
                    match producer.push_timeout(3, &payload(3), Duration::from_secs(1)) {
                        Ok(()) | Err(PushTimeoutError::ConsumerDied) => {
                            assert_eq!(now(), Duration::ZERO, "found when time was up");
                        }
                        Err(PushTimeoutError::TimedOut) => {
                            assert_eq!(look.status().consumer.state, SeatState::Vacant, "forgotten");
                        }
                        Err(error) => panic!("{error}"),
                    }
                    producer
                },
            );
        }
        let attach = ring.clone();
        world.process_after(
            "c",
            {
                let ring = ring.clone();
                move || ring.attach().expect("a free slot")
            },
            move |me| {
                let mut consumer = attach.consumer(&me).expect("a vacant seat").into_inner();
                for _ in 0..4 {
                    consumer.try_pop(&mut Vec::new()).expect("two lanes of two records");
                }
                consumer
            },
        );
    });
}

/// One lane: `n` takes it over once `p` is dead, and pushes one record more.
#[test]
fn a_dead_producers_lane_is_taken_over_and_what_it_committed_arrives() {
    Sweep::new("lanes_take_over").victims(&["p", "n"]).two_deaths().preemptions(1, 1).runs(4_000).run(|world| {
        let ring = Ring::private(&bare(1), 3);
        let oracle = Rc::new(Oracle::default());
        let (open, o) = (ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "p",
            move || producer(&open),
            move |mut producer| {
                o.push(0, &mut producer).expect("an empty lane");
                producer
            },
        );
        let (attach, open, o) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "n",
            move || attach.attach().expect("a free slot"),
            move |me| match open.producer(&me) {
                Ok(Opened::OwnerDied(mut next)) => {
                    assert_eq!(next.generation(), 1, "one take-over, one generation");
                    let number = o.0[0].begun.get() + 1;
                    match next.try_push(kind(0, number), &payload(kind(0, number))) {
                        Ok(()) | Err(TryPushError::Full) => {}
                        Err(error) => panic!("{error}"),
                    }
                    Some(next)
                }
                Ok(Opened::Clean(_)) => panic!("`p` never gives its lane up"),
                Err(SeatError::Busy { .. }) => None,
                Err(error) => panic!("{error}"),
            },
        );
        world.process_after(
            "c",
            move || consumer(&ring),
            move |mut consumer| {
                let (mut bytes, mut last) = (Vec::new(), 0);
                while let Ok(kind) = consumer.try_pop(&mut bytes) {
                    assert_eq!(bytes, payload(kind), "torn: record {kind}");
                    assert!(kind > last, "record {kind} after {last}");
                    last = kind;
                }
                consumer
            },
        );
    });
}

/// Two want a dead one's lane, and there is a vacant one too: each gets one, and one of them is told.
#[test]
fn two_who_open_at_once_get_two_lanes_and_the_dead_ones_once() {
    Sweep::new("lanes_open").preemptions(3, 3).run(|world| {
        let ring = Ring::private(&bare(2), 3);
        let died = ring.clone();
        world.process_after("p", move || producer(&died), std::convert::identity);
        world.after({
            let ring = ring.clone();
            move || assert_eq!(ring.status().lanes[0].producer.generation, 0, "nobody died")
        });
        let lanes = Rc::new(Cell::new(0u32));
        for name in ["m", "n"] {
            let (attach, open, lanes) = (ring.clone(), ring.clone(), Rc::clone(&lanes));
            world.process_after(
                name,
                move || attach.attach().expect("a free slot"),
                move |me| match open.producer(&me) {
                    Ok(opened) => {
                        assert!(!opened.owner_died(), "nobody died");
                        let producer = opened.into_inner();
                        assert_eq!(lanes.replace(lanes.get() | 1 << producer.lane()) & 1 << producer.lane(), 0);
                        Some(producer)
                    }
                    Err(SeatError::Busy { .. }) => None,
                    Err(error) => panic!("{error}"),
                },
            );
        }
        world.after(move || assert_eq!(lanes.get(), 0b10, "one of the two has the lane that was vacant"));
    });
}

/// `c` waits where nobody has a lane; who takes one may die at once.
#[test]
fn who_waits_at_vacant_lanes_is_woken_by_a_producer_or_by_its_death() {
    Sweep::new("lanes_vacant").victims(&["n"]).preemptions(2, 1).runs(10_000).run(|world| {
        let ring = Ring::private(&bare(2), 2);
        let open = ring.clone();
        world.process_after(
            "c",
            move || consumer(&open),
            |mut consumer| {
                match consumer.pop(&mut Vec::new()) {
                    Ok(number) => assert_eq!(number, 1),
                    Err(PopError::ProducerDied) => {}
                    Err(error) => panic!("{error}"),
                }
                consumer
            },
        );
        let attach = ring.clone();
        world
            .process_after("n", move || attach.attach().expect("a free slot"), {
                let ring = ring.clone();
                move |me| {
                    let mut producer = ring.producer(&me).expect("a lane").into_inner();
                    producer.push(1, &payload(1)).expect("an empty lane");
                    producer
                }
            })
            .restarts(move || {
                let mut producer = producer(&ring);
                producer.push(1, &payload(1)).expect("room");
                producer
            });
    });
}

#[test]
fn who_waits_for_a_producer_is_woken_when_one_comes() {
    Sweep::new("lanes_wait_producer").victims(&["n", "c"]).preemptions(2, 1).runs(8_000).run(|world| {
        let ring = Ring::private(&bare(2), 3);
        let open = ring.clone();
        world.process_after(
            "c",
            move || consumer(&open),
            |consumer| {
                consumer.wait_producer(None).expect("one comes");
                consumer
            },
        );
        let arrive = |ring: Ring| move || producer(&ring);
        world.process("n", arrive(ring.clone())).restarts(arrive(ring));
    });
}

#[test]
fn a_dead_consumers_records_are_delivered_again_if_it_had_not_committed_them() {
    Sweep::new("lanes_redelivery").victims(&["c"]).preemptions(2, 1).runs(8_000).run(|world| {
        let ring = Ring::private(&bare(2), 3);
        let oracle = Rc::new(Oracle::default());
        let (open, o3) = (ring.clone(), Rc::clone(&oracle));
        let pop_all = |oracle: &Oracle, consumer: &mut Consumer| {
            while let Ok(peek) = consumer.peek() {
                let (mut bytes, kind) = (Vec::new(), peek.kind());
                peek.copy_to(&mut bytes).expect("whole");
                oracle.arrived(kind, &bytes);
                peek.consume();
                oracle.committed(kind);
            }
        };
        let (again, o2) = (ring.clone(), Rc::clone(&oracle));
        let (fill, o) = (ring.clone(), Rc::clone(&oracle));
        let push = move || {
            let mut producer = producer(&fill);
            o.push(0, &mut producer).expect("room");
            (producer, o)
        };
        // The one has pushed before, and pushes meanwhile; the other has pushed before.
        world.process_after("p", push, |(mut producer, oracle)| {
            oracle.push(0, &mut producer).expect("room for two");
            producer
        });
        let (fill, o) = (ring.clone(), Rc::clone(&oracle));
        let push = move || {
            let mut producer = producer(&fill);
            o.push(1, &mut producer).expect("room");
            producer
        };
        world.process_after("q", push, |producer| producer);
        world
            .process_after(
                "c",
                move || consumer(&open),
                move |mut consumer| {
                    pop_all(&o3, &mut consumer);
                    consumer
                },
            )
            .restarts(move || {
                let opened = again.consumer(&again.attach().expect("a free slot")).expect("a dead one's seat");
                assert!(opened.owner_died() && again.status().consumer.generation == 1);
                o2.0.iter().for_each(Records::next_reader);
                let mut consumer = opened.into_inner();
                pop_all(&o2, &mut consumer);
                o2.0[1].all_arrived().unwrap_or_else(|violation| panic!("{violation}"));
                consumer
            });
    });
}

/// A reservation arrives when it is committed, whole or not at all.
#[test]
fn a_reservation_is_seen_whole_or_not_at_all() {
    Sweep::new("lanes_reserve").victims(&["p"]).preemptions(2, 1).runs(8_000).run(|world| {
        let ring = Ring::private(&Config::new(1, 128).checksum(false), 2);
        let oracle = Rc::new(Oracle::default());
        let (open, o) = (ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "p",
            move || {
                let me = open.attach().expect("a free slot");
                (open.producer(&me).expect("a lane").into_inner(), me)
            },
            move |(mut producer, me)| {
                drop(producer.reserve(9, 8).expect("an empty lane"));
                let mut record = producer.reserve(kind(0, 1), 8).expect("an empty lane");
                record.write(0, &payload(kind(0, 1)));
                o.0[0].push(1);
                record.commit().expect("no fork");
                o.0[0].pushed(1);
                producer.close();
                me
            },
        );
        add_consumer(world, &ring, &oracle, 1);
    });
}
