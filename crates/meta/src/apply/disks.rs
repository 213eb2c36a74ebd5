//! Disks: taken into service, replaced, inventoried.

use cairn_proto::{AttachNumber, DiskId, NodeId, Record};

use super::context::{Applied, Context, require};
use super::pgs;
use crate::cluster_rows::IDS_OF_A_LIFE;
use crate::command::{Refusal, Reply};
use crate::keys;
use crate::query::Query;
use crate::row::{DiskRow, PgRow};
use crate::rows::{RowsError, collect, decode};

/// The cluster version from which on a disk's attach numbers begin where its life does.
const ATTACHES_OF_A_LIFE_SINCE: u32 = 3;

/// Where a disk is.
pub(super) struct Place<'a> {
    pub(super) node: NodeId,
    pub(super) folder: &'a str,
    pub(super) was_mount: bool,
    pub(super) bytes_total: u64,
}

/// `AttachDisk`.
pub(super) fn attach(
    context: &mut Context<'_, '_>,
    disk: DiskId,
    place: &Place<'_>,
    replaces: Option<DiskId>,
) -> Applied<Reply> {
    let key = keys::disk(disk);
    let before = context.load::<DiskRow>(&key)?;
    let known = before.as_ref().map_or(AttachNumber(0), |row| row.value.attach);
    let attach = known.max(life_begins_at(context)?).next();
    let row = DiskRow {
        id: disk,
        node: place.node,
        attach,
        folder: place.folder.to_owned(),
        was_mount: place.was_mount,
        bytes_total: place.bytes_total,
        inventory: before.as_ref().and_then(|row| row.value.inventory),
        // A replaced disk that comes back holds no slot, but may be given some.
        replaced_by: None,
        // Until an inventory: being attached once more shows nothing.
        behind: before.as_ref().is_some_and(|row| row.value.behind),
    };
    let tail = before.map_or_else(Vec::new, |row| row.tail);
    context.store(key, &Record { value: row, tail })?;
    if let Some(old) = replaces {
        replace(context, old, disk, place.node)?;
    }
    Ok(Reply::Attached(attach))
}

/// Attach numbers of a life are over those of all lives before, also those of disks that were born in it: else an older
/// copy of this life would not be found out by them.
fn life_begins_at(context: &Context<'_, '_>) -> Result<AttachNumber, RowsError> {
    let query = Query::new(&*context.rows);
    if query.version()? < ATTACHES_OF_A_LIFE_SINCE {
        return Ok(AttachNumber(0));
    }
    let life = query.lives()?.last().map_or(0, |life| life.life);
    Ok(AttachNumber(life.saturating_mul(IDS_OF_A_LIFE)))
}

/// Gives all slots of a disk that is gone to another of the same node.
fn replace(context: &mut Context<'_, '_>, old: DiskId, new: DiskId, node: NodeId) -> Applied<()> {
    let key = keys::disk(old);
    let Some(mut row) = context.load::<DiskRow>(&key)? else {
        return Err(Refusal::Unknown("disk to replace".to_owned()).into());
    };
    require(old != new, "a disk does not replace itself")?;
    require(row.value.node == node, "the disk to replace is another node's")?;
    let replaced_by = row.value.replaced_by;
    require(replaced_by.is_none() || replaced_by == Some(new), "the disk was replaced by another")?;
    row.value.replaced_by = Some(new);
    context.store(key, &row)?;
    // The cluster map is small: some hundred groups.
    let range = keys::pgs();
    let groups = collect(context.rows, &range.from, &range.end, usize::MAX, |key, value| {
        let group: Record<PgRow> = decode(key, value)?;
        Ok(group.value.slots.contains(&old).then_some(group))
    })?;
    for mut group in groups {
        require(!group.value.slots.contains(&new), "the disk holds a slot of the same group already")?;
        if let Some(slot) = group.value.slots.iter().position(|disk| *disk == old) {
            pgs::give_slot(context, &mut group, slot, new)?;
        }
    }
    Ok(())
}

/// `FinishInventory`.
pub(super) fn finish_inventory(context: &mut Context<'_, '_>, disk: DiskId, attach: AttachNumber) -> Applied<Reply> {
    let key = keys::disk(disk);
    let Some(mut row) = context.load::<DiskRow>(&key)? else {
        return Err(Refusal::Unknown("disk".to_owned()).into());
    };
    if row.value.attach != attach {
        return Err(Refusal::StaleEpoch.into());
    }
    row.value.inventory = Some(attach);
    row.value.behind = false;
    context.store(key, &row)?;
    Ok(Reply::Done)
}

/// `DistrustDisk`.
pub(super) fn distrust(context: &mut Context<'_, '_>, disk: DiskId, attach: AttachNumber) -> Applied<Reply> {
    let key = keys::disk(disk);
    let Some(mut row) = context.load::<DiskRow>(&key)? else {
        return Err(Refusal::Unknown("disk".to_owned()).into());
    };
    if row.value.attach != attach {
        return Err(Refusal::StaleEpoch.into());
    }
    row.value.behind = true;
    context.store(key, &row)?;
    Ok(Reply::Done)
}
