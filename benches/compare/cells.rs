//! A value that one process reads while another does nothing but write it, beside locks that do the same.

use crate::pair::{Load, Pair, Setup, Work};
use crate::plan::{Contender, Group, Measure};
use crate::ring::contender;
use crate::shared::mapped;
use ownerdead::cell::seqlock::SeqLock;
use ownerdead::cell::snapshot::{Config, Snapshot};
use ownerdead::lock::RwLock;
use ownerdead::segment::Options;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use std::hint::black_box;
use std::sync::Arc;

/// Tries to read the value; whether it had it.
type Read = Box<dyn FnMut() -> bool>;
/// Writes a value of this number.
type Write = Box<dyn FnMut(u64)>;

/// A reader that reads until it has a value, so many times, and a writer that writes until that is done. `reader` and `writer` set
/// a side up, in the thread that will work.
fn beside<T: Clone + Send + 'static>(shared: &T, threads: bool, reader: fn(T) -> Read, writer: fn(T) -> Write) -> Pair {
    // SAFETY: zero bytes are a number; it is an atomic, and its mapping is never unmapped.
    let rounds: &'static AtomicU64 = unsafe { mapped::<AtomicU64>().as_ref() };
    let (to_read, to_write) = (shared.clone(), shared.clone());
    let reads: Setup = Box::new(move || -> Work {
        let mut read = reader(to_read);
        Box::new(move |count| {
            for _ in 0..count {
                while !read() {}
            }
            // Relaxed, and so is the load: all that it says is that the writer may stop.
            rounds.fetch_add(1, Relaxed);
        })
    });
    let writes: Setup = Box::new(move || -> Work {
        let (mut write, mut round, mut number) = (writer(to_write), 0, 0);
        Box::new(move |_| {
            round += 1;
            while rounds.load(Relaxed) < round {
                number += 1;
                write(number);
            }
        })
    });
    Pair { sides: [reads, writes], threads }
}

fn seqlock<const WORDS: usize>() -> Pair {
    let reader = |cell: SeqLock<[u64; WORDS]>| -> Read {
        Box::new(move || black_box(&cell).try_read().map(|found| black_box(found.value)).is_ok())
    };
    let writer = |cell: SeqLock<[u64; WORDS]>| -> Write {
        let me = cell.attach().expect("a free slot");
        let mut writer = cell.writer(&me).expect("a vacant seat").into_inner();
        Box::new(move |number| {
            writer.write(black_box(&[number; WORDS])).expect("not forked");
        })
    };
    beside(&SeqLock::memfd(&Options::new(), [0; WORDS]).expect("a cell"), false, reader, writer)
}

fn snapshot<const WORDS: usize>(buffers: u64) -> Pair {
    let reader = |cell: Snapshot<[u64; WORDS]>| -> Read {
        Box::new(move || black_box(&cell).read().map(|found| black_box(found.value)).is_ok())
    };
    let writer = |cell: Snapshot<[u64; WORDS]>| -> Write {
        let me = cell.attach().expect("a free slot");
        let mut writer = cell.writer(&me).expect("a vacant seat").into_inner();
        Box::new(move |number| {
            writer.write(black_box(&[number; WORDS])).expect("not forked");
        })
    };
    let config = Config::new().buffers(buffers);
    beside(&Snapshot::memfd(&Options::new(), &config, [0; WORDS]).expect("a cell"), false, reader, writer)
}

fn our_lock<const WORDS: usize>() -> Pair {
    let reader = |lock: RwLock<[u64; WORDS]>| -> Read {
        let me = lock.attach().expect("a free slot");
        Box::new(move || {
            black_box(*black_box(&lock).read(&me).expect("nobody died"));
            true
        })
    };
    let writer = |lock: RwLock<[u64; WORDS]>| -> Write {
        let me = lock.attach().expect("a free slot");
        Box::new(move |number| *lock.write(&me).expect("nobody died") = *black_box(&[number; WORDS]))
    };
    beside(&RwLock::memfd(&Options::new(), [0; WORDS]).expect("a lock"), false, reader, writer)
}

fn std_lock<const WORDS: usize>() -> Pair {
    let reader = |lock: Arc<std::sync::RwLock<[u64; WORDS]>>| -> Read {
        Box::new(move || {
            black_box(*black_box(&lock).read().expect("nobody panicked"));
            true
        })
    };
    let writer = |lock: Arc<std::sync::RwLock<[u64; WORDS]>>| -> Write {
        Box::new(move |number| *lock.write().expect("nobody panicked") = *black_box(&[number; WORDS]))
    };
    beside(&Arc::new(std::sync::RwLock::new([0; WORDS])), true, reader, writer)
}

fn parking_lot<const WORDS: usize>() -> Pair {
    let reader = |lock: Arc<parking_lot::RwLock<[u64; WORDS]>>| -> Read {
        Box::new(move || {
            black_box(*black_box(&lock).read());
            true
        })
    };
    let writer = |lock: Arc<parking_lot::RwLock<[u64; WORDS]>>| -> Write {
        Box::new(move |number| *lock.write() = *black_box(&[number; WORDS]))
    };
    beside(&Arc::new(parking_lot::RwLock::new([0; WORDS])), true, reader, writer)
}

fn of_size<const WORDS: usize>() -> Vec<Contender> {
    // Few: a sample must end before the scheduler takes a processor away, and the slowest lines here take some 50 us a read.
    let load = Load { warm_up: 20, count: 50 };
    let line = |name: String, pair: Box<dyn Fn() -> Pair>| contender(name, size_of::<[u64; WORDS]>(), load, pair);
    let mut lines = vec![line("ownerdead SeqLock".into(), Box::new(seqlock::<WORDS>))];
    for buffers in [2, 4, 8] {
        lines
            .push(line(format!("ownerdead Snapshot, {buffers} buffers"), Box::new(move || snapshot::<WORDS>(buffers))));
    }
    lines.push(line("ownerdead RwLock<value>".into(), Box::new(our_lock::<WORDS>)));
    lines.push(line("std RwLock<value> (threads)".into(), Box::new(std_lock::<WORDS>)));
    lines.push(line("parking_lot RwLock<value> (threads)".into(), Box::new(parking_lot::<WORDS>)));
    lines
}

/// The table.
pub fn group() -> Group {
    Group {
        name: "cell, beside its writer",
        what: "read a value that another process does nothing but write: until the reader has it",
        measure: Measure::RoundTrip,
        rounds: [40, 4],
        contenders: of_size::<8>().into_iter().chain(of_size::<512>()).collect(),
        aims: Vec::new(),
    }
}
