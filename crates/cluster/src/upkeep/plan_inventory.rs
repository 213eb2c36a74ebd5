//! What a disk's listing says against the rows: a pure comparison of one page.
//!
//! The rows are read first, the listing after: a shard is durable before its row is, so a row without its shard in the
//! listing is a loss (or a row that went since, which the reporter checks).

use std::collections::BTreeMap;

use cairn_meta::PgRow;
use cairn_proto::{DiskId, PgId, SegmentId, Slot};
use cairn_shard_store::{ShardKey, ShardSummary};

use super::segment_pages::{FoundSegment, SegmentPage};
use crate::map::profile_row;

/// A shard that a row wants on the disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct WantedShard {
    pub(crate) pg: PgId,
    pub(crate) segment: SegmentId,
    pub(crate) slot: Slot,
}

/// What a page of a disk's listing showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PageFindings {
    /// Shards that rows want here, are not here, and are not recorded as missing yet.
    pub(crate) missing: Vec<WantedShard>,
    /// Shards here whose slot is another disk's now, with their group.
    pub(crate) moved: Vec<(ShardKey, PgId)>,
    /// Shards here that no row names.
    pub(crate) unnamed: Vec<ShardKey>,
}

/// The shards that the rows want on the disk, and whether they are recorded as missing.
pub(crate) struct Wanted {
    shards: BTreeMap<ShardKey, (WantedShard, bool)>,
}

impl Wanted {
    /// Collects them from a page of rows.
    pub(crate) fn of(page: &SegmentPage, pgs: &BTreeMap<PgId, PgRow>, disk: DiskId) -> Self {
        let mut shards = BTreeMap::new();
        // A row whose references are all free is dead: nothing is wanted for it any more.
        for found in page.rows.iter().filter(|found| !found.row.is_dead()) {
            for slot in slots_on(pgs, found.pg, disk) {
                let key = ShardKey { segment: found.id, slot };
                let recorded = found.row.missing.contains(&slot);
                shards.insert(key, (WantedShard { pg: found.pg, segment: found.id, slot }, recorded));
            }
        }
        Self { shards }
    }

    /// Compares a piece of the listing; what it names is no longer looked for.
    pub(crate) fn compare(&mut self, page: &SegmentPage, listing: &[ShardSummary], findings: &mut PageFindings) {
        for shard in listing {
            let rows = page.find(shard.key.segment);
            if rows.iter().any(|found| found.row.is_dead()) || rows.is_empty() {
                findings.unnamed.push(shard.key);
            } else if let Some((wanted, _)) = self.shards.get(&shard.key) {
                let fits = rows.iter().any(|found| found.pg == wanted.pg && describes(found, shard));
                // One of another shape is as good as none: repair replaces it.
                if fits {
                    self.shards.remove(&shard.key);
                }
            } else {
                findings.moved.extend(rows.first().map(|found| (shard.key, found.pg)));
            }
        }
    }

    /// All that was not in the listing, recorded as missing or not.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = ShardKey> {
        self.shards.keys().copied()
    }

    /// What was not in the listing and is not recorded as missing.
    pub(crate) fn finish(self, findings: &mut PageFindings) {
        let unseen = self.shards.into_values().filter(|(_, recorded)| !recorded);
        findings.missing.extend(unseen.map(|(wanted, _)| wanted));
    }
}

/// Slots of the group that are the disk's.
pub(crate) fn slots_on(pgs: &BTreeMap<PgId, PgRow>, pg: PgId, disk: DiskId) -> impl Iterator<Item = Slot> {
    let slots = pgs.get(&pg).map_or(&[][..], |row| &row.slots);
    let numbered = (0_u8..=u8::MAX).zip(slots);
    numbered.filter(move |(_, holder)| **holder == disk).map(|(slot, _)| Slot(slot))
}

/// Whether the shard has the shape that the row says.
pub(crate) fn describes(found: &FoundSegment, shard: &ShardSummary) -> bool {
    profile_row(shard.profile) == found.row.profile && shard.segment_bytes == found.row.bytes
}

#[cfg(test)]
mod tests {
    use cairn_erasure::ErasureProfile;
    use cairn_meta::{ProfileRow, SegmentRow};
    use cairn_proto::{Epoch, GroupId, Sequence, WriterId};

    use super::*;

    fn id(sequence: u64) -> SegmentId {
        SegmentId { group: GroupId(0), writer: WriterId(1), sequence: Sequence(sequence) }
    }

    fn found(sequence: u64, missing: &[u8], free: u32) -> FoundSegment {
        let row = SegmentRow {
            bytes: 100,
            profile: ProfileRow { data: 1, parity: 1 },
            epoch: Epoch(1),
            missing: missing.iter().map(|slot| Slot(*slot)).collect(),
            references: 1,
            free_references: free,
        };
        FoundSegment { id: id(sequence), pg: PgId(1), row }
    }

    fn shard(sequence: u64, slot: u8, bytes: u64) -> ShardSummary {
        let key = ShardKey { segment: id(sequence), slot: Slot(slot) };
        ShardSummary { key, pg: PgId(1), profile: ErasureProfile::new(1, 1).unwrap(), segment_bytes: bytes }
    }

    #[test]
    fn one_page_shows_every_kind_of_finding() {
        let profile = ProfileRow { data: 1, parity: 1 };
        let slots = vec![DiskId(7), DiskId(8)];
        let pg = PgRow { id: PgId(1), profile, epoch: Epoch(1), slots, retired: false };
        let pgs = BTreeMap::from([(PgId(1), pg)]);
        // 1 whole; 2 lost; 3 lost and recorded; 4 dead; 5 of a wrong length.
        let rows = vec![found(1, &[], 0), found(2, &[], 0), found(3, &[0], 0), found(4, &[], 1), found(5, &[], 0)];
        let page = SegmentPage { rows, through: None };
        let mut wanted = Wanted::of(&page, &pgs, DiskId(7));
        let mut findings = PageFindings::default();
        // 9 has no row; slot 1 of segment 1 is the other disk's.
        let listing = [shard(1, 0, 100), shard(1, 1, 100), shard(4, 0, 100), shard(5, 0, 99), shard(9, 0, 100)];
        wanted.compare(&page, &listing[..2], &mut findings);
        wanted.compare(&page, &listing[2..], &mut findings);
        wanted.finish(&mut findings);
        let missing: Vec<SegmentId> = findings.missing.iter().map(|wanted| wanted.segment).collect();
        assert_eq!(missing, vec![id(2), id(5)]);
        assert_eq!(findings.moved, vec![(ShardKey { segment: id(1), slot: Slot(1) }, PgId(1))]);
        assert_eq!(findings.unnamed.iter().map(|key| key.segment).collect::<Vec<_>>(), vec![id(4), id(9)]);
    }
}
