//! Cells under loom and shuttle: a writer that dies at every operation, and readers who never get half a value.
#![cfg(model)]

use ownerdead::cell::board::{self, Board};
use ownerdead::cell::snapshot::{self, Config, Snapshot};
use ownerdead::cell::{Opened, SeatError, SeqLock, TryReadError, Versioned, WaitError, seqlock};
use ownerdead::harness::model::{Sweep, World};
use ownerdead::harness::oracle::Latest;
use ownerdead::owner::Attachment;
use std::cell::Cell;
use std::rc::Rc;

/// Two words that must agree.
type Pair = [u64; 2];

/// What must hold, whoever runs when. It is no shared memory: a death leaves it as it is.
#[derive(Default)]
struct Oracle {
    values: Latest<Cell<u64>>,
    /// The writer who was there from the start is through: it has not died.
    through: Cell<bool>,
    /// Somebody was told that a writer died mid-write.
    told: Cell<bool>,
    /// There may be another writer after the first one.
    several: Cell<bool>,
}

impl Oracle {
    fn write<E: core::fmt::Debug>(&self, write: impl FnOnce(&Pair) -> Result<u64, E>) {
        let number = self.values.begun.get() + 1;
        self.values.write(number);
        write(&[number; 2]).expect("this process has not forked");
        self.values.written(number);
    }

    /// A value that `last` comes before. A reader whom nothing orders behind a write may see what was there before it.
    fn read(&self, last: &mut u64, found: Versioned<Pair>) {
        let [left, right] = found.value;
        self.values.read(*last, 0, left, left == right).unwrap_or_else(|violation| panic!("{violation}"));
        *last = left;
    }
}

/// `w` has the writer's seat from the start, and writes `count` values.
fn add_seqlock_writer(world: &mut World, lock: &SeqLock<Pair>, oracle: &Rc<Oracle>, count: u32) {
    let (open, oracle) = (lock.clone(), Rc::clone(oracle));
    world.process_after(
        "w",
        move || open.writer(&open.attach().expect("a free slot")).expect("a vacant seat").into_inner(),
        move |mut writer: seqlock::Writer<Pair>| {
            for _ in 0..count {
                oracle.write(|value| writer.write(value));
            }
            oracle.through.set(true);
            writer
        },
    );
}

/// `name` reads `count` times, and takes no part.
fn add_seqlock_reader(world: &mut World, name: &'static str, lock: &SeqLock<Pair>, oracle: &Rc<Oracle>, count: u32) {
    let (lock, oracle) = (lock.clone(), Rc::clone(oracle));
    world.process(name, move || {
        let mut last = 0;
        for _ in 0..count {
            match lock.try_read() {
                Ok(found) => oracle.read(&mut last, found),
                Err(TryReadError::Busy) => {}
                Err(TryReadError::WriterDied) => oracle.told.set(true),
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn a_sequence_lock_is_never_torn_and_its_readers_never_stuck() {
    Sweep::new("seqlock_two").victims(&["w"]).preemptions(2, 1).runs(10_000).run(|world| {
        let (lock, oracle) = (SeqLock::private(1), Rc::new(Oracle::default()));
        add_seqlock_writer(world, &lock, &oracle, 2);
        add_seqlock_reader(world, "r", &lock, &oracle, 2);
        world.after(move || {
            if oracle.through.get() {
                assert!(!oracle.told.get(), "told of the death of one who lives");
                assert_eq!(lock.try_read().expect("a whole value").value, [2; 2]);
            } else {
                match lock.try_read() {
                    Ok(found) => assert!(found.value[0] >= oracle.values.ended.get(), "{found:?} is old"),
                    Err(TryReadError::WriterDied) => {
                        assert!(oracle.values.begun.get() > oracle.values.ended.get(), "no write was under way");
                    }
                    Err(error) => panic!("stuck: {error}"),
                }
            }
        });
    });
}

#[test]
fn two_readers_of_a_sequence_lock_do_not_mind_each_other() {
    Sweep::new("seqlock_readers").victims(&["w"]).preemptions(1, 1).runs(4_000).run(|world| {
        let (lock, oracle) = (SeqLock::private(1), Rc::new(Oracle::default()));
        add_seqlock_writer(world, &lock, &oracle, 1);
        add_seqlock_reader(world, "r", &lock, &oracle, 1);
        add_seqlock_reader(world, "s", &lock, &oracle, 1);
    });
}

/// Takes the seat over, if its holder is dead, and writes a value. Gives the writer back, so that it stays in the seat.
fn take_over(lock: &SeqLock<Pair>, me: &Attachment, oracle: &Oracle) -> Option<seqlock::Writer<Pair>> {
    let mut writer = match lock.writer(me) {
        Ok(Opened::OwnerDied(writer)) => writer,
        Ok(Opened::Clean(_)) => panic!("nobody gave it up"),
        Err(SeatError::Busy { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    let [begun, ended] = [&oracle.values.begun, &oracle.values.ended].map(Cell::get);
    match writer.value() {
        Some([left, right]) => {
            assert_eq!(left, right, "torn, and nobody says so");
            assert!(left == ended || left == begun, "{left} is neither the last value nor the one that was begun");
        }
        None => assert!(begun > ended, "no write was under way"),
    }
    oracle.write(|value| writer.write(value));
    assert_eq!(lock.try_read().expect("a whole value").value, [oracle.values.ended.get(); 2]);
    Some(writer)
}

fn add_next_writer(world: &mut World, lock: &SeqLock<Pair>, oracle: &Rc<Oracle>) {
    let (attach, open, next) = (lock.clone(), lock.clone(), Rc::clone(oracle));
    let (again, again_next) = (lock.clone(), Rc::clone(oracle));
    world
        .process_after("n", move || attach.attach().expect("a free slot"), move |me| (take_over(&open, &me, &next), me))
        .restarts(move || {
            let me = again.attach().expect("a free slot");
            (take_over(&again, &me, &again_next), me)
        });
}

#[test]
fn who_takes_over_from_a_writer_that_died_writes_a_whole_value() {
    Sweep::new("seqlock_take_over").victims(&["w", "n"]).two_deaths().preemptions(1, 1).runs(2_000).run(|world| {
        let (lock, oracle) = (SeqLock::private(3), Rc::new(Oracle::default()));
        add_seqlock_writer(world, &lock, &oracle, 1);
        add_next_writer(world, &lock, &oracle);
        world.after(move || {
            assert!(lock.try_read() != Err(TryReadError::Busy), "stuck: no reader will ever get a value");
        });
    });
}

#[test]
fn a_reader_beside_a_take_over_gets_whole_values_or_is_told() {
    Sweep::new("seqlock_seam").victims(&["w"]).preemptions(1, 1).runs(4_000).run(|world| {
        let (lock, oracle) = (SeqLock::private(2), Rc::new(Oracle::default()));
        add_seqlock_writer(world, &lock, &oracle, 1);
        add_seqlock_reader(world, "r", &lock, &oracle, 2);
        add_next_writer(world, &lock, &oracle);
    });
}

/// Who finds the sequence odd must find in the seat the one who made it so.
#[test]
fn one_that_writes_for_the_first_time_is_not_taken_for_its_predecessor() {
    Sweep::new("seqlock_arrival").victims(&["w"]).preemptions(2, 1).runs(6_000).run(|world| {
        let (lock, oracle) = (SeqLock::private(2), Rc::new(Oracle::default()));
        let open = lock.clone();
        world.process_after(
            "w",
            move || open.writer(&open.attach().expect("a free slot")).expect("a vacant seat").into_inner(),
            // It dies before it gives its seat up, or while it does, or not at all.
            seqlock::Writer::close,
        );
        let (attach, open, next) = (lock.clone(), lock.clone(), Rc::clone(&oracle));
        world.process_after(
            "n",
            move || attach.attach().expect("a free slot"),
            move |me| {
                let mut writer = open.writer(&me).ok()?.into_inner();
                next.write(|value| writer.write(value));
                Some((writer, me))
            },
        );
        add_seqlock_reader(world, "r", &lock, &oracle, 1);
        world.after(move || assert!(!oracle.told.get(), "nobody died while it wrote"));
    });
}

fn private(slots: usize) -> Snapshot<Pair> {
    // The fewest: each write but one overwrites what a reader may be in.
    Snapshot::private(&Config::new().buffers(2), slots)
}

/// `w` has the writer's seat from the start, and writes `count` values.
fn add_writer(world: &mut World, snapshot: &Snapshot<Pair>, oracle: &Rc<Oracle>, count: u32) {
    let (open, oracle) = (snapshot.clone(), Rc::clone(oracle));
    world.process_after(
        "w",
        move || open.writer(&open.attach().expect("a free slot")).expect("a vacant seat").into_inner(),
        move |mut writer: snapshot::Writer<Pair>| {
            for _ in 0..count {
                oracle.write(|value| writer.write(value));
            }
            oracle.through.set(true);
            writer
        },
    );
}

/// `name` reads `count` times, and takes no part.
fn add_reader(world: &mut World, name: &'static str, snapshot: &Snapshot<Pair>, oracle: &Rc<Oracle>, count: u32) {
    let (snapshot, oracle) = (snapshot.clone(), Rc::clone(oracle));
    world.process(name, move || {
        let mut last = 0;
        for _ in 0..count {
            oracle.read(&mut last, snapshot.read().expect("a value, always"));
        }
    });
}

/// The last committed value is there, whoever died when.
fn last_value_is_there(snapshot: &Snapshot<Pair>, oracle: &Oracle) {
    let [left, right] = snapshot.read().expect("a value, always").value;
    assert_eq!(left, right, "torn");
    let (begun, ended) = (oracle.values.begun.get(), oracle.values.ended.get());
    assert!(left == ended || left == begun, "{left} is there, {ended} was the last one written");
}

#[test]
fn a_snapshot_always_has_its_last_committed_value() {
    Sweep::new("snapshot_two").victims(&["w"]).preemptions(2, 1).runs(10_000).run(|world| {
        let (snapshot, oracle) = (private(1), Rc::new(Oracle::default()));
        add_writer(world, &snapshot, &oracle, 2);
        add_reader(world, "r", &snapshot, &oracle, 2);
        world.after(move || last_value_is_there(&snapshot, &oracle));
    });
}

#[test]
fn two_readers_of_a_snapshot_do_not_mind_each_other() {
    Sweep::new("snapshot_readers").victims(&["w"]).preemptions(1, 1).runs(4_000).run(|world| {
        let (snapshot, oracle) = (private(1), Rc::new(Oracle::default()));
        add_writer(world, &snapshot, &oracle, 2);
        add_reader(world, "r", &snapshot, &oracle, 1);
        add_reader(world, "s", &snapshot, &oracle, 1);
    });
}

/// Takes the seat over, if its holder is dead, and writes a value.
fn succeed(snapshot: &Snapshot<Pair>, me: &Attachment, oracle: &Oracle) -> Option<snapshot::Writer<Pair>> {
    let mut writer = match snapshot.writer(me) {
        Ok(Opened::OwnerDied(writer)) => writer,
        Ok(Opened::Clean(_)) => panic!("nobody gave it up"),
        Err(SeatError::Busy { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    last_value_is_there(snapshot, oracle);
    oracle.write(|value| writer.write(value));
    last_value_is_there(snapshot, oracle);
    Some(writer)
}

fn add_successor(world: &mut World, snapshot: &Snapshot<Pair>, oracle: &Rc<Oracle>) {
    let (attach, open, next) = (snapshot.clone(), snapshot.clone(), Rc::clone(oracle));
    let (again, again_next) = (snapshot.clone(), Rc::clone(oracle));
    world
        .process_after("n", move || attach.attach().expect("a free slot"), move |me| (succeed(&open, &me, &next), me))
        .restarts(move || {
            let me = again.attach().expect("a free slot");
            (succeed(&again, &me, &again_next), me)
        });
}

#[test]
fn who_takes_a_snapshot_over_goes_on_with_the_next_value() {
    Sweep::new("snapshot_take_over").victims(&["w", "n"]).two_deaths().preemptions(1, 1).runs(2_000).run(|world| {
        let (snapshot, oracle) = (private(3), Rc::new(Oracle::default()));
        add_writer(world, &snapshot, &oracle, 1);
        add_successor(world, &snapshot, &oracle);
        world.after(move || last_value_is_there(&snapshot, &oracle));
    });
}

#[test]
fn a_reader_beside_a_take_over_sees_no_seam() {
    Sweep::new("snapshot_seam").victims(&["w"]).preemptions(1, 1).runs(4_000).run(|world| {
        let (snapshot, oracle) = (private(2), Rc::new(Oracle::default()));
        add_writer(world, &snapshot, &oracle, 2);
        add_reader(world, "r", &snapshot, &oracle, 2);
        add_successor(world, &snapshot, &oracle);
    });
}

/// `name` waits until it has seen value `count`, or is told that the writer is dead. Where there is one writer alone, all that it
/// committed comes first.
fn add_waiter(world: &mut World, name: &'static str, snapshot: &Snapshot<Pair>, oracle: &Rc<Oracle>, count: u64) {
    let (attach, snapshot, oracle) = (snapshot.clone(), snapshot.clone(), Rc::clone(oracle));
    world.process_after(
        name,
        move || attach.attach().expect("a free slot"),
        move |me| {
            let (mut last, mut sequence) = (0, 0);
            while last < count {
                match snapshot.wait_change(&me, sequence, None) {
                    Ok(found) => {
                        assert!(found.sequence > sequence, "{found:?} is no newer than {sequence}");
                        sequence = found.sequence;
                        oracle.read(&mut last, found);
                    }
                    Err(WaitError::WriterDied) => {
                        assert!(!oracle.through.get(), "told of the death of one who lives");
                        let ended = oracle.values.ended.get();
                        assert!(oracle.several.get() || last >= ended, "told before it got value {ended}");
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            me
        },
    );
}

#[test]
fn who_waits_for_a_newer_value_gets_it_or_is_told_of_the_death() {
    Sweep::new("snapshot_wait").victims(&["w"]).preemptions(2, 2).runs(10_000).run(|world| {
        let (snapshot, oracle) = (private(2), Rc::new(Oracle::default()));
        add_writer(world, &snapshot, &oracle, 2);
        add_waiter(world, "c", &snapshot, &oracle, 2);
    });
}

#[test]
fn who_waits_beside_one_that_dies_is_woken_too() {
    let sweep = Sweep::new("snapshot_waiters").victims(&["w", "c"]).two_deaths().beside_sleepers().preemptions(1, 0);
    sweep.runs(1_000).run(|world| {
        let (snapshot, oracle) = (private(3), Rc::new(Oracle::default()));
        // First, so that they are asleep when it begins.
        add_waiter(world, "c", &snapshot, &oracle, 1);
        add_waiter(world, "d", &snapshot, &oracle, 1);
        add_writer(world, &snapshot, &oracle, 1);
    });
}

/// The seat is vacant: those who wait sleep until somebody takes it, and then until that one writes or dies.
#[test]
fn who_waits_where_there_is_no_writer_hears_of_the_first_one_even_if_it_dies_at_once() {
    Sweep::new("snapshot_vacant")
        .victims(&["n", "c"])
        .two_deaths()
        .beside_sleepers()
        .preemptions(0, 0)
        .runs(1_000)
        .run(|world| {
            let (snapshot, oracle) = (private(4), Rc::new(Oracle::default()));
            add_waiter(world, "c", &snapshot, &oracle, 1);
            add_waiter(world, "d", &snapshot, &oracle, 1);
            oracle.several.set(true);
            // `m` never dies: there is a writer in the end.
            let (attach, open, next) = (snapshot.clone(), snapshot.clone(), Rc::clone(&oracle));
            world.process_after(
                "n",
                move || attach.attach().expect("a free slot"),
                move |me| (write_unless_busy(&open, &me, &next), me),
            );
            add_unless_busy(world, "m", &snapshot, &oracle);
        });
}

/// `w` gives its seat up, or dies; who slept on it sleeps on, and is told of what becomes of the next one.
#[test]
fn who_waits_while_the_seat_changes_hands_is_not_forgotten() {
    let sweep = Sweep::new("snapshot_handover").victims(&["w", "n"]).beside_sleepers().preemptions(1, 0);
    sweep.runs(4_000).run(|world| {
        let (snapshot, oracle) = (private(3), Rc::new(Oracle::default()));
        // First, so that it is asleep when the seat changes hands.
        add_waiter(world, "c", &snapshot, &oracle, 1);
        let open = snapshot.clone();
        let (after, next, again, again_next) =
            (snapshot.clone(), Rc::clone(&oracle), snapshot.clone(), Rc::clone(&oracle));
        world
            .process_after(
                "w",
                move || {
                    let me = open.attach().expect("a free slot");
                    (open.writer(&me).expect("a vacant seat").into_inner(), me)
                },
                move |(writer, me)| {
                    writer.close();
                    (write_unless_busy(&after, &me, &next), me)
                },
            )
            .restarts(move || {
                let me = again.attach().expect("a free slot");
                (write_unless_busy(&again, &me, &again_next), me)
            });
        oracle.several.set(true);
        add_unless_busy(world, "n", &snapshot, &oracle);
    });
}

/// `name` opens the seat, unless somebody alive has it, and writes a value; again, should it die.
fn add_unless_busy(world: &mut World, name: &'static str, snapshot: &Snapshot<Pair>, oracle: &Rc<Oracle>) {
    let (attach, open, next) = (snapshot.clone(), snapshot.clone(), Rc::clone(oracle));
    let (again, again_next) = (snapshot.clone(), Rc::clone(oracle));
    world
        .process_after(
            name,
            move || attach.attach().expect("a free slot"),
            move |me| (write_unless_busy(&open, &me, &next), me),
        )
        .restarts(move || {
            let me = again.attach().expect("a free slot");
            (write_unless_busy(&again, &me, &again_next), me)
        });
}

/// Writes a value, unless somebody alive has the seat, who will write one.
fn write_unless_busy(snapshot: &Snapshot<Pair>, me: &Attachment, oracle: &Oracle) -> Option<snapshot::Writer<Pair>> {
    match snapshot.writer(me) {
        Ok(opened) => {
            let mut writer = opened.into_inner();
            oracle.write(|value| writer.write(value));
            Some(writer)
        }
        Err(SeatError::Busy { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_key_of_a_board_has_a_writer_of_its_own() {
    Sweep::new("board_two").victims(&["v", "w"]).preemptions(2, 1).runs(4_000).run(|world| {
        let config = board::Config::new(2).buffers(2);
        let board = Board::<Pair>::private(&config, 2);
        for (key, name) in ["v", "w"].into_iter().enumerate() {
            let (open, other) = (board.clone(), board.clone());
            world.process_after(
                name,
                move || open.writer(&open.attach().expect("a free slot"), key).expect("a vacant seat").into_inner(),
                move |mut writer| {
                    let mine = 1 + key as u64;
                    writer.write(&[mine; 2]).expect("this process has not forked");
                    assert_eq!(other.read(key).expect("a value, always").value, [mine; 2]);
                    // The other one's value is there, or not yet.
                    let theirs = other.read(1 - key).expect("a value, always");
                    assert!(theirs.value == [2 - key as u64; 2] && theirs.sequence == 1 || theirs.value == [0; 2]);
                    writer
                },
            );
        }
        world.after(move || {
            for (key, found) in board.iter() {
                assert_eq!(found.expect("a value, always").value, [1 + key as u64; 2]);
            }
        });
    });
}
