//! Condition variables under loom and shuttle, with waiters, notifiers and holders that die at every operation.
#![cfg(model)]

use ownerdead::harness::model::{Sweep, World};
use ownerdead::lock::{Guard, LockError, RobustMutex, WaitError, Waited};
use ownerdead::owner::{Attachment, Holder};
use ownerdead::sync::time::now;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// A door: 0 is shut, 1 is open, and it is never shut again.
type Door = RobustMutex<u64>;

/// How long one waits, in virtual time.
const TIME: Duration = Duration::from_secs(1);

fn lock<'a>(door: &'a Door, me: &'a Attachment) -> Guard<'a, u64> {
    match door.lock(me) {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(died)) => repaired(died.into_guard()),
        Err(error) => panic!("{error}"),
    }
}

/// One store opens the door, so there is nothing to repair.
fn repaired(mut guard: Guard<'_, u64>) -> Guard<'_, u64> {
    guard.mark_consistent();
    guard
}

/// How one is notified.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notify {
    One,
    All,
    /// `One`, with the lock: who is woken has to wait for it.
    OneWithTheLock,
}

fn notify(door: &Door, me: &Attachment, how: Notify) {
    let [opened, ..] = door.condvars();
    match how {
        Notify::All => opened.notify_all(me),
        _ => opened.notify_one(me),
    }
    .expect("attached here");
}

/// Opens the door and notifies.
fn add_notifier(world: &mut World, door: &Door, how: Notify) {
    let (attach, door) = (door.clone(), door.clone());
    world.process_after(
        "n",
        move || attach.attach().expect("a free slot"),
        move |me| {
            let mut guard = lock(&door, &me);
            *guard = 1;
            if how == Notify::OneWithTheLock {
                notify(&door, &me, how);
                drop(guard);
            } else {
                drop(guard);
                notify(&door, &me, how);
            }
            me
        },
    );
}

/// Waits at condition variable 0 until the door is open. Time passes when nobody can run any more: a wait that lasts until then, with the
/// door open and a notification made, was forgotten, unless that was one notification, and somebody else's wait has returned by it
/// (who may have died since). `returned` counts those; it is no shared memory.
fn wait(door: &Door, me: &Attachment, how: Notify, returned: &Cell<u32>) {
    let [opened, ..] = door.condvars();
    let mut guard = lock(door, me);
    while *guard == 0 {
        let waited = opened.wait_timeout(guard, TIME);
        // What the wait says does not count here: one whose time is up finds the sequence changed, and says that it was notified.
        let forgotten = now() >= TIME;
        guard = match waited {
            Ok((guard, _)) => guard,
            Err(WaitError::OwnerDied(died)) => repaired(died.into_guard()),
            Err(error) => panic!("{error}"),
        };
        if forgotten {
            let owed = how == Notify::All || returned.get() == 0;
            assert!(!(owed && opened.notifications() > 0), "a notification was made, and is lost");
            return;
        }
        returned.set(returned.get() + 1);
    }
}

fn add_waiter(world: &mut World, name: &'static str, door: &Door, how: Notify, returned: &Rc<Cell<u32>>) {
    let (attach, door, returned) = (door.clone(), door.clone(), Rc::clone(returned));
    world.process_after(
        name,
        move || attach.attach().expect("a free slot"),
        move |me| {
            wait(&door, &me, how, &returned);
            me
        },
    );
}

fn waiters_and_a_notifier(world: &mut World, names: &[&'static str], how: Notify) {
    let door = RobustMutex::private(names.len() + 2, 0);
    let returned = Rc::default();
    for name in names {
        add_waiter(world, name, &door, how, &returned);
    }
    add_notifier(world, &door, how);
}

/// A sweep in which time passes, and is looked at.
fn sweep(name: Sweep) -> Sweep {
    name.time_may_pass().runs(2_000)
}

#[test]
fn a_notification_of_one_is_swallowed_by_no_death() {
    sweep(Sweep::new("condvar_one")).victims(&["w", "n"]).preemptions(2, 1).run(|world| {
        waiters_and_a_notifier(world, &["w", "x"], Notify::One);
    });
}

#[test]
fn a_notification_of_one_is_swallowed_by_no_two_deaths() {
    sweep(Sweep::new("condvar_two_deaths"))
        .victims(&["w", "n"])
        .two_deaths()
        .runs(500)
        .preemptions(0, 0)
        .full_preemptions(1, 1)
        .run(|world| {
            waiters_and_a_notifier(world, &["w", "x"], Notify::One);
        });
}

/// Who is woken finds the lock held, and dies waiting for it.
#[test]
fn who_is_woken_and_dies_waiting_for_the_lock_swallows_nothing() {
    sweep(Sweep::new("condvar_with_the_lock")).victims(&["w"]).preemptions(1, 1).run(|world| {
        waiters_and_a_notifier(world, &["w", "x"], Notify::OneWithTheLock);
    });
}

#[test]
fn a_notification_of_all_wakes_all_whoever_dies() {
    sweep(Sweep::new("condvar_all"))
        .victims(&["w", "n"])
        .two_deaths()
        .runs(500)
        .preemptions(0, 0)
        .full_preemptions(1, 1)
        .run(|world| {
            waiters_and_a_notifier(world, &["w", "x"], Notify::All);
        });
}

/// Waits for the door to be opened by `holder`, or for its death.
fn watch(door: &Door, me: &Attachment, holder: Holder) {
    let [opened, ..] = door.condvars();
    let mut guard = lock(door, me);
    while *guard == 0 {
        guard = match opened.wait_or_death(guard, holder, None) {
            Ok((_, Waited::HolderDied)) => {
                assert_eq!(door.table().dead(holder), Some(true), "told of the death of one who lives");
                return;
            }
            Ok((guard, Waited::Notified)) => guard,
            Ok((_, Waited::TimedOut)) => panic!("there was no time-out"),
            Err(WaitError::OwnerDied(died)) => repaired(died.into_guard()),
            Err(error) => panic!("{error}"),
        };
    }
}

fn two_watch(world: &mut World) {
    let door = RobustMutex::private(4, 0);
    let (attach, mutex) = (door.clone(), door.clone());
    let mut holder = None;
    world.process_after(
        "h",
        || {
            let me = attach.attach().expect("a free slot");
            holder = Some(me.id());
            me
        },
        move |me| {
            let mut guard = lock(&mutex, &me);
            *guard = 1;
            drop(guard);
            notify(&mutex, &me, Notify::One);
            me
        },
    );
    let holder = holder.expect("set up");
    for name in ["w", "x"] {
        let (attach, mutex) = (door.clone(), door.clone());
        world.process_after(
            name,
            move || attach.attach().expect("a free slot"),
            move |me| {
                watch(&mutex, &me, holder);
                me
            },
        );
    }
}

/// Nobody but `h` notifies, and it does not come again.
#[test]
fn who_watches_the_notifier_is_told_of_its_death() {
    Sweep::new("condvar_or_death").victims(&["h", "w"]).two_deaths().preemptions(1, 0).runs(100).run(two_watch);
}

/// `a` has the lock, dies with it, and comes again to give up unrepaired. Who waits has to be told: nobody else will notify it.
#[test]
fn giving_up_unrepaired_wakes_those_who_wait() {
    Sweep::new("condvar_not_recoverable").victims(&["a"]).preemptions(2, 2).runs(2_000).run(|world| {
        let door = RobustMutex::private(3, 0);
        let (attach, mutex, again) = (door.clone(), door.clone(), door.clone());
        world.process_after(
            "a",
            move || attach.attach().expect("a free slot"),
            move |me| {
                *lock(&mutex, &me) = 1;
                notify(&mutex, &me, Notify::One);
                me
            },
        );
        world.restarts(move || {
            let me = again.attach().expect("the slot of its former life");
            match again.lock(&me) {
                Ok(mut guard) => *guard = 1,
                Err(LockError::OwnerDied(died)) => return drop(died),
                Err(error) => panic!("{error}"),
            }
            notify(&again, &me, Notify::One);
        });
        let attach = door.clone();
        world.process_after(
            "w",
            move || attach.attach().expect("a free slot"),
            move |me| {
                let [opened, ..] = door.condvars();
                match door.lock(&me) {
                    Ok(guard) => match opened.wait_while(guard, |open| *open == 0) {
                        Ok(guard) => assert_eq!(*guard, 1),
                        Err(WaitError::NotRecoverable) => {}
                        Err(WaitError::OwnerDied(died)) => drop(repaired(died.into_guard())),
                        Err(error) => panic!("{error}"),
                    },
                    Err(LockError::OwnerDied(died)) => drop(repaired(died.into_guard())),
                    Err(LockError::NotRecoverable) => {}
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}

#[test]
fn a_time_out_ends_a_wait_that_nobody_notifies() {
    Sweep::new("condvar_timeout").victims(&["n"]).preemptions(2, 2).runs(2_000).time_may_pass().run(|world| {
        let door = RobustMutex::private(2, 0);
        let (attach, mutex) = (door.clone(), door.clone());
        world.process_after(
            "n",
            move || attach.attach().expect("a free slot"),
            move |me| {
                *lock(&mutex, &me) = 1;
                notify(&mutex, &me, Notify::One);
                me
            },
        );
        let attach = door.clone();
        world.process_after(
            "w",
            move || attach.attach().expect("a free slot"),
            move |me| {
                let [opened, ..] = door.condvars();
                let guard = lock(&door, &me);
                match opened.wait_timeout(guard, TIME) {
                    Ok((_, waited)) => assert_ne!(waited, Waited::HolderDied),
                    Err(WaitError::OwnerDied(died)) => drop(repaired(died.into_guard())),
                    Err(error) => panic!("{error}"),
                }
                me
            },
        );
    });
}
