//! Repair: walks the missing shards and makes them anew, the most endangered first.
//!
//! The work list is in the order of groups and may be long. So a walk has several passes: the first goes for segments
//! that would be lost with one more shard, each later one for those with the least redundancy that the one before left.
//! While a later one runs, the first is made again from time to time: what became endangered meanwhile does not wait for
//! its end. What a segment lacks is counted by the work list and by the disks that do not serve.
//!
//! Each step takes a window of the work list from the rows. A shard whose disk is away costs one look; a segment that
//! cannot be repaired rests by itself. Reports of readers are hints: the shard is read here before anything is believed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use cairn_meta::{Command, MetaError, MetaView, PgRow, Refusal, SegmentRow};
use cairn_proto::{AttachNumber, DiskId, PgId, SegmentId, Slot};
use cairn_shard_store::{DiskState, FenceReason, ShardKey};
use futures_util::StreamExt;
use tokio::time::Instant;
use tracing::{info, warn};

use super::plan_inventory::WantedShard;
use super::plan_repair::{RepairTask, plan_repairs, whole_segments};
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

/// The first pass is made again after ten times as long as it took, within these bounds.
const AGAIN_FIRST: Duration = Duration::from_secs(60);
const AGAIN_LAST: Duration = Duration::from_secs(600);
/// Shards that a segment of the first pass can lose at most and still be read.
const ENDANGERED: i32 = 0;

/// A place in the work list.
type Place = Option<(PgId, SegmentId, Slot)>;

/// Where the walk stands.
struct Walk {
    /// Where the first pass stands; none while a later one runs.
    endangered: Option<Place>,
    /// Where the later pass stands.
    later: Place,
    /// How much redundancy the later pass's segments have left at most; none before the first one.
    level: Option<i32>,
    /// The least redundancy that the pass left to a later one.
    next: Option<i32>,
    /// Whether the walk did something.
    busy: bool,
    /// When the first pass began, and when it is made again.
    began: Instant,
    again_at: Instant,
}

impl Walk {
    fn new() -> Self {
        let now = Instant::now();
        Self { endangered: Some(None), later: None, level: None, next: None, busy: false, began: now, again_at: now }
    }

    /// Where the next step begins, and how much redundancy its segments have left at most.
    fn step(&mut self) -> (Place, i32) {
        let now = Instant::now();
        if self.endangered.is_none() && now >= self.again_at {
            (self.endangered, self.began) = (Some(None), now);
        }
        match self.endangered {
            Some(place) => (place, ENDANGERED),
            None => (self.later, self.level.unwrap_or(ENDANGERED)),
        }
    }

    /// The present pass goes on from there.
    fn go_on(&mut self, from: Place) {
        match &mut self.endangered {
            Some(place) => *place = from,
            None => self.later = from,
        }
    }

    /// The present pass leaves segments with so much redundancy, or more, to a later one.
    fn leave(&mut self, left: i32) {
        // A first pass beside a later one leaves what that one takes, or leaves by itself.
        if self.endangered.is_none() || self.level.is_none() {
            self.next = Some(self.next.map_or(left, |next| next.min(left)));
        }
    }

    /// The present pass is through. Answers whether the walk is, and if so whether it did something.
    fn end_pass(&mut self) -> Option<bool> {
        if self.endangered.take().is_some() {
            let now = Instant::now();
            self.again_at = now + (now.duration_since(self.began) * 10).clamp(AGAIN_FIRST, AGAIN_LAST);
            if self.level.is_some() {
                return None;
            }
        }
        if let Some(next) = self.next.take() {
            (self.level, self.later) = (Some(next), None);
            return None;
        }
        let busy = self.busy;
        *self = Self::new();
        Some(busy)
    }
}

/// How repair stands.
pub(crate) struct RepairState {
    walk: Mutex<Walk>,
    window: usize,
    pub(super) rests: Rests<(PgId, SegmentId)>,
}

impl RepairState {
    pub(crate) fn new() -> Self {
        Self::with_window(WINDOW)
    }

    pub(crate) fn with_window(window: usize) -> Self {
        Self { walk: Mutex::new(Walk::new()), window, rests: Rests::new(REST_FIRST, REST_LONGEST) }
    }

    fn walk(&self) -> MutexGuard<'_, Walk> {
        self.walk.lock().expect("no holder of this lock panics")
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
        if self.shared.meta.local().fetch(MetaView::missing_count).await? == 0 {
            *self.repair.walk() = Walk::new();
            return Ok(self.idle());
        }
        let ((after, level), window) = (self.repair.walk().step(), self.repair.window);
        let mut missing = self.look(move |view| view.missing(after, window)).await?;
        let full = missing.len() == window;
        if full {
            missing.truncate(whole_segments(&missing));
        }
        let mut tasks = plan_repairs(
            &missing,
            |pg, slot| self.takes_repair(pg, slot).is_some(),
            |pg, slots| self.redundancy_left(pg, slots),
            |pg, segment| self.repair.rests.rests(&(pg, segment)),
        );
        let left_out = tasks.iter().map(|task| task.left).filter(|left| *left > level).min();
        tasks.retain(|task| task.left <= level);
        let rest = tasks.len() > TASKS_MAX;
        let done = self.repair_all(tasks).await?;
        let mut walk = self.repair.walk();
        walk.busy |= done > 0 || rest;
        left_out.into_iter().for_each(|left| walk.leave(left));
        if rest {
            return Ok(Pace::Again);
        }
        if full {
            walk.go_on(missing.last().copied());
            return Ok(Pace::Again);
        }
        Ok(if walk.end_pass().unwrap_or(true) { Pace::Again } else { Pace::After(NOTHING_READY_PAUSE) })
    }

    /// How many more shards a segment that lacks these can lose and still be read.
    fn redundancy_left(&self, pg: PgId, missing: &[Slot]) -> i32 {
        let map = self.shared.map.load();
        let Some(group) = map.pg(pg) else { return ENDANGERED };
        let absent = map.absent_slots(group, missing, |disk| self.shared.disks.up(disk)).len();
        i32::from(group.profile.parity) - i32::try_from(absent).unwrap_or(i32::MAX)
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

    async fn repair_segment(&self, task: &RepairTask) -> Result<u64, EngineError> {
        let (pg, segment) = (task.pg, task.segment);
        let found = self.look(move |view| Ok((view.pg(pg)?, view.segment(pg, segment)?))).await?;
        let (Some(group), Some(row)) = found else { return Ok(0) };
        // Nobody reads a dead segment any more: the reaper takes it.
        if row.is_dead() {
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
