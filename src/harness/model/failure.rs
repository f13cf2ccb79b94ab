//! What is said of a violation, and its replay.

use super::quiet::quietly;
use super::replay::{self, Replay, one_line};
use super::sweep::{Run, Stopped, message};
use crate::sync::kernel::{self, Kill};
use crate::sync::rt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

impl Run {
    /// Says what happened, and the one command that repeats it. The exploration that failed is the last one of this thread.
    pub(super) fn explain(&self, kills: &[Kill], kill: &str, limits: rt::Limits, violated: &str) {
        let (first, first_trace) = (kernel::transcript(), kernel::trace());
        let written = replay::file(self.sweep.name)
            .map_err(|error| error.to_string())
            .and_then(|file| self.write(&file, kills, kill, limits, violated).map(|said| (file, said)));
        match written {
            Ok((file, said)) => {
                self.tell(&kernel::transcript(), violated);
                if kernel::trace() != first_trace {
                    eprintln!(
                        "The interleaving above was {said}; the one that was found first had {} steps.",
                        first_trace.len()
                    );
                }
                eprintln!(
                    "\nto repeat exactly this one: {}",
                    replay::command(&[("OWNERDEAD_REPLAY", &file.display().to_string())])
                );
            }
            Err(why) => {
                self.tell(&first, violated);
                let seed = self.limits.seed.to_string();
                eprintln!(
                    "\nThere is no replay file: {why}\nto explore this death again: {}",
                    replay::command(&[("OWNERDEAD_KILL", kill), ("OWNERDEAD_SEED", &seed)])
                );
            }
        }
    }

    /// Finds the schedule of what failed, sees that it fails again in the same way, and writes it to `file`. How it was shortened.
    fn write(
        &self,
        file: &Path,
        kills: &[Kill],
        kill: &str,
        limits: rt::Limits,
        violated: &str,
    ) -> Result<String, String> {
        let execution = self.execution(kills, |_| {});
        let (schedule, said) = quietly(|| {
            rt::failed_schedule(limits, &scratch(file), &execution, &|payload| message(payload) == violated)
        })?;
        // It is this one that is told of, so it must be seen to fail.
        match quietly(|| catch_unwind(AssertUnwindSafe(|| rt::replay(&schedule, &scratch(file), &execution)))) {
            Err(payload) if message(&*payload) == violated => {}
            Err(payload) => return Err(format!("repeated, it ended otherwise: {}", message(&*payload))),
            Ok(Ok(())) => return Err("repeated, it violated nothing: the model is not deterministic".into()),
            Ok(Err(why)) => return Err(format!("it could not be repeated: {why}")),
        }
        let replay = Replay {
            sweep: self.sweep.name.into(),
            test: replay::test_name(),
            back_end: rt::NAME.into(),
            kill: kill.into(),
            seed: self.limits.seed,
            violated: one_line(violated),
            schedule,
            steps: kernel::trace(),
        };
        std::fs::write(file, replay.to_text()).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(said)
    }

    fn tell(&self, transcript: &str, violated: &str) {
        eprintln!("\n{}: the interleaving that violates it, under {}:\n", self.sweep.name, rt::NAME);
        eprintln!("{transcript}Violated: {violated}");
    }

    /// Runs the one execution of a replay file.
    pub(super) fn replay(&mut self, replay: &Replay) -> Result<(), Stopped> {
        let kills = self.parse("OWNERDEAD_REPLAY: kill ", &replay.kill);
        let execution = self.execution(&kills, |_| {});
        self.executions = 1;
        let file = std::env::var_os("OWNERDEAD_REPLAY").map(PathBuf::from).unwrap_or_default();
        kernel::expect(Some(replay.steps.clone()));
        let result = catch_unwind(AssertUnwindSafe(|| rt::replay(&replay.schedule, &scratch(&file), &execution)));
        kernel::expect(None);
        self.deaths = kernel::deaths();
        let payload = match result {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => return Err(Stopped::Misfit(why)),
            Err(payload) => payload,
        };
        if let Some(kernel::Misfit(why)) = payload.downcast_ref() {
            return Err(Stopped::Misfit(why.clone()));
        }
        let violated = message(&*payload);
        replay.is_same(violated, kernel::trace().len()).map_err(Stopped::Misfit)?;
        self.tell(&kernel::transcript(), violated);
        eprintln!("\nreplayed 1 execution");
        Err(Stopped::Violation(payload))
    }
}

/// Beside a replay file, for a back end that wants its schedule in a file of its own.
fn scratch(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    name.into()
}
