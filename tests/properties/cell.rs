//! A sequence lock and a board in step with plain state machines.

use ownerdead::cell::{Board, Opened, Progress, SeatError, SeqLock, TryReadError, board, seqlock, snapshot};
use ownerdead::segment::Options;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use proptest::prelude::*;

const KEYS: usize = 3;
/// Offset of a key's control words in the body: see `cell::shared`.
fn control(key: usize) -> usize {
    128 + 128 * key
}

/// What can be done to a key; a sequence lock has one.
#[derive(Clone, Copy, Debug)]
enum CellOperation {
    /// Opens the writer's seat, if it can be had.
    Open(usize),
    Write(usize),
    Close(usize),
    /// A thread opens the seat, if it can be had, writes, and ends.
    Die(usize),
    /// The same, and it ends in the middle of another write.
    DieWriting(usize),
}

fn cell_operation() -> impl Strategy<Value = CellOperation> {
    let key = 0..KEYS;
    prop_oneof![
        3 => key.clone().prop_map(CellOperation::Open),
        5 => key.clone().prop_map(CellOperation::Write),
        2 => key.clone().prop_map(CellOperation::Close),
        1 => key.clone().prop_map(CellOperation::Die),
        2 => key.prop_map(CellOperation::DieWriting),
    ]
}

/// The plain model of a key. `value` is the number of the last value that was written, 0 for none.
#[derive(Clone, Copy, Debug, Default)]
struct Plain {
    value: u64,
    sequence: u64,
    generation: u64,
    /// Generation of the writer of that value.
    written_in: u64,
    open: bool,
    dead: bool,
    torn: bool,
}

impl Plain {
    /// Somebody has opened it: whether a dead one's.
    fn opened<W>(&mut self, opened: &Opened<W>) {
        assert_eq!(opened.owner_died(), self.dead, "{self:?}");
        self.generation += u64::from(self.dead);
        self.dead = false;
    }

    fn wrote(&mut self, value: u64) {
        *self = Self { value, sequence: self.sequence + 1, written_in: self.generation, torn: false, ..*self };
    }
}

/// What a writer that dies in the middle of a write leaves: the first words are changed, and the number that was begun.
fn leave_half(words: &[AtomicU64], word: usize, to: u64, buffer: usize) {
    words[word].store(to, Relaxed);
    words[buffer + 1].store(u64::MAX, Relaxed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_board_has_the_last_value_of_each_key(
        buffers in 2u64..5,
        operations in prop::collection::vec(cell_operation(), 1..60),
    ) {
        let config = board::Config::new(KEYS as u64).buffers(buffers);
        let board = Board::<[u64; 3]>::memfd(&Options::new().slots(4), &config).unwrap();
        let me = board.attach().unwrap();
        let mut plain = [Plain::default(); KEYS];
        let mut writers: [Option<snapshot::Writer<[u64; 3]>>; KEYS] = [const { None }; KEYS];
        for (number, operation) in (1..).zip(operations) {
            match operation {
                CellOperation::Open(key) => match board.writer(&me, key) {
                    Ok(opened) => {
                        prop_assert!(!plain[key].open);
                        plain[key].opened(&opened);
                        plain[key].open = true;
                        writers[key] = Some(opened.into_inner());
                    }
                    Err(SeatError::Busy { .. }) => prop_assert!(plain[key].open),
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                },
                CellOperation::Write(key) => if let Some(writer) = &mut writers[key] {
                    plain[key].wrote(number);
                    prop_assert_eq!(writer.write(&[number; 3]), Ok(plain[key].sequence));
                },
                CellOperation::Close(key) => {
                    plain[key].open = false;
                    writers[key] = None;
                }
                CellOperation::Die(key) | CellOperation::DieWriting(key) => if !plain[key].open {
                    std::thread::scope(|scope| scope.spawn(|| {
                        let me = board.attach().unwrap();
                        let opened = board.writer(&me, key).unwrap();
                        plain[key].opened(&opened);
                        let mut writer = opened.into_inner();
                        writer.write(&[number; 3]).unwrap();
                        plain[key].wrote(number);
                        // Its membership and its seat stay, and the thread ends.
                        std::mem::forget((writer, me));
                    }).join().unwrap());
                    plain[key].dead = true;
                    if matches!(operation, CellOperation::DieWriting(_)) {
                        let words = board.segment().body_slice::<AtomicU64>(0, board.segment().body_len() / 8).unwrap();
                        let next = plain[key].sequence + 1;
                        let buffer = control(KEYS) / 8 + (key * buffers as usize + (next % buffers) as usize) * 8;
                        leave_half(&words, control(key) / 8 + 1, next, buffer);
                        plain[key].torn = true;
                    }
                },
            }
            for (key, plain) in plain.iter().enumerate() {
                let found = board.read(key).unwrap();
                prop_assert_eq!(found.value, [plain.value; 3]);
                prop_assert_eq!((found.sequence, found.generation), (plain.sequence, plain.written_in));
                prop_assert!(board.read_if_newer(key, plain.sequence).unwrap().is_none());
                let status = board.status(key).unwrap();
                prop_assert_eq!((status.sequence, status.generation), (plain.sequence, plain.generation));
                prop_assert_eq!(status.progress == Progress::Whole, !plain.torn);
            }
            let written = plain.iter().filter(|plain| plain.sequence > 0).count();
            prop_assert_eq!(board.iter().count(), written);
        }
    }

    #[test]
    fn a_sequence_lock_has_its_last_value_or_says_that_its_writer_died(
        operations in prop::collection::vec(cell_operation(), 1..60),
    ) {
        let lock = SeqLock::memfd(&Options::new().slots(4), [0u64; 3]).unwrap();
        let me = lock.attach().unwrap();
        let mut plain = Plain::default();
        let mut writer: Option<seqlock::Writer<[u64; 3]>> = None;
        for (number, operation) in (1..).zip(operations) {
            match operation {
                CellOperation::Open(_) => match lock.writer(&me) {
                    Ok(opened) => {
                        prop_assert!(!plain.open);
                        plain.opened(&opened);
                        plain.open = true;
                        let opened = opened.into_inner();
                        prop_assert_eq!(opened.value(), (!plain.torn).then_some([plain.value; 3]));
                        writer = Some(opened);
                    }
                    Err(SeatError::Busy { .. }) => prop_assert!(plain.open),
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                },
                CellOperation::Write(_) => if let Some(writer) = &mut writer {
                    // The number of a torn value is not used again.
                    plain.sequence += u64::from(plain.torn);
                    plain.wrote(number);
                    prop_assert_eq!(writer.write(&[number; 3]), Ok(plain.sequence));
                },
                CellOperation::Close(_) => {
                    plain.open = false;
                    writer = None;
                }
                CellOperation::Die(_) | CellOperation::DieWriting(_) => if !plain.open {
                    std::thread::scope(|scope| scope.spawn(|| {
                        let me = lock.attach().unwrap();
                        let opened = lock.writer(&me).unwrap();
                        plain.opened(&opened);
                        let mut writer = opened.into_inner();
                        plain.sequence += u64::from(plain.torn);
                        writer.write(&[number; 3]).unwrap();
                        plain.wrote(number);
                        std::mem::forget((writer, me));
                    }).join().unwrap());
                    plain.dead = true;
                    if matches!(operation, CellOperation::DieWriting(_)) {
                        let words = lock.segment().body_slice::<AtomicU64>(0, lock.segment().body_len() / 8).unwrap();
                        leave_half(&words, control(0) / 8, 2 * plain.sequence + 1, control(1) / 8);
                        plain.torn = true;
                    }
                },
            }
            match lock.try_read() {
                Ok(found) => {
                    prop_assert!(!plain.torn);
                    prop_assert_eq!(found.value, [plain.value; 3]);
                    prop_assert_eq!((found.sequence, found.generation), (plain.sequence, plain.written_in));
                }
                Err(TryReadError::WriterDied) => prop_assert!(plain.torn),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
            let status = lock.status();
            prop_assert_eq!(status.generation, plain.generation);
            prop_assert_eq!(status.progress, if plain.torn { Progress::Torn } else { Progress::Whole });
        }
    }
}
