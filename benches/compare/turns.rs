//! Two sides that take turns at a condition variable, or meet at a barrier, and what was initialised once, beside others.

use crate::lock::{Setup as Alone, lines};
use crate::pair::{Load, Pair, Setup, Work};
use crate::plan::{Contender, Group, Measure};
use crate::ring::contender;
use crate::shared::{init_robust, mapped};
use ownerdead::lock::{Barrier, Once, RobustMutex};
use ownerdead::segment::Options;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex};

/// A place for C's types that processes share. Invariant 1: a mapping of a whole `T` that is never unmapped, and what is in it was initialised.
struct Place<T>(NonNull<T>);

impl<T> Clone for Place<T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

// SAFETY: what is in it is C's, any thread's to use (invariant 1); what a mutex in it guards is touched by who has that mutex alone.
unsafe impl<T> Send for Place<T> {}

/// A turn that is handed on.
#[repr(C)]
struct Turn {
    mutex: libc::pthread_mutex_t,
    condvar: libc::pthread_cond_t,
    /// Turns that were taken.
    taken: u64,
}

/// What one side does, once.
type Step = Box<dyn FnMut()>;

/// Two sides that share something; `side` sets one up, by what is shared and its number, in the thread that will work.
fn both<T: Clone + Send + 'static>(shared: &T, threads: bool, side: fn(T, u64) -> Step) -> Pair {
    let of = |number| -> Setup {
        let shared = shared.clone();
        Box::new(move || -> Work {
            let mut step = side(shared, number);
            Box::new(move |count| (0..count).for_each(|_| step()))
        })
    };
    Pair { sides: [of(0), of(1)], threads }
}

fn two() -> Options {
    Options::new().slots(2)
}

/// Takes every other turn.
fn our_turns(mutex: RobustMutex<u64>, side: u64) -> Step {
    let me = mutex.attach().expect("a free slot");
    Box::new(move || {
        let [condvar, ..] = mutex.condvars();
        let mut guard = mutex.lock(&me).expect("nobody died");
        while *guard % 2 != side {
            guard = condvar.wait(guard).expect("nobody died");
        }
        *guard += 1;
        condvar.notify_one(&me).expect("its own segment");
    })
}

fn shared_turn() -> Place<Turn> {
    let place = mapped::<Turn>();
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the mapping is long enough and starts on a page, nobody else has it yet, and it is never unmapped. The attributes are initialised before
    // they are used. Zero bytes are a `taken`.
    let failed = unsafe {
        init_robust(&raw mut (*place.as_ptr()).mutex);
        libc::pthread_condattr_init(attributes.as_mut_ptr())
            | libc::pthread_condattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED)
            | libc::pthread_cond_init(&raw mut (*place.as_ptr()).condvar, attributes.as_ptr())
    };
    assert_eq!(failed, 0, "pthread_cond_init");
    Place(place)
}

fn their_turns(turn: Place<Turn>, side: u64) -> Step {
    Box::new(move || {
        let place = turn.0.as_ptr();
        // SAFETY: invariant 1.
        let (mutex, condvar) = unsafe { (&raw mut (*place).mutex, &raw mut (*place).condvar) };
        // SAFETY: invariant 1.
        assert_eq!(unsafe { libc::pthread_mutex_lock(mutex) }, 0, "nobody died");
        // SAFETY: invariant 1; this thread has the mutex, here and after each wait.
        let taken = || unsafe { (*place).taken };
        let mut before = taken();
        while before % 2 != side {
            // SAFETY: as above.
            assert_eq!(unsafe { libc::pthread_cond_wait(condvar, mutex) }, 0, "nobody died");
            before = taken();
        }
        // SAFETY: as above; the mutex is given up last.
        let failed = unsafe {
            (*place).taken = before + 1;
            libc::pthread_cond_signal(condvar) | libc::pthread_mutex_unlock(mutex)
        };
        assert_eq!(failed, 0);
    })
}

fn thread_turns(turn: Arc<(Mutex<u64>, Condvar)>, side: u64) -> Step {
    Box::new(move || {
        let (mutex, condvar) = &*turn;
        let mut taken = mutex.lock().expect("nobody panicked");
        while *taken % 2 != side {
            taken = condvar.wait(taken).expect("nobody panicked");
        }
        *taken += 1;
        condvar.notify_one();
    })
}

fn our_phases(barrier: Barrier, _: u64) -> Step {
    let me = barrier.attach().expect("a free slot");
    let mut party = barrier.join(&me).expect("a seat");
    Box::new(move || {
        party.wait().expect("nobody died");
    })
}

fn shared_barrier() -> Place<libc::pthread_barrier_t> {
    let place = mapped::<libc::pthread_barrier_t>();
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: as for a turn.
    let failed = unsafe {
        libc::pthread_barrierattr_init(attributes.as_mut_ptr())
            | libc::pthread_barrierattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED)
            | libc::pthread_barrier_init(place.as_ptr(), attributes.as_ptr(), 2)
    };
    assert_eq!(failed, 0, "pthread_barrier_init");
    Place(place)
}

fn their_phases(barrier: Place<libc::pthread_barrier_t>, _: u64) -> Step {
    Box::new(move || {
        // SAFETY: invariant 1.
        let result = unsafe { libc::pthread_barrier_wait(barrier.0.as_ptr()) };
        assert!(result == 0 || result == libc::PTHREAD_BARRIER_SERIAL_THREAD);
    })
}

fn thread_phases(barrier: Arc<std::sync::Barrier>, _: u64) -> Step {
    Box::new(move || {
        barrier.wait();
    })
}

const DONE: [(&str, Alone); 2] = [
    ("ownerdead Once", || {
        let once = Once::memfd(&Options::new()).expect("a once");
        let me = once.attach().expect("a free slot");
        once.call_once(&me, |_| ()).expect("nobody died");
        Box::new(move |count| {
            for _ in 0..count {
                black_box(&once).call_once(&me, |_| ()).expect("it is done");
            }
        })
    }),
    ("std::sync::Once", || {
        let once = std::sync::Once::new();
        once.call_once(|| ());
        Box::new(move |count| {
            for _ in 0..count {
                black_box(&once).call_once(|| ());
            }
        })
    }),
];

/// All of them.
pub fn groups() -> [Group; 3] {
    let load = Load { warm_up: 100, count: 200 };
    let line = |name: &str, pair: fn() -> Pair| contender(name.into(), 0, load, pair);
    let group = |name, what, measure, contenders: Vec<Contender>| {
        let rounds = if measure == Measure::Operation { [100, 10] } else { [40, 4] };
        Group { name, what, measure, rounds, contenders, aims: Vec::new() }
    };
    let turns = vec![
        line("ownerdead Condvar", || both(&RobustMutex::memfd(&two(), 0).expect("a mutex"), false, our_turns)),
        line("pthread_cond_t, robust mutex, process-shared", || both(&shared_turn(), false, their_turns)),
        line("std Condvar (threads)", || both(&Arc::default(), true, thread_turns)),
    ];
    let phases = vec![
        line("ownerdead Barrier", || both(&Barrier::memfd(&two(), 2).expect("a barrier"), false, our_phases)),
        line("pthread_barrier_t, process-shared", || both(&shared_barrier(), false, their_phases)),
        line("std Barrier (threads)", || both(&Arc::new(std::sync::Barrier::new(2)), true, thread_phases)),
    ];
    [
        group("once", "call what is done, by one thread", Measure::Operation, lines(&DONE)),
        group("condition variable", "the turn is handed to the other side and back", Measure::RoundTrip, turns),
        group("barrier", "both sides come through a phase", Measure::RoundTrip, phases),
    ]
}
