//! Processes at an SPSC ring, and what must hold there: for the models, and for the fuzzer of schedules.
#![allow(dead_code, reason = "not every model uses all of them")]

use ownerdead::harness::model::World;
use ownerdead::harness::oracle::Records;
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{
    Config, Consumer, Opened, PopError, Producer, PushError, Ring, SeatError, TryPopError, TryPushError,
};
use std::cell::Cell;
use std::rc::Rc;

/// Two records of one granule fill it, and the third wraps: positions 0, 24 and (after padding) 64.
pub const SMALL: Config = Config::new(64);
/// Without checksums, so that only the ring's own order keeps records whole.
pub const BARE: Config = Config::new(64).checksum(false);

/// What must hold of the records, whoever runs when. It is no shared memory: a death leaves it as it is.
#[derive(Default)]
pub struct Oracle(pub Records<Cell<u64>, Cell<u64>>);

pub fn payload(number: u32) -> [u8; 8] {
    [number as u8; 8]
}

impl Oracle {
    pub fn push(&self, producer: &mut Producer) -> Result<(), PushError> {
        let number = self.0.ended.get() + 1;
        self.0.push(number);
        producer.push(number as u32, &payload(number as u32))?;
        self.0.pushed(number);
        Ok(())
    }

    pub fn pop(&self, consumer: &mut Consumer) -> Result<u32, PopError> {
        let mut bytes = Vec::new();
        self.0.read_unseen();
        let number = consumer.pop(&mut bytes)?;
        self.arrived(number, &bytes);
        self.0.committed(number.into());
        Ok(number)
    }

    pub fn arrived(&self, number: u32, bytes: &[u8]) {
        self.0.arrived(number.into(), bytes == payload(number)).unwrap_or_else(|violation| panic!("{violation}"));
    }

    pub fn all_arrived(&self) {
        self.0.all_arrived().unwrap_or_else(|violation| panic!("{violation}"));
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
                        oracle.all_arrived();
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
                    let number = oracle.0.begun.get() as u32 + 1;
                    match next.try_push(number, &payload(number)) {
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
                assert!(number > last && u64::from(number) <= oracle.0.begun.get() + 1, "record {number} after {last}");
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
    // What its first life had seen is in the oracle, and what that had not committed may come again.
    let pop_all = move |mut consumer: Consumer, oracle: &Oracle| {
        while oracle.0.read.get() < 2 {
            match consumer.peek() {
                Ok(peek) => {
                    let mut bytes = Vec::new();
                    peek.copy_to(&mut bytes).expect("whole");
                    let number = peek.kind();
                    oracle.arrived(number, &bytes);
                    peek.consume();
                    oracle.0.committed(number.into());
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
            o2.0.next_reader();
            pop_all(opened.into_inner(), &o2)
        });
}
