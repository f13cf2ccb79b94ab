//! A peer that writes between any two accesses: for fuzzing.
//!
//! **What it shows.** Memory that is changed between the calls of a structure shows what a call does with what it finds. It does not show a
//! call that looks twice, checks what it saw first and uses what it sees then; nor one that goes on looking for as long as there is
//! something new. Here a peer is called before each atomic access and each granule of payload that is copied, and so before each look at
//! memory that others may write. It is told of which place, and may change that memory.
//!
//! **What it cannot do.** Write within one access, or to what a caller reads in place by a reference: that is promised to be left alone.
//! Nor is it called by accesses of other threads.

use core::cell::Cell;

/// Called before each access of this thread, with the address of what is accessed.
pub type Peer = Box<dyn FnMut(usize)>;

thread_local! {
    static PEER: Cell<Option<Peer>> = const { Cell::new(None) };
}

/// Calls `play`, and `peer` before each access of this thread meanwhile. The peer's own accesses call nobody.
///
/// # Panics
/// As `play` and `peer` do. The peer is gone then, too.
pub fn beside<R>(peer: Peer, play: impl FnOnce() -> R) -> R {
    struct Leave(Option<Peer>);
    impl Drop for Leave {
        fn drop(&mut self) {
            PEER.set(self.0.take());
        }
    }
    let _leave = Leave(PEER.replace(Some(peer)));
    play()
}

/// The peer's turn.
pub(super) fn strike(address: usize) {
    // A thread that ends has none any more.
    let Ok(Some(mut peer)) = PEER.try_with(Cell::take) else { return };
    peer(address);
    PEER.set(Some(peer));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::atomic::AtomicU64;
    use crate::sync::atomic::Ordering::{Acquire, Relaxed};
    use std::rc::Rc;

    #[test]
    fn a_peer_comes_before_each_access_and_not_before_its_own() {
        let word = Rc::new(AtomicU64::new(0));
        let theirs = Rc::clone(&word);
        let peer = Box::new(move |address| {
            assert_eq!(address, (&raw const *theirs).addr());
            theirs.fetch_add(1, Relaxed);
        });
        let seen = beside(peer, || {
            let first = (word.load(Acquire), word.load(Acquire));
            (first, word.compare_exchange(2, 0, Relaxed, Relaxed), word.swap(7, Relaxed))
        });
        assert_eq!(seen, ((1, 2), Err(3), 4));
        assert_eq!(word.load(Relaxed), 7, "it has left");
    }

    #[test]
    fn one_within_another_s_time_gives_it_back() {
        let (word, count) = (AtomicU64::new(0), Rc::new(Cell::new((0, 0))));
        let [one, two] = [Rc::clone(&count), Rc::clone(&count)];
        beside(Box::new(move |_| one.set((one.get().0 + 1, one.get().1))), || {
            word.load(Relaxed);
            beside(Box::new(move |_| two.set((two.get().0, two.get().1 + 1))), || word.load(Relaxed));
            word.load(Relaxed);
        });
        assert_eq!(count.get(), (2, 1));
    }
}
