//! The rows on disk: a RocksDB instance of their own, without a WAL (the log is it) and with one column family, so
//! that what a flush makes durable is the state after some whole batch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, Options, ReadOptions};
use rocksdb::{SnapshotWithThreadMode, WriteBatch, WriteOptions};

use super::store::{CheckpointFolder, Rows, SnapshotData, StateStore};
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
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_keep_log_file_num(4);
    options.set_max_open_files(256);
    options
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

fn failed(error: &rocksdb::Error) -> RowsError {
    RowsError::Storage(error.to_string())
}

impl RowsRead for RocksRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        self.snapshot.get(key).map_err(|error| failed(&error))
    }

    fn scan(&self, from: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), RowsError> {
        if from >= end {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        for row in self.snapshot.iterator_opt(IteratorMode::From(from, Direction::Forward), options) {
            let (key, value) = row.map_err(|error| failed(&error))?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
