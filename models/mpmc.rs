//! The MPMC ring under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

#[path = "worlds/mpmc.rs"]
mod mpmc;

use mpmc::{Oracle, P, add_consumer, add_producer, bare, consumer, payload};
use ownerdead::harness::model::Sweep;
use ownerdead::ring::mpmc::{OnDeath, Order, Ring};
use std::rc::Rc;

#[test]
fn what_is_committed_arrives_whole_and_in_order_and_nobody_waits_for_the_dead() {
    Sweep::new("mpmc_one_and_one")
        .victims(&["p"])
        .preemptions(1, 0)
        .full_preemptions(1, 1)
        .runs(1_000)
        .run(|world| mpmc::one_and_one(world, &bare(2)));
}

#[test]
fn of_two_producers_the_dead_one_is_gone_round() {
    Sweep::new("mpmc_two_producers").victims(&["p"]).preemptions(1, 0).runs(1_000).run(|world| {
        mpmc::two_and_two(world, &bare(2), false);
    });
}

#[test]
fn a_dead_producer_and_a_dead_consumer_are_gone_round() {
    Sweep::new("mpmc_two_and_two").victims(&["p", "c"]).preemptions(0, 0).runs(2_000).run(|world| {
        mpmc::two_and_two(world, &bare(2), true);
    });
}

#[test]
fn a_ring_of_one_slot_goes_round() {
    Sweep::new("mpmc_laps").preemptions(2, 2).runs(4_000).run(|world| {
        let ring = Ring::private(&bare(1), 2);
        let oracle = Oracle::new();
        add_producer(world, &ring, &oracle, "p", &[P + 1, P + 2]);
        add_consumer(world, &ring, &oracle, "c", P + 2);
    });
}

#[test]
fn what_a_consumer_gave_back_or_died_over_is_delivered_again() {
    Sweep::new("mpmc_redeliver")
        .victims(&["c"])
        .preemptions(3, 3)
        .runs(2_000)
        .run(|world| mpmc::one_record(world, &bare(2)));
}

#[test]
fn there_is_room_in_a_full_ring_when_its_reader_has_read_or_died() {
    Sweep::new("mpmc_full").victims(&["c", "p"]).preemptions(2, 1).runs(2_000).run(|world| mpmc::full(world, &bare(1)));
}

#[test]
fn a_dropped_record_makes_room() {
    Sweep::new("mpmc_full_drop").victims(&["c"]).preemptions(2, 1).runs(2_000).run(|world| {
        mpmc::full(world, &bare(1).on_death(OnDeath::Drop));
    });
}

#[test]
fn a_dead_sleeper_takes_no_wake_up_with_it_from_a_full_ring() {
    Sweep::new("mpmc_full_for_two").victims(&["p"]).beside_sleepers().preemptions(0, 0).runs(2_000).run(|world| {
        mpmc::full_for_two(world, &bare(1));
    });
}

#[test]
fn a_dead_sleeper_takes_no_wake_up_with_it_from_an_empty_ring() {
    Sweep::new("mpmc_empty_for_two").victims(&["c"]).preemptions(0, 0).runs(2_000).run(|world| {
        mpmc::empty_for_two(world, &bare(4));
    });
}

#[test]
fn who_only_watches_takes_no_wake_up_from_who_waits_for_the_record() {
    Sweep::new("mpmc_watched")
        .victims(&["p", "w"])
        .beside_sleepers()
        .preemptions(0, 0)
        .full_preemptions(1, 0)
        .runs(1_000)
        .run(|world| {
            mpmc::one_and_one_watched(world, &bare(2));
        });
}

/// A producer and a consumer die, or one of them twice: what the first left, and what the second was doing about it.
#[test]
fn two_deaths_lose_nothing_that_was_committed() {
    Sweep::new("mpmc_two_deaths")
        .victims(&["p", "d"])
        .two_deaths()
        .preemptions(0, 0)
        .full_preemptions(0, 1)
        .runs(1_000)
        .run(|world| mpmc::two_deaths(world, &bare(2)));
}

/// A sleeper dies that was woken, or is to be, and so does who was to wake it, or another one.
#[test]
fn two_deaths_leave_no_sleeper_beside_a_record() {
    Sweep::new("mpmc_two_deaths_asleep")
        .victims(&["c", "p"])
        .two_deaths()
        .beside_sleepers()
        .preemptions(0, 0)
        .runs(1_000)
        .run(|world| mpmc::two_deaths_asleep(world, &bare(4)));
}

#[test]
fn who_reserved_and_died_is_skipped() {
    Sweep::new("mpmc_reserved")
        .victims(&["x"])
        .preemptions(1, 0)
        .full_preemptions(1, 1)
        .runs(1_000)
        .run(|world| mpmc::reserved(world, &bare(2)));
}

/// One stands still with a slot that it writes: in strict order what comes after it waits.
#[test]
fn in_strict_order_a_paused_producer_is_waited_for() {
    Sweep::new("mpmc_paused_strict").preemptions(2, 2).runs(100).run(|world| mpmc::paused(world, Order::Strict));
}

#[test]
fn in_round_order_a_paused_producer_is_gone_round() {
    Sweep::new("mpmc_paused_round").preemptions(2, 2).runs(100).run(|world| mpmc::paused(world, Order::Round));
}

/// Both are the same thread's, so the second one must not overtake the first, which is committed last.
#[test]
fn no_record_overtakes_an_earlier_one_of_its_own_producer() {
    Sweep::new("mpmc_round").victims(&["p", "c"]).preemptions(3, 2).runs(1_000).run(|world| {
        let ring = Ring::private(&bare(2).order(Order::Round), 3);
        let oracle = Oracle::new();
        let (open, o) = (ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "p",
            move || {
                let me = open.attach().expect("a free slot");
                [(); 2].map(|()| open.producer(&me).expect("an honest ring").into_inner())
            },
            move |[mut first, mut second]| {
                o.begin(P + 1);
                let mut reservation = first.reserve(P + 1, 8).expect("an empty ring");
                o.push(&mut second, P + 2);
                reservation.write(0, &payload(P + 1));
                reservation.commit().expect("its own");
                [first, second]
            },
        );
        let (open, o) = (ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "c",
            move || consumer(&open),
            move |mut consumer| {
                let mut bytes = Vec::new();
                let mut last = 0;
                while let Ok(number) = consumer.try_pop(&mut bytes) {
                    o.arrived(number, &bytes);
                    assert!(number > last, "record {number} after {last}");
                    last = number;
                    o.committed(number);
                }
                consumer
            },
        );
    });
}
