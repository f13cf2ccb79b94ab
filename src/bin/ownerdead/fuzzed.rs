//! What each fuzz target did, as libFuzzer's own lines say: the figures of a layer's checks, and a table of them.

use crate::report::{Check, Verdict};

/// One target's run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fuzzed {
    pub target: String,
    pub executions: u64,
    /// Executions a second, over the whole run.
    pub rate: u64,
    /// Places in the code (`cov:`), and what is told of them (`ft:`): how often they were run, and after which others.
    pub edges: u64,
    pub features: u64,
    /// Inputs that are kept, since each adds a feature.
    pub corpus: u64,
    /// What it ended by.
    pub findings: Vec<String>,
    seconds: f64,
    /// Whether it came to the end of its time.
    ended: bool,
}

impl Fuzzed {
    pub fn new(target: &str) -> Fuzzed {
        Fuzzed { target: target.to_owned(), ..Fuzzed::default() }
    }

    /// Whether the line is one of libFuzzer's figures:
    /// `#1234  NEW    cov: 56 ft: 78 corp: 9/10Kb lim: 4096 exec/s: 617 rss: 45Mb ...`, `Done 1234 runs in 5 second(s)`,
    /// `stat::number_of_executed_units: 1234`, `stat::average_exec_per_sec: 246`.
    pub fn feed(&mut self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { return false };
        if let Some(executions) = first.strip_prefix('#').and_then(|digits| digits.parse().ok()) {
            self.executions = self.executions.max(executions);
            self.pulse(words);
        } else if let Some(rest) = line.strip_prefix("Done ") {
            let Some((executions, seconds)) = done(rest) else { return false };
            self.executions = self.executions.max(executions);
            (self.seconds, self.ended) = (seconds, true);
        } else if let Some(stat) = first.strip_prefix("stat::") {
            let Some(number) = words.next().and_then(|digits| digits.parse().ok()) else { return false };
            match stat {
                "number_of_executed_units:" => self.executions = self.executions.max(number),
                "average_exec_per_sec:" => self.rate = number,
                _ => {}
            }
        } else {
            return false;
        }
        true
    }

    /// Names and numbers in turn, behind a word that says what happened.
    fn pulse<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        let mut name = "";
        for word in words {
            let digits = word.split_once('/').map_or(word, |(inputs, _)| inputs);
            if let Ok(number) = digits.parse() {
                match name {
                    "cov:" => self.edges = number,
                    "ft:" => self.features = number,
                    "corp:" => self.corpus = number,
                    // Until the end has said it better.
                    "exec/s:" => self.rate = number,
                    _ => {}
                }
            }
            name = word;
        }
    }

    fn said(&self) -> String {
        let Fuzzed { rate, edges, features, corpus, .. } = self;
        format!("{rate} executions/s, {edges} edges, {features} features, {corpus} inputs in the corpus")
    }

    /// The target as a check of its layer.
    pub fn check(&self) -> Check {
        let violations = self.findings.len() as u64;
        let verdict = match (violations, self.ended) {
            (1.., _) => Verdict::Fail,
            (0, true) => Verdict::Pass,
            (0, false) => Verdict::Incomplete,
        };
        let found = self.findings.iter().map(|input| format!("the fuzzer found this: {input}; "));
        Check {
            name: self.target.clone(),
            cases: self.executions,
            deaths: 0,
            violations,
            seconds: self.seconds,
            verdict,
            detail: found.collect::<String>() + &self.said(),
        }
    }
}

/// `1234 runs in 5 second(s)`
fn done(text: &str) -> Option<(u64, f64)> {
    let (executions, rest) = text.split_once(" runs in ")?;
    Some((executions.parse().ok()?, rest.split_whitespace().next()?.parse().ok()?))
}

/// A table for machines, tab separated: a line for each target; those of `all` that did not get their turn have dashes.
pub fn table(all: &[&str], fuzzed: &[Fuzzed]) -> String {
    let mut text = "target\texecutions/s\texecutions\tedges\tfeatures\tcorpus\tfindings\tseconds\n".to_owned();
    for target in all {
        let line = match fuzzed.iter().find(|fuzzed| fuzzed.target == *target) {
            Some(Fuzzed { rate, executions, edges, features, corpus, findings, seconds, .. }) => {
                let findings = findings.len();
                format!("{target}\t{rate}\t{executions}\t{edges}\t{features}\t{corpus}\t{findings}\t{seconds}\n")
            }
            None => format!("{target}{}\n", "\t-".repeat(7)),
        };
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fuzzed(lines: &[&str]) -> Fuzzed {
        let mut fuzzed = Fuzzed::new("t");
        lines.iter().for_each(|line| assert!(fuzzed.feed(line), "{line}"));
        fuzzed
    }

    const PULSE: &str = "#2048\tpulse  cov: 56 ft: 78 corp: 9/1102b lim: 4096 exec/s: 1024 rss: 45Mb";

    #[test]
    fn the_last_figures_count() {
        let seen = fuzzed(&[
            "#62\tINITED cov: 12 ft: 13 corp: 4/10Kb exec/s: 0 rss: 44Mb",
            PULSE,
            "#3000\tREDUCE cov: 57 ft: 80 corp: 10/1200b lim: 4096 exec/s: 1000 rss: 45Mb L: 3/97 MS: 2 EraseBytes-",
            "#4000\tDONE   cov: 57 ft: 81 corp: 11/1200b lim: 4096 exec/s: 800 rss: 45Mb",
            "Done 4000 runs in 5 second(s)",
            "stat::number_of_executed_units: 4000",
            "stat::average_exec_per_sec:     799",
            "stat::peak_rss_mb:              45",
        ]);
        assert_eq!((seen.executions, seen.rate, seen.edges), (4000, 799, 57));
        assert_eq!((seen.features, seen.corpus), (81, 11));
        let check = seen.check();
        assert_eq!((check.name.as_str(), check.cases, check.verdict), ("t", 4000, Verdict::Pass));
        assert_eq!(check.detail, "799 executions/s, 57 edges, 81 features, 11 inputs in the corpus");
    }

    #[test]
    fn what_a_target_prints_itself_is_no_figure() {
        let mut fuzzed = Fuzzed::new("t");
        for line in ["", "# 3 deaths", "#a", "Done", "Done with it", "stat::number_of_executed_units: many", "cov: 3"] {
            assert!(!fuzzed.feed(line), "{line:?}");
        }
        assert_eq!(fuzzed, Fuzzed::new("t"));
    }

    #[test]
    fn a_target_that_stopped_early_is_incomplete_and_one_that_found_something_has_failed() {
        let mut seen = fuzzed(&[PULSE]);
        assert_eq!((seen.check().verdict, seen.rate), (Verdict::Incomplete, 1024));
        seen.findings.push("input in a/crash-1".to_owned());
        let check = seen.check();
        assert_eq!((check.verdict, check.violations), (Verdict::Fail, 1));
        assert!(check.detail.contains("a/crash-1"), "{}", check.detail);
    }

    #[test]
    fn the_table_has_a_line_for_each_target_also_where_none_of_it_ran() {
        let text = table(&["t", "later"], &[fuzzed(&[PULSE, "Done 2050 runs in 2 second(s)"])]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines[0][0], "target");
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert_eq!(lines[1], ["t", "1024", "2050", "56", "78", "9", "0", "2"]);
        assert_eq!((lines[2][0], lines[2][1]), ("later", "-"));
    }
}
