//! The MPSC ring whose producers take turns in step with a plain queue that says where each record lies.

use super::death::dies;
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::ring::mpsc::locked::{Config, Consumer, Producer, Ring, TryPopError, TryPushError};
use ownerdead::segment::Options;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Bytes of the ring.
const CAPACITY: u64 = 256;
const PRODUCERS: usize = 2;

/// What can be done to a ring.
#[derive(Clone, Debug)]
pub enum Operation {
    Push {
        side: usize,
        len: usize,
    },
    /// So many records of this length.
    PushBatch {
        side: usize,
        len: usize,
        count: usize,
    },
    /// The caller panics when it has given so many records.
    PanicInBatch {
        side: usize,
        len: usize,
        count: usize,
    },
    Reserve {
        side: usize,
        len: usize,
        commit: bool,
    },
    /// With a reservation of one side, a push of the other in the same thread.
    PushBesideReservation,
    Pop,
    PopBatch(usize),
    Peek {
        consume: bool,
    },
    Discard,
    ReopenConsumer,
    /// Somebody dies with so many bytes reserved and written.
    DieWriting(usize),
    /// Somebody dies that has read so many.
    DieReading(usize),
}

type Record = (u32, Vec<u8>);

pub struct Pair {
    ring: Ring,
    wipe: bool,
    extra: u64,
    me: Attachment,
    producers: Vec<Producer>,
    consumer: Option<Consumer>,
    /// Records, and the bytes of the ring that each takes, with the padding before it.
    queue: VecDeque<(Record, u64)>,
    head: u64,
    tail: u64,
    pushed: u32,
    takeovers: u64,
    /// Somebody has died in its turn, and nobody has had one since.
    dead_in_turn: bool,
}

impl Pair {
    pub fn new(checksum: bool, wipe: bool) -> Self {
        let config = Config::new(CAPACITY as usize).checksum(checksum).wipe(wipe);
        let ring = Ring::memfd(&Options::new().slots(2), &config).unwrap();
        let me = ring.attach().unwrap();
        let producers = (0..PRODUCERS).map(|_| ring.producer(&me).unwrap().into_inner()).collect();
        let consumer = Some(ring.consumer(&me).unwrap().into_inner());
        let extra = if checksum { 16 } else { 8 };
        assert_eq!(ring.longest_payload() as u64, CAPACITY / 2 - extra);
        let (queue, head, tail, pushed, takeovers, dead_in_turn) = (VecDeque::new(), 0, 0, 0, 0, false);
        Self { ring, wipe, extra, me, producers, consumer, queue, head, tail, pushed, takeovers, dead_in_turn }
    }

    fn record(&mut self, len: usize) -> Record {
        self.pushed += 1;
        (self.pushed, (0..len).map(|at| 1 | (self.pushed as u8 ^ at as u8)).collect())
    }

    /// Bytes that a record of this length takes with its padding, if the ring takes it.
    fn due(&self, len: usize) -> Result<u64, TryPushError> {
        let max = self.ring.longest_payload();
        if len > max {
            return Err(TryPushError::TooLarge { len, max });
        }
        let size = self.extra + (len as u64).next_multiple_of(8);
        let left = CAPACITY - self.tail % CAPACITY;
        let size = size + if size > left { left } else { 0 };
        if self.tail - self.head + size > CAPACITY { Err(TryPushError::Full) } else { Ok(size) }
    }

    /// Somebody has its turn.
    fn turn(&mut self) {
        self.takeovers += u64::from(core::mem::take(&mut self.dead_in_turn));
    }

    fn appended(&mut self, size: u64, record: Record) {
        self.queue.push_back((record, size));
        self.tail += size;
    }

    fn read(&mut self) -> Option<Record> {
        let (record, size) = self.queue.pop_front()?;
        self.head += size;
        Some(record)
    }

    fn consumer(&mut self) -> &mut Consumer {
        self.consumer.as_mut().unwrap()
    }

    /// Does it to both, and compares.
    pub fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Push { side, len } => {
                self.turn();
                let (record, due) = (self.record(len), self.due(len));
                let pushed = self.producers[side].try_push(record.0, &record.1);
                assert_eq!(pushed, due.clone().map(|_| ()), "a push of {len} bytes");
                if let Ok(due) = due {
                    self.appended(due, record);
                }
            }
            Operation::PushBatch { side, len, count } => {
                self.turn();
                let records: Vec<_> = (0..count).map(|_| self.record(len)).collect();
                let batch = records.iter().map(|(kind, bytes)| (*kind, &bytes[..]));
                let pushed = self.producers[side].push_batch(batch);
                let mut fit = 0;
                for record in records {
                    match self.due(len) {
                        Ok(due) => self.appended(due, record),
                        Err(error) if fit == 0 => return assert_eq!(pushed, Err(error)),
                        Err(_) => break,
                    }
                    fit += 1;
                }
                assert_eq!(pushed, Ok(fit));
            }
            Operation::PanicInBatch { side, len, count } => {
                self.turn();
                let bytes = vec![0xff; len];
                let records =
                    (0..=count).map(|at| if at < count { (7, &bytes[..]) } else { resume_unwind(Box::new(())) });
                let panicked = catch_unwind(AssertUnwindSafe(|| self.producers[side].push_batch(records)));
                // It did, unless there was no room for all.
                assert!(panicked.is_err() || self.due(len).is_err() || count > 1, "{panicked:?}");
                if let Ok(Ok(pushed)) = panicked {
                    for _ in 0..pushed {
                        let due = self.due(len).expect("it was pushed");
                        self.appended(due, (7, bytes.clone()));
                    }
                }
            }
            Operation::Reserve { side, len, commit } => {
                self.turn();
                let ((kind, payload), due) = (self.record(len), self.due(len));
                let reserved = self.producers[side].reserve(kind, len).map(|mut record| {
                    assert_eq!((record.len(), record.write(0, &payload), record.write(len, b"x")), (len, len, 0));
                    // SAFETY: this thread alone has the ring.
                    assert_eq!(unsafe { record.as_bytes_mut() }, payload);
                    if commit {
                        record.commit().unwrap();
                    }
                });
                assert_eq!(reserved, due.clone().map(|_| ()));
                if let (Ok(due), true) = (due, commit) {
                    self.appended(due, (kind, payload));
                }
            }
            Operation::PushBesideReservation => {
                self.turn();
                let [one, other] = &mut self.producers[..] else { unreachable!("there are two") };
                if let Ok(reservation) = one.reserve(0, 1) {
                    assert_eq!(self.ring.status().turn, SeatState::Alive(self.me.id()));
                    assert!(matches!(other.try_push(0, b""), Err(TryPushError::Corrupt(_))));
                    drop(reservation);
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
                let next = self.queue.front().map(|(record, _)| record.clone());
                let found = self.consumer().peek().map(|peek| {
                    let mut bytes = Vec::new();
                    peek.copy_to(&mut bytes).unwrap();
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
            Operation::Discard => {
                assert_eq!(self.consumer().discard(), Ok(self.tail - self.head));
                self.queue.clear();
                self.head = self.tail;
            }
            Operation::ReopenConsumer => {
                self.consumer = None;
                let opened = self.ring.consumer(&self.me).unwrap();
                assert!(!opened.owner_died());
                self.consumer = Some(opened.into_inner());
            }
            Operation::DieWriting(len) => self.die_writing(len),
            Operation::DieReading(count) => self.die_reading(count),
        }
        self.compare();
    }

    fn compare(&self) {
        let status = self.ring.status();
        assert_eq!((status.read_index, status.write_index), (self.head, self.tail));
        assert_eq!((matches!(status.turn, SeatState::Dead(_)), status.takeovers), (self.dead_in_turn, self.takeovers));
        assert!(self.dead_in_turn || status.turn == SeatState::Vacant, "{:?}", status.turn);
        if self.queue.is_empty() && !self.dead_in_turn && self.tail > 0 {
            // Not wiped, it is not zero: the look is at the right place.
            let wiped = self.records().iter().all(|&byte| byte == 0);
            assert_eq!(wiped, self.wipe, "{:x?}", self.records());
        }
    }

    /// The bytes of the records.
    fn records(&self) -> Vec<u8> {
        let file = std::fs::File::from(self.ring.segment().as_fd().try_clone_to_owned().unwrap());
        let mut word = [0; 8];
        // The header says where the body is; the records are at its end.
        file.read_exact_at(&mut word, 40).unwrap();
        let mut bytes = vec![0; CAPACITY as usize];
        file.read_exact_at(&mut bytes, u64::from_le_bytes(word) + 4096).unwrap();
        bytes
    }

    fn die_writing(&mut self, len: usize) {
        self.turn();
        let ring = &self.ring;
        let refused = dies(|| {
            let me = ring.attach().unwrap();
            let mut producer = ring.producer(&me).unwrap().into_inner();
            let refused = match producer.reserve(0, len) {
                Ok(mut record) => {
                    record.write(0, &vec![0xff; len]);
                    core::mem::forget(record);
                    0
                }
                Err(TryPushError::Full) => 1,
                Err(TryPushError::TooLarge { .. }) => 2,
                Err(error) => panic!("{error}"),
            };
            // It leaves nothing: it ends with what it has.
            core::mem::forget((me, producer));
            refused
        });
        let due = match self.due(len) {
            Ok(_) => 0,
            Err(TryPushError::Full) => 1,
            Err(_) => 2,
        };
        assert_eq!(refused, due, "a reservation of {len} bytes");
        self.dead_in_turn = refused == 0;
    }

    fn die_reading(&mut self, count: usize) {
        self.consumer = None;
        let due: Vec<_> = (0..count).map_while(|_| self.read()).collect();
        let ring = &self.ring;
        let read = dies(|| {
            let me = ring.attach().unwrap();
            let mut consumer = ring.consumer(&me).unwrap().into_inner();
            let mut bytes = Vec::new();
            let mut read = 0;
            while usize::from(read) < count
                && let Ok(kind) = consumer.try_pop(&mut bytes)
            {
                assert_eq!((kind, &bytes), due.get(usize::from(read)).map(|(kind, bytes)| (*kind, bytes)).unwrap());
                read += 1;
            }
            core::mem::forget((me, consumer));
            read
        });
        assert_eq!(usize::from(read), due.len());
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
