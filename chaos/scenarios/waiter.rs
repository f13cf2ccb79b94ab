//! Those who wait for a lock are killed while they sleep, around the unlock too, and so is the holder. Nobody sleeps on.

use super::{Pair, ZERO, many_slots};
use crate::stage::{Stage, hang};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::lock::{LockError, LockTimeoutError, RobustMutex};
use ownerdead::sync::time::now;
use rand::RngExt;
use std::time::Duration;

const WAITERS: usize = 3;
const COMPLAINTS: [&str; 1] = ["lock gave an error"];

pub fn run(stage: &mut Stage) {
    let mutex = RobustMutex::memfd(&many_slots(), ZERO).expect("a mutex");
    let stamps = shared(WAITERS + 1);
    stage.watch(&[("mutex", mutex.segment())]);
    let me = mutex.attach().expect("a free slot");
    while stage.goes_on() {
        for stamps in stamps {
            stamps.enter(Phase::Outside);
            stamps.signal.set(0);
        }
        let by_death = stage.rng.random_bool(0.5);
        let holder_stamps = &stamps[WAITERS];
        // The holder is the stage, which unlocks, or a victim, which is killed.
        let mut holder = by_death.then(|| stage.spawn("holder", holder_stamps, || hold(&mutex, holder_stamps)));
        let guard = match &holder {
            Some(_) => {
                stage.wait_for("a holder to lock", || holder_stamps.signal.get() == 1);
                None
            }
            None => match mutex.lock_timeout(&me, hang()) {
                Ok(guard) => Some(guard),
                Err(LockTimeoutError::OwnerDied(died)) => {
                    let mut guard = died.into_guard();
                    guard.mark_consistent();
                    Some(guard)
                }
                Err(error) => return stage.finding(&format!("the stage could not lock: {error}")),
            },
        };
        let mut waiters: Vec<_> =
            stamps[..WAITERS].iter().map(|stamps| stage.spawn("waiter", stamps, || wait(&mutex, stamps))).collect();
        stage.wait_for("waiters to lock", || stamps[..WAITERS].iter().all(|stamps| stamps.signal.get() >= 1));
        stage.pause(Duration::from_micros(120));
        let (first, second) = (stage.rng.random_range(0..WAITERS), stage.rng.random_range(0..WAITERS));
        let before = stage.rng.random_bool(0.5);
        if before {
            stage.kill(&mut waiters[first], &stamps[first]);
        }
        let since = now();
        drop(guard);
        if let Some(holder) = &mut holder {
            stage.kill(holder, holder_stamps);
        }
        if !before {
            stage.pause(Duration::from_micros(60));
            stage.kill(&mut waiters[first], &stamps[first]);
        }
        if second != first {
            stage.pause(Duration::from_micros(60));
            stage.kill(&mut waiters[second], &stamps[second]);
        }
        for (index, waiter) in waiters.iter_mut().enumerate() {
            if index != first && index != second {
                stage.exits(waiter, "a waiter");
                stage.recovered(since);
            }
            stage.hear(&stamps[index], &COMPLAINTS);
        }
        stage.cases += 1;
    }
}

fn hold(mutex: &RobustMutex<Pair>, stamps: &Stamps) {
    stamps.enter(Phase::Attaching);
    let me = mutex.attach().expect("a free slot");
    stamps.enter(Phase::Locking);
    let guard = match mutex.lock(&me) {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(died)) => {
            let mut guard = died.into_guard();
            guard.mark_consistent();
            guard
        }
        Err(_) => return stamps.complain(1, 0, 0),
    };
    stamps.enter(Phase::Holding);
    stamps.signal.set(1);
    loop {
        // Holds it until it is killed.
        std::hint::black_box(&guard);
        // SAFETY: waits for a signal; no arguments.
        unsafe { libc::pause() };
    }
}

/// Locks as soon as it can, without a time-out: should it be forgotten, the stage sees that it does not end.
fn wait(mutex: &RobustMutex<Pair>, stamps: &Stamps) {
    stamps.enter(Phase::Attaching);
    let me = mutex.attach().expect("a free slot");
    stamps.enter(Phase::Locking);
    stamps.signal.set(1);
    match mutex.lock(&me) {
        Ok(guard) => {
            stamps.enter(Phase::Holding);
            drop(guard);
        }
        Err(LockError::OwnerDied(died)) => {
            stamps.enter(Phase::Repairing);
            died.into_guard().mark_consistent();
        }
        Err(_) => stamps.complain(1, 0, 0),
    }
    stamps.enter(Phase::Outside);
}
