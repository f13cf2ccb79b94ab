//! Who waits for others is killed, and so is who is waited for: at a condition variable, a once-initialisation, a barrier. The others
//! are woken, take over, or are told.

use super::many_slots;
use crate::stage::{Stage, Victim, hang};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::lock::{
    Barrier, BarrierError, BarrierTimeoutError, Guard, LockError, LockTimeoutError, OnceCell, Party, RobustMutex,
    WaitError,
};
use ownerdead::owner::Attachment;
use ownerdead::sync::Waiting;
use ownerdead::sync::time::now;
use rand::RngExt;
use std::time::Duration;

const PEOPLE: usize = 3;
/// Phases that the parties come through together after a death.
const PHASES: u64 = 5;
const VALUE: u64 = 0x0123_4567_89ab_cdef;
const COMPLAINTS: [&str; 5] = [
    "an operation gave an error",
    "the value that was initialised",
    "tries that failed, and those that were begun before",
    "a party came through a phase, and another one had not arrived in it",
    "somebody began again what was done",
];

pub fn run(stage: &mut Stage) {
    let stamps = shared(PEOPLE + 1);
    while stage.goes_on() {
        for stamps in stamps {
            stamps.reset();
            stamps.begun.set(0);
            stamps.ended.set(0);
            stamps.signal.set(0);
        }
        match stage.rng.random_range(0..3) {
            0 => at_a_door(stage, stamps),
            1 => once(stage, stamps),
            _ => barrier(stage, stamps),
        }
        for stamps in stamps {
            stage.hear(stamps, &COMPLAINTS);
        }
        stage.cases += 1;
    }
}

/// All but the one who was killed come to their end.
fn others_end(stage: &mut Stage, people: &mut [Victim], dead: usize, since: Duration) {
    for (who, person) in people.iter_mut().enumerate() {
        if who != dead {
            stage.exits(person, "one who waited for others");
            stage.recovered(since);
        }
    }
}

/// How one of them waits.
fn some_way(stage: &mut Stage) -> Waiting {
    if stage.rng.random_bool(0.5) { Waiting::Sleep } else { Waiting::default() }
}

/// Three wait for a door to be opened. Who opens it is killed meanwhile, and one of the three is.
fn at_a_door(stage: &mut Stage, stamps: &'static [Stamps]) {
    let door = RobustMutex::memfd(&many_slots(), 0u64).expect("a mutex");
    stage.watch(&[("door", door.segment())]);
    let me = door.attach().expect("a free slot");
    let all = stage.rng.random_bool(0.5);
    let mut people: Vec<_> = stamps[..PEOPLE]
        .iter()
        .map(|stamps| {
            let waiting = some_way(stage);
            stage.spawn("waiter", stamps, || goes_through(&door, stamps, !all, waiting))
        })
        .collect();
    stage.wait_for("three to wait", || stamps[..PEOPLE].iter().all(|stamps| stamps.signal.get() == 1));
    stage.pause(Duration::from_micros(150));
    let opener = &stamps[PEOPLE];
    let mut opens = stage.spawn("opener", opener, || {
        opener.enter(Phase::Attaching);
        let me = door.attach().expect("a free slot");
        opener.enter(Phase::Locking);
        open(&door, &me, all, opener);
        opener.enter(Phase::Outside);
    });
    stage.wait_for("the opener to run", || opener.started());
    stage.pause(Duration::from_micros(200));
    let dead = stage.rng.random_range(0..PEOPLE);
    let since = now();
    stage.kill(&mut opens, opener);
    stage.pause(Duration::from_micros(60));
    stage.kill(&mut people[dead], &stamps[dead]);
    // What the dead one had begun is not begun again; and it may be that nobody has passed the notification on.
    let [opened, ..] = door.condvars();
    let begun = opened.notifications() > 0;
    match door.lock_timeout(&me, hang()) {
        Ok(mut guard) => *guard = 1,
        Err(LockTimeoutError::OwnerDied(died)) => *repaired(died.into_guard()) = 1,
        Err(error) => stage.finding(&format!("the stage could not lock: {error}")),
    }
    if !(begun && all) {
        opened.notify_all(&me).expect("attached here");
    }
    others_end(stage, &mut people, dead, since);
}

fn repaired(mut guard: Guard<'_, u64>) -> Guard<'_, u64> {
    guard.mark_consistent();
    guard
}

fn open(door: &RobustMutex<u64>, me: &Attachment, all: bool, stamps: &Stamps) {
    let [opened, ..] = door.condvars();
    match door.lock(me) {
        Ok(mut guard) => *guard = 1,
        Err(LockError::OwnerDied(died)) => *repaired(died.into_guard()) = 1,
        Err(_) => stamps.complain(1, 1, 0),
    }
    stamps.enter(Phase::Unlocking);
    let notified = if all { opened.notify_all(me) } else { opened.notify_one(me) };
    if notified.is_err() {
        stamps.complain(1, 2, 0);
    }
}

fn goes_through(door: &RobustMutex<u64>, stamps: &Stamps, passes_on: bool, waiting: Waiting) {
    stamps.enter(Phase::Attaching);
    let me = door.attach().expect("a free slot");
    me.set_waiting(waiting);
    let [opened, ..] = door.condvars();
    stamps.enter(Phase::Locking);
    stamps.signal.set(1);
    let mut guard = match door.lock(&me) {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(died)) => repaired(died.into_guard()),
        Err(_) => return stamps.complain(1, 3, 0),
    };
    while *guard == 0 {
        guard = match opened.wait(guard) {
            Ok(guard) => guard,
            Err(WaitError::OwnerDied(died)) => repaired(died.into_guard()),
            Err(_) => return stamps.complain(1, 4, 0),
        };
    }
    stamps.enter(Phase::Holding);
    drop(guard);
    if passes_on && opened.notify_one(&me).is_err() {
        stamps.complain(1, 5, 0);
    }
    stamps.enter(Phase::Outside);
}

/// Three want the same value, at once. One is killed.
fn once(stage: &mut Stage, stamps: &'static [Stamps]) {
    let cell = OnceCell::memfd(&many_slots()).expect("a cell");
    stage.watch(&[("once", cell.segment())]);
    let mut people: Vec<_> = (0..PEOPLE)
        .map(|who| {
            let waiting = some_way(stage);
            stage.spawn("initialiser", &stamps[who], || initialises(&cell, &stamps[who], &stamps[PEOPLE], waiting))
        })
        .collect();
    stage.wait_for("three to be ready", || stamps[..PEOPLE].iter().all(|stamps| stamps.signal.get() == 1));
    let dead = stage.rng.random_range(0..PEOPLE);
    stamps[PEOPLE].signal.set(1);
    stage.pause(Duration::from_micros(60));
    let since = stage.kill(&mut people[dead], &stamps[dead]);
    others_end(stage, &mut people, dead, since);
    stage.expect(cell.get() == Some(&VALUE), || format!("in the end the value is {:x?}", cell.get()));
}

/// Begins when `all` says so, which has what concerns all of them: tries that were begun, and whether one came to its end.
fn initialises(cell: &OnceCell<u64>, stamps: &Stamps, all: &Stamps, waiting: Waiting) {
    let Stamps { begun: tries, ended: done, signal: go, .. } = all;
    stamps.enter(Phase::Attaching);
    let me = cell.attach().expect("a free slot");
    me.set_waiting(waiting);
    stamps.enter(Phase::Opening);
    stamps.signal.set(1);
    while go.get() == 0 {
        std::hint::spin_loop();
    }
    stamps.enter(Phase::Locking);
    let made = cell.get_or_init(&me, |state| {
        stamps.enter(Phase::Repairing);
        if done.get() != 0 {
            stamps.complain(5, 0, 0);
        }
        let before = tries.add(1);
        if u64::from(state.failed()) < before {
            stamps.complain(3, state.failed().into(), before);
        }
        let until = now() + Duration::from_micros(20);
        while now() < until {
            std::hint::spin_loop();
        }
        VALUE
    });
    match made {
        Ok(&VALUE) => done.set(1),
        Ok(&other) => stamps.complain(2, other, VALUE),
        Err(_) => stamps.complain(1, 6, 0),
    }
    stamps.enter(Phase::Outside);
}

/// Three come through phase after phase. One is killed; the stage takes its seat over, and they go on for a while.
fn barrier(stage: &mut Stage, stamps: &'static [Stamps]) {
    let barrier = Barrier::memfd(&many_slots(), PEOPLE).expect("a barrier");
    stage.watch(&[("barrier", barrier.segment())]);
    // Phases until all leave: nobody knows yet.
    let phases = &stamps[PEOPLE].ended;
    phases.set(u64::MAX);
    let mut people: Vec<_> = (0..PEOPLE)
        .map(|who| {
            let waiting = some_way(stage);
            stage.spawn("party", &stamps[who], || takes_part(&barrier, &stamps[who], stamps, waiting))
        })
        .collect();
    let dead = stage.rng.random_range(0..PEOPLE);
    let first = stage.rng.random_range(1..6);
    stage.wait_for("the parties to meet", || barrier.status().completed >= first);
    stage.pause(Duration::from_micros(100));
    let since = stage.kill(&mut people[dead], &stamps[dead]);
    let me = barrier.attach().expect("a free slot");
    let mut party = match barrier.join(&me) {
        Ok(party) => party,
        Err(error) => return stage.finding(&format!("the seat of a dead party: {error}")),
    };
    stage.expect(party.owner_died(), || "a dead one's seat, and it is not said".into());
    // Before the stage arrives, so before anybody can come there.
    phases.set(u64::from(barrier.status().completed) + PHASES);
    while u64::from(barrier.status().completed) < phases.get() {
        // By the death itself, or by who has taken the seat over: the stage, which is to reset it.
        if barrier.status().broken_by.is_some() {
            let _ = party.reset();
        }
        let inherited = party.has_arrived();
        let before = barrier.status().completed;
        if !inherited {
            arrives(&party, stamps, before.into());
        }
        match party.wait_timeout(hang()) {
            // Of which phase the dead one's arrival was, the stage cannot say.
            Ok(_) if inherited => {}
            Ok(_) => came_through(&stamps[PEOPLE], stamps, before.into()),
            // And of the death it knows.
            Err(BarrierTimeoutError::TimedOut) => return stage.hangs("the parties of a barrier did not come"),
            Err(error) => return stage.finding(&error.to_string()),
        }
    }
    drop(party);
    others_end(stage, &mut people, dead, since);
}

/// Whoever has this seat is about to arrive in `phase`, counted from 0.
fn arrives(party: &Party, stamps: &[Stamps], phase: u64) {
    stamps[party.seat()].begun.set(phase + 1);
}

/// Nobody comes through a phase before all have arrived in it.
fn came_through(own: &Stamps, stamps: &[Stamps], phase: u64) {
    for other in &stamps[..PEOPLE] {
        if other.begun.get() < phase + 1 {
            own.complain(4, other.begun.get(), phase + 1);
        }
    }
}

fn takes_part(barrier: &Barrier, own: &Stamps, stamps: &[Stamps], waiting: Waiting) {
    own.enter(Phase::Attaching);
    let me = barrier.attach().expect("a free slot");
    me.set_waiting(waiting);
    own.enter(Phase::Opening);
    let Ok(mut party) = barrier.join(&me) else { return own.complain(1, 7, 0) };
    let (mut told, phases) = (0, &stamps[PEOPLE].ended);
    loop {
        // It stays so until this party arrives.
        let phase = u64::from(barrier.status().completed);
        if phase >= phases.get() {
            break;
        }
        arrives(&party, stamps, phase);
        own.enter(Phase::Locking);
        match party.wait() {
            Ok(_) => came_through(own, stamps, phase),
            // One dies, so one is told of.
            Err(BarrierError::PartyDied { .. }) if told == 0 => told += 1,
            Err(_) => return own.complain(1, 8, 0),
        }
        own.enter(Phase::Outside);
    }
    own.enter(Phase::Leaving);
    drop(party);
}
