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
use crate::upkeep::Upkeep;
use crate::write::{WriteKind, WriteTarget};

async fn start(options: &EngineOptions, meta: &MetaHandle) -> Engine {
    let space = SpaceSource::new(|_| Ok(Space { bytes_total: 1 << 40, bytes_free: 1 << 39 }));
    let (opener, ids) = (RocksDiskOpener::new(CLUSTER).with_space(space), Arc::new(RandomIds::from_system()));
    Engine::start(options.clone(), test_key(), meta.clone(), Arc::new(opener), ids).await.unwrap()
}

/// Six disks in a folder, and a metadata group that outlives the engine.
async fn world(folder: &Path) -> (EngineOptions, MetaHandle) {
    let folders = (0..6).map(|number| DiskFolder { folder: folder.join(format!("disk-{number}")) }).collect();
    let options = EngineOptions { cluster_id: CLUSTER, folders, upkeep: false, ..EngineOptions::default() };
    let meta_options = MetaOptions { folder: folder.join("meta"), cluster_id: CLUSTER, voter: 1, memory: true };
    let meta = MetaHandle::start(meta_options, Arc::new(SystemClock)).await.unwrap();
    (options, meta)
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
    const KEY: &str = "a key that stands in the index";
    let folder = tempfile::tempdir().unwrap();
    let (options, meta) = world(folder.path()).await;
    let engine = start(&options, &meta).await;
    engine.create_bucket("bucket", BucketSettings::default(), None).await.unwrap();
    let bucket = engine.bucket("bucket").await.unwrap().id;
    let bytes = bytes_of(9_000_001, 83);
    put(&engine, bucket, KEY, &bytes).await;
    engine.shutdown().await;
    // Opened again, the rows are in tables, which are read when a shard is asked for.
    let engine = start(&options, &meta).await;
    let shared = engine.shared();
    let hurt = shared.disks.all().into_iter().find(|disk| disk.folder == options.folders[2].folder).unwrap();
    damage_tables(&hurt.folder.join("index"), KEY.as_bytes());
    let reader = engine.open_object(bucket, KEY).await.unwrap();
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
    let folder = tempfile::tempdir().unwrap();
    let (options, meta) = world(folder.path()).await;
    let engine = start(&options, &meta).await;
    engine.create_bucket("bucket", BucketSettings::default(), None).await.unwrap();
    let bucket = engine.bucket("bucket").await.unwrap().id;
    let objects = [("large", bytes_of(9_000_001, 81)), ("small", bytes_of(100_000, 82))];
    for (key, bytes) in &objects {
        put(&engine, bucket, key, bytes).await;
    }
    engine.shutdown().await;
    for number in [1, 4] {
        let disk = &options.folders[number].folder;
        std::fs::remove_dir_all(disk).unwrap();
        std::fs::create_dir(disk).unwrap();
    }
    let engine = start(&options, &meta).await;
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
