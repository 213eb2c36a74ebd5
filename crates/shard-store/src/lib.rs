//! A disk: shards of segments, kept so that an answered `finish` survives a power cut.
//!
//! [`ShardStore`] is the border: the object engine knows disks by this trait alone, whether the disk is in this
//! process or, later, another node's. [`RocksShardStore`] keeps them in a folder, [`MemoryShardStore`] nowhere.

mod checks;
#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
mod dead;
mod error;
mod memory;
mod rocks;
mod space;
mod store;
mod unit;

pub use error::{FenceReason, ShardStoreError};
pub use memory::{MemoryFaults, MemoryShardStore};
pub use rocks::{DiskOptions, FolderState, RocksShardStore, inspect, is_mount_point};
pub use space::{Space, SpaceSource};
pub use store::{
    Cleaned, DeleteOrder, DeleteReason, DiskState, DiskStatus, Finished, InstanceStatus, ShardHeader, ShardKey,
    ShardStore, ShardSummary, ShardWriter, SpaceUse, WriteMode,
};
pub use unit::{SealedUnit, UnitError, UnitPlace};
