//! The mutexes in step with plain state machines.

use ownerdead::lock::{FutexMutex, RobustMutex, TimedOut, TryLockError};
use ownerdead::segment::Options;
use proptest::prelude::*;
use std::time::Duration;

/// What can be done to a mutex, by one of three threads' attachments (all of this thread, which a mutex cannot tell).
#[derive(Clone, Copy, Debug)]
enum LockOperation {
    /// Locks and keeps it, if it can be had.
    Lock {
        who: usize,
        repair: bool,
    },
    Unlock,
    /// A thread locks it, if it can be had, and ends.
    DieHolding,
}

fn lock_operation() -> impl Strategy<Value = LockOperation> {
    prop_oneof![
        4 => (0usize..3, any::<bool>()).prop_map(|(who, repair)| LockOperation::Lock { who, repair: repair || who > 0 }),
        4 => Just(LockOperation::Unlock),
        1 => Just(LockOperation::DieHolding),
    ]
}

/// The plain model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LockState {
    Free,
    OwnerDied,
    Held { repaired: bool },
    NotRecoverable,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_robust_mutex_is_a_state_machine(operations in prop::collection::vec(lock_operation(), 1..60)) {
        let mutex = RobustMutex::memfd(&Options::new().slots(5), 0u64).unwrap();
        let threads = [(); 3].map(|()| mutex.attach().unwrap());
        let mut guard = None;
        let mut state = LockState::Free;
        for operation in operations {
            match operation {
                LockOperation::Lock { who, repair } => {
                    let result = mutex.try_lock(&threads[who]);
                    state = match (state, result) {
                        (LockState::Free, Ok(had)) => {
                            guard = Some(had);
                            LockState::Held { repaired: true }
                        }
                        (LockState::OwnerDied, Err(TryLockError::OwnerDied(died))) => {
                            let mut had = died.into_guard();
                            if repair {
                                had.mark_consistent();
                            }
                            prop_assert_eq!(had.needs_repair(), !repair);
                            guard = Some(had);
                            LockState::Held { repaired: repair }
                        }
                        (held @ LockState::Held { .. }, Err(TryLockError::WouldBlock | TryLockError::Deadlock)) => held,
                        (LockState::NotRecoverable, Err(TryLockError::NotRecoverable)) => LockState::NotRecoverable,
                        (state, result) => return Err(TestCaseError::fail(format!("{state:?}: {result:?}"))),
                    };
                }
                LockOperation::Unlock => {
                    guard = None;
                    state = match state {
                        LockState::Held { repaired: true } => LockState::Free,
                        LockState::Held { repaired: false } => LockState::NotRecoverable,
                        state => state,
                    };
                }
                LockOperation::DieHolding => {
                    let (had, id) = std::thread::scope(|scope| scope.spawn(|| {
                        let me = mutex.attach().unwrap();
                        let had = match mutex.try_lock(&me) {
                            Ok(guard) => { std::mem::forget(guard); true }
                            Err(TryLockError::OwnerDied(died)) => { std::mem::forget(died); true }
                            Err(_) => false,
                        };
                        let id = me.id();
                        std::mem::forget(me);
                        (had, id)
                    }).join().unwrap());
                    while mutex.table().dead(id) == Some(false) {
                        std::thread::yield_now();
                    }
                    prop_assert_eq!(had, matches!(state, LockState::Free | LockState::OwnerDied));
                    if had {
                        state = LockState::OwnerDied;
                    }
                }
            }
        }
        drop(guard);
    }
    #[test]
    fn a_futex_mutex_is_locked_or_not(operations in prop::collection::vec(lock_operation(), 1..60)) {
        let mutex = FutexMutex::memfd(&Options::new(), 0u64).unwrap();
        let (mut guard, mut dead) = (None, false);
        for operation in operations {
            let locked = guard.is_some() || dead;
            match operation {
                LockOperation::Lock { who, .. } => {
                    let had = if who == 0 { mutex.lock_timeout(Duration::ZERO) } else { mutex.try_lock().ok_or(TimedOut) };
                    prop_assert_eq!(had.is_err(), locked);
                    guard = had.ok().or(guard);
                }
                LockOperation::Unlock => guard = None,
                LockOperation::DieHolding => {
                    let had = std::thread::scope(|scope| {
                        scope.spawn(|| mutex.try_lock().map(std::mem::forget).is_some()).join().unwrap()
                    });
                    prop_assert_eq!(had, !locked);
                    dead |= had;
                }
            }
        }
    }
}
