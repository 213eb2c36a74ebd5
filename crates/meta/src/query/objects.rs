//! Single rows of buckets, objects, uploads, parts and identities, and where an object's bytes are.

use std::ops::Range;

use cairn_proto::{BucketId, UploadId};

use super::Query;
use crate::keys::{self, Named};
use crate::row::{Body, BucketRow, Extent, IdentityNameRow, IdentityRow, ObjectRow, PartRow, UploadRow};
use crate::rows::{RowsError, RowsRead, StoredUpload, collect, decode, load_value};

/// The present version of a key.
pub(crate) fn present_object(rows: &dyn RowsRead, bucket: BucketId, key: &str) -> Result<Option<ObjectRow>, RowsError> {
    let range = Named::Object.of_key(bucket, key);
    let newest =
        collect(rows, &range.from, &range.end, 1, |key, value| Ok(Some(decode::<ObjectRow>(key, value)?.value)))?;
    Ok(newest.into_iter().next())
}

impl Query<'_> {
    /// A bucket by its name.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn bucket(&self, name: &str) -> Result<Option<BucketRow>, RowsError> {
        load_value(self.rows, &keys::bucket(name))
    }

    /// A bucket by its id.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn bucket_by_id(&self, bucket: BucketId) -> Result<Option<BucketRow>, RowsError> {
        match load_value::<String>(self.rows, &keys::bucket_name(bucket))? {
            Some(name) => self.bucket(&name),
            None => Ok(None),
        }
    }

    /// The present version of a key.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn object(&self, bucket: BucketId, key: &str) -> Result<Option<ObjectRow>, RowsError> {
        present_object(self.rows, bucket, key)
    }

    /// An open upload.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn upload(&self, bucket: BucketId, key: &str, upload: UploadId) -> Result<Option<UploadRow>, RowsError> {
        let stored = load_value::<StoredUpload>(self.rows, &keys::upload(bucket, key, upload))?;
        Ok(stored.map(|stored| stored.row))
    }

    /// A part of an upload that is open or whose object stands.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn part(&self, upload: UploadId, number: u16) -> Result<Option<PartRow>, RowsError> {
        load_value(self.rows, &keys::part(upload, number))
    }

    /// An access key.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn identity(&self, access_key: &str) -> Result<Option<IdentityRow>, RowsError> {
        load_value(self.rows, &keys::identity(access_key))
    }

    /// The access key that a declared name stands for; it may have been removed since.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn identity_name(&self, name: &str) -> Result<Option<IdentityNameRow>, RowsError> {
        load_value(self.rows, &keys::identity_name(name))
    }

    /// Where the bytes of a range are: extents in order, the first and last cut to the range.
    ///
    /// # Errors
    /// [`RowsError::Invalid`] for inline bytes, [`RowsError::Gone`] if the version's parts were removed since the body
    /// was read; else only for failed storage and damaged rows.
    pub fn extents(&self, body: &Body, range: Range<u64>) -> Result<Vec<Extent>, RowsError> {
        let mut cut = Cut { range, at: 0, extents: Vec::new() };
        match body {
            Body::Inline(_) | Body::Sealed(_) => return Err(RowsError::Invalid("inline bytes have no extents")),
            Body::Extents(extents) => extents.iter().for_each(|extent| cut.push(*extent)),
            Body::Parts { upload, parts } => {
                for part in parts {
                    if cut.skips(part.bytes) {
                        continue;
                    }
                    let row = self.part(*upload, part.number)?;
                    let row = row.ok_or_else(|| RowsError::Gone(format!("part {} of {upload}", part.number)))?;
                    if row.bytes != part.bytes {
                        let key = keys::part(*upload, part.number);
                        return Err(RowsError::damaged(&key, "the part is not as long as its object says"));
                    }
                    row.extents.iter().for_each(|extent| cut.push(*extent));
                }
            }
        }
        Ok(cut.extents)
    }
}

/// Collects the extents of a range.
struct Cut {
    range: Range<u64>,
    /// Where the next extent begins in the object.
    at: u64,
    extents: Vec<Extent>,
}

impl Cut {
    /// Goes over bytes that lie outside of the range; answers whether they do.
    fn skips(&mut self, bytes: u64) -> bool {
        let outside = self.at + bytes <= self.range.start || self.at >= self.range.end;
        if outside {
            self.at += bytes;
        }
        outside
    }

    fn push(&mut self, extent: Extent) {
        if self.skips(extent.bytes) {
            return;
        }
        let start = self.range.start.max(self.at);
        let end = self.range.end.min(self.at + extent.bytes);
        if start < end {
            self.extents.push(Extent { offset: extent.offset + (start - self.at), bytes: end - start, ..extent });
        }
        self.at += extent.bytes;
    }
}
