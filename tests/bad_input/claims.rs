//! MPSC rings of claims: making and opening them, and using damaged ones.

use crate::damaging::damaging;
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

damaging!(Kind::MPSC_CLAIMS, SEAT);

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
