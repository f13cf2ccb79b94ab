//! The ring in step with a plain queue.

use super::death::dies;
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{self, Consumer, Producer, Ring, TryPopError, TryPushError};
use ownerdead::segment::Options;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use ownerdead::sync::cell::Granule;
use std::collections::VecDeque;

/// Bytes of the ring under test: small, so that sequences get round it often.
const CAPACITY: u64 = 256;

/// Where the indices lie in the body.
const TAIL: usize = 128;
const HEAD: usize = 256;

/// What can be done to a ring.
#[derive(Clone, Debug)]
pub enum Operation {
    Push(usize),
    PushBatch(Vec<usize>),
    Reserve {
        len: usize,
        commit: bool,
    },
    Pop,
    PopBatch(usize),
    Peek {
        consume: bool,
    },
    Discard,
    Reopen {
        producer: bool,
    },
    /// A process takes the seat, works, and ends without giving it up.
    DieAs {
        producer: bool,
    },
}

/// Which kind of ring.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub checksum: bool,
    pub wipe: bool,
}

/// The plain model: records, and where each ends, in bytes since the ring's birth.
#[derive(Default)]
struct Model {
    records: VecDeque<(Vec<u8>, u64)>,
    head: u64,
    tail: u64,
}

/// A ring with both its seats, and the model.
pub struct Pair {
    ring: Ring,
    config: Config,
    me: Attachment,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    model: Model,
    pushed: u8,
    generations: [u64; 2],
}

impl Config {
    /// Bytes of a record, all in: its head, its payload in granules, its checksum.
    fn record(&self, len: usize) -> u64 {
        8 + (len as u64).div_ceil(8) * 8 + 8 * u64::from(self.checksum)
    }

    fn longest(&self) -> usize {
        (CAPACITY / 2 - self.record(0)) as usize
    }
}

impl Model {
    /// Where a record would end, after padding up to the ring's end if it does not fit before that; `None` if there is no room.
    fn end(&self, config: &Config, len: usize) -> Option<u64> {
        let (size, left) = (config.record(len), CAPACITY - self.tail % CAPACITY);
        let end = self.tail + size + if size > left { left } else { 0 };
        (end - self.head <= CAPACITY).then_some(end)
    }

    fn push(&mut self, config: &Config, payload: Vec<u8>) {
        self.tail = self.end(config, payload.len()).expect("the ring had room");
        self.records.push_back((payload, self.tail));
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let (payload, end) = self.records.pop_front()?;
        self.head = end;
        Some(payload)
    }
}

impl Pair {
    /// A ring that has carried `start` bytes already; a multiple of 8.
    pub fn new(config: &Config, start: u64) -> Self {
        let how = spsc::Config::new(CAPACITY as usize).checksum(config.checksum).wipe(config.wipe);
        let ring = Ring::memfd(&Options::new().slots(3), &how).unwrap();
        for index in [TAIL, HEAD] {
            ring.segment().body_slice::<AtomicU64>(index, 1).unwrap()[0].store(start, Relaxed);
        }
        let me = ring.attach().unwrap();
        let producer = Some(ring.producer(&me).unwrap().into_inner());
        let consumer = Some(ring.consumer(&me).unwrap().into_inner());
        let model = Model { head: start, tail: start, ..Model::default() };
        Self { ring, config: *config, me, producer, consumer, model, pushed: 0, generations: [0; 2] }
    }

    /// Never all zero, if it is not empty: zeroes are what wiping leaves.
    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.pushed = self.pushed.wrapping_add(1);
        (0..len).map(|at| (self.pushed ^ at as u8) | 0x80).collect()
    }

    /// The result of pushing a record of this length, as the model has it.
    fn due(&self, len: usize) -> Result<(), TryPushError> {
        let max = self.config.longest();
        match self.model.end(&self.config, len) {
            _ if len > max => Err(TryPushError::TooLarge { len, max }),
            None => Err(TryPushError::Full),
            Some(_) => Ok(()),
        }
    }

    fn pushed(&mut self, payload: Vec<u8>, result: Result<(), TryPushError>) {
        assert_eq!(result, self.due(payload.len()), "a push of {} bytes", payload.len());
        if result.is_ok() {
            self.model.push(&self.config, payload);
        }
    }

    /// Does it to both, and compares.
    pub fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Push(len) => {
                let payload = self.payload(len);
                let result = self.producer.as_mut().unwrap().try_push(len as u32, &payload);
                self.pushed(payload, result);
            }
            Operation::PushBatch(ref lens) => self.push_batch(lens),
            Operation::Reserve { len, commit } => self.reserve(len, commit),
            Operation::Pop => {
                let mut bytes = Vec::new();
                let popped = self.consumer.as_mut().unwrap().try_pop(&mut bytes).map(|kind| (kind as usize, bytes));
                match self.model.pop() {
                    Some(payload) => assert_eq!(popped, Ok((payload.len(), payload))),
                    None => assert_eq!(popped, Err(TryPopError::Empty)),
                }
            }
            Operation::PopBatch(max) => {
                let mut got = Vec::new();
                let count =
                    self.consumer.as_mut().unwrap().pop_batch(max, |_, bytes| got.push(bytes.to_vec())).unwrap_or(0);
                let due: Vec<_> = (0..max).map_while(|_| self.model.pop()).collect();
                assert_eq!((count, got), (due.len(), due));
            }
            Operation::Peek { consume } => self.peek(consume),
            Operation::Discard => {
                self.consumer.as_mut().unwrap().discard().unwrap();
                self.model.records.clear();
                self.model.head = self.model.tail;
            }
            Operation::Reopen { producer } => self.reopen(producer, false),
            Operation::DieAs { producer } => self.die_as(producer),
        }
        self.look();
    }

    /// Reads what is left, and one more.
    pub fn finish(&mut self) {
        while !self.model.records.is_empty() {
            self.step(&Operation::Pop);
        }
        self.step(&Operation::Pop);
    }

    fn push_batch(&mut self, lens: &[usize]) {
        let payloads: Vec<_> = lens.iter().map(|&len| self.payload(len)).collect();
        let records = payloads.iter().map(|payload| (payload.len() as u32, payload.as_slice()));
        let result = self.producer.as_mut().unwrap().push_batch(records);
        let first = payloads.first().map_or(Ok(()), |payload| self.due(payload.len()));
        let mut count = 0;
        for payload in payloads {
            if self.due(payload.len()).is_err() {
                break;
            }
            self.model.push(&self.config, payload);
            count += 1;
        }
        assert_eq!(result, first.map(|()| count));
    }

    fn reserve(&mut self, len: usize, commit: bool) {
        let payload = self.payload(len);
        let due = self.due(len);
        let reserved = self.producer.as_mut().unwrap().reserve(len as u32, len).map(|mut reservation| {
            if len.is_multiple_of(2) {
                // Backwards and in pieces: the order of writing does not matter.
                for (at, byte) in payload.iter().enumerate().rev() {
                    assert_eq!(reservation.write(at, &[*byte]), 1);
                }
            } else {
                // SAFETY: this thread alone has the ring.
                unsafe { reservation.as_bytes_mut() }.copy_from_slice(&payload);
            }
            if commit {
                reservation.commit().unwrap();
            }
        });
        assert_eq!(reserved, due);
        if commit && reserved.is_ok() {
            self.model.push(&self.config, payload);
        }
    }

    fn peek(&mut self, consume: bool) {
        let mut bytes = Vec::new();
        let peeked = self.consumer.as_mut().unwrap().peek().map(|peek| {
            peek.copy_to(&mut bytes).unwrap();
            // SAFETY: this thread alone has the ring.
            assert_eq!(unsafe { peek.as_bytes() }.unwrap(), bytes);
            if consume {
                peek.consume();
            }
        });
        let front = self.model.records.front().map(|(payload, _)| payload);
        assert_eq!(peeked.is_ok(), front.is_some());
        assert_eq!(bytes, front.cloned().unwrap_or_default());
        if consume {
            self.model.pop();
        }
    }

    fn reopen(&mut self, producer: bool, died: bool) {
        if producer {
            self.producer = None;
            let opened = self.ring.producer(&self.me).unwrap();
            assert_eq!(opened.owner_died(), died);
            self.producer = Some(opened.into_inner());
        } else {
            self.consumer = None;
            let opened = self.ring.consumer(&self.me).unwrap();
            assert_eq!(opened.owner_died(), died);
            self.consumer = Some(opened.into_inner());
        }
    }

    fn die_as(&mut self, producer: bool) {
        let payload = self.payload(9);
        if producer {
            self.producer = None;
        } else {
            self.consumer = None;
        }
        let pushed = match dies(|| work_and_die(&self.ring, producer, &payload)) {
            0 => Ok(()),
            _ => Err(TryPushError::Full),
        };
        if producer {
            self.pushed(payload, pushed);
        }
        self.generations[usize::from(!producer)] += 1;
        self.reopen(producer, true);
    }

    fn look(&self) {
        let status = self.ring.status();
        assert_eq!((status.read_index, status.write_index), (self.model.head, self.model.tail));
        assert_eq!(status.used, self.model.tail - self.model.head);
        assert_eq!([status.producer.generation, status.consumer.generation], self.generations);
        if self.config.wipe {
            self.look_at_free_space();
        }
    }

    /// Nothing of what was read, or never committed, is left.
    fn look_at_free_space(&self) {
        let granules = self.ring.segment().body_slice::<Granule>(4096, CAPACITY as usize / 8).unwrap();
        for position in (self.model.tail..self.model.head + CAPACITY).step_by(8) {
            let found = granules[(position % CAPACITY) as usize / 8].load();
            assert_eq!(found, 0, "not wiped: position {position}, {} to {}", self.model.head, self.model.tail);
        }
    }
}

/// Takes a seat, works with it, and leaves it as a dead one does. Whether the ring was full for its push.
fn work_and_die(ring: &Ring, producer: bool, payload: &[u8]) -> u8 {
    let me = ring.attach().unwrap();
    let pushed = if producer {
        let mut seat = ring.producer(&me).unwrap().into_inner();
        let pushed = seat.try_push(9, payload);
        if let Ok(mut reservation) = seat.reserve(1, 5) {
            reservation.write(0, b"never");
            std::mem::forget(reservation);
        }
        std::mem::forget(seat);
        pushed
    } else {
        let mut seat = ring.consumer(&me).unwrap().into_inner();
        // Seen, and not committed as read.
        let _ = seat.peek().map(|peek| peek.copy_to(&mut Vec::new()));
        std::mem::forget(seat);
        Ok(())
    };
    std::mem::forget(me);
    assert!(matches!(pushed, Ok(()) | Err(TryPushError::Full)), "{pushed:?}");
    pushed.is_err().into()
}
