//! x
#![cfg(model)]
