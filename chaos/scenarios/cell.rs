//! The writer of a sequence lock, a snapshot and a key of a board is killed and stopped while it writes, again and again, and a
//! reader now and then. Each value that is read is whole, was written, and is no older than what that reader read before, or than
//! what was written before it began to read. Readers go on, whatever becomes of the writer. A reader that is told that it was
//! overrun was: as many writes as that takes were begun meanwhile. Some writers write to one structure alone, so that it happens.

use super::many_slots;
use crate::stage::{Stage, Victim, hang};
use crate::stamps::{Phase, Stamps, Word, shared};
use ownerdead::cell::snapshot::{Config, Snapshot};
use ownerdead::cell::{Board, Opened, ReadError, SeqLock, TryReadError, Versioned, WaitError, board};
use ownerdead::harness::oracle::{Latest, Violation};
use ownerdead::owner::Attachment;
use rand::RngExt;
use rand::seq::IndexedRandom;
use std::time::Duration;

/// Long enough that a kill comes in the middle.
const WORDS: usize = 512;
type Value = [u64; WORDS];
/// The board's key that is written.
const KEY: usize = 1;

const WRITER: usize = 0;
const READERS: usize = 2;
/// Who waits for changes of the board's key.
const WAITER: usize = 1 + READERS;
const PEOPLE: usize = WAITER + 1;
/// The facts of each structure.
const SEQLOCK: usize = PEOPLE;
const SNAPSHOT: usize = PEOPLE + 1;
const BOARD: usize = PEOPLE + 2;
const ALL: &[usize] = &[SEQLOCK, SNAPSHOT, BOARD];

const COMPLAINTS: [&str; 7] = [
    "a value is torn, was never written, or is older than before: number, and the oldest that it might be",
    "a snapshot or a board gave an error: 1 to read, 2 to wait for a change, 3 to wait for a writer",
    "a sequence lock gave an error that is none of its contract's",
    "the seat of a dead one was opened as if nobody had died, or the other way round (0 clean, 1 died)",
    "generation after opening",
    "a value was written, and is not what is there: number, and what is there",
    "a reader was told that it was overrun, and was not: writes that were begun meanwhile, and how many that takes",
];

struct Cells {
    lock: SeqLock<Value>,
    snapshot: Snapshot<Value>,
    board: Board<Value>,
    /// How many buffers the snapshot has, and each key of the board.
    buffers: u64,
}

/// What a process knows of a structure.
struct Seen {
    latest: Latest<&'static Word>,
    last: u64,
}

/// A structure when a read of it began.
struct Before {
    /// The last value of which a write was begun.
    begun: u64,
    /// The last one whose write had returned.
    ended: u64,
}

impl Seen {
    fn new(facts: &'static Stamps) -> Self {
        Self { latest: Latest { begun: &facts.begun, ended: &facts.ended }, last: 0 }
    }

    fn before(&self) -> Before {
        Before { begun: self.latest.begun.get(), ended: self.latest.ended.get() }
    }

    /// What a snapshot or a board gave is as it should be, or a reader complains.
    fn look(&mut self, stamps: &Stamps, before: &Before, buffers: u64, found: Result<Versioned<Value>, ReadError>) {
        match found {
            Ok(found) => self.value(stamps, before, &found),
            Err(ReadError::Overrun { attempts }) => self.overrun(stamps, before, buffers, attempts),
            Err(_) => stamps.complain(2, 1, 0),
        }
    }

    fn value(&mut self, stamps: &Stamps, before: &Before, found: &Versioned<Value>) {
        if let Some((number, oldest)) = self.judge(before.ended, found) {
            stamps.complain(1, number, oldest);
        }
    }

    /// An attempt at value n is lost once value n + `buffers` is begun, and the next one is at the value before that, or a newer one. So each
    /// takes `buffers - 1` writes more; the first of all may have been begun before the read.
    fn overrun(&self, stamps: &Stamps, before: &Before, buffers: u64, attempts: u32) {
        let takes = u64::from(attempts) * (buffers - 1);
        if let Err(Violation::NotOverrun { writes, expected }) = self.latest.overrun(before.begun, takes) {
            stamps.complain(7, writes, expected);
        }
    }

    /// A read that began when value `at_least` was written; `None` if it is as it should be.
    fn judge(&mut self, at_least: u64, found: &Versioned<Value>) -> Option<(u64, u64)> {
        let number = found.value[0];
        let whole = found.value.iter().all(|&word| word == number);
        let judged = self.latest.read(self.last, at_least, number, whole);
        let wrong = judged.is_err().then_some((number, self.last.max(at_least)));
        self.last = number;
        wrong
    }
}

pub fn run(stage: &mut Stage) {
    let (zero, buffers) = ([0; WORDS], stage.rng.random_range(2..=4));
    let cells = Cells {
        lock: SeqLock::memfd(&many_slots(), zero).expect("a sequence lock"),
        snapshot: Snapshot::memfd(&many_slots(), &Config::new().buffers(buffers), zero).expect("a snapshot"),
        board: Board::memfd(&many_slots(), &board::Config::new(3).buffers(buffers)).expect("a board"),
        buffers,
    };
    stage.watch(&[
        ("seqlock", cells.lock.segment()),
        ("snapshot", cells.snapshot.segment()),
        ("board", cells.board.segment()),
    ]);
    let stamps = shared(PEOPLE + 3);
    let mut people: [Option<Victim>; PEOPLE] = [const { None }; PEOPLE];
    while stage.goes_on() {
        for (who, place) in people.iter_mut().enumerate().filter(|(_, place)| place.is_none()) {
            *place = Some(start(stage, &cells, stamps, who));
        }
        if !stage.wait_for("all to begin", || stamps[..PEOPLE].iter().all(Stamps::started)) {
            break;
        }
        let before = stamps[WRITER].ended.get();
        if !stage.wait_for("the writer to write", || stamps[WRITER].ended.get() != before) {
            break;
        }
        stage.pause(Duration::from_micros(300));
        if stage.rng.random_ratio(1, 4) {
            stopped(stage, &cells, stamps, people[WRITER].as_ref().expect("started"));
        }
        if stage.rng.random_ratio(1, 5) {
            let who = stage.rng.random_range(1..PEOPLE);
            let mut victim = people[who].take().expect("started");
            stage.kill(&mut victim, &stamps[who]);
        }
        let mut victim = people[WRITER].take().expect("started");
        let since = stage.kill(&mut victim, &stamps[WRITER]);
        if readers_go_on(stage, stamps, &people) {
            stage.recovered(since);
        }
        left_by_the_dead(stage, &cells, stamps);
        for stamps in &stamps[..PEOPLE] {
            stage.hear(stamps, &COMPLAINTS);
        }
        stage.cases += 1;
    }
    for (who, victim) in people.iter_mut().enumerate() {
        if let Some(victim) = victim {
            stage.kill(victim, &stamps[who]);
        }
    }
}

fn start(stage: &mut Stage, cells: &Cells, stamps: &'static [Stamps], who: usize) -> Victim {
    let own = &stamps[who];
    own.reset();
    match who {
        WRITER => {
            let then = *[ALL, &[SEQLOCK], &[SNAPSHOT], &[BOARD]].choose(&mut stage.rng).expect("four");
            stage.spawn("writer", own, || write(cells, own, stamps, then))
        }
        WAITER => stage.spawn("waiter", own, || wait(cells, own, stamps)),
        _ => stage.spawn("reader", own, || read(cells, own, stamps)),
    }
}

/// Each reader who lives, and takes no part, goes on.
fn readers_go_on(stage: &mut Stage, stamps: &[Stamps], people: &[Option<Victim>]) -> bool {
    let readers = || (1..=READERS).filter(|&who| people[who].is_some());
    let before: Vec<_> = readers().map(|who| stamps[who].ended.get()).collect();
    // One read may have been under way.
    let on = |who: usize, before: u64| stamps[who].ended.get() > before + 1 || stamps[who].wrong.get() != 0;
    stage.wait_for("the readers to go on", || readers().zip(&before).all(|(who, &before)| on(who, before)))
}

/// The writer is stopped, perhaps in the middle of a write: a snapshot has its value, a sequence lock has one or says that it is
/// busy, and nobody takes it for dead.
fn stopped(stage: &mut Stage, cells: &Cells, stamps: &'static [Stamps], writer: &Victim) {
    stage.stop(writer);
    let mut seen = Seen::new(&stamps[SNAPSHOT]);
    let (at_least, found) = (seen.latest.ended.get(), cells.snapshot.read());
    let wrong = found.map(|found| seen.judge(at_least, &found));
    stage.expect(wrong == Ok(None), || format!("beside a stopped writer a snapshot gave {wrong:?}"));
    match cells.lock.try_read() {
        Ok(found) => {
            let wrong = Seen::new(&stamps[SEQLOCK]).judge(stamps[SEQLOCK].ended.get(), &found);
            stage.expect(wrong.is_none(), || format!("beside a stopped writer a sequence lock gave {wrong:?}"));
        }
        Err(TryReadError::Busy) => {}
        Err(error) => stage.finding(&format!("beside a stopped writer a sequence lock said: {error}")),
    }
    stage.go_on(writer);
}

/// What each structure gives once its writer is dead.
fn left_by_the_dead(stage: &mut Stage, cells: &Cells, stamps: &'static [Stamps]) {
    for (facts, found) in [(SNAPSHOT, cells.snapshot.read()), (BOARD, cells.board.read(KEY))] {
        let mut seen = Seen::new(&stamps[facts]);
        let wrong = found.map(|found| seen.judge(stamps[facts].ended.get(), &found));
        stage.expect(wrong == Ok(None), || format!("a dead writer left {wrong:?}"));
    }
    let facts = &stamps[SEQLOCK];
    match cells.lock.try_read() {
        Ok(found) => {
            let wrong = Seen::new(facts).judge(facts.ended.get(), &found);
            stage.expect(wrong.is_none(), || format!("a dead writer left {wrong:?} in a sequence lock"));
        }
        Err(TryReadError::WriterDied) => {
            stage.expect(facts.begun.get() > facts.ended.get(), || {
                "no write was under way, and its value is torn".into()
            });
        }
        Err(error) => stage.finding(&format!("a reader beside a dead writer: {error}")),
    }
}

/// Opens a seat, and looks whether what it is told of the last holder is so.
fn open<W>(stamps: &Stamps, died: bool, opened: Opened<W>) -> W {
    if opened.owner_died() != died {
        stamps.complain(4, opened.owner_died().into(), died.into());
    }
    opened.into_inner()
}

/// The victim: writes to all three, so that nothing that is torn stays so, and then to all or to one of them for ever.
fn write(cells: &Cells, stamps: &Stamps, all: &'static [Stamps], then: &[usize]) {
    stamps.enter(Phase::Attaching);
    let mes: [Attachment; 3] = [
        cells.lock.attach().expect("a free slot"),
        cells.snapshot.attach().expect("a free slot"),
        cells.board.attach().expect("a free slot"),
    ];
    stamps.enter(Phase::Opening);
    let status = [cells.lock.status(), cells.snapshot.status(), cells.board.status(KEY).expect("a key")];
    let died = status.map(|status| matches!(status.writer, ownerdead::owner::SeatState::Dead(_)));
    let mut lock = open(stamps, died[0], cells.lock.writer(&mes[0]).expect("a dead or vacant seat"));
    let mut snapshot = open(stamps, died[1], cells.snapshot.writer(&mes[1]).expect("a dead or vacant seat"));
    let mut board = open(stamps, died[2], cells.board.writer(&mes[2], KEY).expect("a dead or vacant seat"));
    for (at, generation) in [lock.generation(), snapshot.generation(), board.generation()].into_iter().enumerate() {
        let expected = status[at].generation + u64::from(died[at]);
        if generation != expected {
            stamps.complain(5, generation, expected);
        }
    }
    let mut among = ALL;
    loop {
        if among.contains(&SEQLOCK) {
            one(&all[SEQLOCK], stamps, |value| {
                lock.write(value).expect("not forked");
                lock.value().expect("whole")[WORDS - 1]
            });
        }
        if among.contains(&SNAPSHOT) {
            one(&all[SNAPSHOT], stamps, |value| {
                snapshot.write(value).expect("not forked");
                snapshot.value()[WORDS - 1]
            });
        }
        if among.contains(&BOARD) {
            one(&all[BOARD], stamps, |value| {
                board.write(value).expect("not forked");
                board.value()[WORDS - 1]
            });
        }
        stamps.ended.add(1);
        stamps.enter(Phase::Outside);
        among = then;
    }
}

/// Writes one value, which is as good as its number.
fn one(facts: &'static Stamps, stamps: &Stamps, write: impl FnOnce(&Value) -> u64) {
    let latest = Seen::new(facts).latest;
    let number = latest.begun.get() + 1;
    latest.write(number);
    stamps.enter(Phase::Writing);
    let found = write(&[number; WORDS]);
    latest.written(number);
    if found != number {
        stamps.complain(6, number, found);
    }
}

/// Reads all three for ever, and takes no part. `ended` counts.
fn read(cells: &Cells, stamps: &Stamps, all: &'static [Stamps]) {
    stamps.enter(Phase::Attaching);
    let [mut lock, mut snapshot, mut board] = [SEQLOCK, SNAPSHOT, BOARD].map(|facts| Seen::new(&all[facts]));
    loop {
        stamps.enter(Phase::Reading);
        let before = lock.before();
        match cells.lock.try_read() {
            Ok(found) => lock.value(stamps, &before, &found),
            Err(TryReadError::Busy | TryReadError::WriterDied) => {}
            Err(_) => stamps.complain(3, 0, 0),
        }
        let before = snapshot.before();
        snapshot.look(stamps, &before, cells.buffers, cells.snapshot.read());
        let before = board.before();
        for (key, found) in cells.board.iter() {
            if key == KEY {
                board.look(stamps, &before, cells.buffers, found);
            } else {
                stamps.complain(2, 1, key as u64);
            }
        }
        stamps.ended.add(1);
    }
}

/// Waits for changes of the board's key for ever: for the writer to write, to die, or to be replaced.
fn wait(cells: &Cells, stamps: &Stamps, all: &'static [Stamps]) {
    stamps.enter(Phase::Attaching);
    let me = cells.board.attach().expect("a free slot");
    let (mut seen, mut sequence) = (Seen::new(&all[BOARD]), 0);
    loop {
        stamps.enter(Phase::Reading);
        let before = seen.before();
        match cells.board.wait_change(&me, KEY, sequence, Some(hang())) {
            Ok(found) => {
                sequence = found.sequence;
                seen.value(stamps, &before, &found);
            }
            Err(WaitError::Overrun { attempts }) => seen.overrun(stamps, &before, cells.buffers, attempts),
            // All that was committed has been seen.
            Err(WaitError::WriterDied) => {
                if seen.last < before.ended {
                    stamps.complain(1, seen.last, before.ended);
                }
                if cells.board.wait_writer(&me, KEY, Some(hang())).is_err() {
                    stamps.complain(2, 3, 0);
                }
            }
            Err(_) => stamps.complain(2, 2, 0),
        }
        stamps.ended.add(1);
    }
}
