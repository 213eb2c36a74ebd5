//! What of the garbage can go: pure decisions over pages of rows.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cairn_meta::{Garbage, GarbageKey, GarbageRow, PgRow};
use cairn_proto::{DiskId, Epoch, Index, PgId, SegmentId, Slot, VersionId};
use cairn_shard_store::ShardKey;

/// The first index of a row that no reader needs any more and that is not marked yet; `watermark` is the lowest index
/// that a read without a name may still use.
pub(crate) fn first_to_mark(
    rows: &[(GarbageKey, GarbageRow)],
    watermark: Index,
    held: &HashSet<VersionId>,
) -> Option<Index> {
    let markable =
        |(key, row): &&(GarbageKey, GarbageRow)| !row.free && key.index <= watermark && !held.contains(&row.version);
    rows.iter().find(markable).map(|(key, _)| key.index)
}

/// Free rows for one slice of work.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SweepSlice {
    /// Rows of extents.
    pub(crate) rows: Vec<GarbageKey>,
    /// The segments they name.
    pub(crate) segments: BTreeMap<SegmentId, PgId>,
    /// An upload to be taken apart by one step.
    pub(crate) uploads: Vec<GarbageKey>,
}

/// Takes free rows in order until their extents fill the slice; one row always fits.
pub(crate) fn plan_sweep(rows: &[(GarbageKey, GarbageRow)], rows_max: usize, extents_max: usize) -> SweepSlice {
    let mut slice = SweepSlice::default();
    let mut extents_taken = 0;
    for (key, row) in rows.iter().filter(|(_, row)| row.free) {
        match &row.what {
            Garbage::Extents(extents) => {
                let full = slice.rows.len() >= rows_max || extents_taken + extents.len() > extents_max;
                if full && !slice.rows.is_empty() {
                    break;
                }
                extents_taken += extents.len();
                slice.rows.push(*key);
                slice.segments.extend(extents.iter().map(|extent| (extent.segment, extent.pg)));
            }
            Garbage::Upload(_) => slice.uploads.push(*key),
        }
    }
    slice
}

/// Where shards of a dead segment may lie: each slot on its disk. If slots changed since the commit (or nothing is known
/// of a commit), a former holder may have one too, so all disks in service are told of all slots.
pub(crate) fn shards_of(
    segment: SegmentId,
    pg: &PgRow,
    committed: Option<Epoch>,
    in_service: &BTreeSet<DiskId>,
) -> Vec<(DiskId, ShardKey)> {
    let slots = (0_u8..=u8::MAX).zip(&pg.slots);
    if committed == Some(pg.epoch) {
        return slots.map(|(slot, disk)| (*disk, ShardKey { segment, slot: Slot(slot) })).collect();
    }
    let keys: Vec<ShardKey> = slots.map(|(slot, _)| ShardKey { segment, slot: Slot(slot) }).collect();
    in_service.iter().flat_map(|disk| keys.iter().map(|key| (*disk, *key))).collect()
}

#[cfg(test)]
mod tests {
    use cairn_meta::{Extent, ProfileRow};
    use cairn_proto::{GroupId, Sequence, UploadId, WriterId};

    use super::*;

    fn version(index: u64) -> VersionId {
        VersionId { index: Index(index), ordinal: 0 }
    }

    fn segment(sequence: u64) -> SegmentId {
        SegmentId { group: GroupId(0), writer: WriterId(1), sequence: Sequence(sequence) }
    }

    fn row(index: u64, held_as: u64, free: bool, what: Garbage) -> (GarbageKey, GarbageRow) {
        let key = GarbageKey { index: Index(index), ordinal: 0, counter: 0 };
        (key, GarbageRow { free, version: version(held_as), bytes: 1, what })
    }

    fn extents(sequences: &[u64]) -> Garbage {
        let extent = |sequence: &u64| Extent { segment: segment(*sequence), pg: PgId(3), offset: 0, bytes: 1 };
        Garbage::Extents(sequences.iter().map(extent).collect())
    }

    #[test]
    fn held_rows_do_not_hide_those_behind_them() {
        let rows: Vec<_> = (10..2010).map(|index| row(index, index - 10, false, extents(&[]))).collect();
        let held: HashSet<VersionId> = (0..1990).map(version).collect();
        assert_eq!(first_to_mark(&rows, Index(5000), &held), Some(Index(2000)));
        assert_eq!(first_to_mark(&rows, Index(1999), &held), None);
        assert_eq!(first_to_mark(&rows, Index(2000), &held), Some(Index(2000)), "a watermark at the row is enough");
    }

    #[test]
    fn a_slice_is_bounded_by_extents_and_leaves_what_is_not_free() {
        let rows = [
            row(1, 0, true, extents(&[1, 2, 3])),
            row(2, 0, false, extents(&[4])),
            row(3, 0, true, Garbage::Upload(UploadId(version(1)))),
            row(4, 0, true, extents(&[1, 5])),
            row(5, 0, true, extents(&[6])),
        ];
        let slice = plan_sweep(&rows, 100, 5);
        assert_eq!(slice.rows, vec![rows[0].0, rows[3].0]);
        assert_eq!(slice.segments.keys().map(|id| id.sequence.0).collect::<Vec<_>>(), vec![1, 2, 3, 5]);
        assert_eq!(slice.uploads, vec![rows[2].0]);
        assert_eq!(plan_sweep(&rows, 100, 1).rows, vec![rows[0].0], "one row always fits");
    }

    #[test]
    fn former_holders_are_told_too() {
        let profile = ProfileRow { data: 1, parity: 1 };
        let slots = vec![DiskId(7), DiskId(8)];
        let pg = PgRow { id: PgId(3), profile, epoch: Epoch(2), slots, retired: false };
        let in_service = BTreeSet::from([DiskId(6), DiskId(7), DiskId(8)]);
        assert_eq!(shards_of(segment(1), &pg, Some(Epoch(2)), &in_service).len(), 2);
        assert_eq!(shards_of(segment(1), &pg, Some(Epoch(1)), &in_service).len(), 6);
        assert_eq!(shards_of(segment(1), &pg, None, &in_service).len(), 6);
    }
}
