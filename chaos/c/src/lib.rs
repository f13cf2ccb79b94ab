//! The kill engine for C and C++: `include/ownerdead.h` says what each part means.

mod abi;
mod place;
mod report;
mod subject;

use abi::{Options, RawSubject};
use ownerdead::harness::kill::{Campaign, Survivors, Sweep};
use std::error::Error;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use subject::Foreign;

const COULD_NOT_RUN: c_int = 69;

/// A death at each machine instruction. See the header.
///
/// # Safety
/// Both point to what the header says, or are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ownerdead_sweep(subject: *const RawSubject, options: *const Options) -> c_int {
    // SAFETY: the caller's.
    guarded(
        || unsafe { Ok((Foreign::new(subject)?, abi::read(options, "ownerdead_options")?.unwrap_or_default())) },
        sweep,
    )
}

/// Deaths beside others that work. See the header.
///
/// # Safety
/// Both point to what the header says, or are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ownerdead_campaign(subject: *const RawSubject, options: *const Options) -> c_int {
    // SAFETY: the caller's.
    guarded(
        || unsafe { Ok((Foreign::new(subject)?, abi::read(options, "ownerdead_options")?.unwrap_or_default())) },
        campaign,
    )
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// No panic goes further than this.
fn guarded(read: impl FnOnce() -> Result<(Foreign, Options)>, run: fn(&Foreign, &Options) -> Result<c_int>) -> c_int {
    let run = || read().and_then(|(subject, options)| run(&subject, &options));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            eprintln!("ownerdead: {error}");
            COULD_NOT_RUN
        }
        // The panic hook has said what.
        Err(_) => COULD_NOT_RUN,
    }
}

fn sweep(subject: &Foreign, options: &Options) -> Result<c_int> {
    let sweep = Sweep::new(subject.name(), subject).second_deaths(options.no_second_death == 0);
    let sweep = unless_0(options.most_found, sweep, |sweep, most| sweep.most_found(most as usize));
    let sweep = unless_0(options.patience_ms, sweep, |sweep, time| sweep.patience(milliseconds(time)));
    let report = sweep.run()?;
    report::sweep(&report, options)
}

fn campaign(subject: &Foreign, options: &Options) -> Result<c_int> {
    let survivors = match options.survivors {
        0 => Survivors::GoOn,
        1 => Survivors::Finish,
        2 => Survivors::WithOthers,
        other => return Err(format!("found survivors = {other}, expected a value of enum ownerdead_survivors").into()),
    };
    let campaign = Campaign::new(subject.name(), subject).survivors(survivors).seed(options.seed);
    let campaign = unless_0(options.processes, campaign, |campaign, count| campaign.processes(count as usize));
    let campaign = unless_0(options.threads, campaign, |campaign, count| campaign.threads(count as usize));
    let campaign = unless_0(options.most_found, campaign, |campaign, most| campaign.most_found(most.into()));
    let campaign = unless_0(options.patience_ms, campaign, |campaign, time| campaign.bound(milliseconds(time)));
    let campaign = unless_0(options.asleep_ms, campaign, |campaign, time| campaign.asleep(milliseconds(time)));
    let campaign = unless_0(options.kills, campaign, Campaign::kills);
    let campaign = unless_0(options.seconds, campaign, |campaign, time| campaign.time(Duration::from_secs(time)));
    let report = campaign.run()?;
    report::campaign(&report, options)
}

fn milliseconds(count: u32) -> Duration {
    Duration::from_millis(count.into())
}

fn unless_0<T, N: Default + PartialEq>(value: N, with: T, change: impl FnOnce(T, N) -> T) -> T {
    if value == N::default() { with } else { change(with, value) }
}
