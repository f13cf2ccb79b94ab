//! Uncontended lock and unlock, beside others.

use crate::pair::{Sample, Stage, nanoseconds, pin, preemptions};
use crate::plan::{Aim, Bound, Contender, Group, Measure, Rival};
use crate::shared::{Child, finish};
use ownerdead::lock::{FutexMutex, RobustMutex};
use ownerdead::segment::Options;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::mpsc;

const WARM_UP: u64 = 1000;
const COUNT: u64 = 20_000;

const OURS: &str = "ownerdead RobustMutex";
const PTHREAD_ROBUST: &str = "pthread, robust, process-shared";

/// Does it so many times: here, locks, adds one to what is guarded, and unlocks.
pub type Work = Box<dyn FnMut(u64)>;

/// Makes what is worked with.
pub type Setup = fn() -> Work;

const CONTENDERS: [(&str, Setup); 6] = [
    (OURS, robust),
    (PTHREAD_ROBUST, || pthread(true)),
    ("ownerdead FutexMutex", futex),
    ("pthread, process-shared", || pthread(false)),
    ("std::sync::Mutex", std_mutex),
    ("parking_lot::Mutex", parking_lot),
];

fn robust() -> Work {
    let mutex = RobustMutex::memfd(&Options::new(), 0u64).expect("a mutex");
    let me = mutex.attach().expect("a free slot");
    Box::new(move |count| {
        for _ in 0..count {
            *black_box(&mutex).lock(&me).expect("nobody died") += 1;
        }
    })
}

fn futex() -> Work {
    let mutex = FutexMutex::memfd(&Options::new(), 0u64).expect("a mutex");
    Box::new(move |count| {
        for _ in 0..count {
            *black_box(&mutex).lock() += 1;
        }
    })
}

fn std_mutex() -> Work {
    let mutex = std::sync::Mutex::new(0u64);
    Box::new(move |count| {
        for _ in 0..count {
            *black_box(&mutex).lock().expect("nobody panicked") += 1;
        }
    })
}

fn parking_lot() -> Work {
    let mutex = parking_lot::Mutex::new(0u64);
    Box::new(move |count| {
        for _ in 0..count {
            *black_box(&mutex).lock() += 1;
        }
    })
}

/// The C library's, in memory of its own: where it lies makes no difference while nobody else wants it.
fn pthread(robust: bool) -> Work {
    // Leaked: a mutex on the thread's robust list must not move or go.
    let mutex: &'static mut MaybeUninit<libc::pthread_mutex_t> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mutex = mutex.as_mut_ptr();
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the attributes are initialised before they are used; the mutex is initialised once, and lives for ever.
    let failed = unsafe {
        libc::pthread_mutexattr_init(attributes.as_mut_ptr())
            | libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED)
            | if robust {
                libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST)
            } else {
                0
            }
            | libc::pthread_mutex_init(mutex, attributes.as_ptr())
    };
    assert_eq!(failed, 0, "pthread_mutex_init");
    let mut guarded = 0u64;
    Box::new(move |count| {
        for _ in 0..count {
            // SAFETY: the mutex is initialised, lives for ever, and is locked by this thread alone.
            assert_eq!(unsafe { libc::pthread_mutex_lock(black_box(mutex)) }, 0);
            *black_box(&mut guarded) += 1;
            // SAFETY: as above; this thread has it.
            assert_eq!(unsafe { libc::pthread_mutex_unlock(black_box(mutex)) }, 0);
        }
    })
}

fn sample(stage: &Stage, setup: Setup) -> Result<Sample, String> {
    let court = stage.court;
    let cpu = stage.cpus[0];
    finish(&mut [Child::fork(|| {
        pin(cpu);
        // A second thread, asleep: so that no C library takes the short cuts of a process that has one.
        let (keep, kept) = mpsc::channel::<()>();
        std::thread::spawn(move || kept.recv());
        let mut work = setup();
        work(WARM_UP);
        let preempted = preemptions();
        let took = nanoseconds(|| work(COUNT));
        court.say(0, [took, preemptions() - preempted, 0, 0]);
        drop(keep);
    })])?;
    let [took, preempted, ..] = court.heard(0);
    Ok(if preempted > 0 { Sample::Preempted } else { Sample::Kept { value: took as f64 / COUNT as f64, raw: None } })
}

/// A line for each, by one thread.
pub fn lines(contenders: &[(&str, Setup)]) -> Vec<Contender> {
    let line = |&(name, setup): &(&str, Setup)| Contender {
        name: name.into(),
        size: 0,
        sample: Box::new(move |stage| sample(stage, setup)),
    };
    contenders.iter().map(line).collect()
}

/// The table of locks.
pub fn locks() -> Group {
    Group {
        name: "lock",
        what: "lock, add one, unlock, by one thread, nobody else wanting the lock",
        measure: Measure::Operation,
        rounds: [200, 40],
        contenders: lines(&CONTENDERS),
        aims: vec![Aim {
            contender: OURS.into(),
            size: 0,
            rival: Rival::Contender(PTHREAD_ROBUST.into()),
            bound: Bound::TimeAtMost(0.6),
        }],
    }
}
