//! The server's disks: folders with a RocksDB set each.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_proto::DiskId;
use cairn_shard_store::{
    DiskOptions, FolderState, RocksShardStore, ShardStore, ShardStoreError, SpaceSource, inspect, is_mount_point,
};

use crate::disks::DiskOpener;

/// Opens RocksDB disks of one cluster.
#[derive(Clone, Debug)]
pub struct RocksDiskOpener {
    cluster_id: u128,
    space: SpaceSource,
    /// Tables that each disk keeps open, if not the usual number.
    tables: Option<u32>,
}

impl RocksDiskOpener {
    /// Disks of another cluster are refused, new ones are formatted for this one.
    #[must_use]
    pub fn new(cluster_id: u128) -> Self {
        Self { cluster_id, space: SpaceSource::default(), tables: None }
    }

    /// With so many tables kept open by each disk.
    #[must_use]
    pub fn with_tables(self, tables: u32) -> Self {
        Self { tables: Some(tables), ..self }
    }

    /// With room of its own, whatever the machine has.
    #[cfg(test)]
    pub(crate) fn with_space(self, space: SpaceSource) -> Self {
        Self { space, ..self }
    }

    fn open_now(&self, folder: &Path, format_as: Option<DiskId>) -> Result<Arc<dyn ShardStore>, ShardStoreError> {
        let refused = |problem: String| ShardStoreError::Refused { folder: folder.display().to_string(), problem };
        let new_id = match (format_as, inspect(folder)) {
            (Some(id), FolderState::Missing) => {
                make_folder(folder).map_err(|error| refused(format!("cannot be made: {error}")))?;
                id
            }
            (Some(id), _) => id,
            // Nothing is formatted with this id: the disk in the folder has its own.
            (None, FolderState::Disk { id, .. }) => id,
            // The store formats what is empty; the engine has decided not to.
            (None, _) => {
                return Err(refused("the disk that was here a moment ago is gone: it is looked at again".to_owned()));
            }
        };
        let mut options = DiskOptions::new(folder, self.cluster_id, new_id);
        options.space = self.space.clone();
        if let Some(tables) = self.tables {
            // A quarter of them is the index's.
            let of_index = i32::try_from(tables / 4).unwrap_or(i32::MAX);
            options.open_files_index = of_index;
            options.open_files_log = i32::try_from(tables).unwrap_or(i32::MAX) - of_index;
        }
        Ok(RocksShardStore::open(&options)?)
    }
}

#[async_trait]
impl DiskOpener for RocksDiskOpener {
    fn inspect(&self, folder: &Path) -> FolderState {
        inspect(folder)
    }

    fn is_mount_point(&self, folder: &Path) -> bool {
        is_mount_point(folder)
    }

    async fn open(&self, folder: &Path, format_as: Option<DiskId>) -> Result<Arc<dyn ShardStore>, ShardStoreError> {
        let (opener, folder) = (self.clone(), folder.to_owned());
        let opened = tokio::task::spawn_blocking(move || opener.open_now(&folder, format_as));
        opened.await.map_err(|error| ShardStoreError::Engine(error.to_string()))?
    }
}

/// Makes a folder that its owner alone may enter. Its name is durable afterwards.
fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let above = fs::canonicalize(folder)?;
    above.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
}
