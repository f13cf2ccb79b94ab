//! Stores that sink: what a compiler may do, and neither loom nor shuttle shows.
//!
//! A compiler may let a store sink below what follows it in the source, unless something holds it back. Between threads that
//! live this is what a memory ordering allows, and loom explores that. For a thread that is killed in between it is more: the
//! later operation is there and the store is not. A model in which one store is delayed shows this: each time the program comes
//! by it, the store is put off, and done
//!
//! - before the next operation of the process that is Release or stronger, or a compiler fence that is,
//! - before its next system call, or store to its robust list (which has compiler fences around it in `os_robust.rs`),
//! - before its next operation on the same word, and when it is through,
//!
//! and never if the process dies before. Relaxed and Acquire operations on other words do not hold it back.
//!
//! Source that is right holds with any one of its stores delayed. A compiler fence is needed if, without it, some delayed store makes
//! a model fail. What a [`super::cell::SharedCell`] guards is written through plain pointers, and is not delayed.

use super::kernel;
use super::mutant;
use core::cell::RefCell;
use core::panic::Location;
use core::sync::atomic::Ordering;

struct Delayed {
    process: usize,
    /// Of the word; 0 of the robust list.
    address: usize,
    value: u64,
    at: &'static Location<'static>,
    store: Box<dyn FnOnce()>,
}

/// A store that could be delayed.
struct Store {
    process: usize,
    address: usize,
    at: &'static Location<'static>,
}

thread_local! {
    /// Oldest first.
    static DELAYED: RefCell<Vec<Delayed>> = const { RefCell::new(Vec::new()) };
    /// While sites are noted: the stores that would still be under way, had they been delayed.
    static UNDER_WAY: RefCell<Vec<Store>> = const { RefCell::new(Vec::new()) };
}

/// What an operation means for stores that were delayed before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// They may sink below it.
    Nothing,
    /// They may not, unless it is taken away.
    Stores,
    /// They may not: a system call.
    Always,
}

impl Holds {
    pub(super) fn by(order: Ordering) -> Self {
        match order {
            Ordering::Release | Ordering::AcqRel | Ordering::SeqCst => Self::Stores,
            _ => Self::Nothing,
        }
    }
}

/// Puts off the store of `value` at `at`, if that is asked for and it can be; otherwise gives it back.
pub(super) fn put_off(
    at: &'static Location<'static>,
    operation: &'static str,
    address: usize,
    value: u64,
    store: impl FnOnce() + 'static,
) -> Result<(), impl FnOnce()> {
    let process = kernel::delayer();
    if mutant::are_noted()
        && let Some(process) = process
    {
        UNDER_WAY.with_borrow_mut(|all| all.push(Store { process, address, at }));
    }
    let process = process.filter(|_| mutant::delays(at, operation));
    // What is not known to be shared memory may be gone by then.
    let Some(process) = process.filter(|_| address == 0 || kernel::is_shared(address)) else { return Err(store) };
    mutant::put_off();
    DELAYED.with_borrow_mut(|all| all.push(Delayed { process, address, value, at, store: Box::new(store) }));
    Ok(())
}

/// Before an operation at `at` on the word at `address` (0: on none).
pub(super) fn settle(at: &'static Location<'static>, operation: &'static str, holds: Holds, address: usize) {
    if mutant::are_noted() {
        note(at, operation, holds, address);
    }
    if DELAYED.with_borrow(Vec::is_empty) {
        return;
    }
    let Some(me) = kernel::delayer() else { return };
    let due = DELAYED.with_borrow(|all| {
        let mut mine = all.iter().filter(|delayed| delayed.process == me).peekable();
        match holds {
            Holds::Always => mine.peek().is_some(),
            Holds::Stores if mutant::holds(at, operation) => mine.peek().is_some(),
            Holds::Stores | Holds::Nothing => mine.any(|delayed| address != 0 && delayed.address == address),
        }
    });
    if due {
        settle_all(me);
    }
}

/// Which stores this would hold back, had they been delayed.
fn note(at: &'static Location<'static>, operation: &'static str, holds: Holds, address: usize) {
    let Some(me) = kernel::delayer() else { return };
    UNDER_WAY.with_borrow_mut(|all| {
        if holds == Holds::Stores {
            all.iter().filter(|store| store.process == me).for_each(|store| mutant::held(at, operation, store.at));
        }
        all.retain(|store| {
            store.process != me || holds == Holds::Nothing && (address == 0 || store.address != address)
        });
    });
}

/// Does all that process `me` has put off. Each is a crash point.
pub(super) fn settle_all(me: usize) {
    // One at a time: the process may die before each, and others may run meanwhile.
    while let Some(delayed) = DELAYED.with_borrow_mut(|all| {
        let first = all.iter().position(|delayed| delayed.process == me)?;
        Some(all.remove(first))
    }) {
        kernel::delayed_store(delayed.at, delayed.value, delayed.store);
    }
}

/// Process `me` has died: what it had not stored it never will.
pub(super) fn forget(me: usize) {
    DELAYED.with_borrow_mut(|all| all.retain(|delayed| delayed.process != me));
    UNDER_WAY.with_borrow_mut(|all| all.retain(|store| store.process != me));
}

/// A new execution begins.
pub(super) fn reset() {
    DELAYED.take();
    UNDER_WAY.take();
}
