//! Drives one workload on one server for one round, in a closed or an open loop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::Failure,
    recorder::{Kind, Recorder},
    schedule::{Pacer, Schedule},
    workload::Load,
};

/// How long and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Steps at once.
    pub(crate) concurrency: usize,
    /// No step begins after this.
    pub(crate) length: Duration,
    /// At most so many steps.
    pub(crate) steps_max: u64,
    /// Steps per second of the open loop; none: closed loop.
    pub(crate) per_second: Option<f64>,
    /// Number of the first step.
    pub(crate) first: u64,
}

/// What is left of the time after the schedule's end for what was due and could not begin.
const CATCH_UP: Duration = Duration::from_secs(10);
/// Label of operations that were due and for which no time was left.
pub(crate) const NOT_BEGUN: &str = "not begun in time";

/// Runs the round to its end, or until it is cancelled; what runs then is dropped. Answers how long it took.
///
/// # Errors
/// If the clock's thread cannot start, or a worker panicked.
pub(crate) async fn drive(
    load: &Arc<dyn Load>,
    kind: Kind,
    pace: Pace,
    recorder: &Arc<Recorder>,
    cancel: &CancellationToken,
) -> Result<Duration> {
    let origin = Instant::now();
    let source = Arc::new(Source::new(pace, origin).context("start the clock of the open loop")?);
    let mut workers = JoinSet::new();
    for _ in 0..pace.concurrency {
        let (load, recorder, source) = (Arc::clone(load), Arc::clone(recorder), Arc::clone(&source));
        workers.spawn(async move {
            while let Some((number, from)) = source.next().await {
                if !load.step(pace.first + number, from, &recorder).await {
                    source.close();
                }
            }
        });
    }
    let all = async {
        while let Some(worker) = workers.join_next().await {
            worker.context("a worker of the load")?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        ended = all => ended?,
        () = cancel.cancelled() => {}
    }
    // Dropped workers end here, so that nothing of this round runs into the next.
    workers.shutdown().await;
    for _ in 0..source.not_begun() {
        recorder.record(kind, Duration::ZERO, &Err(Failure::new(NOT_BEGUN)));
    }
    Ok(origin.elapsed())
}

/// Where workers get their next step.
struct Source {
    next: AtomicU64,
    closed: AtomicBool,
    steps_max: u64,
    end: Instant,
    open_loop: Option<(Schedule, Pacer)>,
}

impl Source {
    fn new(pace: Pace, origin: Instant) -> std::io::Result<Self> {
        let open_loop = match pace.per_second {
            None => None,
            Some(rate) => {
                let schedule = Schedule::new(origin, rate, pace.length, pace.steps_max);
                Some((schedule, Pacer::start(schedule)?))
            }
        };
        let catch_up = if open_loop.is_some() { pace.length + CATCH_UP } else { Duration::ZERO };
        Ok(Self {
            next: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            steps_max: pace.steps_max,
            end: origin + pace.length + catch_up,
            open_loop,
        })
    }

    /// The next step's number and the moment its latency counts from.
    async fn next(&self) -> Option<(u64, Instant)> {
        if self.closed.load(Ordering::Relaxed) || Instant::now() >= self.end {
            return None;
        }
        match &self.open_loop {
            Some((_, pacer)) => {
                let begun = pacer.next().await?;
                self.next.fetch_add(1, Ordering::Relaxed);
                Some(begun)
            }
            None => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                (number < self.steps_max).then(|| (number, Instant::now()))
            }
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Steps of the open loop that were due and never began, unless the workload had nothing left to do.
    fn not_begun(&self) -> u64 {
        match &self.open_loop {
            Some((schedule, _)) if !self.closed.load(Ordering::Relaxed) => {
                schedule.due(Instant::now()).saturating_sub(self.next.load(Ordering::Relaxed))
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::recorder::Done;

    /// A server that answers at once, but stalls once.
    struct Stalling {
        stall: Duration,
        at: u64,
    }

    #[async_trait]
    impl Load for Stalling {
        async fn step(&self, number: u64, from: Instant, recorder: &Recorder) -> bool {
            if number == self.at {
                tokio::time::sleep(self.stall).await;
            }
            recorder.record(Kind::Get, from.elapsed(), &Ok(Done::default()));
            true
        }
    }

    async fn run(pace: Pace, load: impl Load + 'static) -> (crate::recorder::Seen, Duration) {
        let recorder = Arc::new(Recorder::default());
        let load: Arc<dyn Load> = Arc::new(load);
        let took = drive(&load, Kind::Get, pace, &recorder, &CancellationToken::new()).await.unwrap();
        (recorder.take().remove(&Kind::Get).unwrap(), took)
    }

    fn pace(per_second: Option<f64>, steps_max: u64) -> Pace {
        Pace { concurrency: 1, length: Duration::from_millis(500), steps_max, per_second, first: 0 }
    }

    /// A stall of 200 ms at 1,000 requests a second is met by 200 of them; a closed loop would see one.
    #[tokio::test]
    async fn an_open_loop_counts_all_who_waited_for_a_stall() {
        let stall = Duration::from_millis(200);
        let (seen, _) = run(pace(Some(1000.0), u64::MAX), Stalling { stall, at: 100 }).await;
        assert_eq!(seen.latencies.count() + seen.failures.0.values().sum::<u64>(), 500);
        let late = (0..1000).filter(|step| seen.latencies.quantile_ms(f64::from(*step) / 1000.0) > 50.0).count();
        // 150 of 500 wait longer than 50 ms; the machine's load can only make it more.
        assert!(late >= 250, "only {} ‰ of the requests saw the stall", late);
        let (seen, _) = run(pace(None, 500), Stalling { stall, at: 100 }).await;
        assert_eq!(seen.latencies.count(), 500);
        assert!(seen.latencies.quantile_ms(0.99) < 50.0 && seen.latencies.max_ms() >= 200.0);
    }

    #[tokio::test]
    async fn what_was_due_and_never_began_is_counted() {
        /// Never answers.
        struct Deaf;
        #[async_trait]
        impl Load for Deaf {
            async fn step(&self, _: u64, _: Instant, _: &Recorder) -> bool {
                std::future::pending().await
            }
        }
        let recorder = Arc::new(Recorder::default());
        let load: Arc<dyn Load> = Arc::new(Deaf);
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            stop.cancel();
        });
        drive(&load, Kind::Get, pace(Some(100.0), u64::MAX), &recorder, &cancel).await.unwrap();
        let seen = recorder.take().remove(&Kind::Get).unwrap();
        assert_eq!(seen.failures.0[NOT_BEGUN], 49, "50 were due, one began");
    }

    #[tokio::test]
    async fn a_closed_loop_ends_by_time_by_count_and_by_the_workload() {
        /// Has ten steps.
        struct Ten;
        #[async_trait]
        impl Load for Ten {
            async fn step(&self, number: u64, from: Instant, recorder: &Recorder) -> bool {
                tokio::time::sleep(Duration::from_millis(1)).await;
                recorder.record(Kind::Get, from.elapsed(), &Ok(Done::default()));
                number < 9
            }
        }
        let idle = || Stalling { stall: Duration::ZERO, at: u64::MAX };
        assert_eq!(run(pace(None, 7), idle()).await.0.latencies.count(), 7);
        assert_eq!(run(pace(None, u64::MAX), Ten).await.0.latencies.count(), 10);
        let (seen, took) = run(pace(None, u64::MAX), idle()).await;
        assert!(seen.latencies.count() > 100 && took >= Duration::from_millis(500));
    }
}
