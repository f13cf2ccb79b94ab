//! The operations, and the states in which each is swept.

use super::super::case::{Case, Handles, operations};
use super::super::records::{
    self, committed, consumed, named, pop_blocking, pop_timeout, popped, push_blocking, push_timeout, read_unseen,
    reserve, reserve_and_drop, try_pop, try_push,
};
use super::Damage::*;
use super::Is::{self, *};
use super::Meanwhile::{self, Done, GaveUp, ReadOne, ReadTwo};
use super::Other::{self, *};
use super::{CAPACITY, Claims, GAVE_UP, LONG, MINE, Operation, Role, SHORT, Victim, WHOSE};
use ownerdead::harness::kill::Facts;
use ownerdead::ring::mpsc::claims::Config;
use std::mem::forget;
use std::time::Duration;

/// What is done with a record of a batch. Not inlined: what it does is no part of the operation.
#[inline(never)]
fn note(last: &mut [u64; WHOSE.len()], kind: u32, facts: &Facts) {
    let (whose, number) = named(kind);
    last[whose as usize % WHOSE.len()] = number;
    let _ = records::records(facts, whose % WHOSE.len() as u64).arrived(number, true);
}

operations! {
    of Claims;
    wait_consumer(_s, victim, _facts) { let _ = victim.producer.wait_consumer(victim.timeout); }
    pop_batch(subject, victim, facts) {
        let consumer = victim.consumer.as_mut().expect("the seat");
        let mut last = [0; WHOSE.len()];
        let most = match subject.is {
            NoBatch => 0,
            Full => 8,
            _ => 3,
        };
        let taken = consumer.pop_batch(most, |kind, _| note(&mut last, kind, facts));
        if taken.is_ok() {
            for whose in WHOSE.into_iter().filter(|&whose| last[whose as usize] > 0) {
                records::records(facts, whose).committed(last[whose as usize]);
            }
        }
    }
    peek(_s, victim, facts) { popped(victim, facts, |consumer, bytes| consumed!(consumer, bytes)) }
    peek_and_drop(_s, victim, _facts) {
        let _ = victim.consumer.as_mut().expect("the seat").peek().map(|peek| peek.len());
    }
    commit(_s, victim, facts) {
        let committed = victim.reservation.take().map(|reservation| reservation.commit());
        if matches!(committed, Some(Ok(()))) {
            records::records(facts, MINE).pushed(victim.number);
        }
        // To free an error is no part of it.
        forget(committed);
    }
    give_up(subject, victim, facts) {
        drop(victim.reservation.take());
        facts.word(GAVE_UP).set(u64::from(subject.handles == Handles::Own));
    }
    reserve_and_give_up(subject, victim, facts) {
        reserve_and_drop(subject, victim, facts);
        facts.word(GAVE_UP).set(1);
    }
    consume(subject, victim, facts) {
        read_unseen::<Victim>(facts);
        let kind = victim.peek.take().map(|peek| {
            let kind = peek.kind();
            peek.consume();
            kind
        });
        if let Some(kind) = kind.filter(|_| subject.handles == Handles::Own) {
            committed::<Victim>(facts, kind);
        }
    }
    close(_s, victim, _facts) { drop(victim.consumer.take()); }
    open(subject, victim, _facts) {
        if let Ok(producer) = subject.ring.producer(&victim.me) {
            victim.producer = producer.into_inner();
        }
        if let Ok(consumer) = subject.ring.consumer(&victim.me) {
            victim.consumer = Some(consumer.into_inner());
        }
    }
    status(subject, victim, _facts) { victim.number += subject.ring.status().write_index; }
}

/// An operation, of which role, in which states of the ring, with what of the other one.
struct Row(&'static str, Operation, Role, &'static [(Is, Other)]);

const PUSHES: &[(Is, Other)] = &[
    (Warm, Gone),
    (Fresh, Gone),
    (Padded, Gone),
    (PaddedSlept, Gone),
    (Full, Gone),
    (Slept, Gone),
    (Behind, Gone),
    (TooLarge, Gone),
    (Warm, Writes),
    (Full, WroteAndDied),
    (Full, Consumes),
    (Damaged(NoSlot), Gone),
    (Damaged(NoWord), Gone),
    (Damaged(Beyond), Gone),
    (Damaged(TailTooFar), Gone),
    (Damaged(TailOdd), Gone),
    (Damaged(Apart), Gone),
    (Damaged(LapAhead), Gone),
];
const PUSHES_THAT_WAIT: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (Slept, Gone),
    (Behind, Gone),
    (TooLarge, Gone),
    (Full, ConsumedAndDied),
    (Damaged(NoWord), Gone),
    (Damaged(TailTooFar), Gone),
    (Damaged(Seat), Gone),
];
const POPS: &[(Is, Other)] = &[
    (Warm, Gone),
    (Fresh, Gone),
    (Padded, Gone),
    (Full, Gone),
    (Empty, Gone),
    (Slept, Gone),
    (Behind, Gone),
    (FirstBehind, Gone),
    (LastLap, Gone),
    (GivenUp, Gone),
    (AllGivenUp, Gone),
    (Reserved, Gone),
    (Known, Gone),
    (NoPayload, Gone),
    (Warm, Writes),
    (Warm, WroteAndDied),
    (Empty, WroteAndDied),
    (SameSlot, WroteAndDied),
    (Damaged(NoSlot), Gone),
    (Damaged(NoWord), Gone),
    (Damaged(Mine), Gone),
    (Damaged(Beyond), Gone),
    (Damaged(DoneBeyond), Gone),
    (Damaged(WritesPastEnd), Gone),
    (Damaged(DonePastEnd), Gone),
    (Damaged(Round), Gone),
    (Damaged(LapAhead), Gone),
    (Damaged(Length), Gone),
    (Damaged(Payload), Gone),
];
const POPS_THAT_WAIT: &[(Is, Other)] = &[
    (Warm, Gone),
    (Padded, Gone),
    (Slept, Gone),
    (FirstBehind, Gone),
    (Warm, WroteAndDied),
    (Damaged(NoWord), Gone),
    (Damaged(Length), Gone),
    (Damaged(Payload), Gone),
];
/// Without a deadline they are the same functions, but for what they begin and end with.
const PUSHES_FOR_EVER: &[(Is, Other)] =
    &[(Warm, Gone), (TooLarge, Gone), (Full, ConsumedAndDied), (Damaged(NoWord), Gone)];
const POPS_FOR_EVER: &[(Is, Other)] = &[(Warm, Gone), (Warm, WroteAndDied), (Damaged(Payload), Gone)];
/// Words that are none, in other ways. That is the same function for all operations.
const NO_WORDS: &[(Is, Other)] = &[
    (Damaged(Lost), Gone),
    (Damaged(NeverCame), Gone),
    (Damaged(WritesNothing), Gone),
    (Damaged(NothingDone), Gone),
    (Damaged(Reads), Gone),
];
const BATCHES: &[(Is, Other)] = &[(NoBatch, Gone), (Damaged(SecondLength), Gone)];
const ROOM_IN_VAIN: &[(Is, Other)] = &[(Full, Gone), (Full, Consumes)];
const RECORD_IN_VAIN: &[(Is, Other)] = &[(Empty, Gone), (Asked, Gone), (Reserved, Gone), (Warm, Writes)];
const WARM: &[(Is, Other)] = &[(Warm, Gone), (Slept, Gone)];
const DROPS: &[(Is, Other)] = &[(Warm, Gone), (Slept, Gone), (NoPayload, Gone)];
const HELD: &[(Is, Other)] = &[(Warm, Gone), (Asked, Gone), (NoPayload, Gone)];
const HELD_TO_READ: &[(Is, Other)] = &[(Warm, Gone), (Slept, Gone), (LastLap, Gone)];
const WAITS: &[(Is, Other)] = &[(Warm, Gone), (Warm, Consumes), (Warm, ConsumedAndDied)];
const OPENS: &[(Is, Other)] = &[
    (Warm, Gone),
    (HalfFreed, Gone),
    (HalfFreed, ConsumedAndDied),
    (LastHalfFreed, Gone),
    (Warm, Consumes),
    (Damaged(HeadOdd), Gone),
    (Damaged(HeadTooFar), Gone),
    (Damaged(ReadBehind), Gone),
    (Damaged(ReadTooFar), Gone),
    (Damaged(ReadOdd), Gone),
    (Damaged(Seat), Gone),
];
const LOOKS: &[(Is, Other)] =
    &[(Warm, Gone), (Warm, Writes), (Warm, Consumes), (Warm, ConsumedAndDied), (Damaged(Seat), Gone)];

const ROWS: [Row; 18] = [
    Row("try_push", try_push, Role::Producer, PUSHES),
    Row("push", push_blocking, Role::Producer, PUSHES_FOR_EVER),
    Row("push_timeout", push_timeout, Role::Producer, PUSHES_THAT_WAIT),
    Row("reserve", reserve, Role::Producer, PUSHES),
    Row("reserve_and_drop", reserve_and_give_up, Role::Producer, DROPS),
    Row("commit", commit, Role::Producer, HELD),
    Row("give_up", give_up, Role::Producer, HELD),
    Row("wait_consumer", wait_consumer, Role::Producer, WAITS),
    Row("try_pop", try_pop, Role::Consumer, POPS),
    Row("pop", pop_blocking, Role::Consumer, POPS_FOR_EVER),
    Row("pop_timeout", pop_timeout, Role::Consumer, POPS_THAT_WAIT),
    Row("pop_batch", pop_batch, Role::Consumer, POPS),
    Row("peek", peek, Role::Consumer, POPS),
    Row("peek_and_drop", peek_and_drop, Role::Consumer, WARM),
    Row("consume", consume, Role::Consumer, HELD_TO_READ),
    Row("close", close, Role::Consumer, WARM),
    Row("open", open, Role::Opener, OPENS),
    Row("status", status, Role::Producer, LOOKS),
];

/// What happens while a producer waits for room, and a consumer for the other one's record, and how long it is to wait at most. With a
/// deadline the first look at the clock comes before those at the ring, the second before the sleep, and the third after it; without one
/// that before the sleep is the first.
type Happens = (Is, Meanwhile, Duration, &'static str);
const WHILE_FULL: &[Happens] = &[
    (Full, ReadTwo(1), LONG, "_read_soon"),
    (Full, ReadTwo(2), LONG, "_read_later"),
    (Full, ReadOne(1), LONG, "_one_read_soon"),
    (Full, Meanwhile::Damaged(1), LONG, "_damaged_soon"),
];
const WHILE_WRITTEN: &[Happens] = &[
    (Warm, Done(1), LONG, "_done_soon"),
    (Warm, Done(2), LONG, "_done_later"),
    (Warm, Done(3), SHORT, "_done_in_the_end"),
    (Empty, GaveUp(1), LONG, "_gave_up_soon"),
    (Empty, GaveUp(3), SHORT, "_gave_up_in_the_end"),
    (Slept, Done(1), LONG, "_done_soon"),
    (LastLap, Done(1), LONG, "_done_soon"),
    (Warm, Meanwhile::Damaged(1), LONG, "_damaged_soon"),
    (Warm, Meanwhile::Damaged(2), LONG, "_damaged_later"),
    (Damaged(Length), Done(1), LONG, "_done_soon"),
    (Damaged(Payload), Done(1), LONG, "_done_soon"),
];

pub fn cases(all: &mut Vec<Case>) {
    let plain = Config::new(CAPACITY);
    for Row(name, operation, role, states) in ROWS {
        let address = operation as *const () as usize;
        let holds = matches!(name, "commit" | "give_up" | "consume");
        let mut with = |how: &str, (is, other), config, change: Box<dyn Fn(Claims) -> Claims>| {
            let title = format!("claims.{name}.{}{how}", state(is, other));
            let made = move || {
                let subject = change(Claims::new(config, role, is, other, operation));
                if holds { subject.holding() } else { subject }
            };
            let case = Case::new(title, address, made);
            // What survivors do is that of other sweeps, but in the first state of some operations.
            let first = (is, other) == states[0] && how.is_empty() && matches!(name, "try_push" | "try_pop");
            let damaged = matches!(is, Damaged(_));
            all.push(match (first, damaged) {
                (true, _) => case,
                (_, true) => case.first_deaths_alone().hardly_planted(),
                _ => case.first_deaths_alone().few_planted(),
            });
        };
        let more: &[(Is, Other)] = match name {
            "try_pop" => NO_WORDS,
            "pop_batch" => BATCHES,
            "push_timeout" => ROOM_IN_VAIN,
            "pop_timeout" => RECORD_IN_VAIN,
            _ => &[],
        };
        for &at in states.iter().chain(more) {
            with("", at, plain, Box::new(|subject| subject));
        }
        if matches!(name, "try_push" | "reserve" | "try_pop" | "peek" | "pop_batch" | "pop_timeout") {
            with("_without_checksum", (Warm, Gone), plain.checksum(false), Box::new(|subject| subject));
        }
        if name.ends_with("timeout") {
            let dead = if role == Role::Producer { (Full, ConsumedAndDied) } else { (Warm, WroteAndDied) };
            with("_without_end", dead, plain, Box::new(|subject| subject.waiting(None)));
            with("_at_once", dead, plain, Box::new(|subject| subject.waiting(Some(Duration::ZERO))));
        }
        with("_forked", (Warm, Gone), plain, Box::new(Claims::inherited));
        if name == "open" {
            with("_foreign", (Warm, Gone), plain, Box::new(Claims::foreign));
        }
        let (happens, other) = match name {
            "push" => (&WHILE_FULL[..1], Consumes),
            "push_timeout" => (WHILE_FULL, Consumes),
            "pop" => (&WHILE_WRITTEN[..1], Writes),
            "pop_timeout" => (WHILE_WRITTEN, Writes),
            _ => continue,
        };
        for &(is, meanwhile, timeout, how) in happens {
            let timeout = Some(timeout);
            with(how, (is, other), plain, Box::new(move |subject| subject.with(meanwhile).waiting(timeout)));
        }
    }
}

fn state(is: Is, other: Other) -> String {
    let is = format!("{is:?}").replace(['(', ')'], "").to_lowercase();
    match other {
        Gone => is,
        Writes => format!("{is}_other_writes"),
        WroteAndDied => format!("{is}_other_wrote_and_died"),
        Consumes => format!("{is}_other_consumes"),
        ConsumedAndDied => format!("{is}_other_consumed_and_died"),
    }
}
