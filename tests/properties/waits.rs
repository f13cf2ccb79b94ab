//! Barrier and once-initialisation in step with plain state machines, and a queue made of condition variables.

use super::death::dies;
use super::locks::problems;
use ownerdead::lock::{
    Arrival, Barrier, BarrierTimeoutError, JoinError, OnceCell, OnceError, OnceState, Party, ResetError, RobustMutex,
    Waited,
};
use ownerdead::segment::Options;
use ownerdead::sync::Waiting;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// Attachments of this thread, which a barrier takes for threads.
pub const PEOPLE: usize = 3;
const SLOTS: u32 = 3;
/// No test waits longer for what must come.
const HANG: Duration = Duration::from_secs(10);

/// What can be done to a barrier.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Join(usize),
    /// Waits for no time: arrives, and is told what there is to be told.
    Wait(usize),
    Reset(usize),
    Leave(usize),
    /// A process takes a seat, and waits perhaps, and ends.
    Die {
        waits: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Vacant,
    Alive,
    Dead,
}

/// What one that has a seat knows: in which event it has arrived, and in which it will next.
#[derive(Clone, Copy, Debug)]
struct Mine {
    seat: usize,
    arrived: Option<u64>,
    next: u64,
}

/// The plain model. An event is a phase that is completed or broken.
#[derive(Debug)]
struct Plain {
    seats: Vec<(Seat, bool)>,
    event: u64,
    broken: bool,
    broken_by: usize,
    completed: Vec<u64>,
}

impl Plain {
    fn new(parties: usize) -> Self {
        Self { seats: vec![(Seat::Vacant, false); parties], event: 0, broken: false, broken_by: 0, completed: vec![] }
    }

    fn next_open(&self) -> u64 {
        self.event + u64::from(self.broken)
    }

    fn break_by(&mut self, seat: usize) {
        (self.broken, self.broken_by) = (true, seat);
    }

    fn next_event(&mut self) {
        self.event += 1;
        self.broken = false;
        self.seats.iter_mut().for_each(|(_, arrived)| *arrived = false);
    }

    fn join(&mut self) -> Option<(Mine, bool)> {
        let seat = self.seats.iter().position(|&(seat, _)| seat != Seat::Alive)?;
        let (before, arrived) = self.seats[seat];
        if before == Seat::Dead && !arrived && !self.broken {
            self.break_by(seat);
        }
        self.seats[seat].0 = Seat::Alive;
        let arrived = (arrived && !self.broken).then_some(self.event);
        let next = arrived.map_or(self.next_open(), |event| event + 1);
        Some((Mine { seat, arrived, next }, before == Seat::Dead))
    }

    /// Whether it is the leader, or why it does not come through.
    fn wait(&mut self, mine: &mut Mine) -> Result<bool, BarrierTimeoutError> {
        let told = |plain: &Self, mine: &mut Mine| {
            (mine.arrived, mine.next) = (None, plain.next_open());
            Err(BarrierTimeoutError::PartyDied { seat: plain.broken_by })
        };
        if mine.arrived.is_none() {
            if mine.next != self.next_open() {
                return told(self, mine);
            }
            if self.broken {
                return Err(BarrierTimeoutError::TimedOut);
            }
            self.seats[mine.seat].1 = true;
            (mine.arrived, mine.next) = (Some(self.event), self.event + 1);
        }
        let at = mine.arrived.expect("it has");
        if self.completed.contains(&at) {
            mine.arrived = None;
            return Ok(false);
        }
        if self.broken || self.event != at {
            return told(self, mine);
        }
        if let Some(dead) = self.seats.iter().position(|&seat| seat == (Seat::Dead, false)) {
            self.break_by(dead);
            return told(self, mine);
        }
        if self.seats.iter().all(|&(_, arrived)| arrived) {
            self.completed.push(self.event);
            self.next_event();
            mine.arrived = None;
            return Ok(true);
        }
        Err(BarrierTimeoutError::TimedOut)
    }

    fn reset(&mut self, mine: &mut Mine) -> Result<(), ResetError> {
        if !self.broken {
            return Err(ResetError::NotBroken);
        }
        self.next_event();
        (mine.arrived, mine.next) = (None, self.event);
        Ok(())
    }
}

fn waits(party: &mut Party) -> Result<bool, BarrierTimeoutError> {
    party.wait_timeout(Duration::ZERO).map(|arrival| arrival == Arrival::Leader)
}

/// What can be done to a once-initialisation.
#[derive(Clone, Copy, Debug)]
pub enum Try {
    Call,
    Panic,
    /// A process died while it tried.
    Die,
}

pub fn barrier(parties: usize, acts: &[Act]) {
    let barrier = Barrier::memfd(&Options::new().slots(PEOPLE as u32 + 2), parties).unwrap();
    let people = [(); PEOPLE].map(|()| barrier.attach().unwrap());
    let mut plain = Plain::new(parties);
    let mut seated: BTreeMap<usize, (Party, Mine)> = BTreeMap::new();
    for &act in acts {
        match act {
            Act::Join(who) if !seated.contains_key(&who) => match (barrier.join(&people[who]), plain.join()) {
                (Ok(party), Some((mine, owner_died))) => {
                    assert_eq!((party.seat(), party.owner_died()), (mine.seat, owner_died));
                    assert_eq!(party.has_arrived(), mine.arrived.is_some());
                    seated.insert(who, (party, mine));
                }
                (found, expected) => {
                    assert_eq!(found.err(), Some(JoinError::Full { parties }));
                    assert!(expected.is_none());
                }
            },
            Act::Wait(who) => {
                if let Some((party, mine)) = seated.get_mut(&who) {
                    assert_eq!(waits(party), plain.wait(mine));
                    assert_eq!(party.has_arrived(), mine.arrived.is_some());
                }
            }
            Act::Reset(who) => {
                if let Some((party, mine)) = seated.get_mut(&who) {
                    assert_eq!(party.reset(), plain.reset(mine));
                }
            }
            Act::Leave(who) => {
                if let Some((party, mine)) = seated.remove(&who) {
                    drop(party);
                    plain.seats[mine.seat].0 = Seat::Vacant;
                }
            }
            Act::Die { waits: too } => {
                let joined = plain.join();
                let expected = joined.map(|(mut mine, owner_died)| {
                    let through = too.then(|| plain.wait(&mut mine));
                    plain.seats[mine.seat].0 = Seat::Dead;
                    (mine.seat, owner_died, through)
                });
                dies(|| {
                    let me = barrier.attach().unwrap();
                    let joined = barrier.join(&me).ok().map(|mut party| {
                        let through = too.then(|| waits(&mut party));
                        let had = (party.seat(), party.owner_died(), through);
                        std::mem::forget(party);
                        had
                    });
                    assert_eq!(joined, expected);
                    std::mem::forget(me);
                    0
                });
            }
            Act::Join(_) => {}
        }
        let status = barrier.status();
        let arrived = plain.seats.iter().filter(|(_, arrived)| *arrived).count();
        assert_eq!((status.completed as usize, status.arrived), (plain.completed.len(), arrived));
        assert_eq!(status.broken_by, plain.broken.then_some(plain.broken_by));
        assert_eq!(problems(barrier.segment()), Vec::<String>::new());
    }
}

pub fn once(tries: &[Try]) {
    let cell = OnceCell::<u64>::memfd(&Options::new().slots(SLOTS)).unwrap();
    let me = cell.attach().unwrap();
    let (mut failed, mut value) = (0, None);
    for (number, &what) in (7u64..).zip(tries) {
        let ran = Cell::new(false);
        let make = |state: OnceState| {
            assert!(!ran.replace(true), "run twice");
            assert_eq!(state.failed(), failed);
            number
        };
        match what {
            Try::Call => assert_eq!(cell.get_or_init(&me, make).copied(), Ok(*value.get_or_insert(number))),
            Try::Panic => {
                let panics = AssertUnwindSafe(|| {
                    _ = cell.get_or_init(&me, |state| {
                        assert_eq!(cell.get_or_init(&me, |_| 0), Err(OnceError::Deadlock));
                        make(state);
                        resume_unwind(Box::new(()))
                    });
                });
                assert_eq!(catch_unwind(panics).is_err(), value.is_none());
            }
            Try::Die => {
                if value.is_none() {
                    let died = dies(|| {
                        let me = cell.attach().unwrap();
                        // It ends within the call.
                        _ = cell.get_or_init(&me, |state| {
                            make(state);
                            // SAFETY: ends the process, without its parent's destructors.
                            unsafe { libc::_exit(1) }
                        });
                        0
                    });
                    assert_eq!(died, 1);
                }
            }
        }
        assert!(!matches!(what, Try::Call | Try::Panic) || ran.get() == (value.is_none_or(|value| value == number)));
        failed += u32::from(value.is_none());
        assert_eq!(cell.get().copied(), value);
        assert_eq!(problems(cell.segment()), Vec::<String>::new());
    }
}

/// A queue of at most `room` items, of which each is put and taken once, by threads that wait in different ways.
pub fn queue(room: usize, items: u64, waiting: &[Waiting; 4], all: bool) {
    ownerdead::shared_data! {
        struct Queue { put: u64, taken: u64, sum: u64 }
    }
    let queue = RobustMutex::memfd(&Options::new().slots(4), Queue { put: 0, taken: 0, sum: 0 }).unwrap();
    let [not_full, not_empty, ..] = queue.condvars();
    let work = |waiting: Waiting, puts: bool| {
        let me = queue.attach().unwrap();
        me.set_waiting(waiting);
        let (wait_at, tell) = if puts { (not_full, not_empty) } else { (not_empty, not_full) };
        for item in 0..items {
            let mut guard = queue.lock(&me).unwrap();
            while if puts { guard.put - guard.taken == room as u64 } else { guard.put == guard.taken } {
                let waited;
                (guard, waited) = wait_at.wait_timeout(guard, HANG).unwrap();
                assert_ne!(waited, Waited::TimedOut, "nobody told it");
            }
            if puts {
                guard.put += 1;
                guard.sum = guard.sum.wrapping_add(item);
            } else {
                guard.taken += 1;
                guard.sum = guard.sum.wrapping_sub(item);
            }
            drop(guard);
            if all { tell.notify_all(&me) } else { tell.notify_one(&me) }.unwrap();
        }
    };
    std::thread::scope(|scope| {
        for (who, &waiting) in waiting.iter().enumerate() {
            scope.spawn(move || work(waiting, who % 2 == 0));
        }
    });
    let me = queue.attach().unwrap();
    let Queue { put, taken, sum } = *queue.lock(&me).unwrap();
    assert_eq!((put, taken, sum), (2 * items, 2 * items, 0));
}
