//! A disk on RocksDB.
//!
//! ```text
//!   writers ──units, headers──> log writer ──full files──> committer ──ingested files──┐
//!      └─────small shards, confirmations, deletes, attach numbers──────────────> index thread ──> answers
//!   cleaning ──files of copies, synced──> committer
//! ```
//!
//! Three threads a disk, each with a bounded queue: [`log_writer`], [`committer`], [`index_thread`]. A fourth, [`watch`],
//! asks the file system how it stands. Reads run on blocking threads, at most [`WORK_MAX`] at once. What a crash at any moment leaves is put right by [`start`].

mod catch_up;
mod clean;
mod committer;
mod core;
mod engine;
mod folder;
mod health;
mod index;
mod index_thread;
mod keys;
mod log_writer;
mod logs;
mod mover;
mod open_file;
mod read;
mod recovery_list;
mod rows;
mod start;
mod watch;
mod writer;

#[cfg(test)]
mod crash_test;
#[cfg(test)]
mod damage_test;
#[cfg(test)]
mod rocks_test;
#[cfg(test)]
mod testing;

use std::{
    fmt,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_proto::{AttachNumber, DiskId, Index as MetaIndex, LogPosition};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::{
    core::{CleanLimits, Core, Figures, Vitals},
    index_thread::IndexOrder,
    log_writer::{Ended, LogOrder, LogWriter},
    open_file::CommitQueue,
    rows::HeaderFields,
    watch::Watch,
    writer::{RocksWriter, Stream, Target},
};
use crate::{
    Cleaned, DeleteOrder, DiskStatus, FenceReason, InstanceStatus, ShardHeader, ShardKey, ShardStore, ShardStoreError,
    ShardSummary, ShardWriter, SpaceSource, SpaceUse, WriteMode,
    checks::{Progress, check_header, check_standing},
};

pub use self::folder::{FolderState, inspect, is_mount_point};

/// Calls that work on blocking threads at once.
const WORK_MAX: u32 = 16;
/// Payload from which a shard goes to the group log. Measured: under it the commit of a file costs more than the
/// second write of the bytes.
const LOG_SHARD_BYTES_MIN: u64 = 64 << 10;
/// Shards deleted in one batch.
const DELETE_BATCH: usize = 1000;
/// A merge ends in files of up to 256 MiB, as writing does.
const CLEAN_LIMITS: CleanLimits = CleanLimits {
    copy_bytes_max: 64 << 20,
    merge_bytes_max: 256 << 20,
    merge_over_files: 64,
    merge_always_over_files: 1024,
    small_file_bytes: [16 << 20, 128 << 20],
    wal_dead_bytes_min: 32 << 20,
};
/// Longest page of a listing.
const LIST_MAX: usize = 10_000;

/// How a disk is opened.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Its folder.
    pub folder: PathBuf,
    /// The cluster; a disk of another one is refused.
    pub cluster_id: u128,
    /// The id it gets if the folder is empty and is formatted.
    pub new_id: DiskId,
    /// The folder was a mount point when it was last seen: refuse it if it is none now.
    pub refuse_unmounted: bool,
    /// Where free space is asked for.
    pub space: SpaceSource,
    /// Files from which on an instance of the group log is full, and new files go to another. Not under 1.
    pub files_per_log: usize,
    /// A file system that does not answer for so long fences the disk until it does.
    pub hung_after: Duration,
    /// Files of the index that RocksDB may hold open.
    pub open_files_index: i32,
    /// Files of the group log that RocksDB may hold open in its first instance; a second one may half as many, and so
    /// on. The default lets six disks live with 1024 descriptors; raise
    /// it together with that limit.
    pub open_files_log: i32,
    clean: CleanLimits,
    file_bytes_max: u64,
}

impl DiskOptions {
    /// Options with everything else at its default.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, cluster_id: u128, new_id: DiskId) -> Self {
        Self {
            folder: folder.into(),
            cluster_id,
            new_id,
            refuse_unmounted: false,
            space: SpaceSource::default(),
            files_per_log: 4000,
            hung_after: Duration::from_secs(10),
            open_files_index: 32,
            open_files_log: 96,
            clean: CLEAN_LIMITS,
            file_bytes_max: 256 << 20,
        }
    }
}

/// What calls of an open disk use.
#[derive(Clone)]
struct Open {
    core: Arc<Core>,
    log: mpsc::Sender<LogOrder>,
    index: mpsc::Sender<IndexOrder>,
    commits: CommitQueue,
    ended: Arc<Ended>,
    streams: Arc<AtomicU64>,
}

struct Threads {
    log_writer: JoinHandle<()>,
    committer: JoinHandle<()>,
    index: JoinHandle<()>,
    watch: Watch,
}

/// A disk on RocksDB. Close it before its folder is opened again: dropped, it ends by and by.
pub struct RocksShardStore {
    vitals: Arc<Vitals>,
    open: RwLock<Option<Open>>,
    threads: Mutex<Option<Threads>>,
    work: Arc<Semaphore>,
}

impl fmt::Debug for RocksShardStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksShardStore").field("id", &self.vitals.id).finish_non_exhaustive()
    }
}

impl RocksShardStore {
    /// Opens the disk in a folder; an empty folder is formatted. Blocks: reads what the last run left undone.
    ///
    /// # Errors
    /// [`ShardStoreError::Refused`] with what is wrong and what to do, or what the engine says.
    pub fn open(options: &DiskOptions) -> Result<Arc<Self>, ShardStoreError> {
        let core = Arc::new(start::open(options)?);
        let vitals = Arc::clone(&core.vitals);
        let (open, threads) = start_threads(core, options.hung_after).map_err(engine::engine_error)?;
        Ok(Arc::new(Self {
            vitals,
            open: RwLock::new(Some(open)),
            threads: Mutex::new(Some(threads)),
            work: Arc::new(Semaphore::new(WORK_MAX as usize)),
        }))
    }

    /// Looks now whether the folder is still the one that was opened.
    pub fn check_folder(&self) {
        self.vitals.health.check_folder();
    }

    fn opened(&self) -> Result<Open, ShardStoreError> {
        self.vitals.check_read()?;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner).clone();
        open.ok_or_else(|| self.vitals.fenced(FenceReason::Closed))
    }

    /// Runs on a blocking thread; `close` waits for all of these.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Open) -> Result<T, ShardStoreError> + Send + 'static,
    ) -> Result<T, ShardStoreError> {
        let closed = || self.vitals.fenced(FenceReason::Closed);
        let permit = Arc::clone(&self.work).acquire_owned().await.map_err(|_| closed())?;
        let open = self.opened()?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&open);
            drop(open);
            drop(permit);
            result
        });
        task.await.map_err(engine::engine_error)?
    }

    /// Sends an order to the index thread and waits for its answer.
    async fn order<T>(&self, order: impl FnOnce(index_thread::Reply<T>) -> IndexOrder) -> Result<T, ShardStoreError> {
        self.vitals.check_write()?;
        let sender = self.opened()?.index;
        let (reply, answer) = oneshot::channel();
        let closed = || self.vitals.fenced(FenceReason::Closed);
        sender.send(order(reply)).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn figures(&self) -> Figures {
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(open) => open.core.figures(),
            None => *self.vitals.last.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    #[cfg(test)]
    fn core(&self) -> Arc<Core> {
        self.opened().map(|open| open.core).expect("tests ask open disks")
    }
}

fn start_threads(core: Arc<Core>, hung_after: Duration) -> std::io::Result<(Open, Threads)> {
    let (log, log_orders) = mpsc::channel(log_writer::QUEUE_MAX);
    let (index, index_orders) = mpsc::channel(index_thread::QUEUE_MAX);
    let (commits, full_files, waiting) = CommitQueue::new();
    let ended = Arc::new(Ended::default());
    let thread =
        |name: &str, run: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.to_owned()).spawn(run);

    let shared = Arc::clone(&core);
    let index_thread = thread("disk-index", Box::new(move || index_thread::run(&shared, index_orders)))?;
    let (shared, to_index, wake) = (Arc::clone(&core), index.clone(), log.downgrade());
    let commit = move || committer::run(&shared, &full_files, &to_index, &wake, &waiting);
    let committer = thread("disk-commit", Box::new(commit))?;
    let writer = LogWriter::new(Arc::clone(&core), log_orders, Arc::clone(&ended), commits.clone());
    let log_writer = thread("disk-log", Box::new(move || writer.run()))?;

    let watch = Watch::start(&core, hung_after)?;
    let open = Open { core, log, index, commits, ended, streams: Arc::default() };
    Ok((open, Threads { log_writer, committer, index: index_thread, watch }))
}

#[async_trait]
impl ShardStore for RocksShardStore {
    fn id(&self) -> DiskId {
        self.vitals.id
    }

    fn attach(&self) -> AttachNumber {
        self.vitals.attach()
    }

    async fn set_attach(&self, attach: AttachNumber) -> Result<(), ShardStoreError> {
        self.order(|reply| IndexOrder::Attach { attach, reply }).await
    }

    fn answered(&self) -> MetaIndex {
        self.vitals.answered()
    }

    fn told(&self) -> LogPosition {
        self.vitals.told()
    }

    async fn tell(&self, position: LogPosition) -> Result<(), ShardStoreError> {
        self.order(|reply| IndexOrder::Tell { position, reply }).await
    }

    async fn begin(
        &self,
        header: ShardHeader,
        mode: WriteMode,
        space: SpaceUse,
    ) -> Result<Box<dyn ShardWriter>, ShardStoreError> {
        self.vitals.check_write()?;
        let layout = check_header(&header)?;
        let standing = if mode == WriteMode::New { self.header(header.key).await? } else { None };
        let exists = check_standing(standing, &header, mode)?;
        let Open { log, index, ended, streams, .. } = self.opened()?;
        let payload_bytes = layout.shard_bytes();
        let target = if exists {
            Target::Swallow { index }
        } else {
            self.vitals.check_space(space)?;
            if space == SpaceUse::Client {
                self.vitals.note_client_write();
            }
            if payload_bytes < LOG_SHARD_BYTES_MIN {
                Target::Wal { units: Vec::new(), index }
            } else {
                let number = streams.fetch_add(1, Relaxed);
                log.send(LogOrder::Begin { stream: number })
                    .await
                    .map_err(|_| self.vitals.fenced(FenceReason::Closed))?;
                Target::Log(Stream { number, log, ended, is_finished: false })
            }
        };
        let vitals = Arc::clone(&self.vitals);
        let progress = Progress::new(&header, layout);
        let header = HeaderFields::from(&header);
        Ok(Box::new(RocksWriter { vitals, header, payload_bytes, mode, space, progress, target }))
    }

    async fn read_units(&self, key: ShardKey, stripes: Range<u32>) -> Result<Vec<Option<Bytes>>, ShardStoreError> {
        self.blocking(move |open| open.core.read_units(key, stripes)).await
    }

    async fn header(&self, key: ShardKey) -> Result<Option<ShardHeader>, ShardStoreError> {
        self.blocking(move |open| {
            let Some(row) = open.core.row(key)? else { return Ok(None) };
            let header = row.header.to_header().map_err(index::IndexError::from);
            open.core.note(header).map(Some)
        })
        .await
    }

    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardSummary>, ShardStoreError> {
        let limit = limit.min(LIST_MAX);
        self.blocking(move |open| {
            let rows = open.core.note(open.core.index.rows_after(after, limit))?;
            let summaries = rows.iter().map(|row| row.header.to_summary()).collect::<Result<_, _>>();
            open.core.note(summaries.map_err(index::IndexError::from))
        })
        .await
    }

    async fn delete(&self, keys: &[ShardKey], order: DeleteOrder) -> Result<u64, ShardStoreError> {
        let mut existed = 0;
        let mut rest = keys;
        loop {
            // Once at least: an order without keys still tells the group's index.
            let (batch, after) = rest.split_at(rest.len().min(DELETE_BATCH));
            let keys = batch.to_vec();
            existed += self.order(|reply| IndexOrder::Delete { keys, order, reply }).await?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if self.opened()?.core.has_dead_files() {
            // The delete is durable; space that does not come back now, since the disk is being cleaned, comes with that.
            if let Err(error) = self.blocking(clean::drop_dead_if_free).await {
                tracing::warn!(disk = %self.vitals.id, %error, "dead files were not dropped");
            }
        }
        Ok(existed)
    }

    async fn scrub(&self, key: ShardKey) -> Result<Vec<u32>, ShardStoreError> {
        self.blocking(move |open| open.core.scrub(key)).await
    }

    async fn clean(&self) -> Result<Cleaned, ShardStoreError> {
        self.blocking(clean::clean).await
    }

    async fn set_recovery_list(&self, list: Bytes) -> Result<(), ShardStoreError> {
        self.vitals.check_write()?;
        self.blocking(move |open| {
            recovery_list::write(&open.core.vitals.paths.root, &list).map_err(engine::engine_error)
        })
        .await
    }

    async fn recovery_list(&self) -> Result<Option<Bytes>, ShardStoreError> {
        self.blocking(|open| recovery_list::read(&open.core.vitals.paths.root).map_err(engine::engine_error)).await
    }

    fn status(&self) -> DiskStatus {
        self.vitals.status(self.figures())
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        self.vitals.instances.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn close(&self) {
        self.vitals.health.close();
        let Ok(_all) = self.work.acquire_many(WORK_MAX).await else { return };
        self.work.close();
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(open), Some(threads)) = (open, threads) else { return };
        *self.vitals.last.lock().unwrap_or_else(PoisonError::into_inner) = open.core.figures();
        self.vitals.instances.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // An error is a thread that ended already.
        let _ = open.log.send(LogOrder::Close).await;
        let ended = tokio::task::spawn_blocking(move || end_threads(open, threads)).await;
        if !matches!(ended, Ok(true)) {
            tracing::error!(disk = %self.vitals.id, "a thread of the disk ended by a panic");
        }
    }
}

/// In order of the flow, so that what was handed on is still done. Answers whether all ended well.
fn end_threads(open: Open, threads: Threads) -> bool {
    let Open { core, index, commits, .. } = open;
    // The committer ends when nobody can hand files over any more.
    drop(commits);
    let front = [threads.log_writer.join(), threads.committer.join()];
    let _ = index.blocking_send(IndexOrder::Close);
    let is_well = threads.index.join().is_ok() && front.iter().all(Result::is_ok);
    if !threads.watch.end() {
        tracing::warn!(disk = %core.vitals.id, "the file system hangs: the folder stays locked until it answers");
    }
    // The last one who holds the files: RocksDB is closed when this returns.
    drop(core);
    is_well
}
