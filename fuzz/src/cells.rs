//! Cells as structures whose memory is changed.

use crate::memory::{Words, lines, row};
use crate::parser::{Play, Structure, Turn, fixture, options, said};
use ownerdead::cell::{Board, Opened, SeqLock, Snapshot, Versioned, board, seqlock, snapshot};
use ownerdead::owner::Attachment;
use ownerdead::segment::{Kind, Segment};
use std::fmt::{Debug, Display};
use std::time::Duration;

type Value = [u64; 3];
/// What a whole cell holds.
const WHOLE: Value = [1, 2, 3];
const NEXT: Value = [4, 5, 6];
const KEYS: usize = 3;

/// All cells, in the order of an input's first byte.
pub fn all() -> Vec<Box<dyn Play>> {
    let seqlock = SeqLock::memfd(&options(), WHOLE).expect("a sequence lock");
    let snapshot = Snapshot::memfd(&options(), &snapshot::Config::new().buffers(2), WHOLE).expect("a snapshot");
    let board = Board::memfd(&options(), &board::Config::new(KEYS as u64).buffers(2)).expect("a board");
    vec![fixture(Locked(seqlock)), fixture(Shot(snapshot)), fixture(OnBoard(board))]
}

struct Locked(SeqLock<Value>);
struct Shot(Snapshot<Value>);
struct OnBoard(Board<Value>);

/// So many control words, and all of the buffers.
fn words(keys: usize, segment: &Segment) -> Vec<Words> {
    let seats = [24, 32].map(|word| Words { at: 128 + word, count: keys, stride: 128 });
    let buffers = 128 * (1 + keys);
    [&lines(0, 1 + keys)[..], &seats, &[row(buffers, segment.body_len().saturating_sub(buffers) / 8)]].concat()
}

fn opened<W>(opened: Result<Opened<W>, impl Display + Debug>) -> Option<W> {
    opened.map(Opened::into_inner).map_err(|error| said(&error)).ok()
}

fn told<T>(result: Result<T, impl Display + Debug>) {
    if let Err(error) = result {
        said(&error);
    }
}

fn is<E: Debug>(read: Result<Versioned<Value>, E>, value: Value, sequence: u64) {
    let read = read.expect("a value");
    assert_eq!((read.value, read.sequence), (value, sequence));
}

impl Structure for Locked {
    type Handles<'s> = Option<seqlock::Writer<Value>>;

    const KIND: Kind = Kind::SEQLOCK;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        SeqLock::<Value>::from_segment(segment).map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        told(self.0.try_read());
        _ = opened(self.0.writer(me));
    }

    fn words(&self) -> Vec<Words> {
        words(1, self.segment())
    }

    fn step<'s>(
        &'s self,
        me: &'s Attachment,
        writer: &mut Option<seqlock::Writer<Value>>,
        operation: u8,
        _: &mut Turn<'_, '_>,
    ) {
        match operation {
            0..=2 => *writer = writer.take().or_else(|| opened(self.0.writer(me))),
            3 => *writer = None,
            4..=9 => {
                if let Some(writer) = writer {
                    told(writer.write(&NEXT));
                }
            }
            10 => {
                if let Some(writer) = writer {
                    _ = (writer.value(), writer.generation());
                }
            }
            11..=16 => told(self.0.try_read()),
            17..=19 => told(self.0.read_timeout(Duration::ZERO)),
            _ => _ = format!("{:?}", self.0.status()),
        }
    }

    fn honest(&self, me: &Attachment) {
        is(self.0.try_read(), WHOLE, 0);
        let mut writer = self.0.writer(me).expect("a vacant seat").into_inner();
        assert_eq!(writer.value(), Some(WHOLE));
        assert_eq!(writer.write(&NEXT), Ok(1));
        is(self.0.try_read(), NEXT, 1);
    }
}

impl Structure for Shot {
    type Handles<'s> = Option<snapshot::Writer<Value>>;

    const KIND: Kind = Kind::SNAPSHOT;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        Snapshot::<Value>::from_segment(segment).map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        told(self.0.read());
        _ = opened(self.0.writer(me));
    }

    fn words(&self) -> Vec<Words> {
        words(1, self.segment())
    }

    fn step<'s>(
        &'s self,
        me: &'s Attachment,
        writer: &mut Option<snapshot::Writer<Value>>,
        operation: u8,
        turn: &mut Turn<'_, '_>,
    ) {
        match operation {
            0..=2 => *writer = writer.take().or_else(|| opened(self.0.writer(me))),
            3 => *writer = None,
            4..=9 => {
                if let Some(writer) = writer {
                    told(writer.write(&NEXT));
                }
            }
            10 => {
                if let Some(writer) = writer {
                    _ = (writer.value(), writer.sequence(), writer.generation());
                }
            }
            11..=14 => told(self.0.read()),
            15 | 16 => told(self.0.read_if_newer(turn.input.byte().into())),
            17 => told(self.0.wait_change(me, turn.input.byte().into(), Some(Duration::ZERO))),
            18 => told(self.0.wait_change(me, turn.input.word(), Some(Duration::ZERO))),
            19 => told(self.0.wait_writer(me, Some(Duration::ZERO))),
            _ => _ = format!("{:?}", self.0.status()),
        }
    }

    fn honest(&self, me: &Attachment) {
        is(self.0.read(), WHOLE, 0);
        let mut writer = self.0.writer(me).expect("a vacant seat").into_inner();
        assert_eq!(writer.write(&NEXT), Ok(1));
        is(self.0.wait_change(me, 0, Some(Duration::ZERO)), NEXT, 1);
    }
}

impl Structure for OnBoard {
    type Handles<'s> = [Option<snapshot::Writer<Value>>; KEYS];

    const KIND: Kind = Kind::BOARD;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        Board::<Value>::from_segment(segment).map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        self.0.iter().for_each(|(_, read)| told(read));
        _ = opened(self.0.writer(me, 0));
    }

    fn words(&self) -> Vec<Words> {
        words(self.0.keys(), self.segment())
    }

    fn step<'s>(
        &'s self,
        me: &'s Attachment,
        writers: &mut [Option<snapshot::Writer<Value>>; KEYS],
        operation: u8,
        turn: &mut Turn<'_, '_>,
    ) {
        // One more key than there are.
        let key = usize::from(turn.flags) % (KEYS + 1);
        let keys = self.0.keys();
        match (operation, writers.get_mut(key)) {
            (0..=3, Some(writer)) => *writer = writer.take().or_else(|| opened(self.0.writer(me, key))),
            (0..=3, None) => assert!(opened(self.0.writer(me, key)).is_none() || key < keys),
            (4, Some(writer)) => *writer = None,
            (5..=10, Some(Some(writer))) => told(writer.write(&NEXT)),
            (4..=10, _) => {}
            (11..=13, _) => told(self.0.read(key)),
            (14 | 15, _) => told(self.0.read_if_newer(key, turn.input.byte().into())),
            (16, _) => told(self.0.wait_change(me, key, turn.input.byte().into(), Some(Duration::ZERO))),
            (17, _) => told(self.0.wait_writer(me, key, Some(Duration::ZERO))),
            (18, _) => self.0.iter().for_each(|(key, read)| {
                assert!(key < keys);
                told(read);
            }),
            _ => assert_eq!(format!("{:?}", self.0.status(key)) == "None", key >= keys),
        }
    }

    fn honest(&self, me: &Attachment) {
        assert_eq!(self.0.iter().count(), 0);
        for key in 0..KEYS {
            let mut writer = self.0.writer(me, key).expect("a vacant seat").into_inner();
            assert_eq!(writer.write(&NEXT), Ok(1));
            is(self.0.read(key), NEXT, 1);
        }
    }
}
