//! Rings: making and opening them, and opening their seats.

use crate::files::with_honest_ring;
use crate::image::{Image, body};
use crate::row::{Got, Row, Section};
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::{Kind, Options, Segment};

/// Where the words of a ring lie in its segment, which has two slots.
pub const CAPACITY: u64 = body(2);
pub const FLAGS: u64 = body(2) + 8;
pub const TAIL: u64 = body(2) + 128;
pub const HEAD: u64 = body(2) + 256;
pub const READ: u64 = body(2) + 272;
pub const PRODUCER: u64 = body(2) + 384;
pub const CONSUMER: u64 = body(2) + 512;
pub const RECORDS: u64 = body(2) + 4096;
/// A right that names slot 77, which does not exist: bit 29 is set in each that is held.
pub const NO_SUCH_SLOT: u64 = 1 << 32 | 1 << 29 | 77;

fn asked_for(config: Config) -> Got {
    Got::error(Ring::memfd(&Options::new(), &config))
}

/// What `open_or_create` says of a ring that exists with other settings.
fn differs(name: &crate::row::Name, config: Config) -> Got {
    with_honest_ring(name, |_| Got::error(Ring::open_or_create(name.as_str(), &Options::new(), &config)))
}

/// Opens a ring in which words were changed; a handle that was open before is not impressed.
fn opened(changes: &[(u64, u64)]) -> Got {
    let ring = Ring::memfd(&Options::new().slots(2), &Config::new(1024)).unwrap();
    let me = ring.attach().unwrap();
    let image = Image::of(ring.segment());
    for &(at, value) in changes {
        image.poke(at, value);
    }
    let spoiled = image.bytes();
    let again = Segment::from_fd(crate::image::descriptor(ring.segment()), Kind::SPSC).unwrap();
    let got = Got::error(Ring::from_segment(again));
    assert!(image.bytes() == spoiled, "opening it changed something");
    use_it(&ring, &me, &[]);
    got
}

/// Both seats are there, the records of `waiting` come out, and one more goes through.
pub fn use_it(ring: &Ring, me: &Attachment, waiting: &[&[u8]]) {
    let mut producer = ring.producer(me).unwrap().into_inner();
    let mut consumer = ring.consumer(me).unwrap().into_inner();
    producer.try_push(9, b"more").unwrap();
    let mut bytes = Vec::new();
    for expected in waiting {
        consumer.try_pop(&mut bytes).unwrap();
        assert_eq!(bytes, *expected);
    }
    assert_eq!((consumer.try_pop(&mut bytes).unwrap(), bytes.as_slice()), (9, &b"more"[..]));
}

pub fn making() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "Making and opening a ring",
        rows: vec![
            row("a capacity of 0 bytes", |_| asked_for(Config::new(0))),
            row("a capacity of 32 bytes", |_| asked_for(Config::new(32))),
            row("a capacity of 100 bytes", |_| asked_for(Config::new(100))),
            row("a capacity of 2^33 bytes", |_| asked_for(Config::new(1 << 33))),
            row("a ring that exists with another capacity", |name| differs(name, Config::new(2048))),
            row("a ring that exists with checksums", |name| differs(name, Config::new(1024).checksum(false))),
            row("a ring that exists without wiping", |name| differs(name, Config::new(1024).wipe(true))),
            row("a capacity in the segment that is no power of two", |_| opened(&[(CAPACITY, 1000)])),
            row("a capacity of 0 in the segment", |_| opened(&[(CAPACITY, 0)])),
            row("a capacity in the segment beyond its body", |_| opened(&[(CAPACITY, 2048)])),
            row("flags of a ring that mean nothing", |_| opened(&[(FLAGS, 0x81)])),
            row("a body too small for a ring", |_| {
                Got::error(Ring::from_segment(Segment::memfd(&Options::new(), Kind::SPSC, 64, |_| {}).unwrap()))
            }),
        ],
    }
}

/// Opens a seat in a ring in which words were changed. Nothing else changes, and once they are put back the ring is whole.
fn seat(wipe: bool, changes: &[(u64, u64)]) -> Got {
    let ring = Ring::memfd(&Options::new().slots(2), &Config::new(1024).wipe(wipe)).unwrap();
    let me = ring.attach().unwrap();
    ring.producer(&me).unwrap().into_inner().push(7, b"a record").unwrap();
    let image = Image::of(ring.segment());
    let whole = image.bytes();
    let mut said = Vec::new();
    for opens in [
        |ring: &Ring, me: &_| ring.producer(me).map(drop).map_err(|error| error.to_string()),
        |ring: &Ring, me: &_| ring.consumer(me).map(drop).map_err(|error| error.to_string()),
    ] {
        for &(at, value) in changes {
            image.poke(at, value);
        }
        let spoiled = image.bytes();
        // Some of these are the business of one seat only.
        if let Err(error) = opens(&ring, &me) {
            assert!(image.bytes() == spoiled, "a seat that was refused has changed something");
            said.push(error);
        }
        let _ = format!("{:?}", ring.status());
        image.restore(&whole, 0);
    }
    use_it(&ring, &me, &[b"a record"]);
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    Got::Error(said.remove(0))
}

pub fn seats() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "Opening a seat of a damaged ring",
        rows: vec![
            row("a write index that is no multiple of 8", |_| seat(false, &[(TAIL, 12)])),
            row("a read index that is no multiple of 8", |_| seat(false, &[(HEAD, 12)])),
            row("a write index past 2^62", |_| seat(false, &[(TAIL, (1 << 62) + 8)])),
            row("a read index past 2^62", |_| seat(false, &[(HEAD, 1 << 63)])),
            row("a write index before the read index", |_| seat(false, &[(HEAD, 512), (TAIL, 504)])),
            row("a write index further than the capacity from the read index", |_| seat(false, &[(TAIL, 1032)])),
            row("a ring with wipe that has read more than was written", |_| seat(true, &[(READ, 512)])),
            row("a producer's seat that names no slot", |_| seat(false, &[(PRODUCER, NO_SUCH_SLOT)])),
            row("a consumer's seat that names no slot", |_| seat(false, &[(CONSUMER, NO_SUCH_SLOT | 1)])),
            row("a seat that is not recoverable", |_| seat(false, &[(PRODUCER, 1 << 29 | 0xffe)])),
            row("a seat of somebody alive", |_| {
                let ring = Ring::memfd(&Options::new().slots(2), &Config::new(1024)).unwrap();
                let me = ring.attach().unwrap();
                let producer = ring.producer(&me).unwrap();
                let got = Got::error(ring.producer(&me));
                drop(producer);
                use_it(&ring, &me, &[]);
                got
            }),
            row("a seat, opened by a forked child with its parent's attachment", |_| {
                let ring = Ring::memfd(&Options::new().slots(2), &Config::new(1024)).unwrap();
                let me = ring.attach().unwrap();
                let said = crate::row::in_a_process("fork", || ring.consumer(&me).unwrap_err().to_string());
                use_it(&ring, &me, &[]);
                Got::Error(said)
            }),
            row("an attachment to another segment", |_| {
                let ring = || Ring::memfd(&Options::new().slots(2), &Config::new(1024)).unwrap();
                let (one, other) = (ring(), ring());
                let me = one.attach().unwrap();
                let got = Got::error(other.producer(&me));
                use_it(&one, &me, &[]);
                got
            }),
        ],
    }
}
