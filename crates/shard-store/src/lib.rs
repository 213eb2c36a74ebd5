//! A disk: shards of segments, kept so that an answered `finish` survives a power cut.
//!
//! [`ShardStore`] is the border: the object engine knows disks by this trait alone, whether the disk is in this
//! process or, later, another node's.

mod error;
mod store;
mod unit;

pub use error::{FenceReason, ShardStoreError};
pub use store::{
    DeleteOrder, DiskState, DiskStatus, Finished, ShardHeader, ShardKey, ShardStore, ShardSummary, ShardWriter,
    SpaceUse, WriteMode,
};
pub use unit::{SealedUnit, UnitError, UnitPlace};
