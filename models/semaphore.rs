//! The semaphore under loom and shuttle, with processes that die at every operation.
#![cfg(model)]

use ownerdead::harness::model::{Sweep, World};
use ownerdead::lock::{AcquireTimeoutError, Permit, Semaphore, TryAcquireError};
use ownerdead::owner::Attachment;
use ownerdead::sync::cell::Granule;
use ownerdead::sync::shm::Shared;
use self_cell::self_cell;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// What must hold of the permits: each is one's at a time. What is done with one is a race unless it orders its holders.
struct Oracle {
    /// Who has it; 0 for nobody. No shared memory: a death leaves it as it is.
    holders: Vec<Cell<u64>>,
    used: Shared<[Granule]>,
}

impl Oracle {
    fn new(permits: usize) -> Rc<Self> {
        let used = Shared::from_vec((0..permits).map(|_| Granule::new(0)).collect());
        Rc::new(Self { holders: (0..permits).map(|_| Cell::new(0)).collect(), used })
    }

    /// `who` has the permit, and uses what it stands for.
    fn uses(&self, permit: &Permit<'_>, who: u64) {
        let (holder, used) = (&self.holders[permit.number()], &self.used[permit.number()]);
        let other = holder.replace(who);
        assert!(other == 0 || permit.from_the_dead(), "{other} has permit {} already", permit.number());
        used.store(used.load() + 1);
        assert_eq!(holder.get(), who, "somebody else has permit {} too", permit.number());
        holder.set(0);
    }
}

/// Takes a permit, uses it, and gives it back.
fn once(semaphore: &Semaphore, me: &Attachment, oracle: &Oracle, who: u64) {
    let permit = semaphore.acquire(me).unwrap_or_else(|error| panic!("{error}"));
    oracle.uses(&permit, who);
}

fn add(world: &mut World, name: &'static str, semaphore: &Semaphore, oracle: &Rc<Oracle>) {
    let (attach, semaphore, oracle) = (semaphore.clone(), semaphore.clone(), Rc::clone(oracle));
    let who = u64::from(name.as_bytes()[0]);
    world.process_after(
        name,
        move || attach.attach().expect("a free slot"),
        move |me| {
            once(&semaphore, &me, &oracle, who);
            me
        },
    );
}

fn everybody(world: &mut World, permits: usize, names: &[&'static str]) {
    let semaphore = Semaphore::private(names.len(), permits);
    let oracle = Oracle::new(permits);
    for name in names {
        add(world, name, &semaphore, &oracle);
    }
}

self_cell! {
    /// Who has a permit, and goes with its process: with what the permit borrows.
    struct Held {
        owner: (Semaphore, Attachment),
        #[not_covariant]
        dependent: Permit,
    }
}

/// Has a permit. `Held::into_owner` gives it back, and what is left is dropped when its process has ended.
fn attach_and_acquire(semaphore: Semaphore) -> Held {
    let me = semaphore.attach().expect("a free slot");
    Held::new((semaphore, me), |(semaphore, me)| semaphore.acquire(me).expect("a free permit"))
}

/// `holders` have all the permits from the start; `others` want one. A bound on pre-emptions is spent on what follows.
fn everybody_wants_what_some_have(world: &mut World, holders: &[&'static str], others: &[&'static str]) {
    let semaphore = Semaphore::private(holders.len() + others.len(), holders.len());
    let oracle = Oracle::new(holders.len());
    // Those who want one come first: without a pre-emption they are asleep when the others begin.
    for name in others {
        add(world, name, &semaphore, &oracle);
    }
    for name in holders {
        let (semaphore, oracle) = (semaphore.clone(), Rc::clone(&oracle));
        let who = u64::from(name.as_bytes()[0]);
        world.process_after(
            name,
            move || attach_and_acquire(semaphore),
            move |held| {
                held.with_dependent(|_, permit| oracle.uses(permit, who));
                held.into_owner()
            },
        );
    }
}

#[test]
fn one_permit_is_one_s_at_a_time() {
    Sweep::new("semaphore_two").victims(&["a"]).preemptions(3, 2).run(|world| everybody(world, 1, &["a", "b"]));
}

#[test]
fn one_permit_goes_round_among_three() {
    Sweep::new("semaphore_one_of_three")
        .victims(&["a", "b"])
        .two_deaths()
        .beside_sleepers()
        .preemptions(1, 0)
        .full_preemptions(1, 1)
        .runs(8_000)
        .run(|world| {
            everybody_wants_what_some_have(world, &["a"], &["b", "c"]);
        });
}

#[test]
fn two_permits_go_round_among_three() {
    Sweep::new("semaphore_two_of_three").victims(&["a", "c"]).preemptions(2, 1).runs(8_000).run(|world| {
        everybody_wants_what_some_have(world, &["a", "b"], &["c"]);
    });
}

/// Both permits come free while both sleep: one by a release, one by a death, or both by deaths, one of them of one who was woken.
#[test]
fn two_permits_that_come_free_together_wake_two() {
    Sweep::new("semaphore_two_of_four")
        .victims(&["a", "c"])
        .two_deaths()
        .beside_sleepers()
        .preemptions(0, 0)
        .full_preemptions(1, 1)
        .runs(8_000)
        .run(|world| {
            everybody_wants_what_some_have(world, &["a", "b"], &["c", "d"]);
        });
}

/// A dead one's slot and TID are somebody else's at once: who sleeps on its life must not take that one for it.
#[test]
fn the_same_tid_in_the_same_slot_is_not_the_dead_holder() {
    Sweep::new("semaphore_tid_again").victims(&["a"]).preemptions(2, 2).run(|world| {
        let semaphore = Semaphore::private(2, 1);
        let oracle = Oracle::new(1);
        let (held, again) = (semaphore.clone(), semaphore.clone());
        world
            .process_after("a", move || attach_and_acquire(held), Held::into_owner)
            // It attaches, and takes no permit.
            .restarts(move || again.attach().ok())
            .with_tid_again(1000);
        add(world, "b", &semaphore, &oracle);
    });
}

/// The dead one's slot is its own again, and it takes a permit: that must not be judged by what the slot was before.
#[test]
fn who_takes_a_permit_from_the_slot_of_a_dead_holder_is_alive() {
    Sweep::new("semaphore_slot_again").victims(&["a"]).preemptions(2, 2).run(|world| {
        let semaphore = Semaphore::private(2, 1);
        let oracle = Oracle::new(1);
        let (held, again, a_oracle) = (semaphore.clone(), semaphore.clone(), Rc::clone(&oracle));
        world.process_after("a", move || attach_and_acquire(held), Held::into_owner).restarts(move || {
            let me = again.attach().expect("the slot of its former life");
            once(&again, &me, &a_oracle, 1);
            me
        });
        add(world, "b", &semaphore, &oracle);
    });
}

/// One gives up waiting: what it may have been woken for goes to the next.
#[test]
fn who_gives_up_wakes_the_next_one() {
    Sweep::new("semaphore_timeout").victims(&["a"]).preemptions(1, 1).runs(8_000).time_may_pass().run(|world| {
        let semaphore = Semaphore::private(3, 1);
        let oracle = Oracle::new(1);
        let (held, a_oracle) = (semaphore.clone(), Rc::clone(&oracle));
        world.process_after(
            "a",
            move || attach_and_acquire(held),
            move |held| {
                held.with_dependent(|_, permit| a_oracle.uses(permit, 1));
                held.into_owner()
            },
        );
        let (attach, b_semaphore, b_oracle) = (semaphore.clone(), semaphore.clone(), Rc::clone(&oracle));
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                match b_semaphore.acquire_timeout(&me, Duration::from_secs(1)) {
                    Ok(permit) => b_oracle.uses(&permit, 2),
                    Err(AcquireTimeoutError::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
        add(world, "c", &semaphore, &oracle);
    });
}

#[test]
fn a_try_takes_a_dead_ones_permit_and_no_living_ones() {
    Sweep::new("semaphore_try").victims(&["a"]).preemptions(3, 3).run(|world| {
        let semaphore = Semaphore::private(2, 1);
        let oracle = Oracle::new(1);
        add(world, "a", &semaphore, &oracle);
        let attach = semaphore.clone();
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                match semaphore.try_acquire(&me) {
                    Ok(permit) => oracle.uses(&permit, 2),
                    Err(TryAcquireError::WouldBlock) => {}
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}
