//! The operations, and the states in which each is swept.

use super::super::case::Case;
use super::Damage::*;
use super::Is::{self, *};
use super::Other::{self, *};
use super::{CAPACITY, Locked, Operation, Role, Victim, payload, records};
use crate::case::operations;
use crate::stream::{own, pops, pushes, stream_operations};
use ownerdead::harness::kill::Facts;
use ownerdead::ring::mpsc::locked::Config;
use std::time::Duration;

stream_operations!(of Locked);

operations! {
    of Locked;
    commit(_s, victim, facts) {
        let (records, number) = (records(facts), victim.number);
        records.push(number);
        match victim.reservation.take().expect("the turn").commit() {
            Ok(()) => records.pushed(number),
            Err(_) => records.push(number - 1),
        }
    }
    give_up(_s, victim, _facts) { drop(victim.reservation.take()); }
    close_producer(_s, victim, _facts) { drop(victim.producer.take()); }
    close_consumer(_s, victim, _facts) { drop(victim.consumer.take()); }
    open(subject, victim, _facts) {
        if let Ok(producer) = subject.ring.producer(&victim.me) {
            victim.producer = Some(producer.into_inner());
        }
        if let Ok(consumer) = subject.ring.consumer(&victim.me) {
            victim.consumer = Some(consumer.into_inner());
        }
    }
}

/// An operation, of which role, in which states of the ring, with what of the other one.
struct Row(&'static str, Operation, Role, &'static [(Is, Other)]);

const PUSHES: &[(Is, Other)] = &[
    (Warm, Gone),
    (Warm, DiedInTurn),
    (Padded, Gone),
    (Full, Gone),
    (ReadSince, Gone),
    (Slept, Gone),
    (TooLarge, Gone),
    (Damaged(NoSlot), Gone),
    (Damaged(NoHolder), Gone),
    (Damaged(Mine), Gone),
    (Damaged(WentBack), Gone),
    (Damaged(Odd), Gone),
    (Damaged(TooFar), Gone),
    (Damaged(Apart), Gone),
    (Damaged(HeadWentBack), Gone),
];
const PUSHES_THAT_WAIT: &[(Is, Other)] = &[
    (Warm, Gone),
    (Warm, DiedInTurn),
    (Slept, Gone),
    (TooLarge, Gone),
    (Full, ConsumedAndDied),
    (Damaged(NoSlot), Gone),
];
const RESERVES: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (Full, Gone),
    (ReadSince, Gone),
    (Slept, Gone),
    (TooLarge, Gone),
    (Damaged(NoSlot), Gone),
    (Damaged(Apart), Gone),
    (Damaged(HeadWentBack), Gone),
];
const BATCHES: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (Full, Gone),
    (Slept, Gone),
    (TooLarge, Gone),
    (NoBatch, Gone),
    (Damaged(Second), Gone),
    (Damaged(NoSlot), Gone),
];
const POPS: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (Full, Gone),
    (Empty, Gone),
    (PushedSince, Gone),
    (Slept, Gone),
    (Damaged(WentBack), Gone),
    (Damaged(Odd), Gone),
    (Damaged(TooFar), Gone),
    (Damaged(Apart), Gone),
    (Damaged(TooLong), Gone),
    (Damaged(EndlessPadding), Gone),
    (Damaged(Payload), Gone),
];
const DISCARDS: &[(Is, Other)] = &[
    (Warm, Gone),
    (Empty, Gone),
    (Slept, Gone),
    (Damaged(WentBack), Gone),
    (Damaged(Odd), Gone),
    (Damaged(TooFar), Gone),
    (Damaged(Apart), Gone),
];
const POPS_THAT_WAIT: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (PushedSince, Gone),
    (Slept, Gone),
    (Damaged(TooLong), Gone),
    (Damaged(Payload), Gone),
];
const WARM: &[(Is, Other)] = &[(Warm, Gone)];
const HELD: &[(Is, Other)] = &[(Held, Gone), (Waited, Gone)];
const WAITS: &[(Is, Other)] = &[(Warm, Gone), (Warm, Consumes), (Warm, ConsumedAndDied), (Damaged(Seat), Gone)];
const OPENS: &[(Is, Other)] = &[(Warm, Gone), (Warm, Consumes), (Warm, ConsumedAndDied), (Damaged(Seat), Gone)];

const ROWS: [Row; 18] = [
    Row("try_push", try_push, Role::Producer, PUSHES),
    Row("push", push_blocking, Role::Producer, PUSHES_THAT_WAIT),
    Row("push_timeout", push_timeout, Role::Producer, PUSHES_THAT_WAIT),
    Row("push_batch", push_batch, Role::Producer, BATCHES),
    Row("reserve", reserve, Role::Producer, RESERVES),
    Row("reserve_and_drop", reserve_and_drop, Role::Producer, WARM),
    Row("commit", commit, Role::Producer, HELD),
    Row("give_up", give_up, Role::Producer, HELD),
    Row("wait_consumer", wait_consumer, Role::Producer, WAITS),
    Row("close_producer", close_producer, Role::Producer, WARM),
    Row("try_pop", try_pop, Role::Consumer, POPS),
    Row("pop", pop_blocking, Role::Consumer, POPS_THAT_WAIT),
    Row("pop_timeout", pop_timeout, Role::Consumer, POPS_THAT_WAIT),
    Row("peek", peek, Role::Consumer, POPS),
    Row("pop_batch", pop_batch, Role::Consumer, POPS),
    Row("discard", discard, Role::Consumer, DISCARDS),
    Row("close_consumer", close_consumer, Role::Consumer, WARM),
    Row("open", open, Role::Opener, OPENS),
];

/// Operations that may need to zero something, by what they find.
fn wipes(name: &str) -> Option<(Is, Other)> {
    match name {
        "try_push" | "push_timeout" | "push_batch" | "reserve" => Some((Warm, DiedInTurn)),
        "reserve_and_drop" | "try_pop" | "pop" | "pop_timeout" | "peek" | "pop_batch" | "discard" => Some((Warm, Gone)),
        "give_up" => Some((Held, Gone)),
        _ => None,
    }
}

pub fn cases(all: &mut Vec<Case>) {
    let plain = Config::new(CAPACITY);
    for Row(name, operation, role, states) in ROWS {
        let address = operation as *const () as usize;
        let mut add = |is, other, config, how: &str, timeout| {
            let title = format!("locked.{name}.{}{how}", state(is, other));
            // What survivors do is that of other sweeps, but in the first state of some operations.
            let made = move || Locked::new(config, role, is, other, operation).waiting(timeout);
            let case = Case::new(title, address, made);
            let first = (is, other) == states[0] && how.is_empty() && matches!(name, "try_push" | "commit");
            all.push(if first {
                case
            } else {
                // Real deaths are as there, or as in the sweeps of an SPSC ring, whose code it is.
                case.first_deaths_alone().few_planted()
            });
        };
        let soon = Some(super::SHORT);
        for &(is, other) in states {
            add(is, other, plain, "", soon);
        }
        if let Some((is, other)) = wipes(name) {
            add(is, other, plain.wipe(true), "_wiped", soon);
        }
        if matches!(name, "try_push" | "push" | "push_timeout" | "push_batch" | "reserve" | "commit")
            || name.contains("pop")
            || name == "peek"
        {
            add(states[0].0, Gone, plain.checksum(false), "_without_checksum", soon);
        }
        if name == "pop_batch" {
            add(NoBatch, Gone, plain, "", soon);
            add(Damaged(Second), Gone, plain, "", soon);
        }
        if name == "try_push" {
            add(Damaged(Apart), DiedInTurn, plain.wipe(true), "_wiped", soon);
        }
        let sleeps: &[(Is, Other)] = match name {
            "push_timeout" => {
                &[(Full, Gone), (Full, Consumes), (Warm, HasTurn), (Warm, WaitedFor), (Damaged(SeatOfFull), Gone)]
            }
            "pop_timeout" => &[(Empty, Gone)],
            _ => &[],
        };
        for &(is, other) in sleeps {
            add(is, other, plain, "", soon);
        }
        let waited_for = match name {
            "push_timeout" => Some((Full, ConsumedAndDied)),
            "pop_timeout" => Some((Warm, Gone)),
            "wait_consumer" => Some((Warm, Consumes)),
            _ => None,
        };
        if let Some((is, other)) = waited_for {
            add(is, other, plain, "_without_end", None);
            add(is, other, plain, "_centuries", Some(Duration::MAX));
        }
        let (is, _) = states[0];
        let forked = move || Locked::new(plain, role, is, Gone, operation).inherited();
        all.push(Case::new(format!("locked.{name}.forked"), address, forked).first_deaths_alone().few_planted());
        if name == "open" {
            let foreign = move || Locked::new(plain, role, Warm, Gone, operation).foreign();
            all.push(Case::new(format!("locked.{name}.foreign"), address, foreign).first_deaths_alone().few_planted());
        }
    }
}

fn state(is: Is, other: Other) -> String {
    let is = format!("{is:?}").replace(['(', ')'], "").to_lowercase();
    match other {
        Gone => is,
        HasTurn => format!("{is}_other_has_turn"),
        DiedInTurn => format!("{is}_other_died_in_turn"),
        WaitedFor => format!("{is}_other_is_waited_for"),
        Consumes => format!("{is}_other_consumes"),
        ConsumedAndDied => format!("{is}_other_consumed_and_died"),
    }
}
