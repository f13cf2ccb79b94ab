//! The reader-writer lock: one dies while it reads, writes, waits, repairs or leaves.

use super::case::{Case, FactsOf, brief};
use super::mutex::{Pair, SHORT, ZERO};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject, Word};
use ownerdead::harness::oracle::Exclusion;
use ownerdead::lock::{
    LockError, LockTimeoutError, ReadError, ReadGuard, ReadTimeoutError, RwLock, TryLockError, TryReadError, WriteGuard,
};
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Words of the facts, of the writers: who is inside, changing, told, through.
const INSIDE: FactsOf<4> = FactsOf([0, 1, 2, 3]);
/// Changes that were begun, and those whose writer has unlocked.
const BEGUN: usize = 4;
const ENDED: usize = 5;
/// Whether somebody gave the lock up unrepaired: 1 that it may have, 2 that it has.
const GIVEN_UP: usize = 6;
/// The victim reads.
const READS: usize = 7;

const VICTIM: u64 = 1;
const SURVIVOR: u64 = 2;
const OTHER: u64 = 3;

const SLOTS: u32 = 6;
/// Offsets in the segment: see `lock::shared`.
const WORD: usize = 4096 * (1 + SLOTS as usize);
const LAST_PLACE: usize = WORD + 384 + (SLOTS as usize - 1) * 128;

/// How the lock is when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Free,
    /// One that stands still reads.
    Read,
    /// One that stands still writes.
    Written,
    /// A reader died with its share.
    DeadReaders,
    /// A writer died while it changed the data.
    DeadWriters,
    /// A writer died while it waited for a reader, who stands still.
    DeadWaiters,
    /// Given up in a panic.
    Suspect,
    /// Given up unrepaired.
    NotRecoverable,
    /// Its word names a slot that is not there.
    NoSlot,
    /// A place names another slot.
    NoReader,
    /// The victim is attached to another segment.
    Foreign,
    /// Nobody's, and the victim's attachment is its parent's.
    Forked,
}

/// What the victim has when its operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    Nothing,
    Share,
    All,
}

type Operation = for<'s> fn(&'s Shared, &mut Victim<'s>, &Facts);

pub struct Shared {
    lock: RwLock<Pair>,
    memory: Memory,
    is: Is,
    has: Has,
    /// Somebody has waited for what the victim has, in vain.
    waited: bool,
    /// That of the engine's process, which its children inherit.
    inherited: Cell<Option<&'static Attachment>>,
    operation: Operation,
}

pub struct Victim<'s> {
    me: &'static Attachment,
    share: Option<ReadGuard<'s, Pair>>,
    all: Option<WriteGuard<'s, Pair>>,
}

fn exclusion(facts: &Facts) -> Exclusion<&Word> {
    let [inside, changing, told, through] = INSIDE.words(facts);
    Exclusion { inside, changing, told, through }
}

/// The victim has the lock, and changes the data.
fn change(guard: &mut WriteGuard<'_, Pair>, facts: &Facts, told: bool) {
    let exclusion = exclusion(facts);
    exclusion.inside.set(VICTIM);
    if told {
        guard.right = guard.left;
        exclusion.changing.set(0);
    }
    facts.word(BEGUN).add(1);
    exclusion.change();
    guard.left += 1;
    guard.right += 1;
    exclusion.leave();
}

impl Shared {
    fn new(is: Is, has: Has, waited: bool, operation: Operation) -> Self {
        let lock = RwLock::memfd(&Options::new().slots(SLOTS), ZERO).expect("a lock");
        let memory = Memory::of(lock.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        Self { lock, memory, is, has, waited, inherited: Cell::new(None), operation }
    }

    /// A thread of this process that lives as long as the process.
    fn attached(&self) -> &'static Attachment {
        Box::leak(Box::new(brief(self.lock.attach().expect("a free slot"))))
    }

    /// Writes a word of the segment.
    fn write(&self, offset: usize, word: u64) {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.memory.len());
        // SAFETY: in bounds of the mapping, as was just seen, and aligned; nobody else is at work.
        unsafe { self.memory.start().as_ptr().add(offset).cast::<u64>().write(word) };
    }

    /// A process has the lock, and is changing the data.
    fn holds(&self, facts: &Facts) -> WriteGuard<'_, Pair> {
        let mut guard = self.lock.write(self.attached()).expect("a free lock");
        let exclusion = exclusion(facts);
        exclusion.inside.set(OTHER);
        exclusion.change();
        guard.left += 1;
        guard
    }

    fn reads(&self) -> ReadGuard<'_, Pair> {
        self.lock.read(self.attached()).expect("no writer")
    }

    /// One that lives, and stands still, keeps writers out.
    fn is_read(&self, facts: &Facts) -> bool {
        matches!(self.is, Is::Read | Is::DeadWaiters) || facts.word(READS).get() == 1
    }

    /// The word or a place is damaged: what is found there.
    fn is_damaged(&self) -> bool {
        matches!(self.is, Is::NoSlot | Is::NoReader)
    }
}

impl Subject for Shared {
    type Victim<'s> = Victim<'s>;
    type Survivor<'s> = &'static Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.is {
            Is::Free | Is::Foreign => {}
            Is::Forked => self.inherited.set(Some(self.attached())),
            Is::NoSlot => self.write(WORD, 1 << 32 | 1 << 29 | 77),
            Is::NoReader => self.write(LAST_PLACE, 1 << 32 | 1 << 29),
            Is::Read => cast.stands(|| self.reads()),
            Is::Written => cast.stands(|| self.holds(facts)),
            Is::DeadReaders => cast.dies(|| self.reads()),
            Is::DeadWriters => cast.dies(|| self.holds(facts)),
            Is::DeadWaiters => {
                cast.stands(|| self.reads());
                // What one leaves that died asleep: the taking of slot 1 before which nobody was there, and its right in the word.
                self.write(4096 * 2 + 4080, 1 << 32 | 1 << 30);
                self.write(WORD, 1 << 32 | 1 << 29 | 1 << 12 | 1);
            }
            Is::Suspect => cast.dies(|| {
                let gives_up = catch_unwind(AssertUnwindSafe(|| {
                    let _guard = self.holds(facts);
                    panic!("with the lock");
                }));
                assert!(gives_up.is_err());
                exclusion(facts).inside.set(0);
            }),
            Is::NotRecoverable => {
                cast.dies(|| self.holds(facts));
                cast.dies(|| match self.lock.write(self.attached()) {
                    Err(LockError::OwnerDied(died)) => drop(died.into_guard()),
                    _ => panic!("its writer is dead"),
                });
                facts.word(GIVEN_UP).set(2);
            }
        }
    }

    fn attach(&self, facts: &Facts) -> Victim<'_> {
        let mut victim = Victim { me: self.inherited.get().unwrap_or_else(|| self.attached()), share: None, all: None };
        if self.is == Is::Foreign {
            let other = RwLock::memfd(&Options::new().slots(1), ZERO).expect("a lock");
            victim.me = Box::leak(Box::new(brief(other.attach().expect("a free slot"))));
        }
        match self.has {
            Has::Nothing => {}
            Has::Share => victim.share = Some(self.lock.read(victim.me).expect("no writer")),
            Has::All => {
                let (guard, told) = match self.lock.write(victim.me) {
                    Ok(guard) => (guard, false),
                    Err(LockError::OwnerDied(died)) => (died.into_guard(), true),
                    Err(error) => panic!("{error}"),
                };
                exclusion(facts).enter(VICTIM, told).expect("alone");
                victim.all = Some(guard);
            }
        }
        if self.waited {
            // By another membership of this thread: to the lock it is another one.
            let other = brief(self.lock.attach().expect("a free slot"));
            assert!(matches!(self.lock.write_timeout(&other, SHORT), Err(LockTimeoutError::TimedOut)));
        }
        victim
    }

    fn operation<'s>(&'s self, victim: &mut Victim<'s>, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> &'static Attachment {
        self.attached()
    }

    fn recover(&self, me: &mut &'static Attachment, facts: &Facts) -> Result<&'static str, Finding> {
        match self.lock.try_write(me) {
            Ok(guard) => {
                enters(&guard, facts, false)?;
                exclusion(facts).leave();
                Ok("free")
            }
            Err(TryLockError::OwnerDied(died)) => {
                let mut guard = died.into_guard();
                enters(&guard, facts, true)?;
                if !guard.needs_repair() {
                    return Err(Finding::lost("a dead one's lock, and it counts as repaired"));
                }
                let exclusion = exclusion(facts);
                exclusion.change();
                guard.right = u64::MAX;
                guard.right = guard.left;
                exclusion.leave();
                guard.mark_consistent();
                Ok("owner died")
            }
            Err(TryLockError::NotRecoverable) if facts.word(GIVEN_UP).get() > 0 => Ok("not recoverable"),
            Err(TryLockError::WouldBlock) if self.is == Is::Written || self.is_read(facts) => {
                Ok("held by one who lives")
            }
            Err(TryLockError::Corrupt { .. }) if self.is_damaged() => Ok("damaged"),
            Err(error) => Err(Finding::stuck(format!("the lock: {error}"))),
        }
    }

    fn judge(&self, me: &mut &'static Attachment, facts: &Facts) -> Result<(), Finding> {
        match self.lock.read_timeout(me, SHORT) {
            Ok(guard) if guard.left == guard.right => Ok(()),
            Ok(_) => Err(Finding::torn("a reader is let in to data that are half changed")),
            Err(ReadTimeoutError::NotRecoverable) if facts.word(GIVEN_UP).get() > 0 => Ok(()),
            Err(ReadTimeoutError::TimedOut) if self.is == Is::Written => Ok(()),
            Err(ReadTimeoutError::Corrupt { .. }) if self.is == Is::NoSlot => Ok(()),
            Err(error) => Err(Finding::stuck(format!("reading after the recovery: {error}"))),
        }
    }
}

/// A survivor has the lock, for writing.
fn enters(guard: &WriteGuard<'_, Pair>, facts: &Facts, told: bool) -> Result<(), Finding> {
    exclusion(facts).enter(SURVIVOR, told)?;
    if facts.word(GIVEN_UP).get() == 2 {
        return Err(Finding::other("it was given up unrepaired, and was had all the same"));
    }
    let Pair { left, right } = **guard;
    let (begun, ended) = (facts.word(BEGUN).get(), facts.word(ENDED).get());
    if !told && left != right {
        return Err(Finding::torn(format!("half changed, and nobody was told: {left} and {right}")));
    }
    if left < ended {
        return Err(Finding::lost(format!("{ended} changes were made, {left} are there")));
    }
    if left > begun + 1 {
        return Err(Finding::other(format!("{begun} changes were begun, {left} are there")));
    }
    Ok(())
}

/// Defines operations: functions of their own, so that their instructions are.
macro_rules! operations {
    ($($name:ident($subject:ident, $victim:ident, $facts:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name<'s>($subject: &'s Shared, $victim: &mut Victim<'s>, $facts: &Facts) $body
    )+};
}

/// One function each, so that what each state comes by is the code of all.
#[inline(never)]
fn give_up(guard: WriteGuard<'_, Pair>) {
    drop(guard);
}

#[inline(never)]
fn give_up_share(guard: ReadGuard<'_, Pair>) {
    drop(guard);
}

/// What a writer does with what it got, which must be what the lock then gives.
macro_rules! wrote {
    ($locked:expr, $subject:ident, $facts:ident, $died:path) => {
        match $locked {
            Ok(mut guard) => {
                assert!(matches!($subject.is, Is::Free | Is::DeadReaders));
                change(&mut guard, $facts, false);
                give_up(guard);
                $facts.word(ENDED).add(1);
            }
            Err($died(died)) => {
                assert!(matches!($subject.is, Is::DeadWriters | Is::Suspect));
                let mut guard = died.into_guard();
                change(&mut guard, $facts, true);
                guard.mark_consistent();
                give_up(guard);
                $facts.word(ENDED).add(1);
            }
            Err(_) => assert!(
                $subject.has != Has::Nothing
                    || !matches!($subject.is, Is::Free | Is::DeadReaders | Is::DeadWriters | Is::Suspect)
            ),
        }
    };
}

/// The same of a reader.
macro_rules! read {
    ($locked:expr, $subject:ident, $died:path) => {
        match $locked {
            Ok(guard) => {
                assert!(matches!($subject.is, Is::Free | Is::Read | Is::DeadReaders | Is::DeadWaiters | Is::NoReader));
                assert_eq!(guard.left, guard.right);
                give_up_share(guard);
            }
            Err($died) => assert!(matches!($subject.is, Is::DeadWriters | Is::Suspect)),
            Err(_) => assert!(
                $subject.has != Has::Nothing
                    || matches!($subject.is, Is::Written | Is::NotRecoverable | Is::NoSlot | Is::Foreign | Is::Forked)
            ),
        }
    };
}

operations! {
    read(subject, victim, _facts) { read!(subject.lock.read(victim.me), subject, ReadError::OwnerDied) }
    try_read(subject, victim, _facts) { read!(subject.lock.try_read(victim.me), subject, TryReadError::OwnerDied) }
    read_timeout(subject, victim, _facts) {
        let timeout = if subject.is == Is::DeadReaders { Duration::MAX } else { SHORT };
        read!(subject.lock.read_timeout(victim.me, timeout), subject, ReadTimeoutError::OwnerDied)
    }
    write(subject, victim, facts) { wrote!(subject.lock.write(victim.me), subject, facts, LockError::OwnerDied) }
    try_write(subject, victim, facts) {
        wrote!(subject.lock.try_write(victim.me), subject, facts, TryLockError::OwnerDied)
    }
    write_timeout(subject, victim, facts) {
        // Nobody waits for the dead, so here it may be later than the clock can say.
        let timeout = if subject.is == Is::DeadReaders { Duration::MAX } else { SHORT };
        wrote!(subject.lock.write_timeout(victim.me, timeout), subject, facts, LockTimeoutError::OwnerDied)
    }
    unlock_share(_s, victim, _facts) { victim.share.take().into_iter().for_each(give_up_share); }
    unlock(_s, victim, facts) {
        exclusion(facts).leave();
        victim.all.take().into_iter().for_each(give_up);
    }
    unlock_unrepaired(_s, victim, facts) {
        facts.word(GIVEN_UP).set(1);
        exclusion(facts).leave();
        victim.all.take().into_iter().for_each(give_up);
        facts.word(GIVEN_UP).set(2);
    }
}

pub fn cases(all: &mut Vec<Case>) {
    use Has::{All, Nothing, Share};
    use Is::{
        DeadReaders, DeadWaiters, DeadWriters, Foreign, Forked, Free, NoReader, NoSlot, NotRecoverable, Read, Suspect,
        Written,
    };
    // Operation, in which states, what the victim has already.
    const ROWS: [(&str, Operation, &[Is], Has); 16] = [
        (
            "read",
            read,
            &[Free, DeadReaders, DeadWaiters, DeadWriters, Suspect, NotRecoverable, NoSlot, Foreign, Forked],
            Nothing,
        ),
        ("read_twice", read, &[Free], Share),
        ("read_as_writer", read, &[Free], All),
        (
            "try_read",
            try_read,
            &[Free, Written, DeadWaiters, DeadWriters, NotRecoverable, NoSlot, Foreign, Forked],
            Nothing,
        ),
        ("try_read_twice", try_read, &[Free], Share),
        (
            "read_timeout",
            read_timeout,
            &[Written, DeadReaders, DeadWriters, NotRecoverable, NoSlot, Foreign, Forked],
            Nothing,
        ),
        ("read_timeout_twice", read_timeout, &[Free], Share),
        (
            "write",
            write,
            &[Free, DeadReaders, DeadWriters, Suspect, NotRecoverable, NoSlot, NoReader, Foreign, Forked],
            Nothing,
        ),
        ("write_twice", write, &[Free], All),
        (
            "try_write",
            try_write,
            &[Free, Read, Written, DeadWaiters, DeadWriters, NotRecoverable, NoSlot, NoReader, Foreign, Forked],
            Nothing,
        ),
        ("try_write_twice", try_write, &[Free], All),
        (
            "write_timeout",
            write_timeout,
            &[Free, Read, Written, DeadReaders, DeadWriters, NotRecoverable, NoSlot, NoReader, Foreign, Forked],
            Nothing,
        ),
        ("write_timeout_twice", write_timeout, &[Free], All),
        ("unlock_share", unlock_share, &[Free], Share),
        ("unlock", unlock, &[Free], All),
        ("unlock_unrepaired", unlock_unrepaired, &[DeadWriters], All),
    ];
    for (name, operation, states, has) in ROWS {
        let address = operation as *const () as usize;
        for &is in states {
            let plain = !name.starts_with("unlock");
            for waited in [false, true].into_iter().take(if plain { 1 } else { 2 }) {
                let title = format!("rwlock.{name}.{}{}", state(is), if waited { "_waited_for" } else { "" });
                let case = Case::new(title, address, move || Shared::new(is, has, waited, operation));
                // What a survivor does after most of them is the same: two are enough.
                let whole = ["read", "write"].contains(&name) && matches!(is, Free | DeadWriters);
                all.push(if whole { case } else { case.first_deaths_alone().few_planted() });
            }
        }
    }
}

fn state(is: Is) -> &'static str {
    match is {
        Is::Free => "free",
        Is::Read => "read",
        Is::Written => "written",
        Is::DeadReaders => "dead_readers",
        Is::DeadWriters => "dead_writers",
        Is::DeadWaiters => "dead_waiters",
        Is::Suspect => "suspect",
        Is::NotRecoverable => "not_recoverable",
        Is::NoSlot => "no_slot",
        Is::NoReader => "no_reader",
        Is::Foreign => "foreign",
        Is::Forked => "forked",
    }
}
