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
mod engine;
#[cfg(test)]
mod engine_test;
mod error;
mod ids;
mod map;
mod ops;
mod options;
mod pins;
mod queues;
mod read;
mod rocks_opener;
mod shared;
mod start;
#[cfg(test)]
mod testing;
mod upkeep;
mod write;
mod writer_life;

pub use check::CheckReport;
pub use disks::{DiskEntry, DiskFolder, DiskOpener, Disks, FolderProblem, FolderState};
pub use engine::Engine;
pub use error::EngineError;
pub use ids::{IdSource, RandomIds};
pub use map::ClusterMap;
pub use ops::{Committed, DiskReport, EngineStatus, GroupReport, ObjectCommit, PartCommit, PartRange};
pub use options::{EngineOptions, ProfileChoice};
pub use read::{ObjectBody, ObjectReader};
pub use rocks_opener::RocksDiskOpener;
pub use write::{ObjectWriter, StoredBytes, WriteKind, WriteTarget};
