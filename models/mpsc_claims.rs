//! The MPSC ring of claims under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

#[path = "worlds/reserved.rs"]
mod reserved;
#[path = "worlds/claims.rs"]
mod world;

use ownerdead::harness::model::Sweep;
use ownerdead::ring::mpsc::claims::{Consumer, Producer, Reservation, Ring, TryPopError, TryPushError};
use ownerdead::sync::time::now;
use reserved::reserved;
use std::cell::Cell;
use std::rc::Rc;
use world::{
    AGAIN, Oracle, P, Q, SECOND, add_watcher, bare, consumer, drain_last, full, one_and_one, payload, producer, turn,
    two_producers,
};

reserved!();

#[test]
fn what_is_committed_arrives_whole_and_in_order_and_nobody_waits_for_the_dead() {
    Sweep::new("claims_one_and_one").victims(&["p"]).preemptions(1, 0).full_preemptions(2, 1).runs(4_000).run(
        |world| {
            one_and_one(world, 0, &[2], 1, &["c", "p"]);
        },
    );
}

#[test]
fn a_ring_goes_round_over_its_end_and_over_what_the_dead_left() {
    Sweep::new("claims_laps").victims(&["p"]).preemptions(0, 0).full_preemptions(1, 0).runs(4_000).run(|world| {
        one_and_one(world, 3, &[2], 2, &["p", "c"]);
    });
}

#[test]
fn of_two_producers_the_dead_one_is_skipped() {
    Sweep::new("claims_two_producers").victims(&["p"]).preemptions(1, 0).runs(2_000).run(|world| {
        two_producers(world, &Ring::private(&bare(4), 4), ["p", "q"], [2, 1], None);
    });
}

/// There is one block before the end: whoever needs two pads, and whoever finds a claim helps.
#[test]
fn claims_of_two_at_the_end_of_the_ring_do_not_overlap() {
    Sweep::new("claims_padding")
        .victims(&["p", "q"])
        .two_deaths()
        .preemptions(1, 0)
        .full_preemptions(2, 1)
        .runs(2_000)
        .run(|world| {
            let ring = Ring::private(&bare(4), 4);
            let (oracle, last) = (Rc::new(Oracle::default()), Rc::new(Cell::new(None)));
            for (who, name, blocks) in [(P, "p", 2), (Q, "q", 1)] {
                let (open, o) = (ring.clone(), Rc::clone(&oracle));
                world.process_after(
                    name,
                    move || {
                        if who == P {
                            turn(&open, 3);
                        }
                        producer(&open)
                    },
                    move |mut producer| {
                        let kind = o.begin(who, blocks);
                        producer.try_push(kind, &payload(kind)).expect("room for both");
                        o.ended(kind);
                        producer
                    },
                );
            }
            let kept = Rc::clone(&last);
            world.process_after("z", move || kept.set(Some(consumer(&ring))), |()| ());
            drain_last(world, &oracle, &last);
        });
}

#[test]
fn all_who_wait_for_room_get_it_though_the_reader_or_one_of_them_dies() {
    Sweep::new("claims_full")
        .victims(&["c", "p"])
        .preemptions(1, 0)
        .runs(2_000)
        .run(|world| full(world, &bare(4), 2, ["p", "q"]));
}

#[test]
fn two_deaths_at_a_full_ring_forget_nobody() {
    let sweep = Sweep::new("claims_full_two_deaths").victims(&["c", "p"]).two_deaths().preemptions(0, 0).runs(300);
    sweep.time_may_pass().run(|world| full(world, &bare(4), 2, ["p", "q"]));
}

/// The kernel may wake a bell's thread alone.
#[test]
fn who_only_watches_takes_no_wake_up_from_the_consumer() {
    let sweep = Sweep::new("claims_watched").victims(&["p", "w"]).beside_sleepers();
    sweep.preemptions(0, 0).runs(1_000).run(|world| {
        let ring = Ring::private(&bare(4), 5);
        let bell = add_watcher(world, &ring);
        two_producers(world, &ring, ["p", "q"], [1, 1], Some(bell));
    });
}

/// `p` pushes two records, one of them over the end of the ring, where there is room only once the first was read. `c` looks at what
/// there is; should it die, it comes back.
#[test]
fn what_a_dead_consumer_had_not_committed_comes_again_and_what_it_had_is_freed() {
    let sweep = Sweep::new("claims_redelivery").victims(&["c"]).preemptions(1, 0).runs(1_000);
    sweep.time_may_pass().run(|world| {
        let ring = Ring::private(&bare(4), 3);
        let oracle = Rc::new(Oracle::default());
        let (open, look, o) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "p",
            move || {
                let mut producer = producer(&open);
                o.push(P, &mut producer, 2).expect("room");
                o.push(P, &mut producer, 1).expect("room");
                (producer, o)
            },
            move |(mut producer, oracle)| {
                oracle.push_on(P, &look, &mut producer, 2);
                producer
            },
        );
        let (open, back, o, o2) = (ring.clone(), ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
        let until_all = |oracle: &Oracle, consumer: &mut Consumer| {
            while oracle.look(consumer).is_some() {}
            while oracle.0[P].read.get() < 3 {
                oracle.pop(consumer);
            }
        };
        world
            .process_after(
                "c",
                move || consumer(&open),
                move |mut consumer| {
                    until_all(&o, &mut consumer);
                    consumer
                },
            )
            .restarts(move || {
                o2.next_reader();
                let mut consumer = consumer(&back);
                // What it may have committed as read and not looked at.
                if o2.0[P].may_be_read.get() < 3 {
                    until_all(&o2, &mut consumer);
                }
                consumer
            });
    });
}

/// `p` pushes a record, `c` reads until there are none; whoever of them dies comes back and does so again.
#[test]
fn two_deaths_lose_nothing_that_was_committed() {
    Sweep::new("claims_two_deaths").victims(&["p", "c"]).two_deaths().preemptions(0, 0).runs(1_000).run(|world| {
        let ring = Ring::private(&bare(4), 4);
        let oracle = Rc::new(Oracle::default());
        let (open, back, o, o2) = (ring.clone(), ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
        world
            .process_after(
                "p",
                move || producer(&open),
                move |mut producer| {
                    let kind = o.begin(P, 1);
                    producer.try_push(kind, &payload(kind)).expect("an empty ring");
                    o.ended(kind);
                    producer
                },
            )
            .restarts(move || {
                let mut producer = producer(&back);
                let kind = o2.begin(AGAIN, 1);
                producer.try_push(kind, &payload(kind)).expect("room for two");
                o2.ended(kind);
                producer
            });
        let (open, back, o, o2) = (ring.clone(), ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
        let last = Rc::new(Cell::new(None));
        let (kept, kept2) = (Rc::clone(&last), Rc::clone(&last));
        let drain = |oracle: &Oracle, mut consumer: Consumer, kept: &Cell<_>| {
            while oracle.look(&mut consumer).is_some() {}
            kept.set(Some(consumer));
        };
        world.process_after("c", move || consumer(&open), move |consumer| drain(&o, consumer, &kept)).restarts(
            move || {
                o2.next_reader();
                drain(&o2, consumer(&back), &kept2);
            },
        );
        drain_last(world, &oracle, &last);
    });
}

/// `p` reserves blocks and gives them up, and others that it commits. `c` looks meanwhile, and when all is over.
#[test]
fn what_was_reserved_and_given_up_or_whose_holder_died_is_skipped() {
    Sweep::new("claims_reserved").victims(&["p"]).preemptions(2, 1).runs(2_000).run(|world| {
        let ring = Ring::private(&bare(4), 3);
        let (oracle, last) = (Rc::new(Oracle::default()), Rc::new(Cell::new(None)));
        let (open, o) = (ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "p",
            move || producer(&open),
            move |mut producer| {
                drop(producer.reserve(9, 8).expect("an empty ring"));
                let kind = o.begin(P, 0);
                let mut record = producer.reserve(kind, 1).expect("an empty ring");
                record.write(0, &payload(kind));
                record.commit().expect("no fork");
                o.ended(kind);
                // Somewhere to die after that.
                assert_eq!(producer.consumer_generation(), 0);
                producer
            },
        );
        let (o, kept) = (Rc::clone(&oracle), Rc::clone(&last));
        world.process_after(
            "c",
            move || consumer(&ring),
            move |mut consumer| {
                o.look(&mut consumer);
                kept.set(Some(consumer));
            },
        );
        drain_last(world, &oracle, &last);
    });
}

/// `p` has a reservation, and `c` sleeps until that is a record. Should `p` die, it comes back, and pushes.
#[test]
fn a_consumer_that_sleeps_over_a_claim_is_woken_by_its_end_whatever_that_is() {
    Sweep::new("claims_wake").victims(&["p"]).preemptions(2, 1).runs(2_000).run(|world| {
        let ring = Ring::private(&bare(2), 3);
        let oracle = Rc::new(Oracle::default());
        let (open, o) = (ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "c",
            move || consumer(&open),
            move |mut consumer| {
                o.pop(&mut consumer);
                consumer
            },
        );
        let (open, back, o) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
        world
            .process_after(
                "p",
                move || {
                    let kind = oracle.begin(P, 0);
                    let mut record = Reserved::of(producer(&open), kind, 1);
                    record.write(&payload(kind));
                    (record, kind, oracle)
                },
                |(record, kind, oracle)| {
                    let committed = record.commit();
                    oracle.ended(kind);
                    committed
                },
            )
            .restarts(move || {
                let mut producer = producer(&back);
                o.push(AGAIN, &mut producer, 1).expect("room for two");
                producer
            });
    });
}

/// `p` has reserved a place and stands still: what `q` pushes behind it waits, and `q` does not.
#[test]
fn a_paused_producer_holds_up_what_comes_behind_it_and_no_other_producer() {
    Sweep::new("claims_paused").preemptions(2, 2).runs(500).time_may_pass().run(|world| {
        let ring = Ring::private(&bare(4), 3);
        let open = ring.clone();
        world.process_after(
            "p",
            move || {
                let mut paused = producer(&open);
                core::mem::forget(paused.reserve(1, 8).expect("an empty ring"));
                paused
            },
            |paused| paused,
        );
        let open = ring.clone();
        world.process_after(
            "q",
            move || producer(&open),
            |mut producer| {
                producer.try_push(2, b"two").expect("room");
                producer.try_push(3, &[3; 24]).expect("room");
                assert_eq!(producer.try_push(4, b"four"), Err(TryPushError::Full));
                producer
            },
        );
        world.process_after(
            "c",
            move || consumer(&ring),
            |mut consumer| {
                assert_eq!(consumer.try_pop(&mut Vec::new()), Err(TryPopError::Empty));
                consumer.pop_timeout(&mut Vec::new(), SECOND).expect_err("`p` is waited for");
                assert_eq!(now(), SECOND);
                consumer
            },
        );
    });
}

/// A batch is committed together, with what was skipped between its records.
#[test]
fn a_batch_comes_again_as_a_whole_or_not_at_all() {
    Sweep::new("claims_batch").victims(&["c"]).preemptions(1, 1).runs(1_000).run(|world| {
        let ring = Ring::private(&bare(4), 3);
        let (open, back) = (ring.clone(), ring.clone());
        let batch = |ring: &Ring, mut consumer: Consumer| {
            let mut kinds = Vec::new();
            let taken = consumer.pop_batch(2, |kind, _| kinds.push(kind));
            let again = taken == Err(TryPopError::Empty) || taken == Ok(1) && kinds == [1];
            assert!(taken == Ok(2) && kinds == [1, 3] || again, "{taken:?} {kinds:?}");
            assert!(ring.status().read_index >= 64);
            consumer
        };
        let (first, full) = (ring.clone(), ring.clone());
        world.process_after(
            "p",
            move || producer(&full),
            |mut producer| {
                // There is room when all of it is freed.
                match producer.try_push(1, b"other") {
                    Ok(()) | Err(TryPushError::Full) => producer,
                    Err(error) => panic!("{error}"),
                }
            },
        );
        world
            .process_after(
                "c",
                move || {
                    let me = open.attach().expect("a free slot");
                    let mut producer = open.producer(&me).expect("any").into_inner();
                    producer.try_push(1, b"one").expect("room");
                    drop(producer.reserve(2, 8).expect("room"));
                    producer.try_push(3, &[3; 24]).expect("room");
                    assert_eq!(producer.try_push(4, b""), Err(TryPushError::Full));
                    open.consumer(&me).expect("a vacant seat").into_inner()
                },
                move |consumer| batch(&first, consumer),
            )
            .restarts(move || batch(&back, consumer(&back)));
    });
}
