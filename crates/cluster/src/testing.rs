//! A store in memory for tests: six disks with fault switches, a metadata group of one voter, and short patience.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cairn_meta::{Attributes, BucketSettings, MetaHandle, MetaOptions, Preconditions, SystemClock};
use cairn_proto::{BucketId, DiskId};
use cairn_shard_store::{FolderState, MemoryShardStore, ShardStore, ShardStoreError};
use futures_util::StreamExt;

use crate::disks::{DiskFolder, DiskOpener};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::ids::RandomIds;
use crate::ops::{Committed, ObjectCommit};
use crate::options::EngineOptions;
use crate::read::ObjectReader;
use crate::sealing::ClusterKey;
use crate::write::{StoredBytes, WriteKind, WriteTarget};

pub(crate) const CLUSTER: u128 = 77;

/// What lies in the folders of a test.
#[derive(Default)]
pub(crate) struct MemoryOpener {
    stores: Mutex<HashMap<PathBuf, MemoryShardStore>>,
    mounts: Mutex<Vec<PathBuf>>,
}

impl MemoryOpener {
    /// The disk in a folder.
    pub(crate) fn store(&self, folder: &Path) -> MemoryShardStore {
        self.stores.lock().unwrap()[folder].clone()
    }

    /// Empties a folder; the disk that was in it.
    pub(crate) fn take(&self, folder: &Path) -> MemoryShardStore {
        self.stores.lock().unwrap().remove(folder).unwrap()
    }

    /// Puts a disk into a folder.
    pub(crate) fn put(&self, folder: &Path, store: MemoryShardStore) {
        self.stores.lock().unwrap().insert(folder.to_owned(), store);
    }

    /// Says which folders are mount points.
    pub(crate) fn set_mounts(&self, folders: Vec<PathBuf>) {
        *self.mounts.lock().unwrap() = folders;
    }
}

#[async_trait]
impl DiskOpener for MemoryOpener {
    fn inspect(&self, folder: &Path) -> FolderState {
        match self.stores.lock().unwrap().get(folder) {
            Some(store) => FolderState::Disk { id: store.id(), cluster_id: CLUSTER },
            None => FolderState::Empty,
        }
    }

    fn is_mount_point(&self, folder: &Path) -> bool {
        self.mounts.lock().unwrap().iter().any(|mount| mount == folder)
    }

    async fn open(&self, folder: &Path, format_as: Option<DiskId>) -> Result<Arc<dyn ShardStore>, ShardStoreError> {
        if let Some(id) = format_as {
            self.put(folder, MemoryShardStore::new(id));
        }
        let store = self.store(folder);
        store.reopen();
        Ok(Arc::new(store))
    }
}

/// A store under test.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) meta: MetaHandle,
    pub(crate) opener: Arc<MemoryOpener>,
    pub(crate) options: EngineOptions,
    pub(crate) bucket: BucketId,
    /// What a test wants to look at once more at its end.
    pub(crate) last: Mutex<HashMap<String, Bytes>>,
    ids: Arc<RandomIds>,
    _folder: tempfile::TempDir,
}

/// A key that all tests know.
pub(crate) fn test_key() -> Arc<ClusterKey> {
    Arc::new(ClusterKey::new(1, &[9; ClusterKey::BYTES]))
}

pub(crate) fn folder(number: usize) -> PathBuf {
    PathBuf::from(format!("disk-{number}"))
}

/// Small segments and short waits; upkeep is off.
pub(crate) fn options(disks: usize) -> EngineOptions {
    EngineOptions {
        cluster_id: CLUSTER,
        folders: (0..disks).map(|number| DiskFolder { folder: folder(number) }).collect(),
        answer_within: Duration::from_millis(100),
        read_within: Duration::from_millis(100),
        give_up_after: Duration::from_secs(1),
        upkeep: false,
        shutdown_within: Duration::from_secs(1),
        segment_bytes_max: 3 << 20,
        ..EngineOptions::default()
    }
}

impl World {
    pub(crate) async fn new(disks: usize) -> Self {
        Self::with(options(disks)).await
    }

    pub(crate) async fn with(options: EngineOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let meta_options =
            MetaOptions { folder: folder.path().join("meta"), cluster_id: CLUSTER, voter: 1, memory: true };
        let meta = MetaHandle::start(meta_options, Arc::new(SystemClock)).await.unwrap();
        let opener = Arc::new(MemoryOpener::default());
        let ids = Arc::new(RandomIds::from_seed(5));
        let engine = start(&options, &meta, &opener, &ids).await;
        engine.create_bucket("bucket", BucketSettings::default(), None).await.unwrap();
        let bucket = engine.bucket("bucket").await.unwrap().id;
        Self { engine, meta, opener, options, bucket, last: Mutex::default(), ids, _folder: folder }
    }

    /// Stops the engine and starts it again over the same folders.
    pub(crate) async fn restart(&mut self) {
        self.engine.shutdown().await;
        self.engine = start(&self.options, &self.meta, &self.opener, &self.ids).await;
    }

    /// As [`Self::restart`] where the start is refused.
    pub(crate) async fn restart_refused(&self) -> EngineError {
        self.engine.shutdown().await;
        let (opener, ids) = (Arc::clone(&self.opener), Arc::clone(&self.ids));
        let started = Engine::start(self.options.clone(), test_key(), self.meta.clone(), opener, ids).await;
        started.err().expect("the start is refused")
    }

    /// The disk of a folder.
    pub(crate) fn disk(&self, number: usize) -> MemoryShardStore {
        self.opener.store(&folder(number))
    }

    pub(crate) fn target(&self, key: &str, length: Option<u64>) -> WriteTarget {
        WriteTarget { bucket: self.bucket, key: key.to_owned(), kind: WriteKind::Object, length, class: None }
    }

    pub(crate) fn commit(&self, key: &str) -> ObjectCommit {
        ObjectCommit {
            bucket: self.bucket,
            key: key.to_owned(),
            etag: "etag".to_owned(),
            checksum: None,
            attributes: Attributes::default(),
            preconditions: Preconditions::default(),
        }
    }

    /// Writes in pieces of odd length, without the commit.
    pub(crate) async fn store(&self, target: WriteTarget, bytes: &Bytes) -> Result<StoredBytes, EngineError> {
        let mut writer = self.engine.begin_write(target).await?;
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            writer.write(rest.split_to(rest.len().min(99_991))).await?;
        }
        writer.finish().await
    }

    pub(crate) async fn put(&self, key: &str, bytes: &Bytes) -> Result<Committed, EngineError> {
        let target = self.target(key, Some(u64::try_from(bytes.len()).unwrap()));
        let stored = self.store(target, bytes).await?;
        self.engine.commit_object(stored, self.commit(key)).await
    }

    pub(crate) async fn open(&self, key: &str) -> Result<ObjectReader, EngineError> {
        self.engine.open_object(self.bucket, key).await
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Bytes, EngineError> {
        self.get_range(key, 0..u64::MAX).await
    }

    pub(crate) async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, EngineError> {
        collect(self.open(key).await?, range).await
    }
}

async fn start(options: &EngineOptions, meta: &MetaHandle, opener: &Arc<MemoryOpener>, ids: &Arc<RandomIds>) -> Engine {
    let (opener, ids) = (Arc::clone(opener), Arc::clone(ids));
    Engine::start(options.clone(), test_key(), meta.clone(), opener, ids).await.unwrap()
}

pub(crate) async fn collect(reader: ObjectReader, range: Range<u64>) -> Result<Bytes, EngineError> {
    let mut body = reader.body(range);
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.freeze())
}

/// Bytes that differ at every place and with every seed.
pub(crate) fn bytes_of(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect::<Vec<u8>>().into()
}
