//! Completing an upload: its part rows are adopted where they are.

use std::collections::BTreeMap;

use super::buckets::Usage;
use super::context::{Applied, Context, require};
use super::objects::{self, Label};
use super::uploads::{self, PART_NUMBER_MAX, Place};
use crate::PART_BYTES_MIN;
use crate::command::{ChosenPart, Preconditions, Refusal, Reply};
use crate::keys;
use crate::query::present_object;
use crate::row::{Body, ChecksumRow, PartRef, PartRow};
use crate::rows::{RowsError, collect, decode};

/// `CompleteUpload`.
pub(super) fn complete(
    context: &mut Context<'_, '_>,
    place: &Place<'_>,
    chosen: &[ChosenPart],
    (etag, checksum): (&str, &Option<ChecksumRow>),
    preconditions: &Preconditions,
) -> Applied<Reply> {
    let Some((_, upload)) = uploads::load(context, place)? else {
        return completed_before(context, place);
    };
    let upload = upload.value;
    let target = objects::open_target(context, place.bucket, place.key, preconditions)?;
    require(!chosen.is_empty(), "an object needs a part")?;
    if !chosen.windows(2).all(|pair| pair[0].number < pair[1].number) {
        return Err(Refusal::InvalidPartOrder.into());
    }
    let mut parts = parts_of(context, place)?;
    let mut refs = Vec::with_capacity(chosen.len());
    for (at, choice) in chosen.iter().enumerate() {
        let part = parts.remove(&choice.number).filter(|part| is_chosen(choice, part));
        let part = part.ok_or(Refusal::InvalidPart { number: choice.number })?;
        let may_be_small = at + 1 == chosen.len() || upload.row.writer.is_some();
        if part.bytes < PART_BYTES_MIN && !may_be_small {
            return Err(Refusal::PartTooSmall { number: choice.number, bytes: part.bytes }.into());
        }
        refs.push(PartRef { number: choice.number, bytes: part.bytes });
    }
    for (number, part) in parts {
        context.rows.delete(keys::part(place.upload, number));
        uploads::discard_part(context, part)?;
    }
    uploads::remove_row(context, place.bucket, place.key, &upload.row);
    let bytes = refs.iter().map(|part| part.bytes).sum();
    let body = Body::Parts { upload: place.upload, parts: refs };
    let label = Label { etag, checksum, attributes: &upload.row.attributes };
    let usage = Usage { upload_bytes: -i128::from(upload.bytes), uploads: -1, ..Usage::default() };
    objects::fill(context, target, &label, (bytes, body), usage)
}

/// A completion that is asked for again: the same answer as long as its version stands.
fn completed_before(context: &Context<'_, '_>, place: &Place<'_>) -> Applied<Reply> {
    match present_object(context.rows, place.bucket, place.key)? {
        Some(row) if matches!(row.body, Body::Parts { upload, .. } if upload == place.upload) => {
            Ok(Reply::Version { version: row.version, modified_ms: row.modified_ms })
        }
        _ => Err(Refusal::NoSuchUpload.into()),
    }
}

fn parts_of(context: &Context<'_, '_>, place: &Place<'_>) -> Result<BTreeMap<u16, PartRow>, RowsError> {
    let range = keys::parts(place.upload);
    let rows = collect(context.rows, &range.from, &range.end, usize::from(PART_NUMBER_MAX), |key, value| {
        Ok(Some((keys::read_part(key)?.1, decode::<PartRow>(key, value)?.value)))
    })?;
    Ok(rows.into_iter().collect())
}

fn is_chosen(choice: &ChosenPart, part: &PartRow) -> bool {
    let checksum_fits = match (&choice.checksum, &part.checksum) {
        (None, _) => true,
        (Some(wanted), Some(found)) => *wanted == found.value,
        (Some(_), None) => false,
    };
    choice.etag == part.etag && checksum_fits
}
