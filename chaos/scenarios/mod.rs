//! The scenarios.

mod consumer;
mod holder;
mod pause;
mod producer;
mod recovery;
mod waiter;

use crate::stage::Stage;

/// A scenario: it works until its stage says that time is up.
type Scenario = fn(&mut Stage);

pub const ALL: [(&str, Scenario); 6] = [
    ("kill_producer_mid_write", producer::run),
    ("kill_consumer_mid_read", consumer::run),
    ("kill_lock_holder", holder::run),
    ("kill_waiter", waiter::run),
    ("kill_during_recovery", recovery::run),
    ("pause_everyone_in_turn", pause::run),
];

/// The payload of record `number`: its length and all of its bytes follow from it.
fn payload(number: u64, bytes: &mut Vec<u8>) {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let length = (mixed >> 40) as usize % 200;
    bytes.clear();
    bytes.extend((0..length as u64).map(|at| (mixed.rotate_left((at % 64) as u32) ^ at) as u8));
}

/// The number of a record, from the 32 bits that it carries and the one that is due.
fn number(kind: u32, due: u64) -> u64 {
    let ahead = kind.wrapping_sub(due as u32) as i32;
    due.wrapping_add_signed(ahead.into())
}

/// `number`, as a record carries it.
fn kind(number: u64) -> u32 {
    number as u32
}

ownerdead::shared_data! {
    /// Equal, unless a holder died between the two.
    struct Pair {
        left: u64,
        right: u64,
    }
}

const ZERO: Pair = Pair { left: 0, right: 0 };
