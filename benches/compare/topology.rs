//! Rings of each topology beside what one would take instead: round trips, one to one, and each to each.

use crate::carriers::{CAPACITY, Receives, Sends};
use crate::pair::{Load, Pair, Setup, Work};
use crate::plan::{Contender, Group, Measure};
use crate::queues::{self, PLACES, Queue, Spinning, carrier};
use crate::ring::{contender, round_trip, throughput};
use ownerdead::ring::{broadcast, mpmc, mpsc, spsc};
use ownerdead::segment::Options;

/// How the two sides use a queue.
#[derive(Clone, Copy)]
enum Use {
    /// A message there over one, and back over another.
    RoundTrip,
    /// From one to the other.
    OneWay,
    /// Each side puts one in and takes one out, whosever that is, all the time.
    Exchange,
}

/// Lines of a table.
struct Lines {
    of: Use,
    contenders: Vec<Contender>,
}

impl Lines {
    /// A line of messages of `size` bytes; `threads`: it cannot cross processes.
    fn add<Q: Queue>(&mut self, name: &str, size: usize, threads: bool, queue: impl Fn() -> Q + 'static) {
        let (of, load) = match self.of {
            Use::RoundTrip => (self.of, Load { warm_up: 2 * PLACES, count: 1000 }),
            Use::OneWay | Use::Exchange => (self.of, Load { warm_up: 4 * PLACES, count: 4 * PLACES }),
        };
        let pair = move || match of {
            Use::RoundTrip => round_trip(carrier(queue()), carrier(queue()), size, threads),
            Use::OneWay => throughput(carrier(queue()), size, threads),
            Use::Exchange => exchange(&queue(), size, threads),
        };
        self.contenders.push(contender(name.into(), size, load, pair));
    }

    /// Rings with one producer, or one consumer.
    fn of_one_side(&mut self, size: usize) {
        self.add("ownerdead spsc", size, false, spsc);
        self.add("ownerdead mpsc, lanes", size, false, lanes);
        self.add("ownerdead broadcast, lossless", size, false, broadcast);
        self.add("ownerdead mpsc, claims", size, false, claims);
        self.add("ownerdead mpsc, locked", size, false, locked);
    }

    /// Queues with as many of both as one likes.
    fn of_many<const N: usize>(&mut self) {
        self.add("ownerdead mpmc", N, false, || mpmc(N));
        self.add("deque in shared memory, pthread robust mutex", N, false, queues::shared_deque::<N>);
        self.add("crossbeam ArrayQueue (threads)", N, true, queues::array_queue::<N>);
        self.add("crossbeam channel (threads)", N, true, queues::channel::<N>);
        self.add("std Mutex<VecDeque> (threads)", N, true, queues::vec_deque::<N>);
    }
}

fn options() -> Options {
    Options::new().slots(4)
}

fn spsc() -> spsc::Ring {
    spsc::Ring::memfd(&options(), &spsc::Config::new(CAPACITY).checksum(false)).expect("a ring")
}

fn lanes() -> mpsc::lanes::Ring {
    mpsc::lanes::Ring::memfd(&options(), &mpsc::lanes::Config::new(2, CAPACITY).checksum(false)).expect("a ring")
}

fn claims() -> mpsc::claims::Ring {
    mpsc::claims::Ring::memfd(&options(), &mpsc::claims::Config::new(CAPACITY).checksum(false)).expect("a ring")
}

fn locked() -> mpsc::locked::Ring {
    mpsc::locked::Ring::memfd(&options(), &mpsc::locked::Config::new(CAPACITY).checksum(false)).expect("a ring")
}

fn mpmc(size: usize) -> mpmc::Ring {
    mpmc::Ring::memfd(&options(), &mpmc::Config::new(PLACES, size).checksum(false)).expect("a ring")
}

fn broadcast() -> broadcast::Ring {
    broadcast::Ring::memfd(&options(), &broadcast::Config::lossless(CAPACITY, 2).checksum(false)).expect("a ring")
}

fn exchange<Q: Queue>(queue: &Q, size: usize, threads: bool) -> Pair {
    let side = || -> Setup {
        let queue = queue.clone();
        Box::new(move || -> Work {
            let (sender, receiver) = queue.both();
            let (mut sender, mut receiver) = (Spinning(sender), Spinning(receiver));
            let (message, mut taken) = (vec![0xa5; size], Vec::with_capacity(size));
            Box::new(move |count| {
                for _ in 0..count {
                    sender.send(&message);
                    receiver.receive(&mut taken);
                    assert_eq!(taken, message);
                }
            })
        })
    };
    Pair { sides: [side(), side()], threads }
}

/// All of them.
pub fn groups() -> [Group; 3] {
    let group = |name, what, of| {
        let mut lines = Lines { of, contenders: Vec::new() };
        if !matches!(of, Use::Exchange) {
            lines.of_one_side(8);
            lines.of_one_side(64);
        }
        lines.of_many::<8>();
        lines.of_many::<64>();
        let measure = if matches!(of, Use::RoundTrip) { Measure::RoundTrip } else { Measure::Message };
        Group { name, what, measure, rounds: [40, 2], contenders: lines.contenders, aims: Vec::new() }
    };
    [
        group("topologies, round trip", "a message to the other side and back; no checksums; spinning", Use::RoundTrip),
        group("topologies, one to one", "messages from one side to the other; no checksums; spinning", Use::OneWay),
        group(
            "topologies, each to each",
            "both sides put one message in and take one out, whosever it is; messages of one side",
            Use::Exchange,
        ),
    ]
}
