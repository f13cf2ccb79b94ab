//! The MPSC ring of claims under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

use ownerdead::harness::model::{Sweep, World};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::SeatState;
use ownerdead::ring::mpsc::claims::{
    Config, Consumer, Producer, PushError, Ring, TryPopError, TryPushError, WaitPeerError,
};
use ownerdead::sync::time::now;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Blocks of 16 bytes, without checksums: only the ring's own order keeps records whole. A record of one block has 8 bytes.
const fn bare(blocks: usize) -> Config {
    Config::new(16 * blocks).block(16).checksum(false)
}

/// Who pushes: `p`, `q`, and one of them that has come back.
const P: usize = 0;
const Q: usize = 1;
const AGAIN: usize = 2;

/// What must hold of each producer's records.
#[derive(Default)]
struct Oracle([Records<Cell<u64>, Cell<u64>>; 3]);

/// A record says whose it is, which, and of how many blocks; of none: it has one byte.
fn kind(who: usize, number: u64, blocks: usize) -> u32 {
    (blocks as u32) << 16 | (who as u32) << 8 | number as u32
}

fn payload(kind: u32) -> Vec<u8> {
    let blocks = (kind >> 16) as usize;
    vec![(16 * who(kind)) as u8 + number(kind) as u8; if blocks == 0 { 1 } else { 16 * blocks - 8 }]
}

impl Oracle {
    /// The next record of `who`.
    fn begin(&self, who: usize, blocks: usize) -> u32 {
        let number = self.0[who].begun.get() + 1;
        self.0[who].push(number);
        kind(who, number, blocks)
    }

    fn ended(&self, kind: u32) {
        self.0[who(kind)].pushed(number(kind));
    }

    fn push(&self, who: usize, producer: &mut Producer, blocks: usize) -> Result<(), PushError> {
        let kind = self.begin(who, blocks);
        let pushed = producer.push(kind, &payload(kind));
        match pushed {
            Ok(()) => self.ended(kind),
            // It was not pushed, and may be once more.
            Err(_) => self.0[who].push(number(kind) - 1),
        }
        pushed
    }

    /// The same, through the deaths of consumers, until none comes any more.
    fn push_on(&self, who: usize, ring: &Ring, producer: &mut Producer, blocks: usize) {
        while let Err(error) = self.push(who, producer, blocks) {
            assert_eq!(error, PushError::ConsumerDied);
            match producer.wait_consumer(Some(SECOND)) {
                Ok(()) => {}
                Err(WaitPeerError::TimedOut) => {
                    let state = ring.status().consumer.state;
                    assert!(matches!(state, SeatState::Dead(_)), "forgotten: {state:?}");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn pop(&self, consumer: &mut Consumer) -> u32 {
        let mut bytes = Vec::new();
        let before = self.0.each_ref().map(|records| records.may_be_read.get());
        self.0.iter().for_each(Records::read_unseen);
        let kind = consumer.pop(&mut bytes).expect("an honest ring");
        // It is seen now.
        self.0.iter().zip(before).for_each(|(records, before)| records.may_be_read.set(before));
        self.arrived(kind, &bytes);
        self.committed(kind);
        kind
    }

    /// What there is now, looked at before it is committed as read.
    fn look(&self, consumer: &mut Consumer) -> Option<u32> {
        let peek = match consumer.peek() {
            Ok(peek) => peek,
            Err(TryPopError::Empty) => return None,
            Err(error) => panic!("{error}"),
        };
        let (mut bytes, kind) = (Vec::new(), peek.kind());
        peek.copy_to(&mut bytes).expect("whole");
        self.arrived(kind, &bytes);
        peek.consume();
        self.committed(kind);
        Some(kind)
    }

    fn arrived(&self, kind: u32, bytes: &[u8]) {
        let judged = self.0[who(kind)].arrived(number(kind), bytes == payload(kind));
        judged.unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn committed(&self, kind: u32) {
        self.0[who(kind)].committed(number(kind));
    }

    fn all_arrived(&self) {
        for records in &self.0 {
            records.all_arrived().unwrap_or_else(|violation| panic!("{violation}"));
        }
    }

    fn next_reader(&self) {
        self.0.iter().for_each(Records::next_reader);
    }
}

fn who(kind: u32) -> usize {
    (kind >> 8 & 0xff) as usize
}

fn number(kind: u32) -> u64 {
    (kind & 0xff).into()
}

fn producer(ring: &Ring) -> Producer {
    ring.producer(&ring.attach().expect("a free slot")).expect("an honest ring").into_inner()
}

fn consumer(ring: &Ring) -> Consumer {
    ring.consumer(&ring.attach().expect("a free slot")).expect("nobody alive has the seat").into_inner()
}

/// As many blocks as that were used, one after the other, and are free again.
fn turn(ring: &Ring, blocks: usize) {
    let me = ring.attach().expect("a free slot");
    let mut producer = ring.producer(&me).expect("an honest ring").into_inner();
    let mut consumer = ring.consumer(&me).expect("a vacant seat").into_inner();
    for _ in 0..blocks {
        producer.try_push(0, b"turned").expect("an empty ring");
        consumer.try_pop(&mut Vec::new()).expect("a record");
    }
}

/// Who looks when all is over finds the rest, if somebody is left to look.
fn drain_last(world: &mut World, oracle: &Rc<Oracle>, last: &Rc<Cell<Option<Consumer>>>) {
    let (oracle, last) = (Rc::clone(oracle), Rc::clone(last));
    world.after(move || {
        if let Some(mut consumer) = last.take() {
            while oracle.look(&mut consumer).is_some() {}
            oracle.all_arrived();
            // No process is left that could give its seat up.
            core::mem::forget(consumer);
        }
    });
}

/// `p` pushes records of so many blocks; should it die, one of `again` blocks. `c` pops until it has the last one that comes.
fn one_and_one(world: &mut World, turned: usize, pushes: &'static [usize], again: usize, first: &str) {
    let ring = Ring::private(&bare(4), 3);
    let oracle = Rc::new(Oracle::default());
    // Who comes first runs first: a consumer, until it sleeps.
    for name in [first, if first == "p" { "c" } else { "p" }] {
        let (open, back, o, o2) = (ring.clone(), ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
        if name == "p" {
            world
                .process_after(
                    "p",
                    move || {
                        if turned > 0 {
                            turn(&open, turned);
                        }
                        producer(&open)
                    },
                    move |mut producer| {
                        for &blocks in pushes {
                            o.push(P, &mut producer, blocks).expect("the consumer lives");
                        }
                        producer
                    },
                )
                .restarts(move || {
                    let mut producer = producer(&back);
                    o2.push(AGAIN, &mut producer, again).expect("the consumer lives");
                    producer
                });
        } else {
            let last = pushes.len() as u64;
            world.process_after(
                "c",
                move || consumer(&open),
                move |mut consumer| {
                    loop {
                        let kind = o.pop(&mut consumer);
                        let over = who(kind) == P && number(kind) == last && o.0[AGAIN].begun.get() == 0;
                        if who(kind) == AGAIN || over {
                            // Strict: what came before has come.
                            o.all_arrived();
                            return consumer;
                        }
                    }
                },
            );
        }
    }
}

#[test]
fn what_is_committed_arrives_whole_and_in_order_and_nobody_waits_for_the_dead() {
    Sweep::new("claims_one_and_one").victims(&["p"]).preemptions(1, 0).full_preemptions(2, 1).runs(4_000).run(
        |world| {
            one_and_one(world, 0, &[2], 1, "c");
        },
    );
}

#[test]
fn a_ring_goes_round_over_its_end_and_over_what_the_dead_left() {
    Sweep::new("claims_laps").victims(&["p"]).preemptions(0, 0).full_preemptions(1, 0).runs(4_000).run(|world| {
        one_and_one(world, 3, &[2], 2, "p");
    });
}

/// `p` and `q` push a record each, and `c` pops until it has that of `q`.
fn two_producers(world: &mut World, config: &Config, blocks: [usize; 2]) {
    let ring = Ring::private(config, 4);
    let oracle = Rc::new(Oracle::default());
    let first = Rc::new(Cell::new(false));
    // It comes first, and sleeps before they do.
    let (open, seen, was) = (ring.clone(), Rc::clone(&oracle), Rc::clone(&first));
    world.process_after(
        "c",
        move || consumer(&open),
        move |mut consumer| {
            while who(seen.pop(&mut consumer)) != Q {}
            if was.get() {
                seen.all_arrived();
            }
            consumer
        },
    );
    let (open, o) = (ring.clone(), Rc::clone(&oracle));
    world.process_after(
        "p",
        move || producer(&open),
        move |mut producer| {
            o.push(P, &mut producer, blocks[0]).expect("the consumer lives");
            producer
        },
    );
    let (open, o, was_first) = (ring.clone(), Rc::clone(&oracle), Rc::clone(&first));
    world.process_after(
        "q",
        move || producer(&open),
        move |mut producer| {
            was_first.set(o.0[P].ended.get() == 1);
            o.push(Q, &mut producer, blocks[1]).expect("the consumer lives");
            producer
        },
    );
}

#[test]
fn of_two_producers_the_dead_one_is_skipped() {
    Sweep::new("claims_two_producers").victims(&["p"]).preemptions(1, 0).runs(2_000).run(|world| {
        two_producers(world, &bare(4), [2, 1]);
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

/// A ring is full of two records of two blocks, and `p` and `q` wait for room for one. `c` reads a record; should it die, it comes back
/// and does so again.
fn full(world: &mut World) {
    let ring = Ring::private(&bare(4), 4);
    let oracle = Rc::new(Oracle::default());
    // They come first, and sleep before `c` comes, where nothing else is said.
    for (who, name) in [(P, "p"), (Q, "q")] {
        let (open, look, o) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
        world.process_after(
            name,
            move || producer(&open),
            move |mut producer| {
                o.push_on(who, &look, &mut producer, 1);
                producer
            },
        );
    }
    let (open, back, fill) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
    let (o, o2) = (Rc::clone(&oracle), Rc::clone(&oracle));
    world
        .process_after(
            "c",
            move || {
                let me = open.attach().expect("a free slot");
                let mut producer = open.producer(&me).expect("an honest ring").into_inner();
                for _ in 0..2 {
                    fill.push(AGAIN, &mut producer, 2).expect("room for two");
                }
                open.consumer(&me).expect("a vacant seat").into_inner()
            },
            move |mut consumer| {
                o.look(&mut consumer).expect("two are there");
                consumer
            },
        )
        .restarts(move || {
            let opened = back.consumer(&back.attach().expect("a free slot")).expect("a dead one's seat");
            assert!(opened.owner_died() && back.status().consumer.generation == 1);
            o2.next_reader();
            let mut consumer = opened.into_inner();
            o2.look(&mut consumer).expect("one is there still");
            consumer
        });
}

#[test]
fn all_who_wait_for_room_get_it_though_the_reader_or_one_of_them_dies() {
    Sweep::new("claims_full").victims(&["c", "p"]).preemptions(1, 0).runs(2_000).run(full);
}

#[test]
fn two_deaths_at_a_full_ring_forget_nobody() {
    let sweep = Sweep::new("claims_full_two_deaths").victims(&["c", "p"]).two_deaths().preemptions(0, 0).runs(300);
    sweep.time_may_pass().run(full);
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
                    // It is never dropped: the reservation goes from here to where it is committed.
                    let producer = Box::leak(Box::new(producer(&open)));
                    let kind = oracle.begin(P, 0);
                    let mut record = producer.reserve(kind, 1).expect("an empty ring");
                    record.write(0, &payload(kind));
                    (record, kind, oracle)
                },
                |(record, kind, oracle)| {
                    record.commit().expect("no fork");
                    oracle.ended(kind);
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
