//! The benchmark: our structures beside others, all in one run, round by round. `docs/benchmarks.md` says how to read it.
//!
//! This process has one thread and forks for each sample; whatever needs threads starts them in a child.

#[cfg(not(model))]
mod carriers;
#[cfg(not(model))]
mod cells;
#[cfg(not(model))]
mod death;
#[cfg(not(model))]
mod framing;
#[cfg(not(model))]
mod lock;
#[cfg(not(model))]
mod machine;
#[cfg(not(model))]
mod pair;
#[cfg(not(model))]
mod plan;
#[cfg(not(model))]
mod queues;
#[cfg(not(model))]
mod report;
#[cfg(not(model))]
mod ring;
#[cfg(not(model))]
mod run;
#[cfg(not(model))]
mod shared;
#[cfg(not(model))]
mod structures;
#[cfg(not(model))]
mod topology;
#[cfg(not(model))]
mod turns;

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() -> std::process::ExitCode {
    run::main()
}
