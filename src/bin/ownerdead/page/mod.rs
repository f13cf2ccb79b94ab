//! The report as one HTML page: no script, nothing fetched, readable without either.
//!
//! Everything that comes from a record or a log is text to the template, which escapes it. The page forbids scripts and
//! requests to itself besides.

mod chart;
mod parts;
mod source;
#[cfg(test)]
mod tests;

use crate::{document::Document, output::time, report::Verdict};
use chrono::DateTime;
use indicatif::HumanCount;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// Styles that stand in the page, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'";

/// The page. The same document gives the same bytes.
pub fn page(document: &Document) -> String {
    let findings = document.found();
    let kills = source::kill_map(&document.records, document.root.as_deref());
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "ownerdead: " (word(document.verdict)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(document))
                main {
                    (problems(document))
                    @if !findings.is_empty() {
                        section aria-labelledby="findings" {
                            h2 id="findings" { "What was found" }
                            @for found in &findings { (parts::finding(found)) }
                        }
                    }
                    (parts::layers(&document.layers))
                    (parts::records(&document.records))
                    section aria-labelledby="deaths" {
                        h2 id="deaths" { "Where processes died" }
                        (parts::phases(&document.records))
                        @if kills.0.is_empty() {
                            p class="quiet" { "No record tells of places in the source." }
                        } @else {
                            p class="key quiet" {
                                "Fewest " @for heat in 1..=5 { span class=(format!("heat{heat}")) { (heat) } } " most deaths of a file. "
                                "A line with damage has a frame, and ✘ before the kind."
                            }
                            (kills)
                        }
                    }
                    (parts::times(document))
                    (parts::sweeps(&document.records))
                    (parts::runs(&document.records))
                }
                footer { "Written by ownerdead " (env!("CARGO_PKG_VERSION")) ". Times are UTC. What the words mean: docs/reports.md." }
            }
        }
    };
    markup.into_string().chars().map(harmless).collect()
}

/// Control characters, and those that turn the direction of text around, could make a page look like another one.
pub fn harmless(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{061c}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

fn head(document: &Document) -> Markup {
    let verdict = document.verdict;
    html! {
        header {
            div class={ "banner " (verdict) } {
                h1 { (mark(verdict)) " ownerdead: " (word(verdict)) }
                p { (sentence(document)) }
                p class="quiet" {
                    @if document.started_ms > 0 { "First run " (utc(document.started_ms)) ". " }
                    (what_ran(document)) "."
                }
            }
            dl class="figures" {
                div { dt { "deaths" } dd { (count(document.deaths)) } }
                div { dt { "cases" } dd { (count(document.cases)) } }
                div { dt { "findings" } dd class=[(document.findings > 0).then_some("fail")] { (count(document.findings)) } }
                div { dt { "median recovery" } dd {
                    @let all = document.recovery();
                    @if all.count() > 0 { (span(all.at(0.5) as f64)) } @else { "none taken" }
                } }
                div { dt { "time" } dd { (time(document.seconds)) } }
            }
            nav aria-label="Parts of this page" { ul {
                @if document.findings > 0 { li { a href="#findings" { "What was found" } } }
                @if !document.layers.is_empty() { li { a href="#layers" { "Layers" } } }
                @if !document.records.is_empty() { li { a href="#checks" { "Checks" } } }
                li { a href="#deaths" { "Where processes died" } }
                @if document.recovery().count() > 0 { li { a href="#times" { "Times" } } }
                @if document.records.iter().any(|record| record.instructions.is_some()) { li { a href="#sweeps" { "Instructions" } } }
            } }
        }
    }
}

fn sentence(document: &Document) -> String {
    let seen =
        format!("{} cases, {} deaths, {}", count(document.cases), count(document.deaths), time(document.seconds));
    match document.verdict {
        Verdict::Pass => format!("Nothing was found: {seen}."),
        Verdict::Fail => format!("Something was found, {} times: {seen}.", count(document.findings)),
        Verdict::Incomplete => format!("Nothing was found so far, and not all was looked at: {seen}."),
        Verdict::NotRun => "Nothing was checked.".to_owned(),
    }
}

/// Layers with their verdicts, or kinds of records and how many there are.
fn what_ran(document: &Document) -> String {
    let layers = document.layers.iter().map(|layer| format!("{} {}", layer.layer, word(layer.verdict)));
    let kinds = document.records.chunk_by(|one, other| one.kind == other.kind);
    let kinds = kinds.map(|records| format!("{} {}", records.len(), records[0].kind));
    let said: Vec<String> = if document.layers.is_empty() { kinds.collect() } else { layers.collect() };
    if said.is_empty() { "No record".to_owned() } else { format!("Checks: {}", said.join(", ")) }
}

fn problems(document: &Document) -> Markup {
    html! {
        @if !document.problems.is_empty() {
            section aria-labelledby="problems" {
                h2 id="problems" { "What could not be read" }
                p { "What is in these files is unknown, so this report is not a pass." }
                ul { @for problem in &document.problems { li { code { (problem) } } } }
            }
        }
    }
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✔",
        Verdict::Fail => "✘",
        Verdict::Incomplete => "◐",
        Verdict::NotRun => "○",
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "passed",
        Verdict::Fail => "FAILED",
        Verdict::Incomplete => "INCOMPLETE",
        Verdict::NotRun => "not run",
    }
}

/// A verdict in a table: a sign and a word, so that the colour is not needed.
fn verdict(verdict: Verdict) -> Markup {
    html! { span class={ "verdict " (verdict) } { (mark(verdict)) " " (word(verdict)) } }
}

/// A share as a bar; the number stands beside it.
fn bar(value: u64, most: u64) -> Markup {
    let width = 100.0 * value as f64 / most.max(1) as f64;
    html! {
        svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            rect width=(format!("{width:.1}")) height="10" {}
        }
    }
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `1 line`, `2 lines`.
fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A time of nanoseconds, in the unit that fits.
fn span(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = if value >= 9.95 { format!("{value:.0}") } else { format!("{value:.1}") };
    format!("{} {unit}", digits.strip_suffix(".0").unwrap_or(&digits))
}

fn utc(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(DateTime::from_timestamp_millis);
    time.map_or_else(
        || format!("{milliseconds} ms since 1970"),
        |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}
