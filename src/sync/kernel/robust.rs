//! Robust lists, and the walk over them at a process's end.

use super::super::atomic::AtomicU64;
use super::super::delay::{self, Holds};
use super::super::futex::Word;
use super::super::log::Value;
use super::super::mutant;
use super::super::robust::{OWNER_DIED, TID_MASK, WAITERS};
use super::{CURRENT, Pending, Process, Variant, log, step, wake, with};
use core::panic::Location;
use core::ptr::NonNull;

/// The kernel walks no more of a list than this: what is older is left alone.
const LIST_LIMIT: usize = 2048;

#[track_caller]
pub(in crate::sync) fn set_pending(pending: Option<Pending>) {
    let at = Location::caller();
    let what = if pending.is_some() { "pending set" } else { "pending cleared" };
    robust_store(what, at, move |process| process.pending = pending);
}

#[track_caller]
pub(in crate::sync) fn link(word: &AtomicU64) {
    let at = Location::caller();
    let word = NonNull::from(word);
    robust_store("robust link", at, move |process| process.list.insert(0, word));
}

#[track_caller]
pub(in crate::sync) fn unlink(word: &AtomicU64) {
    let at = Location::caller();
    let word = NonNull::from(word);
    robust_store("robust unlink", at, move |process| process.list.retain(|&entry| entry != word));
}

/// A store to the calling process's robust list. Others do not see it, but its exit walk does.
fn robust_store(what: &'static str, at: &'static Location<'static>, store: impl FnOnce(&mut Process) + 'static) {
    mutant::came_by(at, what);
    delay::settle(at, what, Holds::Stores, 0);
    step(what, at);
    let me = CURRENT.get().expect("only a process has a robust list");
    let store = move || with(|kernel| store(&mut kernel.processes[me]));
    if let Err(store) = delay::put_off(at, what, 0, 0, store) {
        store();
    }
    log(what, Value::Nothing, at);
}

/// What the kernel does to one word when its thread has ended.
#[track_caller]
fn handle_death(word: NonNull<AtomicU64>, tid: u32, pending: bool) {
    // SAFETY: a word on a list, or pending, lies in the shared memory of this execution, which `memory` keeps until its end.
    let word = unsafe { word.as_ref() };
    let mut seen = word.kernel_read();
    loop {
        let low = seen as u32;
        if low & TID_MASK != tid {
            let tested = match with(|kernel| kernel.variant) {
                Variant::OwnerTest => low & TID_MASK,
                Variant::WholeWordTest => low,
            };
            if pending && tested == 0 {
                wake(Word::Low(word), 1);
            }
            return;
        }
        let marked = (seen & !u64::from(u32::MAX)) | u64::from((low & WAITERS) | OWNER_DIED);
        match word.kernel_exchange(seen, marked) {
            Ok(_) => {
                if low & WAITERS != 0 {
                    wake(Word::Low(word), 1);
                }
                return;
            }
            Err(now) => seen = now,
        }
    }
}

/// What the kernel does at the end of process `me`.
pub(super) fn exit_walk(me: usize) {
    let (tid, list, pending) = with(|kernel| {
        let process = &mut kernel.processes[me];
        (process.tid, core::mem::take(&mut process.list), process.pending.take())
    });
    let also_pending = pending.filter(|pending| pending.node).map(|pending| pending.word);
    for &word in list.iter().take(LIST_LIMIT).filter(|&&word| Some(word) != also_pending) {
        handle_death(word, tid, false);
    }
    if let Some(pending) = pending {
        handle_death(pending.word, tid, true);
    }
}
