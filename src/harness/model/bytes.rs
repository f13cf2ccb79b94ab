//! One execution whose deaths and schedule are a fuzzer's bytes: [`Sweep::run_bytes`] says how they are read.

use super::plan::name_kills;
use super::quiet::{place, quietly};
use super::sweep::{Sweep, message};
use super::{World, execute};
use crate::sync::kernel::{self, Kill, When};
use crate::sync::rt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

/// Where the deaths end.
const HEAD: usize = 6;

impl Sweep {
    /// Runs one execution: its deaths and its schedule are taken from `bytes`, in shuttle's build. For a fuzzer, whose minimiser then
    /// shortens what fails, and for tests that run its findings again. Of the sweep's settings it heeds the victims, how many
    /// die at most, and whether time may pass.
    ///
    /// | bytes | what |
    /// |---|---|
    /// | 0 to 2 | the first death: who, how, when |
    /// | 3 to 5 | the second one |
    /// | 6 and 7 | a mask (little endian): which of the first sixteen weak compare-and-swaps fail for no reason |
    /// | each further one | a run: the upper three bits say which of those that can run goes on, the lower five for how many decisions |
    ///
    /// *who* is 0 for nobody, or the number of a victim, from 1; a greater one is taken modulo their number and one. *how* has bits 0
    /// and 1 set for a death in a sleep, and bits 2 and 3 for one in the life after a restart. *when* is the number of the operation, or
    /// of the sleep, from 128 on modulo 64: most deaths come early, and so most bytes are for them.
    /// Bytes that are missing are 0: nobody dies, nothing fails, and nobody is pre-empted. A byte is used only where more than one
    /// can run, so one that is changed, added or removed moves, adds or removes a switch: a fuzzer's small changes are small here,
    /// and the shortest input that fails is an interleaving with few switches.
    ///
    /// What it gives is a number for each death, and for each place where one process went on after another: a fuzzer that counts
    /// them (libFuzzer's extra counters) sees by them that an interleaving is new, which coverage of the code alone hardly shows.
    ///
    /// # Panics
    /// If the execution violates something; what happened is on standard error then. In loom's build, which has no
    /// schedules that come from outside.
    pub fn run_bytes(self, bytes: &[u8], build: impl Fn(&mut World) + Send + Sync + 'static) -> Vec<u32> {
        assert_eq!(rt::NAME, "shuttle", "bytes drive shuttle alone: build with RUSTFLAGS=\"--cfg shuttle\"");
        let head: [u8; HEAD] = core::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0));
        let (name, victims) = (self.name, self.victims.clone());
        let planned = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&planned);
        let plan = move |world: &World| {
            let kills: Vec<_> = head.chunks(3).take(self.deaths).filter_map(|d| death(d, world, &victims)).collect();
            noted.lock().expect("one thread").clone_from(&kills);
            kills
        };
        let execution: rt::Execution = Arc::new(move || drop(execute(&build, &plan, self.rules)));
        let rest = bytes.get(HEAD..).unwrap_or(&[]);
        // A fuzzer's own hook would end the process before anything could be said.
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| quietly(|| rt::run_bytes(rest, &execution)))) else {
            return kernel::novelties();
        };
        let kills = planned.lock().map(|kills| name_kills(&kills)).unwrap_or_default();
        eprintln!("\n{name}: the interleaving that violates it, under {}, by {} bytes:\n", rt::NAME, bytes.len());
        eprintln!("{}Deaths in the bytes: {}", kernel::transcript(), if kills.is_empty() { "none" } else { &kills });
        eprintln!("Violated, at {}: {}", place(), message(&*payload));
        resume_unwind(payload)
    }
}

/// `[who, how, when]`.
fn death(bytes: &[u8], world: &World, victims: &[&'static str]) -> Option<Kill> {
    let &[who, how, number] = bytes else { return None };
    let victim = victims[(usize::from(who) % (victims.len() + 1)).checked_sub(1)?];
    let process = world.processes.iter().find(|process| process.name == victim);
    let process = process.unwrap_or_else(|| panic!("no process is called {victim:?}"));
    let number = u32::from(if number < 128 { number } else { number % 64 });
    let when = if how & 3 == 3 { When::Asleep(number) } else { When::Before(number) };
    Some(Kill { process: process.index, life: u32::from(how >> 2 & 3 == 3), when })
}
