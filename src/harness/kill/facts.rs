//! What an oracle keeps, in memory that is not under test, and that all processes share.

use super::Memory;
use crate::harness::oracle::Word;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::SeqCst;
use std::io;

/// Words that processes keep for the oracle. They are part of what a sweep records at each instruction, and puts back: so a
/// survivor finds them as they were when the victim died. All 0 when the subject is prepared.
#[derive(Debug)]
pub struct Facts {
    memory: Memory,
}

impl Facts {
    /// How many words there are.
    pub const WORDS: usize = 64;

    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { memory: Memory::zeroed(Self::WORDS * size_of::<u64>())? })
    }

    /// All of them.
    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.memory.words()[..Self::WORDS]
    }

    /// What is in them.
    pub(super) fn image(&self) -> Box<[u64]> {
        self.words().iter().map(|word| word.load(SeqCst)).collect()
    }

    /// Puts `image` into them.
    pub(super) fn restore(&self, image: &[u64]) {
        self.words().iter().zip(image).for_each(|(word, &value)| word.store(value, SeqCst));
    }

    /// Where word 0 lies; the others follow. For subjects in another language.
    pub fn start(&self) -> std::ptr::NonNull<u64> {
        self.memory.start().cast()
    }

    /// Word `index`; its meaning is the subject's.
    ///
    /// # Panics
    /// If `index` is not below [`Self::WORDS`].
    pub fn word(&self, index: usize) -> &Word {
        Word::of(&self.words()[index])
    }
}
