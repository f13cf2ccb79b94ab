//! Processes at an MPSC ring of claims, and what must hold there.

use ownerdead::harness::model::World;
use ownerdead::harness::oracle::Records;
use ownerdead::owner::SeatState;
use ownerdead::ring::mpsc::claims::{Config, Consumer, Producer, PushError, Ring, TryPopError, WaitPeerError};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Release;
use ownerdead::sync::futex::{ALL, Word, wake};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

pub const SECOND: Duration = Duration::from_secs(1);

/// Blocks of 16 bytes, without checksums: only the ring's own order keeps records whole. A record of one block has 8 bytes.
pub const fn bare(blocks: usize) -> Config {
    Config::new(16 * blocks).block(16).checksum(false)
}

/// Who pushes: `p`, `q`, and one of them that has come back.
pub const P: usize = 0;
pub const Q: usize = 1;
pub const AGAIN: usize = 2;

/// What must hold of each producer's records.
#[derive(Default)]
pub struct Oracle(pub [Records<Cell<u64>, Cell<u64>>; 3]);

/// A record says whose it is, which, and of how many blocks; of none: it has one byte.
pub fn kind(who: usize, number: u64, blocks: usize) -> u32 {
    (blocks as u32) << 16 | (who as u32) << 8 | number as u32
}

pub fn payload(kind: u32) -> Vec<u8> {
    let blocks = (kind >> 16) as usize;
    vec![(16 * who(kind)) as u8 + number(kind) as u8; if blocks == 0 { 1 } else { 16 * blocks - 8 }]
}

impl Oracle {
    /// The next record of `who`.
    pub fn begin(&self, who: usize, blocks: usize) -> u32 {
        let number = self.0[who].begun.get() + 1;
        self.0[who].push(number);
        kind(who, number, blocks)
    }

    pub fn ended(&self, kind: u32) {
        self.0[who(kind)].pushed(number(kind));
    }

    pub fn push(&self, who: usize, producer: &mut Producer, blocks: usize) -> Result<(), PushError> {
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
    pub fn push_on(&self, who: usize, ring: &Ring, producer: &mut Producer, blocks: usize) {
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

    pub fn pop(&self, consumer: &mut Consumer) -> u32 {
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
    pub fn look(&self, consumer: &mut Consumer) -> Option<u32> {
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

    pub fn arrived(&self, kind: u32, bytes: &[u8]) {
        let judged = self.0[who(kind)].arrived(number(kind), bytes == payload(kind));
        judged.unwrap_or_else(|violation| panic!("{violation}"));
    }

    pub fn committed(&self, kind: u32) {
        self.0[who(kind)].committed(number(kind));
    }

    pub fn all_arrived(&self) {
        for records in &self.0 {
            records.all_arrived().unwrap_or_else(|violation| panic!("{violation}"));
        }
    }

    pub fn next_reader(&self) {
        self.0.iter().for_each(Records::next_reader);
    }
}

fn who(kind: u32) -> usize {
    (kind >> 8 & 0xff) as usize
}

fn number(kind: u32) -> u64 {
    (kind & 0xff).into()
}

pub fn producer(ring: &Ring) -> Producer {
    ring.producer(&ring.attach().expect("a free slot")).expect("an honest ring").into_inner()
}

pub fn consumer(ring: &Ring) -> Consumer {
    ring.consumer(&ring.attach().expect("a free slot")).expect("nobody alive has the seat").into_inner()
}

/// As many blocks as that were used, one after the other, and are free again.
pub fn turn(ring: &Ring, blocks: usize) {
    let me = ring.attach().expect("a free slot");
    let mut producer = ring.producer(&me).expect("an honest ring").into_inner();
    let mut consumer = ring.consumer(&me).expect("a vacant seat").into_inner();
    for _ in 0..blocks {
        producer.try_push(0, b"turned").expect("an empty ring");
        consumer.try_pop(&mut Vec::new()).expect("a record");
    }
}

/// Who looks when all is over finds the rest, if somebody is left to look.
pub fn drain_last(world: &mut World, oracle: &Rc<Oracle>, last: &Rc<Cell<Option<Consumer>>>) {
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

/// `p` pushes records of so many blocks; should it die, one of `again` blocks. `c` pops until it has the last one that comes. They come in
/// this order: who comes first runs first, until it sleeps.
pub fn one_and_one(world: &mut World, turned: usize, pushes: &'static [usize], again: usize, order: &[&'static str]) {
    let ring = Ring::private(&bare(4), 3);
    let oracle = Rc::new(Oracle::default());
    for &name in order {
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

/// Before others at this ring comes `w`, which sleeps beside the consumer as a bell's thread does: until there is something, or this is no
/// longer 0, as when a bell is dropped.
pub fn add_watcher(world: &mut World, ring: &Ring) -> Rc<AtomicU64> {
    let dropped = Rc::new(AtomicU64::new(0));
    let (open, ring, until) = (ring.clone(), ring.clone(), Rc::clone(&dropped));
    world.process_after(
        "w",
        move || open.attach().expect("a free slot"),
        move |me| {
            ring.watch(&me, 0, &until).expect("an honest ring");
            me
        },
    );
    dropped
}

/// `p` and `q` push a record each, and `c` pops until it has that of `q`, and drops the bell of a watcher.
pub fn two_producers(world: &mut World, ring: &Ring, blocks: [usize; 2], bell: Option<Rc<AtomicU64>>) {
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
            if let Some(bell) = bell {
                bell.store(1, Release);
                wake(Word::Low(&bell), ALL);
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

/// A ring is full of two records of two blocks, and `p` and `q` wait for room for one. `c` reads a record; should it die, it comes back
/// and does so again.
pub fn full(world: &mut World) {
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
