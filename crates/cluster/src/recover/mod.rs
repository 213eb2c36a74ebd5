//! Recovery without the metadata: what the disks alone can tell, while no server runs.
//!
//! ```text
//! lists on the disks ─▶ newest snapshot ─▶ its segments from any k disks ─▶ rows ─▶ what came back, what is newer
//! ```

mod read;
mod report;

use std::sync::Arc;

use cairn_proto::{DiskId, Index};
use cairn_shard_store::ShardStore;

use crate::error::EngineError;
use crate::snapshot::{ListedKey, ListedSnapshot, RecoveryList};

pub use report::{NewerObject, RecoveryReport};

/// A snapshot that some disk lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotFound {
    keys: Vec<ListedKey>,
    listed: ListedSnapshot,
}

impl SnapshotFound {
    /// The life of the metadata group it was made in.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.listed.life
    }

    /// The index of its rows.
    #[must_use]
    pub fn index(&self) -> Index {
        self.listed.snapshot
    }

    /// When it was made, milliseconds since 1970.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        self.listed.created_ms
    }

    /// The cluster's newest key as the disks list it: its number, and the key sealed by the key file.
    #[must_use]
    pub fn sealed_key(&self) -> Option<(u32, &[u8])> {
        self.keys.last().map(|key| (key.number, &key.sealed[..]))
    }
}

/// The disks of a cluster whose metadata is gone.
pub struct RecoveryDisks {
    disks: Vec<Arc<dyn ShardStore>>,
}

impl RecoveryDisks {
    /// These disks, opened.
    #[must_use]
    pub fn new(disks: Vec<Arc<dyn ShardStore>>) -> Self {
        Self { disks }
    }

    /// The newest life any disk heard of, and all snapshots that are listed, newest first. Not all disks list the same:
    /// some were away, and lists that cannot be read are left out ([`Self::unreadable_lists`]).
    pub async fn snapshots(&self) -> (u64, Vec<SnapshotFound>) {
        let mut life = 0;
        let mut found: Vec<SnapshotFound> = Vec::new();
        for disk in &self.disks {
            if let Ok(Some(list)) = list_of(disk).await {
                life = life.max(list.life);
                let keys = list.keys;
                found.extend(list.snapshots.into_iter().map(|listed| SnapshotFound { keys: keys.clone(), listed }));
            }
        }
        let age = |found: &SnapshotFound| std::cmp::Reverse((found.life(), found.index()));
        found.sort_by_key(age);
        found.dedup_by_key(|found| age(found));
        (life, found)
    }

    /// Disks that have a list which cannot be read, and why.
    pub async fn unreadable_lists(&self) -> Vec<(DiskId, String)> {
        let mut unreadable = Vec::new();
        for disk in &self.disks {
            if let Err(error) = list_of(disk).await {
                unreadable.push((disk.id(), error.to_string()));
            }
        }
        unreadable
    }

    /// Tells all disks that a life begins, so that no later recovery takes its number again.
    ///
    /// # Errors
    /// Where a disk cannot keep it, or its list cannot be read: what it says of snapshots and lives is not written over.
    /// All lists are read before any is written.
    pub async fn record_life(&self, life: u64) -> Result<(), EngineError> {
        let mut lists = Vec::new();
        for disk in &self.disks {
            let mut list = list_of(disk).await?.unwrap_or_default();
            list.life = life;
            lists.push((disk, list.encode().map_err(|error| EngineError::Invalid(error.to_string()))?));
        }
        for (disk, list) in lists {
            disk.set_recovery_list(list).await?;
        }
        Ok(())
    }

    fn get(&self, disk: DiskId) -> Option<&Arc<dyn ShardStore>> {
        self.disks.iter().find(|store| store.id() == disk)
    }

    /// Closes them.
    pub async fn close(&self) {
        for disk in &self.disks {
            disk.close().await;
        }
    }
}

/// What a disk lists.
async fn list_of(disk: &Arc<dyn ShardStore>) -> Result<Option<RecoveryList>, EngineError> {
    let unreadable = |error: String| EngineError::Invalid(format!("the list of disk {}: {error}", disk.id()));
    match disk.recovery_list().await {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => RecoveryList::decode(&bytes).map(Some).map_err(|error| unreadable(error.to_string())),
        Err(error) => Err(unreadable(error.to_string())),
    }
}
