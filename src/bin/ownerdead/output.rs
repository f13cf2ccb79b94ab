//! The end of a run: a table and a sentence, or one JSON object.

use crate::report::{Outcome, Verdict};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use indicatif::HumanCount;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
pub struct Summary {
    pub layers: Vec<Outcome>,
    pub verdict: Verdict,
    /// Run time of all layers, without building.
    pub seconds: f64,
    /// The page, from the root of the checkout.
    pub html: String,
    /// The directory of the records, from the root of the checkout.
    pub records: String,
}

/// Columns of the table at most: a reason may be long, and is folded then.
const WIDTH: u16 = 140;

impl Summary {
    pub fn new(layers: Vec<Outcome>) -> Summary {
        let seconds: f64 = layers.iter().map(|layer| layer.seconds).sum();
        let verdict = overall(&layers);
        let seconds = (seconds * 1000.0).round() / 1000.0;
        Summary { layers, verdict, seconds, html: String::new(), records: String::new() }
    }

    pub fn json(&self) -> io::Result<()> {
        writeln!(io::stdout(), "{}", serde_json::to_string(self)?)
    }

    pub fn print(&self) -> io::Result<()> {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        table.set_header(["layer", "cases", "deaths", "violations", "time", "verdict", "reason"]);
        for layer in &self.layers {
            table.add_row([
                layer.layer.to_string(),
                HumanCount(layer.cases).to_string(),
                HumanCount(layer.deaths).to_string(),
                HumanCount(layer.violations).to_string(),
                time(layer.seconds),
                layer.verdict.to_string(),
                layer.reason.clone(),
            ]);
        }
        for numbers in 1..=4 {
            if let Some(column) = table.column_mut(numbers) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(io::stdout(), "{table}\n{}", self.sentence())
    }

    fn sentence(&self) -> String {
        let with = |verdict| {
            let of_verdict = self.layers.iter().filter(move |layer| layer.verdict == verdict);
            of_verdict.map(|layer| layer.layer.to_string()).collect::<Vec<_>>()
        };
        let sum = |figure: fn(&Outcome) -> u64| HumanCount(self.layers.iter().map(figure).sum());
        let (mut failed, mut short, left_out) = (with(Verdict::Fail), with(Verdict::Incomplete), with(Verdict::NotRun));
        // What no layer says, the report says of a record.
        match self.verdict {
            Verdict::Fail if failed.is_empty() => failed.push("the records".to_owned()),
            Verdict::Incomplete if short.is_empty() => short.push("the records".to_owned()),
            _ => {}
        }
        let seen = format!(
            "{} cases and {} deaths in {}",
            sum(|layer| layer.cases),
            sum(|layer| layer.deaths),
            time(self.seconds)
        );
        let said = match self.verdict {
            Verdict::Fail => format!("FAILED in {}; violations: {}; {seen}", failed.join(", "), sum(|l| l.violations)),
            Verdict::Incomplete => format!("INCOMPLETE in {}: no violation so far; {seen}", short.join(", ")),
            Verdict::NotRun => return "Nothing was checked: no layer could run here.".to_owned(),
            Verdict::Pass => format!("No violation: {seen}"),
        };
        let also = match (self.verdict, short.as_slice()) {
            (Verdict::Fail, [_, ..]) => format!("; incomplete: {}", short.join(", ")),
            _ => String::new(),
        };
        let missing =
            if left_out.is_empty() { String::new() } else { format!("; did not run: {}", left_out.join(", ")) };
        format!("{said}{also}{missing}.")
    }
}

/// The worst of the layers; one that could not run takes nothing from those that did.
fn overall(layers: &[Outcome]) -> Verdict {
    layers.iter().map(|layer| layer.verdict).max().unwrap_or(Verdict::NotRun)
}

pub fn time(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round();
    if whole >= 3600.0 {
        return format!("{} h {} min", (whole / 3600.0).floor(), (whole % 3600.0 / 60.0).floor());
    }
    format!("{} min {} s", (whole / 60.0).floor(), whole % 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Layer;

    fn summary(verdicts: &[Verdict]) -> Summary {
        let outcome = |&verdict| Outcome::without_run(Layer::Chaos, verdict, String::new());
        Summary::new(verdicts.iter().map(outcome).collect())
    }

    #[test]
    fn the_worst_layer_decides() {
        use Verdict::{Fail, Incomplete, NotRun, Pass};
        assert_eq!(summary(&[Pass, Incomplete, Fail, NotRun]).verdict, Fail);
        assert_eq!(summary(&[Pass, Incomplete, NotRun]).verdict, Incomplete);
        assert_eq!(summary(&[Pass, NotRun]).verdict, Pass);
        assert_eq!(summary(&[NotRun]).verdict, NotRun);
    }

    #[test]
    fn times_are_for_people() {
        assert_eq!((time(4.25).as_str(), time(119.7).as_str()), ("4.2 s", "2 min 0 s"));
        assert_eq!(time(7384.0), "2 h 3 min");
    }

    #[test]
    fn json_names_what_the_readme_names() {
        let value = serde_json::to_value(summary(&[Verdict::NotRun])).unwrap();
        assert_eq!(value["layers"][0]["name"], "chaos");
        assert_eq!(value["layers"][0]["verdict"], "not-run");
        for key in ["cases", "deaths", "violations", "seconds", "reason"] {
            assert!(!value["layers"][0][key].is_null(), "{key}");
        }
    }
}
