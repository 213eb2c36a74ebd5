//! The report as one page: no file and no address beside it is needed to show it.

use std::fmt::Write as _;

use super::{
    Case, Report, ServerResult, failures_text, number,
    plot::{bars, escape, latencies},
};
use crate::{metric::Metric, stats::Spread};

const STYLE: &str = include_str!("page.css");

/// The page.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>cairn bench</title><style>{STYLE}</style></head><body>\n<h1>cairn bench</h1>\n"
    );
    out.push_str(&preface(report));
    for case in &report.cases {
        out.push_str(&section(case));
    }
    out + "</body></html>\n"
}

fn preface(report: &Report) -> String {
    let settings = &report.settings;
    let mut out = format!(
        "<p>{} on {} cores ({}, Linux {}); {} rounds of each server, one after the other in turn; bars are medians, whiskers \
         the lowest and the highest round. Seed {}, warm-up {} s, {} s after each round count for CPU and bytes.</p>\n<ul>",
        escape(&report.began),
        report.place.cores,
        escape(&report.place.cpu),
        escape(&report.place.kernel),
        settings.rounds,
        settings.seed,
        number(settings.warm_up_s),
        number(settings.settle_s)
    );
    for server in &report.servers {
        let before = server.rss_before_mib.map(|before| format!(", {} MiB before the run", number(before)));
        let before = before.unwrap_or_default();
        let _ = write!(out, "<li><b>{}</b> at {}{before}</li>", escape(&server.name), escape(&server.url));
    }
    let _ = writeln!(out, "</ul>\n<p>By <code>{}</code></p>", escape(&report.place.command.join(" ")));
    for note in &report.notes {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(note));
    }
    if report.interrupted {
        out.push_str("<p class=\"note\">Interrupted: this ends before its time.</p>\n");
    }
    out
}

fn section(case: &Case) -> String {
    let mut out = format!("<section><h2>{}</h2>\n<div class=\"plots\">", escape(&case.title));
    for metric in Metric::ALL {
        let values: Vec<(usize, &str, Spread)> = case
            .results
            .iter()
            .enumerate()
            .filter_map(|(place, result)| Some((place, result.server.as_str(), *result.metrics.get(&metric)?)))
            .collect();
        if !values.is_empty() {
            out.push_str(&bars(metric.name(), &values));
        }
    }
    let main = case.workload.main_kind();
    let lines: Vec<_> = case
        .results
        .iter()
        .enumerate()
        .filter_map(|(place, result)| {
            let seen = result.kinds.get(&main).filter(|seen| seen.operations > 0)?;
            Some((place, result.server.as_str(), seen.latency_ms))
        })
        .collect();
    if !lines.is_empty() {
        out.push_str(&latencies(&format!("latency of {}", main.name()), &lines));
    }
    out.push_str("</div>\n");
    out.push_str(&kinds(case));
    if let Some(cost) = case.harness_ms_per_operation {
        let _ = write!(
            out,
            "<p>The harness itself, against a server that does nothing: {} ms of CPU per operation.</p>",
            number(cost)
        );
    }
    out + "</section>\n"
}

fn kinds(case: &Case) -> String {
    let mut out = String::from(
        "<table><tr><th>server<th>operation<th>count<th>p50 ms<th>p90<th>p99<th>p99.9<th>max<th>failures</tr>",
    );
    for result in &case.results {
        out.push_str(&rows(result));
    }
    out + "</table>"
}

fn rows(result: &ServerResult) -> String {
    let mut out = String::new();
    for (kind, seen) in &result.kinds {
        let latency = &seen.latency_ms;
        let _ = write!(out, "<tr><td>{}<td>{}<td>{}", escape(&result.server), kind.name(), seen.operations);
        for value in [latency.p50, latency.p90, latency.p99, latency.p999, latency.max] {
            let _ = write!(out, "<td>{}", number(value));
        }
        let _ = writeln!(out, "<td>{}</tr>", escape(&failures_text(&seen.failures)));
    }
    let _ = writeln!(
        out,
        "<tr class=\"sum\"><td>{}<td colspan=\"7\">failures, reading back and removing included<td>{}</tr>",
        escape(&result.server),
        escape(&failures_text(&result.failures))
    );
    out
}
