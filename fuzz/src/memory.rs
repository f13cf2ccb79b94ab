//! The memory of a structure, as a peer sees it that may write anything: what it can do to it, by a fuzzer's bytes.

use crate::files::{image, restore};
use crate::input::Input;
use ownerdead::owner::{Claim, Holder, Right, Table};
use ownerdead::segment::Segment;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use ownerdead::sync::shm::Shared;

const PAGE: usize = 4096;
/// Where a life word lies in its slot: see `owner::table`.
const LIFE: usize = 4080;

/// Words that mean something, by their offsets in the body: `count` of them, `stride` bytes apart.
#[derive(Clone, Copy)]
pub struct Words {
    pub at: usize,
    pub count: usize,
    pub stride: usize,
}

/// The first three words of so many lines of 128 bytes: what control words take.
pub fn lines(at: usize, count: usize) -> [Words; 3] {
    [0, 8, 16].map(|word| Words { at: at + word, count, stride: 128 })
}

/// So many words in a row.
pub fn row(at: usize, count: usize) -> Words {
    Words { at, count, stride: 8 }
}

/// What is done to a memory, once.
pub enum Change {
    /// To a word of the body: what it becomes.
    Word(usize, Box<dyn FnOnce(u64) -> u64>),
    Many(Box<dyn FnOnce(&Memory)>),
}

impl Change {
    fn word(word: usize, to: impl FnOnce(u64) -> u64 + 'static) -> Self {
        Self::Word(word, Box::new(to))
    }
    fn many(by: impl FnOnce(&Memory) + 'static) -> Self {
        Self::Many(Box::new(by))
    }
    pub fn make(self, memory: &Memory) {
        match self {
            Self::Word(word, to) => memory.body[word].store(to(memory.body[word].load(Relaxed)), Relaxed),
            Self::Many(by) => by(memory),
        }
    }
}

pub struct Memory {
    segment: Segment,
    table: Table,
    body: Shared<[AtomicU64]>,
    /// The segment, as it is put back.
    whole: Vec<u8>,
    /// Where the body begins in that.
    begin: usize,
    /// Indices into the body: of the words that mean something, and the same, those together that mean the same.
    telling: Vec<usize>,
    alike: Vec<Vec<usize>>,
}

impl Memory {
    /// The segment is whole now. Words that lie outside of its body are left out: it may have another shape than it was made with.
    pub fn of(segment: &Segment, telling: &[Words]) -> Self {
        let body = segment.body_slice(0, segment.body_len() / 8).expect("the body");
        let indices = |words: &Words| -> Vec<_> {
            let all = (0..words.count).map(|index| (words.at + index * words.stride) / 8);
            all.filter(|&index| index < body.len()).collect()
        };
        let alike: Vec<Vec<_>> = telling.iter().map(indices).filter(|indices| !indices.is_empty()).collect();
        let telling = alike.concat();
        let (whole, table) = (image(segment), segment.table());
        Self { begin: PAGE * (1 + table.slots()), body, telling, alike, whole, table, segment: segment.clone() }
    }

    /// The memory is as it was, all of it.
    pub fn heal(&self) {
        restore(&self.segment, &self.whole[PAGE..self.begin], PAGE as u64);
        self.heal_body();
    }

    fn heal_body(&self) {
        for (word, whole) in self.body.iter().zip(self.whole[self.begin..].chunks_exact(8)) {
            word.store(u64::from_le_bytes(whole.try_into().expect("eight bytes")), Relaxed);
        }
    }

    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// How many ways of changing the memory there are.
    pub const WAYS: u8 = 8;

    /// Changes the memory in a way, less than [`Self::WAYS`].
    pub fn change(&self, way: u8, input: &mut Input<'_>) {
        self.draw(way, input).make(self);
    }

    /// A change in a way: a word that means something to any value, to one that means something, by a bit, or by a little; all words that mean
    /// the same to one value; words anywhere; all is put back; a life word.
    pub fn draw(&self, way: u8, input: &mut Input<'_>) -> Change {
        let word = |input: &mut Input<'_>| self.telling[input.below(self.telling.len().min(256))];
        match way {
            0 | 1 => {
                let word = word(input);
                let value = if way == 0 { input.word() } else { value(input) };
                Change::word(word, move |_| value)
            }
            2 => {
                let (word, bit) = (word(input), 1 << input.below(64));
                Change::word(word, move |old| old ^ bit)
            }
            3 => {
                let (word, by) = (word(input), input.byte().cast_signed());
                Change::word(word, move |old| old.wrapping_add_signed(by.into()))
            }
            4 => {
                let (which, value) = (input.below(self.alike.len()), value(input));
                Change::many(move |memory| {
                    memory.alike[which].iter().for_each(|&index| memory.body[index].store(value, Relaxed));
                })
            }
            5 => {
                let at = usize::from(u16::from_le_bytes([input.byte(), input.byte()]));
                let values: Vec<_> = (0..input.below(17)).map(|_| input.word()).collect();
                Change::many(move |memory| {
                    let places = (at..).map(|index| &memory.body[index % memory.body.len()]);
                    places.zip(values).for_each(|(word, value)| word.store(value, Relaxed));
                })
            }
            6 => Change::many(Self::heal_body),
            _ => {
                let slot = input.below(self.table.slots());
                // What a life word may be: somebody's, a dead one's, one that moves, or anything.
                let low = [0, 1, 1 << 22, 1 << 30, 1 << 31, 1 << 29 | 1, 1 << 29 | 2, input.byte().into()];
                let life = u64::from(input.byte()) << 32 | low[input.below(8)];
                Change::many(move |memory| write_life(&memory.segment, slot, life))
            }
        }
    }

    /// Which word of the body lies there, if one does.
    pub fn word_at(&self, address: usize) -> Option<usize> {
        let index = address.checked_sub(self.body.as_ptr().addr())? / 8;
        (index < self.body.len()).then_some(index)
    }
}

/// Changes the life word of a slot.
pub fn write_life(segment: &Segment, slot: usize, life: u64) {
    restore(segment, &life.to_le_bytes(), (PAGE * (1 + slot) + LIFE) as u64);
}

/// A value that means something in one word or another.
fn value(input: &mut Input<'_>) -> u64 {
    let (kind, number) = (input.byte(), u64::from(input.byte()));
    let holder = Holder { slot: (number % 16) as u32, incarnation: (number / 16) as u32 };
    // The slots that mean something else, and none of a table.
    let strange = Holder { slot: [77, 4093, 4094, 4095][number as usize % 4], incarnation: 1 };
    let value = match kind % 16 {
        0 => number,
        1 => number * 8,
        2 => number << 20,
        3 => 1 << (number % 64),
        4 => (1 << (number % 64)) - 1,
        5 => u64::MAX - number,
        6 => Right::held_by(holder).0,
        7 => Right::held_by(holder).inherited().0,
        8 => Right::held_by(strange).0,
        9 => Right::vacant(number as u32).0,
        10 => [Right::SUSPECT.0, Right::NOT_RECOVERABLE.0][number as usize % 2],
        11 => Claim::free(number).0,
        12 => Claim::full(number).0,
        13 => Claim::writing(holder, number / 16).0,
        14 => Claim::reading(holder, number / 16).0,
        _ => Right::held_by(holder).with_tag(1).0,
    };
    // With those who sleep on it.
    if kind & 0x80 != 0 { value | 1 << 31 } else { value }
}
