//! Kills that arrive in a system call: asleep for a lock, a record, room or a peer, and while a thread attaches or leaves. Those who
//! sleep beside the dead one wake when it is their turn, and all of them when there is nothing left to wait for.

use super::{Pair, ZERO, consumer, producer};
use crate::stage::{Stage, Victim, hang};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::lock::{LockError, LockTimeoutError, RobustMutex};
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::Options;
use rand::RngExt;
use std::time::Duration;

const SLEEPERS: usize = 4;
const COMPLAINTS: [&str; 1] = ["an unexpected error (1 of a lock, 2 of a wait for a producer, 3 to leave)"];
/// What a sleeper got, in its signal.
const CONSISTENT: u64 = 1;
const OWNER_DIED: u64 = 2;
const NOT_RECOVERABLE: u64 = 3;
/// More slots than these that leaked, and the next round takes a new segment.
const MOST_LEAKS: usize = 32;

pub fn run(stage: &mut Stage) {
    let stamps = shared(SLEEPERS + 1);
    let (mut reader, mut writer) = (producer::Slept::new(stage), consumer::Slept::new(stage));
    let mut moves = Moves::new();
    while stage.goes_on() {
        for stamps in stamps {
            stamps.reset();
            stamps.signal.set(0);
        }
        for_a_lock(stage, stamps);
        for_a_producer(stage, stamps);
        reader.round(stage);
        writer.round(stage);
        moves.round(stage, &stamps[0]);
    }
}

fn asleep(stage: &mut Stage, sleepers: &[Victim]) -> bool {
    stage.wait_for("sleepers to sleep", || sleepers.iter().all(Victim::sleeps))
}

/// How many of the sleepers are killed at once, from the first one on.
fn some(stage: &mut Stage) -> usize {
    stage.rng.random_range(1..SLEEPERS)
}

fn kill_all(stage: &mut Stage, victims: &mut [Victim], stamps: &[Stamps]) {
    victims.iter().for_each(Victim::strike);
    for (victim, stamps) in victims.iter_mut().zip(stamps) {
        stage.dies(victim, stamps);
    }
}

/// Several sleep for a lock that its holder, who got it from a dead one, repairs or gives up; some of them are killed before or
/// after. All others hear of it.
fn for_a_lock(stage: &mut Stage, stamps: &'static [Stamps]) {
    let mutex = RobustMutex::memfd(&Options::new().slots(8), ZERO).expect("a mutex");
    stage.watch(&[("mutex", mutex.segment())]);
    let me = mutex.attach().expect("a free slot");
    let first = &stamps[SLEEPERS];
    let mut holder = stage.spawn("holder", first, || {
        let me = mutex.attach().expect("a free slot");
        std::mem::forget(mutex.lock(&me));
    });
    stage.exits(&mut holder, "who leaves with a lock");
    let Err(LockTimeoutError::OwnerDied(died)) = mutex.lock_timeout(&me, hang()) else {
        return stage.finding("a holder exited, and the next one was not told");
    };
    let mut guard = died.into_guard();
    let repaired = stage.rng.random_bool(0.5);
    let (dead, before) = (some(stage), stage.rng.random_bool(0.5));
    let mut sleepers: Vec<_> =
        stamps[..SLEEPERS].iter().map(|stamps| stage.spawn("sleeper", stamps, || lock(&mutex, stamps))).collect();
    if !asleep(stage, &sleepers) {
        return;
    }
    let (victims, others) = sleepers.split_at_mut(dead);
    if before {
        kill_all(stage, victims, stamps);
    }
    if repaired {
        guard.mark_consistent();
    }
    drop(guard);
    if !before {
        stage.pause(Duration::from_micros(100));
        kill_all(stage, victims, stamps);
    }
    for (sleeper, stamps) in others.iter_mut().zip(&stamps[dead..]) {
        stage.exits(sleeper, "who slept for the lock");
        let got = stamps.signal.get();
        // One that was woken and killed may have had the lock.
        let expected =
            if !repaired { got == NOT_RECOVERABLE } else { got == CONSISTENT || got == OWNER_DIED && !before };
        let how = format!("the holder {}", if repaired { "repaired it" } else { "gave it up unrepaired" });
        stage
            .expect(expected, || format!("{how}, and a sleeper got {got} (1 the lock, 2 OwnerDied, 3 NotRecoverable)"));
        stage.hear(stamps, &COMPLAINTS);
    }
    stage.cases += 1;
}

fn lock(mutex: &RobustMutex<Pair>, stamps: &Stamps) {
    stamps.enter(Phase::Attaching);
    let me = mutex.attach().expect("a free slot");
    stamps.enter(Phase::Locking);
    let got = match mutex.lock(&me) {
        Ok(_) => CONSISTENT,
        Err(LockError::OwnerDied(died)) => {
            died.into_guard().mark_consistent();
            OWNER_DIED
        }
        Err(LockError::NotRecoverable) => NOT_RECOVERABLE,
        Err(_) => return stamps.complain(1, 1, 0),
    };
    stamps.signal.set(got);
    stamps.enter(Phase::Outside);
}

/// Two sleep until somebody takes the producer's seat, one after the other as consumers would; the first is killed.
fn for_a_producer(stage: &mut Stage, stamps: &'static [Stamps]) {
    let ring = Ring::memfd(&Options::new().slots(8), &Config::new(64)).expect("a ring");
    stage.watch(&[("ring", ring.segment())]);
    let me = ring.attach().expect("a free slot");
    let wait = |stamps: &Stamps| {
        stamps.enter(Phase::Attaching);
        let me = ring.attach().expect("a free slot");
        stamps.enter(Phase::Opening);
        let consumer = ring.consumer(&me).expect("a dead or vacant seat").into_inner();
        stamps.enter(Phase::Popping);
        if consumer.wait_producer(None).is_err() {
            stamps.complain(1, 2, 0);
        }
        stamps.enter(Phase::Outside);
    };
    for (index, stamps) in stamps[..2].iter().enumerate() {
        let mut sleeper = [stage.spawn("consumer", stamps, || wait(stamps))];
        if !asleep(stage, &sleeper) {
            return;
        }
        if index == 0 {
            kill_all(stage, &mut sleeper, std::slice::from_ref(stamps));
            continue;
        }
        let taken = ring.producer(&me);
        stage.expect(taken.is_ok(), || "a vacant seat could not be taken".into());
        let [sleeper] = &mut sleeper;
        stage.exits(sleeper, "who slept for a producer");
        stage.hear(stamps, &COMPLAINTS);
    }
    stage.cases += 1;
}

/// One that does nothing but attach and leave.
struct Moves {
    mutex: RobustMutex<Pair>,
    kills: usize,
}

impl Moves {
    fn new() -> Self {
        Self { mutex: RobustMutex::memfd(&Options::new().slots(64), ZERO).expect("a mutex"), kills: 0 }
    }

    fn round(&mut self, stage: &mut Stage, stamps: &'static Stamps) {
        if self.mutex.table().counts().moving > MOST_LEAKS {
            *self = Self::new();
        }
        let mutex = &self.mutex;
        stage.watch(&[("mutex", mutex.segment())]);
        stamps.reset();
        let mut victim = stage.spawn("mover", stamps, || {
            loop {
                stamps.enter(Phase::Attaching);
                let me = mutex.attach().expect("a free slot");
                stamps.ended.add(1);
                stamps.enter(Phase::Leaving);
                if me.detach().is_err() {
                    stamps.complain(1, 3, 0);
                }
            }
        });
        stage.wait_for("a mover to move", || stamps.started());
        stage.pause(Duration::from_micros(150));
        stage.kill(&mut victim, stamps);
        self.kills += 1;
        stage.hear(stamps, &COMPLAINTS);
        let counts = mutex.table().counts();
        let leaks = self.kills;
        // Nobody is left, and each death leaks one slot at most.
        stage.expect(counts.attached == 0 && counts.moving <= leaks && counts.retired == 0, || {
            format!("after {leaks} deaths of who attaches and leaves the table is {counts:?}")
        });
        match mutex.attach() {
            Ok(me) => stage.expect(mutex.lock_timeout(&me, hang()).is_ok(), || "a lock nobody had is not free".into()),
            Err(error) => stage.finding(&format!("after {leaks} deaths of who attaches and leaves: {error}")),
        }
        stage.cases += 1;
    }
}
