//! Shared-memory rings and locks for Linux that survive `kill -9`, and the harness that proves it.
#![cfg(any(not(model), loom, shuttle))]
