//! Reader-writer locks and semaphores whose words another hand has changed, and what a thread may not do with one.

use crate::image::{Image, body};
use crate::ring::NO_SUCH_SLOT;
use crate::row::{Got, Row, Section};
use ownerdead::lock::{LockError, RwLock, Semaphore};
use ownerdead::owner::Attachment;
use ownerdead::segment::{Kind, Options, Segment};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(5);
/// Of a lock with two slots: the writer's word, the size of the value, and the first place.
const WORD: u64 = body(2);
const SIZE: u64 = WORD + 136;
const PLACE: u64 = WORD + 384;
/// Of a semaphore with two slots: how many permits, and the first.
const PERMITS: u64 = body(2);
const PERMIT: u64 = PERMITS + 256;

fn lock() -> RwLock<u64> {
    RwLock::memfd(&Options::new().slots(2), 7).unwrap()
}

fn semaphore() -> Semaphore {
    Semaphore::memfd(&Options::new().slots(2), 1).unwrap()
}

/// Both sides can have it.
fn works(lock: &RwLock<u64>, me: &Attachment) {
    assert_eq!(*lock.read(me).unwrap(), 7);
    assert_eq!(*lock.write(me).unwrap(), 7);
    assert_eq!(me.rights(), 0);
}

/// Each way of reading says the same of this writer's word, and of writing too.
fn word(value: u64) -> Got {
    let lock = lock();
    let me = lock.attach().unwrap();
    let image = Image::of(lock.segment());
    image.poke(WORD, value);
    let said = lock.read(&me).unwrap_err().to_string();
    assert_eq!(lock.try_read(&me).unwrap_err().to_string(), said);
    assert_eq!(lock.read_timeout(&me, Duration::MAX).unwrap_err().to_string(), said);
    assert_eq!(lock.write(&me).unwrap_err().to_string(), said);
    assert_eq!(lock.try_write(&me).unwrap_err().to_string(), said);
    assert_eq!(lock.write_timeout(&me, Duration::MAX).unwrap_err().to_string(), said);
    assert_eq!(image.peek(WORD), value, "a lock that failed has changed its word");
    image.poke(WORD, 0);
    works(&lock, &me);
    Got::Error(said)
}

/// A writer says this of a place with such a word.
fn place(value: u64) -> Got {
    let lock = lock();
    let me = lock.attach().unwrap();
    let image = Image::of(lock.segment());
    image.poke(PLACE + 128, value);
    let said = lock.write(&me).unwrap_err().to_string();
    assert_eq!(lock.try_write(&me).unwrap_err().to_string(), said);
    assert_eq!(image.peek(WORD), 0, "a writer that failed keeps readers out");
    // Readers do not look at others' places.
    assert_eq!(*lock.read(&me).unwrap(), 7);
    image.poke(PLACE + 128, 0);
    works(&lock, &me);
    Got::Error(said)
}

/// Each way of taking a permit says the same of this one.
fn permit(value: u64) -> Got {
    let semaphore = semaphore();
    let me = semaphore.attach().unwrap();
    let image = Image::of(semaphore.segment());
    image.poke(PERMIT, value);
    let said = semaphore.acquire(&me).unwrap_err().to_string();
    assert_eq!(semaphore.try_acquire(&me).unwrap_err().to_string(), said);
    assert_eq!(semaphore.acquire_timeout(&me, Duration::MAX).unwrap_err().to_string(), said);
    image.poke(PERMIT, 0);
    drop(semaphore.acquire(&me).unwrap());
    Got::Error(said)
}

/// A writer ends with the lock.
fn dies_writing(lock: &RwLock<u64>) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let me = lock.attach().unwrap();
            std::mem::forget(lock.write(&me).unwrap());
            std::mem::forget(me);
        });
    });
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "Damaged reader-writer locks and semaphores, and what a thread may not do with one",
        rows: vec![
            row("a writer's word that names no slot", |_| word(NO_SUCH_SLOT)),
            row("a writer's word that is a TID", |_| word(1234)),
            row("a reader's place that names no slot", |_| place(NO_SUCH_SLOT)),
            row("a reader's place that names another slot", |_| place(1 << 32 | 1 << 29)),
            row("a body too small for the places of readers", |_| {
                let honest = lock();
                let words: Vec<_> =
                    (0..3).map(|word| Image::of(honest.segment()).peek(WORD + 128 + 8 * word)).collect();
                let segment = Segment::memfd(&Options::new().slots(2), Kind::RWLOCK, 384, |_| {}).unwrap();
                for (word, value) in words.iter().enumerate() {
                    Image::of(&segment).poke(WORD + 128 + 8 * word as u64, *value);
                }
                // SAFETY: this process alone has the segment.
                Got::error(unsafe { RwLock::<u64>::from_segment(segment) })
            }),
            row("a reader-writer lock whose value has another size than its type", |_| {
                let lock = lock();
                Image::of(lock.segment()).poke(SIZE, 1 << 40);
                // SAFETY: as above.
                Got::error(unsafe { RwLock::<u64>::from_segment(lock.segment().clone()) })
            }),
            row("reading twice", |_| {
                let lock = lock();
                let me = lock.attach().unwrap();
                let share = lock.read(&me).unwrap();
                let got = Got::error(lock.read(&me).map(drop));
                assert!(matches!(lock.write(&me), Err(LockError::Deadlock)), "writing beside one's own share");
                drop(share);
                works(&lock, &me);
                got
            }),
            row("reading while a writer that lives has it, without waiting", |_| {
                let lock = lock();
                let (one, two) = (lock.attach().unwrap(), lock.attach().unwrap());
                let all = lock.write(&one).unwrap();
                let got = Got::error(lock.try_read(&two).map(drop));
                drop(all);
                works(&lock, &two);
                got
            }),
            row("reading while a writer that lives has it, waiting for 5 ms", |_| {
                let lock = lock();
                let (one, two) = (lock.attach().unwrap(), lock.attach().unwrap());
                let all = lock.write(&one).unwrap();
                let got = Got::error(lock.read_timeout(&two, SHORT).map(drop));
                drop(all);
                works(&lock, &two);
                got
            }),
            row("reading when the last writer died", |_| {
                let lock = lock();
                let me = lock.attach().unwrap();
                dies_writing(&lock);
                Got::error(lock.read(&me).map(drop))
            }),
            row("reading when a writer died and nobody repaired", |_| {
                let lock = lock();
                let me = lock.attach().unwrap();
                dies_writing(&lock);
                drop(lock.write(&me).unwrap_err());
                Got::error(lock.read(&me).map(drop))
            }),
            row("a semaphore with no permits", |_| Got::error(Semaphore::memfd(&Options::new(), 0))),
            row("a semaphore with 43 permits", |_| Got::error(Semaphore::memfd(&Options::new(), 43))),
            row("a segment that says that it has 2^40 permits", |_| {
                let semaphore = semaphore();
                Image::of(semaphore.segment()).poke(PERMITS, 1 << 40);
                Got::error(Semaphore::from_segment(semaphore.segment().clone()))
            }),
            row("a body too small for its permits", |_| {
                let semaphore = semaphore();
                Image::of(semaphore.segment()).poke(PERMITS, 42);
                Got::error(Semaphore::from_segment(semaphore.segment().clone()))
            }),
            row("a semaphore that exists with another number of permits", |name| {
                let _semaphore = Semaphore::create(name.as_str(), &Options::new(), 3).unwrap();
                Got::error(Semaphore::open_or_create(name.as_str(), &Options::new(), 2))
            }),
            row("a permit that names no slot", |_| permit(NO_SUCH_SLOT)),
            row("a permit with a mark and no holder", |_| permit(1 << 30)),
            row("taking a permit where one has all of them", |_| {
                let semaphore = semaphore();
                let me = semaphore.attach().unwrap();
                let _permit = semaphore.acquire(&me).unwrap();
                Got::error(semaphore.acquire(&me).map(drop))
            }),
            row("taking a permit where others that live have all, without waiting", |_| {
                let semaphore = semaphore();
                let (one, two) = (semaphore.attach().unwrap(), semaphore.attach().unwrap());
                let _permit = semaphore.acquire(&one).unwrap();
                Got::error(semaphore.try_acquire(&two).map(drop))
            }),
            row("taking a permit where others that live have all, waiting for 5 ms", |_| {
                let semaphore = semaphore();
                let (one, two) = (semaphore.attach().unwrap(), semaphore.attach().unwrap());
                let _permit = semaphore.acquire(&one).unwrap();
                Got::error(semaphore.acquire_timeout(&two, SHORT).map(drop))
            }),
        ],
    }
}
