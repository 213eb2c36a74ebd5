//! The engine's operations, one file per noun.

mod buckets;
mod copy;
mod objects;
mod short;
mod status;
mod uploads;

use cairn_meta::{Attributes, ChecksumRow, Preconditions, Reply};
use cairn_proto::{BucketId, UploadId, VersionId};

use crate::error::EngineError;

pub(crate) use short::LastShort;
pub use short::ShortReport;
pub use status::{DiskReport, EngineStatus, GroupReport, NARROW_COUNTED_MAX, NarrowReport, Service};

/// What a commit of an object says beside its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectCommit {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: String,
    /// Without quotes.
    pub etag: String,
    /// Its checksum.
    pub checksum: Option<ChecksumRow>,
    /// Metadata.
    pub attributes: Attributes,
    /// Conditions on the key's present version.
    pub preconditions: Preconditions,
}

/// What a commit of a part says beside its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartCommit {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: String,
    /// The upload.
    pub upload: UploadId,
    /// 1 to 10,000.
    pub number: u16,
    /// Without quotes.
    pub etag: String,
    /// Its checksum.
    pub checksum: Option<ChecksumRow>,
}

/// A version that readers see from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// Which.
    pub version: VersionId,
    /// When, milliseconds since 1970.
    pub modified_ms: u64,
}

/// The version that a reply names.
pub(crate) fn version_of(reply: &Reply) -> Result<Committed, EngineError> {
    match *reply {
        Reply::Version { version, modified_ms } => Ok(Committed { version, modified_ms }),
        _ => Err(unexpected_reply()),
    }
}

/// A reply of another command's form: only a member of another release gives one.
pub(crate) fn unexpected_reply() -> EngineError {
    EngineError::unavailable("the metadata group answered in a form this release does not know")
}
