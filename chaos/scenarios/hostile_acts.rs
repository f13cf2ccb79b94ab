//! What a hostile process does to a segment. All of it is drawn before: it follows from the dice alone.

use crate::stamps::{Phase, Stamps};
use nix::fcntl::{FallocateFlags, fallocate};
use ownerdead::segment::Segment;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use rand::RngExt;
use rand::rngs::StdRng;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const PAGE: u64 = 4096;
/// Where a slot has its life word.
const LIFE: u64 = 4080;

/// What becomes of the file at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruin {
    /// It stays as long as it was.
    None,
    /// It is cut to so many bytes.
    Cut(u64),
    /// It is cut, and made as long as it was.
    CutAndGrown(u64),
    /// It is cut to nothing.
    Gone,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// A value that is no better than another.
    Word {
        at: u64,
        value: u64,
    },
    /// What stands at another place, or a little more or less: it means something.
    Copy {
        from: u64,
        at: u64,
        more: u64,
    },
    /// A page of zeroes, or of what stands in another one.
    Zero {
        page: u64,
    },
    Page {
        from: u64,
        page: u64,
    },
    Hole {
        from: u64,
        pages: u64,
    },
    /// The same word, again and again.
    Flicker {
        at: u64,
        value: u64,
        times: u32,
    },
}

pub struct Acts {
    acts: Vec<Act>,
    length: u64,
    pub ruin: Ruin,
}

impl Acts {
    pub fn draw(dice: &mut StdRng, segment: &Segment, sealed: bool) -> Self {
        let file = File::from(segment.as_fd().try_clone_to_owned().expect("a descriptor"));
        let length = file.metadata().expect("a length").len();
        let pages = length / PAGE;
        let body = length - segment.body_len().next_multiple_of(PAGE as usize) as u64;
        let place = |dice: &mut StdRng| match dice.random_range(0..10) {
            // Control words, and what lies next to them.
            0..5 => body + 8 * dice.random_range(0..(length - body).min(PAGE) / 8),
            5..7 => PAGE * dice.random_range(1..body / PAGE) + LIFE * dice.random_range(0..2),
            _ => 8 * dice.random_range(0..length / 8),
        };
        let act = |dice: &mut StdRng| match dice.random_range(0..100) {
            0..40 => Act::Word { at: place(dice), value: value(dice) },
            40..80 => {
                let more = [0, 0, 1, u64::MAX, 8, 1 << 31, 1 << 32][dice.random_range(0..7)];
                Act::Copy { from: place(dice), at: place(dice), more }
            }
            80..90 => Act::Flicker { at: place(dice), value: value(dice), times: dice.random_range(1..2000) },
            90..94 => Act::Zero { page: dice.random_range(0..pages) },
            94..97 => Act::Page { from: dice.random_range(0..pages), page: dice.random_range(0..pages) },
            _ => {
                let from = dice.random_range(0..pages);
                Act::Hole { from, pages: dice.random_range(1..=pages - from) }
            }
        };
        let count = 1 << dice.random_range(0..11);
        let acts = (0..count).map(|_| act(dice)).collect();
        let cut = PAGE * dice.random_range(0..pages);
        let ruin = match dice.random_range(0..4) {
            _ if sealed => Ruin::None,
            0 => Ruin::Gone,
            1 => Ruin::CutAndGrown(cut),
            _ if cut == 0 => Ruin::Gone,
            _ => Ruin::Cut(cut),
        };
        Self { acts, length, ruin }
    }

    /// Does it all.
    pub fn commit(&self, file: OwnedFd, stamps: &Stamps) {
        stamps.enter(Phase::Writing);
        let file = File::from(file);
        let words = map(&file, self.length as usize);
        let word = |at: u64| &words[(at / 8) as usize];
        let page = |page: u64| &words[(page * PAGE / 8) as usize..][..(PAGE / 8) as usize];
        for &act in &self.acts {
            match act {
                Act::Word { at, value } => word(at).store(value, Relaxed),
                Act::Copy { from, at, more } => word(at).store(word(from).load(Relaxed).wrapping_add(more), Relaxed),
                Act::Zero { page: at } => page(at).iter().for_each(|word| word.store(0, Relaxed)),
                Act::Page { from, page: at } => {
                    page(from).iter().zip(page(at)).for_each(|(from, to)| to.store(from.load(Relaxed), Relaxed));
                }
                Act::Hole { from, pages } => {
                    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                    fallocate(&file, flags, (from * PAGE) as i64, (pages * PAGE) as i64).expect("a hole");
                }
                Act::Flicker { at, value, times } => {
                    let before = word(at).load(Relaxed);
                    for time in 0..times {
                        word(at).store(if time % 2 == 0 { value } else { before }, Relaxed);
                    }
                }
            }
            stamps.ended.add(1);
        }
        // The last act: from here on this one could not touch it either.
        match self.ruin {
            Ruin::None => {}
            Ruin::Gone => file.set_len(0).expect("no seals"),
            Ruin::Cut(to) => file.set_len(to).expect("no seals"),
            Ruin::CutAndGrown(to) => {
                file.set_len(to).expect("no seals");
                file.set_len(self.length).expect("no seals");
            }
        }
    }
}

/// The words of a file. Never unmapped: the process ends.
fn map(file: &File, length: usize) -> &'static [AtomicU64] {
    let (rights, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, shared, file.as_raw_fd(), 0) };
    assert_ne!(place, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    // SAFETY: so many words are mapped, for ever; they are atomics, so any bytes, and `&`, are enough.
    unsafe { std::slice::from_raw_parts(place.cast(), length / 8) }
}

fn value(dice: &mut StdRng) -> u64 {
    match dice.random_range(0..4) {
        0 => dice.random_range(0..64),
        1 => u64::MAX - dice.random_range(0..64),
        2 => 1 << dice.random_range(0..64),
        _ => dice.random(),
    }
}
