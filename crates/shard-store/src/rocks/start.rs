//! From a folder to an open disk: who it is, whether it is whole, and what the last run left undone.
//!
//! Order matters: first the index is brought up to the log's end (or rebuilt from the log), then rows of files that
//! are not there go, and only then is removed what neither names.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use cairn_proto::{AttachNumber, Index as MetaIndex, LogPosition};
use rocksdb::{Cache, DB};
use serde::de::DeserializeOwned;

use super::{
    DiskOptions,
    catch_up::{LogFile, catch_up, forget_lost_files, rebuild},
    core::{Core, Faults, Figures, Pending, Vitals},
    engine::{OpenFiles, engine_error, family, is_damage, open_index, synced},
    folder::{
        FORMAT, FolderState, Marker, Paths, Pin, inspect, is_mount_point, log_folders, read_marker, remove_left_over,
        remove_tree, sync_folder, write_marker,
    },
    health::{Failures, Health, rebuild_done, wants_rebuild},
    index::{Index, get_state},
    keys::{CF_LOG_STATE, FileId, STATE_ANSWERED, STATE_ATTACH, STATE_IDENTITY, STATE_START, STATE_TOLD},
    logs::{LogOptions, Logs, check_identity, state_of},
    read::stored_unit,
    rows::{Identity, Lane, ShardRow, decode, encode},
};
use crate::{ShardStoreError, checks::is_sound, dead::RecentDead, space::SpaceGuard};

/// Index blocks and rows of a disk that are kept in memory.
const CACHE_BYTES: usize = 8 << 20;
/// Rows looked at in one go.
const PAGE: usize = 1000;

/// Opens the disk in a folder; formats an empty one.
pub(super) fn open(options: &DiskOptions) -> Result<Core, ShardStoreError> {
    let pin = Pin::take(&options.folder)
        .map_err(|problem| ShardStoreError::Refused { folder: options.folder.display().to_string(), problem })?;
    let paths = Paths::new(&options.folder, &pin);
    let files = open_files(options);
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    let identity = admit(options, &paths, &cache)?;
    let failures = Failures::read(&paths.root);
    let must_verify = failures.count == 1 && !failures.verified;
    if must_verify {
        let mut instances = log_folders(&paths.root).map_err(engine_error)?;
        instances.push(paths.index());
        forget_page_cache(&instances);
    }
    let (logs, log_files) = Logs::open(log_options(options, &paths, &cache, identity))?;
    // Only with the log's lock held: another open of this disk may be rebuilding there.
    remove_tree(&paths.index_new()).map_err(engine_error)?;
    let (index, is_rebuilt) = open_or_rebuild_index(&paths, &cache, files, identity, &log_files)?;
    let start = raise_start(&index, logs.first(), &log_files)?;
    let (answered, told) = (heard(&index, logs.first(), STATE_ANSWERED)?, heard(&index, logs.first(), STATE_TOLD)?);
    let vitals = vitals_of(options, &paths, identity, &index, (start, answered, told), failures)?;
    let core = Core {
        vitals: Arc::new(vitals),
        index,
        logs,
        start,
        pending: Pending::default(),
        cleaning: Mutex::default(),
        clean: options.clean,
        file_bytes_max: options.file_bytes_max,
        unclean: Mutex::default(),
        dead: RecentDead::default(),
        pin: Arc::new(pin),
    };
    core.vitals.look(&core.pin);
    core.look();
    if is_rebuilt {
        core.vitals.health.count_error();
    }
    settle(&core, &log_files)?;
    if must_verify {
        read_back(&core, failures)?;
    }
    Ok(core)
}

fn open_files(options: &DiskOptions) -> OpenFiles {
    OpenFiles { index: options.open_files_index, log: options.open_files_log }
}

fn log_options(options: &DiskOptions, paths: &Paths, cache: &Cache, identity: Identity) -> LogOptions {
    let (paths, cache, files_max) = (paths.clone(), cache.clone(), options.files_per_log);
    LogOptions { paths, cache, open_files: open_files(options), identity, files_max }
}

/// Says who the folder is, or why it is refused.
fn admit(options: &DiskOptions, paths: &Paths, cache: &Cache) -> Result<Identity, ShardStoreError> {
    if options.refuse_unmounted && !is_mount_point(&paths.folder) {
        return Err(paths.refused("was a mount point and is none now: mount the disk, or take the folder out"));
    }
    let marker = read_marker(&paths.root).map_err(|problem| paths.refused(problem))?;
    let identity = |marker: &Marker| Identity { format: FORMAT, id: marker.id.0, cluster_id: marker.cluster_id };
    match marker {
        Some(marker) if marker.cluster_id != options.cluster_id => Err(paths.refused(format!(
            "belongs to cluster {:032x}, this is {:032x}: take it out of the configuration, or empty the folder to \
             give its space to this cluster",
            marker.cluster_id, options.cluster_id
        ))),
        Some(marker) if marker.ready => Ok(identity(&marker)),
        // Formatting was cut short: nothing was acknowledged yet.
        Some(marker) => format(options, paths, cache, marker).map(|()| identity(&marker)),
        None => match inspect(&paths.root) {
            FolderState::Foreign(problem) => Err(paths.refused(problem)),
            FolderState::Empty => {
                let (id, cluster_id) = (options.new_id, options.cluster_id);
                let marker = Marker { format: FORMAT, id, cluster_id, ready: false };
                format(options, paths, cache, marker).map(|()| identity(&marker))
            }
            FolderState::Missing | FolderState::Disk { .. } => {
                Err(paths.refused("does not exist: create the folder, or mount the disk"))
            }
        },
    }
}

fn format(options: &DiskOptions, paths: &Paths, cache: &Cache, marker: Marker) -> Result<(), ShardStoreError> {
    let unwritable = |e: std::io::Error| paths.refused(format!("cannot be formatted: {e}"));
    write_marker(&paths.root, &Marker { ready: false, ..marker }).map_err(unwritable)?;
    remove_left_over(&paths.root).map_err(unwritable)?;
    let mut parts = log_folders(&paths.root).map_err(unwritable)?;
    parts.extend([paths.index(), paths.staging()]);
    for part in parts {
        remove_tree(&part).map_err(unwritable)?;
    }
    fs::create_dir(paths.staging()).map_err(unwritable)?;
    let row = Identity { format: FORMAT, id: marker.id.0, cluster_id: marker.cluster_id };
    let index = open_index(&paths.index(), cache, open_files(options), true).map_err(engine_error)?;
    index.put_opt(STATE_IDENTITY, encode(row).map_err(engine_error)?, &synced()).map_err(engine_error)?;
    log_options(options, paths, cache, row).make(0, 0)?;
    write_marker(&paths.root, &Marker { ready: true, ..marker }).map_err(unwritable)
}

/// Whether RocksDB was here: opened where it was not, it leaves files behind.
fn has_instance(path: &Path) -> bool {
    path.join("CURRENT").exists()
}

/// Opens the index. One that is missing or damaged is rebuilt from the log, never taken for empty; says whether it was.
fn open_or_rebuild_index(
    paths: &Paths,
    cache: &Cache,
    files: OpenFiles,
    identity: Identity,
    log_files: &BTreeMap<FileId, LogFile>,
) -> Result<(Index, bool), ShardStoreError> {
    let damage = match load_index(paths, cache, files, identity)? {
        Ok(index) => return Ok((index, false)),
        Err(damage) => damage,
    };
    tracing::error!(
        folder = %paths.folder.display(),
        damage,
        "the index is missing or damaged: rebuilding it from the log; shards under 64 KiB lived in it and are lost \
         here, repair brings them back from the other disks"
    );
    let db = open_index(&paths.index_new(), cache, files, true).map_err(engine_error)?;
    db.put_opt(STATE_IDENTITY, encode(identity).map_err(engine_error)?, &synced()).map_err(engine_error)?;
    let index = Index::load(db)?;
    let shards = rebuild(&index, log_files)?;
    index.sync()?;
    drop(index);
    exchange_index(paths).map_err(engine_error)?;
    tracing::warn!(folder = %paths.folder.display(), shards, "the index was rebuilt");
    let db = open_index(&paths.index(), cache, files, false).map_err(engine_error)?;
    Ok((Index::load(db)?, true))
}

/// The index as it stands, or what is wrong with it. Another disk's, or one in use, is refused.
fn load_index(
    paths: &Paths,
    cache: &Cache,
    files: OpenFiles,
    identity: Identity,
) -> Result<Result<Index, String>, ShardStoreError> {
    if !has_instance(&paths.index()) {
        return Ok(Err("no CURRENT file".to_owned()));
    }
    let db = match open_index(&paths.index(), cache, files, false) {
        Ok(db) => db,
        Err(e) if is_damage(&e) => return Ok(Err(e.to_string())),
        Err(e) => return Err(paths.refused(format!("index cannot be opened: {e}"))),
    };
    if wants_rebuild(&paths.root) {
        return Ok(Err("an earlier run found it damaged".to_owned()));
    }
    match get_state::<Identity>(&db, STATE_IDENTITY) {
        Ok(Some(found)) => check_identity(paths, "index", Some(found), identity)?,
        Ok(None) => return Ok(Err("it does not say which disk it belongs to".to_owned())),
        Err(e) => return Ok(Err(e.to_string())),
    }
    Ok(Index::load(db).map_err(|e| e.to_string()))
}

/// The new index takes the old one's place. Cut short in between, the index is missing, and is rebuilt again.
fn exchange_index(paths: &Paths) -> std::io::Result<()> {
    remove_tree(&paths.index_damaged())?;
    if paths.index().exists() {
        fs::rename(paths.index(), paths.index_damaged())?;
    }
    fs::rename(paths.index_new(), paths.index())?;
    sync_folder(&paths.root)?;
    rebuild_done(&paths.root)
}

/// A start number no run had: above both instances' and above every file's. The one after it is this run's too.
fn raise_start(index: &Index, log: &DB, log_files: &BTreeMap<FileId, LogFile>) -> Result<u64, ShardStoreError> {
    let state = family(log, CF_LOG_STATE)?;
    let of_log: u64 = state_of(log, STATE_START)?.unwrap_or(0);
    let of_index: u64 = get_state(&index.db, STATE_START)?.unwrap_or(0);
    let of_files = log_files.keys().last().map_or(0, |file| file.0.start);
    let start = of_log.max(of_index).max(of_files) + 1;
    let row = encode(start + 1).map_err(engine_error)?;
    log.put_cf_opt(state, STATE_START, &row, &synced()).map_err(engine_error)?;
    index.db.put_opt(STATE_START, &row, &synced()).map_err(engine_error)?;
    Ok(start)
}

/// What the disk heard of the group last: the log keeps it too, for an index that is rebuilt.
fn heard<T: DeserializeOwned + Default + Ord>(index: &Index, log: &DB, name: &[u8]) -> Result<T, ShardStoreError> {
    let of_log = log.get_cf(family(log, CF_LOG_STATE)?, name).map_err(engine_error)?;
    let of_log: T = of_log.map(|row| decode(&row)).transpose().map_err(engine_error)?.unwrap_or_default();
    let of_index: T = get_state(&index.db, name)?.unwrap_or_default();
    Ok(of_log.max(of_index))
}

fn vitals_of(
    options: &DiskOptions,
    paths: &Paths,
    identity: Identity,
    index: &Index,
    (start, answered, told): (u64, MetaIndex, LogPosition),
    failures: Failures,
) -> Result<Vitals, ShardStoreError> {
    let attach: AttachNumber = get_state(&index.db, STATE_ATTACH)?.unwrap_or_default();
    Ok(Vitals {
        id: cairn_proto::DiskId(identity.id),
        paths: paths.clone(),
        health: Health::new(paths, start, failures, options.hung_after),
        space: SpaceGuard::new(options.space.clone()),
        attach: AtomicU64::new(attach.0),
        answered: AtomicU64::new(answered.0),
        told: Mutex::new(told),
        faults: Faults::default(),
        last: Mutex::new(Figures::default()),
        last_write: Mutex::new(None),
        instances: Mutex::default(),
        index_bytes: AtomicU64::new(0),
    })
}

/// Completes what the last run left undone.
fn settle(core: &Core, log_files: &BTreeMap<FileId, LogFile>) -> Result<(), ShardStoreError> {
    let paths = &core.vitals.paths;
    let unreadable = catch_up(&core.index, log_files)?;
    let lost = forget_lost_files(&core.index, log_files)?;
    for _ in 0..unreadable + lost {
        core.vitals.health.count_error();
    }
    if lost > 0 {
        tracing::error!(disk = %core.vitals.id, shards = lost, "files of the log are gone: their shards are lost here");
    }
    core.index.sync()?;
    // Only now: the headers of a file in staging that is in the log too were taken from the log.
    remove_tree(&paths.staging()).map_err(engine_error)?;
    fs::create_dir(paths.staging()).map_err(engine_error)?;
    sync_folder(&paths.root).map_err(engine_error)?;
    drop_dead_files(core)
}

fn drop_dead_files(core: &Core) -> Result<(), ShardStoreError> {
    let dead: Vec<_> = core.index.files().iter().filter(|(_, row)| row.live == 0).map(|(f, r)| (*f, *r)).collect();
    let mut draft = core.index.draft();
    for (file, row) in dead {
        if core.logs.drop_file(file, &row).map_err(engine_error)? {
            draft.set_file(file, None);
        }
    }
    Ok(draft.commit()?)
}

/// Lets the kernel forget what it believes to be in these folders: after a failed sync its clean pages may never have
/// reached the disk.
fn forget_page_cache(folders: &[std::path::PathBuf]) {
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    for entry in files {
        let advised = File::open(entry.path())
            .and_then(|file| Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?));
        if let Err(error) = advised {
            tracing::warn!(file = %entry.path().display(), %error, "the page cache of a file was not dropped");
        }
    }
}

/// Reads what was written in the run that failed, from the disk itself, and forgets the shards that are not there.
fn read_back(core: &Core, failures: Failures) -> Result<(), ShardStoreError> {
    let (mut after, mut bad, mut seen) = (None, 0_u64, 0_u64);
    loop {
        let rows = core.index.rows_after(after, PAGE)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.header.key);
        let mut draft = core.index.draft();
        for row in rows.iter().filter(|row| is_written_since(row, failures.start)) {
            seen += 1;
            if !is_whole(core, row) {
                bad += 1;
                core.vitals.health.count_error();
                draft.set_row(row.header.key, None)?;
            }
        }
        draft.commit()?;
    }
    core.index.sync()?;
    tracing::warn!(disk = %core.vitals.id, shards = seen, bad, "read back what was written before a write failed");
    let folder: &Path = &core.vitals.paths.root;
    Failures { verified: true, ..failures }.write(folder).map_err(engine_error)
}

/// The WAL lane does not say when a shard was written, so all of it is looked at.
fn is_written_since(row: &ShardRow, start: u64) -> bool {
    match &row.lane {
        Lane::Wal(_) => true,
        Lane::Log(place) => place.header.key.start >= start || place.runs.iter().any(|run| run.start >= start),
    }
}

fn is_whole(core: &Core, row: &ShardRow) -> bool {
    let Ok(header) = row.header.to_header() else { return false };
    let Ok(layout) = crate::checks::check_header(&header) else { return false };
    (0..layout.stripes()).all(|stripe| {
        let unit = stored_unit(&core.index, &core.logs, row, stripe).ok().flatten();
        unit.is_some_and(|unit| is_sound(&header, stripe, &unit))
    })
}
