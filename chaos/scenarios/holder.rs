//! A lock holder is killed, with others at work. The next one is told, and only the next one; nobody is let in beside another.

use super::{Pair, ZERO, many_slots};
use crate::stage::{Stage, hang};
use crate::stamps::{Phase, Stamps, Word, shared};
use ownerdead::harness::oracle::{Exclusion, Violation};
use ownerdead::lock::{Guard, LockTimeoutError, RobustMutex, TryLockError};
use ownerdead::owner::Attachment;
use std::time::Duration;

pub(super) const COMPLAINTS: [&str; 6] = [
    "two hold the lock, or a holder's death was not told: number of the other one",
    "half changed, and nobody was told: left",
    "no lock in ten seconds, a hang (0), or an error (1)",
    "not recoverable though nobody gave up",
    "another one came in while this one had the lock: its number",
    "a dead one's lock came as if it had been repaired",
];

pub fn run(stage: &mut Stage) {
    let mutex = RobustMutex::memfd(&many_slots(), ZERO).expect("a mutex");
    // Two workers, and one set of stamps that all share: who is inside.
    let stamps = shared(3);
    let everybody = &stamps[2];
    let me = mutex.attach().expect("a free slot");
    stage.watch(&[("mutex", mutex.segment())]);
    let start = |stage: &mut Stage, worker: usize| {
        stamps[worker].reset();
        let mutex = &mutex;
        stage.spawn("locker", &stamps[worker], move || work(mutex, &stamps[worker], everybody, worker as u64 + 1))
    };
    let mut workers = [start(stage, 0), start(stage, 1)];
    let mut round = 0u64;
    while stage.goes_on() {
        round += 1;
        let killed = (round % 2) as usize;
        stage.wait_for("a worker to run", || stamps[killed].started());
        stage.pause(Duration::from_micros(500));
        let other = &stamps[1 - killed];
        let before = other.ended.get();
        let since = stage.kill(&mut workers[killed], &stamps[killed]);
        stage.wait_for("the other worker to go through the lock", || {
            other.ended.get() != before || other.wrong.get() != 0
        });
        stage.recovered(since);
        for stamps in &stamps[..2] {
            stage.hear(stamps, &COMPLAINTS);
        }
        // The lock is not fair, and the workers are busy: looking for oneself costs more than all the rest.
        if round.is_multiple_of(8) {
            look(stage, &mutex, &me, stamps, round);
        }
        stage.cases += 1;
        workers[killed] = start(stage, killed);
    }
}

/// The stage goes through the lock itself, and counts.
fn look(stage: &mut Stage, mutex: &RobustMutex<Pair>, me: &Attachment, stamps: &[Stamps], round: u64) {
    let sum = |what: fn(&Stamps) -> u64| stamps[..2].iter().map(what).sum::<u64>();
    let ended = sum(|stamps| stamps.ended.get());
    match locked(mutex, me, &stamps[2], 9, round, |_| {}) {
        Ok(Pair { right, .. }) => {
            let begun = sum(|stamps| stamps.begun.get());
            stage.expect(right >= ended, || format!("lost: {ended} changes were acknowledged, {right} are there"));
            stage.expect(right <= begun + round, || format!("invented: {right} changes, {begun} were begun"));
        }
        Err((code, found)) => stage.finding(&format!("the stage: {}: {found}", COMPLAINTS[code as usize - 1])),
    }
}

pub(super) fn work(mutex: &RobustMutex<Pair>, stamps: &Stamps, everybody: &Stamps, number: u64) {
    stamps.enter(Phase::Attaching);
    let me = mutex.attach().expect("a free slot");
    loop {
        stamps.enter(Phase::Locking);
        stamps.begun.add(1);
        let result = locked(mutex, &me, everybody, number, stamps.begun.get(), |phase| stamps.enter(phase));
        match result {
            Ok(_) => _ = stamps.ended.add(1),
            Err((code, found)) => stamps.complain(code, found, 0),
        }
        stamps.enter(Phase::Outside);
        if stamps.begun.get().is_multiple_of(64) {
            give_way();
        }
    }
}

/// Locks, repairs if need be, changes, unlocks; what it left. Or a complaint.
pub(super) fn locked(
    mutex: &RobustMutex<Pair>,
    me: &Attachment,
    everybody: &Stamps,
    number: u64,
    attempt: u64,
    enter: impl Fn(Phase),
) -> Result<Pair, (u64, u64)> {
    let oracle = oracle(everybody);
    match acquire(mutex, me, attempt) {
        Ok(guard) => {
            enter(Phase::Holding);
            match oracle.enter(number, false) {
                Ok(()) => {}
                Err(Violation::TwoInside { other }) => return Err((1, other)),
                Err(_) => return Err((2, guard.left)),
            }
            if guard.left != guard.right {
                return Err((2, guard.left));
            }
            change(guard, &oracle, [number, attempt], enter)
        }
        Err(LockTimeoutError::OwnerDied(died)) => {
            enter(Phase::Repairing);
            let mut guard = died.into_guard();
            oracle.enter(number, true).expect("it was told");
            if !guard.needs_repair() {
                return Err((6, 0));
            }
            guard.right = guard.left;
            guard.mark_consistent();
            change(guard, &oracle, [number, attempt], enter)
        }
        Err(LockTimeoutError::TimedOut) => Err((3, 0)),
        Err(LockTimeoutError::NotRecoverable) => Err((4, 0)),
        Err(_) => Err((3, 1)),
    }
}

/// Who is inside, in the stamps that all share.
fn oracle(everybody: &Stamps) -> Exclusion<&Word> {
    let Stamps { signal: inside, begun: changing, ended: told, generation: through, .. } = everybody;
    Exclusion { inside, changing, told, through }
}

/// There are more of them than processors, and a time slice is longer than all that a round waits for.
pub(super) fn give_way() {
    // SAFETY: no arguments.
    unsafe { libc::sched_yield() };
}

/// Tries first, one time in four.
fn acquire<'a>(
    mutex: &'a RobustMutex<Pair>,
    me: &'a Attachment,
    attempt: u64,
) -> Result<Guard<'a, Pair>, LockTimeoutError<Guard<'a, Pair>>> {
    if attempt.is_multiple_of(4) {
        match mutex.try_lock(me) {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::OwnerDied(died)) => return Err(LockTimeoutError::OwnerDied(died)),
            // Told again below.
            Err(_) => {}
        }
    }
    mutex.lock_timeout(me, hang())
}

/// Changes what the lock guards, and unlocks.
fn change(
    mut guard: Guard<'_, Pair>,
    oracle: &Exclusion<&Word>,
    [number, attempt]: [u64; 2],
    enter: impl Fn(Phase),
) -> Result<Pair, (u64, u64)> {
    enter(Phase::Holding);
    oracle.change();
    guard.left += 1;
    if attempt % 16 == 8 {
        // With the lock half changed: where a kill says most.
        give_way();
    }
    for _ in 0..20 {
        std::hint::spin_loop();
    }
    guard.right += 1;
    let left = *guard;
    if let Err(Violation::TwoInside { other }) = oracle.alone(number) {
        return Err((5, other));
    }
    oracle.leave();
    enter(Phase::Unlocking);
    drop(guard);
    Ok(left)
}
