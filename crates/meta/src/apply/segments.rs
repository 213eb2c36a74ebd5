//! Segments and the rows that refer to them. A segment's row stands as long as some row refers to it.

use std::collections::BTreeSet;

use cairn_proto::{GroupId, PgId, Record, SegmentId, Slot, VersionId};

use super::context::{Applied, Context, Stop, require};
use crate::command::{NewSegment, Refusal};
use crate::keys::{self, Counter};
use crate::query::{WriterState, writer_state};
use crate::row::{DiskRow, Extent, PgRow, Referrer, SegmentRow, WriterRow};
use crate::rows::{RowsError, RowsRead as _, StoredReference, collect};
use crate::{EXTENTS_MAX, SEGMENT_BYTES_MAX};

pub(super) const fn version_of(referrer: &Referrer) -> VersionId {
    match referrer {
        Referrer::Object { version, .. } | Referrer::Part { version, .. } | Referrer::Snapshot { version, .. } => {
            *version
        }
    }
}

/// Makes the rows of segments that a commit brings in. Answers their bytes and the extents that use each whole.
pub(super) fn bring_in(
    context: &mut Context<'_, '_>,
    segments: &[NewSegment],
    referrer: &Referrer,
) -> Applied<(u64, Vec<Extent>)> {
    require(segments.len() <= EXTENTS_MAX, "more segments than a row can list")?;
    let mut bytes = 0;
    let mut extents = Vec::with_capacity(segments.len());
    for segment in segments {
        check_may_be_committed(context, segment)?;
        bring_in_one(context, segment, referrer)?;
        bytes += segment.bytes;
        extents.push(Extent { segment: segment.id, pg: segment.pg, offset: 0, bytes: segment.bytes });
    }
    Ok((bytes, extents))
}

fn refused(segment: SegmentId, why: &str) -> Stop {
    Refusal::SegmentRefused { segment, why: why.to_owned() }.into()
}

/// Only the committing writer's own, at or over its watermark, and never committed before.
fn check_may_be_committed(context: &Context<'_, '_>, segment: &NewSegment) -> Applied<()> {
    require((1..=SEGMENT_BYTES_MAX).contains(&segment.bytes), "a segment has 1 byte to 64 MiB")?;
    if segment.id.group != GroupId::ONLY {
        let why = format!("it is of group {}, this is group {}", segment.id.group, GroupId::ONLY);
        return Err(refused(segment.id, &why));
    }
    let writer = committing_writer(context, segment.id)?;
    if segment.id.sequence < writer.watermark {
        return Err(refused(segment.id, "it is under the writer's watermark"));
    }
    let references = keys::references(segment.id);
    let named = collect(context.rows, &references.from, &references.end, 1, |_, _| Ok(Some(())))?;
    let spent = context.rows.get(&keys::spent(segment.id))?.is_some();
    if spent || !named.is_empty() {
        return Err(refused(segment.id, "it was committed before"));
    }
    Ok(())
}

fn committing_writer(context: &Context<'_, '_>, segment: SegmentId) -> Applied<WriterRow> {
    if context.writer() != Some(segment.writer) {
        return Err(refused(segment, "it is another writer's"));
    }
    match writer_state(context.rows, segment.writer)? {
        WriterState::Open(row) => Ok(row),
        WriterState::Closed | WriterState::Unknown => Err(Refusal::WriterClosed.into()),
    }
}

fn bring_in_one(context: &mut Context<'_, '_>, segment: &NewSegment, referrer: &Referrer) -> Applied<()> {
    let Some(group) = context.load::<PgRow>(&keys::pg(segment.pg))? else {
        return Err(Refusal::Unknown("placement group".to_owned()).into());
    };
    let group = group.value;
    if group.profile != segment.profile || group.slots.len() != segment.answered.len() {
        return Err(refused(segment.id, "its profile is not its group's"));
    }
    let missing = missing_slots(context, &group, segment)?;
    let present = u8::try_from(group.slots.len() - missing.len()).unwrap_or(u8::MAX);
    let needed = segment.profile.data + u8::from(segment.profile.parity > 0);
    if present < needed {
        return Err(Refusal::TooFewShards { segment: segment.id, present, needed }.into());
    }
    for slot in &missing {
        context.put(keys::missing(segment.pg, segment.id, *slot), ())?;
        context.add(Counter::Missing, 1)?;
    }
    let row = SegmentRow {
        bytes: segment.bytes,
        profile: segment.profile,
        epoch: group.epoch,
        missing,
        references: 1,
        free_references: 0,
    };
    context.put(keys::segment(segment.pg, segment.id), row)?;
    put_reference(context, segment.pg, segment.id, referrer)?;
    Ok(())
}

/// Slots whose disk did not answer, is not the group's any more, or was attached again since.
fn missing_slots(context: &Context<'_, '_>, group: &PgRow, segment: &NewSegment) -> Result<Vec<Slot>, RowsError> {
    let mut missing = Vec::new();
    for ((slot, disk), answered) in (0_u8..).zip(&group.slots).zip(&segment.answered) {
        let attach = context.load::<DiskRow>(&keys::disk(*disk))?.map(|row| row.value.attach);
        let holds = answered.is_some_and(|(who, at)| who == *disk && Some(at) == attach);
        if !holds {
            missing.push(Slot(slot));
        }
    }
    Ok(missing)
}

fn put_reference(
    context: &mut Context<'_, '_>,
    pg: PgId,
    segment: SegmentId,
    referrer: &Referrer,
) -> Result<(), RowsError> {
    let reference = StoredReference { pg, referrer: referrer.clone() };
    context.put(keys::reference(segment, version_of(referrer)), reference)
}

/// Each segment once, however many extents lie in it: a row refers to a segment once.
fn segments_of(extents: &[Extent]) -> BTreeSet<(PgId, SegmentId)> {
    extents.iter().map(|extent| (extent.pg, extent.segment)).collect()
}

/// Adds the references of a row that names segments which another row names.
pub(super) fn refer(context: &mut Context<'_, '_>, extents: &[Extent], referrer: &Referrer) -> Result<(), RowsError> {
    for (pg, segment) in segments_of(extents) {
        let key = keys::segment(pg, segment);
        let mut row: Record<SegmentRow> = context.expect(&key)?;
        row.value.references =
            row.value.references.checked_add(1).ok_or_else(|| RowsError::damaged(&key, "too many references"))?;
        context.store(key, &row)?;
        put_reference(context, pg, segment, referrer)?;
    }
    Ok(())
}

/// The references of a garbage row that was marked free count as free. Answers the rows touched.
pub(super) fn free_references(context: &mut Context<'_, '_>, extents: &[Extent]) -> Result<usize, RowsError> {
    let segments = segments_of(extents);
    for (pg, segment) in &segments {
        let key = keys::segment(*pg, *segment);
        let mut row: Record<SegmentRow> = context.expect(&key)?;
        row.value.free_references += 1;
        if row.value.free_references > row.value.references {
            return Err(RowsError::damaged(&key, "more free references than references"));
        }
        context.store(key, &row)?;
    }
    Ok(segments.len())
}

/// Removes the references of a free garbage row, and what nothing refers to any more. Answers the rows touched.
pub(super) fn drop_references(
    context: &mut Context<'_, '_>,
    extents: &[Extent],
    version: VersionId,
) -> Result<usize, RowsError> {
    let segments = segments_of(extents);
    for (pg, segment) in &segments {
        let key = keys::segment(*pg, *segment);
        let mut row: Record<SegmentRow> = context.expect(&key)?;
        context.rows.delete(keys::reference(*segment, version));
        let fewer = row.value.references.checked_sub(1).zip(row.value.free_references.checked_sub(1));
        (row.value.references, row.value.free_references) =
            fewer.ok_or_else(|| RowsError::damaged(&key, "fewer references than rows that refer"))?;
        if row.value.references > 0 {
            context.store(key, &row)?;
        } else {
            remove_segment(context, *pg, *segment, &row.value.missing)?;
        }
    }
    Ok(2 * segments.len())
}

/// The segment is gone. While its writer could still name it, a mark keeps it dead.
fn remove_segment(
    context: &mut Context<'_, '_>,
    pg: PgId,
    segment: SegmentId,
    missing: &[Slot],
) -> Result<(), RowsError> {
    context.rows.delete(keys::segment(pg, segment));
    for slot in missing {
        context.rows.delete(keys::missing(pg, segment, *slot));
        context.take(Counter::Missing, 1)?;
    }
    match writer_state(context.rows, segment.writer)? {
        WriterState::Open(writer) if segment.sequence >= writer.watermark => context.put(keys::spent(segment), ()),
        _ => Ok(()),
    }
}
