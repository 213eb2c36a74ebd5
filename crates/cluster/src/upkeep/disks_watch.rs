//! Folders whose disk is out of service: looked at again until it is back, replaced, or a person acts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_proto::DiskId;
use cairn_shard_store::{DiskState, DiskStatus, FenceReason};
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::warn;

use super::rest::Rests;
use super::{Pace, Upkeep};
use crate::disks::FolderState;
use crate::error::EngineError;
use crate::start::take_folder;

const CLOSED_WITHIN: Duration = Duration::from_secs(10);
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
const TRY_AGAIN_LONGEST: Duration = Duration::from_secs(30);
/// Free space from which a disk that found none is opened again: half of what is kept for cleaning.
const SPACE_AGAIN_PERCENT: u64 = 2;
/// A disk that opens well and then fails to read is opened again ever more seldom.
const UNREADABLE_FIRST: Duration = Duration::from_secs(5);
const UNREADABLE_LONGEST: Duration = Duration::from_secs(600);

/// Folders that rest after they could not be taken.
pub(crate) struct FoldersState {
    resting: Mutex<Vec<(PathBuf, FolderState, Instant, Duration)>>,
    unreadable: Rests<DiskId>,
    /// Folders being taken for longer than a step waits: a rebuild of an index reads the whole log's headers.
    taking: Mutex<Vec<PathBuf>>,
}

impl FoldersState {
    pub(crate) fn new() -> Self {
        Self {
            resting: Mutex::default(),
            unreadable: Rests::new(UNREADABLE_FIRST, UNREADABLE_LONGEST),
            taking: Mutex::default(),
        }
    }

    /// A folder that shows what it showed when it last failed rests; one that changed is tried at once.
    fn rests(&self, folder: &Path, state: &FolderState) -> bool {
        if matches!(state, FolderState::Disk { id, .. } if self.unreadable.rests(id)) {
            return true;
        }
        let resting = self.resting.lock().expect("no holder of this lock panics");
        resting.iter().any(|(known, was, until, _)| known == folder && was == state && Instant::now() < *until)
    }

    fn failed(&self, folder: &Path, state: FolderState, first: Duration) {
        let mut resting = self.resting.lock().expect("no holder of this lock panics");
        let last = resting.iter().find(|(known, was, ..)| known == folder && *was == state).map(|(.., pause)| *pause);
        let pause = last.map_or(first, |pause| (pause * 2).min(TRY_AGAIN_LONGEST));
        resting.retain(|(known, ..)| known != folder);
        resting.push((folder.to_owned(), state, Instant::now() + pause, pause));
    }

    /// Whether the folder is being taken by an earlier step.
    fn is_taking(&self, folder: &Path) -> bool {
        self.taking.lock().expect("no holder of this lock panics").iter().any(|known| known == folder)
    }

    fn worked(&self, folder: &Path) {
        self.resting.lock().expect("no holder of this lock panics").retain(|(known, ..)| known != folder);
    }
}

/// A folder that is being taken; dropped when that ended, well or not.
struct Taking {
    folders: Arc<FoldersState>,
    folder: PathBuf,
}

impl Taking {
    fn begin(folders: &Arc<FoldersState>, folder: &Path) -> Self {
        folders.taking.lock().expect("no holder of this lock panics").push(folder.to_owned());
        Self { folders: Arc::clone(folders), folder: folder.to_owned() }
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.folders.taking.lock().expect("no holder of this lock panics").retain(|known| *known != self.folder);
    }
}

impl Upkeep {
    /// Takes disks that are gone out of the table, and folders whose disk is there into it.
    pub(crate) async fn folders_step(&self) -> Result<Pace, EngineError> {
        self.drop_gone_disks().await;
        let mut waiting = self.waiting_folders().await;
        // Folders that hold a disk come first: a disk that moved is then known by its new folder, and the empty folder
        // it left does not pass for its replacement.
        waiting.sort_by_key(|(_, state)| !matches!(state, FolderState::Disk { .. }));
        let (holding, others): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, state)| matches!(state, FolderState::Disk { .. }));
        let mut taken = join_all(holding.into_iter().map(|(folder, state)| self.take(folder, state))).await;
        taken.extend(join_all(others.into_iter().map(|(folder, state)| self.take(folder, state))).await);
        if taken.contains(&true) {
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
            self.folders.unreadable.failed(disk);
        }
        let Some(store) = self.shared.disks.remove(disk) else { return };
        // Its files are locked until it is closed; a close that hangs leaves the folder out until it ends.
        if tokio::time::timeout(CLOSED_WITHIN, store.close()).await.is_err() {
            warn!(%disk, "a disk that is gone does not close");
        }
    }

    /// Folders that are not in service and do not rest, with what lies in them.
    async fn waiting_folders(&self) -> Vec<(PathBuf, FolderState)> {
        let serving: Vec<PathBuf> = self.shared.disks.all().into_iter().map(|disk| disk.folder).collect();
        let folders = self.shared.options.folders.iter().map(|disk| disk.folder.clone());
        let looks =
            folders.filter(|folder| !serving.contains(folder) && !self.folders.is_taking(folder)).map(|folder| async {
                let (opener, path) = (Arc::clone(&self.shared.opener), folder.clone());
                let look = tokio::task::spawn_blocking(move || opener.inspect(&path));
                // A folder that does not answer is as good as missing; it is looked at again.
                let state = match tokio::time::timeout(CLOSED_WITHIN, look).await {
                    Ok(Ok(state)) => state,
                    _ => return None,
                };
                (!self.folders.rests(&folder, &state)).then_some((folder, state))
            });
        join_all(looks).await.into_iter().flatten().collect()
    }

    /// Takes a folder. One that needs longer than a step may goes on by itself, and no second attempt is made beside it.
    async fn take(&self, folder: PathBuf, state: FolderState) -> bool {
        let taking = Taking::begin(&self.folders, &folder);
        let shared = Arc::clone(&self.shared);
        let attempt = tokio::spawn(async move { take_folder(&shared, &taking.folder).await });
        match tokio::time::timeout(TAKEN_WITHIN, attempt).await {
            Ok(Ok(true)) => {
                self.folders.worked(&folder);
                true
            }
            // Still at it: what comes of it is seen by a later step.
            Err(_) => false,
            Ok(_) => {
                self.folders.failed(&folder, state, self.shared.options.upkeep_interval);
                false
            }
        }
    }
}
