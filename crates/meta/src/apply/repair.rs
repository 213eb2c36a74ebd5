//! Missing shards: reported, and written again.

use cairn_proto::{AttachNumber, DiskId, Epoch, PgId, SegmentId, Slot};

use super::context::{Applied, Context, require};
use super::pgs;
use crate::BATCH_ROWS_MAX;
use crate::command::{Refusal, Reply};
use crate::keys::{self, Counter};
use crate::row::{DiskRow, SegmentRow};

/// Who holds a shard that was written again.
pub(super) struct Answer {
    pub(super) slot: Slot,
    pub(super) disk: DiskId,
    pub(super) attach: AttachNumber,
}

/// `ReportMissing`: segments that are gone meanwhile are skipped. Answers the shards that were not known as missing.
pub(super) fn report_missing(
    context: &mut Context<'_, '_>,
    pg: PgId,
    epoch: Epoch,
    slot: Slot,
    segments: &[SegmentId],
) -> Applied<Reply> {
    require(segments.len() <= BATCH_ROWS_MAX, "too many segments for one command")?;
    let group = pgs::load_at(context, pg, epoch)?;
    pgs::disk_of(&group.value, slot)?;
    for segment in segments {
        let key = keys::segment(pg, *segment);
        let Some(mut row) = context.load::<SegmentRow>(&key)? else { continue };
        let Err(at) = row.value.missing.binary_search(&slot) else { continue };
        row.value.missing.insert(at, slot);
        context.store(key, &row)?;
        context.put(keys::missing(pg, *segment, slot), ())?;
        context.add(Counter::Missing, 1)?;
    }
    Ok(Reply::Done)
}

/// `FinishRepair`.
pub(super) fn finish(
    context: &mut Context<'_, '_>,
    pg: PgId,
    epoch: Epoch,
    segment: SegmentId,
    answer: &Answer,
) -> Applied<Reply> {
    let group = pgs::load_at(context, pg, epoch)?;
    let disk = context.load::<DiskRow>(&keys::disk(answer.disk))?;
    let holds = disk.is_some_and(|row| row.value.attach == answer.attach);
    if !holds || pgs::disk_of(&group.value, answer.slot)? != answer.disk {
        return Err(Refusal::StaleEpoch.into());
    }
    let key = keys::segment(pg, segment);
    let Some(mut row) = context.load::<SegmentRow>(&key)? else { return Ok(Reply::Done) };
    if let Ok(at) = row.value.missing.binary_search(&answer.slot) {
        row.value.missing.remove(at);
        context.store(key, &row)?;
        context.rows.delete(keys::missing(pg, segment, answer.slot));
        context.take(Counter::Missing, 1)?;
    }
    Ok(Reply::Done)
}
