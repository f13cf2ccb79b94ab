//! A consumer is killed while it reads. Nothing is lost, and nothing that it had committed as read comes again.

use super::{kind, many_slots, number, payload};
use crate::stage::{Stage, hang};
use crate::stamps::{Phase, Stamps, Word, shared};
use ownerdead::harness::oracle::{Records, Violation};
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::spsc::{Config, Consumer, Producer, PushTimeoutError, Ring, TryPushError};
use ownerdead::sync::time::now;
use rand::RngExt;
use std::cell::Cell;
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
    stage.watch(&[("ring", ring.segment())]);
    let mut writer = Writer { producer: ring.producer(&me).expect("a vacant seat").into_inner(), next: 1 };
    while stage.goes_on() {
        stamps.reset();
        let before = ring.status().consumer;
        let died = matches!(before.state, SeatState::Dead(_));
        let mut victim =
            stage.spawn("consumer", stamps, || read(&ring, stamps, died, before.generation + u64::from(died)));
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

/// What a victim knows of the records: its part is in the stamps, for the victims after it. What the stage has pushed it does not
/// know.
type Seen<'s> = Records<Cell<u64>, &'s Word>;

/// The victim: opens the seat, and reads until it is killed.
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
    let pushes = [Cell::new(u64::MAX), Cell::new(0)];
    let seen = Seen::new(pushes, [&stamps.begun, &stamps.ended, &stamps.signal]);
    seen.next_reader();
    loop {
        read_some(&mut consumer, stamps, &seen);
        stamps.enter(Phase::Outside);
    }
}

fn read_some(consumer: &mut Consumer, stamps: &Stamps, seen: &Seen<'_>) {
    let mut bytes = Vec::new();
    // The first record after a take-over is peeked at: what is due is known only once it is seen.
    match if seen.last.get() == 0 { 0 } else { seen.last.get() % 3 } {
        0 => {
            stamps.enter(Phase::Popping);
            let Ok(peek) = consumer.peek() else { return };
            let kind = peek.kind();
            if peek.copy_to(&mut bytes).is_err() {
                return stamps.complain(3, 0, 0);
            }
            let found = judge(stamps, seen, kind, &bytes);
            peek.consume();
            seen.committed(found);
        }
        1 => {
            seen.read_unseen();
            stamps.enter(Phase::Popping);
            match consumer.pop(&mut bytes) {
                Ok(kind) => seen.committed(judge(stamps, seen, kind, &bytes)),
                Err(_) => stamps.complain(3, 0, 0),
            }
        }
        _ => {
            stamps.enter(Phase::Popping);
            let mut last = None;
            let batch = consumer.pop_batch(4, |kind, bytes| last = Some(judge(stamps, seen, kind, bytes)));
            if batch.is_ok() {
                seen.committed(last.expect("a batch has records"));
            }
        }
    }
}

/// Judges a record; its number.
fn judge(stamps: &Stamps, seen: &Seen<'_>, kind: u32, bytes: &[u8]) -> u64 {
    let due = seen.due();
    let found = number(kind, due);
    match seen.arrived(found, bytes == payload(found)) {
        Ok(()) => {}
        Err(Violation::Torn { number }) => stamps.complain(2, number, 0),
        Err(_) => stamps.complain(1, found, due),
    }
    found
}

/// A consumer that has read all is killed asleep, for `kill_in_a_system_call`.
pub(super) struct Slept {
    ring: Ring,
    writer: Writer,
    stamps: &'static Stamps,
    _me: Attachment,
}

impl Slept {
    pub(super) fn new(stage: &mut Stage) -> Self {
        let ring = Ring::memfd(&many_slots(), &Config::new(512).wipe(stage.rng.random())).expect("a ring");
        let me = ring.attach().expect("a free slot");
        let writer = Writer { producer: ring.producer(&me).expect("a vacant seat").into_inner(), next: 1 };
        Self { ring, writer, stamps: &shared(1)[0], _me: me }
    }

    /// It sleeps for a record, and is killed before there is one, or when it is about to wake.
    pub(super) fn round(&mut self, stage: &mut Stage) {
        let Self { ring, writer, stamps, .. } = self;
        stage.watch(&[("ring", ring.segment())]);
        stamps.reset();
        let before = ring.status().consumer;
        let died = matches!(before.state, SeatState::Dead(_));
        let generation = before.generation + u64::from(died);
        let mut victim = stage.spawn("consumer", stamps, || read(ring, stamps, died, generation));
        // It sleeps only in some of the ways to read.
        let asleep = || stamps.phase() == "popping" && victim.sleeps();
        stage.nudge_until("a consumer to sleep", asleep, |stage| writer.fill(stage));
        if stage.rng.random_bool(0.5) {
            writer.fill(stage);
            stage.pause(Duration::from_micros(60));
        }
        let since = stage.kill(&mut victim, stamps);
        stage.hear(stamps, &COMPLAINTS);
        writer.until_died(stage);
        stage.recovered(since);
        stage.cases += 1;
    }
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
            match self.producer.push_timeout(kind(self.next), payload(self.next), hang()) {
                Ok(()) => self.next += 1,
                Err(PushTimeoutError::ConsumerDied) => return,
                Err(PushTimeoutError::TimedOut) => return stage.hangs("the consumer's death was not told to a writer"),
                Err(error) => return stage.finding(&format!("after the consumer's death: {error}")),
            }
        }
    }
}
