//! Reads: ranges, bad disks, and versions that are overwritten while they are read.

use std::time::Duration;

use bytes::Bytes;
use cairn_proto::Slot;
use cairn_shard_store::{ShardKey, ShardStore};
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::error::EngineError;
use crate::options::EngineOptions;
use crate::testing::{World, bytes_of, collect, options};

const SEGMENT: usize = 3 << 20;

/// Makes every unit of a disk bad.
async fn corrupt(world: &World, number: usize) {
    let disk = world.disk(number);
    for shard in disk.list(None, 1000).await.unwrap() {
        for stripe in 0.. {
            if !disk.corrupt_unit(shard.key, stripe) {
                break;
            }
        }
    }
}

async fn lose_every_shard(world: &World, number: usize) {
    let disk = world.disk(number);
    for shard in disk.list(None, 1000).await.unwrap() {
        assert!(disk.remove_shard(shard.key));
    }
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Lose,
    FailReads,
    Gone,
    Hang,
}

const HARMS: [Harm; 5] = [Harm::Flip, Harm::Lose, Harm::FailReads, Harm::Gone, Harm::Hang];

async fn harm(world: &World, number: usize, harm: Harm) {
    let disk = world.disk(number);
    match harm {
        Harm::Flip => corrupt(world, number).await,
        Harm::Lose => lose_every_shard(world, number).await,
        Harm::FailReads => disk.faults().fail_reads(true),
        Harm::Gone => disk.faults().gone(true),
        Harm::Hang => disk.faults().hang(true),
    }
}

async fn written(seed: u64) -> (World, Bytes) {
    let world = World::new(6).await;
    let bytes = bytes_of(SEGMENT + 1_500_003, seed);
    world.put("key", &bytes).await.unwrap();
    (world, bytes)
}

#[tokio::test]
async fn ranges_are_exact() {
    let (world, bytes) = written(21).await;
    let end = u64::try_from(bytes.len()).unwrap();
    let unit = 256 * 1024;
    let segment = u64::try_from(SEGMENT).unwrap();
    let mut borders = vec![0, end];
    for border in [unit, 4 * unit, segment, end - 1] {
        borders.extend([border - 1, border, border + 1]);
    }
    for from in &borders {
        for to in &borders {
            let found = world.get_range("key", *from..*to).await.unwrap();
            let (from, to) =
                (usize::try_from(*from).unwrap(), usize::try_from(*to).unwrap().max(usize::try_from(*from).unwrap()));
            assert!(found == bytes.slice(from.min(bytes.len())..to.min(bytes.len())), "{from}..{to}");
        }
    }
}

#[tokio::test]
async fn two_bad_disks_of_any_kind_change_no_byte() {
    for first in HARMS {
        for second in HARMS {
            let (world, bytes) = written(22).await;
            harm(&world, 1, first).await;
            harm(&world, 4, second).await;
            assert!(world.get("key").await.unwrap() == bytes, "{first:?} and {second:?}");
            let range = 1_000_000..1_300_000;
            assert!(world.get_range("key", 1_000_000..1_300_000).await.unwrap() == bytes.slice(range));
        }
    }
}

#[tokio::test]
async fn with_three_bad_disks_a_read_fails_and_gives_no_wrong_byte() {
    for kind in HARMS {
        let (world, bytes) = written(23).await;
        for number in [0, 2, 5] {
            harm(&world, number, kind).await;
        }
        let mut body = world.open("key").await.unwrap().body(0..u64::MAX);
        let mut good = 0;
        let error = loop {
            match body.next().await {
                Some(Ok(piece)) => {
                    assert!(bytes[good..].starts_with(&piece), "{kind:?}");
                    good += piece.len();
                }
                Some(Err(error)) => break error,
                None => panic!("{kind:?}: the body ended after {good} bytes without an error"),
            }
        };
        assert!(matches!(error, EngineError::Corrupt { .. } | EngineError::Unavailable { .. }), "{kind:?}: {error}");
        assert!(body.next().await.is_none());
    }
}

#[tokio::test]
async fn a_disk_that_becomes_slow_is_waited_for_no_longer_than_it_used_to_take() {
    let (delay, patience) = (Duration::from_secs(8), Duration::from_secs(4));
    let world = World::with(EngineOptions { read_within: delay, ..options(6) }).await;
    let bytes = bytes_of(SEGMENT + 1_500_003, 28);
    world.put("key", &bytes).await.unwrap();
    for _ in 0..8 {
        assert!(world.get("key").await.unwrap() == bytes);
    }
    for number in [1, 4] {
        world.disk(number).faults().slow_reads(delay);
    }
    let start = Instant::now();
    assert!(world.get("key").await.unwrap() == bytes);
    assert!(start.elapsed() < patience, "waited {:?} for disks that used to be fast", start.elapsed());
}

#[tokio::test]
async fn single_flipped_units_all_over_are_decoded_and_reported() {
    let (world, bytes) = written(24).await;
    for (number, stripe) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
        let disk = world.disk(number);
        for shard in disk.list(None, 1000).await.unwrap() {
            disk.corrupt_unit(shard.key, stripe);
        }
    }
    assert!(world.get("key").await.unwrap() == bytes);
    let reports = world.engine.shared().reports.take(1000);
    assert!(!reports.is_empty());
    let map = world.engine.shared().map.load();
    for report in reports {
        let disk = map.disk_of(report.pg, report.slot).unwrap();
        let store = world.engine.shared().disks.get(disk).unwrap();
        let bad = store.scrub(ShardKey { segment: report.segment, slot: report.slot }).await.unwrap();
        assert!(!bad.is_empty(), "{report:?}");
    }
}

#[tokio::test]
async fn without_parity_a_lost_unit_fails_its_own_bytes_alone() {
    let world = World::new(1).await;
    let bytes = bytes_of(700_000, 25);
    world.put("key", &bytes).await.unwrap();
    let disk = world.disk(0);
    let key = disk.list(None, 1).await.unwrap()[0].key;
    assert_eq!(key.slot, Slot(0));
    assert!(disk.lose_unit(key, 1));
    let found = world.get("key").await;
    assert!(matches!(found, Err(EngineError::Corrupt { .. })), "{found:?}");
    assert!(world.get_range("key", 0..262_144).await.unwrap() == bytes.slice(..262_144));
}

#[tokio::test]
async fn an_overwrite_or_delete_leaves_running_reads_alone() {
    let (world, bytes) = written(26).await;
    let first = world.open("key").await.unwrap();
    world.put("key", &bytes_of(SEGMENT, 27)).await.unwrap();
    let second = world.open("key").await.unwrap();
    let pinned = world.engine.shared().pins.mark(|| world.meta.applied());
    world.engine.delete_objects(world.bucket, vec![("key".to_owned(), Default::default())]).await.unwrap();
    assert_eq!(world.engine.shared().pins.mark(|| world.meta.applied()), pinned, "the first read holds the watermark");
    assert!(collect(first, 0..u64::MAX).await.unwrap() == bytes);
    assert!(collect(second, 0..u64::MAX).await.unwrap() == bytes_of(SEGMENT, 27));
    assert!(matches!(world.open("key").await, Err(EngineError::NoSuchObject)));
    let after = world.engine.shared().pins.mark(|| world.meta.applied());
    assert_eq!(after.index, world.meta.applied());
}
