//! The futex mutex, which is not robust: one dies while it locks, holds or unlocks, and nobody is let in who should not be.

use super::case::{Case, LOOKS};
use super::mutex::{Pair, SHORT, ZERO};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::lock::{FutexGuard, FutexMutex};
use ownerdead::segment::Options;
use std::cell::RefCell;

/// Word of the facts: where the victim is.
const AT: usize = 0;
/// It may have the lock, or not.
const BETWEEN: u64 = 0;
const INSIDE: u64 = 1;
const OUTSIDE: u64 = 2;

type Operation = for<'s> fn(&'s Plain, &mut Victim<'s>, &Facts);
type Victim<'s> = Option<FutexGuard<'s, Pair>>;

pub struct Plain {
    mutex: FutexMutex<Pair>,
    memory: Memory,
    /// One that stands still has it.
    held: bool,
    /// The victim has it when the operation begins.
    locked: bool,
    /// Somebody has waited for it in vain, and has left it as contended.
    contended: bool,
    /// The engine's process has it, and its children inherit the guard.
    held_by_parent: bool,
    inherited: RefCell<Victim<'static>>,
    operation: Operation,
}

impl Plain {
    fn new((held, locked, contended): (bool, bool, bool), operation: Operation) -> Self {
        let mutex = FutexMutex::memfd(&Options::new().slots(1), ZERO).expect("a mutex").with_waiting(LOOKS);
        let memory = Memory::of(mutex.segment()).expect("its file, mapped");
        let (held_by_parent, inherited) = (false, RefCell::new(None));
        Self { mutex, memory, held, locked, contended, held_by_parent, inherited, operation }
    }
}

impl Subject for Plain {
    type Victim<'s> = Victim<'s>;
    type Survivor<'s> = ();

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        facts.word(AT).set(OUTSIDE);
        if self.held {
            cast.stands(|| self.mutex.try_lock().expect("a free lock"));
        }
        if self.held_by_parent {
            let mutex: &'static FutexMutex<Pair> = Box::leak(Box::new(self.mutex.clone()));
            self.inherited.replace(mutex.try_lock());
        }
    }

    fn attach(&self, facts: &Facts) -> Victim<'_> {
        if let Some(inherited) = self.inherited.take() {
            return Some(inherited);
        }
        let guard = self.locked.then(|| self.mutex.try_lock().expect("a free lock"));
        if guard.is_some() {
            facts.word(AT).set(INSIDE);
        }
        if self.contended {
            assert!(self.mutex.lock_timeout(SHORT).is_err(), "it is locked");
        }
        guard
    }

    fn operation<'s>(&'s self, victim: &mut Victim<'s>, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) {}

    fn recover(&self, (): &mut (), facts: &Facts) -> Result<&'static str, Finding> {
        let at = facts.word(AT).get();
        let held = self.held || self.held_by_parent;
        let (may_be_had, must_be_had) = (!held && at != INSIDE, !held && at == OUTSIDE);
        if must_be_had {
            // From here on this one may have it, should it die.
            facts.word(AT).set(BETWEEN);
        }
        match self.mutex.lock_timeout(SHORT) {
            Ok(_) if !may_be_had => Err(Finding::duplicated("one has it, and another one was let in")),
            Ok(guard) => {
                let Pair { left, right } = *guard;
                if left == right { Ok("free") } else { Err(Finding::torn(format!("half changed: {left} and {right}"))) }
            }
            Err(_) if must_be_had => Err(Finding::stuck("nobody has it, and it is not had")),
            Err(_) => Ok("stays locked"),
        }
    }
}

/// Unlocks: one function, so that what each state comes by is the code of all.
#[inline(never)]
fn give_up(guard: FutexGuard<'_, Pair>) {
    drop(guard);
}

/// The victim has it, and changes the data.
fn change(mut guard: FutexGuard<'_, Pair>, facts: &Facts) {
    facts.word(AT).set(INSIDE);
    guard.left += 1;
    guard.right += 1;
    facts.word(AT).set(BETWEEN);
    give_up(guard);
    facts.word(AT).set(OUTSIDE);
}

#[inline(never)]
fn lock<'s>(subject: &'s Plain, _: &mut Victim<'s>, facts: &Facts) {
    facts.word(AT).set(BETWEEN);
    change(subject.mutex.lock(), facts);
}

#[inline(never)]
fn try_lock<'s>(subject: &'s Plain, _: &mut Victim<'s>, facts: &Facts) {
    facts.word(AT).set(BETWEEN);
    if let Some(guard) = subject.mutex.try_lock() {
        change(guard, facts);
    }
}

#[inline(never)]
fn lock_timeout<'s>(subject: &'s Plain, _: &mut Victim<'s>, facts: &Facts) {
    facts.word(AT).set(BETWEEN);
    if let Ok(guard) = subject.mutex.lock_timeout(SHORT) {
        change(guard, facts);
    }
}

#[inline(never)]
fn unlock<'s>(_: &'s Plain, victim: &mut Victim<'s>, facts: &Facts) {
    facts.word(AT).set(BETWEEN);
    victim.take().into_iter().for_each(give_up);
    facts.word(AT).set(OUTSIDE);
}

pub fn cases(all: &mut Vec<Case>) {
    // Operation; whether it is held by another one, locked by the victim, contended.
    const ROWS: [(&str, Operation, (bool, bool, bool)); 7] = [
        ("lock.free", lock, (false, false, false)),
        ("try_lock.free", try_lock, (false, false, false)),
        ("try_lock.held", try_lock, (true, false, false)),
        ("lock_timeout.free", lock_timeout, (false, false, false)),
        ("lock_timeout.held", lock_timeout, (true, false, false)),
        ("unlock.locked", unlock, (false, true, false)),
        ("unlock.contended", unlock, (false, true, true)),
    ];
    for (name, operation, how) in ROWS {
        let address = operation as *const () as usize;
        all.push(Case::new(format!("futex_mutex.{name}"), address, move || Plain::new(how, operation)));
    }
    // A child does not have its parent's lock.
    let forked = || Plain { held_by_parent: true, ..Plain::new((false, false, false), unlock) };
    all.push(Case::new("futex_mutex.unlock.forked".into(), unlock as *const () as usize, forked).first_deaths_alone());
}
