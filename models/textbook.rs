//! The textbook robust mutex, whose hole the sweep must find, and bugs planted in it: what the harness says of a protocol that
//! is not this crate's. Numbers are those of the known bugs.
#![cfg(model)]

#[path = "worlds/textbook.rs"]
mod worlds;

use ownerdead::harness::model::{Sweep, World};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use std::cell::Cell;
use std::rc::Rc;
use worlds::everybody_locks;
use worlds::textbook::{Plant, Textbook};

#[test]
fn between_two_the_textbook_forgets_nobody() {
    Sweep::new("textbook_two").victims(&["a", "b"]).preemptions(3, 3).run(|world| {
        everybody_locks(world, Plant::Nothing, &["b"], true);
    });
}

/// 37: `a` unlocks and is killed before it wakes `b`; `c` has the lock by then, so the kernel finds another's TID and wakes
/// nobody. No change of the protocol is needed.
#[test]
fn between_three_the_textbook_loses_a_wake_up() {
    let found = Sweep::new("textbook_three").victims(&["a"]).preemptions(3, 3).finds(|world| {
        everybody_locks(world, Plant::Nothing, &["b", "c"], false);
    });
    assert!(found.contains("lost wake-up"), "{found}");
}

fn planted(name: &'static str, plant: Plant, what: &str) {
    let found = Sweep::new(name).victims(&["a", "b"]).preemptions(3, 3).finds(move |world| {
        everybody_locks(world, plant, &["b"], true);
    });
    assert!(found.contains(what), "{found}");
}

#[test]
fn pending_that_is_set_after_the_swap_is_found() {
    planted("textbook_24", Plant::PendingAfterTheSwap, "lost wake-up");
}

#[test]
fn pending_that_is_cleared_before_the_link_is_found() {
    planted("textbook_25", Plant::PendingClearedBeforeTheLink, "lost wake-up");
}

#[test]
fn an_unlink_before_pending_is_set_is_found() {
    planted("textbook_26", Plant::UnlinkedBeforePending, "lost wake-up");
}

#[test]
fn a_futex_offset_of_the_wrong_sign_is_found() {
    planted("textbook_28", Plant::WrongOffset, "lost wake-up");
}

/// 35: the kernel wakes one of two sleepers, and that one forgets the other. (Here `a` dies before it does anything, so that the
/// hole of the protocol itself does not show.)
#[test]
fn a_take_over_that_drops_the_sleepers_bit_is_found() {
    let death = |name| Sweep::new(name).preemptions(2, 2).only("a@0");
    death("textbook_dead_holder").run(|world| everybody_locks(world, Plant::Nothing, &["b", "c"], false));
    let found = death("textbook_35").finds(|world| {
        everybody_locks(world, Plant::TakeOverDropsWaiters, &["b", "c"], false);
    });
    assert!(found.contains("lost wake-up"), "{found}");
}

/// 41: what a compiler may do to plain stores. Those to the list are the kernel's to read, and nothing in the source orders
/// them with the word.
#[test]
fn a_list_or_pending_store_that_the_compiler_moves_is_found() {
    let sweep = |name| Sweep::new(name).victims(&["a", "b"]).preemptions(3, 3);
    let pending = sweep("textbook_41_pending").delays("pending set");
    let link = sweep("textbook_41_link").delays("robust link").unfences("pending cleared");
    for sweep in [pending, link] {
        let found = sweep.finds(|world| everybody_locks(world, Plant::Nothing, &["b"], true));
        assert!(found.contains("lost wake-up"), "{found}");
    }
}

#[test]
fn a_lock_that_is_never_on_the_list_is_found() {
    planted("textbook_29", Plant::NeverLinked, "lost wake-up");
}

#[test]
fn an_unlock_in_two_steps_is_found() {
    planted("textbook_36", Plant::UnlockInTwoSteps, "two are inside");
}

/// The lock's memory is used for something else, whose value is the TID by chance.
fn reused(world: &mut World, plant: Plant) {
    let mutex = Textbook::new(plant);
    let (after, data) = (mutex.clone(), Rc::new(Cell::new(false)));
    let is_data = Rc::clone(&data);
    world.process("a", move || {
        let mut taker = mutex.taker();
        taker.lock();
        taker.unlock();
        mutex.word().store(1000, Relaxed);
        is_data.set(true);
        mutex.word().load(Relaxed);
        taker
    });
    // Killed with the lock, it is marked, and rightly.
    world.after(move || assert!(!data.get() || after.word().load(Relaxed) == 1000, "data was marked"));
    // shuttle wants a second process.
    world.process("b", || AtomicU64::new(0).load(Relaxed));
}

#[test]
fn pending_that_is_never_cleared_marks_what_is_no_lock() {
    let found = Sweep::new("textbook_27").victims(&["a"]).preemptions(2, 2).finds(|world| {
        reused(world, Plant::PendingNeverCleared);
    });
    assert!(found.contains("data was marked"), "{found}");
    Sweep::new("textbook_reused").victims(&["a"]).preemptions(2, 2).run(|world| reused(world, Plant::Nothing));
}
