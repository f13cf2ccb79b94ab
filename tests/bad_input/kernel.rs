//! Attaching: full tables, and kernels or filters that refuse what it needs.

use crate::environment::{NEEDS_SECCOMP, Refused, refuse};
use crate::image::{Image, PAGE};
use crate::row::{Got, Row, Section};
use ownerdead::lock::{FutexMutex, RobustMutex};
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::Options;

fn mutex() -> RobustMutex<u64> {
    RobustMutex::memfd(&Options::new().slots(2), 7).unwrap()
}

/// Attaches where a call is refused. Who attached before the filter came goes on as before, and no slot is lost.
fn without(refused: Refused) -> Got {
    let mutex = mutex();
    let before = mutex.attach().unwrap();
    if !refuse(&refused) {
        return Got::NotRun(NEEDS_SECCOMP);
    }
    let error = mutex.attach().unwrap_err();
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(error.to_string().ends_with(&cause), "{error} is not caused by {cause}");
    let got = Got::Error(error.to_string());
    assert_eq!(*mutex.lock(&before).unwrap(), 7);
    assert_eq!((mutex.table().counts().attached, mutex.table().counts().free), (1, 1));
    before.detach().unwrap();
    assert_eq!(mutex.table().counts().free, 2);
    got
}

fn call(number: libc::c_long, with: i32) -> Refused {
    Refused { number, only: None, with }
}

/// `madvise(MADV_WIPEONFORK)` as a kernel before 4.14 answers it.
fn no_wipe_on_fork() -> bool {
    refuse(&Refused { number: libc::SYS_madvise, only: Some((2, libc::MADV_WIPEONFORK as u32)), with: libc::EINVAL })
}

/// Where life words lie in the pages of their slots.
const LIFE: u64 = 4080;

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "Attaching",
        rows: vec![
            row("a table that is full", |_| {
                let mutex = mutex();
                let (one, two) = (mutex.attach().unwrap(), mutex.attach().unwrap());
                let got = Got::error(mutex.attach());
                one.detach().unwrap();
                let again = mutex.attach().unwrap();
                assert_eq!(*mutex.lock(&again).unwrap(), 7);
                assert_eq!(*mutex.lock(&two).unwrap(), 7);
                got
            }),
            row("a table whose slots are all between two states", |_| {
                let mutex = mutex();
                let image = Image::of(mutex.segment());
                for slot in 1..=2 {
                    image.poke(slot * PAGE + LIFE, 1 << 32 | 1 << 29 | 1);
                }
                let got = Got::error(mutex.attach());
                image.poke(PAGE + LIFE, 0);
                let me = mutex.attach().unwrap();
                assert_eq!(*mutex.lock(&me).unwrap(), 7);
                got
            }),
            row("a table whose slots are all used up", |_| {
                let mutex = mutex();
                let image = Image::of(mutex.segment());
                for slot in 1..=2 {
                    image.poke(slot * PAGE + LIFE, 0xffff_ffff << 32);
                }
                assert_eq!(mutex.table().counts().retired, 2);
                Got::error(mutex.attach())
            }),
            row("`get_robust_list` is unknown", |_| without(call(libc::SYS_get_robust_list, libc::ENOSYS))),
            row("`get_robust_list` is refused", |_| without(call(libc::SYS_get_robust_list, libc::EPERM))),
            row("`mremap` is refused", |_| without(call(libc::SYS_mremap, libc::EPERM))),
            row("no memory for the pages of a robust-list node", |_| without(call(libc::SYS_mmap, libc::ENOMEM))),
            row("`MADV_WIPEONFORK` is unknown, and a thread attaches", |_| {
                let ring = Ring::memfd(&Options::new().slots(2), &Config::new(64)).unwrap();
                if !no_wipe_on_fork() {
                    return Got::NotRun(NEEDS_SECCOMP);
                }
                let got = Got::error(ring.attach());
                assert_eq!(ring.status().used, 0);
                got
            }),
            row("`MADV_WIPEONFORK` is unknown, and a futex mutex is opened", |_| {
                if !no_wipe_on_fork() {
                    return Got::NotRun(NEEDS_SECCOMP);
                }
                Got::error(FutexMutex::memfd(&Options::new(), 7u64))
            }),
            row("leaving with a lock that is held", |_| {
                let mutex = mutex();
                let me = mutex.attach().unwrap();
                std::mem::forget(mutex.lock(&me).unwrap());
                Got::error(me.detach())
            }),
            row("using an attachment in a forked child", |_| {
                let mutex = mutex();
                let me = mutex.attach().unwrap();
                let child = crate::row::in_a_process("fork", || mutex.lock(&me).map(drop).unwrap_err().to_string());
                assert_eq!(*mutex.lock(&me).unwrap(), 7);
                Got::Error(child)
            }),
            row("leaving in a forked child", |_| {
                let mutex = mutex();
                let me = mutex.attach().unwrap();
                let handle = me.clone();
                let child = crate::row::in_a_process("fork", || handle.detach().unwrap_err().to_string());
                assert_eq!(*mutex.lock(&me).unwrap(), 7);
                Got::Error(child)
            }),
        ],
    }
}
