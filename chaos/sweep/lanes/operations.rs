//! The operations, and the states in which each is swept.

use super::super::case::{Case, operations};
use super::super::records::{
    consumed, kind, pop_blocking, pop_timeout, popped, push_blocking, push_timeout, records, reserve, reserve_and_drop,
    try_pop, try_push,
};
use super::Damage::*;
use super::Is::{self, *};
use super::Other::{self, *};
use super::{CAPACITY, CONSUMER, HOLDS, Lanes, MINE, Opens, Operation, PRODUCER, Victim, WHOSE, payload, seated};
use ownerdead::harness::kill::Facts;
use ownerdead::ring::mpsc::lanes::{Config, Opened};
use std::time::Duration;

/// What is done with a record of a batch. Not inlined: the compiler would unroll the loop around it as often as there is room.
#[inline(never)]
fn note(kinds: &mut [Option<u32>], count: &mut usize, kind: u32) {
    kinds[*count] = Some(kind);
    *count += 1;
}

operations! {
    of Lanes;
    push_batch(subject, victim, facts) {
        let records = records(facts, MINE);
        let first = victim.number;
        let second = payload(MINE, first + 1);
        let all = [(first, &victim.payload), (first + 1, &second)];
        let most = if subject.is == NoBatch { 0 } else { all.len() };
        let batch = all[..most].iter().map(|&(number, (bytes, len))| (kind(MINE, number), &bytes[..*len]));
        records.push(first + 1);
        let count = seated(&mut victim.producer).push_batch(batch).unwrap_or(0) as u64;
        records.push(first - 1 + count);
        records.pushed(first - 1 + count);
    }
    beat_producer(_s, victim, _facts) { seated(&mut victim.producer).beat() }
    wait_consumer(_s, victim, _facts) { let _ = seated(&mut victim.producer).wait_consumer(victim.timeout); }
    close_producer(_s, victim, facts) {
        facts.word(HOLDS).set(0);
        victim.producer = None;
    }
    open_producer(subject, victim, _facts) { victim.producer = subject.ring.producer(&victim.me).map(Opened::into_inner).ok(); }

    peek(_s, victim, facts) { popped(victim, facts, |consumer, bytes| consumed!(consumer, bytes)) }
    peek_and_drop(_s, victim, _facts) { let _ = seated(&mut victim.consumer).peek().map(|peek| peek.len()); }
    pop_batch(subject, victim, facts) {
        let of = WHOSE.map(|whose| records(facts, whose));
        of.iter().for_each(|records| records.may_be_read.set(records.ended.get()));
        let (mut kinds, mut count) = ([None; 6], 0);
        let most = match subject.is {
            NoBatch => 0,
            Three | Known | Turned | Damaged(Numbers) => kinds.len(),
            _ => 2,
        };
        let _ = seated(&mut victim.consumer).pop_batch(most, |kind, _| note(&mut kinds, &mut count, kind));
        for kind in kinds.into_iter().flatten() {
            of[(kind >> 16) as usize % 3].committed(u64::from(kind & 0xffff));
        }
    }
    discard(_s, victim, facts) {
        let of = WHOSE.map(|whose| records(facts, whose));
        of.iter().for_each(|records| records.may_be_read.set(records.ended.get()));
        if seated(&mut victim.consumer).discard().is_ok() {
            of.iter().for_each(|records| records.committed(records.ended.get()));
        }
    }
    beat_consumer(_s, victim, _facts) { seated(&mut victim.consumer).beat() }
    wait_producer(_s, victim, _facts) { let _ = seated(&mut victim.consumer).wait_producer(victim.timeout); }
    close_consumer(_s, victim, facts) {
        facts.word(HOLDS).set(0);
        victim.consumer = None;
    }
    open_consumer(subject, victim, _facts) { victim.consumer = subject.ring.consumer(&victim.me).map(Opened::into_inner).ok(); }
}

/// An operation, of which role, in which states of the ring, with what of the other producer.
struct Row(&'static str, Operation, u64, &'static [(Is, Other)]);

const PUSHES: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (Full, Gone),
    (ReadSince, Gone),
    (Slept, Gone),
    (Long, Gone),
    (TooLarge, Gone),
    (Damaged(WentBack), Gone),
    (Damaged(Odd), Gone),
    (Damaged(TooFar), Gone),
    (Damaged(Apart), Gone),
];
const PUSHES_THAT_WAIT: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (ReadSince, Gone),
    (Slept, Gone),
    (Long, Gone),
    (TooLarge, Gone),
    (Damaged(WentBack), Gone),
    (Damaged(Odd), Gone),
    (Damaged(TooFar), Gone),
    (Damaged(Apart), Gone),
    (Damaged(Seats), Gone),
    (Full, Dead),
];
const POPS: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (Full, Gone),
    (Empty, Gone),
    (PushedSince, Gone),
    (Last, Gone),
    (Three, Gone),
    (Known, Gone),
    (Turned, Gone),
    (Slept, Gone),
    (Long, Gone),
    (Damaged(WentBack), Gone),
    (Damaged(Odd), Gone),
    (Damaged(TooFar), Gone),
    (Damaged(Apart), Gone),
    (Damaged(TooLong), Gone),
    (Damaged(EndlessPadding), Gone),
    (Damaged(NoNumber), Gone),
    (Damaged(Payload), Gone),
    (Damaged(Numbers), Gone),
];
const POPS_THAT_WAIT: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (PushedSince, Gone),
    (Slept, Gone),
    (Long, Gone),
    (Empty, Dead),
    (Damaged(WentBack), Gone),
    (Damaged(Odd), Gone),
    (Damaged(TooFar), Gone),
    (Damaged(Apart), Gone),
    (Damaged(TooLong), Gone),
    (Damaged(EndlessPadding), Gone),
    (Damaged(NoNumber), Gone),
    (Damaged(Payload), Gone),
    (Damaged(SeatsOfEmpty), Gone),
];
const WARM: &[(Is, Other)] = &[(Warm, Gone)];
const SEATS: &[(Is, Other)] = &[(Warm, Gone), (Warm, Stands), (Warm, Dead), (Damaged(Seats), Gone)];

const ROWS: [Row; 19] = [
    Row("try_push", try_push, PRODUCER, PUSHES),
    Row("push", push_blocking, PRODUCER, PUSHES_THAT_WAIT),
    Row("push_timeout", push_timeout, PRODUCER, PUSHES_THAT_WAIT),
    Row("reserve", reserve, PRODUCER, PUSHES),
    Row("reserve_and_drop", reserve_and_drop, PRODUCER, WARM),
    Row("push_batch", push_batch, PRODUCER, PUSHES),
    Row("beat_producer", beat_producer, PRODUCER, WARM),
    Row("wait_consumer", wait_consumer, PRODUCER, SEATS),
    Row("close_producer", close_producer, PRODUCER, WARM),
    Row("try_pop", try_pop, CONSUMER, POPS),
    Row("pop", pop_blocking, CONSUMER, POPS_THAT_WAIT),
    Row("pop_timeout", pop_timeout, CONSUMER, POPS_THAT_WAIT),
    Row("peek", peek, CONSUMER, POPS),
    Row("peek_and_drop", peek_and_drop, CONSUMER, WARM),
    Row("pop_batch", pop_batch, CONSUMER, POPS),
    Row("discard", discard, CONSUMER, POPS),
    Row("beat_consumer", beat_consumer, CONSUMER, WARM),
    Row("wait_producer", wait_producer, CONSUMER, SEATS),
    Row("close_consumer", close_consumer, CONSUMER, WARM),
];

/// Operations that may need to zero what they pass, and those whose records may have no checksum.
const WIPES: [&str; 7] = ["reserve_and_drop", "try_pop", "pop", "pop_timeout", "peek", "pop_batch", "discard"];
const CHECKED: [&str; 9] =
    ["try_push", "push", "push_timeout", "reserve", "push_batch", "try_pop", "pop", "pop_timeout", "pop_batch"];

pub fn cases(all: &mut Vec<Case>) {
    let plain = Config::new(2, CAPACITY);
    for Row(name, operation, role, states) in ROWS {
        let address = operation as *const () as usize;
        let mut add = |is, other, config, how: &str| {
            let title = format!("lanes.{name}.{}{how}", state(is, other));
            // What survivors do is that of other sweeps, but in the first state of each operation.
            let case = Case::new(title, address, move || Lanes::new(config, role, is, other, operation));
            // What `push` leaves where there is room is what `try_push` leaves.
            let first = (is, other) == states[0] && how.is_empty() && !matches!(name, "push" | "push_timeout");
            all.push(if first { case } else { case.first_deaths_alone().few_planted() });
        };
        for &(is, other) in states {
            let config = match is {
                Three | Known | Turned => Config::new(3, CAPACITY),
                // A checksum would tell.
                Damaged(Numbers) => Config::new(3, CAPACITY).checksum(false),
                _ => plain,
            };
            add(is, other, config, "");
        }
        if WIPES.contains(&name) {
            add(Warm, Gone, plain.wipe(true), "_wiped");
        }
        if CHECKED.contains(&name) {
            add(Warm, Gone, plain.checksum(false), "_without_checksum");
        }
        if name.ends_with("batch") {
            add(NoBatch, Gone, plain, "");
            add(NoBatch, Gone, plain.wipe(true), "_wiped");
            add(Damaged(Second), Gone, plain, "");
        }
        // A sleep on more words than need no memory, and on fewer.
        let (sleeps, waited_for): (&[(Is, Other)], _) = match name {
            "push_timeout" => (&[(Full, Gone), (Full, Stands)], (Full, Dead)),
            "pop_timeout" => (&[(Empty, Gone), (Empty, Stands), (Empty, Dead)], (Empty, Dead)),
            "wait_consumer" => (&[], (Warm, Stands)),
            "wait_producer" => (&[(Warm, Gone), (Warm, Stands)], (Warm, Stands)),
            _ => (&[], (Warm, Gone)),
        };
        for &(is, other) in sleeps {
            if !states.contains(&(is, other)) {
                add(is, other, plain, "");
            }
            add(is, other, Config::new(8, CAPACITY), "_many");
            // The consumer looks at all lanes: at one, and at an odd number of them.
            if role == CONSUMER {
                add(is, other, Config::new(1, CAPACITY), "_one_lane");
                add(is, other, Config::new(3, CAPACITY), "_three_lanes");
            }
        }
        if name.contains("timeout") || name.starts_with("wait") {
            for (timeout, how) in [(None, "_without_end"), (Some(Duration::MAX), "_centuries")] {
                let (is, other) = waited_for;
                let title = format!("lanes.{name}.{}{how}", state(is, other));
                let made = move || Lanes::new(plain, role, is, other, operation).waiting(timeout);
                all.push(Case::new(title, address, made).first_deaths_alone().few_planted());
            }
        }
        let forked = move || Lanes::new(plain, role, Warm, Gone, operation).inherited();
        all.push(Case::new(format!("lanes.{name}.forked"), address, forked).first_deaths_alone().few_planted());
    }
    opened(all);
}

/// Seats that are opened in the operation.
fn opened(all: &mut Vec<Case>) {
    let plain = Config::new(2, CAPACITY);
    for (name, operation, role) in
        [("producer", open_producer as Operation, PRODUCER), ("consumer", open_consumer, CONSUMER)]
    {
        let address = operation as *const () as usize;
        let made = move |opens, is, other, config| Lanes::new(config, role, is, other, operation).opening(opens);
        let mut add = |opens: Opens, is, other, config, how: &str| {
            let found = format!("{opens:?}").to_lowercase();
            let title = format!("lanes.{name}.{found}_{}{how}", state(is, other));
            let case = Case::new(title, address, move || made(opens, is, other, config));
            all.push(if opens == Opens::Free && how.is_empty() && is == Warm { case } else { case.few_planted() });
        };
        for other in [Gone, Stands, Dead] {
            add(Opens::Free, Warm, other, plain, "");
            add(Opens::Free, Warm, other, plain.wipe(true), "_wiped");
        }
        add(Opens::Taken, Warm, Stands, plain, "");
        if role == PRODUCER {
            for other in [Gone, Stands, Dead] {
                add(Opens::Free, Warm, other, Config::new(8, CAPACITY), "_many");
            }
            add(Opens::Taken, Warm, Stands, Config::new(1, CAPACITY), "_one_lane");
        }
        add(Opens::Foreign, Warm, Gone, plain, "");
        for damage in [Odd, TooFar, Apart, Seats] {
            add(Opens::Free, Damaged(damage), Dead, plain, "");
            // Of two lanes that a producer can have, that of a dead one comes first: here there is none, and the damaged one is it.
            if role == PRODUCER {
                add(Opens::Free, Damaged(damage), Gone, plain, "");
            }
        }
        let forked = move || made(Opens::Free, Warm, Gone, plain).inherited();
        all.push(Case::new(format!("lanes.{name}.forked"), address, forked).first_deaths_alone().few_planted());
    }
}

fn state(is: Is, other: Other) -> String {
    let is = format!("{is:?}").replace(['(', ')'], "").to_lowercase();
    match other {
        Gone => is,
        Stands => format!("{is}_other_stands"),
        Dead => format!("{is}_other_dead"),
    }
}
