//! The list of snapshots as it lies on every disk: small, and enough to find and open them with the key file alone.

use std::cmp::Reverse;

use bytes::Bytes;
use cairn_meta::{MetaError, MetaView, Verdict, WholeSnapshot};
use cairn_proto::{DiskId, Index, PgId, Record, RecordError, SegmentId, decode_record, encode_record};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
/// Snapshots kept, those of earlier lives counted.
const KEPT: usize = 3;

/// What a disk says about snapshots.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RecoveryList {
    /// The newest life of the metadata group that this disk heard of.
    pub(crate) life: u64,
    /// The cluster's keys, sealed by the store's key file.
    pub(crate) keys: Vec<ListedKey>,
    /// Oldest first.
    pub(crate) snapshots: Vec<ListedSnapshot>,
}

/// A key of the cluster, sealed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ListedKey {
    pub(crate) number: u32,
    pub(crate) sealed: Bytes,
}

/// A snapshot and where it lies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ListedSnapshot {
    /// The life it was made in.
    pub(crate) life: u64,
    /// The index of its rows.
    pub(crate) snapshot: Index,
    /// When it was made, milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// In order.
    pub(crate) segments: Vec<ListedSegment>,
}

/// A segment with the disks of its group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ListedSegment {
    pub(crate) segment: SegmentId,
    pub(crate) pg: PgId,
    pub(crate) bytes: u64,
    pub(crate) data: u8,
    pub(crate) parity: u8,
    /// By slot.
    pub(crate) slots: Vec<DiskId>,
}

impl RecoveryList {
    pub(crate) fn encode(&self) -> Result<Bytes, RecordError> {
        encode_record(VERSION, &Record::new(self)).map(Bytes::from)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode_record(VERSION, bytes).map(|record: Record<Self>| record.value)
    }

    /// What the disks should say; none while there is no snapshot.
    ///
    /// Snapshots of this life are those of the rows. Those of earlier lives are known by what disks list alone: no row
    /// names the one that was recovered, and those before it may have been removed in the time that this life forgot.
    /// They stay listed until newer ones push them out, or their segments are dead.
    pub(super) fn of_rows(view: &MetaView, on_disks: &[ListedSnapshot]) -> Result<Option<Self>, MetaError> {
        let life = view.lives()?.last().map_or(0, |row| row.life);
        let mut snapshots = earlier(view, life, on_disks)?;
        for row in view.snapshots()? {
            snapshots.push(listed(view, life, &row)?);
        }
        snapshots.drain(..snapshots.len().saturating_sub(KEPT));
        if snapshots.is_empty() {
            return Ok(None);
        }
        let keys = view.cluster_keys()?.into_iter().map(|row| ListedKey { number: row.number, sealed: row.sealed });
        Ok(Some(Self { life, keys: keys.collect(), snapshots }))
    }

    /// Whether a snapshot is on the list.
    pub(super) fn names(&self, snapshot: Index) -> bool {
        self.snapshots.iter().any(|entry| entry.snapshot == snapshot)
    }
}

/// The newest snapshots of lives before `life` that disks list and that can still be read, oldest first.
fn earlier(view: &MetaView, life: u64, on_disks: &[ListedSnapshot]) -> Result<Vec<ListedSnapshot>, MetaError> {
    let mut known: Vec<&ListedSnapshot> = on_disks.iter().filter(|entry| entry.life < life).collect();
    let age = |entry: &&ListedSnapshot| Reverse((entry.life, entry.snapshot));
    known.sort_by_key(age);
    known.dedup_by_key(|entry| age(entry));
    let rows = view.earlier_snapshots()?;
    let mut found = Vec::new();
    for entry in known {
        if found.len() == KEPT {
            break;
        }
        let segments: Vec<SegmentId> = entry.segments.iter().map(|segment| segment.segment).collect();
        if view.verdicts(&segments)?.verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Dead) {
            continue;
        }
        // Where rows name it, they know where its shards are now.
        let row = rows.iter().find(|row| row.snapshot == entry.snapshot);
        found.push(row.map_or_else(|| Ok(entry.clone()), |row| listed(view, entry.life, row))?);
    }
    found.reverse();
    Ok(found)
}

fn listed(view: &MetaView, life: u64, row: &WholeSnapshot) -> Result<ListedSnapshot, MetaError> {
    let segments = row.extents.iter().map(|extent| {
        let group = view.pg(extent.pg)?;
        let group = group.ok_or_else(|| MetaError::Gone { what: format!("placement group {}", extent.pg) })?;
        let (data, parity) = (group.profile.data, group.profile.parity);
        let (segment, pg, bytes) = (extent.segment, extent.pg, extent.bytes);
        Ok(ListedSegment { segment, pg, bytes, data, parity, slots: group.slots })
    });
    let segments = segments.collect::<Result<_, MetaError>>()?;
    Ok(ListedSnapshot { life, snapshot: row.snapshot, created_ms: row.created_ms, segments })
}
