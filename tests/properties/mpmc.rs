//! The MPMC ring in step with a plain queue, where no two are at work at once.

use super::death::dies;
use ownerdead::owner::Attachment;
use ownerdead::ring::mpmc::{Config, Consumer, OnDeath, Order, Producer, Ring, TryPopError, TryPushError};
use ownerdead::segment::Options;
use std::collections::VecDeque;

const SLOTS: usize = 4;
/// Payloads that are longer lie outside their slots.
const PAYLOADS: [usize; 2] = [20, 70];

/// What can be done to a ring.
#[derive(Clone, Debug)]
pub enum Operation {
    Push {
        side: usize,
        len: usize,
    },
    Reserve {
        side: usize,
        len: usize,
        commit: bool,
    },
    Pop {
        side: usize,
    },
    Peek {
        side: usize,
        consume: bool,
    },
    /// A process comes, claims so many slots for writing, or else records, and dies with its claims. Fewer than the ring has: its own claim
    /// is never the first that it meets.
    Die {
        writing: bool,
        count: usize,
    },
}

pub struct Pair {
    ring: Ring,
    payload: usize,
    drops: bool,
    _me: Attachment,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    /// Each slot from the first that is not done with: a record; or none, where a writer gave up or died.
    queue: VecDeque<Option<(u32, Vec<u8>)>>,
    pushed: u32,
}

impl Pair {
    pub fn new(outside: bool, checksum: bool, round: bool, drops: bool) -> Self {
        let payload = PAYLOADS[usize::from(outside)];
        let order = if round { Order::Round } else { Order::Strict };
        let on_death = if drops { OnDeath::Drop } else { OnDeath::Redeliver };
        let config = Config::new(SLOTS, payload).checksum(checksum).order(order).on_death(on_death);
        let ring = Ring::memfd(&Options::new().slots(4), &config).unwrap();
        let me = ring.attach().unwrap();
        let producers = (0..2).map(|_| ring.producer(&me).unwrap().into_inner()).collect();
        let consumers = (0..2).map(|_| ring.consumer(&me).unwrap().into_inner()).collect();
        Self { ring, payload, drops, _me: me, producers, consumers, queue: VecDeque::new(), pushed: 0 }
    }

    fn record(&mut self, len: usize) -> (u32, Vec<u8>) {
        self.pushed += 1;
        (self.pushed, (0..len).map(|index| (self.pushed as usize * 31 + index) as u8).collect())
    }

    /// What a push of so many bytes must say. The slots of the dead are recovered by who wants room; only the oldest one is in its way.
    fn due(&mut self, len: usize) -> Result<(), TryPushError> {
        if len > self.payload {
            return Err(TryPushError::TooLarge { len, max: self.payload });
        }
        if self.queue.len() == SLOTS {
            if self.queue.front() != Some(&None) {
                return Err(TryPushError::Full);
            }
            self.queue.pop_front();
        }
        Ok(())
    }

    /// The next record.
    fn next(&mut self) -> Option<(u32, Vec<u8>)> {
        while self.queue.front() == Some(&None) {
            self.queue.pop_front();
        }
        self.queue.front().cloned().flatten()
    }

    /// Does it to both, and compares.
    pub fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Push { side, len } => {
                let (kind, payload) = self.record(len);
                let due = self.due(len);
                assert_eq!(self.producers[side].try_push(kind, &payload), due);
                if due.is_ok() {
                    self.queue.push_back(Some((kind, payload)));
                }
            }
            Operation::Reserve { side, len, commit } => {
                let (kind, payload) = self.record(len);
                let due = self.due(len);
                let reserved = self.producers[side].reserve(kind, len).map(|mut record| {
                    assert_eq!((record.len(), record.write(0, &payload), record.write(len, b"x")), (len, len, 0));
                    assert_eq!(record.write(usize::MAX, b"x"), 0);
                    // SAFETY: this thread alone has the ring.
                    assert_eq!(unsafe { record.as_bytes_mut() }, payload);
                    if commit {
                        record.commit().unwrap();
                    }
                });
                assert_eq!(reserved, due);
                if due.is_ok() {
                    // One that is given up leaves a slot without a record.
                    self.queue.push_back(commit.then_some((kind, payload)));
                }
            }
            Operation::Pop { side } => {
                let mut bytes = Vec::new();
                let popped = self.consumers[side].try_pop(&mut bytes).map(|kind| (kind, bytes));
                assert_eq!(popped, self.next().ok_or(TryPopError::Empty));
                self.queue.pop_front();
            }
            Operation::Peek { side, consume } => {
                let next = self.next();
                let found = self.consumers[side].peek().map(|peek| {
                    let mut bytes = Vec::new();
                    peek.copy_to(&mut bytes).unwrap();
                    // SAFETY: this thread alone has the ring.
                    assert_eq!((unsafe { peek.as_bytes() }.unwrap(), peek.len()), (&bytes[..], bytes.len()));
                    let found = (peek.kind(), bytes);
                    if consume {
                        peek.consume();
                    }
                    found
                });
                assert_eq!(found.ok(), next);
                if consume {
                    self.queue.pop_front();
                }
            }
            Operation::Die { writing, count } => self.die(writing, count),
        }
        let status = self.ring.status();
        assert_eq!((status.writing, status.reading, status.damaged), (0, 0, 0));
    }

    fn die(&mut self, writing: bool, count: usize) {
        let ring = &self.ring;
        let claimed = usize::from(dies(|| {
            let me = ring.attach().unwrap();
            let mut claimed = 0;
            for _ in 0..count {
                claimed += u8::from(if writing {
                    ring.producer(&me).unwrap().into_inner().reserve(0, 1).map(core::mem::forget).is_ok()
                } else {
                    ring.consumer(&me).unwrap().into_inner().peek().map(core::mem::forget).is_ok()
                });
            }
            core::mem::forget(me);
            claimed
        }));
        if writing {
            let mut expected = 0;
            for _ in 0..count {
                if self.due(1).is_ok() {
                    expected += 1;
                    self.queue.push_back(None);
                }
            }
            assert_eq!(claimed, expected);
        } else {
            self.next();
            let there = self.queue.iter().flatten().count();
            assert_eq!(claimed, count.min(there));
            if self.drops {
                self.queue.iter_mut().filter(|slot| slot.is_some()).take(claimed).for_each(|slot| *slot = None);
            }
        }
    }

    /// Reads what is left, and one more.
    pub fn finish(&mut self) {
        (0..=self.queue.len()).for_each(|_| self.step(&Operation::Pop { side: 0 }));
        assert_eq!(self.ring.status().full, 0);
    }
}
