//! What was seen of one round: latencies, bytes and failures by kind of operation, in bounded memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::failure::{Failure, Failures};

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A whole object written.
    Put,
    /// A whole object read.
    Get,
    /// The head of an object that is there.
    Head,
    /// The head of an object that is not there.
    HeadMiss,
    /// The read of an object that is not there.
    GetMiss,
    /// A part of an object read.
    Range,
    /// A page of a listing.
    List,
    /// An object deleted.
    Delete,
    /// An upload in parts, from its creation to its completion.
    Multipart,
    /// A runner's restore: head, head of the other name, get; with the connection it makes.
    Restore,
    /// A runner's save: put, with the connection it makes.
    Save,
}

impl Kind {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::HeadMiss => "HEAD miss",
            Self::GetMiss => "GET miss",
            Self::Range => "range",
            Self::List => "LIST",
            Self::Delete => "DELETE",
            Self::Multipart => "multipart",
            Self::Restore => "restore",
            Self::Save => "save",
        }
    }

    /// Whether it is a sum of other kinds, which are counted for themselves.
    #[must_use]
    pub const fn is_sum(self) -> bool {
        matches!(self, Self::Restore | Self::Save)
    }
}

/// The longest latency that is told apart from longer ones.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Latencies at three digits, in at most some 600 KiB.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are constants that hold"))
    }
}

impl Latencies {
    /// Counts one.
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_NS_MAX));
    }

    /// Counts those of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Cannot fail: both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency in milliseconds under which a share (0 to 1) of them lies.
    #[must_use]
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        ms(self.0.value_at_quantile(share))
    }

    /// Mean in milliseconds.
    #[must_use]
    pub(crate) fn mean_ms(&self) -> f64 {
        self.0.mean() / 1e6
    }

    /// The longest in milliseconds.
    #[must_use]
    pub(crate) fn max_ms(&self) -> f64 {
        ms(self.0.max())
    }
}

#[expect(clippy::cast_precision_loss, reason = "an hour in nanoseconds has 42 bits")]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// What was seen of one kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Latencies of those that went well.
    pub latencies: Latencies,
    /// Time to the first byte of a body, of those that have one.
    pub first_byte: Latencies,
    /// Bytes of objects moved.
    pub bytes: u64,
    /// Keys listed.
    pub keys: u64,
    /// Those that did not go well.
    pub failures: Failures,
}

impl Seen {
    /// Adds another round's.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        self.first_byte.merge(&other.first_byte);
        self.bytes += other.bytes;
        self.keys += other.keys;
        self.failures.merge(&other.failures);
    }
}

/// One operation that went well.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    pub(crate) keys: u64,
    pub(crate) first_byte: Option<Duration>,
}

impl Done {
    /// One that moved bytes of an object.
    pub(crate) fn bytes(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }
}

/// Everything seen in one round.
pub(crate) type Sight = BTreeMap<Kind, Seen>;

/// Collects from many tasks.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Sight>);

impl Recorder {
    /// Counts one operation. Failed ones have no latency: a quick refusal would make the others look better.
    pub(crate) fn record(&self, kind: Kind, latency: Duration, outcome: &Result<Done, Failure>) {
        let mut sight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = sight.entry(kind).or_default();
        match outcome {
            Ok(done) => {
                seen.latencies.add(latency);
                seen.bytes += done.bytes;
                seen.keys += done.keys;
                if let Some(first) = done.first_byte {
                    seen.first_byte.add(first);
                }
            }
            Err(failure) => seen.failures.add(failure.label()),
        }
    }

    /// What was seen since the last time.
    pub(crate) fn take(&self) -> Sight {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_three_digits() {
        let mut latencies = Latencies::default();
        for micros in 1..=10_000 {
            latencies.add(Duration::from_micros(micros));
        }
        for (share, wanted) in [(0.5, 5.0), (0.9, 9.0), (0.99, 9.9), (1.0, 10.0)] {
            let found = latencies.quantile_ms(share);
            assert!((found - wanted).abs() / wanted < 0.001, "{share}: {found}");
        }
        let mut both = latencies.clone();
        both.merge(&latencies);
        assert_eq!(both.count(), 20_000);
        assert!((both.quantile_ms(0.5) - 5.0).abs() < 0.01);
    }

    #[test]
    fn the_longest_wait_is_kept_though_it_is_beyond_the_bound() {
        let mut latencies = Latencies::default();
        latencies.add(Duration::from_secs(100_000));
        latencies.add(Duration::ZERO);
        assert_eq!(latencies.count(), 2);
        assert!(latencies.max_ms() >= 3_599_000.0);
    }

    #[test]
    fn failures_are_counted_and_have_no_latency() {
        let recorder = Recorder::default();
        recorder.record(Kind::Get, Duration::from_millis(2), &Ok(Done::bytes(5)));
        recorder.record(Kind::Get, Duration::from_millis(1), &Err(Failure::new("503 SlowDown")));
        let sight = recorder.take();
        let seen = &sight[&Kind::Get];
        assert_eq!((seen.latencies.count(), seen.bytes, seen.failures.0["503 SlowDown"]), (1, 5, 1));
        assert!(recorder.take().is_empty());
    }
}
