//! What the ring is like when an operation begins, and how it comes to be so; and what another one does meanwhile.

use super::{INSIDE, MINE, Mpmc, OTHERS, RING, Role, SHORT, kind, payload, records};
use ownerdead::harness::kill::Facts;
use ownerdead::owner::{Attachment, Claim, Holder};
use ownerdead::ring::mpmc::{Consumer, PopTimeoutError, Producer, PushTimeoutError};
use std::mem::forget;

/// Offsets in the body: see `ring::mpmc`.
const TAIL: usize = 128;
const HEAD: usize = 256;
const BELLS: usize = 384;
const SLOT: usize = 4096;
/// The last lap that a word can say.
const LAST_LAP: u64 = (1 << Claim::WIDE) - 1;

/// What the ring is like when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// As it was born.
    Fresh,
    /// Some records are in it, and some were read.
    Warm,
    /// What is written next, and what is read next, is the first slot again.
    Wrapped,
    Full,
    Empty,
    /// One slept that wanted a record, or room: the word says so still.
    Slept,
    /// Both hints are one behind, as the dead leave them.
    Behind,
    /// They are laps behind.
    LapsBehind,
    /// The words of the slots count their laps from 0 again after this one.
    LastLap,
    /// Of two records behind what the other one reads the first was read.
    Holed,
    /// The victim has a reservation open, by another side; if it is a producer, the ring is full otherwise.
    Reserved,
    /// One slept meanwhile that wants the slot which the victim has.
    Asked,
    /// The victim's record has no payload.
    NoPayload,
    /// It has too much of it.
    TooLarge,
    Damaged(Damage),
}

/// What somebody has done to the ring who does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// All slots name a participant that is not there.
    NoSlot,
    /// The words of all slots are none.
    NoClaim,
    /// All slots are written by the victim, which does nothing.
    Mine,
    /// The hints are in the first lap, and all slots are written so many laps before that, by one who never was.
    BeforeFirst(u64),
    TailTooFar,
    HeadTooFar,
    /// A hint is a lap further than it can be, or two.
    TailAhead,
    TailFarAhead,
    HeadAhead,
    /// The first record's length, or its payload, is wrong.
    Length,
    Payload,
}

/// What others do. Its claim, or theirs, are the first that are not done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Gone,
    /// It stands still, or is dead, amid a write. A record of its own comes after that.
    Writes,
    WroteAndDied,
    /// Amid a read.
    Reads,
    ReadAndDied,
    /// So many stand amid a write, each with a record behind it.
    AllWrite(usize),
    /// So many stand amid a read, the first amid two; then one amid a write.
    AllRead(usize),
}

impl Other {
    pub fn stands(self) -> bool {
        !matches!(self, Self::Gone | Self::WroteAndDied | Self::ReadAndDied)
    }

    /// How many they are.
    pub fn count(self) -> usize {
        match self {
            Self::AllWrite(count) => count,
            Self::AllRead(count) => count + 1,
            _ => 1,
        }
    }

    /// Slots that it has, or has filled.
    fn slots(self) -> usize {
        match self {
            Self::Gone => 0,
            Self::Writes | Self::WroteAndDied => 2,
            Self::Reads | Self::ReadAndDied => 1,
            Self::AllWrite(_) | Self::AllRead(_) => RING,
        }
    }
}

/// What happens while the victim waits, when it looks at the clock for the so manieth time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// The other one has written, or read, what it had claimed.
    Done(u64),
    /// The hints are damaged.
    Damaged(u64),
}

impl Mpmc {
    /// What is done before the others' claims, by the first of them.
    pub fn warm_up(&self, producer: &mut Producer, consumer: &mut Consumer, facts: &Facts) {
        let wanted = "as the ring is then";
        if self.is == Is::LastLap {
            // SAFETY: words of the mapping; nobody else is at work.
            unsafe {
                (0..RING as u64).for_each(|slot| *self.slot(slot) = Claim::free(LAST_LAP).0);
                *self.body(TAIL) = LAST_LAP * RING as u64;
                *self.body(HEAD) = LAST_LAP * RING as u64;
            }
        }
        // Positions are as the state wants them: the claims begin in the first slot, or behind it.
        let rounds = match self.is {
            Is::Fresh => 0,
            Is::Wrapped => RING,
            Is::LapsBehind => 3 * RING,
            _ => 2,
        };
        for _ in 0..rounds {
            self.push(producer, MINE, facts).expect(wanted);
            assert!(self.pop(consumer, facts).expect(wanted));
        }
    }

    /// Brings the ring into its state, by one that has gone then.
    pub fn bring(&self, facts: &Facts) {
        let wanted = "as the ring is then";
        let (_me, mut producer, mut consumer) = self.sides();
        match self.is {
            Is::Fresh | Is::Empty | Is::Reserved => {}
            // By count: who finds it full looks at the dead one's slot.
            Is::Full => (self.other.slots()..RING).for_each(|_| self.push(&mut producer, MINE, facts).expect(wanted)),
            Is::Slept if self.role == Role::Producer => {
                let slept = consumer.pop_timeout(&mut Vec::new(), SHORT);
                assert_eq!(slept, Err(PopTimeoutError::TimedOut));
            }
            Is::Slept => {
                while self.push(&mut producer, MINE, facts).is_ok() {}
                let slept = producer.push_timeout(0, &[0; INSIDE], SHORT);
                assert_eq!(slept, Err(PushTimeoutError::TimedOut));
            }
            Is::LastLap => self.push(&mut producer, MINE, facts).expect(wanted),
            _ => {
                self.push(&mut producer, MINE, facts).expect(wanted);
                self.push(&mut producer, MINE, facts).expect(wanted);
            }
        }
        if self.is == Is::Holed {
            assert!(self.pop(&mut consumer, facts).expect(wanted));
        }
        let hints = [self.body(TAIL), self.body(HEAD)];
        match self.is {
            // SAFETY: words of the mapping; nobody else is at work.
            Is::Behind => hints.into_iter().for_each(|hint| unsafe { *hint -= 1 }),
            // SAFETY: as above.
            Is::LapsBehind => hints.into_iter().for_each(|hint| unsafe { *hint = 1 }),
            _ => {}
        }
    }

    /// The claim of one of the others, which it keeps.
    pub fn claim(&self, me: &Attachment, producer: &mut Producer, consumer: &mut Consumer, facts: &Facts) {
        let records = records(facts, OTHERS);
        match self.other {
            Other::Gone => {}
            Other::Writes if self.meanwhile.is_some() => {
                // All that it writes but the word: that comes when it is done.
                let word = self.slot(self.ring.status().write_index);
                let (bytes, len) = payload(OTHERS, 1, self.longest);
                let mut reservation = producer.reserve(kind(OTHERS, 1), len).expect("room");
                // SAFETY: a word of the mapping; nobody else is at work.
                let claim = unsafe { *word };
                reservation.write(0, &bytes);
                reservation.commit().expect("its own");
                // SAFETY: as above.
                unsafe { *word = claim };
                records.push(1);
            }
            Other::Writes | Other::WroteAndDied | Other::AllWrite(_) => {
                forget(producer.reserve(7, 5).expect("room"));
                // It comes only when its producer has died, or has gone on: nobody counts on it.
                records.push(1);
                let (bytes, len) = payload(OTHERS, 1, self.longest);
                let mut second = self.ring.producer(me).expect("its own segment").into_inner();
                second.try_push(kind(OTHERS, 1), &bytes[..len]).expect("room");
            }
            Other::AllRead(count) if records.begun.get() == count as u64 + 1 => {
                forget(producer.reserve(7, 5).expect("room"));
            }
            Other::Reads | Other::ReadAndDied | Other::AllRead(_) => {
                let mut read = |consumer: &mut Consumer| {
                    self.push(producer, OTHERS, facts).expect("room");
                    let number = records.begun.get();
                    records.may_be_read.set(number);
                    if self.other.stands() {
                        records.committed(number);
                    }
                    forget(consumer.peek().expect("a record"));
                };
                read(consumer);
                if matches!(self.other, Other::AllRead(_)) && records.begun.get() == 1 {
                    read(&mut self.ring.consumer(me).expect("its own segment").into_inner());
                }
            }
        }
    }

    fn body(&self, offset: usize) -> *mut u64 {
        // See `segment`.
        let start = 4096 * (1 + self.participants as usize) + offset;
        assert!(start.is_multiple_of(8) && start + 8 <= self.memory.len(), "a word of the memory: {start}");
        // SAFETY: in bounds of the mapping, as was just seen.
        unsafe { self.memory.start().as_ptr().add(start).cast() }
    }

    /// The first word of the slot at a position.
    fn slot(&self, position: u64) -> *mut u64 {
        self.body(SLOT + position as usize % self.ring.status().slots as usize * 64)
    }

    pub fn damage(&self, damage: Damage, me: &Attachment) {
        let first = self.ring.status().read_index;
        // SAFETY: words of the mapping; nobody else is at work.
        unsafe {
            assert_eq!(*self.body(HEAD), first, "as ring::mpmc says");
            let all = |word: &dyn Fn(u64) -> u64| {
                for position in first..first + RING as u64 {
                    *self.slot(position) = word(position / RING as u64);
                }
            };
            match damage {
                Damage::NoSlot => all(&|_| 1 << 32 | 1 << 29 | 77),
                Damage::NoClaim => all(&|_| 1 << 30),
                Damage::Mine => all(&|lap| Claim::writing(me.id(), lap).0),
                Damage::BeforeFirst(laps) => {
                    let nobody = Holder { slot: self.participants - 1, incarnation: 7 };
                    all(&|_| Claim::writing(nobody, LAST_LAP + 1 - laps).0);
                    *self.body(TAIL) = 0;
                    *self.body(HEAD) = 0;
                }
                Damage::TailTooFar => *self.body(TAIL) = 1 << 63,
                Damage::HeadTooFar => *self.body(HEAD) = 1 << 63,
                Damage::TailAhead => *self.body(TAIL) += RING as u64,
                Damage::TailFarAhead => *self.body(TAIL) += 3 * RING as u64,
                Damage::HeadAhead => *self.body(HEAD) += 2 * RING as u64,
                Damage::Length => *self.slot(first).add(2) |= 0xffff,
                Damage::Payload => *self.slot(first).add(4) ^= 1,
            }
        }
    }

    /// Somebody asks to be woken when the word at a position changes.
    pub fn ask(&self, position: u64) {
        let word = self.slot(position);
        // SAFETY: a word of the mapping; nobody else is at work.
        unsafe { *word = Claim(*word).with_waiters().0 };
    }

    /// What is done meanwhile, and at which call of the clock.
    pub fn step(&self, meanwhile: Meanwhile) -> (u64, Box<dyn Fn()>) {
        let (tail, head, bells) = (self.body(TAIL), self.body(HEAD), self.body(BELLS));
        let position = self.ring.status().read_index;
        let (word, lap) = (self.slot(position), position / RING as u64);
        let done = if self.other == Other::Writes { Claim::full(lap) } else { Claim::free(lap + 1) };
        match meanwhile {
            // As `claims::Side::release`; but that nobody sleeps, whom it would wake.
            // SAFETY: words of the mapping, which stays; nobody else is at work.
            Meanwhile::Done(call) => (
                call,
                Box::new(move || unsafe {
                    let old = Claim(word.read_volatile());
                    word.write_volatile(done.0);
                    if old.has_waiters() {
                        bells.write_volatile(bells.read_volatile() + (1 << 32 | 1));
                    }
                }),
            ),
            // SAFETY: as above.
            Meanwhile::Damaged(call) => (
                call,
                Box::new(move || unsafe {
                    tail.write_volatile(1 << 63);
                    head.write_volatile(1 << 63);
                }),
            ),
        }
    }
}
