//! The operations, and the states in which each is swept.

use super::super::case::{Case, Handles, operations};
use super::super::records::{
    committed, consumed, pop_blocking, pop_timeout, popped, push_blocking, push_timeout, read_unseen, records, reserve,
    reserve_and_drop, try_pop, try_push,
};
use super::Damage::*;
use super::Is::{self, *};
use super::Meanwhile::{self, Done};
use super::Other::{self, *};
use super::{EIGHT_GRANULES, INSIDE, LARGE_RING, LONG, MINE, Mpmc, OUTSIDE, Operation, RING, Role, SHORT, Victim};
use ownerdead::harness::kill::Facts;
use ownerdead::ring::mpmc::{Config, OnDeath, Order};
use std::mem::forget;
use std::time::Duration;

operations! {
    of Mpmc;
    peek(_s, victim, facts) { popped(victim, facts, |consumer, bytes| consumed!(consumer, bytes)) }
    peek_and_drop(subject, victim, facts) {
        if subject.drops {
            read_unseen::<Victim>(facts);
        }
        let _ = victim.consumer.peek().map(|peek| peek.len());
    }
    commit(_s, victim, facts) {
        let committed = victim.reservation.take().map(|reservation| reservation.commit());
        if matches!(committed, Some(Ok(()))) {
            records(facts, MINE).pushed(victim.number);
        }
        // To free an error is no part of it.
        forget(committed);
    }
    give_up(_s, victim, _facts) { drop(victim.reservation.take()) }
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
    give_back(_s, victim, _facts) { drop(victim.peek.take()) }
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
    (LastLap, Gone),
    (Warm, WroteAndDied),
    (Warm, Reads),
    (Warm, ReadAndDied),
    (Damaged(NoSlot), Gone),
    (Damaged(HeadTooFar), Gone),
    (Damaged(Length), Gone),
    (Damaged(Payload), Gone),
];
/// In which a slot is found in other ways. That is the same function for all operations.
const FINDS_ROOM: &[(Is, Other)] = &[
    (LapsBehind, Gone),
    (LastLap, Gone),
    (LastLap, WroteAndDied),
    (Reserved, Gone),
    (Damaged(BeforeFirst(1)), Gone),
    (Damaged(BeforeFirst(2)), Gone),
];
const FINDS_RECORD: &[(Is, Other)] =
    &[(LapsBehind, Gone), (LastLap, Gone), (LastLap, WroteAndDied), (Holed, Reads), (Reserved, Gone)];
const WARM: &[(Is, Other)] = &[(Warm, Gone), (Slept, Gone), (NoPayload, Gone)];
const HELD: &[(Is, Other)] = &[(Warm, Gone), (Asked, Gone), (LastLap, Gone)];
const LOOKS: &[(Is, Other)] =
    &[(Warm, Gone), (Full, Writes), (Full, Reads), (Full, ReadAndDied), (Damaged(NoClaim), Gone)];

const ROWS: [Row; 16] = [
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
    Row("commit", commit, Role::Producer, HELD),
    Row("give_up", give_up, Role::Producer, HELD),
    Row("consume", consume, Role::Consumer, HELD),
    Row("give_back", give_back, Role::Consumer, HELD),
    Row("open", open, Role::Producer, &[(Warm, Gone)]),
    Row("status", status, Role::Producer, LOOKS),
];

/// What happens while one waits for the other one, and how long it is to wait at most. With a deadline the first look at the clock
/// comes before those at the ring, the second before the sleep, and the third after it; without one that before the sleep is the first.
const MEANWHILE: [(Meanwhile, Option<Duration>, &str); 5] = [
    (Done(1), Some(LONG), "_done_soon"),
    (Done(2), Some(LONG), "_done_later"),
    (Done(3), Some(SHORT), "_done_in_the_end"),
    (Meanwhile::Damaged(1), Some(LONG), "_damaged_soon"),
    (Meanwhile::Damaged(2), Some(LONG), "_damaged_later"),
];
pub fn cases(all: &mut Vec<Case>) {
    let plain = Config::new(RING, INSIDE);
    for Row(name, operation, role, states) in ROWS {
        let address = operation as *const () as usize;
        let holds = matches!(name, "commit" | "give_up" | "consume" | "give_back");
        let make = move |config, is, other| {
            let subject = Mpmc::new(config, role, is, other, operation);
            if holds { subject.holding() } else { subject }
        };
        let mut add = |is, other, config, how: &str| {
            let title = format!("mpmc.{name}.{}{how}", state(is, other));
            let case = Case::new(title, address, move || make(config, is, other));
            // What survivors do is that of other sweeps, but in the first state of some operations, and where one has died before.
            let first = (is, other) == states[0] && matches!(name, "try_push" | "try_pop");
            let third = is == Warm && matches!(other, WroteAndDied | ReadAndDied) && name == "try_pop";
            let case = if first && how.is_empty() || third { case } else { case.first_deaths_alone() };
            all.push(if first && how.is_empty() { case } else { case.few_planted() });
        };
        let more = match name {
            "try_push" => FINDS_ROOM,
            "try_pop" => FINDS_RECORD,
            _ => &[],
        };
        for &(is, other) in states.iter().chain(more) {
            add(is, other, plain, "");
        }
        if name == "reserve_and_drop" {
            add(Warm, Gone, Config::new(RING, EIGHT_GRANULES), "_eight_granules");
        }
        if !matches!(name, "open" | "status") && !holds {
            add(Warm, Gone, plain.checksum(false), "_without_checksum");
            add(Warm, Gone, Config::new(RING, OUTSIDE), "_outside");
            add(Warm, Gone, plain.order(Order::Round), "_round");
            add(Full, ReadAndDied, plain.on_death(OnDeath::Drop), "_dropped");
            // Room is waited for without end there.
            if name != "push" {
                add(Warm, Writes, plain.order(Order::Round), "_round");
            }
        }
        let large = Config::new(LARGE_RING, INSIDE);
        let crowds: &[(Is, Other)] = match name {
            "try_pop" => &[(Warm, AllWrite(8)), (Warm, AllWrite(9))],
            "pop_timeout" => &[(Empty, AllWrite(9)), (Empty, AllRead(15))],
            _ => &[],
        };
        crowds.iter().for_each(|&(is, other)| add(is, other, large.order(Order::Round), "_round"));
        let sleeps: &[(Is, Other)] = match name {
            "push_timeout" => &[(Full, Gone), (Full, Writes), (Full, Reads), (Full, ReadAndDied)],
            "pop_timeout" => &[(Empty, Gone), (Empty, Reads), (Warm, Writes), (Full, Writes)],
            _ => &[],
        };
        for &(is, other) in sleeps {
            add(is, other, plain, "");
            add(is, other, plain.order(Order::Round), "_round");
        }
        let mut with = |how: &str, (is, other), config, change: Box<dyn Fn(Mpmc) -> Mpmc>| {
            let title = format!("mpmc.{name}.{}{how}", state(is, other));
            let made = move || change(make(config, is, other));
            all.push(Case::new(title, address, made).first_deaths_alone().few_planted());
        };
        if name.ends_with("timeout") {
            let dead = (if role == Role::Producer { Full } else { Warm }, WroteAndDied);
            with("_without_end", dead, plain, Box::new(|subject| subject.waiting(None)));
            with("_at_once", dead, plain, Box::new(|subject| subject.waiting(Some(Duration::ZERO))));
        }
        with("_forked", (Warm, Gone), plain, Box::new(Mpmc::inherited));
        if name == "open" {
            with("_foreign", (Warm, Gone), plain, Box::new(Mpmc::foreign));
        }
        let happens = match name {
            "push" | "pop" => &MEANWHILE[..1],
            "push_timeout" | "pop_timeout" => &MEANWHILE[..],
            _ => &[],
        };
        let awaited = if role == Role::Producer { (Full, Reads) } else { (Warm, Writes) };
        for &(meanwhile, timeout, how) in happens {
            with(how, awaited, plain, Box::new(move |subject| subject.with(meanwhile).waiting(timeout)));
        }
        if name.ends_with("timeout") {
            let soon = |subject: Mpmc| subject.with(Done(1)).waiting(Some(LONG));
            let outside = Config::new(RING, OUTSIDE);
            // In the round a consumer would not wait.
            let outside = if role == Role::Producer { outside.order(Order::Round) } else { outside };
            with("_outside_done_soon", awaited, outside, Box::new(soon));
            let more: &[_] = &[(LastLap, Writes), (Damaged(Length), Writes), (Damaged(Payload), Writes)];
            let more = if role == Role::Producer { &[] } else { more };
            more.iter().for_each(|&state| with("_done_soon", state, plain, Box::new(soon)));
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
        AllWrite(count) => format!("{is}_{count}_others_write"),
        AllRead(count) => format!("{is}_{count}_others_read"),
    }
}
