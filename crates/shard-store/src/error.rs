//! What can go wrong on a disk, by what the caller does next.

use cairn_proto::{DiskId, Index};

use crate::{ShardKey, UnitError};

/// Why a disk takes no more writes, or nothing at all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FenceReason {
    /// Its last tenth of space is reached.
    #[error("full: {bytes_free} bytes free of {bytes_total}")]
    Full {
        /// Free bytes of the file system.
        bytes_free: u64,
        /// Its size.
        bytes_total: u64,
    },
    /// A write or a sync failed; what was not synced may be lost.
    #[error("a write failed: {0}")]
    WriteFailed(String),
    /// A write found no space: something else filled the file system.
    #[error("no space left on its file system: free some, and the disk goes on by itself ({0})")]
    NoSpace(String),
    /// Its files can no longer be read.
    #[error("a read failed: {0}")]
    ReadFailed(String),
    /// Its folder was removed, emptied or unmounted while it served.
    #[error("the folder is gone or was emptied")]
    Gone,
    /// Its file system has not answered for so long that nobody waits for it any more.
    #[error("its file system does not answer")]
    Hung,
    /// It was closed.
    #[error("closed")]
    Closed,
}

impl ShardStoreError {
    /// Whether it answers about the shard or the call, and the disk itself is well.
    #[must_use]
    pub const fn is_about_the_call(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. } | Self::StaleOrder { .. } | Self::Conflict { .. } | Self::Invalid(_) | Self::Unit(_)
        )
    }
}

/// Errors of a disk.
#[derive(Debug, thiserror::Error)]
pub enum ShardStoreError {
    /// The shard does not exist here.
    #[error("no shard {} slot {} here", key.segment, key.slot)]
    NotFound {
        /// The shard asked for.
        key: ShardKey,
    },
    /// The disk takes no writes (or nothing); use another.
    #[error("disk {disk} is fenced: {reason}")]
    Fenced {
        /// Which disk.
        disk: DiskId,
        /// Why.
        reason: FenceReason,
    },
    /// An order older than what the disk was answered with: the group went back in time.
    #[error("order of index {order}, this disk was already answered at {seen}: the metadata is older than the disk")]
    StaleOrder {
        /// The order's index.
        order: Index,
        /// The highest index seen.
        seen: Index,
    },
    /// Another segment's shard has the id: whoever gave the id out went back in time.
    #[error(
        "shard {} slot {} is here and is another segment's: the metadata is older than the disk",
        key.segment, key.slot
    )]
    Conflict {
        /// The shard.
        key: ShardKey,
    },
    /// The caller broke the rules of the call.
    #[error("invalid call: {0}")]
    Invalid(&'static str),
    /// A unit is not what it should be.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// The folder cannot be taken as a disk.
    #[error("{folder}: {problem}")]
    Refused {
        /// The folder.
        folder: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The disk's files are damaged.
    #[error("disk {disk} is damaged: {detail}")]
    Damaged {
        /// Which disk.
        disk: DiskId,
        /// What was found.
        detail: String,
    },
    /// The storage engine failed.
    #[error("storage engine: {0}")]
    Engine(String),
}
