//! The start: which folders are taken, and what the store does with the others away.

use std::sync::Arc;

use bytes::Bytes;
use cairn_meta::{Command, MetaError};
use cairn_proto::{AttachNumber, Index, LogPosition, Slot};
use cairn_shard_store::{DeleteOrder, DeleteReason, ShardKey, ShardStore, WriteMode, conformance::Sample};

use crate::error::EngineError;
use crate::start::{behind, take_folder};
use crate::testing::{World, bytes_of, folder};
use crate::upkeep;

const LENGTH: usize = 1_300_000;

fn attach(world: &World, number: usize) -> AttachNumber {
    let id = world.disk(number).id();
    world.meta.local().disks().unwrap().into_iter().find(|row| row.id == id).unwrap().attach
}

#[tokio::test]
async fn each_start_raises_the_attach_number_on_both_sides() {
    let mut world = World::new(6).await;
    assert_eq!((attach(&world, 0), world.disk(0).attach()), (AttachNumber(1), AttachNumber(1)));
    let groups = world.engine.status().await.unwrap().groups[0].total;
    world.restart().await;
    assert_eq!((attach(&world, 0), world.disk(0).attach()), (AttachNumber(2), AttachNumber(2)));
    assert_eq!(world.meta.local().disks().unwrap().len(), 6);
    assert_eq!(world.engine.status().await.unwrap().groups[0].total, groups, "no groups are made twice");
}

/// Everything that shows that the metadata is a copy of before, each alone.
#[tokio::test]
async fn metadata_that_is_older_than_a_disk_is_refused() {
    let refused = async |world: &World, part: &str| match world.restart_refused().await {
        EngineError::MetaBehind { why } => assert!(why.contains(part) && why.contains("disk-2"), "{why}"),
        other => panic!("{other}"),
    };
    let world = World::new(6).await;
    world.disk(2).set_attach(AttachNumber(9)).await.unwrap();
    for _ in 0..2 {
        refused(&world, "has attach number 9, and the metadata knows of 1").await;
        // Attached under the older metadata, the others would be ahead of the right one for ever.
        assert_eq!((world.disk(0).attach(), attach(&world, 0)), (AttachNumber(1), AttachNumber(1)));
    }

    let mut world = World::new(6).await;
    world.disk(2).tell(world.meta.position()).await.unwrap();
    world.restart().await;
    world.disk(2).tell(LogPosition { index: Index(1_000_000), ..world.meta.position() }).await.unwrap();
    refused(&world, "was told of index 1000000 of term 1, but the metadata ends at ").await;

    let world = World::new(6).await;
    let order = DeleteOrder { index: Index(1_000_000), reason: DeleteReason::Dead };
    world.disk(2).delete(&[], order).await.unwrap();
    refused(&world, "heard of index 1000000").await;

    let mut world = World::new(6).await;
    world.put("key", &bytes_of(LENGTH, 62)).await.unwrap();
    world.restart().await;
    // Number 5 of writer 9.
    let unknown = Sample::new((9 << 32) + 5, 100_000);
    unknown.write(&world.disk(2), WriteMode::New).await.unwrap();
    refused(&world, "which the metadata has not given out yet").await;
}

/// Metadata that no disk was compared with may be a copy of before: what it acknowledged would be lost with it.
#[tokio::test]
async fn nothing_is_acknowledged_before_a_disk_was_seen() {
    let mut world = World::new(6).await;
    world.opener.set_mounts((0..6).map(folder).collect());
    world.restart().await;
    let inline = Bytes::from_static(b"inline");
    world.put("key", &inline).await.unwrap();
    let disks: Vec<_> = (0..6).map(|number| world.opener.take(&folder(number))).collect();
    world.opener.set_mounts(Vec::new());
    world.restart().await;
    let refused = world.put("other", &inline).await.unwrap_err();
    assert!(refused.to_string().contains("none of the store's disks has been seen since the start"), "{refused}");
    let remove = Command::RemoveIdentity { access_key: "none".to_owned() };
    assert!(matches!(world.engine.propose(remove).await, Err(MetaError::Unavailable { .. })));
    assert!(world.get("key").await.unwrap() == inline);
    world.opener.put(&folder(4), disks[4].clone());
    assert!(take_folder(world.engine.shared(), &folder(4)).await);
    world.put("other", &inline).await.unwrap();
}

/// The first that is back and knows nothing is not attached before the others were looked at: under a copy of before it
/// would be ahead of the right one.
#[tokio::test]
async fn disks_that_come_back_are_compared_before_any_is_attached() {
    let mut world = World::new(6).await;
    world.opener.set_mounts((0..6).map(folder).collect());
    world.restart().await;
    let disks: Vec<_> = (0..6).map(|number| world.opener.take(&folder(number))).collect();
    world.opener.set_mounts(Vec::new());
    world.restart().await;
    disks[5].reopen();
    disks[5].tell(LogPosition { index: Index(1_000_000), ..world.meta.position() }).await.unwrap();
    let told = disks[0].told();
    for number in [0, 5] {
        world.opener.put(&folder(number), disks[number].clone());
    }
    assert!(!upkeep::take_waiting(world.engine.shared()).await);
    assert_eq!((disks[0].attach(), disks[5].attach()), (AttachNumber(2), AttachNumber(2)));
    world.engine.shutdown().await;
    assert_eq!(disks[0].told(), told, "and is told nothing by it");
}

/// A disk that was not there at the start, or not open in time.
#[tokio::test]
async fn a_disk_that_comes_late_shows_it_too_and_none_is_taken_after_it() {
    let world = World::new(6).await;
    let shared = world.engine.shared();
    let late: Arc<dyn ShardStore> = Arc::new(world.disk(3));
    behind::check(shared, &folder(3), &late).await.unwrap();
    late.set_attach(AttachNumber(9)).await.unwrap();
    assert!(matches!(behind::check(shared, &folder(3), &late).await, Err(EngineError::MetaBehind { .. })));
    let why = tokio::time::timeout(std::time::Duration::from_secs(20), world.engine.behind()).await.unwrap();
    assert!(why.contains("disk-3"), "{why}");
    let other: Arc<dyn ShardStore> = Arc::new(world.disk(4));
    assert!(behind::check(shared, &folder(4), &other).await.is_err());
}

/// Metadata that gives ids out again in spite of all: what is there is not taken for what is written.
#[tokio::test]
async fn a_segment_id_that_is_taken_is_not_written_under() {
    let world = World::new(6).await;
    let bytes = bytes_of(LENGTH, 63);
    world.put("key", &bytes).await.unwrap();
    let next = world.engine.shared().writer.next_segment();
    for number in 0..6 {
        for slot in 0..6 {
            let mut taken = Sample::new(1, 100_000).header;
            taken.key = ShardKey { segment: next, slot: Slot(slot) };
            let sample = Sample::of(taken);
            sample.write(&world.disk(number), WriteMode::New).await.unwrap();
        }
    }
    // Lifted to other ids, or refused: never acknowledged over what lies there.
    match world.put("other", &bytes).await {
        Ok(_) => assert!(world.get("other").await.unwrap() == bytes),
        Err(error) => assert!(matches!(error, EngineError::Unavailable { .. }), "{error}"),
    }
    assert!(world.get("key").await.unwrap() == bytes);
}

#[tokio::test]
async fn an_emptied_folder_is_a_replacement_that_takes_the_slots() {
    let mut world = World::new(6).await;
    let bytes = bytes_of(LENGTH, 61);
    world.put("key", &bytes).await.unwrap();
    let old = world.opener.take(&folder(3)).id();
    world.restart().await;
    let new = world.disk(3).id();
    assert_ne!(old, new);
    let map = world.engine.shared().map.load();
    assert_eq!(map.disks[&old].replaced_by, Some(new));
    assert!(map.pgs.values().all(|group| group.slots.contains(&new) && !group.slots.contains(&old)));
    assert!(world.get("key").await.unwrap() == bytes);
    world.put("other", &bytes).await.unwrap();
    assert!(world.get("other").await.unwrap() == bytes);
}

#[tokio::test]
async fn a_replaced_disk_put_back_in_its_place_takes_the_slots_back() {
    let mut world = World::new(6).await;
    let bytes = bytes_of(LENGTH, 67);
    world.put("key", &bytes).await.unwrap();
    let old = world.opener.take(&folder(3));
    world.restart().await;
    let replacement = world.opener.take(&folder(3));
    world.opener.put(&folder(3), old.clone());
    world.restart().await;
    let map = world.engine.shared().map.load();
    assert_eq!(map.disks[&old.id()].replaced_by, None);
    assert_eq!(map.disks[&replacement.id()].replaced_by, Some(old.id()));
    let slots = || map.pgs.values().flat_map(|group| &group.slots);
    assert!(slots().any(|disk| *disk == old.id()) && slots().all(|disk| *disk != replacement.id()));
    assert_eq!(world.engine.status().await.unwrap().disks.len(), 6, "nothing is missed");
    assert!(world.get("key").await.unwrap() == bytes);
}

#[tokio::test]
async fn a_mount_that_is_missing_is_refused_until_it_is_back() {
    let mut world = World::new(6).await;
    world.opener.set_mounts((0..6).map(folder).collect());
    world.restart().await;
    let bytes = bytes_of(LENGTH, 62);
    world.put("key", &bytes).await.unwrap();
    let away = world.opener.take(&folder(2));
    world.opener.set_mounts([0, 1, 3, 4, 5].map(folder).to_vec());
    world.restart().await;
    let problems = world.engine.shared().disks.problems();
    assert_eq!((problems.len(), problems[0].disk), (1, Some(away.id())));
    assert!(problems[0].reason.contains("mount"), "{}", problems[0].reason);
    let status = world.engine.status().await.unwrap();
    assert_eq!(status.disks.iter().filter(|disk| disk.state == "left out").count(), 1);
    assert!(world.get("key").await.unwrap() == bytes);
    world.put("narrower", &bytes).await.unwrap();
    assert!(world.get("narrower").await.unwrap() == bytes);

    world.opener.put(&folder(2), away);
    world.opener.set_mounts((0..6).map(folder).collect());
    assert!(take_folder(world.engine.shared(), &folder(2)).await);
    assert!(world.engine.shared().disks.problems().is_empty());
    assert!(world.get("key").await.unwrap() == bytes);
}

#[tokio::test]
async fn a_copy_of_a_disk_is_refused() {
    let mut world = World::new(6).await;
    world.opener.put(&folder(1), world.disk(0));
    world.restart().await;
    let problems = world.engine.shared().disks.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].reason.contains("copy"), "{}", problems[0].reason);
}

#[tokio::test]
async fn with_two_disks_away_it_starts_and_writes_and_with_three_it_starts_and_says_so() {
    let mut world = World::new(6).await;
    let bytes = bytes_of(LENGTH, 63);
    world.put("key", &bytes).await.unwrap();
    world.opener.set_mounts((0..6).map(folder).collect());
    world.restart().await;
    let mut taken = Vec::new();
    for number in [0, 4] {
        taken.push(world.opener.take(&folder(number)));
    }
    world.opener.set_mounts([1, 2, 3, 5].map(folder).to_vec());
    world.restart().await;
    assert!(world.get("key").await.unwrap() == bytes);
    world.put("narrow", &bytes).await.unwrap();
    assert!(world.get("narrow").await.unwrap() == bytes);
    for number in [1, 2] {
        taken.push(world.opener.take(&folder(number)));
    }
    world.opener.set_mounts([3, 5].map(folder).to_vec());
    world.restart().await;
    let unread = world.get("key").await;
    assert!(matches!(unread, Err(EngineError::Unavailable { .. })), "{unread:?}");
    let refused = world.put("none", &bytes).await;
    assert!(matches!(refused, Err(EngineError::Unavailable { .. })), "{refused:?}");
    world.put("inline", &bytes_of(100, 64)).await.unwrap();
    assert!(!world.engine.status().await.unwrap().writable);
    assert_eq!(taken.len(), 4);
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_at_the_start_serves_reads() {
    let mut world = World::new(6).await;
    let bytes = bytes_of(LENGTH, 65);
    world.put("key", &bytes).await.unwrap();
    for number in [1, 3] {
        world.disk(number).faults().fail_writes(true);
    }
    world.restart().await;
    assert_eq!(world.engine.shared().disks.all().len(), 6);
    for number in [0, 2] {
        world.disk(number).faults().gone(true);
    }
    assert!(world.get("key").await.unwrap() == bytes);
}

#[tokio::test]
async fn after_shutdown_nothing_is_written() {
    let world = World::new(6).await;
    world.engine.shutdown().await;
    let refused = world.put("key", &bytes_of(10, 66)).await;
    assert!(matches!(refused, Err(EngineError::Shutdown)), "{refused:?}");
    assert!(world.put("key", &bytes_of(LENGTH, 66)).await.is_err());
    assert!(world.meta.local().writers().unwrap().iter().all(|row| row.closed));
}
