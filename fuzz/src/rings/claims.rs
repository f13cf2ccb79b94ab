use super::{Parsed, Sides, look_at_next, of_its_kind, options, pop_several, reserve_and_write, soon, told};
use crate::memory::{Words, lines, row};
use crate::parser::Turn;
use ownerdead::ring::mpsc::claims::{Config, Consumer, Producer, Ring};
use ownerdead::ring::{Bell, BellUseError};

const CAPACITY: usize = 512;

pub fn all() -> impl Iterator<Item = Ring> {
    let config = Config::new(CAPACITY);
    let configs = [config.block(64).checksum(false), config.block(16).checksum(true)];
    configs.into_iter().map(|config| Ring::memfd(&options(), &config).expect("a ring"))
}

impl Parsed for Ring {
    of_its_kind!(MPSC_CLAIMS);

    /// Of all, of the blocks, and the first records.
    fn words(&self) -> Vec<Words> {
        [&lines(0, 6)[..], &[row(4096, CAPACITY / 64), row(8192, 16)]].concat()
    }

    fn claims(&self) -> Option<Words> {
        let status = self.status();
        Some(row(4096, (status.capacity / status.block) as usize))
    }
}

impl Sides for Producer {
    fn arm_for_the_other(&self, bell: &Bell) -> Result<(), BellUseError> {
        self.arm_for_consumer(bell)
    }

    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
        match operation {
            0 => _ = self.consumer_generation(),
            1 | 2 => told(self.wait_consumer(Some(soon(turn)))),
            _ => reserve_and_write!(self, operation, 256, longest, turn),
        }
    }
}

impl Sides for Consumer {
    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
        match operation {
            0 => self.beat(),
            1 => _ = self.generation(),
            2..=4 => pop_several!(self, longest, turn),
            _ => look_at_next!(self, longest, turn),
        }
    }
}
