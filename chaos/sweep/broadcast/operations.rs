//! The operations, and the states in which each is swept.

use super::super::case::Case;
use super::Damage::{self, *};
use super::Is::{self, *};
use super::Opens::{Foreign, Found};
use super::Other::{self, *};
use super::{Broadcast, CAPACITY, DONE, HOLDS, Operation, READER, READERS, Victim, WRITER, pushes};
use ownerdead::harness::kill::Facts;
use ownerdead::ring::broadcast::{Config, Consumer, Opened, Producer};
use std::time::Duration;

/// Defines operations: functions of their own, so that their instructions are.
macro_rules! operations {
    ($($name:ident($subject:ident, $victim:ident, $facts:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name($subject: &Broadcast, $victim: &mut Victim, $facts: &Facts) $body
    )+};
}

/// The victim's seats.
fn writer(victim: &mut Victim) -> &mut Producer {
    victim.writer.as_mut().expect("the writer's seat")
}

fn reader(victim: &mut Victim) -> &mut Consumer {
    victim.reader.as_mut().expect("a reader's place")
}

/// One record, by `push`; it may be refused.
macro_rules! pushes {
    ($victim:ident, $facts:ident, |$writer:ident, $kind:ident, $bytes:ident| $push:expr) => {{
        let $bytes = &$victim.payload.0[..$victim.payload.1];
        let $writer = $victim.writer.as_mut().expect("the writer's seat");
        done($facts, pushes($writer, $facts, |$writer, $kind| $push));
    }};
}

/// One record, by `pop`; there may be none.
macro_rules! pops {
    ($victim:ident, $facts:ident, |$reader:ident, $bytes:ident| $pop:expr) => {{
        let $bytes = &mut $victim.bytes;
        let $reader = $victim.reader.as_mut().expect("a reader's place");
        done($facts, $pop);
    }};
}

fn done<T, E>(facts: &Facts, result: Result<T, E>) {
    facts.word(DONE).set(u64::from(result.is_ok()));
}

operations! {
    push(_s, victim, facts) { pushes!(victim, facts, |writer, kind, bytes| writer.try_push(kind, bytes)) }
    push_timeout(_s, victim, facts) {
        let timeout = victim.timeout.unwrap_or(Duration::MAX);
        pushes!(victim, facts, |writer, kind, bytes| writer.push_timeout(kind, bytes, timeout))
    }
    push_blocking(_s, victim, facts) { pushes!(victim, facts, |writer, kind, bytes| writer.push(kind, bytes)) }
    reserve(_s, victim, facts) {
        pushes!(victim, facts, |writer, kind, bytes| writer.reserve(kind, bytes.len()).and_then(|mut reservation| {
            let (some, rest) = bytes.split_at(bytes.len().min(5));
            reservation.write(0, some);
            reservation.write(some.len(), rest);
            reservation.write(usize::MAX, some);
            reservation.commit()
        }))
    }
    reserve_and_drop(_s, victim, _facts) { drop(writer(victim).reserve(1, 24)) }
    wait_consumer(_s, victim, facts) {
        let timeout = victim.timeout;
        done(facts, writer(victim).wait_consumer(timeout));
    }
    close_producer(_s, victim, facts) {
        facts.word(HOLDS).set(facts.word(HOLDS).get() & READER);
        victim.writer = None;
    }
    open_producer(subject, victim, facts) {
        victim.writer = subject.ring.producer(&victim.me).map(Opened::into_inner).ok();
        facts.word(DONE).set(victim.writer.is_some().into());
    }
    beats(_s, victim, _facts) {
        writer(victim).beat();
        reader(victim).beat();
    }

    pop(_s, victim, facts) { pops!(victim, facts, |reader, bytes| reader.try_pop(bytes)) }
    pop_timeout(_s, victim, facts) {
        let timeout = victim.timeout.unwrap_or(Duration::MAX);
        pops!(victim, facts, |reader, bytes| reader.pop_timeout(bytes, timeout))
    }
    pop_blocking(_s, victim, facts) { pops!(victim, facts, |reader, bytes| reader.pop(bytes)) }
    view(_s, victim, facts) {
        pops!(victim, facts, |reader, bytes| reader.peek().map_err(|_| ()).and_then(|view| {
            let _ = (view.kind(), view.granule(0), view.granule(view.len()));
            let copied = view.copy_to(bytes);
            view.finish().map_err(|_| ()).and(copied.map_err(|_| ()))
        }))
    }
    view_overwritten(_s, victim, facts) {
        let Victim { reader, writer, bytes, .. } = victim;
        if let (Ok(view), Some(writer)) = (reader.as_mut().expect("a reader's place").peek(), writer) {
            let _ = pushes(writer, facts, |writer, kind| writer.try_push(kind, &[7; 24]));
            let _ = view.copy_to(bytes);
            done(facts, view.finish());
        }
    }
    discard(_s, victim, facts) { done(facts, reader(victim).discard()) }
    wait_producer(_s, victim, facts) {
        let timeout = victim.timeout;
        done(facts, reader(victim).wait_producer(timeout));
    }
    close_consumer(_s, victim, facts) {
        facts.word(HOLDS).set(facts.word(HOLDS).get() & WRITER);
        victim.reader = None;
    }
    open_consumer(subject, victim, facts) {
        victim.reader = subject.ring.consumer(&victim.me).map(Opened::into_inner).ok();
        facts.word(DONE).set(victim.reader.is_some().into());
    }
}

/// Of rings that are lossy, lossless, or either.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Lossy,
    Lossless,
    Both,
}
use Of::{Both, Lossless, Lossy};

type State = (Is, Other, Of);
/// An operation, of which side, and in which states.
struct Row(&'static str, Operation, u64, &'static [State]);

/// In the first state of each operation all deaths are planted, in others a few.
const ROWS: [Row; 16] = [
    Row(
        "push",
        push,
        WRITER,
        &[
            (Warm, Here, Both),
            (Fresh, Here, Both),
            (AtTheEnd, Here, Both),
            (Behind, Here, Both),
            (Slept, Here, Both),
            (Two, Here, Lossless),
            (Long, Here, Both),
            (LongAtTheEnd, Here, Lossy),
            (TooLarge, Here, Both),
            (Behind, Stands, Lossless),
            (Behind, Dead, Both),
            (Warm, Gone, Both),
            (Damaged(Entry), Here, Both),
            (Damaged(ReadAhead), Here, Lossless),
            (Damaged(ReadLongAgo), Here, Lossless),
            (Damaged(Seats), Here, Lossless),
            (Damaged(LostSeats), Here, Lossless),
        ],
    ),
    Row(
        "push_timeout",
        push_timeout,
        WRITER,
        &[
            (Behind, Here, Lossless),
            (Warm, Here, Both),
            (Long, Here, Both),
            (Asked, Here, Lossless),
            (Two, Here, Lossless),
            (TooLarge, Here, Both),
            (Behind, Stands, Lossless),
            (Behind, Dead, Lossless),
            (Slept, Here, Both),
            (Damaged(Entry), Here, Both),
            (Damaged(ReadLongAgo), Here, Lossless),
            (Damaged(Gates), Here, Lossless),
        ],
    ),
    Row(
        "push_blocking",
        push_blocking,
        WRITER,
        &[(Warm, Here, Both), (TooLarge, Here, Both), (Behind, Dead, Lossless), (Damaged(Entry), Here, Both)],
    ),
    Row(
        "reserve",
        reserve,
        WRITER,
        &[
            (Warm, Here, Both),
            (AtTheEnd, Here, Both),
            (Behind, Here, Both),
            (Slept, Here, Both),
            (Long, Here, Lossy),
            (NoPayload, Here, Lossy),
            (TooLarge, Here, Lossy),
            (Behind, Dead, Lossless),
            (Damaged(Entry), Here, Both),
        ],
    ),
    Row("reserve_and_drop", reserve_and_drop, WRITER, &[(AtTheEnd, Here, Both)]),
    Row(
        "wait_consumer",
        wait_consumer,
        WRITER,
        &[
            (Warm, Gone, Both),
            (Warm, Here, Lossy),
            (Warm, Stands, Both),
            (Warm, Dead, Lossy),
            (Damaged(Seats), Here, Lossy),
            (Damaged(Gates), Gone, Lossy),
        ],
    ),
    Row("close_producer", close_producer, WRITER, &[(Warm, Here, Both)]),
    Row("beats", beats, WRITER, &[(Warm, Here, Both)]),
    Row(
        "pop",
        pop,
        READER,
        &[
            (Warm, Here, Both),
            (Empty, Here, Both),
            (Behind, Here, Both),
            (Overwritten, Here, Lossy),
            (Slept, Here, Lossless),
            (Empty, Dead, Both),
            (Long, Here, Both),
            (Damaged(WentBack), Here, Both),
            (Damaged(TooFar), Here, Both),
            (Damaged(Apart), Here, Lossless),
            (Damaged(Odd), Here, Both),
            (Damaged(Entry), Here, Lossy),
            (Damaged(LastGranule), Here, Both),
            (Damaged(TooLong), Here, Both),
            (Damaged(Payload), Here, Both),
            (Damaged(Oldest), Here, Lossy),
        ],
    ),
    Row(
        "pop_timeout",
        pop_timeout,
        READER,
        &[
            (Empty, Here, Both),
            (Warm, Here, Both),
            (Long, Here, Lossy),
            (Behind, Here, Lossy),
            (Overwritten, Here, Lossy),
            (Slept, Here, Lossless),
            (Asked, Here, Both),
            (Empty, Gone, Both),
            (Empty, Stands, Both),
            (Empty, Dead, Both),
            (Damaged(WentBack), Here, Lossy),
            (Damaged(Odd), Here, Lossy),
            (Damaged(Payload), Here, Both),
            (Damaged(Oldest), Here, Lossy),
            (Damaged(Seats), Here, Lossy),
            (Damaged(Gates), Here, Lossy),
            (Damaged(Gates), Gone, Lossy),
        ],
    ),
    Row(
        "pop_blocking",
        pop_blocking,
        READER,
        &[
            (Warm, Here, Both),
            (Behind, Here, Lossy),
            (Empty, Dead, Both),
            (Damaged(Payload), Here, Both),
            (Damaged(Seats), Here, Lossy),
        ],
    ),
    Row(
        "view",
        view,
        READER,
        &[
            (Warm, Here, Both),
            (Empty, Here, Both),
            (Behind, Here, Both),
            (Overwritten, Here, Lossy),
            (Slept, Here, Lossless),
            (Long, Here, Lossy),
            (Damaged(WentBack), Here, Lossy),
            (Damaged(Odd), Here, Both),
            (Damaged(LastGranule), Here, Lossy),
            (Damaged(Payload), Here, Both),
            (Damaged(Oldest), Here, Lossy),
        ],
    ),
    Row("view_overwritten", view_overwritten, READER, &[(Full, Here, Lossy)]),
    Row(
        "discard",
        discard,
        READER,
        &[
            (Warm, Here, Both),
            (Empty, Here, Both),
            (Behind, Here, Both),
            (Slept, Here, Lossless),
            (Damaged(WentBack), Here, Both),
        ],
    ),
    Row(
        "wait_producer",
        wait_producer,
        READER,
        &[
            (Warm, Gone, Both),
            (Warm, Here, Lossy),
            (Warm, Stands, Both),
            (Warm, Dead, Lossy),
            (Damaged(Seats), Here, Lossy),
            (Damaged(Gates), Gone, Lossy),
        ],
    ),
    Row("close_consumer", close_consumer, READER, &[(Warm, Here, Both), (Slept, Here, Lossless)]),
];

/// Operations of which survivors die too, in that state.
const DIES_TWICE: [&str; 4] = ["push", "pop", "close_producer", "close_consumer"];

const LOSSY: Config = Config::lossy(CAPACITY, READERS);
const LOSSLESS: Config = Config::lossless(CAPACITY, READERS);

/// The configurations that a state is one of, and how they are called.
fn configs(of: Of) -> impl Iterator<Item = (&'static str, Config)> {
    let all = [("lossy", LOSSY, Lossless), ("lossless", LOSSLESS, Lossy)];
    all.into_iter().filter(move |&(.., not)| of != not).map(|(name, config, _)| (name, config))
}

pub fn cases(all: &mut Vec<Case>) {
    for Row(name, operation, role, states) in ROWS {
        let address = operation as *const () as usize;
        let mut add = |subject: Box<dyn Fn() -> Broadcast>, title: String, first: bool| {
            let case = Case::new(format!("broadcast.{name}.{title}"), address, subject);
            // What survivors do is that of other sweeps, but where what is left differs.
            let case = if first && DIES_TWICE.contains(&name) { case } else { case.first_deaths_alone() };
            all.push(if first { case } else { case.few_planted() });
        };
        for &(is, other, of) in states {
            for (mode, config) in configs(of) {
                let first = (is, other, of) == states[0] && (mode == "lossless" || of != Both);
                let subject = move || Broadcast::new(config, role, is, other, operation);
                add(Box::new(subject), format!("{mode}_{}", state(is, other)), first);
            }
        }
        if ["push", "reserve", "pop", "view"].contains(&name) {
            let config = LOSSY.checksum(false);
            let subject = move || Broadcast::new(config, role, Warm, Here, operation);
            add(Box::new(subject), "lossy_warm_without_checksum".into(), false);
        }
        if name.contains("timeout") || name.starts_with("wait") {
            // Who waits so long must not wait in vain.
            let (is, other) = match name {
                "push_timeout" => (Warm, Here),
                "pop_timeout" => (Empty, Dead),
                _ => (Warm, Stands),
            };
            for (timeout, how) in [(None, "without_end"), (Some(Duration::MAX), "centuries")] {
                let subject = move || Broadcast::new(LOSSLESS, role, is, other, operation).waiting(timeout);
                add(Box::new(subject), format!("lossless_{}_{how}", state(is, other)), false);
            }
        }
        let forked = move || Broadcast::new(LOSSY, role, Warm, Here, operation).inherited();
        add(Box::new(forked), "lossy_forked".into(), false);
    }
    opened(all);
}

/// Seats that are opened in the operation.
fn opened(all: &mut Vec<Case>) {
    for (name, operation, role) in
        [("open_producer", open_producer as Operation, WRITER), ("open_consumer", open_consumer, READER)]
    {
        let address = operation as *const () as usize;
        let made = move |config, is, other, opens| Broadcast::new(config, role, is, other, operation).opening(opens);
        let mut add = |is: Is, other: Other, of: Of, few: bool| {
            for (mode, config) in configs(of) {
                let title = format!("broadcast.{name}.{mode}_{}", state(is, other));
                let case = Case::new(title, address, move || made(config, is, other, Found));
                let few = few || mode == "lossy";
                all.push(if few { case.first_deaths_alone().few_planted() } else { case.first_deaths_alone() });
            }
        };
        add(Warm, Dead, Both, false);
        add(Warm, Gone, Both, true);
        add(Warm, Stands, Both, true);
        let damages: &[(Damage, Of)] = if role == WRITER {
            &[(TooFar, Both), (Odd, Lossy), (Entry, Lossy), (Oldest, Lossy), (Seats, Lossy), (LostSeats, Lossy)]
        } else {
            add(Slept, Dead, Lossless, true);
            &[(TooFar, Both), (Seats, Lossy), (LostSeats, Lossy)]
        };
        damages.iter().for_each(|&(damage, of)| add(Damaged(damage), Dead, of, true));
        let foreign =
            Case::new(format!("broadcast.{name}.foreign"), address, move || made(LOSSY, Fresh, Gone, Foreign));
        let forked =
            Case::new(format!("broadcast.{name}.forked"), address, move || made(LOSSY, Fresh, Gone, Found).inherited());
        all.extend([foreign, forked].map(|case| case.first_deaths_alone().few_planted()));
    }
}

fn state(is: Is, other: Other) -> String {
    let is = format!("{is:?}").replace(['(', ')'], "").to_lowercase();
    match other {
        Here => is,
        other => format!("{is}_other_{}", format!("{other:?}").to_lowercase()),
    }
}
