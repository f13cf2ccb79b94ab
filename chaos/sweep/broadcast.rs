//! The broadcast ring: its writer, or a reader, dies in each of its operations, beside others that stand still, or are dead.
//!
//! What a reader sees of records that were half written is what the models and the chaos scenario look at; here it is whether the
//! next ones can go on, from where, and what they are told.

mod operations;
mod states;

pub use operations::cases;

pub use states::{Damage, Is, Opens, Other};

use super::case::{FactsOf, Handles, brief};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::broadcast::{
    Config, Consumer, Mode, Opened, Producer, Ring, SeatError, TryPopError, TryPushError,
};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::time::Duration;

const CAPACITY: usize = 256;
const ENTRIES: u64 = 8;
const READERS: usize = 2;
const LENGTH: usize = 24;
const ODD_LENGTH: usize = 21;
const AS_LONG_AS_CAN_BE: usize = CAPACITY / 2 - 16;
const TOO_LONG: usize = 128;
/// For those who are to wait in vain: by the clock of a sweep they go to sleep once.
const SHORT: Duration = Duration::from_micros(1500);
/// Where nobody can sleep, they look again as often.
const LONGER: Duration = Duration::from_micros(4500);

const SLOTS: u32 = 6;
/// Words of the facts: records begun and ended.
const FACTS: FactsOf<2> = FactsOf([0, 1]);
/// The victim has the writer's seat for sure, or a reader's place.
const HOLDS: usize = 2;
const WRITER: u64 = 1;
const READER: u64 = 2;
/// The victim's operation was not refused.
const DONE: usize = 3;

pub type Operation = fn(&Broadcast, &mut Victim, &Facts);

pub struct Broadcast {
    pub ring: Ring,
    memory: Memory,
    lossless: bool,
    role: u64,
    is: Is,
    other: Other,
    opens: Option<Opens>,
    handles: Handles,
    timeout: Option<Duration>,
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

pub struct Victim {
    pub me: Attachment,
    pub writer: Option<Producer>,
    pub reader: Option<Consumer>,
    /// Another reader, that has read all.
    fast: Option<Consumer>,
    pub bytes: Vec<u8>,
    pub payload: ([u8; TOO_LONG], usize),
    pub timeout: Option<Duration>,
}

pub struct Survivor {
    me: Attachment,
    writer: Option<Producer>,
    readers: Vec<Consumer>,
}

/// Payload of a record by its number; all records of these take as much.
fn payload(number: u64) -> Vec<u8> {
    vec![number as u8; if number % 4 == 1 { ODD_LENGTH } else { LENGTH }]
}

/// One record by `push`, as the facts see it.
pub fn pushes<T, E>(
    writer: &mut Producer,
    facts: &Facts,
    push: impl FnOnce(&mut Producer, u32) -> Result<T, E>,
) -> Result<T, E> {
    let [begun, ended] = FACTS.words(facts);
    let number = writer.position();
    begun.set(number + 1);
    let pushed = push(writer, number as u32);
    if pushed.is_ok() {
        ended.set(number + 1)
    } else {
        begun.set(number)
    }
    pushed
}

fn try_push(writer: &mut Producer, facts: &Facts) -> Result<(), TryPushError> {
    pushes(writer, facts, |writer, kind| writer.try_push(kind, &payload(kind.into())))
}

impl Broadcast {
    pub fn new(config: Config, role: u64, is: Is, other: Other, operation: Operation) -> Self {
        let ring = Ring::memfd(&Options::new().slots(SLOTS), &config).expect("a ring");
        let memory = Memory::of(ring.segment()).expect("its file, mapped");
        let lossless = ring.status().mode == Mode::Lossless;
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (opens, handles, timeout, inherited) = (None, Handles::Own, Some(SHORT), RefCell::new(None));
        Self { ring, memory, lossless, role, is, other, opens, handles, timeout, inherited, operation }
    }

    pub fn opening(self, opens: Opens) -> Self {
        Self { opens: Some(opens), ..self }
    }

    pub fn inherited(self) -> Self {
        Self { handles: Handles::Inherited, ..self }
    }

    pub fn waiting(self, timeout: Option<Duration>) -> Self {
        Self { timeout, ..self }
    }

    fn writer(&self, me: &Attachment) -> Producer {
        self.ring.producer(me).expect("a seat that is free").into_inner()
    }

    fn reader(&self, me: &Attachment) -> Consumer {
        self.ring.consumer(me).expect("a place that is free").into_inner()
    }

    /// What the victim has when its operation begins.
    fn seats(&self, facts: &Facts) -> Victim {
        let me = match self.opens {
            Some(Opens::Foreign) => {
                let other = Ring::memfd(&Options::new().slots(1), &Config::lossy(CAPACITY, 1)).expect("a ring");
                brief(other.attach().expect("a free slot"))
            }
            _ => brief(self.ring.attach().expect("a free slot")),
        };
        // In one state what is popped into has to grow.
        let bytes = Vec::with_capacity(if self.is == Is::Warm { 0 } else { CAPACITY });
        let len = match self.is {
            Is::TooLarge => TOO_LONG,
            Is::Long | Is::LongAtTheEnd => AS_LONG_AS_CAN_BE,
            Is::Warm => ODD_LENGTH,
            Is::NoPayload => 0,
            _ => LENGTH,
        };
        let endless = self.is == Is::Damaged(Damage::Gates);
        let (payload, timeout) = (([7; TOO_LONG], len), if endless { Some(LONGER) } else { self.timeout });
        let mut victim = Victim { me, writer: None, reader: None, fast: None, bytes, payload, timeout };
        if self.opens.is_none() {
            let both = matches!(self.other, Other::Here | Other::Gone);
            let has = |role| both || self.role == role;
            victim.writer = has(WRITER).then(|| self.writer(&victim.me));
            // The slow one takes its place last.
            victim.fast = (self.is == Is::Two).then(|| self.reader(&victim.me));
            victim.reader = has(READER).then(|| self.reader(&victim.me));
            if let (Some(writer), Some(reader)) = (&mut victim.writer, &mut victim.reader) {
                self.bring(writer, victim.fast.as_mut().unwrap_or(reader), facts);
            }
            match (self.other, self.role) {
                (Other::Gone, WRITER) => victim.reader = None,
                (Other::Gone, _) => victim.writer = None,
                _ => {}
            }
        }
        if let Is::Damaged(damage) = self.is {
            self.damage(damage);
        }
        let holds = |held: bool, role| if held { role } else { 0 };
        facts.word(HOLDS).set(holds(victim.writer.is_some(), WRITER) | holds(victim.reader.is_some(), READER));
        victim
    }

    /// Whether the writer lives, whoever dies in the sweep, and how many readers do.
    fn living(&self) -> (bool, usize) {
        match (self.handles, self.opens, self.other) {
            (Handles::Inherited, None, _) => (true, 1),
            (_, Some(_), Other::Stands) => (true, READERS),
            (_, None, Other::Stands) => (self.role == READER, usize::from(self.role == WRITER)),
            _ => (false, 0),
        }
    }

    /// Opens the writer's seat, unless one who lives has it; whether its holder had died.
    fn take_over(&self, survivor: &mut Survivor, facts: &Facts) -> Result<bool, Finding> {
        let (before, (lives, _)) = (self.ring.status().writer, self.living());
        let dead = matches!(before.state, SeatState::Dead(_));
        if lives != matches!(before.state, SeatState::Alive(_)) || facts.word(HOLDS).get() & WRITER != 0 && !dead {
            return Err(Finding::lost(format!("the writer lives: {lives}, and its seat is {:?}", before.state)));
        }
        let opened = match self.ring.producer(&survivor.me) {
            Ok(_) if lives => return Err(Finding::duplicated("the writer lives, and its seat was opened")),
            Ok(opened) => opened,
            Err(SeatError::Busy { .. }) if lives => return Ok(false),
            Err(error) => return Err(Finding::stuck(format!("the writer's seat: {error}"))),
        };
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
        Ok(told)
    }

    /// Takes all places, but for those of readers who live; how many were of the dead.
    fn take_places(&self, survivor: &mut Survivor, facts: &Facts) -> Result<u64, Finding> {
        let (places, (_, living)) = (self.ring.status().readers, self.living());
        let count = |is: fn(&SeatState) -> bool| places.iter().filter(|place| is(&place.seat.state)).count();
        let dead = count(|state| matches!(state, SeatState::Dead(_)));
        let alive = count(|state| matches!(state, SeatState::Alive(_)));
        if alive != living || facts.word(HOLDS).get() & READER != 0 && dead == 0 {
            return Err(Finding::lost(format!("{living} readers live, and places are {places:?}")));
        }
        let mut told = 0;
        for _ in alive..READERS {
            let opened = self.ring.consumer(&survivor.me);
            let opened = opened.map_err(|error| Finding::stuck(format!("a reader's place: {error}")))?;
            told += usize::from(opened.owner_died());
            survivor.readers.push(opened.into_inner());
        }
        if alive == READERS && self.ring.consumer(&survivor.me).is_ok() {
            return Err(Finding::duplicated("readers that live have all places, and one was opened"));
        }
        let before: u64 = places.iter().map(|place| place.seat.generation).sum();
        let after: u64 = self.ring.status().readers.iter().map(|place| place.seat.generation).sum();
        if told != dead || after != before + dead as u64 {
            return Err(Finding::other(format!("dead: {dead}, told: {told}, generations {before}, then {after}")));
        }
        Ok(dead as u64)
    }
}

impl Subject for Broadcast {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        let others = || {
            let me = brief(self.ring.attach().expect("a free slot"));
            let (mut writer, mut reader) = (self.writer(&me), self.reader(&me));
            self.bring(&mut writer, &mut reader, facts);
            let all = self.opens.is_some();
            let more = (1..READERS).filter(|_| all).map(|_| self.reader(&me)).collect::<Vec<_>>();
            // The seat that the victim has is free.
            ((all || self.role == READER).then_some(writer), (all || self.role == WRITER).then_some(reader), more, me)
        };
        match self.other {
            Other::Stands => cast.stands(others),
            Other::Dead => cast.dies(others),
            Other::Gone if self.opens.is_some() => drop(others()),
            Other::Gone | Other::Here => {}
        }
        if self.handles == Handles::Inherited {
            self.inherited.replace(Some(self.seats(facts)));
            facts.word(HOLDS).set(0);
        }
    }

    fn attach(&self, facts: &Facts) -> Victim {
        self.inherited.take().unwrap_or_else(|| self.seats(facts))
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Survivor {
        Survivor { me: brief(self.ring.attach().expect("a free slot")), writer: None, readers: Vec::new() }
    }

    fn recover(&self, survivor: &mut Survivor, facts: &Facts) -> Result<&'static str, Finding> {
        if matches!(self.is, Is::Damaged(_)) {
            if facts.word(DONE).get() != 0 {
                return Err(Finding::other("an operation went well, though the ring is damaged"));
            }
            // Whether it can be opened depends on the damage: it is to be said, and nobody is to wait or to crash.
            survivor.writer = self.ring.producer(&survivor.me).ok().map(Opened::into_inner);
            survivor.readers.extend(self.ring.consumer(&survivor.me).ok().map(Opened::into_inner));
            return Ok("damaged");
        }
        let writer = self.take_over(survivor, facts)?;
        let readers = self.take_places(survivor, facts)?;
        Ok(match (writer, readers > 0) {
            (true, true) => "the writer and a reader died",
            (true, false) => "the writer died",
            (false, true) => "a reader died",
            (false, false) => "nobody died",
        })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        let mut bytes = Vec::new();
        let Survivor { writer, readers, .. } = survivor;
        let Some(writer) = writer else { return Ok(()) };
        if matches!(self.is, Is::Damaged(_)) {
            let _ = writer.try_push(0, &[]);
            readers.iter_mut().for_each(|reader| drop(reader.try_pop(&mut bytes)));
            return Ok(());
        }
        // A reader that stands still has read nothing since.
        let held_up = self.lossless && self.living().1 > 0;
        for _ in 0..8 {
            let number = writer.position();
            match try_push(writer, facts) {
                Ok(()) if held_up && self.is == Is::Behind => {
                    return Err(Finding::lost("a record that a reader who lives had yet to read"));
                }
                Ok(()) => {}
                Err(TryPushError::Full) if held_up => return Ok(()),
                Err(error) => return Err(Finding::stuck(format!("a push after the recovery: {error}"))),
            }
            for reader in &mut *readers {
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
