//! A sequence lock and a board in step with plain state machines.

use super::death::dies;
use ownerdead::cell::{Board, Opened, Progress, SeatError, SeqLock, TryReadError, board, seqlock, snapshot};
use ownerdead::segment::Options;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;

pub const KEYS: usize = 3;
/// Offset of a key's control words in the body: see `cell::shared`.
fn control(key: usize) -> usize {
    128 + 128 * key
}

/// What can be done to a key; a sequence lock has one.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Opens the writer's seat, if it can be had.
    Open(usize),
    Write(usize),
    Close(usize),
    /// A process opens the seat, if it can be had, writes, and ends.
    Die(usize),
    /// The same, and it ends in the middle of another write.
    DieWriting(usize),
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
    /// Somebody has opened it. Whether it was a dead one's.
    fn opened(&mut self) -> bool {
        self.generation += u64::from(self.dead);
        std::mem::take(&mut self.dead)
    }

    fn wrote(&mut self, value: u64) {
        *self = Self { value, sequence: self.sequence + 1, written_in: self.generation, torn: false, ..*self };
    }
}

/// A seat that is to be had unless it is open.
fn opens<W: std::fmt::Debug>(plain: &mut Plain, opened: Result<Opened<W>, SeatError>) -> Option<W> {
    match opened {
        Ok(opened) => {
            assert!(!plain.open);
            plain.open = true;
            assert_eq!(opened.owner_died(), plain.opened(), "{plain:?}");
            Some(opened.into_inner())
        }
        Err(SeatError::Busy { .. }) => {
            assert!(plain.open);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What a writer that dies in the middle of a write leaves: the first words are changed, and the number that was begun.
fn leave_half(words: &[AtomicU64], word: usize, to: u64, buffer: usize) {
    words[word].store(to, Relaxed);
    words[buffer + 1].store(u64::MAX, Relaxed);
}

/// A board of `buffers` for each key.
pub fn board(buffers: u64, operations: &[Operation]) {
    let config = board::Config::new(KEYS as u64).buffers(buffers);
    let board = Board::<[u64; 3]>::memfd(&Options::new().slots(4), &config).unwrap();
    let me = board.attach().unwrap();
    let mut plain = [Plain::default(); KEYS];
    let mut writers: [Option<snapshot::Writer<[u64; 3]>>; KEYS] = [const { None }; KEYS];
    for (number, &operation) in (1..).zip(operations) {
        match operation {
            Operation::Open(key) => {
                let opened = opens(&mut plain[key], board.writer(&me, key));
                writers[key] = writers[key].take().or(opened);
            }
            Operation::Write(key) => {
                if let Some(writer) = &mut writers[key] {
                    plain[key].wrote(number);
                    assert_eq!(writer.write(&[number; 3]), Ok(plain[key].sequence));
                }
            }
            Operation::Close(key) => {
                plain[key].open = false;
                writers[key] = None;
            }
            Operation::Die(key) | Operation::DieWriting(key) if !plain[key].open => {
                let owner_died = plain[key].opened();
                plain[key].wrote(number);
                dies(|| {
                    let me = board.attach().unwrap();
                    let opened = board.writer(&me, key).unwrap();
                    assert_eq!(opened.owner_died(), owner_died);
                    let mut writer = opened.into_inner();
                    assert_eq!(writer.write(&[number; 3]), Ok(plain[key].sequence));
                    std::mem::forget((writer, me));
                    0
                });
                plain[key].dead = true;
                if matches!(operation, Operation::DieWriting(_)) {
                    let words = board.segment().body_slice::<AtomicU64>(0, board.segment().body_len() / 8).unwrap();
                    let next = plain[key].sequence + 1;
                    let buffer = control(KEYS) / 8 + (key * buffers as usize + (next % buffers) as usize) * 8;
                    leave_half(&words, control(key) / 8 + 1, next, buffer);
                    plain[key].torn = true;
                }
            }
            Operation::Die(_) | Operation::DieWriting(_) => {}
        }
        for (key, plain) in plain.iter().enumerate() {
            let found = board.read(key).unwrap();
            assert_eq!(found.value, [plain.value; 3]);
            assert_eq!((found.sequence, found.generation), (plain.sequence, plain.written_in));
            assert!(board.read_if_newer(key, plain.sequence).unwrap().is_none());
            let status = board.status(key).unwrap();
            assert_eq!((status.sequence, status.generation), (plain.sequence, plain.generation));
            assert_eq!(status.progress == Progress::Whole, !plain.torn);
        }
        let written = plain.iter().filter(|plain| plain.sequence > 0).count();
        assert_eq!(board.iter().count(), written);
    }
}

/// A sequence lock. All keys are one.
pub fn sequence_lock(operations: &[Operation]) {
    let lock = SeqLock::memfd(&Options::new().slots(4), [0u64; 3]).unwrap();
    let me = lock.attach().unwrap();
    let mut plain = Plain::default();
    let mut writer: Option<seqlock::Writer<[u64; 3]>> = None;
    for (number, &operation) in (1..).zip(operations) {
        match operation {
            Operation::Open(_) => {
                if let Some(opened) = opens(&mut plain, lock.writer(&me)) {
                    assert_eq!(opened.value(), (!plain.torn).then_some([plain.value; 3]));
                    writer = Some(opened);
                }
            }
            Operation::Write(_) => {
                if let Some(writer) = &mut writer {
                    // The number of a torn value is not used again.
                    plain.sequence += u64::from(plain.torn);
                    plain.wrote(number);
                    assert_eq!(writer.write(&[number; 3]), Ok(plain.sequence));
                }
            }
            Operation::Close(_) => {
                plain.open = false;
                writer = None;
            }
            Operation::Die(_) | Operation::DieWriting(_) if !plain.open => {
                let owner_died = plain.opened();
                plain.sequence += u64::from(plain.torn);
                plain.wrote(number);
                dies(|| {
                    let me = lock.attach().unwrap();
                    let opened = lock.writer(&me).unwrap();
                    assert_eq!(opened.owner_died(), owner_died);
                    let mut writer = opened.into_inner();
                    assert_eq!(writer.write(&[number; 3]), Ok(plain.sequence));
                    std::mem::forget((writer, me));
                    0
                });
                plain.dead = true;
                if matches!(operation, Operation::DieWriting(_)) {
                    let words = lock.segment().body_slice::<AtomicU64>(0, lock.segment().body_len() / 8).unwrap();
                    leave_half(&words, control(0) / 8, 2 * plain.sequence + 1, control(1) / 8);
                    plain.torn = true;
                }
            }
            Operation::Die(_) | Operation::DieWriting(_) => {}
        }
        match lock.try_read() {
            Ok(found) => {
                assert!(!plain.torn);
                assert_eq!(found.value, [plain.value; 3]);
                assert_eq!((found.sequence, found.generation), (plain.sequence, plain.written_in));
            }
            Err(TryReadError::WriterDied) => assert!(plain.torn),
            Err(error) => panic!("{error}"),
        }
        let status = lock.status();
        assert_eq!(status.generation, plain.generation);
        assert_eq!(status.progress, if plain.torn { Progress::Torn } else { Progress::Whole });
    }
}
