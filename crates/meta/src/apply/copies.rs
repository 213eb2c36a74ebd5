//! Copies: bytes come in by naming a version that still stands. What is garbage is never named again.

use std::collections::BTreeSet;

use cairn_proto::{SegmentId, UploadId, VersionId};

use super::context::{Applied, Context, require};
use crate::EXTENTS_MAX;
use crate::command::{CopySource, Refusal};
use crate::keys;
use crate::query::present_object;
use crate::row::{Body, Extent, ObjectRow, PartRef, PartRow, Referrer};
use crate::rows::{RowsError, StoredReference, collect, decode};

/// References of a segment that are looked through for the parts in it; where there are more, all parts are.
const REFERENCES_MAX: usize = 100;

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
            for number in parts_with(context, &open, (*upload, row.version), parts)? {
                if open.is_empty() {
                    break;
                }
                let part = context.expect::<PartRow>(&keys::part(*upload, number))?;
                take_contained(&mut open, &part.value.extents);
            }
        }
    }
    require(open.is_empty(), "an extent is not within the source")?;
    Ok(bytes)
}

/// The numbers of the parts that bytes of these segments may lie in: a source of many parts is not walked for a few of
/// them.
fn parts_with(
    context: &Context<'_, '_>,
    extents: &[&Extent],
    source: (UploadId, VersionId),
    parts: &[PartRef],
) -> Result<BTreeSet<u16>, RowsError> {
    let segments: BTreeSet<SegmentId> = extents.iter().map(|extent| extent.segment).collect();
    let mut numbers = BTreeSet::new();
    for segment in segments {
        match parts_of_segment(context, segment, source)? {
            Some(found) => numbers.extend(found),
            None => return Ok(parts.iter().map(|part| part.number).collect()),
        }
    }
    // A part that was not chosen has no row any more, though its reference stands until it is reaped.
    numbers.retain(|number| parts.binary_search_by_key(number, |part| part.number).is_ok());
    Ok(numbers)
}

/// Which parts of a completed upload refer to a segment; none where too many others do.
fn parts_of_segment(
    context: &Context<'_, '_>,
    segment: SegmentId,
    (upload, completed): (UploadId, VersionId),
) -> Result<Option<Vec<u16>>, RowsError> {
    // References are in order of their making: a part's lies between the opening of its upload and the completion.
    let (from, end) = (keys::reference(segment, upload.0), keys::reference(segment, completed));
    let references = collect(context.rows, &from, &end, REFERENCES_MAX, |key, value| {
        let referrer = decode::<StoredReference>(key, value)?.value.referrer;
        Ok(Some(match referrer {
            Referrer::Part { upload: of, number, .. } if of == upload => Some(number),
            _ => None,
        }))
    })?;
    Ok((references.len() < REFERENCES_MAX).then(|| references.into_iter().flatten().collect()))
}

fn take_contained(open: &mut Vec<&Extent>, within: &[Extent]) {
    open.retain(|extent| !within.iter().any(|whole| contains(whole, extent)));
}

fn contains(whole: &Extent, extent: &Extent) -> bool {
    let same = whole.segment == extent.segment && whole.pg == extent.pg;
    same && whole.offset <= extent.offset && extent.offset + extent.bytes <= whole.offset + whole.bytes
}
