//! The worlds for which a fuzzer chooses schedules and deaths. The first byte of its inputs is an index here: new ones go to the
//! end.

mod mutex;
mod ring;

use ownerdead::harness::model::{Sweep, World};

/// A world, and who may die in it.
struct Case {
    name: &'static str,
    victims: &'static [&'static str],
    build: fn(&mut World),
}

const CASES: [Case; 8] = [
    Case {
        name: "mutex_three",
        victims: &["a", "b", "c"],
        build: |world| drop(mutex::everybody_locks(world, &["a", "b", "c"])),
    },
    Case {
        name: "mutex_four",
        victims: &["a", "b", "c", "d"],
        build: |world| drop(mutex::everybody_locks(world, &["a", "b", "c", "d"])),
    },
    Case {
        name: "mutex_held_four",
        victims: &["a", "b", "c", "d"],
        build: |world| mutex::everybody_wants_what_a_has(world, &["b", "c", "d"]),
    },
    Case { name: "mutex_restart", victims: &["a"], build: mutex::comes_back },
    Case { name: "ring_take_over", victims: &["p", "n"], build: ring::take_over },
    Case { name: "ring_redelivery", victims: &["c"], build: |world| ring::redelivery(world, &ring::SMALL) },
    Case { name: "ring_wipe", victims: &["c"], build: |world| ring::redelivery(world, &ring::SMALL.wipe(true)) },
    Case { name: "ring_inspected", victims: &["p", "c"], build: ring::inspected },
];

/// Runs the execution that `bytes` describe in world number `which`, taken modulo how many there are.
pub fn run(which: u8, bytes: &[u8]) -> Vec<u32> {
    let case = &CASES[usize::from(which) % CASES.len()];
    Sweep::new(case.name).victims(case.victims).two_deaths().run_bytes(bytes, case.build)
}
