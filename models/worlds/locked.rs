//! Processes at an MPSC ring whose producers take turns, and what must hold there.

use ownerdead::harness::model::World;
use ownerdead::harness::oracle::Records;
use ownerdead::owner::SeatState;
use ownerdead::ring::mpsc::locked::{
    Config, Consumer, Producer, PushError, Reservation, Ring, TryPopError, WaitPeerError,
};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

pub const SECOND: Duration = Duration::from_secs(1);
/// Of 64 bytes, without checksums: only the ring's own order keeps records whole. Four records of one granule fill it; one of two
/// granules takes 24 bytes.
pub const BARE: Config = Config::new(64).checksum(false);

/// Who pushes: `a`, `b`, and one that comes before them, or back.
pub const A: usize = 0;
pub const B: usize = 1;
pub const OTHER: usize = 2;

/// What must hold of each producer's records. It is no shared memory: a death leaves it as it is.
#[derive(Default)]
pub struct Oracle(pub [Records<Cell<u64>, Cell<u64>>; 3]);

/// A record says whose it is, which, and of how many granules.
fn kind(who: usize, number: u64, granules: usize) -> u32 {
    (granules as u32) << 16 | (who as u32) << 8 | number as u32
}

pub fn payload(kind: u32) -> Vec<u8> {
    vec![(16 * who(kind)) as u8 + number(kind) as u8; 8 * (kind >> 16) as usize]
}

pub fn who(kind: u32) -> usize {
    (kind >> 8 & 0xff) as usize
}

pub fn number(kind: u32) -> u64 {
    (kind & 0xff).into()
}

impl Oracle {
    /// The next record of `who`.
    pub fn begin(&self, who: usize, granules: usize) -> u32 {
        let number = self.0[who].begun.get() + 1;
        self.0[who].push(number);
        kind(who, number, granules)
    }

    pub fn ended(&self, kind: u32) {
        self.0[who(kind)].pushed(number(kind));
    }

    pub fn push(&self, who: usize, producer: &mut Producer, granules: usize) -> Result<(), PushError> {
        let kind = self.begin(who, granules);
        let pushed = producer.push(kind, &payload(kind));
        match pushed {
            Ok(()) => self.ended(kind),
            // It was not pushed, and may be once more.
            Err(_) => self.0[who].push(number(kind) - 1),
        }
        pushed
    }

    /// The same, through the deaths of consumers, until none comes any more.
    pub fn push_on(&self, who: usize, ring: &Ring, producer: &mut Producer, granules: usize) {
        while let Err(error) = self.push(who, producer, granules) {
            assert_eq!(error, PushError::ConsumerDied);
            match producer.wait_consumer(Some(SECOND)) {
                Ok(()) => {}
                Err(WaitPeerError::TimedOut) => {
                    let state = ring.status().consumer.state;
                    assert!(matches!(state, SeatState::Dead(_)), "forgotten: {state:?}");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn pop(&self, consumer: &mut Consumer) -> u32 {
        let mut bytes = Vec::new();
        let before = self.0.each_ref().map(|records| records.may_be_read.get());
        self.0.iter().for_each(Records::read_unseen);
        let kind = consumer.pop(&mut bytes).expect("an honest ring");
        // It is seen now.
        self.0.iter().zip(before).for_each(|(records, before)| records.may_be_read.set(before));
        self.arrived(kind, &bytes);
        self.0[who(kind)].committed(number(kind));
        kind
    }

    /// What there is now, looked at before it is committed as read.
    pub fn look(&self, consumer: &mut Consumer) -> Option<u32> {
        let peek = match consumer.peek() {
            Ok(peek) => peek,
            Err(TryPopError::Empty) => return None,
            Err(error) => panic!("{error}"),
        };
        let (mut bytes, kind) = (Vec::new(), peek.kind());
        peek.copy_to(&mut bytes).expect("whole");
        self.arrived(kind, &bytes);
        peek.consume();
        self.0[who(kind)].committed(number(kind));
        Some(kind)
    }

    fn arrived(&self, kind: u32, bytes: &[u8]) {
        let judged = self.0[who(kind)].arrived(number(kind), bytes == payload(kind));
        judged.unwrap_or_else(|violation| panic!("{violation}"));
    }

    pub fn all_arrived(&self) {
        for records in &self.0 {
            records.all_arrived().unwrap_or_else(|violation| panic!("{violation}"));
        }
    }

    pub fn next_reader(&self) {
        self.0.iter().for_each(Records::next_reader);
    }
}

pub fn producer(ring: &Ring) -> Producer {
    ring.producer(&ring.attach().expect("a free slot")).expect("an honest ring").into_inner()
}

pub fn consumer(ring: &Ring) -> Consumer {
    ring.consumer(&ring.attach().expect("a free slot")).expect("nobody alive has the seat").into_inner()
}

/// Has the turn, with a record of one granule in it. It borrows its producer, and goes with its process: that is leaked, a few bytes for
/// each execution.
pub fn reserved(producer: Producer, kind: u32) -> Reservation<'static> {
    let mut record = Box::leak(Box::new(producer)).reserve(kind, 8).expect("room");
    record.write(0, &payload(kind));
    record
}

/// A process that pushes these records, one after the other.
pub fn add_producer(
    world: &mut World,
    ring: &Ring,
    oracle: &Rc<Oracle>,
    (who, name): (usize, &'static str),
    records: &'static [usize],
) {
    let (open, oracle) = (ring.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || producer(&open),
        move |mut producer| {
            for &granules in records {
                oracle.push(who, &mut producer, granules).expect("nobody waits for a dead consumer");
            }
            producer
        },
    );
}

/// Who looks when all is over finds the rest.
pub fn drain_last(world: &mut World, ring: &Ring, oracle: &Rc<Oracle>) {
    let (open, oracle, last) = (ring.clone(), Rc::clone(oracle), Rc::new(Cell::new(None)));
    let kept = Rc::clone(&last);
    world.process_after("z", move || kept.set(Some(consumer(&open))), |()| ());
    world.after(move || {
        if let Some(mut consumer) = last.take() {
            while oracle.look(&mut consumer).is_some() {}
            oracle.all_arrived();
            // No process is left that could give its seat up.
            core::mem::forget(consumer);
        }
    });
}
