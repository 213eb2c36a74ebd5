//! The object engine: buckets and objects over disks and the metadata group.
//!
//! Above it nobody knows a segment; below it nobody knows a bucket. The foreground (`engine`, `ops`, `write`, `read`)
//! serves requests; `upkeep` repairs, scrubs and reaps behind it; both stand on `shared::Shared`.
//!
//! **Invariant:** no byte is handed out whose unit did not pass its checksum; nothing is deleted here that the
//! metadata group has not said is dead.

mod check;
mod codecs;
mod disks;
mod draw;
mod engine;
#[cfg(test)]
mod engine_test;
mod error;
mod held;
mod ids;
mod label;
mod lost;
mod map;
mod ops;
mod options;
mod pins;
mod queues;
mod read;
mod recover;
mod rocks_opener;
mod sealing;
mod shared;
mod snapshot;
mod start;
#[cfg(test)]
mod testing;
mod upkeep;
mod want;
mod write;
mod writer_life;

pub use cairn_shard_store::FolderState;
pub use check::CheckReport;
pub use disks::{DiskEntry, DiskFolder, DiskOpener, Disks, FolderProblem};
pub use engine::Engine;
pub use error::EngineError;
pub use held::held_by_widest_write;
pub use ids::{IdSource, RandomIds};
pub use label::{SegmentLabel, SegmentOwner};
pub use map::ClusterMap;
pub use ops::{
    Committed, DiskReport, EngineStatus, GroupReport, NARROW_COUNTED_MAX, NarrowReport, ObjectCommit, PartCommit,
    Service, ShortReport,
};
pub use options::{EngineOptions, ProfileChoice};
pub use read::{ObjectBody, ObjectReader, UrlId, UrlRange};
pub use recover::{NewerObject, RecoveryDisks, RecoveryReport, SnapshotFound};
pub use rocks_opener::RocksDiskOpener;
pub use sealing::{ClusterKey, Purpose, SealingError};
pub use snapshot::SnapshotWritten;
pub use write::{ObjectWriter, StoredBytes, WriteKind, WriteTarget};
