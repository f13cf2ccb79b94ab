//! A slow machine: a crew that gets little of the processor, by a control group's share, or by its priority on one processor beside
//! another process that never rests. Nothing may depend on speed.

use super::crew::{Crew, GROUPS, PEOPLE};
use crate::plan::{Aims, strikes};
use crate::stage::cgroup::{Cgroup, Limit};
use crate::stage::{Stage, Victim};
use crate::stamps::shared;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use rand::RngExt;
use std::time::Duration;

/// Of each tenth of a second, for all victims together.
const SHARE: Duration = Duration::from_millis(10);
/// A process of the least priority gets less than a hundredth of a processor; its whole crew has to share that.
const PATIENCE: Duration = Duration::from_secs(40);

pub fn run(stage: &mut Stage) {
    stage.has_patience(PATIENCE);
    let group = match Cgroup::new(stage, &Limit::Cpu(SHARE)) {
        Ok(group) => Some(group),
        Err(why) => {
            stage.not_run("a share of the processor", &why);
            None
        }
    };
    let processor = match one_processor() {
        Ok(processor) => Some(processor),
        Err(error) => {
            stage.not_run("the least priority beside a busy process", &format!("sched_setaffinity: {error}"));
            None
        }
    };
    let mut crew = Crew::new(stage);
    let mut by_share = false;
    while stage.goes_on() {
        let plan = strikes(&mut stage.rng, Aims::Several, PEOPLE, GROUPS, Duration::from_millis(3));
        let idle = stage.rng.random_bool(0.5);
        by_share = !by_share;
        match (&group, &processor) {
            (Some(group), _) if by_share => crew.round(stage, &plan, &|| group.enter()),
            (_, Some(processor)) => {
                let _hog = hog(stage, processor);
                crew.round(stage, &plan, &|| step_back(processor, idle));
            }
            (Some(group), None) => crew.round(stage, &plan, &|| group.enter()),
            (None, None) => return,
        }
        // Those who are left would keep the place that they were given.
        crew.end(stage);
    }
}

/// The last processor that the stage may run on.
fn one_processor() -> nix::Result<CpuSet> {
    let all = sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count()).rev().find(|&number| all.is_set(number) == Ok(true));
    let mut one = CpuSet::new();
    one.set(last.expect("the stage runs somewhere"))?;
    // Tried here, and taken back, so that a victim's own call does not fail.
    sched_setaffinity(Pid::from_raw(0), &one)?;
    sched_setaffinity(Pid::from_raw(0), &all)?;
    Ok(one)
}

/// A process that never rests, there.
fn hog(stage: &mut Stage, processor: &CpuSet) -> Victim {
    stage.spawn("hog", &shared_once()[0], || {
        sched_setaffinity(Pid::from_raw(0), processor).expect("it worked before");
        loop {
            std::hint::spin_loop();
        }
    })
}

/// The hog's stamps say nothing; one set does for all of them.
fn shared_once() -> &'static [crate::stamps::Stamps] {
    static STAMPS: std::sync::OnceLock<&'static [crate::stamps::Stamps]> = std::sync::OnceLock::new();
    STAMPS.get_or_init(|| shared(1))
}

/// In a victim: goes there, and lets everybody else go first.
fn step_back(processor: &CpuSet, idle: bool) {
    sched_setaffinity(Pid::from_raw(0), processor).expect("it worked before");
    let nothing = libc::sched_param { sched_priority: 0 };
    // SAFETY: the calling process, and a parameter that is valid to read.
    let done = unsafe {
        if idle {
            libc::sched_setscheduler(0, libc::SCHED_IDLE, &nothing)
        } else {
            libc::setpriority(libc::PRIO_PROCESS, 0, 19)
        }
    };
    assert_eq!(done, 0, "a lower priority is anybody's to take");
}
