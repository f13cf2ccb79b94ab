//! The futex mutex under loom and shuttle. It promises nothing to those whose peer dies, but that nobody gets in beside a holder.
#![cfg(model)]

use ownerdead::harness::model::{Sweep, World};
use ownerdead::harness::oracle::Exclusion;
use ownerdead::lock::{FutexGuard, FutexMutex, TimedOut};
use ownerdead::sync::atomic::AtomicU32;
use ownerdead::sync::futex::{Word, wait};
use ownerdead::sync::shm::Shared;
use ownerdead::sync::time::now;
use self_cell::self_cell;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Who is inside. It is no shared memory: a process's death leaves it as it is.
#[derive(Clone, Default)]
struct Oracle(Rc<Exclusion<Cell<u64>>>);

impl Oracle {
    /// Goes through the lock: changes what it guards in two steps.
    fn change(&self, count: &mut u64) {
        self.0.enter(1, false).unwrap_or_else(|violation| panic!("{violation}"));
        *count += 1;
        assert_eq!(*count, self.0.through.get() + 1, "what the last holder wrote is not seen");
        self.0.leave();
    }
}

fn everybody_locks(world: &mut World, names: &[&'static str]) {
    let mutex = FutexMutex::private(0u64);
    let oracle = Oracle::default();
    for name in names {
        let (mutex, oracle) = (mutex.clone(), oracle.clone());
        world.process(name, move || oracle.change(&mut mutex.lock()));
    }
}

#[test]
fn two_exclude_each_other() {
    Sweep::new("futex_mutex_two").preemptions(4, 4).run(|world| {
        let mutex = FutexMutex::private(0u64);
        let oracle = Oracle::default();
        for name in ["a", "b"] {
            let (mutex, oracle) = (mutex.clone(), oracle.clone());
            world.process(name, move || {
                for _ in 0..2 {
                    oracle.change(&mut mutex.lock());
                }
            });
        }
    });
}

#[test]
fn no_sleeper_is_forgotten() {
    Sweep::new("futex_mutex_three").preemptions(3, 3).run(|world| {
        everybody_locks(world, &["a", "b", "c"]);
    });
}

#[test]
fn four_go_through_one_after_the_other() {
    Sweep::new("futex_mutex_four").preemptions(1, 1).run(|world| {
        everybody_locks(world, &["a", "b", "c", "d"]);
    });
}

type Count<'a> = FutexGuard<'a, u64>;

self_cell! {
    /// Who has the lock, and goes with its process: with the mutex that the guard borrows.
    struct Held {
        owner: FutexMutex<u64>,
        #[not_covariant]
        dependent: Count,
    }
}

/// Sleeps for a while of virtual time.
fn pass(time: Duration) {
    let word = Shared::new(AtomicU32::new(0));
    let until = now() + time;
    while now() < until {
        wait(Word::Whole(&word), 0, Some(until));
    }
}

/// The time-out and the unlock come at the same moment, in either order.
#[test]
fn who_times_out_leaves_the_others_to_be_woken_and_misses_no_free_lock() {
    Sweep::new("futex_mutex_timeout").preemptions(3, 3).time_may_pass().run(|world| {
        let mutex = FutexMutex::private(0u64);
        let oracle = Oracle::default();
        let held = Rc::new(Cell::new(true));
        let (a_mutex, a_oracle, a_held) = (mutex.clone(), oracle.clone(), Rc::clone(&held));
        world.process_after(
            "a",
            move || Held::new(a_mutex, FutexMutex::lock),
            move |mut held| {
                held.with_dependent_mut(|_, count| a_oracle.change(count));
                pass(SECOND);
                drop(held);
                a_held.set(false);
            },
        );
        let (b_mutex, b_oracle) = (mutex.clone(), oracle.clone());
        world.process("b", move || match b_mutex.lock_timeout(SECOND) {
            Ok(mut count) => b_oracle.change(&mut count),
            Err(TimedOut) => {
                assert!(now() >= SECOND, "out of time before its time");
                assert!(held.get() || b_oracle.0.through.get() > 1, "a free lock was not had");
            }
        });
        world.process("c", move || oracle.change(&mut mutex.lock()));
    });
}

#[test]
fn try_lock_has_a_free_lock_and_never_waits() {
    Sweep::new("futex_mutex_try").preemptions(3, 3).run(|world| {
        let mutex = FutexMutex::private(0u64);
        let oracle = Oracle::default();
        world.process("a", {
            let (mutex, oracle) = (mutex.clone(), oracle.clone());
            move || oracle.change(&mut mutex.lock())
        });
        world.process("b", {
            let (mutex, oracle) = (mutex.clone(), oracle.clone());
            move || {
                if let Some(mut count) = mutex.try_lock() {
                    oracle.change(&mut count);
                }
            }
        });
        // A lock that nobody else knows is free.
        world.process("c", || {
            let mutex = FutexMutex::private(0u64);
            assert!(mutex.try_lock().is_some(), "a free lock was not had");
            assert!(mutex.try_lock().is_some(), "an unlocked lock was not had");
        });
    });
}

/// Who dies with the lock leaves it locked, and the others' time-outs say so. Who dies while it waits takes nothing: a free lock
/// is had, though perhaps late.
#[test]
fn a_dead_ones_lock_stays_locked_and_a_dead_waiter_takes_nothing() {
    Sweep::new("futex_mutex_death").victims(&["a", "b"]).preemptions(3, 2).time_may_pass().run(|world| {
        let mutex = FutexMutex::private(0u64);
        let oracle = Oracle::default();
        // How many have it, are about to say that they no longer do, or died meanwhile.
        let held = Rc::new(Cell::new(0));
        for name in ["a", "b", "c"] {
            let (mutex, oracle, held) = (mutex.clone(), oracle.clone(), Rc::clone(&held));
            world.process(name, move || match mutex.lock_timeout(SECOND) {
                Ok(mut count) => {
                    assert!(oracle.0.inside.get() == 0, "let in beside a dead holder");
                    held.set(held.get() + 1);
                    assert_eq!(*count, oracle.0.through.get(), "not what the last holder wrote");
                    oracle.change(&mut count);
                    drop(count);
                    held.set(held.get() - 1);
                }
                Err(TimedOut) => {
                    assert!(now() >= SECOND, "out of time before its time");
                    assert!(held.get() > 0, "a free lock was not had");
                }
            });
        }
    });
}
