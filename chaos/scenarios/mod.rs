//! The scenarios.

mod asleep;
mod broadcast;
mod cell;
mod consumer;
mod crew;
mod crowd;
pub mod ends;
mod foreign;
mod futex_mutex;
mod holder;
mod hostile;
mod hostile_acts;
mod lanes;
mod memory;
mod pause;
mod producer;
mod recovery;
mod rwlock;
mod semaphore;
mod several;
mod slow;
mod together;
mod waiter;
mod wiping;

use crate::stage::Stage;
use ownerdead::segment::Options;

/// A scenario: it works until its stage says that time is up.
type Scenario = fn(&mut Stage);

pub const ALL: [(&str, Scenario); 24] = [
    ("kill_producer_mid_write", producer::run),
    ("kill_consumer_mid_read", consumer::run),
    ("kill_lock_holder", holder::run),
    ("kill_waiter", waiter::run),
    ("kill_beside_a_futex_mutex", futex_mutex::run),
    ("kill_during_recovery", recovery::run),
    ("pause_everyone_in_turn", pause::run),
    ("kill_several_at_once", several::at_once),
    ("stop_and_kill_at_random", several::storm),
    ("kill_in_a_system_call", asleep::run),
    ("end_in_other_ways", ends::run),
    ("unmap_a_foreign_robust_mutex", foreign::run),
    ("run_out_of_memory", memory::run),
    ("work_on_a_slow_machine", slow::run),
    ("kill_writer_of_a_cell", cell::run),
    ("kill_at_a_broadcast_ring", broadcast::run),
    ("kill_among_producers_with_lanes", lanes::run),
    ("kill_readers_and_writers", rwlock::run),
    ("kill_permit_holders", semaphore::run),
    ("kill_in_a_crowd", crowd::run),
    ("kill_among_producers_with_claims", lanes::claims),
    ("kill_those_who_wait_together", together::run),
    ("kill_among_producers_with_a_lock", lanes::locked),
    ("hostile_process", hostile::run),
];

/// A death while a thread moves into its slot leaks the slot. It takes some thousand kills to hit that, and a night has millions.
fn many_slots() -> Options {
    Options::new().slots(2048)
}

/// Payloads shorter than this.
const LONGEST: usize = 200;

/// What payloads are cut from: bytes without a pattern, made when this is compiled, so that a victim loses no time over them.
static BYTES: [u8; 4096 + LONGEST] = {
    let mut bytes = [0; 4096 + LONGEST];
    let (mut at, mut state) = (0, 1u64);
    while at < bytes.len() {
        // xorshift64 of Marsaglia, "Xorshift RNGs" (2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[at] = state as u8;
        at += 1;
    }
    bytes
};

/// The payload of record `number`: its length and all of its bytes follow from it.
fn payload(number: u64) -> &'static [u8] {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (from, length) = ((mixed >> 52) as usize, (mixed >> 20) as usize % LONGEST);
    &BYTES[from..from + length]
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
