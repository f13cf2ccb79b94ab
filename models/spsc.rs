//! The SPSC byte ring under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

#[path = "worlds/ring.rs"]
mod ring;

use ownerdead::harness::model::{Sweep, World};
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{Opened, PopError, Ring, SeatError, TryPushError};
use ring::{BARE, Oracle, SMALL, add_producer, both, consumer, payload, producer, redelivery, take_over};
use std::cell::Cell;
use std::rc::Rc;

#[test]
fn records_arrive_whole_and_in_order_and_nobody_waits_for_the_dead() {
    Sweep::new("spsc_two").victims(&["p", "c"]).preemptions(3, 2).run(|world| both(world, &BARE, 2));
}

#[test]
fn records_arrive_when_failures_are_stale_too() {
    Sweep::new("spsc_two_stale")
        .stale_failures()
        .victims(&["p", "c"])
        .preemptions(2, 2)
        .run(|world| both(world, &BARE, 2));
}

#[test]
fn a_full_ring_wraps() {
    Sweep::new("spsc_wrap").victims(&["p", "c"]).preemptions(2, 1).runs(20_000).run(|world| both(world, &SMALL, 4));
}

#[test]
fn who_looks_from_outside_sees_indices_that_belong_together() {
    Sweep::new("spsc_status").preemptions(3, 3).run(|world| {
        let ring = Ring::private(&BARE, 1);
        let open = ring.clone();
        world.process_after(
            "both",
            move || {
                let me = open.attach().expect("a free slot");
                (producer(&open, &me), consumer(&open, &me))
            },
            |(mut producer, mut consumer)| {
                for number in 1..=3 {
                    producer.try_push(number, &payload(number)).expect("room");
                    assert_eq!(consumer.try_pop(&mut Vec::new()), Ok(number));
                }
                (producer, consumer)
            },
        );
        world.process("w", move || {
            let status = ring.status();
            assert!(status.used <= status.capacity, "{status:?}");
        });
    });
}

#[test]
fn a_dead_producers_seat_is_taken_over_and_what_it_committed_arrives() {
    Sweep::new("spsc_take_over").victims(&["p", "n"]).two_deaths().preemptions(2, 1).runs(8_000).run(take_over);
}

#[test]
fn who_waits_for_a_dead_ones_successor_is_woken_by_it_or_by_its_death() {
    Sweep::new("spsc_wait_producer").victims(&["n"]).preemptions(3, 2).run(|world| {
        let ring = Ring::private(&BARE, 3);
        let open = ring.clone();
        world.process_after(
            "c",
            move || consumer(&open, &open.attach().expect("a free slot")),
            move |mut consumer| {
                // The seat is vacant: this sleeps until somebody takes it, and then until that one pushes or dies.
                match consumer.pop(&mut Vec::new()) {
                    Ok(number) => assert_eq!(number, 1),
                    Err(PopError::ProducerDied) => {}
                    Err(error) => panic!("{error}"),
                }
                consumer
            },
        );
        let (attach, open) = (ring.clone(), ring.clone());
        let again = ring.clone();
        world
            .process_after(
                "n",
                move || attach.attach().expect("a free slot"),
                move |me| {
                    let mut producer = producer(&open, &me);
                    producer.push(1, &payload(1)).expect("an empty ring");
                    producer
                },
            )
            .restarts(move || {
                let me = again.attach().expect("a free slot");
                let mut producer = producer(&again, &me);
                match producer.push(1, &payload(1)) {
                    Ok(()) => {}
                    Err(error) => panic!("{error}"),
                }
                producer
            });
    });
}

/// `c` has the consumer's seat, and pops one record.
fn add_waiting_consumer(world: &mut World, ring: &Ring, judge: impl FnOnce(Result<u32, PopError>) + 'static) {
    let open = ring.clone();
    world.process_after(
        "c",
        move || consumer(&open, &open.attach().expect("a free slot")),
        move |mut consumer| {
            judge(consumer.pop(&mut Vec::new()));
            consumer
        },
    );
}

#[test]
fn one_that_takes_a_seat_and_dies_at_once_wakes_who_waited_for_it() {
    Sweep::new("spsc_open_and_die").victims(&["n"]).preemptions(2, 2).full_preemptions(2, 2).run(|world| {
        let ring = Ring::private(&BARE, 3);
        add_waiting_consumer(world, &ring, |popped| {
            assert!(matches!(popped, Ok(_) | Err(PopError::ProducerDied)), "{popped:?}");
        });
        // Whichever comes first has the seat; the other finds it busy, or takes it over. `m` never dies.
        for name in ["n", "m"] {
            let (attach, open) = (ring.clone(), ring.clone());
            world.process_after(
                name,
                move || attach.attach().expect("a free slot"),
                move |me| {
                    let mut producer = open.producer(&me).ok()?.into_inner();
                    producer.push(1, &payload(1)).expect("room");
                    Some(producer)
                },
            );
        }
    });
}

#[test]
fn one_that_attaches_and_opens_is_never_taken_for_dead() {
    Sweep::new("spsc_arrival").preemptions(3, 3).run(|world| {
        let ring = Ring::private(&BARE, 2);
        add_waiting_consumer(world, &ring, |popped| assert_eq!(popped, Ok(1), "nobody died"));
        world.process("n", move || {
            let me = ring.attach().expect("a free slot");
            let mut producer = producer(&ring, &me);
            producer.push(1, &payload(1)).expect("an empty ring");
            producer
        });
    });
}

/// The dead producer's slot is taken again, by one who takes the seat over: it must not be taken for dead by what the slot was.
#[test]
fn who_takes_over_from_its_own_former_life_keeps_the_seat() {
    Sweep::new("spsc_slot_again").victims(&["p"]).preemptions(3, 3).run(|world| {
        let ring = Ring::private(&BARE, 2);
        // Since the death of `p` nobody dies any more: whoever has the seat keeps it.
        let taken = Rc::new(Cell::new(false));
        let take = |open: &Ring, me: &Attachment, taken: &Cell<bool>| match open.producer(me) {
            Ok(Opened::OwnerDied(producer)) => {
                assert!(!taken.replace(true), "two have the seat");
                Some(producer)
            }
            Ok(Opened::Clean(_)) => panic!("nobody gave it up"),
            Err(SeatError::Busy { .. }) => None,
            Err(error) => panic!("{error}"),
        };
        let (open, again, again_taken) = (ring.clone(), ring.clone(), Rc::clone(&taken));
        world
            .process_after(
                "p",
                move || producer(&open, &open.attach().expect("a free slot")),
                |mut producer| {
                    producer.beat();
                    producer
                },
            )
            .restarts(move || {
                let me = again.attach().expect("the slot of its former life");
                take(&again, &me, &again_taken)
            });
        let attach = ring.clone();
        world.process_after("n", move || attach.attach().expect("a free slot"), move |me| take(&ring, &me, &taken));
    });
}

#[test]
fn a_consumer_that_opens_late_sees_whole_records() {
    Sweep::new("spsc_open_consumer").preemptions(3, 3).run(|world| {
        let ring = Ring::private(&BARE, 2);
        let oracle = Rc::new(Oracle::default());
        add_producer(world, &ring, &oracle, 2);
        let attach = ring.clone();
        world.process_after(
            "c",
            move || attach.attach().expect("a free slot"),
            move |me| {
                let mut consumer = consumer(&ring, &me);
                let mut bytes = Vec::new();
                while let Ok(number) = consumer.try_pop(&mut bytes) {
                    assert_eq!(bytes, payload(number), "torn: record {number}");
                }
                consumer
            },
        );
    });
}

#[test]
fn a_producer_that_opens_late_overwrites_nothing_that_is_read() {
    Sweep::new("spsc_open_producer").preemptions(3, 3).run(|world| {
        let ring = Ring::private(&SMALL, 2);
        let (open, attach) = (ring.clone(), ring.clone());
        world.process_after(
            "c",
            move || {
                // Two records fill the ring.
                let me = open.attach().expect("a free slot");
                let mut producer = producer(&open, &me);
                for number in [1, 2] {
                    producer.try_push(number, &payload(number)).expect("room for two");
                }
                producer.close();
                consumer(&open, &me)
            },
            |mut consumer| {
                let mut bytes = Vec::new();
                assert_eq!(consumer.try_pop(&mut bytes), Ok(1));
                assert_eq!(bytes, payload(1));
                consumer
            },
        );
        world.process_after(
            "n",
            move || attach.attach().expect("a free slot"),
            move |me| {
                let mut producer = producer(&ring, &me);
                match producer.try_push(3, &payload(3)) {
                    Ok(()) | Err(TryPushError::Full) => {}
                    Err(error) => panic!("{error}"),
                }
                producer
            },
        );
    });
}

#[test]
fn a_seat_that_was_given_up_goes_on_where_it_was() {
    Sweep::new("spsc_handover").victims(&["p"]).preemptions(3, 2).run(|world| {
        let ring = Ring::private(&BARE, 3);
        for name in ["p", "n"] {
            let (attach, open) = (ring.clone(), ring.clone());
            world.process_after(
                name,
                move || attach.attach().expect("a free slot"),
                move |me| {
                    if let Ok(opened) = open.producer(&me) {
                        let mut producer = opened.into_inner();
                        // Its number says where it goes, so one that starts at the wrong place is torn, or out of order.
                        let number = 1 + open.status().write_index as u32 / 16;
                        producer.try_push(number, &payload(number)).expect("room for two");
                        producer.close();
                    }
                    me
                },
            );
        }
        let open = ring.clone();
        world.process_after(
            "c",
            move || consumer(&open, &open.attach().expect("a free slot")),
            move |mut consumer| {
                let (mut bytes, mut last) = (Vec::new(), 0);
                while let Ok(number) = consumer.try_pop(&mut bytes) {
                    assert_eq!((number, bytes.as_slice()), (last + 1, &payload(number)[..]), "after record {last}");
                    last = number;
                }
                consumer
            },
        );
    });
}

#[test]
fn a_dead_consumers_records_are_delivered_again_if_it_had_not_committed_them() {
    Sweep::new("spsc_redelivery").victims(&["c"]).preemptions(2, 2).run(|world| redelivery(world, &SMALL));
}

/// What was half zeroed when its reader died does not come again.
#[test]
fn a_record_that_is_wiped_is_delivered_whole_or_not_again() {
    Sweep::new("spsc_wipe").victims(&["c"]).two_deaths().preemptions(1, 1).runs(4_000).run(|world| {
        redelivery(world, &SMALL.wipe(true));
    });
}

#[test]
fn a_full_ring_that_is_wiped_wraps() {
    Sweep::new("spsc_wipe_wrap")
        .victims(&["p", "c"])
        .preemptions(2, 1)
        .runs(10_000)
        .run(|world| both(world, &SMALL.wipe(true), 3));
}
