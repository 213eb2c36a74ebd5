//! Snapshots of the metadata, written as segments over the disks, and the list of them that lies on every disk.
//!
//! ```text
//! rows of one index ─▶ frames (sealed) ─▶ segments ─▶ PutSnapshot ─▶ the oldest are removed ─▶ list on every disk
//! ```
//!
//! The snapshot's segments are like any other: repaired, scrubbed, and garbage by the group's rules once their row is
//! removed. The list says where their shards lie, so that they are found when the metadata is gone.

mod frames;
mod list;
mod write;

pub(crate) use frames::{FrameError, FrameReader};
pub(crate) use list::{ListedKey, ListedSegment, ListedSnapshot, RecoveryList};
pub use write::SnapshotWritten;
pub(crate) use write::{list_on_disks, write_snapshot};
