//! Who has a share of a reader-writer lock, or all of it, or a permit of a semaphore is stopped.

use super::{SHORT, ZERO, stand, stopped};
use crate::scenarios::Pair;
use crate::stage::{Stage, hang};
use crate::stamps::{Phase, Stamps};
use ownerdead::lock::{
    AcquireTimeoutError, LockTimeoutError, ReadError, RwLock, Semaphore, TryAcquireError, TryLockError, TryReadError,
};
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;

fn lock(stage: &mut Stage) -> (RwLock<Pair>, Attachment) {
    let lock = RwLock::memfd(&Options::new().slots(4), ZERO).expect("a lock");
    stage.watch(&[("lock", lock.segment())]);
    let me = lock.attach().expect("a free slot");
    (lock, me)
}

/// Others read beside it; a writer waits for it.
pub fn stop_a_reader(stage: &mut Stage, stamps: &'static Stamps) {
    let (lock, me) = lock(stage);
    let hold = || {
        let me = lock.attach().expect("a free slot");
        let guard = lock.read(&me).expect("a free lock");
        stamps.enter(Phase::Holding);
        stand(stamps);
        if guard.left != 0 {
            stamps.complain(1, guard.left, 0);
        }
        drop(guard);
        stamps.enter(Phase::Outside);
    };
    stopped(stage, stamps, hold, |stage| {
        let tried = matches!(lock.try_write(&me), Err(TryLockError::WouldBlock));
        stage.expect(tried, || "a paused reader lost its share to try_write".into());
        let waited = matches!(lock.write_timeout(&me, SHORT), Err(LockTimeoutError::TimedOut));
        stage.expect(waited, || "a paused reader lost its share to write_timeout".into());
        let beside = lock.try_read(&me).is_ok();
        stage.expect(beside, || "nobody can read beside a paused reader".into());
    });
    match lock.write_timeout(&me, hang()) {
        Ok(mut guard) => guard.left = 1,
        Err(error) => stage.finding(&format!("after a reader's pause: {error}")),
    }
}

/// Nobody else has it.
pub fn stop_a_writer(stage: &mut Stage, stamps: &'static Stamps) {
    let (lock, me) = lock(stage);
    let hold = || {
        let me = lock.attach().expect("a free slot");
        let mut guard = lock.write(&me).expect("a free lock");
        stamps.enter(Phase::Holding);
        guard.left += 1;
        stand(stamps);
        guard.right += 1;
        drop(guard);
        stamps.enter(Phase::Outside);
    };
    let died = stopped(stage, stamps, hold, |stage| {
        let tried = matches!(lock.try_read(&me), Err(TryReadError::WouldBlock));
        stage.expect(tried, || "a paused writer lost its lock to try_read".into());
        let waited = matches!(lock.write_timeout(&me, SHORT), Err(LockTimeoutError::TimedOut));
        stage.expect(waited, || "a paused writer lost its lock to write_timeout".into());
    });
    let read = match lock.read(&me) {
        Ok(guard) => Some(guard.left == guard.right),
        Err(ReadError::OwnerDied) => None,
        Err(error) => return stage.finding(&format!("after a writer's pause: {error}")),
    };
    let expected = if died { None } else { Some(true) };
    stage.expect(read == expected, || format!("after a writer's pause: whole {read:?}, expected {expected:?}"));
    let told = matches!(lock.try_write(&me), Err(TryLockError::OwnerDied(_)));
    stage.expect(told == died, || format!("after a writer's pause: a death is told {told}, expected {died}"));
}

/// Its permit stays its own.
pub fn stop_a_permit(stage: &mut Stage, stamps: &'static Stamps) {
    let semaphore = Semaphore::memfd(&Options::new().slots(4), 1).expect("a semaphore");
    stage.watch(&[("semaphore", semaphore.segment())]);
    let me = semaphore.attach().expect("a free slot");
    let hold = || {
        let me = semaphore.attach().expect("a free slot");
        let permit = semaphore.acquire(&me).expect("a free permit");
        stamps.enter(Phase::Holding);
        stand(stamps);
        drop(permit);
        stamps.enter(Phase::Outside);
    };
    let died = stopped(stage, stamps, hold, |stage| {
        let tried = matches!(semaphore.try_acquire(&me), Err(TryAcquireError::WouldBlock));
        stage.expect(tried, || "a paused holder lost its permit to try_acquire".into());
        let waited = matches!(semaphore.acquire_timeout(&me, SHORT), Err(AcquireTimeoutError::TimedOut));
        stage.expect(waited, || "a paused holder lost its permit to acquire_timeout".into());
    });
    match semaphore.acquire_timeout(&me, hang()) {
        Ok(permit) => {
            let told = permit.from_the_dead();
            stage.expect(told == died, || format!("after the pause a death is told: {told}, expected {died}"));
        }
        Err(error) => stage.finding(&format!("after a holder's pause: {error}")),
    }
}
