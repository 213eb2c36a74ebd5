//! How fast each disk answers reads: an estimate that says when a unit is late.
//!
//! Hot path: one atomic number per disk, no lock, no history. Each answer moves the estimate a little: up by 19 steps if
//! it took longer, down by one if not, so it comes to rest where 95 of 100 answers are faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// A step is this part of the estimate.
const STEP: u64 = 128;
/// Steps up for each down: the odds of the 95th percentile.
const UP: u64 = 19;
/// A read that takes so many times the estimate is late by more than chance.
const PATIENCE: u32 = 2;

/// The 95th percentile of a disk's answers, in microseconds; 0 before the first.
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU64);

impl Latency {
    /// None before the first answer.
    pub(crate) fn p95(&self) -> Option<Duration> {
        Some(self.0.load(Relaxed)).filter(|us| *us > 0).map(Duration::from_micros)
    }

    fn note(&self, took: Duration) {
        let sample = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        // A number that another one changed meanwhile is tried with anew: the closure always answers.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |now| Some(moved(now, sample)));
    }
}

fn moved(now: u64, sample: u64) -> u64 {
    let step = now / STEP + 1;
    match now {
        0 => sample,
        _ if sample > now => now.saturating_add(step.saturating_mul(UP)),
        _ => now.saturating_sub(step).max(1),
    }
}

/// A read being timed. One that is given up counts as one that took longer, if it did.
pub(crate) struct Timing {
    latency: Arc<Latency>,
    start: Instant,
    ended: bool,
}

impl Timing {
    pub(crate) fn start(latency: Arc<Latency>) -> Self {
        Self { latency, start: Instant::now(), ended: false }
    }

    /// The disk answered; an error says nothing about how fast it reads.
    pub(crate) fn end(mut self, is_answer: bool) {
        self.ended = true;
        if is_answer {
            self.latency.note(self.start.elapsed());
        }
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        let waited = self.start.elapsed();
        if !self.ended && self.latency.p95().is_some_and(|p95| waited > p95) {
            self.latency.note(waited);
        }
    }
}

/// How long to wait for a disk before others are asked in its place: by its own estimate, or by that of the middle one
/// of the segment's disks where it is slower. Between `floor` and `ceiling`; the ceiling where nothing is known.
pub(super) fn wait_for(
    own: Option<Duration>,
    all: &[Option<Duration>],
    floor: Duration,
    ceiling: Duration,
) -> Duration {
    let mut known: Vec<Duration> = all.iter().flatten().copied().collect();
    known.sort_unstable();
    let middle = known.get(known.len() / 2).copied();
    let expected = own.or(middle).map(|own| middle.map_or(own, |middle| own.min(middle)));
    expected.map_or(ceiling, |expected| (expected * PATIENCE).max(floor).min(ceiling))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_estimate_comes_to_rest_at_the_95th_percentile() {
        let (latency, mut rng) = (Latency::default(), StdRng::seed_from_u64(3));
        assert_eq!(latency.p95(), None);
        for scale in [1, 40, 1] {
            let mut under = 0;
            for number in 0..8000 {
                let sample = Duration::from_micros(scale * rng.random_range(100..1100));
                let p95 = latency.p95().unwrap_or_default();
                under += u32::from(number >= 4000 && sample <= p95);
                latency.note(sample);
            }
            assert!((3640..3960).contains(&under), "{under} of 4000 answers were under the estimate");
        }
    }

    #[test]
    fn a_read_that_was_given_up_counts_for_as_long_as_it_was_waited_for() {
        let latency = Arc::new(Latency::default());
        Timing::start(Arc::clone(&latency)).end(false);
        assert_eq!(latency.p95(), None, "a failed read is no fast one");
        latency.note(Duration::from_nanos(1));
        let before = latency.p95();
        let given_up = Timing::start(Arc::clone(&latency));
        std::thread::sleep(MS(1));
        drop(given_up);
        assert!(latency.p95() > before);
    }

    #[test]
    fn a_disk_slower_than_the_others_is_waited_for_as_long_as_for_them() {
        let wait = |own: Option<u64>, all: &[u64]| {
            let all: Vec<_> = all.iter().map(|ms| Some(MS(*ms))).collect();
            wait_for(own.map(MS), &all, MS(20), MS(500))
        };
        assert_eq!(wait(None, &[]), MS(500));
        assert_eq!(wait(None, &[30, 40, 50]), MS(80), "a disk that was not read yet is like the others");
        assert_eq!(wait(Some(2), &[2, 2, 3]), MS(20));
        assert_eq!(wait(Some(30), &[30, 40, 50]), MS(60));
        assert_eq!(wait(Some(400), &[30, 40, 400]), MS(80));
        assert_eq!(wait(Some(400), &[400, 400, 400]), MS(500));
    }
}
