//! Plots as inline SVG: colours come from the page's style sheet, so that they fit light and dark.

use std::fmt::Write as _;

use super::{Quantiles, number};
use crate::stats::Spread;

const WIDTH: f64 = 420.0;
const NAME_WIDTH: f64 = 92.0;
const BAR_HEIGHT: f64 = 18.0;
const BAR_GAP: f64 = 8.0;

/// Text that cannot be taken for markup.
#[must_use]
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One bar per server with a whisker from the lowest to the highest round.
#[must_use]
pub(super) fn bars(title: &str, values: &[(usize, &str, Spread)]) -> String {
    let most = values.iter().map(|(_, _, spread)| spread.high).fold(0.0, f64::max);
    let room = WIDTH - NAME_WIDTH - 70.0;
    let x = |value: f64| NAME_WIDTH + if most > 0.0 { value / most * room } else { 0.0 };
    let height = (BAR_HEIGHT + BAR_GAP).mul_add(count(values.len()), 30.0);
    let mut out = open(title, height);
    for (row, (server, name, spread)) in values.iter().enumerate() {
        let top = (BAR_HEIGHT + BAR_GAP).mul_add(count(row), 28.0);
        let (middle, base) = (top + BAR_HEIGHT / 2.0, top + 13.0);
        let _ = write!(
            out,
            r#"<text x="{:.1}" y="{base:.1}" class="end">{}</text><rect class="s{server}" x="{NAME_WIDTH}" y="{top:.1}" width="{:.1}" height="{BAR_HEIGHT}" rx="2"/><path class="whisker" d="M{:.1} {middle:.1}H{:.1}"/><text x="{:.1}" y="{base:.1}">{}</text>"#,
            NAME_WIDTH - 8.0,
            escape(name),
            x(spread.median) - NAME_WIDTH,
            x(spread.low),
            x(spread.high),
            x(spread.high) + 6.0,
            number(spread.median),
        );
    }
    out + "</svg>"
}

/// Latency over the share of requests, both logarithmic: where the lines bend up, the slow ones begin.
#[must_use]
pub(super) fn latencies(title: &str, lines: &[(usize, &str, Quantiles)]) -> String {
    let points = |line: &Quantiles| [line.p50, line.p90, line.p99, line.p999, line.max].map(|ms| ms.max(1e-3).log10());
    let all: Vec<f64> = lines.iter().flat_map(|(_, _, line)| points(line)).collect();
    let (low, high) = (all.iter().copied().fold(f64::MAX, f64::min), all.iter().copied().fold(f64::MIN, f64::max));
    let (low, high) = (low.floor(), if high.ceil() > low.floor() { high.ceil() } else { low.floor() + 1.0 });
    let (top, bottom, left) = (32.0, 182.0, 56.0);
    let y = |log: f64| bottom - (log - low) / (high - low) * (bottom - top);
    let x = |step: usize| (WIDTH - left - 24.0).mul_add(count(step) / 4.0, left);
    let mut out = open(title, 206.0 + 16.0 * count(lines.len().div_ceil(3)));
    let mut decade = low;
    while decade <= high {
        let height = y(decade);
        let _ = write!(
            out,
            r#"<path class="grid" d="M{left} {height:.1}H{:.1}"/><text class="end" x="{:.1}" y="{:.1}">{} ms</text>"#,
            WIDTH - 24.0,
            left - 6.0,
            height + 4.0,
            number(10f64.powf(decade)),
        );
        decade += 1.0;
    }
    for (step, name) in ["p50", "p90", "p99", "p99.9", "max"].iter().enumerate() {
        let _ = write!(out, r#"<text class="mid" x="{:.1}" y="198">{name}</text>"#, x(step));
    }
    for (row, (server, name, line)) in lines.iter().enumerate() {
        let path: Vec<String> =
            points(line).iter().enumerate().map(|(step, log)| format!("{:.1} {:.1}", x(step), y(*log))).collect();
        let (at, base) = (left + 118.0 * count(row % 3), 216.0 + 16.0 * count(row / 3));
        let _ = write!(
            out,
            r#"<path class="line l{server}" d="M{}"/><rect class="s{server}" x="{at:.1}" y="{:.1}" width="10" height="10" rx="2"/><text x="{:.1}" y="{base:.1}">{}</text>"#,
            path.join("L"),
            base - 9.0,
            at + 15.0,
            escape(name),
        );
    }
    out + "</svg>"
}

fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{title}"><text class="title" x="0" y="14">{title}</text>"#
    )
}

#[expect(clippy::cast_precision_loss, reason = "a handful")]
const fn count(value: usize) -> f64 {
    value as f64
}
