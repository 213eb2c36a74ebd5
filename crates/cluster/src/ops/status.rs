//! How the store stands, for people and for metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_meta::{GarbageTotals, LifeRow, MetaError, MetaStatus, MetaView, PgRow, ProfileRow};
use cairn_proto::{DiskId, Index, WriterId};
use cairn_shard_store::{DiskState, InstanceStatus};

use super::short::{ShortCount, ShortReport};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::lost::LostTotals;
use crate::map::{ClusterMap, profile_row};
use crate::shared::Shared;
use crate::want::Want;

/// A disk, or a folder that should be one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskReport {
    /// Its id; none for a folder that never was a disk.
    pub id: Option<DiskId>,
    /// Its folder.
    pub folder: PathBuf,
    /// `serving`, `read-only` (it serves reads), `fenced`, `left out` or `away`.
    pub state: &'static str,
    /// Why it does not serve, empty if it does.
    pub reason: String,
    /// Whether its shards can be read.
    pub readable: bool,
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
    /// The instances of its storage engine.
    pub instances: Vec<InstanceStatus>,
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

/// Segments with less parity than the server's profile has, and than anybody chose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NarrowReport {
    /// Their profile.
    pub profile: ProfileRow,
    /// How many; [`NARROW_COUNTED_MAX`] stands for as many or more.
    pub segments: usize,
}

/// Of a disk that the store has and the configuration does not.
const GIVEN_NOWHERE: &str = "no folder that the server was given holds it";

/// Segments of one profile that a status counts at most.
pub const NARROW_COUNTED_MAX: usize = 100_000;
const PAGE: usize = 1000;

/// How the store stands.
#[derive(Clone, Debug)]
pub struct EngineStatus {
    /// Disks in service, then folders and disks that are not.
    pub disks: Vec<DiskReport>,
    /// Groups by profile, widest first.
    pub groups: Vec<GroupReport>,
    /// The server's profile with all disks there; none without a disk.
    pub profile: Option<ProfileRow>,
    /// What was written with less parity while disks were away. Repair does not rewrite it: it is a cache's, and goes
    /// as it is overwritten.
    pub narrow: Vec<NarrowReport>,
    /// Shards known to be missing: repair's work list, exact.
    pub missing_shards: u64,
    /// Shards being rebuilt right now.
    pub repairs_running: u64,
    /// Shards rebuilt since start.
    pub repaired_shards: u64,
    /// Segments that no disk can give back, as far as repair has tried them: their objects are lost.
    pub lost_segments: u64,
    /// Of the missing shards, those of lost segments.
    pub lost_shards: u64,
    /// What lacks shards now, on disks that serve or on those that do not.
    pub short: ShortReport,
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
    /// How old the newest snapshot of the metadata on the disks is; none without one.
    pub snapshot_age: Option<Duration>,
    /// Whether that snapshot was made before the metadata was recovered.
    pub snapshot_is_earlier: bool,
    /// How often the metadata was recovered from a snapshot.
    pub life: u64,
    /// Shards of objects that are newer than the snapshot that was recovered, as far as inventories have seen them.
    pub forgotten_shards: u64,
    /// The metadata group as this member sees it; in this release it is one copy.
    pub meta: MetaStatus,
}

/// What the disks can serve now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service {
    /// Whether some placement group has disks enough to be read.
    pub readable: bool,
    /// Whether some placement group takes new segments.
    pub writable: bool,
}

impl Engine {
    /// What the disks can serve now. Disks whose status is old are asked: call it off the async threads.
    #[must_use]
    pub fn service(&self) -> Service {
        let (disks, map) = (&self.shared().disks, self.shared().map.load());
        let standing = || map.pgs.values().filter(|group| !group.retired);
        let readable = |group: &PgRow| {
            let up = group.slots.iter().filter(|disk| disks.up(**disk)).count();
            up >= usize::from(group.profile.data)
        };
        let writable = |group: &PgRow| group.slots.iter().all(|disk| disks.writable(*disk));
        Service { readable: standing().any(readable), writable: standing().any(writable) }
    }

    /// How the store stands. Served from what this member has applied, so that it answers without a leader too.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn status(&self) -> Result<EngineStatus, EngineError> {
        let shared = self.shared();
        let view = shared.meta.local();
        let index = view.index();
        let (map, profile) = (shared.map.load(), shared.server_profile());
        let chosen: Vec<ProfileRow> = shared.options.storage_classes.values().copied().map(profile_row).collect();
        let counted = Arc::clone(shared);
        let totals = tokio::task::spawn_blocking(move || Totals::read(&counted, &view, &map, chosen));
        let totals = totals.await.map_err(|_| EngineError::Shutdown)??;
        let earlier_ms = shared.earlier_snapshot.created_ms();
        let snapshot_ms = totals.snapshot_ms.or(earlier_ms);
        let ordinary = profile.map(|profile| Want::new(profile, false));
        Ok(EngineStatus {
            disks: self.disk_reports(),
            writable: ordinary.is_some_and(|want| shared.draw_group(want, &[]).is_some()),
            groups: self.group_reports(),
            profile,
            narrow: totals.narrow,
            missing_shards: totals.missing,
            repairs_running: shared.repairing.load(Ordering::Relaxed),
            repaired_shards: shared.repaired.load(Ordering::Relaxed),
            lost_segments: totals.lost.segments,
            lost_shards: totals.lost.shards,
            short: totals.short,
            garbage: totals.garbage,
            writer: shared.writer.id(),
            segments_running: shared.writer.running(),
            index,
            snapshot_age: snapshot_ms.map(|made| Duration::from_millis(shared.meta.now_ms().saturating_sub(made))),
            snapshot_is_earlier: totals.snapshot_ms.is_none() && earlier_ms.is_some(),
            life: totals.life,
            forgotten_shards: totals.forgotten,
            meta: shared.meta.status(),
        })
    }

    fn disk_reports(&self) -> Vec<DiskReport> {
        let (shared, map) = (self.shared(), self.shared().map.load());
        let mut reports = Vec::new();
        for disk in shared.disks.all() {
            let row = map.disks.get(&disk.id);
            let (state, mut reason) = state_words(&disk.status.state);
            if reason.is_empty() && map.behind(disk.id) {
                "it went back in time: relied on after its inventory".clone_into(&mut reason);
            }
            reports.push(DiskReport {
                id: Some(disk.id),
                folder: disk.folder.clone(),
                state,
                reason,
                readable: !matches!(disk.status.state, DiskState::Fenced(_)),
                writable: shared.disks.writable(disk.id),
                bytes_total: disk.status.bytes_total,
                bytes_free: disk.status.bytes_free,
                bytes_used: disk.status.bytes_used,
                bytes_live: disk.status.bytes_live,
                shards: disk.status.shards,
                errors: disk.status.errors + shared.disks.failures(disk.id),
                instances: disk.store.instances(),
                inventory_pending: row.is_some_and(|row| row.inventory != Some(row.attach)),
            });
        }
        for problem in shared.disks.problems() {
            reports.push(away(problem.disk, problem.folder, "left out", problem.reason));
        }
        for row in map.standing_disks() {
            let folder = PathBuf::from(&row.folder);
            if !reports.iter().any(|report| report.id == Some(row.id) || report.folder == folder) {
                reports.push(away(Some(row.id), folder, "away", GIVEN_NOWHERE.to_owned()));
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

/// What one view of the rows says.
struct Totals {
    missing: u64,
    garbage: GarbageTotals,
    lost: LostTotals,
    short: ShortReport,
    narrow: Vec<NarrowReport>,
    /// When this life's newest snapshot was made.
    snapshot_ms: Option<u64>,
    life: u64,
    forgotten: u64,
}

impl Totals {
    /// Reads from disks, and asks those whose status is old.
    fn read(shared: &Shared, view: &MetaView, map: &ClusterMap, chosen: Vec<ProfileRow>) -> Result<Self, MetaError> {
        let profile = shared.server_profile();
        let serving = map.disks.keys().copied().filter(|disk| shared.disks.up(*disk)).collect();
        let lives = view.lives()?;
        let forgets = lives.iter().any(LifeRow::forgets);
        Ok(Self {
            missing: view.missing_count()?,
            garbage: view.garbage_totals()?,
            lost: shared.lost.totals(view)?,
            short: shared.short.get(&ShortCount { view, map, serving, lost: shared.lost.known() })?,
            narrow: profile.map_or(Ok(Vec::new()), |profile| narrow(view, map, profile, chosen))?,
            snapshot_ms: view.snapshots()?.pop().map(|row| row.created_ms),
            life: lives.last().map_or(0, |row| row.life),
            forgotten: if forgets { shared.forgotten.total() } else { 0 },
        })
    }
}

/// Counts the segments in groups of less parity than `profile`, but for profiles that a storage class or a bucket has
/// by choice.
fn narrow(
    view: &MetaView,
    map: &ClusterMap,
    profile: ProfileRow,
    mut chosen: Vec<ProfileRow>,
) -> Result<Vec<NarrowReport>, MetaError> {
    let buckets = view.buckets("", None, PAGE)?;
    chosen.extend(buckets.iter().filter_map(|bucket| bucket.settings.profile));
    let mut found: BTreeMap<(u8, u8), usize> = BTreeMap::new();
    for group in map.pgs.values() {
        if group.profile.parity >= profile.parity || chosen.contains(&group.profile) {
            continue;
        }
        let count = found.entry((group.profile.parity, group.profile.data)).or_default();
        let mut after = None;
        while *count < NARROW_COUNTED_MAX {
            let page = view.segments(group.id, after, PAGE)?;
            *count += page.len();
            after = page.last().map(|(segment, _)| *segment);
            if page.len() < PAGE {
                break;
            }
        }
    }
    let found = found.into_iter().filter(|(_, segments)| *segments > 0);
    let report = |((parity, data), segments)| NarrowReport { profile: ProfileRow { data, parity }, segments };
    Ok(found.map(report).collect())
}

fn state_words(state: &DiskState) -> (&'static str, String) {
    match state {
        DiskState::Serving => ("serving", String::new()),
        DiskState::ReadOnly(reason) => ("read-only", reason.to_string()),
        DiskState::Fenced(reason) => ("fenced", reason.to_string()),
    }
}

fn away(id: Option<DiskId>, folder: PathBuf, state: &'static str, reason: String) -> DiskReport {
    DiskReport {
        id,
        folder,
        state,
        reason,
        readable: false,
        writable: false,
        bytes_total: 0,
        bytes_free: 0,
        bytes_used: 0,
        bytes_live: 0,
        shards: 0,
        errors: 0,
        inventory_pending: false,
        instances: Vec::new(),
    }
}
