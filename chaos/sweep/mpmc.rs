//! The MPMC ring: a producer or a consumer dies in each of its operations, beside others that are at work, or have died in it.

mod operations;
mod states;

pub use operations::cases;
pub use states::{Damage, Is, Meanwhile, Other};

use super::case::{Handles, brief};
use super::records::{self, MINE, OTHERS, Sides, arrives, kind, read_unseen, records};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject, meanwhile};
use ownerdead::owner::Attachment;
use ownerdead::ring::mpmc::{Config, Consumer, OnDeath, Peek, Producer, Reservation, Ring, TryPopError, TryPushError};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::mem::forget;
use std::time::Duration;

/// Slots of the ring.
pub const RING: usize = 4;
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
const SHORT: Duration = Duration::from_micros(1500);
/// For those who need not.
const LONG: Duration = Duration::from_micros(4500);
/// Payloads that lie in their slots.
pub const INSIDE: usize = 24;
/// Those that do not.
pub const OUTSIDE: usize = 85;
/// Of these the victim's takes eight granules.
pub const EIGHT_GRANULES: usize = 74;
/// Slots of a ring for a crowd.
pub const LARGE_RING: usize = 32;

/// Slots of the table; with a crowd.
const PARTICIPANTS: [u32; 2] = [6, 20];

pub const WHOSE: [u64; 2] = [MINE, OTHERS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
}

pub type Operation = fn(&Mpmc, &mut Victim, &Facts);

pub struct Mpmc {
    pub ring: Ring,
    memory: Memory,
    role: Role,
    is: Is,
    other: Other,
    handles: Handles,
    foreign: bool,
    holds: Option<Role>,
    meanwhile: Option<Meanwhile>,
    participants: u32,
    /// Bytes of a payload that fits.
    longest: usize,
    /// What a dead consumer was reading is dropped.
    pub drops: bool,
    timeout: Option<Duration>,
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

pub struct Victim {
    pub me: Attachment,
    pub producer: Producer,
    pub consumer: Consumer,
    pub bytes: Vec<u8>,
    pub number: u64,
    pub payload: ([u8; OUTSIDE], usize),
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
        (&mut self.consumer, &mut self.bytes)
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

pub struct Survivor {
    producer: Producer,
    consumer: Consumer,
}

/// The payload of a record.
fn payload(whose: u64, number: u64, longest: usize) -> ([u8; OUTSIDE], usize) {
    (records::bytes(whose, number), longest - (number % 3) as usize * 5)
}

impl Mpmc {
    pub fn new(config: Config, role: Role, is: Is, other: Other, operation: Operation) -> Self {
        let participants = PARTICIPANTS[usize::from(other.count() > 1)];
        let ring = Ring::memfd(&Options::new().slots(participants), &config).expect("a ring");
        let memory = Memory::of(ring.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (handles, foreign, inherited) = (Handles::Own, false, RefCell::new(None));
        let (drops, timeout) = (ring.status().on_death == OnDeath::Drop, Some(SHORT));
        let (longest, holds, meanwhile) = (ring.longest_payload(), None, None);
        Self {
            ring,
            memory,
            role,
            is,
            other,
            handles,
            foreign,
            holds,
            meanwhile,
            participants,
            longest,
            drops,
            timeout,
            inherited,
            operation,
        }
    }

    /// The victim has claimed a slot before its operation begins.
    pub fn holding(self) -> Self {
        Self { holds: Some(self.role), ..self }
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

    fn push(&self, producer: &mut Producer, whose: u64, facts: &Facts) -> Result<(), TryPushError> {
        records::push(producer, whose, facts, |whose, number| payload(whose, number, self.longest))
    }

    fn pop(&self, consumer: &mut Consumer, facts: &Facts) -> Result<bool, Finding> {
        let other = |error| Finding::other(format!("a pop: {error}"));
        if self.drops {
            read_unseen::<Victim>(facts);
        }
        let peek = match consumer.peek() {
            Ok(peek) => peek,
            Err(TryPopError::Empty) => return Ok(false),
            Err(error) => return Err(other(error)),
        };
        let mut bytes = Vec::new();
        peek.copy_to(&mut bytes).map_err(|corrupt| other(corrupt.into()))?;
        // Before it is committed as read: who does so may die, too.
        let payload = |whose, number| payload(whose, number, self.longest);
        let (whose, number) = arrives(peek.kind(), &bytes, &WHOSE, facts, payload)?;
        peek.consume();
        records(facts, whose).committed(number);
        Ok(true)
    }

    fn sides(&self) -> (Attachment, Producer, Consumer) {
        let me = brief(self.ring.attach().expect("a free slot"));
        let producer = self.ring.producer(&me).expect("its own segment").into_inner();
        let consumer = self.ring.consumer(&me).expect("its own segment").into_inner();
        (me, producer, consumer)
    }

    /// What one of the others has done before, and does.
    fn begin(&self, first: bool, facts: &Facts) -> (Attachment, Producer, Consumer) {
        let (me, mut producer, mut consumer) = self.sides();
        if first {
            self.warm_up(&mut producer, &mut consumer, facts);
        }
        self.claim(&me, &mut producer, &mut consumer, facts);
        (me, producer, consumer)
    }

    /// Nothing that is in the ring can be counted on.
    fn is_damaged(&self) -> bool {
        matches!(self.is, Is::Damaged(_)) || matches!(self.meanwhile, Some(Meanwhile::Damaged(_)))
    }

    /// The victim, which has what it has when its operation begins, claims a slot.
    fn hold(&self, victim: &mut Victim, facts: &Facts) {
        let position = match self.role {
            Role::Producer => {
                let producer = self.ring.producer(&victim.me).expect("its own segment").into_inner();
                let (number, (bytes, len)) = (victim.number, &victim.payload);
                records(facts, MINE).push(number);
                let reserved = Box::leak(Box::new(producer)).reserve(kind(MINE, number), *len);
                let mut reservation = reserved.expect("room");
                reservation.write(0, &bytes[..*len]);
                victim.reservation = Some(reservation);
                self.ring.status().write_index - 1
            }
            Role::Consumer => {
                let consumer = self.ring.consumer(&victim.me).expect("its own segment").into_inner();
                let peek = Box::leak(Box::new(consumer)).peek().expect("a record");
                if self.handles == Handles::Inherited {
                    // Its parent has it, and keeps it.
                    let records = records(facts, MINE);
                    records.may_be_read.set(u64::from(peek.kind()));
                    records.committed(u64::from(peek.kind()));
                }
                victim.peek = Some(peek);
                self.ring.status().read_index
            }
        };
        if self.is == Is::Asked {
            self.ask(position);
        }
    }

    /// What the victim has when its operation begins.
    fn victim(&self, facts: &Facts) -> Victim {
        let (mut me, mut producer, consumer) = self.sides();
        if self.is == Is::Reserved {
            let mut second = self.ring.producer(&me).expect("its own segment").into_inner();
            forget(second.reserve(1, 1).expect("room"));
            while self.role == Role::Producer && self.push(&mut producer, MINE, facts).is_ok() {}
        }
        if let Is::Damaged(damage) = self.is {
            self.damage(damage, &me);
        }
        if self.foreign {
            let other = Ring::memfd(&Options::new().slots(1), &Config::new(1, 8)).expect("a ring");
            me = brief(other.attach().expect("a free slot"));
        }
        WHOSE.iter().for_each(|&whose| records(facts, whose).next_reader());
        // In one state what is popped into has to grow.
        let bytes = Vec::with_capacity(if self.is == Is::Warm { 0 } else { 64 });
        let number = records(facts, MINE).begun.get() + 1;
        let mut payload = payload(MINE, number, self.longest);
        match self.is {
            Is::TooLarge => payload.1 = 64,
            Is::NoPayload => payload.1 = 0,
            _ => {}
        }
        let (timeout, peek, reservation) = (self.timeout, None, None);
        let mut victim = Victim { me, producer, consumer, bytes, number, payload, timeout, peek, reservation };
        if self.holds.is_some() {
            self.hold(&mut victim, facts);
        }
        if let Some((call, step)) = self.meanwhile.map(|it| self.step(it)) {
            meanwhile(call, step);
        }
        victim
    }
}

impl Subject for Mpmc {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.other {
            Other::Gone => drop(self.begin(true, facts)),
            Other::WroteAndDied | Other::ReadAndDied => cast.dies(|| self.begin(true, facts)),
            _ => (0..self.other.count()).for_each(|index| cast.stands(|| self.begin(index == 0, facts))),
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
        let (_, producer, consumer) = self.sides();
        Survivor { producer, consumer }
    }

    fn recover(&self, survivor: &mut Survivor, facts: &Facts) -> Result<&'static str, Finding> {
        WHOSE.iter().for_each(|&whose| records(facts, whose).next_reader());
        if self.is_damaged() {
            // It is to be said, and nobody is to wait or to crash.
            let _ = survivor.consumer.try_pop(&mut Vec::new());
            let _ = survivor.producer.try_push(0, &[1]);
            return Ok("damaged");
        }
        let before = self.ring.status();
        while self.pop(&mut survivor.consumer, facts)? {}
        let left = self.ring.status();
        if left.dead > before.dead {
            return Err(Finding::other(format!("{} slots of dead ones, and {} before", left.dead, before.dead)));
        }
        Ok(if before.dead > 0 { "a slot of a dead one" } else { "no slot of a dead one" })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        let writes = matches!(self.other, Other::Writes | Other::AllWrite(_) | Other::AllRead(_));
        if self.is_damaged() || writes || self.holds.is_some() && self.handles == Handles::Inherited {
            // What comes after a write that stands still waits for it, or not, as the ring's order says. And where the victim's parent
            // has a slot, it is the victim's that stands.
            return Ok(());
        }
        for whose in WHOSE {
            records(facts, whose).all_arrived()?;
        }
        if self.other.stands() {
            return Ok(());
        }
        // Records that were begun, and never committed, are gone: numbers go on. Each slot has its turn.
        let mine = records(facts, MINE);
        for _ in 0..RING + 1 {
            mine.push(mine.last.get().max(mine.read.get()));
            self.push(&mut survivor.producer, MINE, facts)
                .map_err(|error| Finding::stuck(format!("a push after the recovery: {error}")))?;
            if !self.pop(&mut survivor.consumer, facts)? {
                return Err(Finding::lost("a record that was pushed after the recovery"));
            }
        }
        let status = self.ring.status();
        if status.dead + status.writing + status.reading + status.full > 0 {
            return Err(Finding::other(format!("an empty ring in which somebody is at work: {status:?}")));
        }
        Ok(())
    }
}
