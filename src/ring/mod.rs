//! Rings.

pub(crate) mod record;
pub mod spsc;
