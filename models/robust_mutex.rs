//! The robust mutex under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

#[path = "worlds/mutex.rs"]
mod mutex;

use mutex::{
    Held, Oracle, Pair, ZERO, add_locker, attach_and_lock, comes_back, everybody_locks, everybody_wants_what_a_has,
    once,
};
use ownerdead::harness::model::{Sweep, World};
use ownerdead::lock::{LockError, LockTimeoutError, RobustMutex, TryLockError};
use ownerdead::owner::Attachment;
use ownerdead::sync::kernel::Variant;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn two_exclude_each_other_and_no_sleeper_is_forgotten() {
    Sweep::new("mutex_two").victims(&["a", "b"]).preemptions(4, 3).run(|world| {
        everybody_locks(world, &["a", "b"]);
    });
}

#[test]
fn two_exclude_each_other_when_failures_are_stale_too() {
    Sweep::new("mutex_two_stale").stale_failures().victims(&["a", "b"]).preemptions(3, 2).run(|world| {
        everybody_locks(world, &["a", "b"]);
    });
}

#[test]
fn two_exclude_each_other_under_an_older_kernel_too() {
    let sweep = Sweep::new("mutex_two_older_kernel").kernel(Variant::WholeWordTest);
    sweep.victims(&["a", "b"]).preemptions(4, 3).run(|world| {
        everybody_locks(world, &["a", "b"]);
    });
}

#[test]
fn three_with_one_death() {
    Sweep::new("mutex_three").victims(&["a"]).preemptions(2, 1).run(|world| {
        everybody_locks(world, &["a", "b", "c"]);
    });
}

#[test]
fn one_that_was_woken_and_dies_leaves_nobody_asleep() {
    let sweep = Sweep::new("mutex_two_deaths").victims(&["a", "b"]).two_deaths().beside_sleepers();
    sweep.preemptions(2, 1).full_preemptions(2, 1).runs(8_000).run(|world| {
        everybody_wants_what_a_has(world, &["b", "c"]);
    });
}

/// The gate is always 0, so that both tests of a pending word come to the same.
#[test]
fn one_that_was_woken_and_dies_leaves_nobody_asleep_under_an_older_kernel() {
    let sweep = Sweep::new("mutex_two_deaths_older_kernel").kernel(Variant::WholeWordTest);
    let sweep = sweep.victims(&["a", "b"]).two_deaths().beside_sleepers();
    sweep.preemptions(1, 1).full_preemptions(2, 1).runs(8_000).run(|world| {
        everybody_wants_what_a_has(world, &["b", "c"]);
    });
}

#[test]
fn one_that_died_comes_back_and_takes_part_again() {
    Sweep::new("mutex_restart").victims(&["a"]).two_deaths().preemptions(2, 1).runs(8_000).run(comes_back);
}

/// Who sleeps on the life word of a holder must not go on doing so when that one has unlocked and left.
#[test]
fn who_unlocks_and_leaves_wakes_all_who_watched_it() {
    Sweep::new("mutex_detach").victims(&["a"]).preemptions(3, 2).run(|world| {
        let mutex = RobustMutex::private(2, ZERO);
        let oracle = Rc::new(Oracle::default());
        let (attach, leave, o) = (mutex.clone(), mutex.clone(), Rc::clone(&oracle));
        world.process_after(
            "a",
            move || attach.attach().expect("a free slot"),
            move |me| {
                once(&leave, &me, &o);
                me.detach().expect("no rights");
            },
        );
        add_locker(world, "b", &mutex, &oracle);
    });
}

/// The dead one's TID and slot are somebody else's at once: who sleeps on its life word must not take that one for it.
#[test]
fn the_same_tid_in_the_same_slot_is_not_the_dead_holder() {
    Sweep::new("mutex_tid_again").victims(&["a"]).preemptions(3, 2).run(|world| {
        let mutex = RobustMutex::private(2, ZERO);
        let oracle = Rc::new(Oracle::default());
        let (locked, again) = (mutex.clone(), mutex.clone());
        world
            .process_after("a", move || attach_and_lock(locked), Held::into_owner)
            // It attaches, and leaves the lock alone.
            .restarts(move || again.attach().ok())
            .with_tid_again(1000);
        let attach = mutex.clone();
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                match mutex.lock(&me) {
                    Ok(mut guard) => oracle.change(&mut guard),
                    Err(LockError::OwnerDied(died)) => oracle.repair(&mut died.into_guard()),
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}

/// Locks; if the last holder died, gives up unrepaired.
fn once_without_repair(mutex: &RobustMutex<Pair>, me: &Attachment, oracle: &Oracle) {
    match mutex.lock(me) {
        Ok(mut guard) => {
            oracle.enter(false);
            oracle.change(&mut guard);
            oracle.leave();
        }
        // Dropped unrepaired.
        Err(LockError::OwnerDied(died)) => {
            assert_eq!(oracle.0.told.replace(1), 0, "told twice");
            drop(died);
        }
        Err(LockError::NotRecoverable) => assert_eq!(oracle.0.told.get(), 1, "before anybody was told"),
        Err(error) => panic!("{error}"),
    }
}

fn everybody_gives_up(world: &mut World, mutex: &RobustMutex<Pair>, oracle: &Rc<Oracle>, names: &[&'static str]) {
    for name in names {
        let (attach, mutex, oracle) = (mutex.clone(), mutex.clone(), Rc::clone(oracle));
        world.process_after(
            name,
            move || attach.attach().expect("a free slot"),
            move |me| {
                once_without_repair(&mutex, &me, &oracle);
                me
            },
        );
    }
}

/// The dead one's slot is taken again, by one who takes the lock over: its right must not be judged by what the slot was before.
#[test]
fn who_takes_over_from_its_own_former_life_is_alive() {
    Sweep::new("mutex_slot_again").victims(&["a"]).preemptions(3, 3).run(|world| {
        let mutex = RobustMutex::private(2, ZERO);
        let oracle = Rc::new(Oracle::default());
        let (locked, again, attach) = (mutex.clone(), mutex.clone(), mutex.clone());
        let (a_oracle, b_oracle) = (Rc::clone(&oracle), oracle);
        world.process_after("a", move || attach_and_lock(locked), Held::into_owner).restarts(move || {
            let me = again.attach().expect("the slot of its former life");
            once(&again, &me, &a_oracle);
            me
        });
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                once(&mutex, &me, &b_oracle);
                me
            },
        );
    });
}

#[test]
fn unrepaired_it_is_not_recoverable() {
    Sweep::new("mutex_not_recoverable").victims(&["a"]).preemptions(2, 1).run(|world| {
        let mutex = RobustMutex::private(3, ZERO);
        everybody_gives_up(world, &mutex, &Rc::default(), &["a", "b", "c"]);
    });
}

/// One is told of the death of `a`; when it gives up, two sleep.
#[test]
fn unrepaired_it_is_not_recoverable_for_all_sleepers() {
    let sweep = Sweep::new("mutex_not_recoverable_for_all").victims(&["a"]).beside_sleepers();
    sweep.preemptions(1, 1).run(|world| {
        let mutex = RobustMutex::private(4, ZERO);
        let locked = mutex.clone();
        // First, so that they are asleep when it dies.
        everybody_gives_up(world, &mutex, &Rc::default(), &["b", "c", "d"]);
        world.process_after("a", move || attach_and_lock(locked), Held::into_owner);
    });
}

#[test]
fn a_try_lock_takes_a_dead_ones_lock_and_tells() {
    Sweep::new("mutex_try").victims(&["a"]).preemptions(3, 3).run(|world| {
        let (mutex, oracle) = everybody_locks(world, &["a"]);
        let attach = mutex.clone();
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                match mutex.try_lock(&me) {
                    Ok(mut guard) => {
                        oracle.enter(false);
                        oracle.change(&mut guard);
                        oracle.leave();
                    }
                    Err(TryLockError::OwnerDied(died)) => {
                        oracle.enter(true);
                        let mut guard = died.into_guard();
                        oracle.repair(&mut guard);
                        oracle.change(&mut guard);
                        oracle.leave();
                    }
                    Err(TryLockError::WouldBlock) => {}
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}

#[test]
fn a_time_out_takes_nothing_from_the_living() {
    Sweep::new("mutex_timeout").victims(&["a"]).preemptions(2, 2).time_may_pass().run(|world| {
        let mutex = RobustMutex::private(2, ZERO);
        let oracle = Rc::new(Oracle::default());
        let (attach, a_mutex, a_oracle) = (mutex.clone(), mutex.clone(), Rc::clone(&oracle));
        world.process_after(
            "a",
            move || attach.attach().expect("a free slot"),
            move |me| {
                once(&a_mutex, &me, &a_oracle);
                // The second time it keeps the lock: it is stopped, not dead.
                std::mem::forget(a_mutex.lock(&me));
                a_oracle.0.inside.set(1);
                me
            },
        );
        let attach = mutex.clone();
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                match mutex.lock_timeout(&me, Duration::from_secs(1)) {
                    Ok(mut guard) => {
                        oracle.enter(false);
                        oracle.change(&mut guard);
                        oracle.leave();
                    }
                    Err(LockTimeoutError::OwnerDied(died)) => oracle.repair(&mut died.into_guard()),
                    Err(LockTimeoutError::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}
