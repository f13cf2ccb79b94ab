//! The futex mutex between real processes.

use crate::process::{Gate, for_ever, spawn};
use ownerdead::lock::{FutexMutex, RobustMutex, SharedError, TimedOut};
use ownerdead::segment::{Kind, OpenError, Options, Segment};
use ownerdead::sync::atomic::AtomicU32;
use ownerdead::sync::futex::{Word, wait, wake};
use ownerdead::sync::time::now;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Longer than anything that goes well takes.
const HANG: Duration = Duration::from_secs(10);

fn mutex() -> FutexMutex<u64> {
    FutexMutex::memfd(&Options::new(), 0).unwrap()
}

#[test]
fn processes_exclude_each_other() {
    const EACH: u64 = 20_000;
    let mutex = mutex();
    let add = || {
        for _ in 0..EACH {
            let mut count = mutex.lock();
            // Two steps, which would lose some if two were inside.
            let old = *count;
            *count = std::hint::black_box(old) + 1;
        }
    };
    let mut children = [spawn(add), spawn(add)];
    add();
    children.iter_mut().for_each(|child| child.succeeds());
    assert_eq!(*mutex.lock(), 3 * EACH);
}

#[test]
fn a_dead_holders_lock_stays_locked_and_the_time_out_says_so() {
    let mutex = mutex();
    let holds = Gate::new();
    let mut child = spawn(|| {
        let _guard = mutex.lock();
        holds.open();
        for_ever();
    });
    holds.wait();
    child.kill();
    assert!(mutex.try_lock().is_none());
    let before = now();
    let error = mutex.lock_timeout(Duration::from_millis(5)).unwrap_err();
    assert!(now() - before >= Duration::from_millis(5));
    assert_eq!(error, TimedOut);
    assert!(error.to_string().contains("perhaps by a thread that is dead"));
}

#[test]
fn a_forked_child_that_drops_its_parents_guard_unlocks_nothing() {
    let mutex = mutex();
    let mut guard = Some(mutex.lock());
    spawn(|| {
        drop(guard.take());
        assert!(mutex.try_lock().is_none(), "the child unlocked its parent's lock");
    })
    .succeeds();
    assert!(mutex.try_lock().is_none());
    drop(guard);
    // The child may lock it for itself.
    spawn(|| *mutex.lock() += 1).succeeds();
    assert_eq!(*mutex.lock(), 1);
}

#[test]
fn a_panic_with_the_lock_unlocks_it() {
    let mutex = mutex();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut count = mutex.lock();
        *count = 7;
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    assert_eq!(*mutex.try_lock().expect("unlocked"), 7);
}

#[test]
fn a_segment_of_another_kind_or_type_is_refused() {
    let mutex = mutex();
    let fd = |segment: &Segment| -> OwnedFd { segment.as_fd().try_clone_to_owned().unwrap() };
    let error = Segment::from_fd(fd(mutex.segment()), Kind::MUTEX).unwrap_err();
    assert!(matches!(error, OpenError::Kind { found: Kind::FUTEX_MUTEX, expected: Kind::MUTEX }), "{error}");
    let robust = RobustMutex::memfd(&Options::new(), 0u64).unwrap();
    let error = Segment::from_fd(fd(robust.segment()), Kind::FUTEX_MUTEX).unwrap_err();
    assert!(matches!(error, OpenError::Kind { found: Kind::MUTEX, expected: Kind::FUTEX_MUTEX }), "{error}");
    // SAFETY: nobody but this test has the segment, and it goes by the protocol.
    let error = unsafe { FutexMutex::<u32>::from_segment(mutex.segment().clone()) }.unwrap_err();
    assert!(matches!(error, SharedError::Type { field: "fingerprint", .. }), "{error}");
}

/// A futex that is private to its process would be missed by the other, who would sleep until it looks again.
#[test]
fn a_wake_reaches_a_sleeper_in_another_process() {
    let mutex = mutex();
    let words = mutex.segment().body_slice::<AtomicU32>(64, 1).unwrap();
    let mut child = spawn(|| {
        for_ever_asleep(&words[0]);
    });
    let until = now() + HANG;
    while wake(Word::Whole(&words[0]), 1) == 0 {
        assert!(now() < until, "no wake reached the sleeper");
        std::thread::yield_now();
    }
    child.kill();
}

fn for_ever_asleep(word: &AtomicU32) -> ! {
    loop {
        wait(Word::Whole(word), 0, None);
    }
}

#[test]
fn threads_of_one_process_exclude_each_other_too() {
    let mutex = mutex();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    *mutex.lock() += 1;
                }
            });
        }
    });
    assert_eq!(*mutex.lock(), 20_000);
}
