//! What victims say of themselves, in memory that is not under test.

pub use ownerdead::harness::oracle::Word;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::SeqCst;
use std::ptr::NonNull;

/// Where a victim is; what a kill is filed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Phase {
    Outside,
    Attaching,
    Opening,
    Pushing,
    Popping,
    Locking,
    Holding,
    Repairing,
    Unlocking,
    Leaving,
    Writing,
    Reading,
}

pub const PHASES: [(Phase, &str); 12] = [
    (Phase::Outside, "outside"),
    (Phase::Attaching, "attaching"),
    (Phase::Opening, "opening"),
    (Phase::Pushing, "pushing"),
    (Phase::Popping, "popping"),
    (Phase::Locking, "locking"),
    (Phase::Holding, "holding"),
    (Phase::Repairing, "repairing"),
    (Phase::Unlocking, "unlocking"),
    (Phase::Leaving, "leaving"),
    (Phase::Writing, "writing"),
    (Phase::Reading, "reading"),
];

/// The stamps of one victim, or of all of them together. SeqCst throughout: what is under test must not lean on it, and it is
/// not in the same memory.
#[repr(C)]
pub struct Stamps {
    phase: AtomicU64,
    /// The victim has run.
    started: Word,
    /// How long after it hears of this the victim is to die by its own timer, in nanoseconds; 0 if that was not said yet.
    pub dies_after: Word,
    /// When that is, in nanoseconds of the clock that all processes share.
    pub dies_at: Word,
    /// Number of the operation that was begun last.
    pub begun: Word,
    /// Number of the operation that has returned last.
    pub ended: Word,
    /// A signal between stage and victim; its meaning is the scenario's.
    pub signal: Word,
    /// What a victim found wrong: 0, or a code, with two values.
    pub wrong: Word,
    pub wrong_found: Word,
    pub wrong_expected: Word,
    /// The generation that a victim saw when it opened a seat; 0 if it has not.
    pub generation: Word,
}

impl Stamps {
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u64, SeqCst);
        if phase == Phase::Attaching {
            self.started.set(1);
        }
    }

    /// Before a victim is started.
    pub fn reset(&self) {
        self.enter(Phase::Outside);
        self.started.set(0);
        self.dies_after.set(0);
    }

    /// Whether the victim runs already: a kill before that says nothing.
    pub fn started(&self) -> bool {
        self.started.get() != 0
    }

    pub fn phase(&self) -> &'static str {
        let found = self.phase.load(SeqCst);
        PHASES.iter().find(|(phase, _)| *phase as u64 == found).map_or("?", |(_, name)| name)
    }

    /// A victim found something wrong: `what` is the scenario's code.
    pub fn complain(&self, what: u64, found: u64, expected: u64) {
        self.wrong_found.set(found);
        self.wrong_expected.set(expected);
        self.wrong.set(what);
    }
}

/// `count` sets of stamps that forked children share. They are never unmapped.
pub fn shared(count: usize) -> &'static [Stamps] {
    let first = map(count * size_of::<Stamps>()).cast();
    // SAFETY: `count` stamps fit; zero bytes are valid ones; the mapping lives for ever; they are atomics, so `&` is enough.
    unsafe { std::slice::from_raw_parts(first.as_ptr(), count) }
}

/// `count` words that forked children share, all 0. They are never unmapped.
pub fn words(count: usize) -> &'static [Word] {
    let first = map(count * size_of::<Word>()).cast();
    // SAFETY: `count` words fit, which are atomics, so zero bytes and `&` are enough; the mapping lives for ever.
    unsafe { std::slice::from_raw_parts(first.as_ptr(), count) }
}

/// New memory that forked children share, all zero, aligned to a page.
fn map(length: usize) -> NonNull<u8> {
    // SAFETY: a new anonymous shared mapping, at a place that the kernel chooses.
    let place = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(place, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    NonNull::new(place.cast()).expect("mmap gives no null page")
}
