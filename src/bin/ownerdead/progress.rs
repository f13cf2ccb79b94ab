//! What a person sees while the checks run: bars on a terminal, else a plain line every ten seconds. All on stderr.

use crate::layer::Layer;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// What a layer has done so far.
#[derive(Debug, Default)]
pub struct Figures {
    pub cases: u64,
    pub deaths: u64,
    pub current: String,
}

pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { bars: stderr().is_terminal().then(MultiProgress::new) }
    }

    /// A line of its own, above the bars.
    pub fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Starts the display of one activity.
    pub fn start(&self, what: &str, layer: Layer) -> Activity {
        let label = format!("{what:<8} {layer:<7}");
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed:>5} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(label.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("{label} ...");
        }
        let now = Instant::now();
        Activity { label, bar, started: now, said: now }
    }
}

/// One activity on display.
pub struct Activity {
    label: String,
    bar: Option<ProgressBar>,
    started: Instant,
    said: Instant,
}

impl Activity {
    pub fn update(&mut self, figures: &Figures) {
        let said = || {
            let (cases, deaths) = (HumanCount(figures.cases), HumanCount(figures.deaths));
            format!("{cases} cases, {deaths} deaths  {}", figures.current)
        };
        if let Some(bar) = &self.bar {
            bar.set_message(said());
        } else if self.said.elapsed() >= PLAIN_EVERY {
            self.said = Instant::now();
            eprintln!("{} {:>4} s  {}", self.label, self.started.elapsed().as_secs(), said());
        }
    }

    /// Nothing to count: a build.
    pub fn idle(&mut self) {
        if self.bar.is_none() && self.said.elapsed() >= PLAIN_EVERY {
            self.said = Instant::now();
            eprintln!("{} {:>4} s", self.label, self.started.elapsed().as_secs());
        }
    }

    /// The activity is over; `said` stays on display.
    pub fn end(self, said: &str) {
        match self.bar {
            Some(bar) => bar.finish_with_message(said.to_owned()),
            None => eprintln!("{} {:>4} s  {said}", self.label, self.started.elapsed().as_secs()),
        }
    }

    /// The activity is over and needs no word.
    pub fn clear(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
