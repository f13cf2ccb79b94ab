use super::{Parsed, Sides, of_its_kind, options, popped, soon, told, within};
use crate::memory::{Words, lines, row};
use crate::parser::Turn;
use ownerdead::ring::broadcast::{Config, Consumer, Producer, Ring};
use ownerdead::ring::{Bell, BellUseError};

const CAPACITY: usize = 256;
const PLACES: usize = 2;
const ENTRIES: usize = 8;

pub fn all() -> impl Iterator<Item = Ring> {
    let configs = [Config::lossless(CAPACITY, PLACES).checksum(false), Config::lossy(CAPACITY, PLACES).checksum(true)];
    configs.into_iter().map(|config| Ring::memfd(&options(), &config.entries(ENTRIES)).expect("a ring"))
}

impl Parsed for Ring {
    of_its_kind!(BROADCAST);
    const KEEPS: bool = false;

    /// Of the writer, of the readers' places, the index, and the first records.
    fn words(&self) -> Vec<Words> {
        let places = Words { at: 4096 + 24, count: PLACES, stride: 128 };
        [&lines(0, 6)[..], &lines(4096, PLACES), &[places, row(8192, ENTRIES), row(12288, 16)]].concat()
    }
}

impl Sides for Producer {
    fn arm_for_the_other(&self, bell: &Bell) -> Result<(), BellUseError> {
        self.arm_for_consumer(bell)
    }

    fn more(&mut self, operation: u8, _longest: usize, turn: &mut Turn<'_, '_>) {
        match operation {
            0..=2 => self.beat(),
            3 | 4 => _ = (self.position(), self.generation()),
            _ => told(self.wait_consumer(Some(soon(turn)))),
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
            1 => _ = (self.position(), self.generation()),
            2 => told(self.wait_producer(Some(soon(turn)))),
            3 | 4 => popped(self.discard()),
            _ => popped(self.peek().map(|view| {
                let (mut bytes, len) = (Vec::new(), view.len());
                turn.disturb();
                assert!((0..).map_while(|index| view.granule(index)).count() <= len.div_ceil(8));
                let copied = view.copy_to(&mut bytes);
                if copied.is_ok() {
                    assert_eq!(bytes.len(), len);
                }
                told(copied);
                within(&bytes, longest);
                if turn.flags & 4 == 0 {
                    told(view.finish());
                }
            })),
        }
    }
}
