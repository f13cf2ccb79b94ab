//! A consumer is killed while it reads. Nothing is lost, and nothing that it had committed as read comes again.

use super::{kind, many_slots, number, payload};
use crate::stage::{HANG, Stage};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::owner::SeatState;
use ownerdead::ring::spsc::{Config, Consumer, Producer, PushTimeoutError, Ring, TryPushError};
use ownerdead::sync::time::now;
use rand::RngExt;
use std::time::Duration;

const COMPLAINTS: [&str; 5] = [
    "a record is missing, or came again though it had been committed as read",
    "a record is torn",
    "the ring gave an error (1)",
    "the seat of a dead consumer was opened as if nobody had died, or the other way round (0 clean, 1 died)",
    "generation after opening",
];

pub fn run(stage: &mut Stage) {
    let ring = Ring::memfd(&many_slots(), &Config::new(4096).wipe(stage.rng.random())).expect("a ring");
    let stamps = &shared(1)[0];
    let me = ring.attach().expect("a free slot");
    let mut writer = Writer { producer: ring.producer(&me).expect("a vacant seat").into_inner(), next: 1 };
    while stage.goes_on() {
        stamps.reset();
        let before = ring.status().consumer;
        let died = matches!(before.state, SeatState::Dead(_));
        let mut victim = stage.spawn(|| read(&ring, stamps, died, before.generation + u64::from(died)));
        stage.wait_for("a consumer to run", || stamps.started());
        let instant = stage.instant(Duration::from_micros(900));
        while now() < instant {
            writer.fill(stage);
        }
        let since = stage.kill(&mut victim, stamps);
        stage.hear(stamps, &COMPLAINTS);
        if ring.status().consumer.state != SeatState::Vacant {
            writer.until_died(stage);
            stage.recovered(since);
        }
        stage.cases += 1;
    }
}

/// The victim: opens the seat, and reads until it is killed. `ended` is the last record that it committed as read for sure,
/// `begun` the last one that it may have.
fn read(ring: &Ring, stamps: &Stamps, died: bool, generation: u64) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    stamps.enter(Phase::Opening);
    let opened = ring.consumer(&me).expect("a dead or vacant seat");
    if opened.owner_died() != died {
        stamps.complain(4, opened.owner_died().into(), died.into());
    }
    let mut consumer = opened.into_inner();
    if consumer.generation() != generation {
        stamps.complain(5, consumer.generation(), generation);
    }
    let mut first = true;
    loop {
        read_some(&mut consumer, stamps, &mut first);
        stamps.enter(Phase::Outside);
    }
}

fn read_some(consumer: &mut Consumer, stamps: &Stamps, first: &mut bool) {
    let mut bytes = Vec::new();
    // The first record after a take-over is peeked at: what is due is known only once it is seen.
    match if *first { 0 } else { stamps.ended.get() % 3 } {
        0 => {
            stamps.enter(Phase::Popping);
            let Ok(peek) = consumer.peek() else { return };
            let kind = peek.kind();
            if peek.copy_to(&mut bytes).is_err() {
                return stamps.complain(3, 0, 0);
            }
            let found = judge(stamps, first, kind, &bytes);
            stamps.begun.set(found);
            peek.consume();
            stamps.ended.set(found);
        }
        1 => {
            // Committed before it can be judged: up to one record more than is stamped as begun.
            stamps.begun.set(stamps.begun.get().max(stamps.ended.get() + 1));
            stamps.enter(Phase::Popping);
            match consumer.pop(&mut bytes) {
                Ok(kind) => stamps.ended.set(judge(stamps, first, kind, &bytes)),
                Err(_) => stamps.complain(3, 0, 0),
            }
        }
        _ => {
            stamps.enter(Phase::Popping);
            let mut last = None;
            let batch = consumer.pop_batch(4, |kind, bytes| {
                let found = judge(stamps, first, kind, bytes);
                stamps.begun.set(stamps.begun.get().max(found));
                last = Some(found);
                // Within the batch the next one is due, though nothing is committed yet.
                stamps.signal.set(found);
            });
            if batch.is_ok() {
                stamps.ended.set(last.expect("a batch has records"));
            }
            stamps.signal.set(0);
        }
    }
}

/// Judges a record; its number. The first one after a take-over may be one that the dead one had seen but not committed.
fn judge(stamps: &Stamps, first: &mut bool, kind: u32, bytes: &[u8]) -> u64 {
    let done = if *first { stamps.ended.get() } else { stamps.ended.get().max(stamps.signal.get()) };
    let most = if *first { stamps.begun.get().max(done) + 1 } else { done + 1 };
    let found = number(kind, done + 1);
    if found <= done || found > most {
        stamps.complain(1, found, done + 1);
    }
    if bytes != payload(found) {
        stamps.complain(2, found, 0);
    }
    if *first {
        // From here on it counts anew: what was before this one is done.
        *first = false;
        stamps.signal.set(0);
        stamps.begun.set(found);
        stamps.ended.set(found - 1);
    }
    found
}

/// The survivor: writes.
struct Writer {
    producer: Producer,
    next: u64,
}

impl Writer {
    fn fill(&mut self, stage: &mut Stage) {
        match self.producer.try_push(kind(self.next), payload(self.next)) {
            Ok(()) => {
                self.next += 1;
                stage.cases += 1;
            }
            Err(TryPushError::Full) => {}
            Err(error) => stage.finding(&error.to_string()),
        }
    }

    fn until_died(&mut self, stage: &mut Stage) {
        loop {
            match self.producer.push_timeout(kind(self.next), payload(self.next), HANG) {
                Ok(()) => self.next += 1,
                Err(PushTimeoutError::ConsumerDied) => return,
                Err(error) => return stage.finding(&format!("after the consumer's death: {error}")),
            }
        }
    }
}
