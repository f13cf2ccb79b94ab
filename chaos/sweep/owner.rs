//! A thread dies while it takes a slot of the participants' table, or leaves it.

use super::case::Case;
use super::mutex::{Pair, SHORT, ZERO};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::lock::{LockTimeoutError, RobustMutex};
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;
use std::cell::RefCell;

const SLOTS: u32 = 3;
/// Word of the facts: how often somebody may have died between two states of a slot, which leaks it.
const MAY_HAVE_LEAKED: usize = 0;
/// From here on, for each slot: the incarnation of the thread that lived there last.
const LIVED: usize = 1;

/// What the table is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// All slots free.
    Fresh,
    /// The first slot's thread has died.
    UsedByADeadOne,
    /// The same, and somebody had slept on it.
    SleptOn,
    /// The first slot's thread lives, and stands still.
    Shared,
    /// No slot is free.
    Full,
    /// The victim holds a lock.
    Holds,
    /// The victim is forked from the thread in the first slot, which lives, and stands still.
    Forked,
}

type Operation = fn(&Table, &mut Option<Attachment>, &Facts);

pub struct Table {
    mutex: RobustMutex<Pair>,
    memory: Memory,
    is: Is,
    attached: bool,
    /// That of the engine's process, which its children inherit.
    inherited: RefCell<Option<Attachment>>,
    operation: Operation,
}

impl Table {
    fn new(is: Is, attached: bool, operation: Operation) -> Self {
        let mutex = RobustMutex::memfd(&Options::new().slots(SLOTS), ZERO).expect("a mutex");
        let memory = Memory::of(mutex.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        Self { mutex, memory, is, attached, inherited: RefCell::new(None), operation }
    }

    /// A thread of this process, which has been slept on, in the first slot.
    fn slept_on(&self) -> Attachment {
        let me = self.mutex.attach().expect("a free slot");
        let held = self.mutex.lock(&me).expect("a free lock");
        let other = self.mutex.attach().expect("a free slot");
        assert!(matches!(self.mutex.lock_timeout(&other, SHORT), Err(LockTimeoutError::TimedOut)));
        drop(held);
        other.detach().expect("it holds nothing");
        me
    }
}

impl Subject for Table {
    type Victim<'s> = Option<Attachment>;
    type Survivor<'s> = Option<Attachment>;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.is {
            Is::Fresh | Is::Holds => {}
            Is::Forked => drop(self.inherited.replace(self.mutex.attach().ok())),
            Is::UsedByADeadOne => cast.dies(|| {
                let me = self.mutex.attach().expect("a free slot");
                lives(&me, facts).expect("the first one");
                me
            }),
            Is::SleptOn => cast.dies(|| self.slept_on()),
            Is::Shared => cast.stands(|| self.mutex.attach().expect("a free slot")),
            Is::Full => (0..SLOTS).for_each(|_| cast.stands(|| self.mutex.attach().expect("a free slot"))),
        }
    }

    fn attach(&self, facts: &Facts) -> Option<Attachment> {
        facts.word(MAY_HAVE_LEAKED).add(1);
        if let Some(inherited) = self.inherited.take() {
            return Some(inherited);
        }
        if self.is == Is::Holds {
            let me: &'static Attachment = Box::leak(Box::new(self.mutex.attach().expect("a free slot")));
            std::mem::forget(self.mutex.lock(me).expect("a free lock"));
            return Some(me.clone());
        }
        let slept_on = self.is == Is::SleptOn;
        self.attached.then(|| if slept_on { self.slept_on() } else { self.mutex.attach().expect("a free slot") })
    }

    fn operation(&self, victim: &mut Option<Attachment>, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Option<Attachment> {
        None
    }

    fn recover(&self, me: &mut Option<Attachment>, facts: &Facts) -> Result<&'static str, Finding> {
        if self.is == Is::Full {
            return match self.mutex.attach() {
                Err(_) => Ok("full"),
                Ok(_) => Err(Finding::duplicated("all slots are of those who live, and one was had")),
            };
        }
        let leaks = facts.word(MAY_HAVE_LEAKED).add(1) as usize;
        let counts = self.mutex.table().counts();
        if counts.moving > leaks {
            return Err(Finding::lost(format!("{} slots leaked, {leaks} died at most", counts.moving)));
        }
        let living = usize::from(matches!(self.is, Is::Shared | Is::Forked));
        if counts.attached != living {
            return Err(Finding::stuck(format!("{} seem to live, {living} do", counts.attached)));
        }
        *me = match self.mutex.attach() {
            Ok(attached) => {
                lives(&attached, facts)?;
                Some(attached)
            }
            // Three deaths may leak three slots; two are swept here.
            Err(_) if counts.free == 0 => return Ok("all slots leaked"),
            Err(error) => return Err(Finding::stuck(format!("{} slots are free: {error}", counts.free))),
        };
        Ok(if counts.moving > 0 { "a slot leaked" } else { "no slot leaked" })
    }

    fn judge(&self, me: &mut Option<Attachment>, _: &Facts) -> Result<(), Finding> {
        let Some(attached) = me.take() else { return Ok(()) };
        match self.mutex.lock_timeout(&attached, SHORT) {
            Ok(guard) => drop(guard),
            Err(LockTimeoutError::OwnerDied(died)) if self.is == Is::Holds => died.into_guard().mark_consistent(),
            Err(error) => return Err(Finding::stuck(format!("a lock that nobody has: {error}"))),
        }
        let (before, id) = (self.mutex.table().counts(), attached.id());
        attached.detach().map_err(|error| Finding::stuck(error.to_string()))?;
        let after = self.mutex.table().counts();
        if after.free != before.free + 1 {
            return Err(Finding::lost(format!("slot {} is not free after it was left: {after:?}", id.slot)));
        }
        Ok(())
    }
}

/// No two threads that lived in a slot are the same to others.
fn lives(me: &Attachment, facts: &Facts) -> Result<(), Finding> {
    let (id, lived) = (me.id(), facts.word(LIVED + me.id().slot as usize));
    let before = lived.swap(id.incarnation.into());
    if before < id.incarnation.into() {
        return Ok(());
    }
    Err(Finding::duplicated(format!("incarnation {} of slot {} comes after {before}", id.incarnation, id.slot)))
}

#[inline(never)]
fn attach(subject: &Table, me: &mut Option<Attachment>, facts: &Facts) {
    *me = subject.mutex.attach().ok();
    if let Some(me) = me {
        lives(me, facts).expect("a slot that was lived in before");
    }
}

#[inline(never)]
fn detach(_: &Table, me: &mut Option<Attachment>, _: &Facts) {
    if let Some(me) = me.take() {
        let _ = me.detach();
    }
}

pub fn cases(all: &mut Vec<Case>) {
    use Is::{Forked, Fresh, Full, Holds, Shared, SleptOn, UsedByADeadOne};
    const ROWS: [(&str, Operation, bool, Is); 11] = [
        ("attach.fresh", attach, false, Fresh),
        ("attach.used_by_a_dead_one", attach, false, UsedByADeadOne),
        ("attach.slept_on", attach, false, SleptOn),
        ("attach.shared", attach, false, Shared),
        ("attach.again", attach, true, Fresh),
        ("attach.full", attach, false, Full),
        ("detach.fresh", detach, true, Fresh),
        ("detach.slept_on", detach, true, SleptOn),
        ("detach.shared", detach, true, Shared),
        ("detach.holds", detach, true, Holds),
        ("detach.forked", detach, true, Forked),
    ];
    for (name, operation, attached, is) in ROWS {
        let address = operation as *const () as usize;
        let case = Case::new(format!("owner.{name}"), address, move || Table::new(is, attached, operation));
        all.push(if is == Forked { case.first_deaths_alone() } else { case });
    }
}
