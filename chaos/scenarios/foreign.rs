//! A robust mutex of the C library's beside ours, held by the same thread and unmapped before the thread is killed. The kernel's walk
//! over what the thread holds stops at it. What was held before is not reached: a limit that README states, and `inspect` shows. What
//! was held after is told, and so is everything while the mutex is still mapped.

use super::{Pair, ZERO};
use crate::stage::{Stage, hang, keep};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::inspect::{Report, inspect};
use ownerdead::lock::{LockTimeoutError, RobustMutex, TryLockError};
use ownerdead::segment::Options;
use rand::RngExt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Signal: the victim holds both.
const HERE: u64 = 1;
const PAGE: usize = 4096;

/// A `pthread_mutex_t`, robust and shared between processes, in a shared mapping of its own.
struct Foreign(*mut libc::pthread_mutex_t);

impl Foreign {
    fn new() -> Self {
        let (rights, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping, at a place that the kernel chooses.
        let place = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, rights, shared, -1, 0) };
        assert_ne!(place, libc::MAP_FAILED);
        let mutex = place.cast::<libc::pthread_mutex_t>();
        // SAFETY: an all-zero attribute is overwritten by its init; the mutex lies in the mapping above, which is large enough.
        unsafe {
            let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
            assert_eq!(libc::pthread_mutexattr_init(&mut attributes), 0);
            assert_eq!(libc::pthread_mutexattr_setpshared(&mut attributes, libc::PTHREAD_PROCESS_SHARED), 0);
            assert_eq!(libc::pthread_mutexattr_setrobust(&mut attributes, libc::PTHREAD_MUTEX_ROBUST), 0);
            assert_eq!(libc::pthread_mutex_init(mutex, &attributes), 0);
        }
        Self(mutex)
    }

    /// Its error number.
    fn lock(&self) -> i32 {
        // SAFETY: an initialised mutex, which is mapped.
        unsafe { libc::pthread_mutex_lock(self.0) }
    }

    fn unmap(&self) {
        // SAFETY: the mapping of `new`, which nothing refers to but the C library's list, which is what this is about: the thread
        // takes no other mutex of the C library's any more.
        assert_eq!(unsafe { libc::munmap(self.0.cast(), PAGE) }, 0);
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.unmap();
    }
}

pub fn run(stage: &mut Stage) {
    let stamps = &shared(1)[0];
    while stage.goes_on() {
        // Which of the two is taken first, and whether the foreign one is unmapped.
        for [ours_first, unmapped] in [[true, true], [false, true], [true, false], [false, false]] {
            round(stage, stamps, ours_first, unmapped);
        }
    }
}

fn round(stage: &mut Stage, stamps: &'static Stamps, ours_first: bool, unmapped: bool) {
    let mutex = RobustMutex::memfd(&Options::new().slots(4), ZERO).expect("a mutex");
    stage.watch(&[("mutex", mutex.segment())]);
    let me = mutex.attach().expect("a free slot");
    let foreign = Foreign::new();
    stamps.reset();
    stamps.signal.set(0);
    let mut victim = stage.spawn("holder of both", stamps, || {
        let attach = || {
            stamps.enter(Phase::Attaching);
            mutex.attach().expect("a free slot")
        };
        let mine = ours_first.then(attach);
        assert_eq!(foreign.lock(), 0, "pthread_mutex_lock");
        let mine = mine.unwrap_or_else(attach);
        let mut guard = mutex.lock(&mine).expect("a free lock");
        guard.left += 1;
        stamps.enter(Phase::Holding);
        if unmapped {
            foreign.unmap();
        }
        stamps.signal.set(HERE);
        loop {
            std::hint::spin_loop();
        }
    });
    stage.wait_for("a holder of both", || stamps.signal.get() == HERE);
    stage.pause(Duration::from_micros(50));
    let since = stage.kill(&mut victim, stamps);
    let how = format!("ours {}, the other {}", before(ours_first), if unmapped { "unmapped" } else { "mapped" });
    if ours_first && unmapped {
        untold(stage, &mutex, &me, &how);
    } else {
        match mutex.lock_timeout(&me, hang()) {
            Err(LockTimeoutError::OwnerDied(died)) => died.into_guard().mark_consistent(),
            other => stage.finding(&format!("{how}: {:?}, expected OwnerDied", other.map(|_| "a plain guard"))),
        }
        stage.recovered(since);
        stage.expect(report(&mutex).participants.is_some_and(|table| table.gone == 0), || {
            format!("{how}: inspect tells of a thread that is gone, and the kernel has told of it")
        });
    }
    if !unmapped {
        let told = foreign.lock();
        stage.expect(told == libc::EOWNERDEAD, || format!("{how}: the other mutex gives {told}, expected EOWNERDEAD"));
        // SAFETY: an initialised mutex, which this thread has: it is not to stay on the stage's own list.
        unsafe { libc::pthread_mutex_consistent(foreign.0) };
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_unlock(foreign.0) };
    }
    stage.cases += 1;
}

fn before(ours_first: bool) -> &'static str {
    if ours_first { "attached before the other mutex was taken" } else { "attached after the other mutex was taken" }
}

/// The limit: the victim is gone, has been waited for, and its lock stays its own. `inspect` says why.
fn untold(stage: &mut Stage, mutex: &RobustMutex<Pair>, me: &ownerdead::owner::Attachment, how: &str) {
    let tried = matches!(mutex.try_lock(me), Err(TryLockError::WouldBlock));
    stage.expect(tried, || format!("{how}: the death was told, though README's Limits says that it is not"));
    let found = report(mutex);
    let gone = found.participants.map_or(0, |table| table.gone);
    stage.expect(gone == 1 && found.problems.is_empty(), || {
        format!("{how}: inspect tells of {gone} threads that are gone, expected 1; problems: {:?}", found.problems)
    });
    let noted = found.notes.iter().any(|note| note.field.contains(".life"));
    stage.expect(noted, || format!("{how}: no note of a life word whose TID does not exist: {:?}", found.notes));
    // A time-out is all that there is, and it takes nothing.
    if stage.rng.random_bool(0.1) {
        let waited = matches!(mutex.lock_timeout(me, Duration::from_millis(1)), Err(LockTimeoutError::TimedOut));
        stage.expect(waited, || format!("{how}: the lock of one who was not told dead was taken"));
    }
}

fn report(mutex: &RobustMutex<Pair>) -> Report {
    let file = File::from(mutex.segment().as_fd().try_clone_to_owned().expect("a descriptor"));
    let mut bytes = vec![0; file.metadata().expect("a memfd").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("all of it");
    inspect(&&bytes[..], keep::thread, |_| ())
}
