//! Processes at an MPSC ring of claims, and what must hold there.

#[path = "bell.rs"]
mod bell;
#[path = "mpsc.rs"]
mod mpsc;

use bell::{Bell, add_bell};
use mpsc::at_an_mpsc_ring;
use ownerdead::harness::model::World;
use ownerdead::harness::oracle::Records;
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::mpsc::claims::{Config, Consumer, Producer, PushError, Ring, TryPopError, WaitPeerError};
use ownerdead::sync::atomic::AtomicU64;
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
        last.take().map(|mut consumer| {
            while oracle.look(&mut consumer).is_some() {}
            oracle.all_arrived();
            consumer
        })
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

/// What a bell's thread does here: once there is something, that is all.
fn serve(ring: &Ring, me: &Attachment, until: &AtomicU64) {
    ring.watch(me, 0, until).expect("an honest ring");
}
