//! Inventory: a disk's listing against the rows, at each attach, once a day, and after an order it did not carry out.
//!
//! No data is read. A page at a time, so that clients hardly notice; the cursor lives in memory, and an inventory that
//! is lost half-way begins anew because the disk's row still says that none went through.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use cairn_meta::{Command, DiskRow, MetaError, MetaView, PgRow};
use cairn_proto::{AttachNumber, DiskId, Index, PgId, SegmentId, Slot};
use cairn_shard_store::{DeleteOrder, DeleteReason, ShardKey, ShardSummary};
use tokio::time::Instant;
use tracing::info;

use super::plan_inventory::{PageFindings, Wanted};
use super::segment_pages::{SegmentPage, segment_page};
use super::{Pace, Upkeep};
use crate::error::EngineError;

/// Lines of a disk's listing asked for at once.
pub(crate) const LISTING_PAGE: usize = 500;
const PAUSE_BETWEEN_PAGES: Duration = Duration::from_millis(5);
/// An inventory for an order that was not carried out waits so long after the last one: the disk may fail on.
const OWED_AFTER: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Inventories under way and when the last one of each disk ended.
#[derive(Default)]
pub(crate) struct InventoryState {
    runs: Mutex<HashMap<DiskId, Run>>,
    ended: Mutex<HashMap<DiskId, Instant>>,
    owed: Mutex<HashSet<DiskId>>,
    asked: Mutex<HashSet<DiskId>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    attach: AttachNumber,
    after: Option<SegmentId>,
    /// Shards so far that are newer than the snapshot that was recovered.
    forgotten: u64,
}

impl InventoryState {
    /// The disk did not carry out an order: it needs an inventory. Answers whether that is new.
    pub(crate) fn owe(&self, disk: DiskId) -> bool {
        self.owed.lock().expect("no holder of this lock panics").insert(disk)
    }

    /// A person waits for an inventory of the disk: it begins when the one under way is through.
    fn ask(&self, disk: DiskId) {
        self.asked.lock().expect("no holder of this lock panics").insert(disk);
    }

    /// The run to go on with, or a new one if one is due. What the disk owed is settled by the run that begins now.
    fn run(&self, row: &DiskRow, now: Instant) -> Option<Run> {
        let mut runs = self.runs.lock().expect("no holder of this lock panics");
        if let Some(run) = runs.get(&row.id).filter(|run| run.attach == row.attach) {
            return Some(*run);
        }
        let ended = self.ended.lock().expect("no holder of this lock panics").get(&row.id).copied();
        let old = |least: Duration| ended.is_none_or(|ended| now.duration_since(ended) >= least);
        let mut owed = self.owed.lock().expect("no holder of this lock panics");
        let asked = self.asked.lock().expect("no holder of this lock panics").remove(&row.id);
        let due = row.inventory != Some(row.attach)
            || asked
            || (owed.contains(&row.id) && old(OWED_AFTER))
            || (ended.is_some() && old(AGAIN_AFTER));
        if !due {
            runs.remove(&row.id);
            return None;
        }
        owed.remove(&row.id);
        let run = Run { attach: row.attach, after: None, forgotten: 0 };
        runs.insert(row.id, run);
        Some(run)
    }

    fn advance(&self, disk: DiskId, run: Run) {
        self.runs.lock().expect("no holder of this lock panics").insert(disk, run);
    }

    fn end(&self, disk: DiskId, now: Instant) {
        self.runs.lock().expect("no holder of this lock panics").remove(&disk);
        self.ended.lock().expect("no holder of this lock panics").insert(disk, now);
    }
}

/// Rows of a page as one view showed them.
struct Rows {
    disk: DiskRow,
    pgs: BTreeMap<PgId, PgRow>,
    page: SegmentPage,
}

impl Upkeep {
    /// Compares one page of a disk.
    pub(crate) async fn inventory_step(&self, disk: DiskId) -> Result<Pace, EngineError> {
        let Some(store) = self.shared.disks.get(disk) else { return Ok(Pace::End) };
        if !self.calls.reachable(&self.shared.disks, disk) {
            return Ok(self.idle());
        }
        let map = self.shared.map.load();
        let Some(row) = map.disks.get(&disk) else { return Ok(self.idle()) };
        if store.attach() != row.attach {
            self.shared.map.refresh(&self.shared.meta).await?;
            return Ok(self.idle());
        }
        for asked in self.shared.inventories.take(usize::MAX) {
            self.inventory.ask(asked);
        }
        let Some(mut run) = self.inventory.run(row, Instant::now()) else { return Ok(self.idle()) };
        let Some(rows) = self.look(move |view| rows_of(view, disk, run.after)).await? else { return Ok(self.idle()) };
        if rows.disk.attach != run.attach {
            return Ok(self.idle());
        }
        let Some(forgotten) = self.compare_page(disk, run, &rows).await? else { return Ok(self.idle()) };
        run.forgotten += forgotten;
        if let Some(through) = rows.page.through {
            self.inventory.advance(disk, Run { after: Some(through), ..run });
            return Ok(Pace::After(PAUSE_BETWEEN_PAGES));
        }
        self.shared.meta.propose(Command::FinishInventory { disk, attach: run.attach }).await?;
        self.inventory.end(disk, Instant::now());
        self.shared.forgotten.set(disk, run.forgotten);
        self.shared.map.refresh(&self.shared.meta).await?;
        info!(%disk, attach = %run.attach, "inventory went through");
        Ok(self.idle())
    }

    /// Lists the disk over the page's range and acts on what shows. Answers how many shards this life forgot; none if the
    /// disk did not answer: the page is repeated.
    async fn compare_page(&self, disk: DiskId, run: Run, rows: &Rows) -> Result<Option<u64>, EngineError> {
        let mut wanted = Wanted::of(&rows.page, &rows.pgs, disk);
        let mut findings = PageFindings::default();
        let mut after = run.after.map(last_key_of);
        let mut forgotten = 0;
        loop {
            let listed = self
                .calls
                .call(&self.shared.disks, disk, |store| async move { store.list(after, LISTING_PAGE).await })
                .await;
            let Ok(listing) = listed else { return Ok(None) };
            let covered = listing.partition_point(|shard| rows.page.covers(shard.key.segment));
            wanted.compare(&rows.page, &listing[..covered], &mut findings);
            let unnamed = std::mem::take(&mut findings.unnamed);
            forgotten += self.count_forgotten(disk, &unnamed).await?;
            self.delete_dead(disk, unnamed).await?;
            self.delete_moved(disk, std::mem::take(&mut findings.moved)).await?;
            if covered < LISTING_PAGE {
                break;
            }
            after = listing.last().map(|shard: &ShardSummary| shard.key);
            tokio::task::yield_now().await;
        }
        wanted.finish(&mut findings);
        self.report_missing(disk, findings.missing).await?;
        Ok(Some(forgotten))
    }

    /// Deletes shards whose slot is whole on another disk: the row does not miss it, that disk's inventory went
    /// through, and it has the shard.
    async fn delete_moved(&self, disk: DiskId, shards: Vec<(ShardKey, PgId)>) -> Result<(), EngineError> {
        if shards.is_empty() {
            return Ok(());
        }
        let (index, candidates) = self.look(move |view| moved_away(view, disk, &shards)).await?;
        let mut whole = Vec::new();
        for (key, holder) in candidates {
            let header =
                self.calls.call(&self.shared.disks, holder, |store| async move { store.header(key).await }).await;
            if matches!(header, Ok(Some(_))) {
                whole.push(key);
            }
        }
        if !whole.is_empty() {
            let order = DeleteOrder { index, reason: DeleteReason::Moved };
            // Refused or failed, the shard stays until the next inventory.
            let _deleted = self
                .calls
                .call(&self.shared.disks, disk, |store| async move { store.delete(&whole, order).await })
                .await;
        }
        Ok(())
    }
}

/// The last key that a shard of the segment can have.
pub(crate) fn last_key_of(segment: SegmentId) -> ShardKey {
    ShardKey { segment, slot: Slot(u8::MAX) }
}

fn rows_of(view: &MetaView, disk: DiskId, after: Option<SegmentId>) -> Result<Option<Rows>, MetaError> {
    let Some(row) = view.disks()?.into_iter().find(|row| row.id == disk) else { return Ok(None) };
    let pgs: BTreeMap<PgId, PgRow> = view.pgs()?.into_iter().map(|pg| (pg.id, pg)).collect();
    // All groups, not only this disk's: a shard whose slot moved away is told from one that no row names.
    let ids: Vec<PgId> = pgs.keys().copied().collect();
    let page = segment_page(view, &ids, after)?;
    Ok(Some(Rows { disk: row, pgs, page }))
}

fn moved_away(
    view: &MetaView,
    disk: DiskId,
    shards: &[(ShardKey, PgId)],
) -> Result<(Index, Vec<(ShardKey, DiskId)>), MetaError> {
    let disks: BTreeMap<DiskId, DiskRow> = view.disks()?.into_iter().map(|row| (row.id, row)).collect();
    let mut away = Vec::new();
    for (key, pg) in shards {
        let Some(row) = view.segment(*pg, key.segment)? else { continue };
        let Some(group) = view.pg(*pg)? else { continue };
        let Some(holder) = group.slots.get(usize::from(key.slot.0)) else { continue };
        let seen = disks.get(holder).is_some_and(|row| row.inventory == Some(row.attach));
        if *holder != disk && seen && !row.missing.contains(&key.slot) {
            away.push((*key, *holder));
        }
    }
    Ok((view.index(), away))
}

#[cfg(test)]
mod tests {
    use cairn_proto::NodeId;

    use super::*;

    fn row(attach: u64, inventory: Option<u64>) -> DiskRow {
        DiskRow {
            id: DiskId(1),
            node: NodeId(1),
            attach: AttachNumber(attach),
            folder: String::new(),
            was_mount: false,
            bytes_total: 0,
            inventory: inventory.map(AttachNumber),
            replaced_by: None,
            behind: false,
        }
    }

    #[test]
    fn what_is_due_follows_from_the_row_and_the_present() {
        let state = InventoryState::default();
        let mut now = Instant::now();
        let first = state.run(&row(1, None), now).unwrap();
        let half = Run { after: Some(SegmentId::default()), ..first };
        state.advance(DiskId(1), half);
        assert_eq!(state.run(&row(1, None), now), Some(half));
        // Attached again half-way: from the start.
        assert_eq!(state.run(&row(2, Some(1)), now), Some(Run { attach: AttachNumber(2), after: None, forgotten: 0 }));
        state.end(DiskId(1), now);
        assert_eq!(state.run(&row(2, Some(2)), now), None);
        // Owed once, run once, and not at once.
        assert!(state.owe(DiskId(1)) && !state.owe(DiskId(1)));
        assert_eq!(state.run(&row(2, Some(2)), now), None);
        now += OWED_AFTER;
        assert!(state.run(&row(2, Some(2)), now).is_some());
        state.end(DiskId(1), now);
        assert_eq!(state.run(&row(2, Some(2)), now), None);
        now += AGAIN_AFTER;
        assert!(state.run(&row(2, Some(2)), now).is_some(), "daily");
        // Asked for amid a run: another one behind it, at once.
        state.ask(DiskId(1));
        assert!(state.run(&row(2, Some(2)), now).is_some());
        state.end(DiskId(1), now);
        assert!(state.run(&row(2, Some(2)), now).is_some(), "asked for");
        state.end(DiskId(1), now);
        assert_eq!(state.run(&row(2, Some(2)), now), None);
    }
}
