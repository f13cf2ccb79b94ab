//! The operations, and the states in which each is swept.

use super::super::case::Case;
use super::Damage::*;
use super::Is::{self, *};
use super::Other::{self, *};
use super::{INSIDE, MINE, Mpmc, OUTSIDE, Operation, RING, Role, Victim, WHOSE, kind, records};
use ownerdead::harness::kill::Facts;
use ownerdead::ring::mpmc::{Config, OnDeath, Order};
use std::time::Duration;

/// Defines operations: functions of their own, so that their instructions are.
macro_rules! operations {
    ($($name:ident($subject:ident, $victim:ident, $facts:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name($subject: &Mpmc, $victim: &mut Victim, $facts: &Facts) $body
    )+};
}

/// One record, by `push`; it may be refused.
macro_rules! pushes {
    ($victim:ident, $facts:ident, |$producer:ident, $kind:ident, $bytes:ident| $push:expr) => {{
        let records = records($facts, MINE);
        let (number, (bytes, len)) = ($victim.number, &$victim.payload);
        let ($producer, $kind, $bytes) = (&mut $victim.producer, kind(MINE, number), &bytes[..*len]);
        records.push(number);
        match $push {
            Ok(_) => records.pushed(number),
            Err(_) => records.push(number - 1),
        }
    }};
}

/// One record, by `pop`; there may be none.
macro_rules! pops {
    ($victim:ident, $facts:ident, |$consumer:ident, $bytes:ident| $pop:expr) => {{
        WHOSE.iter().for_each(|&whose| records($facts, whose).read_unseen());
        let ($consumer, $bytes) = (&mut $victim.consumer, &mut $victim.bytes);
        if let Ok(kind) = $pop {
            records($facts, u64::from(kind >> 16) % 2).committed(u64::from(kind & 0xffff));
        }
    }};
}

operations! {
    try_push(_s, victim, facts) { pushes!(victim, facts, |producer, kind, bytes| producer.try_push(kind, bytes)) }
    push_blocking(_s, victim, facts) { pushes!(victim, facts, |producer, kind, bytes| producer.push(kind, bytes)) }
    push_timeout(_s, victim, facts) {
        let timeout = victim.timeout.unwrap_or(Duration::MAX);
        pushes!(victim, facts, |producer, kind, bytes| producer.push_timeout(kind, bytes, timeout))
    }
    reserve(_s, victim, facts) {
        pushes!(victim, facts, |producer, kind, bytes| producer.reserve(kind, bytes.len()).and_then(|mut reservation| {
            reservation.write(0, &bytes[..5]);
            reservation.write(5, &bytes[5..]);
            reservation.write(usize::MAX, &bytes[..1]);
            reservation.commit()
        }))
    }
    reserve_and_drop(_s, victim, _facts) {
        let (bytes, len) = &victim.payload;
        if let Ok(mut reservation) = victim.producer.reserve(1, *len) {
            reservation.write(0, &bytes[..*len]);
        }
    }
    try_pop(_s, victim, facts) { pops!(victim, facts, |consumer, bytes| consumer.try_pop(bytes)) }
    pop_blocking(_s, victim, facts) { pops!(victim, facts, |consumer, bytes| consumer.pop(bytes)) }
    pop_timeout(_s, victim, facts) {
        let timeout = victim.timeout.unwrap_or(Duration::MAX);
        pops!(victim, facts, |consumer, bytes| consumer.pop_timeout(bytes, timeout))
    }
    peek(_s, victim, facts) {
        pops!(victim, facts, |consumer, bytes| consumer.peek().map(|peek| {
            let _ = peek.copy_to(bytes);
            let kind = peek.kind();
            peek.consume();
            kind
        }))
    }
    peek_and_drop(subject, victim, facts) {
        if subject.drops {
            WHOSE.iter().for_each(|&whose| records(facts, whose).read_unseen());
        }
        let _ = victim.consumer.peek().map(|peek| peek.len());
    }
    open(subject, victim, _facts) {
        if let Ok(producer) = subject.ring.producer(&victim.me) {
            victim.producer = producer.into_inner();
        }
        if let Ok(consumer) = subject.ring.consumer(&victim.me) {
            victim.consumer = consumer.into_inner();
        }
    }
    status(subject, victim, _facts) { victim.number += subject.ring.status().full; }
}

/// An operation, of which role, in which states of the ring, with what of the other one.
struct Row(&'static str, Operation, Role, &'static [(Is, Other)]);

const PUSHES: &[(Is, Other)] = &[
    (Warm, Gone),
    (Fresh, Gone),
    (Wrapped, Gone),
    (Full, Gone),
    (Slept, Gone),
    (Behind, Gone),
    (TooLarge, Gone),
    (Warm, Writes),
    (Full, Writes),
    (Full, WroteAndDied),
    (Full, Reads),
    (Full, ReadAndDied),
    (Damaged(NoSlot), Gone),
    (Damaged(NoClaim), Gone),
    (Damaged(Mine), Gone),
    (Damaged(TailTooFar), Gone),
    (Damaged(TailAhead), Gone),
    (Damaged(TailFarAhead), Gone),
];
const PUSHES_THAT_WAIT: &[(Is, Other)] = &[
    (Warm, Gone),
    (Wrapped, Gone),
    (Slept, Gone),
    (Behind, Gone),
    (TooLarge, Gone),
    (Full, WroteAndDied),
    (Damaged(NoSlot), Gone),
    (Damaged(TailTooFar), Gone),
];
const POPS: &[(Is, Other)] = &[
    (Warm, Gone),
    (Fresh, Gone),
    (Wrapped, Gone),
    (Full, Gone),
    (Empty, Gone),
    (Slept, Gone),
    (Behind, Gone),
    (Warm, Writes),
    (Warm, WroteAndDied),
    (Warm, Reads),
    (Warm, ReadAndDied),
    (Full, Writes),
    (Full, Reads),
    (Damaged(NoSlot), Gone),
    (Damaged(NoClaim), Gone),
    (Damaged(Mine), Gone),
    (Damaged(HeadTooFar), Gone),
    (Damaged(HeadAhead), Gone),
    (Damaged(TailTooFar), WroteAndDied),
    (Damaged(Length), Gone),
    (Damaged(Payload), Gone),
];
const POPS_THAT_WAIT: &[(Is, Other)] = &[
    (Warm, Gone),
    (Wrapped, Gone),
    (Slept, Gone),
    (Behind, Gone),
    (Warm, WroteAndDied),
    (Warm, Reads),
    (Warm, ReadAndDied),
    (Damaged(NoSlot), Gone),
    (Damaged(HeadTooFar), Gone),
    (Damaged(Length), Gone),
    (Damaged(Payload), Gone),
];
const WARM: &[(Is, Other)] = &[(Warm, Gone), (Slept, Gone)];
const LOOKS: &[(Is, Other)] = &[(Warm, Gone), (Full, Writes), (Full, ReadAndDied), (Damaged(NoClaim), Gone)];

const ROWS: [Row; 12] = [
    Row("try_push", try_push, Role::Producer, PUSHES),
    Row("push", push_blocking, Role::Producer, PUSHES_THAT_WAIT),
    Row("push_timeout", push_timeout, Role::Producer, PUSHES_THAT_WAIT),
    Row("reserve", reserve, Role::Producer, PUSHES),
    Row("reserve_and_drop", reserve_and_drop, Role::Producer, WARM),
    Row("try_pop", try_pop, Role::Consumer, POPS),
    Row("pop", pop_blocking, Role::Consumer, POPS_THAT_WAIT),
    Row("pop_timeout", pop_timeout, Role::Consumer, POPS_THAT_WAIT),
    Row("peek", peek, Role::Consumer, POPS),
    Row("peek_and_drop", peek_and_drop, Role::Consumer, WARM),
    Row("open", open, Role::Producer, &[(Warm, Gone)]),
    Row("status", status, Role::Producer, LOOKS),
];

pub fn cases(all: &mut Vec<Case>) {
    let plain = Config::new(RING, INSIDE);
    for Row(name, operation, role, states) in ROWS {
        let address = operation as *const () as usize;
        let mut add = |is, other, config, how: &str| {
            let title = format!("mpmc.{name}.{}{how}", state(is, other));
            // What survivors do is that of other sweeps, but in the first state of some operations.
            let case = Case::new(title, address, move || Mpmc::new(config, role, is, other, operation));
            let first = (is, other) == states[0] && how.is_empty();
            let survivors_die = matches!(name, "try_push" | "try_pop");
            all.push(if first && survivors_die { case } else { case.first_deaths_alone().few_planted() });
        };
        for &(is, other) in states {
            add(is, other, plain, "");
        }
        if !matches!(name, "open" | "status") {
            add(Warm, Gone, plain.checksum(false), "_without_checksum");
            add(Warm, Gone, Config::new(RING, OUTSIDE), "_outside");
            add(Warm, Gone, plain.order(Order::Round), "_round");
            add(Full, ReadAndDied, plain.on_death(OnDeath::Drop), "_dropped");
            // Room is waited for without end there.
            if name != "push" {
                add(Warm, Writes, plain.order(Order::Round), "_round");
            }
        }
        let sleeps: &[(Is, Other)] = match name {
            "push_timeout" => &[(Full, Gone), (Full, Writes), (Full, Reads), (Full, ReadAndDied)],
            "pop_timeout" => &[(Empty, Gone), (Empty, Reads), (Warm, Writes), (Full, Writes)],
            _ => &[],
        };
        for &(is, other) in sleeps {
            add(is, other, plain, "");
            add(is, other, plain.order(Order::Round), "_round");
        }
        if name.ends_with("timeout") {
            let (is, other) = if role == Role::Producer { (Full, WroteAndDied) } else { (Warm, WroteAndDied) };
            for (timeout, how) in [(None, "_without_end"), (Some(Duration::ZERO), "_at_once")] {
                let title = format!("mpmc.{name}.{}{how}", state(is, other));
                let made = move || Mpmc::new(plain, role, is, other, operation).waiting(timeout);
                all.push(Case::new(title, address, made).first_deaths_alone().few_planted());
            }
        }
        let forked = move || Mpmc::new(plain, role, Warm, Gone, operation).inherited();
        all.push(Case::new(format!("mpmc.{name}.forked"), address, forked).first_deaths_alone().few_planted());
        if name == "open" {
            let foreign = move || Mpmc::new(plain, role, Warm, Gone, operation).foreign();
            all.push(Case::new(format!("mpmc.{name}.foreign"), address, foreign).first_deaths_alone().few_planted());
        }
    }
}

fn state(is: Is, other: Other) -> String {
    let is = format!("{is:?}").replace(['(', ')'], "").to_lowercase();
    match other {
        Gone => is,
        Writes => format!("{is}_other_writes"),
        WroteAndDied => format!("{is}_other_wrote_and_died"),
        Reads => format!("{is}_other_reads"),
        ReadAndDied => format!("{is}_other_read_and_died"),
    }
}
