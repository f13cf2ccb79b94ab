//! The reader-writer lock and the semaphore in step with plain state machines.

use super::death::dies;
use ownerdead::inspect::{Thread, inspect};
use ownerdead::lock::{Permit, RwLock, Semaphore, TryAcquireError, TryLockError, TryReadError};
use ownerdead::segment::{Options, Segment};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

/// Attachments of this thread, which a lock takes for threads.
pub const PEOPLE: usize = 3;

/// What can be done to a reader-writer lock.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Read(usize),
    Write {
        who: usize,
        repair: bool,
    },
    /// Gives up what one has.
    Leave(usize),
    /// The writer panics.
    Panic,
    /// A process reads, or writes, if it can, and ends.
    Die {
        writing: bool,
    },
}

/// The plain model: who has what, and what the next writer hears.
#[derive(Debug, Default)]
struct Plain {
    readers: BTreeSet<usize>,
    /// And whether it has repaired, or need not.
    writer: Option<(usize, bool)>,
    broken: bool,
    lost: bool,
}

impl Plain {
    fn reads(&self, who: Option<usize>) -> Result<(), TryReadError> {
        match self.writer {
            _ if who.is_some_and(|who| self.readers.contains(&who)) => Err(TryReadError::Deadlock),
            Some((writer, _)) if Some(writer) == who => Err(TryReadError::Deadlock),
            Some(_) => Err(TryReadError::WouldBlock),
            None if self.lost => Err(TryReadError::NotRecoverable),
            None if self.broken => Err(TryReadError::OwnerDied),
            None => Ok(()),
        }
    }

    /// Whether a writer gets it as broken, or why it does not get it.
    fn writes(&self, who: Option<usize>) -> Result<bool, &'static str> {
        match self.writer {
            _ if who.is_some_and(|who| self.readers.contains(&who)) => Err("deadlock"),
            Some((writer, _)) if Some(writer) == who => Err("deadlock"),
            Some(_) => Err("would block"),
            None if self.lost => Err("not recoverable"),
            None if !self.readers.is_empty() => Err("would block"),
            None => Ok(self.broken),
        }
    }
}

/// What `inspect` finds wrong in the segment.
pub fn problems(segment: &Segment) -> Vec<String> {
    let file = std::fs::File::from(segment.as_fd().try_clone_to_owned().unwrap());
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
    let report = inspect(&&bytes[..], |_| Thread::Unknown, |_| ());
    report.problems.iter().map(|problem| format!("{problem:?}")).collect()
}

fn name<G>(error: &TryLockError<G>) -> &'static str {
    match error {
        TryLockError::Deadlock => "deadlock",
        TryLockError::WouldBlock => "would block",
        TryLockError::NotRecoverable => "not recoverable",
        _ => "another error",
    }
}

pub fn reader_writer(acts: &[Act]) {
    let lock = RwLock::memfd(&Options::new().slots(5), 0u64).unwrap();
    let people = [(); PEOPLE].map(|()| lock.attach().unwrap());
    let mut plain = Plain::default();
    let mut shares = BTreeMap::new();
    let mut all = None;
    for &act in acts {
        match act {
            Act::Read(who) => match (plain.reads(Some(who)), lock.try_read(&people[who])) {
                (Ok(()), Ok(share)) => {
                    plain.readers.insert(who);
                    shares.insert(who, share);
                }
                (expected, found) => assert_eq!(expected.err(), found.err()),
            },
            Act::Write { who, repair } => {
                let (broken, guard) = match lock.try_write(&people[who]) {
                    Ok(guard) => (Ok(false), Some(guard)),
                    Err(TryLockError::OwnerDied(died)) => (Ok(true), Some(died.into_guard())),
                    Err(error) => (Err(name(&error)), None),
                };
                assert_eq!(plain.writes(Some(who)), broken);
                if let Some(mut guard) = guard {
                    assert_eq!(guard.needs_repair(), plain.broken);
                    if repair {
                        guard.mark_consistent();
                    }
                    plain.writer = Some((who, repair || !plain.broken));
                    all = Some(guard);
                }
            }
            Act::Leave(who) => {
                if plain.readers.remove(&who) {
                    shares.remove(&who);
                } else if let Some((_, repaired)) = plain.writer.take_if(|(writer, _)| *writer == who) {
                    all = None;
                    plain.lost |= !repaired;
                    plain.broken = false;
                }
            }
            Act::Panic => {
                if let Some(guard) = all.take() {
                    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                        let _guard = guard;
                        std::panic::resume_unwind(Box::new(()));
                    }));
                    assert!(caught.is_err());
                    plain.writer = None;
                    plain.broken = true;
                }
            }
            Act::Die { writing: false } => {
                let expected = plain.reads(None);
                dies(|| {
                    let me = lock.attach().unwrap();
                    assert_eq!(lock.try_read(&me).map(std::mem::forget), expected);
                    std::mem::forget(me);
                    0
                });
            }
            Act::Die { writing: true } => {
                let expected = plain.writes(None);
                dies(|| {
                    let me = lock.attach().unwrap();
                    let had = match lock.try_write(&me) {
                        Ok(guard) => {
                            std::mem::forget(guard);
                            Ok(false)
                        }
                        Err(TryLockError::OwnerDied(died)) => {
                            std::mem::forget(died);
                            Ok(true)
                        }
                        Err(error) => Err(name(&error)),
                    };
                    assert_eq!(had, expected);
                    std::mem::forget(me);
                    0
                });
                plain.broken |= expected.is_ok();
            }
        }
        assert_eq!(problems(lock.segment()), Vec::<String>::new());
    }
}

/// Of each act, who does it: 0 to 3 takes a permit, 4 to 6 gives one back, 7 is a process that takes one and ends.
pub fn semaphore(permits: usize, acts: &[(usize, u8)]) {
    let semaphore = Semaphore::memfd(&Options::new().slots(5), permits).unwrap();
    let people = [(); PEOPLE].map(|()| semaphore.attach().unwrap());
    // Who has which permit; and those of the dead.
    let mut held: Vec<(usize, Permit<'_>)> = Vec::new();
    let mut dead = BTreeSet::new();
    for &(who, what) in acts {
        match what {
            0..=3 => match semaphore.try_acquire(&people[who]) {
                Ok(permit) => {
                    assert!(permit.number() < permits);
                    assert!(held.iter().all(|(_, other)| other.number() != permit.number()));
                    assert_eq!(permit.from_the_dead(), dead.remove(&permit.number()));
                    held.push((who, permit));
                }
                Err(error) => {
                    assert_eq!(held.len(), permits);
                    let own = held.iter().all(|&(holder, _)| holder == who);
                    assert_eq!(error, if own { TryAcquireError::Deadlock } else { TryAcquireError::WouldBlock });
                }
            },
            4..=6 => {
                let mine = held.iter().position(|&(holder, _)| holder == who);
                mine.map(|index| held.remove(index));
            }
            _ => {
                // One more than its number.
                let had = dies(|| {
                    let me = semaphore.attach().unwrap();
                    let had = semaphore.try_acquire(&me).map_or(0, |permit| {
                        let number = permit.number();
                        std::mem::forget(permit);
                        1 + number
                    });
                    std::mem::forget(me);
                    had as u8
                });
                assert_eq!(had > 0, held.len() < permits);
                dead.extend(usize::from(had).checked_sub(1));
            }
        }
        assert_eq!(semaphore.available(), permits - held.len());
        assert_eq!(problems(semaphore.segment()), Vec::<String>::new());
    }
}

#[test]
fn a_reader_is_refused_until_a_writer_has_repaired() {
    use ownerdead::lock::LockError;
    let lock = RwLock::memfd(&Options::new(), 1u64).unwrap();
    dies(|| {
        let me = lock.attach().unwrap();
        std::mem::forget(lock.write(&me));
        std::mem::forget(me);
        0
    });
    let me = lock.attach().unwrap();
    for _ in 0..2 {
        assert_eq!(lock.try_read(&me).map(|guard| *guard), Err(TryReadError::OwnerDied));
    }
    match lock.write(&me) {
        Err(LockError::OwnerDied(died)) => died.into_guard().mark_consistent(),
        _ => panic!("the last writer died"),
    }
    assert_eq!(lock.try_read(&me).map(|guard| *guard), Ok(1));
}
