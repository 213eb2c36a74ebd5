//! Disks, placement groups and plans of an old epoch.

use cairn_proto::{AttachNumber, DiskId, Epoch, NodeId, PgId, Slot};

use super::testing::{MIB, PROFILE, World, refusal};
use crate::command::{Command, Refusal, Reply};

#[test]
fn groups_need_different_known_disks_in_service() {
    let (mut world, _) = World::ready();
    let mut create = |disks: &[u128]| {
        let groups = vec![disks.iter().copied().map(DiskId).collect()];
        world.run(Command::CreatePgs { profile: PROFILE, groups })
    };
    assert!(matches!(refusal(create(&[1, 2])), Refusal::Invalid(_)));
    assert!(matches!(refusal(create(&[1, 2, 2])), Refusal::Invalid(_)));
    assert!(matches!(refusal(create(&[1, 2, 9])), Refusal::Unknown(_)));
    assert_eq!(create(&[2, 3, 4]), Ok(Reply::Pgs(vec![PgId(2)])));
}

#[test]
fn a_replacement_takes_all_slots_of_the_disk_that_is_gone() {
    let (mut world, _) = World::ready();
    let groups = vec![vec![DiskId(2), DiskId(3), DiskId(4)]];
    world.run(Command::CreatePgs { profile: PROFILE, groups }).unwrap();
    assert_eq!(world.attach(DiskId(5), Some(DiskId(3))), AttachNumber(1));
    let slots = |world: &World, pg| world.query().pg(PgId(pg)).unwrap().unwrap();
    assert_eq!(slots(&world, 1).slots, [1, 2, 5].map(DiskId));
    assert_eq!(slots(&world, 2).slots, [2, 5, 4].map(DiskId));
    assert_eq!((slots(&world, 1).epoch, slots(&world, 2).epoch), (Epoch(2), Epoch(2)));
    assert_eq!(world.query().disk(DiskId(3)).unwrap().unwrap().replaced_by, Some(DiskId(5)));

    let attach = |disk, node, replaces| Command::AttachDisk {
        disk: DiskId(disk),
        node: NodeId(node),
        folder: String::new(),
        was_mount: false,
        bytes_total: 0,
        replaces: Some(DiskId(replaces)),
    };
    assert!(matches!(refusal(world.run(attach(6, 1, 3))), Refusal::Invalid(_)), "replaced by another");
    assert!(matches!(refusal(world.run(attach(6, 2, 1))), Refusal::Invalid(_)), "another node's");
    assert!(matches!(refusal(world.run(attach(6, 1, 9))), Refusal::Unknown(_)));
    assert!(matches!(refusal(world.run(attach(4, 1, 2))), Refusal::Invalid(_)), "two slots on one disk");
    assert!(world.query().disk(DiskId(6)).unwrap().is_none());
    world.run(attach(5, 1, 3)).expect("asked for again");
}

#[test]
fn plans_of_an_old_epoch_are_refused() {
    let (mut world, bucket) = World::ready();
    let (_, extent) = world.put(bucket, "a", MIB);
    let pg = PgId(1);
    let move_slot = |epoch, slot, disk| Command::MoveSlot { pg, epoch: Epoch(epoch), slot: Slot(slot), disk };
    assert!(matches!(refusal(world.run(move_slot(1, 3, DiskId(4)))), Refusal::Unknown(_)));
    assert!(matches!(refusal(world.run(move_slot(1, 0, DiskId(2)))), Refusal::Invalid(_)));
    world.done(move_slot(1, 0, DiskId(4)));
    assert_eq!(world.run(move_slot(1, 0, DiskId(1))), Err(Refusal::StaleEpoch));

    let report = |epoch| Command::ReportMissing {
        pg,
        epoch: Epoch(epoch),
        slot: Slot(0),
        segments: vec![extent.segment, cairn_proto::SegmentId::default()],
    };
    assert_eq!(world.run(report(1)), Err(Refusal::StaleEpoch));
    world.done(report(2));
    world.done(report(2));
    assert_eq!(world.query().missing(None, 9).unwrap(), [(pg, extent.segment, Slot(0))]);
    let next = world.query().missing(Some((pg, extent.segment, Slot(0))), 9).unwrap();
    assert_eq!(next, []);

    assert_eq!(world.run(Command::RetirePg { pg, epoch: Epoch(1) }), Err(Refusal::StaleEpoch));
    world.done(Command::RetirePg { pg, epoch: Epoch(2) });
    assert!(world.query().pg(pg).unwrap().unwrap().retired);
    // With the segment goes what is missing of it.
    world.delete(bucket, "a").unwrap();
    world.reap();
    assert_eq!(world.query().missing_count().unwrap(), 0);
}

#[test]
fn an_inventory_counts_for_the_attach_it_began_under() {
    let (mut world, _) = World::ready();
    let finish = |attach| Command::FinishInventory { disk: DiskId(1), attach: AttachNumber(attach) };
    world.done(finish(1));
    assert_eq!(world.attach(DiskId(1), None), AttachNumber(2));
    assert_eq!(world.run(finish(1)), Err(Refusal::StaleEpoch));
    assert_eq!(world.query().disk(DiskId(1)).unwrap().unwrap().inventory, Some(AttachNumber(1)));
    world.done(finish(2));
    assert_eq!(world.query().disk(DiskId(1)).unwrap().unwrap().inventory, Some(AttachNumber(2)));
}

#[test]
fn a_disk_that_went_back_in_time_is_behind_until_its_inventory() {
    let (mut world, _) = World::ready();
    let behind = |world: &World| world.query().disk(DiskId(1)).unwrap().unwrap().behind;
    let now = world.attach(DiskId(1), None);
    let old = Command::DistrustDisk { disk: DiskId(1), attach: AttachNumber(now.0 - 1) };
    assert_eq!(world.run(old), Err(Refusal::StaleEpoch));
    world.done(Command::DistrustDisk { disk: DiskId(1), attach: now });
    assert!(behind(&world));
    let now = world.attach(DiskId(1), None);
    assert!(behind(&world), "attached once more before its inventory");
    world.done(Command::FinishInventory { disk: DiskId(1), attach: now });
    assert!(!behind(&world));
    assert!(matches!(refusal(world.run(Command::DistrustDisk { disk: DiskId(77), attach: now })), Refusal::Unknown(_)));
}
