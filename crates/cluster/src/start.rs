//! The start: which folder holds which disk, and taking it into service.
//!
//! A folder is decided upon by what lies in it and by what the metadata group knows of it:
//!
//! ```text
//!                     known disk of this folder          none known
//! disk, that one      attach                             -
//! disk, another one   attach; a disk that is new to      attach, if of this cluster
//!                     the group replaces the known one
//! empty               refused if it was a mount point    format, attach
//!                     and is none; else replacement
//! missing, foreign    refused                            refused (missing: made and formatted)
//! ```

pub(crate) mod behind;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use cairn_meta::{CLUSTER_VERSION, Command, MetaHandle, Reply};
use cairn_proto::{AttachNumber, DiskId};
use cairn_shard_store::{DiskState, FolderState, ShardStore};

use crate::codecs::Codecs;
use crate::disks::{DiskOpener, Disks, FolderProblem};
use crate::error::EngineError;
use crate::ids::IdSource;
use crate::lost::LostSegments;
use crate::map::MapCell;
use crate::ops::LastShort;
use crate::options::EngineOptions;
use crate::pins::Pins;
use crate::queues::HintQueue;
use crate::read::UrlVersions;
use crate::sealing::ClusterKey;
use crate::shared::Shared;
use crate::snapshot::EarlierSnapshot;
use crate::upkeep::{self, FoldersState, ForgottenShards};
use crate::writer_life::WriterLife;

/// Puts the parts together and takes every folder into service that can be.
pub(crate) async fn start(
    options: EngineOptions,
    key: Arc<ClusterKey>,
    meta: MetaHandle,
    opener: Arc<dyn DiskOpener>,
    ids: Arc<dyn IdSource>,
) -> Result<Arc<Shared>, EngineError> {
    check_options(&options)?;
    meta.raise_version(vec![(options.node, CLUSTER_VERSION)]).await?;
    let map = MapCell::default();
    map.refresh(&meta).await?;
    let has_disks = map.load().standing_disks().next().is_some();
    let writer = Arc::new(WriterLife::open(meta.clone(), options.node, has_disks).await?);
    let shared = Arc::new(Shared {
        disks: Disks::new(options.failure_pause),
        folders: Arc::new(FoldersState::new()),
        pins: Arc::new(Pins::new(options.pin_by_index_within)),
        urls: UrlVersions::new(options.url_quiet_max),
        wants: Mutex::default(),
        codecs: Codecs::new(),
        reports: HintQueue::new(),
        abandoned: HintQueue::new(),
        inventories: HintQueue::new(),
        planning: tokio::sync::Mutex::default(),
        repairing: AtomicU64::new(0),
        repaired: AtomicU64::new(0),
        snapshots: tokio::sync::Mutex::default(),
        earlier_snapshot: EarlierSnapshot::default(),
        key,
        lost: LostSegments::default(),
        short: LastShort::default(),
        forgotten: ForgottenShards::default(),
        behind: behind::Behind::default(),
        compared: Mutex::default(),
        options,
        meta,
        opener,
        ids,
        map,
        writer,
    });
    // All before any: a disk that were attached, or made, under an older group would be ahead of the right one for ever.
    behind::compare_all(&shared, shared.options.folders.iter().map(|given| given.folder.clone()).collect()).await?;
    // The reason why a folder is left out is in the status and the log; the store starts with the others.
    let _came: bool = upkeep::take_waiting(&shared).await;
    tell_of_disks_without_a_folder(&shared);
    if let Err(error) = upkeep::groups::ensure_all(&shared).await {
        tracing::warn!(%error, "no placement groups could be made; reads are served");
    }
    Ok(shared)
}

/// A disk that the store has and none of the folders holds is no fault of any folder: nothing else would tell of it.
fn tell_of_disks_without_a_folder(shared: &Shared) {
    for row in shared.map.load().standing_disks().filter(|row| row.node == shared.options.node) {
        let attached = shared.disks.all().iter().any(|disk| disk.id == row.id);
        if !attached && !shared.options.folders.iter().any(|given| given.folder == Path::new(&row.folder)) {
            let (disk, folder) = (row.id, &row.folder);
            tracing::error!(%disk, folder, "no folder that was given holds this disk: its shards count as missing");
        }
    }
}

fn check_options(options: &EngineOptions) -> Result<(), EngineError> {
    let segment_range = 1..=cairn_erasure::SEGMENT_BYTES_MAX;
    if !segment_range.contains(&options.segment_bytes_max) {
        return Err(EngineError::invalid(format!("segment_bytes_max is outside of {segment_range:?}")));
    }
    if options.extents_max == 0 || options.extents_max > cairn_meta::EXTENTS_MAX {
        return Err(EngineError::invalid(format!("extents_max is outside of 1 to {}", cairn_meta::EXTENTS_MAX)));
    }
    if options.inline_bytes_max > cairn_meta::INLINE_BYTES_MAX {
        return Err(EngineError::invalid(format!("inline_bytes_max is over {}", cairn_meta::INLINE_BYTES_MAX)));
    }
    Ok(())
}

/// Takes a folder into service if it can be; answers whether it is. Called again later (a disk came back, was
/// replaced) it takes up where the reason went away.
pub(crate) async fn take_folder(shared: &Arc<Shared>, folder: &Path) -> bool {
    if shared.disks.all().iter().any(|disk| disk.folder == folder) {
        return true;
    }
    match open_and_attach(shared, folder).await {
        Ok(()) => {
            shared.disks.clear_problem(folder);
            true
        }
        Err(reason) => {
            let problem =
                FolderProblem { folder: folder.to_owned(), disk: shared.known_disk(folder).map(|(id, _)| id), reason };
            if !shared.disks.problems().contains(&problem) {
                tracing::error!(folder = %folder.display(), reason = problem.reason, "a disk is left out");
            }
            shared.disks.set_problem(problem);
            false
        }
    }
}

/// What to do with a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plan {
    /// The disk in it goes into service, in the place of another where it is new and one is known.
    Open { replaces: Option<DiskId> },
    /// An empty folder becomes a disk, in the place of another where one is known.
    Format { replaces: Option<DiskId> },
}

/// What is known about a folder before it is touched.
struct FolderFacts {
    state: FolderState,
    mounted: bool,
    cluster_id: u128,
    known: Option<(DiskId, bool)>,
    /// Whether the group knows the disk in the folder.
    attached_before: bool,
    /// Ids that other folders of this node already serve.
    taken: Vec<DiskId>,
}

fn plan_folder(facts: &FolderFacts) -> Result<Plan, String> {
    match &facts.state {
        FolderState::Foreign(what) => Err(what.clone()),
        FolderState::Disk { cluster_id, .. } if *cluster_id != facts.cluster_id => {
            Err("the disk belongs to another cluster; give an empty folder to use it here".to_owned())
        }
        FolderState::Disk { id, .. } if facts.taken.contains(id) => {
            Err(format!("another folder already holds disk {id}: this one is a copy"))
        }
        // Formatted as a replacement by a start that ended before the group heard of it.
        FolderState::Disk { .. } if !facts.attached_before => {
            Ok(Plan::Open { replaces: facts.known.map(|(disk, _)| disk).filter(|disk| !facts.taken.contains(disk)) })
        }
        FolderState::Disk { .. } => Ok(Plan::Open { replaces: None }),
        FolderState::Empty | FolderState::Missing => match facts.known {
            None => Ok(Plan::Format { replaces: None }),
            Some((disk, true)) if !facts.mounted => Err(format!(
                "disk {disk} was a mounted file system here and none is mounted now: mount it, or mount the new disk"
            )),
            Some((disk, _)) if facts.state == FolderState::Missing => {
                Err(format!("the folder of disk {disk} is gone; make an empty one to have the disk replaced"))
            }
            Some((disk, _)) => Ok(Plan::Format { replaces: Some(disk) }),
        },
    }
}

async fn open_and_attach(shared: &Arc<Shared>, folder: &Path) -> Result<(), String> {
    let (opener, path) = (Arc::clone(&shared.opener), folder.to_owned());
    let looked = tokio::task::spawn_blocking(move || (opener.inspect(&path), opener.is_mount_point(&path)));
    let (state, mounted) = looked.await.map_err(|error| error.to_string())?;
    let known = shared.known_disk(folder);
    let attached_before = match &state {
        // A disk that was replaced and is put back where its replacement was takes the slots back.
        FolderState::Disk { id, .. } => shared
            .map
            .load()
            .disks
            .get(id)
            .is_some_and(|row| row.replaced_by.is_none() || row.replaced_by != known.map(|(disk, _)| disk)),
        _ => false,
    };
    let facts = FolderFacts {
        attached_before,
        state,
        mounted,
        cluster_id: shared.options.cluster_id,
        known,
        taken: shared.disks.all().iter().map(|disk| disk.id).collect(),
    };
    let plan = plan_folder(&facts)?;
    let (format_as, replaces) = match plan {
        Plan::Open { replaces } => (None, replaces),
        Plan::Format { replaces } => (Some(shared.ids.disk_id()), replaces),
    };
    let store = match behind::take_compared(shared, folder).filter(|_| format_as.is_none()) {
        Some(store) => store,
        None => shared.opener.open(folder, format_as).await.map_err(|error| error.to_string())?,
    };
    if let Err(reason) = attach(shared, folder, &store, mounted, replaces).await {
        store.close().await;
        return Err(reason);
    }
    Ok(())
}

async fn attach(
    shared: &Arc<Shared>,
    folder: &Path,
    store: &Arc<dyn ShardStore>,
    was_mount: bool,
    replaces: Option<DiskId>,
) -> Result<(), String> {
    behind::check(shared, folder, store).await.map_err(|error| error.to_string())?;
    let (held, was_known) = (store.attach(), shared.map.load().disks.contains_key(&store.id()));
    let number = raise_attach(shared, folder, store, was_mount, replaces).await.map_err(|error| error.to_string())?;
    // What is new is looked through anyway.
    if was_known && held.next() < number {
        distrust(shared, folder, store.id(), number).await.map_err(|error| error.to_string())?;
    }
    if let Err(error) = store.set_attach(number).await {
        // A disk that takes no writes still serves reads. The commit counts its older number as missing.
        if !matches!(store.status().state, DiskState::ReadOnly(_)) {
            return Err(error.to_string());
        }
        tracing::error!(%error, folder = %folder.display(), disk = %store.id(), "a disk takes no writes: it is read only");
    }
    shared.map.refresh(&shared.meta).await.map_err(|error| error.to_string())?;
    shared.disks.insert(folder.to_owned(), Arc::clone(store));
    let (folder, disk) = (folder.display(), store.id());
    if let Some(old) = replaces {
        tracing::warn!(%folder, %disk, %old, "a new disk takes the place of an old one: its data is rebuilt");
    }
    tracing::info!(%folder, %disk, %number, "disk attached");
    Ok(())
}

async fn raise_attach(
    shared: &Arc<Shared>,
    folder: &Path,
    store: &Arc<dyn ShardStore>,
    was_mount: bool,
    replaces: Option<DiskId>,
) -> Result<AttachNumber, EngineError> {
    let command = Command::AttachDisk {
        disk: store.id(),
        node: shared.options.node,
        folder: folder.to_string_lossy().into_owned(),
        was_mount,
        bytes_total: store.status().bytes_total,
        replaces,
    };
    match shared.meta.propose(command).await? {
        Reply::Attached(number) => Ok(number),
        _ => Err(EngineError::unavailable("AttachDisk was answered without a number")),
    }
}

/// A disk that missed an attach is a copy, or went back in time. It serves, but what it holds is to be seen first. Done
/// before the disk learns its new number: cut short, the next start finds it behind once more.
async fn distrust(shared: &Arc<Shared>, folder: &Path, disk: DiskId, attach: AttachNumber) -> Result<(), EngineError> {
    let folder = folder.display();
    tracing::warn!(%folder, %disk, "a disk went back in time, or is a copy: what it holds is looked at before it is relied on");
    shared.meta.propose(Command::DistrustDisk { disk, attach }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u128 = 7;
    const DISK: DiskId = DiskId(1);

    fn plan(state: FolderState, mounted: bool, known: Option<(DiskId, bool)>) -> Result<Plan, String> {
        let attached_before = matches!(state, FolderState::Disk { id, .. } if id < DiskId(10));
        let taken = vec![DiskId(9)];
        plan_folder(&FolderFacts { state, mounted, cluster_id: OWN, known, attached_before, taken })
    }

    #[test]
    fn an_empty_folder_is_new_or_a_replacement_or_a_mount_that_is_missing() {
        assert_eq!(plan(FolderState::Empty, false, None), Ok(Plan::Format { replaces: None }));
        assert_eq!(plan(FolderState::Missing, false, None), Ok(Plan::Format { replaces: None }));
        let replacement = Ok(Plan::Format { replaces: Some(DISK) });
        assert_eq!(plan(FolderState::Empty, false, Some((DISK, false))), replacement);
        assert_eq!(plan(FolderState::Empty, true, Some((DISK, true))), replacement);
        assert!(plan(FolderState::Empty, false, Some((DISK, true))).unwrap_err().contains("mount"));
        assert!(plan(FolderState::Missing, false, Some((DISK, false))).unwrap_err().contains("gone"));
    }

    #[test]
    fn a_disk_opens_unless_foreign_or_a_copy() {
        let disk = |id, cluster_id| FolderState::Disk { id: DiskId(id), cluster_id };
        let open = |replaces| Ok(Plan::Open { replaces });
        assert_eq!(plan(disk(1, OWN), false, None), open(None));
        assert_eq!(plan(disk(2, OWN), false, Some((DISK, true))), open(None));
        assert_eq!(plan(disk(20, OWN), false, Some((DISK, false))), open(Some(DISK)), "a replacement cut short");
        assert!(plan(disk(1, 8), false, None).unwrap_err().contains("another cluster"));
        assert!(plan(disk(9, OWN), false, None).unwrap_err().contains("copy"));
        assert_eq!(plan(FolderState::Foreign("odd".into()), true, None), Err("odd".to_owned()));
    }
}
