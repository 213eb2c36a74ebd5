//! The cluster map, writers, counters and the reaper's work.

use cairn_proto::{BucketId, DiskId, PgId, UploadId, WriterId};
use serde::de::DeserializeOwned;

use super::{Query, WriterState, writer_state};
use crate::command::GarbageKey;
use crate::keys::{self, Counter, KeyRange};
use crate::row::{DiskRow, GarbageRow, PgRow, WriterRow};
use crate::rows::{RowsError, StoredInternalUpload, StoredWriter, collect, decode, load_value};
use crate::view::GarbageTotals;

/// Bucket, key and upload id.
type UploadName = (BucketId, String, UploadId);

impl Query<'_> {
    pub(super) fn all<T: DeserializeOwned>(&self, range: &KeyRange) -> Result<Vec<T>, RowsError> {
        collect(self.rows, &range.from, &range.end, usize::MAX, |key, value| Ok(Some(decode(key, value)?.value)))
    }

    fn counter(&self, counter: Counter) -> Result<u64, RowsError> {
        Ok(load_value(self.rows, &keys::counter(counter))?.unwrap_or(0))
    }

    /// All placement groups.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn pgs(&self) -> Result<Vec<PgRow>, RowsError> {
        self.all(&keys::pgs())
    }

    /// A placement group.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn pg(&self, pg: PgId) -> Result<Option<PgRow>, RowsError> {
        load_value(self.rows, &keys::pg(pg))
    }

    /// All disks.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn disks(&self) -> Result<Vec<DiskRow>, RowsError> {
        self.all(&keys::disks())
    }

    /// A disk.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn disk(&self, disk: DiskId) -> Result<Option<DiskRow>, RowsError> {
        load_value(self.rows, &keys::disk(disk))
    }

    /// Writers that are open, and those that were closed not long ago.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn writers(&self) -> Result<Vec<WriterRow>, RowsError> {
        let stored = self.all::<StoredWriter>(&keys::writers())?;
        Ok(stored.into_iter().map(|writer| writer.row).collect())
    }

    /// Exact number of missing shards.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn missing_count(&self) -> Result<u64, RowsError> {
        self.counter(Counter::Missing)
    }

    /// Exact garbage.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn garbage_totals(&self) -> Result<GarbageTotals, RowsError> {
        Ok(GarbageTotals { rows: self.counter(Counter::GarbageRows)?, bytes: self.counter(Counter::GarbageBytes)? })
    }

    /// Garbage rows from a key on, waiting and free ones, in order of time.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn garbage(&self, from: Option<GarbageKey>, limit: usize) -> Result<Vec<(GarbageKey, GarbageRow)>, RowsError> {
        let mut rows = self.garbage_of(from, limit, true)?;
        rows.extend(self.garbage_of(from, limit, false)?);
        rows.sort_by_key(|(key, _)| *key);
        rows.truncate(limit);
        Ok(rows)
    }

    /// Free garbage rows from a key on: what the disks may delete.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn free_garbage(
        &self,
        from: Option<GarbageKey>,
        limit: usize,
    ) -> Result<Vec<(GarbageKey, GarbageRow)>, RowsError> {
        self.garbage_of(from, limit, true)
    }

    fn garbage_of(
        &self,
        from: Option<GarbageKey>,
        limit: usize,
        free: bool,
    ) -> Result<Vec<(GarbageKey, GarbageRow)>, RowsError> {
        let mut range = keys::all_garbage(free);
        if let Some(from) = from {
            range.from = keys::garbage(from, free);
        }
        collect(self.rows, &range.from, &range.end, limit, |key, value| {
            Ok(Some((keys::read_garbage(key)?, decode(key, value)?.value)))
        })
    }

    /// Large PUTs' own uploads whose writer is closed: for the reaper to abort.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn internal_uploads_of_closed_writers(
        &self,
        limit: usize,
    ) -> Result<Vec<(BucketId, String, UploadId)>, RowsError> {
        let all = keys::internal_uploads();
        let mut from = all.from;
        let mut found = Vec::new();
        while found.len() < limit {
            let first = self.internal_uploads_in(&KeyRange { from: from.clone(), end: all.end.clone() }, 1)?;
            let Some((writer, _)) = first.into_iter().next() else { break };
            let of_writer = keys::internal_uploads_of(writer);
            from.clone_from(&of_writer.end);
            if matches!(writer_state(self.rows, writer)?, WriterState::Closed) {
                let uploads = self.internal_uploads_in(&of_writer, limit - found.len())?;
                found.extend(uploads.into_iter().map(|(_, upload)| upload));
            }
        }
        Ok(found)
    }

    fn internal_uploads_in(&self, range: &KeyRange, limit: usize) -> Result<Vec<(WriterId, UploadName)>, RowsError> {
        collect(self.rows, &range.from, &range.end, limit, |key, value| {
            let (writer, upload) = keys::read_internal_upload(key)?;
            let place = decode::<StoredInternalUpload>(key, value)?.value;
            Ok(Some((writer, (place.bucket, place.key, upload))))
        })
    }
}
