//! Figures, as SVG with a title and a description in words.

use super::{count, span, utc};
use maud::{Markup, html};
use ownerdead::harness::record::{Progress, Times};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 200.0;
/// Room for what is written at the left, at the right, above and below.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 28.0;
/// Bars to a power of ten.
const BARS: f64 = 20.0;

/// To a hundredth of a unit: so that the file is the same on every machine, and short.
fn at(value: f64) -> String {
    format!("{value:.2}")
}

fn across(share: f64) -> f64 {
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

fn up(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

/// The frame of a chart, with marks on both axes.
fn chart(id: &str, title: &str, said: &str, top: &str, marks: &[(f64, String)], inside: &Markup) -> Markup {
    html! {
        svg class="chart" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-labelledby=(format!("{id}-t {id}-d")) {
            title id=(format!("{id}-t")) { (title) }
            desc id=(format!("{id}-d")) { (said) }
            line class="axis" x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(at(up(0.0))) y2=(at(up(0.0))) {}
            line class="grid" x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(at(up(1.0))) y2=(at(up(1.0))) {}
            text x=(at(LEFT - 6.0)) y=(at(up(1.0) + 4.0)) text-anchor="end" { (top) }
            text x=(at(LEFT - 6.0)) y=(at(up(0.0) + 4.0)) text-anchor="end" { "0" }
            @for (share, text) in marks {
                line class="grid" x1=(at(across(*share))) x2=(at(across(*share))) y1=(at(up(1.0))) y2=(at(up(0.0) + 4.0)) {}
                text x=(at(across(*share))) y=(at(HEIGHT - 8.0))
                    text-anchor=(if *share > 0.93 { "end" } else if *share < 0.03 { "start" } else { "middle" }) { (text) }
            }
            (inside)
        }
    }
}

/// How long it was from a kill until a survivor's next success: bars over powers of ten. Nothing if no time was taken.
pub fn recovery(id: &str, title: &str, times: &Times) -> Markup {
    let (Some(first), Some(last)) = (times.buckets().next(), times.buckets().last()) else { return html! {} };
    let log = |nanoseconds: f64| nanoseconds.max(1.0).log10();
    let (from, to) = (log(first.0 as f64).floor(), (log(last.0 as f64) + 1e-9).ceil());
    let to = to.max(from + 1.0);
    let bars = ((to - from) * BARS) as usize;
    let mut counts = vec![0u64; bars];
    for (nanoseconds, number) in times.buckets() {
        let bar = ((log(nanoseconds as f64) - from) * BARS) as usize;
        counts[bar.min(bars - 1)] += number;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let place = |nanoseconds: f64| (log(nanoseconds) - from) / (to - from);
    let (median, p99) = (times.at(0.5), times.at(0.99));
    let marks: Vec<_> = (from as i32..=to as i32)
        .map(|power| ((f64::from(power) - from) / (to - from), span(10f64.powi(power))))
        .collect();
    let width = (WIDTH - LEFT - RIGHT) / bars as f64;
    let inside = html! {
        @for (bar, number) in counts.iter().enumerate().filter(|(_, number)| **number > 0) {
            @let height = (up(0.0) - up(*number as f64 / most as f64)).max(1.0);
            @let begin = 10f64.powf(from + bar as f64 / BARS);
            rect class="bar" x=(at(LEFT + bar as f64 * width + 0.5)) y=(at(up(0.0) - height)) width=(at(width - 1.0)) height=(at(height)) {
                title { (span(begin)) " to " (span(begin * 10f64.powf(1.0 / BARS))) ": " (count(*number)) }
            }
        }
        @for (text, time) in [("median", median), ("99 %", p99)] {
            @let x = across(place(time as f64));
            line class="mark" x1=(at(x)) x2=(at(x)) y1=(at(up(1.0) - 4.0)) y2=(at(up(0.0))) {}
            @let before = text == "median";
            text class="strong" x=(at(if before { x - 4.0 } else { x + 4.0 })) y=(at(12.0)) text-anchor=(if before { "end" } else { "start" }) {
                (text) " " (span(time as f64))
            }
        }
    };
    chart(id, title, &said(times), &count(most), &marks, &inside)
}

/// The times in words.
pub fn said(times: &Times) -> String {
    let at = |share| span(times.at(share) as f64);
    format!(
        "{} recoveries; shortest {}, median {}, 99 % within {}, longest {}",
        count(times.count()),
        at(0.0),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

/// Deaths over time, added up, with a mark where something was found. Nothing if there are no points.
pub fn progress(id: &str, title: &str, progress: &Progress) -> Markup {
    let (Some(first), Some(last)) = (progress.points().first(), progress.points().last()) else { return html! {} };
    let (from, every) = (first.at, progress.every());
    let length = (last.at - from).saturating_add(every).max(1);
    let total = progress.points().iter().fold(0u64, |sum, point| sum.saturating_add(point.deaths));
    let share = |sum: u64| if total == 0 { 0.0 } else { sum as f64 / total as f64 };
    let when = |at: u64| across((at - from) as f64 / length as f64);
    let (mut sum, mut line) = (0u64, format!("M{} {}", at(when(from)), at(up(0.0))));
    let (mut found, mut end) = (Vec::new(), from);
    for point in progress.points() {
        // Nothing was done between: the line is level there.
        if point.at > end {
            line += &format!("L{} {}", at(when(point.at)), at(up(share(sum))));
        }
        sum = sum.saturating_add(point.deaths);
        end = point.at.saturating_add(every).min(from + length);
        line += &format!("L{} {}", at(when(end)), at(up(share(sum))));
        if point.findings > 0 {
            found.push((when(point.at), up(share(sum)), point.findings, point.at));
        }
    }
    let area = format!("{line}L{} {}Z", at(when(from + length)), at(up(0.0)));
    let findings = progress.points().iter().fold(0u64, |sum, point| sum.saturating_add(point.findings));
    let said = format!(
        "{} deaths and {} findings from {} on, within {}",
        count(total),
        count(findings),
        utc(from.saturating_mul(1000)),
        crate::output::time(length as f64)
    );
    let quarters = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share: f64| (share, crate::output::time(share * length as f64)));
    let inside = html! {
        path class="area" d=(area) {}
        path class="line" d=(line) {}
        @for (x, y, number, second) in found {
            path class="found" d=(format!("M{} {}l6 -11h-12z", at(x), at(y - 2.0))) {
                title { (count(number)) " found at " (utc(second.saturating_mul(1000))) }
            }
        }
    };
    chart(id, title, &said, &count(total), &quarters, &inside)
}
