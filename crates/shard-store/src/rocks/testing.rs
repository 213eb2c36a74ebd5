//! What the tests of a RocksDB disk share.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_proto::{DiskId, Index};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{DiskOptions, RocksShardStore, core::Core};
use crate::{DeleteOrder, DeleteReason, ShardKey, ShardStore, Space, SpaceSource};

/// From `CAIRN_SEED`, else drawn; said, so that a failure can be repeated.
pub(super) fn seed() -> u64 {
    let drawn = || StdRng::from_os_rng().random();
    let seed = std::env::var("CAIRN_SEED").map_or_else(|_| drawn(), |seed| seed.parse().unwrap());
    println!("CAIRN_SEED={seed}");
    seed
}

pub(super) const CLUSTER: u128 = 77;

/// A disk with room, whatever the machine has.
pub(super) fn options(folder: &Path) -> DiskOptions {
    let space = SpaceSource::new(|_| Ok(Space { bytes_total: 1 << 40, bytes_free: 1 << 39 }));
    DiskOptions { space, ..DiskOptions::new(folder, CLUSTER, DiskId(1)) }
}

pub(super) fn open(folder: &Path) -> Arc<RocksShardStore> {
    RocksShardStore::open(&options(folder)).unwrap()
}

pub(super) async fn delete(disk: &RocksShardStore, keys: &[ShardKey]) -> u64 {
    disk.delete(keys, DeleteOrder { index: Index(1), reason: DeleteReason::Dead }).await.unwrap()
}

/// Bytes of all files in a folder.
pub(super) fn du(folder: &Path) -> u64 {
    files_in(folder).iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
}

/// All files in a folder and the folders in it.
pub(super) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A copy of a folder with all in it.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The balance of each file and the counters are exactly those of the rows.
pub(super) fn check_balance(core: &Core) {
    let rows = core.index.rows_after(None, usize::MAX).unwrap();
    let mut live = BTreeMap::new();
    for (file, bytes) in rows.iter().flat_map(super::rows::ShardRow::weights) {
        *live.entry(file).or_insert(0) += bytes;
    }
    let files = core.index.files().clone();
    for (file, row) in &files {
        assert_eq!(row.live, live.remove(file).unwrap_or(0), "balance of {file:?}");
        assert!(row.live <= row.bytes, "{file:?}: {row:?}");
    }
    assert!(live.is_empty(), "shards in files that are not known: {live:?}");
    let counters = core.index.counters();
    assert_eq!(counters.shards, rows.len() as u64);
    assert_eq!(counters.bytes_live, rows.iter().map(|row| row.payload_bytes).sum::<u64>());
}
