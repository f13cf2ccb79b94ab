//! A crew at work: three at a lock, a producer and a consumer at a ring, all of them victims, who are replaced when they die.

use super::holder::{self, COMPLAINTS};
use super::{Pair, ZERO, kind, many_slots, number, payload};
use crate::plan::{Blow, Strike};
use crate::stage::{Stage, Victim};
use crate::stamps::{Phase, Stamps, Word, shared};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, setpgid};
use ownerdead::harness::oracle::{Records, Violation};
use ownerdead::lock::RobustMutex;
use ownerdead::owner::SeatState;
use ownerdead::ring::spsc::{Config, PopError, Producer, PushError, Ring, SeatStatus, Status, TryPopError};
use ownerdead::sync::time::now;
use std::time::Duration;

const LOCKERS: usize = 3;
const PRODUCER: usize = LOCKERS;
const CONSUMER: usize = LOCKERS + 1;
/// How many work.
pub const PEOPLE: usize = LOCKERS + 2;
/// Process groups: person `n` is in group `n % GROUPS`.
pub const GROUPS: usize = 2;
/// Stamps that all at the lock share, and the facts of the two sides of the ring.
const EVERYBODY: usize = PEOPLE;
const PUSHES: usize = PEOPLE + 1;
const READS: usize = PEOPLE + 2;

const AT_THE_RING: [&str; 5] = [
    "a record is missing, came again or was never pushed: number",
    "a record is torn: number",
    "the ring gave an error: 1 to open, 2 to push, 3 to pop",
    "the seat of a dead one was opened as if nobody had died, or the other way round (0 clean, 1 died)",
    "generation after opening",
];

/// What is done in a victim before it begins.
pub type Before<'a> = &'a dyn Fn();

/// Those who work, and with what.
pub struct Crew {
    mutex: RobustMutex<Pair>,
    ring: Ring,
    stamps: &'static [Stamps],
    people: [Option<Victim>; PEOPLE],
    groups: [Pid; GROUPS],
    rounds: u64,
}

impl Crew {
    pub fn new(stage: &mut Stage) -> Self {
        let mutex = RobustMutex::memfd(&many_slots(), ZERO).expect("a mutex");
        let ring = Ring::memfd(&many_slots(), &Config::new(4096)).expect("a ring");
        stage.watch(&[("mutex", mutex.segment()), ("ring", ring.segment())]);
        let (stamps, people) = (shared(PEOPLE + 3), [const { None }; PEOPLE]);
        Self { mutex, ring, stamps, people, groups: [Pid::from_raw(0); GROUPS], rounds: 0 }
    }

    /// Replaces the dead, strikes as planned, and sees that those who are left go on.
    pub fn round(&mut self, stage: &mut Stage, strikes: &[Strike], before: Before<'_>) {
        self.rounds += 1;
        for who in 0..PEOPLE {
            self.start(stage, who, before);
        }
        let stamps = self.stamps;
        if !stage.wait_for("the crew to begin", || stamps[..PEOPLE].iter().all(Stamps::started)) {
            return;
        }
        let mut since = now();
        for strike in strikes {
            pause_until(since + strike.after);
            since = now();
            self.strike(strike.blow);
        }
        self.bury(stage, strikes);
        for who in (0..PEOPLE).filter(|&who| struck(strikes, who, |blow| matches!(blow, Blow::Stop(_)))) {
            if let Some(victim) = &self.people[who] {
                stage.go_on(victim);
            }
        }
        self.survivors_go_on(stage, since);
        self.hear(stage);
        stage.cases += 1;
    }

    /// All die, and what is left is looked at: everything that was pushed for sure arrives, and the lock can be had.
    pub fn end(&mut self, stage: &mut Stage) {
        let strikes = [0, 1].map(|group| Strike { after: Duration::ZERO, blow: Blow::KillGroup(group) });
        strikes.iter().for_each(|strike| self.strike(strike.blow));
        self.bury(stage, &strikes);
        self.hear(stage);
        self.drain(stage);
        let me = self.mutex.attach().expect("a free slot");
        if let Err((code, found)) = holder::locked(&self.mutex, &me, &self.stamps[EVERYBODY], 9, 1, |_| {}) {
            stage.finding(&format!("the stage: {}: {found}", COMPLAINTS[code as usize - 1]));
        }
    }

    fn start(&mut self, stage: &mut Stage, who: usize, before: Before<'_>) {
        if self.people[who].is_some() {
            return;
        }
        let Self { mutex, ring, stamps, .. } = &*self;
        let stamps: &'static [Stamps] = stamps;
        let own = &stamps[who];
        own.reset();
        let victim = match who {
            PRODUCER => stage.spawn("producer", own, || {
                before();
                push_for_ever(ring, own, &stamps[PUSHES]);
            }),
            CONSUMER => stage.spawn("consumer", own, || {
                before();
                pop_for_ever(ring, own, &stamps[PUSHES], &stamps[READS]);
            }),
            _ => stage.spawn("locker", own, || {
                before();
                holder::work(mutex, own, &stamps[EVERYBODY], who as u64 + 1);
            }),
        };
        let group = &mut self.groups[who % GROUPS];
        // A group lasts as long as one of it lives: then the next one founds it anew.
        let alone = (0..PEOPLE).all(|other| other % GROUPS != who % GROUPS || self.people[other].is_none());
        if alone {
            *group = victim.pid();
        }
        setpgid(victim.pid(), *group).expect("a child that has not called exec");
        self.people[who] = Some(victim);
    }

    fn strike(&self, blow: Blow) {
        let (who, signal) = match blow {
            // Of those who live, and those who died and were not waited for.
            Blow::KillGroup(group) if (0..PEOPLE).all(|who| who % GROUPS != group || self.people[who].is_none()) => {
                return;
            }
            Blow::KillGroup(group) => {
                return killpg(self.groups[group], Signal::SIGKILL).expect("a group that was not waited for");
            }
            Blow::Kill(who) => (who, Signal::SIGKILL),
            Blow::Stop(who) => (who, Signal::SIGSTOP),
            Blow::GoOn(who) => (who, Signal::SIGCONT),
        };
        if let Some(victim) = &self.people[who] {
            kill(victim.pid(), signal).expect("a victim that was not waited for");
        }
    }

    /// Waits for all who were killed.
    fn bury(&mut self, stage: &mut Stage, strikes: &[Strike]) {
        for who in 0..PEOPLE {
            let fatal = |blow| matches!(blow, Blow::Kill(_) | Blow::KillGroup(_));
            if let Some(mut victim) = self.people[who].take_if(|_| struck(strikes, who, fatal)) {
                stage.dies(&mut victim, &self.stamps[who]);
            }
        }
    }

    /// Each who is left ends an operation. Those at the ring may wait for a dead one.
    fn survivors_go_on(&self, stage: &mut Stage, since: Duration) {
        let stamps = self.stamps;
        let both = self.people[PRODUCER].is_some() && self.people[CONSUMER].is_some();
        let due = |who: usize| self.people[who].is_some() && (who < LOCKERS || both);
        let before: [u64; PEOPLE] = std::array::from_fn(|who| stamps[who].ended.get());
        let went_on = |who: usize| stamps[who].ended.get() != before[who] || stamps[who].wrong.get() != 0;
        let all = stage.wait_for("the survivors to go on", || (0..PEOPLE).all(|who| !due(who) || went_on(who)));
        if all && (0..PEOPLE).any(due) {
            stage.recovered(since);
        }
    }

    fn hear(&self, stage: &mut Stage) {
        for (who, stamps) in self.stamps[..PEOPLE].iter().enumerate() {
            stage.hear(stamps, if who < LOCKERS { &COMPLAINTS } else { &AT_THE_RING });
        }
    }

    /// The stage reads what there is, with all others dead.
    fn drain(&self, stage: &mut Stage) {
        let me = self.ring.attach().expect("a free slot");
        let mut consumer = match self.ring.consumer(&me) {
            Ok(opened) => opened.into_inner(),
            Err(error) => return stage.finding(&format!("the seat of a dead consumer: {error}")),
        };
        let records = records(&self.stamps[PUSHES], &self.stamps[READS]);
        records.next_reader();
        let mut bytes = Vec::new();
        loop {
            match consumer.try_pop(&mut bytes) {
                Ok(kind) => {
                    let found = number(kind, records.due());
                    stage.hold(records.arrived(found, bytes == payload(found)));
                    records.committed(found);
                }
                Err(TryPopError::Empty) => return stage.hold(records.all_arrived()),
                Err(error) => return stage.finding(&error.to_string()),
            }
        }
    }
}

/// Whether `who` gets such a blow.
fn struck(strikes: &[Strike], who: usize, such: impl Fn(Blow) -> bool) -> bool {
    strikes.iter().any(|&Strike { blow, .. }| {
        such(blow)
            && match blow {
                Blow::KillGroup(group) => who % GROUPS == group,
                Blow::Kill(other) | Blow::Stop(other) | Blow::GoOn(other) => who == other,
            }
    })
}

/// Both sides' facts are kept in memory that is not under test.
type Seen = Records<&'static Word, &'static Word>;

fn records(pushes: &'static Stamps, reads: &'static Stamps) -> Seen {
    Records::new([&pushes.begun, &pushes.ended], [&reads.begun, &reads.ended, &reads.signal])
}

/// Whether the seat's last holder died, and the generation that its next one has.
fn expected(seat: SeatStatus) -> (bool, u64) {
    let died = matches!(seat.state, SeatState::Dead(_));
    (died, seat.generation + u64::from(died))
}

/// Spins, so that it is over when it is due.
fn pause_until(instant: Duration) {
    while now() < instant {
        std::hint::spin_loop();
    }
}

fn judge(stamps: &Stamps, records: &Seen, kind: u32, copied: bool, bytes: &[u8]) -> u64 {
    let found = number(kind, records.due());
    match records.arrived(found, copied && bytes == payload(found)) {
        Ok(()) => {}
        Err(Violation::Torn { number }) => stamps.complain(2, number, 0),
        Err(_) => stamps.complain(1, found, records.due()),
    }
    found
}

fn complain_of_opening(stamps: &Stamps, found: (bool, u64), expected: (bool, u64)) {
    if found.0 != expected.0 {
        stamps.complain(4, found.0.into(), expected.0.into());
    }
    if found.1 != expected.1 {
        stamps.complain(5, found.1, expected.1);
    }
}

fn push_for_ever(ring: &Ring, stamps: &Stamps, facts: &Stamps) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    stamps.enter(Phase::Opening);
    let due = expected(ring.status().producer);
    let Ok(opened) = ring.producer(&me) else { return stamps.complain(3, 1, 0) };
    let died = opened.owner_died();
    let mut producer = opened.into_inner();
    complain_of_opening(stamps, (died, producer.generation()), due);
    // The last push of the dead one was committed if the ring has grown since: then it has all of its records.
    let position = &facts.generation;
    if facts.begun.get() != facts.ended.get() && ring.status().write_index != position.get() {
        facts.ended.set(facts.begun.get());
    }
    loop {
        let next = facts.ended.get() + 1;
        facts.begun.set(facts.ended.get());
        let status = ring.status();
        position.set(status.write_index);
        let Some(count) = push(&mut producer, &status, stamps, facts, next) else { return stamps.complain(3, 2, next) };
        facts.ended.set(next + count - 1);
        stamps.ended.add(1);
        stamps.enter(Phase::Outside);
    }
}

/// One push; how many records, if it gave no error.
fn push(producer: &mut Producer, status: &Status, stamps: &Stamps, facts: &Stamps, next: u64) -> Option<u64> {
    // All or none of a batch, which its successor relies on: in half a ring there is room for it.
    if next.is_multiple_of(4) && status.used < status.capacity / 2 {
        facts.begun.set(next + 2);
        stamps.enter(Phase::Pushing);
        let batch = (next..next + 3).map(|number| (kind(number), payload(number)));
        return Some(producer.push_batch(batch).map_or(0, |count| count as u64));
    }
    facts.begun.set(next);
    stamps.enter(Phase::Pushing);
    if next % 16 == 1
        && let Ok(mut reservation) = producer.reserve(kind(next), payload(next).len())
    {
        reservation.write(0, &payload(next)[..payload(next).len() / 2]);
        holder::give_way();
        reservation.write(0, payload(next));
        return reservation.commit().ok().map(|()| 1);
    }
    loop {
        match producer.push(kind(next), payload(next)) {
            Ok(()) => return Some(1),
            Err(PushError::ConsumerDied) => producer.wait_consumer(None).ok()?,
            Err(_) => return None,
        }
    }
}

fn pop_for_ever(ring: &Ring, stamps: &Stamps, pushes: &'static Stamps, reads: &'static Stamps) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    stamps.enter(Phase::Opening);
    let due = expected(ring.status().consumer);
    let Ok(opened) = ring.consumer(&me) else { return stamps.complain(3, 1, 0) };
    let died = opened.owner_died();
    let mut consumer = opened.into_inner();
    complain_of_opening(stamps, (died, consumer.generation()), due);
    let records = records(pushes, reads);
    records.next_reader();
    let mut bytes = Vec::new();
    loop {
        stamps.enter(Phase::Popping);
        // What comes first is not known before it is seen.
        if records.last.get().is_multiple_of(16) {
            if let Ok(peek) = consumer.peek() {
                let kind = peek.kind();
                let copied = peek.copy_to(&mut bytes).is_ok();
                let found = judge(stamps, &records, kind, copied, &bytes);
                holder::give_way();
                peek.consume();
                records.committed(found);
                stamps.ended.add(1);
                continue;
            }
            holder::give_way();
            continue;
        }
        records.read_unseen();
        match consumer.pop(&mut bytes) {
            Ok(kind) => {
                let found = judge(stamps, &records, kind, true, &bytes);
                records.committed(found);
                stamps.ended.add(1);
            }
            Err(PopError::ProducerDied) if consumer.wait_producer(None).is_ok() => {}
            Err(_) => return stamps.complain(3, 3, 0),
        }
        stamps.enter(Phase::Outside);
    }
}
