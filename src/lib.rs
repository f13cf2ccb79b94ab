//! Shared-memory rings and locks for Linux that survive `kill -9`, and the harness that proves it.
//!
//! | module | what it is | what it builds on |
//! |---|---|---|
//! | [`sync`] | the one door to atomics, cells, futexes, the clock and death; Linux, loom and shuttle behind it | |
//! | [`owner`] | life words, the participants' table, rights that name their holder | `sync` |
//! | `segment` | shared memory that is born whole and validated when it is opened | `owner` |
//! | [`lock`] | the robust mutex and its condition variables, the futex mutex, the reader-writer lock, the semaphore, once-initialisation, the barrier | `segment` |
//! | [`cell`] | the sequence lock, the snapshot, the board of latest values | `segment` |
//! | [`ring`] | rings: one producer or many, one reader or all | `segment` |
//! | `inspect` | what the bytes of a segment say, right or wrong | `lock`, `cell`, `ring` |
//! | [`harness`] | sweeps of models with deaths, reports | `sync` |
//!
//! The one idea: a right in shared memory (a lock, a seat of a ring) names the thread that holds it, and the kernel tells
//! when that thread is gone. So no right is ever taken from a thread that is merely slow or stopped, and none stays with a
//! dead one. See `docs/design.md`.
// In a model build rustdoc sees `model` alone (see build.rs): no doc tests there.
#![cfg(any(not(model), loom, shuttle))]

pub mod cell;
mod data;
pub mod harness;
#[cfg(not(model))]
pub mod inspect;
pub mod lock;
pub mod owner;
pub mod ring;
#[cfg(not(model))]
pub mod segment;
pub mod sync;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
