//! Processes at an MPMC ring, and what must hold there.

#[path = "reserved.rs"]
mod reserved;

use ownerdead::harness::model::World;
use ownerdead::ring::TryPopError;
use ownerdead::ring::mpmc::{Config, Consumer, Order, Producer, Reservation, Ring};
use reserved::reserved;
use std::cell::Cell;
use std::rc::Rc;

/// Without checksums, so that only the ring's own order keeps records whole.
pub const fn bare(slots: usize) -> Config {
    Config::new(slots, 8).checksum(false)
}

pub fn payload(number: u32) -> [u8; 8] {
    [number as u8; 8]
}

/// Numbers of records are `10 * producer + count`, both from 1.
pub const P: u32 = 10;
pub const Q: u32 = 20;

const NUMBERS: usize = 40;

reserved!();

/// What must hold of the records, whoever runs when. It is no shared memory: a death leaves it as it is.
pub struct Oracle {
    begun: [Cell<bool>; NUMBERS],
    ended: [Cell<bool>; NUMBERS],
    /// A consumer began to commit it as read.
    may_be_read: [Cell<bool>; NUMBERS],
    /// A consumer was given it, and kept it.
    read: [Cell<bool>; NUMBERS],
}

impl Oracle {
    pub fn new() -> Rc<Self> {
        let none = || core::array::from_fn(|_| Cell::new(false));
        Rc::new(Self { begun: none(), ended: none(), may_be_read: none(), read: none() })
    }

    pub fn push(&self, producer: &mut Producer, number: u32) {
        self.begin(number);
        producer.push(number, &payload(number)).expect("an honest ring");
        self.ended[number as usize].set(true);
    }

    pub fn begin(&self, number: u32) {
        self.begun[number as usize].set(true);
    }

    /// For a ring that has room.
    pub fn try_push(&self, producer: &mut Producer, number: u32) {
        self.begin(number);
        producer.try_push(number, &payload(number)).expect("room");
        self.ended[number as usize].set(true);
    }

    /// The push of `number` has returned.
    pub fn is_ended(&self, number: u32) -> bool {
        self.ended[number as usize].get()
    }

    pub fn is_read(&self, number: u32) -> bool {
        self.read[number as usize].get()
    }

    /// A consumer sees record `number`.
    pub fn arrived(&self, number: u32, bytes: &[u8]) {
        assert_eq!(bytes, payload(number), "torn: record {number}");
        assert!(self.begun[number as usize].get(), "invented: record {number}");
        assert!(!self.is_read(number), "record {number} comes again, which was read");
    }

    /// It has committed it as read.
    pub fn committed(&self, number: u32) {
        self.read[number as usize].set(true);
    }

    pub fn pop(&self, consumer: &mut Consumer) -> u32 {
        let mut bytes = Vec::new();
        let number = consumer.pop(&mut bytes).expect("an honest ring");
        self.arrived(number, &bytes);
        self.committed(number);
        number
    }

    /// What a consumer gets without waiting. Should it die over that, it may have committed it as read or not.
    pub fn try_pop(&self, consumer: &mut Consumer) -> Option<u32> {
        let peek = consumer.peek().ok()?;
        let (number, mut bytes) = (peek.kind(), Vec::new());
        peek.copy_to(&mut bytes).expect("whole");
        self.arrived(number, &bytes);
        self.may_be_read[number as usize].set(true);
        peek.consume();
        self.committed(number);
        Some(number)
    }

    /// Records that were put in when the ring was made.
    pub fn fill(&self, producer: &mut Producer, numbers: &[u32]) {
        for &number in numbers {
            self.push(producer, number);
        }
    }
}

pub fn producer(ring: &Ring) -> Producer {
    ring.producer(&ring.attach().expect("a free slot")).expect("an honest ring").into_inner()
}

pub fn consumer(ring: &Ring) -> Consumer {
    ring.consumer(&ring.attach().expect("a free slot")).expect("an honest ring").into_inner()
}

/// A producer that pushes these records, one after the other.
pub fn add_producer(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>, name: &'static str, numbers: &'static [u32]) {
    let (open, oracle) = (ring.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || producer(&open),
        move |mut producer| {
            for &number in numbers {
                oracle.push(&mut producer, number);
            }
            producer
        },
    );
}

/// A consumer that pops until it sees record `last`. Those of one producer come in their order.
pub fn add_consumer(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>, name: &'static str, last: u32) {
    let (open, oracle) = (ring.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || consumer(&open),
        move |mut consumer| {
            until(&mut consumer, &oracle, last);
            consumer
        },
    );
}

pub fn until(consumer: &mut Consumer, oracle: &Oracle, last: u32) {
    let mut before = 0;
    loop {
        let number = oracle.pop(consumer);
        assert!(number / 10 != before / 10 || number > before, "record {number} after {before}");
        before = number;
        if number == last {
            return;
        }
    }
}

/// A consumer that pops `count` records.
pub fn add_count(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>, name: &'static str, count: u32) {
    let (open, oracle) = (ring.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || consumer(&open),
        move |mut consumer| {
            for _ in 0..count {
                oracle.pop(&mut consumer);
            }
            consumer
        },
    );
}

/// A consumer that looks at a record, if there is one, and gives it back. `full` of them are there from the start.
pub fn add_looker(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>, full: &'static [u32]) {
    let (open, o) = (ring.clone(), Rc::clone(oracle));
    let fill = Rc::clone(oracle);
    world.process_after(
        "c",
        move || {
            fill.fill(&mut producer(&open), full);
            consumer(&open)
        },
        move |mut consumer| {
            if let Ok(peek) = consumer.peek() {
                let mut bytes = Vec::new();
                peek.copy_to(&mut bytes).expect("whole");
                o.arrived(peek.kind(), &bytes);
            }
            consumer
        },
    );
}

/// `p` pushes two records, or, after its death, another one. `d` pops until it has the last.
pub fn one_and_one(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 3);
    let oracle = Oracle::new();
    add_restarting_producer(world, &ring, &oracle);
    let (open, o) = (ring.clone(), Rc::clone(&oracle));
    world.process_after(
        "d",
        move || consumer(&open),
        move |mut consumer| {
            until_the_last(&mut consumer, &o);
            consumer
        },
    );
    world.after(move || all_that_was_committed_is_read(&oracle));
}

/// The same, and before them comes `w`, which sleeps as a bell's thread does: it sees that there is a record, and leaves it. The last one is for nobody.
pub fn one_and_one_watched(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 4);
    let oracle = Oracle::new();
    let open = ring.clone();
    world.process_after(
        "w",
        move || consumer(&open),
        move |consumer| {
            consumer.watch().expect("an honest ring");
            consumer
        },
    );
    let (open, o) = (ring.clone(), Rc::clone(&oracle));
    world.process_after(
        "d",
        move || (consumer(&open), producer(&open)),
        move |(mut consumer, mut producer)| {
            until_the_last(&mut consumer, &o);
            // For `w`, should it still be asleep.
            o.push(&mut producer, 30);
            (consumer, producer)
        },
    );
    add_restarting_producer(world, &ring, &oracle);
    world.after(move || all_that_was_committed_is_read(&oracle));
}

fn add_restarting_producer(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>) {
    let (open, again, o, o2) = (ring.clone(), ring.clone(), Rc::clone(oracle), Rc::clone(oracle));
    world
        .process_after(
            "p",
            move || producer(&open),
            move |mut producer| {
                o.push(&mut producer, P + 1);
                o.push(&mut producer, P + 2);
                producer
            },
        )
        .restarts(move || {
            let mut producer = producer(&again);
            o2.push(&mut producer, Q + 1);
            producer
        });
}

/// Pops until it has the last record of a producer that pushes two or, after its death, another one.
fn until_the_last(consumer: &mut Consumer, oracle: &Oracle) {
    let mut before = 0;
    loop {
        let number = oracle.pop(consumer);
        assert!(number > before, "record {number} after {before}");
        before = number;
        if number == Q + 1 || number == P + 2 && !oracle.begun[Q as usize + 1].get() {
            return;
        }
    }
}

fn all_that_was_committed_is_read(oracle: &Oracle) {
    for number in [P + 1, P + 2] {
        assert!(oracle.is_read(number) || !oracle.is_ended(number), "record {number} was committed, and is lost");
    }
}

/// `p`, which may die, and `q` push, and `d` pops until it has what `q` pushed. With a looker, `c`, that may die too.
pub fn two_and_two(world: &mut World, config: &Config, looker: bool) {
    let ring = Ring::private(config, 5);
    let oracle = Oracle::new();
    let (open, o) = (ring.clone(), Rc::clone(&oracle));
    world.process_after(
        "p",
        move || producer(&open),
        move |mut producer| {
            o.try_push(&mut producer, P + 1);
            producer
        },
    );
    let (open, o) = (ring.clone(), Rc::clone(&oracle));
    let first = Rc::new(Cell::new(false));
    let was_first = Rc::clone(&first);
    world.process_after(
        "q",
        move || producer(&open),
        move |mut producer| {
            was_first.set(o.is_ended(P + 1));
            o.try_push(&mut producer, Q + 1);
            producer
        },
    );
    add_consumer(world, &ring, &oracle, "d", Q + 1);
    if looker {
        add_looker(world, &ring, &oracle, &[]);
    } else {
        // Strict: what was committed before comes before. (One that is given back comes later.)
        world.after(move || assert!(!first.get() || oracle.is_read(P + 1), "committed before record 21, and lost"));
    }
}

/// `p` pushes two records, `d` pops until there are none; whoever of them dies comes back and does so again, with another record.
pub fn two_deaths(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 4);
    let oracle = Oracle::new();
    let (open, again, o, o2) = (ring.clone(), ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
    world
        .process_after(
            "p",
            move || producer(&open),
            move |mut producer| {
                o.try_push(&mut producer, P + 1);
                o.try_push(&mut producer, P + 2);
                producer
            },
        )
        .restarts(move || {
            let mut producer = producer(&again);
            // It may be full.
            o2.begin(Q + 1);
            if producer.try_push(Q + 1, &payload(Q + 1)).is_ok() {
                o2.ended[Q as usize + 1].set(true);
            }
            producer
        });
    let (open, again, o, o2) = (ring.clone(), ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
    let drain = |mut consumer: Consumer, oracle: &Oracle| {
        while oracle.try_pop(&mut consumer).is_some() {}
        consumer
    };
    world
        .process_after("d", move || consumer(&open), move |consumer| drain(consumer, &o))
        .restarts(move || drain(consumer(&again), &o2));
    let (open, last) = (ring.clone(), Rc::new(Cell::new(None)));
    let kept = Rc::clone(&last);
    // It leaves when all is over.
    world.process_after("z", move || kept.set(Some(consumer(&open))), {
        let kept = Rc::clone(&last);
        |()| kept
    });
    world.after(move || {
        // Who looks when all is over finds the rest.
        let mut consumer = last.take().expect("a consumer");
        while oracle.try_pop(&mut consumer).is_some() {}
        last.set(Some(consumer));
        for number in [P + 1, P + 2, Q + 1] {
            let there = oracle.is_read(number) || oracle.may_be_read[number as usize].get();
            assert!(there || !oracle.is_ended(number), "record {number} was committed, and is lost");
        }
    });
}

/// There is one record; `c` looks at it and gives it back, or dies; `d` must have it.
pub fn one_record(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 4);
    let oracle = Oracle::new();
    add_looker(world, &ring, &oracle, &[P + 1]);
    add_consumer(world, &ring, &oracle, "d", P + 1);
}

/// A ring of one slot is full, and `p` pushes another record. `c` pops one; should it die, it comes back and does so again.
pub fn full(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 3);
    let oracle = Oracle::new();
    let (open, again, fill) = (ring.clone(), ring.clone(), Rc::clone(&oracle));
    let (o, o2) = (Rc::clone(&oracle), Rc::clone(&oracle));
    world
        .process_after(
            "c",
            move || {
                fill.fill(&mut producer(&open), &[P + 1]);
                consumer(&open)
            },
            move |mut consumer| {
                o.pop(&mut consumer);
                consumer
            },
        )
        .restarts(move || {
            let mut consumer = consumer(&again);
            o2.pop(&mut consumer);
            consumer
        });
    add_producer(world, &ring, &oracle, "p", &[P + 2]);
}

/// A ring of one slot is full, and `p`, which may die, and `q` wait for room. `d` pops twice.
pub fn full_for_two(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 4);
    let oracle = Oracle::new();
    let (open, fill, o) = (ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
    world.process_after(
        "d",
        move || {
            fill.fill(&mut producer(&open), &[P + 1]);
            consumer(&open)
        },
        move |mut consumer| {
            o.pop(&mut consumer);
            o.pop(&mut consumer);
            consumer
        },
    );
    add_producer(world, &ring, &oracle, "p", &[P + 2]);
    add_producer(world, &ring, &oracle, "q", &[Q + 1]);
}

/// `c`, which may die, and `d` wait for a record each; `q` pushes two.
pub fn empty_for_two(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 4);
    let oracle = Oracle::new();
    add_count(world, &ring, &oracle, "c", 1);
    add_count(world, &ring, &oracle, "d", 1);
    let (open, o) = (ring.clone(), Rc::clone(&oracle));
    world.process_after(
        "q",
        move || producer(&open),
        move |mut producer| {
            o.try_push(&mut producer, Q + 1);
            o.try_push(&mut producer, Q + 2);
            producer
        },
    );
}

/// `p` writes the first record while two more are there; `c` and `d` wait for one each. `p` and `c` may die, both.
pub fn two_deaths_asleep(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 4);
    let oracle = Oracle::new();
    // First, so that they are asleep when it goes on.
    add_count(world, &ring, &oracle, "c", 1);
    add_count(world, &ring, &oracle, "d", 1);
    let (open, fill, o) = (ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
    world.process_after(
        "p",
        move || {
            let me = open.attach().expect("a free slot");
            let [first, mut second] = [(); 2].map(|()| open.producer(&me).expect("an honest ring").into_inner());
            fill.begin(P + 1);
            let reserved = Reserved::of(first, P + 1, 8);
            fill.fill(&mut second, &[Q + 1, Q + 2]);
            (reserved, second)
        },
        move |(mut reserved, second)| {
            reserved.write(&payload(P + 1));
            let committed = reserved.commit();
            o.ended[P as usize + 1].set(true);
            (committed, second)
        },
    );
}

/// `x` reserves a slot and gives it up, and another one that it commits. It may die; then it comes back, and pushes. `d` pops until it
/// has that.
pub fn reserved(world: &mut World, config: &Config) {
    let ring = Ring::private(config, 3);
    let oracle = Oracle::new();
    let (open, again, o, o2) = (ring.clone(), ring.clone(), Rc::clone(&oracle), Rc::clone(&oracle));
    world
        .process_after(
            "x",
            move || producer(&open),
            move |mut producer| {
                drop(producer.reserve(P + 1, 8).expect("room"));
                o.begin(P + 2);
                let mut reservation = producer.reserve(P + 2, 8).expect("room");
                reservation.write(0, &payload(P + 2)[..1]);
                reservation.write(1, &payload(P + 2)[1..]);
                reservation.commit().expect("its own");
                producer
            },
        )
        .restarts(move || {
            let mut producer = producer(&again);
            o2.push(&mut producer, Q + 1);
            producer
        });
    let (open, o) = (ring.clone(), Rc::clone(&oracle));
    world.process_after(
        "d",
        move || consumer(&open),
        move |mut consumer| {
            while o.pop(&mut consumer) != Q + 1 && o.begun[Q as usize + 1].get() {}
            consumer
        },
    );
}

/// `p` has reserved a slot and stands still; there is a record after it. What `c` gets is what the order says.
pub fn paused(world: &mut World, order: Order) {
    let ring = Ring::private(&bare(2).order(order), 3);
    let oracle = Oracle::new();
    let open = ring.clone();
    world.process_after(
        "p",
        move || {
            let mut paused = producer(&open);
            core::mem::forget(paused.reserve(P + 1, 8).expect("an empty ring"));
            paused
        },
        |paused| paused,
    );
    world.process_after(
        "c",
        move || {
            oracle.try_push(&mut producer(&ring), Q + 1);
            (consumer(&ring), oracle)
        },
        move |(mut consumer, oracle)| {
            if order == Order::Strict {
                assert_eq!(consumer.try_pop(&mut Vec::new()), Err(TryPopError::Empty));
            } else {
                until(&mut consumer, &oracle, Q + 1);
            }
            consumer
        },
    );
}
