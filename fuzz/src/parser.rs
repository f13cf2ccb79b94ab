//! Any bytes as a structure's memory: what all structures have in common.
//!
//! A structure is made once, in memory; before each input its memory is put back. The input is a byte that chooses the structure, then
//! operations of one byte, some followed by arguments: 0 to 7 (of the low five bits) change the memory ([`Memory::change`]), 8 looks at it from
//! outside, 9 opens the structure anew, and the rest are the structure's own, and may use the other three bits.
//!
//! Each call returns, with a value or an error that says what was found; when all is put back, an honest use of the structure works.
//!
//! Under fire an operation that is no change is followed by what a peer does while it lasts: a byte for how many changes (modulo 4), and each of
//! them: a byte for when, a byte for the way, and its arguments. When is after so many accesses, below 128; up to 191 after so many (modulo 4) of the
//! word that is changed; from 192 on after so many (modulo 64) of words that the call has accessed before, and then the word that it accesses
//! now is changed, whichever it is: what is looked at twice is another one the second time.

use crate::input::Input;
use crate::memory::{Change, Memory, Words, write_life};
use crate::{cells, locks, rings};
use ownerdead::inspect::{RecordReport, Report, Thread, inspect};
use ownerdead::owner::{Attachment, Table};
use ownerdead::segment::{Kind, Options, Segment};
#[cfg(fuzzing)]
use ownerdead::sync::hostile::beside;
use std::collections::HashSet;
use std::fmt::{Debug, Display};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// Operations of one input. Each returns, so it is the fuzzer's time alone.
const MOST: usize = 200;
/// Accesses of one call. Calls that go by words which others move give up after 2^16 looks, each of a few accesses.
const MOST_ACCESSES: usize = 1 << 20;
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

    /// What a segment holds, if it can be opened.
    ///
    /// # Errors
    /// In words: why it cannot.
    fn of(segment: Segment) -> Result<Self, String>
    where
        Self: Sized;

    /// Uses it a little, as one who comes.
    fn visit(&self, me: &Attachment);

    /// A valid segment: what it holds is what was told of it. Nobody else has it. `records` are the kinds of a ring's records, in order.
    fn as_told(&self, _me: &Attachment, _records: &[u32]) {}

    /// Uses it on memory that is whole: new handles, and everything must work.
    fn honest(&self, me: &Attachment);
}

/// What an operation may use of the input, and of the memory.
pub struct Turn<'t, 'i> {
    /// Three bits.
    pub flags: u8,
    pub input: &'t mut Input<'i>,
    /// The memory may be changed at any moment: what a call would do is not known before.
    pub under_fire: bool,
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
    memory: Rc<Memory>,
}

/// A fixture of any structure.
pub trait Play {
    /// Under fire, each call's first bytes are what a peer does meanwhile: `hostile`.
    fn play(&self, input: Input<'_>, under_fire: bool);

    fn kind(&self) -> Kind;

    /// The bytes of its segment as they were at first, with a change for each byte up to one that is 128 or more.
    fn image(&self, input: &mut Input<'_>) -> Vec<u8>;

    /// Opens a file as one of its kind, and plays the rest of the input on that.
    ///
    /// # Errors
    /// In words: why it cannot be opened.
    fn open(&self, file: OwnedFd, input: Input<'_>) -> Result<(), String>;

    /// A file in which nothing is wrong, with these records, opens and is as told.
    fn valid(&self, file: OwnedFd, records: &[u32]);
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
    let memory = Rc::new(Memory::of(structure.segment(), &structure.words()));
    Box::new(Fixture { structure, me, _living: living, memory })
}

/// All structures, in the order of an input's first byte where any of them is meant.
pub fn structures() -> Vec<Box<dyn Play>> {
    [rings::all(), cells::all(), locks::all()].into_iter().flatten().collect()
}

/// Plays an input on the structure that its first byte chooses.
pub fn play(all: &[Box<dyn Play>], data: &[u8], under_fire: bool) {
    let mut input = Input::new(data);
    if let Some(which) = input.next() {
        all[usize::from(which) % all.len()].play(input, under_fire);
    }
}

fn attach(table: &Table) -> Attachment {
    Attachment::attach(table).expect("a free slot")
}

impl<S: Structure> Play for Fixture<S> {
    fn play(&self, input: Input<'_>, under_fire: bool) {
        self.memory.heal();
        run(&self.structure, &self.me, &self.memory, input, under_fire);
        self.memory.heal();
        self.structure.honest(&self.me);
        assert_eq!(self.me.rights(), 0, "rights that no handle has");
    }

    fn kind(&self) -> Kind {
        S::KIND
    }

    fn image(&self, input: &mut Input<'_>) -> Vec<u8> {
        self.memory.heal();
        while let Some(way @ 0..0x80) = input.next() {
            self.memory.change(way % Memory::WAYS, input);
        }
        crate::files::image(self.memory.segment())
    }

    fn open(&self, file: OwnedFd, input: Input<'_>) -> Result<(), String> {
        let segment = Segment::from_fd(file, S::KIND).map_err(|error| error.to_string())?;
        let structure = S::of(segment)?;
        let me = Attachment::attach(&structure.segment().table()).map_err(|error| error.to_string())?;
        structure.visit(&me);
        let memory = Rc::new(Memory::of(structure.segment(), &structure.words()));
        run(&structure, &me, &memory, input, false);
        me.detach().expect("no rights are left");
        Ok(())
    }

    fn valid(&self, file: OwnedFd, records: &[u32]) {
        let segment = Segment::from_fd(file, S::KIND).expect("no problem was found");
        let structure = match S::of(segment) {
            // Of a type it is said only when it is opened.
            Err(error) if error.contains("another type") => return,
            structure => structure.expect("no problem was found"),
        };
        let Ok(me) = Attachment::attach(&structure.segment().table()) else { return };
        structure.as_told(&me, records);
    }
}

/// Plays an input on a structure: changes of its memory, and operations.
fn run<S: Structure>(structure: &S, me: &Attachment, memory: &Rc<Memory>, mut input: Input<'_>, under_fire: bool) {
    let mut handles = S::Handles::default();
    for _ in 0..MOST {
        let Some(byte) = input.next() else { break };
        let (operation, flags) = (byte & 0x1f, byte >> 5);
        if let 0..Memory::WAYS = operation {
            memory.change(operation, &mut input);
            continue;
        }
        let fire = under_fire.then(|| fire(memory, &mut input));
        let mut call = || match operation {
            8 => look(memory),
            9 => anew::<S>(memory),
            own => {
                let mut turn = Turn { flags, input: &mut input, under_fire, memory };
                structure.step(me, &mut handles, own - OWN, &mut turn);
            }
        };
        match fire {
            Some(peer) => beside(peer, call),
            None => call(),
        }
    }
    drop(handles);
    assert_eq!(me.rights(), 0, "rights that no handle has");
}

/// Called before each access of a structure to its memory.
type Peer = Box<dyn FnMut(usize)>;

#[cfg(not(fuzzing))]
fn beside(_: Peer, _: impl FnOnce()) {
    panic!("no peer comes between two accesses in this build: build with --cfg fuzzing, as cargo-fuzz does");
}

/// What a peer does at some moment of a call.
struct Strike {
    when: When,
    /// So many of those accesses before it.
    wait: u8,
    change: Change,
}

/// Before which accesses.
#[derive(Clone, Copy)]
enum When {
    Any,
    /// Of the word that is changed.
    Own(usize),
    /// Of a word that this call has accessed before: whatever word that is, it is changed.
    Again,
}

impl Strike {
    fn draw(memory: &Memory, input: &mut Input<'_>) -> Self {
        let (byte, way) = (input.byte(), input.byte() % Memory::WAYS);
        let change = memory.draw(way, input);
        let (when, wait) = match (byte, &change) {
            (128..192, &Change::Word(word, _)) => (When::Own(word), byte % 4),
            (192.., Change::Word(..)) => (When::Again, byte % 64),
            _ => (When::Any, byte % 128),
        };
        Self { when, wait, change }
    }
}

/// A peer that strikes up to three times; and that sees that the call comes to its end.
fn fire(memory: &Rc<Memory>, input: &mut Input<'_>) -> Peer {
    let mut strikes: Vec<_> = (0..input.below(4)).map(|_| Strike::draw(memory, input)).collect();
    let (memory, mut accesses, mut seen) = (Rc::clone(memory), 0, HashSet::new());
    Box::new(move |address| {
        accesses += 1;
        assert!(accesses < MOST_ACCESSES, "a call did not return within {MOST_ACCESSES} accesses");
        if strikes.is_empty() {
            return;
        }
        let word = memory.word_at(address);
        let again = word.is_some() && !seen.insert(address);
        let now = |strike: &mut Strike| {
            let counts = match strike.when {
                When::Any => true,
                When::Own(own) => word == Some(own),
                When::Again => again,
            };
            counts && strike.wait.checked_sub(1).map(|wait| strike.wait = wait).is_none()
        };
        for Strike { when, change, .. } in strikes.extract_if(.., now) {
            match (when, change, word) {
                (When::Again, Change::Word(_, to), Some(word)) => Change::Word(word, to).make(&memory),
                (_, change, _) => change.make(&memory),
            }
        }
    })
}

/// As a process that comes now finds it.
fn anew<S: Structure>(memory: &Memory) {
    let file = memory.segment().as_fd().try_clone_to_owned().expect("a descriptor");
    let opened = Segment::from_fd(file, S::KIND).map_err(|error| error.to_string());
    let visited = opened.and_then(S::of).and_then(|structure| {
        let me = Attachment::attach(&structure.segment().table()).map_err(|error| error.to_string())?;
        structure.visit(&me);
        Ok(())
    });
    if let Err(error) = visited {
        assert!(!error.is_empty());
    }
}

/// From outside: what is wrong is named.
fn look(memory: &Memory) {
    let bytes = crate::files::image(memory.segment());
    looked(&bytes, |_| Thread::Unknown, |_| ());
}

/// What `inspect` says of these bytes: whatever they are, a problem names its field, what was found and what was expected; and a record lies in them.
pub fn looked(bytes: &[u8], threads: impl FnMut(u32) -> Thread, mut records: impl FnMut(&RecordReport)) -> Report {
    let report = inspect(&bytes, threads, |record| {
        let payload = record.payload_offset + u64::from(record.length);
        assert!((record.offset + record.size).max(payload) <= bytes.len() as u64, "{record:?}");
        records(record);
    });
    for problem in &report.problems {
        assert!(!problem.field.is_empty() && !problem.found.is_empty() && !problem.expected.is_empty(), "{problem:?}");
    }
    report
}

/// An error says this, among other words.
pub fn says(error: &impl Display, what: &str) {
    let text = error.to_string();
    assert!(text.contains(what), "{text:?} does not say {what:?}");
}

/// An error says something; if it is that there is damage, then what was found, and what to do.
pub fn said(error: &(impl Display + Debug)) {
    let text = error.to_string();
    assert!(!text.is_empty(), "{error:?}");
    if text.contains("damaged") {
        assert!(text.contains(" is 0x") && text.contains(", expected "), "{text}");
    }
}
