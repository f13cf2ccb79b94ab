//! The reader-writer lock and the semaphore in step with plain state machines.

use ownerdead::inspect::{Thread, inspect};
use ownerdead::lock::{LockError, RwLock, Semaphore, TryAcquireError, TryLockError, TryReadError};
use ownerdead::owner::{Attachment, Holder, Table};
use ownerdead::segment::{Options, Segment};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

/// Attachments of this thread, which a lock takes for threads.
const PEOPLE: usize = 3;

/// What can be done to a reader-writer lock.
#[derive(Clone, Copy, Debug)]
enum Act {
    Read(usize),
    Write {
        who: usize,
        repair: bool,
    },
    /// Gives up what one has.
    Leave(usize),
    /// The writer panics.
    Panic,
    /// A thread reads, or writes, if it can, and ends.
    Die {
        writing: bool,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0..PEOPLE;
    prop_oneof![
        4 => who.clone().prop_map(Act::Read),
        4 => (who.clone(), prop::bool::weighted(0.9)).prop_map(|(who, repair)| Act::Write { who, repair }),
        5 => who.prop_map(Act::Leave),
        1 => Just(Act::Panic),
        2 => any::<bool>().prop_map(|writing| Act::Die { writing }),
    ]
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

/// In a thread that ends with what it has.
pub fn dies(table: &Table, act: impl FnOnce() -> Holder + Send) {
    let id = std::thread::scope(|scope| scope.spawn(act).join().unwrap());
    while table.dead(id) == Some(false) {
        std::thread::yield_now();
    }
}

pub fn forget(me: Attachment) -> Holder {
    let id = me.id();
    std::mem::forget(me);
    id
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_writer_lock_is_a_state_machine(acts in prop::collection::vec(act(), 1..50)) {
        let lock = RwLock::memfd(&Options::new().slots(5), 0u64).unwrap();
        let people = [(); PEOPLE].map(|()| lock.attach().unwrap());
        let mut plain = Plain::default();
        let mut shares = BTreeMap::new();
        let mut all = None;
        for act in acts {
            match act {
                Act::Read(who) => match (plain.reads(Some(who)), lock.try_read(&people[who])) {
                    (Ok(()), Ok(share)) => {
                        plain.readers.insert(who);
                        shares.insert(who, share);
                    }
                    (expected, found) => prop_assert_eq!(expected.err(), found.err()),
                },
                Act::Write { who, repair } => {
                    let (broken, guard) = match lock.try_write(&people[who]) {
                        Ok(guard) => (Ok(false), Some(guard)),
                        Err(TryLockError::OwnerDied(died)) => (Ok(true), Some(died.into_guard())),
                        Err(error) => (Err(name(&error)), None),
                    };
                    prop_assert_eq!(plain.writes(Some(who)), broken);
                    if let Some(mut guard) = guard {
                        prop_assert_eq!(guard.needs_repair(), plain.broken);
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
                        prop_assert!(caught.is_err());
                        plain.writer = None;
                        plain.broken = true;
                    }
                }
                Act::Die { writing: false } => {
                    let expected = plain.reads(None);
                    dies(lock.table(), || {
                        let me = lock.attach().unwrap();
                        assert_eq!(lock.try_read(&me).map(std::mem::forget), expected);
                        forget(me)
                    });
                }
                Act::Die { writing: true } => {
                    let expected = plain.writes(None);
                    dies(lock.table(), || {
                        let me = lock.attach().unwrap();
                        let had = match lock.try_write(&me) {
                            Ok(guard) => { std::mem::forget(guard); Ok(false) }
                            Err(TryLockError::OwnerDied(died)) => { std::mem::forget(died); Ok(true) }
                            Err(error) => Err(name(&error)),
                        };
                        assert_eq!(had, expected);
                        forget(me)
                    });
                    plain.broken |= expected.is_ok();
                }
            }
            prop_assert_eq!(problems(lock.segment()), Vec::<String>::new());
        }
    }

    #[test]
    fn a_semaphore_counts(permits in 1usize..4, acts in prop::collection::vec((0..PEOPLE, 0u8..8), 1..60)) {
        let semaphore = Semaphore::memfd(&Options::new().slots(5), permits).unwrap();
        let people = [(); PEOPLE].map(|()| semaphore.attach().unwrap());
        // Who has which permit; and those of the dead.
        let mut held: Vec<(usize, _)> = Vec::new();
        let mut dead = BTreeSet::new();
        for (who, what) in acts {
            match what {
                0..=3 => match semaphore.try_acquire(&people[who]) {
                    Ok(permit) => {
                        prop_assert!(permit.number() < permits);
                        prop_assert!(held.iter().all(|(_, other): &(usize, ownerdead::lock::Permit<'_>)| other.number() != permit.number()));
                        prop_assert_eq!(permit.from_the_dead(), dead.remove(&permit.number()));
                        held.push((who, permit));
                    }
                    Err(error) => {
                        prop_assert_eq!(held.len(), permits);
                        let own = held.iter().all(|&(holder, _)| holder == who);
                        prop_assert_eq!(error, if own { TryAcquireError::Deadlock } else { TryAcquireError::WouldBlock });
                    }
                },
                4..=6 => {
                    let mine = held.iter().position(|&(holder, _)| holder == who);
                    mine.map(|index| held.remove(index));
                }
                _ => {
                    let had = std::sync::Mutex::new(None);
                    dies(semaphore.table(), || {
                        let me = semaphore.attach().unwrap();
                        if let Ok(permit) = semaphore.try_acquire(&me) {
                            *had.lock().unwrap() = Some(permit.number());
                            std::mem::forget(permit);
                        }
                        forget(me)
                    });
                    let had = had.into_inner().unwrap();
                    prop_assert_eq!(had.is_some(), held.len() < permits);
                    dead.extend(had);
                }
            }
            prop_assert_eq!(semaphore.available(), permits - held.len());
            prop_assert_eq!(problems(semaphore.segment()), Vec::<String>::new());
        }
    }
}

#[test]
fn a_reader_is_refused_until_a_writer_has_repaired() {
    let lock = RwLock::memfd(&Options::new(), 1u64).unwrap();
    dies(lock.table(), || {
        let me = lock.attach().unwrap();
        std::mem::forget(lock.write(&me));
        forget(me)
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
