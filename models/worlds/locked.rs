//! Processes at an MPSC ring whose producers take turns, and what must hold there.

#[path = "bell.rs"]
mod bell;
#[path = "mpsc.rs"]
mod mpsc;
#[path = "reserved.rs"]
mod reserved;

pub use bell::Bell;
use bell::add_bell;
use mpsc::at_an_mpsc_ring;
use ownerdead::harness::model::World;
use ownerdead::harness::oracle::Records;
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::mpsc::locked::{
    Config, Consumer, Producer, PushError, Reservation, Ring, TryPopError, WaitPeerError,
};
use ownerdead::sync::atomic::AtomicU64;
use reserved::reserved;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Of 64 bytes, without checksums: only the ring's own order keeps records whole. Four records of one granule fill it; one of two
/// granules takes 24 bytes.
pub const BARE: Config = Config::new(64).checksum(false);

/// Who pushes: `a`, `b`, and one that comes before them, or back.
pub const A: usize = 0;
pub const B: usize = 1;
pub const OTHER: usize = 2;

/// Of so many granules.
fn size(granules: usize) -> usize {
    8 * granules
}

/// What a bell's thread does here.
fn serve(ring: &Ring, me: &Attachment, until: &AtomicU64) {
    ring.watch(me, 0, until);
}

at_an_mpsc_ring!();

reserved!();

/// Has the turn, with a record of one granule in it.
pub fn has_the_turn(producer: Producer, kind: u32) -> Reserved {
    let mut record = Reserved::of(producer, kind, 8);
    record.write(&payload(kind));
    record
}

/// A process that pushes these records, one after the other.
pub fn add_producer(
    world: &mut World,
    ring: &Ring,
    oracle: &Rc<Oracle>,
    (who, name): (usize, &'static str),
    records: &'static [usize],
) {
    let (open, oracle) = (ring.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || producer(&open),
        move |mut producer| {
            for &granules in records {
                oracle.push(who, &mut producer, granules).expect("nobody waits for a dead consumer");
            }
            producer
        },
    );
}

/// Who looks when all is over finds the rest.
pub fn drain_last(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>) {
    let (open, oracle, last) = (ring.clone(), Rc::clone(oracle), Rc::new(Cell::new(None)));
    let kept = Rc::clone(&last);
    world.process_after("z", move || kept.set(Some(consumer(&open))), |()| ());
    world.after(move || {
        last.take().map(|mut consumer| {
            while oracle.look(&mut consumer).is_some() {}
            oracle.all_arrived();
            consumer
        })
    });
}
