//! When operations shall begin: at once, or at a fixed rate whatever the server does (open loop). The rate is kept by
//! the intended starts: a server that stalls meets all that would have come meanwhile, and each of them has waited.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// Intended starts, one every `1/rate` seconds from `origin` on, until `length` is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    origin: Instant,
    per_second: f64,
    count: u64,
}

impl Schedule {
    /// At a rate per second, for a time, at most `count_max` of them.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
    pub(crate) fn new(origin: Instant, per_second: f64, length: Duration, count_max: u64) -> Self {
        let count = (length.as_secs_f64() * per_second).ceil() as u64;
        Self { origin, per_second, count: count.min(count_max) }
    }

    /// How many operations there are in all.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// How many were due by a moment.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
    pub(crate) fn due(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.origin).as_secs_f64();
        self.count.min((passed * self.per_second).floor() as u64 + 1)
    }

    /// When operation `number` shall begin. Computed from the origin, so that no rounding adds up.
    #[expect(clippy::cast_precision_loss, reason = "some 10^15 operations at most")]
    pub(crate) fn intended(&self, number: u64) -> Instant {
        self.origin + Duration::from_secs_f64(number as f64 / self.per_second)
    }
}

/// Lets workers begin as the schedule says. A thread of its own: the timers of tokio are a millisecond coarse.
pub(crate) struct Pacer {
    schedule: Schedule,
    due: Arc<Semaphore>,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// So long a pacer sleeps at once, so that a stop is heard.
const NAP: Duration = Duration::from_millis(50);

impl Pacer {
    /// Starts the clock.
    ///
    /// # Errors
    /// If there is no thread.
    pub(crate) fn start(schedule: Schedule) -> std::io::Result<Self> {
        let (due, stop) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
        let next = Arc::new(AtomicU64::new(0));
        let (to_release, to_hear, taken) = (Arc::clone(&due), Arc::clone(&stop), Arc::clone(&next));
        let thread = std::thread::Builder::new().name("pacer".to_owned()).spawn(move || {
            for number in 0..schedule.count() {
                if !sleep_until(schedule.intended(number), &to_hear) {
                    break;
                }
                to_release.add_permits(1);
            }
            // Whoever still waits is told that nothing comes any more, once all that was due is taken: a closed semaphore
            // takes back even what it gave to those who wait.
            while taken.load(Ordering::Relaxed) < schedule.count() && !to_hear.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            to_release.close();
        })?;
        Ok(Self { schedule, due, next, stop, thread: Some(thread) })
    }

    /// The next operation's number and intended start, when it is due; `None` at the end.
    pub(crate) async fn next(&self) -> Option<(u64, Instant)> {
        self.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some((number, self.schedule.intended(number)))
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.due.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sleeps; false if told to stop.
fn sleep_until(moment: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        match moment.checked_duration_since(Instant::now()) {
            None | Some(Duration::ZERO) => return true,
            Some(left) => std::thread::sleep(left.min(NAP)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_even_and_do_not_drift() {
        let origin = Instant::now();
        let schedule = Schedule::new(origin, 3.0, Duration::from_secs(3600), u64::MAX);
        assert_eq!(schedule.count(), 10_800);
        for number in [0, 1, 2, 3, 10_799] {
            let wanted = number as f64 / 3.0;
            let found = (schedule.intended(number) - origin).as_secs_f64();
            assert!((found - wanted).abs() < 1e-6, "{number}: {found} instead of {wanted}");
        }
        let after = |seconds: f64| schedule.due(origin + Duration::from_secs_f64(seconds));
        assert_eq!((after(0.0), after(0.9), after(1.1), after(1e6)), (1, 3, 4, 10_800));
        assert_eq!(Schedule::new(origin, 1000.0, Duration::from_secs(60), 7).count(), 7);
    }

    #[tokio::test]
    async fn nothing_begins_early_and_everything_due_begins() {
        let schedule = Schedule::new(Instant::now(), 200.0, Duration::from_millis(250), u64::MAX);
        let pacer = Pacer::start(schedule).unwrap();
        let mut numbers = Vec::new();
        while let Some((number, intended)) = pacer.next().await {
            assert!(Instant::now() >= intended, "operation {number} began early");
            assert_eq!(intended, schedule.intended(number));
            numbers.push(number);
        }
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_slow_worker_keeps_the_intended_starts() {
        let schedule = Schedule::new(Instant::now(), 1000.0, Duration::from_millis(100), u64::MAX);
        let pacer = Pacer::start(schedule).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut longest = Duration::ZERO;
        let mut count = 0;
        while let Some((_, intended)) = pacer.next().await {
            longest = longest.max(intended.elapsed());
            count += 1;
        }
        assert_eq!(count, 100);
        assert!(longest >= Duration::from_millis(200), "the first one waited only {longest:?}");
    }
}
