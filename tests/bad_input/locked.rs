//! MPSC rings whose producers take turns: making and opening them, and using damaged ones.

use crate::damaging::damaging;
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

damaging!(Kind::MPSC_LOCKED, SEAT);

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
