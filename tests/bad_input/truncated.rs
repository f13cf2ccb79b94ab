//! Segments whose file is truncated while they are mapped, in processes that have asked for an error in place of a signal.

use crate::files::with_honest_ring;
use crate::row::{Got, Name, Row, Section};
use ownerdead::cell::Snapshot;
use ownerdead::cell::snapshot::Config as Buffers;
use ownerdead::lock::{Barrier, Once, RobustMutex, RwLock, Semaphore};
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::{Options, Segment, catch_truncation};

/// Makes a segment, begins with it, truncates its file, touches that, and then does something; an honest ring goes on meanwhile.
fn truncated<S, P>(
    name: &Name,
    make: impl FnOnce(&str, &Options) -> S,
    segment: impl Fn(&S) -> &Segment,
    begin: impl FnOnce(&S) -> P,
    does: impl FnOnce(&S, P) -> Got,
) -> Got {
    catch_truncation().unwrap();
    let made = make(name.as_str(), &Options::new().slots(2));
    let begun = begin(&made);
    with_honest_ring(&name.other(), |_| {
        std::fs::OpenOptions::new().write(true).open(name.path()).unwrap().set_len(0).unwrap();
        // The first access to what is gone: at the first slot's life word, for all of them alike.
        let _ = segment(&made).table().counts();
        does(&made, begun)
    })
}

fn ring(name: &str, options: &Options) -> Ring {
    Ring::create(name, options, &Config::new(1024)).unwrap()
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "A file that is truncated while it is mapped, after `catch_truncation`",
        rows: vec![
            row("`push` in a ring whose file is truncated", |name| {
                let begin = |ring: &Ring| ring.producer(&ring.attach().unwrap()).unwrap().into_inner();
                truncated(name, ring, Ring::segment, begin, |_, mut producer| Got::error(producer.push(1, b"lost")))
            }),
            row("`pop` there", |name| {
                let begin = |ring: &Ring| ring.consumer(&ring.attach().unwrap()).unwrap().into_inner();
                truncated(name, ring, Ring::segment, begin, |_, mut it| Got::error(it.pop(&mut Vec::new())))
            }),
            row("`attach` there", |name| {
                truncated(name, ring, Ring::segment, |_| (), |ring, ()| Got::error(ring.attach()))
            }),
            row("`lock` of a robust mutex whose file is truncated", |name| {
                let make = |name: &str, options: &Options| RobustMutex::create(name, options, 0u64).unwrap();
                let begin = |mutex: &RobustMutex<u64>| mutex.attach().unwrap();
                truncated(name, make, RobustMutex::segment, begin, |it, me| Got::error(it.lock(&me).map(drop)))
            }),
            row("`notify_one` of a condition variable there", |name| {
                let make = |name: &str, options: &Options| RobustMutex::create(name, options, 0u64).unwrap();
                let begin = |mutex: &RobustMutex<u64>| mutex.attach().unwrap();
                truncated(name, make, RobustMutex::segment, begin, |it, me| {
                    Got::error(it.condvars()[0].notify_one(&me))
                })
            }),
            row("`read` of a reader-writer lock whose file is truncated", |name| {
                let make = |name: &str, options: &Options| RwLock::create(name, options, 0u64).unwrap();
                let begin = |lock: &RwLock<u64>| lock.attach().unwrap();
                truncated(name, make, RwLock::segment, begin, |it, me| Got::error(it.read(&me).map(drop)))
            }),
            row("`acquire` of a semaphore whose file is truncated", |name| {
                let make = |name: &str, options: &Options| Semaphore::create(name, options, 1).unwrap();
                let begin = |it: &Semaphore| it.attach().unwrap();
                truncated(name, make, Semaphore::segment, begin, |it, me| Got::error(it.acquire(&me).map(drop)))
            }),
            row("`call_once` of a once whose file is truncated", |name| {
                let make = |name: &str, options: &Options| Once::create(name, options).unwrap();
                let begin = |it: &Once| it.attach().unwrap();
                truncated(name, make, Once::segment, begin, |it, me| Got::error(it.call_once(&me, |_| {})))
            }),
            row("`wait` at a barrier whose file is truncated", |name| {
                let make = |name: &str, options: &Options| Barrier::create(name, options, 2).unwrap();
                let begin = |it: &Barrier| it.join(&it.attach().unwrap()).unwrap();
                truncated(name, make, Barrier::segment, begin, |_, mut party| Got::error(party.wait()))
            }),
            row("`read` of a snapshot whose file is truncated", |name| {
                let make =
                    |name: &str, options: &Options| Snapshot::create(name, options, &Buffers::new(), 7u64).unwrap();
                truncated(name, make, Snapshot::segment, |_| (), |it, ()| Got::error(it.read()))
            }),
            row("`write` there", |name| {
                let make =
                    |name: &str, options: &Options| Snapshot::create(name, options, &Buffers::new(), 7u64).unwrap();
                let begin = |it: &Snapshot<u64>| it.writer(&it.attach().unwrap()).unwrap().into_inner();
                truncated(name, make, Snapshot::segment, begin, |_, mut writer| Got::error(writer.write(&1)))
            }),
            row("`Segment::is_whole` there", |name| {
                truncated(name, ring, Ring::segment, |_| (), |ring, ()| Got::error(ring.segment().is_whole()))
            }),
        ],
    }
}
