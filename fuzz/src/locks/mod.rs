//! Locks as structures whose memory is changed.

mod counted;
mod mutex;
mod rwlock;
mod waits;

use crate::parser::{Play, said};
use ownerdead::lock::OwnerDied;
use std::fmt::{Debug, Display};
use std::time::Duration;

/// What a lock guards while it is whole.
const WHOLE: u64 = 7;
/// Where the words of a lock are that guards a value, and the value: see `lock::shared`.
const VALUE: usize = 256;
const NOW: Duration = Duration::ZERO;

/// All locks, in the order of an input's first byte.
pub fn all() -> Vec<Box<dyn Play>> {
    [mutex::all(), rwlock::all(), counted::all(), waits::all()].into_iter().flatten().collect()
}

fn told<T>(result: Result<T, impl Display + Debug>) -> Option<T> {
    result.map_err(|error| said(&error)).ok()
}

/// The guard of a lock whose last holder died.
fn inherited<G>(died: OwnerDied<G>) -> G {
    assert!(!format!("{died:?}").is_empty());
    died.into_guard()
}
