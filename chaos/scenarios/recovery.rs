//! One dies while it recovers from another's death: of a lock holder, and of a producer whose seat it takes over.

use super::{Pair, ZERO, kind, number, payload};
use crate::stage::{HANG, Stage};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::lock::{LockTimeoutError, RobustMutex};
use ownerdead::owner::SeatState;
use ownerdead::ring::spsc::{Config, PopTimeoutError, Ring};
use ownerdead::segment::Options;
use std::time::Duration;

const COMPLAINTS: [&str; 3] = [
    "the death of the last holder was not told",
    "no lock in ten seconds, or an error",
    "generation after a take-over",
];

/// A repairer has marked the lock consistent.
const CONSISTENT: u64 = 2;

pub fn run(stage: &mut Stage) {
    let mutex = RobustMutex::memfd(&Options::new(), ZERO).expect("a mutex");
    let ring = Ring::memfd(&Options::new(), &Config::new(4096)).expect("a ring");
    let stamps = shared(2);
    let me = mutex.attach().expect("a free slot");
    let there = ring.attach().expect("a free slot");
    let mut consumer = ring.consumer(&there).expect("a vacant seat").into_inner();
    let mut due = 1;
    while stage.goes_on() {
        repair_of_a_lock(stage, &mutex, &me, &stamps[0]);
        let stamps = &stamps[1];
        stamps.enter(Phase::Outside);
        stamps.generation.set(0);
        let before = ring.status().producer;
        let generation = before.generation + u64::from(matches!(before.state, SeatState::Dead(_)));
        let mut victim = stage.spawn(|| take_over(&ring, stamps, due, generation));
        stage.wait_for("a producer to attach", || {
            !matches!(stamps.phase(), "outside" | "attaching") || stamps.ended.get() == due
        });
        stage.pause(Duration::from_micros(4));
        let since = stage.kill(&mut victim, stamps);
        stage.hear(stamps, &COMPLAINTS);
        let after = ring.status().producer;
        stage.expect(after.generation == before.generation || after.generation == generation, || {
            format!("generation {} after {} and one take-over", after.generation, before.generation)
        });
        if after.state == SeatState::Vacant {
            continue;
        }
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        loop {
            match consumer.pop_timeout(&mut bytes, HANG) {
                Ok(kind) => {
                    let found = number(kind, due);
                    payload(found, &mut expected);
                    stage.expect(found == due && bytes == expected, || {
                        format!("record {found} where {due} was due, or torn")
                    });
                    due = found + 1;
                }
                Err(PopTimeoutError::ProducerDied) => break,
                Err(error) => return stage.finding(&format!("after the taker's death: {error}")),
            }
        }
        stage.recovered(since);
        let ended = stamps.ended.get();
        stage.expect(due > ended, || format!("lost: {ended} was committed, {due} is due"));
        stage.cases += 1;
    }
}

/// The victim: takes the seat over, pushes one record, and waits for its end.
fn take_over(ring: &Ring, stamps: &Stamps, next: u64, generation: u64) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    stamps.enter(Phase::Opening);
    let mut producer = ring.producer(&me).expect("a dead or vacant seat").into_inner();
    if producer.generation() != generation {
        stamps.complain(3, producer.generation(), generation);
    }
    stamps.enter(Phase::Pushing);
    let mut bytes = Vec::new();
    payload(next, &mut bytes);
    producer.push(kind(next), &bytes).expect("room");
    stamps.ended.set(next);
    stamps.enter(Phase::Outside);
    loop {
        std::hint::spin_loop();
    }
}

/// A holder is killed; one who repairs is killed while it does; the next must be told again, unless all was consistent.
fn repair_of_a_lock(stage: &mut Stage, mutex: &RobustMutex<Pair>, me: &ownerdead::owner::Attachment, stamps: &Stamps) {
    stamps.enter(Phase::Outside);
    stamps.signal.set(0);
    let mut holder = stage.spawn(|| {
        let me = mutex.attach().expect("a free slot");
        stamps.enter(Phase::Locking);
        let mut guard = mutex.lock(&me).expect("the last one left it consistent");
        stamps.enter(Phase::Holding);
        guard.left += 1;
        stamps.signal.set(1);
        loop {
            std::hint::spin_loop();
        }
    });
    if !stage.wait_for("a holder to lock", || stamps.signal.get() == 1) {
        return;
    }
    stage.kill(&mut holder, stamps);
    stamps.enter(Phase::Outside);
    stamps.signal.set(0);
    let mut repairer = stage.spawn(|| repair(mutex, stamps));
    stage.wait_for("a repairer to lock", || stamps.phase() == "locking" || stamps.signal.get() > 0);
    stage.pause(Duration::from_micros(40));
    let since = stage.kill(&mut repairer, stamps);
    stage.hear(stamps, &COMPLAINTS);
    let consistent = stamps.signal.get() == CONSISTENT;
    match mutex.lock_timeout(me, HANG) {
        Ok(guard) => {
            let Pair { left, right } = *guard;
            stage.expect(consistent, || "a lock that was not marked consistent came without a word".into());
            stage.expect(left == right, || format!("consistent, and half changed: {left} and {right}"));
        }
        Err(LockTimeoutError::OwnerDied(died)) => {
            let mut guard = died.into_guard();
            guard.right = guard.left;
            guard.mark_consistent();
        }
        Err(error) => stage.finding(&format!("after the repairer's death: {error}")),
    }
    stage.recovered(since);
    stage.cases += 1;
}

fn repair(mutex: &RobustMutex<Pair>, stamps: &Stamps) {
    stamps.enter(Phase::Attaching);
    let me = mutex.attach().expect("a free slot");
    stamps.enter(Phase::Locking);
    match mutex.lock_timeout(&me, HANG) {
        Ok(_) => stamps.complain(1, 0, 1),
        Err(LockTimeoutError::OwnerDied(died)) => {
            stamps.enter(Phase::Repairing);
            let mut guard = died.into_guard();
            // Long enough to be hit, and wrong until its end.
            for _ in 0..20_000 {
                guard.right = std::hint::black_box(u64::MAX);
            }
            guard.right = guard.left;
            stamps.signal.set(CONSISTENT);
            guard.mark_consistent();
            stamps.enter(Phase::Unlocking);
        }
        Err(_) => stamps.complain(2, 0, 0),
    }
    loop {
        std::hint::spin_loop();
    }
}
