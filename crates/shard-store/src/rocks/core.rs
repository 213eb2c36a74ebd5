//! What the threads and calls of one open disk share.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    clean::mergeable,
    engine::{index_status, log_status},
    folder::{Paths, Pin},
    health::Health,
    index::{Index, IndexError},
    keys::FileId,
    logs::Logs,
};
use crate::{
    DiskState, DiskStatus, FenceReason, InstanceStatus, ShardStoreError, SpaceUse, dead::RecentDead,
    rocks::rows::FileRow, space::SpaceGuard,
};
use cairn_proto::{AttachNumber, DiskId, Index as MetaIndex, LogPosition};

/// What outlives the open files: a closed disk still answers who it is and how it stands.
#[derive(Debug)]
pub(super) struct Vitals {
    pub id: DiskId,
    pub paths: Paths,
    pub health: Health,
    pub space: SpaceGuard,
    pub attach: AtomicU64,
    /// The highest index a delete was ordered at.
    pub answered: AtomicU64,
    pub told: Mutex<LogPosition>,
    pub faults: Faults,
    /// The last figures, for a disk that is closed.
    pub last: Mutex<Figures>,
    /// When a client last wrote.
    pub last_write: Mutex<Option<Instant>>,
    /// How the instances stood when the watch thread last looked.
    pub instances: Mutex<Vec<InstanceStatus>>,
    /// Bytes of the index's tables when the watch thread last looked.
    pub index_bytes: AtomicU64,
}

/// Counters of a status.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub shards: u64,
    pub bytes_live: u64,
    pub bytes_used: u64,
    pub mergeable_files: u64,
    pub dead_files: u64,
}

/// Fault switches of the commit, for tests of what follows.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The next ingest fails before it begins: crash point A.
    pub before_ingest: AtomicBool,
    /// The index batch after the next ingest fails: crash point B.
    pub after_ingest: AtomicBool,
    /// The next sync of the index fails.
    pub index_sync: AtomicBool,
    /// The next ingest finds no space, as the engine says it.
    pub no_space: AtomicBool,
    /// A new instance of the log is not named: crash point E.
    pub after_instance: AtomicBool,
    /// A dropped file keeps its row: crash point D.
    pub after_drop: AtomicBool,
}

impl Faults {
    /// Fails once where a switch is set.
    pub(super) fn hit(switch: &AtomicBool) -> Result<(), String> {
        if switch.swap(false, Relaxed) {
            return Err("a fault was asked for".to_owned());
        }
        Ok(())
    }
}

impl Vitals {
    pub(super) fn fenced(&self, reason: FenceReason) -> ShardStoreError {
        ShardStoreError::Fenced { disk: self.id, reason }
    }

    pub(super) fn check_read(&self) -> Result<(), ShardStoreError> {
        let fence = self.health.read_fence().or_else(|| self.health.hung());
        fence.map_or(Ok(()), |reason| Err(self.fenced(reason)))
    }

    /// No fence of any kind; space is apart, so that deletes work on a full disk.
    pub(super) fn check_write(&self) -> Result<(), ShardStoreError> {
        self.health.write_fence().map_or(Ok(()), |reason| Err(self.fenced(reason)))
    }

    pub(super) fn check_space(&self, space_use: SpaceUse) -> Result<(), ShardStoreError> {
        let refusal = self.health.hung().or_else(|| self.space.refusal(space_use));
        refusal.map_or(Ok(()), |reason| Err(self.fenced(reason)))
    }

    pub(super) fn note_client_write(&self) {
        *self.last_write.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long no client wrote; none where none did since the start.
    pub(super) fn idle(&self) -> Option<Duration> {
        self.last_write.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    pub(super) fn attach(&self) -> AttachNumber {
        AttachNumber(self.attach.load(Relaxed))
    }

    pub(super) fn answered(&self) -> MetaIndex {
        MetaIndex(self.answered.load(Relaxed))
    }

    pub(super) fn told(&self) -> LogPosition {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends writing, or tells what ended it before.
    pub(super) fn fail_writes(&self, detail: &str) -> ShardStoreError {
        self.fenced(self.health.fail_writes(detail))
    }

    /// A file of the log could not be written to: the disk takes no more writes.
    pub(super) fn fail_append(&self, error: ShardStoreError) -> ShardStoreError {
        match error {
            // Fenced before, or the caller's fault, not the disk's.
            error @ (ShardStoreError::Fenced { .. } | ShardStoreError::Invalid(_)) => error,
            other => self.fail_writes(&format!("append to the log: {other}")),
        }
    }

    /// Asks the file system; may block.
    pub(super) fn look(&self, pin: &Pin) {
        self.space.look(pin.descriptor());
        self.health.check_folder();
        self.health.note_answer();
    }

    pub(super) fn status(&self, figures: Figures) -> DiskStatus {
        let space = self.space.space();
        let mut state = self.health.state();
        if state == DiskState::Serving
            && let Some(reason) = self.space.refusal(SpaceUse::Client)
        {
            state = DiskState::ReadOnly(reason);
        }
        DiskStatus {
            state,
            bytes_total: space.bytes_total,
            bytes_free: space.bytes_free,
            shards: figures.shards,
            bytes_live: figures.bytes_live,
            bytes_used: figures.bytes_used,
            errors: self.health.errors(),
            mergeable_files: figures.mergeable_files,
            dead_files: figures.dead_files,
        }
    }
}

/// An open disk.
#[derive(Debug)]
pub(super) struct Core {
    pub vitals: Arc<Vitals>,
    pub index: Index,
    pub logs: Logs,
    /// This run's start number, for the keys of what clients and repair write. The next one is cleaning's.
    pub start: u64,
    pub pending: Pending,
    /// Held while files are dropped or cleaned: one at a time.
    pub cleaning: Mutex<Cleaning>,
    pub clean: CleanLimits,
    /// A file of the log ends when it is longer.
    pub file_bytes_max: u64,
    /// Files that could not be cleaned since a unit in them cannot be read, with what lived in them then: left alone
    /// until that changes, as it does when repair wrote the unit's shard anew.
    pub unclean: Mutex<HashMap<FileId, u64>>,
    /// Shards that were ordered dead lately: a write of one that was on its way must not bring it back.
    pub dead: RecentDead,
    /// The last field: dropped when the instances that opened their files by it are closed.
    pub pin: Arc<Pin>,
}

/// What cleaning keeps from round to round.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    /// Where the keys of its next file begin.
    pub counter: u64,
    /// A walk through the WAL lane that has not come to its end.
    pub lane_walk: Option<LaneWalk>,
}

/// Where the compaction of the WAL lane stands.
#[derive(Debug)]
pub(super) struct LaneWalk {
    /// The key where the next range begins.
    pub from: Vec<u8>,
    /// Bytes that were dead when the walk began.
    pub dead: u64,
}

/// Bounds of cleaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct CleanLimits {
    /// Bytes copied in a call out of mostly dead files, at least one shard, and bytes of the range of the WAL lane that
    /// a call compacts.
    pub copy_bytes_max: u64,
    /// Bytes copied in a call that merges.
    pub merge_bytes_max: u64,
    /// More small files than this, and they are merged when no client writes.
    pub merge_over_files: usize,
    /// More small files than this, and they are merged whatever clients do.
    pub merge_always_over_files: usize,
    /// Files smaller than these are small: of each size apart, so that a byte is not merged over and over.
    pub small_file_bytes: [u64; 2],
    /// Dead bytes of the WAL lane that are worth a compaction.
    pub wal_dead_bytes_min: u64,
}

impl Core {
    pub(super) fn staging(&self) -> PathBuf {
        self.vitals.paths.staging()
    }

    /// Makes all changes of the index durable. A sync that fails ends writing.
    pub(super) fn sync_index(&self) -> Result<(), FenceReason> {
        let result = Faults::hit(&self.vitals.faults.index_sync).map_err(IndexError::Engine);
        result
            .and_then(|()| self.index.sync())
            .map_err(|e| self.vitals.health.fail_writes(&format!("sync of the index: {e}")))
    }

    pub(super) fn figures(&self) -> Figures {
        let counters = self.index.counters();
        let log_bytes: u64 = self.index.files().values().map(|file: &FileRow| file.bytes).sum();
        Figures {
            shards: counters.shards,
            bytes_live: counters.bytes_live,
            bytes_used: log_bytes + self.vitals.index_bytes.load(Relaxed),
            mergeable_files: mergeable(&self.cleanable(), self.clean, self.vitals.idle()).len() as u64,
            dead_files: self.dead_files().len() as u64,
        }
    }

    /// Asks the instances for what is not kept in memory anyway; may block.
    pub(super) fn look(&self) {
        self.vitals.index_bytes.store(self.index.file_bytes(), Relaxed);
        let mut instances = vec![index_status(&self.index.db)];
        instances.extend(self.logs.all().into_iter().map(|(name, log)| log_status(&log, name)));
        *self.vitals.instances.lock().unwrap_or_else(PoisonError::into_inner) = instances;
    }
}

/// Streams that are not finished hold the files their units are in: such a file is neither dropped nor cleaned.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<FileId, u32>>);

impl Pending {
    pub(super) fn hold(&self, file: FileId) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(file).or_default() += 1;
    }

    pub(super) fn release(&self, files: &[FileId]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files {
            if let Some(count) = held.get_mut(file) {
                *count -= 1;
                if *count == 0 {
                    held.remove(file);
                }
            }
        }
    }

    pub(super) fn holds(&self, file: FileId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&file)
    }
}
