//! Once-initialisation under loom and shuttle, with initialisers that die at every operation.
#![cfg(model)]

use ownerdead::harness::model::{Sweep, World};
use ownerdead::lock::{OnceCell, OnceState, OnceTimeoutError};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

ownerdead::shared_data! {
    /// Equal, unless it is not initialised.
    struct Pair {
        left: u64,
        right: u64,
    }
}

const NOTHING: Pair = Pair { left: 1, right: 2 };

/// What must hold, whoever runs when. It is no shared memory: a process's death leaves it as it is.
#[derive(Default)]
struct Oracle {
    begun: Cell<u32>,
    inside: Cell<&'static str>,
    done: Cell<bool>,
}

impl Oracle {
    /// `who` makes the value; `step` is something to die before.
    fn make(&self, who: &'static str, failed: u32, step: impl FnOnce()) -> Pair {
        assert!(!self.done.get(), "it was done, and begins again");
        assert!(failed >= self.begun.get(), "{} tries were begun, and it is told of {failed}", self.begun.get());
        self.begun.set(self.begun.get() + 1);
        self.inside.set(who);
        step();
        assert_eq!(self.inside.get(), who, "two try at once");
        Pair { left: 7, right: 7 }
    }

    /// It is done, for somebody who looks.
    fn sees(&self, value: &Pair) {
        assert_eq!((value.left, value.right), (7, 7), "not whole");
        self.done.set(true);
    }
}

fn add_caller(world: &mut World, name: &'static str, cell: &OnceCell<Pair>, oracle: &Rc<Oracle>) {
    let (attach, cell, oracle) = (cell.clone(), cell.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || attach.attach().expect("a free slot"),
        move |me| {
            let id = me.id();
            let step = || assert_eq!(cell.table().dead(id), Some(false));
            let value = cell.get_or_init(&me, |state| oracle.make(name, state.failed(), step));
            oracle.sees(value.expect("nobody waits for himself"));
            oracle.sees(cell.get().expect("it is done"));
            me
        },
    );
}

fn everybody_calls(world: &mut World, names: &[&'static str]) {
    let cell = OnceCell::private(names.len() + 1, NOTHING);
    let oracle = Rc::default();
    for name in names {
        add_caller(world, name, &cell, &oracle);
    }
}

#[test]
fn one_of_two_initialises_and_the_other_takes_over_from_the_dead() {
    Sweep::new("once_two").victims(&["a", "b"]).preemptions(3, 2).runs(2_000).run(|world| {
        everybody_calls(world, &["a", "b"]);
    });
}

#[test]
fn one_of_three_comes_to_the_end_when_two_die() {
    Sweep::new("once_two_deaths")
        .victims(&["a", "b"])
        .two_deaths()
        .preemptions(0, 0)
        .full_preemptions(1, 0)
        .runs(200)
        .run(|world| {
            everybody_calls(world, &["a", "b", "c"]);
        });
}

/// `a` dies, comes back to the same slot, and calls again: it is not taken for the one that died.
#[test]
fn one_that_died_comes_back_and_calls_again() {
    Sweep::new("once_restart").victims(&["a"]).preemptions(2, 2).runs(2_000).run(|world| {
        let cell = OnceCell::private(2, NOTHING);
        let oracle = Rc::default();
        add_caller(world, "a", &cell, &oracle);
        let (again, told) = (cell.clone(), Rc::clone(&oracle));
        world.restarts(move || {
            let me = again.attach().expect("the slot of its former life");
            let id = me.id();
            let step = || assert_eq!(again.table().dead(id), Some(false));
            let value = again.get_or_init(&me, |state| told.make("a again", state.failed(), step));
            told.sees(value.expect("nobody waits for himself"));
            me
        });
        add_caller(world, "b", &cell, &oracle);
    });
}

/// Who does not call sees all of the value, or nothing.
#[test]
fn who_looks_sees_all_or_nothing() {
    Sweep::new("once_look").victims(&["a"]).preemptions(3, 3).runs(2_000).run(|world| {
        let cell = OnceCell::private(2, NOTHING);
        let oracle = Rc::default();
        add_caller(world, "a", &cell, &oracle);
        world.process("looks", move || {
            if let Some(value) = cell.get() {
                oracle.sees(value);
            }
        });
    });
}

#[test]
fn a_time_out_takes_nothing_from_the_living() {
    Sweep::new("once_timeout").victims(&["a"]).preemptions(2, 2).runs(2_000).time_may_pass().run(|world| {
        let cell = OnceCell::private(2, NOTHING);
        let oracle = Rc::default();
        add_caller(world, "a", &cell, &oracle);
        let attach = cell.clone();
        world.process_after(
            "b",
            move || attach.attach().expect("a free slot"),
            move |me| {
                let make = |state: OnceState| oracle.make("b", state.failed(), || ());
                match cell.get_or_init_timeout(&me, Duration::from_secs(1), make) {
                    Ok(value) => oracle.sees(value),
                    Err(OnceTimeoutError::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}
