//! Four producers and four consumers at one MPMC ring; one of each is killed some forty times a second, and others are stopped for a
//! while. All that was committed arrives, whole and once; only what a dead consumer had claimed may come again.

use super::{many_slots, payload};
use crate::stage::{Stage, Victim};
use crate::stamps::{Phase, Stamps, Word, shared, words};
use ownerdead::ring::mpmc::{Config, Consumer, Producer, Ring};
use ownerdead::ring::{PopTimeoutError, TryPopError, TryPushError};
use rand::RngExt;
use std::time::Duration;

/// How many of each.
const EACH: usize = 4;
/// Records of one producer that can be told apart at a time.
const MARKS: u64 = 1 << 18;
/// Rounds between two looks at whether all has arrived.
const ROUNDS: u64 = 16;
/// Bits of a record's number in its kind; the producer is above them.
const NUMBER: u32 = 24;
/// How long one is stopped now and then.
const LONG: Duration = Duration::from_secs(2);
/// How long a consumer sleeps at most: it looks whether it shall go on only when it wakes.
const NAP: Duration = Duration::from_millis(20);

const COMPLAINTS: [&str; 5] = [
    "a record is torn: number",
    "a record was never begun: number, last begun",
    "the ring gave an error: 1 to push, 2 to reserve, 3 to pop, 4 to peek",
    "a record came twice, and no dead consumer had claimed it: number",
    "a record came before an earlier one of its producer, and no consumer had died: number, last",
];

/// What all know, in memory that is not under test.
#[derive(Clone, Copy)]
struct Facts {
    /// Of each producer: `begun` and `ended` are the last record whose push was begun, and has returned.
    pushes: &'static [Stamps],
    /// Of each producer, by number: the record that was delivered there last.
    marks: &'static [Word],
    /// Not 0: producers push no more.
    quiet: &'static Word,
    /// Consumers that were killed.
    dead: &'static Word,
    /// Records that came again, and records that came late.
    again: &'static Word,
    late: &'static Word,
}

/// What the stage knows.
#[derive(Default)]
struct Seen {
    /// Of each producer: the last record that was looked for.
    looked: [u64; EACH],
    /// Consumers that died in `pop`, each of which may have read a record and not said so.
    missing: u64,
    /// Records whose producer died over them, perhaps.
    unsure: Vec<(usize, u64)>,
}

impl Facts {
    fn new() -> Self {
        let [quiet, dead, again, late] = words(4) else { unreachable!("four were asked for") };
        Self { pushes: shared(EACH), marks: words(EACH * MARKS as usize), quiet, dead, again, late }
    }

    fn mark(&self, producer: usize, number: u64) -> &'static Word {
        &self.marks[producer * MARKS as usize + (number % MARKS) as usize]
    }
}

pub fn run(stage: &mut Stage) {
    // Full and empty in turn: a sleeper at each side.
    let slots = [4, 64, 1024][stage.rng.random_range(0..3)];
    let ring = Ring::memfd(&many_slots(), &Config::new(slots, 200)).expect("a ring");
    stage.watch(&[("ring", ring.segment())]);
    let (facts, stamps) = (Facts::new(), shared(2 * EACH));
    let mut people: [Option<Victim>; 2 * EACH] = [const { None }; 2 * EACH];
    let (mut round, mut seen) = (0u64, Seen::default());
    while stage.goes_on() {
        round += 1;
        for who in (0..2 * EACH).filter(|&who| people[who].is_none()).collect::<Vec<_>>() {
            stamps[who].reset();
            people[who] = Some(start(stage, &ring, who, &stamps[who], facts));
        }
        stage.wait_for("the crowd to begin", || stamps.iter().all(Stamps::started));
        stop_one(stage, &people);
        stage.pause(Duration::from_millis(2));
        let mut since = Duration::ZERO;
        for who in [stage.rng.random_range(0..EACH), stage.rng.random_range(EACH..2 * EACH)] {
            let mut victim = people[who].take().expect("all live");
            if who >= EACH {
                // Before it dies: what it had claimed may come again at once. In `pop` it can have read one that nobody saw.
                facts.dead.add(1);
            }
            since = stage.kill(&mut victim, &stamps[who]);
            seen.missing += stamps[who].signal.swap(0);
            if who < EACH {
                // It is in the ring, or not.
                seen.unsure.push((who, facts.pushes[who].begun.get()));
            }
        }
        let before: [u64; 2 * EACH] = std::array::from_fn(|who| stamps[who].ended.get());
        let went_on = |who: usize| {
            people[who].is_none() || stamps[who].ended.get() != before[who] || stamps[who].wrong.get() != 0
        };
        if stage.wait_for("the survivors to go on", || (0..2 * EACH).all(went_on)) {
            stage.recovered(since);
        }
        if round.is_multiple_of(ROUNDS) {
            let alive = std::array::from_fn(|who| people[who].is_some());
            all_arrived(stage, &ring, facts, (stamps, alive), &mut seen);
        }
        for stamps in stamps {
            stage.hear(stamps, &COMPLAINTS);
        }
        stage.cases += 1;
    }
    for (who, victim) in people.iter_mut().enumerate() {
        if let Some(victim) = victim {
            stage.kill(victim, &stamps[who]);
        }
    }
}

fn start(stage: &mut Stage, ring: &Ring, who: usize, own: &'static Stamps, facts: Facts) -> Victim {
    if who < EACH {
        stage.spawn("producer", own, || push_for_ever(ring, own, facts, who))
    } else {
        stage.spawn("consumer", own, || pop_for_ever(ring, own, facts))
    }
}

/// One is stopped for some time: the others do what the ring allows, and all go on after.
fn stop_one(stage: &mut Stage, people: &[Option<Victim>]) {
    if stage.rng.random_bool(0.3) {
        let who = stage.rng.random_range(0..people.len());
        if let Some(victim) = &people[who] {
            stage.stop(victim);
            if stage.rng.random_bool(1.0 / 600.0) {
                stage.sleep(LONG);
            } else {
                stage.pause(Duration::from_millis(3));
            }
            stage.go_on(victim);
        }
    }
}

/// The producers are quiet, and the consumers have read what there is: each record whose push had returned was delivered, but for those
/// that a dead consumer had read and not said so.
fn all_arrived(
    stage: &mut Stage,
    ring: &Ring,
    facts: Facts,
    (stamps, alive): (&'static [Stamps], [bool; 2 * EACH]),
    Seen { looked, missing, unsure }: &mut Seen,
) {
    facts.quiet.set(1);
    let empty = || {
        let status = ring.status();
        status.writing + status.full + status.reading + status.dead == 0
    };
    let drained = stage.wait_for("all records to be read", empty);
    // In `pop` a record is off the ring before it is marked: each consumer goes round twice.
    let before: [u64; EACH] = std::array::from_fn(|who| stamps[EACH + who].ended.get());
    let round_twice = |who: usize| {
        let own = &stamps[EACH + who];
        !alive[EACH + who] || own.ended.get() >= before[who] + 2 || own.wrong.get() != 0
    };
    let said = drained && stage.wait_for("the consumers to say what they read", || (0..EACH).all(round_twice));
    for (producer, looked) in looked.iter_mut().enumerate() {
        let ended = facts.pushes[producer].ended.get();
        for number in (*looked + 1..=ended).filter(|_| said) {
            if facts.mark(producer, number).get() != number && !unsure.contains(&(producer, number)) {
                stage.expect(*missing > 0, || {
                    format!("record {number} of producer {producer} was committed, and is lost")
                });
                *missing = missing.saturating_sub(1);
            }
        }
        *looked = ended.max(*looked);
        facts.pushes[producer].signal.set(*looked);
    }
    unsure.clear();
    let (dead, again, late) = (facts.dead.get(), facts.again.get(), facts.late.get());
    stage.expect(again <= dead, || format!("{again} records came again, and {dead} consumers died"));
    stage.expect(late <= dead, || format!("{late} records came late, and {dead} consumers died"));
    facts.quiet.set(0);
}

/// The victim: pushes until it is killed, each number once.
fn push_for_ever(ring: &Ring, own: &Stamps, facts: Facts, who: usize) {
    own.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    own.enter(Phase::Opening);
    let mut producer = ring.producer(&me).expect("an honest ring").into_inner();
    let pushes = &facts.pushes[who];
    loop {
        // The stage has looked at all up to `signal`: no mark is used again before that.
        if facts.quiet.get() != 0 || pushes.begun.get() + 1 >= pushes.signal.get() + MARKS {
            own.enter(Phase::Outside);
            own.ended.add(1);
            std::thread::yield_now();
            continue;
        }
        let number = pushes.begun.get() + 1;
        pushes.begun.set(number);
        own.enter(Phase::Pushing);
        let kind = (who as u32) << NUMBER | number as u32 & ((1 << NUMBER) - 1);
        match push(&mut producer, kind, number, own) {
            Ok(true) => {}
            // A reservation that was given up, or no room for one: it does not arrive.
            Ok(false) => facts.mark(who, number).set(number),
            Err(code) => return own.complain(3, code, 0),
        }
        pushes.ended.set(number);
        own.enter(Phase::Outside);
        own.ended.add(1);
    }
}

/// One push of some kind; whether there is a record now.
fn push(producer: &mut Producer, kind: u32, number: u64, own: &Stamps) -> Result<bool, u64> {
    let bytes = payload(number);
    if !number.is_multiple_of(3) {
        return producer.push(kind, bytes).map(|()| true).map_err(|_| 1);
    }
    match producer.reserve(kind, bytes.len()) {
        Ok(mut reservation) => {
            own.enter(Phase::Holding);
            reservation.write(0, bytes);
            let keep = !number.is_multiple_of(5);
            if keep {
                reservation.commit().map_err(|_| 2u64)?;
            }
            Ok(keep)
        }
        Err(TryPushError::Full) => Ok(false),
        Err(_) => Err(2),
    }
}

/// The victim: reads until it is killed.
fn pop_for_ever(ring: &Ring, own: &Stamps, facts: Facts) {
    own.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    own.enter(Phase::Opening);
    let mut consumer = ring.consumer(&me).expect("an honest ring").into_inner();
    let (mut bytes, mut last) = (Vec::new(), [0; EACH]);
    loop {
        own.enter(Phase::Popping);
        let read = if own.ended.get().is_multiple_of(2) {
            peek(&mut consumer, &mut bytes, facts, own, &mut last)
        } else {
            own.signal.set(1);
            match consumer.pop_timeout(&mut bytes, NAP) {
                Ok(kind) => judge(kind, &bytes, facts, own, &mut last),
                Err(PopTimeoutError::TimedOut) => {}
                Err(_) => own.complain(3, 3, 0),
            }
            own.signal.set(0);
            Ok(())
        };
        if read.is_err() {
            return own.complain(3, 4, 0);
        }
        own.enter(Phase::Outside);
        own.ended.add(1);
    }
}

/// What it sees is marked before it is committed as read: should this one die in between it comes again, and no other does.
fn peek(
    consumer: &mut Consumer,
    bytes: &mut Vec<u8>,
    facts: Facts,
    own: &Stamps,
    last: &mut [u64; EACH],
) -> Result<(), TryPopError> {
    match consumer.peek() {
        Ok(peek) => {
            own.enter(Phase::Holding);
            peek.copy_to(bytes)?;
            judge(peek.kind(), bytes, facts, own, last);
            peek.consume();
            Ok(())
        }
        Err(TryPopError::Empty) => Ok(()),
        Err(error) => Err(error),
    }
}

fn judge(kind: u32, bytes: &[u8], facts: Facts, own: &Stamps, last: &mut [u64; EACH]) {
    let producer = (kind >> NUMBER) as usize % EACH;
    let begun = facts.pushes[producer].begun.get();
    // The one up to the last begun whose low bits these are.
    let number = begun.wrapping_sub(begun.wrapping_sub(kind.into()) & ((1 << NUMBER) - 1));
    if number == 0 || number > begun {
        return own.complain(2, number, begun);
    }
    if bytes != payload(number) {
        return own.complain(1, number, 0);
    }
    if facts.mark(producer, number).swap(number) == number && facts.again.add(1) >= facts.dead.get() {
        own.complain(4, number, 0);
    }
    if number < last[producer] && facts.late.add(1) >= facts.dead.get() {
        own.complain(5, number, last[producer]);
    }
    last[producer] = number;
}
