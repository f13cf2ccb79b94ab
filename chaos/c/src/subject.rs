//! A subject in C.

use crate::abi::{self, Judge, Make, Place, RawSubject};
use ownerdead::harness::kill::{Cast, Facts, Finding, Kind, Memory, Subject};
use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_void};

/// Room for what a function says, in bytes.
const TEXT: usize = 512;

/// A subject in C, its structure made.
pub struct Foreign {
    raw: RawSubject,
    name: String,
    memory: Memory,
    operation: unsafe extern "C" fn(*const Place, *mut c_void),
    recover: Judge,
}

// SAFETY: the functions and the context are the caller's, who asks for several threads only if they may be called by several: the
// header says so.
unsafe impl Sync for Foreign {}

/// What a process has of it.
pub struct Hand {
    place: Place,
    with: *mut c_void,
}

impl Foreign {
    /// # Safety
    /// As the header says of `struct ownerdead_subject`.
    pub(crate) unsafe fn new(raw: *const RawSubject) -> Result<Self, Box<dyn Error>> {
        // SAFETY: the caller's.
        let raw = unsafe { abi::read(raw, "ownerdead_subject")? }.ok_or("found no subject: the pointer is NULL")?;
        let missing = |what: &str| format!("found no {what} in struct ownerdead_subject, expected one");
        let create = raw.create.ok_or_else(|| missing("create"))?;
        let operation = raw.operation.ok_or_else(|| missing("operation"))?;
        let recover = raw.recover.ok_or_else(|| missing("recover"))?;
        if raw.name.is_null() || raw.memory == 0 {
            return Err(missing(if raw.memory == 0 { "memory" } else { "name" }).into());
        }
        // SAFETY: a string, by the header.
        let name = unsafe { CStr::from_ptr(raw.name) }.to_string_lossy().into_owned();
        let subject = Self { raw, name, memory: Memory::zeroed(raw.memory)?, operation, recover };
        // The engine's facts are not there yet, and all 0 then.
        let mut facts = [0u64; Facts::WORDS];
        let place = Place { facts: facts.as_mut_ptr(), ..subject.place(std::ptr::null_mut(), 0) };
        // SAFETY: the header's contract.
        match unsafe { create(&place) } {
            0 => Ok(subject),
            code => Err(format!("{}: create returned {code}", subject.name).into()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn place(&self, facts: *mut u64, worker: u32) -> Place {
        let memory = self.memory.start().as_ptr();
        Place { context: self.raw.context, memory, length: self.memory.len(), facts, worker }
    }

    fn hand(&self, make: Option<Make>, facts: &Facts, worker: usize) -> Hand {
        let place = self.place(facts.start().as_ptr(), worker as u32);
        // SAFETY: the header's contract.
        let with = make.map_or(std::ptr::null_mut(), |make| unsafe { make(&place) });
        Hand { place, with }
    }

    fn ask(judge: Judge, hand: &Hand) -> Result<&'static str, Finding> {
        let mut text = [0 as c_char; TEXT];
        // SAFETY: the header's contract; one byte stays 0.
        let code = unsafe { judge(&hand.place, hand.with, text.as_mut_ptr(), TEXT - 1) };
        // SAFETY: it ends with 0, since its last byte is.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy();
        match kind(code) {
            // In a process that ends soon.
            None => Ok(Box::leak(text.into_owned().into_boxed_str())),
            Some(kind) => Err(Finding::new(kind, text)),
        }
    }
}

fn kind(code: c_int) -> Option<Kind> {
    match code {
        0 => None,
        1 => Some(Kind::Lost),
        2 => Some(Kind::Torn),
        3 => Some(Kind::Duplicated),
        4 => Some(Kind::Stuck),
        5 => Some(Kind::Crashed),
        _ => Some(Kind::Other),
    }
}

impl Subject for Foreign {
    type Victim<'s> = Hand;
    type Survivor<'s> = Hand;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        if let Some(prepare) = self.raw.prepare {
            let place = self.place(facts.start().as_ptr(), 0);
            // SAFETY: the header's contract.
            cast.dies(|| unsafe { prepare(&place) });
        }
    }

    fn attach(&self, facts: &Facts) -> Hand {
        self.hand(self.raw.attach, facts, 0)
    }

    #[inline(never)]
    fn operation(&self, hand: &mut Hand, _: &Facts) {
        // SAFETY: the header's contract.
        unsafe { (self.operation)(&hand.place, hand.with) };
    }

    fn arrive(&self, facts: &Facts) -> Hand {
        self.hand(self.raw.arrive, facts, 0)
    }

    fn recover(&self, hand: &mut Hand, _: &Facts) -> Result<&'static str, Finding> {
        Self::ask(self.recover, hand)
    }

    fn judge(&self, hand: &mut Hand, _: &Facts) -> Result<(), Finding> {
        self.raw.judge.map_or(Ok(()), |judge| Self::ask(judge, hand).map(|_| ()))
    }

    fn worker(&self, number: usize, facts: &Facts) -> Hand {
        self.hand(self.raw.attach, facts, number)
    }
}
