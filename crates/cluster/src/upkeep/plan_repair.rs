//! In which order missing shards are made anew: a pure decision over a window of the work list.

use std::collections::BTreeMap;

use cairn_proto::{PgId, SegmentId, Slot};

/// A segment with slots that can be repaired now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RepairTask {
    /// Slots that are missing, whether they can be repaired now or not.
    pub(crate) danger: usize,
    pub(crate) pg: PgId,
    pub(crate) segment: SegmentId,
    /// Slots whose disk takes them now.
    pub(crate) slots: Vec<Slot>,
}

/// Most endangered first: segments with the most missing slots, those that cannot be repaired now counted too.
/// `ready` tells whether the slot's disk takes the shard now.
pub(crate) fn plan_repairs(
    missing: &[(PgId, SegmentId, Slot)],
    ready: impl Fn(PgId, Slot) -> bool,
    rests: impl Fn(PgId, SegmentId) -> bool,
) -> Vec<RepairTask> {
    let mut segments: BTreeMap<(PgId, SegmentId), Vec<Slot>> = BTreeMap::new();
    for (pg, segment, slot) in missing {
        segments.entry((*pg, *segment)).or_default().push(*slot);
    }
    let mut tasks: Vec<RepairTask> = segments
        .into_iter()
        .filter(|((pg, segment), _)| !rests(*pg, *segment))
        .map(|((pg, segment), slots)| {
            let danger = slots.len();
            let slots = slots.into_iter().filter(|slot| ready(pg, *slot)).collect();
            RepairTask { danger, pg, segment, slots }
        })
        .filter(|task| !task.slots.is_empty())
        .collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.danger));
    tasks
}

/// How many rows of a full page are of segments that surely end within it: the last one may go on.
pub(crate) fn whole_segments(page: &[(PgId, SegmentId, Slot)]) -> usize {
    let of = |row: &(PgId, SegmentId, Slot)| (row.0, row.1);
    let Some(last) = page.last() else { return 0 };
    match page.partition_point(|row| of(row) < of(last)) {
        // All of one segment: no page is that short but in tests.
        0 => page.len(),
        whole => whole,
    }
}

#[cfg(test)]
mod tests {
    use cairn_proto::{GroupId, Sequence, WriterId};

    use super::*;

    fn row(pg: u64, sequence: u64, slot: u8) -> (PgId, SegmentId, Slot) {
        let segment = SegmentId { group: GroupId(0), writer: WriterId(1), sequence: Sequence(sequence) };
        (PgId(pg), segment, Slot(slot))
    }

    #[test]
    fn the_most_endangered_come_first_and_slots_of_away_disks_are_left() {
        let missing = [row(1, 1, 0), row(1, 2, 0), row(1, 2, 3), row(2, 5, 3), row(2, 6, 0), row(2, 6, 1)];
        let tasks = plan_repairs(&missing, |_, slot| slot != Slot(3), |_, segment| segment.sequence == Sequence(6));
        let plan: Vec<(u64, &[Slot])> = tasks.iter().map(|task| (task.segment.sequence.0, &task.slots[..])).collect();
        assert_eq!(plan, vec![(2, &[Slot(0)][..]), (1, &[Slot(0)][..])]);
        assert_eq!(tasks.iter().map(|task| task.danger).collect::<Vec<_>>(), vec![2, 1]);
    }

    #[test]
    fn a_page_may_end_within_its_last_segment() {
        assert_eq!(whole_segments(&[]), 0);
        assert_eq!(whole_segments(&[row(1, 1, 0), row(1, 2, 0), row(1, 2, 3)]), 1);
        assert_eq!(whole_segments(&[row(1, 2, 0), row(2, 2, 0)]), 1);
        assert_eq!(whole_segments(&[row(1, 1, 0), row(1, 1, 3)]), 2);
    }
}
