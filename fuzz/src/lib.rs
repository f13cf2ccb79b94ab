//! The fuzz targets: any bytes as the memory of structures, and operations in any order.
//!
//! `targets` has their bodies; libFuzzer plays them by the programs in `fuzz_targets/`, and `cargo test` at the root by `replay.rs`.

pub mod cells;
pub mod differential;
pub mod files;
pub mod images;
pub mod input;
pub mod inspected;
pub mod locks;
pub mod memory;
pub mod named;
pub mod opened;
pub mod parser;
pub mod rings;
pub mod sequences;
pub mod targets;

pub use parser::structures;
