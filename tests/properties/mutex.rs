//! The mutexes in step with plain state machines.

use super::death::dies;
use ownerdead::lock::{FutexMutex, RobustMutex, TimedOut, TryLockError};
use ownerdead::segment::Options;
use std::time::Duration;

/// What can be done to a mutex, by one of three threads' attachments (all of this thread, which a mutex cannot tell).
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Locks and keeps it, if it can be had.
    Lock {
        who: usize,
        repair: bool,
    },
    Unlock,
    /// A process locks it, if it can be had, and ends.
    DieHolding,
}

pub const PEOPLE: usize = 3;

/// The plain model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Free,
    OwnerDied,
    Held { repaired: bool },
    NotRecoverable,
}

pub fn robust(operations: &[Operation]) {
    let mutex = RobustMutex::memfd(&Options::new().slots(5), 0u64).unwrap();
    let people = [(); PEOPLE].map(|()| mutex.attach().unwrap());
    let mut guard = None;
    let mut state = State::Free;
    for &operation in operations {
        match operation {
            Operation::Lock { who, repair } => {
                state = match (state, mutex.try_lock(&people[who])) {
                    (State::Free, Ok(had)) => {
                        guard = Some(had);
                        State::Held { repaired: true }
                    }
                    (State::OwnerDied, Err(TryLockError::OwnerDied(died))) => {
                        let mut had = died.into_guard();
                        if repair {
                            had.mark_consistent();
                        }
                        assert_eq!(had.needs_repair(), !repair);
                        guard = Some(had);
                        State::Held { repaired: repair }
                    }
                    (held @ State::Held { .. }, Err(TryLockError::WouldBlock | TryLockError::Deadlock)) => held,
                    (State::NotRecoverable, Err(TryLockError::NotRecoverable)) => State::NotRecoverable,
                    (state, result) => panic!("{state:?}: {result:?}"),
                };
            }
            Operation::Unlock => {
                guard = None;
                state = match state {
                    State::Held { repaired: true } => State::Free,
                    State::Held { repaired: false } => State::NotRecoverable,
                    state => state,
                };
            }
            Operation::DieHolding => {
                let had = dies(|| {
                    let me = mutex.attach().unwrap();
                    let had = match mutex.try_lock(&me) {
                        Ok(guard) => {
                            std::mem::forget(guard);
                            true
                        }
                        Err(TryLockError::OwnerDied(died)) => {
                            std::mem::forget(died);
                            true
                        }
                        Err(_) => false,
                    };
                    std::mem::forget(me);
                    had.into()
                });
                assert_eq!(had != 0, matches!(state, State::Free | State::OwnerDied));
                if had != 0 {
                    state = State::OwnerDied;
                }
            }
        }
    }
    drop(guard);
}

pub fn futex(operations: &[Operation]) {
    let mutex = FutexMutex::memfd(&Options::new(), 0u64).unwrap();
    let (mut guard, mut dead) = (None, false);
    for &operation in operations {
        let locked = guard.is_some() || dead;
        match operation {
            Operation::Lock { who, .. } => {
                let had = if who == 0 { mutex.lock_timeout(Duration::ZERO) } else { mutex.try_lock().ok_or(TimedOut) };
                assert_eq!(had.is_err(), locked);
                guard = had.ok().or(guard);
            }
            Operation::Unlock => guard = None,
            Operation::DieHolding => {
                let had = dies(|| mutex.try_lock().map(std::mem::forget).is_some().into());
                assert_eq!(had == 0, locked);
                dead |= had != 0;
            }
        }
    }
}
