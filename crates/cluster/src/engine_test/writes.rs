//! Bytes of every length, and disks that fail at every moment of a write.

use bytes::Bytes;
use cairn_meta::{Body, Command, Preconditions};
use cairn_shard_store::{MemoryFaults, ShardStore};

use crate::error::EngineError;
use crate::testing::{World, bytes_of, folder};
use crate::want::Want;

const UNIT: usize = 256 * 1024;
const STRIPE: usize = 4 * UNIT;
const SEGMENT: usize = 3 << 20;

type Fault = fn(&MemoryFaults, bool);

const FAULTS: [(&str, Fault); 4] = [
    ("fail", MemoryFaults::fail_writes),
    ("full", MemoryFaults::full),
    ("gone", MemoryFaults::gone),
    ("hang", MemoryFaults::hang),
];

#[tokio::test]
async fn every_length_around_the_borders_reads_back() {
    let world = World::new(6).await;
    let inline = 16 * 1024;
    let mut lengths = vec![0, 1, 2, 3, 5];
    for border in [inline, UNIT, STRIPE, SEGMENT, 2 * SEGMENT, 8 << 20] {
        lengths.extend([border - 1, border, border + 1]);
    }
    for length in lengths {
        let bytes = bytes_of(length, 1);
        for (key, announced) in [("known", Some(u64::try_from(length).unwrap())), ("unknown", None)] {
            let stored = world.store(world.target(key, announced), &bytes).await.unwrap();
            assert_eq!(stored.bytes(), u64::try_from(length).unwrap());
            world.engine.commit_object(stored, world.commit(key)).await.unwrap();
            assert!(world.get(key).await.unwrap() == bytes, "{length} bytes, {key}");
            let row = world.open(key).await.unwrap().row().clone();
            assert_eq!(matches!(row.body, Body::Sealed(_)), length <= inline, "{length} bytes");
        }
    }
    assert_eq!(world.engine.shared().writer.running(), 0);
}

#[tokio::test]
async fn every_number_of_disks_gets_its_profile() {
    for (disks, slots, profile) in
        [(1, 1, (1, 0)), (2, 2, (1, 1)), (3, 3, (2, 1)), (4, 4, (2, 2)), (5, 5, (3, 2)), (8, 6, (4, 2))]
    {
        let world = World::new(disks).await;
        let bytes = bytes_of(STRIPE + 77, 2);
        world.put("key", &bytes).await.unwrap();
        assert!(world.get("key").await.unwrap() == bytes);
        let status = world.engine.status().await.unwrap();
        assert_eq!(status.groups.len(), 1);
        assert_eq!((status.groups[0].profile.data, status.groups[0].profile.parity), profile);
        assert!(status.groups[0].writable >= 16 && status.writable);
        let shards: u64 = status.disks.iter().map(|disk| disk.shards).sum();
        assert_eq!(shards, slots);
    }
}

#[tokio::test]
async fn a_body_of_another_length_is_refused_and_leaves_nothing() {
    let world = World::new(6).await;
    for length in [100, STRIPE] {
        let bytes = bytes_of(length, 3);
        for announced in [length - 1, length + 1] {
            let target = world.target("key", Some(u64::try_from(announced).unwrap()));
            let refused = world.store(target, &bytes).await;
            assert!(matches!(refused, Err(EngineError::Invalid(_))), "{length} as {announced}");
        }
    }
    assert!(matches!(world.open("key").await, Err(EngineError::NoSuchObject)));
    assert_eq!(world.engine.shared().writer.running(), 0);
}

/// Writes with `count` disks going wrong after so many bytes.
async fn write_with_faults(
    world: &World,
    fault: Fault,
    count: usize,
    after: usize,
    bytes: &Bytes,
) -> Result<(), EngineError> {
    let mut writer = world.engine.begin_write(world.target("key", Some(u64::try_from(bytes.len()).unwrap()))).await?;
    writer.write(bytes.slice(..after)).await?;
    for number in 0..count {
        fault(world.disk(number).faults(), true);
    }
    let mut rest = bytes.slice(after..);
    while !rest.is_empty() {
        writer.write(rest.split_to(rest.len().min(UNIT))).await?;
    }
    let stored = writer.finish().await?;
    world.engine.commit_object(stored, world.commit("key")).await.map(|_| ())
}

#[tokio::test]
async fn two_of_six_disks_may_fail_at_any_moment() {
    let bytes = bytes_of(SEGMENT + 3 * UNIT, 4);
    for (name, fault) in FAULTS {
        for after in [0, 1, STRIPE, 2 * STRIPE + 5, SEGMENT - 1, SEGMENT, bytes.len() - 1] {
            let world = World::new(6).await;
            write_with_faults(&world, fault, 2, after, &bytes)
                .await
                .unwrap_or_else(|error| panic!("{name} after {after}: {error}"));
            assert!(world.get("key").await.unwrap() == bytes, "{name} after {after}");
            assert_eq!(world.engine.shared().writer.running(), 0);
        }
    }
}

#[tokio::test]
async fn with_three_of_six_failing_nothing_is_written_and_the_old_version_stays() {
    let old = bytes_of(SEGMENT, 5);
    let new = bytes_of(SEGMENT, 6);
    for (name, fault) in FAULTS {
        let world = World::new(6).await;
        world.put("key", &old).await.unwrap();
        let failed = write_with_faults(&world, fault, 3, STRIPE, &new).await;
        assert!(matches!(failed, Err(EngineError::Unavailable { .. })), "{name}: {failed:?}");
        for number in 0..3 {
            fault(world.disk(number).faults(), false);
        }
        assert!(world.get("key").await.unwrap() == old, "{name}");
        assert_eq!(world.engine.shared().writer.running(), 0);
    }
}

#[tokio::test]
async fn when_all_disks_are_full_the_reason_is_said_and_small_objects_go_on() {
    let world = World::new(6).await;
    for number in 0..6 {
        world.disk(number).faults().full(true);
    }
    let refused = world.put("key", &bytes_of(STRIPE, 12)).await;
    assert!(matches!(refused, Err(EngineError::NoSpace { .. })), "{refused:?}");
    world.put("key", &bytes_of(100, 13)).await.unwrap();
    assert!(world.get("key").await.unwrap() == bytes_of(100, 13));
}

/// Six of seven groups have a given disk in them.
#[tokio::test]
async fn a_disk_that_is_almost_full_gets_few_segments() {
    let world = World::new(7).await;
    let nearly_full = world.disk(0).id();
    world.disk(0).faults().taken((1 << 40) / 16 * 15);
    let shared = world.engine.shared();
    // As their watch would within a quarter of a second.
    let _disks = shared.disks.all();
    let want = Want::new(shared.server_profile().unwrap(), false);
    let draws = (0..1000).map(|_| shared.draw_group(want, &[]).unwrap());
    let on_it = draws.filter(|group| group.slots.contains(&nearly_full)).count();
    // 6/16 of 6/16 + 1.
    assert!((180..380).contains(&on_it), "{on_it} of 1000 segments");
}

#[tokio::test]
async fn one_failed_disk_is_recorded_as_missing_and_two_are_lifted_away() {
    let bytes = bytes_of(SEGMENT, 7);
    for (count, missing) in [(1, 1), (2, 0)] {
        let world = World::new(6).await;
        write_with_faults(&world, MemoryFaults::fail_writes, count, STRIPE, &bytes).await.unwrap();
        assert_eq!(world.meta.local().missing_count().unwrap(), missing);
        let row = world.open("key").await.unwrap().row().clone();
        let Body::Extents(extents) = row.body else { panic!("{:?}", row.body) };
        let group = world.engine.shared().map.load().pg(extents[0].pg).unwrap().clone();
        let bad: Vec<_> = (0..count).map(|number| world.disk(number).id()).collect();
        let lifted = group.slots.iter().all(|disk| !bad.contains(disk));
        assert_eq!(lifted, count == 2, "{group:?}");
        assert!(world.get("key").await.unwrap() == bytes);
    }
}

/// Raises the attach number of disks, as a restart of their node would.
async fn attach_again(world: &World, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let again = Command::AttachDisk {
            disk: world.disk(number).id(),
            node: world.options.node,
            folder: folder(number).to_string_lossy().into_owned(),
            was_mount: false,
            bytes_total: 1,
            replaces: None,
        };
        world.meta.propose(again).await.unwrap();
        let attach = world.meta.local().disks().unwrap().into_iter().find(|row| row.id == world.disk(number).id());
        world.disk(number).set_attach(attach.unwrap().attach).await.unwrap();
    }
}

#[tokio::test]
async fn every_segment_of_an_object_may_be_lifted() {
    let mut options = crate::testing::options(6);
    options.segment_bytes_max = 1 << 20;
    let world = World::with(options).await;
    let bytes = bytes_of(5 << 20, 14);
    let stored = world.store(world.target("key", Some(5 << 20)), &bytes).await.unwrap();
    attach_again(&world, 0..2).await;
    world.engine.commit_object(stored, world.commit("key")).await.unwrap();
    assert_eq!(world.meta.local().missing_count().unwrap(), 0, "all five were lifted");
    assert!(world.get("key").await.unwrap() == bytes);
}

#[tokio::test]
async fn a_disk_attached_again_before_the_commit_has_its_segment_lifted() {
    let world = World::new(6).await;
    let bytes = bytes_of(STRIPE, 8);
    let stored = world.store(world.target("key", Some(u64::try_from(STRIPE).unwrap())), &bytes).await.unwrap();
    attach_again(&world, 0..2).await;
    world.engine.commit_object(stored, world.commit("key")).await.unwrap();
    assert_eq!(world.meta.local().missing_count().unwrap(), 0, "the lifted segment is whole");
    assert!(world.get("key").await.unwrap() == bytes);
}

#[tokio::test]
async fn an_abandoned_write_is_never_seen_and_is_handed_to_the_reaper() {
    let world = World::new(6).await;
    let bytes = bytes_of(SEGMENT + STRIPE, 9);
    let length = Some(u64::try_from(bytes.len()).unwrap());
    let mut writer = world.engine.begin_write(world.target("dropped", length)).await.unwrap();
    writer.write(bytes.slice(..SEGMENT + UNIT)).await.unwrap();
    assert!(world.engine.shared().writer.running() > 0);
    drop(writer);
    let stored = world.store(world.target("stored", length), &bytes).await.unwrap();
    let (_, watermark) = world.engine.shared().writer.watermark();
    drop(stored);
    world.engine.shared().writer.idle().await;
    let (_, raised) = world.engine.shared().writer.watermark();
    assert!(raised > watermark);
    assert_eq!(world.engine.shared().abandoned.take(100).len(), 4, "two segments of each");
    for key in ["dropped", "stored"] {
        assert!(matches!(world.open(key).await, Err(EngineError::NoSuchObject)));
    }
}

#[tokio::test]
async fn preconditions_are_checked_by_the_commit() {
    let world = World::new(6).await;
    for length in [10, STRIPE] {
        let key = format!("key-{length}");
        let bytes = bytes_of(length, 10);
        let put = async |preconditions: Preconditions| {
            let stored = world.store(world.target(&key, None), &bytes).await.unwrap();
            world.engine.commit_object(stored, crate::ObjectCommit { preconditions, ..world.commit(&key) }).await
        };
        let absent = || Preconditions { absent: true, etags: None };
        let matches = |etag: &str| Preconditions { absent: false, etags: Some(vec![etag.to_owned()]) };
        assert!(matches!(put(matches("etag")).await, Err(EngineError::NoSuchObject)));
        put(absent()).await.unwrap();
        assert!(matches!(put(absent()).await, Err(EngineError::PreconditionFailed)));
        assert!(matches!(put(matches("other")).await, Err(EngineError::PreconditionFailed)));
        put(matches("etag")).await.unwrap();
    }
    let objects = world.engine.bucket("bucket").await.unwrap().objects;
    assert_eq!(objects, 2);
}

#[tokio::test]
async fn an_object_of_more_segments_than_a_row_lists_becomes_an_upload_by_itself() {
    let mut options = crate::testing::options(6);
    options.extents_max = 3;
    options.segment_bytes_max = 1 << 20;
    let world = World::with(options).await;
    let bytes = bytes_of((8 << 20) + 5, 11);
    world.put("key", &bytes).await.unwrap();
    let reader = world.open("key").await.unwrap();
    let Body::Parts { parts, .. } = &reader.row().body else { panic!("{:?}", reader.row().body) };
    assert_eq!(parts.len(), 3);
    assert_eq!((reader.row().bytes, reader.row().etag.as_str()), ((8 << 20) + 5, "etag"));
    assert!(world.get("key").await.unwrap() == bytes);
    let bucket = world.engine.bucket("bucket").await.unwrap();
    assert_eq!((bucket.bytes, bucket.upload_bytes, bucket.uploads), ((8 << 20) + 5, 0, 0));

    world.engine.set_bucket_quota("bucket", Some(10 << 20)).await.unwrap();
    assert!(matches!(world.put("other", &bytes).await, Err(EngineError::QuotaExceeded { .. })));
    let bucket = world.engine.bucket("bucket").await.unwrap();
    assert_eq!((bucket.bytes, bucket.upload_bytes, bucket.uploads), ((8 << 20) + 5, 0, 0), "the upload was aborted");
}
