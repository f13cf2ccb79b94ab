//! What a ring looks like: arithmetic only, no memory.

use crate::owner::MAX_SLOTS;
use crate::ring::record::Geometry;

/// What a slow reader meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is lapped, and told how many records it has lost.
    Lossy,
    /// It holds the writer up.
    Lossless,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub(super) capacity: usize,
    pub(super) readers: usize,
    pub(super) mode: Mode,
    pub(super) checksum: bool,
    pub(super) entries: Option<usize>,
}

impl Config {
    /// A lossy ring of `capacity` bytes (a power of two between 64 and 2^32) for up to `readers` readers at a time (1 to 4094).
    /// Unless said otherwise, records have checksums.
    pub const fn lossy(capacity: usize, readers: usize) -> Self {
        Self { capacity, readers, mode: Mode::Lossy, checksum: true, entries: None }
    }

    /// A lossless one.
    pub const fn lossless(capacity: usize, readers: usize) -> Self {
        Self { mode: Mode::Lossless, ..Self::lossy(capacity, readers) }
    }

    /// Whether each record carries a CRC-32, checked when it is read.
    pub const fn checksum(mut self, on: bool) -> Self {
        self.checksum = on;
        self
    }

    /// Entries of the index: a power of two, between 2 and an eighth of the capacity. The ring holds one record less at a time, be
    /// they ever so small; each costs 8 bytes. Unless said otherwise there is one for each 32 bytes of the capacity, and 4 at least.
    pub const fn entries(mut self, entries: usize) -> Self {
        self.entries = Some(entries);
        self
    }
}

/// A ring's, validated once, then private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(super) bytes: Geometry,
    pub(super) lossless: bool,
    /// Invariant 1: between 1 and [`MAX_SLOTS`].
    pub(super) readers: usize,
    /// Invariant 2: a power of two, between 2 and an eighth of the capacity.
    pub(super) entries: u64,
}

/// What of a configuration is not allowed.
#[derive(Debug)]
#[cfg_attr(model, allow(dead_code, reason = "a model's configuration is allowed"))]
pub(crate) struct NotAllowed {
    pub(super) field: &'static str,
    pub(super) found: u64,
    pub(super) expected: String,
}

impl Shape {
    pub(super) fn new(config: &Config) -> Result<Self, NotAllowed> {
        let capacity = config.capacity as u64;
        let entries = config.entries.map_or((capacity / 32).max(4), |entries| entries as u64);
        let lossless = config.mode == Mode::Lossless;
        Self::checked(capacity, config.checksum, lossless, config.readers as u64, entries)
    }

    pub(super) fn checked(
        capacity: u64,
        checksum: bool,
        lossless: bool,
        readers: u64,
        entries: u64,
    ) -> Result<Self, NotAllowed> {
        let bytes = Geometry::new(capacity, checksum, false).ok_or_else(|| {
            let (least, most) = (Geometry::SMALLEST, Geometry::LARGEST);
            let expected = format!("a power of two between {least:#x} and {most:#x}");
            NotAllowed { field: "capacity", found: capacity, expected }
        })?;
        if !(1..=MAX_SLOTS as u64).contains(&readers) {
            let expected = format!("between 1 and {MAX_SLOTS}");
            return Err(NotAllowed { field: "number of places for readers", found: readers, expected });
        }
        if !entries.is_power_of_two() || !(2..=capacity / 8).contains(&entries) {
            let expected = format!("a power of two between 2 and {:#x}", capacity / 8);
            return Err(NotAllowed { field: "number of entries of the index", found: entries, expected });
        }
        Ok(Self { bytes, lossless, readers: readers as usize, entries })
    }

    pub(super) fn mode(&self) -> Mode {
        if self.lossless { Mode::Lossless } else { Mode::Lossy }
    }

    /// Records that it can hold: all entries but the one after the last.
    pub(super) fn records(&self) -> u64 {
        self.entries - 1
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_is_named() {
        for (config, field) in [
            (Config::lossy(65, 1), "capacity"),
            (Config::lossy(64, 0), "number of places for readers"),
            (Config::lossless(64, MAX_SLOTS + 1), "number of places for readers"),
            (Config::lossy(64, 1).entries(1), "number of entries of the index"),
            (Config::lossy(64, 1).entries(3), "number of entries of the index"),
            (Config::lossy(64, 1).entries(16), "number of entries of the index"),
        ] {
            assert_eq!(Shape::new(&config).unwrap_err().field, field, "{config:?}");
        }
        assert_eq!(Shape::new(&Config::lossy(64, 1)).unwrap().entries, 4);
        assert_eq!(Shape::new(&Config::lossless(1 << 20, MAX_SLOTS)).unwrap().records(), (1 << 15) - 1);
    }
}
