//! Rounds: each takes one sample of every contender, so that all of them meet the same machine.

use crate::pair::{Sample, Stage};

/// Takes one sample.
pub type Sampler = Box<dyn Fn(&Stage) -> Result<Sample, String>>;

/// One line of a table.
pub struct Contender {
    pub name: String,
    /// Bytes of its messages, or of memory of its victim.
    pub size: usize,
    pub sample: Sampler,
}

/// What the nanoseconds of a group's samples mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// An operation without a peer.
    Operation,
    /// A round trip: also in times the raw one.
    RoundTrip,
    /// A message: shown as messages and bytes per second.
    Message,
    /// From a kill to a notice of it.
    Notice,
}

/// A table.
pub struct Group {
    pub name: &'static str,
    pub what: &'static str,
    pub measure: Measure,
    /// Rounds of a full run, and of a quick one.
    pub rounds: [usize; 2],
    pub contenders: Vec<Contender>,
    pub aims: Vec<Aim>,
}

/// What a contender is measured against.
pub enum Rival {
    /// The raw ping-pong of the same sample.
    Raw,
    /// Another contender, by name, in the same round.
    Contender(String),
}

/// On which side of the bound the ratio must be.
#[derive(Clone, Copy)]
pub enum Bound {
    /// Time over the rival's time, at most this.
    TimeAtMost(f64),
    /// Rate over the rival's rate, at least this.
    RateAtLeast(f64),
}

/// What a contender is meant to reach.
pub struct Aim {
    pub contender: String,
    pub size: usize,
    pub rival: Rival,
    pub bound: Bound,
}

impl Aim {
    /// The contenders that it is about.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let rival = match &self.rival {
            Rival::Raw => None,
            Rival::Contender(name) => Some(name.as_str()),
        };
        std::iter::once(self.contender.as_str()).chain(rival)
    }
}

/// The samples of one contender, one a round.
pub struct Series {
    pub name: String,
    pub size: usize,
    pub samples: Vec<Sample>,
}

impl Group {
    /// Takes samples until each contender has `rounds` that are kept, but in no more than three times as many rounds: on a
    /// machine that has other things to do, some keep fewer.
    ///
    /// # Errors
    /// A message, if a contender failed.
    pub fn run(&self, stage: &Stage, rounds: usize) -> Result<Vec<Series>, String> {
        let series = |contender: &Contender| Series {
            name: contender.name.clone(),
            size: contender.size,
            samples: Vec::with_capacity(rounds),
        };
        let mut all: Vec<_> = self.contenders.iter().map(series).collect();
        for _ in 0..3 * rounds {
            let kept =
                |series: &Series| series.samples.iter().filter(|sample| matches!(sample, Sample::Kept { .. })).count();
            if all.iter().all(|series| kept(series) >= rounds) {
                break;
            }
            for (contender, series) in self.contenders.iter().zip(&mut all) {
                let sample = (contender.sample)(stage)
                    .map_err(|error| format!("{}: {}, {} bytes: {error}", self.name, contender.name, contender.size))?;
                series.samples.push(sample);
            }
        }
        Ok(all)
    }
}
