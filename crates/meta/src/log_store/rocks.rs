//! The log on disk: a RocksDB instance of its own, whose WAL is the group's durability.
//!
//! Damage is an error, never a shorter log: a record whose checksum fails refuses the whole log. Only a record cut
//! off by the end of the newest file is passed over. It is the write that was under way when the machine stopped:
//! nothing behind it was ever written, so nobody was told of it. RocksDB's `AbsoluteConsistency` would refuse such a
//! log, and with it a voter that did nothing wrong but lose power; that the log was not cut further is checked by
//! the store against what it and the state machine know to be committed.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Weak};

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, IteratorMode, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::backend::{Backend, Ends, MetaKey, Op};

const ENTRIES: &str = "entries";
const META: &str = "meta";
/// Behind every entry: keys have eight bytes.
const END: [u8; 9] = [0xff; 9];
const WRITE_BUFFER_BYTES: usize = 16 << 20;
const WAL_BYTES_MAX: u64 = 64 << 20;

/// A log on disk.
pub(crate) struct RocksLog {
    db: DB,
    /// Dropped after the instance is closed: fields are dropped in order.
    open: Arc<()>,
}

impl RocksLog {
    /// Opens a log, which must be there unless `create`.
    pub(crate) fn open(folder: &Path, create: bool) -> io::Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(create);
        options.create_missing_column_families(create);
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_paranoid_checks(true);
        options.set_max_total_wal_size(WAL_BYTES_MAX);
        options.set_keep_log_file_num(4);
        options.set_max_open_files(64);
        let column = || {
            let mut options = Options::default();
            options.set_write_buffer_size(WRITE_BUFFER_BYTES);
            options.set_compression_type(DBCompressionType::None);
            options
        };
        let columns = [ENTRIES, META].map(|name| ColumnFamilyDescriptor::new(name, column()));
        let db = DB::open_cf_descriptors(&options, folder, columns).map_err(io::Error::other)?;
        Ok(Self { db, open: Arc::new(()) })
    }

    fn column(&self, name: &str) -> io::Result<&ColumnFamily> {
        self.db.cf_handle(name).ok_or_else(|| io::Error::other(format!("the log has no column family {name}")))
    }
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    let key = key.try_into().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a log key is not an index"))?;
    Ok(u64::from_be_bytes(key))
}

impl Backend for RocksLog {
    fn write(&self, ops: &[Op], sync: bool) -> io::Result<()> {
        let (entries, meta) = (self.column(ENTRIES)?, self.column(META)?);
        let mut batch = WriteBatch::default();
        for op in ops {
            match op {
                Op::Put { index, bytes } => batch.put_cf(entries, index.to_be_bytes(), bytes),
                Op::TruncateFrom(index) => batch.delete_range_cf(entries, index.to_be_bytes().as_slice(), &END[..]),
                Op::PurgeBelow(index) => batch.delete_range_cf(entries, 0_u64.to_be_bytes(), index.to_be_bytes()),
                Op::Meta(key, bytes) => batch.put_cf(meta, key.name(), bytes),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(io::Error::other)
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(range.end.to_be_bytes());
        let start = range.start.to_be_bytes();
        let from = IteratorMode::From(&start, rocksdb::Direction::Forward);
        let mut left = bytes_max;
        let mut found = Vec::new();
        for row in self.db.iterator_cf_opt(self.column(ENTRIES)?, options, from) {
            let (key, bytes) = row.map_err(io::Error::other)?;
            if !found.is_empty() && bytes.len() > left {
                break;
            }
            left = left.saturating_sub(bytes.len());
            found.push((index_of(&key)?, bytes.into_vec()));
        }
        Ok(found)
    }

    fn meta(&self, key: MetaKey) -> io::Result<Option<Vec<u8>>> {
        self.db.get_cf(self.column(META)?, key.name()).map_err(io::Error::other)
    }

    fn ends(&self) -> io::Result<Option<Ends>> {
        let column = self.column(ENTRIES)?;
        let first = self.db.iterator_cf(column, IteratorMode::Start).next().transpose().map_err(io::Error::other)?;
        let last = self.db.iterator_cf(column, IteratorMode::End).next().transpose().map_err(io::Error::other)?;
        match (first, last) {
            (Some((first, _)), Some((last, bytes))) => {
                Ok(Some(Ends { first: index_of(&first)?, last: index_of(&last)?, last_bytes: bytes.into_vec() }))
            }
            _ => Ok(None),
        }
    }

    fn open(&self) -> Weak<()> {
        Arc::downgrade(&self.open)
    }

    fn blocks(&self) -> bool {
        true
    }
}
