//! A writer and three readers at a broadcast ring, lossy in one round and lossless in the next: all of them are stopped and killed
//! at random, and readers come and go by themselves.

use super::{kind, many_slots, number, payload};
use crate::plan::{Aims, Blow, Strike, strikes};
use crate::stage::{Stage, Victim};
use crate::stamps::{Phase, Stamps, shared};
use nix::sys::signal::{Signal, kill};
use ownerdead::owner::SeatState;
use ownerdead::ring::broadcast::{Config, Consumer, PopError, Ring, SeatError, TryPopError};
use ownerdead::sync::time::now;
use rand::RngExt;
use std::time::Duration;

const READERS: usize = 3;
const WRITER: usize = READERS;
const PEOPLE: usize = READERS + 1;
/// Stamps with what the writers, one after the other, have begun and ended.
const WRITES: usize = PEOPLE;
/// So that a reader is lapped after some twenty records.
const CAPACITY: usize = 4096;
/// Records after which a reader leaves, and joins anew.
const STAY: u64 = 400;

const COMPLAINTS: [&str; 7] = [
    "a record is missing, came again or was never pushed: number",
    "a record is torn: number",
    "the ring gave an error: 1 to open, 2 to write, 3 to read, 4 to join",
    "the seat of a dead writer was opened as if nobody had died, or the other way round (0 clean, 1 died)",
    "the writer's generation after opening",
    "committed records are lost, or others counted: records there",
    "more records are told as lost than were written, or none: up to",
];

struct Crew {
    ring: Ring,
    stamps: &'static [Stamps],
    people: [Option<Victim>; PEOPLE],
    lossless: bool,
}

pub fn run(stage: &mut Stage) {
    let rings = [Config::lossy(CAPACITY, READERS + 1), Config::lossless(CAPACITY, READERS + 1)]
        .map(|config| Ring::memfd(&many_slots(), &config.checksum(false)).expect("a ring"));
    stage.watch(&[("lossy", rings[0].segment()), ("lossless", rings[1].segment())]);
    let mut crews = rings.map(|ring| Crew {
        lossless: ring.status().mode == ownerdead::ring::broadcast::Mode::Lossless,
        ring,
        stamps: shared(PEOPLE + 1),
        people: [const { None }; PEOPLE],
    });
    for round in 0.. {
        if !stage.goes_on() {
            break;
        }
        let crew = &mut crews[round % 2];
        let aims = if stage.rng.random_bool(0.5) { Aims::Several } else { Aims::Storm };
        let plan = strikes(&mut stage.rng, aims, PEOPLE, 2, Duration::from_micros(600));
        crew.round(stage, &plan);
        // The other mode's have the processors to themselves.
        crew.end(stage);
    }
}

impl Crew {
    /// Strikes as planned, and sees that those who are left go on, whoever is dead.
    fn round(&mut self, stage: &mut Stage, plan: &[Strike]) {
        (0..PEOPLE).for_each(|who| self.start(stage, who));
        if !self.all_go_on(stage, "the crew to work", |_| true) {
            return;
        }
        let mut since = now();
        let (mut killed, mut stopped) = ([false; PEOPLE], [false; PEOPLE]);
        for strike in plan {
            while now() < since + strike.after {
                std::hint::spin_loop();
            }
            since = now();
            let (signal, struck): (_, &dyn Fn(usize) -> bool) = match strike.blow {
                Blow::Kill(one) => (Signal::SIGKILL, &move |who| who == one),
                Blow::KillGroup(group) => (Signal::SIGKILL, &move |who| who % 2 == group),
                Blow::Stop(one) => (Signal::SIGSTOP, &move |who| who == one),
                Blow::GoOn(one) => (Signal::SIGCONT, &move |who| who == one),
            };
            for who in (0..PEOPLE).filter(|&who| struck(who)) {
                let victim = self.people[who].as_ref().expect("all were started");
                kill(victim.pid(), signal).expect("a victim that was not waited for");
                killed[who] |= signal == Signal::SIGKILL;
                stopped[who] = signal == Signal::SIGSTOP;
            }
        }
        for who in (0..PEOPLE).filter(|&who| killed[who]) {
            if let Some(mut victim) = self.people[who].take() {
                stage.dies(&mut victim, &self.stamps[who]);
            }
        }
        let alive = |who: usize| !killed[who];
        // Nobody waits for the stopped in a lossy ring.
        if alive(WRITER) && !stopped[WRITER] && !self.lossless {
            self.all_go_on(stage, "the writer to go on, whoever is dead or stopped", |who| who == WRITER);
        }
        self.people.iter().flatten().for_each(|victim| stage.go_on(victim));
        let all = if alive(WRITER) {
            self.all_go_on(stage, "the survivors to go on", alive)
        } else {
            // The next one makes the readers go on that the dead one has left.
            self.start(stage, WRITER);
            self.all_go_on(stage, "the survivors to go on", |who| alive(who) || who == WRITER)
        };
        if all {
            stage.recovered(since);
        }
        self.hear(stage);
        stage.cases += 1;
    }

    /// All die; and one who comes then has nobody to wait for.
    fn end(&mut self, stage: &mut Stage) {
        for who in 0..PEOPLE {
            if let Some(mut victim) = self.people[who].take() {
                victim.strike();
                stage.dies(&mut victim, &self.stamps[who]);
            }
        }
        self.hear(stage);
    }

    fn start(&mut self, stage: &mut Stage, who: usize) {
        if self.people[who].is_some() {
            return;
        }
        let (ring, stamps) = (&self.ring, self.stamps);
        let own = &stamps[who];
        own.reset();
        let victim = match who {
            WRITER => stage.spawn("writer", own, || write_for_ever(ring, own, &stamps[WRITES])),
            _ => stage.spawn("reader", own, || read_for_ever(ring, own, &stamps[WRITES])),
        };
        self.people[who] = Some(victim);
    }

    /// Each of `who` ends an operation more.
    fn all_go_on(&self, stage: &mut Stage, what: &str, who: impl Fn(usize) -> bool) -> bool {
        let stamps = self.stamps;
        let before: [u64; PEOPLE] = std::array::from_fn(|who| stamps[who].ended.get());
        let went_on = |who: usize| stamps[who].ended.get() != before[who] || stamps[who].wrong.get() != 0;
        stage.wait_for(what, || (0..PEOPLE).all(|one| !who(one) || went_on(one)))
    }

    fn hear(&self, stage: &mut Stage) {
        self.stamps[..PEOPLE].iter().for_each(|stamps| stage.hear(stamps, &COMPLAINTS));
    }
}

fn write_for_ever(ring: &Ring, stamps: &Stamps, facts: &Stamps) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    stamps.enter(Phase::Opening);
    let seat = ring.status().writer;
    let died = matches!(seat.state, SeatState::Dead(_));
    let Ok(opened) = ring.producer(&me) else { return stamps.complain(3, 1, 0) };
    if opened.owner_died() != died {
        return stamps.complain(4, opened.owner_died().into(), died.into());
    }
    let mut writer = opened.into_inner();
    if writer.generation() != seat.generation + u64::from(died) {
        stamps.complain(5, writer.generation(), seat.generation + u64::from(died));
    }
    // The dead one's last record was committed, or never was.
    let mut next = writer.position();
    if next < facts.ended.get() || next > facts.begun.get() {
        return stamps.complain(6, next, facts.begun.get());
    }
    loop {
        facts.begun.set(next + 1);
        stamps.enter(Phase::Pushing);
        let pushed = if next % 16 == 1
            && let Ok(mut reservation) = writer.reserve(kind(next), payload(next).len())
        {
            reservation.write(0, payload(next));
            reservation.commit().is_ok()
        } else {
            writer.push(kind(next), payload(next)).is_ok()
        };
        if !pushed {
            return stamps.complain(3, 2, next);
        }
        next += 1;
        facts.ended.set(next);
        stamps.ended.add(1);
        stamps.enter(Phase::Outside);
    }
}

fn read_for_ever(ring: &Ring, stamps: &Stamps, facts: &Stamps) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    loop {
        stamps.enter(Phase::Opening);
        let ended = facts.ended.get();
        let mut reader = match ring.consumer(&me) {
            Ok(opened) => opened.into_inner(),
            Err(SeatError::NoPlace { .. }) => return stamps.complain(3, 4, 0),
            Err(_) => return stamps.complain(3, 1, 0),
        };
        if reader.position() < ended || reader.position() > facts.begun.get() {
            return stamps.complain(6, reader.position(), ended);
        }
        if !read(&mut reader, stamps, facts) {
            return;
        }
        stamps.enter(Phase::Leaving);
        reader.close();
    }
}

/// Reads some records. Each is the one after the last, but for those that were told of as lost.
fn read(reader: &mut Consumer, stamps: &Stamps, facts: &Stamps) -> bool {
    let mut due = reader.position();
    let mut bytes = Vec::new();
    for turn in 0..STAY {
        stamps.enter(Phase::Popping);
        let ended = facts.ended.get();
        let popped = if turn % 8 == 7 { view(reader, &mut bytes) } else { reader.pop(&mut bytes) };
        match popped {
            Ok(kind) => {
                let found = number(kind, due);
                if found != due || found >= facts.begun.get() {
                    stamps.complain(1, found, due);
                    return false;
                }
                if bytes != payload(found) {
                    stamps.complain(2, found, 0);
                    return false;
                }
                due += 1;
            }
            Err(PopError::Lapped { lost }) => {
                due += lost;
                if lost == 0 || due > facts.begun.get() {
                    stamps.complain(7, due, facts.begun.get());
                    return false;
                }
            }
            Err(PopError::ProducerDied) => {
                if due < ended {
                    stamps.complain(6, due, ended);
                    return false;
                }
                if reader.wait_producer(None).is_err() {
                    stamps.complain(3, 3, due);
                    return false;
                }
            }
            Err(_) => {
                stamps.complain(3, 3, due);
                return false;
            }
        }
        stamps.ended.add(1);
        stamps.enter(Phase::Outside);
    }
    true
}

/// A record by a view of it; by a pop where there is none, or it was overwritten.
fn view(reader: &mut Consumer, bytes: &mut Vec<u8>) -> Result<u32, PopError> {
    match reader.peek() {
        Ok(view) => {
            let kind = view.kind();
            let copied = view.copy_to(bytes).is_ok();
            if view.finish().is_ok() && copied {
                return Ok(kind);
            }
        }
        Err(TryPopError::Lapped { lost }) => return Err(PopError::Lapped { lost }),
        Err(_) => {}
    }
    reader.pop(bytes)
}
