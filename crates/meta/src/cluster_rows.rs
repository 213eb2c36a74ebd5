//! Rows about the cluster as a whole: its version, its keys, snapshots of its metadata, and the group's lives.

use bytes::Bytes;
use cairn_proto::{Index, Sequence, VersionId, WriterId};
use serde::{Deserialize, Serialize};

use crate::row::Extent;

/// The version of a cluster that has no row that says one.
pub const FIRST_VERSION: u32 = 1;
/// The newest cluster version this program knows: what it may write once all nodes know it.
///
/// 2: sealed inline bytes, cluster keys, snapshots in segments, lives, settings of buckets, declared keys.
///
/// 3: where the terms began; attach numbers of disks that are new to a life begin where it does.
pub const CLUSTER_VERSION: u32 = 3;
/// The cluster version from which on the rows say where a term began.
pub(crate) const TERMS_SINCE: u32 = 3;

/// A key of the cluster. Key: its number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterKeyRow {
    /// Counted up from 1.
    pub number: u32,
    /// Sealed by the store's key file; opaque here.
    pub sealed: Bytes,
    /// When it was drawn, milliseconds since 1970.
    pub created_ms: u64,
}

/// A piece of a snapshot of the metadata. Key: (index of the rows in it, piece).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotRow {
    /// The index of the rows in the snapshot.
    pub snapshot: Index,
    /// Counted up from 0.
    pub piece: u16,
    /// Whether it is the last one: with it the snapshot is whole.
    pub last: bool,
    /// When it was written, milliseconds since 1970.
    pub created_ms: u64,
    /// Where its bytes are.
    pub extents: Vec<Extent>,
    /// The apply that made it: names it in garbage and references.
    pub version: VersionId,
}

/// A snapshot whose pieces are all there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WholeSnapshot {
    /// The index of the rows in it.
    pub snapshot: Index,
    /// When its last piece was written, milliseconds since 1970.
    pub created_ms: u64,
    /// Where its bytes are, in order.
    pub extents: Vec<Extent>,
}

/// A life of the metadata group that began from a snapshot. Key: its number, counted up from 1; the first life of a
/// cluster has no row.
///
/// Between the snapshot and the loss the group gave out ids and committed segments that these rows do not know. What
/// those may be is *forgotten*: nobody can say that it is dead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LifeRow {
    /// Its number.
    pub life: u64,
    /// The index of the snapshot.
    pub snapshot: Index,
    /// When it began, milliseconds since 1970.
    pub began_ms: u64,
    /// Writers over this one are forgotten,
    pub writers_over: WriterId,
    /// up to this one.
    pub writers_through: WriterId,
    /// Writers that were open, and the sequence from which on what no row names is forgotten.
    pub open_writers: Vec<(WriterId, Sequence)>,
}

impl LifeRow {
    /// Whether anything is still forgotten: nobody gave it up.
    #[must_use]
    pub fn forgets(&self) -> bool {
        self.writers_over < self.writers_through || !self.open_writers.is_empty()
    }
}

/// Most pieces of a snapshot: with 5 GiB each, more than the metadata of a node has.
pub const SNAPSHOT_PIECES_MAX: u16 = 64;

/// How far apart the ids of two lives are: life `n` gives out ids from `n` times this on, so that no life repeats
/// what another gave out.
pub const IDS_OF_A_LIFE: u64 = 1 << 40;
