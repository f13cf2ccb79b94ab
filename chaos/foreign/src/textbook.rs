//! The textbook robust mutex, the models' fixture, in real shared memory; and bugs in it, by their numbers among the known ones.

#[path = "../../../models/fixtures/textbook.rs"]
mod fixture;

use crate::locks::{Lock, named};
use fixture::{Plant, Taker, Textbook};
use ownerdead::harness::kill::Memory;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use ownerdead::sync::robust::{OWNER_DIED, TID_MASK, WORD_OFFSET};
use ownerdead::sync::shm::Shared;
use ownerdead::sync::thread;
use rustix::thread::futex;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

const PAGE: usize = 4096;

/// The bugs, each with its number.
pub const PLANTS: [(u32, Plant); 9] = [
    (24, Plant::PendingAfterTheSwap),
    (25, Plant::PendingClearedBeforeTheLink),
    (26, Plant::UnlinkedBeforePending),
    (27, Plant::PendingNeverCleared),
    (28, Plant::WrongOffset),
    (29, Plant::NeverLinked),
    (35, Plant::TakeOverDropsWaiters),
    (36, Plant::UnlockInTwoSteps),
    (41, Plant::PendingSinksInUnlock),
];

/// The lock word is at `WORD_OFFSET` of the first page, another one at the same place of the second; what is guarded, at the
/// start of the third.
pub struct Real {
    mutex: Textbook,
    memory: Arc<Memory>,
    plant: Plant,
    reuse: bool,
}

impl Real {
    /// `number` of a known bug, 0 for none.
    pub fn new(number: u32) -> io::Result<Self> {
        let plant = PLANTS.iter().find(|(known, _)| *known == number).map_or(Plant::Nothing, |&(_, plant)| plant);
        let memory = Arc::new(Memory::zeroed(3 * PAGE)?);
        let word = |page: usize| {
            // SAFETY: three pages are mapped, so it is in bounds and aligned.
            let place = unsafe { memory.start().add(page * PAGE + WORD_OFFSET) };
            let keep: Arc<Memory> = Arc::clone(&memory);
            // SAFETY: an aligned word in memory that `keep` keeps mapped; any bytes are an atomic.
            unsafe { Shared::from_raw(place.cast::<AtomicU64>(), keep) }
        };
        let mutex = Textbook::over([word(0), word(1)], plant, sleep);
        Ok(Self { mutex, memory, plant, reuse: plant == Plant::PendingNeverCleared })
    }

    fn data(&self) -> NonNull<[u64; 2]> {
        // SAFETY: three pages are mapped.
        unsafe { self.memory.start().add(2 * PAGE).cast() }
    }

    fn inside<T>(&self, me: &mut Taker, told: bool, inside: impl FnOnce(&mut [u64; 2], bool) -> T) -> T {
        // SAFETY: in bounds and aligned; this thread has the lock. (With a bug in it, another may too: that is what is looked for, and
        // these are plain machine words.)
        let done = inside(unsafe { self.data().as_mut() }, told);
        me.unlock();
        done
    }
}

/// `FUTEX_WAIT`, without an end: `ownerdead::sync::futex` looks again now and then, and would hide a lost wake-up.
fn sleep(word: &AtomicU64, seen: u32) {
    let low = std::ptr::from_ref(word).cast();
    // SAFETY: little-endian, so it is the low half of a living atomic.
    let _ = futex::wait(unsafe { &*low }, futex::Flags::empty(), seen, None);
}

impl Lock for Real {
    type Me<'s> = Taker;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn join(&self) -> Taker {
        self.mutex.taker()
    }

    fn hold<T>(&self, me: &mut Taker, inside: impl FnOnce(&mut [u64; 2], bool) -> T) -> T {
        let told = me.lock();
        self.inside(me, told, inside)
    }

    fn try_hold<T>(&self, me: &mut Taker, inside: impl FnOnce(&mut [u64; 2], bool) -> T) -> Result<T, String> {
        let word = self.mutex.word().load(Relaxed) as u32;
        if word & TID_MASK != 0 && word & OWNER_DIED == 0 {
            return Err(
                "the lock word names a thread, and nobody else lives: the kernel was not told where the word is".into(),
            );
        }
        Ok(self.hold(me, inside))
    }

    fn word(&self) -> String {
        named(self.mutex.word().load(Relaxed) as u32)
    }

    fn reuse(&self) -> bool {
        if self.reuse {
            // A number that happens to be that of the thread.
            self.mutex.word().store(thread::id().into(), Relaxed);
        }
        self.reuse
    }

    fn reused(&self) -> Result<(), String> {
        match self.mutex.word().load(Relaxed) as u32 & OWNER_DIED {
            0 => Ok(()),
            _ => Err(format!("what was no lock any more was marked as one whose owner died ({:?})", self.plant)),
        }
    }
}
