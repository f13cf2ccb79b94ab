//! Holders of permits are killed. No permit is two's at a time, and those of the dead come back.

use super::holder::give_way;
use super::many_slots;
use crate::stage::{Stage, hang};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::lock::{AcquireTimeoutError, Permit, Semaphore};
use ownerdead::owner::Attachment;
use std::time::Duration;

const PERMITS: usize = 2;
const PEOPLE: usize = 4;

const COMPLAINTS: [&str; 3] = [
    "a permit that another one has: its number",
    "somebody else has this one's permit too: its number",
    "no permit in ten seconds, a hang (0), or an error (1)",
];

pub fn run(stage: &mut Stage) {
    let semaphore = Semaphore::memfd(&many_slots(), PERMITS).expect("a semaphore");
    // After those of the people, one for each permit: who has it.
    let stamps = shared(PEOPLE + PERMITS);
    let (people_stamps, permits) = stamps.split_at(PEOPLE);
    let me = semaphore.attach().expect("a free slot");
    stage.watch(&[("semaphore", semaphore.segment())]);
    let start = |stage: &mut Stage, who: usize| {
        stamps[who].reset();
        let semaphore = &semaphore;
        stage.spawn("holder", &stamps[who], move || work(semaphore, &stamps[who], permits, who as u64 + 1))
    };
    let mut people: [_; PEOPLE] = std::array::from_fn(|who| start(stage, who));
    let mut round = 0u64;
    while stage.goes_on() {
        round += 1;
        let killed = (round % PEOPLE as u64) as usize;
        stage.wait_for("all to run", || people_stamps.iter().all(Stamps::started));
        stage.pause(Duration::from_micros(500));
        let before: [u64; PEOPLE] = std::array::from_fn(|who| stamps[who].ended.get());
        let since = stage.kill(&mut people[killed], &stamps[killed]);
        let went_on = |who: usize| stamps[who].ended.get() != before[who] || stamps[who].wrong.get() != 0;
        stage.wait_for("the others to have a permit each", || (0..PEOPLE).all(|who| who == killed || went_on(who)));
        stage.recovered(since);
        for stamps in people_stamps {
            stage.hear(stamps, &COMPLAINTS);
        }
        if round.is_multiple_of(8) {
            all_come_back(stage, &semaphore, &me, permits);
        }
        stage.cases += 1;
        people[killed] = start(stage, killed);
    }
}

/// The stage takes all permits at once: none is lost.
fn all_come_back(stage: &mut Stage, semaphore: &Semaphore, me: &Attachment, permits: &[Stamps]) {
    let mut had = Vec::new();
    for _ in 0..PERMITS {
        match semaphore.acquire_timeout(me, hang()) {
            Ok(permit) => {
                let entered = enter(permits, &permit, 9);
                had.push(permit);
                if let Err((code, found)) = entered {
                    stage.finding(&format!("the stage: {}: {found}", COMPLAINTS[code as usize - 1]));
                }
            }
            Err(error) => return stage.finding(&format!("the stage has {} permits, and then: {error}", had.len())),
        }
    }
    for permit in &had {
        if let Err((code, found)) = leave(permits, permit, 9) {
            stage.finding(&format!("the stage: {}: {found}", COMPLAINTS[code as usize - 1]));
        }
    }
}

fn work(semaphore: &Semaphore, stamps: &Stamps, permits: &[Stamps], number: u64) {
    stamps.enter(Phase::Attaching);
    let me = semaphore.attach().expect("a free slot");
    loop {
        stamps.enter(Phase::Locking);
        stamps.begun.add(1);
        match hold(semaphore, &me, stamps, permits, number) {
            Ok(()) => _ = stamps.ended.add(1),
            Err((code, found)) => stamps.complain(code, found, 0),
        }
        stamps.enter(Phase::Outside);
        if stamps.begun.get().is_multiple_of(64) {
            give_way();
        }
    }
}

/// Takes a permit, has it for a while, and gives it back. Or a complaint.
fn hold(
    semaphore: &Semaphore,
    me: &Attachment,
    stamps: &Stamps,
    permits: &[Stamps],
    number: u64,
) -> Result<(), (u64, u64)> {
    let permit = match semaphore.acquire_timeout(me, hang()) {
        Ok(permit) => permit,
        Err(AcquireTimeoutError::TimedOut) => return Err((3, 0)),
        Err(_) => return Err((3, 1)),
    };
    stamps.enter(Phase::Holding);
    enter(permits, &permit, number)?;
    if stamps.begun.get() % 16 == 8 {
        // With the permit: where a kill says most.
        give_way();
    }
    for _ in 0..20 {
        std::hint::spin_loop();
    }
    leave(permits, &permit, number)?;
    stamps.enter(Phase::Unlocking);
    drop(permit);
    Ok(())
}

fn enter(permits: &[Stamps], permit: &Permit<'_>, number: u64) -> Result<(), (u64, u64)> {
    let other = permits[permit.number()].signal.swap(number);
    if other != 0 && !permit.from_the_dead() { Err((1, other)) } else { Ok(()) }
}

fn leave(permits: &[Stamps], permit: &Permit<'_>, number: u64) -> Result<(), (u64, u64)> {
    let inside = permits[permit.number()].signal.swap(0);
    if inside == number { Ok(()) } else { Err((2, inside)) }
}
