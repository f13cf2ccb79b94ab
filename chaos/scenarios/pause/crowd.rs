//! Who writes or reads a record of an MPMC ring is stopped.

use super::{COMPLAINTS, stand, stopped};
use crate::stage::Stage;
use crate::stamps::{Phase, Stamps};
use ownerdead::ring::TryPopError;
use ownerdead::ring::mpmc::{Config, Order, Ring};
use ownerdead::segment::Options;
use rand::RngExt;

/// Slots of the ring.
const SLOTS: u32 = 4;

fn ring(order: Order) -> Ring {
    Ring::memfd(&Options::new().slots(4), &Config::new(SLOTS as usize, 8).order(order)).expect("a ring")
}

/// Its record is waited for, or gone round, as the ring has it; and nobody takes its slot.
pub fn stop_a_writer(stage: &mut Stage, stamps: &'static Stamps) {
    let strict = stage.rng.random_bool(0.5);
    let ring = ring(if strict { Order::Strict } else { Order::Round });
    stage.watch(&[("ring", ring.segment())]);
    let me = ring.attach().expect("a free slot");
    let mut producer = ring.producer(&me).expect("anybody may").into_inner();
    let mut consumer = ring.consumer(&me).expect("anybody may").into_inner();
    let mut bytes = Vec::new();
    let write = || {
        let me = ring.attach().expect("a free slot");
        let mut producer = ring.producer(&me).expect("anybody may").into_inner();
        stamps.enter(Phase::Pushing);
        let mut reservation = producer.reserve(1, 4).expect("room");
        reservation.write(0, b"half");
        stand(stamps);
        reservation.commit().expect("not forked");
        stamps.enter(Phase::Outside);
    };
    let died = stopped(stage, stamps, write, |stage| {
        producer.try_push(2, b"next").expect("room beside one who is paused");
        let popped = consumer.try_pop(&mut bytes);
        let expected = if strict { Err(TryPopError::Empty) } else { Ok(2) };
        stage.expect(popped == expected, || format!("beside a paused writer: {popped:?}, expected {expected:?}"));
    });
    let mut expected = Vec::new();
    expected.extend((!died).then_some(Ok(1)));
    expected.extend(strict.then_some(Ok(2)));
    expected.push(Err(TryPopError::Empty));
    for expected in expected {
        let popped = consumer.try_pop(&mut bytes);
        stage.expect(popped == expected, || format!("after the pause: {popped:?}, expected {expected:?}"));
    }
}

/// Nobody else reads its record, nor writes over it.
pub fn stop_a_reader(stage: &mut Stage, stamps: &'static Stamps) {
    let ring = ring(Order::Strict);
    stage.watch(&[("ring", ring.segment())]);
    let me = ring.attach().expect("a free slot");
    let mut producer = ring.producer(&me).expect("anybody may").into_inner();
    let mut consumer = ring.consumer(&me).expect("anybody may").into_inner();
    let mut bytes = Vec::new();
    for kind in 0..2 {
        producer.try_push(kind, b"data").expect("room");
    }
    let read = || {
        let me = ring.attach().expect("a free slot");
        let mut consumer = ring.consumer(&me).expect("anybody may").into_inner();
        stamps.enter(Phase::Popping);
        let peek = consumer.peek().expect("a record");
        stand(stamps);
        let mut bytes = Vec::new();
        if peek.kind() != 0 || peek.copy_to(&mut bytes).is_err() || bytes != b"data" {
            stamps.complain(COMPLAINTS.len() as u64, peek.kind().into(), 0);
        }
        peek.consume();
        stamps.enter(Phase::Outside);
    };
    let died = stopped(stage, stamps, read, |stage| {
        let popped = consumer.try_pop(&mut bytes);
        stage.expect(popped == Ok(1), || format!("beside a paused reader: {popped:?}, expected the next record"));
        let pushed = (2..100).take_while(|&kind| producer.try_push(kind, b"late").is_ok()).count();
        stage.expect(pushed == SLOTS as usize - 2, || format!("beside a paused reader there was room for {pushed}"));
    });
    let popped = consumer.try_pop(&mut bytes);
    let expected = Ok(if died { 0 } else { 2 });
    stage.expect(popped == expected, || format!("after the pause: {popped:?}, expected {expected:?}"));
}
