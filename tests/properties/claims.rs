//! The MPSC ring of claims in step with a plain queue that says where each record lies.

use super::death::dies;
use ownerdead::owner::Attachment;
use ownerdead::ring::mpsc::claims::{Config, Consumer, Producer, Ring, TryPopError, TryPushError};
use ownerdead::segment::Options;
use std::collections::VecDeque;

/// Bytes of the ring.
const CAPACITY: u64 = 512;
const PRODUCERS: usize = 2;

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
    Pop,
    PopBatch(usize),
    Peek {
        consume: bool,
    },
    ReopenConsumer,
    /// A process dies with so many records of one byte reserved.
    DieWriting(usize),
    /// A process dies that has read so many, and looks at one more.
    DieReading(usize),
}

type Record = (u32, Vec<u8>);

pub struct Pair {
    ring: Ring,
    block: u64,
    extra: u64,
    me: Attachment,
    producers: Vec<Producer>,
    consumer: Option<Consumer>,
    /// Records, or what is skipped, and the bytes of the ring that each takes.
    queue: VecDeque<(Option<Record>, u64)>,
    head: u64,
    tail: u64,
    pushed: u32,
}

impl Pair {
    pub fn new(block: u64, checksum: bool) -> Self {
        let config = Config::new(CAPACITY as usize).block(block as usize).checksum(checksum);
        let ring = Ring::memfd(&Options::new().slots(2), &config).unwrap();
        let me = ring.attach().unwrap();
        let producers = (0..PRODUCERS).map(|_| ring.producer(&me).unwrap().into_inner()).collect();
        let consumer = Some(ring.consumer(&me).unwrap().into_inner());
        let (extra, queue) = (if checksum { 16 } else { 8 }, VecDeque::new());
        assert_eq!(ring.longest_payload() as u64, CAPACITY / 2 - extra);
        Self { ring, block, extra, me, producers, consumer, queue, head: 0, tail: 0, pushed: 0 }
    }

    fn record(&mut self, len: usize) -> Record {
        self.pushed += 1;
        (self.pushed, (0..len).map(|at| self.pushed as u8 ^ at as u8).collect())
    }

    /// Padding and bytes that a record of this length takes, if the ring takes it.
    fn due(&self, len: usize) -> Result<(u64, u64), TryPushError> {
        let max = self.ring.longest_payload();
        if len > max {
            return Err(TryPushError::TooLarge { len, max });
        }
        let size = (self.extra + (len as u64).next_multiple_of(8)).next_multiple_of(self.block);
        let left = CAPACITY - self.tail % CAPACITY;
        let padding = if size > left { left } else { 0 };
        if self.tail - self.head + padding + size > CAPACITY { Err(TryPushError::Full) } else { Ok((padding, size)) }
    }

    fn claimed(&mut self, (padding, size): (u64, u64), record: Option<Record>) {
        if padding > 0 {
            self.queue.push_back((None, padding));
        }
        self.queue.push_back((record, size));
        self.tail += padding + size;
    }

    /// The next record is read; if there is none, what is to be skipped is gone.
    fn read(&mut self) -> Option<Record> {
        while let Some((record, size)) = self.queue.pop_front() {
            self.head += size;
            if record.is_some() {
                return record;
            }
        }
        None
    }

    /// The next record; the same, but for that.
    fn look(&mut self) -> Option<Record> {
        let next = self.queue.iter().find_map(|(record, _)| record.clone());
        if next.is_none() {
            self.read();
        }
        next
    }

    fn consumer(&mut self) -> &mut Consumer {
        self.consumer.as_mut().unwrap()
    }

    /// Does it to both, and compares.
    pub fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Push { side, len } => {
                let (record, due) = (self.record(len), self.due(len));
                let pushed = self.producers[side].try_push(record.0, &record.1);
                assert_eq!(pushed, due.clone().map(|_| ()), "a push of {len} bytes");
                if let Ok(due) = due {
                    self.claimed(due, Some(record));
                }
            }
            Operation::Reserve { side, len, commit } => {
                let ((kind, payload), due) = (self.record(len), self.due(len));
                let reserved = self.producers[side].reserve(kind, len).map(|mut record| {
                    assert_eq!((record.len(), record.write(0, &payload), record.write(len, b"x")), (len, len, 0));
                    assert_eq!(record.write(usize::MAX, b"x"), 0);
                    // SAFETY: this thread alone has the ring.
                    assert_eq!(unsafe { record.as_bytes_mut() }, payload);
                    if commit {
                        record.commit().unwrap();
                    }
                });
                assert_eq!(reserved, due.clone().map(|_| ()));
                if let Ok(due) = due {
                    self.claimed(due, commit.then_some((kind, payload)));
                }
            }
            Operation::Pop => {
                let mut bytes = Vec::new();
                let popped = self.consumer().try_pop(&mut bytes).map(|kind| (kind, bytes));
                assert_eq!(popped, self.read().ok_or(TryPopError::Empty));
            }
            Operation::PopBatch(max) => {
                let mut got = Vec::new();
                let count = self.consumer().pop_batch(max, |kind, bytes| got.push((kind, bytes.to_vec()))).unwrap_or(0);
                let due: Vec<_> = (0..max).map_while(|_| self.read()).collect();
                assert_eq!((count, got), (due.len(), due));
            }
            Operation::Peek { consume } => {
                let next = self.look();
                let found = self.consumer().peek().map(|peek| {
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
                    self.read();
                }
            }
            Operation::ReopenConsumer => {
                self.consumer = None;
                let opened = self.ring.consumer(&self.me).unwrap();
                assert!(!opened.owner_died());
                self.consumer = Some(opened.into_inner());
            }
            Operation::DieWriting(count) => self.die_writing(count),
            Operation::DieReading(count) => self.die_reading(count),
        }
        let status = self.ring.status();
        assert_eq!((status.read_index, status.write_index), (self.head, self.tail));
    }

    fn die_writing(&mut self, count: usize) {
        let ring = &self.ring;
        let claimed = dies(|| {
            let me = ring.attach().unwrap();
            let mut producer = ring.producer(&me).unwrap().into_inner();
            let claimed = (0..count).filter(|_| producer.reserve(0, 1).map(core::mem::forget).is_ok()).count();
            core::mem::forget((me, producer));
            claimed as u8
        });
        let mut expected = 0;
        for _ in 0..count {
            if let Ok(due) = self.due(1) {
                self.claimed(due, None);
                expected += 1;
            }
        }
        assert_eq!(claimed, expected);
    }

    fn die_reading(&mut self, count: usize) {
        self.consumer = None;
        let due: Vec<_> = (0..count).map_while(|_| self.read()).collect();
        let looked = self.look().is_some();
        let ring = &self.ring;
        dies(|| {
            let me = ring.attach().unwrap();
            let mut consumer = ring.consumer(&me).unwrap().into_inner();
            let mut bytes = Vec::new();
            let mut read = Vec::new();
            while read.len() < count
                && let Ok(kind) = consumer.try_pop(&mut bytes)
            {
                read.push((kind, bytes.clone()));
            }
            assert_eq!((read, consumer.peek().is_ok()), (due, looked));
            core::mem::forget((me, consumer));
            0
        });
        let opened = self.ring.consumer(&self.me).unwrap();
        assert!(opened.owner_died());
        self.consumer = Some(opened.into_inner());
    }

    /// Reads what is left, and one more.
    pub fn finish(&mut self) {
        (0..=self.queue.len()).for_each(|_| self.step(&Operation::Pop));
        assert_eq!(self.head, self.tail);
    }
}
