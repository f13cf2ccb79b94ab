//! Processes beside the victim that stand still, alive or dead.

use super::board::End;
use super::engine::{Child, Engine, EngineError};
use std::mem::forget;

/// The processes that bring a structure into the state in which the operation begins.
#[derive(Debug)]
pub struct Cast<'e> {
    engine: &'e Engine,
    standing: Vec<Child>,
    error: Option<EngineError>,
}

impl<'e> Cast<'e> {
    pub(super) fn new(engine: &'e Engine) -> Self {
        Self { engine, standing: Vec::new(), error: None }
    }

    /// A process runs `body`, and stands still then, stopped, alive, and with all that `body` gives, until the sweep has ended.
    pub fn stands<T>(&mut self, body: impl FnOnce() -> T) {
        if let Some(child) = self.play(body) {
            self.standing.push(child);
        }
    }

    /// A process runs `body`, and is killed then, with all that `body` gives.
    pub fn dies<T>(&mut self, body: impl FnOnce() -> T) {
        if let Some(mut child) = self.play(body) {
            child.kill();
        }
    }

    /// The first error, if there was one.
    pub(super) fn finish(&mut self) -> Result<(), EngineError> {
        self.error.take().map_or(Ok(()), Err)
    }

    fn play<T>(&mut self, body: impl FnOnce() -> T) -> Option<Child> {
        if self.error.is_some() {
            return None;
        }
        let stand = || {
            let given = body();
            // SAFETY: stops this process.
            unsafe { libc::raise(libc::SIGSTOP) };
            // Nobody lets it go on; should that happen all the same, it ends without giving anything up.
            forget(given);
            Ok("went on")
        };
        let played = self.engine.fork(stand).and_then(|mut child| match self.engine.wait(&mut child)? {
            End::Stopped => Ok(child),
            end => {
                let text = self.engine.outcome(end).unwrap_or_else(|finding| finding.to_string());
                Err(EngineError::Cast { text })
            }
        });
        played.map_err(|error| self.error = Some(error)).ok()
    }
}
