//! What the ring is like when an operation begins, and how it comes to be so; and what another one does meanwhile.

use super::{Attachment, Consumer, Producer, records};
use super::{BLOCK, CAPACITY, Claims, MINE, NO_PAYLOAD, ONE, OTHERS, Role, SHORT, TWO, kind, payload, pop, push};
use ownerdead::harness::kill::Facts;
use ownerdead::owner::{Claim, ClaimState, Holder};
use ownerdead::ring::mpsc::claims::{PopTimeoutError, PushTimeoutError};
use std::mem::forget;

/// Offsets in the body: see `ring::mpsc::claims`.
const TAIL: usize = 128;
const HEAD: usize = 256;
const READ: usize = HEAD + 16;
const SEAT: usize = 384;
const WORDS: usize = 4096;
const BLOCKS: usize = 8192;
/// The last lap that a free word can say.
const LAST_LAP: u64 = (1 << Claim::WIDE) - 1;

/// What the ring is like when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// As it was born.
    Fresh,
    /// Some records are in it, and some were read.
    Warm,
    /// The next record that is pushed does not fit before the end, or the next one that is read is behind padding.
    Padded,
    /// The same, and the consumer slept.
    PaddedSlept,
    Full,
    Empty,
    /// The consumer slept that wanted a record, or a producer that wanted room: the words say so still.
    Slept,
    /// The write index is one record behind, as the dead leave it; or that is the only one, and is read next.
    Behind,
    FirstBehind,
    /// The last consumer died when it had freed a block of two.
    HalfFreed,
    /// The same in the last lap of free words, while a producer slept.
    LastHalfFreed,
    /// Free words count their laps from 0 again after this one.
    LastLap,
    /// The victim has the slot of the dead one.
    SameSlot,
    /// All that was claimed was given up, in the last lap of free words; or the ring is full of that, and a producer slept.
    GivenUp,
    AllGivenUp,
    /// The victim has a reservation open, by another side.
    Reserved,
    /// The consumer sleeps that wants what the victim writes; or the last one did, at the word that is next.
    Asked,
    /// The victim has looked at the next record before.
    Known,
    /// The next record has no payload.
    NoPayload,
    /// The payload is too long.
    TooLarge,
    /// The batch is of no records.
    NoBatch,
    Damaged(Damage),
}

/// What somebody has done to the ring who does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// All words name a participant that is not there; or nobody's right; or one who never came.
    NoSlot,
    Lost,
    NeverCame,
    /// The words of all blocks are none.
    NoWord,
    /// They have records of no blocks, which are written, or done.
    WritesNothing,
    NothingDone,
    /// They are claims to read.
    Reads,
    /// All records are written by the victim, which does nothing.
    Mine,
    /// Records go beyond the ring, which are written, or done.
    Beyond,
    DoneBeyond,
    /// There is no room for the first one before the end, which is written, or done.
    WritesPastEnd,
    DonePastEnd,
    /// They follow each other past where the first one begins.
    Round,
    TailTooFar,
    TailOdd,
    Apart,
    HeadOdd,
    HeadTooFar,
    ReadBehind,
    ReadTooFar,
    ReadOdd,
    /// Both indices are a lap ahead of the words.
    LapAhead,
    /// The first record's length, or its payload, is wrong; or the second one's length.
    Length,
    Payload,
    SecondLength,
    Seat,
}

/// What another one does. Its claim is the first record that was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Gone,
    /// It stands still, or is dead, amid a write. A record of its own comes after that, unless it goes on meanwhile.
    Writes,
    WroteAndDied,
    /// It has the consumer's seat, and stands still, or is dead.
    Consumes,
    ConsumedAndDied,
}

/// What happens while the victim waits, when it looks at the clock for the so manieth time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// The other one has written what it had claimed, or given it up.
    Done(u64),
    GaveUp(u64),
    /// It has read the first record, or the first two.
    ReadOne(u64),
    ReadTwo(u64),
    /// What the victim looks at next is damaged.
    Damaged(u64),
}

const WANTED: &str = "as the ring is then";

impl Claims {
    /// What another one has done before, and does.
    pub fn begin(&self, facts: &Facts) -> (Attachment, Producer, Option<Consumer>) {
        let (me, mut producer) = self.producer();
        if matches!(self.is, Is::LastLap | Is::GivenUp | Is::LastHalfFreed) {
            // SAFETY: words of the mapping; nobody else is at work.
            unsafe {
                (0..8).for_each(|block| *self.word(block * BLOCK as u64) = Claim::free(LAST_LAP).0);
                [TAIL, HEAD, READ].iter().for_each(|&at| *self.body(at) = LAST_LAP * CAPACITY as u64);
            }
        }
        let mut consumer = self.consumer(&me);
        // After the fifth record there is one block before the end, and the sixth takes two.
        let rounds = match self.is {
            Is::Fresh => 0,
            Is::Padded | Is::PaddedSlept | Is::Damaged(Damage::WritesPastEnd | Damage::DonePastEnd) => 5,
            Is::NoPayload => NO_PAYLOAD - 1,
            _ => 2,
        };
        for _ in 0..rounds {
            push(&mut producer, MINE, facts).expect(WANTED);
            assert!(pop(&mut consumer, facts).expect(WANTED));
        }
        match self.other {
            Other::Writes if self.meanwhile.is_some() => {
                // All that it writes but the word: that comes when it is done.
                let word = self.word(self.ring.status().write_index);
                let (bytes, len) = payload(OTHERS, 1);
                let mut reservation = producer.reserve(kind(OTHERS, 1), len).expect("room");
                // SAFETY: a word of the mapping; nobody else is at work.
                let claim = unsafe { *word };
                reservation.write(0, &bytes);
                reservation.commit().expect("its own");
                // SAFETY: as above.
                unsafe { *word = claim };
                records(facts, OTHERS).push(1);
            }
            Other::Writes | Other::WroteAndDied => {
                forget(producer.reserve(7, TWO).expect("room"));
                // It comes only when its producer has died, or has gone on: nobody counts on it.
                records(facts, OTHERS).push(1);
                let (bytes, len) = payload(OTHERS, 1);
                let mut second = self.ring.producer(&me).expect("its own segment").into_inner();
                second.try_push(kind(OTHERS, 1), &bytes[..len]).expect("room");
            }
            _ => {}
        }
        let keeps = matches!(self.other, Other::Consumes | Other::ConsumedAndDied);
        (me, producer, keeps.then_some(consumer))
    }

    /// Brings the ring into its state, by one that has gone then.
    pub fn bring(&self, facts: &Facts) {
        let (me, mut producer) = self.producer();
        let pushes = self.role == Role::Producer;
        match self.is {
            Is::Fresh | Is::Empty | Is::Reserved => {}
            Is::Padded | Is::NoPayload if pushes => {}
            // What is asked for is the word that comes next.
            Is::Asked if !self.holds => {}
            Is::Full => while push(&mut producer, MINE, facts).is_ok() {},
            Is::Damaged(Damage::Seat) if pushes => while push(&mut producer, MINE, facts).is_ok() {},
            Is::Slept | Is::PaddedSlept if pushes => {
                let slept = self.consumer(&me).pop_timeout(&mut Vec::new(), SHORT);
                assert_eq!(slept, Err(PopTimeoutError::TimedOut));
            }
            Is::Slept => {
                while push(&mut producer, MINE, facts).is_ok() {}
                let slept = producer.push_timeout(0, &[0; TWO], SHORT);
                assert_eq!(slept, Err(PushTimeoutError::TimedOut));
            }
            Is::Behind => {
                push(&mut producer, MINE, facts).expect(WANTED);
                let before = self.ring.status().write_index;
                push(&mut producer, MINE, facts).expect(WANTED);
                // SAFETY: a word of the mapping; nobody else is at work.
                unsafe { *self.body(TAIL) = before };
            }
            Is::FirstBehind => {
                push(&mut producer, MINE, facts).expect(WANTED);
                // SAFETY: as above.
                unsafe { *self.body(TAIL) = self.ring.status().read_index };
            }
            Is::GivenUp => (0..2).for_each(|_| drop(producer.reserve(1, TWO).expect("room"))),
            Is::AllGivenUp => {
                while producer.reserve(1, ONE).is_ok() {}
                let slept = producer.push_timeout(0, &[0; ONE], SHORT);
                assert_eq!(slept, Err(PushTimeoutError::TimedOut));
            }
            _ => (0..2).for_each(|_| push(&mut producer, MINE, facts).expect(WANTED)),
        }
        if matches!(self.is, Is::HalfFreed | Is::LastHalfFreed) {
            // It had read both, of three blocks, and freed the first.
            let status = self.ring.status();
            assert_eq!(status.write_index - status.read_index, 3 * BLOCK as u64);
            // SAFETY: as above.
            unsafe {
                *self.body(READ) = status.write_index;
                *self.word(status.read_index) = Claim::free(status.read_index / CAPACITY as u64 + 1).0;
                *self.body(HEAD) |= u64::from(self.is == Is::LastHalfFreed);
            }
            let mine = records(facts, MINE);
            mine.may_be_read.set(mine.begun.get());
            mine.committed(mine.begun.get());
        }
    }

    fn body(&self, offset: usize) -> *mut u64 {
        // See `segment`.
        let start = 4096 * (1 + self.slots as usize) + offset;
        assert!(start.is_multiple_of(8) && start + 8 <= self.memory.len(), "a word of the memory: {start}");
        // SAFETY: in bounds of the mapping, as was just seen.
        unsafe { self.memory.start().as_ptr().add(start).cast() }
    }

    /// The word of the block at a position.
    fn word(&self, position: u64) -> *mut u64 {
        self.body(WORDS + position as usize % CAPACITY / BLOCK * 8)
    }

    /// The first words of the record at a position.
    fn record(&self, position: u64) -> *mut u64 {
        self.body(BLOCKS + position as usize % CAPACITY)
    }

    pub fn damage(&self, damage: Damage, me: &Attachment) {
        let first = self.ring.status().read_index;
        // SAFETY: words of the mapping; nobody else is at work.
        unsafe {
            assert_eq!(*self.body(HEAD) & !1, first, "as ring::mpsc::claims says");
            let all = |word: u64| (0..8).for_each(|block| *self.body(WORDS + 8 * block) = word);
            match damage {
                Damage::NoSlot => all(1 << 32 | 1 << 29 | 1 << 12 | 77),
                Damage::Lost => all(1 << 32 | 1 << 29 | 1 << 12 | 0xffe),
                Damage::NeverCame => all(Claim::writing(Holder { slot: 1, incarnation: 0 }, 1).0),
                Damage::NoWord => all(1 << 30),
                Damage::WritesNothing => all(Claim::writing(me.id(), 0).0),
                Damage::NothingDone => all(done(first, 0, false)),
                Damage::Reads => all(Claim::reading(me.id(), 1).0),
                Damage::Mine => all(Claim::writing(me.id(), 1).0),
                Damage::Beyond => all(Claim::writing(me.id(), 9).0),
                Damage::DoneBeyond => all(done(first, 9, false)),
                Damage::WritesPastEnd => all(Claim::writing(me.id(), 2).0),
                Damage::DonePastEnd => all(done(first, 2, false)),
                Damage::Round => {
                    let position = |block: u64| first + block * BLOCK as u64;
                    (0..7).for_each(|block| *self.word(position(block)) = done(position(block), 1, true));
                    *self.word(position(7)) = done(position(7), 2, true);
                }
                Damage::TailTooFar => *self.body(TAIL) = 1 << 63,
                Damage::TailOdd => *self.body(TAIL) += 8,
                Damage::Apart => *self.body(TAIL) += 2 * CAPACITY as u64,
                Damage::HeadOdd => *self.body(HEAD) += 8,
                Damage::HeadTooFar => *self.body(HEAD) = 1 << 63,
                Damage::ReadBehind => *self.body(READ) -= BLOCK as u64,
                Damage::ReadTooFar => *self.body(READ) += 2 * CAPACITY as u64,
                Damage::ReadOdd => *self.body(READ) += 8,
                Damage::LapAhead => [TAIL, HEAD, READ].iter().for_each(|&at| *self.body(at) += CAPACITY as u64),
                Damage::Length => *self.record(first) |= 0xffff,
                Damage::Payload => *self.record(first).add(1) ^= 1,
                Damage::SecondLength => *self.record(first + BLOCK as u64) |= 0xffff,
                Damage::Seat => *self.body(SEAT) = 1 << 32 | 1 << 29 | 77,
            }
        }
    }

    /// Whether somebody writes a record, dead or alive.
    pub fn is_written(&self) -> bool {
        // SAFETY: words of the mapping; nobody else is at work.
        let word = |block| Claim(unsafe { *self.word(block * BLOCK as u64) });
        (0..(CAPACITY / BLOCK) as u64).any(|block| word(block).state() == ClaimState::Writing)
    }

    /// The consumer asks to be woken when the word at a position changes.
    pub fn ask(&self, position: u64) {
        let word = self.word(position);
        // SAFETY: a word of the mapping; nobody else is at work.
        unsafe { *word = Claim(*word).with_waiters().0 };
    }

    /// What is done meanwhile, and at which call of the clock. Nobody sleeps, whom it would wake.
    pub fn step(&self, meanwhile: Meanwhile) -> (u64, Box<dyn Fn()>) {
        let (tail, head, read) = (self.body(TAIL), self.body(HEAD), self.body(READ));
        let position = self.ring.status().read_index;
        // As a consumer's commit of so many blocks, and a producer's release.
        let commits = |blocks: u64| {
            let end = position + blocks * BLOCK as u64;
            let words = (0..blocks).map(|block| position + block * BLOCK as u64);
            let words: Vec<_> = words.map(|at| (self.word(at), Claim::free(at / CAPACITY as u64 + 1).0)).collect();
            move || {
                // SAFETY: words of the mapping, which stays; nobody else is at work.
                unsafe {
                    read.write_volatile(end);
                    words.iter().for_each(|&(word, free)| word.write_volatile(free));
                    head.write_volatile(end);
                }
            }
        };
        let word = self.word(position);
        let publishes = |void: bool| {
            // SAFETY: as above. Of a claim the lap is the number of its blocks.
            let done = done(position, Claim(unsafe { *word }).lap(), void);
            // SAFETY: as above.
            move || unsafe { word.write_volatile(done) }
        };
        match meanwhile {
            Meanwhile::Done(call) => (call, Box::new(publishes(false))),
            Meanwhile::GaveUp(call) => (call, Box::new(publishes(true))),
            Meanwhile::ReadOne(call) => (call, Box::new(commits(1))),
            Meanwhile::ReadTwo(call) => (call, Box::new(commits(3))),
            // Who waits for room looks again when the read index moves.
            Meanwhile::Damaged(call) if self.role == Role::Producer => {
                let commits = commits(1);
                // SAFETY: as above.
                let damages = move || unsafe { tail.write_volatile(1 << 63) };
                (call, Box::new(move || [&damages as &dyn Fn(), &commits].iter().for_each(|step| step())))
            }
            // SAFETY: as above.
            Meanwhile::Damaged(call) => (call, Box::new(move || unsafe { word.write_volatile(1 << 30) })),
        }
    }
}

/// The word of a record of so many blocks at a position, or of nothing: see `ring::mpsc::claims::word`.
fn done(position: u64, blocks: u64, void: bool) -> u64 {
    Claim::full(position / CAPACITY as u64 * (1 << 18) + (u64::from(void) << 17) + blocks).0
}
