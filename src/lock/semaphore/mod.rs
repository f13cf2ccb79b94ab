//! The counting semaphore whose permits come back when their holder is gone.
//!
//! **What it guarantees.** At most as many threads are inside as there are permits, over all processes that are attached. Each permit
//! names its holder, and has a number, so it can stand for one of several equal things (a buffer, a device). What a holder did before it
//! released a permit is seen by who has that permit next. No sleeper is forgotten, whoever dies when. No permit is taken from a
//! thread that is merely slow or stopped. Where a permit is free, there is no system call.
//!
//! **What survives a death.** Everything: who needs a permit takes a dead one's at once, and [`Permit::from_the_dead`] says so, should
//! there be something to put in order. A waiter's death takes nothing.
//!
//! **What it cannot do.** Have more than [`MAX_PERMITS`] permits: a sleeper names each of them and its holder's life to the kernel, which
//! takes 128 words. Be signalled by one who holds nothing, as `sem_post(3)` can: nobody could say whose such a permit was. Be fair. A
//! thread may have several permits, taken one after the other; that threads wait for each other's then is not noticed, only that
//! one has all of them itself.
//!
//! ```text
//! permits   one word for each: the Right of its holder, or 0; its low half is the futex
//! gate      always 0; each sleeper sleeps on it too, and names it as its pending operation
//! ```
//!
//! What must synchronise with what:
//!
//! | store | load | publishes |
//! |---|---|---|
//! | release: swap of the permit, Release | taking it: compare-and-swap, Acquire | what its holder did |
//! | kernel's marking of the life word | `Table::dead`, Acquire | the same, as far as the dead one came |
//! | taking: compare-and-swap, Release | a permit, read with Acquire before `dead` | the holder's incarnation |
//!
//! Why nobody is forgotten. A sleeper is *current* if each permit is as it was when it went to sleep. Then it hears of the next release,
//! by WAITERS in the permit, and of the next death of a holder, by WAITERS in its life word. One who is woken looks at all
//! permits, and then leaves with one, or is current. One who leaves, with a permit or without, wakes one more at the gate; if it dies before
//! it has, the kernel does that, since the gate is its pending operation. So while anybody sleeps, one of them is current, or one is awake
//! that sees to it; and one wake at a time is enough. Only the first look, before the first sleep, owes nothing to anybody.

mod error;
#[cfg(not(model))]
pub(crate) mod image;
#[cfg(not(model))]
mod shared;

pub use error::{AcquireError, AcquireTimeoutError, TryAcquireError};
#[cfg(not(model))]
pub use shared::SemaphoreError;

use crate::owner::{AttachError, Attachment, Right, Table, finish_waiting, sleep_on_holders};
use crate::sync::Line;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::futex::{MAX_WAITS, Wait, Woken, Word, wake};
use crate::sync::shm::Shared;
use crate::sync::{thread, time};
use core::marker::PhantomData;
use core::time::Duration;
use error::Refused;

/// The most permits that a semaphore can have: a sleep is on the gate, and on three words for each permit.
pub const MAX_PERMITS: usize = (MAX_WAITS - 1) / 3;

/// A counting semaphore in shared memory whose permits come back when their holder is gone.
///
/// ```
/// use ownerdead::lock::{Semaphore, TryAcquireError};
/// use ownerdead::segment::Options;
///
/// let semaphore = Semaphore::memfd(&Options::new(), 2)?;
/// let me = semaphore.attach()?;
/// let (one, two) = (semaphore.acquire(&me)?, semaphore.acquire(&me)?);
/// assert_ne!(one.number(), two.number());
/// drop(one);
/// assert!(semaphore.try_acquire(&me).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Semaphore {
    table: Table,
    gate: Shared<Line<AtomicU64>>,
    /// Invariant 1: 1 to MAX_PERMITS.
    permits: Shared<[Line<AtomicU64>]>,
    #[cfg(not(model))]
    segment: crate::segment::Segment,
}

/// How long to wait for a permit.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Until(Option<Duration>),
}

/// A permit that was just taken.
struct Taken {
    number: usize,
    from_the_dead: bool,
}

/// Permits that are others' who live: a number and what its word said, each.
struct Held {
    of: [(usize, Right); MAX_PERMITS],
    count: usize,
}

impl Held {
    fn permits(&self) -> &[(usize, Right)] {
        &self.of[..self.count]
    }
}

impl Semaphore {
    /// A semaphore on the heap, for models.
    #[cfg(model)]
    pub fn private(slots: usize, permits: usize) -> Self {
        assert!((1..=MAX_PERMITS).contains(&permits));
        Self {
            table: Table::private(slots),
            gate: Shared::new(Line(AtomicU64::new(0))),
            permits: Shared::from_vec((0..permits).map(|_| Line(AtomicU64::new(0))).collect()),
        }
    }

    /// Makes the calling thread a participant of the semaphore's segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self) -> Result<Attachment, AttachError> {
        Attachment::attach(&self.table)
    }

    /// The participants of its segment.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// How many permits there are.
    pub fn permits(&self) -> usize {
        self.permits.len()
    }

    /// How many of them could be had now: free, or of the dead. It may be another number by the time that it is returned.
    pub fn available(&self) -> usize {
        let available = |permit: &&Line<AtomicU64>| {
            // Acquire: `dead` needs it.
            let right = Right(permit.load(Acquire));
            right == Right::FREE || right.holder().is_some_and(|holder| self.table.dead(holder) == Some(true))
        };
        self.permits.iter().filter(available).count()
    }

    /// Takes a permit, sleeping while others that live have all of them.
    ///
    /// # Errors
    /// [`AcquireError`].
    #[inline]
    pub fn acquire<'a>(&'a self, me: &'a Attachment) -> Result<Permit<'a>, AcquireError> {
        match self.take(me, Patience::Until(None)) {
            Ok(taken) => Ok(self.permit(me, taken)),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::Busy) => unreachable!("there was no deadline"),
        }
    }

    /// Takes a permit if one is free, or a dead one's.
    ///
    /// # Errors
    /// [`TryAcquireError`].
    #[inline]
    pub fn try_acquire<'a>(&'a self, me: &'a Attachment) -> Result<Permit<'a>, TryAcquireError> {
        match self.take(me, Patience::None) {
            Ok(taken) => Ok(self.permit(me, taken)),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::Busy) => Err(TryAcquireError::WouldBlock),
        }
    }

    /// Takes a permit, sleeping for up to `timeout` while others that live have all of them.
    ///
    /// # Errors
    /// [`AcquireTimeoutError`].
    pub fn acquire_timeout<'a>(
        &'a self,
        me: &'a Attachment,
        timeout: Duration,
    ) -> Result<Permit<'a>, AcquireTimeoutError> {
        let deadline = time::now().checked_add(timeout);
        match self.take(me, Patience::Until(deadline)) {
            Ok(taken) => Ok(self.permit(me, taken)),
            Err(Refused::Trouble(trouble)) => Err(trouble.into()),
            Err(Refused::Busy) => Err(AcquireTimeoutError::TimedOut),
        }
    }

    #[inline]
    fn permit<'a>(&'a self, me: &'a Attachment, taken: Taken) -> Permit<'a> {
        let Taken { number, from_the_dead } = taken;
        Permit { semaphore: self, me, number, from_the_dead, _not_send: PhantomData }
    }

    #[inline]
    fn take(&self, me: &Attachment, patience: Patience) -> Result<Taken, Refused> {
        me.check()?;
        if !me.table().same_place(&self.table) {
            return Err(Refused::WRONG_SEGMENT);
        }
        let taken = match self.look(me)? {
            Ok(taken) => taken,
            Err(held) => self.take_slow(me, patience, held)?,
        };
        me.intact()?;
        me.right_taken();
        Ok(taken)
    }

    #[cold]
    fn take_slow(&self, me: &Attachment, patience: Patience, mut held: Held) -> Result<Taken, Refused> {
        let Patience::Until(deadline) = patience else { return Err(self.busy(&held)) };
        let (mut slept, mut late) = (false, false);
        // Relaxed: what it has seen is looked at again below.
        let as_seen = |&(number, right): &(usize, Right)| {
            let lives = right.holder().is_some_and(|holder| self.table.dead(holder) == Some(false));
            lives && self.permits[number].load(Relaxed) == right.0
        };
        me.spin(deadline, || held.count > 0 && held.permits().iter().all(as_seen));
        let result = loop {
            if late || held.count == 0 {
                break Err(self.busy(&held));
            }
            if self.ask_for_wakes(&held) {
                slept = true;
                // Words first, as they were found: where the kernel allows only one, it is the first of them.
                let words = held.permits().iter().map(|&(number, right)| Wait {
                    word: Word::Low(&self.permits[number]),
                    expected: right.with_waiters().low(),
                });
                let holders = held.permits().iter().filter_map(|&(_, right)| right.holder());
                late = sleep_on_holders(me, &self.gate, words, holders, deadline) == Woken::TimedOut;
            }
            // Who is late takes one still that can be had.
            match self.look(me) {
                Ok(Ok(taken)) => break Ok(taken),
                Ok(Err(now)) => held = now,
                Err(refused) => break Err(refused),
            }
        };
        if slept {
            // Whatever it was woken by, another one may have been meant: see above.
            wake(Word::Low(&self.gate), 1);
            finish_waiting(me);
        }
        result
    }

    /// Why nothing was had, where others have `held`, and the caller the rest.
    fn busy(&self, held: &Held) -> Refused {
        if held.count == 0 { Refused::DEADLOCK } else { Refused::Busy }
    }

    /// Takes the first permit that is free or a dead one's; or says what those are that others have.
    #[inline]
    fn look(&self, me: &Attachment) -> Result<Result<Taken, Held>, Refused> {
        let mine = Right::held_by(me.id());
        let mut held = Held { of: [(0, Right::FREE); MAX_PERMITS], count: 0 };
        // Each begins with another one, so that threads that come and go do so at different words.
        let (before, from) = self.permits.split_at(me.id().slot as usize % self.permits.len());
        for (index, permit) in from.iter().chain(before).enumerate() {
            // Acquire: `dead` needs it.
            let mut seen = Right(permit.load(Acquire));
            let number = if index < from.len() { before.len() + index } else { index - from.len() };
            loop {
                let from_the_dead = match seen.without_waiters().holder() {
                    _ if seen == Right::FREE => false,
                    Some(holder) if holder == me.id() => break,
                    Some(holder) => match self.table.dead(holder) {
                        Some(true) => true,
                        Some(false) => {
                            held.of[held.count] = (number, seen);
                            held.count += 1;
                            break;
                        }
                        None => return Err(Refused::corrupt(seen.0)),
                    },
                    None => return Err(Refused::corrupt(seen.0)),
                };
                // Acquire: what its last holder did. Release: the incarnation, for `dead`. WAITERS is dropped: those who sleep hear of the
                // death, or of the next change from one of them that is current.
                match permit.compare_exchange(seen.0, mine.0, AcqRel, Acquire) {
                    Ok(_) => return Ok(Ok(Taken { number, from_the_dead })),
                    Err(now) => seen = Right(now),
                }
            }
        }
        Ok(Err(held))
    }

    /// Sets WAITERS in each permit; false if one of them has changed.
    fn ask_for_wakes(&self, held: &Held) -> bool {
        held.permits().iter().all(|&(number, right)| {
            // Relaxed: it only asks for a wake, and the sleep compares the word again under the kernel's lock.
            right.has_waiters()
                || self.permits[number].compare_exchange(right.0, right.with_waiters().0, Relaxed, Relaxed).is_ok()
        })
    }

    #[inline]
    fn release(&self, me: &Attachment, number: usize) {
        me.right_given_up();
        let permit = &self.permits[number];
        // Release: what this holder did, for who has the permit next. A swap, so that WAITERS is seen.
        let old = Right(permit.swap(Right::FREE.0, Release));
        if old.has_waiters() {
            // One is enough: see above. Should this thread die before, its life word wakes one.
            wake(Word::Low(permit), 1);
        }
    }
}

/// A permit. Dropping it gives it back.
///
/// It stays with its thread:
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::lock::Permit<'static>>();
/// ```
#[must_use = "dropping the permit gives it back"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    me: &'a Attachment,
    /// Invariant 1: less than the semaphore's permits.
    number: usize,
    from_the_dead: bool,
    _not_send: PhantomData<*mut ()>,
}

impl Permit<'_> {
    /// Which one of the permits it is, from 0: nobody else has it.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its last holder died with it. Who has it after this one is not told again.
    pub fn from_the_dead(&self) -> bool {
        self.from_the_dead
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        self.semaphore.release(self.me, self.number);
    }
}

impl core::fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Permit").field("number", &self.number).field("from_the_dead", &self.from_the_dead).finish()
    }
}
