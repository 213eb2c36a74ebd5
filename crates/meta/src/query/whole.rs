//! Questions about the cluster as a whole: its version, keys, snapshots and lives.

use cairn_proto::Index;

use super::Query;
use crate::cluster_rows::{ClusterKeyRow, FIRST_VERSION, LifeRow, SnapshotRow, WholeSnapshot};
use crate::keys;
use crate::rows::{RowsError, collect, decode, load_value};

impl Query<'_> {
    /// The cluster version.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn version(&self) -> Result<u32, RowsError> {
        Ok(load_value(self.rows, &keys::version())?.unwrap_or(FIRST_VERSION))
    }

    /// The cluster's keys, sealed, in order of number.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn cluster_keys(&self) -> Result<Vec<ClusterKeyRow>, RowsError> {
        self.all(&keys::cluster_keys())
    }

    /// Lives that began from a snapshot, in order.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn lives(&self) -> Result<Vec<LifeRow>, RowsError> {
        self.all(&keys::lives())
    }

    /// The first term after `term` of which the rows know where it began, if that was at `index` or under it: then this log
    /// has no entry of `term` there.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn began_by(&self, term: u64, index: Index) -> Result<Option<(u64, Index)>, RowsError> {
        let range = keys::terms_after(term);
        let next = collect(self.rows, &range.from, &range.end, 1, |key, value| {
            Ok(Some((keys::read_term(key)?, decode::<Index>(key, value)?.value)))
        })?;
        Ok(next.first().copied().filter(|(_, first)| *first <= index))
    }

    /// Snapshots of this life whose pieces are all there, oldest first.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn snapshots(&self) -> Result<Vec<WholeSnapshot>, RowsError> {
        let began = self.began_from()?;
        Ok(self.whole_snapshots()?.into_iter().filter(|whole| whole.snapshot > began).collect())
    }

    /// Snapshots of earlier lives whose pieces are all there, oldest first. Some may have been removed, and their segments
    /// deleted, in the time that this life forgot.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn earlier_snapshots(&self) -> Result<Vec<WholeSnapshot>, RowsError> {
        let began = self.began_from()?;
        Ok(self.whole_snapshots()?.into_iter().filter(|whole| whole.snapshot <= began).collect())
    }

    /// Snapshots that lack their last piece.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn unfinished_snapshots(&self) -> Result<Vec<Index>, RowsError> {
        let unfinished = self.pieces()?.into_iter().filter(|pieces| !is_whole(pieces));
        Ok(unfinished.filter_map(|pieces| pieces.last().map(|piece| piece.snapshot)).collect())
    }

    fn whole_snapshots(&self) -> Result<Vec<WholeSnapshot>, RowsError> {
        let whole = self.pieces()?.into_iter().filter(|pieces| is_whole(pieces));
        Ok(whole
            .map(|pieces| WholeSnapshot {
                snapshot: pieces.last().map_or(Index(0), |piece| piece.snapshot),
                created_ms: pieces.last().map_or(0, |piece| piece.created_ms),
                extents: pieces.into_iter().flat_map(|piece| piece.extents).collect(),
            })
            .collect())
    }

    /// The index of the snapshot that this life began from.
    fn began_from(&self) -> Result<Index, RowsError> {
        Ok(self.lives()?.last().map_or(Index(0), |life| life.snapshot))
    }

    /// The pieces of each snapshot. Few: old snapshots are removed.
    fn pieces(&self) -> Result<Vec<Vec<SnapshotRow>>, RowsError> {
        let rows: Vec<SnapshotRow> = self.all(&keys::snapshots())?;
        Ok(rows.chunk_by(|one, other| one.snapshot == other.snapshot).map(<[SnapshotRow]>::to_vec).collect())
    }
}

/// Whether the pieces are those of a whole snapshot.
fn is_whole(pieces: &[SnapshotRow]) -> bool {
    pieces.last().is_some_and(|piece| piece.last)
}
