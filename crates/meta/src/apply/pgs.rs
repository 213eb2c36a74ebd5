//! Placement groups: made, their slots moved, retired.

use std::collections::BTreeSet;

use cairn_proto::{DiskId, Epoch, PgId, Record, Slot};

use super::context::{Applied, Context, require};
use crate::BATCH_ROWS_MAX;
use crate::command::{Refusal, Reply};
use crate::keys::{self, Counter};
use crate::row::{DiskRow, PgRow, ProfileRow};

/// Most slots of a group.
const SLOTS_MAX: usize = 32;

/// A group whose epoch is still the one a plan was made with.
pub(super) fn load_at(context: &Context<'_, '_>, pg: PgId, epoch: Epoch) -> Applied<Record<PgRow>> {
    let Some(row) = context.load::<PgRow>(&keys::pg(pg))? else {
        return Err(Refusal::Unknown("placement group".to_owned()).into());
    };
    if row.value.epoch == epoch { Ok(row) } else { Err(Refusal::StaleEpoch.into()) }
}

/// The disk of a slot.
pub(super) fn disk_of(group: &PgRow, slot: Slot) -> Applied<DiskId> {
    match group.slots.get(usize::from(slot.0)) {
        Some(disk) => Ok(*disk),
        None => Err(Refusal::Unknown("slot".to_owned()).into()),
    }
}

/// A disk that may hold slots: known, and not replaced by another.
fn check_in_service(context: &Context<'_, '_>, disk: DiskId) -> Applied<()> {
    match context.load::<DiskRow>(&keys::disk(disk))? {
        Some(row) if row.value.replaced_by.is_none() => Ok(()),
        _ => Err(Refusal::Unknown("disk".to_owned()).into()),
    }
}

/// Refuses a profile that no group could have.
pub(super) fn check_profile(profile: ProfileRow) -> Applied<()> {
    let slots = usize::from(profile.data) + usize::from(profile.parity);
    require(profile.data > 0 && slots <= SLOTS_MAX, "no such profile")
}

/// `CreatePgs`.
pub(super) fn create(context: &mut Context<'_, '_>, profile: ProfileRow, groups: &[Vec<DiskId>]) -> Applied<Reply> {
    check_profile(profile)?;
    let slots = usize::from(profile.data) + usize::from(profile.parity);
    require(groups.len() <= BATCH_ROWS_MAX, "too many groups for one command")?;
    let mut ids = Vec::with_capacity(groups.len());
    for disks in groups {
        let distinct: BTreeSet<&DiskId> = disks.iter().collect();
        require(disks.len() == slots && distinct.len() == slots, "a group has k+m different disks")?;
        for disk in disks {
            check_in_service(context, *disk)?;
        }
        let id = PgId(context.count_up(Counter::LastPg)?);
        let row = PgRow { id, profile, epoch: Epoch(1), slots: disks.clone(), retired: false };
        context.put(keys::pg(id), row)?;
        ids.push(id);
    }
    Ok(Reply::Pgs(ids))
}

/// `MoveSlot`.
pub(super) fn move_slot(
    context: &mut Context<'_, '_>,
    pg: PgId,
    epoch: Epoch,
    slot: Slot,
    disk: DiskId,
) -> Applied<Reply> {
    let mut group = load_at(context, pg, epoch)?;
    disk_of(&group.value, slot)?;
    check_in_service(context, disk)?;
    require(!group.value.slots.contains(&disk), "the disk holds a slot of the group already")?;
    give_slot(context, &mut group, usize::from(slot.0), disk)?;
    Ok(Reply::Done)
}

/// Gives a slot to another disk and raises the epoch.
pub(super) fn give_slot(
    context: &mut Context<'_, '_>,
    group: &mut Record<PgRow>,
    slot: usize,
    disk: DiskId,
) -> Applied<()> {
    group.value.slots[slot] = disk;
    group.value.epoch = group.value.epoch.next();
    context.store(keys::pg(group.value.id), group)?;
    Ok(())
}

/// `RetirePg`. Segments that are on their way there may still be committed.
pub(super) fn retire(context: &mut Context<'_, '_>, pg: PgId, epoch: Epoch) -> Applied<Reply> {
    let mut group = load_at(context, pg, epoch)?;
    group.value.retired = true;
    context.store(keys::pg(pg), &group)?;
    Ok(Reply::Done)
}
