//! How a blocking call waits.

use core::time::Duration;

/// What a blocking call does before it has what it waits for.
///
/// A sleeper takes no processor, but to wake it is a system call for its peer, and 15 to 30 us for itself. Who looks again and again
/// has the answer some 0.1 us after it is there, and takes a processor for that. Peers need not agree: each waits as it likes.
///
/// In a model there is no time to be spent: all of them sleep at once. To look some times more before that is nothing that
/// the scheduler could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Sleeps at once.
    Sleep,
    /// Looks so many times, and then sleeps.
    SpinThenSleep {
        /// How many times; each takes some 10 to 50 ns.
        looks: u32,
    },
    /// Looks again and again: never a system call, and a processor for itself. For those who have one.
    Spin,
}

impl Default for Waiting {
    /// A hundred looks, some microseconds, and then a sleep.
    fn default() -> Self {
        Self::SpinThenSleep { looks: 100 }
    }
}

impl Waiting {
    /// Looks for as long as it is to be done without a sleep, and not past `deadline`. Whether it saw `still` to be so no more; if
    /// not, the caller sleeps, or has run out of time.
    ///
    /// `still` may read with Relaxed: who is told of a change looks for itself.
    #[cfg(not(any(loom, shuttle)))]
    #[inline]
    pub fn spin(self, deadline: Option<Duration>, mut still: impl FnMut() -> bool) -> bool {
        spin(self, deadline, &mut still)
    }

    /// Sleeps at once: see the type.
    #[cfg(any(loom, shuttle))]
    pub fn spin(self, _deadline: Option<Duration>, _still: impl FnMut() -> bool) -> bool {
        false
    }
}

#[cfg(not(any(loom, shuttle)))]
#[cold]
fn spin(waiting: Waiting, deadline: Option<Duration>, still: &mut dyn FnMut() -> bool) -> bool {
    /// The clock costs as much as some looks.
    const LOOKS_PER_CLOCK: u64 = 64;
    let looks = match waiting {
        Waiting::Sleep => 0,
        Waiting::SpinThenSleep { looks } => looks.into(),
        Waiting::Spin => u64::MAX,
    };
    for look in 0..looks {
        if !still() {
            return true;
        }
        core::hint::spin_loop();
        if look % LOOKS_PER_CLOCK == LOOKS_PER_CLOCK - 1
            && deadline.is_some_and(|deadline| super::time::now() >= deadline)
        {
            return false;
        }
    }
    false
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// How often it looked, and whether it saw a change, where that comes with look number `change`.
    fn looks(waiting: Waiting, deadline: Option<Duration>, change: u64) -> (u64, bool) {
        let mut looks = 0;
        let changed = waiting.spin(deadline, || {
            looks += 1;
            looks < change
        });
        (looks, changed)
    }

    #[test]
    fn each_looks_as_often_as_it_says_and_no_longer_than_it_may() {
        let past = Some(super::super::time::now());
        assert_eq!(looks(Waiting::Sleep, None, 1), (0, false));
        assert_eq!(looks(Waiting::SpinThenSleep { looks: 5 }, None, 9), (5, false));
        assert_eq!(looks(Waiting::SpinThenSleep { looks: 5 }, None, 3), (3, true));
        assert_eq!(looks(Waiting::Spin, None, 1_000), (1_000, true));
        assert_eq!(looks(Waiting::Spin, past, u64::MAX), (64, false));
    }
}
