//! Copies: bytes come in by naming a version that still stands. What is garbage is never named again.

use super::context::{Applied, Context, require};
use crate::EXTENTS_MAX;
use crate::command::{CopySource, Refusal};
use crate::keys;
use crate::query::present_object;
use crate::row::{Body, Extent, ObjectRow, PartRow};

/// The source's row, if it is still as it was read.
pub(super) fn standing_source(context: &Context<'_, '_>, source: &CopySource) -> Applied<ObjectRow> {
    let bucket_stands = context.load::<String>(&keys::bucket_name(source.bucket))?.is_some();
    let row = present_object(context.rows, source.bucket, &source.key)?;
    match row {
        Some(row) if bucket_stands && row.version == source.version => Ok(row),
        _ => Err(Refusal::SourceChanged.into()),
    }
}

/// Checks that each extent lies within one of the source's; answers their bytes.
pub(super) fn check_extents(context: &Context<'_, '_>, source: &CopySource, row: &ObjectRow) -> Applied<u64> {
    require(source.inline.is_none(), "inline bytes are written anew")?;
    require(source.extents.len() <= EXTENTS_MAX, "more extents than a row can list")?;
    let mut bytes = 0_u64;
    for extent in &source.extents {
        let end = extent.offset.checked_add(extent.bytes);
        require(extent.bytes > 0 && end.is_some(), "an extent has bytes within its segment")?;
        bytes = bytes.saturating_add(extent.bytes);
    }
    let mut open: Vec<&Extent> = source.extents.iter().collect();
    match &row.body {
        Body::Inline(_) | Body::Sealed(_) => {}
        Body::Extents(extents) => take_contained(&mut open, extents),
        Body::Parts { upload, parts } => {
            for part in parts {
                if open.is_empty() {
                    break;
                }
                let part = context.expect::<PartRow>(&keys::part(*upload, part.number))?;
                take_contained(&mut open, &part.value.extents);
            }
        }
    }
    require(open.is_empty(), "an extent is not within the source")?;
    Ok(bytes)
}

fn take_contained(open: &mut Vec<&Extent>, within: &[Extent]) {
    open.retain(|extent| !within.iter().any(|whole| contains(whole, extent)));
}

fn contains(whole: &Extent, extent: &Extent) -> bool {
    let same = whole.segment == extent.segment && whole.pg == extent.pg;
    same && whole.offset <= extent.offset && extent.offset + extent.bytes <= whole.offset + whole.bytes
}
