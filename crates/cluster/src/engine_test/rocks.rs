//! The same engine over disks on RocksDB: formatted, stopped, opened again, replaced.

use std::sync::Arc;

use cairn_meta::{MetaHandle, MetaOptions, Preconditions, SystemClock};
use cairn_proto::BucketId;

use crate::disks::DiskFolder;
use crate::engine::Engine;
use crate::ids::RandomIds;
use crate::ops::ObjectCommit;
use crate::options::EngineOptions;
use crate::rocks_opener::RocksDiskOpener;
use crate::testing::{CLUSTER, bytes_of, collect};
use crate::write::{WriteKind, WriteTarget};

async fn start(options: &EngineOptions, meta: &MetaHandle) -> Engine {
    let (opener, ids) = (Arc::new(RocksDiskOpener::new(CLUSTER)), Arc::new(RandomIds::from_system()));
    Engine::start(options.clone(), meta.clone(), opener, ids).await.unwrap()
}

async fn put(engine: &Engine, bucket: BucketId, key: &str, bytes: &bytes::Bytes) {
    let length = Some(u64::try_from(bytes.len()).unwrap());
    let target = WriteTarget { bucket, key: key.to_owned(), kind: WriteKind::Object, length };
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_outlive_a_restart_and_two_emptied_folders() {
    let folder = tempfile::tempdir().unwrap();
    let folders = (0..6).map(|number| DiskFolder { folder: folder.path().join(format!("disk-{number}")) }).collect();
    let options = EngineOptions { cluster_id: CLUSTER, folders, upkeep: false, ..EngineOptions::default() };
    let meta_options = MetaOptions { folder: folder.path().join("meta"), cluster_id: CLUSTER, voter: 1, memory: true };
    let meta = MetaHandle::start(meta_options, Arc::new(SystemClock)).await.unwrap();
    let engine = start(&options, &meta).await;
    engine.create_bucket("bucket").await.unwrap();
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
