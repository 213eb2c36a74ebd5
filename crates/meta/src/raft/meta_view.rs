//! What a read is made on: rows of one moment, with the group's questions as methods.

use std::ops::Range;
use std::sync::Arc;

use cairn_proto::{BucketId, DiskId, Index, LogPosition, PgId, SegmentId, Slot, UploadId};

use super::read_index::View;
use crate::cluster_rows::{ClusterKeyRow, LifeRow, WholeSnapshot};
use crate::command::GarbageKey;
use crate::error::MetaError;
use crate::query::Query;
use crate::recovery::MetaExport;
use crate::row::{
    Body, BucketRow, DiskRow, Extent, GarbageRow, IdentityNameRow, IdentityRow, ObjectRow, PartRow, PgRow, Referrer,
    SegmentRow, UploadRow, WriterRow,
};
use crate::rows::InMemory;
use crate::state_machine::{Rows, position};
use crate::view::{GarbageTotals, ListPage, ListQuery, PartPage, UploadPage, UploadQuery, Verdicts};

/// Rows as of one index. A clone reads the same rows. Methods read from the disk where a row is not cached: on async
/// threads they are called through [`Self::fetch`], long lists where blocking is allowed.
#[derive(Clone)]
pub struct MetaView {
    view: View,
}

impl MetaView {
    pub(crate) const fn new(view: View) -> Self {
        Self { view }
    }

    /// The index at which the rows stand.
    #[must_use]
    pub const fn index(&self) -> Index {
        Index(self.view.index)
    }

    /// Asks without keeping an async thread waiting for the disk: at once where all rows are in memory, else on a
    /// thread where blocking is allowed. `read` may be called twice.
    ///
    /// # Errors
    /// As `read`; [`MetaError::Shutdown`] where the runtime ends.
    pub async fn fetch<T, F>(&self, read: F) -> Result<T, MetaError>
    where
        T: Send + 'static,
        F: Fn(&Self) -> Result<T, MetaError> + Send + 'static,
    {
        let rows: Rows = Arc::new(InMemory(Arc::clone(&self.view.rows)));
        match read(&Self { view: View { rows, index: self.view.index } }) {
            Err(MetaError::NotInMemory) => {}
            answer => return answer,
        }
        let view = self.clone();
        tokio::task::spawn_blocking(move || read(&view)).await.map_err(|_| MetaError::Shutdown)?
    }

    /// The last entry that is in the rows.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where it cannot be read.
    pub fn position(&self) -> Result<LogPosition, MetaError> {
        Ok(position(&*self.view.rows)?)
    }

    /// Why this log has no entry at that position, which somebody was told it had; none where nothing shows it. Rows know of
    /// the last 1,000 terms, and of those alone that began under a cluster version which keeps them.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn lacks(&self, told: LogPosition) -> Result<Option<String>, MetaError> {
        let own = self.position()?;
        if told.term > own.term || told.index > own.index {
            return Ok(Some(format!("the metadata ends at {own}")));
        }
        let began = self.query().began_by(told.term, told.index)?;
        Ok(began.map(|(term, first)| format!("the metadata went on without it: term {term} began at {first}")))
    }

    fn query(&self) -> Query<'_> {
        Query::new(&*self.view.rows)
    }

    /// The cluster version.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn version(&self) -> Result<u32, MetaError> {
        Ok(self.query().version()?)
    }

    /// The cluster's keys, sealed, in order of number.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn cluster_keys(&self) -> Result<Vec<ClusterKeyRow>, MetaError> {
        Ok(self.query().cluster_keys()?)
    }

    /// Lives that began from a snapshot, in order.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn lives(&self) -> Result<Vec<LifeRow>, MetaError> {
        Ok(self.query().lives()?)
    }

    /// Snapshots of the metadata of this life that are whole, oldest first.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn snapshots(&self) -> Result<Vec<WholeSnapshot>, MetaError> {
        Ok(self.query().snapshots()?)
    }

    /// Snapshots of earlier lives that are whole by the rows, oldest first. Some may have been removed, and their segments
    /// deleted, in the time that this life forgot.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn earlier_snapshots(&self) -> Result<Vec<WholeSnapshot>, MetaError> {
        Ok(self.query().earlier_snapshots()?)
    }

    /// Snapshots that lack their last piece.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn unfinished_snapshots(&self) -> Result<Vec<Index>, MetaError> {
        Ok(self.query().unfinished_snapshots()?)
    }

    /// All rows, to be written as a snapshot.
    #[must_use]
    pub fn export(&self) -> MetaExport {
        MetaExport::new(self.view.clone())
    }

    /// What the group says of segments that a disk holds, at [`Self::index`].
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn verdicts(&self, segments: &[SegmentId]) -> Result<Verdicts, MetaError> {
        Ok(self.query().verdicts(self.index(), segments)?)
    }

    /// A bucket by its name.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn bucket(&self, name: &str) -> Result<Option<BucketRow>, MetaError> {
        Ok(self.query().bucket(name)?)
    }

    /// A bucket by its id.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn bucket_by_id(&self, bucket: BucketId) -> Result<Option<BucketRow>, MetaError> {
        Ok(self.query().bucket_by_id(bucket)?)
    }

    /// Buckets in order of name.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn buckets(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<BucketRow>, MetaError> {
        Ok(self.query().buckets(prefix, after, limit)?)
    }

    /// An object's present version.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn object(&self, bucket: BucketId, key: &str) -> Result<Option<ObjectRow>, MetaError> {
        Ok(self.query().object(bucket, key)?)
    }

    /// A page of objects and common prefixes.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn list(&self, query: &ListQuery) -> Result<ListPage, MetaError> {
        Ok(self.query().list(query)?)
    }

    /// An open upload.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn upload(&self, bucket: BucketId, key: &str, upload: UploadId) -> Result<Option<UploadRow>, MetaError> {
        Ok(self.query().upload(bucket, key, upload)?)
    }

    /// A page of open uploads.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn uploads(&self, query: &UploadQuery) -> Result<UploadPage, MetaError> {
        Ok(self.query().uploads(query)?)
    }

    /// One part.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn part(&self, upload: UploadId, number: u16) -> Result<Option<PartRow>, MetaError> {
        Ok(self.query().part(upload, number)?)
    }

    /// A page of parts.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn parts(&self, upload: UploadId, after: Option<u16>, limit: usize) -> Result<PartPage, MetaError> {
        Ok(self.query().parts(upload, after, limit)?)
    }

    /// The extents of a range of a body, in order, cut to the range; an inline body has none and is an error.
    ///
    /// # Errors
    /// [`MetaError::Invalid`] for an inline body or a range outside, [`MetaError::Gone`] where its parts are gone.
    pub fn extents(&self, body: &Body, range: Range<u64>) -> Result<Vec<Extent>, MetaError> {
        Ok(self.query().extents(body, range)?)
    }

    /// A segment.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn segment(&self, pg: PgId, segment: SegmentId) -> Result<Option<SegmentRow>, MetaError> {
        Ok(self.query().segment(pg, segment)?)
    }

    /// Segments of a group in order.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn segments(
        &self,
        pg: PgId,
        after: Option<SegmentId>,
        limit: usize,
    ) -> Result<Vec<(SegmentId, SegmentRow)>, MetaError> {
        Ok(self.query().segments(pg, after, limit)?)
    }

    /// The rows that refer to a segment.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn referrers(&self, segment: SegmentId) -> Result<Vec<Referrer>, MetaError> {
        Ok(self.query().referrers(segment)?)
    }

    /// Missing shards in order.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn missing(
        &self,
        after: Option<(PgId, SegmentId, Slot)>,
        limit: usize,
    ) -> Result<Vec<(PgId, SegmentId, Slot)>, MetaError> {
        Ok(self.query().missing(after, limit)?)
    }

    /// How many shards are missing, exactly.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn missing_count(&self) -> Result<u64, MetaError> {
        Ok(self.query().missing_count()?)
    }

    /// Garbage rows in order, from one on.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn garbage(&self, from: Option<GarbageKey>, limit: usize) -> Result<Vec<(GarbageKey, GarbageRow)>, MetaError> {
        Ok(self.query().garbage(from, limit)?)
    }

    /// Garbage rows that were marked free, from one on.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn free_garbage(
        &self,
        from: Option<GarbageKey>,
        limit: usize,
    ) -> Result<Vec<(GarbageKey, GarbageRow)>, MetaError> {
        Ok(self.query().free_garbage(from, limit)?)
    }

    /// All garbage, exactly.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn garbage_totals(&self) -> Result<GarbageTotals, MetaError> {
        Ok(self.query().garbage_totals()?)
    }

    /// Large PUTs' own uploads whose writer is closed: to be aborted.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn internal_uploads_of_closed_writers(
        &self,
        limit: usize,
    ) -> Result<Vec<(BucketId, String, UploadId)>, MetaError> {
        Ok(self.query().internal_uploads_of_closed_writers(limit)?)
    }

    /// All placement groups.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn pgs(&self) -> Result<Vec<PgRow>, MetaError> {
        Ok(self.query().pgs()?)
    }

    /// A placement group.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn pg(&self, pg: PgId) -> Result<Option<PgRow>, MetaError> {
        Ok(self.query().pg(pg)?)
    }

    /// All disks.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn disks(&self) -> Result<Vec<DiskRow>, MetaError> {
        Ok(self.query().disks()?)
    }

    /// A disk.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn disk(&self, disk: DiskId) -> Result<Option<DiskRow>, MetaError> {
        Ok(self.query().disk(disk)?)
    }

    /// All open writers.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn writers(&self) -> Result<Vec<WriterRow>, MetaError> {
        Ok(self.query().writers()?)
    }

    /// An access key.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn identity(&self, access_key: &str) -> Result<Option<IdentityRow>, MetaError> {
        Ok(self.query().identity(access_key)?)
    }

    /// Access keys in order.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn identities(&self, after: Option<&str>, limit: usize) -> Result<Vec<IdentityRow>, MetaError> {
        Ok(self.query().identities(after, limit)?)
    }

    /// The access key that a declared name stands for; it may have been removed since.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn identity_name(&self, name: &str) -> Result<Option<IdentityNameRow>, MetaError> {
        Ok(self.query().identity_name(name)?)
    }

    /// Names of declared access keys in order.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where a row cannot be read.
    pub fn identity_names(&self, after: Option<&str>, limit: usize) -> Result<Vec<IdentityNameRow>, MetaError> {
        Ok(self.query().identity_names(after, limit)?)
    }
}
