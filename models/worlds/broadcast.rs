//! Processes at a broadcast ring, and what must hold there.
#![allow(dead_code, reason = "not every model uses all of them")]

#[path = "bell.rs"]
mod bell;

pub use bell::{Bell, add_bell};
use ownerdead::harness::model::World;
use ownerdead::owner::Attachment;
use ownerdead::ring::broadcast::{Config, Consumer, PopError, Producer, PushError, Ring, SeatError, TryPopError};
use std::cell::Cell;
use std::rc::Rc;

/// Without checksums, so that only the ring's own order keeps records whole. Four entries: three records of one granule, at
/// positions 0, 16 and 32, and the fourth overwrites the first.
pub const LOSSY: Config = Config::lossy(64, 2).checksum(false);
/// One record of one granule fills it, by its index.
pub const NARROW: Config = Config::lossless(64, 2).checksum(false).entries(2);

/// What a process knows of the writer, that dies with nobody.
#[derive(Default)]
pub struct Writing {
    /// Records of which a push was begun.
    pub begun: Cell<u64>,
    /// Records whose push has returned.
    pub ended: Cell<u64>,
}

/// Records are numbered as the ring counts them, by their kind and by each byte of their payload.
pub fn payload(number: u64) -> [u8; 8] {
    [number as u8 + 1; 8]
}

/// What one reader has seen: each record is the next one, but for those that it was told of as lost.
pub struct Reading {
    pub due: Cell<u64>,
    writing: Rc<Writing>,
}

impl Reading {
    /// From when it joined.
    pub fn from(consumer: &Consumer, writing: &Rc<Writing>) -> Self {
        Self { due: Cell::new(consumer.position()), writing: Rc::clone(writing) }
    }

    pub fn arrived(&self, kind: u32, bytes: &[u8]) {
        let due = self.due.get();
        assert_eq!(u64::from(kind), due, "out of order");
        assert!(due < self.writing.begun.get(), "invented: record {due}");
        assert_eq!(bytes, payload(due), "torn: record {due}");
        self.due.set(due + 1);
    }

    pub fn lost(&self, lost: u64) {
        assert!(lost > 0, "lapped, and nothing lost");
        self.due.set(self.due.get() + lost);
        assert!(self.due.get() <= self.writing.begun.get(), "lost what was never written");
    }

    /// One record, or told of lost ones; whether there was either.
    pub fn try_pop(&self, consumer: &mut Consumer) -> bool {
        let mut bytes = Vec::new();
        match consumer.try_pop(&mut bytes) {
            Ok(kind) => self.arrived(kind, &bytes),
            Err(TryPopError::Lapped { lost }) => self.lost(lost),
            Err(TryPopError::Empty) => return false,
            Err(error) => panic!("{error}"),
        }
        true
    }

    /// Reads until `until` records are behind it, or the writer has died.
    pub fn pop_until(&self, consumer: &mut Consumer, until: u64) {
        let mut bytes = Vec::new();
        while self.due.get() < until {
            match consumer.pop(&mut bytes) {
                Ok(kind) => self.arrived(kind, &bytes),
                Err(PopError::Lapped { lost }) => self.lost(lost),
                Err(PopError::ProducerDied) => {
                    assert!(self.due.get() >= self.writing.ended.get(), "committed records are lost");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub fn producer(ring: &Ring, me: &Attachment) -> Producer {
    ring.producer(me).expect("a vacant seat").into_inner()
}

pub fn consumer(ring: &Ring, me: &Attachment) -> Consumer {
    ring.consumer(me).expect("a free place").into_inner()
}

pub fn attach(ring: &Ring) -> Attachment {
    ring.attach().expect("a free slot")
}

impl Writing {
    pub fn push(&self, producer: &mut Producer) {
        let number = self.begun.get();
        self.begun.set(number + 1);
        match producer.push(number as u32, &payload(number)) {
            Ok(()) => self.ended.set(number + 1),
            Err(PushError::ConsumerDied) => panic!("a writer waits for no dead reader"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// `w` pushes `count` records; it has its seat from the start.
pub fn add_writer(world: &mut World, ring: &Ring, writing: &Rc<Writing>, count: u64) {
    let (open, writing) = (ring.clone(), Rc::clone(writing));
    world.process_after(
        "w",
        move || producer(&open, &attach(&open)),
        move |mut producer| {
            for _ in 0..count {
                writing.push(&mut producer);
            }
            producer
        },
    );
}

/// `name` reads `count` records, or as many as there are if the writer dies; it has its place from the start.
pub fn add_reader(world: &mut World, ring: &Ring, writing: &Rc<Writing>, name: &'static str, count: u64) {
    let (open, writing) = (ring.clone(), Rc::clone(writing));
    world.process_after(
        name,
        move || consumer(&open, &attach(&open)),
        move |mut consumer| {
            Reading::from(&consumer, &writing).pop_until(&mut consumer, count);
            consumer
        },
    );
}

/// The next writer: if it has the seat, whoever had it before, it pushes one record.
pub fn write_next(ring: &Ring, me: &Attachment, writing: &Writing) -> Option<Producer> {
    let mut next = match ring.producer(me) {
        Ok(opened) => opened.into_inner(),
        Err(SeatError::Busy { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    // What the dead one had begun was committed, or never was.
    let number = next.position();
    assert!((writing.ended.get()..=writing.begun.get()).contains(&number), "{number} records are committed");
    writing.begun.set(number + 1);
    next.push(number as u32, &payload(number)).expect("no reader is waited for but the living");
    writing.ended.set(number + 1);
    Some(next)
}
