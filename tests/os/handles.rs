//! Handles: what a clone is, what they say of themselves, and what a forked child may do with them.

use crate::process::{Gate, spawn};
use ownerdead::lock::{
    Arrival, Barrier, BarrierError, BarrierTimeoutError, FutexMutex, JoinError, LockError, LockTimeoutError,
    NotifyError, OnceCell, OnceError, ResetError, RobustMutex, TryLockError, WaitError,
};
use ownerdead::ring::broadcast;
use ownerdead::ring::mpsc::{claims, lanes, locked};
use ownerdead::ring::spsc::{
    Config, Consumer, PopError, PopTimeoutError, Producer, PushError, PushTimeoutError, Ring, TryPopError,
    TryPushError, WaitPeerError,
};
use ownerdead::segment::Options;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(5);

#[test]
fn a_clone_of_a_mutex_is_the_same_mutex() {
    let robust = RobustMutex::memfd(&Options::default(), 1u64).unwrap();
    // An attachment to the segment is one to the clone.
    let (me, other) = (robust.segment().attach(), robust.attach().unwrap());
    assert!(me.is_ok());
    let clone = robust.clone();
    let mut guard = clone.lock(&other).unwrap();
    assert_eq!(format!("{guard:?}"), "Guard { data: 1, needs_repair: false }");
    *guard = 2;
    assert!(matches!(robust.try_lock(&other), Err(TryLockError::Deadlock)));
    drop(guard);
    assert_eq!(*robust.lock(&other).unwrap(), 2);

    let futex = FutexMutex::memfd(&Options::default(), 1u64).unwrap();
    let clone = futex.clone();
    let mut guard = clone.lock();
    assert_eq!(format!("{guard:?}"), "FutexGuard(1)");
    *guard = 2;
    assert!(futex.try_lock().is_none());
    drop(guard);
    assert_eq!(*futex.lock(), 2);
}

#[test]
fn a_lock_that_somebody_alive_holds_times_out_and_what_a_dead_one_left_can_be_looked_at_first() {
    let mutex = RobustMutex::memfd(&Options::new(), 1u64).unwrap();
    let (one, two) = (mutex.attach().unwrap(), mutex.attach().unwrap());
    let guard = mutex.lock(&one).unwrap();
    assert!(matches!(mutex.lock_timeout(&two, SOON), Err(LockTimeoutError::TimedOut)));
    drop(guard);
    spawn(|| {
        let me = mutex.attach().unwrap();
        let mut guard = mutex.lock(&me).unwrap();
        *guard = 3;
        std::mem::forget(guard);
    })
    .succeeds();
    match mutex.lock(&two) {
        Err(LockError::OwnerDied(died)) => {
            assert_eq!((**died.guard(), format!("{died:?}")), (3, "OwnerDied { .. }".to_owned()));
            died.into_guard().mark_consistent();
        }
        other => panic!("{other:?}"),
    }
}

fn fork_with_a_reservation(producer: &mut Producer, consumer: &mut Consumer) {
    let mut reservation = producer.reserve(2, 9).unwrap();
    assert_eq!(reservation.len(), 9);
    assert!(format!("{reservation:?}").contains("32 bytes at 24"), "{reservation:?}");
    reservation.write(0, b"committed");
    let mut reservation = Some(reservation);
    let mut child = spawn(|| {
        assert_eq!(reservation.take().unwrap().commit(), Err(TryPushError::Forked));
        let mut bytes = Vec::new();
        assert_eq!(consumer.try_pop(&mut bytes), Err(TryPopError::Forked));
        assert_eq!(consumer.pop(&mut bytes), Err(PopError::Forked));
        assert_eq!(consumer.pop_timeout(&mut bytes, SOON), Err(PopTimeoutError::Forked));
        assert_eq!(consumer.discard(), Err(TryPopError::Forked));
        assert_eq!(consumer.wait_producer(None), Err(WaitPeerError::Forked));
    });
    child.succeeds();
    reservation.take().unwrap().commit().unwrap();
}

#[test]
fn a_forked_child_can_use_neither_handle_of_a_ring_nor_give_up_a_seat() {
    let ring = Ring::memfd(&Options::new(), &Config::new(4096).wipe(true)).unwrap();
    let me = ring.attach().unwrap();
    let mut producer = Some(ring.producer(&me).unwrap().into_inner());
    let mut consumer = Some(ring.consumer(&me).unwrap().into_inner());
    producer.as_mut().unwrap().push(1, b"kept").unwrap();
    fork_with_a_reservation(producer.as_mut().unwrap(), consumer.as_mut().unwrap());
    let mut child = spawn(|| {
        let producer_ref = producer.as_mut().unwrap();
        assert_eq!(producer_ref.push(0, b""), Err(PushError::Forked));
        assert_eq!(producer_ref.push_timeout(0, b"", SOON), Err(PushTimeoutError::Forked));
        assert_eq!(producer_ref.wait_consumer(None), Err(WaitPeerError::Forked));
        // The seats are the parent's: dropping the handles here gives up nothing.
        drop((producer.take(), consumer.take()));
    });
    child.succeeds();
    let (mut producer, mut consumer) = (producer.unwrap(), consumer.unwrap());
    let mut bytes = Vec::new();
    assert_eq!((consumer.pop(&mut bytes), bytes.as_slice()), (Ok(1), &b"kept"[..]));
    assert_eq!((consumer.pop(&mut bytes), bytes.as_slice()), (Ok(2), &b"committed"[..]));
    producer.push(3, b"still mine").unwrap();
    assert_eq!((producer.generation(), consumer.generation()), (0, 0));
    producer.close();
    consumer.close();
    assert!(!ring.producer(&me).unwrap().owner_died() && !ring.consumer(&me).unwrap().owner_died());
}

#[test]
fn a_forked_child_commits_no_record_that_its_parent_has_reserved() {
    for config in [broadcast::Config::lossy(256, 1), broadcast::Config::lossless(256, 1)] {
        let ring = broadcast::Ring::memfd(&Options::new(), &config).unwrap();
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        let mut reservation = Some(producer.reserve(1, 8).unwrap());
        reservation.as_mut().unwrap().write(0, b"reserved");
        spawn(|| assert_eq!(reservation.take().unwrap().commit(), Err(TryPushError::Forked))).succeeds();
        let mut bytes = Vec::new();
        assert_eq!(consumer.try_pop(&mut bytes), Err(broadcast::TryPopError::Empty));
        reservation.unwrap().commit().unwrap();
        assert_eq!((consumer.try_pop(&mut bytes), bytes.as_slice()), (Ok(1), &b"reserved"[..]));
    }
}

#[test]
fn a_forked_child_passes_no_record_that_its_parent_looks_at() {
    for config in [broadcast::Config::lossy(256, 1), broadcast::Config::lossless(256, 1)] {
        let ring = broadcast::Ring::memfd(&Options::new(), &config).unwrap();
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        producer.push(1, b"looked at").unwrap();
        let mut view = Some(consumer.peek().unwrap());
        let mut child = spawn(|| {
            let view = view.take().unwrap();
            let mut bytes = Vec::new();
            assert_eq!(view.copy_to(&mut bytes), Err(broadcast::ViewError::Overwritten));
            assert_eq!((view.is_intact(), bytes.as_slice()), (Err(broadcast::Overwritten), &b""[..]));
            assert_eq!(view.finish(), Err(broadcast::Overwritten));
        });
        child.succeeds();
        assert_eq!(ring.status().readers[0].read, 0);
        let view = view.unwrap();
        let mut bytes = Vec::new();
        view.copy_to(&mut bytes).unwrap();
        assert_eq!((bytes.as_slice(), view.finish()), (&b"looked at"[..], Ok(())));
        assert_eq!(ring.status().readers[0].read, 1);
    }
}

/// A record is looked at before a fork, and consumed by the child, which must not count.
macro_rules! child_consumes {
    ($ring:expr) => {{
        let ring = $ring.unwrap();
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        producer.push(1, b"looked at").unwrap();
        let mut peek = Some(consumer.peek().unwrap());
        let before = format!("{:?}", ring.status());
        spawn(|| peek.take().unwrap().consume()).succeeds();
        assert_eq!(format!("{:?}", ring.status()), before);
        let mut bytes = Vec::new();
        peek.take().unwrap().copy_to(&mut bytes).unwrap();
        assert_eq!(bytes, b"looked at");
        assert_eq!(consumer.try_pop(&mut bytes), Ok(1));
    }};
}

#[test]
fn a_forked_child_consumes_no_record_that_its_parent_looks_at() {
    child_consumes!(Ring::memfd(&Options::new(), &Config::new(256)));
    child_consumes!(lanes::Ring::memfd(&Options::new(), &lanes::Config::new(2, 256)));
}

#[test]
fn a_sleeper_on_a_vacant_seat_is_told_when_it_is_taken() {
    let ring = Ring::memfd(&Options::new(), &Config::new(64)).unwrap();
    let waits = Gate::new();
    let mut sleeper = spawn(|| {
        let me = ring.attach().unwrap();
        let consumer = ring.consumer(&me).unwrap().into_inner();
        waits.open();
        consumer.wait_producer(None).unwrap();
    });
    waits.wait();
    let me = ring.attach().unwrap();
    let _producer = ring.producer(&me).unwrap();
    sleeper.succeeds();
}

#[test]
fn one_of_many_threads_that_take_and_leave_the_same_slots_never_loses_one() {
    let mutex = RobustMutex::memfd(&Options::new().slots(4), 0u64).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    // As many slots as threads: there is always one.
                    let me = mutex.attach().unwrap();
                    *mutex.lock(&me).unwrap() += 1;
                    me.detach().unwrap();
                }
            });
        }
    });
    let me = mutex.attach().unwrap();
    assert_eq!((*mutex.lock(&me).unwrap(), mutex.table().counts().free), (2000, 3));
}

/// Runs `body` in this process and in a child, which is forked where `body` first calls what it is given; what it gave, here. The child ends
/// with whether that was as `expected` there.
fn forking<R>(body: impl FnOnce(&dyn Fn()) -> R, expected: impl FnOnce(R) -> bool) -> R {
    let child = std::cell::Cell::new(-1);
    let fork = || {
        if child.get() < 0 {
            // SAFETY: the child calls nothing but what is tested here, and ends.
            child.set(unsafe { libc::fork() });
        }
    };
    let gave = body(&fork);
    if child.get() == 0 {
        let code = i32::from(!expected(gave));
        // SAFETY: ends the child.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    // SAFETY: `status` is valid for the call; it is our child.
    assert_eq!(unsafe { libc::waitpid(child.get(), &raw mut status, 0) }, child.get());
    assert_eq!(status, 0, "the child was not told that it is one");
    gave
}

#[test]
fn who_forks_while_it_initialises_is_not_the_one_that_comes_to_the_end_of_it() {
    let cell = OnceCell::<u64>::memfd(&Options::new()).unwrap();
    let me = cell.attach().unwrap();
    let this = std::process::id();
    let initialise = |fork: &dyn Fn()| {
        cell.get_or_init(&me, |_| {
            fork();
            if std::process::id() == this { 8 } else { 7 }
        })
    };
    let made = forking(initialise, |made| made == Err(OnceError::Forked) && cell.get() != Some(&7));
    assert_eq!(made, Ok(&8));
    spawn(|| assert_eq!(cell.get_or_init(&me, |_| 9), Ok(&8), "a look needs no attachment")).succeeds();
}

/// Of a ring whose sides take batches.
macro_rules! forks_in_batches {
    ($ring:expr) => {{
        let ring = $ring.unwrap();
        let me = ring.attach().unwrap();
        let mut producer = ring.producer(&me).unwrap().into_inner();
        let mut consumer = ring.consumer(&me).unwrap().into_inner();
        let forks_after_one = |fork: &dyn Fn()| {
            let records = [b"1", b"2"].into_iter().enumerate();
            producer.push_batch(records.map(|(at, record)| {
                (at == 1).then(fork);
                (at as u32, &record[..])
            }))
        };
        let pushed = forking(forks_after_one, |pushed| pushed == Err(TryPushError::Forked));
        assert_eq!(pushed, Ok(2));
        let pop = |fork: &dyn Fn()| consumer.pop_batch(1, |_, _| fork());
        assert_eq!(forking(pop, |popped| popped == Err(TryPopError::Forked)), Ok(1));
        let mut record = Vec::new();
        assert_eq!((consumer.try_pop(&mut record), &record[..]), (Ok(1), &b"2"[..]));
        assert_eq!(consumer.try_pop(&mut record), Err(TryPopError::Empty));
    }};
}

#[test]
fn a_batch_in_which_somebody_forks_is_the_parents_to_commit() {
    forks_in_batches!(Ring::memfd(&Options::new(), &Config::new(256)));
    forks_in_batches!(lanes::Ring::memfd(&Options::new(), &lanes::Config::new(1, 256)));
    let ring = claims::Ring::memfd(&Options::new(), &claims::Config::new(4096)).unwrap();
    let me = ring.attach().unwrap();
    ring.producer(&me).unwrap().into_inner().push(7, b"1").unwrap();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let pop = |fork: &dyn Fn()| consumer.pop_batch(1, |_, _| fork());
    assert_eq!(forking(pop, |popped| popped == Err(TryPopError::Forked)), Ok(1));
}

#[test]
fn a_forked_child_has_no_seat_at_a_barrier_and_waits_at_no_condition_variable() {
    let barrier = Barrier::memfd(&Options::new(), 1).unwrap();
    let me = barrier.attach().unwrap();
    let mut party = Some(barrier.join(&me).unwrap());
    spawn(|| {
        assert_eq!(barrier.join(&me).map(|_| ()), Err(JoinError::Forked));
        let mut party = party.take().unwrap();
        assert_eq!(party.wait(), Err(BarrierError::Forked));
        assert_eq!(party.wait_timeout(SOON), Err(BarrierTimeoutError::Forked));
        assert_eq!(party.reset(), Err(ResetError::Forked));
    })
    .succeeds();
    let mut party = party.take().unwrap();
    assert_eq!((party.seat(), party.wait()), (0, Ok(Arrival::Leader)));

    let mutex = RobustMutex::memfd(&Options::new(), 1u64).unwrap();
    let me = mutex.attach().unwrap();
    let [changed, ..] = mutex.condvars();
    let mut guard = Some(mutex.lock(&me).unwrap());
    spawn(|| {
        assert!(matches!(changed.wait(guard.take().unwrap()), Err(WaitError::Forked)));
        assert_eq!(changed.notify_one(&me), Err(NotifyError::Forked));
        assert_eq!(changed.notify_all(&me), Err(NotifyError::Forked));
    })
    .succeeds();
    assert_eq!(*guard.take().unwrap(), 1);
}

#[test]
fn who_forks_in_its_turn_at_a_ring_has_no_turn_in_the_child() {
    let ring = locked::Ring::memfd(&Options::new(), &locked::Config::new(4096).wipe(true)).unwrap();
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut child = -1;
    let records = (1u32..=3).map(|kind| {
        if kind == 3 {
            // SAFETY: the child calls nothing but what is tested here, and ends.
            child = unsafe { libc::fork() };
        }
        (kind, &b"of a batch"[..])
    });
    // In the child the third is refused, and what was written is not its to publish.
    let pushed = producer.push_batch(records);
    if child == 0 {
        let code = i32::from(pushed != Err(TryPushError::Forked));
        // SAFETY: ends the child.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    // SAFETY: `status` is valid for the call; it is our child.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!((status, pushed), (0, Ok(3)));
    let once = ring.status().write_index;
    let mut reservation = Some(producer.reserve(4, 3).unwrap());
    reservation.as_mut().unwrap().write(0, b"own");
    for commits in [true, false] {
        spawn(|| match reservation.take() {
            Some(reservation) if commits => assert_eq!(reservation.commit(), Err(TryPushError::Forked)),
            reservation => drop(reservation),
        })
        .succeeds();
    }
    assert_eq!(ring.status().write_index, once);
    reservation.unwrap().commit().unwrap();
    spawn(|| assert_eq!(producer.try_push(5, b""), Err(TryPushError::Forked))).succeeds();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    let mut bytes = Vec::new();
    for kind in 1..=4 {
        assert_eq!((consumer.try_pop(&mut bytes), bytes.is_empty()), (Ok(kind), false));
    }
    assert_eq!(bytes, b"own");
}
