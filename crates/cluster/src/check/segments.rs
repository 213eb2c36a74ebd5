//! Segment rows against the listings of all disks, by ranges of segment ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cairn_erasure::StripeLayout;
use cairn_meta::{MetaError, MetaView, PgRow, Referrer, SegmentRow, Verdict};
use cairn_proto::{DiskId, PgId, SegmentId, Slot};
use cairn_shard_store::{ShardKey, ShardStore, ShardStoreError};
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::report::CheckReport;
use crate::error::EngineError;
use crate::label::{SegmentLabel, SegmentOwner};
use crate::map::profile_of;
use crate::queues::ShardReport;
use crate::shared::Shared;
use crate::upkeep::inventory::{LISTING_PAGE, last_key_of};
use crate::upkeep::look;
use crate::upkeep::plan_inventory::{PageFindings, Wanted};
use crate::upkeep::segment_pages::{FoundSegment, SegmentPage, segment_page};

/// A disk that does not answer in this time counts as away for the rest of the check.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// Segments verified at once.
const VERIFIED_AT_ONCE: usize = 2;
/// Shards without a row that are looked at once more at the end; more are not counted.
pub(super) const SUSPECTS_MAX: usize = 10_000;
/// How often dead shards are looked at again: the reaper may be about to delete them.
const LOOKS_MAX: usize = 3;

type OpenDisks = BTreeMap<DiskId, Arc<dyn ShardStore>>;

/// The check of one page.
struct Pass<'a> {
    shared: &'a Shared,
    verify: bool,
    disks: OpenDisks,
    report: &'a mut CheckReport,
    /// Dead shards that no row names, so far.
    suspects: Vec<(DiskId, ShardKey)>,
    suspects_max: usize,
}

pub(super) async fn check_segments(
    shared: &Shared,
    verify: bool,
    suspects_max: usize,
    report: &mut CheckReport,
) -> Result<(), EngineError> {
    let disks: OpenDisks = shared
        .disks
        .all()
        .into_iter()
        .filter(|disk| shared.disks.up(disk.id))
        .map(|disk| (disk.id, disk.store))
        .collect();
    let map = shared.map.refresh(&shared.meta).await?;
    for row in map.standing_disks().filter(|row| !disks.contains_key(&row.id)) {
        report.away.add(|| format!("disk {} of {}", row.id, row.folder));
    }
    let mut pass = Pass { shared, verify, disks, report, suspects: Vec::new(), suspects_max };
    let mut after = None;
    loop {
        let (pgs, page) = look(shared, move |view| rows_of(view, after)).await?;
        pass.check_page(&pgs, &page, after).await?;
        after = page.through;
        if after.is_none() {
            return pass.settle_suspects().await;
        }
    }
}

fn rows_of(view: &MetaView, after: Option<SegmentId>) -> Result<(BTreeMap<PgId, PgRow>, SegmentPage), MetaError> {
    let pgs: BTreeMap<PgId, PgRow> = view.pgs()?.into_iter().map(|pg| (pg.id, pg)).collect();
    let ids: Vec<PgId> = pgs.keys().copied().collect();
    let page = segment_page(view, &ids, after)?;
    Ok((pgs, page))
}

impl Pass<'_> {
    async fn check_page(
        &mut self,
        pgs: &BTreeMap<PgId, PgRow>,
        page: &SegmentPage,
        after: Option<SegmentId>,
    ) -> Result<(), EngineError> {
        let mut absent: BTreeSet<ShardKey> = BTreeSet::new();
        for disk in self.disks.keys().copied().collect::<Vec<_>>() {
            self.list_disk(disk, pgs, page, after, &mut absent).await?;
        }
        let rows: Vec<&FoundSegment> = page.rows.iter().filter(|found| !found.row.is_dead()).collect();
        for found in &rows {
            self.report.segments += 1;
            let present = present_slots(found, pgs, &self.disks, &absent);
            self.report.shards += u64::try_from(present.len()).unwrap_or(u64::MAX);
        }
        let doubtful = |found: &&FoundSegment| {
            let slots = pgs.get(&found.pg).map_or(0, |pg| pg.slots.len());
            self.verify || present_slots(found, pgs, &self.disks, &absent).len() < slots
        };
        let doubtful: Vec<FoundSegment> = rows.into_iter().filter(doubtful).cloned().collect();
        self.check_rows(doubtful).await
    }

    /// Compares one disk's listing; what is not there of what rows want goes to `absent`.
    async fn list_disk(
        &mut self,
        disk: DiskId,
        pgs: &BTreeMap<PgId, PgRow>,
        page: &SegmentPage,
        after: Option<SegmentId>,
        absent: &mut BTreeSet<ShardKey>,
    ) -> Result<(), EngineError> {
        let mut wanted = Wanted::of(page, pgs, disk);
        let mut findings = PageFindings::default();
        let mut from = after.map(last_key_of);
        loop {
            let Some(store) = self.disks.get(&disk).cloned() else { return Ok(()) };
            let listed = tokio::time::timeout(ANSWERS_WITHIN, store.list(from, LISTING_PAGE)).await;
            let Ok(Ok(listing)) = listed else {
                self.disks.remove(&disk);
                self.report.away.add(|| format!("disk {disk} does not answer"));
                return Ok(());
            };
            let covered = listing.partition_point(|shard| page.covers(shard.key.segment));
            wanted.compare(page, &listing[..covered], &mut findings);
            self.suspect(disk, page, std::mem::take(&mut findings.unnamed)).await?;
            // A shard whose slot moved is deleted by inventory once it is whole there.
            findings.moved.clear();
            if covered < LISTING_PAGE {
                break;
            }
            from = listing.last().map(|shard| shard.key);
        }
        absent.extend(wanted.unseen());
        Ok(())
    }

    /// Of shards that no row of the page names, keeps those that are dead.
    async fn suspect(&mut self, disk: DiskId, page: &SegmentPage, keys: Vec<ShardKey>) -> Result<(), EngineError> {
        // Garbage that waits for its deletion has a row.
        let keys: Vec<ShardKey> = keys.into_iter().filter(|key| page.find(key.segment).is_empty()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let asked: Vec<SegmentId> = keys.iter().map(|key| key.segment).collect();
        let verdicts = look(self.shared, move |view| view.verdicts(&asked)).await?;
        for (key, (_, verdict)) in keys.into_iter().zip(verdicts.verdicts) {
            match verdict {
                Verdict::Dead if self.suspects.len() < self.suspects_max => self.suspects.push((disk, key)),
                Verdict::Dead => self.report.orphaned.at_least = true,
                Verdict::Forgotten => self.note_forgotten(disk, key).await,
                Verdict::Alive | Verdict::Pending | Verdict::Unknown => {}
            }
        }
        Ok(())
    }

    /// A shard that is newer than the snapshot the metadata began from: by its label it says whose it is.
    async fn note_forgotten(&mut self, disk: DiskId, key: ShardKey) {
        let Some(store) = self.disks.get(&disk) else { return };
        let header = tokio::time::timeout(ANSWERS_WITHIN, store.header(key)).await;
        let Ok(Ok(Some(header))) = header else { return };
        let label = SegmentLabel::open(&self.shared.key, key.segment, &header.label);
        // Snapshots of before are no loss: their rows are what this life began from.
        if !matches!(label, Some(SegmentLabel { owner: SegmentOwner::Snapshot(_), .. })) {
            let whose = label.map_or_else(|| "no readable label".to_owned(), |label| label.to_string());
            self.report.forgotten.add(|| format!("segment {} slot {} on disk {disk}: {whose}", key.segment, key.slot));
        }
    }

    /// Dead shards that are still there after the reaper had its chance, and whose row did not come back into sight.
    async fn settle_suspects(mut self) -> Result<(), EngineError> {
        for round in 0..LOOKS_MAX {
            let mut left = Vec::new();
            for (disk, key) in std::mem::take(&mut self.suspects) {
                let Some(store) = self.disks.get(&disk) else { continue };
                if matches!(tokio::time::timeout(ANSWERS_WITHIN, store.header(key)).await, Ok(Ok(Some(_)))) {
                    left.push((disk, key));
                }
            }
            self.suspects = left;
            let last = round + 1 == LOOKS_MAX || !self.shared.options.upkeep;
            if self.suspects.is_empty() || last {
                break;
            }
            tokio::time::sleep(self.shared.options.upkeep_interval).await;
        }
        for (disk, key) in &self.suspects {
            self.report.orphaned.add(|| format!("segment {} slot {} on disk {disk}", key.segment, key.slot));
        }
        Ok(())
    }

    /// Looks at rows one by one, at a fresh index.
    async fn check_rows(&mut self, rows: Vec<FoundSegment>) -> Result<(), EngineError> {
        let (shared, disks, verify) = (self.shared, &self.disks, self.verify);
        let mut running = futures_util::stream::iter(rows)
            .map(|found| check_row(shared, disks, verify, found))
            .buffered(VERIFIED_AT_ONCE);
        while let Some(checked) = running.next().await {
            let Some(checked) = checked? else { continue };
            checked.count_into(self.report);
        }
        Ok(())
    }
}

/// Slots of a row that are on a disk that answers and were in its listing.
fn present_slots(
    found: &FoundSegment,
    pgs: &BTreeMap<PgId, PgRow>,
    disks: &OpenDisks,
    absent: &BTreeSet<ShardKey>,
) -> Vec<Slot> {
    let slots = pgs.get(&found.pg).map_or(&[][..], |pg| &pg.slots);
    let here = |(slot, disk): &(u8, &DiskId)| {
        disks.contains_key(*disk) && !absent.contains(&ShardKey { segment: found.id, slot: Slot(*slot) })
    };
    (0_u8..=u8::MAX).zip(slots).filter(here).map(|(slot, _)| Slot(slot)).collect()
}

/// A segment that was looked at.
struct Checked {
    segment: SegmentId,
    needed: usize,
    slots: usize,
    /// Good units of the worst stripe.
    good: usize,
    /// Slots without a shard.
    lacking: Vec<Slot>,
    /// Slots recorded as missing: repair knows of them.
    recorded: usize,
    damaged: Vec<(Slot, DiskId, usize)>,
    referrers: Vec<Referrer>,
}

impl Checked {
    fn count_into(self, report: &mut CheckReport) {
        for (slot, disk, units) in &self.damaged {
            report.damaged.add(|| format!("segment {} slot {slot} on disk {disk}: {units} units", self.segment));
        }
        if self.good < self.needed {
            let who: Vec<String> = self.referrers.iter().take(5).map(name_of).collect();
            report.lost.add(|| {
                format!(
                    "segment {}: {} good shards of {} needed: {}",
                    self.segment,
                    self.good,
                    self.needed,
                    who.join(", ")
                )
            });
        } else if !self.lacking.is_empty() {
            let slots: Vec<String> = self.lacking.iter().map(Slot::to_string).collect();
            report.short.add(|| {
                format!(
                    "segment {}: {} of {} shards, slots {} lack theirs, {} waiting for repair",
                    self.segment,
                    self.slots - self.lacking.len(),
                    self.slots,
                    slots.join(", "),
                    self.recorded
                )
            });
        }
    }
}

fn name_of(referrer: &Referrer) -> String {
    match referrer {
        Referrer::Object { bucket, key, version } => format!("object {key} (bucket {bucket}, version {version})"),
        Referrer::Part { upload, number, .. } => format!("part {number} of upload {upload}"),
        Referrer::Snapshot { snapshot, .. } => format!("the metadata's snapshot of index {snapshot}"),
    }
}

/// What a fresh view says of a row.
type Fresh = Option<(PgRow, SegmentRow, Vec<Referrer>)>;

fn fresh_row(view: &MetaView, found: &FoundSegment) -> Result<Fresh, MetaError> {
    let Some(row) = view.segment(found.pg, found.id)? else { return Ok(None) };
    let Some(pg) = view.pg(found.pg)? else { return Ok(None) };
    Ok(Some((pg, row, view.referrers(found.id)?)))
}

async fn check_row(
    shared: &Shared,
    disks: &OpenDisks,
    verify: bool,
    found: FoundSegment,
) -> Result<Option<Checked>, EngineError> {
    let asked = found.clone();
    let Some((pg, row, referrers)) = look(shared, move |view| fresh_row(view, &asked)).await? else {
        return Ok(None);
    };
    if row.is_dead() {
        return Ok(None);
    }
    let layout = StripeLayout::new(profile_of(row.profile)?, row.bytes)?;
    let looks = (0_u8..=u8::MAX).zip(&pg.slots).map(|(slot, disk)| {
        let key = ShardKey { segment: found.id, slot: Slot(slot) };
        async move { (Slot(slot), *disk, look_at_shard(disks.get(disk), key, &layout, verify).await) }
    });
    let mut bad_at = vec![0_usize; usize::try_from(layout.stripes()).unwrap_or(usize::MAX).max(1)];
    let (mut lacking, mut damaged) = (Vec::new(), Vec::new());
    for (slot, disk, state) in join_all(looks).await {
        if !matches!(state, ShardState::Whole) {
            // A hint: repair looks for itself before it believes it.
            shared.reports.push(ShardReport { pg: found.pg, segment: found.id, slot });
        }
        match state {
            ShardState::Whole => {}
            ShardState::Absent => {
                lacking.push(slot);
                bad_at.iter_mut().for_each(|bad| *bad += 1);
            }
            ShardState::Damaged(stripes) => {
                damaged.push((slot, disk, stripes.len()));
                for stripe in stripes {
                    if let Some(bad) = usize::try_from(stripe).ok().and_then(|stripe| bad_at.get_mut(stripe)) {
                        *bad += 1;
                    }
                }
            }
        }
    }
    // Deleted while it was looked at: no finding.
    if !lacking.is_empty() && is_gone(shared, &found).await? {
        return Ok(None);
    }
    let slots = pg.slots.len();
    let good = slots - bad_at.iter().copied().max().unwrap_or(0).min(slots);
    let (needed, recorded) = (layout.profile().data(), row.missing.len());
    Ok(Some(Checked { segment: found.id, needed, slots, good, lacking, recorded, damaged, referrers }))
}

async fn is_gone(shared: &Shared, found: &FoundSegment) -> Result<bool, EngineError> {
    let (pg, segment) = (found.pg, found.id);
    let row = look(shared, move |view| view.segment(pg, segment)).await?;
    Ok(row.is_none_or(|row| row.is_dead()))
}

enum ShardState {
    Whole,
    Absent,
    Damaged(Vec<u32>),
}

/// A shard of another shape than the row says is as good as none.
async fn look_at_shard(
    store: Option<&Arc<dyn ShardStore>>,
    key: ShardKey,
    layout: &StripeLayout,
    verify: bool,
) -> ShardState {
    let Some(store) = store else { return ShardState::Absent };
    let header = tokio::time::timeout(ANSWERS_WITHIN, store.header(key)).await;
    let Ok(Ok(Some(header))) = header else { return ShardState::Absent };
    if header.profile != layout.profile() || header.segment_bytes != layout.segment_bytes() {
        return ShardState::Absent;
    }
    if !verify {
        return ShardState::Whole;
    }
    match tokio::time::timeout(ANSWERS_WITHIN, store.scrub(key)).await {
        Ok(Ok(bad)) if bad.is_empty() => ShardState::Whole,
        Ok(Ok(bad)) => ShardState::Damaged(bad),
        Ok(Err(ShardStoreError::NotFound { .. })) => ShardState::Absent,
        _ => ShardState::Damaged((0..layout.stripes()).collect()),
    }
}
