//! What a round is told by, in one number each. Names and units are the same in tables, JSON and plots.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::recorder::{Kind, Seen, Sight};

/// What the server's processes used in a round.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    /// CPU-seconds, those of the pause after the round included: work put off is work.
    pub cpu_s: f64,
    /// Bytes written on storage, likewise.
    pub written_bytes: u64,
    /// Most resident memory.
    pub rss_bytes_max: u64,
    /// Syncs, if they could be counted.
    pub syncs: Option<u64>,
}

/// A number of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Requests (a multipart upload counts as one) per second.
    OperationsPerS,
    /// Megabytes of objects per second.
    MegabytesPerS,
    /// Keys listed per second.
    KeysPerS,
    /// Median latency of the workload's main operation.
    LatencyMsMedian,
    /// Its 99th percentile.
    LatencyMsP99,
    /// Median time to the first byte of a body.
    FirstByteMsMedian,
    /// The server's CPU per request.
    CpuMsPerOperation,
    /// The server's CPU per GiB moved.
    CpuSPerGib,
    /// Keys listed per CPU-second of the server.
    KeysPerCpuS,
    /// Bytes the server wrote per byte it was given.
    WrittenPerByte,
    /// The server's syncs per request.
    SyncsPerOperation,
    /// The server's most resident memory.
    RssMib,
    /// The harness' own CPU per request.
    HarnessMsPerOperation,
}

impl Metric {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 13] = [
        Self::OperationsPerS,
        Self::MegabytesPerS,
        Self::KeysPerS,
        Self::LatencyMsMedian,
        Self::LatencyMsP99,
        Self::FirstByteMsMedian,
        Self::CpuMsPerOperation,
        Self::CpuSPerGib,
        Self::KeysPerCpuS,
        Self::WrittenPerByte,
        Self::SyncsPerOperation,
        Self::RssMib,
        Self::HarnessMsPerOperation,
    ];

    /// As it is shown, with its unit.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OperationsPerS => "operations/s",
            Self::MegabytesPerS => "MB/s",
            Self::KeysPerS => "keys/s",
            Self::LatencyMsMedian => "latency p50, ms",
            Self::LatencyMsP99 => "latency p99, ms",
            Self::FirstByteMsMedian => "first byte p50, ms",
            Self::CpuMsPerOperation => "server CPU, ms/operation",
            Self::CpuSPerGib => "server CPU, s/GiB",
            Self::KeysPerCpuS => "keys per CPU-second",
            Self::WrittenPerByte => "bytes written per byte",
            Self::SyncsPerOperation => "syncs/operation",
            Self::RssMib => "resident memory, MiB",
            Self::HarnessMsPerOperation => "harness CPU, ms/operation",
        }
    }
}

/// From so many bytes per request on, CPU is told per GiB too.
const BULK_BYTES: f64 = 65_536.0;

/// The numbers of one round.
#[must_use]
pub(crate) fn measure(
    sight: &Sight,
    main: Kind,
    seconds: f64,
    usage: Option<&Usage>,
    harness_s: f64,
) -> BTreeMap<Metric, f64> {
    let counted = || sight.iter().filter(|(kind, _)| !kind.is_sum()).map(|(_, seen)| seen);
    let operations = precise(counted().map(|seen| seen.latencies.count()).sum());
    let bytes = precise(counted().map(|seen| seen.bytes).sum());
    let keys = precise(counted().map(|seen| seen.keys).sum());
    let given =
        precise([Kind::Put, Kind::Multipart].iter().filter_map(|kind| sight.get(kind)).map(|seen| seen.bytes).sum());
    let mut found = vec![
        (Metric::OperationsPerS, per(operations, seconds)),
        (Metric::MegabytesPerS, per(bytes / 1e6, seconds).filter(|_| bytes > 0.0)),
        (Metric::KeysPerS, per(keys, seconds).filter(|_| keys > 0.0)),
        (Metric::HarnessMsPerOperation, per(harness_s * 1e3, operations)),
    ];
    if let Some(seen) = sight.get(&main).filter(|seen| seen.latencies.count() > 0) {
        found.push((Metric::LatencyMsMedian, Some(seen.latencies.quantile_ms(0.5))));
        found.push((Metric::LatencyMsP99, Some(seen.latencies.quantile_ms(0.99))));
    }
    found.push((Metric::FirstByteMsMedian, first_byte(sight)));
    if let Some(usage) = usage {
        found.push((Metric::CpuMsPerOperation, per(usage.cpu_s * 1e3, operations)));
        // Where requests move few bytes, the bytes are not what the work is about.
        let moved = Some(bytes).filter(|bytes| *bytes >= BULK_BYTES * operations);
        found.push((Metric::CpuSPerGib, moved.and_then(|bytes| per(usage.cpu_s, bytes / f64::from(1 << 30)))));
        found.push((Metric::KeysPerCpuS, per(keys, usage.cpu_s).filter(|_| keys > 0.0)));
        found.push((Metric::WrittenPerByte, per(precise(usage.written_bytes), given)));
        found.push((Metric::SyncsPerOperation, usage.syncs.and_then(|syncs| per(precise(syncs), operations))));
        found.push((Metric::RssMib, Some(precise(usage.rss_bytes_max) / f64::from(1 << 20))));
    }
    found.into_iter().filter_map(|(metric, value)| Some((metric, value?))).collect()
}

fn first_byte(sight: &Sight) -> Option<f64> {
    let seen = |kind| sight.get(&kind).filter(|seen: &&Seen| seen.first_byte.count() > 0);
    seen(Kind::Get).or_else(|| seen(Kind::Range)).map(|seen| seen.first_byte.quantile_ms(0.5))
}

fn per(value: f64, divisor: f64) -> Option<f64> {
    (divisor > 0.0).then(|| value / divisor)
}

#[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
const fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::recorder::{Done, Recorder};

    #[test]
    fn a_round_becomes_numbers() {
        let recorder = Recorder::default();
        for _ in 0..100 {
            recorder.record(Kind::Put, Duration::from_millis(4), &Ok(Done::bytes(1 << 20)));
        }
        let usage = Usage { cpu_s: 0.5, written_bytes: 150 << 20, rss_bytes_max: 64 << 20, syncs: Some(600) };
        let found = measure(&recorder.take(), Kind::Put, 2.0, Some(&usage), 0.01);
        let near = |metric, wanted: f64| {
            let value: f64 = found[&metric];
            assert!((value - wanted).abs() <= wanted * 0.01, "{metric:?}: {value} instead of {wanted}");
        };
        near(Metric::OperationsPerS, 50.0);
        near(Metric::MegabytesPerS, 52.43);
        near(Metric::LatencyMsMedian, 4.0);
        near(Metric::CpuMsPerOperation, 5.0);
        near(Metric::CpuSPerGib, 5.12);
        near(Metric::WrittenPerByte, 1.5);
        near(Metric::SyncsPerOperation, 6.0);
        near(Metric::RssMib, 64.0);
        near(Metric::HarnessMsPerOperation, 0.1);
        assert!(!found.contains_key(&Metric::KeysPerS) && !found.contains_key(&Metric::FirstByteMsMedian));
    }

    #[test]
    fn a_stage_is_not_counted_beside_its_requests() {
        let recorder = Recorder::default();
        for kind in [Kind::Head, Kind::HeadMiss, Kind::Get, Kind::Restore] {
            recorder.record(kind, Duration::from_millis(1), &Ok(Done::default()));
        }
        let found = measure(&recorder.take(), Kind::Restore, 1.0, None, 0.0);
        assert!((found[&Metric::OperationsPerS] - 3.0).abs() < 1e-9);
        assert!(!found.contains_key(&Metric::WrittenPerByte));
    }

    #[test]
    fn nothing_seen_is_no_number_but_zero_operations() {
        let found = measure(&Sight::new(), Kind::Get, 1.0, Some(&Usage::default()), 0.0);
        assert_eq!(found.get(&Metric::OperationsPerS), Some(&0.0));
        assert!(!found.contains_key(&Metric::CpuMsPerOperation));
    }
}
