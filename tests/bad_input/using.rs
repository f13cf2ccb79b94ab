//! Rings that a peer changes while they are in use.

use crate::image::Image;
use crate::ring::{CONSUMER, HEAD, NO_SUCH_SLOT, PRODUCER, READ, RECORDS, TAIL};
use crate::row::{Got, Row, Section};
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{Config, Consumer, Producer, Ring};
use ownerdead::segment::Options;
use std::time::Duration;

const CAPACITY: usize = 1024;

/// An operation, and the text of its error.
type Use = fn(&mut Pair) -> Result<(), String>;

/// Both handles of one ring.
struct Pair {
    ring: Ring,
    producer: Producer,
    consumer: Consumer,
    _me: Attachment,
}

fn pair(checksum: bool) -> Pair {
    let config = Config::new(CAPACITY).checksum(checksum);
    let ring = Ring::memfd(&Options::new().slots(2), &config).unwrap();
    let me = ring.attach().unwrap();
    let (producer, consumer) = (ring.producer(&me).unwrap().into_inner(), ring.consumer(&me).unwrap().into_inner());
    Pair { ring, producer, consumer, _me: me }
}

/// Pops what waits, then a record goes through.
fn still_works(it: &mut Pair, waiting: usize) {
    let mut bytes = Vec::new();
    for number in 0..waiting {
        assert_eq!(it.consumer.try_pop(&mut bytes).unwrap() as usize, number);
    }
    it.producer.try_push(99, b"more").unwrap();
    assert_eq!((it.consumer.try_pop(&mut bytes).unwrap(), bytes.as_slice()), (99, &b"more"[..]));
}

/// Pushes `before` records, changes words, and sees the same error from each of `uses`, none of which changes anything. Once
/// the words are put back, the ring is whole.
fn changed(checksum: bool, before: usize, changes: &[(u64, u64)], uses: &[Use]) -> Got {
    let mut it = pair(checksum);
    for number in 0..before {
        it.producer.try_push(number as u32, &[b'x'; 16]).unwrap();
    }
    let image = Image::of(it.ring.segment());
    let whole = image.bytes();
    for &(at, value) in changes {
        image.poke(at, value);
    }
    let spoiled = image.bytes();
    let mut said: Vec<_> = uses.iter().map(|using| using(&mut it).expect_err("there was no error")).collect();
    assert!(image.bytes() == spoiled, "an operation that failed has changed something");
    image.restore(&whole, 0);
    still_works(&mut it, before);
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    Got::Error(said.remove(0))
}

/// A record of 16 bytes takes 32 with its checksum: so many fill the ring.
const FULL: usize = CAPACITY / 32;

fn text<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

const PUSHES: &[Use] = &[
    |it| text(it.producer.try_push(0, b"")),
    |it| text(it.producer.push(0, b"")),
    |it| text(it.producer.push_timeout(0, b"", Duration::MAX)),
    |it| text(it.producer.push_batch([(0, &b""[..]), (1, b"")])),
    |it| text(it.producer.reserve(0, 8)),
];

const POPS: &[Use] = &[
    |it| text(it.consumer.try_pop(&mut Vec::new())),
    |it| text(it.consumer.pop(&mut Vec::new())),
    |it| text(it.consumer.pop_timeout(&mut Vec::new(), Duration::MAX)),
    |it| text(it.consumer.pop_batch(9, |_, _| panic!("a record that is none"))),
    |it| text(it.consumer.peek().map(drop)),
];

/// A peek shows the record; it is the copy that fails.
const COPIES: &[Use] = &[
    |it| text(it.consumer.try_pop(&mut Vec::new())),
    |it| text(it.consumer.pop_batch(9, |_, _| panic!("a record that is none"))),
    |it| {
        let mut bytes = b"what it held".to_vec();
        let copied = text(it.consumer.peek().unwrap().copy_to(&mut bytes));
        assert!(bytes.is_empty());
        copied
    },
    |it| {
        let peek = it.consumer.peek().unwrap();
        // SAFETY: this process alone has the segment, and nothing writes it meanwhile.
        text(unsafe { peek.as_bytes() })
    },
];

const TOO_LARGE: &[Use] = &[
    |it| text(it.producer.try_push(0, &[0; CAPACITY])),
    |it| text(it.producer.push(0, &[0; CAPACITY])),
    |it| text(it.producer.push_timeout(0, &[0; CAPACITY], Duration::MAX)),
    |it| text(it.producer.push_batch([(0, &[0; CAPACITY][..])])),
    |it| text(it.producer.reserve(0, CAPACITY)),
];

/// A call sleeps, or is about to, and a peer changes a word without a wake; the call looks again by itself.
fn while_asleep(full: bool, at: u64, value: u64, using: Use) -> Got {
    let mut it = pair(true);
    let waiting = if full { FULL } else { 0 };
    for number in 0..waiting {
        it.producer.try_push(number as u32, &[b'x'; 16]).unwrap();
    }
    let image = Image::of(it.ring.segment());
    let whole = image.bytes();
    let said = std::thread::scope(|scope| {
        scope.spawn(|| image.poke(at, value));
        using(&mut it).expect_err("there was no error")
    });
    image.restore(&whole, 0);
    still_works(&mut it, waiting);
    Got::Error(said)
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "Using a ring that a peer changes meanwhile",
        rows: vec![
            row("a read index that becomes no multiple of 8, under a producer", |_| {
                changed(true, FULL, &[(HEAD, 12)], PUSHES)
            }),
            row("a read index that passes the write index, under a producer", |_| {
                changed(true, FULL, &[(HEAD, 2048)], PUSHES)
            }),
            row("a read index that passes 2^62, under a producer", |_| changed(true, FULL, &[(HEAD, 1 << 63)], PUSHES)),
            row("a read index that goes back, under a producer", |_| {
                let mut it = pair(true);
                let image = Image::of(it.ring.segment());
                // Round the ring once, so that there is a way back.
                for number in 0..2 * FULL {
                    it.producer.try_push(number as u32, &[b'x'; 16]).unwrap();
                    it.consumer.try_pop(&mut Vec::new()).unwrap();
                }
                for number in 0..FULL {
                    it.producer.try_push(number as u32, &[b'x'; 16]).unwrap();
                }
                assert_eq!(it.producer.try_push(0, b"").unwrap_err().to_string(), "the ring is full");
                let honest = image.peek(HEAD);
                image.poke(HEAD, honest - 8);
                let got = Got::error(it.producer.try_push(0, b""));
                image.poke(HEAD, honest);
                still_works(&mut it, FULL);
                got
            }),
            row("a write index that becomes no multiple of 8, under a consumer", |_| {
                changed(true, 0, &[(TAIL, 12)], POPS)
            }),
            row("a write index that passes the capacity, under a consumer", |_| {
                changed(true, 0, &[(TAIL, 1032)], POPS)
            }),
            row("a write index that passes 2^62, under a consumer", |_| changed(true, 0, &[(TAIL, 1 << 63)], POPS)),
            row("a write index that goes back, under a consumer", |_| {
                let mut it = pair(true);
                let image = Image::of(it.ring.segment());
                for _ in 0..3 {
                    it.producer.try_push(0, b"").unwrap();
                    it.consumer.try_pop(&mut Vec::new()).unwrap();
                }
                let honest = image.peek(TAIL);
                image.poke(TAIL, honest - 8);
                let got = Got::error(it.consumer.try_pop(&mut Vec::new()));
                assert!(it.consumer.discard().is_err());
                image.poke(TAIL, honest);
                still_works(&mut it, 0);
                got
            }),
            row("a record that is longer than what was written", |_| changed(true, 1, &[(RECORDS, 17)], POPS)),
            row("a record that is longer than the ring", |_| changed(true, FULL, &[(RECORDS, 0x7fff_ffff)], POPS)),
            row("a record that is longer than the ring takes", |_| changed(true, FULL, &[(RECORDS, 600)], POPS)),
            row("a padding record that passes the write index", |_| {
                changed(true, 1, &[(RECORDS, u32::MAX.into())], POPS)
            }),
            row("a record whose payload was changed", |_| changed(true, 1, &[(RECORDS + 8, 0)], COPIES)),
            row("a record whose kind was changed", |_| changed(true, 1, &[(RECORDS, 5 << 32 | 16)], COPIES)),
            row("a record whose checksum was changed", |_| changed(true, 1, &[(RECORDS + 24, 0)], COPIES)),
            row("a record of 1024 bytes in a ring of 1024", |_| changed(true, 0, &[], TOO_LARGE)),
            row("a record of 1024 bytes in a ring of 1024 without checksums", |_| changed(false, 0, &[], TOO_LARGE)),
            row("a write index that is spoiled while `pop` sleeps", |_| {
                while_asleep(false, TAIL, 20, |it| text(it.consumer.pop(&mut Vec::new())))
            }),
            row("a read index that is spoiled while `push` sleeps", |_| {
                while_asleep(true, HEAD, 20, |it| text(it.producer.push(0, b"")))
            }),
            row("a producer's seat that is spoiled while `pop` sleeps", |_| {
                while_asleep(false, PRODUCER, NO_SUCH_SLOT, |it| text(it.consumer.pop(&mut Vec::new())))
            }),
            row("a consumer's seat that is spoiled while `push` sleeps", |_| {
                while_asleep(true, CONSUMER, NO_SUCH_SLOT, |it| text(it.producer.push_timeout(0, b"", Duration::MAX)))
            }),
            row("a producer's seat that is spoiled before `wait_producer`", |_| {
                changed(true, 0, &[(PRODUCER, NO_SUCH_SLOT)], &[|it| text(it.consumer.wait_producer(None))])
            }),
            row("a consumer's seat that is spoiled before `wait_consumer`", |_| {
                changed(true, 0, &[(CONSUMER, NO_SUCH_SLOT)], &[|it| text(it.producer.wait_consumer(None))])
            }),
        ],
    }
}

/// What must not be refused.
#[test]
#[serial_test::serial(dev_shm)]
fn a_record_of_no_bytes_is_a_record_and_a_good_one_before_a_bad_one_arrives() {
    crate::row::in_a_process("no bytes", || {
        for checksum in [true, false] {
            let mut it = pair(checksum);
            let mut bytes = b"what it held".to_vec();
            it.producer.try_push(1, b"").unwrap();
            it.producer.reserve(2, 0).unwrap().commit().unwrap();
            assert_eq!(it.producer.push_batch([(3, &b""[..])]), Ok(1));
            assert_eq!((it.consumer.try_pop(&mut bytes), bytes.len()), (Ok(1), 0));
            assert_eq!(it.consumer.peek().unwrap().len(), 0);
            assert_eq!((it.consumer.try_pop(&mut bytes), bytes.len()), (Ok(2), 0));
            assert_eq!(it.consumer.pop_batch(9, |kind, bytes| assert_eq!((kind, bytes.len()), (3, 0))), Ok(1));
        }
        let mut it = pair(true);
        it.producer.try_push(0, b"good").unwrap();
        it.producer.try_push(1, b"to be spoiled").unwrap();
        let image = Image::of(it.ring.segment());
        let honest = image.peek(RECORDS + 24);
        image.poke(RECORDS + 24, u32::MAX.into());
        let mut kinds = Vec::new();
        assert_eq!(it.consumer.pop_batch(9, |kind, _| kinds.push(kind)), Ok(1));
        assert_eq!(kinds, [0]);
        assert!(it.consumer.pop_batch(9, |_, _| {}).is_err());
        image.poke(RECORDS + 24, honest);
        assert_eq!(it.consumer.pop_batch(9, |kind, _| kinds.push(kind)), Ok(1));
        assert_eq!(kinds, [0, 1]);
        // And a batch of which only the first fits goes as far as that.
        assert_eq!(it.producer.push_batch([(0, &b"fits"[..]), (1, &[0; CAPACITY])]), Ok(1));
        String::new()
    });
}

/// A handle's own index is its private copy: what a peer writes over the shared one is put right by the next operation.
#[test]
#[serial_test::serial(dev_shm)]
fn an_own_index_that_a_peer_spoils_is_put_right_by_the_next_operation() {
    crate::row::in_a_process("own index", || {
        let mut it = pair(true);
        let image = Image::of(it.ring.segment());
        for number in 0..100u32 {
            image.poke(TAIL, u64::MAX - 7);
            it.producer.try_push(number, b"kept").unwrap();
            image.poke(HEAD, u64::MAX - 7);
            assert_eq!(it.consumer.try_pop(&mut Vec::new()).unwrap(), number);
        }
        assert_eq!(it.ring.status().used, 0);
        String::new()
    });
}

/// What a consumer that died between two of its stores leaves is no damage: the next one finishes it.
#[test]
#[serial_test::serial(dev_shm)]
fn records_that_a_dead_consumer_had_read_and_not_wiped_are_wiped_by_the_next() {
    crate::row::in_a_process("wiped", || {
        let ring = Ring::memfd(&Options::new().slots(2), &Config::new(CAPACITY).wipe(true)).unwrap();
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        producer.push(0, b"read").unwrap();
        let read = ring.status().write_index;
        producer.push(1, b"not read").unwrap();
        let image = Image::of(ring.segment());
        image.poke(READ, read);
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        assert_eq!((image.peek(HEAD), image.peek(RECORDS), image.peek(RECORDS + 8)), (read, 0, 0));
        let mut bytes = Vec::new();
        assert_eq!((consumer.pop(&mut bytes), bytes.as_slice()), (Ok(1), &b"not read"[..]));
        String::new()
    });
}
