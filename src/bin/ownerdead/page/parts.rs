//! The parts of the page.

use super::{bar, chart, count, counted, mark, span, utc, verdict};
use crate::{
    document::{Document, Found},
    output::time,
    report::Outcome,
};
use maud::{Markup, html};
use ownerdead::harness::record::{Kind, Record};
use std::collections::BTreeMap;

pub fn finding(found: &Found<'_>) -> Markup {
    html! {
        article class="finding" {
            h3 { span class="fail" { "✘ " (found.kind) } " in " (found.check) @if found.count > 1 { ", " (count(found.count)) " times" } }
            p { (found.text) }
            @if !found.repeat.is_empty() { p class="quiet" { "To repeat it:" } pre { code { (found.repeat) } } }
            @if let Some(artefact) = found.artefact { p class="quiet" { "To look into: " code { (artefact) } } }
        }
    }
}

pub fn layers(layers: &[Outcome]) -> Markup {
    html! { @if !layers.is_empty() {
        section aria-labelledby="layers" {
            h2 id="layers" { "Layers" }
            div class="wide" tabindex="0" role="region" aria-labelledby="layers" { table {
                thead { tr {
                    th scope="col" { "layer" } th scope="col" { "verdict" }
                    th scope="col" class="number" { "cases" } th scope="col" class="number" { "deaths" }
                    th scope="col" class="number" { "violations" } th scope="col" class="number" { "time" } th scope="col" { "why" }
                } }
                tbody { @for layer in layers { tr {
                    th scope="row" { (layer.layer) } td { (verdict(layer.verdict)) }
                    td class="number" { (count(layer.cases)) } td class="number" { (count(layer.deaths)) }
                    td class="number" { (count(layer.violations)) } td class="number" { (time(layer.seconds)) }
                    td { (layer.reason) }
                } } }
            } }
            @for layer in layers.iter().filter(|layer| !layer.checks.is_empty()) { (checks(layer)) }
        }
    } }
}

fn checks(layer: &Outcome) -> Markup {
    let good = layer.checks.iter().filter(|check| check.verdict == crate::report::Verdict::Pass).count();
    html! {
        details open[good < layer.checks.len()] {
            summary { (good) " of " (layer.checks.len()) " checks of " strong { (layer.layer) } " passed" }
            div class="wide" { table {
                caption { "Checks of " (layer.layer) }
                thead { tr {
                    th scope="col" { "check" } th scope="col" { "verdict" } th scope="col" class="number" { "cases" }
                    th scope="col" class="number" { "deaths" } th scope="col" class="number" { "time" } th scope="col" { "said" }
                } }
                tbody { @for check in &layer.checks { tr {
                    th scope="row" { (check.name) } td { (verdict(check.verdict)) }
                    td class="number" { (count(check.cases)) } td class="number" { (count(check.deaths)) }
                    td class="number" { (time(check.seconds)) } td { (check.detail) }
                } } }
            } }
            @if !layer.repeat.is_empty() { p class="quiet" { "To run it again: " code { (layer.repeat) } } }
        }
    }
}

pub fn records(records: &[Record]) -> Markup {
    html! { @if !records.is_empty() {
        section aria-labelledby="checks" {
            h2 id="checks" { "Checks with a record" }
            div class="wide" tabindex="0" role="region" aria-labelledby="checks" { table {
                thead { tr {
                    th scope="col" { "check" } th scope="col" { "verdict" } th scope="col" class="number" { "deaths" }
                    th scope="col" class="number" { "cases" } th scope="col" class="number" { "findings" }
                    th scope="col" class="number" { "recovery: median" } th scope="col" class="number" { "99 %" }
                    th scope="col" class="number" { "time" } th scope="col" class="number" { "runs" } th scope="col" { "why" }
                } }
                tbody { @for record in records { tr {
                    th scope="row" { (record.name) " " span class="quiet" { (record.kind) } } td { (verdict(record.verdict)) }
                    td class="number" { (count(record.deaths)) } td class="number" { (count(record.cases)) }
                    td class="number" { (count(record.findings.iter().map(|finding| finding.count.max(1)).sum())) }
                    @for share in [0.5, 0.99] { td class="number" {
                        @if record.recovery.count() > 0 { (span(record.recovery.at(share) as f64)) } @else { "-" }
                    } }
                    td class="number" { (time(record.took_ms as f64 / 1e3)) } td class="number" { (record.runs.len()) }
                    td { (record.reason) }
                } } }
            } }
        }
    } }
}

/// In which phase of their work they died: a bar for each check, and the same in words.
pub fn phases(records: &[Record]) -> Markup {
    html! { @if records.iter().any(|record| !record.phases.is_empty()) {
        div class="wide" tabindex="0" role="region" aria-labelledby="deaths" { table {
            caption { "Deaths by what the victim was doing, of real processes" }
            thead { tr { th scope="col" { "check" } th scope="col" class="number" { "deaths" } th scope="col" { "doing" } } }
            tbody { @for record in records.iter().filter(|record| !record.phases.is_empty()) {
                @let all = record.phases.values().fold(0u64, |sum, kills| sum.saturating_add(*kills)).max(1);
                tr {
                    th scope="row" { (record.name) } td class="number" { (count(all)) }
                    td { (stack(&record.phases, all)) }
                }
            } }
        } }
    } }
}

/// The most frequent first.
fn stack(phases: &BTreeMap<String, u64>, all: u64) -> Markup {
    let mut parts: Vec<(&str, f64)> =
        phases.iter().map(|(phase, kills)| (phase.as_str(), 100.0 * *kills as f64 / all as f64)).collect();
    parts.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(other.0)));
    let begins = parts.iter().scan(0.0, |end, part| {
        *end += part.1;
        Some(*end - part.1)
    });
    html! {
        svg class="stack" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            @for (index, (begin, (phase, share))) in begins.zip(&parts).enumerate() {
                rect class=(format!("part{}", index % 4)) x=(format!("{begin:.2}")) width=(format!("{share:.2}")) height="10" {
                    title { (phase) (format!(" {share:.1} %")) }
                }
            }
        }
        @for (index, (phase, share)) in parts.iter().enumerate() {
            @if index > 0 { ", " }
            span class="together" { (phase) (format!(" {share:.0} %")) }
        }
    }
}

/// Recovery times and progress.
pub fn times(document: &Document) -> Markup {
    let timed: Vec<_> = document.records.iter().filter(|record| record.recovery.count() > 0).collect();
    let moving = document.records.iter().any(|record| !record.progress.points().is_empty());
    let all = document.recovery();
    html! {
        @if !timed.is_empty() || moving {
            section aria-labelledby="times" {
                h2 id="times" { "Recovery times and progress" }
                div class="charts" {
                    @if !timed.is_empty() { figure {
                        (chart::recovery("all-r", "From a kill to a survivor's next success, all checks", &all))
                        figcaption { strong { "From a kill to a survivor's next success. " } (chart::said(&all)) "." }
                    } }
                    @if moving { figure {
                        (chart::progress("all-p", "Deaths over time, all checks", &document.progress()))
                        figcaption { strong { "Deaths over time, all checks together. " } "A triangle is something found." }
                    } }
                }
                @if timed.len() > 1 { details {
                    summary { "Each check alone" }
                    div class="charts" { @for (index, record) in timed.iter().enumerate() {
                        figure {
                            (chart::recovery(&format!("r{index}"), &format!("Recovery in {}", record.name), &record.recovery))
                            figcaption { strong { (record.name) ". " } (chart::said(&record.recovery)) "." }
                        }
                        @if !record.progress.points().is_empty() { figure {
                            (chart::progress(&format!("p{index}"), &format!("Deaths over time in {}", record.name), &record.progress))
                            figcaption { strong { (record.name) ". " } "Deaths over time." }
                        } }
                    } }
                } }
            }
        }
    }
}

pub fn sweeps(records: &[Record]) -> Markup {
    let swept: Vec<_> = records.iter().filter_map(|record| record.instructions.map(|found| (record, found))).collect();
    html! { @if !swept.is_empty() {
        section aria-labelledby="sweeps" {
            h2 id="sweeps" { "Instructions" }
            div class="wide" tabindex="0" role="region" aria-labelledby="sweeps" { table {
                thead { tr {
                    th scope="col" { "sweep" } th scope="col" class="number" { "come by" } th scope="col" class="number" { "of" }
                    th scope="col" { "share" } th scope="col" class="number" { "executed" }
                    th scope="col" class="number" { "outside the code" } th scope="col" class="number" { "states" }
                } }
                tbody { @for (record, found) in &swept { tr {
                    th scope="row" { (record.name) } td class="number" { (count(found.covered)) } td class="number" { (count(found.total)) }
                    td { span class="together" { (bar(found.covered, found.total)) " "
                        (format!("{:.1} %", 100.0 * found.covered as f64 / found.total.max(1) as f64)) } }
                    td class="number" { (count(found.executed)) } td class="number" { (count(found.outside)) }
                    td class="number" { (count(record.states)) }
                } } }
            } }
            @for (record, _) in swept.iter().filter(|(record, _)| !record.uncovered.is_empty()) { (uncovered(record)) }
        }
    } }
}

fn uncovered(record: &Record) -> Markup {
    let silent = record.uncovered.iter().filter(|missed| missed.reason.is_empty()).count();
    html! {
        details open[silent > 0] {
            summary { "Not come by in " strong { (record.name) } ": " (record.uncovered.len()) " places, " (silent) " without a reason" }
            div class="wide" { table {
                caption { "Instructions that " (record.name) " did not come by" }
                thead { tr { th scope="col" { "place" } th scope="col" { "function" } th scope="col" class="number" { "instructions" } th scope="col" { "reason" } } }
                tbody { @for missed in &record.uncovered { tr {
                    th scope="row" { code { (missed.file) ":" (missed.line) } } td { code { (missed.function) } }
                    td class="number" { (count(missed.instructions)) }
                    td { @if missed.reason.is_empty() { span class="incomplete" { "◐ none given" } } @else { (missed.reason) } }
                } } }
            } }
        }
    }
}

/// Every run that is in here: seeds and shards.
pub fn runs(records: &[Record]) -> Markup {
    html! { @if records.iter().any(|record| record.kind != Kind::Model) {
        section aria-labelledby="runs" {
            h2 id="runs" { "Runs and seeds" }
            @for record in records.iter().filter(|record| record.kind != Kind::Model) { details {
                summary { (mark(record.verdict)) " " strong { (record.name) } ": " (counted(record.runs.len() as u64, "run")) }
                div class="wide" { table {
                    caption { "Runs of " (record.name) }
                    thead { tr {
                        th scope="col" { "began" } th scope="col" { "shard" } th scope="col" class="number" { "seed" }
                        th scope="col" class="number" { "time" } th scope="col" { "verdict" } th scope="col" { "why" }
                    } }
                    tbody { @for run in &record.runs { tr {
                        th scope="row" { (utc(run.started_ms)) } td { (if run.shard.is_empty() { "-" } else { run.shard.as_str() }) }
                        td class="number" { (run.seed) } td class="number" { (time(run.took_ms as f64 / 1e3)) }
                        td { (verdict(run.verdict)) } td { (run.reason) }
                    } } }
                } }
            } }
        }
    } }
}
