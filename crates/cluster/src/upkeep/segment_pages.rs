//! Pages of segment rows over several placement groups at once, in order of segment id: the order of a disk's listing.

use cairn_meta::{MetaError, MetaView, SegmentRow};
use cairn_proto::{PgId, SegmentId};

/// Rows held at once, over all groups.
const ROWS_MAX: usize = 4000;
const ROWS_PER_GROUP_MIN: usize = 16;

/// A segment row with its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FoundSegment {
    pub(crate) id: SegmentId,
    pub(crate) pg: PgId,
    pub(crate) row: SegmentRow,
}

/// All rows of the groups after one segment and up to `through`, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SegmentPage {
    pub(crate) rows: Vec<FoundSegment>,
    /// Last segment the page covers; none where it covers all that follow.
    pub(crate) through: Option<SegmentId>,
}

impl SegmentPage {
    /// Whether the page covers this segment, given it is after the page's start.
    pub(crate) fn covers(&self, segment: SegmentId) -> bool {
        self.through.is_none_or(|through| segment <= through)
    }

    /// The rows of a segment.
    pub(crate) fn find(&self, segment: SegmentId) -> &[FoundSegment] {
        let from = self.rows.partition_point(|row| row.id < segment);
        let to = self.rows.partition_point(|row| row.id <= segment);
        &self.rows[from..to]
    }
}

/// Reads a page from one view.
pub(crate) fn segment_page(view: &MetaView, pgs: &[PgId], after: Option<SegmentId>) -> Result<SegmentPage, MetaError> {
    let per_group = (ROWS_MAX / pgs.len().max(1)).max(ROWS_PER_GROUP_MIN);
    let mut lists = Vec::with_capacity(pgs.len());
    for pg in pgs {
        lists.push((*pg, view.segments(*pg, after, per_group)?));
    }
    Ok(merge(lists, per_group))
}

/// Merges the groups' lists up to where all of them are known: a list as long as it may be was cut.
fn merge(lists: Vec<(PgId, Vec<(SegmentId, SegmentRow)>)>, per_group: usize) -> SegmentPage {
    let cut = lists.iter().filter(|(_, rows)| rows.len() >= per_group);
    let through = cut.filter_map(|(_, rows)| rows.last().map(|(id, _)| *id)).min();
    let mut rows: Vec<FoundSegment> = lists
        .into_iter()
        .flat_map(|(pg, rows)| rows.into_iter().map(move |(id, row)| FoundSegment { id, pg, row }))
        .filter(|found| through.is_none_or(|through| found.id <= through))
        .collect();
    rows.sort_by_key(|found| (found.id, found.pg));
    SegmentPage { rows, through }
}

#[cfg(test)]
mod tests {
    use cairn_meta::ProfileRow;
    use cairn_proto::{Epoch, GroupId, Sequence, WriterId};

    use super::*;

    fn id(sequence: u64) -> SegmentId {
        SegmentId { group: GroupId(0), writer: WriterId(1), sequence: Sequence(sequence) }
    }

    fn rows(sequences: &[u64]) -> Vec<(SegmentId, SegmentRow)> {
        let row = SegmentRow {
            bytes: 1,
            profile: ProfileRow { data: 1, parity: 0 },
            epoch: Epoch(1),
            missing: Vec::new(),
            references: 1,
            free_references: 0,
        };
        sequences.iter().map(|sequence| (id(*sequence), row.clone())).collect()
    }

    #[test]
    fn a_page_ends_where_the_shortest_cut_list_ends() {
        let page = merge(vec![(PgId(1), rows(&[1, 5, 9])), (PgId(2), rows(&[2, 3, 4])), (PgId(3), rows(&[8]))], 3);
        assert_eq!(page.through, Some(id(4)));
        assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), vec![id(1), id(2), id(3), id(4)]);
        assert!(page.covers(id(4)) && !page.covers(id(5)));
        assert_eq!(page.find(id(3)).len(), 1);
        assert!(page.find(id(7)).is_empty());
        let last = merge(vec![(PgId(1), rows(&[5, 9])), (PgId(3), rows(&[8]))], 3);
        assert_eq!((last.through, last.rows.len()), (None, 3));
    }
}
