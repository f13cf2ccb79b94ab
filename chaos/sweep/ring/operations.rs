//! The operations, and the states in which each is swept.

use super::super::case::{Case, Handles};
use super::{CAPACITY, CONSUMER, Damage, HOLDS, Is, Opens, Operation, PRODUCER, Peer, Spsc, Victim, payload, records};
use crate::case::operations;
use crate::stream::{own, pops, pushes, stream_operations};
use ownerdead::harness::kill::Facts;
use ownerdead::ring::spsc::{Config, Opened};
use std::time::Duration;

stream_operations!(of Spsc);

operations! {
    of Spsc;
    beat_producer(_s, victim, _facts) { own(&mut victim.producer).beat() }
    close_producer(_s, victim, facts) {
        facts.word(HOLDS).set(0);
        victim.producer = None;
    }
    open_producer(subject, victim, _facts) { victim.producer = subject.ring.producer(&victim.me).map(Opened::into_inner).ok(); }

    peek_and_drop(_s, victim, _facts) { let _ = own(&mut victim.consumer).peek().map(|peek| peek.len()); }
    beat_consumer(_s, victim, _facts) { own(&mut victim.consumer).beat() }
    wait_producer(_s, victim, _facts) { let _ = own(&mut victim.consumer).wait_producer(victim.timeout); }
    close_consumer(_s, victim, facts) {
        facts.word(HOLDS).set(0);
        victim.consumer = None;
    }
    open_consumer(subject, victim, _facts) { victim.consumer = subject.ring.consumer(&victim.me).map(Opened::into_inner).ok(); }
}

/// An operation, of which role, in which states of the ring, with whom at the other seat.
struct Row(&'static str, Operation, u64, &'static [(Is, Peer)]);

use Is::*;
use Peer::{Dead, Stands, Vacant};

const PUSHES: &[(Is, Peer)] =
    &[(Fresh, Vacant), (Warm, Vacant), (AtTheEnd, Vacant), (Full, Vacant), (ReadSince, Vacant), (Slept, Vacant)];
/// Not where it would wait for ever.
const PUSHES_THAT_BLOCK: &[(Is, Peer)] = &[(Warm, Vacant), (ReadSince, Vacant), (Slept, Vacant), (Full, Dead)];
const PUSHES_THAT_WAIT: &[(Is, Peer)] =
    &[(Warm, Vacant), (Slept, Vacant), (Full, Vacant), (Full, Stands), (Full, Dead)];
const POPS: &[(Is, Peer)] =
    &[(Empty, Vacant), (Warm, Vacant), (Padded, Vacant), (PushedSince, Vacant), (Full, Vacant), (Slept, Vacant)];
const POPS_THAT_BLOCK: &[(Is, Peer)] = &[(Warm, Vacant), (PushedSince, Vacant), (Slept, Vacant), (Empty, Dead)];
const POPS_THAT_WAIT: &[(Is, Peer)] =
    &[(Warm, Vacant), (Slept, Vacant), (Empty, Vacant), (Empty, Stands), (Empty, Dead)];
const DAMAGED_FOR_PUSHES: &[(Is, Peer)] = &[
    (Damaged(Damage::WentBack), Vacant),
    (Damaged(Damage::Odd), Vacant),
    (Damaged(Damage::TooFar), Vacant),
    (Damaged(Damage::Apart), Vacant),
    (Damaged(Damage::Seats), Vacant),
];
const DAMAGED_FOR_POPS: &[(Is, Peer)] = &[
    (Damaged(Damage::WentBack), Vacant),
    (Damaged(Damage::Odd), Vacant),
    (Damaged(Damage::TooFar), Vacant),
    (Damaged(Damage::Apart), Vacant),
    (Damaged(Damage::TooLong), Vacant),
    (Damaged(Damage::EndlessPadding), Vacant),
    (Damaged(Damage::Payload), Vacant),
    (Damaged(Damage::SeatsOfEmpty), Vacant),
];
const DAMAGED_SEATS: &[(Is, Peer)] = &[(Damaged(Damage::Seats), Vacant)];
const WARM: &[(Is, Peer)] = &[(Warm, Vacant)];
const SEATS: &[(Is, Peer)] = &[(Warm, Vacant), (Warm, Stands), (Warm, Dead)];

const ROWS: [Row; 19] = [
    Row("try_push", try_push, PRODUCER, PUSHES),
    Row("push", push_blocking, PRODUCER, PUSHES_THAT_BLOCK),
    Row("push_timeout", push_timeout, PRODUCER, PUSHES_THAT_WAIT),
    Row("reserve", reserve, PRODUCER, PUSHES),
    Row("reserve_and_drop", reserve_and_drop, PRODUCER, WARM),
    Row("push_batch", push_batch, PRODUCER, PUSHES),
    Row("beat_producer", beat_producer, PRODUCER, WARM),
    Row("wait_consumer", wait_consumer, PRODUCER, SEATS),
    Row("close_producer", close_producer, PRODUCER, WARM),
    Row("try_pop", try_pop, CONSUMER, POPS),
    Row("pop", pop_blocking, CONSUMER, POPS_THAT_BLOCK),
    Row("pop_timeout", pop_timeout, CONSUMER, POPS_THAT_WAIT),
    Row("peek", peek, CONSUMER, POPS),
    Row("peek_and_drop", peek_and_drop, CONSUMER, WARM),
    Row("pop_batch", pop_batch, CONSUMER, POPS),
    Row("discard", discard, CONSUMER, POPS),
    Row("beat_consumer", beat_consumer, CONSUMER, WARM),
    Row("wait_producer", wait_producer, CONSUMER, SEATS),
    Row("close_consumer", close_consumer, CONSUMER, WARM),
];

/// Operations that may need to zero what they pass, in each state that matters to it; three more do in one.
const WIPES: [&str; 8] =
    ["try_push", "reserve_and_drop", "close_producer", "try_pop", "peek", "pop_batch", "discard", "close_consumer"];
/// Operations whose records may have no checksum, and those that may be given a payload that is too long.
const CHECKED: [&str; 10] =
    ["try_push", "push", "push_timeout", "reserve", "push_batch", "try_pop", "pop", "pop_timeout", "peek", "pop_batch"];
const LARGE: [&str; 5] = ["try_push", "push", "push_timeout", "reserve", "push_batch"];

pub fn cases(all: &mut Vec<Case>) {
    let plain = Config::new(CAPACITY);
    for Row(name, operation, role, states) in ROWS {
        let address = operation as *const () as usize;
        let damaged = match name {
            "beat_producer" | "close_producer" | "beat_consumer" | "close_consumer" | "reserve_and_drop" => &[][..],
            "wait_consumer" | "wait_producer" => DAMAGED_SEATS,
            "peek_and_drop" => &[],
            _ if role == PRODUCER => DAMAGED_FOR_PUSHES,
            _ => DAMAGED_FOR_POPS,
        };
        let mut add = |is, peer, config, how: &str| {
            let title = format!("ring.{name}.{}{how}", state(is, peer));
            let case = planted(Case::new(title, address, move || Spsc::new(config, role, is, peer, operation)), is);
            // Where there is room it leaves what `try_push` leaves, and survivors of that die there.
            let as_try_push = name.starts_with("push") && matches!(is, Fresh | Warm | Long | Padded | AtTheEnd);
            let case =
                if as_try_push && !name.ends_with("batch") { case.first_deaths_alone().few_planted() } else { case };
            // Without a checksum, and wiped, each method goes by the same code in every operation: one of each role is died in whole.
            let whole = how.is_empty() || matches!(name, "try_push" | "try_pop");
            all.push(if whole { case } else { case.few_planted() });
        };
        for &(is, peer) in states.iter().chain(damaged) {
            add(is, peer, plain, "");
            let wipes = match name {
                "reserve" | "pop" | "pop_timeout" => is == Warm,
                "pop_batch" if is == Empty => true,
                _ => WIPES.contains(&name) && matches!(is, Warm | Padded | Full | AtTheEnd),
            };
            if wipes {
                add(is, peer, plain.wipe(true), "_wiped");
            }
        }
        if CHECKED.contains(&name) {
            add(Warm, Vacant, plain.checksum(false), "_without_checksum");
        }
        if CHECKED.contains(&name) && name != "reserve" {
            add(Long, Vacant, plain, "");
            add(Long, Vacant, plain.checksum(false), "_without_checksum");
        }
        if name.ends_with("batch") {
            add(NoBatch, Vacant, plain, "");
            add(NoBatch, Vacant, plain.wipe(true), "_wiped");
            add(Damaged(Damage::Second), Vacant, plain, "");
        }
        if LARGE.contains(&name) {
            add(TooLarge, Vacant, plain, "");
        }
        // Without an end, and with one that is later than the clock can say: where it is not waited for.
        for (timeout, how) in [(None, "_without_end"), (Some(Duration::MAX), "_centuries")] {
            let (is, peer) = match name {
                "wait_consumer" | "wait_producer" => (Warm, Stands),
                "push_timeout" => (Full, Dead),
                "pop_timeout" => (Empty, Dead),
                _ => continue,
            };
            let title = format!("ring.{name}.{}{how}", state(is, peer));
            let made = move || Spsc { timeout, ..Spsc::new(plain, role, is, peer, operation) };
            all.push(Case::new(title, address, made).first_deaths_alone());
        }
        let forked = move || Spsc { handles: Handles::Inherited, ..Spsc::new(plain, role, Warm, Vacant, operation) };
        all.push(Case::new(format!("ring.{name}.forked"), address, forked).first_deaths_alone().few_planted());
    }
    opened(all);
}

/// Seats that are opened in the operation.
fn opened(all: &mut Vec<Case>) {
    use Damage::{Apart, Odd, Read, Seats, TooFar, Unwiped, UnwipedSlept};
    let plain = Config::new(CAPACITY);
    for (name, operation, role) in
        [("producer", open_producer as Operation, PRODUCER), ("consumer", open_consumer, CONSUMER)]
    {
        let address = operation as *const () as usize;
        let made = move |opens, is, wipe| {
            let peer = if opens == Opens::Taken { Stands } else { Dead };
            Spsc { opens: Some(opens), ..Spsc::new(plain.wipe(wipe), role, is, peer, operation) }
        };
        let mut add = |opens: Opens, is, wipe| {
            let found = format!("{opens:?}").to_lowercase();
            let title = format!("ring.{name}.{found}_{}{}", state(is, Vacant), if wipe { "_wiped" } else { "" });
            all.push(planted(Case::new(title, address, move || made(opens, is, wipe)), is));
        };
        for opens in [Opens::Vacant, Opens::Dead, Opens::Taken] {
            for (is, wipe) in [(Warm, false), (Padded, false), (Warm, true), (Full, true)] {
                add(opens, is, wipe);
            }
        }
        add(Opens::Foreign, Warm, false);
        for damage in [Odd, TooFar, Apart, Seats] {
            add(Opens::Dead, Damaged(damage), false);
        }
        add(Opens::Dead, Damaged(Read), true);
        add(Opens::Dead, Damaged(Unwiped), true);
        add(Opens::Dead, Damaged(UnwipedSlept), true);
        // Without an end, and with one that is later than the clock can say: where it is not waited for.
        for (timeout, how) in [(None, "_without_end"), (Some(Duration::MAX), "_centuries")] {
            let (is, peer) = match name {
                "wait_consumer" | "wait_producer" => (Warm, Stands),
                "push_timeout" => (Full, Dead),
                "pop_timeout" => (Empty, Dead),
                _ => continue,
            };
            let title = format!("ring.{name}.{}{how}", state(is, peer));
            let made = move || Spsc { timeout, ..Spsc::new(plain, role, is, peer, operation) };
            all.push(Case::new(title, address, made).first_deaths_alone());
        }
        let forked = move || Spsc { handles: Handles::Inherited, ..made(Opens::Vacant, Warm, false) };
        all.push(Case::new(format!("ring.{name}.forked"), address, forked).first_deaths_alone().few_planted());
    }
}

/// That what is left is what the image says is seen in the other states: few deaths are planted in a ring that is damaged.
fn planted(case: Case, is: Is) -> Case {
    if matches!(is, Damaged(_)) { case.few_planted() } else { case }
}

fn state(is: Is, peer: Peer) -> String {
    let is = match is {
        AtTheEnd => "at_the_end",
        ReadSince => "read_since",
        PushedSince => "pushed_since",
        Fresh => "fresh",
        Warm => "warm",
        Padded => "padded",
        Full => "full",
        Slept => "slept",
        Empty => "empty",
        Long => "long",
        TooLarge => "too_large",
        NoBatch => "no_batch",
        Damaged(damage) => return format!("damaged_{damage:?}").to_lowercase(),
    };
    match peer {
        Vacant => is.to_owned(),
        Stands => format!("{is}_peer_stands"),
        Dead => format!("{is}_peer_dead"),
    }
}
