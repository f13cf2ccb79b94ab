//! The file of a segment is truncated while it is mapped. Each test runs in a process of its own: without the handler it ends by SIGBUS.

mod asleep;
mod signals;

use crate::process::{for_ever, spawn};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use ownerdead::cell::{Board, SeqLock, Snapshot, board, snapshot};
use ownerdead::lock::{Barrier, FutexMutex, LockError, Once, OnceCell, RobustMutex, RwLock, Semaphore};
use ownerdead::ring::{Commit, Consume, Produce, Topology, broadcast, mpmc, mpsc, spsc};
use ownerdead::segment::{Kind, OpenError, Options, Segment, catch_truncation};
use ownerdead::sync::{futex, thread};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longer than any wait here lasts; where it does not, the test fails by what it got, or the harness ends it.
const LONG: Duration = Duration::from_secs(60);
/// Calls until somebody has come by all of a segment.
const CALLS: usize = 10_000;

/// What every error of a truncated segment says.
fn told(error: &impl ToString) -> bool {
    error.to_string().contains("somebody has truncated the file")
}

/// A name that is taken away as soon as the segment is made: nothing is left behind, and its descriptor is enough to truncate it.
fn named<S>(make: impl FnOnce(&str) -> S) -> S {
    let name = format!("ownerdead-test-{}-truncated", std::process::id());
    let _ = Segment::unlink(&name);
    let made = make(&name);
    Segment::unlink(&name).unwrap();
    made
}

fn file(segment: &Segment) -> File {
    File::from(segment.as_fd().try_clone_to_owned().unwrap())
}

/// Lengths to cut it to: nothing, the header, all of the table but a page, half of it, all but the last page.
fn cuts(segment: &Segment) -> [u64; 4] {
    let length = file(segment).metadata().unwrap().len();
    [0, 4096, length / 2 / 4096 * 4096, length - 4096]
}

fn cut(segment: &Segment, length: u64) {
    file(segment).set_len(length).unwrap();
}

/// Runs it in a child, where truncation is caught, and sees that an honest segment works there before, meanwhile and after.
fn survives(body: impl FnOnce()) {
    let mut child = spawn(|| {
        catch_truncation().unwrap();
        catch_truncation().unwrap();
        let other = spsc::Ring::memfd(&Options::new(), &spsc::Config::new(4096)).unwrap();
        let me = other.attach().unwrap();
        let mut producer = other.producer(&me).unwrap().into_inner();
        producer.push(1, b"before").unwrap();
        body();
        producer.push(2, b"after").unwrap();
        let mut consumer = other.consumer(&me).unwrap().into_inner();
        let mut bytes = Vec::new();
        assert_eq!([consumer.pop(&mut bytes).unwrap(), consumer.pop(&mut bytes).unwrap()], [1, 2]);
        other.segment().is_whole().unwrap();
    });
    assert_eq!(child.end(), WaitStatus::Exited(child.pid, 0));
}

/// Calls until it is told; what is given until then is right.
fn until_told<T, E: ToString>(what: &str, mut call: impl FnMut() -> Result<T, E>, right: impl Fn(&T) -> bool) {
    for _ in 0..CALLS {
        match call() {
            Ok(value) => assert!(right(&value), "{what}: a value that nobody wrote"),
            Err(error) if told(&error) => return,
            // Full, empty, or damaged, as far as could be seen of it.
            Err(_) => {}
        }
    }
    panic!("{what}: never told");
}

/// It says so, and says so again.
fn is_told<T, E: ToString>(what: &str, mut call: impl FnMut() -> Result<T, E>) {
    for _ in 0..2 {
        let Err(error) = call() else { panic!("{what}: done in a truncated segment") };
        assert!(told(&error), "{what}: {}", error.to_string());
    }
}

const RECORD: [u8; 48] = [0xa5; 48];

/// A producer and a consumer work while the file is cut, and then do everything that there is to do.
fn ring<R: Topology>(what: &str, make: impl Fn(&str) -> R, segment: impl Fn(&R) -> &Segment) {
    for index in 0..4 {
        survives(|| {
            let ring = named(&make);
            let me = ring.attach().unwrap();
            let mut producer = ring.producer(&me).unwrap().into_inner();
            let mut consumer = ring.consumer(&me).unwrap().into_inner();
            let bell = producer.bell().unwrap();
            let mut bytes = Vec::new();
            for kind in 1..4 {
                producer.push(kind, &RECORD).unwrap();
            }
            assert_eq!(consumer.pop(&mut bytes).unwrap(), 1);
            cut(segment(&ring), cuts(segment(&ring))[index]);
            until_told(
                what,
                || {
                    let _ = producer.try_push(7, &RECORD);
                    consumer.try_pop(&mut bytes).map(|kind| (kind, bytes.clone()))
                },
                |(kind, bytes)| *kind != 0 && *bytes == RECORD,
            );
            assert!(told(&segment(&ring).is_whole().unwrap_err()));
            is_told(what, || producer.try_push(7, &RECORD));
            is_told(what, || producer.push(7, &RECORD));
            is_told(what, || producer.push_timeout(7, &RECORD, LONG));
            is_told(what, || producer.reserve(7, 8).map(|room| room.commit()));
            is_told(what, || consumer.try_pop(&mut bytes));
            is_told(what, || consumer.pop(&mut bytes));
            is_told(what, || consumer.pop_timeout(&mut bytes, LONG));
            is_told(what, || ring.producer(&me));
            is_told(what, || ring.consumer(&me));
            is_told(what, || ring.attach());
            let _ = ring.statistics();
            let _ = producer.arm(&bell);
            drop((bell, producer, consumer, me, ring));
            // What is mapped next, perhaps at the same place, is another segment.
            let again = named(&make);
            let me = again.attach().unwrap();
            let mut producer = again.producer(&me).unwrap().into_inner();
            let mut consumer = again.consumer(&me).unwrap().into_inner();
            producer.push(9, &RECORD).unwrap();
            assert_eq!(consumer.pop(&mut bytes).unwrap(), 9);
        });
    }
}

#[test]
fn every_ring_tells_of_a_truncated_file() {
    use mpsc::{claims, lanes, locked};
    let options = || Options::new().slots(4);
    ring(
        "spsc",
        |name| spsc::Ring::create(name, &options(), &spsc::Config::new(16384)).unwrap(),
        |ring| ring.segment(),
    );
    let unchecked = spsc::Config::new(16384).checksum(false);
    ring("unchecked", move |name| spsc::Ring::create(name, &options(), &unchecked).unwrap(), |ring| ring.segment());
    let config = lanes::Config::new(1, 16384);
    ring("lanes", move |name| lanes::Ring::create(name, &options(), &config).unwrap(), |ring| ring.segment());
    let config = claims::Config::new(16384);
    ring("claims", move |name| claims::Ring::create(name, &options(), &config).unwrap(), |ring| ring.segment());
    let config = locked::Config::new(16384);
    ring("locked", move |name| locked::Ring::create(name, &options(), &config).unwrap(), |ring| ring.segment());
    let config = mpmc::Config::new(64, 200);
    ring("mpmc", move |name| mpmc::Ring::create(name, &options(), &config).unwrap(), |ring| ring.segment());
    let config = broadcast::Config::lossy(16384, 2);
    ring("lossy", move |name| broadcast::Ring::create(name, &options(), &config).unwrap(), |ring| ring.segment());
    let config = broadcast::Config::lossless(16384, 2);
    ring("lossless", move |name| broadcast::Ring::create(name, &options(), &config).unwrap(), |ring| ring.segment());
}

/// Sixteen kilobytes, so that a cut can be in the middle of the value.
type Large = [u64; 2048];
const LARGE: Large = [0x5a5a; 2048];

fn cut_mid<S>(make: impl Fn(&str) -> S, segment: impl Fn(&S) -> &Segment, body: impl Fn(&S, &dyn Fn())) {
    for index in 0..4 {
        survives(|| {
            let made = named(&make);
            let cut = || cut(segment(&made), cuts(segment(&made))[index]);
            body(&made, &cut);
            assert!(told(&segment(&made).is_whole().unwrap_err()));
            let honest = named(&make);
            segment(&honest).is_whole().unwrap();
        });
    }
}

#[test]
fn every_lock_tells_of_a_truncated_file() {
    let options = || Options::new().slots(4);
    let make = |name: &str| RobustMutex::create(name, &options(), LARGE).unwrap();
    cut_mid(make, RobustMutex::segment, |mutex, cut| {
        let me = mutex.attach().unwrap();
        let [condvar, ..] = mutex.condvars();
        let mut held = mutex.lock(&me).unwrap();
        cut();
        // In place: what is gone reads as zero, and the next operation tells.
        assert!(held.iter_mut().all(|word| *word == 0 || *word == 0x5a5a));
        drop(held);
        until_told("mutex", || mutex.try_lock(&me).map(|guard| guard[2047]), |_| true);
        is_told("mutex", || mutex.lock(&me).map(drop));
        is_told("mutex", || mutex.lock_timeout(&me, LONG).map(drop));
        is_told("condvar", || condvar.notify_one(&me));
        is_told("condvar", || condvar.notify_all(&me));
        is_told("mutex", || mutex.attach());
    });
    let make = |name: &str| RwLock::create(name, &options(), LARGE).unwrap();
    cut_mid(make, RwLock::segment, |lock, cut| {
        let me = lock.attach().unwrap();
        let held = lock.read(&me).unwrap();
        cut();
        assert!(held.iter().all(|word| *word == 0 || *word == 0x5a5a));
        drop(held);
        until_told("rwlock", || lock.try_write(&me).map(|guard| guard[2047]), |_| true);
        is_told("rwlock", || lock.read(&me).map(drop));
        is_told("rwlock", || lock.try_read(&me).map(drop));
        is_told("rwlock", || lock.write(&me).map(drop));
        is_told("rwlock", || lock.write_timeout(&me, LONG).map(drop));
    });
    let make = |name: &str| OnceCell::<Large>::create(name, &options()).unwrap();
    cut_mid(make, OnceCell::segment, |cell, cut| {
        let me = cell.attach().unwrap();
        let value = cell.get_or_init(&me, |_| LARGE).unwrap();
        cut();
        assert!(value.iter().all(|word| *word == 0 || *word == 0x5a5a));
        let get = || cell.get_or_init(&me, |_| LARGE).map(|value| value.iter().sum::<u64>());
        until_told("once cell", get, |_| true);
        is_told("once cell", || cell.get_or_init(&me, |_| LARGE).map(|_| ()));
    });
}

#[test]
fn every_small_lock_tells_of_a_truncated_file() {
    let options = || Options::new().slots(4);
    survives(|| {
        let semaphore = named(|name| Semaphore::create(name, &options(), 2).unwrap());
        let me = semaphore.attach().unwrap();
        let permit = semaphore.acquire(&me).unwrap();
        cut(semaphore.segment(), 4096);
        drop(permit);
        is_told("semaphore", || semaphore.acquire(&me).map(drop));
        is_told("semaphore", || semaphore.try_acquire(&me).map(drop));
        is_told("semaphore", || semaphore.acquire_timeout(&me, LONG).map(drop));
    });
    survives(|| {
        let once = named(|name| Once::create(name, &options()).unwrap());
        let me = once.attach().unwrap();
        cut(once.segment(), 0);
        until_told("once", || once.call_once(&me, |_| {}), |_| true);
        is_told("once", || once.call_once_timeout(&me, LONG, |_| {}));
    });
    survives(|| {
        let barrier = named(|name| Barrier::create(name, &options(), 2).unwrap());
        let me = barrier.attach().unwrap();
        let mut party = barrier.join(&me).unwrap();
        cut(barrier.segment(), 4096);
        is_told("barrier", || party.wait());
        is_told("barrier", || party.wait_timeout(LONG));
        is_told("barrier", || party.reset());
        is_told("barrier", || barrier.join(&me));
    });
    survives(|| {
        let mutex = named(|name| FutexMutex::create(name, &options(), LARGE).unwrap());
        cut(mutex.segment(), 0);
        // It has no errors: `is_whole` has.
        assert!(mutex.lock().iter().all(|word| *word == 0));
        assert!(told(&mutex.segment().is_whole().unwrap_err()));
        drop(mutex.lock());
        assert!(mutex.try_lock().is_some() && mutex.lock_timeout(LONG).is_ok());
    });
}

#[test]
fn every_cell_tells_of_a_truncated_file() {
    let options = || Options::new().slots(4);
    let make = |name: &str| SeqLock::create(name, &options(), LARGE).unwrap();
    cut_mid(make, SeqLock::segment, |cell, cut| {
        let me = cell.attach().unwrap();
        let mut writer = cell.writer(&me).unwrap().into_inner();
        cut();
        until_told("sequence lock", || cell.try_read(), |read| read.value == LARGE);
        is_told("sequence lock", || cell.try_read());
        is_told("sequence lock", || cell.read_timeout(LONG));
        is_told("sequence lock", || writer.write(&LARGE));
        is_told("sequence lock", || cell.writer(&me));
    });
    let make = |name: &str| Snapshot::create(name, &options(), &snapshot::Config::new(), LARGE).unwrap();
    cut_mid(make, Snapshot::segment, |cell, cut| {
        let me = cell.attach().unwrap();
        let mut writer = cell.writer(&me).unwrap().into_inner();
        cut();
        let work = || {
            let _ = writer.write(&LARGE);
            cell.read()
        };
        until_told("snapshot", work, |read| read.value == LARGE);
        is_told("snapshot", || writer.write(&LARGE));
        is_told("snapshot", || cell.read_if_newer(0));
        is_told("snapshot", || cell.wait_change(&me, 0, None));
        is_told("snapshot", || cell.wait_writer(&me, None));
    });
    let make = |name: &str| Board::<Large>::create(name, &options(), &board::Config::new(2)).unwrap();
    cut_mid(make, Board::segment, |cell, cut| {
        let me = cell.attach().unwrap();
        let mut writer = cell.writer(&me, 1).unwrap().into_inner();
        writer.write(&LARGE).unwrap();
        cut();
        let work = || {
            let _ = writer.write(&LARGE);
            cell.read(1)
        };
        until_told("board", work, |read| read.value == LARGE);
        is_told("board", || cell.read(0));
        is_told("board", || cell.wait_change(&me, 1, 0, Some(LONG)));
        assert!(cell.iter().all(|(_, read)| read.is_err_and(|error| told(&error))));
    });
}
