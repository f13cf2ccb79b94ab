//! The less trodden paths of the SPSC ring, with processes that die on them: reservations, waiting for a peer to come, and deaths
//! of those who learn of a death.
#![cfg(model)]

#[path = "worlds/ring.rs"]
mod ring;

use ownerdead::harness::model::Sweep;
use ownerdead::ring::spsc::{PopError, PushError, Ring, WaitPeerError};
use ring::{BARE, Oracle, SMALL, add_consumer, add_producer, consumer, payload, producer};
use std::rc::Rc;

/// A reservation is no record until it is committed: one whose producer dies before is never seen, and one that is dropped is not
/// either.
#[test]
fn a_reservation_is_seen_whole_or_not_at_all() {
    Sweep::new("spsc_reserve").victims(&["p"]).preemptions(2, 1).runs(10_000).run(|world| {
        let ring = Ring::private(&SMALL, 2);
        let oracle = Rc::new(Oracle::default());
        let (open, o) = (ring.clone(), Rc::clone(&oracle));
        world.process_after(
            "p",
            move || producer(&open, &open.attach().expect("a free slot")),
            move |mut producer| {
                let mut dropped = producer.reserve(9, 8).expect("an empty ring");
                dropped.write(0, &[0xee; 8]);
                drop(dropped);
                let mut record = producer.reserve(1, 8).expect("an empty ring");
                record.write(0, &payload(1)[..3]);
                record.write(3, &payload(1)[3..]);
                o.0.push(1);
                record.commit().expect("no fork");
                o.0.pushed(1);
                producer
            },
        );
        add_consumer(world, &ring, &oracle, 1);
    });
}

/// `c` learns of the death of `p`, and dies itself at any moment of that; and the other way round in a full ring.
#[test]
fn who_dies_while_it_learns_of_a_death_harms_nobody() {
    Sweep::new("spsc_two_deaths").victims(&["p", "c"]).two_deaths().preemptions(1, 1).runs(8_000).run(|world| {
        let ring = Ring::private(&BARE, 2);
        let oracle = Rc::new(Oracle::default());
        add_producer(world, &ring, &oracle, 2);
        add_consumer(world, &ring, &oracle, 2);
    });
}

/// `c` waits for a producer, and may die doing so; `n` comes, pushes and goes, and may die.
#[test]
fn who_waits_for_a_peer_to_come_is_woken_when_it_does() {
    Sweep::new("spsc_wait_peer").victims(&["n", "c"]).preemptions(2, 1).runs(10_000).run(|world| {
        let ring = Ring::private(&BARE, 3);
        let open = ring.clone();
        world.process_after(
            "c",
            move || consumer(&open, &open.attach().expect("a free slot")),
            |consumer| {
                match consumer.wait_producer(None) {
                    Ok(()) => {}
                    Err(error @ (WaitPeerError::TimedOut | WaitPeerError::Forked | WaitPeerError::Corrupt(_))) => {
                        panic!("{error}")
                    }
                }
                consumer
            },
        );
        let arrive = |ring: Ring| {
            move || {
                let me = ring.attach().expect("a free slot");
                ring.producer(&me).expect("nobody else wants the seat").into_inner()
            }
        };
        world.process("n", arrive(ring.clone())).restarts(arrive(ring));
    });
}

/// Both seats are vacant at first: who pops waits for somebody to come, and may die in that sleep.
#[test]
fn who_dies_waiting_at_a_vacant_seat_harms_nobody() {
    Sweep::new("spsc_vacant").victims(&["c"]).preemptions(2, 2).run(|world| {
        let ring = Ring::private(&BARE, 2);
        let open = ring.clone();
        world.process_after(
            "c",
            move || consumer(&open, &open.attach().expect("a free slot")),
            |mut consumer| {
                assert_eq!(consumer.pop(&mut Vec::new()), Ok(1));
                consumer
            },
        );
        let attach = ring.clone();
        world.process_after(
            "n",
            move || attach.attach().expect("a free slot"),
            move |me| {
                let mut producer = producer(&ring, &me);
                match producer.push(1, &payload(1)) {
                    Ok(()) | Err(PushError::ConsumerDied) => {}
                    Err(error) => panic!("{error}"),
                }
                producer
            },
        );
    });
}

/// The consumer that learnt of a death takes part in what comes after it.
#[test]
fn a_consumer_told_of_a_death_gets_what_the_next_producer_pushes() {
    Sweep::new("spsc_told_and_on").victims(&["p"]).preemptions(2, 1).runs(10_000).run(|world| {
        let ring = Ring::private(&BARE, 3);
        let oracle = Rc::new(Oracle::default());
        add_producer(world, &ring, &oracle, 1);
        let (open, again, o) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
        world.restarts(move || {
            let me = again.attach().expect("a free slot");
            let opened = again.producer(&me).expect("a dead one's seat");
            assert!(opened.owner_died(), "its first life had the seat");
            let mut producer = opened.into_inner();
            // The record that its first life was pushing may be there already.
            if again.status().write_index == 0 {
                o.0.pushed(0);
                o.push(&mut producer).expect("room");
            }
            producer
        });
        world.process_after(
            "c",
            move || consumer(&open, &open.attach().expect("a free slot")),
            move |mut consumer| {
                loop {
                    match oracle.pop(&mut consumer) {
                        Ok(number) => break assert_eq!(number, 1),
                        // Told, and goes on: the next one comes.
                        Err(PopError::ProducerDied) => consumer.wait_producer(None).expect("it comes back"),
                        Err(error) => panic!("{error}"),
                    }
                }
                consumer
            },
        );
    });
}
