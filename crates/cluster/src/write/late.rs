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
pub(super) async fn gather<T, E, F>(
    waits: Vec<(usize, F)>,
    mut good: usize,
    rule: LateRule,
) -> Vec<(usize, Result<T, E>)>
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
    use std::future::{pending, ready};

    use super::*;

    fn rule(answer_within: Duration, give_up_after: Duration) -> LateRule {
        LateRule::new(4, 6, &EngineOptions { answer_within, give_up_after, ..EngineOptions::default() })
    }

    #[test]
    fn late_counts_from_the_answer_that_is_enough() {
        let rule = rule(Duration::from_secs(2), Duration::from_secs(30));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let last = after(30);
        assert_eq!(rule.deadline(3, after(1), last), last, "under k there is still an end");
        assert_eq!(rule.deadline(4, after(1), last), after(7), "k alone wait longer");
        assert_eq!(rule.deadline(5, after(2), after(7)), after(4));
        assert_eq!(rule.deadline(6, after(3), after(4)), after(4), "a later answer gives no more time");
    }

    #[tokio::test]
    async fn who_never_answers_is_left_out_and_who_fails_is_named() {
        let rule = rule(Duration::from_millis(5), Duration::from_millis(20));
        for good in 0..=5 {
            let wait = |slot: usize| async move {
                match slot {
                    _ if slot < good => ready(Ok(())).await,
                    5 => ready(Err(())).await,
                    _ => pending().await,
                }
            };
            let mut answers = gather((0..6).map(|slot| (slot, wait(slot))).collect(), 0, rule).await;
            answers.sort_unstable();
            let expected: Vec<(usize, Result<(), ()>)> =
                (0..good).map(|slot| (slot, Ok(()))).chain([(5, Err(()))]).collect();
            assert_eq!(answers, expected);
        }
    }
}
