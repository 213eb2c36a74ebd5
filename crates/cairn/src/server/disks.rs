//! Disks on RocksDB for the engine.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use cairn_cluster::{DiskOpener, FolderState};
use cairn_proto::DiskId;
use cairn_shard_store::{DiskOptions, RocksShardStore, ShardStore, ShardStoreError, inspect, is_mount_point};

use super::lock::make_private_folder;

/// Opens the disks of a cluster.
pub(crate) struct RocksDisks {
    pub(crate) cluster_id: u128,
}

#[async_trait]
impl DiskOpener for RocksDisks {
    fn inspect(&self, folder: &Path) -> FolderState {
        look(folder)
    }

    fn is_mount_point(&self, folder: &Path) -> bool {
        is_mount_point(folder)
    }

    async fn open(&self, folder: &Path, format_as: Option<DiskId>) -> Result<Arc<dyn ShardStore>, ShardStoreError> {
        let (folder, cluster_id) = (folder.to_owned(), self.cluster_id);
        let opening = tokio::task::spawn_blocking(move || open(folder, cluster_id, format_as));
        opening.await.map_err(|error| ShardStoreError::Engine(error.to_string()))?
    }
}

fn look(folder: &Path) -> FolderState {
    match inspect(folder) {
        cairn_shard_store::FolderState::Missing => FolderState::Missing,
        cairn_shard_store::FolderState::Empty => FolderState::Empty,
        cairn_shard_store::FolderState::Disk { id, cluster_id } => FolderState::Disk { id, cluster_id },
        cairn_shard_store::FolderState::Foreign(what) => FolderState::Foreign(what),
    }
}

fn open(folder: PathBuf, cluster_id: u128, format_as: Option<DiskId>) -> Result<Arc<dyn ShardStore>, ShardStoreError> {
    let refused = |problem: String| ShardStoreError::Refused { folder: folder.display().to_string(), problem };
    let new_id = match (format_as, inspect(&folder)) {
        (Some(id), cairn_shard_store::FolderState::Missing) => {
            make_private_folder(&folder).map_err(|error| refused(format!("{error:#}")))?;
            id
        }
        (Some(id), _) => id,
        // The store formats what is empty; the engine has decided not to.
        (None, cairn_shard_store::FolderState::Empty) => {
            return Err(refused("was emptied just now: it is looked at again".to_owned()));
        }
        (None, _) => DiskId(0),
    };
    let store = RocksShardStore::open(&DiskOptions::new(folder, cluster_id, new_id))?;
    Ok(store)
}
