//! The same engine over disks on RocksDB: formatted, stopped, opened again, replaced.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cairn_meta::{BucketSettings, MetaHandle, MetaOptions, Preconditions, SystemClock};
use cairn_proto::BucketId;
use cairn_shard_store::{DiskState, FenceReason, Space, SpaceSource};

use crate::disks::DiskFolder;
use crate::engine::Engine;
use crate::ids::RandomIds;
use crate::ops::ObjectCommit;
use crate::options::EngineOptions;
use crate::rocks_opener::RocksDiskOpener;
use crate::testing::{CLUSTER, bytes_of, collect, test_key};
use crate::upkeep::{Pace, Upkeep};
use crate::write::{WriteKind, WriteTarget};

/// A store over six folders, with its metadata in memory, which outlives the engine.
struct Store {
    folder: tempfile::TempDir,
    options: EngineOptions,
    meta: MetaHandle,
}

impl Store {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = |number| DiskFolder { folder: folder.path().join(format!("disk-{number}")) };
        let folders = (0..6).map(disk).collect();
        let options = EngineOptions { cluster_id: CLUSTER, folders, upkeep: false, ..EngineOptions::default() };
        let meta_options =
            MetaOptions { folder: folder.path().join("meta"), cluster_id: CLUSTER, voter: 1, memory: true };
        let meta = MetaHandle::start(meta_options, Arc::new(SystemClock)).await.unwrap();
        Self { folder, options, meta }
    }

    async fn start(&self) -> Engine {
        let space = SpaceSource::new(|_| Ok(Space { bytes_total: 1 << 40, bytes_free: 1 << 39 }));
        let (opener, ids) = (RocksDiskOpener::new(CLUSTER).with_space(space), Arc::new(RandomIds::from_system()));
        let (options, meta) = (self.options.clone(), self.meta.clone());
        Engine::start(options, test_key(), meta, Arc::new(opener), ids).await.unwrap()
    }
}

async fn put(engine: &Engine, bucket: BucketId, key: &str, bytes: &bytes::Bytes) {
    let length = Some(u64::try_from(bytes.len()).unwrap());
    let target = WriteTarget { bucket, key: key.to_owned(), kind: WriteKind::Object, length, class: None };
    let mut writer = engine.begin_write(target).await.unwrap();
    writer.write(bytes.clone()).await.unwrap();
    let stored = writer.finish().await.unwrap();
    let commit = ObjectCommit {
        bucket,
        key: key.to_owned(),
        etag: "etag".to_owned(),
        checksum: None,
        attributes: Default::default(),
        preconditions: Preconditions::default(),
    };
    engine.commit_object(stored, commit).await.unwrap();
}

/// Flips a bit wherever the tables of a folder hold some bytes.
fn damage_tables(folder: &Path, needle: &[u8]) {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "sst") {
            continue;
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(entry.path()).unwrap();
        let places = bytes.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
        for (at, _) in places {
            file.write_all_at(&[bytes[at] ^ 0x10], u64::try_from(at).unwrap()).unwrap();
            found += 1;
        }
    }
    assert!(found > 0, "the bytes are in no table of {}", folder.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_damaged_while_the_disk_serves_is_rebuilt_by_upkeep() {
    let store = Store::new().await;
    let engine = store.start().await;
    engine.create_bucket("bucket", BucketSettings::default(), None).await.unwrap();
    let bucket = engine.bucket("bucket").await.unwrap().id;
    let bytes = bytes_of(9_000_001, 83);
    put(&engine, bucket, "key", &bytes).await;
    let folder = &store.options.folders[2].folder;
    engine.shutdown().await;
    // Opened again, the rows are in tables, which are read when a shard is asked for.
    let engine = store.start().await;
    let shared = engine.shared();
    let hurt = shared.disks.all().into_iter().find(|disk| disk.folder == *folder).unwrap();
    // All shards of a segment have the same label, and the rows of the index carry it as it is.
    let other = shared.disks.all().into_iter().find(|disk| disk.id != hurt.id).unwrap();
    let shard = other.store.list(None, 1).await.unwrap().remove(0);
    let label = other.store.header(shard.key).await.unwrap().unwrap().label;
    damage_tables(&hurt.folder.join("index"), &label);
    let reader = engine.open_object(bucket, "key").await.unwrap();
    assert!(collect(reader, 0..u64::MAX).await.unwrap() == bytes, "the others make up for it");
    // A reader may have done without this disk.
    let listed = hurt.store.list(None, 10).await;
    assert!(listed.is_err(), "{listed:?}");
    let state = hurt.store.status().state;
    assert!(matches!(state, DiskState::ReadOnly(FenceReason::ReadFailed(_))), "{state:?}");

    let upkeep = Upkeep::new(Arc::clone(shared));
    let serves = async || {
        upkeep.folders_step().await.unwrap();
        let disks = shared.disks.all();
        disks.iter().any(|disk| disk.id == hurt.id && disk.status.state == DiskState::Serving)
    };
    let rebuilt = async {
        while !serves().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), rebuilt).await.expect("the disk comes back by itself");
    let again = shared.disks.get(hurt.id).unwrap();
    assert_eq!(again.list(None, 10).await.unwrap().len(), 1, "the log gave the index its rows back");
    assert!(hurt.folder.join("index.damaged").exists());
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_outlive_a_restart_and_two_emptied_folders() {
    let store = Store::new().await;
    let engine = store.start().await;
    engine.create_bucket("bucket", BucketSettings::default(), None).await.unwrap();
    let bucket = engine.bucket("bucket").await.unwrap().id;
    let objects = [("large", bytes_of(9_000_001, 81)), ("small", bytes_of(100_000, 82))];
    for (key, bytes) in &objects {
        put(&engine, bucket, key, bytes).await;
    }
    engine.shutdown().await;
    for number in [1, 4] {
        let disk = &store.options.folders[number].folder;
        std::fs::remove_dir_all(disk).unwrap();
        std::fs::create_dir(disk).unwrap();
    }
    let engine = store.start().await;
    assert!(engine.shared().disks.problems().is_empty());
    for (key, bytes) in &objects {
        let reader = engine.open_object(bucket, key).await.unwrap();
        assert!(collect(reader, 0..u64::MAX).await.unwrap() == *bytes, "{key}");
    }
    put(&engine, bucket, "after", &objects[0].1).await;
    let reader = engine.open_object(bucket, "after").await.unwrap();
    assert!(collect(reader, 5..100).await.unwrap() == objects[0].1.slice(5..100));
    engine.shutdown().await;
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &name);
        } else {
            std::fs::copy(entry.path(), name).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_went_back_in_time_is_relied_on_after_its_inventory() {
    let store = Store::new().await;
    let engine = store.start().await;
    engine.create_bucket("bucket", BucketSettings::default(), None).await.unwrap();
    let bucket = engine.bucket("bucket").await.unwrap().id;
    put(&engine, bucket, "before", &bytes_of(1_300_001, 83)).await;
    engine.shutdown().await;
    let (disk, aside) = (&store.options.folders[2].folder, store.folder.path().join("aside"));
    copy_folder(disk, &aside);
    let engine = store.start().await;
    // So many that the disk has data units of some.
    let keys: Vec<String> = (0..8).map(|number| format!("after-{number}")).collect();
    for key in &keys {
        put(&engine, bucket, key, &bytes_of(1_300_001, 84)).await;
    }
    engine.shutdown().await;
    std::fs::remove_dir_all(disk).unwrap();
    std::fs::rename(&aside, disk).unwrap();

    let engine = store.start().await;
    let reasons = async || engine.status().await.unwrap().disks.into_iter().map(|disk| disk.reason).collect::<Vec<_>>();
    let behind: Vec<bool> = reasons().await.iter().map(|reason| reason.contains("back in time")).collect();
    assert_eq!(behind.iter().filter(|behind| **behind).count(), 1, "{:?}", reasons().await);
    for key in &keys {
        let reader = engine.open_object(bucket, key).await.unwrap();
        assert!(collect(reader, 0..u64::MAX).await.unwrap() == bytes_of(1_300_001, 84), "{key}");
    }
    assert!(engine.shared().reports.take(1).is_empty(), "a read asked it first");

    let upkeep = Upkeep::new(Arc::clone(engine.shared()));
    for disk in engine.shared().disks.all() {
        while upkeep.inventory_step(disk.id).await.unwrap() != upkeep.idle() {}
    }
    assert!(reasons().await.iter().all(String::is_empty), "{:?}", reasons().await);
    assert_eq!(engine.status().await.unwrap().missing_shards, 8, "what it lost is known now");
    while upkeep.repair_step().await.unwrap() == Pace::Again {}
    let report = engine.check(true).await.unwrap();
    assert!(report.is_clean(), "{report}");
    engine.shutdown().await;
}
