//! What the checkers themselves can see: small programs whose outcomes the memory model of C11 (and Rust) allows or forbids, and
//! which of them loom and shuttle show. A new version of either that answers otherwise fails here.
//!
//! The table is in `docs/litmus.md`, and must say what is seen.
#![cfg(model)]

use ownerdead::harness::model::{Sweep, World};
use ownerdead::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
use ownerdead::sync::atomic::{AtomicU32, AtomicU64, fence};
use ownerdead::sync::futex::{Woken, Word, wait, wake};
use ownerdead::sync::shm::Shared;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// Values that the processes of one execution have read, by name.
type Reads = Rc<RefCell<Vec<(&'static str, u64)>>>;
type Var = Shared<AtomicU64>;

fn var() -> Var {
    Shared::new(AtomicU64::new(0))
}

/// Explores `build`, and gives each outcome that was seen, as `a=1 b=0`.
fn outcomes(sweep: Sweep, build: impl Fn(&mut World, &Reads) + Send + Sync + 'static) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&seen);
    sweep.preemptions(3, 3).runs(20_000).time_may_pass().run(move |world| {
        let reads = Reads::default();
        build(world, &reads);
        let collected = Arc::clone(&collected);
        world.after(move || {
            let mut reads = reads.take();
            reads.sort_unstable();
            let text: Vec<_> = reads.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let text = text.join(" ");
            let mut collected = collected.lock().expect("one thread");
            if !collected.contains(&text) {
                collected.push(text);
            }
        });
    });
    let mut seen = seen.lock().expect("one thread").clone();
    seen.sort_unstable();
    seen
}

/// Compares whether `outcome` is seen with the row of the table: name, the outcome, whether C11 allows it, whether loom and
/// shuttle show it.
fn row(name: &'static str, outcome: &str, build: impl Fn(&mut World, &Reads) + Send + Sync + 'static) {
    judge(name, outcome, &outcomes(Sweep::new(name), build));
}

fn judge(name: &str, outcome: &str, seen: &[String]) {
    let shown = seen.iter().any(|found| found == outcome);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/litmus.md");
    let table = std::fs::read_to_string(path).expect("docs/litmus.md");
    let start = format!("| `{name}` |");
    let line = table.lines().find(|line| line.starts_with(&start));
    let cells: Vec<_> = line.unwrap_or_else(|| panic!("docs/litmus.md has no row for {name}")).split('|').collect();
    let [_, _, _, outcome_said, _, loom, shuttle, ..] = cells[..] else {
        panic!("a row of docs/litmus.md is cut: {line:?}")
    };
    assert_eq!(outcome_said.trim().trim_matches('`'), outcome, "the outcome in docs/litmus.md");
    let back_end = if seen_by_loom() { loom } else { shuttle };
    let said = back_end.trim().starts_with("yes");
    assert_eq!(
        shown,
        said,
        "{name}: {outcome} is {}shown, docs/litmus.md says otherwise; seen: {seen:?}",
        if shown { "" } else { "not " }
    );
}

/// Which back end this is: the one that shows a stale value.
fn seen_by_loom() -> bool {
    ownerdead::harness::model::BACK_END == "loom"
}

/// Runs `body` as a process, and keeps what it reads under `names`.
fn reader<const N: usize>(
    world: &mut World,
    process: &'static str,
    reads: &Reads,
    names: [&'static str; N],
    body: impl FnOnce() -> [u64; N] + 'static,
) {
    let reads = Rc::clone(reads);
    world.process(process, move || {
        let values = body();
        reads.borrow_mut().extend(names.into_iter().zip(values));
    });
}

/// Each stores to its own and loads the other's.
fn store_buffering(world: &mut World, reads: &Reads, store: Ordering, load: Ordering, between: Option<Ordering>) {
    let (x, y) = (var(), var());
    for (process, name, mine, other) in [("p", "a", x.clone(), y.clone()), ("q", "b", y, x)] {
        reader(world, process, reads, [name], move || {
            mine.store(1, store);
            if let Some(order) = between {
                fence(order);
            }
            [other.load(load)]
        });
    }
}

#[test]
fn store_buffering_relaxed() {
    row("sb", "a=0 b=0", |world, reads| store_buffering(world, reads, Relaxed, Relaxed, None));
}

#[test]
fn store_buffering_seq_cst() {
    row("sb_seq_cst", "a=0 b=0", |world, reads| store_buffering(world, reads, SeqCst, SeqCst, None));
}

#[test]
fn store_buffering_with_seq_cst_fences() {
    row("sb_fences", "a=0 b=0", |world, reads| store_buffering(world, reads, Relaxed, Relaxed, Some(SeqCst)));
}

#[test]
fn store_buffering_with_acq_rel_fences() {
    row("sb_weak_fences", "a=0 b=0", |world, reads| store_buffering(world, reads, Relaxed, Relaxed, Some(AcqRel)));
}

#[test]
fn store_buffering_by_relaxed_read_modify_writes() {
    row("sb_rmw", "a=0 b=0", |world, reads| {
        let (x, y) = (var(), var());
        for (process, name, mine, other) in [("p", "a", x.clone(), y.clone()), ("q", "b", y, x)] {
            reader(world, process, reads, [name], move || {
                mine.swap(1, Relaxed);
                [other.fetch_add(0, Relaxed)]
            });
        }
    });
}

/// Data, then a flag; the other one reads the flag, then the data.
fn message_passing(world: &mut World, reads: &Reads, publish: Ordering, acquire: Ordering) {
    let (data, flag) = (var(), var());
    let (data_p, flag_p) = (data.clone(), flag.clone());
    world.process("p", move || {
        data_p.store(1, Relaxed);
        flag_p.store(1, publish);
    });
    reader(world, "q", reads, ["flag", "data"], move || [flag.load(acquire), data.load(Relaxed)]);
}

#[test]
fn message_passing_relaxed() {
    row("mp", "data=0 flag=1", |world, reads| message_passing(world, reads, Relaxed, Relaxed));
}

#[test]
fn message_passing_release_acquire() {
    row("mp_release_acquire", "data=0 flag=1", |world, reads| message_passing(world, reads, Release, Acquire));
}

#[test]
fn load_buffering() {
    row("lb", "a=1 b=1", |world, reads| {
        let (x, y) = (var(), var());
        for (process, name, mine, other) in [("p", "a", x.clone(), y.clone()), ("q", "b", y, x)] {
            reader(world, process, reads, [name], move || {
                let read = mine.load(Relaxed);
                other.store(1, Relaxed);
                [read]
            });
        }
    });
}

#[test]
fn coherence_of_one_variable() {
    row("coherence", "first=1 second=0", |world, reads| {
        let x = var();
        let x_p = x.clone();
        world.process("p", move || x_p.store(1, Relaxed));
        reader(world, "q", reads, ["first", "second"], move || [x.load(Relaxed), x.load(Relaxed)]);
    });
}

#[test]
fn two_readers_that_disagree_on_the_order_of_two_writers() {
    row("iriw", "r1=1 r2=0 s1=1 s2=0", |world, reads| {
        let (x, y) = (var(), var());
        for (process, written) in [("p", x.clone()), ("q", y.clone())] {
            world.process(process, move || written.store(1, Release));
        }
        let (x_r, y_r) = (x.clone(), y.clone());
        reader(world, "r", reads, ["r1", "r2"], move || [x_r.load(Acquire), y_r.load(Acquire)]);
        reader(world, "s", reads, ["s1", "s2"], move || [y.load(Acquire), x.load(Acquire)]);
    });
}

#[test]
fn a_weak_compare_and_swap_that_fails_for_no_reason() {
    row("spurious", "failed=1", |world, reads| {
        let x = var();
        let other = x.clone();
        // shuttle wants a second process.
        world.process("other", move || other.load(Relaxed));
        reader(world, "p", reads, ["failed"], move || {
            [u64::from(x.compare_exchange_weak(0, 1, Relaxed, Relaxed).is_err())]
        });
    });
}

#[test]
fn a_compare_and_swap_that_fails_on_an_old_value() {
    row("stale_cas", "flag=1 seen=0", stale_cas);
    let name = "stale_cas_asked";
    judge(name, "flag=1 seen=0", &outcomes(Sweep::new(name).stale_failures(), stale_cas));
}

fn stale_cas(world: &mut World, reads: &Reads) {
    let (x, flag) = (var(), var());
    let (x_p, flag_p) = (x.clone(), flag.clone());
    world.process("p", move || {
        x_p.store(1, Relaxed);
        flag_p.store(1, Relaxed);
    });
    reader(world, "q", reads, ["flag", "seen"], move || {
        [flag.load(Relaxed), x.compare_exchange(7, 8, Relaxed, Relaxed).expect_err("it is never 7")]
    });
}

#[test]
fn a_wake_up_orders_what_came_before_it() {
    row("unpark", "data=0 slept=1", |world, reads| {
        let (data, word) = (var(), Shared::new(AtomicU32::new(0)));
        let (data_p, word_p) = (data.clone(), word.clone());
        world.process("p", move || {
            data_p.store(1, Relaxed);
            word_p.store(1, Relaxed);
            wake(Word::Whole(&word_p), 1);
        });
        reader(world, "q", reads, ["slept", "data"], move || {
            let mut slept = 0;
            while word.load(Relaxed) == 0 {
                slept = u64::from(wait(Word::Whole(&word), 0, None) == Woken::By(0));
            }
            [slept, data.load(Relaxed)]
        });
    });
}

#[test]
fn a_value_that_is_older_than_the_last_seven() {
    row("history", "flag=1 x=0", |world, reads| {
        let (x, flag) = (var(), var());
        let (x_p, flag_p) = (x.clone(), flag.clone());
        world.process("p", move || {
            for value in 1..=9 {
                x_p.store(value, Relaxed);
            }
            flag_p.store(1, Relaxed);
        });
        reader(world, "q", reads, ["flag", "x"], move || [flag.load(Relaxed), x.load(Relaxed)]);
    });
}
