//! The server's disks: folders with a RocksDB set each.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_proto::DiskId;
use cairn_shard_store::{DiskOptions, RocksShardStore, ShardStore, ShardStoreError, inspect, is_mount_point};

use crate::disks::{DiskOpener, FolderState};

/// Opens RocksDB disks of one cluster.
#[derive(Clone, Debug)]
pub struct RocksDiskOpener {
    cluster_id: u128,
}

impl RocksDiskOpener {
    /// Disks of another cluster are refused, new ones are formatted for this one.
    #[must_use]
    pub fn new(cluster_id: u128) -> Self {
        Self { cluster_id }
    }
}

#[async_trait]
impl DiskOpener for RocksDiskOpener {
    fn inspect(&self, folder: &Path) -> FolderState {
        match inspect(folder) {
            cairn_shard_store::FolderState::Missing => FolderState::Missing,
            cairn_shard_store::FolderState::Empty => FolderState::Empty,
            cairn_shard_store::FolderState::Disk { id, cluster_id } => FolderState::Disk { id, cluster_id },
            cairn_shard_store::FolderState::Foreign(what) => FolderState::Foreign(what),
        }
    }

    fn is_mount_point(&self, folder: &Path) -> bool {
        is_mount_point(folder)
    }

    async fn open(&self, folder: &Path, format_as: Option<DiskId>) -> Result<Arc<dyn ShardStore>, ShardStoreError> {
        let (folder, cluster_id) = (folder.to_owned(), self.cluster_id);
        let opened = tokio::task::spawn_blocking(move || {
            let refused = |problem: &str| ShardStoreError::Refused {
                folder: folder.display().to_string(),
                problem: problem.to_owned(),
            };
            let new_id = match (format_as, inspect(&folder)) {
                (Some(id), cairn_shard_store::FolderState::Missing) => {
                    std::fs::create_dir_all(&folder).map_err(|error| refused(&format!("cannot be made: {error}")))?;
                    id
                }
                (Some(id), _) => id,
                // Nothing is formatted with this id: the disk in the folder has its own.
                (None, cairn_shard_store::FolderState::Disk { id, .. }) => id,
                (None, _) => return Err(refused("the disk that was here a moment ago is gone")),
            };
            RocksShardStore::open(&DiskOptions::new(&folder, cluster_id, new_id))
        });
        let store = opened.await.map_err(|error| ShardStoreError::Engine(error.to_string()))??;
        Ok(store)
    }
}
