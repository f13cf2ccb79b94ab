//! Once-initialisation: one dies while it initialises, finds it done, or takes it over from the dead.

use super::case::{Case, FactsOf, Handles, brief};
use super::mutex::SHORT;
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::lock::{OnceCell, OnceError, OnceState, OnceTimeoutError};
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const SLOTS: u32 = 5;
/// Offset of the word: see `segment`.
const WORD: usize = 4096 * (1 + SLOTS as usize);
const VALUE: u64 = 0x0123_4567_89ab_cdef;

/// Tries that were begun; whether somebody was given the value.
const FACTS: FactsOf<2> = FactsOf([0, 1]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Fresh,
    /// Somebody died while he tried.
    DeadOnes,
    /// Somebody panicked.
    Panicked,
    /// Somebody is at it, and stands still.
    Tried,
    Done,
    /// Its word is of a slot that is not there, or of none.
    NoSlot,
    NoHolder,
    /// The victim is attached to another segment.
    Foreign,
    /// Nobody has tried. While the victim does, somebody waits for it, in vain.
    WaitedFor,
}

/// One type for all, so that their code is the same.
type Make<'m> = &'m dyn Fn(OnceState) -> u64;
type Operation = fn(&Initialising, &Victim, &Facts);

pub struct Initialising {
    cell: OnceCell<u64>,
    memory: Memory,
    is: Is,
    handles: Handles,
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

pub struct Victim {
    me: &'static Attachment,
    /// Another membership of its thread: to the others it is another one.
    other: Option<&'static Attachment>,
}

impl Initialising {
    fn new(is: Is, operation: Operation) -> Self {
        let cell = OnceCell::memfd(&Options::new().slots(SLOTS)).expect("a cell");
        let memory = Memory::of(cell.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (handles, inherited) = (Handles::Own, RefCell::new(None));
        Self { cell, memory, is, handles, inherited, operation }
    }

    fn attached(&self) -> &'static Attachment {
        Box::leak(Box::new(brief(self.cell.attach().expect("a free slot"))))
    }

    fn write(&self, word: u64) {
        // SAFETY: in bounds of the mapping, and aligned; nobody else is at work.
        unsafe { self.memory.start().as_ptr().add(WORD).cast::<u64>().write(word) };
    }

    /// Somebody tries, and stops in the middle.
    fn tries(&self, facts: &Facts, stop: impl Fn()) {
        let me = self.attached();
        let make: Make<'_> = &|state| {
            let value = make(facts, state);
            stop();
            value
        };
        let _ = self.cell.get_or_init(me, make);
    }

    /// What the victim has when its operation begins.
    fn begins(&self) -> Victim {
        let me = if self.is == Is::Foreign {
            let other = OnceCell::<u64>::memfd(&Options::new().slots(1)).expect("a cell");
            Box::leak(Box::new(brief(other.attach().expect("a free slot"))))
        } else {
            self.attached()
        };
        Victim { me, other: (self.is == Is::WaitedFor).then(|| self.attached()) }
    }

    /// The victim makes the value.
    fn makes(&self, victim: &Victim, facts: &Facts, state: OnceState) -> u64 {
        if let Some(other) = victim.other {
            let never: Make<'_> = &|_| 0;
            assert_eq!(self.cell.get_or_init_timeout(other, SHORT, never), Err(OnceTimeoutError::TimedOut));
        }
        make(facts, state)
    }

    fn is_child(&self) -> bool {
        self.handles == Handles::Inherited
    }

    fn is_damaged(&self) -> bool {
        matches!(self.is, Is::NoSlot | Is::NoHolder)
    }
}

/// The value; a try was begun.
fn make(facts: &Facts, state: OnceState) -> u64 {
    let [begun, given] = FACTS.words(facts);
    // Of those that failed, some may have died before they began.
    assert!(u64::from(state.failed()) >= begun.get(), "{} begun, {state:?}", begun.get());
    assert_eq!(given.get(), 0, "it was given, and is made again");
    begun.add(1);
    VALUE
}

impl Subject for Initialising {
    type Victim<'s> = Victim;
    type Survivor<'s> = &'static Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        // SAFETY: stops this process.
        let stops = || _ = unsafe { libc::raise(libc::SIGSTOP) };
        match self.is {
            Is::Fresh | Is::Foreign | Is::WaitedFor => {}
            Is::DeadOnes => cast.dies(|| self.tries(facts, stops)),
            Is::Tried => cast.stands(|| self.tries(facts, stops)),
            Is::Panicked => cast.dies(|| {
                let panics = || resume_unwind(Box::new(()));
                assert!(catch_unwind(AssertUnwindSafe(|| self.tries(facts, panics))).is_err());
            }),
            Is::Done => cast.dies(|| {
                self.tries(facts, || ());
                FACTS.words(facts)[1].set(1);
            }),
            // See `owner::right`: held by slot 77; and not held, with a bit that nobody sets.
            Is::NoSlot => self.write(1 << 32 | 1 << 29 | 77),
            Is::NoHolder => self.write(1),
        }
        if self.handles == Handles::Inherited {
            self.inherited.replace(Some(self.begins()));
        }
    }

    fn attach(&self, _: &Facts) -> Victim {
        self.inherited.take().unwrap_or_else(|| self.begins())
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> &'static Attachment {
        self.attached()
    }

    fn recover(&self, me: &mut &'static Attachment, facts: &Facts) -> Result<&'static str, Finding> {
        let before = FACTS.words(facts)[0].get();
        let make: Make<'_> = &|state| make(facts, state);
        let given = match self.cell.get_or_init_timeout(me, SHORT, make) {
            Ok(&value) => value,
            Err(OnceTimeoutError::TimedOut) if self.is == Is::Tried => return Ok("tried by one who lives"),
            Err(OnceTimeoutError::Corrupt { .. }) if self.is_damaged() => return Ok("damaged"),
            Err(error) => return Err(Finding::stuck(format!("the value: {error}"))),
        };
        let [begun, was_given] = FACTS.words(facts);
        if given != VALUE {
            return Err(Finding::torn(format!("the value is {given:#x}")));
        }
        was_given.set(1);
        Ok(if begun.get() == before { "done" } else { "made" })
    }

    fn judge(&self, _: &mut &'static Attachment, _: &Facts) -> Result<(), Finding> {
        match self.cell.get() {
            Some(&VALUE) => Ok(()),
            None if self.is == Is::Tried || self.is_damaged() => Ok(()),
            other => Err(Finding::lost(format!("after it was given, it is {other:x?}"))),
        }
    }
}

/// One function, so that what each state comes by is the code of all.
#[inline(never)]
fn calls<'s>(subject: &'s Initialising, me: &Attachment, make: Make<'_>) -> Result<&'s u64, OnceError> {
    subject.cell.get_or_init(me, make)
}

#[inline(never)]
fn get_or_init(subject: &Initialising, victim: &Victim, facts: &Facts) {
    let make: Make<'_> = &|state| subject.makes(victim, facts, state);
    match calls(subject, victim.me, make) {
        Ok(&value) => {
            assert_eq!(value, VALUE);
            FACTS.words(facts)[1].set(1);
        }
        Err(OnceError::Corrupt { .. }) => assert!(subject.is_damaged()),
        Err(OnceError::Forked) => assert!(subject.is_child()),
        Err(OnceError::Truncated(truncated)) => panic!("{truncated}"),
        Err(error) => assert_eq!((subject.is, error), (Is::Foreign, OnceError::WrongSegment)),
    }
}

#[inline(never)]
fn get_or_init_timeout(subject: &Initialising, victim: &Victim, facts: &Facts) {
    let make: Make<'_> = &|state| make(facts, state);
    match subject.cell.get_or_init_timeout(victim.me, SHORT, make) {
        Ok(&value) => {
            assert_eq!(value, VALUE);
            FACTS.words(facts)[1].set(1);
        }
        Err(OnceTimeoutError::Corrupt { .. }) => assert!(subject.is_damaged()),
        Err(OnceTimeoutError::Forked) => assert!(subject.is_child()),
        Err(OnceTimeoutError::Truncated(truncated)) => panic!("{truncated}"),
        Err(OnceTimeoutError::WrongSegment) => assert_eq!(subject.is, Is::Foreign),
        Err(error) => assert_eq!((subject.is, error), (Is::Tried, OnceTimeoutError::TimedOut)),
    }
}

#[inline(never)]
fn get(subject: &Initialising, _: &Victim, _: &Facts) {
    assert_eq!(subject.cell.get().is_some(), subject.is == Is::Done);
}

#[inline(never)]
fn call_inside(subject: &Initialising, victim: &Victim, facts: &Facts) {
    let never: Make<'_> = &|_| 0;
    let make: Make<'_> = &|state| {
        assert_eq!(calls(subject, victim.me, never), Err(OnceError::Deadlock));
        make(facts, state)
    };
    assert_eq!(calls(subject, victim.me, make), Ok(&VALUE));
    FACTS.words(facts)[1].set(1);
}

#[inline(never)]
fn panic_inside(subject: &Initialising, victim: &Victim, facts: &Facts) {
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let make: Make<'_> = &|state| {
            make(facts, state);
            resume_unwind(Box::new(()))
        };
        let _ = calls(subject, victim.me, make);
    }));
    assert!(caught.is_err());
}

pub fn cases(all: &mut Vec<Case>) {
    use Is::{DeadOnes, Done, Foreign, Fresh, NoHolder, NoSlot, Panicked, Tried, WaitedFor};
    const ROWS: [(&str, Operation, &[Is]); 5] = [
        ("get_or_init", get_or_init, &[DeadOnes, Fresh, Panicked, Done, NoSlot, NoHolder, Foreign, WaitedFor]),
        ("get_or_init_timeout", get_or_init_timeout, &[Tried, DeadOnes, Fresh, Done, NoSlot, NoHolder, Foreign]),
        ("get", get, &[Done, Fresh]),
        ("call_inside", call_inside, &[Fresh]),
        ("panic_inside", panic_inside, &[Fresh]),
    ];
    for (name, operation, states) in ROWS {
        let address = operation as *const () as usize;
        for &is in states {
            let title = format!("once.{name}.{}", format!("{is:?}").to_lowercase());
            let case = Case::new(title, address, move || Initialising::new(is, operation));
            all.push(match (name, is) {
                ("get_or_init", Fresh | DeadOnes) => case,
                _ if is == states[0] => case.first_deaths_alone(),
                // Real deaths are as in the first.
                _ => case.first_deaths_alone().few_planted(),
            });
        }
        if states.contains(&Foreign) {
            let forked = move || Initialising { handles: Handles::Inherited, ..Initialising::new(Fresh, operation) };
            all.push(Case::new(format!("once.{name}.forked"), address, forked).first_deaths_alone());
        }
    }
}
