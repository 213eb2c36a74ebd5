//! Segments that no disk can give back: repair found too few good units, and the disks that are away are too few to make
//! up for it.
//!
//! This is a finding and no row: it is made anew after a start, and a disk that comes back wipes it out.

use std::collections::BTreeSet;
use std::sync::Mutex;

use cairn_meta::{MetaError, MetaView};
use cairn_proto::{PgId, SegmentId};

/// Most segments remembered: more are still lost, and counted as waiting.
const LOST_MAX: usize = 10_000;

/// What is lost of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct LostTotals {
    /// Segments that objects still name.
    pub(crate) segments: u64,
    /// Their shards in repair's work list.
    pub(crate) shards: u64,
}

/// The lost segments that are known.
#[derive(Default)]
pub(crate) struct LostSegments(Mutex<BTreeSet<(PgId, SegmentId)>>);

impl LostSegments {
    /// No disk has enough of it.
    pub(crate) fn insert(&self, segment: (PgId, SegmentId)) {
        let mut lost = self.0.lock().expect("no holder of this lock panics");
        if lost.len() < LOST_MAX {
            lost.insert(segment);
        }
    }

    /// It was repaired after all, or nobody names it any more.
    pub(crate) fn remove(&self, segment: &(PgId, SegmentId)) {
        self.0.lock().expect("no holder of this lock panics").remove(segment);
    }

    /// A disk is there that was not: what it holds is not known yet.
    pub(crate) fn clear(&self) {
        self.0.lock().expect("no holder of this lock panics").clear();
    }

    /// All that are known.
    pub(crate) fn known(&self) -> BTreeSet<(PgId, SegmentId)> {
        self.0.lock().expect("no holder of this lock panics").clone()
    }

    /// Counts those that are still named. Reads a row for each.
    pub(crate) fn totals(&self, view: &MetaView) -> Result<LostTotals, MetaError> {
        let mut totals = LostTotals::default();
        for (pg, segment) in self.known() {
            let row = view.segment(pg, segment)?.filter(|row| row.references != row.free_references);
            if let Some(row) = row {
                totals.segments += 1;
                totals.shards += u64::try_from(row.missing.len()).unwrap_or(u64::MAX);
            }
        }
        Ok(totals)
    }
}
