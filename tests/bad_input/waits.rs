//! Condition variables, once-initialisations and barriers whose words another hand has changed, and what a thread may not do with one.

use crate::image::{Image, body};
use crate::ring::NO_SUCH_SLOT;
use crate::row::{Got, Row, Section};
use ownerdead::lock::{Barrier, Once, OnceCell, OnceError, Party, RobustMutex, Waited};
use ownerdead::owner::{Attachment, Holder};
use ownerdead::segment::{Kind, Options, Segment};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(5);
/// Of a segment with two slots: a mutex's first condition variable, the word of a once-initialisation and the size of its value,
/// a barrier's parties and its first seat.
const GATE: u64 = body(2) + 200;
const ONCE: u64 = body(2);
const SIZE: u64 = ONCE + 136;
const PARTIES: u64 = body(2);
const SEAT: u64 = PARTIES + 384;

fn mutex() -> RobustMutex<u64> {
    RobustMutex::memfd(&Options::new().slots(2), 7).unwrap()
}

fn cell() -> OnceCell<u64> {
    OnceCell::memfd(&Options::new().slots(2)).unwrap()
}

fn barrier() -> Barrier {
    Barrier::memfd(&Options::new().slots(2), 2).unwrap()
}

/// Each call says the same of this word, and runs nothing.
fn once(value: u64) -> Got {
    let cell = cell();
    let me = cell.attach().unwrap();
    let image = Image::of(cell.segment());
    image.poke(ONCE, value);
    let said = cell.get_or_init(&me, |_| panic!("the word is damaged")).unwrap_err().to_string();
    let timed = cell.get_or_init_timeout(&me, Duration::MAX, |_| panic!("the word is damaged"));
    assert_eq!(timed.unwrap_err().to_string(), said);
    assert_eq!((cell.get(), image.peek(ONCE)), (None, value));
    image.poke(ONCE, 0);
    assert_eq!(cell.get_or_init(&me, |_| 5), Ok(&5));
    Got::Error(said)
}

/// `me` and another one have a seat each, and come through.
fn works(barrier: &Barrier, me: &Attachment) {
    std::thread::scope(|scope| {
        let mut mine = barrier.join(me).unwrap();
        scope.spawn(|| barrier.join(&barrier.attach().unwrap()).unwrap().wait().unwrap());
        mine.wait().unwrap();
    });
}

/// A thread takes a seat, and ends with it.
fn dies(barrier: &Barrier) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let me = barrier.attach().unwrap();
            std::mem::forget(barrier.join(&me).unwrap());
            std::mem::forget(me);
        });
    });
}

/// What one with seat 0 gets where the one with seat 1 is dead.
fn beside_the_dead(got: impl FnOnce(&mut Party) -> Got) -> Got {
    let barrier = barrier();
    let me = barrier.attach().unwrap();
    let mut party = barrier.join(&me).unwrap();
    dies(&barrier);
    got(&mut party)
}

fn condition_variables() -> Vec<Row> {
    let row = |input, run| Row { input, run };
    vec![
        row("a condition variable's gate that is not 0", |_| {
            let mutex = mutex();
            let me = mutex.attach().unwrap();
            let [changed, ..] = mutex.condvars();
            Image::of(mutex.segment()).poke(GATE, 1);
            let got = Got::error(changed.wait(mutex.lock(&me).unwrap()));
            Image::of(mutex.segment()).poke(GATE, 0);
            let (guard, waited) = changed.wait_timeout(mutex.lock(&me).unwrap(), SHORT).unwrap();
            assert_eq!((*guard, waited), (7, Waited::TimedOut));
            got
        }),
        row("waiting with the lock of another mutex", |_| {
            let (one, two) = (mutex(), mutex());
            let me = two.attach().unwrap();
            Got::error(one.condvars()[0].wait(two.lock(&me).unwrap()))
        }),
        row("waiting with a dead one's lock that is not repaired", |_| {
            let mutex = mutex();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let me = mutex.attach().unwrap();
                    std::mem::forget(mutex.lock(&me).unwrap());
                    std::mem::forget(me);
                });
            });
            let me = mutex.attach().unwrap();
            let Err(ownerdead::lock::LockError::OwnerDied(died)) = mutex.lock(&me) else { panic!("its holder died") };
            Got::error(mutex.condvars()[0].wait(died.into_guard()))
        }),
        row("watching a thread that the table has no slot for", |_| {
            let mutex = mutex();
            let me = mutex.attach().unwrap();
            let nobody = Holder { slot: 2, incarnation: 1 };
            Got::error(mutex.condvars()[0].wait_or_death(mutex.lock(&me).unwrap(), nobody, None))
        }),
        row("notifying by an attachment to another mutex", |_| {
            Got::error(mutex().condvars()[0].notify_one(&mutex().attach().unwrap()))
        }),
    ]
}

fn once_initialisations() -> Vec<Row> {
    let row = |input, run| Row { input, run };
    vec![
        row("the word of a once-initialisation that names no slot", |_| once(NO_SUCH_SLOT)),
        row("the word of a once-initialisation that is a mark alone", |_| once(1 << 30 | 1 << 29 | 0xffe)),
        row("a once-initialisation whose value has another size than its type", |_| {
            let cell = cell();
            Image::of(cell.segment()).poke(SIZE, 1 << 40);
            // SAFETY: this process alone has the segment.
            Got::error(unsafe { OnceCell::<u64>::from_segment(cell.segment().clone()) })
        }),
        row("a once-initialisation with a value, opened as one without", |_| {
            Got::error(Once::from_segment(cell().segment().clone()))
        }),
        row("initialising within an initialisation", |_| {
            let cell = cell();
            let me = cell.attach().unwrap();
            let mut got = None;
            let made = cell.get_or_init(&me, |_| {
                got = Some(Got::error(cell.get_or_init(&me, |_| 0)));
                assert_eq!(cell.get_or_init(&me, |_| 0), Err(OnceError::Deadlock));
                5
            });
            assert_eq!(made, Ok(&5));
            got.unwrap()
        }),
        row("initialising while one that lives does, waiting for 5 ms", |_| {
            let cell = cell();
            let (one, two) = (cell.attach().unwrap(), cell.attach().unwrap());
            let mut got = None;
            let made = cell.get_or_init(&one, |_| {
                got = Some(Got::error(cell.get_or_init_timeout(&two, SHORT, |_| 0)));
                5
            });
            assert_eq!(made, Ok(&5));
            got.unwrap()
        }),
    ]
}

fn barriers() -> Vec<Row> {
    let row = |input, run| Row { input, run };
    vec![
        row("a barrier for no parties", |_| Got::error(Barrier::memfd(&Options::new(), 0))),
        row("a barrier for 33 parties", |_| Got::error(Barrier::memfd(&Options::new(), 33))),
        row("a segment that says that it is for 2^40 parties", |_| {
            let barrier = barrier();
            Image::of(barrier.segment()).poke(PARTIES, 1 << 40);
            Got::error(Barrier::from_segment(barrier.segment().clone()))
        }),
        row("a body too small for its parties", |_| {
            let segment = Segment::memfd(&Options::new().slots(2), Kind::BARRIER, 384, |_| {}).unwrap();
            Image::of(&segment).poke(PARTIES, 32);
            Got::error(Barrier::from_segment(segment))
        }),
        row("a barrier that exists for another number of parties", |name| {
            let _barrier = Barrier::create(name.as_str(), &Options::new(), 3).unwrap();
            Got::error(Barrier::open_or_create(name.as_str(), &Options::new(), 2))
        }),
        row("joining where a seat names no slot", |_| {
            let barrier = barrier();
            let me = barrier.attach().unwrap();
            Image::of(barrier.segment()).poke(SEAT, NO_SUCH_SLOT);
            let got = Got::error(barrier.join(&me));
            Image::of(barrier.segment()).poke(SEAT, 0);
            works(&barrier, &me);
            got
        }),
        row("waiting for a party whose seat names no slot", |_| {
            let barrier = barrier();
            let me = barrier.attach().unwrap();
            let mut party = barrier.join(&me).unwrap();
            Image::of(barrier.segment()).poke(SEAT + 128, NO_SUCH_SLOT);
            let got = Got::error(party.wait());
            assert_eq!(
                party.wait_timeout(Duration::MAX).unwrap_err().to_string(),
                party.wait().unwrap_err().to_string()
            );
            Image::of(barrier.segment()).poke(SEAT + 128, 0);
            drop(party);
            // The arrival stands: who has the seat next is told how that phase ended.
            works(&barrier, &me);
            got
        }),
        row("joining where each seat is somebody's who lives", |_| {
            let barrier = barrier();
            let (one, two) = (barrier.attach().unwrap(), barrier.attach().unwrap());
            let _parties = (barrier.join(&one).unwrap(), barrier.join(&two).unwrap());
            Got::error(barrier.join(&one))
        }),
        row("waiting for a party that lives, for 5 ms", |_| {
            let barrier = barrier();
            let me = barrier.attach().unwrap();
            let mut party = barrier.join(&me).unwrap();
            let got = Got::error(party.wait_timeout(SHORT));
            drop(party);
            works(&barrier, &me);
            got
        }),
        row("waiting for a party that is dead", |_| beside_the_dead(|party| Got::error(party.wait()))),
        row("resetting a barrier that is not broken", |_| beside_the_dead(|party| Got::error(party.reset()))),
    ]
}

pub fn section() -> Section {
    Section {
        title: "Damaged condition variables, once-initialisations and barriers, and what a thread may not do with one",
        rows: condition_variables().into_iter().chain(once_initialisations()).chain(barriers()).collect(),
    }
}
