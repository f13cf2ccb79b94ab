//! Everyone is stopped in turn, and keeps what it holds, however long; then it goes on, or is killed where it stands.

mod crowd;
mod locks;

use super::{Pair, ZERO};
use crate::stage::{Stage, hang};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::lock::{LockTimeoutError, RobustMutex, TryLockError};
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{Config, PopTimeoutError, PushTimeoutError, Ring, SeatError, TryPopError};
use ownerdead::segment::Options;
use rand::RngExt;
use std::time::Duration;

const COMPLAINTS: [&str; 1] = ["something failed after the pause"];
/// Said by a victim that stands where it is to be stopped.
const HERE: u64 = 1;
/// Said by the stage: go on.
const GO: u64 = 2;
/// How long those wait who are to be disappointed.
const SHORT: Duration = Duration::from_millis(2);
/// How long a victim now and then stands before anybody looks: what holds for a moment holds for seconds.
const LONG: Duration = Duration::from_secs(2);

pub fn run(stage: &mut Stage) {
    let stamps = &shared(1)[0];
    while stage.goes_on() {
        stop_a_producer(stage, stamps);
        stop_a_consumer(stage, stamps);
        stop_a_holder(stage, stamps);
        stop_a_waiter(stage, stamps);
        for role in [
            crowd::stop_a_writer,
            crowd::stop_a_reader,
            locks::stop_a_reader,
            locks::stop_a_writer,
            locks::stop_a_permit,
        ] {
            role(stage, stamps);
        }
        stage.cases += 9;
    }
}

/// In a victim: stands here until the stage says go.
fn stand(stamps: &Stamps) {
    stamps.signal.set(HERE);
    while stamps.signal.get() != GO {
        std::hint::spin_loop();
    }
}

/// Stops a victim where it stands, looks at what `others` get, and lets it go on or kills it. Whether it was killed.
fn stopped(
    stage: &mut Stage,
    stamps: &'static Stamps,
    victim: impl FnOnce(),
    mut others: impl FnMut(&mut Stage),
) -> bool {
    stamps.enter(Phase::Outside);
    stamps.signal.set(0);
    let mut victim = stage.spawn("victim", stamps, victim);
    if !stage.wait_for("a victim to stand still", || stamps.signal.get() == HERE) {
        return true;
    }
    stage.stop(&victim);
    if stage.rng.random_bool(1.0 / 4000.0) {
        stage.sleep(LONG);
    }
    others(stage);
    let dies = stage.rng.random_bool(0.5);
    if dies {
        let since = stage.kill(&mut victim, stamps);
        stage.recovered(since);
    } else {
        stamps.signal.set(GO);
        stage.go_on(&victim);
        stage.exits(&mut victim, "a victim that goes on");
    }
    stage.hear(stamps, &COMPLAINTS);
    dies
}

fn ring() -> (Ring, Attachment) {
    let ring = Ring::memfd(&Options::new().slots(4), &Config::new(64)).expect("a ring");
    let me = ring.attach().expect("a free slot");
    (ring, me)
}

fn stop_a_producer(stage: &mut Stage, stamps: &'static Stamps) {
    let (ring, me) = ring();
    stage.watch(&[("ring", ring.segment())]);
    let mut consumer = ring.consumer(&me).expect("a vacant seat").into_inner();
    let mut bytes = Vec::new();
    let write = || {
        let me = ring.attach().expect("a free slot");
        let mut producer = ring.producer(&me).expect("a vacant seat").into_inner();
        stamps.enter(Phase::Pushing);
        let mut reservation = producer.reserve(1, 4).expect("room");
        reservation.write(0, b"half");
        stand(stamps);
        reservation.commit().expect("not forked");
        stamps.enter(Phase::Outside);
    };
    let died = stopped(stage, stamps, write, |stage| {
        stage.expect(matches!(ring.producer(&me), Err(SeatError::Busy { .. })), || {
            "a paused producer lost its seat".into()
        });
        let popped = consumer.pop_timeout(&mut bytes, SHORT);
        stage.expect(popped == Err(PopTimeoutError::TimedOut), || format!("beside a paused producer: {popped:?}"));
    });
    let popped = consumer.try_pop(&mut bytes);
    let expected = if died { Err(TryPopError::Empty) } else { Ok(1) };
    stage.expect(popped == expected, || format!("after the pause: {popped:?}, expected {expected:?}"));
    let opened = ring.producer(&me).map(|opened| opened.owner_died());
    stage.expect(opened == Ok(died), || format!("after the pause the seat is {opened:?}, expected {died}"));
}

fn stop_a_consumer(stage: &mut Stage, stamps: &'static Stamps) {
    let (ring, me) = ring();
    stage.watch(&[("ring", ring.segment())]);
    let mut producer = ring.producer(&me).expect("a vacant seat").into_inner();
    let mut number = 0;
    while producer.try_push(number, b"data").is_ok() {
        number += 1;
    }
    let read = || {
        let me = ring.attach().expect("a free slot");
        let mut consumer = ring.consumer(&me).expect("a vacant seat").into_inner();
        stamps.enter(Phase::Popping);
        let peek = consumer.peek().expect("a record");
        stand(stamps);
        let mut bytes = Vec::new();
        if peek.kind() != 0 || peek.copy_to(&mut bytes).is_err() || bytes != b"data" {
            stamps.complain(1, peek.kind().into(), 0);
        }
        peek.consume();
        stamps.enter(Phase::Outside);
    };
    let died = stopped(stage, stamps, read, |stage| {
        stage.expect(matches!(ring.consumer(&me), Err(SeatError::Busy { .. })), || {
            "a paused consumer lost its seat".into()
        });
        let pushed = producer.push_timeout(number, b"data", SHORT);
        stage.expect(pushed == Err(PushTimeoutError::TimedOut), || format!("beside a paused consumer: {pushed:?}"));
    });
    let opened = ring.consumer(&me).expect("nobody alive has it");
    stage.expect(opened.owner_died() == died, || "a consumer's death was told wrongly".into());
    let first = opened.into_inner().try_pop(&mut Vec::new());
    let expected = Ok(u32::from(!died));
    stage.expect(first == expected, || format!("after the pause: {first:?}, expected {expected:?}"));
}

fn stop_a_holder(stage: &mut Stage, stamps: &'static Stamps) {
    let mutex = RobustMutex::memfd(&Options::new().slots(4), ZERO).expect("a mutex");
    stage.watch(&[("mutex", mutex.segment())]);
    let me = mutex.attach().expect("a free slot");
    let hold = || {
        let me = mutex.attach().expect("a free slot");
        let mut guard = mutex.lock(&me).expect("a free lock");
        stamps.enter(Phase::Holding);
        guard.left += 1;
        stand(stamps);
        guard.right += 1;
        stamps.enter(Phase::Outside);
    };
    let died = stopped(stage, stamps, hold, |stage| {
        let tried = matches!(mutex.try_lock(&me), Err(TryLockError::WouldBlock));
        stage.expect(tried, || "a paused holder lost its lock to try_lock".into());
        let waited = matches!(mutex.lock_timeout(&me, SHORT), Err(LockTimeoutError::TimedOut));
        stage.expect(waited, || "a paused holder lost its lock to lock_timeout".into());
    });
    after(stage, &mutex, &me, died);
}

fn after(stage: &mut Stage, mutex: &RobustMutex<Pair>, me: &Attachment, died: bool) {
    match mutex.lock_timeout(me, hang()) {
        Ok(guard) => {
            let Pair { left, right } = *guard;
            stage.expect(!died && left == right, || format!("a plain guard: died {died}, {left} and {right}"));
        }
        Err(LockTimeoutError::OwnerDied(died_guard)) => {
            died_guard.into_guard().mark_consistent();
            stage.expect(died, || "nobody died with the lock".into());
        }
        Err(error) => stage.finding(&format!("after the pause: {error}")),
    }
}

/// A sleeper is stopped while it waits; the lock goes round it, and it gets it when it goes on.
fn stop_a_waiter(stage: &mut Stage, stamps: &'static Stamps) {
    let mutex = RobustMutex::memfd(&Options::new().slots(4), ZERO).expect("a mutex");
    stage.watch(&[("mutex", mutex.segment())]);
    let me = mutex.attach().expect("a free slot");
    let mut guard = Some(mutex.lock(&me).expect("a free lock"));
    let wait = || {
        let me = mutex.attach().expect("a free slot");
        stamps.enter(Phase::Locking);
        stamps.signal.set(HERE);
        match mutex.lock_timeout(&me, hang()) {
            Ok(mut guard) => {
                guard.left += 1;
                guard.right += 1;
            }
            Err(_) => stamps.complain(1, 0, 0),
        }
        stamps.enter(Phase::Outside);
    };
    stopped(stage, stamps, wait, |stage| {
        drop(guard.take());
        // It may have been woken and stopped before it took the lock, or not have slept at all: either way it holds nothing.
        let free = mutex.lock_timeout(&me, hang()).is_ok();
        stage.expect(free, || "a paused waiter holds the lock up".into());
    });
    after(stage, &mutex, &me, false);
}
