//! What was done when.

use serde::{Deserialize, Serialize};

/// More points than this are put together, by twos.
const MOST: usize = 512;

/// What was done in the time that begins at `at`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64, u64)", into = "(u64, u64, u64, u64)")]
pub struct Point {
    /// Seconds since 1970 UTC.
    pub at: u64,
    /// Cases that were judged.
    pub cases: u64,
    /// Processes that died.
    pub deaths: u64,
    /// What was found.
    pub findings: u64,
}

impl From<(u64, u64, u64, u64)> for Point {
    fn from((at, cases, deaths, findings): (u64, u64, u64, u64)) -> Self {
        Self { at, cases, deaths, findings }
    }
}

impl From<Point> for (u64, u64, u64, u64) {
    fn from(Point { at, cases, deaths, findings }: Point) -> Self {
        (at, cases, deaths, findings)
    }
}

/// Points on a grid of time, of which there are not too many, however long a check goes on. The figures are those of the time
/// between two points, not totals: so those of several shards can be added up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Seconds from one point of the grid to the next: a power of two.
    every: u64,
    points: Vec<Point>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { every: 1, points: Vec::new() }
    }
}

impl Progress {
    /// Adds what was done at about `point.at`.
    pub fn add(&mut self, point: Point) {
        self.points.push(point);
        self.settle();
    }

    /// All of another one's.
    pub fn merge(&mut self, other: &Self) {
        self.every = self.every.max(other.every);
        self.points.extend(&other.points);
        self.settle();
    }

    /// Seconds from one point of the grid to the next.
    pub fn every(&self) -> u64 {
        self.every
    }

    /// The points, in the order of their time; where nothing was done there is none.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The coarsest grid of those that were merged, or the finest one of those coarser on which the points are not too many:
    /// in whatever order points are added, the end is the same.
    pub(super) fn settle(&mut self) {
        self.every = self.every.clamp(1, 1 << 40).next_power_of_two();
        loop {
            self.points.sort_by_key(|point| point.at);
            let mut on_grid: Vec<Point> = Vec::with_capacity(self.points.len());
            for point in &self.points {
                let at = point.at - point.at % self.every;
                match on_grid.last_mut() {
                    Some(last) if last.at == at => {
                        last.cases = last.cases.saturating_add(point.cases);
                        last.deaths = last.deaths.saturating_add(point.deaths);
                        last.findings = last.findings.saturating_add(point.findings);
                    }
                    _ => on_grid.push(Point { at, ..*point }),
                }
            }
            self.points = on_grid;
            if self.points.len() <= MOST || self.every >= 1 << 40 {
                return;
            }
            self.every *= 2;
        }
    }
}
