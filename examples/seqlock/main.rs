//! A structure that is not this crate's, checked by its harness: `docs/your-own.md` walks through it.
//!
//! As it is, it runs on Linux (`cargo run --example seqlock`). Its model is `models/seqlock.rs`.

#[cfg(not(model))]
mod lock;

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() {
    let lock = lock::SeqLock::new();
    let snapshot = lock::Snapshot::new();
    lock.write([1, 2]);
    snapshot.write([1, 2]);
    println!("sequence lock: {:?}, snapshot: {:?}", lock.try_read(), snapshot.try_read());
    println!("What if its writer is killed? RUSTFLAGS=\"--cfg loom\" cargo test --release --test model_seqlock");
}
