//! Sleeping on words in shared memory until somebody changes them.
//!
//! All futexes here are shared between processes (no private flag). A sleep compares and queues word by word, in the
//! order given, as `futex_waitv(2)` does; protocols may rely on that order.

use super::atomic::{AtomicU32, AtomicU64};
use super::backend;
use core::time::Duration;

/// A 32-bit word to sleep on: the kernel knows no wider ones.
#[derive(Clone, Copy, Debug)]
pub enum Word<'a> {
    /// All of a 32-bit atomic.
    Whole(&'a AtomicU32),
    /// Bits 0-31 of a 64-bit atomic.
    Low(&'a AtomicU64),
    /// Bits 32-63 of a 64-bit atomic.
    High(&'a AtomicU64),
}

/// Sleep on `word` while it is `expected`.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    /// The word to sleep on.
    pub word: Word<'a>,
    /// The value without which there is no sleep.
    pub expected: u32,
}

/// Why a sleep ended. A caller looks at its words again in every case but `TimedOut`, and then too if it cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Woken through the word of this index; the last one, if through several.
    By(usize),
    /// A word did not have the expected value, or the sleep ended for no reason (a signal, the bound below).
    Changed,
    /// The deadline has passed.
    TimedOut,
}

/// How long a sleep lasts at most before it looks at its words again, deadline or not, unless [`look_again_after`] has said
/// otherwise. It decides nothing; it is there because a hostile peer may never wake us. In a model there is no such bound, so that
/// it cannot hide a lost wake-up.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Sets that bound for all later sleeps of this process, and of children that it forks. For checks: with [`Duration::MAX`] a sleeper
/// that nobody wakes sleeps for ever, as in a model, where otherwise it is a little late.
#[cfg(not(any(loom, shuttle)))]
pub fn look_again_after(bound: Duration) {
    backend::futex::look_again_after(bound);
}

/// Wakes everybody.
pub const ALL: u32 = i32::MAX as u32;

/// The most words that one sleep can name: what the kernel takes.
pub const MAX_WAITS: usize = 128;

/// As many as most sleeps name. Those are not to pay for the space of the others.
pub(crate) const FEW_WAITS: usize = 8;

/// Sleeps on all of `waits` (at most [`MAX_WAITS`]) until one is woken, or `deadline` ([`super::time::now`]'s clock) passes.
///
/// `futex_waitv(2)`. Where the kernel has none, or a filter forbids it, it sleeps on `waits[primary]` alone and looks
/// again after a millisecond.
#[track_caller]
pub fn wait_any(waits: &[Wait<'_>], primary: usize, deadline: Option<Duration>) -> Woken {
    debug_assert!(primary < waits.len() && waits.len() <= MAX_WAITS);
    backend::futex::wait_any(waits, primary, deadline)
}

/// Sleeps on one word.
#[track_caller]
pub fn wait(word: Word<'_>, expected: u32, deadline: Option<Duration>) -> Woken {
    wait_any(&[Wait { word, expected }], 0, deadline)
}

/// Wakes up to `count` sleepers of `word`; says how many. `FUTEX_WAKE`.
#[track_caller]
pub fn wake(word: Word<'_>, count: u32) -> u32 {
    backend::futex::wake(word, count)
}

/// Whether a thread, whose folder of `/proc` this is, sleeps in a futex call now. False, too, if the kernel does not say.
#[cfg(not(any(loom, shuttle)))]
pub fn sleeps(folder: &str) -> bool {
    backend::futex::sleeps(folder)
}
