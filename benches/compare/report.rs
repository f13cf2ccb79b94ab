//! Medians with their spread, as tables for people and as JSON for machines.

use crate::pair::{Sample, UNSTEADY, alike};
use crate::plan::{Aim, Bound, Group, Measure, Rival, Series};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::fmt;

/// The middle of some values, and where all but the outer tenths lie.
#[derive(Clone, Copy, Serialize)]
pub struct Spread {
    median: f64,
    p10: f64,
    p90: f64,
}

impl Spread {
    /// `None` of no values.
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        // The value at a share of the way, between its neighbours where it falls between two.
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        (!values.is_empty()).then(|| Self { median: at(0.5), p10: at(0.1), p90: at(0.9) })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Three digits that count, or all of a whole number.
        let digits = |value: f64| if value.abs() < 10.0 { 2 } else { usize::from(value.abs() < 100.0) };
        let [median, p10, p90] = [self.median, self.p10, self.p90].map(|v| format!("{v:.*}", digits(v)));
        write!(f, "{median} ({p10}-{p90})")
    }
}

/// One line of a table.
#[derive(Serialize)]
pub struct Row {
    contender: String,
    bytes: usize,
    /// Nanoseconds per operation, round trip, message or notice.
    nanoseconds: Option<Spread>,
    /// Nanoseconds of the raw ping-pong beside each sample.
    raw: Option<Spread>,
    times_raw: Option<Spread>,
    messages_per_second: Option<Spread>,
    megabytes_per_second: Option<Spread>,
    kept: usize,
    dropped_unsteady: usize,
    dropped_preempted: usize,
}

/// What became of an aim.
#[derive(Serialize)]
pub struct Verdict {
    contender: String,
    bytes: usize,
    rival: String,
    ratio: Option<Spread>,
    bound: f64,
    at_most: bool,
    met: bool,
    /// Rounds in which both were kept, at the same raw ping-pong.
    rounds: usize,
}

/// A table, and what became of its aims.
#[derive(Serialize)]
pub struct Report {
    group: &'static str,
    what: &'static str,
    #[serde(skip)]
    measure: Option<Measure>,
    rows: Vec<Row>,
    aims: Vec<Verdict>,
}

fn kept(samples: &[Sample]) -> impl Iterator<Item = (f64, Option<f64>)> + Clone + '_ {
    samples.iter().filter_map(|sample| match *sample {
        Sample::Kept { value, raw } => Some((value, raw)),
        Sample::Unsteady | Sample::Preempted => None,
    })
}

fn row(series: &Series, measure: Measure) -> Row {
    let samples = kept(&series.samples);
    let count = |wanted: fn(&Sample) -> bool| series.samples.iter().filter(|sample| wanted(sample)).count();
    let messages = measure == Measure::Message;
    let rate = |scale: f64| Spread::of(samples.clone().filter(|_| messages).map(|(value, _)| scale * 1e9 / value));
    Row {
        contender: series.name.clone(),
        bytes: series.size,
        nanoseconds: Spread::of(samples.clone().map(|(value, _)| value)),
        raw: Spread::of(samples.clone().filter_map(|(_, raw)| raw)),
        times_raw: Spread::of(
            samples.clone().filter(|_| measure == Measure::RoundTrip).filter_map(|(value, raw)| Some(value / raw?)),
        ),
        messages_per_second: rate(1.0),
        megabytes_per_second: rate(series.size as f64 / 1e6),
        kept: samples.count(),
        dropped_unsteady: count(|sample| matches!(sample, Sample::Unsteady)),
        dropped_preempted: count(|sample| matches!(sample, Sample::Preempted)),
    }
}

/// The ratio of each round that allows it, and whether the aim is met.
fn verdict(aim: &Aim, all: &[Series]) -> Verdict {
    let series = |name: &str| {
        let found = all.iter().find(|series| series.name == name && series.size == aim.size);
        &found.expect("aims are about contenders of their group").samples
    };
    let ours = series(&aim.contender);
    let ratios: Vec<f64> = match &aim.rival {
        Rival::Raw => kept(ours).filter_map(|(value, raw)| Some(value / raw?)).collect(),
        Rival::Contender(rival) => {
            ours.iter().zip(series(rival)).filter_map(|(ours, theirs)| ratio(*ours, *theirs)).collect()
        }
    };
    let rounds = ratios.len();
    let (bound, at_most) = match aim.bound {
        Bound::TimeAtMost(bound) => (bound, true),
        Bound::RateAtLeast(bound) => (bound, false),
    };
    // Rates are the inverse of times.
    let ratio = Spread::of(ratios.into_iter().map(|ratio| if at_most { ratio } else { 1.0 / ratio }));
    let met = ratio.is_some_and(|ratio| if at_most { ratio.median <= bound } else { ratio.median >= bound });
    let rival = match &aim.rival {
        Rival::Raw => "the raw ping-pong".into(),
        Rival::Contender(name) => name.clone(),
    };
    Verdict { contender: aim.contender.clone(), bytes: aim.size, rival, ratio, bound, at_most, met, rounds }
}

/// Our time over theirs, if both were kept, and on cores that were as far from each other.
fn ratio(ours: Sample, theirs: Sample) -> Option<f64> {
    let (Sample::Kept { value: our_time, raw: our_raw }, Sample::Kept { value: their_time, raw: their_raw }) =
        (ours, theirs)
    else {
        return None;
    };
    let comparable = our_raw.zip(their_raw).is_none_or(|(ours, theirs)| alike(ours, theirs));
    comparable.then_some(our_time / their_time)
}

impl Report {
    /// Of all samples of a group.
    pub fn new(group: &Group, all: &[Series]) -> Self {
        Self {
            group: group.name,
            what: group.what,
            measure: Some(group.measure),
            rows: all.iter().map(|series| row(series, group.measure)).collect(),
            aims: group.aims.iter().map(|aim| verdict(aim, all)).collect(),
        }
    }

    /// How many aims there are, and how many of them are met.
    pub fn aims(&self) -> (usize, usize) {
        (self.aims.len(), self.aims.iter().filter(|aim| aim.met).count())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measure = self.measure.expect("a report that was made here");
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let head: &[&str] = match measure {
            Measure::Operation => &["", "ns"],
            Measure::RoundTrip => &["", "bytes", "ns", "raw ns", "times raw"],
            Measure::Message => &["", "bytes", "M messages/s", "MB/s", "raw ns"],
            Measure::Notice => &["", "MB touched", "us"],
        };
        table.set_header(head.iter().copied().chain(["kept", "moved", "pre-empted"]));
        for row in &self.rows {
            let show = |spread: Option<Spread>, scale: f64| match spread {
                Some(Spread { median, p10, p90 }) => {
                    Spread { median: median / scale, p10: p10 / scale, p90: p90 / scale }.to_string()
                }
                None => "-".into(),
            };
            let mut cells = vec![row.contender.clone()];
            cells.extend(match measure {
                Measure::Operation => vec![show(row.nanoseconds, 1.0)],
                Measure::RoundTrip => vec![
                    row.bytes.to_string(),
                    show(row.nanoseconds, 1.0),
                    show(row.raw, 1.0),
                    show(row.times_raw, 1.0),
                ],
                Measure::Message => vec![
                    row.bytes.to_string(),
                    show(row.messages_per_second, 1e6),
                    show(row.megabytes_per_second, 1.0),
                    show(row.raw, 1.0),
                ],
                Measure::Notice => vec![(row.bytes >> 20).to_string(), show(row.nanoseconds, 1e3)],
            });
            cells.extend([row.kept, row.dropped_unsteady, row.dropped_preempted].map(|count| count.to_string()));
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{}: {}\n{}", self.group, self.what, table.trim_fmt())?;
        self.aims.iter().try_for_each(|aim| writeln!(f, "{aim}"))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met { "met   " } else { "MISSED" };
        let side = if self.at_most { "at most" } else { "at least" };
        let what = if self.at_most { "time of" } else { "rate of" };
        write!(f, "aim {verdict} {what} {}", self.contender)?;
        if self.bytes > 0 {
            write!(f, ", {} bytes", self.bytes)?;
        }
        write!(f, ": {side} {:.2} times {}; ", self.bound, self.rival)?;
        match self.ratio {
            Some(ratio) => write!(f, "measured {ratio}, {} rounds", self.rounds),
            None => f.write_str("no round was fit to be compared"),
        }
    }
}

/// What the columns mean.
pub fn legend() -> String {
    format!(
        "Medians, with 10th and 90th percentile of the values of single rounds. raw: a word to and fro over two cache lines,\n\
         between the same two processors, before and after each sample. Not counted: rounds in which raw before and after differ\n\
         by more than {:.0} % (\"moved\": the cores are not the same any more), and those in which the scheduler took a processor\n\
         away (\"pre-empted\"). An aim is judged by the median of the ratios of single rounds.",
        100.0 * UNSTEADY
    )
}
