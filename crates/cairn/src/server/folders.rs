//! What lies in the folders of the configuration and around them, looked at before anything is made: folders that are
//! good by themselves and are not what the operator means.

use std::path::Path;

use anyhow::{Result, bail};
use cairn_shard_store::{FolderState, inspect};

use super::cluster_id::MetaFolder;
use crate::config::{Config, DISKS_MAX, numbered_disk};

/// Refuses folders that belong to something else than the configuration says.
pub(super) fn check(config: &Config) -> Result<()> {
    MetaFolder::check_older(&config.meta)?;
    MetaFolder::check_disks(&config.meta, &config.disks)?;
    check_outside_of_disks(config)?;
    check_none_left_out(config)
}

fn is_disk(folder: &Path) -> bool {
    matches!(inspect(folder), FolderState::Disk { .. })
}

/// A disk's folder is its own: a store in it would be taken for damage, or thrown away with the disk.
fn check_outside_of_disks(config: &Config) -> Result<()> {
    let inner = config.disks.iter().filter_map(|disk| Some(("disk", disk.parent()?)));
    for (what, folder) in [("data", config.home.as_path()), ("meta", config.meta.as_path())].into_iter().chain(inner) {
        if let Some(disk) = folder.ancestors().find(|folder| is_disk(folder)) {
            let (folder, disk) = (folder.display(), disk.display());
            bail!(
                "{what}: {folder} would lie in {disk}, which is itself a disk of a store: name a folder outside of it"
            );
        }
    }
    Ok(())
}

/// Disks that the data folder holds and that `disks` leaves out would count as away: fewer are not taken back so.
fn check_none_left_out(config: &Config) -> Result<()> {
    let (home, given) = (&config.home, config.disks.len());
    if !config.disks_by_number {
        return Ok(());
    }
    // Of this store: another's may lie there for whatever reason.
    let Ok(own) = MetaFolder::of_copy(&config.meta) else { return Ok(()) };
    let is_own = |number: &usize| {
        let state = inspect(&numbered_disk(home, *number));
        matches!(state, FolderState::Disk { cluster_id, .. } if cluster_id == own.cluster_id)
    };
    let left_out: Vec<usize> = (given..DISKS_MAX).filter(is_own).collect();
    let Some(last) = left_out.last() else { return Ok(()) };
    // Folders in a gap would become new disks.
    let number = if last + 1 - given == left_out.len() { format!("--disks {}, or ", last + 1) } else { String::new() };
    let names: Vec<String> = left_out.iter().map(|number| format!("disk-{number}")).collect();
    bail!(
        "disks: {given} would leave out disks of this store that lie in {}: {}; give {number}each folder with --disk",
        home.display(),
        names.join(", ")
    )
}
