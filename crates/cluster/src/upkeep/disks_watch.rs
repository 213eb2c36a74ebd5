//! Folders whose disk is out of service: looked at again until it is back, replaced, or a person acts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cairn_proto::DiskId;
use cairn_shard_store::{DiskState, DiskStatus, FenceReason, FolderState};
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::warn;

use super::rest::Rests;
use super::{Pace, Upkeep};
use crate::disks::FolderProblem;
use crate::error::EngineError;
use crate::shared::Shared;
use crate::start::{behind, take_folder};

const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// A folder that does not even show what lies in it is left out; its look goes on alone, and none is made beside it.
const LOOKED_WITHIN: Duration = Duration::from_secs(10);
const TRY_AGAIN_LONGEST: Duration = Duration::from_secs(30);
/// Free space from which a disk that found none is opened again: half of what is kept for cleaning.
const SPACE_AGAIN_PERCENT: u64 = 2;
/// A disk that opens well and then fails to read is opened again ever more seldom.
const UNREADABLE_FIRST: Duration = Duration::from_secs(5);
const UNREADABLE_LONGEST: Duration = Duration::from_secs(600);

/// What is known of the folders that are out of service.
pub(crate) struct FoldersState {
    folders: Mutex<BTreeMap<PathBuf, Attempts>>,
    unreadable: Rests<DiskId>,
}

/// The attempts to take one folder.
#[derive(Default)]
struct Attempts {
    /// One is being made, maybe for longer than a step waits: an index that is rebuilt reads the whole log's headers.
    running: bool,
    /// The last one failed.
    rest: Option<Rest>,
}

struct Rest {
    /// What the folder showed then.
    was: FolderState,
    until: Instant,
    pause: Duration,
}

impl FoldersState {
    pub(crate) fn new() -> Self {
        Self { folders: Mutex::default(), unreadable: Rests::new(UNREADABLE_FIRST, UNREADABLE_LONGEST) }
    }

    fn folders(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Attempts>> {
        self.folders.lock().expect("no holder of this lock panics")
    }

    /// A folder that shows what it showed when it last failed rests; one that changed is tried at once.
    fn rests(&self, folder: &Path, state: &FolderState) -> bool {
        if matches!(state, FolderState::Disk { id, .. } if self.unreadable.rests(id)) {
            return true;
        }
        let folders = self.folders();
        let rest = folders.get(folder).and_then(|attempts| attempts.rest.as_ref());
        rest.is_some_and(|rest| rest.was == *state && Instant::now() < rest.until)
    }

    fn failed(&self, folder: &Path, state: FolderState, first: Duration) {
        let mut folders = self.folders();
        let attempts = folders.entry(folder.to_owned()).or_default();
        let last = attempts.rest.as_ref().filter(|rest| rest.was == state);
        let pause = last.map_or(first, |rest| (rest.pause * 2).min(TRY_AGAIN_LONGEST));
        attempts.rest = Some(Rest { was: state, until: Instant::now() + pause, pause });
    }

    fn worked(&self, folder: &Path) {
        self.folders().remove(folder);
    }
}

/// The one attempt that is made at a folder: a look, then the opening. Dropped when that ended, well or not.
struct Attempt {
    folders: Arc<FoldersState>,
    folder: PathBuf,
}

impl Attempt {
    /// None while another one is being made.
    fn begin(folders: &Arc<FoldersState>, folder: &Path) -> Option<Self> {
        let mut known = folders.folders();
        let attempts = known.entry(folder.to_owned()).or_default();
        if std::mem::replace(&mut attempts.running, true) {
            return None;
        }
        Some(Self { folders: Arc::clone(folders), folder: folder.to_owned() })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(attempts) = self.folders.folders().get_mut(&self.folder) {
            attempts.running = false;
        }
    }
}

/// Takes folders that are not in service and do not rest. Answers whether a disk came into service.
///
/// Folders that hold a disk come first: a disk that moved is then known by its new folder, and the empty folder it left
/// does not pass for its replacement.
pub(crate) async fn take_waiting(shared: &Arc<Shared>) -> bool {
    let waiting = waiting_folders(shared).await;
    let (holding, others): (Vec<_>, Vec<_>) =
        waiting.into_iter().partition(|(_, state)| matches!(state, FolderState::Disk { .. }));
    // After a start without disks these are the first that can show the metadata to be older.
    if shared.writer.check_proven().is_err() {
        let folders = holding.iter().map(|(attempt, _)| attempt.folder.clone()).collect();
        if behind::compare_all(shared, folders).await.is_err() {
            return false;
        }
    }
    let mut came = false;
    // One after another: of two folders with the same disk the second is then known as a copy.
    for (attempt, state) in holding.into_iter().chain(others) {
        came |= take(shared, attempt, state).await;
    }
    behind::close_unused(shared).await;
    came
}

/// Folders to be taken, with what lies in them.
async fn waiting_folders(shared: &Arc<Shared>) -> Vec<(Attempt, FolderState)> {
    let serving: Vec<PathBuf> = shared.disks.all().into_iter().map(|disk| disk.folder).collect();
    let folders = shared.options.folders.iter().map(|disk| &disk.folder).filter(|folder| !serving.contains(folder));
    let looks = folders.filter_map(|folder| Attempt::begin(&shared.folders, folder)).map(|attempt| {
        let (opener, folder) = (Arc::clone(&shared.opener), attempt.folder.clone());
        let look = tokio::task::spawn_blocking(move || {
            let state = opener.inspect(&attempt.folder);
            (attempt, state)
        });
        async move {
            let looked = tokio::time::timeout(LOOKED_WITHIN.min(shared.options.open_within), look).await;
            if looked.is_err() {
                let disk = shared.known_disk(&folder).map(|(disk, _)| disk);
                let reason = "its file system does not answer: it is looked at again when it does".to_owned();
                shared.disks.set_problem(FolderProblem { folder, disk, reason });
            }
            looked.ok()?.ok()
        }
    });
    let looked = join_all(looks).await.into_iter().flatten();
    looked.filter(|(attempt, state)| !shared.folders.rests(&attempt.folder, state)).collect()
}

/// Takes a folder. One that needs longer than a step may goes on by itself.
async fn take(shared: &Arc<Shared>, attempt: Attempt, state: FolderState) -> bool {
    let (shared, within) = (Arc::clone(shared), shared.options.open_within);
    let taking = tokio::spawn(async move {
        let taken = take_folder(&shared, &attempt.folder).await;
        match taken {
            true => shared.folders.worked(&attempt.folder),
            false => shared.folders.failed(&attempt.folder, state, shared.options.upkeep_interval),
        }
        taken
    });
    // Still at it: what comes of it is seen by a later step.
    matches!(tokio::time::timeout(within, taking).await, Ok(Ok(true)))
}

impl Upkeep {
    /// Takes disks that are gone out of the table, and folders whose disk is there into it.
    pub(crate) async fn folders_step(&self) -> Result<Pace, EngineError> {
        self.drop_gone_disks().await;
        if take_waiting(&self.shared).await {
            self.disks_came();
        }
        Ok(self.idle())
    }

    async fn drop_gone_disks(&self) {
        let gone = |state: &DiskState| {
            matches!(
                state,
                DiskState::Fenced(FenceReason::Gone | FenceReason::ReadFailed(_) | FenceReason::Closed)
                    // Its index is damaged: opened anew it is rebuilt.
                    | DiskState::ReadOnly(FenceReason::ReadFailed(_))
            )
        };
        // Something else filled the file system: opened anew when there is space again.
        let has_space_again = |status: &DiskStatus| {
            matches!(status.state, DiskState::ReadOnly(FenceReason::NoSpace(_)))
                && status.bytes_free > status.bytes_total / 100 * SPACE_AGAIN_PERCENT
        };
        let disks = self.shared.disks.all().into_iter();
        let disks = disks.filter(|disk| gone(&disk.status.state) || has_space_again(&disk.status));
        join_all(disks.map(|disk| self.drop_disk(disk.id, disk.status.state))).await;
    }

    async fn drop_disk(&self, disk: DiskId, state: DiskState) {
        if let DiskState::Fenced(FenceReason::ReadFailed(_)) | DiskState::ReadOnly(FenceReason::ReadFailed(_)) = state {
            self.shared.folders.unreadable.failed(disk);
        }
        let Some(store) = self.shared.disks.remove(disk) else { return };
        // Its files are locked until it is closed; a close that hangs leaves the folder out until it ends.
        if tokio::time::timeout(CLOSED_WITHIN, store.close()).await.is_err() {
            warn!(%disk, "a disk that is gone does not close");
        }
    }
}
