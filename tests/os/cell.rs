//! Cells between real processes: what chaos does not stop to look at, and what only a damaged one shows.

use crate::process::{Gate, for_ever, spawn};
use ownerdead::cell::snapshot::{Config, Snapshot};
use ownerdead::cell::{
    Board, CellError, Opened, Progress, ReadError, ReadTimeoutError, SeatError, SeqLock, TryReadError, WaitError,
    WaitWriterError, WriteError, board,
};
use ownerdead::owner::SeatState;
use ownerdead::segment::{Kind, Options, Segment};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use ownerdead::sync::shm::Shared;
use std::os::fd::AsFd;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(5);
/// Words of the body, by their indices: see `cell::shared`.
const BUFFERS: usize = 3;
const KEYS: usize = 4;
const SEQUENCE: usize = 16;
const BEGUN: usize = 17;
const RIGHT: usize = 18;

fn words(segment: &Segment) -> Shared<[AtomicU64]> {
    segment.body_slice(0, segment.body_len() / 8).unwrap()
}

fn snapshot() -> Snapshot<u64> {
    Snapshot::memfd(&Options::new(), &Config::new().buffers(2), 7).unwrap()
}

#[test]
fn a_writer_that_lives_and_is_mid_write_makes_a_sequence_lock_busy_and_no_more() {
    let lock = SeqLock::memfd(&Options::new(), 5u64).unwrap();
    let me = lock.attach().unwrap();
    let mut writer = lock.writer(&me).unwrap().into_inner();
    // As if it had been stopped after its first store.
    words(lock.segment())[SEQUENCE].store(1, Relaxed);
    assert_eq!(lock.try_read(), Err(TryReadError::Busy));
    assert_eq!(lock.read_timeout(SHORT), Err(ReadTimeoutError::TimedOut));
    assert_eq!((lock.status().sequence, lock.status().progress), (1, Progress::Writing));
    assert_eq!(writer.write(&6), Ok(1));
    let found = lock.try_read().unwrap();
    assert_eq!((found.value, found.sequence, found.generation), (6, 1, 0));
    assert_eq!(lock.read_timeout(SHORT), Ok(found));
}

#[test]
fn who_reads_with_a_time_out_gets_the_value_once_it_is_whole() {
    let lock = SeqLock::memfd(&Options::new(), 5u64).unwrap();
    let me = lock.attach().unwrap();
    let mut writer = lock.writer(&me).unwrap().into_inner();
    words(lock.segment())[SEQUENCE].store(1, Relaxed);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| lock.read_timeout(Duration::from_secs(60)));
        writer.write(&6).unwrap();
        assert_eq!(reader.join().unwrap().unwrap().value, 6);
    });
}

#[test]
fn a_writer_that_is_killed_mid_write_leaves_an_error_until_the_next_one_writes() {
    let lock = SeqLock::memfd(&Options::new(), 5u64).unwrap();
    let begun = Gate::new();
    let mut victim = spawn(|| {
        let me = lock.attach().unwrap();
        let _writer = lock.writer(&me).unwrap().into_inner();
        words(lock.segment())[SEQUENCE].store(1, Relaxed);
        begun.open();
        for_ever();
    });
    begun.wait();
    victim.kill();
    assert_eq!(lock.try_read(), Err(TryReadError::WriterDied));
    assert_eq!(lock.read_timeout(Duration::from_secs(60)), Err(ReadTimeoutError::WriterDied));
    let me = lock.attach().unwrap();
    let Ok(Opened::OwnerDied(mut writer)) = lock.writer(&me) else { panic!("its seat is a dead one's") };
    assert_eq!((writer.value(), writer.generation()), (None, 1));
    // Who takes the seat over has not written: still there is no value, though its holder lives, or nobody has it.
    assert_eq!(lock.try_read(), Err(TryReadError::WriterDied));
    writer.close();
    assert_eq!((lock.try_read(), lock.status().progress), (Err(TryReadError::WriterDied), Progress::Torn));
    writer = match lock.writer(&me) {
        Ok(Opened::Clean(writer)) => writer,
        other => panic!("{other:?}"),
    };
    assert_eq!(writer.write(&6), Ok(2));
    assert_eq!((writer.value(), lock.try_read().unwrap().generation), (Some(6), 1));
}

#[test]
fn a_snapshot_does_not_mind_a_writer_that_is_killed_mid_write() {
    let snapshot = snapshot();
    let begun = Gate::new();
    let mut victim = spawn(|| {
        let me = snapshot.attach().unwrap();
        snapshot.writer(&me).unwrap().into_inner().write(&8).unwrap();
        let _writer = snapshot.writer(&me).unwrap().into_inner();
        words(snapshot.segment())[BEGUN].store(2, Relaxed);
        begun.open();
        for_ever();
    });
    begun.wait();
    assert_eq!((snapshot.read().unwrap().value, snapshot.status().progress), (8, Progress::Writing));
    victim.kill();
    assert_eq!((snapshot.read().unwrap().value, snapshot.status().progress), (8, Progress::Torn));
    let me = snapshot.attach().unwrap();
    assert_eq!(snapshot.wait_change(&me, 1, None), Err(WaitError::WriterDied));
    let Ok(Opened::OwnerDied(mut writer)) = snapshot.writer(&me) else { panic!("its seat is a dead one's") };
    assert_eq!((writer.value(), writer.sequence(), writer.generation()), (8, 1, 1));
    assert_eq!(writer.write(&9), Ok(2));
    let found = snapshot.read_if_newer(1).unwrap().unwrap();
    assert_eq!((found.value, found.sequence, found.generation), (9, 2, 1));
}

#[test]
fn who_sleeps_is_woken_by_a_write_a_death_and_a_new_writer() {
    let board = Board::<u64>::memfd(&Options::new(), &board::Config::new(3)).unwrap();
    let me = board.attach().unwrap();
    assert_eq!(board.wait_change(&me, 2, 0, Some(SHORT)), Err(WaitError::TimedOut));
    assert_eq!(board.wait_writer(&me, 2, Some(SHORT)), Err(WaitWriterError::TimedOut));
    let (go, gone) = (Gate::new(), Gate::new());
    let mut victim = spawn(|| {
        let me = board.attach().unwrap();
        let mut writer = board.writer(&me, 2).unwrap().into_inner();
        go.wait();
        writer.write(&5).unwrap();
        gone.open();
        for_ever();
    });
    board.wait_writer(&me, 2, None).unwrap();
    assert_eq!(board.wait_change(&me, 2, 0, Some(SHORT)), Err(WaitError::TimedOut));
    go.open();
    assert_eq!(board.wait_change(&me, 2, 0, None).unwrap().value, 5);
    gone.wait();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let me = board.attach().unwrap();
            board.wait_change(&me, 2, 1, None)
        });
        victim.kill();
        assert_eq!(waiter.join().unwrap(), Err(WaitError::WriterDied));
    });
}

#[test]
fn a_forked_child_reads_and_is_refused_by_its_parents_handles() {
    let snapshot = snapshot();
    let lock = SeqLock::memfd(&Options::new(), 5u64).unwrap();
    let (me, there) = (snapshot.attach().unwrap(), lock.attach().unwrap());
    let mut writer = snapshot.writer(&me).unwrap().into_inner();
    let mut other = lock.writer(&there).unwrap().into_inner();
    let mut child = spawn(|| {
        assert_eq!((snapshot.read().unwrap().value, lock.try_read().unwrap().value), (7, 5));
        assert_eq!((writer.write(&1), other.write(&1)), (Err(WriteError::Forked), Err(WriteError::Forked)));
        assert!(matches!(snapshot.writer(&me), Err(SeatError::Forked)));
        assert_eq!(snapshot.wait_change(&me, 0, None), Err(WaitError::Forked));
        assert_eq!(snapshot.wait_writer(&me, None), Err(WaitWriterError::Forked));
        let mine = snapshot.attach().unwrap();
        assert!(matches!(snapshot.writer(&mine), Err(SeatError::Busy { .. })));
    });
    child.succeeds();
    assert!(matches!(lock.writer(&me), Err(SeatError::WrongSegment)));
    assert_eq!(snapshot.wait_change(&there, 0, None), Err(WaitError::WrongSegment));
    assert_eq!(snapshot.wait_writer(&there, None), Err(WaitWriterError::WrongSegment));
    assert_eq!((writer.write(&1), other.write(&1)), (Ok(1), Ok(1)));
}

#[test]
fn a_cell_is_opened_as_what_it_was_made() {
    let name = format!("/ownerdead-test-cell-{}", std::process::id());
    let config = board::Config::new(3);
    let board = Board::<u64>::create(&name, &Options::new(), &config).unwrap();
    let me = board.attach().unwrap();
    board.writer(&me, 2).unwrap().into_inner().write(&4).unwrap();
    let opened = Board::<u64>::open(&name).unwrap();
    assert_eq!((opened.keys(), opened.read(2).unwrap().value), (3, 4));
    assert!(!Board::<u64>::open_or_create(&name, &Options::new(), &config).unwrap().1);
    let other = Board::<i64>::open(&name);
    let more = Board::<u64>::open_or_create(&name, &Options::new(), &board::Config::new(4));
    let buffers = Board::<u64>::open_or_create(&name, &Options::new(), &config.buffers(3));
    Segment::unlink(&name).unwrap();
    assert!(matches!(other, Err(CellError::Type { field: "fingerprint", .. })), "{other:?}");
    assert!(matches!(more, Err(CellError::Differs { field: "number of keys", found: 3, expected: 4 })), "{more:?}");
    assert!(matches!(buffers, Err(CellError::Differs { field: "number of buffers", .. })), "{buffers:?}");
    assert!(matches!(board.read(3), Err(ReadError::NoSuchKey { key: 3, keys: 3 })));
    assert!(matches!(board.writer(&me, 3), Err(SeatError::NoSuchKey { .. })));
    assert!(matches!(board.wait_change(&me, 3, 0, None), Err(WaitError::NoSuchKey { .. })));
    assert!(matches!(board.wait_writer(&me, 3, None), Err(WaitWriterError::NoSuchKey { .. })));
    assert!(board.status(3).is_none());
}

#[test]
fn what_is_asked_for_and_not_allowed_is_refused() {
    for (keys, buffers) in [(0, 2), (1 << 25, 2), (1, 1), (1, 65)] {
        let made = Board::<u64>::memfd(&Options::new(), &board::Config::new(keys).buffers(buffers));
        assert!(matches!(made, Err(CellError::Config { .. })), "{keys} keys, {buffers} buffers: {made:?}");
    }
    assert!(matches!(
        Snapshot::memfd(&Options::new(), &Config::new().buffers(1), 0u64),
        Err(CellError::Config { field: "a number of buffers", found: 1, .. })
    ));
}

/// Opens it again with one word of the body changed.
fn spoiled(kind: Kind, segment: &Segment, word: usize, value: u64) -> Segment {
    words(segment)[word].store(value, Relaxed);
    Segment::from_fd(segment.as_fd().try_clone_to_owned().unwrap(), kind).unwrap()
}

#[test]
fn a_damaged_cell_is_an_error_and_never_a_loop() {
    let corrupt = |opened: Result<Snapshot<u64>, CellError>| {
        assert!(matches!(opened, Err(CellError::Corrupt(_) | CellError::Body(_))), "{opened:?}");
    };
    for (word, value) in [(BUFFERS, 1), (BUFFERS, 1 << 60), (KEYS, 2), (BUFFERS, 64)] {
        corrupt(Snapshot::from_segment(spoiled(Kind::SNAPSHOT, snapshot().segment(), word, value)));
    }

    let cell = snapshot();
    let me = cell.attach().unwrap();
    let word = words(cell.segment());
    // Any bytes: a reader comes back, with something or with an error.
    for (sequence, begun) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX), (4, 1), (6, 9)] {
        word[SEQUENCE].store(sequence, Relaxed);
        word[BEGUN].store(begun, Relaxed);
        let read = cell.read();
        assert_eq!(
            read.is_err(),
            begun < sequence / 2 || begun - sequence / 2 > 1,
            "{sequence:#x}, {begun:#x}: {read:?}"
        );
        assert!(matches!(cell.writer(&me), Err(SeatError::Corrupt(_))), "{sequence:#x}, {begun:#x}");
    }
    word[RIGHT].store(1 << 32 | 1 << 29 | 77, Relaxed);
    assert!(matches!(cell.writer(&me), Err(SeatError::Corrupt(_))));
    assert!(matches!(cell.wait_change(&me, 0, None), Err(WaitError::Overrun { .. })), "nine begun, three committed");
    assert!(
        matches!(cell.wait_change(&me, 3, None), Err(WaitError::Corrupt(_))),
        "nothing newer, and nobody knows whose"
    );
    assert!(matches!(cell.wait_writer(&me, None), Err(WaitWriterError::Corrupt(_))));

    let lock = SeqLock::memfd(&Options::new(), 5u64).unwrap();
    let me = lock.attach().unwrap();
    let word = words(lock.segment());
    for sequence in [1, 1 << 62 | 2, 1 << 63 | 2, u64::MAX] {
        word[SEQUENCE].store(sequence, Relaxed);
        assert!(matches!(lock.writer(&me), Err(SeatError::Corrupt(_))), "{sequence:#x}");
    }
    word[SEQUENCE].store(3, Relaxed);
    assert!(matches!(lock.try_read(), Err(TryReadError::Corrupt(_))), "odd, and nobody has the seat");
    word[RIGHT].store(1 << 32 | 1 << 29 | 77, Relaxed);
    assert!(matches!(lock.try_read(), Err(TryReadError::Corrupt(_))), "odd, and nobody knows whose");
    assert!(matches!(lock.status().writer, SeatState::Corrupt(_)));
}

#[test]
fn threads_of_one_process_read_whole_values_beside_their_writer() {
    const VALUES: u64 = 20_000;
    let lock = SeqLock::memfd(&Options::new(), [0u64; 9]).unwrap();
    let snapshot = Snapshot::memfd(&Options::new(), &Config::new().buffers(3), [0u64; 9]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (mut last, mut locked) = (0, 0);
                while last < VALUES || locked < VALUES {
                    if let Ok(found) = snapshot.read() {
                        assert!(found.value == [found.sequence; 9] && found.sequence >= last, "{found:?} after {last}");
                        last = found.sequence;
                    }
                    if let Ok(found) = lock.try_read() {
                        assert!(
                            found.value == [found.sequence; 9] && found.sequence >= locked,
                            "{found:?} after {locked}"
                        );
                        locked = found.sequence;
                    }
                }
            });
        }
        let (me, there) = (snapshot.attach().unwrap(), lock.attach().unwrap());
        let mut writer = snapshot.writer(&me).unwrap().into_inner();
        let mut other = lock.writer(&there).unwrap().into_inner();
        for number in 1..=VALUES {
            assert_eq!((writer.write(&[number; 9]), other.write(&[number; 9])), (Ok(number), Ok(number)));
        }
    });
}
