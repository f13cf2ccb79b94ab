//! Mutexes whose words another hand has changed.

use crate::image::{Image, body};
use crate::row::{Got, Name, Row, Section};
use ownerdead::lock::{FutexMutex, LockError, RobustMutex};
use ownerdead::owner::Attachment;
use ownerdead::segment::{Kind, Options, Segment};
use std::time::Duration;

/// The lock word: the first of the body.
const WORD: u64 = body(2);

fn mutex() -> RobustMutex<u64> {
    RobustMutex::memfd(&Options::new().slots(2), 7).unwrap()
}

/// Each way of locking says the same of this lock word, and changes nothing; once it is put back the mutex works.
fn word(value: u64) -> Got {
    let mutex = mutex();
    let me = mutex.attach().unwrap();
    let image = Image::of(mutex.segment());
    image.poke(WORD, value);
    let spoiled = image.bytes();
    let said = mutex.lock(&me).unwrap_err().to_string();
    assert_eq!(mutex.try_lock(&me).unwrap_err().to_string(), said);
    assert_eq!(mutex.lock_timeout(&me, Duration::MAX).unwrap_err().to_string(), said);
    assert!(image.bytes() == spoiled, "a lock that failed has changed something");
    image.poke(WORD, 0);
    works(&mutex, &me);
    Got::Error(said)
}

fn works(mutex: &RobustMutex<u64>, me: &Attachment) {
    let mut guard = mutex.lock(me).unwrap();
    assert_eq!(*guard, 7);
    *guard = 8;
    drop(guard);
    assert_eq!(*mutex.try_lock(me).unwrap(), 8);
    assert_eq!(me.rights(), 0);
}

/// A thread ends with the lock.
fn dies_with(mutex: &RobustMutex<u64>) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let me = mutex.attach().unwrap();
            std::mem::forget(mutex.lock(&me).unwrap());
            std::mem::forget(me);
        });
    });
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "Damaged mutexes, and what a thread may not do with one",
        rows: vec![
            row("a lock word that names no slot", |_| word(crate::ring::NO_SUCH_SLOT)),
            row("a lock word that is a TID", |_| word(1234)),
            row("a lock word with a mark and no holder", |_| word(1 << 30)),
            row("a lock word with all bits set", |_| word(u64::MAX)),
            row("a lock word that is spoiled while `lock` sleeps", |_| {
                let mutex = mutex();
                let (first, second) = (mutex.attach().unwrap(), mutex.attach().unwrap());
                let image = Image::of(mutex.segment());
                let guard = mutex.lock(&first).unwrap();
                let said = std::thread::scope(|scope| {
                    scope.spawn(|| image.poke(WORD, crate::ring::NO_SUCH_SLOT));
                    mutex.lock(&second).unwrap_err().to_string()
                });
                // The holder's unlock puts it right.
                drop(guard);
                works(&mutex, &second);
                Got::Error(said)
            }),
            row("a lock word of a futex mutex that no state has", |_| {
                let mutex = FutexMutex::memfd(&Options::new(), 7u64).unwrap();
                // A futex mutex has one slot, and a word of 32 bits.
                let image = Image::of(mutex.segment());
                image.poke(body(1), 77);
                let got = Got::error(mutex.lock_timeout(Duration::from_millis(5)));
                image.poke(body(1), 0);
                assert_eq!(*mutex.try_lock().unwrap(), 7);
                got
            }),
            row("a body too small for a mutex", |_| {
                let segment = Segment::memfd(&Options::new(), Kind::MUTEX, 128, |_| {}).unwrap();
                // SAFETY: this process alone has the segment.
                Got::error(unsafe { RobustMutex::<u64>::from_segment(segment) })
            }),
            row("a fingerprint of no type", |_| {
                let mutex = mutex();
                Image::of(mutex.segment()).poke(body(2) + 128, 5);
                // SAFETY: as above.
                Got::error(unsafe { RobustMutex::<u64>::from_segment(mutex.segment().clone()) })
            }),
            row("making a mutex under a name that is taken", |name| {
                let mutex = RobustMutex::create(name.as_str(), &Options::new(), 7u64).unwrap();
                let got = Got::error(RobustMutex::create(name.as_str(), &Options::new(), 8u64));
                let me = mutex.attach().unwrap();
                assert_eq!(*mutex.lock(&me).unwrap(), 7);
                got
            }),
            row("a text file, opened or made as a mutex", |name| {
                // SAFETY: nobody else has the file.
                let open = |name: &Name| unsafe { FutexMutex::open_or_create(name.as_str(), &Options::new(), 7u64) };
                std::fs::write(name.path(), "no segment ".repeat(1000)).unwrap();
                let got = Got::error(open(name));
                std::fs::remove_file(name.path()).unwrap();
                assert!(open(name).unwrap().1 && !open(name).unwrap().1);
                got
            }),
            row("a lock that somebody alive holds, without waiting", |_| {
                let mutex = mutex();
                let (one, two) = (mutex.attach().unwrap(), mutex.attach().unwrap());
                let guard = mutex.lock(&one).unwrap();
                let got = Got::error(mutex.try_lock(&two).map(drop));
                drop(guard);
                works(&mutex, &two);
                got
            }),
            row("a lock that somebody alive holds, waiting for 5 ms", |_| {
                let mutex = mutex();
                let (one, two) = (mutex.attach().unwrap(), mutex.attach().unwrap());
                let guard = mutex.lock(&one).unwrap();
                let got = Got::error(mutex.lock_timeout(&two, Duration::from_millis(5)).map(drop));
                drop(guard);
                works(&mutex, &two);
                got
            }),
            row("a lock whose holder died", |_| {
                let mutex = mutex();
                let me = mutex.attach().unwrap();
                dies_with(&mutex);
                match mutex.lock(&me) {
                    Err(LockError::OwnerDied(died)) => {
                        let text = LockError::OwnerDied(died).to_string();
                        Got::Error(text)
                    }
                    other => panic!("{other:?}"),
                }
            }),
            row("locking twice", |_| {
                let mutex = mutex();
                let me = mutex.attach().unwrap();
                let guard = mutex.lock(&me).unwrap();
                let got = Got::error(mutex.lock(&me).map(drop));
                drop(guard);
                works(&mutex, &me);
                got
            }),
            row("locking with an attachment to another mutex", |_| {
                let (one, other) = (mutex(), mutex());
                let me = one.attach().unwrap();
                let got = Got::error(other.lock(&me).map(drop));
                works(&one, &me);
                got
            }),
            row("a holder that died and was not repaired", |_| {
                let mutex = mutex();
                let me = mutex.attach().unwrap();
                dies_with(&mutex);
                drop(mutex.lock(&me).unwrap_err());
                Got::error(mutex.lock(&me).map(drop))
            }),
        ],
    }
}
