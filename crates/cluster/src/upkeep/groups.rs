//! Which placement groups there should be.

use std::sync::Arc;

use cairn_erasure::ErasureProfile;
use cairn_meta::Command;
use cairn_proto::DiskId;

use crate::error::EngineError;
use crate::map::profile_row;
use crate::options::ProfileChoice;
use crate::shared::Shared;

/// Makes groups until enough of them are writable with the disks that are there.
pub(crate) async fn ensure(shared: &Arc<Shared>) -> Result<(), EngineError> {
    let map = shared.map.refresh(&shared.meta).await?;
    let writable: Vec<DiskId> =
        map.standing_disks().map(|row| row.id).filter(|disk| shared.disks.writable(*disk)).collect();
    let standing = map.standing_disks().count();
    let Some(profile) = usable_profile(shared.options.profile, standing, writable.len()) else {
        return Ok(());
    };
    let row = profile_row(profile);
    let have = map.writable_groups(&shared.disks).iter().filter(|group| group.profile == row).count();
    let wanted = shared.options.groups_min.saturating_sub(have);
    if wanted == 0 {
        return Ok(());
    }
    let groups = plan_groups(&writable, profile.slots(), wanted, shared.ids.number());
    shared.meta.propose(Command::CreatePgs { profile: row, groups }).await?;
    shared.map.refresh(&shared.meta).await?;
    Ok(())
}

/// The widest profile with the parity of the full store that fits on the disks that take writes.
fn usable_profile(choice: ProfileChoice, standing: usize, writable: usize) -> Option<ErasureProfile> {
    let full = choice.for_disks(standing)?;
    let data = writable.checked_sub(full.parity())?.min(full.data());
    ErasureProfile::new(u8::try_from(data).ok()?, full.parity_u8()).ok()
}

/// Groups of `slots` disks each, spread by rotation from a drawn beginning.
fn plan_groups(disks: &[DiskId], slots: usize, count: usize, seed: u64) -> Vec<Vec<DiskId>> {
    let start = usize::try_from(seed % 1024).unwrap_or(0);
    let rotated = |group: usize| (0..slots).map(|slot| disks[(start + group + slot) % disks.len()]).collect();
    (0..count).map(rotated).collect()
}
