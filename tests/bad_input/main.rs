//! Bad input of every kind: what is said of it, and that nothing is harmed.
//!
//! A row of the table in `docs/errors.md` is a bad input and the error it gives. Each row runs in a process of its own, which must
//! end well: no panic, no fault, no hang. It spoils something, sees the error, and then sees that an honest handle on the same
//! segment still works. Nothing is attached in the test process itself: what a process has found out of its kernel, once, is
//! inherited by the rows.
#![cfg(not(model))]

mod cell;
mod claims;
mod damaging;
mod environment;
mod fallback;
mod files;
mod header;
mod hostile;
mod image;
mod kernel;
mod lock;
mod locked;
mod locks;
mod mpmc;
mod names;
#[path = "../os/process.rs"]
mod process;
mod ring;
mod row;
mod truncated;
mod using;
mod waits;

use row::Section;
use serial_test::serial;

fn sections() -> Vec<Section> {
    vec![
        names::section(),
        files::making(),
        files::opening(),
        header::section(),
        ring::making(),
        ring::seats(),
        using::section(),
        lock::section(),
        kernel::section(),
        cell::section(),
        locks::section(),
        mpmc::section(),
        claims::section(),
        locked::section(),
        waits::section(),
        truncated::section(),
    ]
}

#[test]
#[serial(dev_shm)]
fn each_bad_input_gives_the_error_that_docs_errors_md_shows_and_harms_nothing() {
    row::compare_with_docs(&sections());
}
