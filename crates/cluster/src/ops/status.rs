//! How the store stands, for people and for metrics.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use cairn_meta::{GarbageTotals, MetaError, MetaStatus, ProfileRow};
use cairn_proto::{DiskId, Index, WriterId};
use cairn_shard_store::DiskState;

use crate::engine::Engine;
use crate::error::EngineError;

/// A disk, or a folder that should be one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskReport {
    /// Its id; none for a folder that never was a disk.
    pub id: Option<DiskId>,
    /// Its folder.
    pub folder: PathBuf,
    /// `serving`, `read-only: why`, `fenced: why`, `left out: why`, `away`.
    pub state: String,
    /// Whether it takes new segments.
    pub writable: bool,
    /// Size of its file system.
    pub bytes_total: u64,
    /// Free bytes of its file system.
    pub bytes_free: u64,
    /// Bytes its files take.
    pub bytes_used: u64,
    /// Payload bytes of its shards.
    pub bytes_live: u64,
    /// Shards it holds.
    pub shards: u64,
    /// Errors since start: its own and those its users saw.
    pub errors: u64,
    /// Whether it was attached since its last inventory.
    pub inventory_pending: bool,
}

/// The groups of one profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupReport {
    /// The profile.
    pub profile: ProfileRow,
    /// Groups that are not retired.
    pub total: usize,
    /// Of these, those all of whose disks take writes.
    pub writable: usize,
}

/// How the store stands.
#[derive(Clone, Debug)]
pub struct EngineStatus {
    /// Disks in service, then folders and disks that are not.
    pub disks: Vec<DiskReport>,
    /// Groups by profile, widest first.
    pub groups: Vec<GroupReport>,
    /// Shards known to be missing: repair's work list, exact.
    pub missing_shards: u64,
    /// Shards being rebuilt right now.
    pub repairs_running: u64,
    /// Shards rebuilt since start.
    pub repaired_shards: u64,
    /// Overwritten and deleted versions that wait for their readers, exact.
    pub garbage: GarbageTotals,
    /// Whether an object larger than the inline limit can be written now.
    pub writable: bool,
    /// Our writer.
    pub writer: WriterId,
    /// Segments being written.
    pub segments_running: usize,
    /// The index the figures are of.
    pub index: Index,
    /// The metadata group as this member sees it; in this release it is one copy.
    pub meta: MetaStatus,
}

impl Engine {
    /// How the store stands. Served from what this member has applied, so that it answers without a leader too.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn status(&self) -> Result<EngineStatus, EngineError> {
        let shared = self.shared();
        let view = shared.meta.local();
        let index = view.index();
        let totals =
            tokio::task::spawn_blocking(move || Ok::<_, MetaError>((view.missing_count()?, view.garbage_totals()?)));
        let (missing_shards, garbage) = totals.await.map_err(|_| EngineError::Shutdown)??;
        let groups = self.group_reports();
        Ok(EngineStatus {
            disks: self.disk_reports(),
            writable: groups.iter().any(|group| group.writable > 0),
            groups,
            missing_shards,
            repairs_running: shared.repairing.load(Ordering::Relaxed),
            repaired_shards: shared.repaired.load(Ordering::Relaxed),
            garbage,
            writer: shared.writer.id(),
            segments_running: shared.writer.running(),
            index,
            meta: shared.meta.status(),
        })
    }

    fn disk_reports(&self) -> Vec<DiskReport> {
        let (shared, map) = (self.shared(), self.shared().map.load());
        let mut reports = Vec::new();
        for disk in shared.disks.all() {
            let row = map.disks.get(&disk.id);
            reports.push(DiskReport {
                id: Some(disk.id),
                folder: disk.folder.clone(),
                state: state_text(&disk.status.state),
                writable: shared.disks.writable(disk.id),
                bytes_total: disk.status.bytes_total,
                bytes_free: disk.status.bytes_free,
                bytes_used: disk.status.bytes_used,
                bytes_live: disk.status.bytes_live,
                shards: disk.status.shards,
                errors: disk.status.errors + shared.disks.failures(disk.id),
                inventory_pending: row.is_some_and(|row| row.inventory != Some(row.attach)),
            });
        }
        for problem in shared.disks.problems() {
            reports.push(away(problem.disk, problem.folder, format!("left out: {}", problem.reason)));
        }
        for row in map.standing_disks() {
            let folder = PathBuf::from(&row.folder);
            if !reports.iter().any(|report| report.id == Some(row.id) || report.folder == folder) {
                reports.push(away(Some(row.id), folder, "away".to_owned()));
            }
        }
        reports
    }

    fn group_reports(&self) -> Vec<GroupReport> {
        let (shared, map) = (self.shared(), self.shared().map.load());
        let mut reports: Vec<GroupReport> = Vec::new();
        for group in map.pgs.values().filter(|group| !group.retired) {
            let writable = usize::from(group.slots.iter().all(|disk| shared.disks.writable(*disk)));
            match reports.iter_mut().find(|report| report.profile == group.profile) {
                Some(report) => {
                    report.total += 1;
                    report.writable += writable;
                }
                None => reports.push(GroupReport { profile: group.profile, total: 1, writable }),
            }
        }
        reports.sort_by_key(|report| std::cmp::Reverse((report.profile.parity, report.profile.data)));
        reports
    }
}

fn state_text(state: &DiskState) -> String {
    match state {
        DiskState::Serving => "serving".to_owned(),
        DiskState::ReadOnly(reason) => format!("read-only: {reason}"),
        DiskState::Fenced(reason) => format!("fenced: {reason}"),
    }
}

fn away(id: Option<DiskId>, folder: PathBuf, state: String) -> DiskReport {
    DiskReport {
        id,
        folder,
        state,
        writable: false,
        bytes_total: 0,
        bytes_free: 0,
        bytes_used: 0,
        bytes_live: 0,
        shards: 0,
        errors: 0,
        inventory_pending: false,
    }
}
