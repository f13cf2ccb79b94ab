//! Sweeps: a structure under every interleaving (loom) or many (shuttle), with a process dying at every operation.
//!
//! A model names processes and what must hold. [`Sweep::run`] then explores it without a death, and once for each point at
//! which each victim can die: before each of its shared operations, and during each of its sleeps; with two deaths, for each
//! pair of such points. The points are found by counting up until a point is never reached, so none is left out.
//!
//! What it never says: that something holds which it did not look at. Where the time budget ended a sweep, the report is
//! `incomplete` and the test fails. loom's executions are those with at most so many pre-emptions; shuttle's are a sample; both
//! are said in the report.
//!
//! A violation is told as a table of all operations, with who died where, and leaves a replay file in `ownerdead/replay/` below
//! cargo's target directory. `OWNERDEAD_REPLAY=FILE` runs exactly that execution again, in the test that the printed command
//! names. A schedule that does not fit the code any more is said to be that, and is no violation.
//!
//! [`Sweep::run_bytes`] runs one execution whose deaths and schedule are a fuzzer's bytes.
//!
//! Environment: `OWNERDEAD_TIER` (`quick`, the default, or `full`), `OWNERDEAD_KILL` (`process@operation`, or `process@sN` for
//! the sleep of number N; `process#1` for a restarted one; two of them separated by a comma: explore with these deaths alone),
//! `OWNERDEAD_REPLAY` (a replay file: run that execution alone), `OWNERDEAD_SEED` (shuttle), `OWNERDEAD_BUDGET` (seconds that a sweep
//! may take), `OWNERDEAD_SITES`, `OWNERDEAD_DEATHS`, `OWNERDEAD_WEAKEN`, `OWNERDEAD_DELAY`, `OWNERDEAD_UNFENCE` and
//! `OWNERDEAD_STALE` (in `src/sync/mutant.rs`; see `ci/orderings.sh`).

mod bytes;
mod failure;
mod plan;
mod quiet;
mod replay;
mod sweep;

pub use sweep::Sweep;

use crate::sync::kernel::{self, Body, DeathPlace, Kill, Variant};
use crate::sync::rt;
use core::cell::RefCell;
use std::any::Any;
use std::rc::Rc;

/// Which back end explores: `loom` or `shuttle`.
pub const BACK_END: &str = rt::NAME;

/// One execution's processes, and what must hold when they are through. Made anew for each execution.
#[derive(Default)]
pub struct World {
    processes: Vec<Process>,
    after: Vec<Body>,
}

/// A process of a [`World`].
struct Process {
    index: usize,
    name: &'static str,
    body: Body,
    again: Option<Body>,
    /// What it has for a TID when it starts again, if that was said.
    next_tid: Option<u32>,
}

impl World {
    /// Adds a process. What `body` gives back (its attachment, above all) is kept until the execution is over: a process that is
    /// through stays alive and idle, since its leaving would hide lost wake-ups.
    pub fn process<R: 'static>(&mut self, name: &'static str, body: impl FnOnce() -> R + 'static) -> &mut Self {
        let tid = 1000 + self.processes.len() as u32;
        self.process_with_tid(name, tid, body)
    }

    /// The same with a TID of its own choice: two PID namespaces may have the same.
    pub fn process_with_tid<R: 'static>(
        &mut self,
        name: &'static str,
        tid: u32,
        body: impl FnOnce() -> R + 'static,
    ) -> &mut Self {
        let index = kernel::add_process(name, tid);
        let body: Body = Box::new(move || Box::new(body()) as Box<dyn Any>);
        self.processes.push(Process { index, name, body, again: None, next_tid: None });
        self
    }

    /// Adds a process that was set up (attached, say) before any process started: no interleaving and no death is explored in
    /// `setup`.
    pub fn process_after<S: 'static, R: 'static>(
        &mut self,
        name: &'static str,
        setup: impl FnOnce() -> S,
        body: impl FnOnce(S) -> R + 'static,
    ) -> &mut Self {
        let index = kernel::add_process(name, 1000 + self.processes.len() as u32);
        let state = kernel::set_up(index, setup);
        let body: Body = Box::new(move || Box::new(body(state)) as Box<dyn Any>);
        self.processes.push(Process { index, name, body, again: None, next_tid: None });
        self
    }

    /// Should the process that was added last die, it starts again as a new one, with this body.
    ///
    /// # Panics
    /// If there is none.
    pub fn restarts<R: 'static>(&mut self, body: impl FnOnce() -> R + 'static) -> &mut Self {
        let process = self.processes.last_mut().expect("a process to restart");
        process.again = Some(Box::new(move || Box::new(body()) as Box<dyn Any>));
        self
    }

    /// The process that was added last has TID `tid` when it starts again: kernels give TIDs out again, that of the dead too.
    ///
    /// # Panics
    /// If there is none.
    pub fn with_tid_again(&mut self, tid: u32) -> &mut Self {
        self.processes.last_mut().expect("a process to restart").next_tid = Some(tid);
        self
    }

    /// Looks at the end of each execution whether all is well; it panics if not. What it returns is dropped when the execution is over,
    /// as what a process returns: nobody is left then whose seat or lock a handle could give up.
    pub fn after<R: 'static>(&mut self, check: impl FnOnce() -> R + 'static) -> &mut Self {
        self.after.push(Box::new(move || Box::new(check()) as Box<dyn Any>));
        self
    }
}

/// What holds in the world below.
#[derive(Clone, Copy, Default)]
struct Rules {
    time_may_pass: bool,
    kernel: Variant,
}

/// One execution: builds the world, runs its processes to their ends, looks at what must hold. Where processes died.
fn execute(build: &dyn Fn(&mut World), plan: &dyn Fn(&World) -> Vec<Kill>, rules: Rules) -> Vec<DeathPlace> {
    kernel::reset(rules.kernel);
    let mut world = World::default();
    build(&mut world);
    kernel::plan(plan(&world));
    let kept: Rc<RefCell<Vec<Box<dyn Any>>>> = Rc::default();
    let threads: Vec<_> = world
        .processes
        .into_iter()
        .map(|process| {
            let kept = Rc::clone(&kept);
            kernel::switching(|| {
                rt::spawn(move || {
                    let result = kernel::live(process.index, process.body, process.again, process.next_tid);
                    kept.borrow_mut().extend(result);
                })
            })
        })
        .collect();
    for thread in threads {
        kernel::switching(|| thread.join()).expect("a violation ends the whole execution");
    }
    for check in world.after {
        let result = check();
        kept.borrow_mut().push(result);
    }
    let (time, deaths) = kernel::finish();
    assert!(
        rules.time_may_pass || time.is_zero(),
        "virtual time is {time:?}: somebody woke only because its time was up"
    );
    drop(kept);
    let leaked = kernel::still_kept();
    assert!(
        leaked == 0,
        "the execution is over, and {leaked} pieces of its shared memory are still in use, which a long run has no room for: a handle \
         was leaked (`Box::leak`, `mem::forget`, a circle of `Rc`s); return it from its process, or its check, and it is dropped then"
    );
    deaths
}
