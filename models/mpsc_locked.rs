//! The MPSC ring whose producers take turns under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

#[path = "worlds/locked.rs"]
mod locked;

use locked::{
    A, B, BARE, Bell, OTHER, Oracle, Reserved, SECOND, add_producer, add_watcher, consumer, drain_last, full,
    has_the_turn, producer, two_producers,
};
use ownerdead::harness::model::{Sweep, World};
use ownerdead::owner::SeatState;
use ownerdead::ring::mpsc::locked::{Config, PopTimeoutError, PushTimeoutError, Ring, TryPopError, TryPushError};
use ownerdead::sync::time::now;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn what_is_committed_arrives_whole_and_in_order_and_nobody_waits_for_the_dead() {
    Sweep::new("locked_both_push").victims(&["a", "c"]).preemptions(2, 1).runs(4_000).run(|world| {
        two_producers(world, &Ring::private(&BARE, 4), ["a", "b"], [1, 1], None);
    });
}

/// `a` has committed a record, and has the turn. `b` and `q` wait for theirs; each has pushed before, or not.
fn a_has_the_turn(world: &mut World, config: &Config, names: &[&'static str]) -> (Ring, Rc<Oracle>) {
    let ring = Ring::private(config, names.len() + 3);
    let oracle = Rc::new(Oracle::default());
    // First, so that they are asleep when it commits or dies.
    for (who, name) in [B, OTHER].into_iter().zip(names) {
        add_producer(world, &ring, &oracle, (who, name), &[1]);
    }
    let (open, o, o2) = (ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
    world.process_after(
        "a",
        move || {
            let mut producer = producer(&open);
            o.push(A, &mut producer, 1).expect("an empty ring");
            let kind = o.begin(A, 1);
            (has_the_turn(producer, kind), kind)
        },
        move |(reserved, kind)| {
            let committed = reserved.commit();
            o2.ended(kind);
            committed
        },
    );
    (ring, oracle)
}

fn everybody_wants_the_turn(world: &mut World, config: &Config, names: &[&'static str]) {
    let (ring, oracle) = a_has_the_turn(world, config, names);
    drain_last(world, &ring, &oracle);
}

#[test]
fn the_turn_of_a_dead_one_goes_on_where_it_had_come_to() {
    Sweep::new("locked_turn")
        .victims(&["a", "b"])
        .two_deaths()
        .beside_sleepers()
        .preemptions(2, 1)
        .runs(8_000)
        .run(|world| everybody_wants_the_turn(world, &BARE, &["b"]));
}

#[test]
fn one_that_was_woken_for_its_turn_and_dies_leaves_nobody_asleep() {
    let sweep = Sweep::new("locked_turn_two_deaths").victims(&["a", "b"]).two_deaths().beside_sleepers();
    sweep.preemptions(1, 0).full_preemptions(2, 1).runs(2_000).run(|world| {
        everybody_wants_the_turn(world, &BARE, &["b", "d"]);
    });
}

#[test]
fn who_wipes_after_a_dead_one_and_dies_too_has_hidden_nothing() {
    let sweep = Sweep::new("locked_turn_wipe").victims(&["a", "b"]).two_deaths().preemptions(0, 0).runs(500);
    sweep.run(|world| everybody_wants_the_turn(world, &BARE.wipe(true), &["b", "d"]));
}

/// `c` reads meanwhile: what it has read is `b`'s to zero when the read index says so.
#[test]
fn who_wipes_after_a_dead_one_touches_nothing_that_is_being_read() {
    Sweep::new("locked_wipe_and_read").victims(&["a"]).preemptions(1, 1).runs(1_000).run(|world| {
        let (ring, oracle) = a_has_the_turn(world, &BARE.wipe(true), &["b"]);
        world.process_after(
            "c",
            move || consumer(&ring),
            move |mut consumer| {
                while oracle.look(&mut consumer).is_some() {}
                consumer
            },
        );
    });
}

/// The slot of a dead one is taken again by the next one that has the turn: it must not be judged by what the slot was before.
#[test]
fn who_has_the_turn_in_its_own_former_lifes_slot_is_alive() {
    Sweep::new("locked_slot_again").victims(&["a"]).preemptions(2, 2).full_preemptions(3, 3).runs(4_000).run(|world| {
        let ring = Ring::private(&BARE, 3);
        let oracle = Rc::new(Oracle::default());
        let (open, back, o) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
        world
            .process_after("a", move || has_the_turn(producer(&open), 0), Reserved::into_owner)
            // It has not committed.
            .restarts(move || {
                let mut producer = producer(&back);
                o.push(A, &mut producer, 1).expect("an empty ring");
                producer
            });
        let (open, o) = (ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "b",
            move || (producer(&open), open),
            move |(mut producer, ring)| {
                // The second life does not die.
                if let SeatState::Dead(holder) = ring.status().turn {
                    assert_eq!(holder.incarnation, 1);
                }
                o.push(B, &mut producer, 1).expect("an empty ring");
                producer
            },
        );
        drain_last(world, &ring, &oracle);
    });
}

/// `c` sleeps. `a` pushes, and dies; no other producer comes, which would wake `c` too.
#[test]
fn a_record_whose_producer_dies_before_it_wakes_the_consumer_is_read() {
    let sweep = Sweep::new("locked_wake").victims(&["a"]).preemptions(2, 1).runs(4_000);
    // It waits in vain only if `a` dies before it has published.
    sweep.time_may_pass().run(|world| {
        let ring = Ring::private(&BARE, 3);
        let (open, look, oracle) = (ring.clone(), ring.clone(), Rc::new(Oracle::default()));
        world.process_after(
            "c",
            move || consumer(&open),
            move |mut consumer| {
                match consumer.pop_timeout(&mut Vec::new(), SECOND) {
                    Ok(_) => assert_eq!(now(), Duration::ZERO, "found when time was up"),
                    Err(PopTimeoutError::TimedOut) => assert_eq!(look.status().write_index, 0, "forgotten"),
                    Err(error) => panic!("{error}"),
                }
                consumer
            },
        );
        add_producer(world, &ring, &oracle, (A, "a"), &[1]);
    });
}

/// The kernel may wake a bell's thread alone.
#[test]
fn who_only_watches_takes_no_wake_up_from_the_consumer() {
    let sweep = Sweep::new("locked_watched").victims(&["a", "w"]).two_deaths().beside_sleepers();
    sweep.preemptions(1, 0).full_preemptions(2, 0).runs(1_000).run(|world| {
        let ring = Ring::private(&BARE, 5);
        let bell = add_watcher(world, &ring);
        two_producers(world, &ring, ["a", "b"], [1, 1], Some(bell));
    });
}

/// `w` has the consumer's seat, and sleeps at the ring as its bell's thread does: armed for a record, and, when it has that, for the next
/// one, until `d` drops the bell. `a` pushes; should it die, it comes back. Nobody else comes, who would wake `w` too.
#[test]
fn a_bell_rings_for_a_record_though_its_producer_dies_and_ends_when_it_is_dropped() {
    let sweep = Sweep::new("locked_bell").victims(&["a"]).beside_sleepers().preemptions(3, 2).runs(4_000);
    sweep.run(|world| {
        let ring = Ring::private(&BARE, 3);
        let (oracle, bell) = (Rc::new(Oracle::default()), Bell::default());
        let (open, watched, o, armed) = (ring.clone(), ring.clone(), Rc::clone(&oracle), bell.clone());
        world.process_after(
            "w",
            move || {
                let me = open.attach().expect("a free slot");
                (open.consumer(&me).expect("a vacant seat").into_inner(), me)
            },
            move |(mut consumer, me)| {
                watched.watch(&me, 0, Bell::default().until());
                o.look(&mut consumer).expect("it rang for a record");
                watched.watch(&me, 16, armed.until());
                consumer
            },
        );
        add_producer(world, &ring, &oracle, (A, "a"), &[1]);
        world.restarts(move || {
            let mut producer = producer(&ring);
            oracle.push(OTHER, &mut producer, 1).expect("room for two");
            producer
        });
        world.process("d", move || bell.stop());
    });
}

#[test]
fn all_who_wait_for_room_get_it_though_the_reader_or_one_of_them_dies() {
    Sweep::new("locked_full")
        .victims(&["c", "a"])
        .preemptions(1, 0)
        .runs(2_000)
        .run(|world| full(world, &BARE, 3, ["a", "b"]));
}

#[test]
fn two_deaths_at_a_full_ring_forget_nobody() {
    let sweep = Sweep::new("locked_full_two_deaths").victims(&["c", "a"]).two_deaths().preemptions(0, 0).runs(300);
    sweep.time_may_pass().run(|world| full(world, &BARE, 3, ["a", "b"]));
}

/// The ring is full and nobody reads: `a` waits for room, and holds up nobody over that.
#[test]
fn who_waits_for_room_has_no_turn() {
    Sweep::new("locked_room").preemptions(2, 2).runs(1_000).time_may_pass().run(|world| {
        let ring = Ring::private(&BARE, 3);
        let open = ring.clone();
        world.process_after(
            "a",
            move || {
                let mut producer = producer(&open);
                (0..2).for_each(|kind| producer.try_push(kind, &[1; 24]).expect("room for two"));
                producer
            },
            |mut producer| {
                assert_eq!(producer.push_timeout(2, b"", SECOND), Err(PushTimeoutError::TimedOut));
                producer
            },
        );
        world.process_after(
            "b",
            move || producer(&ring),
            |mut producer| {
                assert_eq!(producer.try_push(3, b""), Err(TryPushError::Full));
                assert_eq!(now(), Duration::ZERO, "held up by one that sleeps");
                producer
            },
        );
    });
}

/// `a` has a reservation and stands still: `b` waits for its turn in vain, and the consumer for nobody.
#[test]
fn a_paused_producer_in_its_turn_holds_up_others_and_not_the_consumer() {
    Sweep::new("locked_paused").preemptions(2, 2).runs(1_000).time_may_pass().run(|world| {
        let ring = Ring::private(&BARE, 4);
        let open = ring.clone();
        world.process_after(
            "a",
            move || {
                let mut producer = producer(&open);
                producer.try_push(7, b"before").expect("an empty ring");
                has_the_turn(producer, 8)
            },
            core::convert::identity,
        );
        let open = ring.clone();
        world.process_after(
            "b",
            move || producer(&open),
            |mut producer| {
                assert_eq!(producer.push_timeout(9, b"after", SECOND), Err(PushTimeoutError::TimedOut));
                assert_eq!(now(), SECOND);
                producer
            },
        );
        world.process_after(
            "c",
            move || consumer(&ring),
            |mut consumer| {
                let mut bytes = Vec::new();
                assert_eq!(consumer.try_pop(&mut bytes), Ok(7));
                assert_eq!(consumer.try_pop(&mut bytes), Err(TryPopError::Empty));
                consumer
            },
        );
    });
}

/// Each of two pushes over the end of the ring, by what it knew of the indices before the ring had gone round twice.
#[test]
fn a_ring_goes_round_under_producers_that_have_not_looked_for_long() {
    Sweep::new("locked_laps").victims(&["a", "c"]).preemptions(1, 0).full_preemptions(2, 1).runs(2_000).run(|world| {
        let ring = Ring::private(&BARE, 4);
        let oracle = Rc::new(Oracle::default());
        let (open, back) = (ring.clone(), ring.clone());
        let (o, o2) = (Rc::clone(&oracle), Rc::clone(&oracle));
        world
            .process_after(
                "c",
                move || {
                    let me = open.attach().expect("a free slot");
                    let mut producer = open.producer(&me).expect("an honest ring").into_inner();
                    let mut consumer = open.consumer(&me).expect("a vacant seat").into_inner();
                    for _ in 0..9 {
                        producer.try_push(0, b"turned").expect("an empty ring");
                        consumer.try_pop(&mut Vec::new()).expect("a record");
                    }
                    consumer
                },
                move |mut consumer| {
                    while o.look(&mut consumer).is_some() {}
                    consumer
                },
            )
            .restarts(move || {
                o2.next_reader();
                let mut consumer = consumer(&back);
                while o2.look(&mut consumer).is_some() {}
                consumer
            });
        // Both fit, with the padding, if nothing is read meanwhile.
        for (who, name) in [(A, "a"), (B, "b")] {
            let (open, o) = (ring.clone(), Rc::clone(&oracle));
            world.process_after(
                name,
                move || producer(&open),
                move |mut producer| {
                    let kind = o.begin(who, 1);
                    producer.try_push(kind, &locked::payload(kind)).expect("room for both");
                    o.ended(kind);
                    producer
                },
            );
        }
    });
}
