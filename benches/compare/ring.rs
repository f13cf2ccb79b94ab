//! The ring beside others: round trips and throughput.

use crate::carriers::{BATCH, Carrier, Manner, Receiver, Receives, Sender, Sends, ring, rtrb, socket};
use crate::pair::{Load, Pair, Setup, Work};
use crate::plan::{Aim, Bound, Contender, Group, Measure, Rival};
use crate::shared::Court;
use ownerdead::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Bytes of the messages: a word, a cache line, many.
const SIZES: [usize; 3] = [8, 64, 1024];

/// How a sender and a receiver work.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Single,
    Batch,
}

/// Each message begins with its number.
fn number(payload: &mut [u8], number: u64) {
    payload[..8].copy_from_slice(&number.to_le_bytes());
}

fn check(payload: &[u8], size: usize, number: u64) {
    assert!(payload.len() == size && payload[..8] == number.to_le_bytes(), "not message {number}");
}

/// Messages of `size` bytes to the other side, and back.
pub fn round_trip<S: Sends, R: Receives>(
    there: Carrier<S, R>,
    back: Carrier<S, R>,
    size: usize,
    threads: bool,
) -> Pair {
    let asking = move || -> Work {
        let (mut sender, mut receiver) = ((there.sender)(), (back.receiver)());
        let (mut message, mut answer, mut sent) = (vec![0xa5; size], Vec::with_capacity(size), 0);
        Box::new(move |count| {
            for _ in 0..count {
                sent += 1;
                number(&mut message, sent);
                sender.send(&message);
                receiver.receive(&mut answer);
                check(&answer, size, sent);
            }
        })
    };
    let answering = move || -> Work {
        let (mut sender, mut receiver) = ((back.sender)(), (there.receiver)());
        let (mut message, mut seen) = (Vec::with_capacity(size), 0);
        Box::new(move |count| {
            for _ in 0..count {
                seen += 1;
                receiver.receive(&mut message);
                check(&message, size, seen);
                sender.send(&message);
            }
        })
    };
    Pair { sides: [Box::new(asking), Box::new(answering)], threads }
}

/// Messages of `size` bytes from one side to the other.
pub fn throughput<S: Sends, R: Receives>(carrier: Carrier<S, R>, size: usize, threads: bool) -> Pair {
    let sending = move || -> Work {
        let (mut sender, mut message, mut sent) = ((carrier.sender)(), vec![0xa5; size], 0);
        Box::new(move |count| {
            for _ in 0..count {
                sent += 1;
                number(&mut message, sent);
                sender.send(&message);
            }
        })
    };
    let receiving = move || -> Work {
        let (mut receiver, mut message, mut seen) = ((carrier.receiver)(), Vec::with_capacity(size), 0);
        Box::new(move |count| {
            for _ in 0..count {
                seen += 1;
                receiver.receive(&mut message);
                check(&message, size, seen);
            }
        })
    };
    Pair { sides: [Box::new(sending), Box::new(receiving)], threads }
}

/// The same in batches.
fn batches(carrier: Carrier, size: usize, threads: bool) -> Pair {
    let sending = move || -> Work {
        let (mut sender, mut messages, mut sent): (Sender, _, _) = ((carrier.sender)(), vec![0xa5; size * BATCH], 0);
        Box::new(move |count| {
            assert!(count.is_multiple_of(BATCH));
            for _ in 0..count / BATCH {
                for message in messages.chunks_exact_mut(size) {
                    sent += 1;
                    number(message, sent);
                }
                sender.send_batch(&messages, size);
            }
        })
    };
    let receiving = move || -> Work {
        let (mut receiver, mut message, mut seen): (Receiver, _, _) =
            ((carrier.receiver)(), Vec::with_capacity(size), 0);
        Box::new(move |count| {
            let mut left = count;
            while left > 0 {
                left -= receiver.receive_batch(&mut message, |payload| {
                    seen += 1;
                    check(payload, size, seen);
                });
            }
        })
    };
    Pair { sides: [Box::new(sending), Box::new(receiving)], threads }
}

impl Way {
    fn pair(self, carrier: Carrier, size: usize, threads: bool) -> Pair {
        match self {
            Self::Single => throughput(carrier, size, threads),
            Self::Batch => batches(carrier, size, threads),
        }
    }

    fn name(self, carrier: String) -> String {
        match self {
            Self::Single => carrier,
            Self::Batch => format!("{carrier}, batches"),
        }
    }
}

fn checksums(on: bool) -> &'static str {
    if on { "CRC-32" } else { "no checksum" }
}

fn ours(checksum: bool) -> String {
    format!("ownerdead, {}", checksums(checksum))
}

fn rtrbs(checksum: bool) -> String {
    format!("rtrb (threads), {}", checksums(checksum))
}

/// Two lines each way, as any ring needs that has its index on another line than its records: what a round trip costs at least.
fn two_lines(court: &'static Court) -> Pair {
    let side = |side: usize| -> Setup {
        Box::new(move || {
            let ([record, index], [answer, answered]) = (&court.lines[side], &court.lines[1 - side]);
            // Relaxed: only this side writes it, and both sides stand at the same number.
            let mut number = index.load(Relaxed);
            Box::new(move |count| {
                for _ in 0..count {
                    number += 1;
                    if side == 0 {
                        record.store(number, Relaxed);
                        index.store(number, Release);
                    }
                    while answered.load(Acquire) < number {
                        std::hint::spin_loop();
                    }
                    assert_eq!(answer.load(Relaxed), number);
                    if side == 1 {
                        record.store(number, Relaxed);
                        index.store(number, Release);
                    }
                }
            })
        })
    };
    Pair { sides: [side(0), side(1)], threads: false }
}

/// A line of a table whose samples have two sides.
pub fn contender(name: String, size: usize, load: Load, pair: impl Fn() -> Pair + 'static) -> Contender {
    Contender { name, size, sample: Box::new(move |stage| pair().run(stage.court, stage.cpus, load)) }
}

/// Round trips between two processes.
pub fn round_trips(court: &'static Court) -> Group {
    let few = Load { warm_up: 4000, count: 1000 };
    let mut contenders = vec![contender("two cache lines each way".into(), 8, few, move || two_lines(court))];
    for size in SIZES {
        // A lap or more to warm up: then every page of the rings is mapped.
        let spin = if size < 1024 { few } else { Load { warm_up: 500, ..few } };
        let sleep = Load { warm_up: 100, count: 100 };
        let mut add = |name, load, threads, carrier: Box<dyn Fn() -> Carrier>| {
            contenders.push(contender(name, size, load, move || round_trip(carrier(), carrier(), size, threads)));
        };
        for checksum in [true, false] {
            add(ours(checksum), spin, false, Box::new(move || ring(checksum, Manner::Spin)));
            add(rtrbs(checksum), spin, true, Box::new(move || rtrb(checksum)));
        }
        add(format!("{}, blocking pop", ours(true)), sleep, false, Box::new(|| ring(true, Manner::Sleep)));
        add("Unix socket".into(), sleep, false, Box::new(socket));
    }
    let aim = |checksum| Aim { contender: ours(checksum), size: 8, rival: Rival::Raw, bound: Bound::TimeAtMost(1.2) };
    Group {
        name: "round trip",
        what: "a message to another process and back; spinning, but for the blocking pop and the socket",
        measure: Measure::RoundTrip,
        rounds: [60, 8],
        contenders,
        aims: [true, false].map(aim).into(),
    }
}

/// Messages from one process to another.
pub fn throughputs() -> Group {
    let (mut contenders, mut aims) = (Vec::new(), Vec::new());
    for size in SIZES {
        // Some laps to warm up: then every page of the ring is mapped. Samples of a millisecond or two, so that most are over
        // before the scheduler thinks of something else.
        let batches = if size < 1024 { 256 } else { 64 };
        let spin = Load { warm_up: batches * BATCH, count: batches * BATCH };
        let sleep = Load { warm_up: 500, count: 1000 };
        let mut add = |name, load, threads, way: Way, carrier: Box<dyn Fn() -> Carrier>| {
            contenders.push(contender(name, size, load, move || way.pair(carrier(), size, threads)));
        };
        for checksum in [true, false] {
            for way in [Way::Single, Way::Batch] {
                let (ours, rtrbs) = (way.name(ours(checksum)), way.name(rtrbs(checksum)));
                add(ours.clone(), spin, false, way, Box::new(move || ring(checksum, Manner::Spin)));
                add(rtrbs.clone(), spin, true, way, Box::new(move || rtrb(checksum)));
                let bound = Bound::RateAtLeast(if way == Way::Single { 0.8 } else { 1.0 });
                aims.push(Aim { contender: ours, size, rival: Rival::Contender(rtrbs), bound });
            }
        }
        add("Unix socket".into(), sleep, false, Way::Single, Box::new(socket));
    }
    Group {
        name: "throughput",
        what: "messages from one process to another",
        measure: Measure::Message,
        rounds: [60, 8],
        contenders,
        aims,
    }
}
