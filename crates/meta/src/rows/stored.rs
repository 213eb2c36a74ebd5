//! Rows as they are stored where that is more than the row the other crates see.

use cairn_proto::{BucketId, PgId};
use serde::{Deserialize, Serialize};

use crate::row::{Referrer, UploadRow, WriterRow};

/// An open upload with what its parts add up to, so that no command has to walk them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StoredUpload {
    pub(crate) row: UploadRow,
    /// Bytes of its parts.
    pub(crate) bytes: u64,
}

/// A reference with the placement group of its segment, which leads to the segment's row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StoredReference {
    pub(crate) pg: PgId,
    pub(crate) referrer: Referrer,
}

/// A writer with the place where its results begin: a scan for old ones does not walk those that are gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StoredWriter {
    pub(crate) row: WriterRow,
    /// No result stands under this number.
    pub(crate) results_from: u64,
}

/// Where a large PUT's own upload is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StoredInternalUpload {
    pub(crate) bucket: BucketId,
    pub(crate) key: String,
}
