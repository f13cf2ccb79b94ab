//! Processes at a robust mutex, and what must hold there: for the models, and for the fuzzer of schedules.
#![allow(dead_code, reason = "not every model uses all of them")]

use ownerdead::harness::model::World;
use ownerdead::harness::oracle::Exclusion;
use ownerdead::lock::{Guard, LockError, RobustMutex};
use ownerdead::owner::Attachment;
use self_cell::self_cell;
use std::cell::Cell;
use std::rc::Rc;

ownerdead::shared_data! {
    /// Equal, unless a holder died between the two.
    pub struct Pair {
        pub left: u64,
        pub right: u64,
    }
}

pub const ZERO: Pair = Pair { left: 0, right: 0 };

/// What must hold of the lock, whoever runs when. It is no shared memory: a process's death leaves it as it is.
#[derive(Default)]
pub struct Oracle(pub Exclusion<Cell<u64>>);

impl Oracle {
    /// Somebody has the lock; `told` that the last holder died.
    pub fn enter(&self, told: bool) {
        self.0.enter(1, told).unwrap_or_else(|violation| panic!("{violation}"));
    }

    /// The holder has changed what it wanted to, and is about to unlock.
    pub fn leave(&self) {
        self.0.leave();
    }

    /// Changes the pair, in two steps.
    pub fn change(&self, guard: &mut Guard<'_, Pair>) {
        assert_eq!(guard.left, guard.right, "half changed");
        self.0.change();
        guard.left += 1;
        guard.right += 1;
    }

    pub fn repair(&self, guard: &mut Guard<'_, Pair>) {
        guard.right = guard.left;
        guard.mark_consistent();
    }
}

/// Locks, repairs if need be, changes, unlocks.
pub fn once(mutex: &RobustMutex<Pair>, me: &Attachment, oracle: &Oracle) {
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

/// A process that is attached, and goes through the lock once.
pub fn add_locker(world: &mut World, name: &'static str, mutex: &RobustMutex<Pair>, oracle: &Rc<Oracle>) {
    let (attach, mutex, oracle) = (mutex.clone(), mutex.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || attach.attach().expect("a free slot"),
        move |me| {
            once(&mutex, &me, &oracle);
            me
        },
    );
}

/// Processes that are attached, and each go through the lock once.
pub fn everybody_locks(world: &mut World, names: &[&'static str]) -> (RobustMutex<Pair>, Rc<Oracle>) {
    let mutex = RobustMutex::private(names.len() + 1, ZERO);
    let oracle = Rc::new(Oracle::default());
    for name in names {
        add_locker(world, name, &mutex, &oracle);
    }
    (mutex, oracle)
}

type PairGuard<'a> = Guard<'a, Pair>;

self_cell! {
    /// Who has the lock, and goes with its process: with what the guard borrows.
    pub struct Held {
        owner: (RobustMutex<Pair>, Attachment),
        #[not_covariant]
        dependent: PairGuard,
    }
}

/// Has the lock. `Held::into_owner` unlocks, and gives back what is dropped when its process has ended.
pub fn attach_and_lock(mutex: RobustMutex<Pair>) -> Held {
    let me = mutex.attach().expect("a free slot");
    Held::new((mutex, me), |(mutex, me)| mutex.lock(me).expect("a free lock"))
}

/// As `everybody_locks`, but `a` has the lock from the start. A bound on pre-emptions is spent on what follows.
pub fn everybody_wants_what_a_has(world: &mut World, others: &[&'static str]) {
    let mutex = RobustMutex::private(others.len() + 1, ZERO);
    let oracle = Rc::new(Oracle::default());
    // First, so that they are asleep when it unlocks or dies.
    for name in others {
        add_locker(world, name, &mutex, &oracle);
    }
    let (locked, a_oracle) = (mutex.clone(), Rc::clone(&oracle));
    world.process_after(
        "a",
        move || attach_and_lock(locked),
        move |mut held| {
            held.with_dependent_mut(|_, guard| {
                a_oracle.enter(false);
                a_oracle.change(guard);
                a_oracle.leave();
            });
            held.into_owner()
        },
    );
}

/// `a` starts again when it has died, and takes part as before.
pub fn comes_back(world: &mut World) {
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
}
