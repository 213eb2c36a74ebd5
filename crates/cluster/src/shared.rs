//! What foreground and upkeep stand on together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cairn_meta::{MetaHandle, PgRow};
use cairn_proto::{DiskId, PgId};
use cairn_shard_store::{DiskState, FenceReason};

use crate::codecs::Codecs;
use crate::disks::{DiskEntry, DiskOpener, Disks};
use crate::error::EngineError;
use crate::ids::IdSource;
use crate::map::MapCell;
use crate::options::EngineOptions;
use crate::pins::Pins;
use crate::queues::{Abandoned, HintQueue, ShardReport};
use crate::upkeep;
use crate::writer_life::WriterLife;

/// The engine's parts; one per process, behind an `Arc`.
pub(crate) struct Shared {
    pub(crate) options: EngineOptions,
    pub(crate) meta: MetaHandle,
    pub(crate) opener: Arc<dyn DiskOpener>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) disks: Disks,
    pub(crate) map: MapCell,
    pub(crate) pins: Arc<Pins>,
    pub(crate) writer: Arc<WriterLife>,
    pub(crate) codecs: Codecs,
    /// Shards that readers could not use: repair looks at them.
    pub(crate) reports: HintQueue<ShardReport>,
    /// Segments that will not be committed: the reaper asks about them once the watermark passed them.
    pub(crate) abandoned: HintQueue<Abandoned>,
    /// Held while groups are planned because a writer found none.
    pub(crate) planning: tokio::sync::Mutex<()>,
    /// Shards being rebuilt right now, for status; upkeep counts.
    pub(crate) repairing: AtomicU64,
    /// Shards rebuilt since start, for status; upkeep counts.
    pub(crate) repaired: AtomicU64,
}

impl Shared {
    /// A group for a new segment, drawn among the writable ones that are not in `avoid`. Where none is left, groups
    /// are planned for the disks that are, and it is tried once more.
    pub(crate) async fn choose_group(self: &Arc<Self>, avoid: &[PgId]) -> Result<PgRow, EngineError> {
        if let Some(group) = self.draw_group(avoid) {
            return Ok(group);
        }
        // Of many writers that find none, one plans.
        let _planning = self.planning.lock().await;
        if let Some(group) = self.draw_group(avoid) {
            return Ok(group);
        }
        upkeep::groups::ensure(self).await?;
        self.draw_group(avoid).ok_or_else(|| self.no_group())
    }

    fn no_group(&self) -> EngineError {
        let disks = self.disks.all();
        let up = disks.iter().filter(|disk| self.disks.writable(disk.id)).count();
        let is_full = |disk: &&DiskEntry| matches!(disk.status.state, DiskState::ReadOnly(FenceReason::Full { .. }));
        let full = disks.iter().filter(is_full).count();
        let known = self.map.load().standing_disks().count();
        let why = format!("{up} of {known} disks take writes, {full} are full: too few for a placement group");
        if full > 0 { EngineError::NoSpace { why } } else { EngineError::unavailable(why) }
    }

    fn draw_group(&self, avoid: &[PgId]) -> Option<PgRow> {
        let map = self.map.load();
        let mut groups = map.writable_groups(&self.disks);
        groups.retain(|group| !avoid.contains(&group.id));
        let count = u64::try_from(groups.len()).ok().filter(|count| *count > 0)?;
        let drawn = usize::try_from(self.ids.number() % count).ok()?;
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
