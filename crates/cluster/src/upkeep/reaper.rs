//! Reaper: what no reader needs is deleted from the disks, then its rows go.
//!
//! ```text
//! garbage row ──read watermark passed it──▶ MarkFree ──▶ free row ──▶ its dead segments' shards are deleted
//!                                                                 ──▶ RemoveGarbage
//! abandoned segment ──RaiseWatermark──▶ dead ──▶ its shards are deleted
//! internal upload of a closed writer ──▶ AbortUpload ──▶ garbage
//! ```
//!
//! A disk that is away, late or failing holds nothing up: it owes an inventory, which deletes what is dead.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use cairn_meta::{BATCH_ROWS_MAX, Command, GarbageKey, GarbageRow, MetaError, MetaView, Reply, Verdict};
use cairn_proto::{DiskId, Index, PgId, SegmentId, Sequence, VersionId, WriterId};
use cairn_shard_store::ShardKey;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::plan_reaper::{SweepSlice, first_to_mark, plan_sweep, shards_of};
use super::rest::Rests;
use super::{Pace, Upkeep};
use crate::error::EngineError;
use crate::queues::Abandoned;

const PAGE: usize = 500;
/// Extents of the rows swept in one slice.
const SLICE_EXTENTS_MAX: usize = 500;
/// Versions named in one command. Beyond it nothing is marked until reads end: they are bounded by admission.
const HELD_MAX: usize = 16_384;
/// A command that stops half-way is repeated this often in one step.
const REPEATS_MAX: usize = 64;
/// Abandoned segments kept while they are not dead yet; beyond it an inventory finds them.
const ABANDONED_MAX: usize = 4096;
const UPLOADS_LOOK_AFTER: Duration = Duration::from_secs(60);
const UPLOADS_PAGE: usize = 100;

/// Where the reaper stands.
pub(crate) struct ReaperState {
    from: Mutex<Option<GarbageKey>>,
    abandoned: Mutex<VecDeque<Abandoned>>,
    raised: Mutex<Option<(WriterId, Sequence)>>,
    uploads_looked: Mutex<Option<Instant>>,
    rests: Rests<GarbageKey>,
}

impl ReaperState {
    pub(crate) fn new() -> Self {
        Self {
            from: Mutex::new(None),
            abandoned: Mutex::default(),
            raised: Mutex::new(None),
            uploads_looked: Mutex::new(None),
            rests: Rests::new(Duration::from_secs(5), Duration::from_secs(300)),
        }
    }
}

/// Dead segments and where their shards may lie.
struct DeadShards {
    index: Index,
    by_disk: BTreeMap<DiskId, Vec<ShardKey>>,
}

impl Upkeep {
    /// One slice of each kind of work.
    pub(crate) async fn reaper_step(&self) -> Result<Pace, EngineError> {
        self.shared.urls.forget_quiet();
        self.sweep_abandoned().await?;
        self.abort_dead_uploads().await?;
        if self.shared.meta.local().fetch(MetaView::garbage_totals).await?.rows == 0 {
            return Ok(self.idle());
        }
        self.reap_page().await
    }

    /// Marks or sweeps what it finds in the next page of rows.
    async fn reap_page(&self) -> Result<Pace, EngineError> {
        let from = *self.reaper.from.lock().expect("no holder of this lock panics");
        let rows = self.look(move |view| view.garbage(from, PAGE)).await?;
        let mark = self.shared.pins.mark(|| self.shared.meta.applied());
        let held: HashSet<VersionId> = mark.held.into_iter().collect();
        if let Some(first) = first_to_mark(&rows, mark.index, &held)
            && held.len() <= HELD_MAX
            && self.mark_free(first, mark.index, held).await?
        {
            return Ok(Pace::Again);
        }
        let ready: Vec<(GarbageKey, GarbageRow)> =
            rows.iter().filter(|(key, _)| !self.reaper.rests.rests(key)).cloned().collect();
        let slice = plan_sweep(&ready, BATCH_ROWS_MAX, SLICE_EXTENTS_MAX);
        if !slice.rows.is_empty() || !slice.uploads.is_empty() {
            self.sweep(slice).await?;
            return Ok(Pace::Again);
        }
        let next = rows.last().filter(|(key, _)| rows.len() == PAGE && key.index <= mark.index);
        let next = next.map(|(key, _)| GarbageKey { counter: key.counter.saturating_add(1), ..*key });
        *self.reaper.from.lock().expect("no holder of this lock panics") = next;
        Ok(if next.is_some() { Pace::Again } else { self.idle() })
    }

    /// Answers whether rows were marked.
    async fn mark_free(&self, from: Index, watermark: Index, held: HashSet<VersionId>) -> Result<bool, EngineError> {
        let held: Vec<VersionId> = held.into_iter().collect();
        let command = Command::MarkFree { from, below: watermark.next(), held };
        match self.shared.meta.propose(command).await? {
            Reply::Marked { rows, .. } => Ok(rows > 0),
            _ => Ok(false),
        }
    }

    /// Deletes the shards of the slice's dead segments, then removes its rows.
    async fn sweep(&self, slice: SweepSlice) -> Result<(), EngineError> {
        if !slice.segments.is_empty() {
            self.delete_segments(slice.segments).await?;
        }
        let keys: Vec<GarbageKey> = slice.rows.into_iter().chain(slice.uploads).collect();
        for keys in keys.chunks(BATCH_ROWS_MAX) {
            self.remove_rows(keys.to_vec()).await?;
        }
        Ok(())
    }

    async fn remove_rows(&self, rows: Vec<GarbageKey>) -> Result<(), EngineError> {
        for _ in 0..REPEATS_MAX {
            match self.shared.meta.propose(Command::RemoveGarbage { rows: rows.clone() }).await {
                Ok(Reply::Marked { next: Some(_), .. }) => {}
                Ok(_) => return Ok(()),
                Err(MetaError::Refused(refusal)) => {
                    // One row that is refused does not keep the others.
                    warn!(%refusal, rows = rows.len(), "garbage rows were not removed");
                    return self.remove_one_by_one(rows).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn remove_one_by_one(&self, rows: Vec<GarbageKey>) -> Result<(), EngineError> {
        for row in rows {
            match self.shared.meta.propose(Command::RemoveGarbage { rows: vec![row] }).await {
                Ok(_) => {}
                Err(MetaError::Refused(_)) => {
                    self.reaper.rests.failed(row);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Deletes the shards of those segments that are dead.
    async fn delete_segments(&self, segments: BTreeMap<SegmentId, PgId>) -> Result<(), EngineError> {
        let mut only: Option<BTreeSet<DiskId>> = None;
        for _ in 0..3 {
            let (asked, in_service) = (segments.clone(), self.in_service());
            let mut dead = self.look(move |view| dead_shards(view, &asked, &in_service)).await?;
            if let Some(only) = &only {
                dead.by_disk.retain(|disk, _| only.contains(disk));
            }
            let deleted = self.order_delete(dead.by_disk, dead.index).await;
            debug!(shards = deleted.shards, owing = deleted.owing.len(), "dead shards deleted");
            if deleted.overtaken.is_empty() {
                return Ok(());
            }
            only = Some(deleted.overtaken);
        }
        for disk in only.into_iter().flatten() {
            self.note_behind(disk);
        }
        Ok(())
    }

    fn in_service(&self) -> BTreeSet<DiskId> {
        self.shared.disks.all().into_iter().map(|disk| disk.id).collect()
    }

    /// Segments that will never be committed: once our write watermark passed them they are dead.
    async fn sweep_abandoned(&self) -> Result<(), EngineError> {
        let batch: BTreeMap<SegmentId, PgId> = {
            let mut waiting = self.reaper.abandoned.lock().expect("no holder of this lock panics");
            waiting.extend(self.shared.abandoned.take(ABANDONED_MAX));
            let over = waiting.len().saturating_sub(ABANDONED_MAX);
            waiting.drain(..over);
            waiting.iter().take(PAGE).map(|abandoned| (abandoned.segment, abandoned.pg)).collect()
        };
        if batch.is_empty() {
            return Ok(());
        }
        self.raise_watermark(&batch).await?;
        let asked: Vec<SegmentId> = batch.keys().copied().collect();
        let verdicts = self.look(move |view| view.verdicts(&asked)).await?;
        let settled: BTreeSet<SegmentId> = verdicts
            .verdicts
            .into_iter()
            .filter(|(_, verdict)| matches!(verdict, Verdict::Alive | Verdict::Dead))
            .map(|(segment, _)| segment)
            .collect();
        let dead = batch.into_iter().filter(|(segment, _)| settled.contains(segment)).collect();
        self.delete_segments(dead).await?;
        let mut waiting = self.reaper.abandoned.lock().expect("no holder of this lock panics");
        waiting.retain(|abandoned| !settled.contains(&abandoned.segment));
        // Those that are not dead yet go behind the others.
        let asked = waiting.len().min(PAGE);
        waiting.rotate_left(asked);
        Ok(())
    }

    /// Tells the group our write watermark if that makes one of the segments dead.
    async fn raise_watermark(&self, segments: &BTreeMap<SegmentId, PgId>) -> Result<(), EngineError> {
        let (writer, sequence) = self.shared.writer.watermark();
        let helps = segments.keys().any(|segment| segment.writer == writer && segment.sequence < sequence);
        let last = *self.reaper.raised.lock().expect("no holder of this lock panics");
        if !helps || last.is_some_and(|(of, at)| of == writer && at >= sequence) {
            return Ok(());
        }
        match self.shared.meta.propose(Command::RaiseWatermark { writer, sequence }).await {
            Ok(_) => {
                *self.reaper.raised.lock().expect("no holder of this lock panics") = Some((writer, sequence));
                Ok(())
            }
            // The writer was closed meanwhile: all of its uncommitted segments are dead.
            Err(MetaError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Aborts the uploads that large PUTs of closed writers left.
    async fn abort_dead_uploads(&self) -> Result<(), EngineError> {
        {
            let mut looked = self.reaper.uploads_looked.lock().expect("no holder of this lock panics");
            if looked.is_some_and(|looked| looked.elapsed() < UPLOADS_LOOK_AFTER) {
                return Ok(());
            }
            *looked = Some(Instant::now());
        }
        let uploads = self.look(|view| view.internal_uploads_of_closed_writers(UPLOADS_PAGE)).await?;
        let more = uploads.len() == UPLOADS_PAGE;
        let mut aborted = false;
        for (bucket, key, upload) in uploads {
            match self.shared.meta.propose(Command::AbortUpload { bucket, key, upload }).await {
                Ok(_) => aborted = true,
                Err(MetaError::Refused(refusal)) => debug!(%upload, %refusal, "an upload was not aborted"),
                Err(error) => return Err(error.into()),
            }
        }
        if more && aborted {
            *self.reaper.uploads_looked.lock().expect("no holder of this lock panics") = None;
        }
        Ok(())
    }
}

fn dead_shards(
    view: &MetaView,
    segments: &BTreeMap<SegmentId, PgId>,
    in_service: &BTreeSet<DiskId>,
) -> Result<DeadShards, MetaError> {
    let asked: Vec<SegmentId> = segments.keys().copied().collect();
    let verdicts = view.verdicts(&asked)?;
    let mut by_disk: BTreeMap<DiskId, Vec<ShardKey>> = BTreeMap::new();
    for (segment, verdict) in verdicts.verdicts {
        let Some(pg) = segments.get(&segment).filter(|_| verdict == Verdict::Dead) else { continue };
        let Some(group) = view.pg(*pg)? else { continue };
        let committed = view.segment(*pg, segment)?.map(|row| row.epoch);
        for (disk, key) in shards_of(segment, &group, committed, in_service) {
            by_disk.entry(disk).or_default().push(key);
        }
    }
    Ok(DeadShards { index: verdicts.index, by_disk })
}
