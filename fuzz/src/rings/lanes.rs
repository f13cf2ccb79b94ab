use super::{Parsed, Sides, look_at_next, of_its_kind, options, pop_several, popped, push_several, soon, told};
use crate::memory::{Words, lines, row};
use crate::parser::Turn;
use ownerdead::ring::mpsc::lanes::{Config, Consumer, MAX_LANES, Producer, Ring};
use ownerdead::ring::{Bell, BellUseError};

const LANES: usize = 2;
const CAPACITY: usize = 256;

pub fn all() -> impl Iterator<Item = Ring> {
    let config = Config::new(LANES, CAPACITY);
    let configs = [config.checksum(false), config.checksum(true).wipe(true)];
    configs.into_iter().map(|config| Ring::memfd(&options(), &config).expect("a ring"))
}

impl Parsed for Ring {
    of_its_kind!(MPSC_LANES);

    /// Of all, of each lane, and the first records of each.
    fn words(&self) -> Vec<Words> {
        let lanes = [lines(4096, 6), lines(4096 + 1024, 6)].concat();
        [&lines(0, 5)[..], &lanes, &[row(8192, 8), row(8192 + CAPACITY, 8)]].concat()
    }
}

impl Sides for Producer {
    fn arm_for_the_other(&self, bell: &Bell) -> Result<(), BellUseError> {
        self.arm_for_consumer(bell)
    }

    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
        match operation {
            0 | 1 => self.beat(),
            2 | 3 => told(self.wait_consumer(Some(soon(turn)))),
            4 => assert!(self.lane() < MAX_LANES, "generation {}", self.generation()),
            _ => push_several!(self, longest, turn),
        }
    }
}

impl Sides for Consumer {
    fn arm_for_the_other(&self, bell: &Bell) -> Result<(), BellUseError> {
        self.arm_for_producer(bell)
    }

    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
        match operation {
            0 => self.beat(),
            1 => _ = self.generation(),
            2 => told(self.wait_producer(Some(soon(turn)))),
            3 => popped(self.discard()),
            4 | 5 => pop_several!(self, longest, turn),
            _ => look_at_next!(self, longest, turn),
        }
    }
}
