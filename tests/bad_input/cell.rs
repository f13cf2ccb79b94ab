//! Cells: making and opening them, and their seats.

use crate::image::{Image, body};
use crate::row::{Got, Row, Section};
use ownerdead::cell::snapshot::{Config, Snapshot};
use ownerdead::cell::{Board, SeqLock, board};
use ownerdead::segment::{Kind, Options, Segment};

/// Where the words of a cell lie in its segment, which has two slots.
const FINGERPRINT: u64 = body(2);
const BUFFERS: u64 = body(2) + 24;
const SEQUENCE: u64 = body(2) + 128;
const BEGUN: u64 = body(2) + 136;
const RIGHT: u64 = body(2) + 144;

fn snapshot() -> Snapshot<u64> {
    Snapshot::memfd(&Options::new().slots(2), &Config::new(), 7).unwrap()
}

/// Opens a snapshot in which a word was changed; a handle that was open before is not impressed.
fn opened(at: u64, value: u64) -> Got {
    let snapshot = snapshot();
    let image = Image::of(snapshot.segment());
    image.poke(at, value);
    let again = Segment::from_fd(crate::image::descriptor(snapshot.segment()), Kind::SNAPSHOT).unwrap();
    let got = Got::error(Snapshot::<u64>::from_segment(again));
    let me = snapshot.attach().unwrap();
    snapshot.writer(&me).unwrap().into_inner().write(&8).unwrap();
    assert_eq!(snapshot.read().unwrap().value, 8);
    got
}

/// Opens the writer's seat of a snapshot in which words were changed. Put back, it is whole.
fn seat(changes: &[(u64, u64)]) -> Got {
    let snapshot = snapshot();
    let me = snapshot.attach().unwrap();
    let image = Image::of(snapshot.segment());
    let whole = image.bytes();
    changes.iter().for_each(|&(at, value)| image.poke(at, value));
    let got = Got::error(snapshot.writer(&me));
    image.restore(&whole, 0);
    assert_eq!(snapshot.read().unwrap().value, 7);
    got
}

/// What a sequence lock says in which the sequence was changed.
fn read(sequence: u64) -> Got {
    let lock = SeqLock::memfd(&Options::new().slots(2), 7u64).unwrap();
    let image = Image::of(lock.segment());
    image.poke(SEQUENCE, sequence);
    let got = Got::error(lock.try_read());
    image.poke(SEQUENCE, 0);
    assert_eq!(lock.try_read().unwrap().value, 7);
    got
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "Cells",
        rows: vec![
            row("a board without keys", |_| Got::error(Board::<u64>::memfd(&Options::new(), &board::Config::new(0)))),
            row("a snapshot with one buffer", |_| {
                Got::error(Snapshot::memfd(&Options::new(), &Config::new().buffers(1), 0u64))
            }),
            row("a snapshot of another type", |_| opened(FINGERPRINT, 1)),
            row("a snapshot with no buffers in the segment", |_| opened(BUFFERS, 0)),
            row("a snapshot with more buffers than its body has room for", |_| opened(BUFFERS, 64)),
            row("a last value past 2^62", |_| seat(&[(SEQUENCE, u64::MAX)])),
            row("a value that was begun before the last one", |_| seat(&[(SEQUENCE, 8), (BEGUN, 3)])),
            row("a cell's seat that names no slot", |_| seat(&[(RIGHT, 1 << 32 | 1 << 29 | 77)])),
            row("a key that a board does not have", |_| {
                Got::error(Board::<u64>::memfd(&Options::new(), &board::Config::new(3)).unwrap().read(3))
            }),
            row("a sequence lock that is odd, and nobody has its seat", |_| read(3)),
            row("a sequence lock whose value is torn", |_| read(1 << 63 | 3)),
        ],
    }
}
