//! Victims that share the memory of who made them: their deaths are those of victims with memory of their own, and where they cannot be,
//! that is seen.

use super::case::Case;
use ownerdead::harness::kill::{Facts, Finding, Memory, Subject, Sweep, SweepReport};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use std::cell::Cell;
use std::hint::{black_box, spin_loop};
use std::ptr;
use std::time::Duration;

/// Three pages of each process's own.
static OWN: [AtomicU64; 1536] = [const { AtomicU64::new(0) }; 1536];

thread_local! {
    static OF_THREAD: Cell<u64> = const { Cell::new(0) };
}

struct Guest {
    memory: Memory,
    /// Of all processes together, and put back by nobody.
    visits: Memory,
    attach: fn(&Guest),
    operation: fn(&Guest),
}

impl Guest {
    fn new(attach: fn(&Guest), operation: fn(&Guest)) -> Self {
        let [memory, visits] = [(); 2].map(|()| Memory::zeroed(4096).expect("memory"));
        Self { memory, visits, attach, operation }
    }

    fn word(memory: &Memory, index: usize) -> &AtomicU64 {
        assert!(8 * (index + 1) <= memory.len());
        // SAFETY: in bounds, as was just seen; the mapping is page-aligned, and any bytes are an atomic.
        unsafe { &*memory.start().as_ptr().cast::<AtomicU64>().add(index) }
    }

    fn set(&self, index: usize, value: u64) {
        Self::word(&self.memory, index).store(value, Relaxed);
    }

    fn visit(&self) -> u64 {
        Self::word(&self.visits, 0).fetch_add(1, Relaxed) + 1
    }
}

impl Subject for Guest {
    type Victim<'s> = ();
    type Survivor<'s> = ();

    fn memory(&self) -> &Memory {
        &self.memory
    }
    fn attach(&self, _: &Facts) {
        (self.attach)(self);
    }
    fn operation(&self, (): &mut (), _: &Facts) {
        (self.operation)(self);
    }
    fn arrive(&self, _: &Facts) {}
    fn recover(&self, (): &mut (), _: &Facts) -> Result<&'static str, Finding> {
        Ok("anything")
    }
}

fn map() -> *mut libc::c_void {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at a place that the kernel chooses.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    page
}

/// A mapping, a larger heap, and what the thread has.
fn settles(_: &Guest) {
    // SAFETY: a page that was mapped for this.
    unsafe { map().cast::<u8>().write(1) };
    std::mem::forget(black_box(vec![1u8; 100_000]));
    OF_THREAD.set(OF_THREAD.get() + 1);
}

/// What it leaves tells whether somebody was there before.
#[inline(never)]
fn counts(guest: &Guest) {
    for (index, own) in [0, 700, 1400].into_iter().enumerate() {
        guest.set(index, OWN[own].fetch_add(1, Relaxed) + 1);
    }
    let text = black_box(vec![OWN[0].load(Relaxed); 3]);
    guest.set(3, text.iter().sum());
    OF_THREAD.set(OF_THREAD.get() + 1);
    guest.set(4, OF_THREAD.get());
}

/// Each process writes to another page than the one before.
#[inline(never)]
fn wanders(guest: &Guest) {
    OWN[512 + 512 * (guest.visit() % 2) as usize].fetch_add(1, Relaxed);
    guest.set(0, 1);
}

#[inline(never)]
fn maps(guest: &Guest) {
    guest.set(0, 1);
    let page = map();
    // SAFETY: mapped above.
    unsafe { libc::munmap(page, 4096) };
    guest.set(0, 2);
}

/// The fourth process does: who learns, who is looked at and who is recorded come before.
fn hangs_once(guest: &Guest) {
    if guest.visit() == 4 {
        loop {
            spin_loop();
        }
    }
}

#[inline(never)]
fn writes(guest: &Guest) {
    guest.set(0, 1);
}

/// What is run, and how; and, if victims are to be forked, a part of why.
type Check = (&'static str, fn() -> Guest, fn(Sweep<'_, Guest>) -> Sweep<'_, Guest>, Option<&'static str>);

const CHECKS: [Check; 5] = [
    ("lodgers_find_all_as_it_was", || Guest::new(settles, counts), |sweep| sweep, None),
    ("so_do_the_forked", || Guest::new(settles, counts), |sweep| sweep.forked(true), Some("asked for")),
    ("what_a_lodger_leaves_behind_is_seen", || Guest::new(|_| {}, wanders), |sweep| sweep, Some("changed pages")),
    ("who_maps_memory_in_the_operation_is_forked", || Guest::new(|_| {}, maps), |sweep| sweep, Some("has mapped")),
    (
        "who_hangs_in_shared_memory_is_forked",
        || Guest::new(hangs_once, writes),
        |sweep| sweep.patience(Duration::from_millis(300)),
        Some("did not end"),
    ),
];

pub fn cases(all: &mut Vec<Case>) {
    for (name, make, how, why) in CHECKS {
        all.push(Case::check(format!("engine.{name}"), move |name| {
            let guest = make();
            let report = how(Sweep::new(name, &guest)).run()?;
            let as_expected = match (&report.forked, why) {
                (Some(found), Some(why)) => found.contains(why),
                (found, why) => found.is_none() && why.is_none(),
            };
            let fits = report.passed() && as_expected && report.planted == report.instructions;
            Ok(fits
                .then(SweepReport::default)
                .ok_or_else(|| format!("{report}; victims forked: {:?}, expected {why:?}", report.forked)))
        }));
    }
    all.push(Case::check("engine.deaths_of_lodgers_are_those_of_the_forked".into(), |name| {
        let [lodging, forked] = [false, true].map(|forked| {
            let guest = Guest::new(settles, counts);
            Sweep::new(name, &guest).forked(forked).run()
        });
        let (lodging, forked) = (lodging?, forked?);
        let same =
            lodging.places == forked.places && lodging.states == forked.states && lodging.planted == forked.planted;
        Ok((same && lodging.forked.is_none() && lodging.planted > 30)
            .then(SweepReport::default)
            .ok_or_else(|| format!("lodging: {lodging}\nforked: {forked}")))
    }));
}
