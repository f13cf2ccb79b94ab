//! Processes at an MPSC ring of lanes, and what must hold there.

#[path = "bell.rs"]
mod bell;

pub use bell::Bell;
use bell::add_bell;
use ownerdead::harness::model::World;
use ownerdead::harness::oracle::Records;
use ownerdead::owner::Attachment;
use ownerdead::ring::mpsc::lanes::{Config, Consumer, PopError, Producer, PushError, Ring, TryPopError};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use std::cell::Cell;
use std::rc::Rc;

/// Lanes of 64 bytes, of which two records fill 48, without checksums: only the ring's own order keeps records whole.
pub const fn bare(lanes: usize) -> Config {
    Config::new(lanes, 64).checksum(false)
}

/// What must hold of each producer's records.
#[derive(Default)]
pub struct Oracle(pub [Records<Cell<u64>, Cell<u64>>; 2]);

/// A record says whose it is, and which.
pub fn kind(who: usize, number: u64) -> u32 {
    (who as u32) << 8 | number as u32
}

pub fn payload(kind: u32) -> [u8; 8] {
    let mut bytes = [kind as u8; 8];
    bytes[0] = (kind >> 8) as u8;
    bytes
}

impl Oracle {
    pub fn push(&self, who: usize, producer: &mut Producer) -> Result<(), PushError> {
        let number = self.0[who].ended.get() + 1;
        self.0[who].push(number);
        producer.push(kind(who, number), &payload(kind(who, number)))?;
        self.0[who].pushed(number);
        Ok(())
    }

    pub fn pop(&self, consumer: &mut Consumer) -> Result<u32, PopError> {
        let mut bytes = Vec::new();
        self.0.iter().for_each(Records::read_unseen);
        let popped = consumer.pop(&mut bytes);
        // It is seen now, if there was one.
        self.0.iter().for_each(|records| records.may_be_read.set(records.read.get()));
        let kind = popped?;
        self.arrived(kind, &bytes);
        self.committed(kind);
        Ok(kind)
    }

    pub fn arrived(&self, kind: u32, bytes: &[u8]) {
        let whole = bytes == payload(kind);
        let judged = self.0[(kind >> 8) as usize].arrived((kind & 0xff).into(), whole);
        judged.unwrap_or_else(|violation| panic!("{violation}"));
    }

    pub fn committed(&self, kind: u32) {
        self.0[(kind >> 8) as usize].committed((kind & 0xff).into());
    }

    pub fn all_arrived(&self) {
        for records in &self.0 {
            records.all_arrived().unwrap_or_else(|violation| panic!("{violation}"));
        }
    }

    pub fn read(&self) -> u64 {
        self.0.iter().map(|records| records.read.get()).sum()
    }
}

pub fn producer(ring: &Ring) -> Producer {
    ring.producer(&ring.attach().expect("a free slot")).expect("a lane").into_inner()
}

pub fn consumer(ring: &Ring) -> Consumer {
    ring.consumer(&ring.attach().expect("a free slot")).expect("a vacant seat").into_inner()
}

/// A producer that pushes `count` records, and closes its lane.
pub fn add_producer(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>, who: usize, count: u32) {
    let (open, ring, oracle) = (ring.clone(), ring.clone(), Rc::clone(oracle));
    world.process_after(
        ["p", "q"][who],
        move || {
            let me = open.attach().expect("a free slot");
            let producer = open.producer(&me).expect("a lane").into_inner();
            (me, producer)
        },
        move |(me, mut producer)| {
            for _ in 0..count {
                match oracle.push(who, &mut producer) {
                    Ok(()) => {}
                    Err(PushError::ConsumerDied) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            producer.close();
            drop(ring);
            me
        },
    );
}

/// `c` pops `count` records, or until nobody lives who could push.
pub fn add_consumer(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>, count: u64) {
    let (open, oracle) = (ring.clone(), Rc::clone(oracle));
    world.process_after(
        "c",
        move || consumer(&open),
        move |mut consumer| {
            while oracle.read() < count {
                match oracle.pop(&mut consumer) {
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

/// `p` and `q` push a record each, and `c` pops both.
pub fn all(world: &mut World) {
    let ring = Ring::private(&bare(2), 3);
    let oracle = Rc::new(Oracle::default());
    // First, so that it is asleep when they begin.
    add_consumer(world, &ring, &oracle, 2);
    [0, 1].into_iter().for_each(|who| add_producer(world, &ring, &oracle, who, 1));
}

/// `p` pushes one record, and keeps its lane.
pub fn add_single_push(world: &mut World, ring: &Ring) {
    let open = ring.clone();
    world.process_after(
        "p",
        move || producer(&open),
        |mut producer| {
            producer.push(1, &payload(1)).expect("an empty lane");
            producer
        },
    );
}

/// The thread of the consumer's bell, `w`, before others at this ring of two lanes come.
pub fn add_watcher(world: &mut World, ring: &Ring) -> Bell {
    let (open, ring) = (ring.clone(), ring.clone());
    let watch = move |me: &Attachment, until: &AtomicU64| {
        ring.watch(me, &[0, 0], until).expect("an honest ring");
    };
    add_bell(world, "w", move || open.attach().expect("a free slot"), watch)
}

/// `w` has the consumer's seat, and sleeps at the ring as its bell's thread does: armed for a record, and then for the next one, until `d`
/// drops the bell. `p` pushes into the last lane, and whoever has another one does nothing. Should `p` die before it has published, and
/// somebody lives who might push, the bell is dropped at once: it would be silent for ever.
pub fn a_bell_is_armed(world: &mut World, lanes: usize) {
    let ring = Ring::private(&bare(lanes), lanes + 1);
    let (first, next) = (Bell::default(), Bell::default());
    if lanes > 1 {
        let open = ring.clone();
        world.process_after("q", move || producer(&open), |producer| producer);
    }
    let (open, watched, until, armed) = (ring.clone(), ring.clone(), first.clone(), next.clone());
    world.process_after(
        "w",
        move || {
            let me = open.attach().expect("a free slot");
            (open.consumer(&me).expect("a vacant seat").into_inner(), me)
        },
        move |(mut consumer, me)| {
            let mut seen = vec![0; lanes];
            let lives = watched.watch(&me, &seen, until.until()).expect("an honest ring");
            match consumer.try_pop(&mut Vec::new()) {
                Ok(number) => {
                    assert_eq!(number, 1);
                    // Of 24 bytes.
                    seen[lanes - 1] = 24;
                }
                Err(error) => {
                    assert_eq!(error, TryPopError::Empty);
                    assert!(!lives || until.until().load(Relaxed) == 1, "it rang for nothing");
                }
            }
            watched.watch(&me, &seen, armed.until()).expect("an honest ring");
            consumer
        },
    );
    add_single_push(world, &ring);
    world.restarts(move || {
        if ring.status().lanes[lanes - 1].write_index == 0 && lanes > 1 {
            first.stop();
        }
    });
    world.process("d", move || next.stop());
}
