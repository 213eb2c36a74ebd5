//! Damaged files, foreign folders, and what becomes of space.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_proto::{DiskId, Index as MetaIndex, LogPosition};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    DiskOptions, RocksShardStore,
    catch_up::{log_files, rebuild},
    committer::DAMAGED_MAX,
    engine::{OpenFiles, open_index, open_log},
    index::Index,
    testing::{check_balance, copy, delete, du, files_in, open, options, seed},
};
use crate::{
    DeleteOrder, DeleteReason, DiskState, FenceReason, SealedUnit, ShardStore, ShardStoreError, WriteMode,
    conformance::Sample,
};

fn flip(file: &Path, at: u64) {
    let handle = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    handle.read_exact_at(&mut byte, at).unwrap();
    handle.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

/// Flips a bit in the stored bytes of a unit.
fn flip_in(folder: &Path, sample: &Sample, stripe: u32) {
    flip_at(folder, &sample.payload(stripe)[1000..1064]);
}

/// Flips a bit where some bytes stand.
fn flip_at(folder: &Path, needle: &[u8]) {
    for file in files_in(folder) {
        let bytes = fs::read(&file).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            return flip(&file, at as u64 + 7);
        }
    }
    panic!("the bytes are in no file");
}

fn refusal(options: &DiskOptions) -> String {
    match RocksShardStore::open(options) {
        Err(ShardStoreError::Refused { problem, .. }) => problem,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_and_never_served() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let sample = Sample::new(1, 4 << 20);
    sample.write(&*disk, WriteMode::New).await.unwrap();
    flip_in(&folder.path().join("log-0"), &sample, 2);
    assert_eq!(disk.scrub(sample.key()).await.unwrap(), [2]);
    let units = disk.read_units(sample.key(), 0..4).await.unwrap();
    for (stripe, unit) in (0..).zip(&units) {
        let is_sound = unit.as_ref().is_some_and(|unit| SealedUnit::open(sample.place(stripe), unit).is_ok());
        assert_eq!(is_sound, stripe != 2);
    }
    assert!(disk.status().errors > 0);
    sample.write(&*disk, WriteMode::Replace).await.unwrap();
    sample.check(&*disk).await;
    disk.clean().await.unwrap();
    assert_eq!(disk.core().index.files().len(), 1, "the bad one's file is gone");
    check_balance(&disk.core());
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_unit_is_not_copied_and_keeps_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let (dead, living) = (Sample::new(1, 16 << 20), Sample::new(2, 2 << 20));
    let mut writer = living.begin(&*disk, WriteMode::New).await.unwrap();
    for stripe in 0..2 {
        writer.write_unit(living.unit(stripe)).await.unwrap();
    }
    dead.write(&*disk, WriteMode::New).await.unwrap();
    writer.finish().await.unwrap();
    delete(&disk, &[dead.key()]).await;
    flip_in(&folder.path().join("log-0"), &living, 1);
    let told = disk.clean().await.unwrap().bad;
    assert_eq!(told.iter().map(|shard| shard.key).collect::<Vec<_>>(), [living.key()]);
    assert!(disk.clean().await.unwrap().bad.is_empty(), "told once");
    assert_eq!(disk.scrub(living.key()).await.unwrap(), [1], "the sound unit is still there");
    check_balance(&disk.core());
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_bad_unit_is_cleaned_when_its_shard_was_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    // A round copies one shard.
    options.clean.copy_bytes_max = 1;
    let disk = RocksShardStore::open(&options).unwrap();
    // One file: two that live and one that does not. The bad one comes first.
    let [dead, bad, good] = [(1, 16 << 20), (2, 2 << 20), (3, 2 << 20)].map(|(n, bytes)| Sample::new(n, bytes));
    let mut writers = Vec::new();
    for sample in [&bad, &good] {
        let mut writer = sample.begin(&*disk, WriteMode::New).await.unwrap();
        for stripe in 0..2 {
            writer.write_unit(sample.unit(stripe)).await.unwrap();
        }
        writers.push(writer);
    }
    dead.write(&*disk, WriteMode::New).await.unwrap();
    for writer in writers {
        writer.finish().await.unwrap();
    }
    delete(&disk, &[dead.key()]).await;
    let file = *disk.core().index.files().first_key_value().unwrap().0;
    flip_in(&folder.path().join("log-0"), &bad, 1);
    for _ in 0..3 {
        disk.clean().await.unwrap();
    }
    assert!(disk.core().index.files().contains_key(&file));
    let errors = disk.status().errors;
    disk.clean().await.unwrap();
    assert_eq!(disk.status().errors, errors, "it is not read again while nothing changed");
    // As repair does.
    bad.write(&*disk, WriteMode::Replace).await.unwrap();
    for _ in 0..3 {
        disk.clean().await.unwrap();
    }
    assert!(!disk.core().index.files().contains_key(&file), "its space came back");
    for sample in [&bad, &good] {
        sample.check(&*disk).await;
    }
    check_balance(&disk.core());
    disk.close().await;
}

/// A table that nothing can be read of keeps the next start from opening the log: it goes when its shards were made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_ruined_file_goes_when_all_of_it_was_made_anew() {
    for ruin in ["cut", "zeros"] {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path());
        let samples: Vec<_> = (0..3).map(|number| Sample::new(number, (1 + number) << 20)).collect();
        for sample in &samples {
            sample.write(&*disk, WriteMode::New).await.unwrap();
        }
        // Not the small one of what the log says of itself.
        let is_table = |file: &PathBuf| {
            file.extension().is_some_and(|extension| extension == "sst") && fs::metadata(file).unwrap().len() > 100_000
        };
        let tables: Vec<_> = files_in(&folder.path().join("log-0")).into_iter().filter(is_table).collect();
        assert!(!tables.is_empty());
        for table in &tables {
            let length = usize::try_from(fs::metadata(table).unwrap().len()).unwrap();
            fs::write(table, vec![0; if ruin == "cut" { 100 } else { length }]).unwrap();
        }
        for sample in &samples {
            sample.write(&*disk, WriteMode::Replace).await.unwrap();
        }
        assert!(disk.status().dead_files > 0);
        disk.clean().await.unwrap();
        assert_eq!(disk.status().dead_files, 0);
        assert!(tables.iter().all(|table| !table.exists()), "{ruin}");
        disk.close().await;
        let disk = open(folder.path());
        for sample in &samples {
            sample.check(&*disk).await;
        }
        disk.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_damaged_index_is_rebuilt_from_the_log() {
    for damage in ["removed", "manifest", "marked"] {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path());
        let samples: Vec<_> = (0..4).map(|number| Sample::new(number, (1 + number) << 20)).collect();
        for sample in &samples {
            sample.write(&*disk, WriteMode::New).await.unwrap();
        }
        samples[0].write(&*disk, WriteMode::Replace).await.unwrap();
        let small = Sample::new(9, 1000);
        small.write(&*disk, WriteMode::New).await.unwrap();
        disk.delete(&[Sample::new(30, 1000).key()], DeleteOrder { index: MetaIndex(70), reason: DeleteReason::Dead })
            .await
            .unwrap();
        disk.tell(LogPosition { term: 3, index: MetaIndex(80) }).await.unwrap();
        disk.close().await;
        let index = folder.path().join("index");
        match damage {
            "removed" => fs::remove_dir_all(&index).unwrap(),
            "marked" => fs::write(folder.path().join("CAIRN-REBUILD-INDEX"), "").unwrap(),
            _ => {
                let manifests = files_in(&index).into_iter().filter(|file| file.to_string_lossy().contains("MANIFEST"));
                manifests.for_each(|file| fs::write(file, [0xff; 100]).unwrap());
            }
        }
        let disk = open(folder.path());
        for sample in &samples {
            sample.check(&*disk).await;
        }
        small.check_absent(&*disk).await;
        assert!(disk.status().errors > 0);
        assert_eq!(disk.list(None, 10).await.unwrap().len(), 4, "{damage}");
        assert_eq!(disk.answered(), MetaIndex(70), "what the group said is not forgotten with the index");
        assert_eq!(disk.told(), LogPosition { term: 3, index: MetaIndex(80) });
        check_balance(&disk.core());
        small.write(&*disk, WriteMode::New).await.unwrap();
        Sample::new(20, 1 << 20).write(&*disk, WriteMode::New).await.unwrap();
        disk.close().await;
        let disk = open(folder.path());
        assert_eq!(disk.list(None, 10).await.unwrap().len(), 6, "{damage}");
        disk.close().await;
    }
}

/// Shards that cleaning put into one file, one header beside the other.
async fn merged(folder: &Path, count: u64) -> Vec<Sample> {
    let mut options = options(folder);
    options.clean.merge_always_over_files = 1;
    let disk = RocksShardStore::open(&options).unwrap();
    let samples: Vec<_> = (10..10 + count).map(|number| Sample::new(number, 1 << 20)).collect();
    for sample in &samples {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    disk.clean().await.unwrap();
    assert_eq!(disk.core().index.files().len(), 1);
    disk.close().await;
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_cannot_be_read_in_a_rebuild_keeps_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let samples = merged(folder.path(), 6).await;
    flip_at(&folder.path().join("log-0"), &samples[0].header.label);
    fs::remove_dir_all(folder.path().join("index")).unwrap();
    let disk = open(folder.path());
    assert!(disk.status().errors > 0);
    samples[0].check_absent(&*disk).await;
    let (file, row) = disk.core().index.files().first_key_value().map(|(file, row)| (*file, *row)).unwrap();
    assert!(row.live >= row.bytes, "what cannot be read is not known to be dead: {row:?}");
    let keys: Vec<_> = samples[1..].iter().map(Sample::key).collect();
    assert_eq!(delete(&disk, &keys).await, 5);
    disk.clean().await.unwrap();
    assert_eq!(disk.core().index.files().keys().copied().collect::<Vec<_>>(), [file], "its units are still there");
    disk.close().await;
    let disk = open(folder.path());
    assert_eq!(disk.core().index.files().len(), 1, "nor does a start drop it");
    assert!(du(&folder.path().join("log-0")) > 6 << 18);
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_read_its_headers_is_not_rebuilt_without_them() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    for number in 0..30 {
        Sample::new(number, 1 << 20).write(&*disk, WriteMode::New).await.unwrap();
    }
    disk.close().await;
    let cache = rocksdb::Cache::new_lru_cache(1 << 20);
    let files = OpenFiles { index: 20, log: 20 };
    let log = Arc::new(open_log(&folder.path().join("log-0"), &cache, files, false).unwrap());
    let found = log_files(&log).unwrap();
    // Links in a circle: what RocksDB has not opened yet fails with an error of the file system, not with damage.
    for file in files_in(&folder.path().join("log-0")) {
        if file.extension().is_some_and(|extension| extension == "sst") {
            fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink(file.file_name().unwrap(), &file).unwrap();
        }
    }
    let empty = open_index(&folder.path().join("another"), &cache, files, true).unwrap();
    let rebuilt = rebuild(&Index::load(empty).unwrap(), &found);
    assert!(matches!(&rebuilt, Err(ShardStoreError::Engine(text)) if text.contains("symbolic link")), "{rebuilt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_what_did_not_reach_the_disk_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let [before, good, bad] = [1, 2, 3].map(|number| Sample::new(number, 2 << 20));
    before.write(&*disk, WriteMode::New).await.unwrap();
    disk.close().await;
    let disk = open(folder.path());
    for sample in [&good, &bad] {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    disk.vitals.health.fail_writes("for the test");
    disk.close().await;
    flip_in(&folder.path().join("log-0"), &bad, 1);
    flip_in(&folder.path().join("log-0"), &before, 1);

    let disk = open(folder.path());
    assert_eq!(disk.status().state, DiskState::Serving);
    good.check(&*disk).await;
    bad.check_absent(&*disk).await;
    assert!(disk.status().errors > 0);
    // Of an earlier run, which ended well: for scrubbing to find.
    assert_eq!(disk.scrub(before.key()).await.unwrap(), [1]);
    check_balance(&disk.core());
    disk.close().await;
    let disk = open(folder.path());
    assert_eq!(disk.status().errors, 0, "read back once, not at each start");
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_ends_writing_and_the_next_start_rebuilds() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let sample = Sample::new(1, 1 << 20);
    sample.write(&*disk, WriteMode::New).await.unwrap();
    let core = disk.core();
    let rows = core.index.db.cf_handle("shards").unwrap();
    core.index.db.put_cf(rows, super::keys::shard_key(sample.key()), [9, 9, 9]).unwrap();
    drop(core);
    assert!(matches!(disk.header(sample.key()).await, Err(ShardStoreError::Damaged { .. })));
    assert!(matches!(disk.status().state, DiskState::ReadOnly(FenceReason::ReadFailed(_))));
    disk.close().await;
    let disk = open(folder.path());
    sample.check(&*disk).await;
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_are_not_this_disk_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(refusal(&options(&at("missing"))).contains("does not exist"));
    fs::write(at("file"), "x").unwrap();
    assert!(refusal(&options(&at("file"))).contains("is a file"));
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full").join("photo.jpg"), "x").unwrap();
    assert!(refusal(&options(&at("full"))).contains("photo.jpg"));
    fs::create_dir(at("unmounted")).unwrap();
    let unmounted = DiskOptions { refuse_unmounted: true, ..options(&at("unmounted")) };
    assert!(refusal(&unmounted).contains("mount"));
    assert_eq!(files_in(&at("unmounted")).len(), 0, "nothing was written there");

    for name in ["one", "two"] {
        fs::create_dir(at(name)).unwrap();
        let id = DiskId(name.len() as u128 + u128::from(name.as_bytes()[0]));
        RocksShardStore::open(&DiskOptions { new_id: id, ..options(&at(name)) }).unwrap().close().await;
    }
    let foreign = DiskOptions { cluster_id: 78, ..options(&at("one")) };
    assert!(refusal(&foreign).contains("belongs to cluster"));
    // Two disks mixed up.
    fs::rename(at("one").join("log-0"), at("spare")).unwrap();
    fs::rename(at("two").join("log-0"), at("one").join("log-0")).unwrap();
    assert!(refusal(&options(&at("one"))).contains("mixed up"));
    assert!(refusal(&options(&at("two"))).contains("log-0 is missing"));
    fs::rename(at("one").join("log-0"), at("two").join("log-0")).unwrap();
    fs::rename(at("spare"), at("one").join("log-0")).unwrap();
    open(&at("one")).close().await;

    let marker = at("two").join("CAIRN-DISK");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text.replace("format 1", "format 2")).unwrap();
    assert!(refusal(&options(&at("two"))).contains("newer cairn"));
    fs::write(&marker, "cairn disk\n").unwrap();
    assert!(refusal(&options(&at("two"))).contains("damaged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_formatting_cut_short_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().await;
    let marker = super::folder::read_marker(folder.path()).unwrap().unwrap();
    super::folder::write_marker(folder.path(), &super::folder::Marker { ready: false, ..marker }).unwrap();
    fs::remove_dir_all(folder.path().join("log-0")).unwrap();
    let disk = open(folder.path());
    assert_eq!(disk.id(), marker.id);
    Sample::new(1, 1 << 20).write(&*disk, WriteMode::New).await.unwrap();
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_do_not_share_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    Sample::new(1, 1000).write(&*disk, WriteMode::New).await.unwrap();
    assert!(refusal(&options(folder.path())).contains("has it open"), "in use is not damaged");
    Sample::new(1, 1000).check(&*disk).await;
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_shards_give_their_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let empty = du(folder.path());
    let samples: Vec<_> = (0..8).map(|number| Sample::with_profile(number, 8 << 20, (1, 0))).collect();
    for sample in &samples {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    assert!(du(folder.path()) - empty > 64 << 20);
    let keys: Vec<_> = samples.iter().map(Sample::key).collect();
    delete(&disk, &keys[..4]).await;
    let half = du(folder.path()) - empty;
    assert!(half < 34 << 20, "{half} bytes for 32 MiB");
    delete(&disk, &keys[4..]).await;
    let rest = du(folder.path()) - empty;
    assert!(rest < 1 << 20, "{rest} bytes for nothing");
    disk.close().await;
}

/// Bytes this process had written to disks.
fn bytes_written() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

#[test]
fn every_byte_of_a_large_shard_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = super::crash_test::run_alone("rocks::damage_test::write_large_shards", folder.path());
    let written: u64 = text.lines().find_map(|line| line.strip_prefix("written ")).unwrap().parse().unwrap();
    let stored = 8 * (16 << 20);
    // A file system in memory counts nothing written; then the files themselves are what is left to look at.
    let written = written.max(du(folder.path()));
    assert!(written >= stored && written < stored + stored / 20, "{written} bytes for {stored}");
}

#[test]
#[ignore = "the child of every_byte_of_a_large_shard_is_written_once"]
fn write_large_shards() {
    let folder = std::env::var_os(super::crash_test::FOLDER_VARIABLE).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let disk = open(Path::new(&folder));
        let before = bytes_written();
        for number in 0..8 {
            Sample::with_profile(number, 16 << 20, (1, 0)).write(&*disk, WriteMode::New).await.unwrap();
        }
        println!("\nwritten {}", bytes_written() - before);
        disk.close().await;
    });
}

/// Bytes this process handed over to files, whatever the file system made of them.
fn bytes_handed_over() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

#[test]
fn what_is_merged_while_clients_write_is_not_merged_over_and_over() {
    let folder = tempfile::tempdir().unwrap();
    let text = super::crash_test::run_alone("rocks::damage_test::write_and_merge", folder.path());
    let figure =
        |name: &str| -> u64 { text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap() };
    let (written, stored) = (figure("written "), figure("stored "));
    println!("{} bytes written for 100 stored, {} files", written * 100 / stored, figure("files "));
    assert!(figure("files ") < 100);
    assert!(written < stored * 3, "{written} bytes for {stored}");
}

#[test]
#[ignore = "the child of what_is_merged_while_clients_write_is_not_merged_over_and_over"]
fn write_and_merge() {
    const WRITERS: u64 = 4;
    const SHARDS: u64 = 500;
    let folder = std::env::var_os(super::crash_test::FOLDER_VARIABLE).unwrap();
    let mut options = options(Path::new(&folder));
    // Sizes as they are, and fewer files to begin with.
    options.clean.merge_always_over_files = 64;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let disk = RocksShardStore::open(&options).unwrap();
        let before = bytes_handed_over();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let disk = Arc::clone(&disk);
            writers.spawn(async move {
                for number in 0..SHARDS {
                    let sample = Sample::with_profile(number * WRITERS + writer, 128 << 10, (1, 0));
                    sample.write(&*disk, WriteMode::New).await.unwrap();
                }
            });
        }
        while !writers.is_empty() {
            disk.clean().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            while let Some(ended) = writers.try_join_next() {
                ended.unwrap();
            }
        }
        while disk.clean().await.unwrap().bytes_freed > 0 {}
        let written = bytes_handed_over() - before;
        println!("\nwritten {written}\nstored {}", disk.status().bytes_live);
        println!("files {}", disk.core().index.files().len());
        disk.close().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_nothing_panics_and_nothing_wrong_is_served() {
    let mut rng = StdRng::seed_from_u64(seed());
    let whole = tempfile::tempdir().unwrap();
    let disk = open(whole.path());
    let samples: Vec<_> =
        (0..12).map(|number| Sample::new(number, if number % 2 == 0 { 900 } else { 2 << 20 })).collect();
    for sample in &samples {
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    disk.close().await;
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        fs::remove_dir(folder.path()).unwrap();
        copy(whole.path(), folder.path());
        let files: Vec<_> =
            files_in(folder.path()).into_iter().filter(|file| fs::metadata(file).unwrap().len() > 0).collect();
        for _ in 0..4 {
            let file = files.choose(&mut rng).unwrap();
            flip(file, rng.random_range(0..fs::metadata(file).unwrap().len()));
        }
        let disk = match RocksShardStore::open(&options(folder.path())) {
            Ok(disk) => disk,
            Err(ShardStoreError::Refused { .. } | ShardStoreError::Engine(_)) => continue,
            Err(other) => panic!("{other:?}"),
        };
        for sample in &samples {
            let Ok(units) = disk.read_units(sample.key(), 0..sample.stripes()).await else { continue };
            for (stripe, unit) in (0..).zip(units) {
                let payload = unit.and_then(|unit| SealedUnit::open(sample.place(stripe), &unit).ok());
                assert!(payload.is_none_or(|payload| payload == sample.payload(stripe)));
            }
            let _ = disk.scrub(sample.key()).await;
        }
        let _ = disk.clean().await;
        disk.close().await;
    }
}

/// What rots between the writing of a file and its commit was never acknowledged: its shards are refused, and so are those
/// that have only some units in it. The disk goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_rots_before_its_commit_is_given_up_alone() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let (whole, across, later) = (Sample::new(1, 16 << 20), Sample::new(2, 16 << 20), Sample::new(3, 16 << 20));
    let mut writer = whole.begin(&*disk, WriteMode::New).await.unwrap();
    let mut second = across.begin(&*disk, WriteMode::New).await.unwrap();
    second.write_unit(across.unit(0)).await.unwrap();
    for stripe in 0..whole.stripes() {
        writer.write_unit(whole.unit(stripe)).await.unwrap();
    }
    let staged = until_staged(&folder.path().join("staging"), 2 << 20).await;
    flip(&staged, 1000);
    assert!(matches!(writer.finish().await, Err(ShardStoreError::Engine(_))));
    assert!(!staged.exists());
    for stripe in 1..across.stripes() {
        second.write_unit(across.unit(stripe)).await.unwrap();
    }
    assert!(matches!(second.finish().await, Err(ShardStoreError::Engine(_))));
    assert_eq!(disk.status().state, DiskState::Serving);
    later.write(&*disk, WriteMode::New).await.unwrap();
    for sample in [&whole, &across] {
        sample.check_absent(&*disk).await;
    }
    check_balance(&disk.core());
    disk.close().await;
    let disk = open(folder.path());
    for sample in [&whole, &across] {
        sample.check_absent(&*disk).await;
        sample.write(&*disk, WriteMode::New).await.unwrap();
    }
    for sample in [&whole, &across, &later] {
        sample.check(&*disk).await;
    }
    check_balance(&disk.core());
    disk.close().await;
}

/// One file that rots is an accident, many are a disk that fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_rots_file_after_file_takes_no_more_writes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    Sample::new(100, 16 << 20).write(&*disk, WriteMode::New).await.unwrap();
    for round in 0..DAMAGED_MAX {
        assert_eq!(disk.status().state, DiskState::Serving, "round {round}");
        let sample = Sample::new(round as u64, 16 << 20);
        let mut writer = sample.begin(&*disk, WriteMode::New).await.unwrap();
        for stripe in 0..sample.stripes() {
            writer.write_unit(sample.unit(stripe)).await.unwrap();
        }
        flip(&until_staged(&folder.path().join("staging"), 2 << 20).await, 1000);
        assert!(matches!(writer.finish().await, Err(ShardStoreError::Engine(_))));
    }
    assert!(matches!(disk.status().state, DiskState::ReadOnly(_)));
    let refused = Sample::new(200, 16 << 20).write(&*disk, WriteMode::New).await;
    assert!(matches!(refused, Err(ShardStoreError::Fenced { .. })));
    Sample::new(100, 16 << 20).check(&*disk).await;
    disk.close().await;
}

/// The file that is being filled, when so much of it is on the disk.
async fn until_staged(staging: &Path, bytes: u64) -> PathBuf {
    for _ in 0..2000 {
        let found = fs::read_dir(staging).unwrap().map(|entry| entry.unwrap().path()).next();
        if let Some(path) = found.filter(|path| fs::metadata(path).is_ok_and(|file| file.len() >= bytes)) {
            return path;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nothing was staged");
}
