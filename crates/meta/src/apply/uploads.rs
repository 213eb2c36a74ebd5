//! Uploads and their parts.

use cairn_proto::{BucketId, Record, UploadId, WriterId};

use super::buckets::{self, Usage};
use super::context::{Applied, Context, require};
use super::copies;
use super::garbage;
use super::objects;
use super::segments;
use crate::command::{CopySource, NewSegment, Refusal, Reply};
use crate::keys;
use crate::row::{Attributes, BucketRow, ChecksumRow, Extent, Garbage, PartRow, Referrer, UploadRow};
use crate::rows::{RowsError, StoredInternalUpload, StoredUpload};

/// Highest number of a part.
pub(super) const PART_NUMBER_MAX: u16 = 10_000;

/// Names an upload.
pub(super) struct Place<'a> {
    pub(super) bucket: BucketId,
    pub(super) key: &'a str,
    pub(super) upload: UploadId,
}

impl Place<'_> {
    pub(super) fn row_key(&self) -> Vec<u8> {
        keys::upload(self.bucket, self.key, self.upload)
    }
}

/// How an upload is opened.
pub(super) struct Opening<'a> {
    pub(super) attributes: &'a Attributes,
    pub(super) checksum: &'a Option<ChecksumRow>,
    pub(super) initiator: &'a str,
    pub(super) internal: bool,
}

/// What a part says of its bytes.
pub(super) struct NewPart<'a> {
    pub(super) number: u16,
    pub(super) etag: &'a str,
    pub(super) checksum: &'a Option<ChecksumRow>,
}

/// `CreateUpload`.
pub(super) fn create(
    context: &mut Context<'_, '_>,
    bucket: BucketId,
    key: &str,
    opening: &Opening<'_>,
) -> Applied<Reply> {
    objects::check_key(key)?;
    let row = buckets::load(context, bucket)?;
    let id = UploadId(context.version());
    let writer: Option<WriterId> = if opening.internal { context.writer() } else { None };
    require(opening.internal == writer.is_some(), "an internal upload belongs to a writer")?;
    if let Some(writer) = writer {
        let place = StoredInternalUpload { bucket, key: key.to_owned() };
        context.put(keys::internal_upload(writer, id), place)?;
    }
    let upload = UploadRow {
        id,
        opened_ms: context.now_ms,
        attributes: opening.attributes.clone(),
        checksum: opening.checksum.clone(),
        initiator: opening.initiator.to_owned(),
        writer,
    };
    context.put(keys::upload(bucket, key, id), StoredUpload { row: upload, bytes: 0 })?;
    buckets::charge(context, row, Usage { uploads: 1, ..Usage::default() })?;
    Ok(Reply::Upload(id))
}

/// An open upload; an internal one only for its writer.
pub(super) fn load(
    context: &Context<'_, '_>,
    place: &Place<'_>,
) -> Applied<Option<(Record<BucketRow>, Record<StoredUpload>)>> {
    let bucket = buckets::load(context, place.bucket)?;
    let Some(upload) = context.load::<StoredUpload>(&place.row_key())? else { return Ok(None) };
    let writer = upload.value.row.writer;
    if writer.is_some() && writer != context.writer() {
        return Err(Refusal::NoSuchUpload.into());
    }
    Ok(Some((bucket, upload)))
}

/// `PutPart`.
pub(super) fn put_part(
    context: &mut Context<'_, '_>,
    place: &Place<'_>,
    part: &NewPart<'_>,
    segments: &[NewSegment],
) -> Applied<Reply> {
    let (bucket, upload) = load(context, place)?.ok_or(Refusal::NoSuchUpload)?;
    let referrer = referrer(context, place, part)?;
    let body = segments::bring_in(context, segments, &referrer)?;
    fill(context, place, (bucket, upload), part, body)
}

/// `CopyPart`.
pub(super) fn copy_part(
    context: &mut Context<'_, '_>,
    place: &Place<'_>,
    part: &NewPart<'_>,
    source: &CopySource,
) -> Applied<Reply> {
    let (bucket, upload) = load(context, place)?.ok_or(Refusal::NoSuchUpload)?;
    let referrer = referrer(context, place, part)?;
    let row = copies::standing_source(context, source)?;
    let bytes = copies::check_extents(context, source, &row)?;
    segments::refer(context, &source.extents, &referrer)?;
    fill(context, place, (bucket, upload), part, (bytes, source.extents.clone()))
}

fn referrer(context: &Context<'_, '_>, place: &Place<'_>, part: &NewPart<'_>) -> Applied<Referrer> {
    require((1..=PART_NUMBER_MAX).contains(&part.number), "a part's number is 1 to 10000")?;
    Ok(Referrer::Part { upload: place.upload, number: part.number, version: context.version() })
}

/// Puts the new part in the old one's place.
fn fill(
    context: &mut Context<'_, '_>,
    place: &Place<'_>,
    (bucket, mut upload): (Record<BucketRow>, Record<StoredUpload>),
    part: &NewPart<'_>,
    (bytes, extents): (u64, Vec<Extent>),
) -> Applied<Reply> {
    let key = keys::part(place.upload, part.number);
    let old = context.load::<PartRow>(&key)?.map(|old| old.value);
    let old_bytes = old.as_ref().map_or(0, |old| old.bytes);
    let change = i128::from(bytes) - i128::from(old_bytes);
    buckets::charge(context, bucket, Usage { upload_bytes: change, ..Usage::default() })?;
    upload.value.bytes = u64::try_from(i128::from(upload.value.bytes) + change)
        .map_err(|_| RowsError::damaged(&place.row_key(), "the bytes of its parts leave their range"))?;
    context.store(place.row_key(), &upload)?;
    if let Some(old) = old {
        discard_part(context, old)?;
    }
    let version = context.version();
    let modified_ms = context.now_ms;
    let (etag, checksum) = (part.etag.to_owned(), part.checksum.clone());
    let row = PartRow { version, bytes, etag, modified_ms, checksum, extents, data_key: None };
    context.put(key, row)?;
    Ok(Reply::Version { version, modified_ms })
}

/// A part without bytes refers to nothing, so nothing is left of it.
pub(super) fn discard_part(context: &mut Context<'_, '_>, part: PartRow) -> Result<(), RowsError> {
    if part.extents.is_empty() {
        return Ok(());
    }
    garbage::discard(context, part.version, part.bytes, Garbage::Extents(part.extents))
}

/// `AbortUpload`. The leader may abort another's internal upload: it does when the writer is closed.
pub(super) fn abort(context: &mut Context<'_, '_>, place: &Place<'_>) -> Applied<Reply> {
    let bucket = buckets::load(context, place.bucket)?;
    let Some(upload) = context.load::<StoredUpload>(&place.row_key())? else {
        return Err(Refusal::NoSuchUpload.into());
    };
    let upload = upload.value;
    let bytes = -i128::from(upload.bytes);
    buckets::charge(context, bucket, Usage { upload_bytes: bytes, uploads: -1, ..Usage::default() })?;
    discard(context, place.bucket, place.key, &upload)?;
    Ok(Reply::Done)
}

/// Moves an open upload with all its parts to the garbage; the bucket's counters are the caller's.
pub(super) fn discard(
    context: &mut Context<'_, '_>,
    bucket: BucketId,
    key: &str,
    upload: &StoredUpload,
) -> Result<(), RowsError> {
    let id = upload.row.id;
    remove_row(context, bucket, key, &upload.row);
    garbage::discard(context, id.0, upload.bytes, Garbage::Upload(id))
}

/// Removes the row of an upload that is not open any more.
pub(super) fn remove_row(context: &mut Context<'_, '_>, bucket: BucketId, key: &str, row: &UploadRow) {
    context.rows.delete(keys::upload(bucket, key, row.id));
    if let Some(writer) = row.writer {
        context.rows.delete(keys::internal_upload(writer, row.id));
    }
}
