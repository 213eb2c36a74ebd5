//! When to stop waiting for disks: a disk that is much later than the others leaves its slot missing.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use crate::options::EngineOptions;

/// With only `k` of them, the others get so many times longer than with `k+1`.
const PATIENCE: u32 = 3;

/// How long to wait for the slots of one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct LateRule {
    /// Slots without which the segment is lost: `k`.
    pub(super) least: usize,
    /// Slots that make it good: `k+1`, or `k` without parity.
    pub(super) enough: usize,
    within: Duration,
    give_up_after: Duration,
}

impl LateRule {
    pub(super) fn new(data: usize, slots: usize, options: &EngineOptions) -> Self {
        let enough = (data + 1).min(slots);
        Self { least: data, enough, within: options.answer_within, give_up_after: options.give_up_after }
    }

    /// The deadline for the rest, now that `good` slots have answered.
    fn deadline(&self, good: usize, now: Instant, before: Instant) -> Instant {
        if good >= self.enough {
            before.min(now + self.within)
        } else if good >= self.least {
            before.min(now + self.within * PATIENCE)
        } else {
            before
        }
    }
}

/// Waits for one answer per slot, for stragglers no longer than the rule says; `good` slots have answered already.
/// What has no entry in the result was late: its future was dropped.
pub(super) async fn gather<T, E, F>(waits: Vec<(usize, F)>, mut good: usize, rule: LateRule) -> Vec<(usize, Result<T, E>)>
where
    F: Future<Output = Result<T, E>>,
{
    let mut answers = Vec::with_capacity(waits.len());
    let mut running: FuturesUnordered<_> =
        waits.into_iter().map(|(slot, wait)| async move { (slot, wait.await) }).collect();
    let start = Instant::now();
    let mut deadline = rule.deadline(good, start, start + rule.give_up_after);
    loop {
        tokio::select! {
            biased;
            next = running.next() => {
                let Some((slot, answer)) = next else { return answers };
                if answer.is_ok() {
                    good += 1;
                    deadline = rule.deadline(good, Instant::now(), deadline);
                }
                answers.push((slot, answer));
            }
            () = sleep_until(deadline) => return answers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> LateRule {
        LateRule::new(4, 6, &EngineOptions::default())
    }

    /// Answers after so many seconds; 1,000 and more stand for never.
    async fn run(seconds: &[u64]) -> (Vec<usize>, u64) {
        let start = Instant::now();
        let wait = |(slot, seconds): (usize, &u64)| {
            let seconds = *seconds;
            (slot, async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok::<(), ()>(())
            })
        };
        let answers = gather(seconds.iter().enumerate().map(wait).collect(), 0, rule()).await;
        let mut slots: Vec<usize> = answers.into_iter().map(|(slot, _)| slot).collect();
        slots.sort_unstable();
        (slots, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn late_counts_from_the_answer_that_is_enough() {
        assert_eq!(run(&[1, 1, 1, 1, 1, 2]).await, (vec![0, 1, 2, 3, 4, 5], 2));
        assert_eq!(run(&[1, 1, 1, 1, 5, 1000]).await, (vec![0, 1, 2, 3, 4], 7));
        assert_eq!(run(&[1, 1, 1, 1, 1000, 1000]).await, (vec![0, 1, 2, 3], 7), "k alone wait longer");
        assert_eq!(run(&[1, 1, 1, 1000, 1000, 1000]).await, (vec![0, 1, 2], 30), "under k there is still an end");
    }
}
