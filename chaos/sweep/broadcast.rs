//! The broadcast ring: its writer, or a reader, dies in each of its operations.
//!
//! What a reader sees of records that were half written is what the models and the chaos scenario look at; here it is whether the
//! next ones can go on, from where, and what they are told.

use super::case::{Case, FactsOf, brief};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::broadcast::{Config, Consumer, Opened, Producer, Ring, TryPopError};
use ownerdead::segment::Options;
use std::time::Duration;

const CAPACITY: usize = 256;
const PLACES: usize = 2;
const LENGTH: usize = 24;
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
const SHORT: Duration = Duration::from_micros(1500);

/// Words of the facts: records begun and ended.
const FACTS: FactsOf<2> = FactsOf([0, 1]);
/// The victim has the writer's seat for sure, or a reader's place.
const HOLDS: usize = 2;
const WRITER: u64 = 1;
const READER: u64 = 2;

/// What the ring is like when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// As it was made.
    Fresh,
    /// Some records are in it, and some were read.
    Warm,
    /// The next record does not fit before the end.
    AtTheEnd,
    /// The reader, which has read nothing, holds the writer up; in a lossy ring it is lapped.
    Behind,
    /// All was read.
    Empty,
    /// The other side has slept.
    Slept,
    /// The seat, or one place, is a dead one's.
    Dead,
    /// The seat, or all places, are of those who stand still.
    Taken,
}

type Operation = fn(&Broadcast, &mut Victim, &Facts);

struct Broadcast {
    ring: Ring,
    memory: Memory,
    lossless: bool,
    is: Is,
    holds: u64,
    operation: Operation,
}

struct Victim {
    me: Attachment,
    writer: Option<Producer>,
    reader: Option<Consumer>,
    bytes: Vec<u8>,
}

struct Survivor {
    me: Attachment,
    writer: Option<Producer>,
    readers: Vec<Consumer>,
}

fn payload(number: u64) -> [u8; LENGTH] {
    [number as u8; LENGTH]
}

/// One record by `push`, as the facts see it.
fn pushes<T, E>(
    writer: &mut Producer,
    facts: &Facts,
    push: impl FnOnce(&mut Producer, u32, &[u8]) -> Result<T, E>,
) -> bool {
    let [begun, ended] = FACTS.words(facts);
    let number = writer.position();
    begun.set(number + 1);
    let pushed = push(writer, number as u32, &payload(number)).is_ok();
    if pushed {
        ended.set(number + 1)
    } else {
        begun.set(number)
    }
    pushed
}

fn try_push(writer: &mut Producer, facts: &Facts) -> bool {
    pushes(writer, facts, |writer, kind, bytes| writer.try_push(kind, bytes))
}

impl Broadcast {
    fn new(lossless: bool, is: Is, holds: u64, operation: Operation) -> Self {
        let config = if lossless { Config::lossless(CAPACITY, PLACES) } else { Config::lossy(CAPACITY, PLACES) };
        let ring = Ring::memfd(&Options::new().slots(6), &config).expect("a ring");
        let memory = Memory::of(ring.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        Self { ring, memory, lossless, is, holds, operation }
    }

    fn writer(&self, me: &Attachment) -> Producer {
        self.ring.producer(me).expect("a seat that is free").into_inner()
    }

    fn reader(&self, me: &Attachment) -> Consumer {
        self.ring.consumer(me).expect("a place that is free").into_inner()
    }

    /// Brings the ring into its state.
    fn bring(&self, writer: &mut Producer, reader: &mut Consumer, facts: &Facts) {
        let mut bytes = Vec::with_capacity(CAPACITY);
        let mut both = |writer: &mut Producer| {
            assert!(try_push(writer, facts), "room");
            reader.try_pop(&mut bytes).expect("a record");
        };
        match self.is {
            Is::Fresh | Is::Dead | Is::Taken => {}
            Is::Empty => both(writer),
            Is::Warm => {
                both(writer);
                assert!(try_push(writer, facts), "room");
            }
            // A record takes 40 bytes: six fit before the end.
            Is::AtTheEnd => (0..6).for_each(|_| both(writer)),
            Is::Behind if self.lossless => while try_push(writer, facts) {},
            Is::Behind => (0..9).for_each(|_| assert!(try_push(writer, facts), "a lossy ring has room")),
            Is::Slept if self.holds == WRITER => {
                reader.pop_timeout(&mut bytes, SHORT).expect_err("an empty ring");
            }
            Is::Slept => {
                while try_push(writer, facts) {}
                writer.push_timeout(0, &[0; LENGTH], SHORT).expect_err("a full ring");
            }
        }
    }
}

impl Subject for Broadcast {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, _: &Facts) {
        let one = || {
            let me = brief(self.ring.attach().expect("a free slot"));
            let writer = self.writer(&me);
            let readers = (0..PLACES).map(|_| self.reader(&me)).collect::<Vec<_>>();
            (me, writer, readers)
        };
        match self.is {
            Is::Dead => cast.dies(one),
            Is::Taken => cast.stands(one),
            _ => {}
        }
    }

    fn attach(&self, facts: &Facts) -> Victim {
        let me = brief(self.ring.attach().expect("a free slot"));
        let mut victim = Victim { me, writer: None, reader: None, bytes: Vec::with_capacity(CAPACITY) };
        if matches!(self.is, Is::Dead | Is::Taken) {
            return victim;
        }
        let (mut writer, mut reader) = (self.writer(&victim.me), self.reader(&victim.me));
        self.bring(&mut writer, &mut reader, facts);
        // Both stay: a full ring has a reader that lives.
        (victim.writer, victim.reader) = (Some(writer), Some(reader));
        facts.word(HOLDS).set(WRITER | READER);
        victim
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Survivor {
        Survivor { me: brief(self.ring.attach().expect("a free slot")), writer: None, readers: Vec::new() }
    }

    fn recover(&self, survivor: &mut Survivor, facts: &Facts) -> Result<&'static str, Finding> {
        if self.is == Is::Taken {
            return match (self.ring.producer(&survivor.me), self.ring.consumer(&survivor.me)) {
                (Err(_), Err(_)) => Ok("taken"),
                _ => Err(Finding::duplicated("those who have the seats live, and one was opened")),
            };
        }
        let before = self.ring.status().writer;
        let dead = matches!(before.state, SeatState::Dead(_));
        if facts.word(HOLDS).get() & WRITER != 0 && !dead {
            return Err(Finding::lost(format!("the dead writer's seat is {:?}", before.state)));
        }
        let opened = self.ring.producer(&survivor.me).map_err(|error| Finding::stuck(error.to_string()))?;
        let told = opened.owner_died();
        let writer = opened.into_inner();
        if told != dead || writer.generation() != before.generation + u64::from(dead) {
            return Err(Finding::other(format!("dead: {dead}, told: {told}, generation {}", writer.generation())));
        }
        let [begun, ended] = FACTS.words(facts);
        if !(ended.get()..=begun.get()).contains(&writer.position()) {
            return Err(Finding::lost(format!("{} records are committed", writer.position())));
        }
        survivor.writer = Some(writer);
        // All places: none is of one who lives.
        for _ in 0..PLACES {
            let reader = self.ring.consumer(&survivor.me).map_err(|error| Finding::stuck(error.to_string()))?;
            survivor.readers.push(reader.into_inner());
        }
        Ok(if told { "writer died" } else { "no writer died" })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        let Some(writer) = &mut survivor.writer else { return Ok(()) };
        let mut bytes = Vec::new();
        for _ in 0..8 {
            let number = writer.position();
            if !try_push(writer, facts) {
                return Err(Finding::stuck("a push after the recovery"));
            }
            for reader in &mut survivor.readers {
                match reader.try_pop(&mut bytes) {
                    Ok(kind) if u64::from(kind) == number && bytes == payload(number) => {}
                    other => return Err(Finding::other(format!("record {number} after the recovery: {other:?}"))),
                }
                if reader.try_pop(&mut bytes) != Err(TryPopError::Empty) {
                    return Err(Finding::duplicated("a record after the last one"));
                }
            }
        }
        Ok(())
    }
}

/// Defines operations: functions of their own, so that their instructions are.
macro_rules! operations {
    ($($name:ident($subject:ident, $victim:ident, $facts:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name($subject: &Broadcast, $victim: &mut Victim, $facts: &Facts) $body
    )+};
}

fn writer(victim: &mut Victim) -> &mut Producer {
    victim.writer.as_mut().expect("the writer's seat")
}

fn reader(victim: &mut Victim) -> &mut Consumer {
    victim.reader.as_mut().expect("a reader's place")
}

operations! {
    push(_s, victim, facts) { pushes(writer(victim), facts, |writer, kind, bytes| writer.try_push(kind, bytes)); }
    push_timeout(_s, victim, facts) {
        pushes(writer(victim), facts, |writer, kind, bytes| writer.push_timeout(kind, bytes, SHORT));
    }
    push_blocking(_s, victim, facts) { pushes(writer(victim), facts, |writer, kind, bytes| writer.push(kind, bytes)); }
    reserve(_s, victim, facts) {
        pushes(writer(victim), facts, |writer, kind, bytes| writer.reserve(kind, bytes.len()).and_then(|mut reservation| {
            reservation.write(0, bytes);
            reservation.commit()
        }));
    }
    reserve_and_drop(_s, victim, _facts) { drop(writer(victim).reserve(1, LENGTH)); }
    wait_consumer(_s, victim, _facts) { let _ = writer(victim).wait_consumer(Some(SHORT)); }
    close_producer(_s, victim, facts) {
        facts.word(HOLDS).set(READER);
        victim.writer = None;
    }
    open_producer(subject, victim, _facts) { victim.writer = subject.ring.producer(&victim.me).map(Opened::into_inner).ok(); }
    beats(_s, victim, _facts) {
        writer(victim).beat();
        reader(victim).beat();
    }

    pop(_s, victim, _facts) {
        let mut bytes = core::mem::take(&mut victim.bytes);
        let _ = reader(victim).try_pop(&mut bytes);
        victim.bytes = bytes;
    }
    pop_timeout(_s, victim, _facts) {
        let mut bytes = core::mem::take(&mut victim.bytes);
        let _ = reader(victim).pop_timeout(&mut bytes, SHORT);
        victim.bytes = bytes;
    }
    view(_s, victim, _facts) {
        let mut bytes = core::mem::take(&mut victim.bytes);
        if let Ok(view) = reader(victim).peek() {
            let _ = (view.granule(0), view.copy_to(&mut bytes));
            let _ = view.finish();
        }
        victim.bytes = bytes;
    }
    discard(_s, victim, _facts) { let _ = reader(victim).discard(); }
    wait_producer(_s, victim, _facts) { let _ = reader(victim).wait_producer(Some(SHORT)); }
    close_consumer(_s, victim, _facts) { victim.reader = None; }
    open_consumer(subject, victim, _facts) { victim.reader = subject.ring.consumer(&victim.me).map(Opened::into_inner).ok(); }
}

/// An operation, of which side, and in which states.
struct Row(&'static str, Operation, u64, &'static [Is]);

pub fn cases(all: &mut Vec<Case>) {
    use Is::{AtTheEnd, Behind, Dead, Empty, Fresh, Slept, Taken, Warm};
    const ROWS: [Row; 16] = [
        Row("push", push, WRITER, &[Fresh, Warm, AtTheEnd, Behind, Slept]),
        Row("push_timeout", push_timeout, WRITER, &[Warm, Behind]),
        Row("push_blocking", push_blocking, WRITER, &[Warm]),
        Row("reserve", reserve, WRITER, &[Warm, AtTheEnd, Behind]),
        Row("reserve_and_drop", reserve_and_drop, WRITER, &[AtTheEnd]),
        Row("wait_consumer", wait_consumer, WRITER, &[Fresh]),
        Row("close_producer", close_producer, WRITER, &[Warm]),
        Row("open_producer", open_producer, WRITER, &[Dead, Taken]),
        Row("beats", beats, WRITER, &[Warm]),
        Row("pop", pop, READER, &[Empty, Warm, Behind, Slept]),
        Row("pop_timeout", pop_timeout, READER, &[Empty, Warm, Behind]),
        Row("view", view, READER, &[Empty, Warm, Behind]),
        Row("discard", discard, READER, &[Warm, Behind]),
        Row("wait_producer", wait_producer, READER, &[Fresh]),
        Row("close_consumer", close_consumer, READER, &[Warm, Slept]),
        Row("open_consumer", open_consumer, READER, &[Dead, Taken]),
    ];
    for Row(name, operation, holds, states) in ROWS {
        for (&is, lossless) in states.iter().flat_map(|is| [(is, false), (is, true)]) {
            // A lossy ring's writer does not wait.
            if is == Slept && holds == READER && !lossless {
                continue;
            }
            let mode = if lossless { "lossless" } else { "lossy" };
            let name = format!("broadcast.{name}.{mode}_{}", format!("{is:?}").to_lowercase());
            let address = operation as *const () as usize;
            all.push(
                Case::new(name, address, move || Broadcast::new(lossless, is, holds, operation)).first_deaths_alone(),
            );
        }
    }
}
