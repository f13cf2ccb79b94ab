//! Rings: one interface ([`Topology`], [`Produce`], [`Consume`]), and one module for each topology.

mod error;
mod interface;
pub mod mpmc;
pub(crate) mod record;
#[cfg(not(model))]
mod shared;
pub mod spsc;

pub use error::*;
pub(crate) use interface::interface;
pub use interface::{Commit, Consume, Produce, Statistics, Topology, Unit};
#[cfg(not(model))]
pub use shared::RingError;

use crate::owner::SeatState;

/// A seat that was opened.
#[derive(Debug)]
#[must_use = "dropping it gives the seat up again"]
pub enum Opened<H> {
    /// It was nobody's.
    Clean(H),
    /// It was a dead one's: `EOWNERDEAD`. What it left is repaired, and the generation is one more than before.
    OwnerDied(H),
}

impl<H> Opened<H> {
    /// The seat, however it was had.
    pub fn into_inner(self) -> H {
        match self {
            Self::Clean(seat) | Self::OwnerDied(seat) => seat,
        }
    }

    /// Whether it was taken over from a dead one.
    pub fn owner_died(&self) -> bool {
        matches!(self, Self::OwnerDied(_))
    }
}

/// A seat from outside.
#[derive(Clone, Copy, Debug)]
pub struct SeatStatus {
    /// Take-overs from the dead since the ring's birth.
    pub generation: u64,
    /// Whose it is.
    pub state: SeatState,
    /// Operations, and calls of `beat`, since the ring's birth.
    pub heartbeat: u64,
}
