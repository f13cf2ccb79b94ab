//! One dies while it recovers from another's death: of a lock holder, and of a producer whose seat it takes over.

use super::wiping::Wiping;
use super::{Pair, ZERO, kind, many_slots, number, payload};
use crate::stage::{Aim, Stage, Trigger, Victim, hang};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::lock::{LockTimeoutError, RobustMutex};
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::spsc::{Config, Consumer, PopTimeoutError, Ring, SeatStatus};
use ownerdead::segment::Options;
use std::time::Duration;

const COMPLAINTS: [&str; 3] = [
    "the death of the last holder was not told",
    "no lock in ten seconds, or an error",
    "generation after a take-over",
];

/// Signals of a victim: it has attached, and it has done all.
pub(super) const READY: u64 = 1;
pub(super) const DONE: u64 = 2;

/// Rings whose seats one victim takes over, one after the other: one take-over alone would hardly ever be hit.
const RINGS: usize = 24;

/// A ring of which the stage has the consumer's seat.
struct Watched {
    ring: Ring,
    consumer: Consumer,
    due: u64,
    /// As it was before the victim.
    before: SeatStatus,
}

impl Watched {
    fn new() -> Self {
        let ring = Ring::memfd(&Options::new().slots(4), &Config::new(4096)).expect("a ring");
        let me = ring.attach().expect("a free slot");
        let consumer = ring.consumer(&me).expect("a vacant seat").into_inner();
        let before = ring.status().producer;
        Self { ring, consumer, due: 1, before }
    }

    /// The generation that the next taker finds.
    fn generation(&self) -> u64 {
        self.before.generation + u64::from(matches!(self.before.state, SeatState::Dead(_)))
    }
}

pub fn run(stage: &mut Stage) {
    let mutex = RobustMutex::memfd(&many_slots(), ZERO).expect("a mutex");
    let stamps = shared(2);
    let me = mutex.attach().expect("a free slot");
    stage.watch(&[("mutex", mutex.segment())]);
    let mut rings: Vec<Watched> = (0..RINGS).map(|_| Watched::new()).collect();
    let (mut aim, mut aim_at_repair) = (Aim::new(), Aim::new());
    let mut wiping = Wiping::new();
    while stage.goes_on() {
        wiping.round(stage);
        stage.watch(&[("mutex", mutex.segment())]);
        repair_of_a_lock(stage, &mutex, &me, &mut aim_at_repair, &stamps[0]);
        let stamps = &stamps[1];
        stamps.reset();
        stamps.ended.set(0);
        stamps.signal.set(0);
        for watched in &mut rings {
            watched.before = watched.ring.status().producer;
        }
        let mut victim = stage.spawn("taker", stamps, || take_over(&rings, stamps));
        let since = kill_at_work(stage, &mut victim, &mut aim, stamps);
        stage.hear(stamps, &COMPLAINTS);
        // The victim has pushed to so many of them for sure.
        let ended = stamps.ended.get();
        for (index, watched) in (1..).zip(&mut rings) {
            judge(stage, watched, index <= ended);
        }
        stage.recovered(since);
        stage.cases += RINGS as u64;
    }
}

/// Lets a victim that is ready begin, and die at what it does. The time just before the kill.
pub(super) fn kill_at_work(stage: &mut Stage, victim: &mut Victim, aim: &mut Aim, stamps: &Stamps) -> Duration {
    stage.wait_for("a victim to attach", || stamps.signal.get() == READY);
    stage.kill_at_work(victim, aim, stamps, || stamps.signal.get() == READY)
}

/// Looks at a ring after its taker's death. `pushed`: the taker's push has returned.
fn judge(stage: &mut Stage, watched: &mut Watched, pushed: bool) {
    let after = watched.ring.status().producer;
    let (old, new) = (watched.before.generation, watched.generation());
    stage.expect(after.generation == old || after.generation == new, || {
        format!("generation {} after {old} and at most one take-over", after.generation)
    });
    let (mut bytes, first) = (Vec::new(), watched.due);
    // With a vacant seat nobody has pushed.
    let mut over = after.state == SeatState::Vacant;
    while !over {
        match watched.consumer.pop_timeout(&mut bytes, hang()) {
            Ok(kind) => {
                let due = watched.due;
                let found = number(kind, due);
                stage.expect(found == due && bytes == payload(found), || {
                    format!("record {found} where {due} was due, or torn")
                });
                watched.due = found + 1;
            }
            Err(PopTimeoutError::ProducerDied) => over = true,
            Err(error) => return stage.finding(&format!("after the taker's death: {error}")),
        }
    }
    let arrived = watched.due - first;
    stage.expect(arrived <= 1 && (arrived == 1 || !pushed), || format!("{arrived} records arrived; pushed: {pushed}"));
}

/// The victim: takes the seats over, pushes one record to each, and waits for its end.
fn take_over(rings: &[Watched], stamps: &Stamps) {
    stamps.enter(Phase::Attaching);
    let attached: Vec<_> = rings.iter().map(|watched| watched.ring.attach().expect("a free slot")).collect();
    stamps.enter(Phase::Outside);
    let mut trigger = Trigger::new();
    stamps.signal.set(READY);
    trigger.wait_to_begin(stamps);
    for (watched, me) in rings.iter().zip(&attached) {
        stamps.enter(Phase::Opening);
        let mut producer = watched.ring.producer(me).expect("a dead or vacant seat").into_inner();
        if producer.generation() != watched.generation() {
            stamps.complain(3, producer.generation(), watched.generation());
        }
        stamps.enter(Phase::Pushing);
        producer.push(kind(watched.due), payload(watched.due)).expect("room");
        stamps.ended.add(1);
        // The seat stays its own, until it dies.
        std::mem::forget(producer);
    }
    stamps.signal.set(DONE);
    stamps.enter(Phase::Outside);
    loop {
        std::hint::spin_loop();
    }
}

/// A holder is killed; one who repairs is killed while it does; the next must be told again, unless all was consistent.
fn repair_of_a_lock(
    stage: &mut Stage,
    mutex: &RobustMutex<Pair>,
    me: &Attachment,
    aim: &mut Aim,
    stamps: &'static Stamps,
) {
    stamps.reset();
    stamps.signal.set(0);
    let mut holder = stage.spawn("holder", stamps, || {
        let me = mutex.attach().expect("a free slot");
        stamps.enter(Phase::Locking);
        let mut guard = mutex.lock(&me).expect("the last one left it consistent");
        stamps.enter(Phase::Holding);
        guard.left += 1;
        stamps.signal.set(READY);
        loop {
            std::hint::spin_loop();
        }
    });
    if !stage.wait_for("a holder to lock", || stamps.signal.get() == READY) {
        return;
    }
    stage.kill(&mut holder, stamps);
    stamps.reset();
    stamps.signal.set(0);
    let mut repairer = stage.spawn("repairer", stamps, || repair(mutex, stamps));
    let since = kill_at_work(stage, &mut repairer, aim, stamps);
    stage.hear(stamps, &COMPLAINTS);
    let consistent = stamps.signal.get() == DONE;
    match mutex.lock_timeout(me, hang()) {
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
    stamps.enter(Phase::Outside);
    let mut trigger = Trigger::new();
    stamps.signal.set(READY);
    trigger.wait_to_begin(stamps);
    stamps.enter(Phase::Locking);
    match mutex.lock_timeout(&me, hang()) {
        Ok(_) => stamps.complain(1, 0, 1),
        Err(LockTimeoutError::OwnerDied(died)) => {
            stamps.enter(Phase::Repairing);
            let mut guard = died.into_guard();
            // Long enough to be hit, and wrong until its end.
            for _ in 0..20_000 {
                guard.right = std::hint::black_box(u64::MAX);
            }
            guard.right = guard.left;
            stamps.signal.set(DONE);
            guard.mark_consistent();
            stamps.enter(Phase::Unlocking);
        }
        Err(_) => stamps.complain(2, 0, 0),
    }
    stamps.enter(Phase::Outside);
    loop {
        std::hint::spin_loop();
    }
}
