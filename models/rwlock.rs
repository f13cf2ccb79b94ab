//! The reader-writer lock under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

#[path = "worlds/rwlock.rs"]
mod rwlock;

use ownerdead::harness::model::Sweep;
use ownerdead::lock::{LockError, LockTimeoutError, ReadError, RwLock, TryLockError, TryReadError};
use rwlock::{
    LOOKS, Oracle, READS, Reading, WRITES, Writing, ZERO, add, add_reading, add_writing, attach_and_read,
    attach_and_write, everybody, read_once, write_once,
};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn a_reader_and_a_writer_exclude_each_other() {
    Sweep::new("rwlock_two").victims(&["r", "w"]).preemptions(3, 2).run(|world| {
        everybody(world, &[("r", READS), ("w", WRITES)]);
    });
}

#[test]
fn two_writers_exclude_each_other() {
    Sweep::new("rwlock_two_writers").victims(&["a"]).preemptions(2, 1).run(|world| {
        everybody(world, &[("a", WRITES), ("b", WRITES)]);
    });
}

#[test]
fn two_readers_and_a_writer_with_one_death() {
    Sweep::new("rwlock_three").victims(&["w"]).preemptions(1, 1).runs(8_000).run(|world| {
        everybody(world, &[("r", READS), ("w", WRITES), ("s", READS)]);
    });
}

/// The writer sleeps on one of two readers, and then on the other.
#[test]
fn a_writer_waits_for_the_living_readers_alone() {
    Sweep::new("rwlock_writer_sleeps").victims(&["r", "s"]).two_deaths().preemptions(1, 1).runs(8_000).run(|world| {
        let lock = RwLock::private(3, ZERO);
        let oracle = Rc::new(Oracle::default());
        add_reading(world, "r", &lock, &oracle);
        add_reading(world, "s", &lock, &oracle);
        add(world, "w", WRITES, &lock, &oracle);
    });
}

/// The readers sleep on a writer, which unlocks, or dies: all of them go on.
#[test]
fn all_readers_that_sleep_on_a_writer_go_on() {
    Sweep::new("rwlock_readers_sleep")
        .victims(&["w", "r"])
        .two_deaths()
        .beside_sleepers()
        .preemptions(1, 0)
        .full_preemptions(1, 1)
        .runs(8_000)
        .run(|world| {
            let lock = RwLock::private(3, ZERO);
            let oracle = Rc::new(Oracle::default());
            // First, so that they are asleep when it goes on.
            add(world, "r", LOOKS, &lock, &oracle);
            add(world, "s", LOOKS, &lock, &oracle);
            add_writing(world, "w", &lock, &oracle);
        });
}

/// While `h` has its share, the writer has changed nothing: so its death then is told to nobody, and keeps nobody out.
#[test]
fn a_writer_that_dies_while_it_waits_is_forgotten() {
    let sweep = Sweep::new("rwlock_waiting_writer_dies").victims(&["w"]).preemptions(1, 1);
    sweep.runs(8_000).run(|world| {
        let lock = RwLock::private(3, ZERO);
        let oracle = Rc::new(Oracle::default());
        let inside = Rc::new(Cell::new(true));
        let (locked, h_inside, h_oracle) = (lock.clone(), Rc::clone(&inside), Rc::clone(&oracle));
        world.process_after(
            "h",
            move || attach_and_read(locked),
            move |held| {
                held.with_dependent(|_, guard| h_oracle.look(guard));
                h_inside.set(false);
                held.into_owner()
            },
        );
        add(world, "w", WRITES, &lock, &oracle);
        let attach = lock.clone();
        world.process_after(
            "r",
            move || attach.attach().expect("a free slot"),
            move |me| {
                match lock.try_read(&me) {
                    Ok(guard) => oracle.look(&guard),
                    // A dead `h` no longer says that it is inside.
                    Err(TryReadError::OwnerDied) => {}
                    Err(TryReadError::WouldBlock) => {}
                    Err(error) => panic!("{error}"),
                }
                let refused = read_once(&lock, &me, &oracle);
                assert!(refused == 0 || oracle.writers.told.get() > 0, "refused, and nobody was to repair");
                me
            },
        );
    });
}

/// Who reads stands still: no writer ever has the lock, and one that waits and dies leaves no trace.
#[test]
fn a_paused_reader_keeps_its_share_and_readers_pass_a_dead_writer() {
    Sweep::new("rwlock_paused_reader")
        .victims(&["w", "r"])
        .two_deaths()
        .preemptions(1, 0)
        .full_preemptions(1, 1)
        .runs(1_000)
        .time_may_pass()
        .run(|world| {
            let lock = RwLock::private(3, ZERO);
            let oracle = Rc::new(Oracle::default());
            let locked = lock.clone();
            world.process_after("h", move || attach_and_read(locked), std::convert::identity);
            let (attach, w_lock) = (lock.clone(), lock.clone());
            world.process_after(
                "w",
                move || attach.attach().expect("a free slot"),
                move |me| {
                    match w_lock.write_timeout(&me, Duration::from_secs(1)) {
                        Err(LockTimeoutError::TimedOut) => {}
                        Ok(_) | Err(_) => panic!("a reader has its share"),
                    }
                    me
                },
            );
            add(world, "r", READS, &lock, &oracle);
        });
}

/// `b` is told of the death of `a`; when it gives up, both readers may sleep on it.
#[test]
fn unrepaired_it_is_not_recoverable_for_all_sleepers() {
    let sweep = Sweep::new("rwlock_not_recoverable").victims(&["a"]).beside_sleepers().preemptions(0, 0);
    sweep.full_preemptions(0, 1).runs(8_000).run(|world| {
        let lock = RwLock::private(4, ZERO);
        let given_up = Rc::new(Cell::new(false));
        // First, so that they are asleep when `a` dies.
        for name in ["c", "d"] {
            let (attach, lock, given_up) = (lock.clone(), lock.clone(), Rc::clone(&given_up));
            world.process_after(
                name,
                move || attach.attach().expect("a free slot"),
                move |me| {
                    match lock.read(&me) {
                        Ok(_) => assert!(!given_up.get(), "given up unrepaired, and had all the same"),
                        Err(ReadError::OwnerDied) => {}
                        Err(ReadError::NotRecoverable) => assert!(given_up.get(), "before it was given up"),
                        Err(error) => panic!("{error}"),
                    }
                    me
                },
            );
        }
        let locked = lock.clone();
        world.process_after("a", move || attach_and_write(locked), Writing::into_owner);
        let (attach, b_lock, b_given_up) = (lock.clone(), lock.clone(), Rc::clone(&given_up));
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                match b_lock.write(&me) {
                    Ok(_) => {}
                    Err(LockError::OwnerDied(died)) => {
                        b_given_up.set(true);
                        // Unrepaired.
                        drop(died);
                    }
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}

#[test]
fn a_time_out_takes_nothing_from_a_living_writer() {
    Sweep::new("rwlock_timeout").victims(&["w"]).preemptions(2, 2).time_may_pass().run(|world| {
        let lock = RwLock::private(2, ZERO);
        let oracle = Rc::new(Oracle::default());
        let (locked, w_oracle) = (lock.clone(), Rc::clone(&oracle));
        world.process_after(
            "w",
            move || attach_and_write(locked),
            move |mut held| {
                held.with_dependent_mut(|_, guard| {
                    w_oracle.enter(false);
                    w_oracle.change(guard);
                });
                // It keeps the lock: it is stopped, not dead.
                held
            },
        );
        let attach = lock.clone();
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                match lock.write_timeout(&me, Duration::from_secs(1)) {
                    Ok(_) => panic!("from one who lives"),
                    Err(LockTimeoutError::OwnerDied(died)) => {
                        oracle.enter(true);
                        let mut guard = died.into_guard();
                        oracle.repair(&mut guard);
                        oracle.leave();
                    }
                    Err(LockTimeoutError::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}

#[test]
fn a_try_takes_a_dead_ones_lock_and_tells() {
    Sweep::new("rwlock_try").victims(&["a", "r"]).preemptions(2, 2).run(|world| {
        let (lock, oracle) = everybody(world, &[("a", WRITES)]);
        let (attach, r_lock, r_oracle) = (lock.clone(), lock.clone(), Rc::clone(&oracle));
        world.process_after(
            "r",
            move || attach.attach().expect("a free slot"),
            move |me| {
                match r_lock.try_read(&me) {
                    Ok(guard) => r_oracle.look(&guard),
                    Err(TryReadError::WouldBlock | TryReadError::OwnerDied) => {}
                    Err(error) => panic!("{error}"),
                }
                match r_lock.try_write(&me) {
                    Ok(mut guard) => {
                        r_oracle.enter(false);
                        r_oracle.change(&mut guard);
                        r_oracle.leave();
                    }
                    Err(TryLockError::OwnerDied(died)) => {
                        r_oracle.enter(true);
                        let mut guard = died.into_guard();
                        r_oracle.repair(&mut guard);
                        r_oracle.change(&mut guard);
                        r_oracle.leave();
                    }
                    Err(TryLockError::WouldBlock) => {}
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}

/// A reader that died is back in the same slot, and reads again: its place is its own, and no longer the dead one's.
#[test]
fn who_reads_from_the_slot_of_a_dead_reader_is_alive() {
    Sweep::new("rwlock_slot_again").victims(&["r"]).preemptions(2, 2).run(|world| {
        let lock = RwLock::private(2, ZERO);
        let oracle = Rc::new(Oracle::default());
        let (locked, again, r_oracle) = (lock.clone(), lock.clone(), Rc::clone(&oracle));
        world.process_after("r", move || attach_and_read(locked), Reading::into_owner).restarts(move || {
            let me = again.attach().expect("the slot of its former life");
            _ = read_once(&again, &me, &r_oracle);
            me
        });
        add(world, "w", WRITES, &lock, &oracle);
    });
}

/// A writer that died is back in the same slot, and writes: its right must not be judged by what the slot was before.
#[test]
fn who_writes_from_the_slot_of_a_dead_writer_is_alive() {
    Sweep::new("rwlock_writers_slot_again").victims(&["a"]).preemptions(2, 2).run(|world| {
        let lock = RwLock::private(2, ZERO);
        let oracle = Rc::new(Oracle::default());
        let (locked, again, a_oracle) = (lock.clone(), lock.clone(), Rc::clone(&oracle));
        world.process_after("a", move || attach_and_write(locked), Writing::into_owner).restarts(move || {
            let me = again.attach().expect("the slot of its former life");
            // Once to repair, and once more as one who waits for readers.
            write_once(&again, &me, &a_oracle);
            write_once(&again, &me, &a_oracle);
            me
        });
        add(world, "b", READS, &lock, &oracle);
    });
}
