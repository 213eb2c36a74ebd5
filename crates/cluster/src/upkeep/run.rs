//! Runs the duties: one task each, one per disk for the duties of a disk, all ended together.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::DiskId;
use futures_util::FutureExt;
use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Pace, Upkeep};
use crate::error::EngineError;
use crate::shared::Shared;

/// The pause of a duty whose step failed: the metadata group did not answer, or it panicked. What one disk or item
/// does wrong never comes here.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// A failure that goes on is logged every so many times.
const LOG_EVERY: u32 = 60;

/// Running upkeep.
pub(crate) struct UpkeepHandle {
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl UpkeepHandle {
    /// Ends all duties and waits for them. A step is given up at its next await: nothing depends on its end.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        for task in self.tasks.lock().await.drain(..) {
            if let Err(error) = task.await {
                warn!(%error, "an upkeep task did not end well");
            }
        }
    }
}

impl Drop for UpkeepHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts all duties.
pub(crate) fn start(shared: Arc<Shared>) -> UpkeepHandle {
    let upkeep = Arc::new(Upkeep::new(shared));
    let stop = CancellationToken::new();
    let tasks = [
        spawn_duty("heartbeat", &upkeep, &stop, |up| &up.wakes.disks, |up| async move { up.heartbeat_step().await }),
        spawn_duty("disks watch", &upkeep, &stop, |up| &up.wakes.disks, |up| async move { up.folders_step().await }),
        spawn_duty("groups", &upkeep, &stop, |up| &up.wakes.groups, |up| async move { up.groups_step().await }),
        spawn_duty("repair", &upkeep, &stop, |up| &up.wakes.repair, |up| async move { up.repair_step().await }),
        spawn_duty("reaper", &upkeep, &stop, |up| &up.wakes.reaper, |up| async move { up.reaper_step().await }),
        spawn_duty(
            "snapshots",
            &upkeep,
            &stop,
            |up| &up.wakes.snapshots,
            |up| async move { up.snapshots_step().await },
        ),
        spawn_disk_duty("inventory", &upkeep, &stop, |up, disk| async move { up.inventory_step(disk).await }),
        spawn_disk_duty("scrub", &upkeep, &stop, |up, disk| async move { up.scrub_step(disk).await }),
        spawn_disk_duty("progress", &upkeep, &stop, |up, disk| async move { up.progress_step(disk).await }),
        spawn_disk_duty("cleaner", &upkeep, &stop, |up, disk| async move { up.cleaner_step(disk).await }),
        spawn_hints(&upkeep, &stop),
    ];
    UpkeepHandle { stop, tasks: Mutex::new(tasks.into()) }
}

fn spawn_duty<F>(
    name: &'static str,
    upkeep: &Arc<Upkeep>,
    stop: &CancellationToken,
    wake: fn(&Upkeep) -> &Notify,
    step: fn(Arc<Upkeep>) -> F,
) -> JoinHandle<()>
where
    F: Future<Output = Result<Pace, EngineError>> + Send + 'static,
{
    let (upkeep, stop) = (Arc::clone(upkeep), stop.clone());
    tokio::spawn(async move {
        run_duty(name, &stop, wake(&upkeep), FAILED_PAUSE, || step(Arc::clone(&upkeep))).await;
    })
}

/// One task per disk in service; a disk that fails or hangs holds up none of the others.
fn spawn_disk_duty<F>(
    name: &'static str,
    upkeep: &Arc<Upkeep>,
    stop: &CancellationToken,
    step: fn(Arc<Upkeep>, DiskId) -> F,
) -> JoinHandle<()>
where
    F: Future<Output = Result<Pace, EngineError>> + Send + 'static,
{
    let (upkeep, stop) = (Arc::clone(upkeep), stop.clone());
    tokio::spawn(async move {
        let mut tasks = JoinSet::new();
        let mut running: HashMap<tokio::task::Id, DiskId> = HashMap::new();
        while !stop.is_cancelled() {
            while let Some(ended) = tasks.try_join_next_with_id() {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                running.remove(&id);
            }
            for disk in upkeep.shared.disks.all() {
                if running.values().any(|known| *known == disk.id) {
                    continue;
                }
                let (upkeep, stop) = (Arc::clone(&upkeep), stop.clone());
                let task = tasks.spawn(async move {
                    let wake = &upkeep.wakes.disks;
                    run_duty(name, &stop, wake, FAILED_PAUSE, || step(Arc::clone(&upkeep), disk.id)).await;
                });
                running.insert(task.id(), disk.id);
            }
            pause(&stop, &upkeep.wakes.disks, upkeep.shared.options.upkeep_interval).await;
        }
        while tasks.join_next().await.is_some() {}
    })
}

/// The foreground's hints wake the duties that look at them.
fn spawn_hints(upkeep: &Arc<Upkeep>, stop: &CancellationToken) -> JoinHandle<()> {
    let (upkeep, stop) = (Arc::clone(upkeep), stop.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = upkeep.shared.reports.added() => upkeep.wakes.repair.notify_one(),
                () = upkeep.shared.abandoned.added() => upkeep.wakes.reaper.notify_one(),
                // One task per disk waits.
                () = upkeep.shared.inventories.added() => upkeep.wakes.disks.notify_waiters(),
            }
        }
    })
}

/// Repeats a step until it ends or is told to stop.
async fn run_duty<F>(
    name: &'static str,
    stop: &CancellationToken,
    wake: &Notify,
    failed_pause: Duration,
    step: impl Fn() -> F,
) where
    F: Future<Output = Result<Pace, EngineError>>,
{
    let mut failures: u32 = 0;
    loop {
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = AssertUnwindSafe(step()).catch_unwind() => outcome,
        };
        let pace = match outcome {
            Ok(Ok(pace)) => {
                failures = 0;
                pace
            }
            Ok(Err(error)) => {
                if failures.is_multiple_of(LOG_EVERY) {
                    warn!(duty = name, %error, "an upkeep step failed, it is repeated");
                }
                failures = failures.saturating_add(1);
                Pace::After(failed_pause)
            }
            Err(_) => {
                error!(duty = name, "an upkeep step panicked: a defect; it is repeated");
                Pace::After(failed_pause)
            }
        };
        match pace {
            Pace::Again => tokio::task::yield_now().await,
            Pace::After(time) => pause(stop, wake, time).await,
            Pace::End => return,
        }
    }
}

async fn pause(stop: &CancellationToken, wake: &Notify, time: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = wake.notified() => {}
        () = tokio::time::sleep(time) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_panic_and_an_error_do_not_end_a_duty_and_stop_does() {
        let (stop, wake, steps) = (CancellationToken::new(), Notify::new(), AtomicU32::new(0));
        let short = Duration::from_millis(1);
        run_duty("test", &stop, &wake, short, || async {
            match steps.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("a defect"),
                1 => Err(EngineError::Unknown),
                2 => Ok(Pace::Again),
                3 => Ok(Pace::After(short)),
                _ => {
                    stop.cancel();
                    std::future::pending().await
                }
            }
        })
        .await;
        assert_eq!(steps.load(Ordering::Relaxed), 5);
    }
}
