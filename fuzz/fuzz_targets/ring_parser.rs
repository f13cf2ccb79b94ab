//! Any bytes as ring memory, then pops, pushes, take-overs. Every call returns, with a value or an error that names what was
//! wrong; what is popped lies within the limits; and when the memory is whole again, so is the ring.
//!
//! Input: operations of one byte, some followed by arguments (see `step`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{Consumer, Producer, Ring, TryPopError, TryPushError};
use ownerdead_fuzz::{BODY, image, restore, valid_ring};
use std::time::Duration;

/// Bytes of the body: the control words, a page, and the records.
const BODY_LEN: u64 = 4096 + 1024;

/// Made once. The input's bytes are written into the body; before each input all of it is put back.
struct Fixture {
    ring: Ring,
    whole: Vec<u8>,
}

thread_local! {
    static FIXTURE: Fixture = {
        let ring = valid_ring();
        let whole = image(ring.segment());
        Fixture { ring, whole }
    };
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
    fn word(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }
}

fuzz_target!(|data: &[u8]| {
    FIXTURE.with(|fixture| {
        restore(fixture.ring.segment(), &fixture.whole, 0);
        let me = fixture.ring.attach().expect("two free slots");
        play(&fixture.ring, &me, Input(data));
        // An honest pair on whole memory again. The life word stays what it is.
        let body = &fixture.whole[BODY as usize..];
        restore(fixture.ring.segment(), body, BODY);
        honest(&fixture.ring, &me);
        me.detach().expect("no rights are left");
    });
});

fn play(ring: &Ring, me: &Attachment, mut input: Input<'_>) {
    let (mut producer, mut consumer) = (None, None);
    // An input has at most this many operations: each one returns, so it is the fuzzer's time alone.
    for _ in 0..200 {
        let Some(operation) = input.byte() else { return };
        step(operation, ring, me, &mut producer, &mut consumer, &mut input);
    }
}

fn step(
    operation: u8,
    ring: &Ring,
    me: &Attachment,
    producer: &mut Option<Producer>,
    consumer: &mut Option<Consumer>,
    input: &mut Input<'_>,
) {
    match operation % 16 {
        // Memory: a word of the control lines, a word of the records, a run of bytes anywhere.
        0 => {
            let at = u64::from(input.byte().unwrap_or(0)) * 8 % 768;
            restore(ring.segment(), &input.word().to_le_bytes(), BODY + at);
        }
        1 => {
            let at = u64::from(input.byte().unwrap_or(0)) * 8 % 1024;
            restore(ring.segment(), &input.word().to_le_bytes(), BODY + 4096 + at);
        }
        2 => {
            let at = input.word() % BODY_LEN;
            let count = usize::from(input.byte().unwrap_or(0)).min((BODY_LEN - at) as usize);
            restore(ring.segment(), input.take(count), BODY + at);
        }
        3 | 4 => *producer = producer.take().or_else(|| open(ring.producer(me).map(|opened| opened.into_inner()))),
        5 | 6 => *consumer = consumer.take().or_else(|| open(ring.consumer(me).map(|opened| opened.into_inner()))),
        7 => *producer = None,
        8 => *consumer = None,
        9 => drop(format!("{:?}", ring.status())),
        operation => {
            if let Some(producer) = producer {
                push(operation, ring, producer, input);
            }
            if let Some(consumer) = consumer {
                pop(operation, ring, consumer);
            }
        }
    }
}

fn open<H, E: std::fmt::Display>(opened: Result<H, E>) -> Option<H> {
    opened.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

fn push(operation: u8, ring: &Ring, producer: &mut Producer, input: &mut Input<'_>) {
    let len = usize::from(input.byte().unwrap_or(0)) * 3;
    let payload = vec![operation; len];
    let result = match operation {
        10 | 11 => producer.try_push(len as u32, &payload),
        12 => producer.push_batch((0..4).map(|kind| (kind, payload.as_slice()))).map(|_| ()),
        13 => producer.reserve(1, len).and_then(|mut reservation| {
            reservation.write(1, b"written");
            reservation.commit()
        }),
        14 => {
            let _ = producer.push_timeout(1, &payload, Duration::ZERO);
            return;
        }
        _ => return producer.beat(),
    };
    match result {
        Ok(()) => assert!(len <= ring.longest_payload()),
        Err(TryPushError::TooLarge { max, .. }) => assert!(len > max),
        Err(TryPushError::Full) => {}
        Err(TryPushError::Corrupt(corrupt)) => assert!(!corrupt.field.is_empty()),
        Err(TryPushError::Forked) => unreachable!("nobody forked"),
    }
}

fn pop(operation: u8, ring: &Ring, consumer: &mut Consumer) {
    let mut bytes = Vec::new();
    let result = match operation {
        10 | 13 => consumer.try_pop(&mut bytes).map(|_| ()),
        11 => consumer.pop_batch(8, |_, payload| assert!(payload.len() <= 1024)).map(|_| ()),
        12 => consumer.peek().map(|peek| {
            let len = peek.len();
            if peek.copy_to(&mut bytes).is_ok() {
                assert_eq!(bytes.len(), len);
                peek.consume();
            }
        }),
        14 => {
            let _ = consumer.pop_timeout(&mut bytes, Duration::ZERO);
            return;
        }
        _ => return consumer.beat(),
    };
    assert!(bytes.len() as u64 <= ring.status().capacity);
    match result {
        Ok(()) | Err(TryPopError::Empty) => {}
        Err(TryPopError::Corrupt(corrupt)) => assert!(!corrupt.field.is_empty()),
        Err(TryPopError::Forked) => unreachable!("nobody forked"),
        Err(TryPopError::Lapped { .. }) => unreachable!("no lossy broadcast ring"),
    }
}

fn honest(ring: &Ring, me: &Attachment) {
    let mut consumer = ring.consumer(me).expect("a vacant seat").into_inner();
    let mut producer = ring.producer(me).expect("a vacant seat").into_inner();
    let mut bytes = Vec::new();
    assert_eq!(consumer.try_pop(&mut bytes), Ok(7));
    assert_eq!(bytes, b"a record");
    producer.try_push(8, b"another").expect("room");
    assert_eq!(consumer.try_pop(&mut bytes), Ok(8));
    assert_eq!(bytes, b"another");
}
