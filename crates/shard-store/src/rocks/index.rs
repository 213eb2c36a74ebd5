//! The index: the truth about what a disk holds, and the one way it changes.
//!
//! Every change is a [`Draft`]: it reads rows as they stand (its own changes included), and puts rows, the balance of
//! the files they lie in, and the counters into one batch. Only the index thread (and the start, before there is one)
//! commits drafts; that is the one lock of compare-and-swap.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rocksdb::{CompactOptions, DB, Direction, IteratorMode, WriteBatch};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    engine::{INDEX_FAMILIES, engine_error, family, unsynced},
    keys::{
        CF_BY_FILE, CF_FILES, CF_SHARDS, CF_UNITS, FileId, LogKey, STATE_COUNTERS, by_file_key, shard_key,
        shard_key_from, unit_key,
    },
    rows::{Counters, FileRow, Lane, ShardRow, decode, encode},
};
use crate::{SealedUnit, ShardKey, ShardStoreError};

/// The instance with what is kept of it in memory.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) db: DB,
    files: Mutex<BTreeMap<FileId, FileRow>>,
    counters: Mutex<Counters>,
}

/// Why a row was not to be had. Damage ends writing, see `Health::fail_index`.
pub(super) type IndexResult<T> = Result<T, IndexError>;

/// Errors of the index.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("damaged: {0}")]
    Damaged(String),
    #[error("{0}")]
    Engine(String),
}

impl From<rocksdb::Error> for IndexError {
    fn from(error: rocksdb::Error) -> Self {
        if error.kind() == rocksdb::ErrorKind::Corruption {
            return Self::Damaged(error.to_string());
        }
        Self::Engine(error.to_string())
    }
}

impl From<cairn_proto::RecordError> for IndexError {
    fn from(error: cairn_proto::RecordError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<ShardStoreError> for IndexError {
    fn from(error: ShardStoreError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<IndexError> for ShardStoreError {
    fn from(error: IndexError) -> Self {
        engine_error(error)
    }
}

impl Index {
    /// Reads the file rows and counters of an instance.
    pub(super) fn load(db: DB) -> IndexResult<Self> {
        let counters = get_state(&db, STATE_COUNTERS)?.unwrap_or_default();
        let mut files = BTreeMap::new();
        for row in db.iterator_cf(family(&db, CF_FILES)?, IteratorMode::Start) {
            let (key, value) = row?;
            let key = LogKey::from_slice(&key).ok_or_else(|| IndexError::Damaged("key of a file row".to_owned()))?;
            files.insert(FileId(key), decode(&value)?);
        }
        Ok(Self { db, files: Mutex::new(files), counters: Mutex::new(counters) })
    }

    pub(super) fn row(&self, key: ShardKey) -> IndexResult<Option<ShardRow>> {
        let value = self.db.get_pinned_cf(family(&self.db, CF_SHARDS)?, shard_key(key))?;
        Ok(value.map(|value| decode(&value)).transpose()?)
    }

    /// Rows in order of key, at most `limit` after `after`.
    pub(super) fn rows_after(&self, after: Option<ShardKey>, limit: usize) -> IndexResult<Vec<ShardRow>> {
        let from = after.map(shard_key);
        let mode = from.as_ref().map_or(IteratorMode::Start, |key| IteratorMode::From(key, Direction::Forward));
        let mut rows = Vec::new();
        for row in self.db.iterator_cf(family(&self.db, CF_SHARDS)?, mode) {
            let (key, value) = row?;
            if from.as_ref().is_some_and(|from| from[..] == key[..]) {
                continue;
            }
            if rows.len() == limit {
                break;
            }
            rows.push(decode(&value)?);
        }
        Ok(rows)
    }

    /// The shards that have bytes in a file, at most `limit`.
    pub(super) fn shards_in(&self, file: FileId, limit: usize) -> IndexResult<Vec<ShardKey>> {
        let prefix = file.0.to_bytes();
        let mode = IteratorMode::From(&prefix, Direction::Forward);
        let mut keys = Vec::new();
        for row in self.db.iterator_cf(family(&self.db, CF_BY_FILE)?, mode) {
            let (key, _) = row?;
            let Some(shard) = key.strip_prefix(&prefix[..]) else { break };
            if keys.len() == limit {
                break;
            }
            keys.push(shard_key_from(shard).ok_or_else(|| IndexError::Damaged("key of a by-file row".to_owned()))?);
        }
        Ok(keys)
    }

    pub(super) fn wal_unit(&self, key: ShardKey, stripe: u32) -> IndexResult<Option<Vec<u8>>> {
        Ok(self.db.get_cf(family(&self.db, CF_UNITS)?, unit_key(key, stripe))?)
    }

    pub(super) fn files(&self) -> MutexGuard<'_, BTreeMap<FileId, FileRow>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn draft(&self) -> Draft<'_> {
        Draft {
            index: self,
            batch: WriteBatch::default(),
            rows: HashMap::new(),
            files: BTreeMap::new(),
            counters: self.counters(),
        }
    }

    /// Bytes of the WAL lane that died since the lane was last compacted.
    pub(super) fn wal_dead(&self) -> u64 {
        self.counters().wal_dead
    }

    /// Bytes of the index's files, those of the WAL lane among them.
    pub(super) fn file_bytes(&self) -> u64 {
        INDEX_FAMILIES.iter().map(|name| self.family_bytes(name)).sum()
    }

    /// Bytes of the WAL lane's files.
    pub(super) fn wal_file_bytes(&self) -> u64 {
        self.family_bytes(CF_UNITS)
    }

    fn family_bytes(&self, name: &str) -> u64 {
        let Ok(family) = family(&self.db, name) else { return 0 };
        self.db.property_int_value_cf(family, "rocksdb.total-sst-files-size").ok().flatten().unwrap_or(0)
    }

    /// Gives back what dead units in a range of the WAL lane take: a delete alone is one more entry, and only a
    /// compaction drops both. The range begins at a key and has about so many bytes. Answers where the next one begins;
    /// none at the lane's end. Writes go on meanwhile.
    pub(super) fn compact_wal_lane(&self, from: &[u8], bytes_max: u64) -> IndexResult<Option<Vec<u8>>> {
        let tables = self.db.live_files()?.into_iter().filter(|table| table.column_family_name == CF_UNITS);
        let ends = tables.filter_map(|table| Some((table.end_key?, table.size as u64))).collect();
        let last = last_of_range(ends, from, bytes_max);
        let mut options = CompactOptions::default();
        // Else RocksDB compacts nothing beside it, and writes wait for that in the end.
        options.set_exclusive_manual_compaction(false);
        self.db.compact_range_cf_opt(family(&self.db, CF_UNITS)?, Some(from), last.as_deref(), &options);
        // The next key.
        Ok(last.map(|last| [&last[..], &[0]].concat()))
    }

    /// Makes every committed draft durable.
    pub(super) fn sync(&self) -> IndexResult<()> {
        Ok(self.db.flush_wal(true)?)
    }
}

/// The last key of a range that begins at a key and has tables of so many bytes, given each table's last key and bytes.
/// None where the range is the rest: what is not in a table yet belongs to it.
fn last_of_range(mut tables: Vec<(Vec<u8>, u64)>, from: &[u8], bytes_max: u64) -> Option<Vec<u8>> {
    tables.retain(|(last, _)| &last[..] >= from);
    tables.sort_unstable();
    let mut bytes = 0_u64;
    let at = tables.iter().position(|(_, size)| {
        bytes = bytes.saturating_add(*size);
        bytes >= bytes_max
    })?;
    (at + 1 < tables.len()).then(|| tables.swap_remove(at).0)
}

/// A state row of an instance.
pub(super) fn get_state<T: DeserializeOwned>(db: &DB, name: &[u8]) -> IndexResult<Option<T>> {
    let value = db.get_pinned(name)?;
    Ok(value.map(|value| decode(&value)).transpose()?)
}

/// Changes that become visible together.
pub(super) struct Draft<'a> {
    index: &'a Index,
    batch: WriteBatch,
    rows: HashMap<ShardKey, Option<ShardRow>>,
    /// Files changed; `None` is a file that was dropped.
    files: BTreeMap<FileId, Option<FileRow>>,
    counters: Counters,
}

impl Draft<'_> {
    pub(super) fn row(&self, key: ShardKey) -> IndexResult<Option<ShardRow>> {
        match self.rows.get(&key) {
            Some(row) => Ok(row.clone()),
            None => self.index.row(key),
        }
    }

    /// Puts a row in place of the one that stands, or takes that away.
    pub(super) fn set_row(&mut self, key: ShardKey, new: Option<ShardRow>) -> IndexResult<()> {
        let old = self.row(key)?;
        let db = &self.index.db;
        if let Some(old) = &old {
            for (file, bytes) in old.weights() {
                self.change_live(file, |live| live.checked_sub(bytes));
                self.batch.delete_cf(family(db, CF_BY_FILE)?, by_file_key(file, key));
            }
            if let Lane::Wal(units) = old.lane {
                for stripe in 0..units {
                    self.batch.delete_cf(family(db, CF_UNITS)?, unit_key(key, stripe));
                }
                self.counters.wal_dead = self.counters.wal_dead.saturating_add(old.payload_bytes);
            }
            self.counters.shards = self.counters.shards.saturating_sub(1);
            self.counters.bytes_live = self.counters.bytes_live.saturating_sub(old.payload_bytes);
        }
        match &new {
            Some(new) => {
                for (file, bytes) in new.weights() {
                    self.change_live(file, |live| live.checked_add(bytes));
                    self.batch.put_cf(family(db, CF_BY_FILE)?, by_file_key(file, key), []);
                }
                self.batch.put_cf(family(db, CF_SHARDS)?, shard_key(key), encode(new)?);
                self.counters.shards += 1;
                self.counters.bytes_live = self.counters.bytes_live.saturating_add(new.payload_bytes);
            }
            None => self.batch.delete_cf(family(db, CF_SHARDS)?, shard_key(key)),
        }
        self.rows.insert(key, new);
        Ok(())
    }

    /// Units of a WAL-lane shard; after [`Self::set_row`], which takes the former ones away.
    pub(super) fn put_units(&mut self, key: ShardKey, units: &[SealedUnit]) -> IndexResult<()> {
        for unit in units {
            self.batch.put_cf(family(&self.index.db, CF_UNITS)?, unit_key(key, unit.place().stripe), unit.stored());
        }
        Ok(())
    }

    pub(super) fn set_file(&mut self, file: FileId, row: Option<FileRow>) {
        self.files.insert(file, row);
    }

    /// So many dead bytes of the WAL lane were given back.
    pub(super) fn lane_compacted(&mut self, dead: u64) {
        self.counters.wal_dead = self.counters.wal_dead.saturating_sub(dead);
    }

    pub(super) fn set_state<T: Serialize>(&mut self, name: &[u8], value: T) -> IndexResult<()> {
        self.batch.put(name, encode(value)?);
        Ok(())
    }

    fn change_live(&mut self, file: FileId, change: impl Fn(u64) -> Option<u64>) {
        let index = self.index;
        let row = self.files.entry(file).or_insert_with(|| index.files().get(&file).copied());
        match row.as_mut().and_then(|row| Some((change(row.live)?, row))) {
            Some((live, row)) => row.live = live,
            // A balance that does not fit is a file that is cleaned too late or looked at once too often; no harm.
            None => tracing::error!(?file, "the balance of a log file does not fit its shards"),
        }
    }

    /// Writes the batch, not synced, and brings memory up to it.
    pub(super) fn commit(mut self) -> IndexResult<()> {
        let db = &self.index.db;
        for (file, row) in &self.files {
            let key = file.0.to_bytes();
            match row {
                Some(row) => self.batch.put_cf(family(db, CF_FILES)?, key, encode(row)?),
                None => self.batch.delete_cf(family(db, CF_FILES)?, key),
            }
        }
        self.batch.put(STATE_COUNTERS, encode(self.counters)?);
        db.write_opt(self.batch, &unsynced())?;
        let mut files = self.index.files();
        for (file, row) in self.files {
            match row {
                Some(row) => files.insert(file, row),
                None => files.remove(&file),
            };
        }
        *self.index.counters.lock().unwrap_or_else(PoisonError::into_inner) = self.counters;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_the_wal_lane_end_with_tables() {
        // The last one spans the lane: a table of deletes.
        let tables = || [(b"b", 10), (b"d", 10), (b"f", 10), (b"h", 1)].map(|(last, bytes)| (last.to_vec(), bytes));
        let last = |from: &[u8], bytes_max| last_of_range(tables().to_vec(), from, bytes_max);
        assert_eq!(last(b"", 10), Some(b"b".to_vec()));
        assert_eq!(last(b"", 11), Some(b"d".to_vec()));
        assert_eq!(last(b"b\0", 20), Some(b"f".to_vec()));
        assert_eq!(last(b"f\0", 1), None, "the last table's range is the rest");
        assert_eq!(last(b"b\0", 100), None);
        assert_eq!(last_of_range(Vec::new(), b"", 10), None);
    }
}
