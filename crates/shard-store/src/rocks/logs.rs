//! The instances of the group log: which there are, and which of them has which file.
//!
//! The cost of an ingest grows with the files of its instance, so a disk with many files has several instances. A new
//! file goes into the first that has room, and where none has, one more is made. No key is used twice,
//! in whichever instance: a row names a file by its first key, and which instance has that file the instances tell.
//!
//! The first one, `log-0`, is always there. It names the others in a row that is synced before a new one is used, so
//! that one which was lost is missed.
//!
//! Crash point E: the folder of a new instance is there, and the row does not name it. Nothing was put into it; the next
//! start removes it. (`an_instance_that_was_not_named_leaves_nothing`) One with files of the log is never removed: a
//! `log-0` that does not name it is not the one that belongs to it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use rocksdb::{Cache, DB, ErrorKind};

use super::{
    catch_up::{LogFile, log_files},
    core::Faults,
    engine::{OpenFiles, engine_error, family, ingest_file, is_damage, open_log, synced},
    folder::{FORMAT, Paths, log_folders, remove_tree, sync_folder},
    keys::{CF_LOG_STATE, FileId, STATE_IDENTITY, STATE_INSTANCES},
    rows::{FileRow, Identity, decode, encode},
};
use crate::ShardStoreError;

/// The file that makes a folder an instance of RocksDB.
const CURRENT: &str = "CURRENT";

/// Why a file does not come into the log.
#[derive(Debug)]
pub(super) enum IngestError {
    /// It does not read as it was written: the file is of no use, the log is as before.
    Damaged(String),
    /// The disk fails.
    Failed(String),
}

/// How instances are opened.
pub(super) struct LogOptions {
    pub paths: Paths,
    pub cache: Cache,
    pub open_files: OpenFiles,
    pub identity: Identity,
    /// With so many files an instance is full: new ones go elsewhere.
    pub files_max: usize,
}

/// The instances by number, and where each file is.
#[derive(Default)]
struct Known {
    instances: BTreeMap<u32, Arc<DB>>,
    files: HashMap<FileId, u32>,
}

impl Known {
    fn files_of(&self, instance: u32) -> usize {
        self.files.values().filter(|holder| **holder == instance).count()
    }
}

/// All instances of the group log of a disk.
pub(super) struct Logs {
    options: LogOptions,
    first: Arc<DB>,
    known: RwLock<Known>,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").field("instances", &self.known().instances.keys()).finish_non_exhaustive()
    }
}

impl Logs {
    /// Opens all instances and lists their files. What a crash left of an instance, and instances without a file, are
    /// removed.
    pub(super) fn open(options: LogOptions) -> Result<(Self, BTreeMap<FileId, LogFile>), ShardStoreError> {
        let first = Arc::new(options.open(0, 0)?);
        let others: Vec<u32> = state_of(&first, STATE_INSTANCES)?.unwrap_or_default();
        options.remove_unnamed(&others)?;
        let mut known = Known::default();
        known.instances.insert(0, Arc::clone(&first));
        for (place, number) in (1..).zip(&others) {
            known.instances.insert(*number, Arc::new(options.open(*number, place)?));
        }
        let mut files = BTreeMap::new();
        for (number, log) in &known.instances {
            let own = log_files(log)?;
            known.files.extend(own.keys().map(|file| (*file, *number)));
            files.extend(own);
        }
        let logs = Self { options, first, known: RwLock::new(known) };
        logs.remove_empty()?;
        Ok((logs, files))
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first instance, which keeps the disk's state rows.
    pub(super) fn first(&self) -> &DB {
        &self.first
    }

    /// The instances with their names.
    pub(super) fn all(&self) -> Vec<(String, Arc<DB>)> {
        let known = self.known();
        known.instances.iter().map(|(number, log)| (Paths::log_name(*number), Arc::clone(log))).collect()
    }

    /// The instance that has a file; none where it was dropped.
    pub(super) fn of(&self, file: FileId) -> Option<Arc<DB>> {
        let known = self.known();
        known.instances.get(known.files.get(&file)?).map(Arc::clone)
    }

    /// Links a finished file into an instance with room. Only the committer calls it.
    pub(super) fn ingest(&self, file: FileId, path: &Path, faults: &Faults) -> Result<(), IngestError> {
        let (number, log) = self.with_room(faults);
        ingest_file(&log, path).map_err(|e| {
            let detail = format!("ingest of a log file: {e}");
            if e.kind() == ErrorKind::Corruption { IngestError::Damaged(detail) } else { IngestError::Failed(detail) }
        })?;
        self.known_mut().files.insert(file, number);
        Ok(())
    }

    fn with_room(&self, faults: &Faults) -> (u32, Arc<DB>) {
        let (room, last) = {
            let known = self.known();
            let has_room = |(number, _): &(&u32, &Arc<DB>)| known.files_of(**number) < self.options.files_max;
            let found = |(number, log): (&u32, &Arc<DB>)| (*number, Arc::clone(log));
            (known.instances.iter().find(has_room).map(found), known.instances.iter().next_back().map(found))
        };
        if let Some(room) = room {
            return room;
        }
        let last = last.unwrap_or_else(|| (0, Arc::clone(&self.first)));
        // Too many files make an instance slow, not wrong.
        self.add(last.0 + 1, faults).unwrap_or_else(|error| {
            tracing::warn!(%error, "no further instance of the log can be made: the last one takes more files");
            last
        })
    }

    fn add(&self, number: u32, faults: &Faults) -> Result<(u32, Arc<DB>), ShardStoreError> {
        let log = Arc::new(self.options.make(number, self.known().instances.len())?);
        Faults::hit(&faults.after_instance).map_err(engine_error)?;
        let mut numbers = self.numbers();
        numbers.push(number);
        self.name(&numbers)?;
        self.known_mut().instances.insert(number, Arc::clone(&log));
        tracing::info!(folder = %self.options.paths.folder.display(), number, "a further instance of the log was made");
        Ok((number, log))
    }

    /// The instances beside the first.
    fn numbers(&self) -> Vec<u32> {
        self.known().instances.keys().copied().filter(|number| *number > 0).collect()
    }

    /// Names the instances beside the first, durably.
    fn name(&self, numbers: &[u32]) -> Result<(), ShardStoreError> {
        let row = encode(numbers).map_err(engine_error)?;
        let state = family(&self.first, CF_LOG_STATE)?;
        self.first.put_cf_opt(state, STATE_INSTANCES, row, &synced()).map_err(engine_error)
    }

    /// Drops a file from its instance; manifest synced. Answers whether it is gone: one that is busy stays for the next
    /// time.
    pub(super) fn drop_file(&self, file: FileId, row: &FileRow) -> Result<bool, rocksdb::Error> {
        let Some(log) = self.of(file) else { return Ok(true) };
        log.delete_file_in_range(file.0.to_bytes(), row.last.to_bytes())?;
        let is_gone = log.get_pinned(file.0.to_bytes())?.is_none();
        if is_gone {
            self.known_mut().files.remove(&file);
        }
        Ok(is_gone)
    }

    /// At a start, when nobody reads in them yet.
    fn remove_empty(&self) -> Result<(), ShardStoreError> {
        let (empty, kept): (Vec<u32>, Vec<u32>) =
            self.numbers().into_iter().partition(|number| self.known().files_of(*number) == 0);
        if empty.is_empty() {
            return Ok(());
        }
        // First the row: a folder that is not named is removed by the next start.
        self.name(&kept)?;
        for number in empty {
            drop(self.known_mut().instances.remove(&number));
            remove_instance(&self.options.paths.log(number)).map_err(engine_error)?;
        }
        Ok(())
    }
}

impl LogOptions {
    /// Opens an instance, the so-many-th of the disk, and checks that it belongs here.
    fn open(&self, number: u32, place: usize) -> Result<DB, ShardStoreError> {
        let (path, name) = (self.paths.log(number), Paths::log_name(number));
        let damaged = |detail: &dyn fmt::Display| {
            self.paths.refused(format!(
                "{name} is missing or damaged ({detail}): restore it, or empty the folder to take it as a new disk, \
                 whose shards are then rebuilt from the others"
            ))
        };
        // Opened where it was not, RocksDB leaves files behind.
        if !path.join(CURRENT).exists() {
            return Err(damaged(&"no CURRENT file"));
        }
        let log = open_log(&path, &self.cache, self.share(place), false).map_err(|e| {
            if is_damage(&e) { damaged(&e) } else { self.paths.refused(format!("{name} cannot be opened: {e}")) }
        })?;
        check_identity(&self.paths, &name, state_of(&log, STATE_IDENTITY)?, self.identity)?;
        Ok(log)
    }

    /// Makes an instance, in the place of what may be left of one that was never used.
    pub(super) fn make(&self, number: u32, place: usize) -> Result<DB, ShardStoreError> {
        let path = self.paths.log(number);
        remove_tree(&path).map_err(engine_error)?;
        let log = open_log(&path, &self.cache, self.share(place), true).map_err(engine_error)?;
        let row = encode(self.identity).map_err(engine_error)?;
        log.put_cf_opt(family(&log, CF_LOG_STATE)?, STATE_IDENTITY, row, &synced()).map_err(engine_error)?;
        sync_folder(&self.paths.root).map_err(engine_error)?;
        Ok(log)
    }

    /// Removes folders of instances that no row names: nothing was put into them. One that has files of the log was named
    /// once, by a `log-0` that is newer than the one that is here, and its shards are not lost.
    fn remove_unnamed(&self, others: &[u32]) -> Result<(), ShardStoreError> {
        let named: Vec<_> = others.iter().chain([&0]).map(|number| self.paths.log(*number)).collect();
        for folder in log_folders(&self.paths.root).map_err(engine_error)? {
            if named.contains(&folder) {
                continue;
            }
            if self.was_used(&folder)? {
                return Err(self.paths.refused(format!(
                    "{} holds files of the log, and log-0 does not know of it: log-0 is older (a copy, or a backup \
                     that was put back). Put back the log-0 that belongs to it, or empty the folder to take it as a new \
                     disk, whose shards are then rebuilt from the others",
                    name_of(&folder)
                )));
            }
            tracing::warn!(folder = %folder.display(), "an instance of the log that is not in use is removed");
            remove_instance(&folder).map_err(engine_error)?;
        }
        Ok(())
    }

    /// Whether an instance that no row names has files of the log.
    fn was_used(&self, folder: &Path) -> Result<bool, ShardStoreError> {
        if !folder.join(CURRENT).exists() || !has_tables(folder).map_err(engine_error)? {
            return Ok(false);
        }
        // State rows may have tables too.
        let log = open_log(folder, &self.cache, self.share(1), false).map_err(|e| {
            self.paths.refused(format!("{}, which log-0 does not know of, cannot be opened: {e}", name_of(folder)))
        })?;
        Ok(!log_files(&Arc::new(log))?.is_empty())
    }

    /// The files an instance may hold open: the more instances there are, the fewer each.
    fn share(&self, place: usize) -> OpenFiles {
        let place = i32::try_from(place).unwrap_or(i32::MAX - 1);
        OpenFiles { log: self.open_files.log / (place + 1), ..self.open_files }
    }
}

/// Removes the folder of an instance. Without `CURRENT` it is none any more, should the removal be cut short.
fn remove_instance(folder: &Path) -> std::io::Result<()> {
    match fs::remove_file(folder.join(CURRENT)) {
        Ok(()) => sync_folder(folder)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    remove_tree(folder)
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a folder has tables, as instances have that were used.
fn has_tables(folder: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.path().extension().is_some_and(|extension| extension == "sst") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A state row of an instance.
pub(super) fn state_of<T: serde::de::DeserializeOwned>(log: &DB, name: &[u8]) -> Result<Option<T>, ShardStoreError> {
    let row = log.get_cf(family(log, CF_LOG_STATE)?, name).map_err(engine_error)?;
    row.map(|row| decode(&row)).transpose().map_err(engine_error)
}

/// Whether a part of the disk belongs to it.
pub(super) fn check_identity(
    paths: &Paths,
    part: &str,
    found: Option<Identity>,
    marker: Identity,
) -> Result<(), ShardStoreError> {
    if found == Some(marker) {
        return Ok(());
    }
    Err(paths.refused(match found {
        Some(found) if found.format > marker.format => {
            format!("{part} has format {}, this program knows {FORMAT}: use the newer cairn", found.format)
        }
        Some(found) => format!(
            "{part} is of disk {:032x}, cluster {:032x}, the marker names another: folders were mixed up, put back \
             what belongs here",
            found.id, found.cluster_id
        ),
        None => format!("{part} does not say which disk it belongs to: restore it, or empty the folder"),
    }))
}
