//! A file descriptor that becomes readable when a ring has something to say: for people who live in an epoll loop.
//!
//! **What it guarantees.** A bell that was armed rings once there is something to do, or the peer has died: the ring of a record that
//! was published before or after arming is not lost, whoever dies when. It needs nothing of the peer, which wakes sleepers as ever.
//!
//! **What it costs.** A thread of this process and a slot of the segment: the thread sleeps on the ring, and signals an eventfd. So a
//! wake-up takes one more switch between threads than a blocking call. Who finds records without having to wait does not arm it.
//!
//! **What survives a death.** The thread dies with its process. A child that was forked has neither thread nor bell.
//!
//! **What it cannot do.** Say that there still is something: where there are several consumers, or producers, another one may have been
//! faster. And it is for a side that does not block: one that sleeps in a call of its own takes what comes, and its bell may stay silent
//! until it is armed again. And outlive its side: drop it first. One that watches on, of a side that somebody else has opened since, may be
//! woken in that one's place, and be killed or stopped before it passes that on.

use super::Corrupt;
use crate::owner::{AttachError, Attachment, Interrupt, Stop};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::event::Event;
use crate::sync::futex::{ALL, Word, wait, wake};
use crate::sync::{Waiting, thread};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What a bell rang for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rang {
    /// There is a record, or what a dead one left to be skipped, or room for one; where there are several consumers or producers, another one may have it by now.
    Ready,
    /// The peer has died, and all that it committed has been read. Armed again as before, the bell rings at once: take the seat over,
    /// leave, or wait for another peer.
    PeerDied,
    /// Somebody alive has the peer's seat.
    PeerCame,
    /// The ring is damaged.
    Corrupt(Corrupt),
}

/// Whose bell it is: an address in the ring, and a number for each side.
pub(super) type Side = (usize, u8);

/// Sleeps until there is what is watched for, and says what; or until it is interrupted, and what it says counts for nothing.
pub(super) type Watch = Box<dyn FnOnce(&Attachment, Interrupt<'_>) -> Rang + Send>;

/// What a wait without a deadline ended for; `come` is what was waited for.
pub(super) fn rang(waited: Result<(), Stop<Corrupt>>, come: Rang) -> Rang {
    match waited {
        Ok(()) => come,
        Err(Stop::HolderDied) => Rang::PeerDied,
        Err(Stop::Corrupt(corrupt)) => Rang::Corrupt(corrupt),
        Err(Stop::TimedOut) => unreachable!("there was no deadline"),
    }
}

/// A bell that rings when a side of a ring has something to do; see the example `epoll`.
///
/// Made by `bell` of a side, armed by its `arm`, which names what the side has seen. Its descriptor becomes readable when it rings, and
/// [`Self::take`] makes it unreadable again and says for what it rang. One that is not armed is silent.
#[derive(Debug)]
pub struct Bell {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
    side: Side,
    epoch: thread::Epoch,
}

#[derive(Debug)]
struct State {
    /// Counts the orders; [`QUIT`] ends the thread. It sleeps on the low half: an order that is exactly 2^32 orders later would
    /// not be seen during a sleep that began before, which ends after 100 ms in any case.
    orders: AtomicU64,
    desk: Mutex<Desk>,
    event: Event,
}

#[derive(Default)]
struct Desk {
    /// The last order, if nobody serves it yet.
    watch: Option<Watch>,
    /// What came of it.
    rang: Option<Rang>,
}

impl core::fmt::Debug for Desk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Desk").field("rang", &self.rang).finish_non_exhaustive()
    }
}

const QUIT: u64 = u64::MAX;

/// Why there is no bell.
#[derive(Debug)]
pub enum BellError {
    /// Its thread could not take part in the segment.
    Attach(AttachError),
    /// There is no descriptor to be had, or no thread.
    Io(std::io::Error),
    /// This is a forked child, and the side is its parent's: attach and open anew.
    Forked,
}

impl core::fmt::Display for BellError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Attach(error) => write!(f, "the bell's thread could not attach: {error}"),
            Self::Io(error) => write!(f, "no descriptor or no thread for a bell: {error}"),
            Self::Forked => f.write_str("the attachment is the parent's, and this is a forked child: attach anew"),
        }
    }
}

impl std::error::Error for BellError {}

/// Why a bell was not armed, or not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BellUseError {
    /// This is a forked child, and the bell is its parent's: attach anew, and make another one.
    Forked,
    /// It is a bell of another ring, or of the other side.
    WrongSide,
}

impl core::fmt::Display for BellUseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Forked => "the bell is the parent's, and this is a forked child: attach anew, and make another one",
            Self::WrongSide => "the bell is another ring's, or the other side's: arm one that this side has made",
        })
    }
}

impl std::error::Error for BellUseError {}

impl Bell {
    /// A bell for the thread of `me`; its own thread attaches to the same segment.
    pub(super) fn new(me: &Attachment, side: Side) -> Result<Self, BellError> {
        if !me.is_current() {
            return Err(BellError::Forked);
        }
        let epoch = thread::epoch().map_err(BellError::Io)?;
        let event = Event::new().map_err(BellError::Io)?;
        let state = Arc::new(State { orders: AtomicU64::new(0), desk: Mutex::default(), event });
        let (table, shared) = (me.table().clone(), Arc::clone(&state));
        let (say, heard) = std::sync::mpsc::sync_channel(1);
        let body = move || match Attachment::attach(&table) {
            Ok(me) => {
                let _ = say.send(Ok(()));
                me.set_waiting(Waiting::Sleep);
                shared.serve(&me);
            }
            Err(error) => drop(say.send(Err(error))),
        };
        let thread = std::thread::Builder::new().name("ownerdead bell".into()).spawn(body).map_err(BellError::Io)?;
        let bell = Self { state, thread: Some(thread), side, epoch };
        match heard.recv() {
            Ok(Ok(())) => Ok(bell),
            Ok(Err(error)) => Err(BellError::Attach(error)),
            Err(_) => Err(BellError::Io(std::io::Error::other("its thread has ended"))),
        }
    }

    /// Watches from now on; what it watched for before, it does no more.
    pub(super) fn arm(&self, side: Side, watch: Watch) -> Result<(), BellUseError> {
        if !self.epoch.is_current() {
            return Err(BellUseError::Forked);
        }
        if side != self.side {
            return Err(BellUseError::WrongSide);
        }
        let mut desk = self.state.desk();
        *desk = Desk { watch: Some(watch), rang: None };
        self.state.event.clear();
        // With the desk in hand: who serves the order before this one sees, there, that it was replaced.
        self.state.order(|order| order + 1);
        Ok(())
    }

    /// What it rang for since it was armed, if it did; its descriptor is not readable any more.
    ///
    /// # Errors
    /// [`BellUseError`].
    pub fn take(&self) -> Result<Option<Rang>, BellUseError> {
        if !self.epoch.is_current() {
            return Err(BellUseError::Forked);
        }
        // Cleared with the desk in hand: what rings later finds it cleared.
        let mut desk = self.state.desk();
        self.state.event.clear();
        Ok(desk.rang.take())
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.state.event.as_fd()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if !self.epoch.is_current() {
            // A child has no such thread. To detach it, as dropping it would, could detach one that the child has made where its stack was.
            core::mem::forget(thread);
            return;
        }
        self.state.order(|_| QUIT);
        let _ = thread.join();
    }
}

impl State {
    fn desk(&self) -> std::sync::MutexGuard<'_, Desk> {
        // Nothing under this lock can panic half way.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, next: impl Fn(u64) -> u64) {
        // Only the owner of the bell gives orders, one after the other. Release: what is on the desk.
        self.orders.store(next(self.orders.load(Relaxed)), Release);
        wake(Word::Low(&self.orders), ALL);
    }

    /// What the thread does.
    fn serve(&self, me: &Attachment) {
        loop {
            let (order, watch) = {
                // Together: orders are given with the desk in hand, but for the last one.
                let mut desk = self.desk();
                (self.orders.load(Acquire), desk.watch.take())
            };
            if order == QUIT {
                return;
            }
            let Some(watch) = watch else {
                wait(Word::Low(&self.orders), order as u32, None);
                continue;
            };
            let rang = watch(me, Interrupt::new(&self.orders, order));
            let mut desk = self.desk();
            // Not for an order that was replaced meanwhile.
            if self.orders.load(Relaxed) == order {
                desk.rang = Some(rang);
                self.event.signal();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::spsc::{Config, Ring};
    use crate::segment::Options;
    use std::sync::mpsc::channel;

    #[test]
    fn a_bell_that_was_armed_anew_does_not_ring_for_the_order_before() {
        let ring = Ring::memfd(&Options::new(), &Config::new(64)).unwrap();
        let me = ring.attach().unwrap();
        let (begun, begins) = channel();
        let (go, goes) = channel();
        let goes = Arc::new(Mutex::new(goes));
        // Sees what it was to watch for just when that is replaced: it does not look at the interrupt.
        let order = |rang: Rang| -> Watch {
            let (begun, goes) = (begun.clone(), Arc::clone(&goes));
            Box::new(move |_, _| {
                begun.send(()).unwrap();
                goes.lock().unwrap().recv().unwrap();
                rang
            })
        };
        let bell = Bell::new(&me, (1, 1)).unwrap();
        bell.arm((1, 1), order(Rang::Ready)).unwrap();
        begins.recv().unwrap();
        bell.arm((1, 1), order(Rang::PeerCame)).unwrap();
        go.send(()).unwrap();
        // The thread has served the first order once it begins with the second.
        begins.recv().unwrap();
        let rang = (bell.state.event.clear(), bell.take());
        go.send(()).unwrap();
        drop(bell);
        assert_eq!(rang, (false, Ok(None)));
    }
}
