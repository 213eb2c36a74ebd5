//! Repair: walks the missing shards and makes them anew, the most endangered first.
//!
//! Each step takes a window of the work list from the rows. A shard whose disk is away costs one look; a segment that
//! cannot be repaired rests by itself. Reports of readers are hints: the shard is read here before anything is believed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_meta::{Command, MetaError, PgRow, Refusal, SegmentRow};
use cairn_proto::{AttachNumber, DiskId, PgId, SegmentId, Slot};
use cairn_shard_store::{DiskState, FenceReason, ShardKey};
use futures_util::StreamExt;
use tracing::{info, warn};

use super::plan_inventory::WantedShard;
use super::plan_repair::{RepairTask, plan_repairs};
use super::rebuild::Rebuilt;
use super::rest::Rests;
use super::scrub::Scrubbed;
use super::{Pace, Upkeep};
use crate::error::EngineError;
use crate::queues::Abandoned;

/// Lines of the work list looked at in one step.
const WINDOW: usize = 2000;
/// Segments repaired in one step.
const TASKS_MAX: usize = 64;
const CONCURRENCY: usize = 2;
const REPORTS_MAX: usize = 256;
const REST_FIRST: Duration = Duration::from_secs(5);
const REST_LONGEST: Duration = Duration::from_secs(300);
/// A walk that found nothing to be done now is repeated after so long, or when something wakes it.
const NOTHING_READY_PAUSE: Duration = Duration::from_secs(5);

/// Where the walk stands.
pub(crate) struct RepairState {
    after: Mutex<Option<(PgId, SegmentId, Slot)>>,
    /// Whether this walk did something.
    busy: Mutex<bool>,
    pub(super) rests: Rests<(PgId, SegmentId)>,
}

impl RepairState {
    pub(crate) fn new() -> Self {
        Self { after: Mutex::new(None), busy: Mutex::new(false), rests: Rests::new(REST_FIRST, REST_LONGEST) }
    }
}

/// A segment to be repaired, as one view showed it.
pub(super) struct Damaged {
    pub(super) pg: PgRow,
    pub(super) id: SegmentId,
    pub(super) row: SegmentRow,
    /// Slots to be written, with their disks and attach numbers.
    pub(super) targets: Vec<(Slot, DiskId)>,
}

impl Upkeep {
    /// Repairs a piece of the work list.
    pub(crate) async fn repair_step(&self) -> Result<Pace, EngineError> {
        self.check_reports().await?;
        if self.shared.meta.local().missing_count()? == 0 {
            self.walk_to(None, false);
            return Ok(self.idle());
        }
        let after = *self.repair.after.lock().expect("no holder of this lock panics");
        let missing = self.look(move |view| view.missing(after, WINDOW)).await?;
        let tasks = plan_repairs(
            &missing,
            |pg, slot| self.takes_repair(pg, slot).is_some(),
            |pg, segment| self.repair.rests.rests(&(pg, segment)),
        );
        let rest = tasks.len() > TASKS_MAX;
        let done = self.repair_all(tasks).await?;
        if done > 0 || rest {
            *self.repair.busy.lock().expect("no holder of this lock panics") = true;
        }
        if rest {
            return Ok(Pace::Again);
        }
        if missing.len() == WINDOW {
            self.walk_to(missing.last().copied(), true);
            return Ok(Pace::Again);
        }
        let busy = self.walk_to(None, false);
        Ok(if busy { Pace::Again } else { Pace::After(NOTHING_READY_PAUSE) })
    }

    /// Moves the cursor; answers whether the walk did something so far, and forgets it where a walk ends.
    fn walk_to(&self, after: Option<(PgId, SegmentId, Slot)>, keep: bool) -> bool {
        *self.repair.after.lock().expect("no holder of this lock panics") = after;
        let mut busy = self.repair.busy.lock().expect("no holder of this lock panics");
        let was = *busy;
        *busy = was && keep;
        was
    }

    /// The disk of a slot, if it takes a repaired shard now.
    fn takes_repair(&self, pg: PgId, slot: Slot) -> Option<(DiskId, AttachNumber)> {
        let map = self.shared.map.load();
        let disk = map.disk_of(pg, slot)?;
        let attach = map.disks.get(&disk)?.attach;
        let store = self.shared.disks.get(disk)?;
        let takes = matches!(store.status().state, DiskState::Serving | DiskState::ReadOnly(FenceReason::Full { .. }));
        let there = takes && store.attach() == attach && self.calls.reachable(&self.shared.disks, disk);
        there.then_some((disk, attach))
    }

    /// Repairs segments, a few at once. Answers how many shards are whole now that were not.
    async fn repair_all(&self, mut tasks: Vec<RepairTask>) -> Result<u64, EngineError> {
        tasks.truncate(TASKS_MAX);
        let mut running = futures_util::stream::iter(tasks)
            .map(|task| async move {
                let outcome = self.repair_segment(&task).await;
                (task, outcome)
            })
            .buffer_unordered(CONCURRENCY);
        let mut done = 0;
        while let Some((task, outcome)) = running.next().await {
            let key = (task.pg, task.segment);
            match outcome {
                Ok(count) => {
                    done += count;
                    if count == 0 {
                        self.repair.rests.failed(key);
                    } else {
                        self.repair.rests.worked(&key);
                        self.shared.lost.remove(&key);
                    }
                }
                // Without the metadata group nothing can be finished: the whole step is repeated.
                Err(error @ (EngineError::Unavailable { .. } | EngineError::Unknown | EngineError::Shutdown)) => {
                    return Err(error);
                }
                Err(error) => {
                    if matches!(error, EngineError::Corrupt { .. }) && self.all_disks_answer() {
                        self.shared.lost.insert(key);
                    }
                    if self.repair.rests.failed(key) {
                        warn!(segment = %task.segment, %error, "a segment cannot be repaired now");
                    }
                }
            }
        }
        if done > 0 {
            let repaired = self.shared.repaired.fetch_add(done, Ordering::Relaxed) + done;
            info!(shards = done, since_start = repaired, "shards repaired");
        }
        Ok(done)
    }

    /// Whether no disk is away that may hold what the others lack.
    fn all_disks_answer(&self) -> bool {
        let map = self.shared.map.load();
        map.standing_disks().all(|disk| self.calls.reachable(&self.shared.disks, disk.id))
    }

    async fn repair_segment(&self, task: &RepairTask) -> Result<u64, EngineError> {
        let (pg, segment) = (task.pg, task.segment);
        let found = self.look(move |view| Ok((view.pg(pg)?, view.segment(pg, segment)?))).await?;
        let (Some(group), Some(row)) = found else { return Ok(0) };
        // Nobody reads a dead segment any more: the reaper takes it.
        if row.references == row.free_references {
            self.shared.lost.remove(&(pg, segment));
            return Ok(0);
        }
        if self.shared.map.load().pg(pg).is_none_or(|known| known.epoch != group.epoch) {
            self.shared.map.refresh(&self.shared.meta).await?;
        }
        let wanted = task.slots.iter().filter(|slot| row.missing.contains(slot));
        let takers: Vec<(Slot, DiskId, AttachNumber)> = wanted
            .filter_map(|slot| self.takes_repair(pg, *slot).map(|(disk, attach)| (*slot, disk, attach)))
            .collect();
        let _running = Counted::new(&self.shared.repairing, takers.len());
        let mut done = 0;
        let mut targets = Vec::new();
        for (slot, disk, attach) in takers {
            match self.look_at_target(disk, ShardKey { segment, slot }, &group, &row).await {
                Scrubbed::Whole => done += self.finish_repair(&group, segment, slot, disk, attach).await?,
                Scrubbed::Bad => targets.push((slot, disk)),
                Scrubbed::NoAnswer => {}
            }
        }
        if targets.is_empty() {
            return Ok(done);
        }
        let damaged = Damaged { pg: group, id: segment, row, targets };
        for Rebuilt { slot, disk, attach } in self.rebuild(&damaged).await? {
            done += self.finish_repair(&damaged.pg, segment, slot, disk, attach).await?;
        }
        Ok(done)
    }

    /// Whether the shard is there after all: its disk was away, or an earlier repair was not recorded.
    async fn look_at_target(&self, disk: DiskId, key: ShardKey, group: &PgRow, row: &SegmentRow) -> Scrubbed {
        let header = self.calls.call(&self.shared.disks, disk, |store| async move { store.header(key).await }).await;
        match header {
            Ok(None) => Scrubbed::Bad,
            Ok(Some(header)) => {
                let fits = header.pg == group.id
                    && header.segment_bytes == row.bytes
                    && crate::map::profile_row(header.profile) == row.profile;
                if fits { self.scrub_shard(disk, key).await } else { Scrubbed::Bad }
            }
            Err(super::calls::CallError::Failed(_)) if self.calls.reachable(&self.shared.disks, disk) => Scrubbed::Bad,
            Err(_) => Scrubbed::NoAnswer,
        }
    }

    /// Records that a shard is whole. Where the plan is old the shard is left to the next round, or to the reaper.
    async fn finish_repair(
        &self,
        group: &PgRow,
        segment: SegmentId,
        slot: Slot,
        disk: DiskId,
        attach: AttachNumber,
    ) -> Result<u64, EngineError> {
        let (pg, epoch) = (group.id, group.epoch);
        let command = Command::FinishRepair { pg, epoch, slot, segment, disk, attach };
        match self.shared.meta.propose(command).await {
            Ok(_) => {}
            Err(MetaError::Refused(Refusal::StaleEpoch)) => {
                self.shared.map.refresh(&self.shared.meta).await?;
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        }
        // The segment may have died while it was repaired: what was written after its deletion is deleted again.
        let gone = self.look(move |view| Ok(view.segment(pg, segment)?.is_none())).await?;
        if gone {
            self.shared.abandoned.push(Abandoned { pg, segment });
        }
        Ok(1)
    }

    /// Looks at shards that readers could not use.
    async fn check_reports(&self) -> Result<(), EngineError> {
        for report in self.shared.reports.take(REPORTS_MAX) {
            let Some(disk) = self.shared.map.load().disk_of(report.pg, report.slot) else { continue };
            let key = ShardKey { segment: report.segment, slot: report.slot };
            if self.scrub_shard(disk, key).await == Scrubbed::Bad {
                let wanted = WantedShard { pg: report.pg, segment: report.segment, slot: report.slot };
                self.report_missing(disk, vec![wanted]).await?;
            }
        }
        Ok(())
    }
}

/// Counts running repairs until dropped.
struct Counted<'a> {
    counter: &'a AtomicU64,
    count: u64,
}

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicU64, count: usize) -> Self {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        counter.fetch_add(count, Ordering::Relaxed);
        Self { counter, count }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.count, Ordering::Relaxed);
    }
}
