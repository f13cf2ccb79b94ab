//! Sequences of operations on the real structures, in step with plain models: a `VecDeque`, and a state machine.
#![cfg(not(model))]

use ownerdead::lock::{RobustMutex, TryLockError};
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{Config, Consumer, Producer, Ring, TryPopError, TryPushError};
use ownerdead::segment::Options;
use proptest::prelude::*;
use std::collections::VecDeque;

/// What can be done to a ring.
#[derive(Clone, Debug)]
enum RingOperation {
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
    Reopen {
        producer: bool,
    },
    /// A thread takes the seat, works, and ends without giving it up.
    DieAs {
        producer: bool,
    },
}

fn ring_operation() -> impl Strategy<Value = RingOperation> {
    let len = 0usize..140;
    prop_oneof![
        4 => len.clone().prop_map(RingOperation::Push),
        1 => prop::collection::vec(len.clone(), 0..6).prop_map(RingOperation::PushBatch),
        2 => (len, any::<bool>()).prop_map(|(len, commit)| RingOperation::Reserve { len, commit }),
        4 => Just(RingOperation::Pop),
        1 => (0usize..5).prop_map(RingOperation::PopBatch),
        2 => any::<bool>().prop_map(|consume| RingOperation::Peek { consume }),
        1 => any::<bool>().prop_map(|producer| RingOperation::Reopen { producer }),
        1 => any::<bool>().prop_map(|producer| RingOperation::DieAs { producer }),
    ]
}

struct RingPair {
    ring: Ring,
    me: Attachment,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    model: VecDeque<Vec<u8>>,
    pushed: u8,
    generations: [u64; 2],
}

impl RingPair {
    fn new(checksum: bool) -> Self {
        let ring = Ring::memfd(&Options::new().slots(3), &Config::new(256).checksum(checksum)).unwrap();
        let me = ring.attach().unwrap();
        let producer = Some(ring.producer(&me).unwrap().into_inner());
        let consumer = Some(ring.consumer(&me).unwrap().into_inner());
        Self { ring, me, producer, consumer, model: VecDeque::new(), pushed: 0, generations: [0; 2] }
    }

    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.pushed = self.pushed.wrapping_add(1);
        (0..len).map(|at| self.pushed ^ at as u8).collect()
    }

    /// A full ring is full, and one that has room takes a record: the model is the judge of neither, but of what is inside.
    fn pushed(&mut self, payload: Vec<u8>, result: Result<(), TryPushError>) {
        match result {
            Ok(()) => self.model.push_back(payload),
            Err(TryPushError::Full) => assert!(!self.model.is_empty(), "an empty ring is full"),
            Err(TryPushError::TooLarge { len, max }) => assert!(len > max && len == payload.len()),
            Err(error) => panic!("{error}"),
        }
    }

    fn step(&mut self, operation: &RingOperation) {
        match *operation {
            RingOperation::Push(len) => {
                let payload = self.payload(len);
                let result = self.producer.as_mut().unwrap().try_push(len as u32, &payload);
                self.pushed(payload, result);
            }
            RingOperation::PushBatch(ref lens) => {
                let payloads: Vec<_> = lens.iter().map(|&len| self.payload(len)).collect();
                let records = payloads.iter().map(|payload| (payload.len() as u32, payload.as_slice()));
                let count = self.producer.as_mut().unwrap().push_batch(records).unwrap_or(0);
                self.model.extend(payloads.into_iter().take(count));
            }
            RingOperation::Reserve { len, commit } => {
                let payload = self.payload(len);
                let reserved = self.producer.as_mut().unwrap().reserve(len as u32, len).map(|mut reservation| {
                    // Backwards and in pieces: the order of writing does not matter.
                    for (at, byte) in payload.iter().enumerate().rev() {
                        assert_eq!(reservation.write(at, &[*byte]), 1);
                    }
                    if commit {
                        reservation.commit().unwrap();
                    }
                });
                if commit || reserved.is_err() {
                    self.pushed(payload, reserved);
                }
            }
            RingOperation::Pop => {
                let mut bytes = Vec::new();
                let popped = self.consumer.as_mut().unwrap().try_pop(&mut bytes).map(|kind| (kind as usize, bytes));
                match self.model.pop_front() {
                    Some(payload) => assert_eq!(popped, Ok((payload.len(), payload))),
                    None => assert_eq!(popped, Err(TryPopError::Empty)),
                }
            }
            RingOperation::PopBatch(max) => {
                let mut got = Vec::new();
                let _ = self.consumer.as_mut().unwrap().pop_batch(max, |_, bytes| got.push(bytes.to_vec()));
                let due = self.model.len().min(max);
                assert_eq!(got, self.model.drain(..due).collect::<Vec<_>>());
            }
            RingOperation::Peek { consume } => {
                let mut bytes = Vec::new();
                let peeked = self.consumer.as_mut().unwrap().peek().map(|peek| {
                    peek.copy_to(&mut bytes).unwrap();
                    if consume {
                        peek.consume();
                    }
                });
                assert_eq!(peeked.is_ok(), !self.model.is_empty());
                assert_eq!(bytes, self.model.front().cloned().unwrap_or_default());
                if consume {
                    self.model.pop_front();
                }
            }
            RingOperation::Reopen { producer } => self.reopen(producer, false),
            RingOperation::DieAs { producer } => self.die_as(producer),
        }
        self.look();
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
        let pushed = std::thread::scope(|scope| {
            let work = || {
                let me = self.ring.attach().unwrap();
                let mut pushed = false;
                if producer {
                    let mut seat = self.ring.producer(&me).unwrap().into_inner();
                    pushed = seat.try_push(9, &payload).is_ok();
                    std::mem::forget(seat.reserve(1, 1));
                    std::mem::forget(seat);
                } else {
                    let mut seat = self.ring.consumer(&me).unwrap().into_inner();
                    // Seen, and not committed as read.
                    let _ = seat.peek().map(|peek| peek.copy_to(&mut Vec::new()));
                    std::mem::forget(seat);
                }
                std::mem::forget(me);
                pushed
            };
            scope.spawn(work).join().unwrap()
        });
        if pushed {
            self.model.push_back(payload);
        }
        self.generations[usize::from(!producer)] += 1;
        self.wait_for_the_walk(producer);
        self.reopen(producer, true);
    }

    /// A joined thread has ended for Rust; the kernel marks its life word a moment later.
    fn wait_for_the_walk(&self, producer: bool) {
        let alive = || {
            let status = self.ring.status();
            let seat = if producer { status.producer } else { status.consumer };
            matches!(seat.state, ownerdead::owner::SeatState::Alive(_))
        };
        while alive() {
            std::thread::yield_now();
        }
    }

    fn look(&self) {
        let status = self.ring.status();
        assert_eq!(status.used == 0, self.model.is_empty());
        assert!(status.used <= status.capacity);
        assert_eq!([status.producer.generation, status.consumer.generation], self.generations);
    }
}

/// What can be done to a mutex, by one of three threads' attachments (all of this thread, which a mutex cannot tell).
#[derive(Clone, Copy, Debug)]
enum LockOperation {
    /// Locks and keeps it, if it can be had.
    Lock {
        who: usize,
        repair: bool,
    },
    Unlock,
    /// A thread locks it, if it can be had, and ends.
    DieHolding,
}

fn lock_operation() -> impl Strategy<Value = LockOperation> {
    prop_oneof![
        4 => (0usize..3, any::<bool>()).prop_map(|(who, repair)| LockOperation::Lock { who, repair: repair || who > 0 }),
        4 => Just(LockOperation::Unlock),
        1 => Just(LockOperation::DieHolding),
    ]
}

/// The plain model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LockState {
    Free,
    OwnerDied,
    Held { repaired: bool },
    NotRecoverable,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_is_a_queue(checksum: bool, operations in prop::collection::vec(ring_operation(), 1..80)) {
        let mut pair = RingPair::new(checksum);
        for operation in &operations {
            pair.step(operation);
        }
        while !pair.model.is_empty() {
            pair.step(&RingOperation::Pop);
        }
        pair.step(&RingOperation::Pop);
    }

    #[test]
    fn a_robust_mutex_is_a_state_machine(operations in prop::collection::vec(lock_operation(), 1..60)) {
        let mutex = RobustMutex::memfd(&Options::new().slots(5), 0u64).unwrap();
        let threads = [(); 3].map(|()| mutex.attach().unwrap());
        let mut guard = None;
        let mut state = LockState::Free;
        for operation in operations {
            match operation {
                LockOperation::Lock { who, repair } => {
                    let result = mutex.try_lock(&threads[who]);
                    state = match (state, result) {
                        (LockState::Free, Ok(had)) => {
                            guard = Some(had);
                            LockState::Held { repaired: true }
                        }
                        (LockState::OwnerDied, Err(TryLockError::OwnerDied(died))) => {
                            let mut had = died.into_guard();
                            if repair {
                                had.mark_consistent();
                            }
                            prop_assert_eq!(had.needs_repair(), !repair);
                            guard = Some(had);
                            LockState::Held { repaired: repair }
                        }
                        (held @ LockState::Held { .. }, Err(TryLockError::WouldBlock | TryLockError::Deadlock)) => held,
                        (LockState::NotRecoverable, Err(TryLockError::NotRecoverable)) => LockState::NotRecoverable,
                        (state, result) => return Err(TestCaseError::fail(format!("{state:?}: {result:?}"))),
                    };
                }
                LockOperation::Unlock => {
                    guard = None;
                    state = match state {
                        LockState::Held { repaired: true } => LockState::Free,
                        LockState::Held { repaired: false } => LockState::NotRecoverable,
                        state => state,
                    };
                }
                LockOperation::DieHolding => {
                    let (had, id) = std::thread::scope(|scope| scope.spawn(|| {
                        let me = mutex.attach().unwrap();
                        let had = match mutex.try_lock(&me) {
                            Ok(guard) => { std::mem::forget(guard); true }
                            Err(TryLockError::OwnerDied(died)) => { std::mem::forget(died); true }
                            Err(_) => false,
                        };
                        let id = me.id();
                        std::mem::forget(me);
                        (had, id)
                    }).join().unwrap());
                    while mutex.table().dead(id) == Some(false) {
                        std::thread::yield_now();
                    }
                    prop_assert_eq!(had, matches!(state, LockState::Free | LockState::OwnerDied));
                    if had {
                        state = LockState::OwnerDied;
                    }
                }
            }
        }
        drop(guard);
    }
}
