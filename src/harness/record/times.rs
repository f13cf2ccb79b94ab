//! Times, counted in buckets that are the same everywhere, so that shards can be added up.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often which time was taken, to 1 %: a time is kept as the longest one of its bucket, in nanoseconds. What took more than
/// an hour counts as an hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Times(Histogram<u64>);

/// An hour.
const LONGEST: u64 = 3_600_000_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 2;

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("bounds that the crate allows"))
    }
}

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.add_many(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), 1);
    }

    /// `count` more of `nanoseconds`.
    pub fn add_many(&mut self, nanoseconds: u64, count: u64) {
        // It counts up to u64::MAX without a word, and has a bucket for every time up to the longest.
        self.0.saturating_record_n(nanoseconds.min(LONGEST), count);
    }

    /// All of another one's.
    pub fn merge(&mut self, other: &Self) {
        for (nanoseconds, count) in other.buckets() {
            self.add_many(nanoseconds, count);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time, in nanoseconds, that this share of them did not exceed; 0 if there is none. `at(0.5)` is the median.
    pub fn at(&self, share: f64) -> u64 {
        if self.count() == 0 { 0 } else { self.0.value_at_quantile(share).min(LONGEST) }
    }

    /// The longest time of each bucket that is not empty, in nanoseconds, with how many are in it; shortest first.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        // The last bucket reaches beyond the longest time.
        self.0.iter_recorded().map(|step| (step.value_iterated_to().min(LONGEST), step.count_at_value()))
    }
}

impl From<Vec<(u64, u64)>> for Times {
    fn from(buckets: Vec<(u64, u64)>) -> Self {
        let mut times = Self::default();
        for (nanoseconds, count) in buckets {
            times.add_many(nanoseconds, count);
        }
        times
    }
}

impl From<Times> for Vec<(u64, u64)> {
    fn from(times: Times) -> Self {
        times.buckets().collect()
    }
}
