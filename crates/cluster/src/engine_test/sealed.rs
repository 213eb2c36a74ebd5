//! What lies in rows and headers is sealed; a snapshot is listed on the disks, read back, and no more than three are kept.

use cairn_meta::{Body, Command, NewBody};
use cairn_proto::Slot;
use cairn_shard_store::{ShardKey, ShardStore};

use crate::error::EngineError;
use crate::label::{SegmentLabel, SegmentOwner};
use crate::recover::RecoveryDisks;
use crate::testing::{World, bytes_of, collect, test_key};
use crate::write::WriteKind;

#[tokio::test]
async fn inline_bytes_are_sealed_for_their_key_and_copies_anew() {
    let world = World::new(3).await;
    let plain = bytes_of(4096, 5);
    world.put("one", &plain).await.unwrap();
    let row = world.open("one").await.unwrap().row().clone();
    let Body::Sealed(sealed) = row.body else { panic!("not sealed") };
    assert_eq!(row.bytes, 4096);
    assert!(!sealed.windows(16).any(|window| window == &plain[..16]));
    assert_eq!(world.get_range("one", 100..200).await.unwrap(), plain.slice(100..200));
    let source = world.open("one").await.unwrap();
    world.engine.copy_object(&source, world.commit("other")).await.unwrap();
    assert_eq!(world.get("other").await.unwrap(), plain);
    let Body::Sealed(copied) = world.open("other").await.unwrap().row().body.clone() else { panic!("not sealed") };
    assert_ne!(copied, sealed);
    world.put("empty", &bytes_of(0, 1)).await.unwrap();
    assert_eq!(world.get("empty").await.unwrap(), "");
}

#[tokio::test]
async fn inline_bytes_of_the_first_release_are_read_and_copied() {
    let world = World::new(3).await;
    let plain = bytes_of(300, 5);
    let put = Command::PutObject {
        bucket: world.bucket,
        key: "old".to_owned(),
        etag: "etag".to_owned(),
        checksum: None,
        attributes: Default::default(),
        body: NewBody::Inline(plain.clone()),
        preconditions: Default::default(),
    };
    world.engine.shared().writer.commit(put).await.unwrap();
    assert_eq!(world.get("old").await.unwrap(), plain);
    let source = world.open("old").await.unwrap();
    world.engine.copy_object(&source, world.commit("copied")).await.unwrap();
    assert_eq!(world.get("copied").await.unwrap(), plain);
    assert!(matches!(world.open("copied").await.unwrap().row().body, Body::Sealed(_)));
}

#[tokio::test]
async fn a_sealed_row_under_another_key_does_not_open() {
    let world = World::new(3).await;
    world.put("one", &bytes_of(300, 5)).await.unwrap();
    let Body::Sealed(sealed) = world.open("one").await.unwrap().row().body.clone() else { panic!("not sealed") };
    let put = Command::PutObject {
        bucket: world.bucket,
        key: "moved".to_owned(),
        etag: "etag".to_owned(),
        checksum: None,
        attributes: Default::default(),
        body: NewBody::Sealed { sealed, bytes: 300 },
        preconditions: Default::default(),
    };
    world.engine.shared().writer.commit(put).await.unwrap();
    assert!(matches!(world.get("moved").await, Err(EngineError::Sealed { .. })));
}

#[tokio::test]
async fn labels_say_whose_bytes_they_are_to_the_cluster_alone() {
    let world = World::new(3).await;
    let length = 4 << 20;
    world.put("labelled", &bytes_of(length, 5)).await.unwrap();
    let mut labels = Vec::new();
    for shard in world.disk(0).list(None, 100).await.unwrap() {
        let header = world.disk(0).header(shard.key).await.unwrap().unwrap();
        assert!(!header.label.windows(4).any(|window| window == b"labe"));
        labels.push(SegmentLabel::open(&test_key(), shard.key.segment, &header.label).unwrap());
    }
    let owner = SegmentOwner::Object {
        bucket: world.bucket,
        key: "labelled".to_owned(),
        part: None,
        bytes: Some(u64::try_from(length).unwrap()),
    };
    let offsets: Vec<u64> = labels.iter().map(|label| label.offset).collect();
    assert!(labels.iter().all(|label| label.owner == owner));
    assert_eq!(offsets, [0, 3 << 20]);
    let upload = world.engine.create_upload(world.bucket, "up", Default::default(), None, "me").await.unwrap();
    let kind = WriteKind::Part { upload, number: 7 };
    let target = crate::write::WriteTarget { kind, ..world.target("up", None) };
    let _stored = world.store(target, &bytes_of(9000, 1)).await.unwrap();
    let last = world.disk(0).list(None, 100).await.unwrap().pop().unwrap();
    let header = world.disk(0).header(last.key).await.unwrap().unwrap();
    let label = SegmentLabel::open(&test_key(), last.key.segment, &header.label).unwrap();
    let part = Some((upload, 7));
    assert_eq!(label.owner, SegmentOwner::Object { bucket: world.bucket, key: "up".to_owned(), part, bytes: None });
}

#[tokio::test]
async fn a_snapshot_is_read_back_from_any_k_disks_and_three_are_kept() {
    let world = World::new(6).await;
    let mut written = Vec::new();
    for round in 0..5 {
        world.put(&format!("object {round}"), &bytes_of(300_000, round)).await.unwrap();
        let snapshot = world.engine.write_snapshot().await.unwrap();
        assert_eq!(snapshot.disks, 6);
        written.push(snapshot.snapshot);
    }
    let view = world.meta.read().await.unwrap();
    let kept: Vec<_> = view.snapshots().unwrap().iter().map(|row| row.snapshot).collect();
    assert_eq!(kept, written[2..]);
    assert_eq!(view.garbage(None, 100).unwrap().len(), 2, "the older ones are garbage by the group's rules");

    let disks = |numbers: &[usize]| {
        RecoveryDisks::new(numbers.iter().map(|number| std::sync::Arc::new(world.disk(*number)) as _).collect())
    };
    let (life, found) = disks(&[0, 2, 3, 5]).snapshots().await;
    assert_eq!(
        (life, found.iter().map(crate::SnapshotFound::index).collect::<Vec<_>>()),
        (0, vec![written[4], written[3], written[2]])
    );
    let mut bytes = 0;
    let mut take = |piece: &[u8]| {
        bytes += piece.len();
        Ok(())
    };
    disks(&[0, 2, 3, 5]).read_snapshot(&found[0], &test_key(), &mut take).await.unwrap();
    assert!(bytes > 500, "{bytes} bytes");
    let few = disks(&[0, 2, 3]).read_snapshot(&found[0], &test_key(), &mut |_| Ok(())).await.unwrap_err().to_string();
    assert!(few.contains("3 shards are left, 4 are needed") && few.contains("not here"), "{few}");
    let other = crate::ClusterKey::new(1, &[1; 32]);
    assert!(disks(&[0, 1, 2, 3]).read_snapshot(&found[0], &other, &mut |_| Ok(())).await.is_err());
    // A bad unit is made up for.
    for shard in world.disk(1).list(None, 1000).await.unwrap() {
        world.disk(1).corrupt_unit(ShardKey { slot: Slot(shard.key.slot.0), ..shard.key }, 0);
    }
    disks(&[0, 1, 2, 3, 4]).read_snapshot(&found[0], &test_key(), &mut |_| Ok(())).await.unwrap();

    // A list that cannot be read is not written over, and stops the others too.
    let (damaged, listed) = (b"rubbish".to_vec(), world.disk(4).recovery_list().await.unwrap());
    world.disk(5).set_recovery_list(damaged.clone().into()).await.unwrap();
    let refused = disks(&[4, 5]).record_life(3).await.unwrap_err().to_string();
    assert!(refused.contains(&world.disk(5).id().to_string()), "{refused}");
    assert_eq!(world.disk(5).recovery_list().await.unwrap().as_deref(), Some(&damaged[..]));
    assert_eq!(world.disk(4).recovery_list().await.unwrap(), listed);
    assert_eq!(world.engine.write_snapshot().await.unwrap().disks, 6, "a running store mends it");

    disks(&[0, 1]).record_life(3).await.unwrap();
    assert_eq!(disks(&[1, 2]).snapshots().await.0, 3);
    assert_eq!(disks(&[1, 2]).snapshots().await.1.len(), 3, "what was listed stays listed");
    assert_eq!(world.engine.write_snapshot().await.unwrap().disks, 4, "a newer life is not written over");
    assert_eq!(disks(&[0]).snapshots().await.0, 3);
    let report = disks(&[0, 1, 2, 3]).report(&view, &test_key()).await.unwrap();
    assert_eq!((report.whole, report.lost_count, report.newer.len()), (5, 0, 0));
    let report = disks(&[0, 1, 2]).report(&view, &test_key()).await.unwrap();
    assert_eq!((report.whole, report.lost_count), (0, 5));
    assert_eq!(collect(world.open("object 0").await.unwrap(), 0..u64::MAX).await.unwrap(), bytes_of(300_000, 0));
}
