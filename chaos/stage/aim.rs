//! Aiming a kill at one short thing.

use super::{Stage, Victim};
use crate::stamps::Stamps;
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use ownerdead::sync::time::now;
use rand::RngExt;
use std::time::Duration;

/// When to kill a victim that does one short thing, and that once. A kill by another process would have to wait until that one has a
/// processor, by which time the victim is done: so a timer of the victim's own sends it. Also that takes some microseconds, which differ
/// from machine to machine, and it is learnt from each kill.
pub struct Aim {
    /// From when the victim sets its timer.
    after: Duration,
}

impl Aim {
    /// From when the victim sets its timer until it begins.
    const LEAD: Duration = Duration::from_micros(50);
    /// Kills are spread over this time, evenly.
    const SPREAD: Duration = Duration::from_micros(40);
    const STEP: Duration = Duration::from_micros(4);

    pub fn new() -> Self {
        Self { after: Self::LEAD }
    }

    /// Says that the last kill came before the victim had begun, or after it had ended.
    fn missed(&mut self, early: bool) {
        // A victim that came too late by a whole time slice says nothing of where to aim.
        let most = 6 * Self::LEAD;
        self.after = if early { (self.after + Self::STEP).min(most) } else { self.after.saturating_sub(Self::STEP) };
    }
}

/// In a victim: what kills it when it is time.
pub struct Trigger(Timer);

impl Trigger {
    pub fn new() -> Self {
        let kill = SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 };
        Self(Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(kill)).expect("a timer"))
    }

    /// Waits until the stage says when this process is to die, and then until it is to begin. It does not sleep, so that it begins at
    /// that very moment.
    pub fn wait_to_begin(&mut self, stamps: &Stamps) {
        while stamps.dies_after.get() == 0 {
            // SAFETY: no arguments.
            unsafe { libc::sched_yield() };
        }
        let from = now();
        let dies = from + Duration::from_nanos(stamps.dies_after.get());
        stamps.dies_at.set(dies.as_nanos() as u64);
        self.0.set(Expiration::OneShot(dies.into()), TimerSetTimeFlags::TFD_TIMER_ABSTIME).expect("a time to come");
        while now() < from + Aim::LEAD {
            std::hint::spin_loop();
        }
    }
}

impl Stage {
    /// Lets a victim that waits in [`Trigger::wait_to_begin`] begin, and die when it is time; waits until it is gone, and files the kill
    /// under the phase it was in. The time just before the kill. `early`: from what is left of it, whether it had not begun.
    pub fn kill_at_work(
        &mut self,
        victim: &mut Victim,
        aim: &mut Aim,
        stamps: &Stamps,
        early: impl Fn() -> bool,
    ) -> Duration {
        let spread = self.rng.random_range(1..Aim::SPREAD.as_nanos() as u64);
        stamps.dies_after.set(aim.after.as_nanos() as u64 + spread);
        self.dies(victim, stamps);
        if stamps.phase() == "outside" {
            aim.missed(early());
        }
        Duration::from_nanos(stamps.dies_at.get())
    }
}
