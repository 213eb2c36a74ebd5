//! The disks of this node: which folders are served, which are not and why, and how each stands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use cairn_proto::DiskId;
use cairn_shard_store::{DiskState, DiskStatus, FolderState, ShardStore, ShardStoreError};
use tokio::time::Instant;

use crate::read::{Latency, Timing};

/// A status is asked anew when it is older than this.
const STATUS_AGE_MAX: Duration = Duration::from_millis(250);

/// A folder that is a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskFolder {
    /// Where it is.
    pub folder: PathBuf,
}

/// Opens disks: RocksDB ones in the server, memory ones in tests.
#[async_trait]
pub trait DiskOpener: Send + Sync + 'static {
    /// What lies in the folder, without changing it.
    fn inspect(&self, folder: &Path) -> FolderState;

    /// Whether the folder is where a file system is mounted.
    fn is_mount_point(&self, folder: &Path) -> bool;

    /// Opens the disk in the folder, formatting it first where an id is given.
    async fn open(&self, folder: &Path, format_as: Option<DiskId>) -> Result<Arc<dyn ShardStore>, ShardStoreError>;
}

/// A disk in service.
#[derive(Clone)]
pub struct DiskEntry {
    /// Its id.
    pub id: DiskId,
    /// Its folder.
    pub folder: PathBuf,
    /// The disk itself.
    pub store: Arc<dyn ShardStore>,
    /// How it stood when last asked.
    pub status: DiskStatus,
}

/// A folder that is not in service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FolderProblem {
    /// The folder.
    pub folder: PathBuf,
    /// The disk that belongs there, where one is known.
    pub disk: Option<DiskId>,
    /// What is wrong and what to do.
    pub reason: String,
}

struct Held {
    entry: DiskEntry,
    asked: Instant,
    avoid_until: Option<Instant>,
    slow_until: Option<Instant>,
    failures: u64,
    latency: Arc<Latency>,
}

/// The table of this node's disks.
pub struct Disks {
    held: RwLock<BTreeMap<DiskId, Held>>,
    problems: RwLock<Vec<FolderProblem>>,
    failure_pause: Duration,
}

impl Disks {
    /// An empty table; a disk that failed a request gets no new segments for `failure_pause`.
    #[must_use]
    pub fn new(failure_pause: Duration) -> Self {
        Self { held: RwLock::default(), problems: RwLock::default(), failure_pause }
    }

    /// Takes a disk into service.
    pub fn insert(&self, folder: PathBuf, store: Arc<dyn ShardStore>) {
        let (id, status) = (store.id(), store.status());
        let entry = DiskEntry { id, folder, store, status };
        let (asked, latency) = (Instant::now(), Arc::default());
        let held = Held { entry, asked, avoid_until: None, slow_until: None, failures: 0, latency };
        self.held.write().expect("no holder of this lock panics").insert(id, held);
    }

    /// Takes a disk out of service; it is not closed.
    pub fn remove(&self, disk: DiskId) -> Option<Arc<dyn ShardStore>> {
        let held = self.held.write().expect("no holder of this lock panics").remove(&disk)?;
        Some(held.entry.store)
    }

    /// A disk that is in service.
    #[must_use]
    pub fn get(&self, disk: DiskId) -> Option<Arc<dyn ShardStore>> {
        let held = self.held.read().expect("no holder of this lock panics");
        held.get(&disk).map(|held| Arc::clone(&held.entry.store))
    }

    /// A disk that is in service, to be read by somebody who times it.
    pub(crate) fn timed(&self, disk: DiskId) -> Option<(Arc<dyn ShardStore>, Timing)> {
        let held = self.held.read().expect("no holder of this lock panics");
        let held = held.get(&disk)?;
        Some((Arc::clone(&held.entry.store), Timing::start(Arc::clone(&held.latency))))
    }

    /// How fast some disks answer; none where that is not known.
    pub(crate) fn latencies(&self, disks: &[Option<DiskId>]) -> Vec<Option<Duration>> {
        let held = self.held.read().expect("no holder of this lock panics");
        disks.iter().map(|disk| held.get(disk.as_ref()?)?.latency.p95()).collect()
    }

    /// Whether the disk can be read.
    #[must_use]
    pub fn up(&self, disk: DiskId) -> bool {
        self.with_fresh(disk, |held| !matches!(held.entry.status.state, DiskState::Fenced(_))).unwrap_or(false)
    }

    /// Whether new segments may go to the disk: it serves and has not just failed a request.
    #[must_use]
    pub fn writable(&self, disk: DiskId) -> bool {
        self.with_fresh(disk, |held| {
            let avoided = held.avoid_until.is_some_and(|until| Instant::now() < until);
            !avoided && held.entry.status.state == DiskState::Serving
        })
        .unwrap_or(false)
    }

    /// Free bytes of all disks in service, when they were last asked.
    pub(crate) fn bytes_free(&self) -> BTreeMap<DiskId, u64> {
        let held = self.held.read().expect("no holder of this lock panics");
        held.iter().map(|(disk, held)| (*disk, held.entry.status.bytes_free)).collect()
    }

    /// A writer's or reader's complaint: the disk gets no new segments for some seconds, and its status is asked anew.
    pub fn note_failure(&self, disk: DiskId) {
        {
            let mut held = self.held.write().expect("no holder of this lock panics");
            let Some(held) = held.get_mut(&disk) else { return };
            held.avoid_until = Some(Instant::now() + self.failure_pause);
            held.failures += 1;
        }
        self.ask(disk);
    }

    /// A reader waited too long for the disk: for some seconds others are asked before it.
    pub fn note_slow(&self, disk: DiskId) {
        let mut held = self.held.write().expect("no holder of this lock panics");
        if let Some(held) = held.get_mut(&disk) {
            held.slow_until = Some(Instant::now() + self.failure_pause);
        }
    }

    /// Whether the disk can be read and has not just let a reader wait.
    #[must_use]
    pub fn prompt(&self, disk: DiskId) -> bool {
        let prompt = |held: &Held| {
            let slow = held.slow_until.is_some_and(|until| Instant::now() < until);
            !slow && !matches!(held.entry.status.state, DiskState::Fenced(_))
        };
        self.with_fresh(disk, prompt).unwrap_or(false)
    }

    /// Complaints about a disk since start.
    #[must_use]
    pub fn failures(&self, disk: DiskId) -> u64 {
        let held = self.held.read().expect("no holder of this lock panics");
        held.get(&disk).map_or(0, |held| held.failures)
    }

    /// All disks in service, in order of id, with a fresh status.
    #[must_use]
    pub fn all(&self) -> Vec<DiskEntry> {
        let known: Vec<DiskId> = self.held.read().expect("no holder of this lock panics").keys().copied().collect();
        known.into_iter().for_each(|disk| self.ask(disk));
        let held = self.held.read().expect("no holder of this lock panics");
        held.values().map(|held| held.entry.clone()).collect()
    }

    /// Remembers why a folder is not in service; the newest reason per folder stays.
    pub fn set_problem(&self, problem: FolderProblem) {
        let mut problems = self.problems.write().expect("no holder of this lock panics");
        problems.retain(|known| known.folder != problem.folder);
        problems.push(problem);
    }

    /// The folder is in service again.
    pub fn clear_problem(&self, folder: &Path) {
        self.problems.write().expect("no holder of this lock panics").retain(|known| known.folder != folder);
    }

    /// Folders that are not in service.
    #[must_use]
    pub fn problems(&self) -> Vec<FolderProblem> {
        self.problems.read().expect("no holder of this lock panics").clone()
    }

    fn with_fresh<T>(&self, disk: DiskId, look: impl FnOnce(&Held) -> T) -> Option<T> {
        {
            let held = self.held.read().expect("no holder of this lock panics");
            let held = held.get(&disk)?;
            if !held.is_stale() {
                return Some(look(held));
            }
        }
        self.ask(disk);
        let held = self.held.read().expect("no holder of this lock panics");
        held.get(&disk).map(look)
    }

    /// Asks a disk how it stands, with no lock held. While it is asked, others go by its last answer.
    fn ask(&self, disk: DiskId) {
        let store = {
            let mut held = self.held.write().expect("no holder of this lock panics");
            let Some(held) = held.get_mut(&disk) else { return };
            held.asked = Instant::now();
            Arc::clone(&held.entry.store)
        };
        let status = store.status();
        let mut held = self.held.write().expect("no holder of this lock panics");
        // Another disk may have taken the id's place meanwhile.
        if let Some(held) = held.get_mut(&disk).filter(|held| Arc::ptr_eq(&held.entry.store, &store)) {
            held.entry.status = status;
        }
    }
}

impl Held {
    fn is_stale(&self) -> bool {
        self.asked.elapsed() >= STATUS_AGE_MAX
    }
}
