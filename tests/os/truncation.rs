//! The file of a segment is truncated while it is mapped. Each test runs in a process of its own: without the handler it ends by SIGBUS.

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

/// Truncates a segment when the thread that runs `sleep` sleeps in it; what that comes to must tell of it. `sleep` is told when to begin.
fn sleeper_is_told<E: ToString + Send>(what: &str, segment: &Segment, sleep: impl FnOnce() -> Result<(), E> + Send) {
    std::thread::scope(|scope| {
        let (say, heard) = channel();
        let sleeper = scope.spawn(move || {
            say.send(thread::id()).unwrap();
            sleep()
        });
        let folder = format!("/proc/self/task/{}", heard.recv().unwrap());
        while !futex::sleeps(&folder) {
            std::thread::yield_now();
        }
        cut(segment, 0);
        let Err(error) = sleeper.join().unwrap() else { panic!("{what}: a wait ended well") };
        assert!(told(&error), "{what}: {}", error.to_string());
    });
}

fn sleepers_at_a_ring<R: Topology + Sync>(what: &str, make: impl Fn(&str) -> R, segment: impl Fn(&R) -> &Segment) {
    survives(|| {
        let ring = named(&make);
        sleeper_is_told(what, segment(&ring), || {
            let me = ring.attach().unwrap();
            let mut consumer = ring.consumer(&me).unwrap().into_inner();
            consumer.pop(&mut Vec::new()).map(drop)
        });
        let ring = named(&make);
        if what == "lossy" {
            return;
        }
        sleeper_is_told(what, segment(&ring), || {
            let me = ring.attach().unwrap();
            let _consumer = ring.consumer(&me).unwrap().into_inner();
            let mut producer = ring.producer(&me).unwrap().into_inner();
            loop {
                if let Err(error) = producer.push(1, &RECORD) {
                    break Err(error);
                }
            }
        });
    });
}

#[test]
fn who_sleeps_at_a_ring_is_woken_by_a_truncation() {
    use mpsc::{claims, lanes, locked};
    let options = || Options::new().slots(4);
    let config = spsc::Config::new(1024);
    sleepers_at_a_ring("spsc", |name| spsc::Ring::create(name, &options(), &config).unwrap(), |ring| ring.segment());
    let config = lanes::Config::new(2, 1024);
    sleepers_at_a_ring("lanes", |name| lanes::Ring::create(name, &options(), &config).unwrap(), |ring| ring.segment());
    let config = claims::Config::new(1024);
    sleepers_at_a_ring(
        "claims",
        |name| claims::Ring::create(name, &options(), &config).unwrap(),
        |ring| ring.segment(),
    );
    let config = locked::Config::new(1024);
    sleepers_at_a_ring(
        "locked",
        |name| locked::Ring::create(name, &options(), &config).unwrap(),
        |ring| ring.segment(),
    );
    let config = mpmc::Config::new(4, 200);
    sleepers_at_a_ring("mpmc", |name| mpmc::Ring::create(name, &options(), &config).unwrap(), |ring| ring.segment());
    let config = broadcast::Config::lossy(1024, 2);
    sleepers_at_a_ring(
        "lossy",
        |name| broadcast::Ring::create(name, &options(), &config).unwrap(),
        |ring| ring.segment(),
    );
    let config = broadcast::Config::lossless(1024, 2);
    sleepers_at_a_ring(
        "lossless",
        |name| broadcast::Ring::create(name, &options(), &config).unwrap(),
        |ring| ring.segment(),
    );
}

#[test]
fn who_waits_for_a_peer_is_woken_by_a_truncation() {
    use mpsc::{claims, lanes, locked};
    let options = || Options::new().slots(4);
    macro_rules! both {
        ($($ring:ty, $config:expr, $opens:ident, $waits:ident;)+) => {$(survives(|| {
            let ring = named(|name| <$ring>::create(name, &options(), &$config).unwrap());
            sleeper_is_told(stringify!($ring), ring.segment(), || {
                let me = ring.attach().unwrap();
                ring.$opens(&me).unwrap().into_inner().$waits(None)
            });
        });)+};
    }
    both! {
        spsc::Ring, spsc::Config::new(1024), producer, wait_consumer;
        spsc::Ring, spsc::Config::new(1024), consumer, wait_producer;
        lanes::Ring, lanes::Config::new(2, 1024), producer, wait_consumer;
        lanes::Ring, lanes::Config::new(2, 1024), consumer, wait_producer;
        claims::Ring, claims::Config::new(1024), producer, wait_consumer;
        locked::Ring, locked::Config::new(1024), producer, wait_consumer;
        broadcast::Ring, broadcast::Config::lossy(1024, 2), producer, wait_consumer;
        broadcast::Ring, broadcast::Config::lossless(1024, 2), consumer, wait_producer;
    }
}

/// One thread does the first, and stays; another one does the second, and sleeps.
macro_rules! while_held {
    ($what:literal, $make:expr, |$made:ident, $me:ident| $held:expr, $sleeps:expr) => {
        survives(|| {
            let $made = &named($make);
            std::thread::scope(|scope| {
                let (say, heard) = channel();
                let (go, goes) = channel::<()>();
                scope.spawn(move || {
                    let me = $made.attach().unwrap();
                    let $me = &me;
                    let _held = $held;
                    say.send(()).unwrap();
                    let _ = goes.recv();
                });
                heard.recv().unwrap();
                sleeper_is_told($what, $made.segment(), || {
                    let me = $made.attach().unwrap();
                    let $me = &me;
                    $sleeps.map(drop).map_err(|error| error.to_string())
                });
                drop(go);
            });
        })
    };
}

#[test]
fn who_sleeps_for_a_lock_is_woken_by_a_truncation() {
    let options = || Options::new().slots(4);
    let mutex = |name: &str| RobustMutex::create(name, &options(), 1u64).unwrap();
    while_held!("mutex", mutex, |it, me| it.lock(me).unwrap(), it.lock(me));
    let lock = |name: &str| RwLock::create(name, &options(), 1u64).unwrap();
    while_held!("reader", lock, |it, me| it.write(me).unwrap(), it.read(me));
    while_held!("writer", lock, |it, me| it.read(me).unwrap(), it.write(me));
    let semaphore = |name: &str| Semaphore::create(name, &options(), 1).unwrap();
    while_held!("semaphore", semaphore, |it, me| it.acquire(me).unwrap(), it.acquire(me));
    while_held!("condvar", mutex, |it, me| me.id(), it.condvars()[0].wait(it.lock(me).unwrap()));
    let barrier = |name: &str| Barrier::create(name, &options(), 2).unwrap();
    while_held!("barrier", barrier, |it, me| me.id(), it.join(me).unwrap().wait());
    let snapshot = |name: &str| Snapshot::create(name, &options(), &snapshot::Config::new(), 1u64).unwrap();
    while_held!("snapshot", snapshot, |it, me| it.writer(me).unwrap(), it.wait_change(me, 0, None));
    while_held!("snapshot", snapshot, |it, me| me.id(), it.wait_writer(me, None));
}

#[test]
fn who_waits_for_an_initialisation_is_woken_by_a_truncation() {
    survives(|| {
        let once = named(|name| Once::create(name, &Options::new().slots(4)).unwrap());
        std::thread::scope(|scope| {
            let (say, heard) = channel();
            let (go, goes) = channel::<()>();
            let once = &once;
            let initialises = scope.spawn(move || {
                let me = once.attach().unwrap();
                once.call_once(&me, |_| {
                    say.send(()).unwrap();
                    let _ = goes.recv();
                })
            });
            heard.recv().unwrap();
            sleeper_is_told("once", once.segment(), || {
                let me = once.attach().unwrap();
                once.call_once(&me, |_| {})
            });
            drop(go);
            assert!(told(&initialises.join().unwrap().unwrap_err()));
        });
    });
}

/// The thread's own death is told in the segments that it attached to before a truncated one, once it knows that that is truncated: the
/// kernel's walk would stop there.
#[test]
fn a_death_is_told_elsewhere_though_a_segment_of_the_dead_one_was_truncated() {
    let mutex = RobustMutex::memfd(&Options::new().slots(4), 1u64).unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    let mut child = spawn(|| {
        catch_truncation().unwrap();
        let me = mutex.attach().unwrap();
        let ring = named(|name| spsc::Ring::create(name, &Options::new(), &spsc::Config::new(1024)).unwrap());
        let there = ring.attach().unwrap();
        let mut producer = ring.producer(&there).unwrap().into_inner();
        cut(ring.segment(), 0);
        until_told("spsc", || producer.try_push(1, b"into the void"), |()| true);
        let _guard = mutex.lock(&me).unwrap();
        std::io::Write::write_all(&mut &write, b"!").unwrap();
        for_ever();
    });
    // So that the end of a child that says nothing ends the wait.
    drop(write);
    std::io::Read::read_exact(&mut read, &mut [0]).unwrap();
    child.kill();
    let me = mutex.attach().unwrap();
    assert!(matches!(mutex.lock(&me), Err(LockError::OwnerDied(_))));
}

/// A mapping of this test's own, whose file is truncated.
fn foreign() -> *const u8 {
    let fd = nix::sys::memfd::memfd_create(c"foreign", nix::sys::memfd::MFdFlags::empty()).unwrap();
    let file = File::from(fd);
    file.set_len(4096).unwrap();
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let place =
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_ne!(place, libc::MAP_FAILED);
    file.set_len(0).unwrap();
    place.cast()
}

fn ends_by(body: impl FnOnce(), by: Signal) {
    let mut child = spawn(|| {
        // SAFETY: no core file of a process that is meant to end so.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
        body();
    });
    let end = child.end();
    assert!(matches!(end, WaitStatus::Signaled(_, signal, _) if signal == by), "{end:?}");
}

#[test]
fn another_sigbus_ends_the_process_as_without_the_handler() {
    let touch = || {
        // SAFETY: mapped, and not there: that is what this is about.
        unsafe { foreign().read_volatile() };
    };
    ends_by(touch, Signal::SIGBUS);
    ends_by(
        || {
            catch_truncation().unwrap();
            touch();
        },
        Signal::SIGBUS,
    );
    ends_by(
        || {
            // std's own handler takes itself away, and lets one that was sent pass.
            // SAFETY: the default.
            unsafe { nix::sys::signal::signal(Signal::SIGBUS, nix::sys::signal::SigHandler::SigDfl) }.unwrap();
            catch_truncation().unwrap();
            nix::sys::signal::raise(Signal::SIGBUS).unwrap();
        },
        Signal::SIGBUS,
    );
    // Where nobody has asked for it, a truncated segment does, too.
    ends_by(
        || {
            let ring = named(|name| spsc::Ring::create(name, &Options::new(), &spsc::Config::new(1024)).unwrap());
            cut(ring.segment(), 0);
            let _ = ring.status();
        },
        Signal::SIGBUS,
    );
    // And one whose mapping is gone is no longer ours.
    ends_by(
        || {
            catch_truncation().unwrap();
            let ring = named(|name| spsc::Ring::create(name, &Options::new(), &spsc::Config::new(1024)).unwrap());
            drop(ring);
            touch();
        },
        Signal::SIGBUS,
    );
}

extern "C" fn ends_with_42(_signal: i32) {
    // SAFETY: ends the child at once.
    unsafe { libc::_exit(42) };
}

extern "C" fn ends_with_43(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel's; then the end of the child.
    unsafe { libc::_exit(if (*info).si_code == libc::BUS_ADRERR { 43 } else { 1 }) };
}

#[test]
fn another_sigbus_goes_to_the_handler_that_was_there() {
    for (handler, flags, code) in
        [(ends_with_42 as *const () as usize, 0, 42), (ends_with_43 as *const () as usize, libc::SA_SIGINFO, 43)]
    {
        let mut child = spawn(|| {
            // SAFETY: an all-zero sigaction is a valid one, and the handler is of the kind that its flags say.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                (action.sa_sigaction, action.sa_flags) = (handler, flags);
                assert_eq!(libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()), 0);
            }
            catch_truncation().unwrap();
            let ring = named(|name| spsc::Ring::create(name, &Options::new(), &spsc::Config::new(1024)).unwrap());
            cut(ring.segment(), 0);
            let _ = ring.status();
            assert!(told(&ring.segment().is_whole().unwrap_err()));
            // SAFETY: mapped, and not there.
            unsafe { foreign().read_volatile() };
        });
        assert_eq!(child.end(), WaitStatus::Exited(child.pid, code));
    }
}

#[test]
fn a_memfd_that_can_be_made_shorter_is_refused() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let ring = spsc::Ring::memfd(&Options::new(), &spsc::Config::new(1024)).unwrap();
    let length = file(ring.segment()).metadata().unwrap().len();
    let mut bytes = vec![0; length as usize];
    std::os::unix::fs::FileExt::read_exact_at(&file(ring.segment()), &mut bytes, 0).unwrap();
    let copy = |flags| {
        let fd = memfd_create(c"copy", flags).unwrap();
        std::fs::write(format!("/proc/self/fd/{}", fd.as_raw_fd()), &bytes).unwrap();
        fd
    };
    let unsealed = copy(MFdFlags::MFD_ALLOW_SEALING);
    // SAFETY: a descriptor that was just made by `dup`.
    let same = unsafe { std::os::fd::OwnedFd::from_raw_fd(libc::dup(unsealed.as_raw_fd())) };
    let opened = Segment::from_fd(unsealed, Kind::SPSC);
    assert!(matches!(opened, Err(OpenError::NotSealed { found: 0 })), "{opened:?}");
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(same.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) }, 0);
    Segment::from_fd(same, Kind::SPSC).unwrap();
    // One that nobody can seal is as a file in /dev/shm is.
    Segment::from_fd(copy(MFdFlags::empty()), Kind::SPSC).unwrap();
}
