//! Aiming a kill at one short thing.

use super::{Stage, sleep_until};
use crate::stamps::Stamps;
use ownerdead::sync::time::now;
use rand::RngExt;
use std::time::Duration;

/// When to send a kill that is to arrive while the victim does one short thing: the kill takes tens of microseconds, which
/// differ from machine to machine, and longer than what is to be hit. So it is learnt from each kill.
pub struct Aim {
    /// From when the victim hears its beginning.
    after: Duration,
}

impl Aim {
    /// From when the victim hears its beginning until it begins.
    const LEAD: Duration = Duration::from_micros(100);
    /// Kills are spread over this time, evenly.
    const SPREAD: Duration = Duration::from_micros(40);
    const STEP: Duration = Duration::from_micros(4);

    pub fn new() -> Self {
        Self { after: Duration::from_micros(50) }
    }

    /// Says that the last kill came before the victim had begun, or after it had ended.
    pub fn missed(&mut self, early: bool) {
        // A victim that came too late by a whole time slice says nothing of where to aim.
        let most = 3 * Self::LEAD;
        self.after = if early { (self.after + Self::STEP).min(most) } else { self.after.saturating_sub(Self::STEP) };
    }
}

impl Stage {
    /// Says when a victim that waits in [`Stamps::wait_to_begin`] is to begin, and waits until it is time to send the kill.
    pub fn aim(&mut self, aim: &Aim, stamps: &Stamps) {
        let from = now();
        stamps.begin_at(from + Aim::LEAD);
        let spread = self.rng.random_range(0..Aim::SPREAD.as_nanos() as u64);
        sleep_until(from + aim.after + Duration::from_nanos(spread));
    }
}
