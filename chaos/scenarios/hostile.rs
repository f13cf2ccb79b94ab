//! A hostile process. It has the same segment as two honest ones that work there, and does to it whatever a file descriptor allows:
//! writes words of all sorts anywhere, zeroes pages, punches holes, and truncates the file under the others' mappings. Each call of
//! an honest one must come back, with an error that says what it found or without; none may panic or fault; and when all is over
//! each works with a segment of its own, as if nothing had been.
//!
//! What a lock guards is not touched: references into a segment are for peers that follow the protocol. Nor is there a wait without an
//! end, where one who seems to live may be waited for: a push that waits for its turn, a condition variable's way back to its lock.

use super::BYTES;
use super::hostile_acts::{Acts, Ruin};
use crate::stage::Stage;
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::cell::{Board, SeqLock, Snapshot, board, snapshot};
use ownerdead::lock::{
    Barrier, FutexMutex, LockTimeoutError, Once, RobustMutex, RwLock, Semaphore, SharedError, TryLockError,
};
use ownerdead::owner::Attachment;
use ownerdead::ring::{Commit, Consume, Produce, RingError, Topology, broadcast, mpmc, mpsc, spsc};
use ownerdead::segment::{Kind, Options, Segment, catch_truncation};
use ownerdead::sync::futex::{LOOK_AGAIN, look_again_after};
use rand::RngExt;
use std::cell::Cell;
use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Time-outs of the honest ones.
const SHORT: Duration = Duration::from_micros(200);
/// Calls that each of them does before the hostile one comes.
const BEFORE: u64 = 30;
/// Rounds of calls in a segment of one's own, in the end.
const AFTER: u32 = 20;
/// Rounds of calls in which everybody comes by a word that is gone, if all are.
const TO_NOTICE: u32 = 1_000;

const COMPLAINTS: [&str; 5] = [
    "an error does not name what it found and what it expected (call)",
    "more bytes than the longest payload has",
    "the file is gone, and no call says so",
    "damage in a segment that nobody else has (call)",
    "nothing worked in a segment that nobody else has",
];

/// A structure: how a segment with one is made, and how one works there.
struct Subject {
    name: &'static str,
    kind: Kind,
    make: fn(&Options) -> Segment,
    work: fn(Segment, &Calls<'_>),
}

/// What one of the honest ones has done, and when it is enough.
struct Calls<'s> {
    stamps: &'s Stamps,
    /// So many rounds; none: until it is told to stop.
    rounds: Cell<Option<u32>>,
    /// In a segment of its own: nothing is damaged there.
    alone: bool,
    /// Numbers of calls: all, and those that were done.
    all: Cell<u64>,
    done: Cell<u64>,
}

impl<'s> Calls<'s> {
    fn new(stamps: &'s Stamps, rounds: Option<u32>, alone: bool) -> Self {
        Self { stamps, rounds: Cell::new(rounds), alone, all: Cell::new(0), done: Cell::new(0) }
    }

    fn go_on(&self) -> bool {
        match self.rounds.get() {
            Some(0) => false,
            Some(left) => {
                self.rounds.set(Some(left - 1));
                true
            }
            None => self.stamps.signal.get() == 0,
        }
    }

    /// A call has come back.
    fn did<T, E: Display>(&self, phase: Phase, result: Result<T, E>) -> Option<T> {
        self.stamps.enter(phase);
        self.all.set(self.all.get() + 1);
        self.stamps.ended.add(1);
        match result {
            Ok(value) => {
                self.done.set(self.done.get() + 1);
                Some(value)
            }
            Err(error) => {
                let text = error.to_string();
                let damage = ["damaged", "truncated"].iter().any(|word| text.contains(word));
                if damage && !(text.contains("0x") && text.contains("expected")) || text.is_empty() {
                    self.stamps.complain(1, self.all.get(), 0);
                }
                if damage && self.alone {
                    self.stamps.complain(4, self.all.get(), 0);
                }
                None
            }
        }
    }

    /// Begins to take part, unless there is no place any more.
    fn attach<E: Display>(&self, attach: impl Fn() -> Result<Attachment, E>) -> Option<Attachment> {
        while self.go_on() {
            let me = self.did(Phase::Attaching, attach());
            if me.is_some() {
                return me;
            }
        }
        None
    }
}

pub fn run(stage: &mut Stage) {
    let stamps = shared(3);
    let mut next = 0;
    while stage.goes_on() {
        round(stage, stamps, &SUBJECTS[next % SUBJECTS.len()]);
        next += 1;
    }
}

fn round(stage: &mut Stage, stamps: &'static [Stamps], subject: &'static Subject) {
    let honest = (subject.make)(&Options::new().slots(8));
    // Half of them in files that can be truncated, as in /dev/shm, but without a name there.
    let sealed = stage.rng.random_bool(0.5);
    let segment = if sealed { honest } else { cuttable(&honest, subject.kind) };
    stage.watch(&[("segment", &segment)]);
    let acts = Acts::draw(&mut stage.rng, &segment, sealed);
    let dies = stage.rng.random_bool(0.25);
    for stamps in stamps {
        stamps.reset();
        stamps.signal.set(0);
        stamps.ended.set(0);
    }
    let [one, other, hostile] = stamps else { unreachable!("three sets of stamps") };
    let gone = acts.ruin == Ruin::Gone;
    let victims = [("honest one", one), ("honest other", other)];
    let [mut victim, mut second] =
        victims.map(|(role, stamps)| stage.spawn(role, stamps, || live(subject, segment.clone(), stamps, gone)));
    let at_work = || victims.iter().all(|(_, stamps)| stamps.ended.get() > BEFORE || stamps.wrong.get() != 0);
    if !stage.wait_for(&format!("two at work at a {}", subject.name), at_work) {
        return;
    }
    let file = segment.as_fd().try_clone_to_owned().expect("a descriptor");
    let mut enemy = stage.spawn("hostile one", hostile, || acts.commit(file, hostile));
    if dies {
        stage.pause(Duration::from_micros(500));
        stage.kill(&mut second, other);
    }
    stage.exits(&mut enemy, &format!("a hostile process at a {}", subject.name));
    // They go on for a while with what is left.
    stage.sleep(Duration::from_micros(300));
    for (_, stamps) in victims {
        stamps.signal.set(1);
    }
    stage.exits(&mut victim, &format!("an honest process at a {} ({:?})", subject.name, acts.ruin));
    if !dies {
        stage.exits(&mut second, &format!("an honest process at a {} ({:?})", subject.name, acts.ruin));
    }
    for (_, stamps) in victims {
        stage.hear(stamps, &COMPLAINTS);
    }
    stage.cases += 1;
}

/// A copy of a new segment in a file that nobody can seal.
fn cuttable(honest: &Segment, kind: Kind) -> Segment {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::os::unix::fs::FileExt;
    let from = std::fs::File::from(honest.as_fd().try_clone_to_owned().expect("a descriptor"));
    let mut bytes = vec![0; from.metadata().expect("a length").len() as usize];
    from.read_exact_at(&mut bytes, 0).expect("a whole segment");
    let to = std::fs::File::from(memfd_create(c"cuttable", MFdFlags::MFD_CLOEXEC).expect("memfd_create"));
    to.write_all_at(&bytes, 0).expect("space");
    Segment::from_fd(OwnedFd::from(to), kind).expect("a copy of a segment")
}

/// The life of an honest one. `gone`: all of the file is, in the end, and it must have noticed.
fn live(subject: &Subject, segment: Segment, stamps: &Stamps, gone: bool) {
    catch_truncation().expect("sigaction");
    // A hostile one wakes nobody.
    look_again_after(LOOK_AGAIN);
    (subject.work)(segment.clone(), &Calls::new(stamps, None, false));
    if gone {
        let calls = Calls::new(stamps, Some(TO_NOTICE), false);
        while segment.is_whole().is_ok() && calls.go_on() {
            (subject.work)(segment.clone(), &Calls::new(stamps, Some(2), false));
        }
        if segment.is_whole().is_ok() {
            stamps.complain(3, 0, 1);
        }
    }
    drop(segment);
    let calls = Calls::new(stamps, Some(AFTER), true);
    (subject.work)((subject.make)(&Options::new().slots(8)), &calls);
    if calls.done.get() == 0 {
        stamps.complain(5, calls.all.get(), 1);
    }
}

const SUBJECTS: [Subject; 18] = [
    Subject {
        name: "SPSC ring",
        kind: Kind::SPSC,
        make: |options| spsc::Ring::memfd(options, &spsc::Config::new(4096)).expect("a ring").segment().clone(),
        work: |segment, calls| at_a_ring(spsc::Ring::from_segment(segment), calls, false),
    },
    Subject {
        name: "SPSC ring that is wiped",
        kind: Kind::SPSC,
        make: |options| {
            let config = spsc::Config::new(8192).checksum(false).wipe(true);
            spsc::Ring::memfd(options, &config).expect("a ring").segment().clone()
        },
        work: |segment, calls| at_a_ring(spsc::Ring::from_segment(segment), calls, false),
    },
    Subject {
        name: "ring of lanes",
        kind: Kind::MPSC_LANES,
        make: |options| {
            let config = mpsc::lanes::Config::new(2, 4096);
            mpsc::lanes::Ring::memfd(options, &config).expect("a ring").segment().clone()
        },
        work: |segment, calls| at_a_ring(mpsc::lanes::Ring::from_segment(segment), calls, false),
    },
    Subject {
        name: "ring of claims",
        kind: Kind::MPSC_CLAIMS,
        make: |options| {
            let config = mpsc::claims::Config::new(4096);
            mpsc::claims::Ring::memfd(options, &config).expect("a ring").segment().clone()
        },
        work: |segment, calls| at_a_ring(mpsc::claims::Ring::from_segment(segment), calls, false),
    },
    Subject {
        name: "ring with a lock",
        kind: Kind::MPSC_LOCKED,
        make: |options| {
            let config = mpsc::locked::Config::new(4096);
            mpsc::locked::Ring::memfd(options, &config).expect("a ring").segment().clone()
        },
        work: |segment, calls| at_a_ring(mpsc::locked::Ring::from_segment(segment), calls, true),
    },
    Subject {
        name: "MPMC ring",
        kind: Kind::MPMC,
        make: |options| mpmc::Ring::memfd(options, &mpmc::Config::new(16, 200)).expect("a ring").segment().clone(),
        work: |segment, calls| at_a_ring(mpmc::Ring::from_segment(segment), calls, false),
    },
    Subject {
        name: "MPMC ring in round order",
        kind: Kind::MPMC,
        make: |options| {
            let config = mpmc::Config::new(16, 200).order(mpmc::Order::Round);
            mpmc::Ring::memfd(options, &config).expect("a ring").segment().clone()
        },
        work: |segment, calls| at_a_ring(mpmc::Ring::from_segment(segment), calls, false),
    },
    Subject {
        name: "lossy broadcast ring",
        kind: Kind::BROADCAST,
        make: |options| {
            let config = broadcast::Config::lossy(4096, 4);
            broadcast::Ring::memfd(options, &config).expect("a ring").segment().clone()
        },
        work: |segment, calls| at_a_ring(broadcast::Ring::from_segment(segment), calls, false),
    },
    Subject {
        name: "lossless broadcast ring",
        kind: Kind::BROADCAST,
        make: |options| {
            let config = broadcast::Config::lossless(4096, 4);
            broadcast::Ring::memfd(options, &config).expect("a ring").segment().clone()
        },
        work: |segment, calls| at_a_ring(broadcast::Ring::from_segment(segment), calls, false),
    },
    Subject {
        name: "robust mutex",
        kind: Kind::MUTEX,
        make: |options| RobustMutex::memfd(options, 0u64).expect("a mutex").segment().clone(),
        // SAFETY: no reference to what it guards is made.
        work: |segment, calls| at_a_mutex(unsafe { RobustMutex::from_segment(segment) }, calls),
    },
    Subject {
        name: "futex mutex",
        kind: Kind::FUTEX_MUTEX,
        make: |options| FutexMutex::memfd(options, 0u64).expect("a mutex").segment().clone(),
        work: |segment, calls| {
            // SAFETY: as above.
            let mutex = unsafe { FutexMutex::<u64>::from_segment(segment) };
            let Some(mutex) = calls.did(Phase::Opening, mutex) else { return };
            while calls.go_on() {
                calls.did(Phase::Locking, mutex.try_lock().map(drop).ok_or("held"));
                calls.did(Phase::Locking, mutex.lock_timeout(SHORT).map(drop));
            }
        },
    },
    Subject {
        name: "reader-writer lock",
        kind: Kind::RWLOCK,
        make: |options| RwLock::memfd(options, 0u64).expect("a lock").segment().clone(),
        // SAFETY: as above.
        work: |segment, calls| at_a_rwlock(unsafe { RwLock::from_segment(segment) }, calls),
    },
    Subject {
        name: "semaphore",
        kind: Kind::SEMAPHORE,
        make: |options| Semaphore::memfd(options, 3).expect("a semaphore").segment().clone(),
        work: |segment, calls| {
            let Some(semaphore) = calls.did(Phase::Opening, Semaphore::from_segment(segment)) else { return };
            let Some(me) = calls.attach(|| semaphore.attach()) else { return };
            while calls.go_on() {
                let _one = calls.did(Phase::Locking, semaphore.try_acquire(&me));
                calls.did(Phase::Locking, semaphore.acquire_timeout(&me, SHORT).map(drop));
                let _ = semaphore.available();
            }
        },
    },
    Subject {
        name: "once",
        kind: Kind::ONCE,
        make: |options| Once::memfd(options).expect("a once").segment().clone(),
        work: |segment, calls| {
            let Some(once) = calls.did(Phase::Opening, Once::from_segment(segment)) else { return };
            let Some(me) = calls.attach(|| once.attach()) else { return };
            while calls.go_on() {
                calls.did(Phase::Opening, once.call_once_timeout(&me, SHORT, |_| {}));
                let _ = once.is_completed();
            }
        },
    },
    Subject {
        name: "barrier",
        kind: Kind::BARRIER,
        make: |options| Barrier::memfd(options, 2).expect("a barrier").segment().clone(),
        work: |segment, calls| {
            let Some(barrier) = calls.did(Phase::Opening, Barrier::from_segment(segment)) else { return };
            let Some(me) = calls.attach(|| barrier.attach()) else { return };
            while calls.go_on() {
                let Some(mut party) = calls.did(Phase::Opening, barrier.join(&me)) else { continue };
                calls.did(Phase::Locking, party.wait_timeout(SHORT));
                calls.did(Phase::Repairing, party.reset());
                let _ = barrier.status();
            }
        },
    },
    Subject {
        name: "sequence lock",
        kind: Kind::SEQLOCK,
        make: |options| SeqLock::memfd(options, [7u64; 40]).expect("a cell").segment().clone(),
        work: |segment, calls| {
            let cell = SeqLock::<[u64; 40]>::from_segment(segment);
            let Some(cell) = calls.did(Phase::Opening, cell) else { return };
            let Some(me) = calls.attach(|| cell.attach()) else { return };
            while calls.go_on() {
                if let Some(writer) = calls.did(Phase::Opening, cell.writer(&me)) {
                    let mut writer = writer.into_inner();
                    calls.did(Phase::Writing, writer.write(&[7; 40]));
                }
                calls.did(Phase::Reading, cell.try_read());
                calls.did(Phase::Reading, cell.read_timeout(SHORT));
                let _ = cell.status();
            }
        },
    },
    Subject {
        name: "snapshot",
        kind: Kind::SNAPSHOT,
        make: |options| {
            let config = snapshot::Config::new().buffers(3);
            Snapshot::memfd(options, &config, [7u64; 40]).expect("a cell").segment().clone()
        },
        work: |segment, calls| {
            let cell = Snapshot::<[u64; 40]>::from_segment(segment);
            let Some(cell) = calls.did(Phase::Opening, cell) else { return };
            let Some(me) = calls.attach(|| cell.attach()) else { return };
            while calls.go_on() {
                if let Some(writer) = calls.did(Phase::Opening, cell.writer(&me)) {
                    let mut writer = writer.into_inner();
                    calls.did(Phase::Writing, writer.write(&[7; 40]));
                }
                let read = calls.did(Phase::Reading, cell.read());
                let seen = read.map_or(0, |read| read.sequence);
                calls.did(Phase::Reading, cell.read_if_newer(seen));
                calls.did(Phase::Reading, cell.wait_change(&me, seen, Some(SHORT)));
                calls.did(Phase::Reading, cell.wait_writer(&me, Some(SHORT)));
                let _ = cell.status();
            }
        },
    },
    Subject {
        name: "board",
        kind: Kind::BOARD,
        make: |options| {
            let config = board::Config::new(5);
            Board::<[u64; 9]>::memfd(options, &config).expect("a board").segment().clone()
        },
        work: |segment, calls| {
            let board = Board::<[u64; 9]>::from_segment(segment);
            let Some(board) = calls.did(Phase::Opening, board) else { return };
            let Some(me) = calls.attach(|| board.attach()) else { return };
            while calls.go_on() {
                for key in 0..board.keys() {
                    if let Some(writer) = calls.did(Phase::Opening, board.writer(&me, key)) {
                        calls.did(Phase::Writing, writer.into_inner().write(&[7; 9]));
                    }
                }
                for (_, read) in board.iter() {
                    calls.did(Phase::Reading, read);
                }
                calls.did(Phase::Reading, board.wait_change(&me, 1, 0, Some(SHORT)));
            }
        },
    },
];

fn at_a_ring<R: Topology>(ring: Result<R, RingError>, calls: &Calls<'_>, takes_turns: bool) {
    let Some(ring) = calls.did(Phase::Opening, ring) else { return };
    let Some(me) = calls.attach(|| ring.attach()) else { return };
    let longest = ring.longest_payload();
    let mut bytes = Vec::new();
    let popped = |result, bytes: &Vec<u8>| {
        if calls.did(Phase::Popping, result).is_some() && bytes.len() > longest {
            calls.stamps.complain(2, bytes.len() as u64, longest as u64);
        }
    };
    while calls.go_on() {
        if let Some(producer) = calls.did(Phase::Opening, ring.producer(&me)) {
            let mut producer = producer.into_inner();
            for kind in 0..6 {
                let payload = &BYTES[..kind as usize * 30];
                calls.did(Phase::Pushing, producer.push_timeout(kind, payload, SHORT));
                if takes_turns {
                    continue;
                }
                calls.did(Phase::Pushing, producer.try_push(kind, payload));
                let filled = producer.reserve(kind, payload.len()).and_then(|mut room| {
                    room.write(0, payload);
                    room.commit()
                });
                calls.did(Phase::Pushing, filled);
            }
        }
        if let Some(consumer) = calls.did(Phase::Opening, ring.consumer(&me)) {
            let mut consumer = consumer.into_inner();
            for _ in 0..12 {
                popped(consumer.try_pop(&mut bytes).map_err(|error| error.to_string()), &bytes);
            }
            popped(consumer.pop_timeout(&mut bytes, SHORT).map_err(|error| error.to_string()), &bytes);
        }
        let _ = ring.statistics();
    }
}

fn at_a_mutex(mutex: Result<RobustMutex<u64>, SharedError>, calls: &Calls<'_>) {
    let Some(mutex) = calls.did(Phase::Opening, mutex) else { return };
    let Some(me) = calls.attach(|| mutex.attach()) else { return };
    let condvars = mutex.condvars();
    while calls.go_on() {
        match mutex.try_lock(&me) {
            Err(TryLockError::OwnerDied(died)) => died.into_guard().mark_consistent(),
            locked => drop(calls.did(Phase::Locking, locked.map(drop))),
        }
        match mutex.lock_timeout(&me, SHORT) {
            Err(LockTimeoutError::OwnerDied(died)) => died.into_guard().mark_consistent(),
            locked => drop(calls.did(Phase::Locking, locked.map(drop))),
        }
        for condvar in condvars {
            calls.did(Phase::Holding, condvar.notify_one(&me));
            calls.did(Phase::Holding, condvar.notify_all(&me));
        }
    }
}

fn at_a_rwlock(lock: Result<RwLock<u64>, SharedError>, calls: &Calls<'_>) {
    let Some(lock) = calls.did(Phase::Opening, lock) else { return };
    let Some(me) = calls.attach(|| lock.attach()) else { return };
    while calls.go_on() {
        calls.did(Phase::Locking, lock.try_read(&me).map(drop));
        calls.did(Phase::Locking, lock.read_timeout(&me, SHORT).map(drop));
        match lock.try_write(&me) {
            Err(TryLockError::OwnerDied(died)) => died.into_guard().mark_consistent(),
            locked => drop(calls.did(Phase::Locking, locked.map(drop))),
        }
        match lock.write_timeout(&me, SHORT) {
            Err(LockTimeoutError::OwnerDied(died)) => died.into_guard().mark_consistent(),
            locked => drop(calls.did(Phase::Locking, locked.map(drop))),
        }
    }
}
