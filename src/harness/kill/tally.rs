//! Times, as many as are seen, in little memory: what the engine has of its own costs each fork.

use std::time::Duration;

/// Of more, an even part is kept.
const MOST: usize = 1 << 14;

/// Every `2^halved`th of what was added.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kept: Vec<u32>,
    count: u64,
    halved: u32,
}

impl Tally {
    pub(super) fn add(&mut self, value: u32) {
        if self.count.trailing_zeros() >= self.halved {
            self.kept.push(value);
        }
        self.count += 1;
        if self.kept.len() == MOST {
            let mut number = 0;
            self.kept.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.halved += 1;
        }
    }

    /// Adds a time, in microseconds.
    pub(super) fn add_time(&mut self, time: Duration) {
        self.add(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// How many were added.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn sorted(mut self) -> Vec<u32> {
        self.kept.sort_unstable();
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_an_even_part_is_kept() {
        let mut tally = Tally::default();
        (0..100_000).for_each(|value| tally.add(value));
        assert_eq!(tally.count(), 100_000);
        let kept = tally.sorted();
        assert!((MOST / 2..MOST).contains(&kept.len()), "{}", kept.len());
        assert!(kept.iter().all(|value| value % 8 == 0) && kept.windows(2).all(|pair| pair[1] - pair[0] == 8));
    }

    #[test]
    fn of_few_all_are_kept() {
        let mut tally = Tally::default();
        [3, 1, 2].into_iter().for_each(|value| tally.add(value));
        assert_eq!(tally.sorted(), [1, 2, 3]);
    }
}
