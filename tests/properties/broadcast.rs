//! The broadcast ring in step with a plain history of records: what each reader gets, what it loses, and when the writer waits.

use super::death::dies;
use ownerdead::owner::Attachment;
use ownerdead::ring::broadcast::{Config, Consumer, Producer, Ring, TryPopError, TryPushError};
use ownerdead::segment::Options;

const CAPACITY: u64 = 256;
pub const PLACES: usize = 3;

/// What can be done to a ring; readers by their place here.
#[derive(Clone, Debug)]
pub enum Operation {
    Push(usize),
    Reserve {
        len: usize,
        commit: bool,
    },
    Pop(usize),
    View {
        reader: usize,
        finish: bool,
    },
    Discard(usize),
    Join(usize),
    Leave(usize),
    Reopen,
    /// A process has the writer's seat, or a reader's place, and ends without giving it up.
    DieAs {
        writer: bool,
    },
}

/// The plain history: every record, and where it starts.
#[derive(Default)]
struct History {
    records: Vec<(u64, Vec<u8>)>,
    cursor: u64,
    oldest: usize,
}

/// A ring, its writer and up to three readers, with what each is to read next.
pub struct Crowd {
    ring: Ring,
    lossless: bool,
    checksum: bool,
    entries: usize,
    me: Attachment,
    writer: Option<Producer>,
    readers: [Option<(Consumer, usize)>; PLACES],
    history: History,
    pushed: u8,
    generation: u64,
}

impl Crowd {
    pub fn new(lossless: bool, checksum: bool, entries: usize) -> Self {
        let capacity = CAPACITY as usize;
        let config = if lossless { Config::lossless(capacity, PLACES) } else { Config::lossy(capacity, PLACES) };
        let ring = Ring::memfd(&Options::new().slots(3), &config.checksum(checksum).entries(entries)).unwrap();
        let me = ring.attach().unwrap();
        let writer = Some(ring.producer(&me).unwrap().into_inner());
        let (readers, history) = ([const { None }; PLACES], History::default());
        Self { ring, lossless, checksum, entries, me, writer, readers, history, pushed: 0, generation: 0 }
    }

    /// Where a record of so many bytes would start and end.
    fn place(&self, len: usize) -> (u64, u64) {
        let size = 8 + (len as u64).div_ceil(8) * 8 + 8 * u64::from(self.checksum);
        let (cursor, left) = (self.history.cursor, CAPACITY - self.history.cursor % CAPACITY);
        let start = if size > left { cursor + left } else { cursor };
        (start, start + size)
    }

    /// Whether a record that ends there leaves this one as it is.
    fn spares(&self, record: usize, end: u64) -> bool {
        let count = self.history.records.len();
        let start = self.history.records.get(record).map_or(self.history.cursor, |(start, _)| *start);
        end <= start + CAPACITY && count + 2 <= record + self.entries
    }

    /// What the ring should say to a record of this length; makes room for it here too.
    fn makes_room(&mut self, len: usize) -> Result<(), TryPushError> {
        let max = (CAPACITY / 2 - 8 - 8 * u64::from(self.checksum)) as usize;
        if len > max {
            return Err(TryPushError::TooLarge { len, max });
        }
        let (start, end) = self.place(len);
        if self.lossless {
            let living = self.readers.iter().flatten().map(|(_, next)| *next);
            if living.into_iter().any(|next| !self.spares(next, end)) {
                return Err(TryPushError::Full);
            }
        } else {
            while !self.spares(self.history.oldest, end) {
                self.history.oldest += 1;
            }
        }
        self.history.cursor = start;
        Ok(())
    }

    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.pushed = self.pushed.wrapping_add(1);
        (0..len).map(|at| self.pushed ^ at as u8).collect()
    }

    fn committed(&mut self, payload: Vec<u8>) {
        let (start, end) = self.place(payload.len());
        self.history.records.push((start, payload));
        self.history.cursor = end;
    }

    pub fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Push(len) => {
                let (payload, kind) = (self.payload(len), self.history.records.len() as u32);
                let expected = self.makes_room(len);
                let writer = self.writer.as_mut().unwrap();
                assert_eq!(writer.try_push(kind, &payload), expected);
                if expected.is_ok() {
                    self.committed(payload);
                }
            }
            Operation::Reserve { len, commit } => {
                let (payload, kind) = (self.payload(len), self.history.records.len() as u32);
                let expected = self.makes_room(len);
                let writer = self.writer.as_mut().unwrap();
                match writer.reserve(kind, len) {
                    Ok(mut reservation) => {
                        assert_eq!(expected, Ok(()));
                        assert_eq!(reservation.write(0, &payload), len);
                        if commit {
                            reservation.commit().unwrap();
                            self.committed(payload);
                        }
                    }
                    Err(error) => assert_eq!(Err(error), expected),
                }
            }
            Operation::Pop(reader) => self.pop(reader),
            Operation::View { reader, finish } => self.view(reader, finish),
            Operation::Discard(reader) => {
                let count = self.history.records.len();
                if let Some((reader, next)) = &mut self.readers[reader] {
                    assert_eq!(reader.discard(), Ok((count - *next) as u64));
                    *next = count;
                }
            }
            Operation::Join(reader) => {
                self.readers[reader] = None;
                let joined = self.ring.consumer(&self.me).unwrap().into_inner();
                self.readers[reader] = Some((joined, self.history.records.len()));
            }
            Operation::Leave(reader) => self.readers[reader] = None,
            Operation::Reopen => {
                self.writer = None;
                self.writer = Some(self.ring.producer(&self.me).unwrap().into_inner());
            }
            Operation::DieAs { writer } => self.die(writer),
        }
        let status = self.ring.status();
        assert_eq!(status.written, self.history.records.len() as u64);
        assert_eq!((status.oldest, status.writer.generation), (self.history.oldest as u64, self.generation));
    }

    /// What a reader is to be told before anything else: how many it has lost.
    fn lost(&mut self, reader: usize) -> Option<u64> {
        let oldest = self.history.oldest;
        let (_, next) = self.readers[reader].as_mut()?;
        // One that knows of nothing to read does not look.
        let lost = (oldest.saturating_sub(*next)) as u64;
        *next = oldest.max(*next);
        (lost > 0).then_some(lost)
    }

    fn pop(&mut self, at: usize) {
        let lost = self.lost(at);
        let Some((reader, next)) = &mut self.readers[at] else { return };
        let mut bytes = vec![1];
        let popped = reader.try_pop(&mut bytes);
        match (lost, self.history.records.get(*next)) {
            (Some(lost), _) => assert_eq!((popped, bytes.len()), (Err(TryPopError::Lapped { lost }), 0)),
            (None, Some((_, payload))) => {
                assert_eq!((popped, &bytes), (Ok(*next as u32), payload));
                *next += 1;
            }
            (None, None) => assert_eq!(popped, Err(TryPopError::Empty)),
        }
    }

    fn view(&mut self, at: usize, finish: bool) {
        let lost = self.lost(at);
        let Some((reader, next)) = &mut self.readers[at] else { return };
        match (reader.peek(), lost) {
            (Ok(view), None) => {
                let (_, payload) = &self.history.records[*next];
                assert_eq!((view.kind(), view.len()), (*next as u32, payload.len()));
                let granules = (0..).map_while(|index| view.granule(index)).flatten();
                assert!(granules.take(payload.len()).eq(payload.iter().copied()));
                let mut bytes = vec![1];
                view.copy_to(&mut bytes).unwrap();
                assert_eq!(&bytes, payload);
                if finish {
                    view.finish().unwrap();
                    *next += 1;
                }
            }
            (Err(TryPopError::Lapped { lost }), expected) => assert_eq!(Some(lost), expected),
            (Err(TryPopError::Empty), None) => assert_eq!(*next, self.history.records.len()),
            (other, lost) => panic!("{other:?}, where {lost:?} were lost"),
        }
    }

    fn die(&mut self, writer: bool) {
        if writer {
            self.writer = None;
        }
        let ring = &self.ring;
        dies(|| {
            let me = ring.attach().unwrap();
            if writer {
                std::mem::forget(ring.producer(&me).unwrap().into_inner());
            } else if let Ok(reader) = ring.consumer(&me) {
                std::mem::forget(reader.into_inner());
            }
            std::mem::forget(me);
            0
        });
        if writer {
            let opened = self.ring.producer(&self.me).unwrap();
            assert!(opened.owner_died());
            self.generation += 1;
            assert_eq!(opened.into_inner().generation(), self.generation);
            self.writer = Some(self.ring.producer(&self.me).unwrap().into_inner());
        }
    }

    /// Reads what is left, and one more.
    pub fn finish(&mut self) {
        (0..PLACES).for_each(|reader| (0..=self.entries).for_each(|_| self.step(&Operation::Pop(reader))));
    }
}
