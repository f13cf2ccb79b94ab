//! Who sleeps in the segment when its file is truncated.

use super::*;

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
