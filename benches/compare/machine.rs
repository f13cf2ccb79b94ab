//! What the figures were measured on.

use serde::Serialize;
use std::fmt;

/// The machine, as far as it tells.
#[derive(Serialize)]
pub struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    /// The two that the sides of a sample run on.
    used: [usize; 2],
    /// The 1-minute load average at the start: what else ran.
    load: String,
}

impl Machine {
    /// This one.
    pub fn new(used: [usize; 2]) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let first = |text: String| text.split_whitespace().next().unwrap_or("unknown").to_owned();
        Self {
            kernel: first(read("/proc/sys/kernel/osrelease")),
            processor: model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned(),
            processors: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            used,
            load: first(read("/proc/loadavg")),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, processor, processors, used: [first, second], load } = self;
        write!(
            f,
            "{processor}, {processors} processors, of which {first} and {second} are used; Linux {kernel}; load {load}"
        )
    }
}
