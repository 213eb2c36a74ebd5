//! In which order missing shards are made anew: a pure decision over a window of the work list.

use std::collections::BTreeMap;

use cairn_proto::{PgId, SegmentId, Slot};

/// A segment with slots that can be repaired now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RepairTask {
    /// How many more shards it can lose and still be read: under 0 it cannot be read now.
    pub(crate) left: i32,
    pub(crate) pg: PgId,
    pub(crate) segment: SegmentId,
    /// Slots whose disk takes them now.
    pub(crate) slots: Vec<Slot>,
}

/// Least redundancy first; segments that cannot be read come behind those that one more loss would take.
///
/// `ready` tells whether the slot's disk takes the shard now, `left` how many more shards a segment can lose that lacks
/// these slots: disks that do not serve are counted there.
pub(crate) fn plan_repairs(
    missing: &[(PgId, SegmentId, Slot)],
    ready: impl Fn(PgId, Slot) -> bool,
    left: impl Fn(PgId, &[Slot]) -> i32,
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
            let left = left(pg, &slots);
            let slots = slots.into_iter().filter(|slot| ready(pg, *slot)).collect();
            RepairTask { left, pg, segment, slots }
        })
        .filter(|task| !task.slots.is_empty())
        .collect();
    tasks.sort_by_key(|task| (task.left.max(0), task.left < 0));
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
    fn the_least_redundancy_comes_first_and_slots_of_away_disks_are_left() {
        // Slot 3 is on a disk that is away. Group 3 has one parity unit, the others two.
        let missing =
            [row(1, 1, 0), row(1, 2, 0), row(1, 2, 3), row(2, 5, 3), row(2, 6, 0), row(2, 6, 1), row(3, 7, 0)];
        let left = |pg, slots: &[Slot]| {
            let parity = if pg == PgId(3) { 1 } else { 2 };
            parity - i32::try_from(slots.len()).unwrap()
        };
        let rests = |_, segment: SegmentId| segment.sequence == Sequence(6);
        let tasks = plan_repairs(&missing, |_, slot| slot != Slot(3), left, rests);
        let plan: Vec<(u64, i32, &[Slot])> =
            tasks.iter().map(|task| (task.segment.sequence.0, task.left, &task.slots[..])).collect();
        assert_eq!(plan, vec![(2, 0, &[Slot(0)][..]), (7, 0, &[Slot(0)][..]), (1, 1, &[Slot(0)][..])]);
    }

    #[test]
    fn what_cannot_be_read_does_not_go_before_what_can_be_saved() {
        let missing = [row(1, 1, 0), row(1, 2, 0), row(1, 3, 0)];
        let sorted = |lefts: [i32; 3]| {
            let numbered = std::cell::Cell::new(0);
            let next = |_, _: &[Slot]| lefts[numbered.replace(numbered.get() + 1)];
            plan_repairs(&missing, |_, _| true, next, |_, _| false).iter().map(|task| task.left).collect::<Vec<_>>()
        };
        assert_eq!(sorted([2, -1, 0]), [0, -1, 2]);
    }

    #[test]
    fn a_page_may_end_within_its_last_segment() {
        assert_eq!(whole_segments(&[]), 0);
        assert_eq!(whole_segments(&[row(1, 1, 0), row(1, 2, 0), row(1, 2, 3)]), 1);
        assert_eq!(whole_segments(&[row(1, 2, 0), row(2, 2, 0)]), 1);
        assert_eq!(whole_segments(&[row(1, 1, 0), row(1, 1, 3)]), 2);
    }
}
