//! Four producers and four consumers at one MPMC ring; one of each is killed every few milliseconds, and others are stopped for a while.
//! All that was committed arrives, whole and once; only what a dead consumer had claimed may come again. Nobody is killed who has not gone
//! on since the last kills, so that a kill cannot hide that somebody is stuck.

use super::{many_slots, payload};
use crate::stage::{Stage, Victim};
use crate::stamps::{Phase, Stamps, Word, shared, words};
use ownerdead::ring::mpmc::{Config, Consumer, Producer, Ring};
use ownerdead::ring::{PopTimeoutError, TryPopError, TryPushError};
use ownerdead::sync::time::now;
use rand::RngExt;
use rand::seq::SliceRandom;
use std::ops::Range;
use std::time::Duration;

/// How many of each.
const EACH: usize = 4;
/// Records of one producer that can be told apart at a time.
const MARKS: u64 = 1 << 18;
/// Pairs of kills between two looks at whether all survivors go on. Who does not is not killed, so that it is still seen then.
const LOOK: u64 = 8;
/// Pairs of kills between two looks at whether all has arrived.
const ROUNDS: u64 = 16;
/// Bits of a record's number in its kind; the producer is above them.
const NUMBER: u32 = 24;
/// The time between two pairs of kills is below this.
const SHORT: Duration = Duration::from_millis(1);
/// How often somebody is stopped meanwhile; and how often that is for long.
const STOPPED: f64 = 0.1;
const STOPPED_LONG: f64 = 1.0 / 800.0;
const LONG: Duration = Duration::from_secs(2);
/// How long a consumer sleeps at most: it looks whether it shall go on only when it wakes.
const NAP: Duration = Duration::from_millis(5);

const COMPLAINTS: [&str; 4] = [
    "a record is torn: number",
    "a record was never begun: number, last begun",
    "a record came twice, and no dead consumer had claimed it: number",
    "a record came before an earlier one of its producer, and no consumer had died: number, last",
];

/// The complaint of one to whom the ring gave an error; what that says is in [`Facts::said`].
const AN_ERROR: u64 = COMPLAINTS.len() as u64 + 1;
/// Words for what such an error says, of eight bytes each.
const TEXT: usize = 64;

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
    /// Of each, by [`TEXT`] words: what an error of the ring's said; 0 behind it.
    said: &'static [Word],
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
        let (marks, said) = (words(EACH * MARKS as usize), words(2 * EACH * TEXT));
        Self { pushes: shared(EACH), marks, quiet, dead, again, late, said }
    }

    fn mark(&self, producer: usize, number: u64) -> &'static Word {
        &self.marks[producer * MARKS as usize + (number % MARKS) as usize]
    }

    /// A victim complains of what the ring said.
    fn complain(&self, who: usize, own: &Stamps, text: &str) {
        let mut eights = text.as_bytes().chunks(8);
        for word in &self.said[who * TEXT..][..TEXT] {
            let mut bytes = [0; 8];
            let eight = eights.next().unwrap_or_default();
            bytes[..eight.len()].copy_from_slice(eight);
            word.set(u64::from_le_bytes(bytes));
        }
        own.complain(AN_ERROR, 0, 0);
    }

    fn said(&self, who: usize) -> String {
        let bytes = self.said[who * TEXT..][..TEXT].iter().flat_map(|word| word.get().to_le_bytes());
        String::from_utf8_lossy(&Vec::from_iter(bytes.take_while(|&byte| byte != 0))).into_owned()
    }
}

/// One of the crowd that lives.
struct Person {
    victim: Victim,
    /// What it had ended at the last pair of kills that it was there for; none if there was no such pair yet.
    met: Option<u64>,
}

struct Crowd {
    ring: Ring,
    facts: Facts,
    stamps: &'static [Stamps],
    /// Producers, then consumers.
    people: [Option<Person>; 2 * EACH],
    seen: Seen,
}

pub fn run(stage: &mut Stage) {
    // Full and empty in turn: a sleeper at each side.
    let slots = [4, 64, 1024][stage.rng.random_range(0..3)];
    let ring = Ring::memfd(&many_slots(), &Config::new(slots, 200)).expect("a ring");
    stage.watch(&[("ring", ring.segment())]);
    let people = [const { None }; 2 * EACH];
    let mut crowd = Crowd { ring, facts: Facts::new(), stamps: shared(2 * EACH), people, seen: Seen::default() };
    let mut round = 0u64;
    while stage.goes_on() {
        round += 1;
        crowd.fill(stage);
        crowd.wait(stage);
        let last = round.is_multiple_of(ROUNDS);
        let Some(since) = crowd.kill_one_of_each(stage, last) else { break };
        crowd.hear(stage);
        if last {
            crowd.all_arrived(stage);
        } else if round.is_multiple_of(LOOK) && crowd.went_on(stage, "the survivors to go on", 0..2 * EACH, 1) {
            stage.recovered(since);
        }
        stage.cases += 1;
    }
    for (who, person) in crowd.people.iter_mut().enumerate() {
        if let Some(Person { victim, .. }) = person {
            stage.kill(victim, &crowd.stamps[who]);
        }
    }
}

impl Crowd {
    /// Starts who is missing. Nobody waits until they have begun.
    fn fill(&mut self, stage: &mut Stage) {
        let (ring, facts) = (&self.ring, self.facts);
        for (who, (person, own)) in
            self.people.iter_mut().zip(self.stamps).enumerate().filter(|(_, (person, _))| person.is_none())
        {
            own.reset();
            let victim = if who < EACH {
                stage.spawn("producer", own, || push_for_ever(ring, own, facts, who))
            } else {
                stage.spawn("consumer", own, || pop_for_ever(ring, own, facts, who))
            };
            *person = Some(Person { victim, met: None });
        }
    }

    /// Until the next kills. Now and then somebody is stopped meanwhile: the others do what the ring allows, and all go on after.
    fn wait(&mut self, stage: &mut Stage) {
        let (who, stops) = (stage.rng.random_range(0..2 * EACH), stage.rng.random_bool(STOPPED));
        let long = stops && stage.rng.random_bool(STOPPED_LONG);
        let time = if long { LONG } else { Duration::from_nanos(stage.rng.random_range(0..SHORT.as_nanos() as u64)) };
        let stopped = self.people[who].as_ref().filter(|_| stops);
        if let Some(Person { victim, .. }) = stopped {
            stage.stop(victim);
        }
        // Who spins here takes the crowd's processors, and its own turn when it is to kill.
        stage.sleep(time);
        if let Some(Person { victim, .. }) = stopped {
            stage.go_on(victim);
        }
    }

    /// Whether a kill cannot hide that this one is stuck: it has gone on since the last kills that it was there for.
    fn may_die(&self, who: usize) -> bool {
        let own = &self.stamps[who];
        self.people[who].as_ref().is_some_and(|person| own.started() && person.met != Some(own.ended.get()))
    }

    /// Kills a producer and a consumer at once: of those of each who may die, the first one in the order that the dice say. The producers
    /// are to be `quiet` then. The time just before; none if there was nobody to kill.
    fn kill_one_of_each(&mut self, stage: &mut Stage, quiet: bool) -> Option<Duration> {
        let mut orders: [[usize; EACH]; 2] = std::array::from_fn(|side| std::array::from_fn(|who| side * EACH + who));
        orders.iter_mut().for_each(|order| order.shuffle(&mut stage.rng));
        let first = |order: &[usize; EACH]| order.iter().copied().find(|&who| self.may_die(who));
        let both = || orders.iter().all(|order| first(order).is_some());
        if !stage.wait_for("a producer and a consumer to go on since the last kills", both) {
            return None;
        }
        let struck = orders.map(|order| first(&order).expect("who may die may die until the next kills"));
        let since = self.kill(stage, &struck, quiet);
        for (person, own) in self.people.iter_mut().zip(self.stamps) {
            if let Some(person) = person.as_mut().filter(|_| own.started()) {
                person.met = Some(own.ended.get());
            }
        }
        Some(since)
    }

    /// Kills those at once, and waits until they are gone. The time just before. If the producers are to be `quiet` then, they are so at
    /// once: they do not come round to what a dead one was writing, so that the consumers have to skip it.
    fn kill(&mut self, stage: &mut Stage, struck: &[usize], quiet: bool) -> Duration {
        let mut dying = Vec::from_iter(struck.iter().filter_map(|&who| Some((who, self.people[who].take()?))));
        // Before they die: what they had claimed may come again at once.
        self.facts.dead.add(dying.iter().filter(|(who, _)| *who >= EACH).count() as u64);
        let since = now();
        dying.iter().for_each(|(_, person)| person.victim.strike());
        if quiet {
            self.facts.quiet.set(1);
        }
        for (who, person) in &mut dying {
            let own = &self.stamps[*who];
            stage.dies(&mut person.victim, own);
            if *who < EACH {
                // Its record is in the ring, or not.
                self.seen.unsure.push((*who, self.facts.pushes[*who].begun.get()));
            } else {
                // In `pop` it can have read one that nobody saw.
                self.seen.missing += own.signal.swap(0);
            }
        }
        since
    }

    /// Waits until each of `people` that lives has ended `times` more operations, or says that something is wrong.
    fn went_on(&self, stage: &mut Stage, what: &str, people: Range<usize>, times: u64) -> bool {
        let before: [u64; 2 * EACH] = std::array::from_fn(|who| self.stamps[who].ended.get());
        stage.wait_for(what, || {
            people.clone().all(|who| {
                let own = &self.stamps[who];
                self.people[who].is_none() || own.ended.get() >= before[who] + times || own.wrong.get() != 0
            })
        })
    }

    /// The producers are quiet, and the consumers have read what there is: each record whose push had returned was delivered, but for
    /// those that a dead consumer had read and not said so.
    fn all_arrived(&mut self, stage: &mut Stage) {
        let Facts { quiet, dead, again, late, .. } = self.facts;
        let empty = || {
            let status = self.ring.status();
            status.writing + status.full + status.reading + status.dead == 0
        };
        // Once round, and each producer sees that it is to be quiet. In `pop` a record is off the ring before it is marked: each consumer
        // goes round twice.
        let said = self.went_on(stage, "the producers to be quiet", 0..EACH, 1)
            && stage.wait_for("all records to be read", empty)
            && self.went_on(stage, "the consumers to say what they read", EACH..2 * EACH, 2);
        if !said {
            return;
        }
        let Seen { looked, missing, unsure } = &mut self.seen;
        for (producer, looked) in looked.iter_mut().enumerate() {
            let pushes = &self.facts.pushes[producer];
            // The last one ended, or its producer died over it.
            let begun = pushes.begun.get();
            for number in *looked + 1..=begun {
                if self.facts.mark(producer, number).get() != number && !unsure.contains(&(producer, number)) {
                    stage.expect(*missing > 0, || {
                        format!("record {number} of producer {producer} was committed, and is lost")
                    });
                    *missing = missing.saturating_sub(1);
                }
            }
            *looked = begun;
            pushes.signal.set(begun);
        }
        let [died, again, late] = [dead, again, late].map(|count| count.swap(0));
        stage.expect(again <= died, || format!("{again} records came again, and {died} consumers died"));
        stage.expect(late <= died, || format!("{late} records came late, and {died} consumers died"));
        // The ring is empty: of what the dead left there is nothing to come.
        (*missing, *unsure) = (0, Vec::new());
        quiet.set(0);
    }

    /// What the victims say. Who complains may work no more: another one takes its place.
    fn hear(&mut self, stage: &mut Stage) {
        for (who, own) in self.stamps.iter().enumerate().filter(|(_, own)| own.wrong.get() != 0) {
            if own.wrong.get() == AN_ERROR {
                own.wrong.set(0);
                stage.finding(&format!("a victim that {}", self.facts.said(who)));
            } else {
                stage.hear(own, &COMPLAINTS);
            }
            self.kill(stage, &[who], false);
        }
    }
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
            Err(said) => return facts.complain(who, own, &said),
        }
        pushes.ended.set(number);
        own.enter(Phase::Outside);
        own.ended.add(1);
    }
}

/// One push of some kind; whether there is a record now.
fn push(producer: &mut Producer, kind: u32, number: u64, own: &Stamps) -> Result<bool, String> {
    let bytes = payload(number);
    if !number.is_multiple_of(3) {
        return producer.push(kind, bytes).map(|()| true).map_err(|error| format!("pushes says: {error}"));
    }
    match producer.reserve(kind, bytes.len()) {
        Ok(mut reservation) => {
            own.enter(Phase::Holding);
            reservation.write(0, bytes);
            let keep = !number.is_multiple_of(5);
            if keep {
                reservation.commit().map_err(|error| format!("commits says: {error}"))?;
            }
            Ok(keep)
        }
        Err(TryPushError::Full) => Ok(false),
        Err(error) => Err(format!("reserves says: {error}")),
    }
}

/// The victim: reads until it is killed.
fn pop_for_ever(ring: &Ring, own: &Stamps, facts: Facts, who: usize) {
    own.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    own.enter(Phase::Opening);
    let mut consumer = ring.consumer(&me).expect("an honest ring").into_inner();
    let (mut bytes, mut last) = (Vec::new(), [0; EACH]);
    loop {
        own.enter(Phase::Popping);
        let read = if own.ended.get().is_multiple_of(2) {
            peek(&mut consumer, &mut bytes, facts, own, &mut last).map_err(|error| format!("peeks says: {error}"))
        } else {
            own.signal.set(1);
            let popped = consumer.pop_timeout(&mut bytes, NAP);
            if let Ok(kind) = popped {
                judge(kind, &bytes, facts, own, &mut last);
            }
            own.signal.set(0);
            match popped {
                Ok(_) | Err(PopTimeoutError::TimedOut) => Ok(()),
                Err(error) => Err(format!("pops says: {error}")),
            }
        };
        if let Err(said) = read {
            return facts.complain(who, own, &said);
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
        own.complain(3, number, 0);
    }
    if number < last[producer] && facts.late.add(1) >= facts.dead.get() {
        own.complain(4, number, last[producer]);
    }
    last[producer] = number;
}
