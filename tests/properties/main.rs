//! Sequences of operations on the real structures, in step with plain models: a queue, and state machines.
//!
//! Here the sequences are made by chance. The bodies, in the other files, are also those of the fuzz target `sequences`.
#![cfg(not(model))]

mod broadcast;
mod cell;
mod claims;
mod death;
mod lanes;
mod locked;
mod locks;
mod mpmc;
mod mutex;
mod ring;
mod waits;

use ownerdead::sync::Waiting;
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

fn broadcast_operation() -> impl Strategy<Value = broadcast::Operation> {
    use broadcast::{Operation::*, PLACES};
    let len = 0usize..140;
    prop_oneof![
        6 => len.clone().prop_map(Push),
        2 => (len, any::<bool>()).prop_map(|(len, commit)| Reserve { len, commit }),
        6 => (0..PLACES).prop_map(Pop),
        2 => (0..PLACES, any::<bool>()).prop_map(|(reader, finish)| View { reader, finish }),
        1 => (0..PLACES).prop_map(Discard),
        2 => (0..PLACES).prop_map(Join),
        1 => (0..PLACES).prop_map(Leave),
        1 => Just(Reopen),
        1 => any::<bool>().prop_map(|writer| DieAs { writer }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_reader_gets_the_history_but_for_what_it_is_told_of_as_lost(
        lossless: bool,
        checksum: bool,
        entries in prop::sample::select(vec![2, 4, 8, 32]),
        operations in prop::collection::vec(broadcast_operation(), 1..100),
    ) {
        let mut crowd = broadcast::Crowd::new(lossless, checksum, entries);
        for operation in &operations {
            crowd.step(operation);
        }
        crowd.finish();
    }

    #[test]
    fn a_robust_mutex_is_a_state_machine(operations in prop::collection::vec(mutex_operation(), 1..60)) {
        mutex::robust(&operations);
    }

    #[test]
    fn a_futex_mutex_is_locked_or_not(operations in prop::collection::vec(mutex_operation(), 1..60)) {
        mutex::futex(&operations);
    }
}

fn cell_operation() -> impl Strategy<Value = cell::Operation> {
    use cell::Operation::*;
    let key = 0..cell::KEYS;
    prop_oneof![
        3 => key.clone().prop_map(Open),
        5 => key.clone().prop_map(Write),
        2 => key.clone().prop_map(Close),
        1 => key.clone().prop_map(Die),
        2 => key.prop_map(DieWriting),
    ]
}

fn mutex_operation() -> impl Strategy<Value = mutex::Operation> {
    use mutex::Operation::*;
    prop_oneof![
        4 => (0..mutex::PEOPLE, any::<bool>()).prop_map(|(who, repair)| Lock { who, repair: repair || who > 0 }),
        4 => Just(Unlock),
        1 => Just(DieHolding),
    ]
}

fn reader_or_writer() -> impl Strategy<Value = locks::Act> {
    use locks::Act::*;
    let who = 0..locks::PEOPLE;
    prop_oneof![
        4 => who.clone().prop_map(Read),
        4 => (who.clone(), prop::bool::weighted(0.9)).prop_map(|(who, repair)| Write { who, repair }),
        5 => who.prop_map(Leave),
        1 => Just(Panic),
        2 => any::<bool>().prop_map(|writing| Die { writing }),
    ]
}

fn party() -> impl Strategy<Value = waits::Act> {
    use waits::Act::*;
    let who = 0..waits::PEOPLE;
    prop_oneof![
        4 => who.clone().prop_map(Join),
        8 => who.clone().prop_map(Wait),
        2 => who.clone().prop_map(Reset),
        1 => who.prop_map(Leave),
        2 => any::<bool>().prop_map(|waits| Die { waits }),
    ]
}

fn attempt() -> impl Strategy<Value = waits::Try> {
    use waits::Try::*;
    prop_oneof![1 => Just(Call), 3 => Just(Panic), 3 => Just(Die)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_board_has_the_last_value_of_each_key(
        buffers in 2u64..5,
        operations in prop::collection::vec(cell_operation(), 1..60),
    ) {
        cell::board(buffers, &operations);
    }

    #[test]
    fn a_sequence_lock_has_its_last_value_or_says_that_its_writer_died(
        operations in prop::collection::vec(cell_operation(), 1..60),
    ) {
        cell::sequence_lock(&operations);
    }

    #[test]
    fn a_reader_writer_lock_is_a_state_machine(acts in prop::collection::vec(reader_or_writer(), 1..50)) {
        locks::reader_writer(&acts);
    }

    #[test]
    fn a_semaphore_counts(permits in 1usize..4, acts in prop::collection::vec((0..locks::PEOPLE, 0u8..8), 1..60)) {
        locks::semaphore(permits, &acts);
    }

    #[test]
    fn a_barrier_is_a_state_machine(parties in 1usize..4, acts in prop::collection::vec(party(), 1..60)) {
        waits::barrier(parties, &acts);
    }

    #[test]
    fn a_once_initialisation_is_a_state_machine(tries in prop::collection::vec(attempt(), 1..20)) {
        waits::once(&tries);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_with_two_condition_variables_moves_each_item_once(
        room in 1usize..4,
        sleeps: [bool; 4],
        all: bool,
    ) {
        let waiting = sleeps.map(|sleeps| if sleeps { Waiting::Sleep } else { Waiting::default() });
        waits::queue(room, 200, &waiting, all);
    }
}
