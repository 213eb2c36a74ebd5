//! When the next round comes.

use std::time::Duration;

/// After a round that went well: Secrets that were deleted come back.
const QUIET: Duration = Duration::from_secs(10 * 60);
const FIRST_DELAY: Duration = Duration::from_secs(1);
const DELAY_MAX: Duration = Duration::from_secs(5 * 60);
/// Rounds in a row that fail, some two days: after that a person has to say when to go on.
const FAILURES_MAX: u32 = 600;

/// Counts rounds that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Pace {
    failures: u32,
}

impl Pace {
    /// A round went through whole, or not.
    pub(super) const fn round(&mut self, whole: bool) {
        self.failures = if whole { 0 } else { self.failures.saturating_add(1) };
    }

    /// How long to wait; none once too many rounds have failed.
    pub(super) fn wait(self) -> Option<Duration> {
        match self.failures {
            0 => Some(QUIET),
            FAILURES_MAX.. => None,
            failures => Some(FIRST_DELAY.saturating_mul(1 << (failures - 1).min(16)).min(DELAY_MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_end() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(), Some(QUIET));
        let mut waits = Vec::new();
        while let Some(wait) = {
            pace.round(false);
            pace.wait()
        } {
            waits.push(wait.as_secs());
        }
        assert_eq!(waits[..4], [1, 2, 4, 8]);
        assert!(waits.iter().all(|wait| *wait <= 300) && waits.len() == 599);
        pace.round(true);
        assert_eq!(pace.wait(), Some(QUIET));
    }
}
