//! What the kernel tells of an execution, when it is over or has failed.

use super::super::log;
use super::{DeathPlace, EXPECTED, Event, When, with};
use std::fmt::Write as _;
use std::rc::Rc;

pub(crate) use log::Misfit;

/// What happened in this execution so far: a table with a line for each operation, and a sentence for each death.
pub(crate) fn transcript() -> String {
    with(|kernel| {
        let name = |process: usize| kernel.processes[process].name;
        let mut text = log::table(&kernel.log, name);
        let _ = writeln!(text, "\n{} steps in all, in the order in which they happened.", kernel.log.len());
        for DeathPlace { kill, operation, at, .. } in &kernel.deaths {
            let (process, at) = (log::in_life(name(kill.process), kill.life), log::place(at));
            let _ = match kill.when {
                When::Before(number) => {
                    writeln!(text, "`{process}` was killed just before its operation {number}, `{operation}` at {at}.")
                }
                When::Asleep(number) => {
                    writeln!(text, "`{process}` was killed in its sleep {number}, `{operation}` at {at}.")
                }
            };
        }
        if kernel.deaths.is_empty() {
            text += "Nobody was killed.\n";
        }
        text
    })
}

/// The steps of this execution so far, each as `process operation`.
pub(crate) fn trace() -> Vec<String> {
    with(|kernel| {
        let step = |event: &Event| log::step(kernel.processes[event.process].name, event.life, event.what);
        kernel.log.iter().map(step).collect()
    })
}

/// See [`log::novelties`].
pub(crate) fn novelties() -> Vec<u32> {
    with(|kernel| log::novelties(&kernel.log))
}

/// How many processes died in this execution.
pub(crate) fn deaths() -> u64 {
    with(|kernel| kernel.deaths.len() as u64)
}

/// How many steps there were so far.
#[cfg(shuttle)]
pub(crate) fn steps() -> usize {
    with(|kernel| kernel.log.len())
}

/// This thread's executions have to take these steps, as [`trace`] gave them, or they end with a [`Misfit`].
pub(crate) fn expect(steps: Option<Vec<String>>) {
    EXPECTED.set(steps.map(Rc::from));
}

/// Names of the processes, by index.
pub(crate) fn name(index: usize) -> &'static str {
    with(|kernel| kernel.processes.get(index).map_or("?", |process| process.name))
}
