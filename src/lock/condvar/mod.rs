//! The condition variable: four with each robust mutex.
//!
//! **What it guarantees.** Who waits gives up the lock and sleeps until it is notified, and has the lock again when its wait
//! returns. After [`Condvar::notify_one`], if a thread waited before it, at least one living thread that waits wakes, whoever
//! dies; after [`Condvar::notify_all`], all that live do. The state that is waited for must change under the lock. A wait may
//! return though nothing has happened: look at the state again, or use [`Condvar::wait_while`].
//!
//! **What survives a death.** A waiter owns nothing here, so a dead one keeps nobody up. If the one that was woken dies before it has the lock
//! again, the next one is woken in its place. If a notifier dies between its change of the word and its wake, the kernel wakes
//! one in its stead, who wakes the others where all were to be woken. A mutex that becomes not recoverable wakes all
//! who wait, and they are told.
//!
//! **What it cannot do.** Notify in the name of the dead: a thread that is killed before it notifies leaves the others waiting, as
//! it leaves them with any condition variable. Where one thread is to notify, wait with [`Condvar::wait_or_death`], which ends with that thread's death
//! too; where several are, who gets the lock as `OwnerDied` repairs the state and then notifies all. A death after the wait has returned is the
//! mutex's affair: [`OwnerDied`] to the next one. A notifier that dies inside `notify_one` or `notify_all` may not have notified those
//! in `wait_or_death`, unless it is the thread they watch. Who wakes and finds the lock held passes the notification on
//! before it waits for the lock, so notify after unlocking, or all waiters are woken in turn.
//!
//! The words of one, 16 bytes:
//!
//! ```text
//! + 0   sequence: 31       30    29        28 .. 0
//!                 WAITERS  OWED  WATCHERS  notifications, modulo 2^29
//! + 8   gate, always 0: waiters sleep on it and are woken there, and nowhere else
//! ```
//!
//! | bit | set | cleared |
//! |---|---|---|
//! | WAITERS | by who is about to wait, with the lock | by `notify_all` |
//! | WATCHERS | by who is about to wait or be told of a death, with the lock | by `notify_all` |
//! | OWED | by `notify_all`, with its count | by who has woken all since: the notifier, or one that was woken in its stead |
//!
//! A waiter sleeps on the gate and, compared after it, the sequence; the gate is its pending operation from before the sleep
//! until it has the lock. Each wake takes one off the gate, so none is taken twice: were notifiers to wake on the sequence, a
//! sleeper that the kernel has woken at the gate could take a second wake there. Who watches a thread sleeps on the sequence
//! and that thread's life word (see `owner::wait`), and never on the gate: each notification wakes all of those, so none of
//! them has one to pass on.
//!
//! What must synchronise with what: nothing here. The state is published by the mutex, and so are the bits: whoever changes the state
//! after somebody has begun to wait has locked after that one unlocked, so it sees the bits.

#[cfg(not(model))]
pub(crate) mod image;

use super::error::{NotifyError, OwnerDied, Trouble, WaitError};
use super::robust::{Guard, Had, Patience, Refused, RobustMutex};
use crate::data::Data;
use crate::owner::{Attachment, Holder, Right, finish_waiting, sleep_on_holder};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sync::futex::{ALL, Wait, Woken, Word, wait_any, wake};
use crate::sync::{Reserved, time};
use core::time::Duration;

/// How many a mutex has.
pub(super) const CONDVARS: usize = 4;

/// Somebody may sleep on the gate.
pub(super) const WAITERS: u32 = 1 << 31;
/// All are to be woken, and perhaps are not yet.
pub(super) const OWED: u32 = 1 << 30;
/// Somebody may sleep on the sequence.
pub(super) const WATCHERS: u32 = 1 << 29;
/// Counts the notifications.
pub(super) const COUNT: u32 = WATCHERS - 1;

/// The words of one, in shared memory. All-zero: nobody waits, nobody was notified.
#[derive(Debug)]
#[cfg_attr(not(model), repr(C))]
pub(super) struct Words {
    sequence: AtomicU32,
    _reserved: Reserved<4>,
    gate: AtomicU64,
}

#[cfg(not(model))]
const _: () = assert!(size_of::<Words>() == 16);

impl Words {
    #[cfg(model)]
    pub(super) fn new() -> Self {
        Self { sequence: AtomicU32::new(0), _reserved: Reserved::new(), gate: AtomicU64::new(0) }
    }

    /// Notifies all who wait, if somebody does.
    pub(super) fn notify_all(&self, me: &Attachment) {
        self.notify(me, Self::wake_all);
    }

    fn notify(&self, me: &Attachment, how: impl FnOnce(&Self)) {
        // Relaxed: whoever waits has set its bit with the lock, before the caller had the lock to change the state.
        if self.sequence.load(Relaxed) & (WAITERS | OWED | WATCHERS) == 0 {
            return;
        }
        // Before the sequence changes: should this thread die before its wake, the kernel wakes one.
        me.list().set_pending(&self.gate);
        how(self);
        me.list().clear_pending();
    }

    fn wake_one(&self) {
        let old = self.count(|old| old);
        if old & (OWED | WATCHERS) != 0 {
            wake(Word::Whole(&self.sequence), ALL);
        }
        if wake(Word::Low(&self.gate), 1) == 0 {
            // Nobody is left: the next one need not look. Who is about to sleep finds the sequence changed.
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        let clear = |old: u32| old & !(WAITERS | WATCHERS) | OWED;
        let old = self.count(clear);
        self.pay(counted(old, clear), old & (OWED | WATCHERS) != 0);
    }

    /// One notification more; what the sequence was. Relaxed: it publishes nothing.
    fn count(&self, flags: impl Fn(u32) -> u32) -> u32 {
        let mut old = self.sequence.load(Relaxed);
        while let Err(seen) = self.sequence.compare_exchange(old, counted(old, &flags), Relaxed, Relaxed) {
            old = seen;
        }
        old
    }

    /// Wakes all who waited when the sequence became `seen`, in which they are OWED that.
    fn pay(&self, seen: u32, watchers: bool) {
        wake(Word::Low(&self.gate), ALL);
        if watchers {
            wake(Word::Whole(&self.sequence), ALL);
        }
        // Relaxed: at worst somebody wakes all once more. If it fails, a later one is owed, or somebody has begun to wait.
        let _ = self.sequence.compare_exchange(seen, seen & !OWED, Relaxed, Relaxed);
    }

    /// Sleeps until the sequence is no longer `seen`, or a wake comes to the gate; that stays pending. Whether a wake came.
    fn sleep(&self, me: &Attachment, seen: u32, deadline: Option<Duration>) -> Result<(Waited, bool), Trouble> {
        if me.waiting().spin(deadline, || self.sequence.load(Relaxed) == seen) {
            // It was never at the gate, so no wake was meant for it.
            return Ok((Waited::Notified, false));
        }
        me.list().set_pending(&self.gate);
        // The gate first: a wake that comes to it before this thread is there finds the sequence changed.
        let waits = [
            Wait { word: Word::Low(&self.gate), expected: 0 },
            Wait { word: Word::Whole(&self.sequence), expected: seen },
        ];
        loop {
            let woken = wait_any(&waits, 1, deadline);
            let now = self.sequence.load(Relaxed);
            if now & OWED != 0 {
                // Perhaps the one who was to wake all is dead. The gate is still pending: so is this.
                self.pay(now, true);
            }
            match woken {
                Woken::By(_) => return Ok((Waited::Notified, true)),
                _ if now != seen => return Ok((Waited::Notified, false)),
                Woken::TimedOut => return Ok((Waited::TimedOut, false)),
                Woken::Changed => {}
            }
            let gate = self.gate.load(Relaxed);
            if gate != 0 {
                return Err(Trouble::Gate(gate));
            }
        }
    }

    /// The same, or until `holder` dies. It sleeps nowhere where a wake could be taken from others.
    fn sleep_or_death(&self, me: &Attachment, seen: u32, holder: Holder, deadline: Option<Duration>) -> Waited {
        let lives = || me.table().dead(holder) == Some(false);
        let words = [Wait { word: Word::Whole(&self.sequence), expected: seen }];
        loop {
            let ended = me.waiting().spin(deadline, || self.sequence.load(Relaxed) == seen && lives());
            let timed_out = !ended && sleep_on_holder(me, holder, &words, deadline).is_err();
            if self.sequence.load(Relaxed) != seen {
                return Waited::Notified;
            }
            if !lives() {
                return Waited::HolderDied;
            }
            if timed_out {
                return Waited::TimedOut;
            }
        }
    }
}

/// The sequence after `old`, with other flags.
fn counted(old: u32, flags: impl Fn(u32) -> u32) -> u32 {
    // With all flags, the last count is all ones.
    flags(old) & !COUNT | old.wrapping_add(1) & COUNT
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It was notified, or woken for no reason.
    Notified,
    /// Its time was up.
    TimedOut,
    /// The thread that it watched is dead.
    HolderDied,
}

/// A condition variable of a [`RobustMutex`].
///
/// ```
/// use ownerdead::lock::RobustMutex;
/// use ownerdead::segment::Options;
///
/// let jobs = RobustMutex::memfd(&Options::new(), 0u64)?;
/// let [more, ..] = jobs.condvars();
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let me = jobs.attach().expect("a free slot");
///         *jobs.lock(&me).expect("nobody died") += 1;
///         more.notify_one(&me).expect("attached here");
///     });
///     let me = jobs.attach().expect("a free slot");
///     let guard = jobs.lock(&me).expect("nobody died");
///     let mut guard = more.wait_while(guard, |jobs| *jobs == 0).expect("nobody died");
///     *guard -= 1;
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Condvar<'m, T: Data> {
    mutex: &'m RobustMutex<T>,
    words: &'m Words,
}

impl<T: Data> Clone for Condvar<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Data> Copy for Condvar<'_, T> {}

impl<T: Data> RobustMutex<T> {
    /// Its condition variables: as many, and the same ones, for all who have the mutex.
    ///
    /// ```no_run
    /// # let mutex = ownerdead::lock::RobustMutex::memfd(&ownerdead::segment::Options::new(), 0u64).unwrap();
    /// let [not_empty, not_full, ..] = mutex.condvars();
    /// ```
    pub fn condvars(&self) -> [Condvar<'_, T>; CONDVARS] {
        core::array::from_fn(|number| Condvar { mutex: self, words: &self.condvars[number] })
    }
}

impl<'m, T: Data> Condvar<'m, T> {
    /// Wakes one who waits, if somebody does; and all who watch a thread ([`Self::wait_or_death`]). Without a waiter it makes no system
    /// call.
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn notify_one(&self, me: &Attachment) -> Result<(), NotifyError> {
        self.check(me)?;
        self.words.notify(me, Words::wake_one);
        Ok(())
    }

    /// Wakes all who wait. Without a waiter it makes no system call.
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn notify_all(&self, me: &Attachment) -> Result<(), NotifyError> {
        self.check(me)?;
        self.words.notify_all(me);
        Ok(())
    }

    fn check(&self, me: &Attachment) -> Result<(), NotifyError> {
        me.check()?;
        if me.table().same_place(&self.mutex.table) { Ok(()) } else { Err(NotifyError::WrongSegment) }
    }

    /// Notifications since its birth that found somebody waiting, modulo 2^29. For people and monitors.
    pub fn notifications(&self) -> u32 {
        // Relaxed: a count, by which nothing is reached.
        self.words.sequence.load(Relaxed) & COUNT
    }

    /// Unlocks, sleeps until it is notified, and locks again. It may also return for no reason.
    ///
    /// # Errors
    /// [`WaitError`]; the guard is inside if the last holder died, and wherever nothing was unlocked.
    pub fn wait<'g>(&self, guard: Guard<'g, T>) -> Result<Guard<'g, T>, WaitError<Guard<'g, T>>> {
        self.wait_until(guard, None, None).map(|(guard, _)| guard)
    }

    /// The same, for up to `timeout`. To have the lock again may take longer.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_timeout<'g>(
        &self,
        guard: Guard<'g, T>,
        timeout: Duration,
    ) -> Result<(Guard<'g, T>, Waited), WaitError<Guard<'g, T>>> {
        self.wait_until(guard, None, time::now().checked_add(timeout))
    }

    /// Waits while `condition` is true of what the lock guards.
    ///
    /// # Errors
    /// As [`Self::wait`]: with `OwnerDied`, what is guarded is to be repaired before the condition can be asked again.
    pub fn wait_while<'g>(
        &self,
        mut guard: Guard<'g, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<Guard<'g, T>, WaitError<Guard<'g, T>>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits as [`Self::wait_timeout`], and ends with the death of `holder`, a thread of the same segment, too: at once, if it is dead already.
    /// For those whom nobody else will notify. [`Attachment::id`] says who a thread is; without a time-out it waits as long as it takes.
    ///
    /// # Errors
    /// As [`Self::wait`], and [`WaitError::UnknownHolder`].
    pub fn wait_or_death<'g>(
        &self,
        guard: Guard<'g, T>,
        holder: Holder,
        timeout: Option<Duration>,
    ) -> Result<(Guard<'g, T>, Waited), WaitError<Guard<'g, T>>> {
        if self.mutex.table.dead(holder).is_none() {
            return Err(WaitError::UnknownHolder(guard));
        }
        self.wait_until(guard, Some(holder), timeout.and_then(|timeout| time::now().checked_add(timeout)))
    }

    fn wait_until<'g>(
        &self,
        guard: Guard<'g, T>,
        watched: Option<Holder>,
        deadline: Option<Duration>,
    ) -> Result<(Guard<'g, T>, Waited), WaitError<Guard<'g, T>>> {
        if let Err(unusable) = guard.me.check() {
            return Err(WaitError::of(unusable.into(), 0));
        }
        if !guard.mutex.word.same_place(&self.mutex.word) {
            return Err(WaitError::OtherMutex(guard));
        }
        if guard.needs_repair() {
            return Err(WaitError::NotRepaired(guard));
        }
        let flag = if watched.is_some() { WATCHERS } else { WAITERS };
        // With the lock: so whoever changes the state after this sees the bit, and its notification changes the sequence. Relaxed: the
        // lock publishes it.
        let seen = self.words.sequence.fetch_or(flag, Relaxed) | flag;
        let (mutex, me) = guard.unlock();
        let slept = match watched {
            Some(holder) => Ok((self.words.sleep_or_death(me, seen, holder, deadline), false)),
            None => self.words.sleep(me, seen, deadline),
        };
        let had = slept.map_err(Refused::Trouble).and_then(|(waited, carries)| {
            let had = match mutex.acquire(me, &Patience::None) {
                Err(Refused::Busy) => {
                    if carries {
                        // From here on another gate is pending, so the notification goes to the next one.
                        wake(Word::Low(&self.words.gate), 1);
                    }
                    mutex.acquire(me, &Patience::Until(None))
                }
                had => had,
            };
            had.map(|had| (waited, had))
        });
        finish_waiting(me);
        match had {
            Ok((waited, Had::Consistent)) => Ok((mutex.guard(me, false), waited)),
            Ok((_, Had::FromTheDead)) => Err(WaitError::OwnerDied(OwnerDied::new(mutex.guard(me, true)))),
            Err(Refused::Trouble(trouble)) => Err(WaitError::of(trouble, Right::held_by(me.id()).0)),
            Err(Refused::Busy) => unreachable!("there was no deadline"),
        }
    }
}
