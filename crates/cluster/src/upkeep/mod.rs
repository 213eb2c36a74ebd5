//! Upkeep: what runs behind the requests so that the store stays whole and gives space back.
//!
//! ```text
//! heartbeat     how each disk stands ──▶ wakes what waits for a disk
//! disks_watch   folders out of service: back, replaced, or the reason why not
//! groups        enough placement groups for the disks that take writes
//! inventory     per disk: rows against listing ──▶ missing, dead
//! scrub         per disk: re-reads shards ──▶ missing
//! repair        missing ──▶ whole
//! reaper        garbage, abandoned segments, dead uploads ──▶ space
//! snapshots     the metadata ──▶ segments, daily; the list of them on every disk
//! progress      per disk: the log position, so that older metadata is found out
//! cleaner       per disk: dead units ──▶ space of the file system
//! ```
//!
//! **Invariant:** what is due is derived from rows and present state in every round. A queue here holds hints only:
//! losing an entry, a step or the whole process loses no work.
//! **Invariant:** a disk or item that fails rests by itself; no duty waits for one disk longer than a deadline.

mod calls;
mod cleaner;
mod disks_watch;
mod forgotten;
pub(crate) mod groups;
mod heartbeat;
pub(crate) mod inventory;
mod plan_groups;
pub(crate) mod plan_inventory;
mod plan_reaper;
mod plan_repair;
mod plan_scrub;
pub(crate) mod progress;
mod reaper;
mod rebuild;
mod reclaim;
mod repair;
mod report;
mod rest;
mod run;
mod scrub;
pub(crate) mod segment_pages;
mod snapshots;

#[cfg(test)]
mod settings_test;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod upkeep_test;
#[cfg(test)]
mod url_versions_test;

use std::sync::Arc;
use std::time::Duration;

use cairn_meta::{MetaError, MetaView};
use tokio::sync::Notify;

use crate::error::EngineError;
use crate::shared::Shared;

pub(crate) use disks_watch::{FoldersState, take_waiting};
pub(crate) use forgotten::ForgottenShards;
pub(crate) use run::{UpkeepHandle, start};

/// A disk that does not answer upkeep in this time rests.
const DISK_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// When a duty wants its next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// There is more to do.
    Again,
    /// Nothing to do for so long, unless woken.
    After(Duration),
    /// Nothing to do ever: the disk of a disk's duty left the table. It begins anew when the disk is back.
    End,
}

/// What wakes the duties before their time.
#[derive(Default)]
pub(crate) struct Wakes {
    pub(crate) disks: Notify,
    pub(crate) groups: Notify,
    pub(crate) repair: Notify,
    pub(crate) reaper: Notify,
    pub(crate) snapshots: Notify,
}

/// The state of all duties; each step of a duty is a method in the duty's file.
pub(crate) struct Upkeep {
    pub(crate) shared: Arc<Shared>,
    pub(crate) calls: calls::DiskCalls,
    pub(crate) wakes: Wakes,
    pub(crate) heartbeat: heartbeat::HeartbeatState,
    pub(crate) inventory: inventory::InventoryState,
    pub(crate) progress: progress::ProgressState,
    pub(crate) repair: repair::RepairState,
    pub(crate) reaper: reaper::ReaperState,
    pub(crate) scrub: scrub::ScrubState,
    pub(crate) snapshots: snapshots::SnapshotsState,
}

impl Upkeep {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            calls: calls::DiskCalls::new(DISK_ANSWERS_WITHIN),
            wakes: Wakes::default(),
            heartbeat: heartbeat::HeartbeatState::default(),
            inventory: inventory::InventoryState::default(),
            progress: progress::ProgressState::default(),
            repair: repair::RepairState::new(),
            reaper: reaper::ReaperState::new(),
            scrub: scrub::ScrubState::default(),
            snapshots: snapshots::SnapshotsState::new(),
        }
    }

    /// The pause of a duty that found nothing to do.
    pub(crate) fn idle(&self) -> Pace {
        Pace::After(self.shared.options.upkeep_interval)
    }

    /// Reads rows linearizably, off the async threads.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&MetaView) -> Result<T, MetaError> + Send + 'static,
    ) -> Result<T, EngineError> {
        look(&self.shared, read).await
    }

    /// Disks are there that were not: whatever rests is tried again.
    pub(crate) fn disks_came(&self) {
        self.calls.wake_all();
        self.repair.rests.wake_all();
        self.snapshots.rests.wake_all();
        self.shared.lost.clear();
        self.wakes.disks.notify_waiters();
        self.wakes.groups.notify_one();
        self.wakes.repair.notify_one();
        self.wakes.reaper.notify_one();
    }
}

/// Reads rows linearizably, off the async threads.
pub(crate) async fn look<T: Send + 'static>(
    shared: &Shared,
    read: impl FnOnce(&MetaView) -> Result<T, MetaError> + Send + 'static,
) -> Result<T, EngineError> {
    let view = shared.meta.read().await?;
    let answer = tokio::task::spawn_blocking(move || read(&view)).await;
    Ok(answer.map_err(|_| EngineError::Shutdown)??)
}
