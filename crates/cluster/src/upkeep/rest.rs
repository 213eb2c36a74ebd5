//! Things that failed rest for a while, each by itself: one that always fails costs the others nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Most things that rest at once; beyond it those that rest longest are forgotten, and tried sooner than they would be.
const RESTING_MAX: usize = 8192;

struct Rest {
    until: Instant,
    failures: u32,
}

/// A table of what rests. The pause doubles with each failure in a row up to a bound, and a success ends it.
pub(crate) struct Rests<K> {
    resting: Mutex<HashMap<K, Rest>>,
    first: Duration,
    longest: Duration,
}

impl<K: Eq + Hash + Copy> Rests<K> {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { resting: Mutex::default(), first, longest }
    }

    /// Whether it still rests.
    pub(crate) fn rests(&self, key: &K) -> bool {
        self.rests_at(key, Instant::now())
    }

    fn rests_at(&self, key: &K, now: Instant) -> bool {
        let resting = self.resting.lock().expect("no holder of this lock panics");
        resting.get(key).is_some_and(|rest| now < rest.until)
    }

    /// It failed. Answers whether this was its first failure in a row, which is worth a line in the log.
    pub(crate) fn failed(&self, key: K) -> bool {
        self.failed_at(key, Instant::now())
    }

    fn failed_at(&self, key: K, now: Instant) -> bool {
        let mut resting = self.resting.lock().expect("no holder of this lock panics");
        if resting.len() >= RESTING_MAX && !resting.contains_key(&key) {
            forget_longest(&mut resting);
        }
        let rest = resting.entry(key).or_insert(Rest { until: now, failures: 0 });
        let pause = self.first.saturating_mul(1 << rest.failures.min(16)).min(self.longest);
        rest.failures += 1;
        rest.until = now + pause;
        rest.failures == 1
    }

    /// It went well.
    pub(crate) fn worked(&self, key: &K) {
        self.resting.lock().expect("no holder of this lock panics").remove(key);
    }

    /// Something changed that may help: all are tried again at once.
    pub(crate) fn wake_all(&self) {
        self.resting.lock().expect("no holder of this lock panics").clear();
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.resting.lock().expect("no holder of this lock panics").len()
    }
}

fn forget_longest<K: Eq + Hash + Copy>(resting: &mut HashMap<K, Rest>) {
    if let Some(key) = resting.iter().max_by_key(|(_, rest)| rest.until).map(|(key, _)| *key) {
        resting.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_is_bounded_and_is_each_ones_own() {
        let rests = Rests::new(Duration::from_secs(1), Duration::from_secs(4));
        let mut now = Instant::now();
        for pause in [1, 2, 4, 4] {
            rests.failed_at(7, now);
            assert!(rests.rests_at(&7, now) && !rests.rests_at(&8, now));
            now += Duration::from_millis(pause * 1000 - 1);
            assert!(rests.rests_at(&7, now));
            now += Duration::from_millis(1);
            assert!(!rests.rests_at(&7, now));
        }
        assert!(!rests.failed_at(7, now));
        rests.worked(&7);
        assert!(!rests.rests_at(&7, now) && rests.failed_at(7, now));
        rests.wake_all();
        assert!(!rests.rests_at(&7, now));
    }

    #[test]
    fn the_table_is_bounded() {
        let rests = Rests::new(Duration::from_secs(1), Duration::from_secs(4));
        for key in 0..RESTING_MAX + 100 {
            rests.failed(key);
        }
        assert_eq!(rests.count(), RESTING_MAX);
    }
}
