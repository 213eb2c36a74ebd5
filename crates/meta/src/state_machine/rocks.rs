//! The rows on disk: a RocksDB instance of their own, without a WAL (the log is it) and with one column family, so
//! that what a flush makes durable is the state after some whole batch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, ErrorKind, Options};
use rocksdb::{ReadOptions, ReadTier, SliceTransform};
use rocksdb::{SnapshotWithThreadMode, WriteBatch, WriteOptions};

use super::store::{CheckpointFolder, Rows, SnapshotData, StateStore};
use crate::keys::{self, OBJECT_NAME_FILTER};
use crate::rows::{Change, RowsError, RowsRead};

const WRITE_BUFFER_BYTES: usize = 32 << 20;
const CACHE_BYTES: usize = 64 << 20;
const FILTER_BITS: f64 = 10.0;

/// Rows on disk.
pub(crate) struct RocksState {
    opened: Arc<Opened>,
}

/// The instance, shared with the views of it. Fields are dropped in order: the instance before its folder.
struct Opened {
    db: DB,
    folder: RetiredFolder,
}

struct RetiredFolder {
    path: PathBuf,
    retired: AtomicBool,
}

impl Drop for RetiredFolder {
    fn drop(&mut self) {
        if self.retired.load(Ordering::SeqCst)
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "an old state cannot be removed");
        }
    }
}

fn options(create: bool) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(FILTER_BITS, false);
    table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(create);
    options.set_paranoid_checks(true);
    options.set_block_based_table_factory(&table);
    // A key that does not exist costs no read: an object is looked up by a scan of its versions, and beside whole keys
    // the filters hold the names. Tables without names in their filter are read as before.
    options.set_prefix_extractor(SliceTransform::create(OBJECT_NAME_FILTER, name_or_all, Some(has_name)));
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_keep_log_file_num(4);
    options.set_max_open_files(256);
    options
}

/// RocksDB asks only for keys that have a name; for others all of the key does no harm.
fn name_or_all(key: &[u8]) -> &[u8] {
    keys::object_name(key).unwrap_or(key)
}

fn has_name(key: &[u8]) -> bool {
    keys::object_name(key).is_some()
}

/// Whether all keys of a range are rows of one object, so that the filters can tell that there are none.
fn is_one_object(from: &[u8], end: &[u8]) -> bool {
    keys::object_name(from).is_some_and(|name| end <= &keys::after_prefix(name.to_vec())[..])
}

impl RocksState {
    /// Opens rows, which must be there unless `create`.
    pub(crate) fn open(folder: &Path, create: bool) -> io::Result<Self> {
        let db = DB::open(&options(create), folder).map_err(io::Error::other)?;
        let folder = RetiredFolder { path: folder.to_owned(), retired: AtomicBool::new(false) };
        Ok(Self { opened: Arc::new(Opened { db, folder }) })
    }

    /// A value of a checkpoint that nobody has open.
    pub(crate) fn peek(folder: &Path, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let db = DB::open_for_read_only(&options(false), folder, false).map_err(io::Error::other)?;
        db.get(key).map_err(io::Error::other)
    }
}

impl StateStore for RocksState {
    fn rows(&self) -> Rows {
        Arc::new(RocksRows::new(&self.opened))
    }

    fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.opened.db.write_opt(batch, &options).map_err(io::Error::other)
    }

    fn flush(&self) -> io::Result<()> {
        self.opened.db.flush().map_err(io::Error::other)
    }

    fn checkpoint(&self, folder: &Path) -> io::Result<SnapshotData> {
        // With a log size of 0 a checkpoint flushes by itself; without a WAL all depends on it, so we do not rely on that.
        self.flush()?;
        Checkpoint::new(&self.opened.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint_with_log_size(folder, 0))
            .map_err(io::Error::other)?;
        Ok(SnapshotData::Folder(Arc::new(CheckpointFolder(folder.to_owned()))))
    }

    fn blocks(&self) -> bool {
        true
    }

    fn retire(&self) {
        self.opened.folder.retired.store(true, Ordering::SeqCst);
    }
}

/// A RocksDB snapshot that keeps its instance open. Fields are dropped in order: the snapshot first.
struct RocksRows {
    snapshot: SnapshotWithThreadMode<'static, DB>,
    _opened: Arc<Opened>,
}

impl RocksRows {
    fn new(opened: &Arc<Opened>) -> Self {
        // SAFETY: the reference points into the `Arc` that is kept beside the snapshot and dropped after it, so it
        // stays valid, and in place, for as long as the snapshot lives; the snapshot is never handed out.
        let db: &'static DB = unsafe { &*std::ptr::from_ref(&opened.db) };
        Self { snapshot: db.snapshot(), _opened: Arc::clone(opened) }
    }
}

/// Without waiting for a disk RocksDB calls what it does not find in memory incomplete.
fn failed(error: &rocksdb::Error) -> RowsError {
    match error.kind() {
        ErrorKind::Incomplete => RowsError::NotInMemory,
        _ => RowsError::Storage(error.to_string()),
    }
}

fn in_memory() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_read_tier(ReadTier::BlockCache);
    options
}

impl RocksRows {
    fn scan_with(
        &self,
        mut options: ReadOptions,
        (from, end): (&[u8], &[u8]),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), RowsError> {
        if from >= end {
            return Ok(());
        }
        options.set_iterate_upper_bound(end);
        // A range of several objects must see tables that do not hold the first one.
        options.set_total_order_seek(!is_one_object(from, end));
        // The iterator that lends its rows: the other one copies each.
        let mut rows = self.snapshot.raw_iterator_opt(options);
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            if !visit(key, value) {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(|error| failed(&error))
    }
}

impl RowsRead for RocksRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        self.snapshot.get(key).map_err(|error| failed(&error))
    }

    fn scan(&self, from: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), RowsError> {
        self.scan_with(ReadOptions::default(), (from, end), visit)
    }

    fn get_in_memory(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        self.snapshot.get_opt(key, in_memory()).map_err(|error| failed(&error))
    }

    fn scan_in_memory(
        &self,
        from: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), RowsError> {
        self.scan_with(in_memory(), (from, end), visit)
    }
}

#[cfg(test)]
mod tests {
    use cairn_proto::{BucketId, Index, VersionId};
    use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};

    use super::*;
    use crate::keys::Named;

    fn key(number: u32) -> Vec<u8> {
        format!("key-{number:06}").into_bytes()
    }

    fn value(number: u32) -> Vec<u8> {
        number.to_be_bytes().repeat(64)
    }

    fn scanned(rows: &Rows, in_memory: bool) -> Result<Vec<Vec<u8>>, RowsError> {
        let mut found = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            found.push(key.to_vec());
            found.len() < 20
        };
        let (from, end) = (key(500), key(600));
        let done =
            if in_memory { rows.scan_in_memory(&from, &end, &mut visit) } else { rows.scan(&from, &end, &mut visit) };
        done.map(|()| found)
    }

    const OBJECTS: u64 = 4_000;

    /// A flushed table of objects with even numbers, whose filter and index alone are in memory.
    fn cold_objects(folder: &Path) -> RocksState {
        let state = RocksState::open(folder, true).unwrap();
        let row = |number| (object_row(number), Some(value(u32::try_from(number).unwrap())));
        state.write((0..OBJECTS).map(|number| row(2 * number)).collect()).unwrap();
        state.flush().unwrap();
        drop(state);
        let state = RocksState::open(folder, false).unwrap();
        assert_eq!(versions(&state.rows(), 1, false).unwrap(), 0);
        state
    }

    fn name(number: u64) -> String {
        format!("folder/object {number:06}")
    }

    fn object_row(number: u64) -> Vec<u8> {
        keys::object(BucketId(1), &name(number), VersionId { index: Index(number), ordinal: 0 })
    }

    /// How many versions of an object there are.
    fn versions(rows: &Rows, number: u64, in_memory: bool) -> Result<usize, RowsError> {
        let (range, mut found) = (Named::Object.of_key(BucketId(1), &name(number)), 0);
        let mut visit = |_: &[u8], _: &[u8]| {
            found += 1;
            true
        };
        match in_memory {
            true => rows.scan_in_memory(&range.from, &range.end, &mut visit),
            false => rows.scan(&range.from, &range.end, &mut visit),
        }
        .map(|()| found)
    }

    fn blocks_read(work: impl FnOnce()) -> u64 {
        set_perf_stats(PerfStatsLevel::EnableCount);
        let mut context = PerfContext::default();
        context.reset();
        work();
        let read = context.metric(PerfMetric::BlockReadCount);
        set_perf_stats(PerfStatsLevel::Disable);
        read
    }

    /// The odd numbers lie between the keys of the table: without the names in its filter each costs a block.
    #[test]
    fn an_object_that_does_not_exist_costs_no_read() {
        let folder = tempfile::tempdir().unwrap();
        let state = cold_objects(folder.path());
        let rows = state.rows();
        let mut unsure = 0;
        let read = blocks_read(|| {
            for number in 0..OBJECTS {
                match versions(&rows, 2 * number + 1, true) {
                    Ok(found) => assert_eq!(found, 0),
                    Err(RowsError::NotInMemory) => unsure += 1,
                    Err(error) => panic!("{error}"),
                }
                if number % 100 == 0 {
                    assert_eq!(versions(&rows, 2 * number + 1, false).unwrap(), 0);
                }
            }
        });
        // The filter errs for one in a hundred.
        assert!(read <= 3 && unsure < OBJECTS / 20, "{read} blocks read, {unsure} not known from memory");
        let found = blocks_read(|| assert_eq!(versions(&rows, 2 * OBJECTS - 2, false).unwrap(), 1));
        assert!(found > 0, "blocks are counted, and what is there is found");
    }

    /// A scan that begins at an object's name and goes on behind it sees what tables without that name hold.
    #[test]
    fn a_range_of_many_objects_sees_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let state = cold_objects(folder.path());
        let from = Named::Object.of_key(BucketId(1), &name(1)).from;
        let end = Named::Object.beginning(BucketId(1), "folder/").end;
        let mut found = 0;
        state
            .rows()
            .scan(&from, &end, &mut |_, _| {
                found += 1;
                true
            })
            .unwrap();
        assert_eq!(found, OBJECTS - 1);
    }

    /// Tables that were written before their filters held names are read in full.
    #[test]
    fn tables_of_before_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut before = Options::default();
        before.create_if_missing(true);
        let mut table = BlockBasedOptions::default();
        table.set_bloom_filter(FILTER_BITS, false);
        before.set_block_based_table_factory(&table);
        let db = DB::open(&before, folder.path()).unwrap();
        for number in 0..100 {
            db.put(object_row(2 * number), value(7)).unwrap();
        }
        db.flush().unwrap();
        drop(db);
        let state = RocksState::open(folder.path(), false).unwrap();
        for number in 0..200 {
            assert_eq!(versions(&state.rows(), number, false).unwrap(), usize::from(number % 2 == 0), "{number}");
        }
        state.write(vec![(object_row(1), Some(value(1)))]).unwrap();
        state.flush().unwrap();
        drop(state);
        // An older program reads the new ones.
        let db = DB::open(&before, folder.path()).unwrap();
        assert!(db.get(object_row(1)).unwrap().is_some() && db.get(object_row(2)).unwrap().is_some());
    }

    /// Never a wrong answer: what is not in memory is told from what is not there.
    #[test]
    fn what_is_not_in_memory_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let state = RocksState::open(folder.path(), true).unwrap();
        state.write((0..5_000).map(|number| (key(number), Some(value(number)))).collect()).unwrap();
        let fresh = state.rows();
        assert_eq!(fresh.get_in_memory(&key(700)).unwrap(), Some(value(700)), "not flushed yet");
        drop(fresh);
        state.flush().unwrap();
        drop(state);

        let state = RocksState::open(folder.path(), false).unwrap();
        let rows = state.rows();
        for number in [0, 700, 4_999] {
            let cold = rows.get_in_memory(&key(number));
            assert!(matches!(cold, Err(RowsError::NotInMemory)), "{cold:?}");
            assert_eq!(rows.get(&key(number)).unwrap(), Some(value(number)));
            assert_eq!(rows.get_in_memory(&key(number)).unwrap(), Some(value(number)));
        }
        let cold = scanned(&rows, true);
        assert!(matches!(cold, Err(RowsError::NotInMemory)), "{cold:?}");
        let warm = scanned(&rows, false).unwrap();
        assert_eq!((warm.len(), scanned(&rows, true).unwrap()), (20, warm));
        match rows.get_in_memory(b"key-000700x") {
            Ok(None) | Err(RowsError::NotInMemory) => {}
            other => panic!("{other:?}"),
        }
    }
}
