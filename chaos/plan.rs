//! What a scenario decides: who is killed or stopped, when and how. It follows from the seed and the number of the round alone, not
//! from what happened in the rounds before, nor from how fast the machine is.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// The dice of a round.
pub fn dice(seed: u64, round: u64) -> StdRng {
    // The multiplier of Knuth's linear congruential generator: no two rounds below 2^64 share a seed.
    StdRng::seed_from_u64(seed ^ round.wrapping_mul(6_364_136_223_846_793_005))
}

/// What is done to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL to one.
    Kill(usize),
    /// SIGKILL to a process group.
    KillGroup(usize),
    /// SIGSTOP to one.
    Stop(usize),
    /// SIGCONT to one.
    GoOn(usize),
}

/// A blow, and how long to wait before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    pub after: Duration,
    pub blow: Blow,
}

/// At what a round aims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aims {
    /// Several at once, or a group.
    Several,
    /// Stops and goings-on, with kills among them.
    Storm,
}

/// The blows of a round at `people`, who are in `groups` groups.
pub fn strikes(dice: &mut StdRng, aims: Aims, people: usize, groups: usize, most: Duration) -> Vec<Strike> {
    let wait = |dice: &mut StdRng, most: Duration| Duration::from_nanos(dice.random_range(0..most.as_nanos() as u64));
    let first = wait(dice, most);
    let mut strikes = Vec::new();
    match aims {
        Aims::Several if dice.random_bool(0.3) => {
            strikes.push(Strike { after: first, blow: Blow::KillGroup(dice.random_range(0..groups)) });
        }
        Aims::Several => {
            let count = dice.random_range(1..=people);
            // At once, or nearly so: one may die while another one's death is being told.
            let apart = Duration::from_micros([1, 30][usize::from(dice.random_bool(0.5))]);
            let mut left: Vec<usize> = (0..people).collect();
            for index in 0..count {
                let who = left.swap_remove(dice.random_range(0..left.len()));
                let after = if index == 0 { first } else { wait(dice, apart) };
                strikes.push(Strike { after, blow: Blow::Kill(who) });
            }
        }
        Aims::Storm => {
            let mut dead = vec![false; people];
            for _ in 0..dice.random_range(4..16) {
                let who = dice.random_range(0..people);
                let blow = match dice.random_range(0..8) {
                    0 => Blow::Kill(who),
                    1..=4 => Blow::Stop(who),
                    _ => Blow::GoOn(who),
                };
                if !dead[who] {
                    strikes.push(Strike { after: wait(dice, most / 8), blow });
                }
                dead[who] |= matches!(blow, Blow::Kill(_));
            }
        }
    }
    strikes
}
