//! A kernel without `futex_waitv`, or a filter that refuses it: who sleeps is still told of everything.

use crate::environment::{NEEDS_SECCOMP, Refused, refuse};
use crate::process::{Child, Gate, for_ever, spawn};
use ownerdead::lock::{FutexMutex, LockError, RobustMutex};
use ownerdead::ring::spsc::{Config, PopError, Ring};
use ownerdead::segment::Options;
use serial_test::serial;

/// The number of `futex_waitv` is the same on every architecture; that of the older call is not.
const FUTEX_WAITV: libc::c_long = 449;
const FUTEX: &str = if cfg!(target_arch = "x86_64") { "202" } else { "98" };

const ERRORS: [i32; 2] = [libc::ENOSYS, libc::EPERM];

/// Runs `body` with each way in which the call may be refused, in a process of its own each time.
fn with_each_error(body: fn(i32)) {
    if !filters_allowed() {
        return;
    }
    for error in ERRORS {
        crate::row::in_a_process("the old way", || {
            body(error);
            String::new()
        });
    }
}

fn filters_allowed() -> bool {
    let said = crate::row::in_a_process("seccomp", || {
        refuse(&Refused { number: FUTEX_WAITV, only: None, with: libc::ENOSYS }).to_string()
    });
    if said == "false" {
        crate::row::not_run("sleeping the old way", NEEDS_SECCOMP);
    }
    said == "true"
}

/// A child in which `futex_waitv` fails so.
fn without_waitv(error: i32, body: impl FnOnce()) -> Child {
    spawn(|| {
        assert!(refuse(&Refused { number: FUTEX_WAITV, only: None, with: error }));
        body();
    })
}

/// Waits until the child sleeps in the older call. (It is seen again and again: each sleep lasts a millisecond.)
fn sleeps_the_old_way(child: &Child) {
    let path = format!("/proc/{}/syscall", child.pid);
    loop {
        match std::fs::read_to_string(&path) {
            Ok(call) if call.split(' ').next() == Some(FUTEX) => return,
            Ok(call) => assert_ne!(call.split(' ').next(), Some("449"), "it sleeps in futex_waitv"),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return,
            Err(error) => panic!("{path}: {error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
#[serial(dev_shm)]
fn a_lock_that_sleeps_the_old_way_is_told_of_its_holders_death() {
    with_each_error(|error| {
        let mutex = RobustMutex::memfd(&Options::new(), 7u64).unwrap();
        let holds = Gate::new();
        let mut holder = spawn(|| {
            let me = mutex.attach().unwrap();
            std::mem::forget(mutex.lock(&me).unwrap());
            holds.open();
            for_ever();
        });
        holds.wait();
        let mut sleeper = without_waitv(error, || {
            let me = mutex.attach().unwrap();
            match mutex.lock(&me) {
                Err(LockError::OwnerDied(died)) => died.into_guard().mark_consistent(),
                other => panic!("{other:?}"),
            };
        });
        sleeps_the_old_way(&sleeper);
        holder.kill();
        sleeper.succeeds();
    });
}

#[test]
#[serial(dev_shm)]
fn a_lock_that_sleeps_the_old_way_is_told_of_an_unlock() {
    with_each_error(|error| {
        let mutex = RobustMutex::memfd(&Options::new(), 7u64).unwrap();
        let (holds, unlock) = (Gate::new(), Gate::new());
        let mut holder = spawn(|| {
            let me = mutex.attach().unwrap();
            let mut guard = mutex.lock(&me).unwrap();
            holds.open();
            unlock.wait();
            *guard = 8;
        });
        holds.wait();
        let mut sleeper = without_waitv(error, || {
            let me = mutex.attach().unwrap();
            assert_eq!(*mutex.lock(&me).unwrap(), 8);
        });
        sleeps_the_old_way(&sleeper);
        unlock.open();
        sleeper.succeeds();
        holder.succeeds();
    });
}

#[test]
#[serial(dev_shm)]
fn a_pop_that_sleeps_the_old_way_is_told_of_a_record_and_of_its_producers_death() {
    with_each_error(|error| {
        let ring = Ring::memfd(&Options::new(), &Config::new(4096)).unwrap();
        let (seated, push) = (Gate::new(), Gate::new());
        let mut producer = spawn(|| {
            let me = ring.attach().unwrap();
            let mut producer = ring.producer(&me).unwrap().into_inner();
            seated.open();
            push.wait();
            producer.push(1, b"in time").unwrap();
            for_ever();
        });
        seated.wait();
        let popped = Gate::new();
        let mut sleeper = without_waitv(error, || {
            let me = ring.attach().unwrap();
            let mut consumer = ring.consumer(&me).unwrap().into_inner();
            let mut bytes = Vec::new();
            assert_eq!(consumer.pop(&mut bytes), Ok(1));
            popped.open();
            assert_eq!(consumer.pop(&mut bytes), Err(PopError::ProducerDied));
        });
        sleeps_the_old_way(&sleeper);
        push.open();
        popped.wait();
        sleeps_the_old_way(&sleeper);
        producer.kill();
        sleeper.succeeds();
    });
}

#[test]
#[serial(dev_shm)]
fn a_futex_mutex_that_sleeps_the_old_way_is_told_of_an_unlock() {
    with_each_error(|error| {
        let mutex = FutexMutex::memfd(&Options::new(), 7u64).unwrap();
        let (holds, unlock) = (Gate::new(), Gate::new());
        let mut holder = spawn(|| {
            let mut guard = mutex.lock();
            holds.open();
            unlock.wait();
            *guard = 8;
        });
        holds.wait();
        let mut sleeper = without_waitv(error, || assert_eq!(*mutex.lock(), 8));
        sleeps_the_old_way(&sleeper);
        unlock.open();
        sleeper.succeeds();
        holder.succeeds();
    });
}
