//! What can go wrong in the engine, by what the caller does next.

use cairn_erasure::ErasureError;
use cairn_meta::{MetaError, Refusal};
use cairn_proto::SegmentId;
use cairn_shard_store::ShardStoreError;

use crate::sealing::SealingError;

/// Errors of the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bucket is not there, or is another life of that name.
    #[error("no such bucket")]
    NoSuchBucket,
    /// No object under the key.
    #[error("no such object")]
    NoSuchObject,
    /// The upload is not open.
    #[error("no such upload")]
    NoSuchUpload,
    /// A bucket of that name is there.
    #[error("the bucket exists")]
    BucketExists,
    /// The bucket has objects.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// A condition on the key did not hold.
    #[error("a precondition failed")]
    PreconditionFailed,
    /// A range of a presigned URL, and nobody knows which version its earlier ranges were of.
    #[error("the object was overwritten after the URL was signed")]
    VersionUnknown,
    /// The bucket's quota would be exceeded.
    #[error("the bucket's quota of {quota_bytes} bytes would be exceeded")]
    QuotaExceeded {
        /// The quota.
        quota_bytes: u64,
    },
    /// A part named in a completion is not there or is another one.
    #[error("part {number} is not there or is another one")]
    InvalidPart {
        /// Its number.
        number: u16,
    },
    /// Parts are not in ascending order.
    #[error("parts are not in ascending order")]
    InvalidPartOrder,
    /// A part but the last is too small.
    #[error("part {number} has {bytes} bytes, under 5 MiB")]
    PartTooSmall {
        /// Its number.
        number: u16,
        /// Its length.
        bytes: u64,
    },
    /// A body is announced that is longer than an object or a part can be.
    #[error("the body is too large: {bytes_max} bytes can be written at once")]
    TooLarge {
        /// The most.
        bytes_max: u64,
    },
    /// Cannot be served now: too few disks, no leader. Nothing happened; a retry may succeed.
    #[error("unavailable: {why}")]
    Unavailable {
        /// What is missing.
        why: String,
    },
    /// The disks or the metadata's file system are full.
    #[error("no space: {why}")]
    NoSpace {
        /// Where.
        why: String,
    },
    /// The answer never came: the write may have happened.
    #[error("the outcome is unknown: the metadata group did not answer")]
    Unknown,
    /// The metadata is older than what lies on the disks: a copy of before was put in its place.
    #[error("the metadata is older than the disks: {why}")]
    MetaBehind {
        /// What shows it.
        why: String,
    },
    /// Fewer good units than are needed to read a stripe.
    #[error("segment {segment} cannot be read: {detail}")]
    Corrupt {
        /// Which segment.
        segment: SegmentId,
        /// What was found.
        detail: String,
    },
    /// The bytes in an object's row do not open.
    #[error("object {key} cannot be read: {error}")]
    Sealed {
        /// Its key.
        key: String,
        /// Why not.
        error: SealingError,
    },
    /// The caller broke the rules of the call.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The metadata group failed.
    #[error("metadata: {0}")]
    Meta(#[source] MetaError),
    /// A disk failed in a way that no other could make up for.
    #[error("disk: {0}")]
    Disk(#[source] ShardStoreError),
    /// The engine is stopping.
    #[error("shutting down")]
    Shutdown,
}

impl EngineError {
    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into() }
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchBucket => Self::NoSuchBucket,
            Refusal::BucketExists => Self::BucketExists,
            Refusal::BucketNotEmpty => Self::BucketNotEmpty,
            Refusal::NoSuchObject => Self::NoSuchObject,
            Refusal::NoSuchUpload => Self::NoSuchUpload,
            Refusal::InvalidPart { number } => Self::InvalidPart { number },
            Refusal::InvalidPartOrder => Self::InvalidPartOrder,
            Refusal::PartTooSmall { number, bytes } => Self::PartTooSmall { number, bytes },
            Refusal::PreconditionFailed => Self::PreconditionFailed,
            Refusal::QuotaExceeded { quota_bytes } => Self::QuotaExceeded { quota_bytes },
            Refusal::Invalid(why) => Self::Invalid(why),
            // The group has forgotten the writer's results: nobody can tell whether an earlier attempt ran.
            Refusal::CommandTooOld => Self::Unknown,
            refusal @ (Refusal::WriterClosed
            | Refusal::SourceChanged
            | Refusal::SegmentRefused { .. }
            | Refusal::TooFewShards { .. }
            | Refusal::StaleEpoch) => Self::unavailable(refusal.to_string()),
            other => Self::Meta(MetaError::Refused(other)),
        }
    }
}

impl From<MetaError> for EngineError {
    fn from(error: MetaError) -> Self {
        match error {
            MetaError::Refused(refusal) => refusal.into(),
            MetaError::Unknown => Self::Unknown,
            MetaError::Shutdown => Self::Shutdown,
            error @ (MetaError::Unavailable { .. } | MetaError::Stopped { .. }) => Self::unavailable(error.to_string()),
            MetaError::Invalid { what } => Self::Invalid(what),
            error @ MetaError::Gone { .. } => Self::unavailable(error.to_string()),
            error @ MetaError::NoSpace { .. } => Self::NoSpace { why: error.to_string() },
            other => Self::Meta(other),
        }
    }
}

impl From<ShardStoreError> for EngineError {
    fn from(error: ShardStoreError) -> Self {
        Self::Disk(error)
    }
}

impl From<ErasureError> for EngineError {
    fn from(error: ErasureError) -> Self {
        Self::Invalid(error.to_string())
    }
}
