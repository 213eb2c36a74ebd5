//! What a run found: the data, which is what the JSON file holds, and its forms for people.

mod html;
mod place;
mod plot;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    metric::{Metric, Usage},
    recorder::{Kind, Latencies, Seen, Sight},
    stats::{Spread, ratio, spread},
    workload::Workload,
};

pub use html::html;
pub use place::Place;
pub use table::table;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of the harness.
    pub version: &'static str,
    /// When it began, RFC 3339.
    pub began: String,
    /// Where, and by which command.
    pub place: Place,
    /// How it was run.
    pub settings: Settings,
    /// The servers, in the order of each round.
    pub servers: Vec<Server>,
    /// One for each workload and size.
    pub cases: Vec<Case>,
    /// What could not be measured, and what was left behind.
    pub notes: Vec<String>,
    /// Ctrl-C ended it.
    pub interrupted: bool,
}

/// How a run was made.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// Rounds of each server.
    pub rounds: u32,
    /// Most seconds of a round.
    pub round_s: f64,
    /// Most steps of a round.
    pub operations: Option<u64>,
    /// Steps per second of the open loop.
    pub rate: Option<f64>,
    /// Steps at once.
    pub concurrency: usize,
    /// From which everything drawn follows.
    pub seed: u64,
    /// Seconds of load before the first round.
    pub warm_up_s: f64,
    /// Seconds after a round that still count for CPU and bytes.
    pub settle_s: f64,
}

/// A server.
#[derive(Debug, Serialize)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Resident memory before the first load, if its processes are known: idle memory only of a server that was just
    /// started.
    pub rss_before_mib: Option<f64>,
}

/// A workload of one size.
#[derive(Debug, Serialize)]
pub struct Case {
    /// The workload.
    pub workload: Workload,
    /// As it is headed.
    pub title: String,
    /// Bytes of its objects.
    pub object_bytes: u64,
    /// The harness' CPU per request against a server in its own process that does nothing.
    pub harness_ms_per_operation: Option<f64>,
    /// One for each server.
    pub results: Vec<ServerResult>,
}

/// What was seen of one server.
#[derive(Debug, Default, Serialize)]
pub struct ServerResult {
    /// Its name.
    pub server: String,
    /// Round by round.
    pub rounds: Vec<Round>,
    /// Median and spread of each number.
    pub metrics: BTreeMap<Metric, Spread>,
    /// Each number divided by the first server's of the same round.
    pub against_first: BTreeMap<Metric, Spread>,
    /// By kind of operation, all rounds together.
    pub kinds: BTreeMap<Kind, KindResult>,
    /// Failures of all rounds and of what was read back, by code.
    pub failures: BTreeMap<String, u64>,
}

/// One round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// How long it took.
    pub seconds: f64,
    /// Its numbers.
    pub metrics: BTreeMap<Metric, f64>,
    /// What the server's processes used.
    pub usage: Option<Usage>,
}

/// A kind of operation over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct KindResult {
    /// Those that went well.
    pub operations: u64,
    /// Bytes of objects moved.
    pub bytes: u64,
    /// Latencies in milliseconds.
    pub latency_ms: Quantiles,
    /// Times to the first byte in milliseconds, where there is a body.
    pub first_byte_ms: Option<Quantiles>,
    /// Failures by code.
    pub failures: BTreeMap<String, u64>,
}

/// A distribution.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quantiles {
    /// Mean.
    pub mean: f64,
    /// Half are faster.
    pub p50: f64,
    /// Nine of ten are faster.
    pub p90: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// 999 of 1,000 are faster.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Quantiles {
    fn of(latencies: &Latencies) -> Option<Self> {
        (latencies.count() > 0).then(|| Self {
            mean: latencies.mean_ms(),
            p50: latencies.quantile_ms(0.5),
            p90: latencies.quantile_ms(0.9),
            p99: latencies.quantile_ms(0.99),
            p999: latencies.quantile_ms(0.999),
            max: latencies.max_ms(),
        })
    }
}

impl KindResult {
    fn of(seen: &Seen) -> Self {
        let none = Quantiles { mean: 0.0, p50: 0.0, p90: 0.0, p99: 0.0, p999: 0.0, max: 0.0 };
        Self {
            operations: seen.latencies.count(),
            bytes: seen.bytes,
            latency_ms: Quantiles::of(&seen.latencies).unwrap_or(none),
            first_byte_ms: Quantiles::of(&seen.first_byte),
            failures: seen.failures.0.clone(),
        }
    }
}

impl ServerResult {
    /// Puts the rounds together.
    pub(crate) fn finish(&mut self, sight: &Sight, first: Option<&Self>) {
        self.kinds = sight.iter().map(|(kind, seen)| (*kind, KindResult::of(seen))).collect();
        for seen in sight.values() {
            for (label, count) in &seen.failures.0 {
                *self.failures.entry(label.clone()).or_default() += count;
            }
        }
        self.count_what_was_not_moved();
        for metric in Metric::ALL {
            let own = self.values(metric);
            let known: Vec<f64> = own.iter().copied().flatten().collect();
            if let Some(spread) = spread(&known) {
                self.metrics.insert(metric, spread);
            }
            if let Some(ratio) = first.and_then(|first| ratio(&own, &first.values(metric))) {
                self.against_first.insert(metric, ratio);
            }
        }
    }

    /// A round in which nothing went well moved nothing: it counts with zero where other rounds have a rate.
    fn count_what_was_not_moved(&mut self) {
        for rate in [Metric::MegabytesPerS, Metric::KeysPerS] {
            if self.rounds.iter().any(|round| round.metrics.contains_key(&rate)) {
                self.rounds.iter_mut().for_each(|round| _ = round.metrics.entry(rate).or_insert(0.0));
            }
        }
    }

    fn values(&self, metric: Metric) -> Vec<Option<f64>> {
        self.rounds.iter().map(|round| round.metrics.get(&metric).copied()).collect()
    }
}

impl Report {
    /// Failures of all servers.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.cases.iter().flat_map(|case| &case.results).flat_map(|result| result.failures.values()).sum()
    }

    /// The JSON file.
    ///
    /// # Errors
    /// None that can happen.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// A number with as many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{size:.0}");
            let places = digits.len();
            let grouped: String = digits
                .char_indices()
                .flat_map(|(place, digit)| {
                    (place > 0 && (places - place).is_multiple_of(3)).then_some(',').into_iter().chain([digit])
                })
                .collect();
            if value < 0.0 { format!("-{grouped}") } else { grouped }
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.3}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.1e}"),
    }
}

/// Failures as `503 SlowDown: 3, timeout: 1`.
fn failures_text(failures: &BTreeMap<String, u64>) -> String {
    match failures.is_empty() {
        true => "0".to_owned(),
        false => failures.iter().map(|(label, count)| format!("{label}: {count}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
#[path = "report_test.rs"]
mod report_test;
