//! A sequence lock and a snapshot, written against `ownerdead::sync`: what a user's own structure looks like.

use ownerdead::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use ownerdead::sync::atomic::{AtomicU64, fence};

/// Two words that are always read together. A writer makes the sequence odd, writes, and makes it even again; a reader that
/// met a writer reads again. One writer at a time.
///
/// All-zero memory is a valid one, and its fields are atomics of `sync`: so it can be cast onto a mapping as it is.
#[repr(C)]
pub struct SeqLock {
    sequence: AtomicU64,
    words: [AtomicU64; 2],
}

/// A reader met a writer. Read again.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

impl SeqLock {
    pub fn new() -> Self {
        Self { sequence: AtomicU64::new(0), words: [AtomicU64::new(0), AtomicU64::new(0)] }
    }

    pub fn write(&self, value: [u64; 2]) {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence + 1, Relaxed);
        // Nobody may see the words before the odd sequence.
        fence(Release);
        for (word, value) in self.words.iter().zip(value) {
            word.store(value, Relaxed);
        }
        self.sequence.store(sequence + 2, Release);
    }

    pub fn try_read(&self) -> Result<[u64; 2], Busy> {
        let before = self.sequence.load(Acquire);
        let value = [self.words[0].load(Relaxed), self.words[1].load(Relaxed)];
        fence(Acquire);
        let after = self.sequence.load(Relaxed);
        if before.is_multiple_of(2) && before == after { Ok(value) } else { Err(Busy) }
    }
}

/// The same for a world in which writers are killed: two copies, and which of them counts. A writer that dies leaves the
/// value of the last one that did not.
#[repr(C)]
pub struct Snapshot {
    copies: [SeqLock; 2],
    /// Number of values written; the last one is in the copy of its parity.
    written: AtomicU64,
}

impl Snapshot {
    pub fn new() -> Self {
        Self { copies: [SeqLock::new(), SeqLock::new()], written: AtomicU64::new(0) }
    }

    pub fn write(&self, value: [u64; 2]) {
        let next = self.written.load(Relaxed) + 1;
        self.copies[next as usize % 2].write(value);
        self.written.store(next, Release);
    }

    pub fn try_read(&self) -> Result<[u64; 2], Busy> {
        let written = self.written.load(Acquire);
        let value = self.copies[written as usize % 2].try_read()?;
        // Otherwise this may be the copy's next value, which counts no sooner than the other copy's: a reader that then read that
        // one would go back in time. (The model found this.)
        if self.written.load(Relaxed) == written { Ok(value) } else { Err(Busy) }
    }
}
