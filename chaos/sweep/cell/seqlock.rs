//! The sequence lock.

use super::super::case::{Case, brief};
use super::Goes::{Few, First, Whole};
use super::Is::{self, Damaged, Dead, Even, Foreign, Forked, Held, Marked, Numbers, TooFar, Torn, Vacant, Writing};
use super::Role::{self, Member, Writer};
use super::{
    Goes, LONGER, NO_SUCH_SLOT, RIGHT, SEQUENCE, SHORT, SLOTS, Value, ZERO, judge, latest, poke, survivor_opens,
    write_next,
};
use ownerdead::cell::{Opened, Progress, ReadTimeoutError, SeqLock, TryReadError, seqlock};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::owner::{Attachment, SeatState};
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::time::Duration;

type Operation = fn(&Lock, &mut Victim, &Facts);

pub struct Victim {
    me: Attachment,
    writer: Option<seqlock::Writer<Value>>,
}

pub struct Lock {
    lock: SeqLock<Value>,
    memory: Memory,
    role: Role,
    is: Is,
    timeout: Duration,
    /// Those of the engine's process, which its children inherit.
    inherited: RefCell<Option<Victim>>,
    operation: Operation,
}

impl Lock {
    fn new(role: Role, is: Is, timeout: Duration, operation: Operation) -> Self {
        let lock = SeqLock::memfd(&Options::new().slots(SLOTS), ZERO).expect("a sequence lock");
        let memory = Memory::of(lock.segment()).expect("its file, mapped");
        // Its page is made before the first fork.
        let _ = ownerdead::sync::thread::epoch();
        Self { lock, memory, role, is, timeout, inherited: RefCell::new(None), operation }
    }

    fn attached(&self) -> Attachment {
        brief(self.lock.attach().expect("a free slot"))
    }

    fn write_two(&self, facts: &Facts) -> Victim {
        let me = self.attached();
        let mut writer = self.lock.writer(&me).expect("a vacant seat").into_inner();
        for _ in 0..2 {
            write_next(facts, |value| writer.write(value)).expect("not forked");
        }
        Victim { me, writer: Some(writer) }
    }

    /// What the victim has when its operation begins.
    fn seated(&self) -> Victim {
        let me = if self.is == Foreign {
            let other = SeqLock::memfd(&Options::new().slots(1), ZERO).expect("a sequence lock");
            brief(other.attach().expect("a free slot"))
        } else {
            self.attached()
        };
        let writer = (self.role == Writer).then(|| self.lock.writer(&me).expect("a seat").into_inner());
        Victim { me, writer }
    }
}

impl Subject for Lock {
    type Victim<'s> = Victim;
    type Survivor<'s> = Attachment;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        match self.is {
            Held | Writing => cast.stands(|| self.write_two(facts)),
            Dead | Torn | Marked => cast.dies(|| self.write_two(facts)),
            _ => cast.stands(|| drop(self.write_two(facts))),
        }
        // SAFETY: words of the control line; nobody is at work.
        unsafe {
            match self.is {
                Torn | Marked | Writing => {
                    latest(facts).write(3);
                    poke(&self.memory, SEQUENCE, 5);
                }
                Damaged => {
                    poke(&self.memory, SEQUENCE, 5);
                    poke(&self.memory, RIGHT, NO_SUCH_SLOT);
                }
                Numbers => poke(&self.memory, SEQUENCE, 5),
                TooFar => poke(&self.memory, SEQUENCE, (1 << 62) + 2),
                Even => poke(&self.memory, SEQUENCE, 1 << 63 | 4),
                _ => {}
            }
        }
        if self.is == Marked {
            cast.stands(|| drop(self.lock.writer(&self.attached())));
        }
        if self.is == Forked {
            self.inherited.replace(Some(self.seated()));
        }
    }

    fn attach(&self, _: &Facts) -> Victim {
        self.inherited.take().unwrap_or_else(|| self.seated())
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Attachment {
        self.attached()
    }

    fn recover(&self, me: &mut Attachment, facts: &Facts) -> Result<&'static str, Finding> {
        let under_way = latest(facts).begun.get() > latest(facts).ended.get();
        let damaged = self.is.is_damaged();
        match self.lock.try_read() {
            Ok(found) => judge(facts, &found)?,
            // Odd, for no reason: who has taken the seat then and died is taken for the one who made it so.
            Err(TryReadError::WriterDied) if under_way || damaged => {}
            Err(TryReadError::WriterDied) => return Err(Finding::torn("nobody was writing, and the value is torn")),
            Err(TryReadError::Busy) if self.is == Writing => {}
            Err(TryReadError::Busy) => return Err(Finding::stuck("busy, and nobody writes")),
            Err(TryReadError::Corrupt(_)) if damaged => {}
            Err(TryReadError::Corrupt(corrupt)) => return Err(Finding::other(corrupt.to_string())),
        }
        let of_the_dead = matches!(self.lock.status().writer, SeatState::Dead(_));
        let Some(mut writer) = survivor_opens((self.is, self.role, of_the_dead), self.lock.writer(me))? else {
            return Ok("its seat is not to be had");
        };
        write_next(facts, |value| writer.write(value)).expect("not forked");
        match self.lock.try_read() {
            Ok(found) => judge(facts, &found).map(|()| "read and written"),
            Err(error) => Err(Finding::stuck(format!("after a write: {error}"))),
        }
    }
}

#[inline(never)]
fn open(subject: &Lock, victim: &mut Victim, _: &Facts) {
    let opened = subject.lock.writer(&victim.me);
    assert!(subject.is.opens(&opened));
    victim.writer = opened.ok().map(Opened::into_inner);
}

#[inline(never)]
fn write(subject: &Lock, victim: &mut Victim, facts: &Facts) {
    let writer = victim.writer.as_mut().expect("the seat");
    let written = write_next(facts, |value| writer.write(value));
    assert_eq!(written.is_err(), subject.is == Forked);
}

#[inline(never)]
fn close(_: &Lock, victim: &mut Victim, _: &Facts) {
    victim.writer = None;
}

#[inline(never)]
fn value(subject: &Lock, victim: &mut Victim, facts: &Facts) {
    let found = victim.writer.as_ref().expect("the seat").value();
    assert_eq!(found, (subject.is != Torn).then(|| [latest(facts).ended.get(); 3]));
}

#[inline(never)]
fn try_read(subject: &Lock, _: &mut Victim, facts: &Facts) {
    assert!(match subject.lock.try_read() {
        Ok(found) => judge(facts, &found).is_ok() && subject.is == Vacant,
        Err(TryReadError::Busy) => subject.is == Writing,
        Err(TryReadError::WriterDied) => matches!(subject.is, Torn | Marked),
        Err(TryReadError::Corrupt(_)) => matches!(subject.is, Damaged | Numbers),
    });
}

#[inline(never)]
fn read_timeout(subject: &Lock, _: &mut Victim, facts: &Facts) {
    assert!(match subject.lock.read_timeout(subject.timeout) {
        Ok(found) => judge(facts, &found).is_ok() && subject.is == Vacant,
        Err(ReadTimeoutError::TimedOut) => subject.is == Writing,
        Err(ReadTimeoutError::WriterDied) => matches!(subject.is, Torn | Marked),
        Err(ReadTimeoutError::Corrupt(_)) => matches!(subject.is, Damaged | Numbers),
    });
}

#[inline(never)]
fn status(subject: &Lock, _: &mut Victim, _: &Facts) {
    let expected = match subject.is {
        Torn | Marked => Progress::Torn,
        Writing => Progress::Writing,
        _ => Progress::Whole,
    };
    assert_eq!(subject.lock.status().progress, expected);
}

pub fn cases(all: &mut Vec<Case>) {
    const ROWS: [(&str, Operation, Role, Is, Goes); 33] = [
        ("open.vacant", open, Member, Vacant, First),
        ("open.held", open, Member, Held, First),
        ("open.dead", open, Member, Dead, First),
        ("open.torn", open, Member, Torn, Whole),
        ("open.marked", open, Member, Marked, First),
        ("open.damaged", open, Member, Damaged, First),
        ("open.numbers", open, Member, Numbers, First),
        ("open.too_far", open, Member, TooFar, Few),
        ("open.even", open, Member, Even, Few),
        ("open.foreign", open, Member, Foreign, Few),
        ("open.forked", open, Member, Forked, Few),
        ("write.whole", write, Writer, Vacant, Whole),
        ("write.torn", write, Writer, Torn, Whole),
        ("write.forked", write, Writer, Forked, Few),
        ("close.whole", close, Writer, Vacant, Whole),
        ("close.forked", close, Writer, Forked, Few),
        ("value.whole", value, Writer, Vacant, First),
        ("value.torn", value, Writer, Torn, Few),
        ("try_read.whole", try_read, Member, Vacant, First),
        ("try_read.torn", try_read, Member, Torn, First),
        ("try_read.marked", try_read, Member, Marked, First),
        ("try_read.damaged", try_read, Member, Damaged, First),
        ("try_read.numbers", try_read, Member, Numbers, First),
        ("try_read.writing", try_read, Member, Writing, Few),
        ("read_timeout.whole", read_timeout, Member, Vacant, First),
        ("read_timeout.writing", read_timeout, Member, Writing, Few),
        ("read_timeout.torn", read_timeout, Member, Torn, Few),
        ("read_timeout.marked", read_timeout, Member, Marked, Few),
        ("read_timeout.damaged", read_timeout, Member, Damaged, Few),
        ("status.whole", status, Member, Vacant, First),
        ("status.torn", status, Member, Torn, Few),
        ("status.marked", status, Member, Marked, Few),
        ("status.writing", status, Member, Writing, Few),
    ];
    let mut add = |name: &str, operation: Operation, (role, is): (Role, Is), timeout: Duration, goes: Goes| {
        let address = operation as *const () as usize;
        let made = move || Lock::new(role, is, timeout, operation);
        all.push(goes.far(Case::new(format!("seqlock.{name}"), address, made)));
    };
    for (name, operation, role, is, goes) in ROWS {
        add(name, operation, (role, is), SHORT, goes);
    }
    add("read_timeout.writing_longer", read_timeout, (Member, Writing), LONGER, Few);
    // Later than the clock can say: where it is not waited for.
    for (name, is) in [("whole", Vacant), ("torn", Torn), ("damaged", Damaged)] {
        add(&format!("read_timeout.{name}_centuries"), read_timeout, (Member, is), Duration::MAX, Few);
    }
}
