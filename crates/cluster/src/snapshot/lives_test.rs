//! Snapshots over the lives of the metadata: what of an earlier life stays listed, what is given up, and bad lists.

use std::time::Duration;

use cairn_proto::Index;
use cairn_shard_store::{DiskState, ShardStore};

use crate::error::EngineError;
use crate::snapshot::RecoveryList;
use crate::testing::test_key;
use crate::upkeep::testing::{Content, World, folder};

const OBJECT: usize = 300_000;

/// What a disk lists: life and index, oldest first.
async fn listed(world: &World, disk: usize) -> Vec<(u64, Index)> {
    let list = world.disk(disk).recovery_list().await.unwrap();
    let list = list.map_or_else(RecoveryList::default, |bytes| RecoveryList::decode(&bytes).unwrap());
    list.snapshots.iter().map(|entry| (entry.life, entry.snapshot)).collect()
}

/// Reads the listed snapshot of an index.
async fn read_back(world: &World, index: Index) -> Result<usize, EngineError> {
    let disks = world.recovery_disks();
    let (_, found) = disks.snapshots().await;
    let found = found.iter().find(|found| found.index() == index).expect("it is listed");
    let mut bytes = 0;
    let mut take = |piece: &[u8]| {
        bytes += piece.len();
        Ok(())
    };
    disks.read_snapshot(found, &test_key(), &mut take).await?;
    Ok(bytes)
}

async fn write(world: &World) -> Index {
    world.engine.write_snapshot().await.unwrap().snapshot
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_an_earlier_life_stay_until_newer_ones_push_them_out() {
    let first = World::new(6).await;
    first.put("kept", OBJECT).await;
    let old = [write(&first).await, write(&first).await, write(&first).await];
    first.put("newer", OBJECT).await;
    let world = first.recovered().await;
    world.settle().await;
    for index in old {
        assert!(read_back(&world, index).await.unwrap() > 0);
    }
    let one = write(&world).await;
    let kept = vec![(0, old[1]), (0, old[2]), (1, one)];
    for disk in 0..6 {
        assert_eq!(listed(&world, disk).await, kept, "disk {disk}");
    }
    // Nothing of what is listed goes, whatever upkeep does.
    world.settle().await;
    world.inventories().await;
    for (_, index) in kept {
        assert!(read_back(&world, index).await.unwrap() > 0, "{index}");
    }
    let two = write(&world).await;
    assert_eq!(listed(&world, 0).await, [(0, old[2]), (1, one), (1, two)]);
    assert!(read_back(&world, old[2]).await.unwrap() > 0, "the one that was recovered");
    let three = write(&world).await;
    assert_eq!(listed(&world, 0).await, [(1, one), (1, two), (1, three)]);
    let view = world.engine.meta().read().await.unwrap();
    assert_eq!(view.earlier_snapshots().unwrap(), []);
    world.settle().await;
    world.check("kept", OBJECT).await;
    assert_eq!(world.missing().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_goes_at_once_and_off_the_lists() {
    let first = World::new(6).await;
    first.put("kept", OBJECT).await;
    let recovered = write(&first).await;
    first.put("newer", OBJECT).await;
    let world = first.recovered().await;
    world.settle().await;
    world.inventories().await;
    let status = world.engine.status().await.unwrap();
    assert_eq!((status.life, status.forgotten_shards), (1, 6), "of one object, and none of the snapshot's");
    assert_eq!(status.snapshot_age, None, "nobody has looked at the lists");
    world.up.snapshots_step().await.unwrap();
    let status = world.engine.status().await.unwrap();
    assert!(status.snapshot_is_earlier && status.snapshot_age.is_some_and(|age| age > Duration::from_secs(900)));

    let own = write(&world).await;
    assert!(!world.engine.status().await.unwrap().snapshot_is_earlier);
    assert_eq!(listed(&world, 3).await, [(0, recovered), (1, own)]);
    let shards = world.shards();
    world.engine.drop_forgotten().await.unwrap();
    assert_eq!(listed(&world, 3).await, [(1, own)]);
    assert_eq!(world.engine.status().await.unwrap().forgotten_shards, 0);
    // The object's six, and those of the snapshot that was recovered.
    world.inventories().await;
    assert!(world.shards() <= shards - 12, "{} of {shards} shards are left", world.shards());
    world.settle().await;
    world.check("kept", OBJECT).await;
    world.assert_clean().await;
}

#[tokio::test]
async fn lists_are_kept_up_with_snapshots_switched_off() {
    let world = World::new(3).await;
    let snapshot = write(&world).await;
    world.up.snapshots_step().await.unwrap();
    world.disk(1).close().await;
    world.opener.put(&folder(1), Content::Empty);
    world.settle().await;
    assert_eq!(listed(&world, 1).await, []);
    world.up.snapshots_step().await.unwrap();
    assert_eq!(listed(&world, 1).await, [(0, snapshot)]);
    // The new disk holds what the other two do: by the lists any two of three are enough.
    world.disk(0).faults().gone(true);
    assert!(read_back(&world, snapshot).await.unwrap() > 0);
}

#[tokio::test]
async fn a_snapshot_that_fails_is_not_tried_again_at_every_step() {
    let world = World::with(3, |options| options.snapshot_every = Some(Duration::from_secs(3600))).await;
    let count = async || world.engine.meta().read().await.unwrap().snapshots().unwrap().len();
    world.up.snapshots_step().await.unwrap();
    for number in 0..3 {
        world.disk(number).faults().fail_writes(true);
    }
    world.up.snapshots_step().await.unwrap();
    for number in 0..3 {
        world.disk(number).faults().fail_writes(false);
    }
    let serves = |disk: &crate::DiskEntry| disk.status.state == DiskState::Serving;
    assert!(world.engine.shared().disks.all().iter().all(serves));
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.up.snapshots_step().await.unwrap();
    assert_eq!(count().await, 0, "it rests after a failure");
    // A disk that comes back may help.
    world.up.disks_came();
    world.up.snapshots_step().await.unwrap();
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn lists_that_cannot_be_read_and_segments_that_are_gone_are_told() {
    let world = World::new(3).await;
    world.put("object", OBJECT).await;
    let snapshot = write(&world).await;
    let disks = world.recovery_disks();
    assert_eq!(disks.unreadable_lists().await, []);
    world.disk(2).set_recovery_list(b"rubbish".to_vec().into()).await.unwrap();
    let unreadable = disks.unreadable_lists().await;
    assert!(unreadable.len() == 1 && unreadable[0].0 == world.disk(2).id(), "{unreadable:?}");
    assert_eq!(disks.snapshots().await.1.len(), 1, "the others are read");
    // The segments of the snapshot on two of three disks.
    for number in [0, 1] {
        let disk = world.disk(number);
        for key in world.keys_on(&disk).await {
            disk.remove_shard(key);
        }
    }
    let error = read_back(&world, snapshot).await.unwrap_err().to_string();
    assert!(error.contains("1 shards are left, 2 are needed"), "{error}");
}
