//! The mutexes, and condition variables.

use super::{NOW, VALUE, WHOLE, inherited, told};
use crate::memory::{Words, row};
use crate::parser::{Play, Structure, Turn, fixture, options, said};
use ownerdead::lock::{FutexGuard, FutexMutex, Guard, LockTimeoutError, RobustMutex, TryLockError, WaitError, Waited};
use ownerdead::owner::{Attachment, Holder};
use ownerdead::segment::{Kind, Segment};

pub fn all() -> Vec<Box<dyn Play>> {
    let robust = RobustMutex::memfd(&options(), WHOLE).expect("a mutex");
    let futex = FutexMutex::memfd(&options(), WHOLE).expect("a mutex");
    vec![fixture(Robust(robust)), fixture(Futex(futex))]
}

struct Robust(RobustMutex<u64>);
struct Futex(FutexMutex<u64>);

impl Robust {
    /// What a wait gives back, if it gives the lock back.
    fn waited<'s>(result: Result<(Guard<'s, u64>, Waited), WaitError<Guard<'s, u64>>>) -> Option<Guard<'s, u64>> {
        match result {
            Ok((guard, _)) => Some(guard),
            Err(WaitError::OwnerDied(died)) => Some(inherited(died)),
            Err(error) => {
                said(&error);
                match error {
                    WaitError::NotRepaired(guard) | WaitError::UnknownHolder(guard) => Some(guard),
                    _ => None,
                }
            }
        }
    }
}

impl Structure for Robust {
    type Handles<'s> = Option<Guard<'s, u64>>;

    const KIND: Kind = Kind::MUTEX;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        // SAFETY: this thread alone has the file, and changes it between operations only.
        unsafe { RobustMutex::<u64>::from_segment(segment) }.map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        _ = self.0.try_lock(me).map_err(|error| said(&error));
    }

    /// The lock's, twice, those of the condition variables, and the value.
    fn words(&self) -> Vec<Words> {
        vec![row(0, 1), row(0, 1), row(192, 8), row(VALUE, 1)]
    }

    fn step<'s>(
        &'s self,
        me: &'s Attachment,
        held: &mut Option<Guard<'s, u64>>,
        operation: u8,
        turn: &mut Turn<'_, '_>,
    ) {
        let condvar = self.0.condvars()[usize::from(turn.flags) % 4];
        match operation {
            0..=3 => match self.0.try_lock(me) {
                Ok(guard) => *held = Some(guard),
                Err(TryLockError::OwnerDied(died)) => *held = Some(inherited(died)),
                Err(error) => said(&error),
            },
            4..=7 => match self.0.lock_timeout(me, NOW) {
                Ok(guard) => *held = Some(guard),
                Err(LockTimeoutError::OwnerDied(died)) => *held = Some(inherited(died)),
                Err(error) => said(&error),
            },
            8 | 9 => *held = None,
            10 => {
                if let Some(guard) = held {
                    guard.mark_consistent();
                }
            }
            11 => {
                if let Some(guard) = held {
                    **guard = guard.wrapping_add(u64::from(guard.needs_repair()));
                }
            }
            12 => _ = told(condvar.notify_one(me)),
            13 => _ = told(condvar.notify_all(me)),
            14 => _ = condvar.notifications(),
            15..=17 => *held = held.take().and_then(|guard| Self::waited(condvar.wait_timeout(guard, NOW))),
            _ => {
                let number = u32::from(turn.input.byte());
                let holder = Holder { slot: number % 16, incarnation: number / 16 };
                *held = held.take().and_then(|guard| Self::waited(condvar.wait_or_death(guard, holder, Some(NOW))));
            }
        }
    }

    fn honest(&self, me: &Attachment) {
        let guard = self.0.try_lock(me).expect("nobody has it");
        assert_eq!(*guard, WHOLE);
        let [condvar, ..] = self.0.condvars();
        let (guard, waited) = condvar.wait_timeout(guard, NOW).expect("nobody has it");
        assert_eq!(waited, Waited::TimedOut);
        drop(guard);
        condvar.notify_all(me).expect("its own segment");
    }
}

impl Structure for Futex {
    type Handles<'s> = Option<FutexGuard<'s, u64>>;

    const KIND: Kind = Kind::FUTEX_MUTEX;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        // SAFETY: this thread alone has the file, and changes it between operations only.
        unsafe { FutexMutex::<u64>::from_segment(segment) }.map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, _me: &Attachment) {
        _ = self.0.try_lock();
    }

    fn words(&self) -> Vec<Words> {
        vec![row(0, 1), row(VALUE, 1)]
    }

    fn step<'s>(
        &'s self,
        _me: &'s Attachment,
        held: &mut Option<FutexGuard<'s, u64>>,
        operation: u8,
        _: &mut Turn<'_, '_>,
    ) {
        match operation {
            0..=6 => *held = self.0.try_lock().or(held.take()),
            7..=13 => *held = told(self.0.lock_timeout(NOW)).or(held.take()),
            _ => *held = None,
        }
    }

    fn honest(&self, _me: &Attachment) {
        let guard = self.0.try_lock().expect("nobody has it");
        assert_eq!(*guard, WHOLE);
        assert!(self.0.try_lock().is_none());
    }
}
