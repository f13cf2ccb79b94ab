//! The semaphore: one dies while it takes a permit, has one, waits for one or gives it back.

use super::case::{Case, brief};
use super::mutex::SHORT;
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::lock::{AcquireError, AcquireTimeoutError, Permit, Semaphore, TryAcquireError};
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;
use std::cell::Cell;

/// More than a short sleep has room for.
const PERMITS: usize = 3;
const SLOTS: u32 = 8;
/// Offset of the first permit in the segment: see `semaphore::shared`.
const FIRST: usize = 4096 * (1 + SLOTS as usize) + 256;

/// How the permits are when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Free,
    /// All are others', who stand still.
    Taken,
    /// One is a dead one's, and the others are taken.
    DeadOnes,
    /// All are the victim's own.
    Own,
    /// They name a slot that is not there; or none, and say that they are held.
    NoSlot,
    NoHolder,
    /// The victim is attached to another segment.
    Foreign,
    /// They are free, and the victim's attachment is its parent's.
    Forked,
}

type Operation = for<'s> fn(&'s Permits, &mut Victim<'s>, &Facts);

pub struct Permits {
    semaphore: Semaphore,
    memory: Memory,
    is: Is,
    /// The victim has one when the operation begins.
    has: bool,
    /// Somebody has waited for it, in vain.
    waited: bool,
    /// That of the engine's process, which its children inherit.
    inherited: Cell<Option<&'static Attachment>>,
    operation: Operation,
}

pub struct Victim<'s> {
    me: &'static Attachment,
    permits: Vec<Permit<'s>>,
}

impl Permits {
    fn new(is: Is, has: bool, waited: bool, operation: Operation) -> Self {
        let semaphore = Semaphore::memfd(&Options::new().slots(SLOTS), PERMITS).expect("a semaphore");
        let memory = Memory::of(semaphore.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        Self { semaphore, memory, is, has, waited, inherited: Cell::new(None), operation }
    }

    /// A thread of this process that lives as long as the process.
    fn attached(&self) -> &'static Attachment {
        Box::leak(Box::new(brief(self.semaphore.attach().expect("a free slot"))))
    }

    fn one(&self) -> Permit<'_> {
        self.semaphore.acquire(self.attached()).expect("a free permit")
    }

    /// All permits are `word`.
    fn damage(&self, word: u64) {
        for number in 0..PERMITS {
            let offset = FIRST + number * 128;
            assert!(offset + 8 <= self.memory.len());
            // SAFETY: in bounds of the mapping, as was just seen, and aligned; nobody else is at work.
            unsafe { self.memory.start().as_ptr().add(offset).cast::<u64>().write(word) };
        }
    }

    fn is_damaged(&self) -> bool {
        matches!(self.is, Is::NoSlot | Is::NoHolder)
    }

    /// How many permits those have who stand still.
    fn taken(&self) -> usize {
        match self.is {
            Is::Taken => PERMITS,
            Is::DeadOnes => PERMITS - 1,
            _ if self.waited => PERMITS - 1,
            _ => 0,
        }
    }
}

impl Subject for Permits {
    type Victim<'s> = Victim<'s>;
    type Survivor<'s> = &'static Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, _: &Facts) {
        match self.is {
            // See `owner::right`: held by slot 77; and not held, with a bit that nobody sets.
            Is::NoSlot => self.damage(1 << 32 | 1 << 29 | 77),
            Is::NoHolder => self.damage(1),
            Is::Forked => self.inherited.set(Some(self.attached())),
            _ => {}
        }
        for _ in 0..self.taken() {
            cast.stands(|| self.one());
        }
        if self.is == Is::DeadOnes {
            cast.dies(|| self.one());
        }
    }

    fn attach(&self, _: &Facts) -> Victim<'_> {
        let mut victim = Victim {
            me: self.inherited.get().unwrap_or_else(|| self.attached()),
            permits: Vec::with_capacity(PERMITS),
        };
        if self.is == Is::Foreign {
            let other = Semaphore::memfd(&Options::new().slots(1), 1).expect("a semaphore");
            victim.me = Box::leak(Box::new(brief(other.attach().expect("a free slot"))));
        }
        let own = if self.is == Is::Own { PERMITS } else { usize::from(self.has) };
        for _ in 0..own {
            victim.permits.push(self.semaphore.acquire(victim.me).expect("a free permit"));
        }
        if self.waited {
            // By another membership of this thread: to the semaphore it is another one.
            let other = brief(self.semaphore.attach().expect("a free slot"));
            assert!(matches!(self.semaphore.acquire_timeout(&other, SHORT), Err(AcquireTimeoutError::TimedOut)));
        }
        victim
    }

    fn operation<'s>(&'s self, victim: &mut Victim<'s>, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> &'static Attachment {
        self.attached()
    }

    /// All but those of the living can be had, each once.
    fn recover(&self, me: &mut &'static Attachment, _: &Facts) -> Result<&'static str, Finding> {
        let mut had = [const { None }; PERMITS];
        for _ in 0..PERMITS - self.taken() {
            match self.semaphore.try_acquire(me) {
                Ok(permit) => {
                    let number = permit.number();
                    if had[number].replace(permit).is_some() {
                        return Err(Finding::other(format!("permit {number} was given twice")));
                    }
                }
                Err(TryAcquireError::Corrupt { .. }) if self.is_damaged() => return Ok("damaged"),
                Err(error) => return Err(Finding::stuck(format!("a permit of the dead: {error}"))),
            }
        }
        match self.semaphore.try_acquire(me) {
            Ok(_) => Err(Finding::other("more permits than there are, or one of the living")),
            Err(TryAcquireError::WouldBlock) if self.taken() > 0 => Ok("all but those of the living"),
            Err(TryAcquireError::Deadlock) if self.taken() == 0 => Ok("all"),
            Err(error) => Err(Finding::stuck(error.to_string())),
        }
    }

    fn judge(&self, me: &mut &'static Attachment, _: &Facts) -> Result<(), Finding> {
        let available = self.semaphore.available();
        match self.semaphore.acquire_timeout(me, SHORT) {
            _ if self.is_damaged() => Ok(()),
            _ if available != PERMITS - self.taken() => Err(Finding::lost(format!(
                "{available} of {PERMITS} permits are available, {} are taken",
                self.taken()
            ))),
            Ok(_) if available > 0 => Ok(()),
            Err(AcquireTimeoutError::TimedOut) if available == 0 => Ok(()),
            Ok(_) => Err(Finding::other("a permit of the living")),
            Err(error) => Err(Finding::stuck(error.to_string())),
        }
    }
}

/// Defines operations: functions of their own, so that their instructions are.
macro_rules! operations {
    ($($name:ident($subject:ident, $victim:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name<'s>($subject: &'s Permits, $victim: &mut Victim<'s>, _: &Facts) $body
    )+};
}

/// One function, so that what each state comes by is the code of all.
#[inline(never)]
fn give_back(permit: Permit<'_>) {
    drop(permit);
}

/// What the victim does with what it got, which must be what the semaphore then gives.
macro_rules! got {
    ($acquired:expr, $subject:ident) => {
        match $acquired {
            Ok(permit) => {
                assert!(matches!($subject.is, Is::Free | Is::DeadOnes));
                assert_eq!(permit.from_the_dead(), $subject.is == Is::DeadOnes);
                give_back(permit);
            }
            Err(_) => assert!(!matches!($subject.is, Is::Free | Is::DeadOnes)),
        }
    };
}

operations! {
    acquire(subject, victim) {
        if subject.is == Is::Own {
            assert!(matches!(subject.semaphore.acquire(victim.me), Err(AcquireError::Deadlock)));
        } else {
            got!(subject.semaphore.acquire(victim.me), subject)
        }
    }
    try_acquire(subject, victim) { got!(subject.semaphore.try_acquire(victim.me), subject) }
    acquire_timeout(subject, victim) { got!(subject.semaphore.acquire_timeout(victim.me, SHORT), subject) }
    release(_s, victim) { victim.permits.pop().into_iter().for_each(give_back); }
}

pub fn cases(all: &mut Vec<Case>) {
    use Is::{DeadOnes, Foreign, Forked, Free, NoHolder, NoSlot, Own, Taken};
    // Operation, in which states, whether the victim has one already.
    const ROWS: [(&str, Operation, &[Is], bool); 4] = [
        ("acquire", acquire, &[Free, DeadOnes, Own, NoSlot, NoHolder, Foreign, Forked], false),
        ("try_acquire", try_acquire, &[Free, Taken, DeadOnes, Own, NoSlot, NoHolder, Foreign, Forked], false),
        ("acquire_timeout", acquire_timeout, &[Free, Taken, DeadOnes, Own, NoSlot, NoHolder, Foreign, Forked], false),
        ("release", release, &[Free], true),
    ];
    for (name, operation, states, has) in ROWS {
        let address = operation as *const () as usize;
        for &is in states {
            for waited in [false, true].into_iter().take(if has { 2 } else { 1 }) {
                let title = format!("semaphore.{name}.{}{}", state(is), if waited { "_waited_for" } else { "" });
                let case = Case::new(title, address, move || Permits::new(is, has, waited, operation));
                let whole = name == "acquire" && is == DeadOnes || name == "release" && waited;
                all.push(if whole { case } else { case.first_deaths_alone().few_planted() });
            }
        }
    }
}

fn state(is: Is) -> &'static str {
    match is {
        Is::Free => "free",
        Is::Taken => "taken",
        Is::DeadOnes => "dead_ones",
        Is::Own => "own",
        Is::NoSlot => "no_slot",
        Is::NoHolder => "no_holder",
        Is::Foreign => "foreign",
        Is::Forked => "forked",
    }
}
