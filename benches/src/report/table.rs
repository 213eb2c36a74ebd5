//! The report for a terminal.

use std::fmt::Write as _;

use super::{Case, Report, ServerResult, failures_text, number};
use crate::{metric::Metric, stats::Spread};

/// The whole report as text.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    for case in &report.cases {
        let _ = writeln!(out, "{}\n", case.title);
        out.push_str(&lines(&metric_rows(case)));
        out.push('\n');
        out.push_str(&lines(&kind_rows(case)));
        for result in &case.results {
            if !result.failures.is_empty() {
                let _ = writeln!(out, "failures of {}: {}", result.server, failures_text(&result.failures));
            }
        }
        if let Some(cost) = case.harness_ms_per_operation {
            let _ =
                writeln!(out, "harness against a server that does nothing: {} ms of CPU per operation", number(cost));
        }
        out.push('\n');
    }
    for server in &report.servers {
        if let Some(before) = server.rss_before_mib {
            let _ = writeln!(out, "memory of {} before the run: {} MiB", server.name, number(before));
        }
    }
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    if report.interrupted {
        out.push_str("interrupted: what is above ends before its time\n");
    }
    out.trim_end().to_owned()
}

fn metric_rows(case: &Case) -> Vec<Vec<String>> {
    let mut head = vec![String::new()];
    head.extend(case.results.iter().map(|result| result.server.clone()));
    let first = case.results.first().map(|result| result.server.clone()).unwrap_or_default();
    head.extend(case.results.iter().skip(1).map(|result| format!("{} / {first}", result.server)));
    let mut rows = vec![head];
    for metric in Metric::ALL {
        if case.results.iter().all(|result| !result.metrics.contains_key(&metric)) {
            continue;
        }
        let cell = |spread: Option<&Spread>| spread.map(shown).unwrap_or_default();
        let mut row = vec![metric.name().to_owned()];
        row.extend(case.results.iter().map(|result| cell(result.metrics.get(&metric))));
        row.extend(case.results.iter().skip(1).map(|result| cell(result.against_first.get(&metric))));
        rows.push(row);
    }
    rows
}

fn shown(spread: &Spread) -> String {
    format!("{} ({} to {})", number(spread.median), number(spread.low), number(spread.high))
}

fn kind_rows(case: &Case) -> Vec<Vec<String>> {
    let head = ["operation", "server", "count", "failed", "p50 ms", "p90", "p99", "p99.9", "max", "first byte p50"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut kinds: Vec<_> = case.results.iter().flat_map(|result| result.kinds.keys().copied()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        rows.extend(case.results.iter().filter_map(|result| kind_row(result, kind)));
    }
    rows
}

fn kind_row(result: &ServerResult, kind: crate::recorder::Kind) -> Option<Vec<String>> {
    let seen = result.kinds.get(&kind)?;
    let latency = &seen.latency_ms;
    let mut row = vec![kind.name().to_owned(), result.server.clone(), seen.operations.to_string()];
    row.push(seen.failures.values().sum::<u64>().to_string());
    row.extend([latency.p50, latency.p90, latency.p99, latency.p999, latency.max].map(number));
    row.push(seen.first_byte_ms.map(|first| number(first.p50)).unwrap_or_default());
    Some(row)
}

/// Lines the columns up: the first two to the left if they are words, numbers to the right.
fn lines(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}
