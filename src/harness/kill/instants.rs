//! Who is killed next, and when: it follows from the seed alone.

use std::time::Duration;

/// What a campaign does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The processes that are killed, by number from 0, in this order.
    pub victims: Vec<usize>,
    /// When: so much of the time over which kills are spread, of 2^32.
    pub share: u32,
}

impl Decision {
    /// From when all are at work until the first kill is sent.
    pub(super) fn delay(&self, spread: Duration) -> Duration {
        Duration::from_nanos(((spread.as_nanos() * u128::from(self.share)) >> 32) as u64)
    }
}

/// The decisions of a seed, without end.
#[derive(Clone, Debug)]
pub struct Decisions {
    state: u64,
    processes: usize,
    group_every: u32,
}

impl Decisions {
    /// Of campaigns with so many processes, of which all are killed at about one decision in `group_every`.
    pub fn new(seed: u64, processes: usize, group_every: u32) -> Self {
        Self { state: seed, processes: processes.max(1), group_every: group_every.max(1) }
    }

    /// SplitMix64 of G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
    fn next_number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next_number()) * limit as u128) >> 64) as usize
    }
}

impl Iterator for Decisions {
    type Item = Decision;

    fn next(&mut self) -> Option<Decision> {
        let all = self.processes;
        let count = if all == 1 || self.below(self.group_every as usize) == 0 {
            all
        } else if all > 2 && self.below(4) == 0 {
            // Several, and not all.
            2 + self.below(all - 2)
        } else {
            1
        };
        let mut victims: Vec<usize> = (0..all).collect();
        for place in 0..count {
            let other = place + self.below(all - place);
            victims.swap(place, other);
        }
        victims.truncate(count);
        Some(Decision { victims, share: (self.next_number() >> 32) as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn one_seed_gives_the_same_decisions_and_another_gives_others() {
        let decisions = |seed| Decisions::new(seed, 4, 8).take(1000).collect::<Vec<_>>();
        assert_eq!(decisions(7), decisions(7));
        assert_ne!(decisions(7), decisions(8));
    }

    #[test]
    fn one_several_and_all_are_killed_and_nobody_twice() {
        let mut sizes = [0; 5];
        for Decision { victims, .. } in Decisions::new(1, 4, 8).take(4000) {
            assert_eq!(victims.iter().collect::<BTreeSet<_>>().len(), victims.len());
            assert!(victims.iter().all(|&victim| victim < 4));
            sizes[victims.len()] += 1;
        }
        assert_eq!(sizes[0], 0);
        assert!(sizes[1..].iter().all(|&count| count > 100), "{sizes:?}");
    }

    #[test]
    fn kills_are_spread_over_all_of_their_time() {
        let spread = Duration::from_micros(100);
        let mut tenths = [0; 10];
        for decision in Decisions::new(3, 2, 8).take(10_000) {
            tenths[(decision.delay(spread).as_nanos() / 10_000) as usize] += 1;
        }
        assert!(tenths.iter().all(|&count| (800..1200).contains(&count)), "{tenths:?}");
    }
}
