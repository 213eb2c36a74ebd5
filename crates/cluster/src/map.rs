//! The cluster map: placement groups and disks as the metadata group said at an index.
//!
//! A copy may be old; nothing relies on it being new. The commit compares epochs and attach numbers, and a reader that
//! misses a shard refreshes the map once.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use cairn_erasure::ErasureProfile;
use cairn_meta::{DiskRow, MetaHandle, MetaView, PgRow, ProfileRow};
use cairn_proto::{DiskId, Index, PgId, Slot};

use crate::disks::Disks;
use crate::error::EngineError;
use crate::want::Want;

/// Groups and disks at one index.
#[derive(Clone, Debug, Default)]
pub struct ClusterMap {
    /// The index it was read at.
    pub index: Index,
    /// All groups, retired ones too.
    pub pgs: BTreeMap<PgId, PgRow>,
    /// All disks, replaced ones too.
    pub disks: BTreeMap<DiskId, DiskRow>,
}

impl ClusterMap {
    pub(crate) fn read(view: &MetaView) -> Result<Self, EngineError> {
        let pgs = view.pgs()?.into_iter().map(|row| (row.id, row)).collect();
        let disks = view.disks()?.into_iter().map(|row| (row.id, row)).collect();
        Ok(Self { index: view.index(), pgs, disks })
    }

    /// A group.
    #[must_use]
    pub fn pg(&self, pg: PgId) -> Option<&PgRow> {
        self.pgs.get(&pg)
    }

    /// The disk that holds a slot of a group.
    #[must_use]
    pub fn disk_of(&self, pg: PgId, slot: Slot) -> Option<DiskId> {
        self.pgs.get(&pg)?.slots.get(usize::from(slot.0)).copied()
    }

    /// Whether a disk went back in time and no inventory has seen since what it holds.
    #[must_use]
    pub fn behind(&self, disk: DiskId) -> bool {
        self.disks.get(&disk).is_some_and(|row| row.behind)
    }

    /// Slots of a group's segment that nobody can read now, or may not rely on: recorded as missing, on a disk that does
    /// not serve, or on one that went back in time.
    pub(crate) fn absent_slots(&self, group: &PgRow, missing: &[Slot], serves: impl Fn(DiskId) -> bool) -> Vec<Slot> {
        let slots = (0_u8..=u8::MAX).map(Slot).zip(&group.slots);
        let absent = slots.filter(|(slot, disk)| missing.contains(slot) || !serves(**disk) || self.behind(**disk));
        absent.map(|(slot, _)| slot).collect()
    }

    /// Disks that no other one replaced: the size of the store as its owner sees it.
    pub fn standing_disks(&self) -> impl Iterator<Item = &DiskRow> {
        self.disks.values().filter(|row| row.replaced_by.is_none())
    }

    /// Groups for a new segment: all their disks are writable, and of those that are wanted the ones with the most
    /// parity, and of those the widest.
    pub(crate) fn writable_groups(&self, disks: &Disks, want: Want) -> Vec<&PgRow> {
        let writable: BTreeMap<DiskId, bool> = self.disks.keys().map(|id| (*id, disks.writable(*id))).collect();
        let wanted = |row: &&PgRow| !row.retired && want.takes(row.profile);
        let usable = |row: &&PgRow| row.slots.iter().all(|disk| writable.get(disk).copied().unwrap_or(false));
        let groups: Vec<&PgRow> = self.pgs.values().filter(wanted).filter(usable).collect();
        let best = groups.iter().map(|row| (row.profile.parity, row.profile.data)).max();
        groups.into_iter().filter(|row| Some((row.profile.parity, row.profile.data)) == best).collect()
    }
}

/// The profile of a row as the codec knows it.
pub(crate) fn profile_of(row: ProfileRow) -> Result<ErasureProfile, EngineError> {
    Ok(ErasureProfile::new(row.data, row.parity)?)
}

/// The profile as a row keeps it.
pub(crate) fn profile_row(profile: ErasureProfile) -> ProfileRow {
    ProfileRow { data: profile.data_u8(), parity: profile.parity_u8() }
}

/// The newest map this node has.
#[derive(Default)]
pub(crate) struct MapCell {
    current: RwLock<Arc<ClusterMap>>,
}

impl MapCell {
    pub(crate) fn load(&self) -> Arc<ClusterMap> {
        Arc::clone(&self.current.read().expect("no holder of this lock panics"))
    }

    /// Reads the map anew, linearizably. An older answer than what is known changes nothing.
    pub(crate) async fn refresh(&self, meta: &MetaHandle) -> Result<Arc<ClusterMap>, EngineError> {
        let view = meta.read().await?;
        let read = tokio::task::spawn_blocking(move || ClusterMap::read(&view));
        let map = Arc::new(read.await.map_err(|_| EngineError::Shutdown)??);
        let mut current = self.current.write().expect("no holder of this lock panics");
        if map.index >= current.index {
            *current = map;
        }
        Ok(Arc::clone(&current))
    }
}
