//! A producer is killed while it writes. All that it committed arrives, in order and whole; nothing else does.

use super::{kind, many_slots, number, payload};
use crate::stage::{Stage, hang};
use crate::stamps::{Phase, Stamps, Word, shared};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::spsc::{Config, Consumer, Opened, PopTimeoutError, Producer, Ring, TryPopError};
use ownerdead::sync::time::now;
use rand::RngExt;
use std::cell::Cell;
use std::time::Duration;

const COMPLAINTS: [&str; 2] = [
    "the seat of a dead producer was opened as if nobody had died, or the other way round (0 clean, 1 died)",
    "generation after opening",
];

/// Ask the victim to close its seat and leave.
const CLOSE: u64 = 1;

pub fn run(stage: &mut Stage) {
    let ring = Ring::memfd(&many_slots(), &Config::new(4096).wipe(stage.rng.random())).expect("a ring");
    let stamps = &shared(1)[0];
    let me = ring.attach().expect("a free slot");
    stage.watch(&[("ring", ring.segment())]);
    let records = Records::new([&stamps.begun, &stamps.ended], Default::default());
    let mut reader =
        Reader { consumer: ring.consumer(&me).expect("a vacant seat").into_inner(), records, bytes: Vec::new() };
    let mut round = 0u64;
    while stage.goes_on() {
        round += 1;
        stamps.reset();
        stamps.signal.set(0);
        stamps.generation.set(0);
        let before = ring.status().producer;
        let died = matches!(before.state, SeatState::Dead(_));
        let mut victim =
            stage.spawn("producer", stamps, || write(&ring, stamps, died, before.generation + u64::from(died)));
        if round.is_multiple_of(50) {
            // This one may leave in peace.
            stage.wait_for("a producer to push", || {
                stamps.signal.get() != 0 || stamps.generation.get() != 0 || stamps.wrong.get() != 0
            });
            stamps.signal.set(CLOSE);
            let mut over = false;
            while !over {
                over = ring.status().producer.state == SeatState::Vacant;
                reader.drain(stage);
            }
            stage.exits(&mut victim, "a producer that closes its seat");
            while reader.drain(stage) > 0 {}
            stage.hear(stamps, &COMPLAINTS);
            continue;
        }
        stage.wait_for("a producer to run", || stamps.started());
        let instant = stage.instant(Duration::from_micros(900));
        while now() < instant {
            reader.drain(stage);
        }
        let since = stage.kill(&mut victim, stamps);
        stage.hear(stamps, &COMPLAINTS);
        if ring.status().producer.state != SeatState::Vacant {
            reader.until_died(stage);
            stage.recovered(since);
        }
        reader.bury(stage, stamps);
        stage.cases += 1;
    }
}

/// The victim: opens the seat, and pushes until it is killed.
fn write(ring: &Ring, stamps: &Stamps, died: bool, generation: u64) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    stamps.enter(Phase::Opening);
    let opened = ring.producer(&me).expect("a dead or vacant seat");
    if opened.owner_died() != died {
        stamps.complain(1, opened.owner_died().into(), died.into());
    }
    let mut producer = match opened {
        Opened::Clean(producer) | Opened::OwnerDied(producer) => producer,
    };
    if producer.generation() != generation {
        stamps.complain(2, producer.generation(), generation);
    }
    stamps.generation.set(generation + 1);
    while stamps.signal.get() != CLOSE {
        let next = stamps.ended.get() + 1;
        let count = push(&mut producer, stamps, next);
        stamps.ended.set(next + count - 1);
        stamps.enter(Phase::Outside);
    }
}

/// One push of some kind; how many records.
fn push(producer: &mut Producer, stamps: &Stamps, next: u64) -> u64 {
    let bytes = payload(next);
    match next % 4 {
        0 => {
            stamps.begun.set(next + 2);
            stamps.enter(Phase::Pushing);
            let records = (next..next + 3).map(|number| (kind(number), payload(number)));
            producer.push_batch(records).unwrap_or(0) as u64
        }
        1 => {
            stamps.begun.set(next);
            stamps.enter(Phase::Pushing);
            let Ok(mut reservation) = producer.reserve(kind(next), bytes.len()) else { return 0 };
            reservation.write(0, bytes);
            reservation.commit().expect("not forked");
            1
        }
        _ => {
            stamps.begun.set(next);
            stamps.enter(Phase::Pushing);
            producer.push(kind(next), bytes).expect("the stage reads");
            1
        }
    }
}

/// A producer that fills the ring is killed asleep, for `kill_in_a_system_call`.
pub(super) struct Slept {
    ring: Ring,
    reader: Reader,
    stamps: &'static Stamps,
    _me: Attachment,
}

impl Slept {
    pub(super) fn new(stage: &mut Stage) -> Self {
        let ring = Ring::memfd(&many_slots(), &Config::new(512).wipe(stage.rng.random())).expect("a ring");
        let stamps = &shared(1)[0];
        let me = ring.attach().expect("a free slot");
        let records = Records::new([&stamps.begun, &stamps.ended], Default::default());
        let consumer = ring.consumer(&me).expect("a vacant seat").into_inner();
        Self { ring, reader: Reader { consumer, records, bytes: Vec::new() }, stamps, _me: me }
    }

    /// It sleeps for room, and is killed before there is some, or when it is about to wake.
    pub(super) fn round(&mut self, stage: &mut Stage) {
        let Self { ring, reader, stamps, .. } = self;
        stage.watch(&[("ring", ring.segment())]);
        stamps.reset();
        stamps.signal.set(0);
        let before = ring.status().producer;
        let died = matches!(before.state, SeatState::Dead(_));
        let generation = before.generation + u64::from(died);
        let mut victim = stage.spawn("producer", stamps, || write(ring, stamps, died, generation));
        // It sleeps only in some of the ways to push.
        let asleep = || stamps.phase() == "pushing" && victim.sleeps();
        stage.nudge_until("a producer to sleep", asleep, |stage| _ = reader.drain(stage));
        if stage.rng.random_bool(0.5) {
            reader.drain(stage);
            stage.pause(Duration::from_micros(60));
        }
        let since = stage.kill(&mut victim, stamps);
        stage.hear(stamps, &COMPLAINTS);
        reader.until_died(stage);
        stage.recovered(since);
        reader.bury(stage, stamps);
        stage.cases += 1;
    }
}

/// The survivor: reads, and knows what is due.
struct Reader {
    consumer: Consumer,
    records: Records<&'static Word, Cell<u64>>,
    bytes: Vec<u8>,
}

impl Reader {
    /// Reads what is there, but no more than some: the victim may write faster. How many records.
    fn drain(&mut self, stage: &mut Stage) -> u64 {
        for read in 0..32 {
            match self.consumer.try_pop(&mut self.bytes) {
                Ok(kind) => self.judge(stage, kind),
                Err(TryPopError::Empty) => return read,
                Err(error) => {
                    stage.finding(&error.to_string());
                    return 0;
                }
            }
        }
        32
    }

    fn until_died(&mut self, stage: &mut Stage) {
        loop {
            match self.consumer.pop_timeout(&mut self.bytes, hang()) {
                Ok(kind) => self.judge(stage, kind),
                Err(PopTimeoutError::ProducerDied) => return,
                Err(PopTimeoutError::TimedOut) => return stage.hangs("the producer's death was not told to a reader"),
                Err(error) => return stage.finding(&format!("after the producer's death: {error}")),
            }
        }
    }

    /// All has arrived, and the next victim goes on after that.
    fn bury(&self, stage: &mut Stage, stamps: &Stamps) {
        stage.hold(self.records.all_arrived());
        let last = self.records.last.get();
        stamps.begun.set(last);
        stamps.ended.set(last);
    }

    fn judge(&mut self, stage: &mut Stage, kind: u32) {
        let found = number(kind, self.records.due());
        stage.hold(self.records.arrived(found, self.bytes == payload(found)));
        self.records.committed(found);
        stage.cases += 1;
    }
}
