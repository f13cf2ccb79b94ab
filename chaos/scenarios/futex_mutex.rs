//! One that goes through a futex mutex, or waits for it, is killed. It stays locked if the dead one had it, and nobody gets in;
//! otherwise the others go on.

use super::{Pair, ZERO};
use crate::stage::{Stage, Victim};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::lock::{FutexGuard, FutexMutex};
use ownerdead::segment::Options;
use ownerdead::sync::futex::{LOOK_AGAIN, look_again_after};
use std::time::Duration;

const COMPLAINTS: [&str; 1] = ["two are inside: left and right half of what the lock guards"];
/// How long the disappointed wait.
const SHORT: Duration = Duration::from_millis(1);

pub fn run(stage: &mut Stage) {
    // Who dies after it was woken has taken the wake with it, and there is nobody to tell the next one: it looks again by itself.
    look_again_after(LOOK_AGAIN);
    let stamps = shared(2);
    while stage.goes_on() {
        a_waiter(stage, stamps);
        // A new one each time: one that stays locked is of no more use.
        let mutex = FutexMutex::memfd(&Options::new(), ZERO).expect("a mutex");
        stage.watch(&[("mutex", mutex.segment())]);
        let (mut victim, mut other) = two_workers(stage, &mutex, stamps);
        let [dead, alive] = [&stamps[0], &stamps[1]];
        stage.wait_for("two to go through the lock", || dead.ended.get() > 0 && alive.ended.get() > 0);
        stage.pause(Duration::from_micros(500));
        let since = stage.kill(&mut victim, dead);
        match dead.phase() {
            "holding" => {
                // Both counts are taken after the death, and nobody can have passed since.
                let before = alive.begun.get();
                let tried = mutex.lock_timeout(SHORT).is_err();
                stage.expect(tried, || "the stage got a dead holder's lock".into());
                let after = alive.begun.get();
                stage.expect(before == after, || format!("{} got in beside a dead holder", after - before));
            }
            "outside" => {
                let before = alive.ended.get();
                if stage.wait_for("the other one to go on", || alive.ended.get() != before) {
                    stage.recovered(since);
                }
            }
            // It may have had the lock or not.
            _ => {}
        }
        stage.kill(&mut other, alive);
        for stamps in stamps {
            stage.hear(stamps, &COMPLAINTS);
        }
        stage.cases += dead.ended.get() + alive.ended.get();
    }
}

fn two_workers(stage: &mut Stage, mutex: &FutexMutex<Pair>, stamps: &'static [Stamps]) -> (Victim, Victim) {
    let mut start = |stamps: &'static Stamps| {
        stamps.reset();
        stamps.begun.set(0);
        stamps.ended.set(0);
        stage.spawn("locker", stamps, || work(mutex, stamps))
    };
    (start(&stamps[0]), start(&stamps[1]))
}

/// One of two that wait is killed; the other goes on when the lock is free.
fn a_waiter(stage: &mut Stage, stamps: &'static [Stamps]) {
    let mutex = FutexMutex::memfd(&Options::new(), ZERO).expect("a mutex");
    stage.watch(&[("mutex", mutex.segment())]);
    let guard = mutex.lock();
    let (mut victim, mut other) = two_workers(stage, &mutex, stamps);
    stage.wait_for("two to wait for the lock", || stamps.iter().all(|stamps| stamps.phase() == "locking"));
    stage.pause(Duration::from_micros(100));
    let since = stage.kill(&mut victim, &stamps[0]);
    drop(guard);
    if stage.wait_for("the other waiter to go through the lock", || stamps[1].ended.get() > 0) {
        stage.recovered(since);
    }
    stage.kill(&mut other, &stamps[1]);
    stage.cases += 1;
}

/// Goes through the lock for ever. `begun` counts how often it got it.
fn work(mutex: &FutexMutex<Pair>, stamps: &Stamps) {
    loop {
        stamps.enter(Phase::Locking);
        let guard = mutex.lock();
        stamps.enter(Phase::Holding);
        stamps.begun.add(1);
        change(guard, stamps);
        stamps.ended.add(1);
        // A stamp costs as much as the lock: most of the time it goes straight on.
        if stamps.ended.get().is_multiple_of(8) {
            stamps.enter(Phase::Outside);
        }
    }
}

fn change(mut guard: FutexGuard<'_, Pair>, stamps: &Stamps) {
    if guard.left != guard.right {
        stamps.complain(1, guard.left, guard.right);
    }
    guard.left += 1;
    guard.right += 1;
    stamps.enter(Phase::Unlocking);
}
