//! MPSC rings of claims: making and opening them, and using damaged ones.

use crate::image::{Image, body, descriptor};
use crate::row::{Got, Name, Row, Section};
use ownerdead::owner::{Claim, Holder};
use ownerdead::ring::mpsc::claims::{Config, Consumer, Producer, Ring};
use ownerdead::segment::{Kind, Options, Segment};
use std::time::Duration;

/// Where the words of a ring lie in its segment, which has two slots.
const CAPACITY: u64 = body(2);
const BLOCK: u64 = body(2) + 8;
const FLAGS: u64 = body(2) + 16;
const TAIL: u64 = body(2) + 128;
const HEAD: u64 = body(2) + 256;
const READ: u64 = body(2) + 272;
const SEAT: u64 = body(2) + 384;
const WORD: u64 = body(2) + 4096;
const RECORD: u64 = body(2) + 8192;

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
    let again = Segment::from_fd(descriptor(ring.segment()), Kind::MPSC_CLAIMS).unwrap();
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

/// The consumer has read a block. Behind it records of dead writers follow each other to the end of the ring, and past where it stands.
fn goes_round() -> Got {
    let ring = honest();
    let me = ring.attach().unwrap();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    ring.producer(&me).unwrap().into_inner().push(1, b"one").unwrap();
    assert_eq!(consumer.try_pop(&mut Vec::new()), Ok(1));
    let dead = Holder { slot: 1, incarnation: 1 };
    let image = Image::of(ring.segment());
    for (block, blocks) in [(1, 4), (5, 3), (0, 4)] {
        image.poke(WORD + 8 * block, Claim::writing(dead, blocks).0);
    }
    Got::error(consumer.try_pop(&mut Vec::new()))
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "MPSC rings of claims",
        rows: vec![
            row("a ring of claims of 500 bytes", |_| asked_for(Config::new(500))),
            row("a ring of claims of one block", |_| asked_for(Config::new(64))),
            row("blocks of 8 bytes", |_| asked_for(Config::new(512).block(8))),
            row("a ring of claims that exists with less room", |name| differs(name, Config::new(1024))),
            row("a ring of claims that exists with larger blocks", |name| differs(name, Config::new(512).block(16))),
            row("a ring of claims that exists with checksums", |name| differs(name, Config::new(512).checksum(false))),
            row("a capacity in the segment of less than two blocks", |_| opened(CAPACITY, 64)),
            row("blocks in the segment that are no power of two", |_| opened(BLOCK, 48)),
            row("flags of a ring of claims that mean nothing", |_| opened(FLAGS, 2)),
            row("a ring of claims of more than its body has room for", |_| opened(CAPACITY, 1 << 20)),
            row("a word of a block that is none", |_| pops(WORD, 1 << 30)),
            row("a record whose writer is no participant", |_| pops(WORD, 1 << 32 | 1 << 29 | 1 << 12 | 77)),
            row("a record that one who writes nothing is said to write", |_| {
                pops(WORD, Claim::writing(Holder { slot: 0, incarnation: 1 }, 1).0)
            }),
            row("a record that goes beyond the end of the ring", |_| {
                pops(WORD, Claim::writing(Holder { slot: 1, incarnation: 1 }, 9).0)
            }),
            row("a record of another lap", |_| pops(WORD, Claim::full(1 << 18 | 1).0)),
            row("a record whose payload takes more blocks than were claimed", |_| pops(RECORD, 1 << 32 | 100)),
            row("a record of a ring of claims whose payload was changed", |_| pops(RECORD + 8, 0)),
            row("records of the dead that go round the ring", |_| goes_round()),
            row("a write index of a ring of claims past 2^62", |_| pushes(TAIL, 1 << 63)),
            row("a write index that is no multiple of a block", |_| pushes(TAIL, 8)),
            row("a write index that is too far from the read index", |_| pushes(TAIL, 1024)),
            row("a write index that is behind the read index", |_| pushes(HEAD, 256)),
            row("a read index that is no multiple of a block", |_| opens(HEAD, 8)),
            row("an index up to which records were read, too far", |_| opens(READ, 1024)),
        ],
    }
}
