//! Readers and writers are killed mid-lock. Readers see whole data or are refused, writers exclude everybody, and who is left goes on.

use super::holder::give_way;
use super::{Pair, ZERO, many_slots};
use crate::stage::{Stage, hang};
use crate::stamps::{Phase, Stamps, Word, shared};
use ownerdead::harness::oracle::{Exclusion, Violation};
use ownerdead::lock::{LockTimeoutError, ReadTimeoutError, RwLock, WriteGuard};
use ownerdead::owner::Attachment;
use std::time::Duration;

const WRITERS: usize = 2;
/// Writers, and as many readers.
const PEOPLE: usize = 4;

const COMPLAINTS: [&str; 7] = [
    "a writer beside another one, or one's death was not told: number of the other one",
    "half changed, and nobody was told: left",
    "no lock in ten seconds, a hang (0), or an error (1)",
    "a writer beside a reader, or where one died and nobody has repaired: its number",
    "another writer came in while this one had the lock: its number",
    "a dead one's lock came as if it had been repaired",
    "a writer came in beside a reader: number of changes",
];

pub fn run(stage: &mut Stage) {
    let lock = RwLock::memfd(&many_slots(), ZERO).expect("a lock");
    // The last set of stamps is shared by all: which writer is inside.
    let stamps = shared(PEOPLE + 1);
    let everybody = &stamps[PEOPLE];
    let me = lock.attach().expect("a free slot");
    stage.watch(&[("rwlock", lock.segment())]);
    let start = |stage: &mut Stage, who: usize| {
        stamps[who].reset();
        let (lock, own) = (&lock, &stamps[who]);
        if who < WRITERS {
            stage.spawn("writer", own, move || write_for_ever(lock, own, everybody, who as u64 + 1))
        } else {
            stage.spawn("reader", own, move || read_for_ever(lock, own, everybody))
        }
    };
    let mut people: [_; PEOPLE] = std::array::from_fn(|who| start(stage, who));
    let mut round = 0u64;
    while stage.goes_on() {
        round += 1;
        let killed = (round % PEOPLE as u64) as usize;
        stage.wait_for("all to run", || stamps[..PEOPLE].iter().all(Stamps::started));
        stage.pause(Duration::from_micros(500));
        let before: [u64; PEOPLE] = std::array::from_fn(|who| stamps[who].ended.get());
        let since = stage.kill(&mut people[killed], &stamps[killed]);
        let went_on = |who: usize| stamps[who].ended.get() != before[who] || stamps[who].wrong.get() != 0;
        stage.wait_for("the others to go through the lock", || (0..PEOPLE).all(|who| who == killed || went_on(who)));
        stage.recovered(since);
        for stamps in &stamps[..PEOPLE] {
            stage.hear(stamps, &COMPLAINTS);
        }
        if round.is_multiple_of(8) {
            look(stage, &lock, &me, stamps, round);
        }
        stage.cases += 1;
        people[killed] = start(stage, killed);
    }
}

/// The stage goes through the lock itself, and counts.
fn look(stage: &mut Stage, lock: &RwLock<Pair>, me: &Attachment, stamps: &[Stamps], round: u64) {
    let sum = |what: fn(&Stamps) -> u64| stamps[..WRITERS].iter().map(what).sum::<u64>();
    let ended = sum(|stamps| stamps.ended.get());
    match wrote(lock, me, &stamps[PEOPLE], 9, round, |_| {}) {
        Ok(Pair { right, .. }) => {
            let begun = sum(|stamps| stamps.begun.get());
            stage.expect(right >= ended, || format!("lost: {ended} changes were acknowledged, {right} are there"));
            stage.expect(right <= begun + round, || format!("invented: {right} changes, {begun} were begun"));
        }
        Err((code, found)) => stage.finding(&format!("the stage: {}: {found}", COMPLAINTS[code as usize - 1])),
    }
}

fn write_for_ever(lock: &RwLock<Pair>, stamps: &Stamps, everybody: &Stamps, number: u64) {
    stamps.enter(Phase::Attaching);
    let me = lock.attach().expect("a free slot");
    loop {
        stamps.enter(Phase::Locking);
        stamps.begun.add(1);
        match wrote(lock, &me, everybody, number, stamps.begun.get(), |phase| stamps.enter(phase)) {
            Ok(_) => _ = stamps.ended.add(1),
            Err((code, found)) => stamps.complain(code, found, 0),
        }
        stamps.enter(Phase::Outside);
        // Readers are not to wait for two writers that take turns.
        give_way();
    }
}

fn read_for_ever(lock: &RwLock<Pair>, stamps: &Stamps, everybody: &Stamps) {
    stamps.enter(Phase::Attaching);
    let me = lock.attach().expect("a free slot");
    loop {
        stamps.enter(Phase::Locking);
        stamps.begun.add(1);
        match read(lock, &me, everybody, stamps) {
            Ok(()) => _ = stamps.ended.add(1),
            Err((code, found)) => stamps.complain(code, found, 0),
        }
        stamps.enter(Phase::Outside);
        if stamps.begun.get().is_multiple_of(64) {
            give_way();
        }
    }
}

/// Reads, or is refused as long as nobody has repaired. Or a complaint.
fn read(lock: &RwLock<Pair>, me: &Attachment, everybody: &Stamps, stamps: &Stamps) -> Result<(), (u64, u64)> {
    let oracle = oracle(everybody);
    let guard = match lock.read_timeout(me, hang()) {
        Ok(guard) => guard,
        // A writer will come.
        Err(ReadTimeoutError::OwnerDied) => {
            give_way();
            return Ok(());
        }
        Err(ReadTimeoutError::TimedOut) => return Err((3, 0)),
        Err(_) => return Err((3, 1)),
    };
    stamps.enter(Phase::Holding);
    let (inside, through) = (oracle.inside.get(), oracle.through.get());
    if inside != 0 {
        return Err((4, inside));
    }
    if stamps.begun.get() % 16 == 8 {
        // With its share: writers wait for it.
        give_way();
    }
    let Pair { left, right } = *guard;
    if left != right {
        return Err((2, left));
    }
    let after = (oracle.inside.get(), oracle.through.get());
    if after != (0, through) {
        return Err((7, after.1));
    }
    stamps.enter(Phase::Unlocking);
    drop(guard);
    Ok(())
}

/// Who of the writers is inside, in the stamps that all share.
fn oracle(everybody: &Stamps) -> Exclusion<&Word> {
    let Stamps { signal: inside, begun: changing, ended: told, generation: through, .. } = everybody;
    Exclusion { inside, changing, told, through }
}

/// Writes, after a repair if need be; what it left. Or a complaint.
fn wrote(
    lock: &RwLock<Pair>,
    me: &Attachment,
    everybody: &Stamps,
    number: u64,
    attempt: u64,
    enter: impl Fn(Phase),
) -> Result<Pair, (u64, u64)> {
    let oracle = oracle(everybody);
    match lock.write_timeout(me, hang()) {
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
        Err(_) => Err((3, 1)),
    }
}

/// Changes what the lock guards, and unlocks.
fn change(
    mut guard: WriteGuard<'_, Pair>,
    oracle: &Exclusion<&Word>,
    [number, attempt]: [u64; 2],
    enter: impl Fn(Phase),
) -> Result<Pair, (u64, u64)> {
    enter(Phase::Holding);
    oracle.change();
    guard.left += 1;
    if attempt % 16 == 8 {
        // With the data half changed: where a kill says most.
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
