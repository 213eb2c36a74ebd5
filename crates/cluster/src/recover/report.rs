//! What came back, and what is newer: rows against shards, shards against rows.

use std::collections::{BTreeMap, HashSet};

use cairn_meta::{Extent, ListEntry, ListQuery, MetaView, PgRow, Verdict};
use cairn_proto::{BucketId, PgId, SegmentId, Slot};
use cairn_shard_store::ShardKey;

use super::RecoveryDisks;
use crate::error::EngineError;
use crate::label::{SegmentLabel, SegmentOwner};
use crate::sealing::ClusterKey;

const PAGE: usize = 500;
/// Extents of one object followed at once.
const WINDOW_BYTES: u64 = 16 << 30;
/// Objects named; the others are counted.
const NAMED_MAX: usize = 100_000;
/// Segments remembered so that each is counted once: beyond, they may be counted once a disk.
const SEEN_MAX: usize = 4_000_000;

/// An object whose shards are on the disks and which the snapshot does not know, or not in this version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewerObject {
    /// The bucket's name, if the snapshot knows it.
    pub bucket: Option<String>,
    /// The bucket's id.
    pub bucket_id: BucketId,
    /// The key.
    pub key: String,
    /// Its segments that were found.
    pub segments: u64,
    /// The bytes in them.
    pub bytes: u64,
}

/// What a recovery found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// Objects that are whole, or readable with what is left.
    pub whole: u64,
    /// Of these, those that lie in the rows alone.
    pub inline: u64,
    /// Objects of which too few shards are left.
    pub lost_count: u64,
    /// The first of them, as bucket and key.
    pub lost: Vec<(String, String)>,
    /// Objects that are newer, by name.
    pub newer: Vec<NewerObject>,
    /// Segments that may be newer and belong to objects that are not named here.
    pub more_segments: u64,
    /// Segments that may be newer and whose label does not say whose they are.
    pub unreadable_labels: u64,
}

type Names = BTreeMap<(BucketId, String), (u64, u64)>;

impl RecoveryDisks {
    /// Compares the rows of a life that is about to begin with what lies on the disks.
    ///
    /// # Errors
    /// Where rows cannot be read. A disk that does not answer counts as away.
    pub async fn report(&self, view: &MetaView, key: &ClusterKey) -> Result<RecoveryReport, EngineError> {
        let mut report = RecoveryReport::default();
        let pgs: BTreeMap<PgId, PgRow> = view.pgs()?.into_iter().map(|pg| (pg.id, pg)).collect();
        let mut buckets: BTreeMap<BucketId, String> = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = view.buckets("", after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            for bucket in page {
                self.report_bucket(view, &pgs, (bucket.id, &bucket.name), &mut report).await?;
                buckets.insert(bucket.id, bucket.name);
            }
        }
        let names = self.newer(view, key, &mut report).await?;
        report.newer = names
            .into_iter()
            .map(|((bucket_id, key), (segments, bytes))| {
                let bucket = buckets.get(&bucket_id).cloned();
                NewerObject { bucket, bucket_id, key, segments, bytes }
            })
            .collect();
        Ok(report)
    }

    async fn report_bucket(
        &self,
        view: &MetaView,
        pgs: &BTreeMap<PgId, PgRow>,
        (bucket, name): (BucketId, &str),
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let mut after = None;
        loop {
            let query = ListQuery { bucket, prefix: String::new(), delimiter: None, after, limit: PAGE };
            let page = view.list(&query)?;
            for entry in page.entries {
                let ListEntry::Object { key, .. } = entry else { continue };
                let Some(row) = view.object(bucket, &key)? else { continue };
                if row.body.is_inline() {
                    report.inline += 1;
                } else if !self.is_readable(view, pgs, &row).await? {
                    report.lost_count += 1;
                    if report.lost.len() < NAMED_MAX {
                        report.lost.push((name.to_owned(), key));
                    }
                    continue;
                }
                report.whole += 1;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn is_readable(
        &self,
        view: &MetaView,
        pgs: &BTreeMap<PgId, PgRow>,
        row: &cairn_meta::ObjectRow,
    ) -> Result<bool, EngineError> {
        let mut at = 0;
        while at < row.bytes {
            let end = row.bytes.min(at + WINDOW_BYTES);
            for extent in view.extents(&row.body, at..end)? {
                if !self.has_enough(view, pgs, &extent).await? {
                    return Ok(false);
                }
            }
            at = end;
        }
        Ok(true)
    }

    /// Whether enough shards of a segment are there, on the disks that should have them or on others.
    async fn has_enough(
        &self,
        view: &MetaView,
        pgs: &BTreeMap<PgId, PgRow>,
        extent: &Extent,
    ) -> Result<bool, EngineError> {
        let (Some(row), Some(pg)) = (view.segment(extent.pg, extent.segment)?, pgs.get(&extent.pg)) else {
            return Ok(false);
        };
        let needed = usize::from(row.profile.data);
        let mut found = 0;
        for (number, holder) in (0_u8..).zip(&pg.slots) {
            let key = ShardKey { segment: extent.segment, slot: Slot(number) };
            for disk in self.get(*holder).into_iter().chain(&self.disks) {
                if matches!(disk.header(key).await, Ok(Some(_))) {
                    found += 1;
                    break;
                }
            }
            if found >= needed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Objects whose segments are on the disks and are forgotten by the rows.
    async fn newer(
        &self,
        view: &MetaView,
        key: &ClusterKey,
        report: &mut RecoveryReport,
    ) -> Result<Names, EngineError> {
        let mut names = Names::new();
        let mut seen: HashSet<SegmentId> = HashSet::new();
        for disk in &self.disks {
            let mut after = None;
            loop {
                let page = match disk.list(after, PAGE).await {
                    Ok(page) => page,
                    Err(error) => {
                        tracing::warn!(disk = %disk.id(), %error, "a disk cannot be listed");
                        break;
                    }
                };
                let Some(last) = page.last() else { break };
                after = Some(last.key);
                let asked: Vec<SegmentId> = page.iter().map(|shard| shard.key.segment).collect();
                let verdicts = view.verdicts(&asked)?.verdicts;
                for (shard, (segment, verdict)) in page.iter().zip(verdicts) {
                    let is_new = verdict == Verdict::Forgotten && !seen.contains(&segment);
                    if !is_new {
                        continue;
                    }
                    if seen.len() < SEEN_MAX {
                        seen.insert(segment);
                    }
                    let label = disk.header(shard.key).await.ok().flatten().map(|header| header.label);
                    let label = label.and_then(|label| SegmentLabel::open(key, segment, &label));
                    count(label, shard.segment_bytes, &mut names, report);
                }
            }
        }
        Ok(names)
    }
}

fn count(label: Option<SegmentLabel>, bytes: u64, names: &mut Names, report: &mut RecoveryReport) {
    let (bucket, key) = match label.map(|label| label.owner) {
        Some(SegmentOwner::Object { bucket, key, .. }) => (bucket, key),
        // Of snapshots: no object is lost with them.
        Some(SegmentOwner::Snapshot(_)) => return,
        None => {
            report.unreadable_labels += 1;
            return;
        }
    };
    let room = names.len() < NAMED_MAX;
    match names.get_mut(&(bucket, key.clone())) {
        Some((segments, all)) => {
            *segments += 1;
            *all += bytes;
        }
        None if room => {
            names.insert((bucket, key), (1, bytes));
        }
        None => report.more_segments += 1,
    }
}
