//! What to do with the configured folders: a pure decision over what lies in them and what the group knows.
//!
//! A disk is known by its id, never by its folder: two disks that changed places are both taken as they are. Only an
//! empty folder is ever formatted, and it takes the slots of the disk that lay there only if that disk is nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cairn_meta::DiskRow;
use cairn_proto::{DiskId, NodeId};

use crate::disks::FolderState;

/// A configured folder as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FoundFolder {
    pub(crate) folder: PathBuf,
    pub(crate) state: FolderState,
    pub(crate) mount_point: bool,
}

/// What is known beside the folders.
pub(crate) struct KnownDisks<'a> {
    pub(crate) node: NodeId,
    pub(crate) cluster_id: u128,
    pub(crate) rows: &'a BTreeMap<DiskId, DiskRow>,
    /// Disks in service and their folders.
    pub(crate) open: &'a BTreeMap<DiskId, PathBuf>,
}

/// What to do with a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum FolderPlan {
    /// Its disk is in service.
    InService,
    /// Take the disk that lies there into service.
    Open(DiskId),
    /// Make a disk there, which takes the slots of the one it replaces.
    Format { replaces: Option<DiskId> },
    /// Leave it, with the reason for people and the disk that belongs there.
    Leave { disk: Option<DiskId>, reason: String },
}

/// One plan for each folder, in order.
pub(crate) fn plan_folders(found: &[FoundFolder], known: &KnownDisks<'_>) -> Vec<FolderPlan> {
    let mut seen: BTreeSet<DiskId> = BTreeSet::new();
    let present: BTreeSet<DiskId> = found.iter().filter_map(|found| disk_in(&found.state)).collect();
    found.iter().map(|found| plan_folder(found, known, &present, &mut seen)).collect()
}

fn disk_in(state: &FolderState) -> Option<DiskId> {
    match state {
        FolderState::Disk { id, .. } => Some(*id),
        _ => None,
    }
}

fn plan_folder(
    found: &FoundFolder,
    known: &KnownDisks<'_>,
    present: &BTreeSet<DiskId>,
    seen: &mut BTreeSet<DiskId>,
) -> FolderPlan {
    let belongs = belonging(found, known);
    let leave = |reason: String| FolderPlan::Leave { disk: belongs.map(|row| row.id), reason };
    match &found.state {
        FolderState::Missing => leave("the folder is not there: mount the disk, or make an empty folder".to_owned()),
        FolderState::Foreign(why) => leave(why.clone()),
        FolderState::Disk { id, cluster_id } if *cluster_id != known.cluster_id => {
            leave(format!("disk {id} belongs to another cluster"))
        }
        FolderState::Disk { id, .. } => match known.open.get(id) {
            Some(folder) if *folder == found.folder => FolderPlan::InService,
            Some(folder) => leave(format!("disk {id} is in service from {} already: a copy", folder.display())),
            None if !seen.insert(*id) => leave(format!("disk {id} lies in another folder too: a copy")),
            None => FolderPlan::Open(*id),
        },
        FolderState::Empty => match belongs {
            Some(old) if present.contains(&old.id) || known.open.contains_key(&old.id) => {
                FolderPlan::Format { replaces: None }
            }
            Some(old) if old.was_mount && !found.mount_point => {
                leave(format!("disk {} was a mount point here and nothing is mounted now: mount it", old.id))
            }
            old => FolderPlan::Format { replaces: old.map(|row| row.id) },
        },
    }
}

/// The disk that was last attached in the folder and was not replaced.
fn belonging<'a>(found: &FoundFolder, known: &KnownDisks<'a>) -> Option<&'a DiskRow> {
    let here = |row: &&DiskRow| {
        row.node == known.node && row.replaced_by.is_none() && row.folder == found.folder.to_string_lossy()
    };
    // A disk that is in service elsewhere moved; of the others the one attached here is meant.
    let mut rows: Vec<&DiskRow> = known.rows.values().filter(here).collect();
    rows.sort_by_key(|row| known.open.contains_key(&row.id));
    rows.first().copied()
}

#[cfg(test)]
mod tests {
    use cairn_proto::AttachNumber;

    use super::*;

    const CLUSTER: u128 = 77;

    struct World {
        rows: BTreeMap<DiskId, DiskRow>,
        open: BTreeMap<DiskId, PathBuf>,
    }

    impl World {
        fn new(disks: &[(u128, &str)]) -> Self {
            let rows = disks.iter().map(|(id, folder)| (DiskId(*id), row(*id, folder))).collect();
            Self { rows, open: BTreeMap::new() }
        }

        fn plan(&self, found: &[FoundFolder]) -> Vec<FolderPlan> {
            let known =
                KnownDisks { node: NodeId(1), cluster_id: CLUSTER, rows: &self.rows, open: &self.open };
            plan_folders(found, &known)
        }
    }

    fn row(id: u128, folder: &str) -> DiskRow {
        DiskRow {
            id: DiskId(id),
            node: NodeId(1),
            attach: AttachNumber(1),
            folder: folder.to_owned(),
            was_mount: false,
            bytes_total: 0,
            inventory: None,
            replaced_by: None,
        }
    }

    fn found(folder: &str, state: FolderState) -> FoundFolder {
        FoundFolder { folder: PathBuf::from(folder), state, mount_point: false }
    }

    fn disk(id: u128) -> FolderState {
        FolderState::Disk { id: DiskId(id), cluster_id: CLUSTER }
    }

    #[test]
    fn a_known_disk_is_opened_and_an_empty_folder_replaces() {
        let world = World::new(&[(1, "a"), (2, "b")]);
        let plan = world.plan(&[found("a", disk(1)), found("b", FolderState::Empty), found("c", FolderState::Empty)]);
        let expected = vec![
            FolderPlan::Open(DiskId(1)),
            FolderPlan::Format { replaces: Some(DiskId(2)) },
            FolderPlan::Format { replaces: None },
        ];
        assert_eq!(plan, expected);
    }

    #[test]
    fn disks_that_changed_places_are_both_opened() {
        let world = World::new(&[(1, "a"), (2, "b")]);
        let plan = world.plan(&[found("a", disk(2)), found("b", disk(1))]);
        assert_eq!(plan, vec![FolderPlan::Open(DiskId(2)), FolderPlan::Open(DiskId(1))]);
    }

    #[test]
    fn a_disk_that_moved_is_not_replaced() {
        let mut world = World::new(&[(1, "a"), (2, "b")]);
        let plan = world.plan(&[found("a", FolderState::Empty), found("b", disk(1))]);
        assert_eq!(plan, vec![FolderPlan::Format { replaces: None }, FolderPlan::Open(DiskId(1))]);
        world.open.insert(DiskId(1), PathBuf::from("b"));
        assert_eq!(world.plan(&[found("a", FolderState::Empty)]), vec![FolderPlan::Format { replaces: None }]);
    }

    #[test]
    fn an_unmounted_disk_is_not_replaced() {
        let mut world = World::new(&[(1, "a")]);
        world.rows.get_mut(&DiskId(1)).unwrap().was_mount = true;
        let mut empty = found("a", FolderState::Empty);
        let plan = world.plan(std::slice::from_ref(&empty));
        assert!(matches!(&plan[0], FolderPlan::Leave { disk: Some(DiskId(1)), reason } if reason.contains("mount")));
        empty.mount_point = true;
        assert_eq!(world.plan(&[empty]), vec![FolderPlan::Format { replaces: Some(DiskId(1)) }]);
    }

    #[test]
    fn copies_foreign_and_missing_folders_stay_out() {
        let mut world = World::new(&[(1, "a")]);
        let twice = world.plan(&[found("a", disk(1)), found("b", disk(1))]);
        assert!(matches!(twice[..], [FolderPlan::Open(DiskId(1)), FolderPlan::Leave { .. }]));
        world.open.insert(DiskId(1), PathBuf::from("a"));
        let copy = world.plan(&[found("a", disk(1)), found("b", disk(1))]);
        assert!(matches!(copy[..], [FolderPlan::InService, FolderPlan::Leave { .. }]));
        let others = [
            FolderState::Missing,
            FolderState::Foreign("not a disk".to_owned()),
            FolderState::Disk { id: DiskId(9), cluster_id: CLUSTER + 1 },
        ];
        for state in others {
            assert!(matches!(world.plan(&[found("c", state)])[..], [FolderPlan::Leave { disk: None, .. }]));
        }
    }

    #[test]
    fn the_newest_disk_of_a_folder_is_the_one_replaced() {
        let mut world = World::new(&[(1, "a"), (2, "a")]);
        world.rows.get_mut(&DiskId(1)).unwrap().replaced_by = Some(DiskId(2));
        let plan = world.plan(&[found("a", FolderState::Empty)]);
        assert_eq!(plan, vec![FolderPlan::Format { replaces: Some(DiskId(2)) }]);
    }
}
