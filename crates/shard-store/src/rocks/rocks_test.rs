//! The conformance suite, each crash point of the commit, cleaning, fences.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use cairn_proto::{AttachNumber, Index, LogPosition};
use rocksdb::{BottommostLevelCompaction, CompactOptions};

use super::{
    RocksShardStore,
    core::Faults,
    engine::{OpenFiles, open_index},
    index::Index as DiskIndex,
    keys::CF_UNITS,
    testing::{check_balance, copy, delete, du, files_in, open, options},
};
use crate::{
    Cleaned, DeleteOrder, DeleteReason, DiskState, FenceReason, ShardStore, ShardStoreError, Space, SpaceSource,
    SpaceUse, WriteMode,
    conformance::{self, Sample},
};

/// Shards over the border of the lanes, a stripe each.
fn large(number: u64) -> Sample {
    Sample::new(number, 1 << 20)
}

fn is_write_failed<T>(result: &Result<T, ShardStoreError>) -> bool {
    matches!(result, Err(ShardStoreError::Fenced { reason: FenceReason::WriteFailed(_), .. }))
}

fn set(disk: &RocksShardStore, switch: impl Fn(&Faults) -> &AtomicBool) {
    switch(&disk.vitals.faults).store(true, Relaxed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_conforms_and_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    conformance::run(&*disk).await;
    check_balance(&disk.core());
    let before = disk.list(None, 100).await.unwrap();
    let start = disk.core().start;
    disk.close().await;
    assert!(matches!(disk.status().state, DiskState::Fenced(FenceReason::Closed)));
    assert!(disk.header(before[0].key).await.is_err());

    let disk = open(folder.path());
    assert_eq!(disk.list(None, 100).await.unwrap(), before);
    assert_eq!((disk.attach(), disk.answered()), (AttachNumber(7), Index(100)));
    assert_eq!(disk.told(), LogPosition { term: 3, index: Index(400) });
    assert!(disk.core().start > start, "no key is used twice");
    let stale = disk.delete(&[], DeleteOrder { index: Index(99), reason: DeleteReason::Dead }).await;
    assert!(matches!(stale, Err(ShardStoreError::StaleOrder { .. })));
    assert!(disk.scrub(before[0].key).await.unwrap().is_empty());
    large(1).write(&*disk, WriteMode::New).await.unwrap();
    check_balance(&disk.core());
    assert_eq!(disk.status().errors, 0);
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_not_ingested_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    large(1).write(&*disk, WriteMode::New).await.unwrap();
    set(&disk, |faults| &faults.before_ingest);
    assert!(is_write_failed(&large(2).write(&*disk, WriteMode::New).await));
    assert!(matches!(disk.status().state, DiskState::ReadOnly(FenceReason::WriteFailed(_))));
    large(1).check(&*disk).await;
    disk.close().await;
    assert!(du(&folder.path().join("staging")) > 1 << 18, "the file is still there");

    let disk = open(folder.path());
    assert_eq!(du(&folder.path().join("staging")), 0);
    large(1).check(&*disk).await;
    large(2).check_absent(&*disk).await;
    large(2).write(&*disk, WriteMode::New).await.unwrap();
    check_balance(&disk.core());
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_not_indexed_is_caught_up() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    set(&disk, |faults| &faults.after_ingest);
    assert!(is_write_failed(&large(1).write(&*disk, WriteMode::New).await));
    large(1).check_absent(&*disk).await;
    disk.close().await;

    let disk = open(folder.path());
    large(1).check(&*disk).await;
    check_balance(&disk.core());
    delete(&disk, &[large(1).key()]).await;
    disk.close().await;
    let disk = open(folder.path());
    large(1).check_absent(&*disk).await;
    assert!(disk.core().index.files().is_empty(), "what is dead was dropped");
    disk.close().await;
}

/// Two shards in one file, the second small beside the first and the only one that lives.
async fn mostly_dead(disk: &RocksShardStore) -> Sample {
    let (dead, living) = (Sample::new(1, 16 << 20), large(2));
    let mut writer = living.begin(disk, WriteMode::New).await.unwrap();
    writer.write_unit(living.unit(0)).await.unwrap();
    dead.write(disk, WriteMode::New).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(delete(disk, &[dead.key()]).await, 1);
    living
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_not_indexed_does_not_undo_a_delete() {
    for is_deleted in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path());
        let living = mostly_dead(&disk).await;
        set(&disk, |faults| &faults.after_ingest);
        assert!(disk.clean().await.is_err());
        living.check(&*disk).await;
        disk.close().await;
        if is_deleted {
            // As if it had been acknowledged between the ingest of the copy and its index batch.
            let cache = rocksdb::Cache::new_lru_cache(1 << 20);
            let db = open_index(&folder.path().join("index"), &cache, OpenFiles { index: 64, log: 64 }, false).unwrap();
            let index = DiskIndex::load(db).unwrap();
            let mut draft = index.draft();
            draft.set_row(living.key(), None).unwrap();
            draft.commit().unwrap();
            index.sync().unwrap();
        }
        let disk = open(folder.path());
        if is_deleted {
            living.check_absent(&*disk).await;
        } else {
            living.check(&*disk).await;
        }
        check_balance(&disk.core());
        disk.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_file_that_was_not_forgotten_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    for number in 1..3 {
        large(number).write(&*disk, WriteMode::New).await.unwrap();
    }
    set(&disk, |faults| &faults.after_drop);
    assert_eq!(delete(&disk, &[large(1).key()]).await, 1);
    assert_eq!(disk.core().index.files().len(), 2, "the row stands");
    disk.close().await;
    let disk = open(folder.path());
    assert_eq!(disk.core().index.files().len(), 1);
    large(1).check_absent(&*disk).await;
    large(2).check(&*disk).await;
    check_balance(&disk.core());
    assert_eq!(disk.status().errors, 0, "nothing was lost");
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failed_sync_ends_writing_until_a_restart_and_the_second_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let small = Sample::new(5, 1000);
    for run in 0..2 {
        let disk = open(folder.path());
        large(run).write(&*disk, WriteMode::New).await.unwrap();
        set(&disk, |faults| &faults.index_sync);
        assert!(is_write_failed(&small.write(&*disk, WriteMode::New).await));
        assert!(is_write_failed(&large(9).write(&*disk, WriteMode::New).await));
        assert!(is_write_failed(
            &disk.delete(&[large(run).key()], DeleteOrder { index: Index(1), reason: DeleteReason::Dead }).await
        ));
        assert!(is_write_failed(&disk.set_attach(AttachNumber(1)).await));
        assert!(disk.clean().await.is_err());
        large(run).check(&*disk).await;
        disk.close().await;
    }
    let disk = open(folder.path());
    assert!(matches!(disk.status().state, DiskState::ReadOnly(FenceReason::WriteFailed(_))));
    assert!(is_write_failed(&large(9).write(&*disk, WriteMode::New).await));
    large(0).check(&*disk).await;
    large(1).check(&*disk).await;
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaning_copies_what_lives_and_drops_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let living = mostly_dead(&disk).await;
    let before = disk.status().bytes_used;
    let reader = {
        let (disk, living) = (Arc::clone(&disk), living.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                living.check(&*disk).await;
            }
        })
    };
    assert!(disk.clean().await.unwrap().bytes_freed > 3 << 20);
    reader.await.unwrap();
    living.check(&*disk).await;
    assert!(disk.status().bytes_used < before / 8, "{before} before, {} after", disk.status().bytes_used);
    assert_eq!(disk.clean().await.unwrap(), Cleaned::default());
    check_balance(&disk.core());
    disk.close().await;
    let disk = open(folder.path());
    living.check(&*disk).await;
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_are_merged_when_there_are_many() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.clean.merge_over_files = 4;
    let disk = RocksShardStore::open(&options).unwrap();
    // More than are dropped in one go.
    let samples: Vec<_> = (0..80).map(large).collect();
    for sample in &samples {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    assert_eq!(disk.core().index.files().len(), 80);
    assert_eq!(disk.status().mergeable_files, 0, "a client has just written");
    disk.clean().await.unwrap();
    assert_eq!(disk.core().index.files().len(), 80);
    *disk.core().vitals.last_write.lock().unwrap() = None;
    assert_eq!(disk.status().mergeable_files, 80);
    disk.clean().await.unwrap();
    assert_eq!(disk.status().mergeable_files, 0);
    assert!(disk.core().index.files().len() <= 4, "{:?}", disk.core().index.files());
    for sample in &samples {
        sample.check(&*disk).await;
    }
    check_balance(&disk.core());
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_ends_amid_a_file_says_that_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.clean.copy_bytes_max = 1;
    let disk = RocksShardStore::open(&options).unwrap();
    let samples = [Sample::new(1, 4 << 20), Sample::new(2, 4 << 20), Sample::new(3, 32 << 20)];
    let mut writers = Vec::new();
    for sample in &samples {
        let mut writer = sample.begin(&*disk, WriteMode::New).await.unwrap();
        for stripe in 0..sample.stripes() {
            writer.write_unit(sample.unit(stripe)).await.unwrap();
        }
        writers.push(writer);
    }
    // Their units share a file.
    for writer in writers {
        writer.finish().await.unwrap();
    }
    delete(&disk, &[samples[2].key()]).await;
    let first = disk.clean().await.unwrap();
    assert!(first.goes_on && first.bytes_freed == 0, "{first:?}");
    let second = disk.clean().await.unwrap();
    assert!(!second.goes_on && second.bytes_freed > 0, "{second:?}");
    samples[0].check(&*disk).await;
    samples[1].check(&*disk).await;
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_mostly_alive_are_cleaned_when_space_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let short = Arc::new(AtomicBool::new(false));
    let mut options = options(folder.path());
    let asked = Arc::clone(&short);
    options.space = SpaceSource::new(move |_| {
        let bytes_free = if asked.load(Relaxed) { 11 } else { 50 };
        Ok(Space { bytes_total: 100 << 30, bytes_free: bytes_free << 30 })
    });
    let disk = RocksShardStore::open(&options).unwrap();
    // One file: 8 MiB that live and 2 MiB that do not.
    let (living, dead) = (Sample::new(1, 32 << 20), Sample::new(2, 8 << 20));
    let mut writer = living.begin(&*disk, WriteMode::New).await.unwrap();
    writer.write_unit(living.unit(0)).await.unwrap();
    let mut other = dead.begin(&*disk, WriteMode::New).await.unwrap();
    for stripe in 0..dead.stripes() {
        other.write_unit(dead.unit(stripe)).await.unwrap();
    }
    for stripe in 1..living.stripes() {
        writer.write_unit(living.unit(stripe)).await.unwrap();
    }
    let (first, second) = tokio::join!(writer.finish(), other.finish());
    first.and(second).unwrap();
    delete(&disk, &[dead.key()]).await;
    assert_eq!(disk.clean().await.unwrap(), Cleaned::default(), "a fifth is not worth the copying");
    short.store(true, Relaxed);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(disk.clean().await.unwrap().bytes_freed > 0);
    living.check(&*disk).await;
    check_balance(&disk.core());
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_shards_of_the_wal_lane_give_their_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.clean.wal_dead_bytes_min = 4 << 20;
    let disk = RocksShardStore::open(&options).unwrap();
    let samples: Vec<_> = (0..600).map(|number| Sample::new(number, 200_000)).collect();
    for sample in &samples {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    let index = folder.path().join("index");
    let full = du(&index);
    let keys: Vec<_> = samples.iter().skip(1).map(Sample::key).collect();
    assert_eq!(delete(&disk, &keys).await, 599);
    assert!(disk.clean().await.unwrap().bytes_freed > 0);
    samples[0].check(&*disk).await;
    // What is left is one shard and the write-ahead log, which has a bound of its own.
    let tables = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "sst");
    let left: u64 = files_in(&index).into_iter().filter(tables).map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(left < 1 << 20 && full > 20 << 20, "{full} before, {left} in tables after");
    disk.close().await;
}

/// The tables of the WAL lane with their sizes.
fn lane_tables(disk: &RocksShardStore) -> BTreeMap<String, u64> {
    let tables = disk.core().index.db.live_files().unwrap().into_iter();
    let of_lane = tables.filter(|table| table.column_family_name == CF_UNITS);
    of_lane.map(|table| (table.name, table.size as u64)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_in_the_wal_lane_is_not_forgotten_at_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let samples: Vec<_> = (0..20).map(|number| Sample::new(number, 200_000)).collect();
    for sample in &samples {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    let keys: Vec<_> = samples.iter().skip(1).map(Sample::key).collect();
    assert_eq!(delete(&disk, &keys).await, 19);
    disk.close().await;
    let mut options = options(folder.path());
    options.clean.wal_dead_bytes_min = 19 * 50_000;
    let disk = RocksShardStore::open(&options).unwrap();
    assert_eq!(disk.core().index.wal_dead(), 19 * 50_000);
    disk.clean().await.unwrap();
    assert_eq!(disk.core().index.wal_dead(), 0);
    assert!(lane_tables(&disk).values().sum::<u64>() < 100_000);
    samples[0].check(&*disk).await;
    disk.close().await;
    let disk = open(folder.path());
    assert_eq!(disk.core().index.wal_dead(), 0);
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wal_lane_is_compacted_a_range_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.clean.wal_dead_bytes_min = 4 << 20;
    options.clean.copy_bytes_max = 4 << 20;
    let disk = RocksShardStore::open(&options).unwrap();
    let core = disk.core();
    let units = core.index.db.cf_handle(CF_UNITS).unwrap();
    // Levels as those of a large lane, and nothing but cleaning changes them.
    let small = [
        ("disable_auto_compactions", "true"),
        ("target_file_size_base", "1048576"),
        ("max_bytes_for_level_base", "1048576"),
        ("max_compaction_bytes", "2097152"),
    ];
    core.index.db.set_options_cf(units, &small).unwrap();
    let samples: Vec<_> = (0..400).map(|number| Sample::new(number, 200_000)).collect();
    for sample in &samples {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    let mut whole = CompactOptions::default();
    whole.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    core.index.db.compact_range_cf_opt(units, None::<&[u8]>, None::<&[u8]>, &whole);
    assert!(lane_tables(&disk).len() > 15, "{:?}", lane_tables(&disk));
    let keys: Vec<_> = samples.iter().skip(1).map(Sample::key).collect();
    assert_eq!(delete(&disk, &keys).await, 399);
    let mut rounds = 0;
    while core.index.wal_dead() > 0 {
        let before = lane_tables(&disk);
        disk.clean().await.unwrap();
        let after = lane_tables(&disk);
        let rewritten: u64 = before.iter().filter(|(name, _)| !after.contains_key(*name)).map(|(_, size)| size).sum();
        assert!(rewritten < 10 << 20, "{rewritten} bytes of {} in one round", before.values().sum::<u64>());
        rounds += 1;
        assert!(rounds < 100, "it does not end");
    }
    assert!(rounds > 2, "{rounds}");
    assert!(lane_tables(&disk).values().sum::<u64>() < 100_000);
    samples[0].check(&*disk).await;
    drop(core);
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_while_cleaning_ends_writing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    large(1).write(&*disk, WriteMode::New).await.unwrap();
    let core = disk.core();
    {
        // Its file is left to cleaning.
        let (cleaning, other) = (core.cleaning.lock().unwrap(), Arc::clone(&disk));
        let deleting = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(delete(&other, &[large(1).key()]))
        });
        assert_eq!(deleting.join().unwrap(), 1);
        drop(cleaning);
    }
    set(&disk, |faults| &faults.index_sync);
    assert!(is_write_failed(&disk.clean().await));
    assert!(matches!(disk.status().state, DiskState::ReadOnly(FenceReason::WriteFailed(_))));
    assert_eq!(core.index.files().len(), 1, "nothing was dropped");
    drop(core);
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_copied_where_there_is_no_room_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1 << 39));
    let mut options = options(folder.path());
    let asked = Arc::clone(&free);
    options.space = SpaceSource::new(move |_| Ok(Space { bytes_total: 1 << 40, bytes_free: asked.load(Relaxed) }));
    let disk = RocksShardStore::open(&options).unwrap();
    let living = mostly_dead(&disk).await;
    let used = disk.status().bytes_used;
    let look = |bytes_free| {
        free.store(bytes_free, Relaxed);
        disk.core().vitals.look(&disk.core().pin);
    };
    look(300 << 10);
    disk.clean().await.unwrap();
    assert_eq!(disk.status().bytes_used, used, "the copy would have taken the last bytes");
    look(8 << 20);
    disk.clean().await.unwrap();
    assert!(disk.status().bytes_used < used / 8);
    living.check(&*disk).await;
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_finds_no_space_is_no_failed_write() {
    let folder = tempfile::tempdir().unwrap();
    for run in 0..3 {
        let disk = open(folder.path());
        large(run).write(&*disk, WriteMode::New).await.unwrap();
        set(&disk, |faults| &faults.no_space);
        let refused = large(9).write(&*disk, WriteMode::New).await;
        assert!(matches!(refused, Err(ShardStoreError::Fenced { reason: FenceReason::NoSpace(_), .. })), "{refused:?}");
        assert!(matches!(disk.status().state, DiskState::ReadOnly(FenceReason::NoSpace(_))));
        large(run).check(&*disk).await;
        disk.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_cleaning() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    large(1).write(&*disk, WriteMode::New).await.unwrap();
    let core = disk.core();
    let cleaning = core.cleaning.lock().unwrap();
    let (disk_too, keys) = (Arc::clone(&disk), [large(1).key()]);
    let deleting = std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let deleted = disk_too.delete(&keys, DeleteOrder { index: Index(1), reason: DeleteReason::Dead });
            tokio::time::timeout(Duration::from_secs(20), deleted).await.expect("it does not wait").unwrap()
        })
    });
    assert_eq!(deleting.join().unwrap(), 1);
    let second = Arc::clone(&disk);
    let second = std::thread::spawn(move || tokio::runtime::Runtime::new().unwrap().block_on(second.clean()));
    assert_eq!(second.join().unwrap().unwrap(), Cleaned::default(), "a second round leaves it to the first");
    drop(cleaning);
    drop(core);
    assert!(disk.clean().await.unwrap().bytes_freed > 0, "cleaning drops it");
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn units_of_a_shard_that_is_not_finished_hold_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let slow = Sample::new(1, 2 << 20);
    let mut writer = slow.begin(&*disk, WriteMode::New).await.unwrap();
    writer.write_unit(slow.unit(0)).await.unwrap();
    large(2).write(&*disk, WriteMode::New).await.unwrap();
    assert_eq!(delete(&disk, &[large(2).key()]).await, 1);
    assert_eq!(disk.clean().await.unwrap(), Cleaned::default());
    assert_eq!(disk.core().index.files().len(), 1, "nothing in it lives yet, and it stays");
    writer.write_unit(slow.unit(1)).await.unwrap();
    writer.finish().await.unwrap();
    slow.check(&*disk).await;
    check_balance(&disk.core());

    // An abandoned one gives its file free.
    let mut writer = large(3).begin(&*disk, WriteMode::New).await.unwrap();
    writer.write_unit(large(3).unit(0)).await.unwrap();
    large(4).write(&*disk, WriteMode::New).await.unwrap();
    drop(writer);
    // The next write is answered after the log writer heard of the end.
    large(5).write(&*disk, WriteMode::New).await.unwrap();
    let files = disk.core().index.files().len();
    delete(&disk, &[large(4).key()]).await;
    assert_eq!(disk.core().index.files().len(), files - 1);
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_span_files() {
    let folder = tempfile::tempdir().unwrap();
    let options = super::DiskOptions { file_bytes_max: 1 << 20, ..options(folder.path()) };
    let disk = RocksShardStore::open(&options).unwrap();
    let samples = [(1, 5 << 20), (2, 9 << 20)].map(|(number, bytes)| Sample::with_profile(number, bytes, (1, 0)));
    let mut writers = Vec::new();
    for sample in &samples {
        writers.push(sample.begin(&*disk, WriteMode::New).await.unwrap());
    }
    for stripe in 0..samples[1].stripes() {
        for (sample, writer) in samples.iter().zip(&mut writers) {
            if stripe < sample.stripes() {
                writer.write_unit(sample.unit(stripe)).await.unwrap();
            }
        }
    }
    for writer in writers {
        writer.finish().await.unwrap();
    }
    assert!(disk.core().index.files().len() > 10);
    check_balance(&disk.core());
    delete(&disk, &[samples[0].key()]).await;
    // A shard in several victims is moved once, out of all of them.
    assert!(disk.clean().await.unwrap().bytes_freed > 0);
    samples[1].check(&*disk).await;
    assert_eq!(disk.clean().await.unwrap(), Cleaned::default(), "copies are whole files of living units");
    samples[1].check(&*disk).await;
    check_balance(&disk.core());
    disk.close().await;
    fs::remove_dir_all(folder.path().join("index")).unwrap();
    let disk = RocksShardStore::open(&options).unwrap();
    samples[1].check(&*disk).await;
    samples[0].check_absent(&*disk).await;
    check_balance(&disk.core());
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_tenth_is_not_for_clients() {
    for (percent_free, client, repair) in [(11, true, true), (9, false, true), (4, false, false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        options.space = SpaceSource::new(move |_| Ok(Space { bytes_total: 1000, bytes_free: percent_free * 10 }));
        let disk = RocksShardStore::open(&options).unwrap();
        for (space_use, is_let) in [(SpaceUse::Client, client), (SpaceUse::Repair, repair)] {
            let begun = disk.begin(large(1).header, WriteMode::New, space_use).await;
            assert_eq!(begun.is_ok(), is_let, "{percent_free} % {space_use:?}");
        }
        assert_eq!(disk.status().state == DiskState::Serving, client);
        assert_eq!(delete(&disk, &[large(1).key()]).await, 0, "deletes are let through");
        disk.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_emptied_fences_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    large(1).write(&*disk, WriteMode::New).await.unwrap();
    fs::remove_file(folder.path().join("CAIRN-DISK")).unwrap();
    disk.check_folder();
    assert_eq!(disk.status().state, DiskState::Fenced(FenceReason::Gone));
    assert!(matches!(disk.header(large(1).key()).await, Err(ShardStoreError::Fenced { .. })));
    assert!(large(2).write(&*disk, WriteMode::New).await.is_err());
    disk.close().await;
}

fn logs_in(folder: &Path) -> Vec<String> {
    let names = super::folder::log_folders(folder).unwrap().into_iter();
    let mut names: Vec<_> = names.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_many_files_gets_further_instances_which_go_when_they_are_empty() {
    let folder = tempfile::tempdir().unwrap();
    let samples: Vec<_> = (0..7).map(large).collect();
    // As a disk of a release that knew one instance alone.
    let disk = open(folder.path());
    for sample in &samples[..3] {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    disk.close().await;
    let options = super::DiskOptions { files_per_log: 2, ..options(folder.path()) };
    let disk = RocksShardStore::open(&options).unwrap();
    for sample in &samples[3..] {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    assert_eq!(logs_in(folder.path()), ["log-0", "log-1", "log-2"]);
    disk.core().look();
    let told = disk.instances();
    let names: Vec<_> = told.iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(names, ["index", "log-0", "log-1", "log-2"]);
    assert!(told[0].memtable_bytes > 0);
    // State rows may have tables of their own.
    assert!(told[1].files >= 3 && told[2].files >= 2 && told[3].files >= 2, "{told:?}");
    for sample in &samples {
        sample.check(&*disk).await;
        assert!(disk.scrub(sample.key()).await.unwrap().is_empty());
    }
    disk.close().await;
    // The index alone knows them no more: it is rebuilt out of all instances.
    fs::remove_dir_all(folder.path().join("index")).unwrap();
    let disk = RocksShardStore::open(&options).unwrap();
    assert_eq!(disk.list(None, 100).await.unwrap().len(), samples.len());
    check_balance(&disk.core());
    // Of the second instance nothing is left, of the third one file.
    let dead: Vec<_> = samples[3..6].iter().map(Sample::key).collect();
    assert_eq!(delete(&disk, &dead).await, 3);
    disk.close().await;
    let disk = RocksShardStore::open(&options).unwrap();
    assert_eq!(logs_in(folder.path()), ["log-0", "log-2"]);
    for sample in samples[..3].iter().chain(&samples[6..]) {
        sample.check(&*disk).await;
    }
    // A file that is not indexed when the disk ends is found in whichever instance.
    set(&disk, |faults| &faults.after_ingest);
    assert!(is_write_failed(&large(20).write(&*disk, WriteMode::New).await));
    disk.close().await;
    let disk = RocksShardStore::open(&options).unwrap();
    large(20).check(&*disk).await;
    check_balance(&disk.core());
    disk.close().await;

    let lost = folder.path().join("log-2");
    fs::rename(&lost, folder.path().join("aside")).unwrap();
    let refused = RocksShardStore::open(&options).unwrap_err().to_string();
    assert!(refused.contains("log-2 is missing"), "{refused}");
    fs::rename(folder.path().join("aside"), &lost).unwrap();
    RocksShardStore::open(&options).unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_of_several_instances_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = super::DiskOptions { files_per_log: 3, ..options(folder.path()) };
    options.clean.merge_always_over_files = 4;
    let disk = RocksShardStore::open(&options).unwrap();
    let samples: Vec<_> = (0..10).map(large).collect();
    for sample in &samples {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    assert_eq!(logs_in(folder.path()).len(), 4);
    disk.clean().await.unwrap();
    assert!(disk.core().index.files().len() <= 4);
    disk.close().await;
    let disk = RocksShardStore::open(&options).unwrap();
    assert!(logs_in(folder.path()).len() < 4, "{:?}", logs_in(folder.path()));
    for sample in &samples {
        sample.check(&*disk).await;
    }
    check_balance(&disk.core());
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_not_named_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = super::DiskOptions { files_per_log: 1, ..options(folder.path()) };
    let disk = RocksShardStore::open(&options).unwrap();
    large(1).write(&*disk, WriteMode::New).await.unwrap();
    set(&disk, |faults| &faults.after_instance);
    large(2).write(&*disk, WriteMode::New).await.unwrap();
    assert_eq!(logs_in(folder.path()), ["log-0", "log-1"], "the folder was made, and the file went into the first");
    disk.close().await;
    let disk = RocksShardStore::open(&options).unwrap();
    assert_eq!(logs_in(folder.path()), ["log-0"]);
    large(3).write(&*disk, WriteMode::New).await.unwrap();
    assert_eq!(logs_in(folder.path()), ["log-0", "log-1"]);
    for number in 1..4 {
        large(number).check(&*disk).await;
    }
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_files_that_the_first_does_not_name_is_kept_and_the_disk_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let options = super::DiskOptions { files_per_log: 1, ..options(folder.path()) };
    let disk = RocksShardStore::open(&options).unwrap();
    large(1).write(&*disk, WriteMode::New).await.unwrap();
    disk.close().await;
    copy(&at("log-0"), &at("log-0 of before"));
    let disk = RocksShardStore::open(&options).unwrap();
    large(2).write(&*disk, WriteMode::New).await.unwrap();
    disk.close().await;
    assert_eq!(logs_in(folder.path()), ["log-0", "log-1"]);
    // As a backup that is put back.
    fs::rename(at("log-0"), at("log-0 of now")).unwrap();
    fs::rename(at("log-0 of before"), at("log-0")).unwrap();
    let refused = RocksShardStore::open(&options).unwrap_err().to_string();
    assert!(refused.contains("log-1") && refused.contains("log-0"), "{refused}");
    fs::remove_dir_all(at("log-0")).unwrap();
    fs::rename(at("log-0 of now"), at("log-0")).unwrap();
    let disk = RocksShardStore::open(&options).unwrap();
    for number in 1..3 {
        large(number).check(&*disk).await;
    }
    disk.close().await;
}

/// On one thread: a call that waited for the file system would stop the test.
#[tokio::test]
async fn a_file_system_that_hangs_holds_nobody_and_fences_the_disk_until_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (hangs, asking) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let source = {
        let (hangs, asking) = (Arc::clone(&hangs), Arc::clone(&asking));
        SpaceSource::new(move |_| {
            assert_eq!(asking.fetch_add(1, Relaxed), 0, "one call at a time");
            while hangs.load(Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            asking.fetch_sub(1, Relaxed);
            Ok(Space { bytes_total: 1000 << 30, bytes_free: 900 << 30 })
        })
    };
    let options = super::DiskOptions { space: source, hung_after: Duration::from_secs(2), ..options(folder.path()) };
    let disk = RocksShardStore::open(&options).unwrap();
    large(1).write(&*disk, WriteMode::New).await.unwrap();
    let mut writer = large(2).begin(&*disk, WriteMode::New).await.unwrap();
    let until = async |wanted: DiskState| {
        let reached = async {
            while disk.status().state != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reached).await.unwrap_or_else(|_| panic!("never {wanted:?}"));
    };
    until(DiskState::Serving).await;
    hangs.store(true, Relaxed);
    until(DiskState::Fenced(FenceReason::Hung)).await;
    let is_hung = |error: ShardStoreError| matches!(error, ShardStoreError::Fenced { reason: FenceReason::Hung, .. });
    assert!(is_hung(disk.read_units(large(1).key(), 0..1).await.unwrap_err()));
    assert!(is_hung(writer.write_unit(large(2).unit(0)).await.unwrap_err()));
    assert!(is_hung(large(3).write(&*disk, WriteMode::New).await.unwrap_err()));
    assert!(is_hung(disk.set_attach(AttachNumber(9)).await.unwrap_err()));
    assert_eq!(asking.load(Relaxed), 1);
    hangs.store(false, Relaxed);
    until(DiskState::Serving).await;
    large(1).check(&*disk).await;
    writer.write_unit(large(2).unit(0)).await.unwrap();
    writer.finish().await.unwrap();
    large(2).check(&*disk).await;
    disk.close().await;
    open(folder.path()).close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_space_is_that_of_the_folder_that_was_opened() {
    let base = tempfile::tempdir().unwrap();
    let (place, aside) = (base.path().join("disk"), base.path().join("aside"));
    fs::create_dir(&place).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let source = {
        let asked = Arc::clone(&asked);
        SpaceSource::new(move |folder| {
            asked.lock().unwrap().push(rustix::fs::fstat(folder)?.st_ino);
            Ok(Space { bytes_total: 1000 << 30, bytes_free: 900 << 30 })
        })
    };
    let options = super::DiskOptions { space: source, hung_after: Duration::from_millis(200), ..options(&place) };
    let disk = RocksShardStore::open(&options).unwrap();
    fs::rename(&place, &aside).unwrap();
    fs::create_dir(&place).unwrap();
    let before = asked.lock().unwrap().len();
    while asked.lock().unwrap().len() < before + 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(asked.lock().unwrap().iter().all(|asked| *asked == inode(&aside)), "{asked:?}");
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_files_and_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        let disk = Arc::clone(&disk);
        tasks.spawn(async move {
            let sample = Sample::new(number, if number % 2 == 0 { 1000 } else { 2 << 20 });
            sample.write(&*disk, WriteMode::New).await.unwrap();
            sample.check(&*disk).await;
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert!(disk.core().index.files().len() < 32, "each of 32 shards has a file of its own");
    check_balance(&disk.core());
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_that_change_places_while_they_serve_do_not_write_into_each_other() {
    let base = tempfile::tempdir().unwrap();
    let place = |name: &str| base.path().join(name);
    for name in ["a", "b"] {
        fs::create_dir(place(name)).unwrap();
    }
    let (one, other) = (open(&place("a")), open(&place("b")));
    let mut written = Vec::new();
    for number in 0..40 {
        if number == 20 {
            fs::rename(place("a"), place("t")).unwrap();
            fs::rename(place("b"), place("a")).unwrap();
            fs::rename(place("t"), place("b")).unwrap();
        }
        for (disk, at) in [(&one, "b"), (&other, "a")] {
            // Until it is fenced the disk may go on: with its own files.
            if large(number).write(&**disk, WriteMode::New).await.is_ok() {
                written.push((at, number));
            }
        }
    }
    one.close().await;
    other.close().await;
    for at in ["a", "b"] {
        let disk = open(&place(at));
        let here: Vec<u64> = written.iter().filter(|(place, _)| *place == at).map(|(_, number)| *number).collect();
        assert!(here.len() >= 20, "{here:?}");
        for number in here {
            large(number).check(&*disk).await;
        }
        check_balance(&disk.core());
        disk.close().await;
    }
}
