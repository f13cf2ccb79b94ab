//! Locks: two numbers that are the same whenever nobody is inside.

use ownerdead::harness::kill::{Facts, Finding, Memory, Subject, Word};
use ownerdead::harness::oracle::Exclusion;

/// A lock that tells the next holder of a death, and what it guards.
pub trait Lock: Sync {
    /// What a thread has that takes part.
    type Me<'s>
    where
        Self: 's;

    /// The lock and what it guards.
    fn memory(&self) -> &Memory;

    /// In a thread that is to take part.
    fn join(&self) -> Self::Me<'_>;

    /// Locks it, sleeping if need be, does `inside`, which is told whether the last holder died, and unlocks it.
    fn hold<'s, T>(&'s self, me: &mut Self::Me<'s>, inside: impl FnOnce(&mut [u64; 2], bool) -> T) -> T;

    /// The same, without sleeping. Nobody else lives.
    ///
    /// # Errors
    /// Why it cannot be had, in words.
    fn try_hold<'s, T>(
        &'s self,
        me: &mut Self::Me<'s>,
        inside: impl FnOnce(&mut [u64; 2], bool) -> T,
    ) -> Result<T, String>;

    /// Whom the lock word names now, in words.
    fn word(&self) -> String;

    /// After an unlock: the memory of the lock is used for something else. For locks that can be used so.
    fn reuse(&self) -> bool {
        false
    }

    /// Whether what was put there by [`Self::reuse`] is as it was.
    ///
    /// # Errors
    /// What became of it.
    fn reused(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Facts beside those of [`Exclusion`]: whether the last one who got the lock was told of a death, and whether the lock's memory
/// is used for something else now.
const LAST_TOLD: usize = 4;
const REUSED: usize = 5;

fn exclusion(facts: &Facts) -> Exclusion<&Word> {
    let [inside, changing, told, through] = [0, 1, 2, 3].map(|index| facts.word(index));
    Exclusion { inside, changing, told, through }
}

/// A lock under test.
pub struct Locked<L>(pub L);

/// A thread that takes part.
pub struct Member<'s, L: Lock + 's> {
    me: L::Me<'s>,
    number: u64,
}

impl<L: Lock> Locked<L> {
    fn member(&self, number: u64) -> Member<'_, L> {
        Member { me: self.0.join(), number }
    }

    fn once(number: u64, facts: &Facts, data: &mut [u64; 2], told: bool) -> Result<(), Finding> {
        let exclusion = exclusion(facts);
        facts.word(LAST_TOLD).set(told.into());
        exclusion.enter(number, told)?;
        let [left, right] = *data;
        if left != right && !told {
            return Err(Finding::torn("what the lock guards is half changed, and nobody was told"));
        }
        exclusion.change();
        // What is half done is undone, then all is done as ever.
        data[0] = left.min(right) + 1;
        data[1] = data[0];
        exclusion.leave();
        Ok(())
    }
}

impl<L: Lock> Subject for Locked<L> {
    type Victim<'s>
        = Member<'s, L>
    where
        L: 's;
    type Survivor<'s>
        = Member<'s, L>
    where
        L: 's;

    fn memory(&self) -> &Memory {
        self.0.memory()
    }

    fn attach(&self, _: &Facts) -> Self::Victim<'_> {
        self.member(1)
    }

    #[inline(never)]
    fn operation<'s>(&'s self, victim: &mut Self::Victim<'s>, facts: &Facts) {
        let done = self.0.hold(&mut victim.me, |data, told| Self::once(victim.number, facts, data, told));
        done.expect("the first one finds the lock as it was made");
        if self.0.reuse() {
            facts.word(REUSED).set(1);
        }
    }

    fn arrive(&self, _: &Facts) -> Self::Survivor<'_> {
        self.member(u64::MAX)
    }

    fn recover<'s>(&'s self, survivor: &mut Self::Survivor<'s>, facts: &Facts) -> Result<&'static str, Finding> {
        if facts.word(REUSED).get() != 0 {
            self.0.reused().map_err(Finding::torn)?;
            return Ok("used for something else");
        }
        let mut met = "free";
        let number = survivor.number;
        let held = self.0.try_hold(&mut survivor.me, |data, told| {
            met = if told { "owner died" } else { "free" };
            Self::once(number, facts, data, told)
        });
        held.map_err(Finding::stuck)??;
        Ok(met)
    }

    fn judge<'s>(&'s self, survivor: &mut Self::Survivor<'s>, facts: &Facts) -> Result<(), Finding> {
        if facts.word(REUSED).get() != 0 {
            return Ok(());
        }
        let number = survivor.number;
        let held = self.0.try_hold(&mut survivor.me, |data, told| match told {
            true => Err(Finding::other("a death was told again after the repair")),
            false => Self::once(number, facts, data, told),
        });
        held.map_err(Finding::stuck)?
    }

    fn worker(&self, number: usize, _: &Facts) -> Self::Victim<'_> {
        self.member(number as u64 + 1)
    }

    fn work<'s>(&'s self, worker: &mut Self::Victim<'s>, facts: &Facts) -> Result<(), Finding> {
        let number = worker.number;
        self.0.hold(&mut worker.me, |data, told| Self::once(number, facts, data, told))
    }

    fn explain(&self, facts: &Facts) -> String {
        let last =
            if facts.word(LAST_TOLD).get() == 0 { "was told of no death" } else { "took it over from a dead one" };
        format!("{}; who had it last {last}", self.0.word())
    }
}

/// Whom a lock word of the robust protocol names.
pub fn named(word: u32) -> String {
    let (owner, waiters) = (word & 0x3fff_ffff, if word >> 31 == 1 { ", and says that somebody sleeps" } else { "" });
    match owner {
        0 => format!("the lock word names no owner{waiters}"),
        tid if std::path::Path::new(&format!("/proc/{tid}")).exists() => {
            format!("the lock word names a living thread{waiters}")
        }
        _ => format!("the lock word names a dead thread{waiters}"),
    }
}
