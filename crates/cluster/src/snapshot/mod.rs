//! Snapshots of the metadata, written as segments over the disks, and the list of them that lies on every disk.
//!
//! ```text
//! rows of one index ─▶ frames (sealed) ─▶ segments ─▶ PutSnapshot ─▶ list on every disk ─▶ what it does not name goes
//! ```
//!
//! The snapshot's segments are like any other: repaired, scrubbed, and garbage by the group's rules once their row is
//! removed. The list says where their shards lie, so that they are found when the metadata is gone.

mod frames;
mod list;
#[cfg(test)]
mod lives_test;
mod on_disks;
mod write;

pub(crate) use frames::{FrameError, FrameReader};
pub(crate) use list::{ListedKey, ListedSegment, ListedSnapshot, RecoveryList};
pub(crate) use on_disks::{EarlierSnapshot, list_on_disks, look_at_lists};
pub use write::SnapshotWritten;
pub(crate) use write::write_snapshot;
