//! Reader-writer lock, semaphore and cells, by one thread that nobody disturbs, beside others.

use crate::lock::{Setup, lines};
use crate::plan::{Group, Measure};
use ownerdead::cell::seqlock::SeqLock;
use ownerdead::cell::snapshot::{self, Snapshot};
use ownerdead::lock::{RwLock, Semaphore};
use ownerdead::segment::Options;
use std::hint::black_box;
use std::mem::MaybeUninit;

/// What cells hold: a cache line.
type Value = [u64; 8];

const VALUE: Value = [7; 8];

/// Memory of the C library's kind, leaked: what is in it must not move or go.
fn leaked<T>() -> *mut T {
    Box::leak(Box::new(MaybeUninit::<T>::zeroed())).as_mut_ptr()
}

const READS: [(&str, Setup); 4] = [
    ("ownerdead RwLock", || {
        let lock = RwLock::memfd(&Options::new(), 1u64).expect("a lock");
        let me = lock.attach().expect("a free slot");
        Box::new(move |count| {
            for _ in 0..count {
                black_box(*black_box(&lock).read(&me).expect("nobody died"));
            }
        })
    }),
    ("pthread_rwlock_t, process-shared", || {
        let lock: *mut libc::pthread_rwlock_t = leaked();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised before they are used; the lock is initialised once, and lives for ever.
        let failed = unsafe {
            libc::pthread_rwlockattr_init(attributes.as_mut_ptr())
                | libc::pthread_rwlockattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED)
                | libc::pthread_rwlock_init(lock, attributes.as_ptr())
        };
        assert_eq!(failed, 0, "pthread_rwlock_init");
        let guarded = 1u64;
        Box::new(move |count| {
            for _ in 0..count {
                // SAFETY: initialised, lives for ever, and used by this thread alone.
                assert_eq!(unsafe { libc::pthread_rwlock_rdlock(black_box(lock)) }, 0);
                black_box(*black_box(&guarded));
                // SAFETY: as above; this thread has it.
                assert_eq!(unsafe { libc::pthread_rwlock_unlock(black_box(lock)) }, 0);
            }
        })
    }),
    ("std::sync::RwLock", || {
        let lock = std::sync::RwLock::new(1u64);
        Box::new(move |count| {
            for _ in 0..count {
                black_box(*black_box(&lock).read().expect("nobody panicked"));
            }
        })
    }),
    ("parking_lot::RwLock", || {
        let lock = parking_lot::RwLock::new(1u64);
        Box::new(move |count| {
            for _ in 0..count {
                black_box(*black_box(&lock).read());
            }
        })
    }),
];

const PERMITS: [(&str, Setup); 2] = [
    ("ownerdead Semaphore", || {
        let semaphore = Semaphore::memfd(&Options::new(), 4).expect("a semaphore");
        let me = semaphore.attach().expect("a free slot");
        Box::new(move |count| {
            for _ in 0..count {
                drop(black_box(&semaphore).acquire(&me).expect("a permit"));
            }
        })
    }),
    ("sem_t, process-shared", || {
        let semaphore: *mut libc::sem_t = leaked();
        // SAFETY: initialised once, and it lives for ever.
        assert_eq!(unsafe { libc::sem_init(semaphore, 1, 4) }, 0);
        Box::new(move |count| {
            for _ in 0..count {
                // SAFETY: initialised, and lives for ever.
                assert_eq!(unsafe { libc::sem_wait(black_box(semaphore)) }, 0);
                // SAFETY: as above.
                assert_eq!(unsafe { libc::sem_post(black_box(semaphore)) }, 0);
            }
        })
    }),
];

const CELL_READS: [(&str, Setup); 4] = [
    ("ownerdead SeqLock", || {
        let cell = SeqLock::memfd(&Options::new(), VALUE).expect("a cell");
        Box::new(move |count| {
            for _ in 0..count {
                black_box(black_box(&cell).try_read().expect("a whole value").value);
            }
        })
    }),
    ("ownerdead Snapshot", || {
        let cell = Snapshot::memfd(&Options::new(), &snapshot::Config::new(), VALUE).expect("a cell");
        Box::new(move |count| {
            for _ in 0..count {
                black_box(black_box(&cell).read().expect("a whole value").value);
            }
        })
    }),
    ("std RwLock<value>", || {
        let cell = std::sync::RwLock::new(VALUE);
        Box::new(move |count| {
            for _ in 0..count {
                black_box(*black_box(&cell).read().expect("nobody panicked"));
            }
        })
    }),
    ("parking_lot RwLock<value>", || {
        let cell = parking_lot::RwLock::new(VALUE);
        Box::new(move |count| {
            for _ in 0..count {
                black_box(*black_box(&cell).read());
            }
        })
    }),
];

const CELL_WRITES: [(&str, Setup); 4] = [
    ("ownerdead SeqLock", || {
        let cell = SeqLock::memfd(&Options::new(), VALUE).expect("a cell");
        let me = cell.attach().expect("a free slot");
        let mut writer = cell.writer(&me).expect("a vacant seat").into_inner();
        Box::new(move |count| {
            for _ in 0..count {
                writer.write(black_box(&VALUE)).expect("not forked");
            }
        })
    }),
    ("ownerdead Snapshot", || {
        let cell = Snapshot::memfd(&Options::new(), &snapshot::Config::new(), VALUE).expect("a cell");
        let me = cell.attach().expect("a free slot");
        let mut writer = cell.writer(&me).expect("a vacant seat").into_inner();
        Box::new(move |count| {
            for _ in 0..count {
                writer.write(black_box(&VALUE)).expect("not forked");
            }
        })
    }),
    ("std RwLock<value>", || {
        let cell = std::sync::RwLock::new(VALUE);
        Box::new(move |count| {
            for _ in 0..count {
                *black_box(&cell).write().expect("nobody panicked") = *black_box(&VALUE);
            }
        })
    }),
    ("parking_lot RwLock<value>", || {
        let cell = parking_lot::RwLock::new(VALUE);
        Box::new(move |count| {
            for _ in 0..count {
                *black_box(&cell).write() = *black_box(&VALUE);
            }
        })
    }),
];

/// All of them.
pub fn groups() -> [Group; 4] {
    let group = |name, what, contenders: &[(&'static str, Setup)]| Group {
        name,
        what,
        measure: Measure::Operation,
        rounds: [100, 10],
        contenders: lines(contenders),
        aims: Vec::new(),
    };
    [
        group("read lock", "lock for reading, look, unlock, by one thread", &READS),
        group("semaphore", "take a permit of four and give it back, by one thread", &PERMITS),
        group("cell, read", "read a value of 64 bytes that nobody writes meanwhile", &CELL_READS),
        group("cell, write", "write a value of 64 bytes that nobody reads meanwhile", &CELL_WRITES),
    ]
}
