use super::{Parsed, Sides, look_at_next, options, pop_several, popped, push_several, told};
use crate::memory::{Words, lines, row};
use crate::parser::Turn;
use ownerdead::ring::RingError;
use ownerdead::ring::mpsc::lanes::{Config, Consumer, Producer, Ring};
use ownerdead::segment::{Kind, Segment};
use std::fmt::Debug;
use std::time::Duration;

const LANES: usize = 2;
const CAPACITY: usize = 256;

pub fn all() -> impl Iterator<Item = Ring> {
    let config = Config::new(LANES, CAPACITY);
    let configs = [config.checksum(false), config.checksum(true).wipe(true)];
    configs.into_iter().map(|config| Ring::memfd(&options(), &config).expect("a ring"))
}

impl Parsed for Ring {
    const KIND: Kind = Kind::MPSC_LANES;

    fn of(segment: Segment) -> Result<Self, RingError> {
        Self::from_segment(segment)
    }
    fn segment(&self) -> &Segment {
        self.segment()
    }
    /// Of all, of each lane, and the first records of each.
    fn words(&self) -> Vec<Words> {
        let lanes = [lines(4096, 6), lines(4096 + 1024, 6)].concat();
        [&lines(0, 5)[..], &lanes, &[row(8192, 8), row(8192 + CAPACITY, 8)]].concat()
    }
    fn status(&self) -> impl Debug {
        self.status()
    }
}

impl Sides for Producer {
    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
        match operation {
            0 | 1 => self.beat(),
            2 | 3 => told(self.wait_consumer(Some(Duration::ZERO))),
            4 => assert!(self.lane() < LANES, "generation {}", self.generation()),
            _ => push_several!(self, longest, turn),
        }
    }
}

impl Sides for Consumer {
    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
        match operation {
            0 => self.beat(),
            1 => _ = self.generation(),
            2 => told(self.wait_producer(Some(Duration::ZERO))),
            3 => popped(self.discard()),
            4 | 5 => pop_several!(self, longest, turn),
            _ => look_at_next!(self, longest, turn),
        }
    }
}
