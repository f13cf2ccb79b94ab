//! Sleeping until there is a record, or room.
//!
//! A sleeper reads its bell, then goes through the words as one who does not sleep would, setting WAITERS in each that it waits for;
//! then it sleeps on the gate, on the bell while it is as it was, on the one of those words that names nobody, and on the life words of
//! those whom the others name. Who takes WAITERS off a word strikes both bells. Nobody is woken through the word that names nobody: it is
//! there to be compared, since who claimed it may have died before it struck, and before there was anybody at the gate. (These bells are two
//! counts in the ring. A `ring::Bell`, a descriptor, is another thing: its thread sleeps here as others do.)
//!
//! Who may die, and who is woken then:
//!
//! 1. A holder that a word names. Who waits for it sleeps on its life word; that holds, too, once it has taken WAITERS off and not
//!    yet struck.
//! 2. One who claims a word that names nobody: its pending operation is the gate, from before the claim until it has struck. One of
//!    those who sleep is woken at the gate.
//! 3. One who was woken: the gate stays its pending operation until it has what it wants, so one more is woken there; and who has
//!    what it wants wakes one more there, before it clears that.
//!
//! So one who is woken may owe a wake to others, and cannot know to whom. It pays by what it does anyway. If it is a consumer, it looks
//! through all words from the head on: at a dead one's it strikes both bells, *before* it changes the word, so that whoever was owed
//! something on account of that is awake; and if it sleeps again, then all words have WAITERS again, and the next change wakes those who
//! were forgotten with it, since they sleep on the same bell. If it is a producer, it strikes the consumers' bell first, and looks at the
//! one word that all producers wait for. Consumers come by that word too: it is the first that is not done with.
//!
//! Three of these wakes make up for each other in all that the models have: that a stroke wakes all, that who leaves wakes one more, and
//! what is struck and woken for a dead one. Without the first two a sleeper is forgotten (known bug 14), as it is where the gate is not
//! pending (66).

#[cfg(not(model))]
use super::Ring;
use super::claims::{Side, Watched};
use crate::owner::{Interrupt, finish_waiting, sleep_on_holders, wake_those_who_wait_for_the_dead};
#[cfg(not(model))]
use crate::ring::bell::{self, Rang, Watch};
use crate::sync::atomic::Ordering::Acquire;
use crate::sync::futex::{Wait, Woken, Word, wake};
use core::time::Duration;

/// Which bell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Producer,
    Consumer,
}

impl Side {
    /// Calls `attempt` until it gives something: looks for as long as the thread is to, then sleeps in between. `None`: the deadline has
    /// passed, or it was interrupted.
    pub(super) fn until<T, E>(
        &self,
        role: Role,
        deadline: Option<Duration>,
        interrupt: Option<Interrupt<'_>>,
        mut attempt: impl FnMut(Option<&mut Watched>) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let bells = &self.ring.control.bells;
        let mut had = Ok(None);
        self.me.spin(deadline, || {
            had = attempt(None);
            matches!(had, Ok(None))
        });
        if !matches!(had, Ok(None)) {
            return had;
        }
        let result = loop {
            // Acquire, before the words are looked at: with the Release of who strikes it, a count that is seen here was struck for
            // what was changed before.
            let heard = bells.load(Acquire);
            let mut watched = Watched::default();
            match attempt(Some(&mut watched)) {
                Ok(None) => {}
                had => break had,
            }
            self.owes.set(true);
            let word = match role {
                Role::Consumer => Wait { word: Word::Low(bells), expected: heard as u32 },
                Role::Producer => Wait { word: Word::High(bells), expected: (heard >> 32) as u32 },
            };
            let slot = watched.word().map_or(word, |(position, expected)| Wait {
                word: Word::Low(&self.ring.slot(position).claim),
                expected,
            });
            let words = [word, slot].into_iter().take(1 + usize::from(watched.word().is_some()));
            let words = words.chain(interrupt.map(|interrupt| interrupt.wait()));
            let woken = sleep_on_holders(&self.me, &self.ring.control.gate, words, watched.holders(), deadline);
            wake_those_who_wait_for_the_dead(&self.me, watched.holders());
            match woken {
                // What came just in time counts.
                Woken::TimedOut => break attempt(None),
                Woken::By(_) if role == Role::Producer => self.ring.wake_consumers(),
                Woken::By(_) | Woken::Changed => {}
            }
            if interrupt.is_some_and(|interrupt| interrupt.raised()) || self.me.is_cut_off() {
                break Ok(None);
            }
        };
        if self.owes.replace(false) {
            wake(Word::Low(&self.ring.control.gate), 1);
            finish_waiting(&self.me);
        }
        result
    }
}

/// Whose bell it is.
#[cfg(not(model))]
pub(super) fn side(ring: &Ring, role: Role) -> bell::Side {
    (core::ptr::from_ref(&*ring.control).addr(), u8::from(role == Role::Producer))
}

/// What a bell sleeps for.
#[cfg(not(model))]
pub(super) fn watch(ring: &Ring, role: Role) -> Watch {
    let ring = ring.clone();
    Box::new(move |me, interrupt| match Side::new(ring, me.clone()).until_there_is(role, Some(interrupt)) {
        Ok(()) => Rang::Ready,
        Err(corrupt) => Rang::Corrupt(corrupt),
    })
}
