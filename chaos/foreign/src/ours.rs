//! The robust mutex of this project, for comparison.

use crate::locks::Lock;
use ownerdead::harness::kill::Memory;
use ownerdead::lock::{Guard, LockError, RobustMutex, TryLockError};
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;
use ownerdead::sync::futex::look_again_after;
use std::io;
use std::time::Duration;

/// A mutex, and two numbers in it.
pub struct Ours {
    mutex: RobustMutex<[u64; 2]>,
    memory: Memory,
}

impl Ours {
    pub fn new() -> io::Result<Self> {
        // A wake that it loses is to be seen, as glibc's is: by default a sleeper looks again after 100 ms, and would only be late.
        look_again_after(Duration::MAX);
        let mutex = RobustMutex::memfd(&Options::new().slots(64), [0; 2]).map_err(io::Error::other)?;
        let memory = Memory::of(mutex.segment())?;
        Ok(Self { mutex, memory })
    }
}

fn inside<T>(mut guard: Guard<'_, [u64; 2]>, told: bool, inside: impl FnOnce(&mut [u64; 2], bool) -> T) -> T {
    let done = inside(&mut guard, told);
    if told {
        guard.mark_consistent();
    }
    done
}

impl Lock for Ours {
    type Me<'s> = Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn join(&self) -> Attachment {
        self.mutex.attach().expect("a free slot")
    }

    fn hold<T>(&self, me: &mut Attachment, then: impl FnOnce(&mut [u64; 2], bool) -> T) -> T {
        match self.mutex.lock(me) {
            Ok(guard) => inside(guard, false, then),
            Err(LockError::OwnerDied(died)) => inside(died.into_guard(), true, then),
            Err(error) => panic!("lock: {error}"),
        }
    }

    fn try_hold<T>(&self, me: &mut Attachment, then: impl FnOnce(&mut [u64; 2], bool) -> T) -> Result<T, String> {
        match self.mutex.try_lock(me) {
            Ok(guard) => Ok(inside(guard, false, then)),
            Err(TryLockError::OwnerDied(died)) => Ok(inside(died.into_guard(), true, then)),
            Err(error) => Err(format!("try_lock: {error}, and nobody else lives")),
        }
    }

    fn word(&self) -> String {
        "see `ownerdead inspect`".into()
    }
}
