//! Upkeep over memory disks, step by step: what is lost comes back, what is dead goes, and nothing waits for a bad disk.

use std::sync::Arc;
use std::time::Duration;

use cairn_erasure::ErasureProfile;
use cairn_meta::MetaError;
use cairn_proto::{Index, Slot};
use cairn_shard_store::{DeleteOrder, DeleteReason, ShardStore};

use super::plan_inventory::WantedShard;
use super::repair::RepairState;
use super::testing::{Content, World, check_reader, folder};
use super::{Pace, run};
use crate::ops::{EngineStatus, ShortReport};
use crate::options::ProfileChoice;
use crate::write::WriteKind;

const OBJECT: usize = 2_500_000;

#[tokio::test]
async fn two_wiped_disks_are_rebuilt() {
    let world = World::new(6).await;
    for key in ["a", "b", "c"] {
        world.put(key, OBJECT).await;
    }
    world.settle().await;
    let shards = world.shards();
    for number in [1, 4] {
        world.disk(number).close().await;
        world.opener.put(&folder(number), Content::Empty);
    }
    world.up.folders_step().await.unwrap();
    for key in ["a", "b", "c"] {
        world.check(key, OBJECT).await;
    }
    world.inventories().await;
    assert!(world.missing().await > 0);
    assert!(world.engine.check(false).await.unwrap().short.count > 0);
    world.settle().await;
    assert_eq!(world.missing().await, 0);
    assert_eq!(world.shards(), shards);
    world.assert_clean().await;
    // Two others may be lost now.
    for number in [0, 2] {
        world.disk(number).faults().gone(true);
    }
    for key in ["a", "b", "c"] {
        world.check(key, OBJECT).await;
    }
}

#[tokio::test]
async fn a_disk_that_was_away_loses_what_died_and_gets_what_it_missed() {
    let world = World::new(6).await;
    for key in ["stays", "dies", "changes"] {
        world.put(key, OBJECT).await;
    }
    world.settle().await;
    let away = world.disk(3);
    let stale = world.keys_on(&away).await;
    away.close().await;
    world.opener.put(&folder(3), Content::Missing);
    world.settle().await;
    assert_eq!(world.engine.shared().disks.all().len(), 5);
    world.delete("dies").await;
    world.put("changes", OBJECT).await;
    world.put("new", OBJECT).await;
    world.settle().await;
    assert_eq!(world.garbage_rows().await, 0, "a disk that is away does not hold garbage up");
    // Lost while it was away: inventory finds that too.
    let lost = *stale.last().unwrap();
    world.opener.put(&folder(3), Content::Disk(away.clone()));
    assert!(stale.len() > 1);
    away.remove_shard(lost);
    world.settle().await;
    for key in ["stays", "changes", "new"] {
        world.check(key, OBJECT).await;
    }
    assert_eq!(world.missing().await, 0);
    world.assert_clean().await;
}

#[tokio::test]
async fn disks_that_changed_places_are_known_by_their_id() {
    let world = World::new(4).await;
    world.put("a", OBJECT).await;
    world.settle().await;
    let (first, second) = (world.disk(0), world.disk(1));
    first.close().await;
    second.close().await;
    world.opener.put(&folder(0), Content::Disk(second.clone()));
    world.opener.put(&folder(1), Content::Disk(first.clone()));
    world.settle().await;
    let disks = world.engine.shared().disks.all();
    assert_eq!(disks.iter().find(|disk| disk.id == first.id()).unwrap().folder, folder(1));
    assert_eq!(world.missing().await, 0);
    world.assert_clean().await;
}

#[tokio::test]
async fn a_disk_that_moved_is_not_taken_for_lost() {
    let world = World::new(4).await;
    world.put("a", OBJECT).await;
    world.settle().await;
    let (moved, lost) = (world.disk(0), world.disk(1));
    moved.close().await;
    lost.close().await;
    world.opener.put(&folder(0), Content::Empty);
    world.opener.put(&folder(1), Content::Disk(moved.clone()));
    world.settle().await;
    let map = world.engine.shared().map.load();
    assert_eq!(map.disks[&moved.id()].replaced_by, None);
    assert_eq!(world.engine.shared().disks.all().len(), 4);
    world.check("a", OBJECT).await;
}

#[tokio::test]
async fn garbage_goes_when_its_reader_is_done_and_not_before() {
    let world = World::new(6).await;
    world.put("a", OBJECT).await;
    world.put("b", OBJECT).await;
    world.settle().await;
    let shards = world.shards();
    let reader = world.open("a").await;
    world.delete("a").await;
    world.settle().await;
    assert_eq!((world.garbage_rows().await, world.shards()), (1, shards));
    check_reader(reader, "a", OBJECT).await;
    world.settle().await;
    assert_eq!((world.garbage_rows().await, world.shards()), (0, shards / 2));
    world.check("b", OBJECT).await;
    world.assert_clean().await;
}

#[tokio::test]
async fn an_abandoned_write_is_cleaned_up() {
    let world = World::new(6).await;
    world.put("kept", OBJECT).await;
    world.settle().await;
    let shards = world.shards();
    drop(world.begin(WriteKind::Object, "gone", OBJECT).await.finish().await.unwrap());
    assert!(world.shards() > shards);
    world.settle().await;
    assert_eq!(world.shards(), shards);
    world.check("kept", OBJECT).await;
    world.assert_clean().await;
}

#[tokio::test]
async fn a_hung_disk_does_not_hold_up_repair_of_the_others() {
    let world = World::new(6).await;
    for key in ["a", "b"] {
        world.put(key, OBJECT).await;
    }
    world.settle().await;
    let hurt = world.disk(2);
    let keys = world.keys_on(&hurt).await;
    assert!(!keys.is_empty());
    let mut wanted = Vec::new();
    for key in &keys {
        let pg = hurt.header(*key).await.unwrap().unwrap().pg;
        wanted.push(WantedShard { pg, segment: key.segment, slot: key.slot });
        assert!(hurt.remove_shard(*key));
    }
    assert_eq!(world.up.report_missing(hurt.id(), wanted).await.unwrap(), keys.len());
    world.disk(5).faults().hang(true);
    world.repair().await;
    assert_eq!(world.missing().await, 0);
    assert_eq!(world.keys_on(&hurt).await, keys);
    // The garbage goes too; what the hung disk still holds goes by its inventory.
    world.delete("b").await;
    world.reap().await;
    assert_eq!(world.garbage_rows().await, 0);
    world.disk(5).faults().hang(false);
    world.check("a", OBJECT).await;
}

#[tokio::test]
async fn a_disk_that_fails_every_write_keeps_only_its_own_shards_waiting() {
    let world = World::new(6).await;
    world.put("a", OBJECT).await;
    world.settle().await;
    let (good, bad) = (world.disk(0), world.disk(1));
    let mut reports = 0;
    for disk in [&good, &bad] {
        let mut wanted = Vec::new();
        for key in world.keys_on(disk).await {
            let pg = disk.header(key).await.unwrap().unwrap().pg;
            wanted.push(WantedShard { pg, segment: key.segment, slot: key.slot });
            disk.remove_shard(key);
        }
        reports += world.up.report_missing(disk.id(), wanted).await.unwrap();
    }
    bad.faults().fail_writes(true);
    world.repair().await;
    let left = world.missing().await;
    assert!(left > 0 && left < u64::try_from(reports).unwrap());
    assert_eq!(good.status().shards, u64::try_from(reports).unwrap() - left);
    bad.faults().fail_writes(false);
    world.up.heartbeat_step().await.unwrap();
    world.up.repair.rests.wake_all();
    world.repair().await;
    assert_eq!(world.missing().await, 0);
    world.assert_clean().await;
}

#[tokio::test]
async fn a_segment_that_dies_while_it_is_repaired_is_no_failure_of_its_disk() {
    let world = World::new(6).await;
    world.put("a", OBJECT).await;
    world.settle().await;
    let disk = world.disk(2);
    let key = world.keys_on(&disk).await[0];
    let pg = disk.header(key).await.unwrap().unwrap().pg;
    // As if the order came between the repair's look at the rows and its last unit.
    disk.delete(&[key], DeleteOrder { index: Index(u64::MAX), reason: DeleteReason::Dead }).await.unwrap();
    let wanted = vec![WantedShard { pg, segment: key.segment, slot: key.slot }];
    assert_eq!(world.up.report_missing(disk.id(), wanted).await.unwrap(), 1);
    world.up.repair_step().await.unwrap();
    assert!(disk.header(key).await.unwrap().is_none(), "it does not come back");
    assert_eq!(world.engine.shared().disks.failures(disk.id()), 0);
}

#[tokio::test]
async fn a_flipped_bit_is_found_by_scrub_and_repaired() {
    let world = World::new(6).await;
    world.put("a", OBJECT).await;
    world.settle().await;
    let disk = world.disk(0);
    let key = world.keys_on(&disk).await[0];
    assert!(disk.corrupt_unit(key, 0));
    assert_eq!(world.engine.check(false).await.unwrap().damaged.count, 0);
    let report = world.engine.check(true).await.unwrap();
    assert_eq!((report.damaged.count, report.lost.count), (1, 0), "{report}");
    assert_eq!(world.up.scrub_all(disk.id()).await.unwrap(), 1);
    assert_eq!(world.missing().await, 1);
    world.repair().await;
    assert_eq!(world.missing().await, 0);
    assert!(disk.scrub(key).await.unwrap().is_empty());
    world.assert_clean().await;
}

/// The work list is in the order of groups, and the endangered segment is its last.
#[tokio::test]
async fn what_lacks_two_shards_goes_before_all_that_lacks_one() {
    let mut world = World::new(6).await;
    world.up.repair = RepairState::with_window(4);
    for number in 0..12 {
        world.put(&number.to_string(), 300_000).await;
    }
    world.settle().await;
    let map = world.engine.shared().map.load();
    let segments = world.engine.read_rows({
        let pgs: Vec<_> = map.pgs.keys().copied().collect();
        move |view| {
            let of =
                |pg| Ok(view.segments(pg, None, 100)?.into_iter().map(move |(id, _)| (pg, id)).collect::<Vec<_>>());
            pgs.iter().map(|pg| of(*pg)).collect::<Result<Vec<_>, MetaError>>()
        }
    });
    let segments = segments.await.unwrap().concat();
    assert_eq!(segments.len(), 12);
    let endangered = *segments.last().unwrap();
    for (pg, segment) in &segments {
        let slots = if (*pg, *segment) == endangered { 0..2 } else { 0..1 };
        for slot in slots.map(Slot) {
            let disk = map.disk_of(*pg, slot).unwrap();
            let wanted = WantedShard { pg: *pg, segment: *segment, slot };
            assert_eq!(world.up.report_missing(disk, vec![wanted]).await.unwrap(), 1);
        }
    }
    let mut steps = 0;
    while world.missing().await == 13 {
        world.up.repair_step().await.unwrap();
        steps += 1;
        assert!(steps < 20, "nothing is repaired");
    }
    let (pg, id) = endangered;
    let row = world.engine.read_rows(move |view| view.segment(pg, id)).await.unwrap().unwrap();
    assert_eq!((row.missing.len(), world.missing().await), (0, 11), "another one came before it");
    world.repair().await;
    assert_eq!(world.missing().await, 0);
    world.assert_clean().await;
}

#[tokio::test]
async fn what_a_reader_could_not_use_is_repaired() {
    let world = World::new(6).await;
    world.put("a", OBJECT).await;
    world.settle().await;
    let mut hurt = Vec::new();
    for number in 0..6 {
        let disk = world.disk(number);
        // At most two bad units of a stripe.
        let keys = world.keys_on(&disk).await;
        let key = keys.into_iter().find(|key| key.slot.0 == 1);
        if let Some(key) = key {
            assert!(disk.lose_unit(key, 0));
            hurt.push((disk, key));
        }
    }
    assert!(!hurt.is_empty());
    world.check("a", OBJECT).await;
    world.repair().await;
    for (disk, key) in hurt {
        assert!(disk.scrub(key).await.unwrap().is_empty());
    }
    world.assert_clean().await;
}

#[tokio::test]
async fn thousands_of_held_versions_do_not_stop_the_rest() {
    const HELD: usize = 2000;
    // Every read is an old one, which is held by name.
    let world = World::with(1, |options| options.pin_by_index_within = Duration::ZERO).await;
    let mut readers = Vec::with_capacity(HELD);
    for number in 0..HELD {
        let key = format!("held-{number}");
        world.put(&key, 17_000).await;
        readers.push(world.open(&key).await);
    }
    for number in 0..HELD {
        world.delete(&format!("held-{number}")).await;
    }
    world.put("free", 17_000).await;
    world.delete("free").await;
    world.reap().await;
    assert_eq!(world.garbage_rows().await, u64::try_from(HELD).unwrap());
    assert_eq!(world.shards(), u64::try_from(HELD).unwrap());
    drop(readers);
    world.reap().await;
    assert_eq!((world.garbage_rows().await, world.shards()), (0, 0));
}

#[tokio::test]
async fn what_is_lost_is_said() {
    let world = World::new(3).await;
    world.put("a", 100_000).await;
    world.settle().await;
    let key = world.keys_on(&world.disk(0)).await[0];
    for number in [0, 1] {
        let disk = world.disk(number);
        for key in world.keys_on(&disk).await {
            disk.remove_shard(key);
        }
    }
    let report = world.engine.check(false).await.unwrap();
    assert_eq!(report.lost.count, 1, "{report}");
    assert!(report.lost.examples[0].contains(&key.segment.to_string()) && report.lost.examples[0].contains("object a"));
    assert!(!report.is_clean());
    // Repair does not turn what is lost into something else, nor does it go round in circles.
    world.settle().await;
    assert_eq!(world.engine.check(false).await.unwrap().lost.count, 1);
}

#[tokio::test]
async fn what_is_lost_for_good_does_not_pass_for_waiting() {
    let world = World::new(3).await;
    world.put("a", 100_000).await;
    world.settle().await;
    let lost = |status: EngineStatus| (status.lost_segments, status.missing_shards - status.lost_shards);
    // Two of three disks away: they may come back with what they hold.
    for number in [0, 1] {
        world.disk(number).close().await;
        world.opener.put(&folder(number), Content::Missing);
    }
    world.settle().await;
    assert_eq!(world.engine.status().await.unwrap().lost_segments, 0);
    // Empty ones in their place: nobody has it.
    for number in [0, 1] {
        world.opener.put(&folder(number), Content::Empty);
    }
    world.settle().await;
    world.inventories().await;
    world.settle().await;
    assert_eq!(lost(world.engine.status().await.unwrap()), (1, 0));
    // Once the object is deleted nothing is lost any more.
    world.delete("a").await;
    world.settle().await;
    assert_eq!(lost(world.engine.status().await.unwrap()), (0, 0));
    assert_eq!(world.missing().await, 0);
}

/// Another disk that is away, and cannot make up for what is gone, does not turn a loss into waiting.
#[tokio::test]
async fn what_is_lost_is_lost_beside_a_disk_that_is_away() {
    let world = World::new(6).await;
    world.put("a", 100_000).await;
    world.settle().await;
    for number in 0..4 {
        world.disk(number).close().await;
        world.opener.put(&folder(number), if number < 3 { Content::Empty } else { Content::Missing });
    }
    world.settle().await;
    world.inventories().await;
    world.settle().await;
    let status = world.engine.status().await.unwrap();
    assert_eq!((status.lost_segments, status.missing_shards - status.lost_shards), (1, 0));
    assert_eq!((status.short.away_shards, status.short.away_disks, status.short.unreadable), (0, 0, 0));
    // A second object, of which only as much is away as can come back.
    world.put("b", 100_000).await;
    world.disk(4).close().await;
    world.opener.put(&folder(4), Content::Missing);
    world.settle().await;
    assert_eq!(world.engine.status().await.unwrap().lost_segments, 1);
}

#[tokio::test]
async fn what_disks_that_are_away_hold_is_short_of_redundancy() {
    let world = World::new(6).await;
    for key in ["a", "b", "c"] {
        world.put(key, 100_000).await;
    }
    world.settle().await;
    assert_eq!(world.engine.status().await.unwrap().short, ShortReport::default());
    let away = |number| {
        let (world, disk) = (&world, world.disk(number));
        async move {
            disk.close().await;
            world.opener.put(&folder(number), Content::Missing);
            world.settle().await;
            world.engine.status().await.unwrap().short
        }
    };
    away(0).await;
    let two = away(1).await;
    assert_eq!((two.segments, two.unreadable, two.away_shards, two.away_disks), (3, 0, 6, 2));
    let three = away(2).await;
    assert_eq!((three.segments, three.unreadable, three.away_shards, three.away_disks), (0, 3, 9, 3));
    assert!(!three.at_least);
    assert_eq!(world.missing().await, 0, "no row says that anything is missing");
    // What a disk that serves lacks is counted too, once.
    let (disk, key) = (world.disk(3), world.keys_on(&world.disk(3)).await[0]);
    let pg = disk.header(key).await.unwrap().unwrap().pg;
    disk.remove_shard(key);
    let wanted = vec![WantedShard { pg, segment: key.segment, slot: key.slot }];
    assert_eq!(world.up.report_missing(disk.id(), wanted).await.unwrap(), 1);
    let short = world.engine.status().await.unwrap().short;
    assert_eq!((short.segments, short.unreadable, short.away_shards), (0, 3, 9));
}

/// Two segments lack one shard each, and of one of them a disk that is away holds another.
#[tokio::test]
async fn what_disks_that_are_away_hold_counts_for_the_order_of_repair() {
    let mut world =
        World::with(7, |options| options.profile = ProfileChoice::Fixed(ErasureProfile::new(4, 2).unwrap())).await;
    world.up.repair = RepairState::with_window(4);
    for number in 0..40 {
        world.put(&number.to_string(), 300_000).await;
    }
    world.settle().await;
    let map = world.engine.shared().map.load();
    let away = world.disk(6);
    away.close().await;
    world.opener.put(&folder(6), Content::Missing);
    world.up.folders_step().await.unwrap();
    let (mut endangered, mut others) = (0, 0);
    for group in map.pgs.values() {
        let pg = group.id;
        let segments = world.engine.read_rows(move |view| view.segments(pg, None, 100)).await.unwrap();
        let slot = group.slots.iter().position(|disk| *disk != away.id()).unwrap();
        let (slot, disk) = (Slot(u8::try_from(slot).unwrap()), group.slots[slot]);
        for (segment, _) in segments {
            let wanted = WantedShard { pg, segment, slot };
            assert_eq!(world.up.report_missing(disk, vec![wanted]).await.unwrap(), 1);
            let count = if group.slots.contains(&away.id()) { &mut endangered } else { &mut others };
            *count += 1;
        }
    }
    assert!(endangered > 0 && others > 0, "{endangered} endangered, {others} others");
    let mut steps = 0;
    while world.missing().await > others {
        world.up.repair_step().await.unwrap();
        steps += 1;
        assert!(steps < 200, "nothing is repaired");
    }
    let (missing, map) = (world.engine.read_rows(|view| view.missing(None, 100)).await.unwrap(), &map);
    let left = missing.iter().filter(|(pg, _, _)| map.pgs[pg].slots.contains(&away.id())).count();
    assert_eq!(left, 0, "what has no redundancy left waits behind what has");
}

#[tokio::test]
async fn a_replaced_disk_that_comes_back_gives_up_what_is_whole_elsewhere() {
    let world = World::new(7).await;
    world.put("a", OBJECT).await;
    world.settle().await;
    let (old, other) = (world.disk(0), world.disk(6));
    assert!(old.status().shards > 0);
    old.close().await;
    world.opener.put(&folder(0), Content::Empty);
    // Back before the replacement is whole: nothing of it is deleted.
    world.up.folders_step().await.unwrap();
    let replaced = world.engine.shared().map.load().disks[&old.id()].replaced_by;
    assert_eq!(replaced, Some(world.disk(0).id()));
    other.close().await;
    world.opener.put(&folder(6), Content::Disk(old.clone()));
    world.up.folders_step().await.unwrap();
    let shards = old.status().shards;
    while world.up.inventory_step(old.id()).await.unwrap() != world.up.idle() {}
    assert_eq!(old.status().shards, shards);
    world.check("a", OBJECT).await;
    // Whole there: an inventory of the old disk deletes its own.
    world.inventories().await;
    world.repair().await;
    old.close().await;
    world.settle().await;
    assert_eq!(old.status().shards, 0);
    world.check("a", OBJECT).await;
}

#[tokio::test]
async fn a_disk_that_opens_slowly_is_opened_once_and_taken_when_it_is_open() {
    let world = World::with(6, |options| options.open_within = Duration::from_millis(20)).await;
    world.put("a", OBJECT).await;
    world.settle().await;
    let away = world.disk(3);
    away.close().await;
    world.opener.put(&folder(3), Content::Missing);
    world.up.folders_step().await.unwrap();
    let disks = || world.engine.shared().disks.all().len();
    assert_eq!(disks(), 5);
    world.opener.put(&folder(3), Content::Disk(away.clone()));
    world.opener.slow(true);
    let opens = world.opener.opens();
    for _ in 0..3 {
        world.up.folders_step().await.unwrap();
    }
    assert_eq!((disks(), world.opener.opens()), (5, opens + 1), "no second attempt beside the first");
    world.opener.slow(false);
    let taken = async {
        while disks() < 6 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken).await.unwrap();
    world.settle().await;
    assert_eq!(world.opener.opens(), opens + 1);
    assert!(world.engine.shared().disks.problems().is_empty());
    world.assert_clean().await;
}

/// On one async thread: a look that held it would stop the test.
#[tokio::test]
async fn a_folder_that_hangs_holds_one_thread_however_often_it_is_looked_at() {
    let world = World::with(6, |options| options.open_within = Duration::from_millis(20)).await;
    let away = world.disk(3);
    away.close().await;
    world.opener.hang(true);
    let looks = world.opener.looks();
    for _ in 0..5 {
        world.up.folders_step().await.unwrap();
    }
    assert_eq!(world.opener.looks(), looks + 1, "one look, which still goes on");
    assert_eq!(world.engine.shared().disks.all().len(), 5);
    assert!(world.engine.shared().disks.problems()[0].reason.contains("does not answer"));
    world.put("a", OBJECT).await;
    world.opener.hang(false);
    let back = async {
        while world.engine.shared().disks.all().len() < 6 {
            world.up.folders_step().await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.unwrap();
    assert!(world.engine.shared().disks.problems().is_empty());
    world.settle().await;
    world.assert_clean().await;
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing() {
    let world = World::new(6).await;
    let upload = world.upload("big", 7, 2_000_000, false).await;
    assert!(world.shards() > 0);
    world.engine.abort_upload(world.bucket, "big", upload).await.unwrap();
    world.settle().await;
    assert_eq!((world.garbage_rows().await, world.shards()), (0, 0));
    world.assert_clean().await;
}

#[tokio::test]
async fn what_a_former_life_left_is_cleaned_up() {
    let world = World::new(6).await;
    world.put("kept", 1_000_000).await;
    world.upload("large", 3, 2_000_000, true).await;
    let running = world.begin(WriteKind::Object, "running", 3_000_000).await;
    let next = world.next_life().await;
    let left = || async { next.up.look(|view| view.internal_uploads_of_closed_writers(10)).await.unwrap().len() };
    assert_eq!(left().await, 1);
    let shards = next.shards();
    next.settle().await;
    drop(running);
    next.settle().await;
    assert_eq!((left().await, next.garbage_rows().await, next.missing().await), (0, 0, 0));
    // The one segment of what was kept is all that is left.
    assert!(next.shards() == 6 && shards > 6, "{shards} shards before, {} now", next.shards());
    next.check("kept", 1_000_000).await;
    next.assert_clean().await;
}

#[tokio::test]
async fn a_busy_store_has_no_findings() {
    let world = World::new(6).await;
    for number in 0..8 {
        world.put(&format!("key-{number}"), 400_000).await;
    }
    let changes = async {
        for round in 0..6 {
            for number in 0..8 {
                world.put(&format!("key-{number}"), 300_000 + round).await;
            }
            world.delete(&format!("key-{round}")).await;
            drop(world.begin(WriteKind::Object, "abandoned", 300_000).await.finish().await.unwrap());
            world.reap().await;
        }
    };
    let checks = async {
        for _ in 0..10 {
            let report = world.engine.check(true).await.unwrap();
            assert!(
                report.short.count + report.lost.count + report.damaged.count + report.broken.count == 0,
                "{report}"
            );
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(changes, checks);
    world.settle().await;
    world.assert_clean().await;
}

#[tokio::test]
async fn scrub_steps_come_to_every_shard() {
    let world = World::new(6).await;
    world.put("a", OBJECT).await;
    world.settle().await;
    let disk = world.disk(0);
    for key in world.keys_on(&disk).await {
        assert!(disk.lose_unit(key, 0));
    }
    let bad = disk.status().shards;
    for _ in 0..4 * (bad + 2) {
        assert_ne!(world.up.scrub_step(disk.id()).await.unwrap(), Pace::End);
    }
    assert_eq!(world.missing().await, bad);
}

#[tokio::test]
async fn upkeep_runs_by_itself_and_stops() {
    let world = World::with(6, |options| options.upkeep_interval = Duration::from_millis(5)).await;
    world.put("a", OBJECT).await;
    let running = run::start(Arc::clone(world.engine.shared()));
    for number in [0, 3] {
        world.disk(number).close().await;
        world.opener.put(&folder(number), Content::Empty);
    }
    let whole = async {
        // Each look is a round of the metadata group, which lets the duties run.
        loop {
            let rows = world.engine.meta().read().await.unwrap().disks().unwrap();
            let standing = rows.iter().filter(|row| row.replaced_by.is_none());
            let listed = standing.filter(|row| row.inventory == Some(row.attach)).count();
            if rows.len() == 8 && listed == 6 && world.missing().await == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), whole).await.unwrap();
    running.stop().await;
    world.check("a", OBJECT).await;
    world.assert_clean().await;
}
