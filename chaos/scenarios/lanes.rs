//! Four producers and a consumer at an MPSC ring, of lanes, of claims or with a lock, killed and stopped every few milliseconds, and
//! replaced when they die.
//!
//! Each life of a producer is a *stream* of records, numbered from 1. What its process says of it (the record that it is about to push, and
//! the last one whose push has returned) is in memory that is not under test, and so is what the consumers have read of it.

use super::{many_slots, payload};
use crate::plan::{Aims, Blow, Strike, strikes};
use crate::stage::{Stage, Victim};
use crate::stamps::{Phase, Stamps, Word, shared};
use nix::sys::signal::{Signal, kill};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::SeatState;
use ownerdead::ring::mpsc::{claims, lanes, locked};
use ownerdead::ring::{Commit, Consume, PopError, Produce, PushError, SeatStatus, Topology, TryPopError};
use ownerdead::segment::Segment;
use ownerdead::sync::time::now;
use rand::RngExt;
use std::time::Duration;

const PRODUCERS: usize = 4;
const CONSUMER: usize = PRODUCERS;
const PEOPLE: usize = PRODUCERS + 1;
/// Rounds until all die, and what is left is read and judged.
const LOOK: u64 = 64;
/// No more lives of producers than that in so many rounds.
const STREAMS: usize = (LOOK as usize + 1) * PRODUCERS;
/// A number that tells which push began after which one had returned.
const CLOCK: usize = PEOPLE;

const COMPLAINTS: [&str; 4] = [
    "a record is missing, came again, is torn or was never pushed: number",
    "the ring gave an error: 1 to open, 2 to push, 3 to pop",
    "a record came after one whose push began when its own had returned: number",
    "generation after opening",
];

/// What the scenario wants of a ring besides the interface of all.
trait Many: Topology {
    fn segment(&self) -> &Segment;
    fn consumers(&self) -> SeatStatus;
    /// Of a producer that was opened, and took its seat over from a dead one: how often that was done.
    fn generation(producer: &Self::Producer) -> u64;
    fn consumer_generation(consumer: &Self::Consumer) -> u64;
    /// Whether one came.
    fn wait_consumer(producer: &Self::Producer) -> bool;
    fn wait_producer(consumer: &Self::Consumer) -> bool;
    /// Looks at the next record, gives it to `judge` (its kind, whether it was copied), and commits it as read.
    fn look(
        consumer: &mut Self::Consumer,
        bytes: &mut Vec<u8>,
        judge: impl FnOnce(u32, bool, &[u8]) -> Record,
    ) -> Result<Record, TryPopError>;
}

macro_rules! look {
    ($consumer:ident, $bytes:ident, $judge:ident) => {{
        let peek = $consumer.peek()?;
        let copied = peek.copy_to($bytes).is_ok();
        let record = $judge(peek.kind(), copied, $bytes);
        peek.consume();
        Ok(record)
    }};
}

impl Many for lanes::Ring {
    fn segment(&self) -> &Segment {
        self.segment()
    }
    fn consumers(&self) -> SeatStatus {
        self.status().consumer
    }
    fn generation(producer: &lanes::Producer) -> u64 {
        producer.generation()
    }
    fn consumer_generation(consumer: &lanes::Consumer) -> u64 {
        consumer.generation()
    }
    fn wait_consumer(producer: &lanes::Producer) -> bool {
        producer.wait_consumer(None).is_ok()
    }
    fn wait_producer(consumer: &lanes::Consumer) -> bool {
        consumer.wait_producer(None).is_ok()
    }
    fn look(
        consumer: &mut lanes::Consumer,
        bytes: &mut Vec<u8>,
        judge: impl FnOnce(u32, bool, &[u8]) -> Record,
    ) -> Result<Record, TryPopError> {
        look!(consumer, bytes, judge)
    }
}

/// Rings whose producers hold no seat.
macro_rules! without_seats {
    ($($ring:ident)+) => {$(
        impl Many for $ring::Ring {
            fn segment(&self) -> &Segment {
                self.segment()
            }
            fn consumers(&self) -> SeatStatus {
                self.status().consumer
            }
            /// It has no seat to take over.
            fn generation(_: &$ring::Producer) -> u64 {
                0
            }
            fn consumer_generation(consumer: &$ring::Consumer) -> u64 {
                consumer.generation()
            }
            fn wait_consumer(producer: &$ring::Producer) -> bool {
                producer.wait_consumer(None).is_ok()
            }
            /// Nobody is told that none lives.
            fn wait_producer(_: &$ring::Consumer) -> bool {
                false
            }
            fn look(
                consumer: &mut $ring::Consumer,
                bytes: &mut Vec<u8>,
                judge: impl FnOnce(u32, bool, &[u8]) -> Record,
            ) -> Result<Record, TryPopError> {
                look!(consumer, bytes, judge)
            }
        }
    )+};
}

without_seats!(claims locked);

pub fn run(stage: &mut Stage) {
    let config = lanes::Config::new(PRODUCERS, 2048).wipe(stage.rng.random());
    go(stage, &lanes::Ring::memfd(&many_slots(), &config).expect("a ring"), |_| {});
}

pub fn claims(stage: &mut Stage) {
    let block = [16, 64, 256][stage.rng.random_range(0..3usize)];
    let config = claims::Config::new(4096).block(block);
    go(stage, &claims::Ring::memfd(&many_slots(), &config).expect("a ring"), |_| {});
}

pub fn locked(stage: &mut Stage) {
    let config = locked::Config::new(4096).wipe(stage.rng.random());
    let ring = locked::Ring::memfd(&many_slots(), &config).expect("a ring");
    let own = &shared(1)[0];
    go(stage, &ring, |stage| dies_in_its_turn(stage, &ring, own));
}

/// A producer dies in its turn for sure, whatever instants the kills before have met, and the next one takes the turn over. Nobody else
/// is at the ring, and it is empty.
fn dies_in_its_turn(stage: &mut Stage, ring: &locked::Ring, own: &'static Stamps) {
    own.reset();
    let mut victim = stage.spawn("producer in its turn", own, || {
        own.enter(Phase::Attaching);
        let me = ring.attach().expect("a free slot");
        let mut producer = ring.producer(&me).expect("an honest ring").into_inner();
        let reservation = producer.reserve(1, 8).expect("an empty ring");
        own.enter(Phase::Pushing);
        own.signal.set(1);
        std::thread::park();
        drop(reservation);
    });
    let has_its_turn = stage.wait_for("a producer to have its turn", || own.signal.swap(0) == 1);
    stage.kill(&mut victim, own);
    if !has_its_turn {
        return;
    }
    let left = ring.status();
    stage.expect(matches!(left.turn, SeatState::Dead(_)), || {
        format!("a dead one had its turn, and left {:?}", left.turn)
    });
    let me = ring.attach().expect("a free slot");
    let mut producer = ring.producer(&me).expect("an honest ring").into_inner();
    let pushed = producer.try_push(2, b"next");
    let taken = ring.status().takeovers - left.takeovers;
    let mut bytes = Vec::new();
    let popped = ring.consumer(&me).map(|opened| opened.into_inner().try_pop(&mut bytes));
    stage.expect(pushed.is_ok() && taken == 1 && matches!(popped, Ok(Ok(2))) && bytes == b"next", || {
        format!("after a death in its turn: pushed {pushed:?}, {taken} takeovers, popped {popped:?} and {bytes:?}")
    });
}

/// `alone` has the ring to itself whenever all have died, and leaves it empty.
fn go<R: Many>(stage: &mut Stage, ring: &R, mut alone: impl FnMut(&mut Stage)) {
    stage.watch(&[("ring", ring.segment())]);
    let mut crew = Crew {
        ring,
        stamps: shared(PEOPLE + 1),
        streams: Streams { pushes: shared(STREAMS), reads: shared(STREAMS) },
        people: [const { None }; PEOPLE],
        lives: 0,
    };
    for round in 1.. {
        if !stage.goes_on() {
            break;
        }
        let aims = if stage.rng.random() { Aims::Storm } else { Aims::Several };
        let plan = strikes(&mut stage.rng, aims, PEOPLE, 1, Duration::from_millis(2));
        crew.round(stage, &plan);
        if round % LOOK == 0 {
            crew.end(stage);
            alone(stage);
        }
    }
    crew.end(stage);
    alone(stage);
}

struct Crew<'r, R> {
    ring: &'r R,
    stamps: &'static [Stamps],
    streams: Streams,
    people: [Option<Victim>; PEOPLE],
    lives: usize,
}

/// What is known of each stream.
#[derive(Clone, Copy)]
struct Streams {
    pushes: &'static [Stamps],
    reads: &'static [Stamps],
}

impl Streams {
    fn records(&self, stream: usize) -> Records<&'static Word, &'static Word> {
        let (pushes, reads) = (&self.pushes[stream], &self.reads[stream]);
        Records::new([&pushes.begun, &pushes.ended], [&reads.begun, &reads.ended, &reads.signal])
    }
}

impl<R: Many> Crew<'_, R> {
    /// Replaces the dead, strikes as planned, and sees that those who are left go on.
    fn round(&mut self, stage: &mut Stage, strikes: &[Strike]) {
        (0..PEOPLE).for_each(|who| self.start(stage, who));
        let stamps = self.stamps;
        if !stage.wait_for("the crew to begin", || stamps[..PEOPLE].iter().all(Stamps::started)) {
            return;
        }
        let mut since = now();
        for strike in strikes {
            while now() < since + strike.after {
                std::hint::spin_loop();
            }
            since = now();
            self.strike(strike.blow);
        }
        self.bury(stage, strikes);
        for victim in self.people.iter().flatten() {
            stage.go_on(victim);
        }
        self.survivors_go_on(stage, since);
        self.hear(stage);
        stage.cases += 1;
    }

    fn start(&mut self, stage: &mut Stage, who: usize) {
        if self.people[who].is_some() {
            return;
        }
        let (ring, streams, own, clock) = (self.ring, self.streams, &self.stamps[who], &self.stamps[CLOCK].signal);
        own.reset();
        self.people[who] = Some(if who == CONSUMER {
            stage.spawn("consumer", own, || pop_for_ever(ring, own, streams))
        } else {
            let stream = self.lives;
            self.lives += 1;
            stage.spawn("producer", own, || push_for_ever(ring, own, &streams.pushes[stream], stream, clock))
        });
    }

    fn strike(&self, blow: Blow) {
        let (who, signal) = match blow {
            Blow::KillGroup(_) => return (0..PEOPLE).for_each(|who| self.strike(Blow::Kill(who))),
            Blow::Kill(who) => (who, Signal::SIGKILL),
            Blow::Stop(who) => (who, Signal::SIGSTOP),
            Blow::GoOn(who) => (who, Signal::SIGCONT),
        };
        if let Some(victim) = &self.people[who] {
            kill(victim.pid(), signal).expect("a victim that was not waited for");
        }
    }

    fn bury(&mut self, stage: &mut Stage, strikes: &[Strike]) {
        for who in 0..PEOPLE {
            let fatal = |strike: &Strike| matches!(strike.blow, Blow::KillGroup(_)) || strike.blow == Blow::Kill(who);
            if let Some(mut victim) = self.people[who].take_if(|_| strikes.iter().any(fatal)) {
                stage.dies(&mut victim, &self.stamps[who]);
            }
        }
    }

    /// Each producer that is left ends a push if there is somebody to read, and the consumer a pop if there is one who pushes.
    fn survivors_go_on(&self, stage: &mut Stage, since: Duration) {
        let (stamps, people) = (self.stamps, &self.people);
        let both = people[CONSUMER].is_some() && people[..PRODUCERS].iter().any(Option::is_some);
        let due = |who: usize| both && people[who].is_some();
        let before: [u64; PEOPLE] = std::array::from_fn(|who| stamps[who].ended.get());
        let went_on = |who: usize| stamps[who].ended.get() != before[who] || stamps[who].wrong.get() != 0;
        let all = stage.wait_for("the survivors to go on", || (0..PEOPLE).all(|who| !due(who) || went_on(who)));
        if all && both {
            stage.recovered(since);
        }
    }

    fn hear(&self, stage: &mut Stage) {
        self.stamps[..PEOPLE].iter().for_each(|stamps| stage.hear(stamps, &COMPLAINTS));
    }

    /// All die, and everything that was pushed for sure has arrived, or does now.
    fn end(&mut self, stage: &mut Stage) {
        let all = [Strike { after: Duration::ZERO, blow: Blow::KillGroup(0) }];
        self.strike(all[0].blow);
        self.bury(stage, &all);
        self.hear(stage);
        let me = self.ring.attach().expect("a free slot");
        match self.ring.consumer(&me) {
            Ok(opened) => self.drain(stage, opened.into_inner()),
            Err(error) => stage.finding(&format!("the seat of a dead consumer: {error}")),
        }
        for stream in 0..self.lives {
            stage.hold(self.streams.records(stream).all_arrived());
            let (pushes, reads) = (&self.streams.pushes[stream], &self.streams.reads[stream]);
            for fact in [&pushes.begun, &pushes.ended, &reads.begun, &reads.ended, &reads.signal] {
                fact.set(0);
            }
        }
        self.lives = 0;
    }

    fn drain(&self, stage: &mut Stage, mut consumer: R::Consumer) {
        (0..STREAMS).for_each(|stream| self.streams.records(stream).next_reader());
        let mut bytes = Vec::new();
        loop {
            match consumer.try_pop(&mut bytes) {
                Ok(stream) => {
                    let record = Record::of(stream, &bytes);
                    let records = self.streams.records(record.stream);
                    stage.hold(records.arrived(record.number, record.whole));
                    records.committed(record.number);
                }
                Err(TryPopError::Empty) => return,
                Err(error) => return stage.finding(&error.to_string()),
            }
        }
    }
}

/// What a record says.
struct Record {
    stream: usize,
    number: u64,
    /// When its push began, and when the one before it in its stream had returned.
    began: u64,
    before: u64,
    whole: bool,
}

impl Record {
    fn bytes(&self) -> Vec<u8> {
        let words = [self.number, self.began, self.before];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend_from_slice(payload(self.number ^ self.began << 20));
        bytes
    }

    /// One that is torn may say anything.
    fn of(kind: u32, bytes: &[u8]) -> Self {
        let word =
            |at: usize| bytes.get(8 * at..8 * at + 8).map_or(0, |word| u64::from_le_bytes(word.try_into().unwrap()));
        let [number, began, before] = [0, 1, 2].map(word);
        let mut record = Self { stream: kind as usize % STREAMS, number, began, before, whole: false };
        record.whole = bytes == record.bytes();
        record
    }
}

fn push_for_ever<R: Many>(ring: &R, stamps: &Stamps, facts: &Stamps, stream: usize, clock: &Word) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    stamps.enter(Phase::Opening);
    // A lane is nobody's, or a dead one's: there are as many as producers.
    let Ok(opened) = ring.producer(&me) else { return stamps.complain(2, 1, 0) };
    let died = opened.owner_died();
    let mut producer = opened.into_inner();
    if died && R::generation(&producer) == 0 {
        stamps.complain(4, 0, 1);
    }
    let mut before = 0;
    for number in 1.. {
        let record = Record { stream, number, began: clock.add(1) + 1, before, whole: true };
        let bytes = record.bytes();
        facts.begun.set(number);
        stamps.enter(Phase::Pushing);
        if push::<R>(&mut producer, stream as u32, number, &bytes).is_none() {
            return stamps.complain(2, 2, number);
        }
        before = clock.add(1) + 1;
        facts.ended.set(number);
        stamps.ended.add(1);
        stamps.enter(Phase::Outside);
    }
}

fn push<R: Many>(producer: &mut R::Producer, kind: u32, number: u64, bytes: &[u8]) -> Option<()> {
    if number % 8 == 1
        && let Ok(mut reservation) = producer.reserve(kind, bytes.len())
    {
        reservation.write(0, bytes);
        return reservation.commit().ok();
    }
    loop {
        match producer.push(kind, bytes) {
            Ok(()) => return Some(()),
            Err(PushError::ConsumerDied) => R::wait_consumer(producer).then_some(())?,
            Err(_) => return None,
        }
    }
}

fn pop_for_ever<R: Many>(ring: &R, stamps: &Stamps, streams: Streams) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    stamps.enter(Phase::Opening);
    let seat = ring.consumers();
    let Ok(opened) = ring.consumer(&me) else { return stamps.complain(2, 1, 0) };
    let mut consumer = opened.into_inner();
    let due = seat.generation + u64::from(matches!(seat.state, SeatState::Dead(_)));
    let generation = R::consumer_generation(&consumer);
    if generation != due {
        stamps.complain(4, generation, due);
    }
    let mut reader = Reader { stamps, streams, order: Order::default() };
    reader.all(Records::next_reader);
    let mut bytes = Vec::new();
    loop {
        stamps.enter(Phase::Popping);
        match R::look(&mut consumer, &mut bytes, |kind, copied, bytes| reader.judge(kind, copied, bytes)) {
            Ok(record) => {
                streams.records(record.stream).committed(record.number);
                stamps.ended.add(1);
            }
            Err(TryPopError::Empty) => {
                // Whose record comes, and is committed as read before it is looked at, is not known.
                let before: [u64; STREAMS] = std::array::from_fn(|stream| streams.records(stream).may_be_read.get());
                reader.all(Records::read_unseen);
                let popped = consumer.pop(&mut bytes);
                let mut came = None;
                if let Ok(kind) = popped {
                    let record = reader.judge(kind, true, &bytes);
                    streams.records(record.stream).committed(record.number);
                    stamps.ended.add(1);
                    came = Some(record.stream);
                }
                // Not before it was looked at: should this one die in between, it has been read unseen. And not further back than it was:
                // a reader before this one may have died so.
                for stream in (0..STREAMS).filter(|stream| came != Some(*stream)) {
                    streams.records(stream).may_be_read.set(before[stream]);
                }
                match popped {
                    Ok(_) => {}
                    Err(PopError::ProducerDied) if R::wait_producer(&consumer) => {}
                    Err(_) => return stamps.complain(2, 3, 0),
                }
            }
            Err(_) => return stamps.complain(2, 3, 0),
        }
        stamps.enter(Phase::Outside);
    }
}

/// A consumer's life, and what it knows of the records that came in it.
struct Reader<'s> {
    stamps: &'s Stamps,
    streams: Streams,
    order: Order,
}

impl Reader<'_> {
    fn all(&self, tell: impl Fn(&Records<&'static Word, &'static Word>)) {
        (0..STREAMS).for_each(|stream| tell(&self.streams.records(stream)));
    }

    fn judge(&mut self, kind: u32, copied: bool, bytes: &[u8]) -> Record {
        let record = Record::of(kind, bytes);
        let records = self.streams.records(record.stream);
        if records.arrived(record.number, copied && record.whole).is_err() {
            self.stamps.complain(1, record.number, records.due());
        } else if !self.order.holds(&record) {
            self.stamps.complain(3, record.number - 1, record.before);
        }
        record
    }
}

/// In which order records came.
struct Order {
    /// When the push of a record that has come began: the latest.
    latest: u64,
    /// The same when the last record of each stream came; none came yet: 0.
    then: [u64; STREAMS],
}

impl Default for Order {
    fn default() -> Self {
        Self { latest: 0, then: [0; STREAMS] }
    }
}

impl Order {
    /// A record says when the push of the one before it had returned: whatever came before that one began no later.
    fn holds(&mut self, record: &Record) -> bool {
        let holds = record.number == 1 || self.then[record.stream] <= record.before;
        self.then[record.stream] = self.latest;
        self.latest = self.latest.max(record.began);
        holds
    }
}
