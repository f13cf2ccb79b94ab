//! Our life word and the C library's robust mutexes on one list, in any order of locking, and the real kernel's walk over it.

use crate::process::{Gate, for_ever, spawn};
use ownerdead::lock::{LockError, LockTimeoutError, RobustMutex};
use ownerdead::segment::Options;
use std::time::Duration;

/// A robust, process-shared `pthread_mutex_t` in memory that a forked child shares.
struct Pthread(*mut libc::pthread_mutex_t);

impl Pthread {
    fn new() -> Self {
        // SAFETY: a new anonymous shared mapping, never unmapped; the attributes and the mutex are initialised before use.
        unsafe {
            let place = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(place, libc::MAP_FAILED);
            let mutex = place.cast::<libc::pthread_mutex_t>();
            let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
            assert_eq!(libc::pthread_mutexattr_init(&mut attributes), 0);
            assert_eq!(libc::pthread_mutexattr_setpshared(&mut attributes, libc::PTHREAD_PROCESS_SHARED), 0);
            assert_eq!(libc::pthread_mutexattr_setrobust(&mut attributes, libc::PTHREAD_MUTEX_ROBUST), 0);
            assert_eq!(libc::pthread_mutex_init(mutex, &attributes), 0);
            Self(mutex)
        }
    }

    fn lock(&self) -> i32 {
        // SAFETY: an initialised mutex that is never destroyed.
        unsafe { libc::pthread_mutex_lock(self.0) }
    }

    fn unlock(&self) {
        // SAFETY: as above; locked by this thread.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0) }, 0);
    }

    fn repair_and_unlock(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_mutex_consistent(self.0) }, 0);
        self.unlock();
    }
}

/// One step of a victim.
#[derive(Clone, Copy, Debug)]
enum Step {
    Attach,
    Pthread(usize),
    UnlockPthread(usize),
    /// Attaches once more, and leaves again.
    Visit,
}
use Step::{Attach, Pthread as Lock, UnlockPthread as Unlock, Visit};

/// The victim takes these steps, locks our mutex and is killed: all of its locks must be told as a dead one's.
fn killed_after(steps: &[Step]) {
    let mutex = RobustMutex::memfd(&Options::new(), 0u64).unwrap();
    let theirs = [Pthread::new(), Pthread::new()];
    let ready = Gate::new();
    let mut held = [false; 2];
    for step in steps {
        match *step {
            Lock(index) => held[index] = true,
            Unlock(index) => held[index] = false,
            Attach | Visit => {}
        }
    }
    let mut victim = spawn(|| {
        let mut me = None;
        for step in steps {
            match *step {
                Attach => me = Some(mutex.attach().unwrap()),
                Lock(index) => assert_eq!(theirs[index].lock(), 0),
                Unlock(index) => theirs[index].unlock(),
                Visit => mutex.attach().unwrap().detach().unwrap(),
            }
        }
        let me = me.expect("every victim attaches");
        std::mem::forget(mutex.lock(&me).unwrap());
        ready.open();
        for_ever();
    });
    ready.wait();
    victim.kill();
    let me = mutex.attach().unwrap();
    match mutex.lock_timeout(&me, Duration::from_secs(20)) {
        Err(LockTimeoutError::OwnerDied(died)) => died.into_guard().mark_consistent(),
        other => panic!("{steps:?}: ours gave {other:?}"),
    }
    for (their, held) in theirs.iter().zip(held) {
        let result = their.lock();
        assert_eq!(result, if held { libc::EOWNERDEAD } else { 0 }, "{steps:?}: pthread");
        if held { their.repair_and_unlock() } else { their.unlock() }
    }
}

#[test]
fn both_kinds_survive_a_kill_in_any_order_of_locking() {
    for steps in [
        &[Attach][..],
        &[Attach, Lock(0)],
        &[Lock(0), Attach],
        &[Lock(0), Attach, Lock(1)],
        &[Attach, Lock(0), Lock(1)],
        &[Lock(0), Lock(1), Attach],
        &[Attach, Lock(0), Unlock(0)],
        &[Lock(0), Attach, Unlock(0)],
        &[Lock(0), Attach, Lock(1), Unlock(0)],
        &[Lock(0), Attach, Lock(1), Unlock(1), Unlock(0)],
        &[Attach, Visit, Lock(0)],
        &[Lock(0), Attach, Visit, Lock(1), Visit, Unlock(0)],
    ] {
        killed_after(steps);
    }
}

#[test]
fn a_sleeper_is_woken_by_the_death_of_the_holder() {
    let mutex = RobustMutex::memfd(&Options::new(), 0u64).unwrap();
    let (locked, sleeper_told) = (Gate::new(), Gate::new());
    let mut holder = spawn(|| {
        let me = mutex.attach().unwrap();
        std::mem::forget(mutex.lock(&me).unwrap());
        locked.open();
        for_ever();
    });
    locked.wait();
    let mut sleeper = spawn(|| {
        let me = mutex.attach().unwrap();
        sleeper_told.open();
        match mutex.lock(&me) {
            Err(LockError::OwnerDied(died)) => died.into_guard().mark_consistent(),
            other => panic!("{other:?}"),
        }
    });
    sleeper_told.wait();
    holder.kill();
    sleeper.succeeds();
}

#[test]
fn a_thread_that_ends_without_a_drop_counts_as_dead() {
    let mutex = RobustMutex::memfd(&Options::new(), 0u64).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let me = mutex.attach().unwrap();
            std::mem::forget(mutex.lock(&me).unwrap());
            std::mem::forget(me);
        });
    });
    let me = mutex.attach().unwrap();
    assert!(matches!(mutex.lock(&me), Err(LockError::OwnerDied(_))));
}

#[test]
fn exec_counts_as_death() {
    let mutex = RobustMutex::memfd(&Options::new(), 0u64).unwrap();
    let mut victim = spawn(|| {
        let me = mutex.attach().unwrap();
        std::mem::forget(mutex.lock(&me).unwrap());
        nix::unistd::execv(c"/bin/true", &[c"true"]).unwrap();
    });
    victim.succeeds();
    let me = mutex.attach().unwrap();
    assert!(matches!(mutex.lock(&me), Err(LockError::OwnerDied(_))));
}

#[test]
fn a_panic_while_locked_leaves_owner_died_to_the_next() {
    let mutex = RobustMutex::memfd(&Options::new(), 0u64).unwrap();
    let me = mutex.attach().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut guard = mutex.lock(&me).unwrap();
        *guard = 1;
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    match mutex.lock(&me) {
        Err(LockError::OwnerDied(died)) => {
            let mut guard = died.into_guard();
            assert_eq!(*guard, 1);
            guard.mark_consistent();
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(*mutex.lock(&me).unwrap(), 1);
}

#[test]
fn unrepaired_it_is_not_recoverable_for_all() {
    let mutex = RobustMutex::memfd(&Options::new(), 0u64).unwrap();
    let mut victim = spawn(|| {
        let me = mutex.attach().unwrap();
        std::mem::forget(mutex.lock(&me).unwrap());
    });
    victim.succeeds();
    let me = mutex.attach().unwrap();
    match mutex.lock(&me) {
        Err(LockError::OwnerDied(died)) => drop(died),
        other => panic!("{other:?}"),
    }
    assert!(matches!(mutex.lock(&me), Err(LockError::NotRecoverable)));
    assert!(matches!(mutex.try_lock(&me), Err(ownerdead::lock::TryLockError::NotRecoverable)));
}
