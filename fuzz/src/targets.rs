//! The fuzz targets: what each does with an input. `fuzz_targets/` gives them to libFuzzer, `replay.rs` to `cargo test`.

use crate::parser::{self, Play};
use crate::{cells, differential, inspected, locks, named, opened, rings};

/// A fuzz target.
pub struct Target {
    /// As its program, and its folder of inputs.
    pub name: &'static str,
    /// Plays an input. What is wrong is a panic, a fault, or no end.
    pub play: fn(&[u8]),
    /// In builds with `--cfg fuzzing` alone.
    pub between_accesses: bool,
}

/// All of them.
pub const ALL: [Target; 9] = [
    target("segment_open", segment_open),
    target("inspect", inspect),
    target("rings_parser", rings_parser),
    target("cells_parser", cells_parser),
    target("locks_parser", locks_parser),
    target("sequences", sequences),
    target("names", names),
    target("mutex_differential", mutex_differential),
    Target { between_accesses: true, ..target("hostile", hostile) },
];

const fn target(name: &'static str, play: fn(&[u8])) -> Target {
    Target { name, play, between_accesses: false }
}

/// Structures are made once in each thread.
macro_rules! parse {
    ($data:expr, $all:expr, $under_fire:expr) => {{
        thread_local! {
            static ALL: Vec<Box<dyn Play>> = $all;
        }
        ALL.with(|all| parser::play(all, $data, $under_fire));
    }};
}

/// See [`crate::opened`].
pub fn segment_open(data: &[u8]) {
    opened::play(data);
}

/// See [`crate::inspected`].
pub fn inspect(data: &[u8]) {
    inspected::play(data);
}

/// See [`crate::parser`].
pub fn rings_parser(data: &[u8]) {
    parse!(data, rings::all(), false);
}

/// See [`crate::parser`].
pub fn cells_parser(data: &[u8]) {
    parse!(data, cells::all(), false);
}

/// See [`crate::parser`].
pub fn locks_parser(data: &[u8]) {
    parse!(data, locks::all(), false);
}

/// See [`crate::named`].
pub fn names(data: &[u8]) {
    named::play(data);
}

/// See [`crate::differential`].
pub fn mutex_differential(data: &[u8]) {
    differential::mutex_differential(data);
}

/// See [`crate::sequences`].
pub fn sequences(data: &[u8]) {
    crate::sequences::play(data);
}

/// See [`crate::parser`]: under fire.
pub fn hostile(data: &[u8]) {
    parse!(data, crate::structures(), true);
}
