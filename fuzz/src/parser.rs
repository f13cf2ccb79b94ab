//! Any bytes as a structure's memory: what all structures have in common.
//!
//! A structure is made once, in memory; before each input its memory is put back. The input is a byte that chooses the structure, then
//! operations of one byte, some followed by arguments: 0 to 7 (of the low five bits) change the memory ([`Memory::change`]), 8 looks at it from
//! outside, 9 opens the structure anew, and the rest are the structure's own, and may use the other three bits.
//!
//! Each call returns, with a value or an error that says what was found; when all is put back, an honest use of the structure works.

use crate::input::Input;
use crate::memory::{Memory, Words, write_life};
use ownerdead::inspect::{Thread, inspect};
use ownerdead::owner::{Attachment, Table};
use ownerdead::segment::{Kind, Options, Segment};
use std::fmt::{Debug, Display};
use std::os::fd::AsFd;

/// Operations of one input. Each returns, so it is the fuzzer's time alone.
const MOST: usize = 200;
/// The first of a structure's own operations: before it come a look from outside, and opening it anew.
const OWN: u8 = Memory::WAYS + 2;

/// A structure whose memory is changed.
pub trait Structure {
    /// What is open while an input runs. It is dropped while the memory is still as it was changed.
    type Handles<'s>: Default
    where
        Self: 's;

    const KIND: Kind;

    fn segment(&self) -> &Segment;

    /// The words of its body that mean something.
    fn words(&self) -> Vec<Words>;

    /// One operation, less than 22.
    fn step<'s>(&'s self, me: &'s Attachment, handles: &mut Self::Handles<'s>, operation: u8, turn: &mut Turn<'_, '_>);

    /// Opens it anew, from what its memory says now, and uses what it is then. An error says why it cannot be opened.
    ///
    /// # Errors
    /// In words.
    fn anew(&self, segment: Segment) -> Result<(), String>;

    /// Uses it on memory that is whole: new handles, and everything must work.
    fn honest(&self, me: &Attachment);
}

/// What an operation may use of the input, and of the memory.
pub struct Turn<'t, 'i> {
    /// Three bits.
    pub flags: u8,
    pub input: &'t mut Input<'i>,
    memory: &'t Memory,
}

impl Turn<'_, '_> {
    /// The memory is changed in the middle of what an operation does.
    pub fn disturb(&mut self) {
        for _ in 0..self.input.below(3) {
            let way = self.input.byte() % Memory::WAYS;
            self.memory.change(way, self.input);
        }
    }
}

/// A structure, and who takes part in it.
pub struct Fixture<S> {
    structure: S,
    me: Attachment,
    _living: Option<Attachment>,
    memory: Memory,
}

/// A fixture of any structure.
pub trait Play {
    fn play(&self, input: Input<'_>);
}

/// Slots of a fixture's table: one that lives, two that died, this thread's own, and two that are free.
pub fn options() -> Options {
    Options::new().slots(6)
}

/// A fixture around a structure.
pub fn fixture<S: Structure + 'static>(structure: S) -> Box<dyn Play> {
    let table = structure.segment().table();
    // A structure in which nobody takes part has one slot.
    let living = (table.slots() > 1).then(|| attach(&table));
    if living.is_some() {
        // As the kernel marks a life word.
        let dead = 1u64 << 32 | 1 << 30;
        [1, 2].into_iter().for_each(|slot| write_life(structure.segment(), slot, dead));
    }
    // In the slot of one of the dead.
    let me = attach(&table);
    let memory = Memory::of(structure.segment(), &structure.words());
    Box::new(Fixture { structure, me, _living: living, memory })
}

/// Plays an input on the structure that its first byte chooses.
pub fn play(all: &[Box<dyn Play>], data: &[u8]) {
    let mut input = Input::new(data);
    if let Some(which) = input.next() {
        all[usize::from(which) % all.len()].play(input);
    }
}

fn attach(table: &Table) -> Attachment {
    Attachment::attach(table).expect("a free slot")
}

impl<S: Structure> Play for Fixture<S> {
    fn play(&self, mut input: Input<'_>) {
        self.memory.heal();
        let mut handles = S::Handles::default();
        for _ in 0..MOST {
            let Some(byte) = input.next() else { break };
            let (operation, flags) = (byte & 0x1f, byte >> 5);
            match operation {
                0..Memory::WAYS => self.memory.change(operation, &mut input),
                8 => self.look(),
                9 => self.anew(),
                own => {
                    let mut turn = Turn { flags, input: &mut input, memory: &self.memory };
                    self.structure.step(&self.me, &mut handles, own - OWN, &mut turn);
                }
            }
        }
        drop(handles);
        assert_eq!(self.me.rights(), 0, "rights that no handle has");
        self.memory.heal();
        self.structure.honest(&self.me);
        assert_eq!(self.me.rights(), 0, "rights that no handle has");
    }
}

impl<S: Structure> Fixture<S> {
    /// As a process that comes now finds it.
    fn anew(&self) {
        let file = self.memory.segment().as_fd().try_clone_to_owned().expect("a descriptor");
        let opened = Segment::from_fd(file, S::KIND).map_err(|error| error.to_string());
        if let Err(error) = opened.and_then(|segment| self.structure.anew(segment)) {
            assert!(!error.is_empty());
        }
    }

    /// From outside: what is wrong is named.
    fn look(&self) {
        let bytes = crate::image(self.memory.segment());
        let within = |offset: u64, size: u64| assert!(offset + size <= bytes.len() as u64);
        let report = inspect(&bytes.as_slice(), |_| Thread::Unknown, |record| within(record.offset, record.size));
        for problem in &report.problems {
            assert!(
                !problem.field.is_empty() && !problem.found.is_empty() && !problem.expected.is_empty(),
                "{problem:?}"
            );
        }
    }
}

/// An error says something; if it is that there is damage, then what was found, and what to do.
pub fn said(error: &(impl Display + Debug)) {
    let text = error.to_string();
    assert!(!text.is_empty(), "{error:?}");
    if text.contains("damaged") {
        assert!(text.contains(" is 0x") && text.contains(", expected "), "{text}");
    }
}
