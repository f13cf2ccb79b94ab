//! Condition variables: one dies while it waits, notifies, or has the lock again.

use super::case::{Case, Handles, brief};
use super::mutex::{Pair, SHORT, give_up};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::lock::{Guard, LockError, LockTimeoutError, NotifyError, RobustMutex, WaitError, Waited};
use ownerdead::owner::{Attachment, Holder};
use ownerdead::segment::Options;
use std::cell::RefCell;

const SLOTS: u32 = 5;
/// Of the type that the other mutexes of sweeps guard: so their code is the same.
const SEVEN: Pair = Pair { left: 7, right: 7 };
/// Offsets of the lock's word and of the first condition variable's: see `segment` and `lock::shared`.
const LOCK: usize = 4096 * (1 + SLOTS as usize);
const SEQUENCE: usize = LOCK + 192;
const GATE: usize = SEQUENCE + 8;
/// Its bits: see `lock::condvar`.
const WAITERS: u64 = 1 << 31;
const OWED: u64 = 1 << 30;
const WATCHERS: u64 = 1 << 29;

/// How the condition variable, or the mutex, is when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Quiet,
    /// Somebody has waited, in vain.
    Waited,
    /// Somebody has watched a thread, in vain.
    Watched,
    /// A notifier died before it had woken all.
    Owed,
    /// Its gate is no 0, which only damage makes.
    Gate,
    /// Both.
    OwedGate,
    /// The victim is attached to another segment.
    Foreign,
    /// The victim waits with the lock of another mutex.
    Other,
    /// The victim's lock was a dead one's, and is not repaired.
    NotRepaired,
    /// Somebody has waited for the victim's lock, in vain.
    LockWaited,
}

/// Whom the victim watches, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watches {
    Living,
    Dead,
    NoSlot,
}

pub struct Waiting {
    mutex: RobustMutex<Pair>,
    /// One that is not looked at.
    other: RobustMutex<Pair>,
    memory: Memory,
    is: Is,
    watches: Watches,
    handles: Handles,
    inherited: RefCell<Option<Victim<'static>>>,
    locked: bool,
    operation: Operation,
}

type Operation = for<'s> fn(&'s Waiting, &mut Victim<'s>);

pub struct Victim<'s> {
    me: &'static Attachment,
    guard: Option<Guard<'s, Pair>>,
}

impl Waiting {
    fn new(is: Is, watches: Watches, locked: bool, operation: Operation) -> Self {
        let mutex = RobustMutex::memfd(&Options::new().slots(SLOTS), SEVEN).expect("a mutex");
        let memory = Memory::of(mutex.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        let (handles, inherited) = (Handles::Own, RefCell::new(None));
        let other = RobustMutex::memfd(&Options::new().slots(1), SEVEN).expect("a mutex");
        Self { mutex, other, memory, is, watches, handles, inherited, locked, operation }
    }

    fn attached(&self) -> &'static Attachment {
        Box::leak(Box::new(brief(self.mutex.attach().expect("a free slot"))))
    }

    fn write(&self, offset: usize, word: u64) {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.memory.len());
        // SAFETY: in bounds of the mapping, as was just seen, and aligned; nobody else is at work.
        unsafe { self.memory.start().as_ptr().add(offset).cast::<u64>().write(word) };
    }

    fn begins<'m>(&self, mutex: &'m RobustMutex<Pair>) -> Victim<'m> {
        let me = if self.is == Is::Foreign {
            Box::leak(Box::new(brief(self.other.attach().expect("a free slot"))))
        } else {
            self.attached()
        };
        let lock = || match mutex.lock(me) {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(died)) if self.is == Is::NotRepaired => died.into_guard(),
            Err(error) => panic!("{error}"),
        };
        let guard = self.locked.then(lock);
        if self.is == Is::LockWaited {
            assert!(matches!(mutex.lock_timeout(self.attached(), SHORT), Err(LockTimeoutError::TimedOut)));
        }
        Victim { me, guard }
    }

    /// The one in slot 0: it stands still, or is dead.
    fn watched(&self) -> Holder {
        let slot = if self.watches == Watches::NoSlot { SLOTS } else { 0 };
        Holder { slot, incarnation: 1 }
    }

    fn is_damaged(&self) -> bool {
        matches!(self.is, Is::Gate | Is::OwedGate)
    }

    fn is_child(&self) -> bool {
        self.handles == Handles::Inherited
    }
}

impl Subject for Waiting {
    type Victim<'s> = Victim<'s>;
    type Survivor<'s> = &'static Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, _: &Facts) {
        if self.watches == Watches::Living {
            cast.stands(|| self.attached());
        } else {
            cast.dies(|| self.attached());
        }
        match self.is {
            Is::Quiet | Is::Foreign | Is::Other | Is::LockWaited => {}
            Is::NotRepaired => cast.dies(|| self.mutex.lock(self.attached()).expect("a free lock")),
            Is::Waited => self.write(SEQUENCE, WAITERS | 3),
            Is::Watched => self.write(SEQUENCE, WATCHERS | 3),
            Is::Owed => self.write(SEQUENCE, OWED | 3),
            Is::Gate => self.write(GATE, 9),
            Is::OwedGate => {
                self.write(SEQUENCE, OWED | 3);
                self.write(GATE, 9);
            }
        }
        if self.is_child() {
            let mutex = Box::leak(Box::new(self.mutex.clone()));
            self.inherited.replace(Some(self.begins(mutex)));
        }
    }

    fn attach(&self, _: &Facts) -> Victim<'_> {
        self.inherited.take().unwrap_or_else(|| self.begins(&self.mutex))
    }

    fn operation<'s>(&'s self, victim: &mut Victim<'s>, _: &Facts) {
        (self.operation)(self, victim);
    }

    fn arrive(&self, _: &Facts) -> &'static Attachment {
        self.attached()
    }

    fn recover(&self, me: &mut &'static Attachment, _: &Facts) -> Result<&'static str, Finding> {
        let [changed, ..] = self.mutex.condvars();
        let met = match self.mutex.lock_timeout(me, SHORT) {
            Ok(guard) if guard.left == 7 => "free",
            Ok(guard) => return Err(Finding::torn(format!("{} is guarded", guard.left))),
            Err(LockTimeoutError::OwnerDied(died)) => {
                died.into_guard().mark_consistent();
                "owner died"
            }
            Err(LockTimeoutError::TimedOut) if self.is_child() && self.locked => return Ok("held by one who lives"),
            Err(error) => return Err(Finding::stuck(format!("the lock: {error}"))),
        };
        changed.notify_all(me).map_err(|error| Finding::other(error.to_string()))?;
        Ok(met)
    }

    /// All can wait as before, and nothing is owed to anybody.
    fn judge(&self, me: &mut &'static Attachment, _: &Facts) -> Result<(), Finding> {
        let [changed, ..] = self.mutex.condvars();
        let guard = match self.mutex.lock_timeout(me, SHORT) {
            Ok(guard) => guard,
            Err(LockTimeoutError::TimedOut) if self.is_child() && self.locked => return Ok(()),
            Err(error) => return Err(Finding::stuck(format!("the lock after its recovery: {error}"))),
        };
        match changed.wait_timeout(guard, if self.is_damaged() { 8 * SHORT } else { SHORT }) {
            Ok((guard, Waited::TimedOut)) if guard.left == 7 => Ok(()),
            Err(WaitError::Corrupt { found: 9, .. }) if self.is_damaged() => Ok(()),
            other => Err(Finding::other(format!("a wait that nobody notifies ended with {other:?}"))),
        }
    }
}

/// Defines operations: functions of their own, so that their instructions are.
macro_rules! operations {
    ($($name:ident($subject:ident, $victim:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name<'s>($subject: &'s Waiting, $victim: &mut Victim<'s>) $body
    )+};
}

operations! {
    notify_one(subject, victim) { judge_notify(subject, subject.mutex.condvars()[0].notify_one(victim.me)) }
    notify_all(subject, victim) { judge_notify(subject, subject.mutex.condvars()[0].notify_all(victim.me)) }
    wait_timeout(subject, victim) {
        let guard = victim.guard.take().expect("locked before");
        let at = if subject.is == Is::Other { &subject.other } else { &subject.mutex };
        // A gate that is damaged is told at once, and would be late by a short time-out.
        let time = if subject.is_damaged() { 8 * SHORT } else { SHORT };
        match at.condvars()[0].wait_timeout(guard, time) {
            Ok((guard, waited)) => {
                assert!(waited == Waited::TimedOut && !subject.is_damaged());
                give_up(guard);
            }
            Err(WaitError::Forked) => assert!(subject.is_child()),
            Err(WaitError::NotRepaired(mut guard)) => {
                assert_eq!(subject.is, Is::NotRepaired);
                guard.mark_consistent();
                give_up(guard);
            }
            Err(WaitError::OtherMutex(guard)) => {
                assert_eq!(subject.is, Is::Other);
                give_up(guard);
            }
            Err(WaitError::Corrupt { .. }) => assert!(subject.is_damaged()),
            Err(error) => panic!("{error}"),
        }
    }
    wait_or_death(subject, victim) {
        let guard = victim.guard.take().expect("locked before");
        match subject.mutex.condvars()[0].wait_or_death(guard, subject.watched(), Some(SHORT)) {
            Ok((guard, waited)) => {
                let died = subject.watches == Watches::Dead;
                assert_eq!(waited, if died { Waited::HolderDied } else { Waited::TimedOut });
                give_up(guard);
            }
            Err(WaitError::UnknownHolder(guard)) => {
                assert_eq!(subject.watches, Watches::NoSlot);
                give_up(guard);
            }
            Err(WaitError::Forked) => assert!(subject.is_child()),
            Err(error) => panic!("{error}"),
        }
    }
}

fn judge_notify(subject: &Waiting, notified: Result<(), NotifyError>) {
    match notified {
        Ok(()) => {}
        Err(NotifyError::WrongSegment) => assert_eq!(subject.is, Is::Foreign),
        Err(NotifyError::Forked) => assert!(subject.is_child()),
        Err(NotifyError::Truncated(truncated)) => panic!("{truncated}"),
    }
}

pub fn cases(all: &mut Vec<Case>) {
    type Row = (&'static str, Operation, &'static [Is], &'static [Watches], bool);
    const ROWS: [Row; 4] = [
        (
            "notify_one",
            notify_one,
            &[Is::Waited, Is::Quiet, Is::Watched, Is::Owed, Is::Foreign],
            &[Watches::Dead],
            false,
        ),
        ("notify_all", notify_all, &[Is::Waited, Is::Quiet, Is::Watched, Is::Foreign], &[Watches::Dead], false),
        (
            "wait_timeout",
            wait_timeout,
            &[Is::Quiet, Is::Owed, Is::Gate, Is::OwedGate, Is::Other, Is::NotRepaired, Is::LockWaited],
            &[Watches::Dead],
            true,
        ),
        ("wait_or_death", wait_or_death, &[Is::Quiet], &[Watches::Living, Watches::Dead, Watches::NoSlot], true),
    ];
    for (name, operation, states, watched, locked) in ROWS {
        let address = operation as *const () as usize;
        let mut add = |state: String, make: Box<dyn Fn() -> Waiting>| {
            all.push(Case::new(format!("condvar.{name}.{state}"), address, make).first_deaths_alone());
        };
        for &is in states {
            for &watches in watched {
                let state = if watched.len() > 1 { format!("{watches:?}") } else { format!("{is:?}") };
                add(state.to_lowercase(), Box::new(move || Waiting::new(is, watches, locked, operation)));
            }
        }
        add(
            "forked".into(),
            Box::new(move || Waiting {
                handles: Handles::Inherited,
                ..Waiting::new(Is::Quiet, Watches::Dead, locked, operation)
            }),
        );
    }
}
