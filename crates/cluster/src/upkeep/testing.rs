//! A store of memory disks whose upkeep is driven step by step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::{
    Attributes, BucketSettings, Command, ManualClock, MetaHandle, MetaImport, MetaOptions, NewLife, Preconditions,
    Reply,
};
use cairn_proto::{BucketId, DiskId, UploadId};
use cairn_shard_store::{FolderState, MemoryShardStore, ShardKey, ShardStore, ShardStoreError};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::sync::watch;

use super::calls::DiskCalls;
use super::{Pace, Upkeep};
use crate::disks::{DiskFolder, DiskOpener};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::ids::RandomIds;
use crate::ops::{ObjectCommit, PartCommit};
use crate::options::EngineOptions;
use crate::read::ObjectReader;
use crate::recover::RecoveryDisks;
use crate::testing::test_key;
use crate::write::{ObjectWriter, WriteKind, WriteTarget};

const CLUSTER: u128 = 7;
/// Steps after which work that does not end is a defect.
const STEPS_MAX: usize = 20_000;
const BUCKET: &str = "bucket";

/// What lies in a folder.
#[derive(Clone)]
pub(crate) enum Content {
    Missing,
    Empty,
    Disk(MemoryShardStore),
}

/// Folders and what lies in them.
#[derive(Default)]
pub(crate) struct MemoryOpener {
    folders: Mutex<BTreeMap<PathBuf, Content>>,
    /// While set, opening waits.
    slow: watch::Sender<bool>,
    opens: AtomicUsize,
    /// While set, looking at folders blocks.
    hung: AtomicBool,
    looks: AtomicUsize,
}

impl MemoryOpener {
    pub(crate) fn content(&self, folder: &Path) -> Content {
        self.folders.lock().unwrap().get(folder).cloned().unwrap_or(Content::Empty)
    }

    pub(crate) fn put(&self, folder: &Path, content: Content) {
        self.folders.lock().unwrap().insert(folder.to_owned(), content);
    }

    /// Looking into folders blocks until this is switched off.
    pub(super) fn hang(&self, on: bool) {
        self.hung.store(on, Ordering::Relaxed);
    }

    /// Looks into folders so far, those that block too.
    pub(super) fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// Opening a disk waits until this is switched off.
    pub(super) fn slow(&self, on: bool) {
        self.slow.send_replace(on);
    }

    /// Disks opened so far, those that wait too.
    pub(super) fn opens(&self) -> usize {
        self.opens.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl DiskOpener for MemoryOpener {
    fn inspect(&self, folder: &Path) -> FolderState {
        self.looks.fetch_add(1, Ordering::Relaxed);
        while self.hung.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        match self.content(folder) {
            Content::Missing => FolderState::Missing,
            Content::Empty => FolderState::Empty,
            Content::Disk(disk) => FolderState::Disk { id: disk.id(), cluster_id: CLUSTER },
        }
    }

    fn is_mount_point(&self, _folder: &Path) -> bool {
        false
    }

    async fn open(&self, folder: &Path, format_as: Option<DiskId>) -> Result<Arc<dyn ShardStore>, ShardStoreError> {
        self.opens.fetch_add(1, Ordering::Relaxed);
        self.slow.subscribe().wait_for(|slow| !slow).await.unwrap();
        if let Some(id) = format_as {
            self.put(folder, Content::Disk(MemoryShardStore::new(id)));
        }
        match self.content(folder) {
            Content::Disk(disk) => {
                disk.faults().gone(false);
                disk.reopen();
                Ok(Arc::new(disk))
            }
            _ => Err(ShardStoreError::Engine("nothing to open".to_owned())),
        }
    }
}

/// A store and its upkeep, which does nothing by itself.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) up: Upkeep,
    pub(crate) opener: Arc<MemoryOpener>,
    pub(crate) bucket: BucketId,
    options: EngineOptions,
    home: Arc<tempfile::TempDir>,
}

pub(crate) fn folder(number: usize) -> PathBuf {
    PathBuf::from(format!("disk-{number}"))
}

/// Bytes that only this key has.
pub(crate) fn content(key: &str, bytes: usize) -> Vec<u8> {
    let seed = key.bytes().fold(17_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut content = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut content);
    content
}

async fn start(options: &EngineOptions, meta: MetaHandle, opener: &Arc<MemoryOpener>) -> Engine {
    let ids = Arc::new(RandomIds::from_seed(1));
    Engine::start(options.clone(), test_key(), meta, Arc::clone(opener) as _, ids).await.unwrap()
}

impl World {
    pub(crate) async fn new(disks: usize) -> Self {
        Self::with(disks, |_| {}).await
    }

    pub(crate) async fn with(disks: usize, change: impl FnOnce(&mut EngineOptions)) -> Self {
        let mut options = EngineOptions {
            cluster_id: CLUSTER,
            folders: (0..disks).map(|number| DiskFolder { folder: folder(number) }).collect(),
            answer_within: Duration::from_millis(200),
            read_within: Duration::from_millis(200),
            failure_pause: Duration::from_millis(1),
            upkeep: false,
            // Small segments, so that an object has several.
            segment_bytes_max: 1 << 20,
            ..EngineOptions::default()
        };
        change(&mut options);
        let home = tempfile::tempdir().unwrap();
        let meta = MetaOptions { folder: home.path().join("meta"), cluster_id: CLUSTER, voter: 1, memory: true };
        let meta = MetaHandle::start(meta, Arc::new(ManualClock::new(1_000_000))).await.unwrap();
        let opener = Arc::new(MemoryOpener::default());
        let engine = start(&options, meta, &opener).await;
        engine.create_bucket(BUCKET, BucketSettings::default(), None).await.unwrap();
        Self::over(engine, opener, options, Arc::new(home)).await
    }

    /// Another life of the same node over the same metadata and disks, as after a crash.
    pub(crate) async fn next_life(&self) -> Self {
        let engine = start(&self.options, self.engine.meta().clone(), &self.opener).await;
        Self::over(engine, Arc::clone(&self.opener), self.options.clone(), Arc::clone(&self.home)).await
    }

    /// The metadata is lost, and comes back as a new life from the newest snapshot that the disks list.
    pub(crate) async fn recovered(&self) -> Self {
        let disks = self.recovery_disks();
        let (heard, found) = disks.snapshots().await;
        let new = NewLife { life: heard + 1, began_ms: 1_000_000 };
        let folder = self.home.path().join(format!("life-{}", new.life));
        let mut import = MetaImport::begin(&folder, CLUSTER).unwrap();
        disks.read_snapshot(&found[0], &test_key(), &mut |piece| import.add(piece)).await.unwrap();
        import.begin_life(new).unwrap();
        disks.record_life(new.life).await.unwrap();
        import.finish().unwrap();
        let meta = MetaOptions { folder, cluster_id: CLUSTER, voter: new.voter(), memory: false };
        let meta = MetaHandle::start(meta, Arc::new(ManualClock::new(2_000_000))).await.unwrap();
        let engine = start(&self.options, meta, &self.opener).await;
        Self::over(engine, Arc::clone(&self.opener), self.options.clone(), Arc::clone(&self.home)).await
    }

    /// The disks as they are found without the metadata.
    pub(crate) fn recovery_disks(&self) -> RecoveryDisks {
        let contents = self.options.folders.iter().map(|disk| self.opener.content(&disk.folder));
        let stores = contents.filter_map(|content| match content {
            Content::Disk(disk) => Some(Arc::new(disk) as Arc<dyn ShardStore>),
            _ => None,
        });
        RecoveryDisks::new(stores.collect())
    }

    async fn over(
        engine: Engine,
        opener: Arc<MemoryOpener>,
        options: EngineOptions,
        home: Arc<tempfile::TempDir>,
    ) -> Self {
        let bucket = engine.bucket(BUCKET).await.unwrap().id;
        let mut up = Upkeep::new(Arc::clone(engine.shared()));
        up.calls = DiskCalls::new(Duration::from_millis(200));
        Self { engine, up, opener, bucket, options, home }
    }

    pub(crate) fn disk(&self, number: usize) -> MemoryShardStore {
        match self.opener.content(&folder(number)) {
            Content::Disk(disk) => disk,
            _ => panic!("no disk {number}"),
        }
    }

    pub(crate) async fn try_put(&self, key: &str, bytes: usize) -> Result<(), EngineError> {
        let target = WriteTarget {
            bucket: self.bucket,
            key: key.to_owned(),
            kind: WriteKind::Object,
            length: None,
            class: None,
        };
        let mut writer = self.engine.begin_write(target).await?;
        for piece in content(key, bytes).chunks(300_000) {
            writer.write(Bytes::copy_from_slice(piece)).await?;
        }
        let stored = writer.finish().await?;
        let commit = ObjectCommit {
            bucket: self.bucket,
            key: key.to_owned(),
            etag: "etag".to_owned(),
            checksum: None,
            attributes: Attributes::default(),
            preconditions: Preconditions::default(),
        };
        self.engine.commit_object(stored, commit).await?;
        Ok(())
    }

    pub(crate) async fn put(&self, key: &str, bytes: usize) {
        self.try_put(key, bytes).await.unwrap();
    }

    /// Begins to write an object and takes some bytes.
    pub(crate) async fn begin(&self, kind: WriteKind, key: &str, bytes: usize) -> ObjectWriter {
        let target = WriteTarget { bucket: self.bucket, key: key.to_owned(), kind, length: None, class: None };
        let mut writer = self.engine.begin_write(target).await.unwrap();
        writer.write(Bytes::from(content(key, bytes))).await.unwrap();
        writer
    }

    /// Opens an upload with a few parts; an internal one is a large PUT's own.
    pub(crate) async fn upload(&self, key: &str, parts: u16, bytes: usize, internal: bool) -> UploadId {
        let command = Command::CreateUpload {
            bucket: self.bucket,
            key: key.to_owned(),
            attributes: Attributes::default(),
            checksum: None,
            initiator: "test".to_owned(),
            internal,
        };
        let reply = self.engine.shared().writer.commit(command).await.unwrap();
        let Reply::Upload(upload) = reply else { panic!("no upload: {reply:?}") };
        for number in 1..=parts {
            let stored = self.begin(WriteKind::Part { upload, number }, key, bytes).await.finish().await.unwrap();
            let (bucket, key, etag) = (self.bucket, key.to_owned(), number.to_string());
            let part = PartCommit { bucket, key, upload, number, etag, checksum: None };
            self.engine.commit_part(stored, part).await.unwrap();
        }
        upload
    }

    pub(crate) async fn delete(&self, key: &str) {
        let keys = vec![(key.to_owned(), Preconditions::default())];
        let outcome = self.engine.delete_objects(self.bucket, keys).await.unwrap();
        assert!(matches!(outcome[..], [Ok(true)]));
    }

    pub(crate) async fn open(&self, key: &str) -> ObjectReader {
        self.engine.open_object(self.bucket, key).await.unwrap()
    }

    /// Reads an object to its end and compares.
    pub(crate) async fn check(&self, key: &str, bytes: usize) {
        check_reader(self.open(key).await, key, bytes).await;
    }

    /// All steps of all duties until none has more to do.
    pub(crate) async fn settle(&self) {
        self.up.heartbeat_step().await.unwrap();
        self.up.folders_step().await.unwrap();
        self.up.groups_step().await.unwrap();
        self.inventories().await;
        self.repair().await;
        self.reap().await;
    }

    pub(crate) async fn inventories(&self) {
        for disk in self.engine.shared().disks.all() {
            let mut steps = 0;
            while self.up.inventory_step(disk.id).await.unwrap() != self.up.idle() {
                steps += 1;
                assert!(steps < STEPS_MAX, "an inventory does not end");
            }
        }
    }

    pub(crate) async fn repair(&self) {
        for _ in 0..STEPS_MAX {
            if self.up.repair_step().await.unwrap() != Pace::Again {
                return;
            }
        }
        panic!("repair does not end");
    }

    pub(crate) async fn reap(&self) {
        for _ in 0..STEPS_MAX {
            if self.up.reaper_step().await.unwrap() != Pace::Again {
                return;
            }
        }
        panic!("the reaper does not end");
    }

    pub(crate) async fn missing(&self) -> u64 {
        self.engine.status().await.unwrap().missing_shards
    }

    pub(crate) async fn garbage_rows(&self) -> u64 {
        self.engine.status().await.unwrap().garbage.rows
    }

    /// Shards on all disks in service.
    pub(crate) fn shards(&self) -> u64 {
        self.engine.shared().disks.all().iter().map(|disk| disk.store.status().shards).sum()
    }

    pub(crate) async fn keys_on(&self, disk: &MemoryShardStore) -> Vec<ShardKey> {
        disk.list(None, usize::MAX).await.unwrap().into_iter().map(|shard| shard.key).collect()
    }

    pub(crate) async fn assert_clean(&self) {
        let report = self.engine.check(true).await.unwrap();
        assert!(report.is_clean(), "{report}");
    }
}

pub(crate) async fn check_reader(reader: ObjectReader, key: &str, bytes: usize) {
    let mut body = reader.body(0..u64::MAX);
    let mut read = Vec::new();
    while let Some(piece) = body.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert!(read == content(key, bytes), "{key}: {} bytes are not those written", read.len());
}
