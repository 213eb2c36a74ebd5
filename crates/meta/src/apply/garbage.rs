//! Garbage: what was overwritten or deleted, until no reader needs it and the disks have deleted it.
//!
//! A row waits, is marked free, and goes. Free rows lie apart from the waiting ones, so that no command walks what
//! an earlier one did. An upload's row stands for all parts under it: marking it costs one row; once free it is taken
//! apart in steps, each part becoming a free row of its own.

use std::collections::BTreeSet;

use cairn_proto::{Index, Record, UploadId, VersionId};

use super::buckets;
use super::context::{Applied, Context, Stop, require};
use super::segments;
use crate::BATCH_ROWS_MAX;
use crate::command::{GarbageKey, Reply};
use crate::keys::{self, Counter};
use crate::row::{Body, Garbage, GarbageRow, PartRow};
use crate::rows::{RowsError, RowsRead as _, collect, decode};

/// A command stops behind the row with which it touched so many.
const TOUCHED_ROWS_MAX: usize = 2 * BATCH_ROWS_MAX;

/// Puts what a row stood for into the garbage; the row itself is the caller's to remove.
pub(super) fn discard(
    context: &mut Context<'_, '_>,
    version: VersionId,
    bytes: u64,
    what: Garbage,
) -> Result<(), RowsError> {
    add(context, GarbageRow { free: false, version, bytes, what })
}

/// Discards a version's body. Inline bytes went to their readers with the row: nothing is left of them.
pub(super) fn discard_body(
    context: &mut Context<'_, '_>,
    version: VersionId,
    bytes: u64,
    body: Body,
) -> Result<(), RowsError> {
    match body {
        Body::Inline(_) | Body::Sealed(_) => Ok(()),
        Body::Extents(extents) => discard(context, version, bytes, Garbage::Extents(extents)),
        Body::Parts { upload, .. } => discard(context, version, bytes, Garbage::Upload(upload)),
    }
}

fn add(context: &mut Context<'_, '_>, row: GarbageRow) -> Result<(), RowsError> {
    let key = context.next_garbage_key();
    context.add(Counter::GarbageRows, 1)?;
    context.add(Counter::GarbageBytes, row.bytes)?;
    context.put(keys::garbage(key, row.free), row)
}

/// `MarkFree`.
pub(super) fn mark_free(
    context: &mut Context<'_, '_>,
    from: Index,
    below: Index,
    held: &[VersionId],
) -> Applied<Reply> {
    buckets::sweep_dying(context)?;
    let held: BTreeSet<&VersionId> = held.iter().collect();
    let range = keys::waiting_garbage(from, below);
    let waiting = collect(context.rows, &range.from, &range.end, BATCH_ROWS_MAX + 1, |key, value| {
        let row: Record<GarbageRow> = decode(key, value)?;
        let is_held = held.contains(&row.value.version);
        Ok((!is_held).then_some((keys::read_garbage(key)?, row)))
    })?;
    let mut rows = 0;
    let mut touched = 0;
    let mut next = None;
    for (key, mut row) in waiting {
        if touched >= TOUCHED_ROWS_MAX || rows == BATCH_ROWS_MAX as u64 {
            next = Some(key.index);
            break;
        }
        if let Garbage::Extents(extents) = &row.value.what {
            touched += segments::free_references(context, extents)?;
        }
        row.value.free = true;
        context.rows.delete(keys::garbage(key, false));
        context.store(keys::garbage(key, true), &row)?;
        touched += 1;
        rows += 1;
    }
    Ok(Reply::Marked { rows, next })
}

/// `RemoveGarbage`: rows that are gone already are no error, those that are not free are. Answers where it stopped:
/// the rest is for another command.
pub(super) fn remove(context: &mut Context<'_, '_>, garbage: &[GarbageKey]) -> Applied<Reply> {
    require(garbage.len() <= BATCH_ROWS_MAX, "too many garbage rows for one command")?;
    let mut rows = 0;
    let mut left = TOUCHED_ROWS_MAX;
    let mut next = None;
    for key in garbage {
        if context.rows.get(&keys::garbage(*key, false))?.is_some() {
            return Err(Stop::invalid("a garbage row is not free"));
        }
        if next.is_some() {
            continue;
        }
        let Some(row) = context.load::<GarbageRow>(&keys::garbage(*key, true))? else { continue };
        let (touched, whole) = remove_row(context, *key, row, left)?;
        rows += 1;
        left = left.saturating_sub(touched);
        if left == 0 || !whole {
            next = Some(key.index);
        }
    }
    Ok(Reply::Marked { rows, next })
}

/// Answers the rows touched and whether the row is gone.
fn remove_row(
    context: &mut Context<'_, '_>,
    key: GarbageKey,
    row: Record<GarbageRow>,
    rows_max: usize,
) -> Result<(usize, bool), RowsError> {
    match row.value.what {
        Garbage::Extents(ref extents) => {
            let touched = segments::drop_references(context, extents, row.value.version)?;
            remove_emptied(context, key, row.value.bytes)?;
            Ok((touched + 1, true))
        }
        Garbage::Upload(upload) => take_apart(context, key, upload, row, rows_max),
    }
}

fn remove_emptied(context: &mut Context<'_, '_>, key: GarbageKey, bytes: u64) -> Result<(), RowsError> {
    context.take(Counter::GarbageRows, 1)?;
    context.take(Counter::GarbageBytes, bytes)?;
    context.rows.delete(keys::garbage(key, true));
    Ok(())
}

/// Turns part rows under a free upload row into free rows of their own; with the last one the row goes.
fn take_apart(
    context: &mut Context<'_, '_>,
    key: GarbageKey,
    upload: UploadId,
    mut row: Record<GarbageRow>,
    rows_max: usize,
) -> Result<(usize, bool), RowsError> {
    let range = keys::parts(upload);
    let parts = collect(context.rows, &range.from, &range.end, BATCH_ROWS_MAX.min(rows_max) + 1, |key, value| {
        Ok(Some((keys::read_part(key)?.1, decode::<PartRow>(key, value)?.value)))
    })?;
    let mut touched = 1;
    let mut taken = 0;
    for (number, part) in &parts {
        if touched >= rows_max || taken == BATCH_ROWS_MAX {
            break;
        }
        touched += 2 + segments::free_references(context, &part.extents)?;
        taken += 1;
        context.rows.delete(keys::part(upload, *number));
        row.value.bytes = row.value.bytes.checked_sub(part.bytes).ok_or_else(|| {
            RowsError::damaged(&keys::garbage(key, true), "the upload's parts have more bytes than its row")
        })?;
        context.take(Counter::GarbageBytes, part.bytes)?;
        let what = Garbage::Extents(part.extents.clone());
        add(context, GarbageRow { free: true, version: part.version, bytes: part.bytes, what })?;
    }
    let whole = taken == parts.len();
    if whole {
        remove_emptied(context, key, row.value.bytes)?;
    } else {
        context.store(keys::garbage(key, true), &row)?;
    }
    Ok((touched, whole))
}
