//! What is short of redundancy now: counted by the rows and by which disks serve, whether repair can do something or not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cairn_meta::{MetaError, MetaView, PgRow};
use cairn_proto::{DiskId, PgId, SegmentId, Slot};

use crate::map::ClusterMap;

/// Segments that a status looks at at most; more are not counted.
const LOOKED_AT_MAX: usize = 100_000;
const PAGE: usize = 1000;

/// Segments that lack shards. Those that are lost for good are not among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShortReport {
    /// Segments that can be read and lack shards.
    pub segments: u64,
    /// Segments that cannot be read now.
    pub unreadable: u64,
    /// Shards on disks that do not serve: they are there again when those disks are.
    pub away_shards: u64,
    /// The disks that those shards are on.
    pub away_disks: u64,
    /// There may be more: counting was given up.
    pub at_least: bool,
}

/// A count that read more segments than these is kept for some time: anybody may ask for metrics, and the metadata has
/// more to do while disks are away.
const KEPT_FROM_SEGMENTS: usize = 10_000;
const KEPT_FOR: Duration = Duration::from_secs(30);

/// The last count that was much work. One is at work at a time.
#[derive(Debug, Default)]
pub(crate) struct LastShort(Mutex<Option<(Instant, ShortReport)>>);

impl LastShort {
    /// The last count, or a new one.
    pub(super) fn get(&self, count: &ShortCount<'_>) -> Result<ShortReport, MetaError> {
        self.get_or(|| count.run())
    }

    fn get_or(&self, run: impl FnOnce() -> Result<Tally, MetaError>) -> Result<ShortReport, MetaError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, report)) = last.filter(|(when, _)| when.elapsed() < KEPT_FOR) {
            return Ok(report);
        }
        let tally = run()?;
        *last = (tally.looked_at >= KEPT_FROM_SEGMENTS).then(|| (Instant::now(), tally.report));
        Ok(tally.report)
    }
}

/// Counts over a view.
pub(super) struct ShortCount<'a> {
    pub(super) view: &'a MetaView,
    pub(super) map: &'a ClusterMap,
    /// Disks that can be read.
    pub(super) serving: BTreeSet<DiskId>,
    /// Segments that no disk can give back.
    pub(super) lost: BTreeSet<(PgId, SegmentId)>,
}

impl ShortCount<'_> {
    /// Reads the segments of all groups that have a disk which does not serve, and of the others the work list.
    fn run(&self) -> Result<Tally, MetaError> {
        let mut tally = Tally::default();
        for group in self.map.pgs.values().filter(|group| !self.serves(group)) {
            self.count_group(group, &mut tally)?;
        }
        self.count_missing(&mut tally)?;
        tally.report.away_disks = count(tally.away.len());
        Ok(tally)
    }

    /// Whether what a group's segments lack is in the work list alone.
    fn serves(&self, group: &PgRow) -> bool {
        group.slots.iter().all(|disk| self.serving.contains(disk) && !self.map.behind(*disk))
    }

    fn count_group(&self, group: &PgRow, tally: &mut Tally) -> Result<(), MetaError> {
        let mut after = None;
        while tally.has_room() {
            let page = self.view.segments(group.id, after, PAGE)?;
            after = page.last().map(|(segment, _)| *segment);
            for (segment, row) in &page {
                // Of what is dead nothing is missing.
                if !row.is_dead() {
                    self.count_segment(group, *segment, &row.missing, tally);
                }
            }
            if page.len() < PAGE {
                break;
            }
        }
        Ok(())
    }

    /// The segments in the work list whose group was not counted as a whole.
    fn count_missing(&self, tally: &mut Tally) -> Result<(), MetaError> {
        let mut segments: BTreeMap<(PgId, SegmentId), Vec<Slot>> = BTreeMap::new();
        let mut after = None;
        while segments.len() < LOOKED_AT_MAX {
            let page = self.view.missing(after, PAGE)?;
            after = page.last().copied();
            for (pg, segment, slot) in &page {
                segments.entry((*pg, *segment)).or_default().push(*slot);
            }
            if page.len() < PAGE {
                break;
            }
        }
        tally.report.at_least |= segments.len() >= LOOKED_AT_MAX;
        for ((pg, segment), missing) in segments {
            let Some(group) = self.map.pg(pg).filter(|group| self.serves(group)) else { continue };
            let row = self.view.segment(pg, segment)?;
            // Of what is dead nothing is missing.
            if row.is_some_and(|row| !row.is_dead()) {
                self.count_segment(group, segment, &missing, tally);
            }
        }
        Ok(())
    }

    fn count_segment(&self, group: &PgRow, segment: SegmentId, missing: &[Slot], tally: &mut Tally) {
        tally.looked_at += 1;
        let absent = self.map.absent_slots(group, missing, |disk| self.serving.contains(&disk));
        let parity = usize::from(group.profile.parity);
        if absent.is_empty() || self.lost.contains(&(group.id, segment)) {
            return;
        }
        if absent.len() > parity {
            tally.report.unreadable += 1;
        } else {
            tally.report.segments += 1;
        }
        // Where too many are gone already, no disk that comes back brings it back.
        if missing.len() > parity {
            return;
        }
        for slot in absent.into_iter().filter(|slot| !missing.contains(slot)) {
            let Some(disk) = group.slots.get(usize::from(slot.0)) else { continue };
            if !self.serving.contains(disk) {
                tally.report.away_shards += 1;
                tally.away.insert(*disk);
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    report: ShortReport,
    away: BTreeSet<DiskId>,
    looked_at: usize,
}

impl Tally {
    /// Whether more segments may be looked at.
    fn has_room(&mut self) -> bool {
        let room = self.looked_at < LOOKED_AT_MAX;
        self.report.at_least |= !room;
        room
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_was_much_work_is_kept_for_a_while_and_a_small_one_is_not() {
        for (looked_at, is_kept) in [(KEPT_FROM_SEGMENTS - 1, false), (KEPT_FROM_SEGMENTS, true)] {
            let last = LastShort::default();
            let counted = |segments| {
                let report = ShortReport { segments, ..ShortReport::default() };
                last.get_or(|| Ok(Tally { report, looked_at, ..Tally::default() })).unwrap().segments
            };
            assert_eq!(counted(1), 1);
            assert_eq!(counted(2) == 1, is_kept, "{looked_at}");
        }
    }

    #[test]
    fn a_count_that_failed_is_not_kept() {
        let last = LastShort::default();
        let damaged = || Err(MetaError::Damaged { what: "a row".to_owned() });
        assert!(last.get_or(damaged).is_err());
        assert!(last.get_or(|| Ok(Tally::default())).is_ok());
    }
}
