//! MPMC rings: making and opening them, and using damaged ones.

use crate::image::{Image, body};
use crate::row::{Got, Row, Section};
use ownerdead::owner::Claim;
use ownerdead::ring::mpmc::{Config, OnDeath, Order, Ring};
use ownerdead::segment::{Kind, Options, Segment};
use std::time::Duration;

/// Where the words of a ring lie in its segment, which has two slots.
const COUNT: u64 = body(2);
const PAYLOAD: u64 = body(2) + 8;
const FLAGS: u64 = body(2) + 16;
const TAIL: u64 = body(2) + 128;
const HEAD: u64 = body(2) + 256;
const SLOT: u64 = body(2) + 4096;

fn asked_for(config: Config) -> Got {
    Got::error(Ring::memfd(&Options::new(), &config))
}

fn honest() -> Ring {
    Ring::memfd(&Options::new().slots(2), &Config::new(4, 32)).unwrap()
}

/// What `open_or_create` says of a ring that exists with other settings.
fn differs(name: &crate::row::Name, config: Config) -> Got {
    let _ring = Ring::create(name.as_str(), &Options::new(), &Config::new(4, 32)).unwrap();
    Got::error(Ring::open_or_create(name.as_str(), &Options::new(), &config))
}

/// Opens a ring in which a word was changed; a handle that was open before is not impressed.
fn opened(at: u64, value: u64) -> Got {
    let ring = honest();
    Image::of(ring.segment()).poke(at, value);
    let again = Segment::from_fd(crate::image::descriptor(ring.segment()), Kind::MPMC).unwrap();
    let got = Got::error(Ring::from_segment(again));
    use_it(&ring);
    got
}

/// A record goes through.
fn use_it(ring: &Ring) {
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    producer.try_push(9, b"more").unwrap();
    let mut bytes = Vec::new();
    assert_eq!((consumer.try_pop(&mut bytes), bytes.as_slice()), (Ok(9), &b"more"[..]));
}

/// What is said to one who waits for a record, or else for room, of a ring with two records in which words were changed. Put back, it is
/// whole.
fn waits(pops: bool, changes: impl FnOnce(&Ring, u32) -> Vec<(u64, u64)>) -> Got {
    const LONG: Duration = Duration::from_secs(5);
    let ring = honest();
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    producer.push(1, b"one").unwrap();
    producer.push(2, b"two").unwrap();
    let image = Image::of(ring.segment());
    let whole = image.bytes();
    changes(&ring, me.id().slot).into_iter().for_each(|(at, value)| image.poke(at, value));
    let got = if pops {
        Got::error(consumer.pop_timeout(&mut Vec::new(), LONG))
    } else {
        Got::error(producer.push_timeout(3, b"three", LONG))
    };
    image.restore(&whole, body(2));
    let mut bytes = Vec::new();
    assert_eq!((consumer.try_pop(&mut bytes), bytes.as_slice()), (Ok(1), &b"one"[..]));
    got
}

fn pops(at: u64, value: u64) -> Got {
    waits(true, |_, _| vec![(at, value)])
}

fn pushes(at: u64, value: u64) -> Got {
    waits(false, |_, _| vec![(at, value)])
}

/// The slot that one would claim next says that the one who asks has it, and it has nothing.
fn mine(pops: bool) -> Got {
    waits(pops, |_, slot| {
        let me = ownerdead::owner::Holder { slot, incarnation: 1 };
        (0..4).map(|index| (SLOT + 64 * index, Claim::writing(me, u64::MAX * u64::from(!pops)).0)).collect()
    })
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "MPMC rings",
        rows: vec![
            row("3 slots", |_| asked_for(Config::new(3, 32))),
            row("2^25 slots", |_| asked_for(Config::new(1 << 25, 32))),
            row("payloads of 2^25 bytes", |_| asked_for(Config::new(4, 1 << 25))),
            row("an MPMC ring that exists with fewer slots", |name| differs(name, Config::new(8, 32))),
            row("an MPMC ring that exists for shorter payloads", |name| differs(name, Config::new(4, 40))),
            row("an MPMC ring that exists in strict order", |name| {
                differs(name, Config::new(4, 32).order(Order::Round))
            }),
            row("an MPMC ring that exists and delivers again", |name| {
                differs(name, Config::new(4, 32).on_death(OnDeath::Drop))
            }),
            row("a number of slots in the segment that is no power of two", |_| opened(COUNT, 3)),
            row("payloads in the segment that are too long", |_| opened(PAYLOAD, 1 << 25)),
            row("flags of an MPMC ring that mean nothing", |_| opened(FLAGS, 1 << 40)),
            row("a ring of more slots than its body has room for", |_| opened(COUNT, 1 << 10)),
            row("a slot whose claim is none", |_| pops(SLOT, 1 << 30)),
            row("a slot whose claim names no participant", |_| pops(SLOT, 1 << 32 | 1 << 29 | 77)),
            row("a slot that one who reads nothing is said to have", |_| mine(true)),
            row("a slot that one who writes nothing is said to have", |_| mine(false)),
            row("a read index of an MPMC ring past 2^62", |_| pops(HEAD, 1 << 63)),
            row("a write index of an MPMC ring past 2^62", |_| pushes(TAIL, 1 << 63)),
            row("a read index that is laps ahead", |_| pops(HEAD, 40)),
            row("a write index that is laps ahead", |_| pushes(TAIL, 40)),
            row("a slot that its dead writer claimed in the lap before the first", |_| {
                let dead = ownerdead::owner::Holder { slot: 1, incarnation: 1 };
                waits(false, |_, _| vec![(TAIL, 0), (SLOT, Claim::writing(dead, u64::MAX).0)])
            }),
            row("a dead writer, and a write index that is 2^16 laps ahead", |_| {
                let dead = ownerdead::owner::Holder { slot: 1, incarnation: 1 };
                waits(true, |_, _| vec![(TAIL, 4 << 16), (SLOT, Claim::writing(dead, 0).0)])
            }),
            row("a record in a slot that is longer than payloads may be", |_| pops(SLOT + 16, 1 << 32 | 33)),
            row("a record in a slot whose payload was changed", |_| pops(SLOT + 32, 0)),
        ],
    }
}
