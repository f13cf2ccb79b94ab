//! The MPSC ring of lanes in step with plain queues, and with the order in which records were pushed.

use ownerdead::owner::Attachment;
use ownerdead::ring::mpsc::lanes::{self, Consumer, Producer, Ring, TryPopError, TryPushError};
use ownerdead::segment::Options;
use std::collections::VecDeque;

/// Bytes of a lane.
const CAPACITY: u64 = 256;
const LANES: usize = 3;

/// What can be done to a ring.
#[derive(Clone, Debug)]
pub enum Operation {
    Push { lane: usize, len: usize },
    PushBatch { lane: usize, lens: Vec<usize> },
    Reserve { lane: usize, len: usize, commit: bool },
    Pop,
    PopBatch(usize),
    Peek { consume: bool },
    Discard,
    ReopenProducer(usize),
    ReopenConsumer,
}

/// The plain model: one queue for all, since each push here has returned before the next one begins; and where each lane's records end.
struct Model {
    queue: VecDeque<(usize, Vec<u8>, u64)>,
    heads: [u64; LANES],
    tails: [u64; LANES],
}

pub struct Pair {
    ring: Ring,
    checksum: bool,
    me: Attachment,
    producers: Vec<Option<Producer>>,
    consumer: Option<Consumer>,
    model: Model,
    pushed: u8,
}

impl Pair {
    pub fn new(checksum: bool, wipe: bool) -> Self {
        let config = lanes::Config::new(LANES, CAPACITY as usize).checksum(checksum).wipe(wipe);
        let ring = Ring::memfd(&Options::new().slots(2), &config).unwrap();
        let me = ring.attach().unwrap();
        let producers = (0..LANES).map(|_| Some(ring.producer(&me).unwrap().into_inner())).collect();
        let consumer = Some(ring.consumer(&me).unwrap().into_inner());
        let model = Model { queue: VecDeque::new(), heads: [0; LANES], tails: [0; LANES] };
        Self { ring, checksum, me, producers, consumer, model, pushed: 0 }
    }

    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.pushed = self.pushed.wrapping_add(1);
        (0..len).map(|at| self.pushed ^ at as u8).collect()
    }

    /// Bytes of a record: its head, its number, its payload in granules, its checksum.
    fn size(&self, len: usize) -> u64 {
        16 + (len as u64).div_ceil(8) * 8 + 8 * u64::from(self.checksum)
    }

    /// Where a record of this length would end, if the ring takes it.
    fn due(&self, lane: usize, len: usize) -> Result<u64, TryPushError> {
        let max = self.ring.longest_payload();
        assert_eq!(max as u64, CAPACITY / 2 - self.size(0));
        if len > max {
            return Err(TryPushError::TooLarge { len, max });
        }
        let (tail, size) = (self.model.tails[lane], self.size(len));
        let left = CAPACITY - tail % CAPACITY;
        let end = tail + size + if size > left { left } else { 0 };
        if end - self.model.heads[lane] > CAPACITY { Err(TryPushError::Full) } else { Ok(end) }
    }

    fn pushed(&mut self, lane: usize, payload: Vec<u8>, result: Result<(), TryPushError>) {
        let due = self.due(lane, payload.len());
        assert_eq!(result, due.clone().map(|_| ()), "a push of {} bytes to lane {lane}", payload.len());
        if let Ok(end) = due {
            self.model.tails[lane] = end;
            self.model.queue.push_back((lane, payload, end));
        }
    }

    fn pop(&mut self) -> Option<(u32, Vec<u8>)> {
        let (lane, payload, end) = self.model.queue.pop_front()?;
        self.model.heads[lane] = end;
        Some((lane as u32, payload))
    }

    /// Does it to both, and compares.
    pub fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Push { lane, len } => {
                let payload = self.payload(len);
                let result = self.producers[lane].as_mut().unwrap().try_push(lane as u32, &payload);
                self.pushed(lane, payload, result);
            }
            Operation::PushBatch { lane, ref lens } => {
                let payloads: Vec<_> = lens.iter().map(|&len| self.payload(len)).collect();
                let records = payloads.iter().map(|payload| (lane as u32, payload.as_slice()));
                let result = self.producers[lane].as_mut().unwrap().push_batch(records);
                let first = payloads.first().map_or(Ok(()), |payload| self.due(lane, payload.len()).map(|_| ()));
                let mut count = 0;
                for payload in payloads {
                    if self.due(lane, payload.len()).is_err() {
                        break;
                    }
                    self.pushed(lane, payload, Ok(()));
                    count += 1;
                }
                assert_eq!(result, first.map(|()| count));
            }
            Operation::Reserve { lane, len, commit } => {
                let payload = self.payload(len);
                let due = self.due(lane, len).map(|_| ());
                let reserved = self.producers[lane].as_mut().unwrap().reserve(lane as u32, len).map(|mut record| {
                    assert_eq!((record.len(), record.write(0, &payload), record.write(len, b"x")), (len, len, 0));
                    assert_eq!(record.write(usize::MAX, b"x"), 0);
                    // SAFETY: this thread alone has the ring.
                    assert_eq!(unsafe { record.as_bytes_mut() }, payload);
                    if commit {
                        record.commit().unwrap();
                    }
                });
                assert_eq!(reserved, due);
                if commit && reserved.is_ok() {
                    self.pushed(lane, payload, Ok(()));
                }
            }
            Operation::Pop => {
                let mut bytes = Vec::new();
                let popped = self.consumer.as_mut().unwrap().try_pop(&mut bytes).map(|kind| (kind, bytes));
                assert_eq!(popped, self.pop().ok_or(TryPopError::Empty));
            }
            Operation::PopBatch(max) => {
                let mut got = Vec::new();
                let take = |kind, bytes: &[u8]| got.push((kind, bytes.to_vec()));
                let count = self.consumer.as_mut().unwrap().pop_batch(max, take).unwrap_or(0);
                let due: Vec<_> = (0..max).map_while(|_| self.pop()).collect();
                assert_eq!((count, got), (due.len(), due));
            }
            Operation::Peek { consume } => self.peek(consume),
            Operation::Discard => {
                let used: u64 = (0..LANES).map(|lane| self.model.tails[lane] - self.model.heads[lane]).sum();
                assert_eq!(self.consumer.as_mut().unwrap().discard(), Ok(used));
                self.model.queue.clear();
                self.model.heads = self.model.tails;
            }
            Operation::ReopenProducer(lane) => {
                self.producers[lane] = None;
                let opened = self.ring.producer(&self.me).unwrap();
                assert!(!opened.owner_died());
                let producer = opened.into_inner();
                assert_eq!(producer.lane(), lane, "the one that is free");
                self.producers[lane] = Some(producer);
            }
            Operation::ReopenConsumer => {
                self.consumer = None;
                self.consumer = Some(self.ring.consumer(&self.me).unwrap().into_inner());
            }
        }
        self.look();
    }

    fn peek(&mut self, consume: bool) {
        let mut found = None;
        if let Ok(peek) = self.consumer.as_mut().unwrap().peek() {
            let mut bytes = Vec::new();
            peek.copy_to(&mut bytes).unwrap();
            // SAFETY: this thread alone has the ring.
            assert_eq!((unsafe { peek.as_bytes() }.unwrap(), peek.len()), (&bytes[..], bytes.len()));
            found = Some((peek.kind(), bytes));
            if consume {
                peek.consume();
            }
        }
        let front = self.model.queue.front().map(|(lane, payload, _)| (*lane as u32, payload.clone()));
        assert_eq!(found, front);
        if consume {
            self.pop();
        }
    }

    fn look(&self) {
        let status = self.ring.status();
        for (lane, found) in status.lanes.iter().enumerate() {
            assert_eq!((found.read_index, found.write_index), (self.model.heads[lane], self.model.tails[lane]));
        }
        let all = self.ring.statistics();
        assert_eq!((all.written, all.read), (self.model.tails.iter().sum(), self.model.heads.iter().sum()));
    }

    /// Reads what is left, and one more.
    pub fn finish(&mut self) {
        (0..=self.model.queue.len()).for_each(|_| self.step(&Operation::Pop));
    }
}
