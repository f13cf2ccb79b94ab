//! The harness: checks of structures that must survive the death of their users. It knows none of ours.

pub mod finding;
#[cfg(all(not(model), target_arch = "x86_64"))]
pub mod kill;
#[cfg(model)]
pub mod model;
pub mod oracle;
#[cfg(all(feature = "records", not(model)))]
pub mod record;
pub mod report;
