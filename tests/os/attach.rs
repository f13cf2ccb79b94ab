//! Attaching, leaving, forks, namespaces.

use crate::process::{Gate, for_ever, spawn};
use nix::sched::{CloneFlags, unshare};
use ownerdead::lock::{LockError, RobustMutex};
use ownerdead::owner::{AttachError, DetachError};
use ownerdead::segment::Options;

fn mutex(slots: u32) -> RobustMutex<u64> {
    RobustMutex::memfd(&Options::new().slots(slots), 0).unwrap()
}

#[test]
fn a_full_table_is_an_error_and_a_slot_that_is_left_is_taken_again() {
    let mutex = mutex(2);
    let (first, second) = (mutex.attach().unwrap(), mutex.attach().unwrap());
    match mutex.attach() {
        Err(AttachError::TableFull { slots: 2, moving: 0 }) => {}
        other => panic!("{other:?}"),
    }
    let old = first.id();
    first.detach().unwrap();
    let again = mutex.attach().unwrap();
    assert_eq!((again.id().slot, again.id().incarnation), (old.slot, old.incarnation + 1));
    assert_eq!(mutex.table().dead(old), Some(true));
    assert_eq!(mutex.table().dead(second.id()), Some(false));
}

#[test]
fn a_dead_threads_slot_is_taken_again() {
    let mutex = mutex(1);
    for incarnation in 1..=3 {
        let mut child = spawn(|| {
            let me = mutex.attach().unwrap();
            assert_eq!(me.id().incarnation, incarnation);
            std::mem::forget(me);
        });
        child.succeeds();
        assert_eq!(mutex.table().counts().free, 1);
    }
}

#[test]
fn leaving_with_a_live_right_is_an_error_and_changes_nothing() {
    let mutex = mutex(2);
    let me = mutex.attach().unwrap();
    std::mem::forget(mutex.lock(&me).unwrap());
    let me = match me.detach() {
        Err(DetachError::LiveRights { attachment, rights: 1, handles: 0 }) => attachment,
        other => panic!("{other:?}"),
    };
    let other = mutex.attach().unwrap();
    assert!(mutex.try_lock(&other).is_err());
    assert_eq!(mutex.table().dead(me.id()), Some(false));
}

#[test]
fn leaving_with_another_handle_is_an_error() {
    let mutex = mutex(1);
    let me = mutex.attach().unwrap();
    let handle = me.clone();
    assert!(matches!(me.detach(), Err(DetachError::LiveRights { rights: 0, handles: 1, .. })));
    handle.detach().unwrap();
}

#[test]
fn locking_twice_is_an_error_and_so_is_another_segments_attachment() {
    let (first, second) = (mutex(1), mutex(1));
    let me = first.attach().unwrap();
    let _guard = first.lock(&me).unwrap();
    assert!(matches!(first.lock(&me), Err(LockError::Deadlock)));
    assert!(matches!(second.lock(&me), Err(LockError::WrongSegment)));
}

#[test]
fn a_forked_child_holds_nothing_and_releases_nothing() {
    let mutex = mutex(3);
    let me = mutex.attach().unwrap();
    let mut guard = Some(mutex.lock(&me).unwrap());
    let mut child = spawn(|| {
        assert!(matches!(mutex.lock(&me), Err(LockError::Forked)));
        assert!(matches!(me.clone().detach(), Err(DetachError::Forked)));
        // The parent's guard and attachment are dropped here, and that must not unlock.
        drop(guard.take());
        let mine = mutex.attach().unwrap();
        assert!(mutex.try_lock(&mine).is_err(), "the child unlocked its parent's lock");
        mine.detach().unwrap();
    });
    child.succeeds();
    let other = mutex.attach().unwrap();
    assert!(mutex.try_lock(&other).is_err());
    assert_eq!(mutex.table().dead(me.id()), Some(false), "the child's end was taken for its parent's");
}

/// Runs `body` as the first process, and so with TID 1, of a PID namespace of its own.
fn in_namespace(body: impl FnOnce()) {
    unshare(CloneFlags::CLONE_NEWPID)
        .or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID))
        .unwrap();
    spawn(body).succeeds();
}

/// Whether a process here may make a PID namespace.
fn namespaces_allowed() -> bool {
    let probe = std::panic::catch_unwind(|| {
        spawn(|| {
            let made = unshare(CloneFlags::CLONE_NEWPID)
                .or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID));
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(made.is_err())) };
        })
        .succeeds();
    });
    probe.is_ok()
}

#[test]
fn the_same_tid_in_two_namespaces_is_two_threads() {
    if !namespaces_allowed() {
        let line = ownerdead::harness::report::Line {
            state: ownerdead::harness::report::State::NotRun,
            layer: "unit",
            name: "the_same_tid_in_two_namespaces_is_two_threads",
            cases: 0,
            deaths: 0,
            violations: 0,
            seconds: 0.0,
            detail: "PID namespaces are not allowed here: run as root, or allow user namespaces",
        };
        line.emit();
        println!("not run: {}", line.detail);
        return;
    }
    let mutex = mutex(4);
    let (a_holds, b_waits, b_has, a_dead) = (Gate::new(), Gate::new(), Gate::new(), Gate::new());
    // Each is TID 1 of its namespace. `a` holds the lock; `b`, which waits for it, is killed; `a` must still count as alive.
    let mut a = spawn(|| {
        in_namespace(|| {
            assert_eq!(ownerdead::sync::thread::id(), 1);
            let me = mutex.attach().unwrap();
            std::mem::forget(mutex.lock(&me).unwrap());
            a_holds.open();
            a_dead.wait();
        });
    });
    a_holds.wait();
    let mut b = spawn(|| {
        in_namespace(|| {
            assert_eq!(ownerdead::sync::thread::id(), 1);
            let me = mutex.attach().unwrap();
            b_waits.open();
            let _ = mutex.lock(&me);
            b_has.open();
            for_ever();
        });
    });
    b_waits.wait();
    let me = mutex.attach().unwrap();
    b.kill();
    // The namespace's TID 1 dies with its parent, a little later; then `a` and this thread are left.
    while mutex.table().counts().attached > 2 {
        std::thread::yield_now();
    }
    assert!(mutex.try_lock(&me).is_err(), "the death of TID 1 elsewhere was taken for the holder's");
    a_dead.open();
    a.succeeds();
    assert!(matches!(mutex.lock(&me), Err(LockError::OwnerDied(_))));
}

#[test]
fn threads_of_one_process_exclude_each_other() {
    const EACH: u64 = 10_000;
    let mutex = mutex(4);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let me = mutex.attach().unwrap();
                for _ in 0..EACH {
                    *mutex.lock(&me).unwrap() += 1;
                }
            });
        }
    });
    let me = mutex.attach().unwrap();
    assert_eq!(*mutex.lock(&me).unwrap(), 3 * EACH);
}
