//! MPSC rings whose producers take turns: making and opening them, and using damaged ones.

use crate::image::{Image, body, descriptor};
use crate::row::{Got, Name, Row, Section};
use ownerdead::owner::{Holder, Right};
use ownerdead::ring::mpsc::locked::{Config, Consumer, Producer, Ring};
use ownerdead::segment::{Kind, Options, Segment};
use std::time::Duration;

/// Where the words of a ring lie in its segment, which has two slots.
const CAPACITY: u64 = body(2);
const FLAGS: u64 = body(2) + 8;
const LOCK: u64 = body(2) + 128;
const SEAT: u64 = body(2) + 256;
const TAIL: u64 = body(2) + 1024 + 128;
const HEAD: u64 = body(2) + 1024 + 256;
const RECORD: u64 = body(2) + 4096;

fn asked_for(config: Config) -> Got {
    Got::error(Ring::memfd(&Options::new(), &config))
}

fn honest() -> Ring {
    Ring::memfd(&Options::new().slots(2), &Config::new(512)).unwrap()
}

/// What `open_or_create` says of a ring that exists with other settings.
fn differs(name: &Name, config: Config) -> Got {
    let _ring = Ring::create(name.as_str(), &Options::new(), &Config::new(512)).unwrap();
    Got::error(Ring::open_or_create(name.as_str(), &Options::new(), &config))
}

/// Opens a ring in which a word was changed; a handle that was open before is not impressed.
fn opened(at: u64, value: u64) -> Got {
    let ring = honest();
    Image::of(ring.segment()).poke(at, value);
    let again = Segment::from_fd(descriptor(ring.segment()), Kind::MPSC_LOCKED).unwrap();
    let got = Got::error(Ring::from_segment(again));
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    producer.try_push(9, b"more").unwrap();
    assert_eq!(ring.consumer(&me).unwrap().into_inner().try_pop(&mut Vec::new()), Ok(9));
    got
}

/// What is said of a ring with two records in which a word was changed. Put back, it is whole.
fn damaged(at: u64, value: u64, does: impl FnOnce(&Ring, &mut Producer, Option<Consumer>) -> Got, opened: bool) -> Got {
    let ring = honest();
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let consumer = opened.then(|| ring.consumer(&me).unwrap().into_inner());
    producer.push(1, b"one").unwrap();
    producer.push(2, b"two").unwrap();
    let image = Image::of(ring.segment());
    let mut whole = image.bytes();
    image.poke(at, value);
    let got = does(&ring, &mut producer, consumer);
    // The seat is vacant by now.
    whole[SEAT as usize..][..8].fill(0);
    image.restore(&whole, body(2));
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let mut bytes = Vec::new();
    assert_eq!((consumer.try_pop(&mut bytes), bytes.as_slice()), (Ok(1), &b"one"[..]));
    producer.try_push(3, b"three").unwrap();
    got
}

const LONG: Duration = Duration::from_secs(5);

fn pops(at: u64, value: u64) -> Got {
    damaged(at, value, |_, _, consumer| Got::error(consumer.unwrap().pop_timeout(&mut Vec::new(), LONG)), true)
}

fn pushes(at: u64, value: u64) -> Got {
    damaged(at, value, |_, producer, _| Got::error(producer.push_timeout(3, b"three", LONG)), true)
}

fn opens(at: u64, value: u64) -> Got {
    let open = |ring: &Ring, _: &mut Producer, _| Got::error(ring.consumer(&ring.attach().unwrap()));
    damaged(at, value, open, false)
}

/// A thread pushes by one handle while it has a reservation of another.
fn beside_its_own() -> Got {
    let ring = honest();
    let me = ring.attach().unwrap();
    let mut one = ring.producer(&me).unwrap().into_inner();
    let mut other = ring.producer(&me).unwrap().into_inner();
    let reservation = one.reserve(1, 8).unwrap();
    let got = Got::error(other.push(2, b"two"));
    reservation.commit().unwrap();
    other.push(2, b"two").unwrap();
    got
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "MPSC rings whose producers take turns",
        rows: vec![
            row("a ring with a lock of 500 bytes", |_| asked_for(Config::new(500))),
            row("a ring with a lock that exists with less room", |name| differs(name, Config::new(1024))),
            row("a ring with a lock that exists without wiping", |name| differs(name, Config::new(512).wipe(true))),
            row("a capacity in the segment of a ring with a lock that is none", |_| opened(CAPACITY, 100)),
            row("flags of a ring with a lock that mean nothing", |_| opened(FLAGS, 4)),
            row("a ring with a lock of more than its body has room for", |_| opened(CAPACITY, 1 << 20)),
            row("a lock whose holder is no participant", |_| {
                pushes(LOCK, Right::held_by(Holder { slot: 77, incarnation: 1 }).0)
            }),
            row("a lock of a ring that is not recoverable, which none ever is", |_| {
                pushes(LOCK, Right::NOT_RECOVERABLE.0)
            }),
            row("a push while the same thread has a reservation", |_| beside_its_own()),
            row("a write index of a ring with a lock past 2^62", |_| pushes(TAIL, 1 << 63)),
            row("a write index of a ring with a lock that is no multiple of 8", |_| pushes(TAIL, 1 << 10 | 4)),
            row("a write index of a ring with a lock that is too far from the read index", |_| pushes(TAIL, 1 << 10)),
            row("a record of a ring with a lock that is longer than what is there", |_| pops(RECORD, 1 << 32 | 100)),
            row("a record of a ring with a lock whose payload was changed", |_| pops(RECORD + 8, 0)),
            row("a read index of a ring with a lock past its write index", |_| opens(HEAD, 256)),
        ],
    }
}
