use super::{Parsed, Sides, look_at_next, of_its_kind, options, reserve_and_write};
use crate::memory::{Words, lines, row};
use crate::parser::Turn;
use ownerdead::ring::mpmc::{Config, Consumer, OnDeath, Order, Producer, Ring};

pub fn all() -> impl Iterator<Item = Ring> {
    let (inside, outside) = (Config::new(4, 20), Config::new(4, 70));
    let configs = [
        inside.checksum(false),
        // Payloads outside their slots.
        outside.checksum(true).order(Order::Round).on_death(OnDeath::Drop),
    ];
    configs.into_iter().map(|config| Ring::memfd(&options(), &config).expect("a ring"))
}

impl Parsed for Ring {
    of_its_kind!(MPMC);

    fn words(&self) -> Vec<Words> {
        [&lines(0, 5)[..], &[row(4096, 4 * 8)]].concat()
    }

    fn claims(&self) -> Option<Words> {
        Some(Words { at: 4096, count: 4, stride: 64 })
    }
}

impl Sides for Producer {
    fn more(&mut self, operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
        reserve_and_write!(self, operation, 80, longest, turn);
    }
}

impl Sides for Consumer {
    fn more(&mut self, _operation: u8, longest: usize, turn: &mut Turn<'_, '_>) {
        look_at_next!(self, longest, turn);
    }
}
