//! Processes at the textbook mutex: for the models, and to see that the fuzzer of schedules finds its hole.

#[path = "../fixtures/textbook.rs"]
pub mod textbook;

use ownerdead::harness::model::World;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use ownerdead::sync::shm::Shared;
use std::cell::Cell;
use std::rc::Rc;
use textbook::{Plant, Taker, Textbook};

/// Goes through the lock, and does something there.
fn once(taker: &mut Taker, inside: &Cell<bool>, guarded: &AtomicU64) {
    let died = taker.lock();
    assert!(!inside.replace(true) || died, "two are inside");
    guarded.load(Relaxed);
    inside.set(false);
    taker.unlock();
}

/// `a` has the lock from the start, and wants it again if `twice`; each of the others goes through it once.
pub fn everybody_locks(world: &mut World, plant: Plant, others: &[&'static str], twice: bool) {
    let mutex = Textbook::new(plant);
    let inside = Rc::new(Cell::new(false));
    let guarded = Shared::new(AtomicU64::new(0));
    let (locked, a_inside, a_guarded) = (mutex.clone(), Rc::clone(&inside), guarded.clone());
    world.process_after(
        "a",
        move || {
            let mut taker = locked.taker();
            assert!(!taker.lock());
            taker
        },
        move |mut taker| {
            taker.unlock();
            if twice {
                once(&mut taker, &a_inside, &a_guarded);
            }
            taker
        },
    );
    for name in others {
        let (mutex, inside, guarded) = (mutex.clone(), Rc::clone(&inside), guarded.clone());
        world.process(name, move || {
            let mut taker = mutex.taker();
            once(&mut taker, &inside, &guarded);
            taker
        });
    }
}
