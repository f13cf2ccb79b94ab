//! Mutexes of both kinds.

use super::{bytes, fields, look, look_at, noted, set, word};
use crate::process::{Gate, for_ever, spawn};
use ownerdead::inspect::LockState;
use ownerdead::lock::{FutexMutex, LockError, RobustMutex};
use ownerdead::segment::Options;

const BODY: usize = 17 * 4096;

/// With a value that takes more than a page.
fn large() -> RobustMutex<[u64; 1024]> {
    RobustMutex::memfd(&Options::new(), [7; 1024]).unwrap()
}

fn mutex() -> RobustMutex<[u32; 4]> {
    RobustMutex::memfd(&Options::new(), [7; 4]).unwrap()
}

#[test]
fn the_type_is_told() {
    let report = look_at(mutex().segment());
    let mutex = report.mutex.unwrap();
    assert!(mutex.robust);
    assert_eq!((mutex.size, mutex.align, mutex.type_name.as_deref()), (16, 4, Some("[u32; 4]")));
    assert_eq!(mutex.value_offset as usize, BODY + 256);
    ownerdead::shared_data! {
        struct Pair { left: u64, right: u32 }
    }
    let pair = RobustMutex::memfd(&Options::new(), Pair { left: 1, right: 2 }).unwrap();
    let mutex = look_at(pair.segment()).mutex.unwrap();
    assert_eq!((mutex.size, mutex.align, mutex.type_name), (16, 8, None));
    assert_eq!(mutex.fingerprint.0, <Pair as ownerdead::lock::Data>::FINGERPRINT);
    let guard = pair.attach().unwrap();
    let guard = pair.lock(&guard).unwrap();
    assert_eq!((guard.left, guard.right), (1, 2));
}

#[test]
fn a_lock_goes_from_hand_to_hand_and_each_state_is_told() {
    let mutex = mutex();
    let state = || {
        let report = look_at(mutex.segment());
        assert!(report.is_valid(), "{report:#?}");
        let mutex = report.mutex.unwrap();
        (mutex.state, mutex.inherited, mutex.holder.map(|holder| (holder.slot, holder.tid.is_some(), holder.alive)))
    };
    assert_eq!(state(), (LockState::Free, false, None));
    let me = mutex.attach().unwrap();
    let guard = mutex.lock(&me).unwrap();
    assert_eq!(state(), (LockState::Held, false, Some((0, true, true))));
    drop(guard);
    let holds = Gate::new();
    let mut victim = spawn(|| {
        let me = mutex.attach().unwrap();
        let _guard = mutex.lock(&me).unwrap();
        holds.open();
        for_ever();
    });
    holds.wait();
    assert_eq!(state(), (LockState::Held, false, Some((1, true, true))));
    victim.kill();
    assert_eq!(state(), (LockState::OwnerDied, false, Some((1, false, false))));
    let Err(LockError::OwnerDied(died)) = mutex.lock(&me) else { panic!("the holder died") };
    let mut guard = died.into_guard();
    assert_eq!(state(), (LockState::Held, true, Some((0, true, true))));
    guard.mark_consistent();
    assert_eq!(state(), (LockState::Held, false, Some((0, true, true))));
    drop(guard);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = mutex.lock(&me).unwrap();
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    assert_eq!(state(), (LockState::Suspect, false, None));
    let Err(LockError::OwnerDied(died)) = mutex.lock(&me) else { panic!("it is suspect") };
    drop(died);
    assert_eq!(state(), (LockState::NotRecoverable, false, None));
    assert_eq!(noted(&look_at(mutex.segment())), ["mutex.word"]);
}

#[test]
fn waiters_are_told() {
    let mutex = mutex();
    let mut image = bytes(mutex.segment());
    set(&mut image, BODY, 1 << 31);
    let report = look(&image.as_slice());
    assert!(report.is_valid() && report.mutex.unwrap().waiters);
}

#[test]
fn a_word_that_no_lock_has_is_a_problem() {
    let mutex = large();
    let _me = mutex.attach().unwrap();
    let whole = bytes(mutex.segment());
    let held = |slot: u64, incarnation: u64| incarnation << 32 | 1 << 29 | slot;
    for (found, wrong) in [
        (held(0, 1), false),
        (held(0, 1) | 1 << 30 | 1 << 31, false),
        (held(0, 2), true),
        (held(0, 0), true),
        (held(1, 1), true),
        (held(16, 1), true),
        (held(4093, 1), true),
        (held(0xffe, 0), false),
        (held(0, 1) | 1 << 12, true),
        (1 << 29 | 0xfff | 1 << 12, true),
        (4711, true),
        (1 << 40, true),
    ] {
        let mut image = whole.clone();
        set(&mut image, BODY, found);
        // What lies behind the table is no slot, whatever it looks like.
        set(&mut image, BODY + 4080, 1 << 32 | 4711);
        let report = look(&image.as_slice());
        assert_eq!(fields(&report), if wrong { vec!["mutex.word"] } else { vec![] }, "{found:#x}");
        assert_eq!(report.mutex.unwrap().state == LockState::Damaged, wrong, "{found:#x}");
    }
}

#[test]
fn a_size_or_an_alignment_that_does_not_fit_is_a_problem() {
    let whole = bytes(mutex().segment());
    for (offset, value, expected) in [
        (136, 20, vec!["mutex.size"]),
        (136, 18, vec!["mutex.align", "mutex.size"]),
        (144, 3, vec!["mutex.align"]),
        (144, 32, vec!["mutex.align"]),
        (144, 512, vec!["mutex.align"]),
    ] {
        let mut image = whole.clone();
        assert_ne!(word(&image, BODY + offset), value);
        set(&mut image, BODY + offset, value);
        assert_eq!(fields(&look(&image.as_slice())), expected, "{offset}: {value}");
    }
}

#[test]
fn a_futex_mutex_says_whether_it_is_locked_and_nothing_of_its_holder() {
    let mutex = FutexMutex::memfd(&Options::new(), 5u64).unwrap();
    let mut image = bytes(mutex.segment());
    let state = |image: &[u8]| {
        let report = look(&image);
        let problems = fields(&report).join(" ");
        let mutex = report.mutex.unwrap();
        assert!(!mutex.robust && mutex.holder.is_none());
        (mutex.state, mutex.waiters, problems)
    };
    assert_eq!(state(&image), (LockState::Free, false, String::new()));
    let guard = mutex.lock();
    assert_eq!(state(&bytes(mutex.segment())), (LockState::Held, false, String::new()));
    drop(guard);
    set(&mut image, 2 * 4096, 2);
    assert_eq!(state(&image), (LockState::Held, true, String::new()));
    set(&mut image, 2 * 4096, 3);
    assert_eq!(state(&image), (LockState::Damaged, false, "mutex.word".into()));
}
