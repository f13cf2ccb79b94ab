use super::{
    Parsed, Sides, look_at_next, of_its_kind, options, pop_several, popped, push_several, reserve_and_write, soon, told,
};
use crate::memory::{Words, lines, row};
use crate::parser::Turn;
use ownerdead::owner::SeatState;
use ownerdead::ring::mpsc::locked::{Config, Consumer, Producer, Ring};
use ownerdead::ring::{Bell, BellUseError};

pub fn all() -> impl Iterator<Item = Ring> {
    let config = Config::new(1024);
    let configs = [config.checksum(false), config.checksum(true).wipe(true)];
    configs.into_iter().map(|config| Ring::memfd(&options(), &config).expect("a ring"))
}

impl Parsed for Ring {
    of_its_kind!(MPSC_LOCKED);
    const ORDERED: bool = true;

    /// Of the turn and the seat, of the stream, and the first records.
    fn words(&self) -> Vec<Words> {
        [&lines(0, 6)[..], &lines(1024, 6), &[row(4096, 16)]].concat()
    }
    /// Somebody has the turn, whom the memory says to be alive, or may say so in a moment.
    fn may_wait(&self, under_fire: bool) -> bool {
        under_fire || matches!(self.status().turn, SeatState::Alive(_))
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
            3..=5 => reserve_and_write!(self, operation, 256, longest, turn),
            _ => push_several!(self, longest, turn),
        }
    }
}

impl Sides for Consumer {
    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
        match operation {
            0 => self.beat(),
            1 => _ = self.generation(),
            2 => popped(self.discard()),
            3..=5 => pop_several!(self, longest, turn),
            _ => look_at_next!(self, longest, turn),
        }
    }
}
