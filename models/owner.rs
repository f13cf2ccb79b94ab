//! Attaching, leaving and dying under loom and shuttle.
#![cfg(model)]

use ownerdead::harness::model::{Sweep, World};
use ownerdead::owner::{AttachError, Attachment, Counts, Holder, Table};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Who lives in which slot, as far as they have said so.
type Living = Rc<RefCell<Vec<Holder>>>;

fn move_in(table: &Table, living: &Living) -> Option<Attachment> {
    match Attachment::attach(table) {
        Ok(me) => {
            let id = me.id();
            assert!(!living.borrow().contains(&id), "{id:?} lives twice");
            assert_eq!(table.dead(id), Some(false), "{id:?} is said to be dead, and runs");
            living.borrow_mut().push(id);
            Some(me)
        }
        Err(AttachError::TableFull { slots, .. }) => {
            assert_eq!(slots, table.slots());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn two_never_get_the_same_slot_and_a_death_leaks_one_at_most() {
    Sweep::new("attach_two").victims(&["a", "b"]).preemptions(3, 3).run(two_attach);
}

#[test]
fn two_never_get_the_same_slot_when_failures_are_stale_either() {
    Sweep::new("attach_two_stale").stale_failures().victims(&["a", "b"]).preemptions(3, 2).run(two_attach);
}

fn two_attach(world: &mut World) {
    let table = Table::private(2);
    let living = Living::default();
    let settled = Rc::new(Cell::new(0));
    for name in ["a", "b"] {
        let (table, living, settled) = (table.clone(), Rc::clone(&living), Rc::clone(&settled));
        world.process(name, move || {
            let me = move_in(&table, &living);
            settled.set(settled.get() + usize::from(me.is_some()));
            me
        });
    }
    world.after(move || {
        assert_eq!(table.counts().attached, settled.get(), "a TID stands for a thread that is gone");
    });
}

#[test]
fn the_same_tid_in_two_namespaces_marks_nobody_alive() {
    Sweep::new("attach_same_tid").victims(&["a"]).preemptions(3, 3).run(|world| {
        let table = Table::private(1);
        let living = Living::default();
        for name in ["a", "b"] {
            let (table, living) = (table.clone(), Rc::clone(&living));
            world.process_with_tid(name, 7, move || {
                let me = move_in(&table, &living);
                // Whoever got the only slot is alive, whatever became of the other.
                if let Some(me) = &me {
                    assert_eq!(table.dead(me.id()), Some(false), "marked by the death of another");
                }
                (me, table)
            });
        }
    });
}

#[test]
fn who_dies_after_it_has_attached_leaks_no_slot() {
    Sweep::new("attach_and_die").victims(&["a"]).preemptions(3, 3).run(|world| {
        let table = Table::private(1);
        let attached = Rc::new(Cell::new(false));
        let (first, again, says) = (table.clone(), table.clone(), Rc::clone(&attached));
        world
            .process("a", move || {
                let me = Attachment::attach(&first).expect("a free slot");
                says.set(true);
                // Something to die before.
                first.dead(me.id());
                me
            })
            .restarts(move || {
                let me = Attachment::attach(&again).ok();
                assert!(me.is_some() || !attached.get(), "the dead one's slot was never marked");
                me
            });
        world.process("b", move || table.counts());
    });
}

/// `a` leaves and dies; `b` has its TID in another namespace, and then its slot.
#[test]
fn who_has_left_and_dies_marks_nobody_who_came_after_it() {
    Sweep::new("detach_same_tid").victims(&["a"]).preemptions(3, 3).run(|world| {
        let table = Table::private(1);
        let (setup, left) = (table.clone(), table.clone());
        world.process_after(
            "a",
            move || Attachment::attach(&setup).expect("a free slot"),
            move |me| {
                me.detach().expect("no rights");
                left.counts();
            },
        );
        let living = Living::default();
        let (attach, lives) = (table.clone(), Rc::clone(&living));
        world.process_with_tid("b", 1000, move || move_in(&attach, &lives));
        world.after(move || {
            for &id in living.borrow().iter() {
                assert_eq!(table.dead(id), Some(false), "marked by the death of one who had left");
            }
        });
    });
}

#[test]
fn a_slot_is_taken_again_after_a_death_and_its_former_holder_stays_dead() {
    Sweep::new("attach_again").victims(&["a"]).two_deaths().preemptions(3, 2).runs(20_000).run(|world| {
        let table = Table::private(1);
        let living = Living::default();
        let (setup, again, watched) = (table.clone(), table.clone(), table.clone());
        let mut old = None;
        world.process_after(
            "a",
            || {
                let me = Attachment::attach(&setup).expect("a free slot");
                old = Some(me.id());
                me
            },
            |me| me.detach().expect("no rights"),
        );
        let living_a = Rc::clone(&living);
        world.restarts(move || move_in(&again, &living_a));
        let old = old.expect("set up");
        world.process("watcher", move || {
            if watched.dead(old) == Some(true) {
                assert_eq!(watched.dead(old), Some(true), "once dead, for ever");
            }
        });
        world.after(move || {
            let Counts { moving, .. } = table.counts();
            assert!(moving <= 1, "two deaths in one slot leak one slot");
        });
    });
}

#[test]
fn who_leaves_gives_its_slot_back() {
    Sweep::new("detach").preemptions(3, 3).run(|world| {
        let table = Table::private(2);
        for name in ["a", "b"] {
            let table = table.clone();
            world.process(name, move || {
                for _ in 0..2 {
                    let me = Attachment::attach(&table).expect("as many slots as threads");
                    me.detach().expect("no rights");
                }
            });
        }
        world.after(move || {
            assert_eq!(table.counts(), Counts { free: 2, ..Counts::default() });
        });
    });
}
