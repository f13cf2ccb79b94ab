//! Rings: one interface ([`Topology`], [`Produce`], [`Consume`]), and one module for each topology.

#[cfg(not(model))]
mod bell;
pub mod broadcast;
mod error;
mod interface;
pub mod mpmc;
pub mod mpsc;
pub(crate) mod record;
#[cfg(not(model))]
mod shared;
pub mod spsc;

#[cfg(not(model))]
pub use bell::{Bell, BellError, BellUseError, Rang};
pub use error::*;
pub(crate) use interface::interface;
pub use interface::{Commit, Consume, Produce, Statistics, Topology, Unit};
#[cfg(not(model))]
pub use shared::RingError;

pub use crate::owner::Opened;

use crate::owner::SeatState;

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
