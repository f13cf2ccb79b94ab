//! Processes at an MPSC ring of claims, and what must hold there.

#[path = "mpsc.rs"]
mod mpsc;

use mpsc::at_an_mpsc_ring;
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

/// Blocks of 16 bytes, without checksums: only the ring's own order keeps records whole. A record of one block has 8 bytes.
pub const fn bare(blocks: usize) -> Config {
    Config::new(16 * blocks).block(16).checksum(false)
}

/// Who pushes: `p`, `q`, and one of them that has come back.
pub const P: usize = 0;
pub const Q: usize = 1;
pub const AGAIN: usize = 2;

/// Of so many blocks; of none: one byte.
fn size(blocks: usize) -> usize {
    if blocks == 0 { 1 } else { 16 * blocks - 8 }
}

at_an_mpsc_ring!();

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
