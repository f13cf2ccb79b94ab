//! Sweeps: a process dies at each machine instruction of each operation of each structure, in many states of it, and so does who
//! recovers after it.
//!
//! Each sweep is a test. It runs in a process of its own, the *stage*: single-threaded, so that it can fork its victims, and small,
//! so that it can do so thousands of times a second. When all have run, what they have covered of the operations' instructions
//! is counted.
//!
//! `cargo test --release --test sweep` looks at all there is. A debug build has ten times the instructions, so there two operations of
//! each structure are swept, in one state each, survivors do not die too, few deaths are planted, and what is not covered needs no
//! reason. `OWNERDEAD_SWEEP_REACH=full` or `quick` chooses.

#[cfg(not(model))]
mod barrier;
#[cfg(not(model))]
mod broadcast;
#[cfg(not(model))]
mod case;
#[cfg(not(model))]
mod cell;
#[cfg(not(model))]
mod claims;
#[cfg(not(model))]
mod condvar;
#[cfg(not(model))]
mod covered;
#[cfg(not(model))]
mod engine;
#[cfg(not(model))]
mod futex;
#[cfg(not(model))]
mod lanes;
#[cfg(not(model))]
mod locked;
#[cfg(not(model))]
mod lodgers;
#[cfg(not(model))]
mod mpmc;
#[cfg(not(model))]
mod mutex;
#[cfg(not(model))]
mod once;
#[cfg(not(model))]
mod outcome;
#[cfg(not(model))]
mod owner;
#[cfg(not(model))]
mod records;
#[cfg(not(model))]
mod ring;
#[cfg(not(model))]
mod rwlock;
#[cfg(not(model))]
mod semaphore;
#[cfg(not(model))]
mod stage;
#[cfg(not(model))]
mod stream;

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() -> std::process::ExitCode {
    use std::sync::Arc;

    let mut cases = Vec::new();
    ring::cases(&mut cases);
    mutex::cases(&mut cases);
    futex::cases(&mut cases);
    owner::cases(&mut cases);
    rwlock::cases(&mut cases);
    semaphore::cases(&mut cases);
    engine::cases(&mut cases);
    lodgers::cases(&mut cases);
    cell::cases(&mut cases);
    broadcast::cases(&mut cases);
    lanes::cases(&mut cases);
    mpmc::cases(&mut cases);
    claims::cases(&mut cases);
    condvar::cases(&mut cases);
    once::cases(&mut cases);
    barrier::cases(&mut cases);
    locked::cases(&mut cases);
    if let Some(name) = std::env::var_os(stage::NAME) {
        return stage::run(&name.to_string_lossy(), &cases);
    }
    let reach = match case::Reach::from_environment() {
        Ok(reach) => reach,
        Err(error) => {
            eprintln!("error: {error}");
            return std::process::ExitCode::from(64);
        }
    };
    if !reach.is_full() {
        case::some_of_each(&mut cases);
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    // Each sweep keeps to one processor.
    arguments.test_threads.get_or_insert(std::thread::available_parallelism().map_or(1, Into::into));
    let seen = Arc::new(covered::Seen::default());
    let all = cases.len();
    let tests = cases.iter().map(|case| {
        let (name, seen) = (case.name.clone(), Arc::clone(&seen));
        libtest_mimic::Trial::test(case.name.clone(), move || outcome::judge(&name, reach, &seen))
    });
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    if arguments.list || conclusion.num_passed == 0 {
        return conclusion.exit_code();
    }
    let whole = conclusion.num_passed == all as u64 && reach.is_full();
    if !covered::report(&seen, whole) || conclusion.has_failed() {
        return std::process::ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
