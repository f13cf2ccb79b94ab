//! Sequences of operations on the real structures, in step with plain models: a queue, and state machines.
#![cfg(not(model))]

mod broadcast;
mod cell;
mod claims;
mod lanes;
mod locked;
mod locks;
mod mpmc;
mod mutex;
mod ring;
mod waits;

use proptest::prelude::*;
use ring::{Config, Operation, Pair};

fn operation() -> impl Strategy<Value = Operation> {
    let len = 0usize..140;
    prop_oneof![
        4 => len.clone().prop_map(Operation::Push),
        1 => prop::collection::vec(len.clone(), 0..6).prop_map(Operation::PushBatch),
        2 => (len, any::<bool>()).prop_map(|(len, commit)| Operation::Reserve { len, commit }),
        4 => Just(Operation::Pop),
        1 => (0usize..5).prop_map(Operation::PopBatch),
        2 => any::<bool>().prop_map(|consume| Operation::Peek { consume }),
        1 => any::<bool>().prop_map(|producer| Operation::Reopen { producer }),
        1 => any::<bool>().prop_map(|producer| Operation::DieAs { producer }),
        1 => Just(Operation::Discard),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_is_a_queue(
        checksum: bool,
        wipe: bool,
        start in prop_oneof![Just(0), Just((1 << 32) - 64), 0..1u64 << 61],
        operations in prop::collection::vec(operation(), 1..80),
    ) {
        let mut pair = Pair::new(&Config { checksum, wipe }, start / 8 * 8);
        for operation in &operations {
            pair.step(operation);
        }
        pair.finish();
    }
}

fn lanes_operation() -> impl Strategy<Value = lanes::Operation> {
    use lanes::Operation::*;
    let (lane, len) = (0usize..3, 0usize..120);
    prop_oneof![
        5 => (lane.clone(), len.clone()).prop_map(|(lane, len)| Push { lane, len }),
        1 => (lane.clone(), prop::collection::vec(len.clone(), 0..5)).prop_map(|(lane, lens)| PushBatch { lane, lens }),
        2 => (lane.clone(), len, any::<bool>()).prop_map(|(lane, len, commit)| Reserve { lane, len, commit }),
        4 => Just(Pop),
        1 => (0usize..5).prop_map(PopBatch),
        2 => any::<bool>().prop_map(|consume| Peek { consume }),
        1 => Just(Discard),
        1 => lane.prop_map(ReopenProducer),
        1 => Just(ReopenConsumer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lanes_are_a_queue_where_no_two_push_at_once(
        checksum: bool,
        wipe: bool,
        operations in prop::collection::vec(lanes_operation(), 1..80),
    ) {
        let mut pair = lanes::Pair::new(checksum, wipe);
        for operation in &operations {
            pair.step(operation);
        }
        pair.finish();
    }
}

fn mpmc_operation() -> impl Strategy<Value = mpmc::Operation> {
    use mpmc::Operation::*;
    let (side, len) = (0usize..2, 0usize..80);
    prop_oneof![
        5 => (side.clone(), len.clone()).prop_map(|(side, len)| Push { side, len }),
        2 => (side.clone(), len, any::<bool>()).prop_map(|(side, len, commit)| Reserve { side, len, commit }),
        4 => side.clone().prop_map(|side| Pop { side }),
        2 => (side, any::<bool>()).prop_map(|(side, consume)| Peek { side, consume }),
        1 => (any::<bool>(), 1usize..4).prop_map(|(writing, count)| Die { writing, count }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_mpmc_ring_is_a_queue_where_no_two_are_at_work_at_once(
        outside: bool,
        checksum: bool,
        round: bool,
        drops: bool,
        operations in prop::collection::vec(mpmc_operation(), 1..80),
    ) {
        let mut pair = mpmc::Pair::new(outside, checksum, round, drops);
        for operation in &operations {
            pair.step(operation);
        }
        pair.finish();
    }
}

fn claims_operation() -> impl Strategy<Value = claims::Operation> {
    use claims::Operation::*;
    let (side, len) = (0usize..2, 0usize..260);
    prop_oneof![
        6 => (side.clone(), len.clone()).prop_map(|(side, len)| Push { side, len }),
        2 => (side, len, any::<bool>()).prop_map(|(side, len, commit)| Reserve { side, len, commit }),
        5 => Just(Pop),
        1 => (0usize..5).prop_map(PopBatch),
        2 => any::<bool>().prop_map(|consume| Peek { consume }),
        1 => Just(ReopenConsumer),
        1 => (1usize..4).prop_map(DieWriting),
        1 => (0usize..3).prop_map(DieReading),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_of_claims_is_a_queue_where_no_two_are_at_work_at_once(
        block in prop_oneof![Just(16u64), Just(64), Just(256)],
        checksum: bool,
        operations in prop::collection::vec(claims_operation(), 1..80),
    ) {
        let mut pair = claims::Pair::new(block, checksum);
        for operation in &operations {
            pair.step(operation);
        }
        pair.finish();
    }
}

fn locked_operation() -> impl Strategy<Value = locked::Operation> {
    use locked::Operation::*;
    let (side, len) = (0usize..2, 0usize..130);
    prop_oneof![
        6 => (side.clone(), len.clone()).prop_map(|(side, len)| Push { side, len }),
        2 => (side.clone(), 0usize..50, 0usize..5).prop_map(|(side, len, count)| PushBatch { side, len, count }),
        1 => (side.clone(), 0usize..50, 0usize..3).prop_map(|(side, len, count)| PanicInBatch { side, len, count }),
        2 => (side, len, any::<bool>()).prop_map(|(side, len, commit)| Reserve { side, len, commit }),
        1 => Just(PushBesideReservation),
        6 => Just(Pop),
        1 => (0usize..5).prop_map(PopBatch),
        2 => any::<bool>().prop_map(|consume| Peek { consume }),
        1 => Just(Discard),
        1 => Just(ReopenConsumer),
        1 => (0usize..130).prop_map(DieWriting),
        1 => (0usize..3).prop_map(DieReading),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_whose_producers_take_turns_is_a_queue_where_one_is_at_work_at_a_time(
        checksum: bool,
        wipe: bool,
        operations in prop::collection::vec(locked_operation(), 1..80),
    ) {
        let mut pair = locked::Pair::new(checksum, wipe);
        for operation in &operations {
            pair.step(operation);
        }
        pair.finish();
    }
}
