//! A structure that is not this crate's, under its harness: see `docs/your-own.md`.
#![cfg(model)]

#[path = "../examples/seqlock/lock.rs"]
mod lock;

use lock::{SeqLock, Snapshot};
use ownerdead::harness::model::{Sweep, World};
use ownerdead::sync::shm::Shared;

/// `w` writes two values of two equal words; `r` reads twice. What it reads must be equal too, and not older the second time.
macro_rules! writer_and_reader {
    ($world:expr, $lock:expr) => {{
        let (writer, reader) = ($lock.clone(), $lock.clone());
        $world.process("w", move || {
            writer.write([1, 1]);
            writer.write([2, 2]);
        });
        $world.process("r", move || {
            let mut last = 0;
            for _ in 0..2 {
                if let Ok([left, right]) = reader.try_read() {
                    assert_eq!(left, right, "torn");
                    assert!(left >= last, "{left} after {last}");
                    last = left;
                }
            }
        });
    }};
}

fn sequence_lock(world: &mut World) {
    let lock = Shared::new(SeqLock::new());
    writer_and_reader!(world, lock);
    // Whoever comes when all is quiet must get a value, or would read again and again, for ever.
    world.after(move || assert!(lock.try_read().is_ok(), "stuck: no reader will ever get a value"));
}

#[test]
fn a_sequence_lock_is_never_torn() {
    Sweep::new("seqlock").preemptions(3, 3).run(sequence_lock);
}

#[test]
fn a_sequence_lock_whose_writer_is_killed_is_stuck() {
    let found = Sweep::new("seqlock_killed").victims(&["w"]).preemptions(3, 3).finds(sequence_lock);
    assert!(found.contains("stuck"), "{found}");
}

#[test]
fn a_snapshot_survives_its_writer() {
    Sweep::new("snapshot").victims(&["w"]).preemptions(2, 1).run(|world| {
        let lock = Shared::new(Snapshot::new());
        writer_and_reader!(world, lock);
        world.after(move || assert!(lock.try_read().is_ok(), "stuck: no reader will ever get a value"));
    });
}
