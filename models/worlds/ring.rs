//! Processes at an SPSC ring, and what must hold there: for the models, and for the fuzzer of schedules.
#![allow(dead_code, reason = "not every model uses all of them")]

use ownerdead::harness::model::World;
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{
    Config, Consumer, Opened, PopError, Producer, PushError, Ring, SeatError, TryPopError, TryPushError,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Two records of one granule fill it, and the third wraps: positions 0, 24 and (after padding) 64.
pub const SMALL: Config = Config::new(64);
/// Without checksums, so that only the ring's own order keeps records whole.
pub const BARE: Config = Config::new(64).checksum(false);

/// What must hold of the records, whoever runs when. It is no shared memory: a death leaves it as it is.
#[derive(Default)]
pub struct Oracle {
    /// Number of the record that a producer is about to commit, or has.
    pub pushing: Cell<u32>,
    /// Number of the last record whose push has returned.
    pub pushed: Cell<u32>,
    /// Records that were seen whole, in order.
    pub seen: RefCell<Vec<u32>>,
    /// How many of them were committed as read, for sure.
    pub read: Cell<usize>,
}

pub fn payload(number: u32) -> [u8; 8] {
    [number as u8; 8]
}

impl Oracle {
    pub fn push(&self, producer: &mut Producer) -> Result<(), PushError> {
        let number = self.pushed.get() + 1;
        self.pushing.set(number);
        producer.push(number, &payload(number))?;
        self.pushed.set(number);
        Ok(())
    }

    /// After a producer's death: what it was about to commit may or may not be there.
    pub fn take_over_producer(&self) {
        self.pushed.set(self.pushed.get().max(self.pushing.get()));
    }

    pub fn pop(&self, consumer: &mut Consumer) -> Result<u32, PopError> {
        let mut bytes = Vec::new();
        let number = consumer.pop(&mut bytes)?;
        assert_eq!(bytes, payload(number), "torn: record {number}");
        assert!(number <= self.pushing.get(), "record {number} was never pushed");
        let last = self.seen.borrow().last().copied().unwrap_or(0);
        let next = last + 1;
        let redelivered = number == last && self.read.get() < self.seen.borrow().len();
        assert!(number == next || redelivered, "record {number} after {last}");
        if number == next {
            self.seen.borrow_mut().push(number);
        }
        self.read.set(self.seen.borrow().len());
        Ok(number)
    }
}

pub fn producer(ring: &Ring, me: &Attachment) -> Producer {
    ring.producer(me).expect("a vacant seat").into_inner()
}

pub fn consumer(ring: &Ring, me: &Attachment) -> Consumer {
    ring.consumer(me).expect("a vacant seat").into_inner()
}

/// `p` pushes `count` records; it has its seat from the start.
pub fn add_producer(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>, count: u32) {
    let (open, oracle) = (ring.clone(), Rc::clone(oracle));
    world.process_after(
        "p",
        move || producer(&open, &open.attach().expect("a free slot")),
        move |mut producer| {
            for _ in 0..count {
                match oracle.push(&mut producer) {
                    Ok(()) => {}
                    Err(PushError::ConsumerDied) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            producer
        },
    );
}

/// `c` pops until it has seen record `last`, or the producer has died; it has its seat from the start.
pub fn add_consumer(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>, last: u32) {
    let (open, oracle) = (ring.clone(), Rc::clone(oracle));
    world.process_after(
        "c",
        move || consumer(&open, &open.attach().expect("a free slot")),
        move |mut consumer| {
            loop {
                match oracle.pop(&mut consumer) {
                    Ok(number) if number == last => break,
                    Ok(_) => {}
                    Err(PopError::ProducerDied) => {
                        let seen = oracle.seen.borrow().len() as u32;
                        assert!(
                            seen >= oracle.pushed.get(),
                            "committed records are lost: {seen} of {}",
                            oracle.pushed.get()
                        );
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            consumer
        },
    );
}

pub fn both(world: &mut World, config: &Config, count: u32) {
    let ring = Ring::private(config, 2);
    let oracle = Rc::new(Oracle::default());
    add_producer(world, &ring, &oracle, count);
    add_consumer(world, &ring, &oracle, count);
}

/// `p` and `c` as in [`both`], and `w`, which looks at the ring meanwhile and takes no part.
pub fn inspected(world: &mut World) {
    let ring = Ring::private(&SMALL, 2);
    let oracle = Rc::new(Oracle::default());
    add_producer(world, &ring, &oracle, 3);
    add_consumer(world, &ring, &oracle, 3);
    world.process("w", move || {
        for _ in 0..3 {
            let status = ring.status();
            assert!(status.used <= status.capacity, "{status:?}");
        }
    });
}

/// `n` takes the seat of the producer `p` over once `p` is dead, and pushes one record more.
pub fn add_next_producer(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>) {
    let (attach, ring, oracle) = (ring.clone(), ring.clone(), Rc::clone(oracle));
    world.process_after(
        "n",
        move || attach.attach().expect("a free slot"),
        move |me| {
            let before = ring.status().producer.generation;
            match ring.producer(&me) {
                Ok(Opened::OwnerDied(mut next)) => {
                    assert_eq!(next.generation(), before + 1, "one take-over, one generation");
                    oracle.take_over_producer();
                    match next.try_push(oracle.pushing.get() + 1, &payload(oracle.pushing.get() + 1)) {
                        Ok(()) | Err(TryPushError::Full) => {}
                        Err(error) => panic!("{error}"),
                    }
                    Some(next)
                }
                Ok(Opened::Clean(_)) => panic!("`p` never gives its seat up"),
                Err(SeatError::Busy { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        },
    );
}

/// `n` takes over from `p`, should it die, and `c` reads what there is; nobody waits.
pub fn take_over(world: &mut World) {
    let ring = Ring::private(&BARE, 3);
    let oracle = Rc::new(Oracle::default());
    add_producer(world, &ring, &oracle, 1);
    add_next_producer(world, &ring, &oracle);
    let (open, oracle) = (ring.clone(), Rc::clone(&oracle));
    world.process_after(
        "c",
        move || consumer(&open, &open.attach().expect("a free slot")),
        move |mut consumer| {
            let mut bytes = Vec::new();
            let mut last = 0;
            while let Ok(number) = consumer.try_pop(&mut bytes) {
                assert_eq!(bytes, payload(number), "torn: record {number}");
                assert!(number > last && number <= oracle.pushing.get() + 1, "record {number} after {last}");
                last = number;
            }
            consumer
        },
    );
}

/// `p` pushes two records; `c` reads them, and should it die, another one takes over.
pub fn redelivery(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 3);
    let oracle = Rc::new(Oracle::default());
    let (open, o) = (ring.clone(), Rc::clone(&oracle));
    world.process_after(
        "p",
        move || producer(&open, &open.attach().expect("a free slot")),
        move |mut producer| {
            for _ in 0..2 {
                o.push(&mut producer).expect("room for two");
            }
            producer
        },
    );
    let (open, again, o) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
    // What its first life had seen is in the oracle, and the record after it may come again.
    let pop_all = move |mut consumer: Consumer, oracle: &Oracle| {
        while oracle.seen.borrow().len() < 2 || oracle.read.get() < 2 {
            let before = oracle.seen.borrow().len();
            oracle.read.set(before.min(oracle.read.get()));
            match consumer.peek() {
                Ok(peek) => {
                    let mut bytes = Vec::new();
                    peek.copy_to(&mut bytes).expect("whole");
                    let number = peek.kind();
                    assert_eq!(bytes, payload(number), "torn: record {number}");
                    assert!(
                        number as usize == before + 1 || number as usize == before,
                        "record {number} after {before}"
                    );
                    oracle.seen.borrow_mut().resize(number as usize, number);
                    peek.consume();
                    oracle.read.set(number as usize);
                }
                Err(TryPopError::Empty) => break,
                Err(error) => panic!("{error}"),
            }
        }
        consumer
    };
    let o2 = Rc::clone(&oracle);
    world
        .process_after(
            "c",
            move || consumer(&open, &open.attach().expect("a free slot")),
            move |consumer| pop_all(consumer, &o),
        )
        .restarts(move || {
            let me = again.attach().expect("a free slot");
            let opened = again.consumer(&me).expect("a dead one's seat");
            assert!(opened.owner_died(), "its first life had the seat");
            assert_eq!(again.status().consumer.generation, 1);
            pop_all(opened.into_inner(), &o2)
        });
}
