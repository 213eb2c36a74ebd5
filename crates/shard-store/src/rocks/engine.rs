//! How the instances of RocksDB are opened: memory bounded, nothing compressed, damage told from the rest.

use std::{path::Path, sync::LazyLock};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, ErrorKind,
    IngestExternalFileOptions, Options, ReadOptions, SstFileWriter, WriteOptions,
};

use super::keys::{CF_BY_FILE, CF_FILES, CF_LOG_STATE, CF_SHARDS, CF_UNITS};
use crate::{InstanceStatus, ShardStoreError};

/// A memtable of the index, a column family each.
const WRITE_BUFFER_BYTES: usize = 4 << 20;
/// All memtables of the index together.
const WRITE_BUFFERS_BYTES: usize = 16 << 20;
const WAL_BYTES_MAX: u64 = 64 << 20;
/// A compaction of the index takes about so much at once: what cleaning compacts has a bound.
const COMPACTION_BYTES_MAX: u64 = 256 << 20;
/// A file of the index is compacted if half of so many entries in a row, or half of all, are deletes.
const DELETES_WINDOW: usize = 4096;
const DELETES_RATIO: f64 = 0.5;
/// A unit is larger, so each is a block of its own.
const LOG_BLOCK_BYTES: usize = 16 << 10;

pub(super) const INDEX_FAMILIES: [&str; 5] = ["default", CF_BY_FILE, CF_FILES, CF_SHARDS, CF_UNITS];
const LOG_FAMILIES: [&str; 2] = ["default", CF_LOG_STATE];

/// Levels of an instance.
const LEVELS: u32 = 7;

/// Files that may be open at once, an instance each.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFiles {
    pub index: i32,
    pub log: i32,
}

fn common(open_files: i32) -> Options {
    let mut options = Options::default();
    options.set_max_open_files(open_files);
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::None);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_max_manifest_file_size(4 << 20);
    options.set_paranoid_checks(true);
    options
}

fn table(cache: &Cache, block_bytes: usize) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(block_bytes);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(false);
    table
}

fn index_options(cache: &Cache, open_files: OpenFiles) -> Options {
    let mut options = common(open_files.index);
    // A tail that was never synced may be torn, and what was synced lies before it. The other modes either refuse a
    // disk after a power cut or read on behind a hole.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_compaction_bytes(COMPACTION_BYTES_MAX);
    let mut table = table(cache, 16 << 10);
    table.set_bloom_filter(10.0, false);
    options.set_block_based_table_factory(&table);
    // A file of deletes goes down by itself, and the space of what they delete comes back.
    options.add_compact_on_deletion_collector_factory(DELETES_WINDOW, DELETES_WINDOW / 2, DELETES_RATIO);
    options
}

fn log_options(cache: &Cache, open_files: OpenFiles) -> Options {
    let mut options = common(open_files.log);
    // No key is used twice and no file overlaps another: nothing to compact, ever.
    options.set_disable_auto_compactions(true);
    options.set_write_buffer_size(1 << 20);
    options.set_skip_stats_update_on_db_open(true);
    options.set_block_based_table_factory(&table(cache, LOG_BLOCK_BYTES));
    options
}

fn open(options: &mut Options, path: &Path, families: &[&str], create: bool) -> Result<DB, rocksdb::Error> {
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    let families = families.iter().map(|name| ColumnFamilyDescriptor::new(*name, options.clone()));
    DB::open_cf_descriptors(options, path, families)
}

pub(super) fn open_index(path: &Path, cache: &Cache, files: OpenFiles, create: bool) -> Result<DB, rocksdb::Error> {
    open(&mut index_options(cache, files), path, &INDEX_FAMILIES, create)
}

pub(super) fn open_log(path: &Path, cache: &Cache, files: OpenFiles, create: bool) -> Result<DB, rocksdb::Error> {
    open(&mut log_options(cache, files), path, &LOG_FAMILIES, create)
}

/// How the index stands.
pub(super) fn index_status(index: &DB) -> InstanceStatus {
    status_of(index, "index".to_owned(), &INDEX_FAMILIES)
}

/// How an instance of the log stands.
pub(super) fn log_status(log: &DB, name: String) -> InstanceStatus {
    status_of(log, name, &LOG_FAMILIES)
}

/// What RocksDB counts anyway. A figure it does not tell is 0.
fn status_of(db: &DB, name: String, families: &[&str]) -> InstanceStatus {
    let of_db = |property: &str| db.property_int_value(property).ok().flatten().unwrap_or(0);
    let sum = |property: &str| -> u64 {
        let families = families.iter().filter_map(|name| db.cf_handle(name));
        families.filter_map(|family| db.property_int_value_cf(family, property).ok().flatten()).sum()
    };
    let files_at = |level: u32| -> u64 {
        let property = format!("rocksdb.num-files-at-level{level}");
        let families = families.iter().filter_map(|name| db.cf_handle(name));
        families.filter_map(|family| db.property_value_cf(family, &property).ok().flatten()?.parse::<u64>().ok()).sum()
    };
    InstanceStatus {
        name,
        memtable_bytes: sum("rocksdb.cur-size-all-mem-tables"),
        files: (0..LEVELS).map(files_at).sum(),
        pending_compaction_bytes: sum("rocksdb.estimate-pending-compaction-bytes"),
        block_cache_bytes: of_db("rocksdb.block-cache-usage"),
        background_errors: of_db("rocksdb.background-errors"),
    }
}

/// Whether an instance that does not open is damaged, not merely in use or out of reach.
pub(super) fn is_damage(error: &rocksdb::Error) -> bool {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => true,
        ErrorKind::IOError => text.contains("No such file"),
        // A file of the set is missing: "does not exist (create_if_missing is false)", "column family not found".
        ErrorKind::InvalidArgument => text.contains("does not exist") || text.contains("olumn famil"),
        _ => false,
    }
}

/// The options of the log's files. One set for the process: a writer of a file borrows it for its life.
static SST_OPTIONS: LazyLock<Options> = LazyLock::new(|| {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::None);
    let mut table = BlockBasedOptions::default();
    table.disable_cache();
    table.set_block_size(LOG_BLOCK_BYTES);
    options.set_block_based_table_factory(&table);
    options
});

/// Begins a file of the log.
pub(super) fn create_file(path: &Path) -> Result<SstFileWriter<'static>, rocksdb::Error> {
    let writer = SstFileWriter::create(&SST_OPTIONS);
    writer.open(path)?;
    Ok(writer)
}

/// Links a finished file into the log: file, folder and manifest are synced when this returns.
pub(super) fn ingest_file(log: &DB, path: &Path) -> Result<(), rocksdb::Error> {
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    options.set_snapshot_consistency(false);
    // Overlapping keys would mean that a key was used twice: better refused than shadowed.
    options.set_allow_global_seqno(false);
    options.set_allow_blocking_flush(false);
    log.ingest_external_file_opts(&options, vec![path])
}

/// Reads of units: checked, and not kept in the small cache.
pub(super) fn unit_reads() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options.fill_cache(false);
    options
}

/// A write that a later `flush_wal(true)` makes durable.
pub(super) fn unsynced() -> WriteOptions {
    WriteOptions::default()
}

pub(super) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

/// A column family that was opened with the instance.
pub(super) fn family<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily, ShardStoreError> {
    db.cf_handle(name).ok_or_else(|| ShardStoreError::Engine(format!("column family {name} is missing")))
}

pub(super) fn engine_error(error: impl std::fmt::Display) -> ShardStoreError {
    ShardStoreError::Engine(error.to_string())
}
