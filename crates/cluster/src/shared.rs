//! What foreground and upkeep stand on together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use cairn_meta::{BucketSettings, MetaHandle, PgRow, ProfileRow};
use cairn_proto::{BucketId, DiskId, PgId};
use cairn_shard_store::{DiskState, FenceReason, ShardStore};

use crate::codecs::Codecs;
use crate::disks::{DiskEntry, DiskOpener, Disks};
use crate::draw::draw_by_weight;
use crate::error::EngineError;
use crate::ids::IdSource;
use crate::lost::LostSegments;
use crate::map::{ClusterMap, MapCell, profile_row};
use crate::ops::LastShort;
use crate::options::EngineOptions;
use crate::pins::Pins;
use crate::queues::{Abandoned, HintQueue, ShardReport};
use crate::read::UrlVersions;
use crate::sealing::ClusterKey;
use crate::snapshot::EarlierSnapshot;
use crate::start::behind::Behind;
use crate::upkeep;
use crate::want::Want;
use crate::writer_life::WriterLife;

/// Most profiles that groups are kept for; beyond it a profile's groups are made when a writer finds none.
const WANTS_MAX: usize = 64;

/// The engine's parts; one per process, behind an `Arc`.
pub(crate) struct Shared {
    pub(crate) options: EngineOptions,
    pub(crate) meta: MetaHandle,
    /// Seals what the metadata and the disks keep.
    pub(crate) key: Arc<ClusterKey>,
    pub(crate) opener: Arc<dyn DiskOpener>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) disks: Disks,
    /// The folders whose disk is not in the table.
    pub(crate) folders: Arc<upkeep::FoldersState>,
    pub(crate) map: MapCell,
    pub(crate) pins: Arc<Pins>,
    /// What ranges of presigned URLs saw.
    pub(crate) urls: UrlVersions,
    /// Profiles that writers asked for since start: upkeep keeps groups for them.
    pub(crate) wants: Mutex<BTreeSet<Want>>,
    pub(crate) writer: Arc<WriterLife>,
    pub(crate) codecs: Codecs,
    /// Shards that readers could not use: repair looks at them.
    pub(crate) reports: HintQueue<ShardReport>,
    /// Segments that will not be committed: the reaper asks about them once the watermark passed them.
    pub(crate) abandoned: HintQueue<Abandoned>,
    /// Disks that an inventory shall look through now, whatever is due.
    pub(crate) inventories: HintQueue<DiskId>,
    /// Held while groups are planned because a writer found none.
    pub(crate) planning: tokio::sync::Mutex<()>,
    /// Shards being rebuilt right now, for status; upkeep counts.
    pub(crate) repairing: AtomicU64,
    /// Shards rebuilt since start, for status; upkeep counts.
    pub(crate) repaired: AtomicU64,
    /// Held while a snapshot of the metadata, or the list of them, is written.
    pub(crate) snapshots: tokio::sync::Mutex<()>,
    /// What the disks list of earlier lives, for status.
    pub(crate) earlier_snapshot: EarlierSnapshot,
    /// Segments that repair cannot make whole again, for status.
    pub(crate) lost: LostSegments,
    /// What was short of redundancy when status last counted much.
    pub(crate) short: LastShort,
    /// Whether the metadata showed to be older than a disk.
    pub(crate) behind: Behind,
    /// Disks that the start has opened and compared, until they are attached.
    pub(crate) compared: Mutex<BTreeMap<PathBuf, Arc<dyn ShardStore>>>,
    /// Shards that are newer than the snapshot that was recovered, for status; inventory counts.
    pub(crate) forgotten: upkeep::ForgottenShards,
}

impl Shared {
    /// What the bytes of a bucket, and of a storage class, shall be coded with.
    pub(crate) async fn want(&self, bucket: BucketId, class: Option<&str>) -> Result<Want, EngineError> {
        let row = self.meta.local().fetch(move |view| view.bucket_by_id(bucket)).await?;
        // A bucket that is gone meanwhile is found at the commit.
        let settings = row.map(|row| row.settings).unwrap_or_default();
        self.want_by(settings, class).ok_or_else(|| EngineError::unavailable("there is no disk"))
    }

    /// The same where the bucket's settings are known: the class's profile, else the bucket's, else the server's.
    pub(crate) fn want_by(&self, settings: BucketSettings, class: Option<&str>) -> Option<Want> {
        let of_class = class.and_then(|class| self.options.storage_classes.get(class)).copied().map(profile_row);
        let profile = of_class.or(settings.profile).or_else(|| self.server_profile())?;
        Some(Want::new(profile, settings.cache))
    }

    /// The profile of what names none.
    pub(crate) fn server_profile(&self) -> Option<ProfileRow> {
        self.options.profile.for_disks(self.disks_expected()).map(profile_row)
    }

    /// Disks that the group knows and that take writes now.
    pub(crate) fn usable_disks(&self, map: &ClusterMap) -> BTreeSet<DiskId> {
        map.disks.keys().copied().filter(|disk| self.disks.writable(*disk)).collect()
    }

    /// Whether bytes would be coded no better now: with the wanted profile, or with what the disks carry of it. Where
    /// they carry nothing of it, any.
    pub(crate) fn is_best(&self, want: Want, profile: ProfileRow) -> bool {
        let carried = || want.fitting(self.usable_disks(&self.map.load()).len());
        profile == want.profile() || carried().is_none_or(|carried| carried == profile)
    }

    /// A group for a new segment, drawn among the writable ones that are not in `avoid`. Where none of them is what
    /// the disks can carry, groups are planned, and it is tried once more.
    pub(crate) async fn choose_group(self: &Arc<Self>, want: Want, avoid: &[PgId]) -> Result<PgRow, EngineError> {
        let draw = || self.draw_group(want, avoid).filter(|group| self.is_best(want, group.profile));
        if let Some(group) = draw() {
            return Ok(group);
        }
        // Of many writers that find none, one plans.
        let _planning = self.planning.lock().await;
        if let Some(group) = draw() {
            return Ok(group);
        }
        self.note_want(want);
        upkeep::groups::ensure(self, want).await?;
        self.draw_group(want, avoid).ok_or_else(|| self.no_group(want))
    }

    /// Upkeep goes on with what is made here; the server's own profile it knows.
    fn note_want(&self, want: Want) {
        if self.server_profile() == Some(want.profile()) {
            return;
        }
        let mut wants = self.wants.lock().expect("no holder of this lock panics");
        if wants.len() < WANTS_MAX {
            wants.insert(want);
        }
    }

    /// How many disks there are when none is away.
    pub(crate) fn disks_expected(&self) -> usize {
        self.map.load().standing_disks().count().max(self.options.folders.len())
    }

    fn no_group(&self, want: Want) -> EngineError {
        let disks = self.disks.all();
        let up = disks.iter().filter(|disk| self.disks.writable(disk.id)).count();
        let is_full = |disk: &&DiskEntry| matches!(disk.status.state, DiskState::ReadOnly(FenceReason::Full { .. }));
        let full = disks.iter().filter(is_full).count();
        let known = self.map.load().standing_disks().count();
        let ProfileRow { data, parity } = want.profile();
        let why = format!(
            "{up} of {known} disks take writes, {full} are full: too few for a placement group of profile \
             {data}+{parity}, which needs {} at least",
            parity + 1
        );
        if full > 0 {
            EngineError::NoSpace { why: format!("{why}; delete objects or add a disk") }
        } else {
            EngineError::unavailable(why)
        }
    }

    /// A writable group: the more room it has, the more often.
    pub(crate) fn draw_group(&self, want: Want, avoid: &[PgId]) -> Option<PgRow> {
        let map = self.map.load();
        let mut groups = map.writable_groups(&self.disks, want);
        groups.retain(|group| !avoid.contains(&group.id));
        let free = self.disks.bytes_free();
        // A group takes as much as the fullest of its disks.
        let room = |group: &&PgRow| group.slots.iter().map(|disk| free.get(disk).copied().unwrap_or(0)).min();
        let rooms: Vec<u64> = groups.iter().map(|group| room(group).unwrap_or(0)).collect();
        let drawn = draw_by_weight(&rooms, self.ids.number())?;
        groups.get(drawn).map(|group| (*group).clone())
    }

    /// The disk that the map knows under a folder of this node, not counting replaced ones.
    pub(crate) fn known_disk(&self, folder: &Path) -> Option<(DiskId, bool)> {
        let folder = folder.to_string_lossy();
        let map = self.map.load();
        map.standing_disks()
            .find(|row| row.node == self.options.node && row.folder == folder)
            .map(|row| (row.id, row.was_mount))
    }
}
