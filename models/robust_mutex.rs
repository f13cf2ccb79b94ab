//! The robust mutex under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

use ownerdead::harness::model::{Sweep, World};
use ownerdead::lock::{Guard, LockError, LockTimeoutError, RobustMutex, TryLockError};
use ownerdead::owner::Attachment;
use ownerdead::sync::kernel::Variant;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

ownerdead::shared_data! {
    /// Equal, unless a holder died between the two.
    struct Pair {
        left: u64,
        right: u64,
    }
}

const ZERO: Pair = Pair { left: 0, right: 0 };

/// What must hold of the lock, whoever runs when. It is no shared memory: a process's death leaves it as it is.
#[derive(Default)]
struct Oracle {
    inside: Cell<bool>,
    /// The holder is between its first change and its last: its death must be told.
    changing: Cell<bool>,
    /// How often it was told.
    told: Cell<u32>,
    /// How often somebody went through.
    through: Cell<u32>,
}

impl Oracle {
    /// Somebody has the lock; `told` that the last holder died.
    fn enter(&self, told: bool) {
        assert!(told || !self.inside.get(), "two are inside, or a death in the lock was not told");
        assert!(told || !self.changing.get(), "the last holder died while it changed the data, and nobody was told");
        self.inside.set(true);
        self.told.set(self.told.get() + u32::from(told));
    }

    /// The holder has changed what it wanted to, and is about to unlock.
    fn leave(&self) {
        self.changing.set(false);
        self.inside.set(false);
        self.through.set(self.through.get() + 1);
    }

    /// Changes the pair, in two steps.
    fn change(&self, guard: &mut Guard<'_, Pair>) {
        assert_eq!(guard.left, guard.right, "half changed");
        self.changing.set(true);
        guard.left += 1;
        guard.right += 1;
    }

    fn repair(&self, guard: &mut Guard<'_, Pair>) {
        guard.right = guard.left;
        guard.mark_consistent();
    }
}

/// Locks, repairs if need be, changes, unlocks.
fn once(mutex: &RobustMutex<Pair>, me: &Attachment, oracle: &Oracle) {
    let mut guard = match mutex.lock(me) {
        Ok(guard) => {
            oracle.enter(false);
            guard
        }
        Err(LockError::OwnerDied(died)) => {
            oracle.enter(true);
            let mut guard = died.into_guard();
            oracle.repair(&mut guard);
            guard
        }
        Err(error) => panic!("{error}"),
    };
    oracle.change(&mut guard);
    oracle.leave();
}

/// Processes that are attached, and each go through the lock once.
fn everybody_locks(world: &mut World, names: &[&'static str]) -> (RobustMutex<Pair>, Rc<Oracle>) {
    let mutex = RobustMutex::private(names.len() + 1, ZERO);
    let oracle = Rc::new(Oracle::default());
    for name in names {
        let (attach, mutex, oracle) = (mutex.clone(), mutex.clone(), Rc::clone(&oracle));
        world.process_after(
            name,
            move || attach.attach().expect("a free slot"),
            move |me| {
                once(&mutex, &me, &oracle);
                me
            },
        );
    }
    (mutex, oracle)
}

#[test]
fn two_exclude_each_other_and_no_sleeper_is_forgotten() {
    Sweep::new("mutex_two").victims(&["a", "b"]).preemptions(4, 3).run(|world| {
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

/// Has the lock. The guard borrows both mutex and attachment, and goes with its process: they are leaked, a few bytes for each
/// execution.
fn attach_and_lock(mutex: RobustMutex<Pair>) -> Guard<'static, Pair> {
    let mutex: &'static RobustMutex<Pair> = Box::leak(Box::new(mutex));
    let me: &'static Attachment = Box::leak(Box::new(mutex.attach().expect("a free slot")));
    mutex.lock(me).expect("a free lock")
}

/// As `everybody_locks`, but `a` has the lock from the start. A bound on pre-emptions is spent on what follows.
fn everybody_wants_what_a_has(world: &mut World, others: &[&'static str]) {
    let mutex = RobustMutex::private(others.len() + 1, ZERO);
    let oracle = Rc::new(Oracle::default());
    let (locked, a_oracle) = (mutex.clone(), Rc::clone(&oracle));
    world.process_after(
        "a",
        move || attach_and_lock(locked),
        move |mut guard| {
            a_oracle.enter(false);
            a_oracle.change(&mut guard);
            a_oracle.leave();
        },
    );
    for name in others {
        let (attach, mutex, oracle) = (mutex.clone(), mutex.clone(), Rc::clone(&oracle));
        world.process_after(
            name,
            move || attach.attach().expect("a free slot"),
            move |me| {
                once(&mutex, &me, &oracle);
                me
            },
        );
    }
}

#[test]
fn one_that_was_woken_and_dies_leaves_nobody_asleep() {
    Sweep::new("mutex_two_deaths").victims(&["a", "b"]).two_deaths().preemptions(2, 1).runs(8_000).run(|world| {
        everybody_wants_what_a_has(world, &["b", "c"]);
    });
}

/// The gate is always 0, so that both tests of a pending word come to the same.
#[test]
fn one_that_was_woken_and_dies_leaves_nobody_asleep_under_an_older_kernel() {
    let sweep = Sweep::new("mutex_two_deaths_older_kernel").kernel(Variant::WholeWordTest);
    sweep.victims(&["a", "b"]).two_deaths().preemptions(1, 1).runs(8_000).run(|world| {
        everybody_wants_what_a_has(world, &["b", "c"]);
    });
}

#[test]
fn one_that_died_comes_back_and_takes_part_again() {
    Sweep::new("mutex_restart").victims(&["a"]).two_deaths().preemptions(2, 1).runs(8_000).run(|world| {
        let mutex = RobustMutex::private(2, ZERO);
        let oracle = Rc::new(Oracle::default());
        let life = |first: bool| {
            let (mutex, oracle) = (mutex.clone(), Rc::clone(&oracle));
            move || {
                let me = mutex.attach().expect("the dead one's slot is free again, unless it died moving in");
                once(&mutex, &me, &oracle);
                (me, first)
            }
        };
        let (attach, b_mutex, b_oracle) = (mutex.clone(), mutex.clone(), Rc::clone(&oracle));
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                once(&b_mutex, &me, &b_oracle);
                me
            },
        );
        let (mutex, oracle) = (mutex.clone(), Rc::clone(&oracle));
        let first = life(true);
        world.process("a", first).restarts(move || match mutex.attach() {
            Ok(me) => {
                once(&mutex, &me, &oracle);
                Some(me)
            }
            // It had died between two states of its slot: that leaks it.
            Err(_) => None,
        });
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
            .process_after("a", move || attach_and_lock(locked), drop)
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
            assert_eq!(oracle.told.replace(1), 0, "told twice");
            drop(died);
        }
        Err(LockError::NotRecoverable) => assert_eq!(oracle.told.get(), 1, "before anybody was told"),
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
        world.process_after("a", move || attach_and_lock(locked), drop).restarts(move || {
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
    Sweep::new("mutex_not_recoverable_for_all").victims(&["a"]).preemptions(1, 1).run(|world| {
        let mutex = RobustMutex::private(4, ZERO);
        let locked = mutex.clone();
        world.process_after("a", move || attach_and_lock(locked), drop);
        everybody_gives_up(world, &mutex, &Rc::default(), &["b", "c", "d"]);
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
                a_oracle.inside.set(true);
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
