//! Processes at a reader-writer lock, and what must hold there.
#![allow(dead_code, reason = "not every model uses all of them")]

use ownerdead::harness::model::World;
use ownerdead::harness::oracle::Exclusion;
use ownerdead::lock::{LockError, ReadError, ReadGuard, RwLock, TryLockError, WriteGuard};
use ownerdead::owner::Attachment;
use self_cell::self_cell;
use std::cell::Cell;
use std::rc::Rc;

ownerdead::shared_data! {
    /// Equal, unless a writer died between the two.
    pub struct Pair {
        pub left: u64,
        pub right: u64,
    }
}

pub const ZERO: Pair = Pair { left: 0, right: 0 };

pub type Lock = RwLock<Pair>;

/// What must hold of the lock, whoever runs when. It is no shared memory: a process's death leaves it as it is.
#[derive(Default)]
pub struct Oracle {
    /// Of the writers.
    pub writers: Exclusion<Cell<u64>>,
    /// Somebody has read.
    pub read: Cell<u64>,
}

impl Oracle {
    /// A writer has the lock; `told` that the last one died.
    pub fn enter(&self, told: bool) {
        self.writers.enter(1, told).unwrap_or_else(|violation| panic!("{violation}"));
    }

    /// The writer has changed what it wanted to, and is about to unlock.
    pub fn leave(&self) {
        self.writers.leave();
    }

    /// Changes the pair, in two steps.
    pub fn change(&self, guard: &mut WriteGuard<'_, Pair>) {
        assert_eq!(guard.left, guard.right, "half changed");
        self.writers.change();
        guard.left += 1;
        guard.right += 1;
    }

    pub fn repair(&self, guard: &mut WriteGuard<'_, Pair>) {
        assert!(guard.needs_repair());
        guard.right = guard.left;
        guard.mark_consistent();
    }

    /// A reader has a share: no writer is inside, none comes while it reads, and none died there untold.
    pub fn look(&self, guard: &ReadGuard<'_, Pair>) {
        let writer = || (self.writers.inside.get(), self.writers.changing.get(), self.writers.through.get());
        let before = writer();
        assert_eq!((before.0, before.1), (0, 0), "a reader beside a writer, or where one died and nobody repaired");
        let (left, right) = (guard.left, guard.right);
        assert_eq!(left, right, "half changed");
        assert!(left >= before.2, "a writer's change is not there");
        assert_eq!(writer(), before, "a writer came in beside a reader");
        self.read.set(self.read.get() + 1);
    }
}

/// Writes, repairs if need be.
pub fn write_once(lock: &Lock, me: &Attachment, oracle: &Oracle) {
    let mut guard = match lock.write(me) {
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

/// Reads; if the last writer died, repairs as one. How often it was refused.
pub fn read_once(lock: &Lock, me: &Attachment, oracle: &Oracle) -> u64 {
    let mut refused = 0;
    loop {
        match lock.read(me) {
            Ok(guard) => {
                oracle.look(&guard);
                return refused;
            }
            Err(ReadError::OwnerDied) => {
                refused += 1;
                write_once(lock, me, oracle);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a process does with the lock.
pub type Role = fn(&Lock, &Attachment, &Oracle);

pub const WRITES: Role = |lock, me, oracle| write_once(lock, me, oracle);
pub const READS: Role = |lock, me, oracle| _ = read_once(lock, me, oracle);

/// Reads; if it is told that the last writer died, a writer is told so too.
pub const LOOKS: Role = |lock, me, oracle| match lock.read(me) {
    Ok(guard) => oracle.look(&guard),
    Err(ReadError::OwnerDied) => match lock.try_write(me) {
        Ok(_) => assert!(oracle.writers.told.get() > 0, "a reader is refused, and no writer was told"),
        Err(TryLockError::OwnerDied(died)) => {
            oracle.enter(true);
            let mut guard = died.into_guard();
            oracle.repair(&mut guard);
            oracle.change(&mut guard);
            oracle.leave();
        }
        Err(TryLockError::WouldBlock) => {}
        Err(error) => panic!("{error}"),
    },
    Err(error) => panic!("{error}"),
};

/// A process that is attached, and plays its role once.
pub fn add(world: &mut World, name: &'static str, role: Role, lock: &Lock, oracle: &Rc<Oracle>) {
    let (attach, lock, oracle) = (lock.clone(), lock.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || attach.attach().expect("a free slot"),
        move |me| {
            role(&lock, &me, &oracle);
            me
        },
    );
}

/// Processes that are attached, and each play their role once.
pub fn everybody(world: &mut World, people: &[(&'static str, Role)]) -> (Lock, Rc<Oracle>) {
    let lock = RwLock::private(people.len() + 1, ZERO);
    let oracle = Rc::new(Oracle::default());
    for &(name, role) in people {
        add(world, name, role, &lock, &oracle);
    }
    (lock, oracle)
}

type PairWriteGuard<'a> = WriteGuard<'a, Pair>;
type PairReadGuard<'a> = ReadGuard<'a, Pair>;

self_cell! {
    /// Who has the lock for writing, and goes with its process: with what the guard borrows.
    pub struct Writing {
        owner: (Lock, Attachment),
        #[not_covariant]
        dependent: PairWriteGuard,
    }
}

self_cell! {
    /// Who has a share of the lock, and goes with its process: with what the guard borrows.
    pub struct Reading {
        owner: (Lock, Attachment),
        #[not_covariant]
        dependent: PairReadGuard,
    }
}

/// Has the lock, for writing. `Writing::into_owner` unlocks, and what is left is dropped when its process has ended.
pub fn attach_and_write(lock: Lock) -> Writing {
    let me = lock.attach().expect("a free slot");
    Writing::new((lock, me), |(lock, me)| lock.write(me).expect("a free lock"))
}

/// Has a share of the lock. `Reading::into_owner` gives it up, and what is left is dropped when its process has ended.
pub fn attach_and_read(lock: Lock) -> Reading {
    let me = lock.attach().expect("a free slot");
    Reading::new((lock, me), |(lock, me)| lock.read(me).expect("no writer"))
}

/// Has the lock from the start, for writing: then it changes the data, and leaves.
pub fn add_writing(world: &mut World, name: &'static str, lock: &Lock, oracle: &Rc<Oracle>) {
    let (lock, oracle) = (lock.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || attach_and_write(lock),
        move |mut held| {
            held.with_dependent_mut(|_, guard| {
                oracle.enter(false);
                oracle.change(guard);
                oracle.leave();
            });
            held.into_owner()
        },
    );
}

/// Has a share of it from the start: then it looks at the data, and leaves.
pub fn add_reading(world: &mut World, name: &'static str, lock: &Lock, oracle: &Rc<Oracle>) {
    let (lock, oracle) = (lock.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || attach_and_read(lock),
        move |held| {
            held.with_dependent(|_, guard| oracle.look(guard));
            held.into_owner()
        },
    );
}
