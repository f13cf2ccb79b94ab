//! The MPSC ring of claims: a producer or the consumer dies in each of its operations, beside another one that is at work, or has died in it.

mod operations;
mod states;

pub use operations::cases;
pub use states::{Damage, Is, Meanwhile, Other};

use super::case::{Handles, brief};
use super::records::{self, FACTS_LEFT, MINE, OTHERS, Sides, arrives, kind, records};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject, meanwhile};
use ownerdead::owner::Attachment;
use ownerdead::ring::mpsc::claims::{
    Config, Consumer, Peek, Producer, Reservation, Ring, SeatError, TryPopError, TryPushError,
};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::mem::forget;
use std::time::Duration;

/// Bytes of a block, and of the ring: eight of them.
const BLOCK: usize = 64;
pub const CAPACITY: usize = 8 * BLOCK;
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
pub const SHORT: Duration = Duration::from_micros(1500);
/// For those who need not.
pub const LONG: Duration = Duration::from_micros(4500);
/// Payloads of one block, and of two.
const ONE: usize = 24;
const TWO: usize = 70;
const TOO_LONG: usize = CAPACITY / 2;
/// The number of the first record that has no payload.
const NO_PAYLOAD: u64 = 12;

/// Slots of the table; where all are to have the same.
const SLOTS: [u32; 2] = [6, 1];

pub const WHOSE: [u64; 2] = [MINE, OTHERS];
/// The fact that the victim has given up what it had claimed, and lives.
pub const GAVE_UP: usize = FACTS_LEFT;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
    /// It has nothing, and opens the consumer's seat.
    Opener,
}

pub type Operation = fn(&Claims, &mut Victim, &Facts);

pub struct Claims {
    pub ring: Ring,
    memory: Memory,
    slots: u32,
    role: Role,
    pub is: Is,
    other: Other,
    pub handles: Handles,
    foreign: bool,
    /// The victim has claimed blocks, or looks at a record, before its operation begins.
    holds: bool,
    meanwhile: Option<Meanwhile>,
    timeout: Option<Duration>,
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

pub struct Victim {
    pub me: Attachment,
    pub producer: Producer,
    pub consumer: Option<Consumer>,
    pub bytes: Vec<u8>,
    pub number: u64,
    pub payload: ([u8; TOO_LONG], usize),
    pub timeout: Option<Duration>,
    /// What it was at work on already.
    pub peek: Option<Peek<'static>>,
    pub reservation: Option<Reservation<'static>>,
}

impl Sides for Victim {
    type Producer = Producer;
    type Consumer = Consumer;
    const WHOSE: u64 = WHOSE.len() as u64;

    fn pushing(&mut self) -> (&mut Producer, u64, &[u8]) {
        let (bytes, len) = &self.payload;
        (&mut self.producer, self.number, &bytes[..*len])
    }

    fn popping(&mut self) -> (&mut Consumer, &mut Vec<u8>) {
        (self.consumer.as_mut().expect("the seat"), &mut self.bytes)
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

pub struct Survivor {
    me: Attachment,
    producer: Producer,
    consumer: Option<Consumer>,
}

/// A payload takes one block, or two, or no bytes at all.
fn payload(whose: u64, number: u64) -> ([u8; TOO_LONG], usize) {
    let len = match number {
        _ if number % 16 == NO_PAYLOAD => 0,
        _ if number % 2 == 1 => ONE - (number % 3) as usize * 5,
        _ => TWO,
    };
    (records::bytes(whose, number), len)
}

fn push(producer: &mut Producer, whose: u64, facts: &Facts) -> Result<(), TryPushError> {
    records::push(producer, whose, facts, payload)
}

fn pop(consumer: &mut Consumer, facts: &Facts) -> Result<bool, Finding> {
    let other = |error| Finding::other(format!("a pop: {error}"));
    let peek = match consumer.peek() {
        Ok(peek) => peek,
        Err(TryPopError::Empty) => return Ok(false),
        Err(error) => return Err(other(error)),
    };
    let mut bytes = Vec::new();
    peek.copy_to(&mut bytes).map_err(|corrupt| other(corrupt.into()))?;
    // Before it is committed as read: who does so may die, too.
    let (whose, number) = arrives(peek.kind(), &bytes, &WHOSE, facts, payload)?;
    peek.consume();
    records(facts, whose).committed(number);
    Ok(true)
}

impl Claims {
    pub fn new(config: Config, role: Role, is: Is, other: Other, operation: Operation) -> Self {
        let slots = SLOTS[usize::from(is == Is::SameSlot)];
        let ring = Ring::memfd(&Options::new().slots(slots), &config).expect("a ring");
        let memory = Memory::of(ring.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (handles, foreign, holds, meanwhile) = (Handles::Own, false, false, None);
        let (timeout, inherited) = (Some(SHORT), RefCell::new(None));
        Self { ring, memory, slots, role, is, other, handles, foreign, holds, meanwhile, timeout, inherited, operation }
    }

    pub fn holding(self) -> Self {
        Self { holds: true, ..self }
    }

    pub fn with(self, meanwhile: Meanwhile) -> Self {
        Self { meanwhile: Some(meanwhile), ..self }
    }

    pub fn inherited(self) -> Self {
        Self { handles: Handles::Inherited, ..self }
    }

    /// The victim is attached to another segment when it opens its sides.
    pub fn foreign(self) -> Self {
        Self { foreign: true, ..self }
    }

    pub fn waiting(self, timeout: Option<Duration>) -> Self {
        Self { timeout, ..self }
    }

    fn producer(&self) -> (Attachment, Producer) {
        let me = brief(self.ring.attach().expect("a free slot"));
        let producer = self.ring.producer(&me).expect("its own segment").into_inner();
        (me, producer)
    }

    fn consumer(&self, me: &Attachment) -> Consumer {
        self.ring.consumer(me).expect("a seat that is free").into_inner()
    }

    /// Nothing that is in the ring can be counted on.
    fn is_damaged(&self) -> bool {
        matches!(self.is, Is::Damaged(_)) || matches!(self.meanwhile, Some(Meanwhile::Damaged(_)))
    }

    /// The victim, which has what it has when its operation begins, claims blocks, or looks at a record.
    fn hold(&self, victim: &mut Victim, facts: &Facts) {
        if let Some(consumer) = victim.consumer.take() {
            victim.peek = Some(Box::leak(Box::new(consumer)).peek().expect("a record"));
            return;
        }
        let position = self.ring.status().write_index;
        let producer = self.ring.producer(&victim.me).expect("its own segment").into_inner();
        let (number, (bytes, len)) = (victim.number, &victim.payload);
        records(facts, MINE).push(number);
        let mut reservation = Box::leak(Box::new(producer)).reserve(kind(MINE, number), *len).expect("room");
        reservation.write(0, &bytes[..*len]);
        victim.reservation = Some(reservation);
        if self.is == Is::Asked {
            self.ask(position);
        }
    }

    /// What the victim has when its operation begins.
    fn victim(&self, facts: &Facts) -> Victim {
        let (mut me, producer) = self.producer();
        let mut consumer = (self.role == Role::Consumer).then(|| self.consumer(&me));
        match self.is {
            Is::Damaged(damage) => self.damage(damage, &me),
            Is::Reserved => {
                forget(self.ring.producer(&me).expect("its own segment").into_inner().reserve(1, 1).expect("room"));
            }
            Is::Known => assert!(consumer.as_mut().is_some_and(|consumer| consumer.peek().is_ok())),
            Is::Asked if !self.holds => self.ask(self.ring.status().read_index),
            _ => {}
        }
        if self.foreign {
            let other = Ring::memfd(&Options::new().slots(1), &Config::new(1024)).expect("a ring");
            me = brief(other.attach().expect("a free slot"));
        }
        WHOSE.iter().for_each(|&whose| records(facts, whose).next_reader());
        // In one state what is popped into has to grow.
        let bytes = Vec::with_capacity(if self.is == Is::Warm { 0 } else { TOO_LONG });
        let number = records(facts, MINE).begun.get() + 1;
        let mut payload = payload(MINE, number);
        if self.is == Is::TooLarge {
            payload.1 = TOO_LONG;
        }
        let (timeout, peek, reservation) = (self.timeout, None, None);
        let mut victim = Victim { me, producer, consumer, bytes, number, payload, timeout, peek, reservation };
        if self.holds {
            self.hold(&mut victim, facts);
        }
        if let Some((call, step)) = self.meanwhile.map(|it| self.step(it)) {
            meanwhile(call, step);
        }
        victim
    }
}

impl Subject for Claims {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.other {
            Other::Gone => drop(self.begin(facts)),
            Other::Writes | Other::Consumes => cast.stands(|| self.begin(facts)),
            Other::WroteAndDied | Other::ConsumedAndDied => cast.dies(|| self.begin(facts)),
        }
        self.bring(facts);
        if self.handles == Handles::Inherited {
            self.inherited.replace(Some(self.victim(facts)));
        }
    }

    fn attach(&self, facts: &Facts) -> Victim {
        self.inherited.take().unwrap_or_else(|| self.victim(facts))
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Survivor {
        let (me, producer) = self.producer();
        Survivor { me, producer, consumer: None }
    }

    fn recover(&self, survivor: &mut Survivor, facts: &Facts) -> Result<&'static str, Finding> {
        WHOSE.iter().for_each(|&whose| records(facts, whose).next_reader());
        let opened = self.ring.consumer(&survivor.me);
        if facts.word(GAVE_UP).get() == 1 && self.is_written() {
            return Err(Finding::other("blocks are still claimed that were given up".to_owned()));
        }
        if self.is_damaged() {
            // It is to be said, and nobody is to wait or to crash.
            if let Ok(opened) = opened {
                let _ = opened.into_inner().try_pop(&mut Vec::new());
            }
            let _ = survivor.producer.try_push(0, &[1]);
            return Ok("damaged");
        }
        let inherited = self.handles == Handles::Inherited && self.role == Role::Consumer;
        let consumer = match opened {
            Err(SeatError::Busy { .. }) if self.other == Other::Consumes || inherited => {
                return Ok("the consumer lives");
            }
            Err(error) => return Err(Finding::other(format!("the consumer's seat: {error}"))),
            Ok(opened) => opened.into_inner(),
        };
        let skips = self.ring.status().next_writer.is_some();
        let consumer = survivor.consumer.insert(consumer);
        while pop(consumer, facts)? {}
        Ok(if skips { "a record of a dead one" } else { "no record of a dead one" })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        let stands = self.other == Other::Writes || self.holds && self.handles == Handles::Inherited;
        let Some(consumer) = survivor.consumer.as_mut().filter(|_| !stands) else {
            // What comes after a write that stands still waits for it; and who stands still with the seat reads nothing.
            return Ok(());
        };
        for whose in WHOSE {
            records(facts, whose).all_arrived()?;
        }
        // Records that were begun, and never committed, are gone: numbers go on. Each block has its turn.
        let mine = records(facts, MINE);
        for _ in 0..CAPACITY / BLOCK + 1 {
            mine.push(mine.last.get().max(mine.read.get()));
            push(&mut survivor.producer, MINE, facts)
                .map_err(|error| Finding::stuck(format!("a push after the recovery: {error}")))?;
            if !pop(consumer, facts)? {
                return Err(Finding::lost("a record that was pushed after the recovery"));
            }
        }
        let status = self.ring.status();
        if status.write_index != status.read_index {
            return Err(Finding::other(format!("a ring of which all was read is not empty: {status:?}")));
        }
        Ok(())
    }
}
