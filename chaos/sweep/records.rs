//! What sweeps of rings with several sides share: records that say whose they are and which, and the operations that push and pop them.

use super::case::FactsOf;
use ownerdead::harness::kill::{Facts, Finding, Word};
use ownerdead::harness::oracle::Records;
use ownerdead::ring::{Commit, Consume, PopTimeoutError, Produce, PushTimeoutError, TryPopError, TryPushError};
use std::time::Duration;

/// The victim's records, or, if it is a consumer, those of a producer that has gone; and the other one's.
pub const MINE: u64 = 0;
pub const OTHERS: u64 = 1;
/// Words of the facts.
const FACTS: [FactsOf<5>; 3] = [FactsOf([0, 1, 2, 3, 4]), FactsOf([5, 6, 7, 8, 9]), FactsOf([10, 11, 12, 13, 14])];
/// The first word that no records have.
pub const FACTS_LEFT: usize = 15;

pub fn records(facts: &Facts, whose: u64) -> Records<&Word, &Word> {
    let [begun, ended, may_be_read, read, last] = FACTS[whose as usize].words(facts);
    Records::new([begun, ended], [may_be_read, read, last])
}

/// The kind of a record says whose it is, and which.
pub fn kind(whose: u64, number: u64) -> u32 {
    (whose << 16 | number) as u32
}

/// Whose it is, and which.
pub fn named(kind: u32) -> (u64, u64) {
    (u64::from(kind >> 16), u64::from(kind & 0xffff))
}

/// Its payload follows from that, but for its length.
pub fn bytes<const N: usize>(whose: u64, number: u64) -> [u8; N] {
    std::array::from_fn(|index| ((number + 7 * whose) as u8).wrapping_mul(31).wrapping_add(index as u8) | 1)
}

/// Pushes the next record, whose payload is as `payload` says, by one that is no victim.
pub fn push<const N: usize>(
    producer: &mut impl Produce,
    whose: u64,
    facts: &Facts,
    payload: impl Fn(u64, u64) -> ([u8; N], usize),
) -> Result<(), TryPushError> {
    let number = records(facts, whose).begun.get() + 1;
    let (bytes, len) = payload(whose, number);
    pushes(&records(facts, whose), number, || producer.try_push(kind(whose, number), &bytes[..len]))
}

/// A record arrives at one that is no victim, before it is committed as read. Says whose it is, and which.
pub fn arrives<const N: usize>(
    kind: u32,
    bytes: &[u8],
    whose: &[u64],
    facts: &Facts,
    payload: impl Fn(u64, u64) -> ([u8; N], usize),
) -> Result<(u64, u64), Finding> {
    let (of, number) = named(kind);
    if !whose.contains(&of) {
        return Err(Finding::other(format!("a record of kind {kind:#x}")));
    }
    let (expected, len) = payload(of, number);
    records(facts, of).arrived(number, *bytes == expected[..len])?;
    Ok((of, number))
}

#[inline(always)]
fn pushes<E>(records: &Records<&Word, &Word>, number: u64, push: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    records.push(number);
    let pushed = push();
    match pushed {
        Ok(()) => records.pushed(number),
        Err(_) => records.push(number - 1),
    }
    pushed
}

/// A victim that has sides of a ring.
pub trait Sides {
    type Producer: Produce;
    type Consumer: Consume;
    /// How many there are whose records are known.
    const WHOSE: u64;
    /// The producer's side, the number of the next record, and its payload.
    fn pushing(&mut self) -> (&mut Self::Producer, u64, &[u8]);
    /// The consumer's side, and what it pops into.
    fn popping(&mut self) -> (&mut Self::Consumer, &mut Vec<u8>);
    fn timeout(&self) -> Option<Duration>;
}

/// One record, by `push`; it may be refused.
#[inline(always)]
pub fn pushed<V: Sides, E>(
    victim: &mut V,
    facts: &Facts,
    push: impl FnOnce(&mut V::Producer, u32, &[u8]) -> Result<(), E>,
) {
    let (producer, number, bytes) = victim.pushing();
    let _ = pushes(&records(facts, MINE), number, || push(producer, kind(MINE, number), bytes));
}

/// One record, by `pop`; there may be none.
#[inline(always)]
pub fn popped<V: Sides, E>(
    victim: &mut V,
    facts: &Facts,
    pop: impl FnOnce(&mut V::Consumer, &mut Vec<u8>) -> Result<u32, E>,
) {
    read_unseen::<V>(facts);
    let (consumer, bytes) = victim.popping();
    if let Ok(kind) = pop(consumer, bytes) {
        committed::<V>(facts, kind);
    }
}

/// Whatever comes next may be read now, and nobody may have looked at it.
#[inline(always)]
pub fn read_unseen<V: Sides>(facts: &Facts) {
    (0..V::WHOSE).for_each(|whose| records(facts, whose).read_unseen());
}

#[inline(always)]
pub fn committed<V: Sides>(facts: &Facts, kind: u32) {
    let (whose, number) = named(kind);
    records(facts, whose % V::WHOSE).committed(number);
}

/// What a peek is for: rings have it, and their interface has not.
macro_rules! consumed {
    ($consumer:expr, $bytes:expr) => {
        $consumer.peek().map(|peek| {
            let _ = peek.copy_to($bytes);
            let kind = peek.kind();
            peek.consume();
            kind
        })
    };
}
pub(crate) use consumed;

// The operations: functions of their own, so that their instructions are.

#[inline(never)]
pub fn try_push<S, V: Sides>(_: &S, victim: &mut V, facts: &Facts) {
    pushed(victim, facts, |producer, kind, bytes| producer.try_push(kind, bytes));
}

#[inline(never)]
pub fn push_blocking<S, V: Sides>(_: &S, victim: &mut V, facts: &Facts) {
    pushed(victim, facts, |producer, kind, bytes| producer.push(kind, bytes));
}

#[inline(never)]
pub fn push_timeout<S, V: Sides>(_: &S, victim: &mut V, facts: &Facts) {
    let timeout = victim.timeout().unwrap_or(Duration::MAX);
    pushed(victim, facts, |producer, kind, bytes| -> Result<(), PushTimeoutError> {
        producer.push_timeout(kind, bytes, timeout)
    });
}

#[inline(never)]
pub fn reserve<S, V: Sides>(_: &S, victim: &mut V, facts: &Facts) {
    pushed(victim, facts, |producer, kind, bytes| {
        let mut reservation = producer.reserve(kind, bytes.len())?;
        let (first, rest) = bytes.split_at(bytes.len().min(5));
        reservation.write(0, first);
        reservation.write(5, rest);
        reservation.write(usize::MAX, &[1]);
        reservation.commit()
    });
}

#[inline(never)]
pub fn reserve_and_drop<S, V: Sides>(_: &S, victim: &mut V, _: &Facts) {
    let (producer, _, bytes) = victim.pushing();
    if let Ok(mut reservation) = producer.reserve(1, bytes.len()) {
        reservation.write(0, bytes);
    }
}

#[inline(never)]
pub fn try_pop<S, V: Sides>(_: &S, victim: &mut V, facts: &Facts) {
    popped(victim, facts, |consumer, bytes| -> Result<u32, TryPopError> { consumer.try_pop(bytes) });
}

#[inline(never)]
pub fn pop_blocking<S, V: Sides>(_: &S, victim: &mut V, facts: &Facts) {
    popped(victim, facts, |consumer, bytes| consumer.pop(bytes));
}

#[inline(never)]
pub fn pop_timeout<S, V: Sides>(_: &S, victim: &mut V, facts: &Facts) {
    let timeout = victim.timeout().unwrap_or(Duration::MAX);
    popped(victim, facts, |consumer, bytes| -> Result<u32, PopTimeoutError> { consumer.pop_timeout(bytes, timeout) });
}
